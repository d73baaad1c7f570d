"""Which accounts have links, told to another thread's event loop."""

from __future__ import annotations

from collections import deque
from functools import partial

import anyio

from napcore.net.accounts import Accounts
from napcore.net.mailbox import Mailbox

__all__ = ("AccountNews",)


class AccountNews:
    """Accounts that come and go at a relay in another thread, in order. Made by ``RelayThread.follow_accounts``.

    What is told of an account is told ahead of the events that came by the same link.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._news: deque[tuple[int, bool]] = deque()
        self._arrived = anyio.Event()

    def take(self) -> list[tuple[int, bool]]:
        """What has happened since the last time: accounts that have got a link (True) or lost their last one."""
        return [self._news.popleft() for _ in range(len(self._news))]

    async def wait(self) -> None:
        """Wait until there is something to take."""
        while not self._news:
            self._arrived = anyio.Event()
            await self._arrived.wait()

    def follow(self, accounts: Accounts) -> None:
        """For ``RelayThread`` alone: tell of those that are linked, and of every change."""
        for self_id in accounts:
            if accounts.links(self_id):
                self._tell(self_id, True)
        accounts.watchers.append(self._tell)

    def _tell(self, self_id: int, linked: bool) -> None:
        self._mailbox.post(partial(self._put, self_id, linked))

    def _put(self, self_id: int, linked: bool) -> None:
        self._news.append((self_id, linked))
        self._arrived.set()
