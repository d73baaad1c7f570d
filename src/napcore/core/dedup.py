"""Events that came by another link of their account already. No clock here: the times are passed in.

NapCat dials anew without closing the old link, and sends every event to each of its links. It
never repeats one on the same link: two equal pokes are two pokes.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from napcore.dispatch import Event

__all__ = ("Dedup",)

WINDOW: Final = 30.0
"""Seconds an event is remembered, and the table lives on once one link is left."""

LIMIT: Final = 4096
"""Events remembered; the oldest are forgotten first."""

_Key: TypeAlias = tuple[object, ...]


class Dedup:
    """Which link brought an event first, for accounts with several links."""

    def __init__(self) -> None:
        self.count = 0
        """Events that came a second time by another link, and were dropped."""
        self.accounts: dict[int, float] = {}
        """Those that need it now, and until when."""
        self._seen: dict[_Key, tuple[int, float]] = {}

    def links(self, account: int, count: int, now: float) -> None:
        """The account has ``count`` links from now on."""
        if count > 1:
            self.accounts[account] = math.inf
        elif self.accounts.get(account) == math.inf:
            self.accounts[account] = now + WINDOW

    def repeated(self, event: Event, account: int, link: object, now: float) -> bool:
        """Whether another link of the account brought this event already; counted."""
        until = self.accounts.get(account)
        if until is None or event.post_type == "meta_event":
            return False
        if until <= now:
            del self.accounts[account]
            if not self.accounts:
                self._seen.clear()
            return False
        key: _Key
        if event.message_id is not None:
            key = account, event.kind, event.sub_type, event.message_id
        else:
            key = account, hash(event.raw), len(event.raw)
        first, at = self._seen.get(key, (id(link), -math.inf))
        if first != id(link) and now - at < WINDOW:
            self.count += 1
            return True
        # Put back at the end: the table is in order of time.
        self._seen.pop(key, None)
        self._seen[key] = id(link), now
        if len(self._seen) > LIMIT:
            del self._seen[next(iter(self._seen))]
        return False
