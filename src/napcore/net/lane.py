"""Where a link's frames wait."""

from __future__ import annotations

from typing import Final, Protocol

from napcore.types import Outcome

__all__ = ("CHUNK", "Lane", "Outgoing")

CHUNK: Final = 64 << 10
"""Bytes gathered for one write."""


class Outgoing(Protocol):
    """What is written: that of a client's ``Writer``, or a lane itself."""

    def gather(self, now: float, max_bytes: int = ..., /) -> list[bytes]:
        """The next frames to write."""
        ...

    def wrote(self) -> object:
        """They are out."""
        ...


class Lane(Outgoing, Protocol):
    """An ``Outbox`` towards a client, a ``RequestLane`` towards an upstream."""

    @property
    def close_code(self) -> int:
        """1013 when the link is to be closed for being too slow, else 0."""
        ...

    @property
    def control_queued(self) -> int:
        """Frames that go ahead of everything else."""
        ...

    def offer_control(self, frame: bytes, /) -> Outcome:
        """Queue such a frame."""
        ...

    def wrote(self) -> int:
        """They are out; returns the sequence of the last event among them."""
        ...

    def lose_link(self, refused_size: bool = ..., /) -> int:
        """The link is gone; the peer had closed it for the size of a frame."""
        ...
