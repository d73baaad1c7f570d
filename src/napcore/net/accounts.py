"""Which accounts exist, and which upstream link serves each of them now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from napcore.core.stats import AccountStatistics

if TYPE_CHECKING:
    from napcore.net.upstream import UpstreamLink

__all__ = ("Accounts",)

_log = logging.getLogger("napcore.accounts")


ACCOUNTS: Final = 1024
"""Accounts that are remembered: more are somebody's invention."""


class Accounts:
    """The accounts seen so far, in the order of their first sign. An account is never forgotten, and
    beyond ``ACCOUNTS`` none is remembered: its events are routed, but no client is dialled for it.

    Of several links of one account the newest serves its calls.
    """

    def __init__(self) -> None:
        self._links: dict[int, list[UpstreamLink]] = {}
        self._remote: set[int] = set()  # have been served by a link
        self._local: set[int] = set()  # have only been published in this process
        self.offline: set[int] = set()
        """Those that QQ has offline, as their upstreams say."""
        self.watchers: list[Callable[[int, bool], object]] = []
        """Called with an account that has got its first link, and True; or has lost its last one, and False."""

    def __contains__(self, self_id: int) -> bool:
        return self_id in self._links

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._links))

    @property
    def full(self) -> bool:
        """Whether no more accounts are remembered."""
        return len(self._links) >= ACCOUNTS

    @property
    def first(self) -> int | None:
        """The account seen first."""
        return next(iter(self._links), None)

    def see(self, self_id: int, link: UpstreamLink | None) -> bool:
        """An event or handshake of ``self_id`` came by ``link`` (None: from this process). True if it is new."""
        new = self_id not in self._links
        links = self._links.setdefault(self_id, [])
        if link is None:
            if self_id not in self._remote:
                self._local.add(self_id)
        elif link not in links:
            links.append(link)
            self._remote.add(self_id)
            self._local.discard(self_id)
            self.offline.discard(self_id)
            if len(links) == 1:
                self._tell(self_id, True)
        return new

    def lose(self, link: UpstreamLink) -> None:
        """``link`` is gone."""
        for self_id, links in self._links.items():
            if link in links:
                links.remove(link)
                if not links:
                    self._tell(self_id, False)

    def report(self, self_id: int, online: bool) -> None:
        """What the upstream says of the account: whether QQ has it online."""
        if self_id in self._links and online == (self_id in self.offline):
            (self.offline.discard if online else self.offline.add)(self_id)
            if online:
                _log.warning("account %d: online again", self_id)
            else:
                _log.error("account %d: its upstream says that QQ has it offline; log in again there", self_id)

    def links(self, self_id: int) -> list[UpstreamLink]:
        """The account's links, the newest last."""
        return list(self._links.get(self_id, ()))

    def link(self, self_id: int) -> UpstreamLink | None:
        """The link that takes the account's calls; None if there is none."""
        for link in reversed(self._links.get(self_id, ())):
            if link.calls:
                return link
        return None

    @property
    def served(self) -> tuple[int, ...]:
        """Those a link takes calls for now. From any thread."""
        return tuple(self_id for self_id in self if self.link(self_id) is not None)

    def online(self, self_id: int) -> bool:
        """Whether it is served now and its upstream has not said otherwise."""
        return self.state(self_id) == "online"

    def state(self, self_id: int) -> str:
        """``online``; ``offline``, as its upstream says; ``stalled``, where that is; ``absent`` without one."""
        links = self._links.get(self_id)
        if not links and self_id not in self._local:
            return "absent"
        if self_id in self.offline:
            return "offline"
        return "stalled" if links and all(link.state == "stalled" for link in links) else "online"

    def statistics(self) -> tuple[AccountStatistics, ...]:
        """A snapshot."""
        return tuple(AccountStatistics(self_id, self.online(self_id), self.state(self_id)) for self_id in self._links)

    def _tell(self, self_id: int, linked: bool) -> None:
        for watcher in self.watchers:
            watcher(self_id, linked)
