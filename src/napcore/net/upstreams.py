"""The table of upstreams: those we dial, and those that dial us, one for each account they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from napcore.net.accounts import ACCOUNTS
from napcore.net.upstream import Upstream

if TYPE_CHECKING:
    from napcore.net.relay import Relay

__all__ = ("Upstreams",)


class Upstreams:
    """Every upstream of a relay, in either role; those we dial come first."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._dialled: list[Upstream] = []
        self._reverse: dict[int, Upstream] = {}

    def __iter__(self) -> Iterator[Upstream]:
        return iter((*self._dialled, *self._reverse.values()))

    @property
    def dialled(self) -> tuple[Upstream, ...]:
        """Those we dial."""
        return tuple(self._dialled)

    def add(self, upstream: Upstream) -> None:
        """Enter one that we dial."""
        self._dialled.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """Take one that we dialled out of the table."""
        if upstream in self._dialled:
            self._dialled.remove(upstream)

    def reverse(self, self_id: int) -> Upstream | None:
        """The one that dials us for ``self_id``; None if there are as many as there may be accounts."""
        upstream = self._reverse.get(self_id)
        if upstream is None:
            if len(self._reverse) >= ACCOUNTS:
                absent = next((number for number, other in self._reverse.items() if not other.links), None)
                if absent is None:
                    return None
                del self._reverse[absent]
            upstream = self._reverse[self_id] = Upstream(self._relay, None, self_id=self_id)
        return upstream
