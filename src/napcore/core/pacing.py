"""How fast messages are sent: an account that answers minutes of chat within seconds gets frozen. No clock here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from napcore.errors import ConfigError
from napcore.types import Off

__all__ = ("Pacing", "Queue", "Rates", "SendRate", "Verdict", "check_send_rate")

T = TypeVar("T")

SendRate: TypeAlias = Off | Literal["auto", "safe"] | tuple[float, float]
"""``Relay``'s ``send_rate``; two numbers are messages a second for each account, and for each group."""

SAFE: Final = (5.0, 1.0)
"""Messages a second for each account and each group, for ``auto`` and ``safe``."""

ACCOUNT_BURST: Final = 4.0
"""Seconds' worth of an account's messages that may go at once: 20 at 5/s."""

GROUP_BURST: Final = 5.0
"""The same for a group: 5 at 1/s."""

AFTERMATH: Final = 60.0
"""Seconds that ``auto`` holds messages back for after a disturbance."""

PATIENCE: Final = 20.0
"""Seconds a message waits at most: NoneBot2 gives its calls up after 30, and would say it twice."""

RATE_LIMIT_INTERVAL: Final = 0.5
"""Seconds between two ``_rate_limited`` calls (OneBot 11, ``api.rate_limit_interval``)."""


TIDY_AT: Final = 256
"""Groups of an account after which those that have been quiet are forgotten."""


class Rates(NamedTuple):
    """How often, a second, and how many at once."""

    rate: float
    burst: float

    def bucket(self, now: float) -> Bucket:
        """A full bucket."""
        return Bucket(self, now)


class Bucket:
    """A token bucket."""

    __slots__ = ("_at", "_rates", "_tokens")

    def __init__(self, rates: Rates, now: float) -> None:
        self._rates = rates
        self._tokens = rates.burst
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until there is a token."""
        rate, burst = self._rates
        self._tokens = min(burst, self._tokens + (now - self._at) * rate)
        self._at = now
        # What is left of a token after many additions is as good as the whole.
        return 0.0 if self._tokens >= 1.0 - 1e-9 else (1.0 - self._tokens) / rate

    def take(self) -> None:
        """Take the token that :meth:`wait` found."""
        self._tokens -= 1.0

    @property
    def full(self) -> bool:
        """Whether it has all its tokens, as of the last :meth:`wait`."""
        return self._tokens >= self._rates.burst


class Verdict(Enum):
    """What becomes of a message now."""

    GO = "go"
    """It may be sent."""
    WAIT = "wait"
    """It waits for its turn: :meth:`Pacing.due` hands it out."""
    REFUSE = "refuse"
    """So many wait that its turn would not come in time."""


class _Held(NamedTuple):
    item: Any
    group: int | None
    until: float


class _Account:
    """An account that is being paced."""

    def __init__(self, rates: tuple[Rates, Rates], now: float) -> None:
        self.rates = rates
        self.bucket = rates[0].bucket(now)
        self.groups: dict[int, Bucket] = {}
        self.held: deque[_Held] = deque()

    def wait(self, group: int | None, now: float) -> float:
        wait = self.bucket.wait(now)
        if group is not None:
            if group not in self.groups:
                if len(self.groups) >= TIDY_AT:
                    self.tidy(now)
                self.groups[group] = self.rates[1].bucket(now)
            wait = max(wait, self.groups[group].wait(now))
        return wait

    def take(self, group: int | None) -> None:
        self.bucket.take()
        if group is not None:
            self.groups[group].take()

    def tidy(self, now: float) -> None:
        for group, bucket in tuple(self.groups.items()):
            bucket.wait(now)
            if bucket.full:
                del self.groups[group]


class Pacing:
    """Holds ``send_*`` calls back where ``send_rate`` says so. ``now`` is in seconds and never goes back.

    ``auto`` lets everything pass, but for 60 s after :meth:`disturb`, and as long as something
    still waits from then, it keeps to 5 a second for an account (20 at once) and 1 a second for a
    group (5 at once). ``safe`` always does; two numbers are other rates, with the same proportions.
    A message waits 20 s at most. Items are handed out in the order they came, for each group.
    """

    def __init__(self, send_rate: SendRate = "auto") -> None:
        self.send_rate = check_send_rate(send_rate)
        account, group = send_rate if isinstance(send_rate, tuple) else SAFE
        self._rates = (
            Rates(account, max(1.0, account * ACCOUNT_BURST)),
            Rates(group, max(1.0, group * GROUP_BURST)),
        )
        self._always = isinstance(send_rate, tuple) or send_rate == "safe"
        self._off = send_rate == "off"
        self._until: dict[int, float] = {}
        self._accounts: dict[int, _Account] = {}

    def disturb(self, account: int, now: float) -> None:
        """The account's upstream was away, or a client is catching up: replies may come in bursts."""
        if not self._off:
            self._until[account] = now + AFTERMATH

    def paces(self, account: int, now: float) -> bool:
        """Whether messages of the account are counted now."""
        if self._always:
            return True
        found = self._accounts.get(account)
        return now < self._until.get(account, -math.inf) or bool(found and found.held)

    def offer(self, item: object, action: str, account: int, group: int | None, now: float) -> Verdict:
        """A call for ``action`` is to be sent by ``account``, to ``group`` if it is one."""
        if not action.startswith("send_"):
            return Verdict.GO
        if not self.paces(account, now):
            self._accounts.pop(account, None)
            return Verdict.GO
        found = self._accounts.get(account)
        if found is None:
            found = self._accounts[account] = _Account(self._rates, now)
        ahead = sum(held.group == group for held in found.held) if group is not None else 0
        if not ahead and found.wait(group, now) == 0.0:
            found.take(group)
            return Verdict.GO
        rates = self._rates
        if ahead >= rates[1].rate * PATIENCE or len(found.held) >= rates[0].rate * PATIENCE:
            return Verdict.REFUSE
        found.held.append(_Held(item, group, now + PATIENCE))
        return Verdict.WAIT

    def due(self, now: float) -> tuple[list[Any], list[Any]]:
        """Items whose turn has come, and items that have waited too long."""
        ready: list[Any] = []
        late: list[Any] = []
        for account in self._accounts.values():
            left: deque[_Held] = deque()
            stopped: set[int | None] = set()
            for held in account.held:
                if held.until <= now:
                    late.append(held.item)
                elif held.group not in stopped and account.wait(held.group, now) == 0.0:
                    account.take(held.group)
                    ready.append(held.item)
                else:
                    # The next of this group may not overtake it.
                    stopped.add(held.group)
                    left.append(held)
            account.held = left
            account.tidy(now)
        return ready, late

    def discard(self, unwanted: Callable[[Any], bool]) -> None:
        """Forget items that need not be sent any more."""
        for account in self._accounts.values():
            account.held = deque(held for held in account.held if not unwanted(held.item))

    def next_due(self, now: float) -> float | None:
        """When :meth:`due` has something to hand out next; None if nothing waits."""
        return min(self._dues(now), default=None)

    def _dues(self, now: float) -> Iterator[float]:
        for account in self._accounts.values():
            groups: set[int | None] = set()
            for held in account.held:
                yield held.until
                if held.group not in groups:
                    groups.add(held.group)
                    yield now + account.wait(held.group, now)


class Queue:
    """``_rate_limited`` calls of each account: one every ``interval`` seconds, in order."""

    def __init__(self, interval: float = RATE_LIMIT_INTERVAL) -> None:
        self.interval = interval
        self._waiting: dict[int, deque[Any]] = {}
        self._next: dict[int, float] = {}

    def offer(self, item: object, account: int, now: float) -> Verdict:
        """Whether it may go now, or waits for its turn."""
        waiting = self._waiting.get(account)
        if not waiting and now >= self._next.get(account, now):
            self._next[account] = now + self.interval
            return Verdict.GO
        self._waiting.setdefault(account, deque()).append(item)
        return Verdict.WAIT

    def due(self, now: float) -> list[Any]:
        """Items whose turn has come."""
        ready = []
        for account, waiting in tuple(self._waiting.items()):
            if now >= self._next[account]:
                ready.append(waiting.popleft())
                self._next[account] = now + self.interval
                if not waiting:
                    del self._waiting[account]
        return ready

    def discard(self, unwanted: Callable[[Any], bool]) -> None:
        """Forget items that need not be sent any more."""
        for account, waiting in tuple(self._waiting.items()):
            left = deque(item for item in waiting if not unwanted(item))
            if left:
                self._waiting[account] = left
            else:
                del self._waiting[account]

    def next_due(self) -> float | None:
        """When :meth:`due` has something next; None if nothing waits."""
        return min((self._next[account] for account in self._waiting), default=None)


def check_send_rate(value: Any) -> SendRate:
    """``value`` if ``send_rate`` can be that.

    Raises:
        ConfigError: it cannot.
    """
    if value in ("auto", "off", "safe"):
        return value  # type: ignore[no-any-return]
    try:
        account, group = value
        if all(type(rate) in (int, float) and 0 < rate < math.inf for rate in (account, group)):
            return float(account), float(group)
    except (TypeError, ValueError):
        pass
    text = 'must be "auto", "off", "safe", or messages a second for each account and for each group such as [5, 1]'
    raise ConfigError(f"{text}; not {value!r}", key="send_rate")
