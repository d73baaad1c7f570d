"""Plain twin of the compiled poller: many sockets watched as one.

An epoll instance is a descriptor that is readable when one of its sockets is, so an event loop can
watch it in place of them. Where there is no epoll each socket is watched by itself.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Final, Protocol, final

__all__ = ("CAN_POLL", "Poller")

CAN_POLL: Final = hasattr(select, "epoll")
"""Whether there is epoll: on Linux."""

_MOST_READY: Final = 128


class _Pulls(Protocol):
    def pull(self, descriptor: int, on_read: Callable[[list[Any]], None], /) -> None: ...


@final
class Poller:
    """Sockets that are watched as one: woken once, all that have something to read read it.

    Raises:
        OSError: there are too many descriptors, or no epoll here.
        ValueError: it is closed; raised by its methods.
    """

    def __init__(self) -> None:
        self._watched: dict[int, tuple[_Pulls, Callable[[list[Any]], None]]] = {}
        self._epoll = select.epoll()

    def __len__(self) -> int:
        return len(self._watched)

    @property
    def descriptor(self) -> int:
        """Readable when one of the sockets is; -1 when closed."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def add(self, descriptor: int, reader: _Pulls, on_read: Callable[[list[Any]], None]) -> None:
        """Watch a socket; ``reader.pull(descriptor, on_read)`` is called when it has something to read."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self._watched[descriptor] = reader, on_read

    def remove(self, descriptor: int) -> None:
        """Watch it no more."""
        self._epoll.fileno()  # while it is open
        del self._watched[descriptor]
        self._epoll.unregister(descriptor)

    def pull(self) -> None:
        """Have those read that have something to read, in no order; does not wait."""
        for descriptor, _ in self._epoll.poll(0, _MOST_READY):
            # One that was called before it may have removed it.
            if descriptor in self._watched:
                reader, on_read = self._watched[descriptor]
                reader.pull(descriptor, on_read)

    def close(self) -> None:
        """Let go of the descriptor."""
        self._epoll.close()
