"""How many connections a listener holds, and which one has to go when a new one comes. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from napcore.core.throttle import is_loopback, network

__all__ = ("Capacity",)

CONNECTIONS: Final = 256
"""Links of one listener, those of upstreams not counted: there is always room for an upstream."""

HANDSHAKES: Final = 64
"""Connections that may take their time to say who they are."""

STORM: Final = 8
"""So many times that number there may be for a moment, when all come at once."""

PER_NETWORK: Final = 32
"""Links from one address of another machine."""

GRACE: Final = 0.5
"""Seconds in which an honest peer has begun to say who it is, and as many again in which we have read it."""


T = TypeVar("T", bound=Hashable)


class Capacity(Generic[T]):
    """The places of one listener.

    A connection first holds a place among the handshakes. When there are more than ``handshakes``
    of them, those that have been silent longest have to go, once they have had ``GRACE`` seconds:
    so that connections which say nothing never keep out an upstream that has to come back, and
    none that has just come is turned away in a storm, up to eight times as many.
    """

    def __init__(
        self, *, connections: int = CONNECTIONS, handshakes: int = HANDSHAKES, per_network: int = PER_NETWORK
    ) -> None:
        self.connections = connections
        self.handshakes = handshakes
        self.per_network = per_network
        self.refused = 0
        """Connections turned away, or cut in favour of others, for want of a place."""
        self._waiting: dict[T, float] = {}  # since when; in order
        self._heard: set[T] = set()
        self._links: dict[T, str] = {}
        self._networks: dict[str, int] = {}

    @property
    def links(self) -> int:
        """Links of clients that hold a place."""
        return len(self._links)

    def arrive(self, connection: T, now: float) -> tuple[bool, list[T]]:
        """A connection was accepted. Whether it may stay, and which others have to be cut for it."""
        evicted: list[T] = []
        while len(self._waiting) >= self.handshakes:
            oldest = next(iter(self._waiting))
            if now - self._waiting[oldest] < GRACE:
                break
            del self._waiting[oldest]
            self._heard.discard(oldest)
            evicted.append(oldest)
        stays = len(self._waiting) < STORM * self.handshakes
        if stays:
            self._waiting[connection] = now
        self.refused += len(evicted) + (not stays)
        return stays, evicted

    def heard(self, connection: T, now: float) -> None:
        """It has sent something, which waits for its turn now. Only the first time counts, for those who dribble."""
        if connection in self._waiting and connection not in self._heard:
            self._heard.add(connection)
            del self._waiting[connection]
            self._waiting[connection] = now

    def link(self, connection: T, address: str, *, upstream: bool) -> str | None:
        """It has said who it is and would become a link; why not, in words, or None if it may."""
        self._waiting.pop(connection, None)
        self._heard.discard(connection)
        if upstream:
            return None
        if len(self._links) >= self.connections:
            self.refused += 1
            return f"there are {self.connections} connections already"
        group = "" if is_loopback(address) else network(address)
        if group and self._networks.get(group, 0) >= self.per_network:
            self.refused += 1
            return f"there are {self.per_network} connections from this address already"
        self._links[connection] = group
        if group:
            self._networks[group] = self._networks.get(group, 0) + 1
        return None

    def leave(self, connection: T) -> None:
        """The connection has ended, in whatever state it was."""
        self._waiting.pop(connection, None)
        self._heard.discard(connection)
        group = self._links.pop(connection, "")
        if group:
            self._networks[group] -= 1
            if not self._networks[group]:
                del self._networks[group]
