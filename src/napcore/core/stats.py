"""What a relay and a hub report about themselves: snapshots, cheap to take and safe to keep."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from napcore.core.backlog import WorkerStatistics

__all__ = (
    "AccountStatistics",
    "CallStatistics",
    "ClientStatistics",
    "ListenerStatistics",
    "LossReport",
    "RelayStatistics",
    "UpstreamStatistics",
    "WorkerStatistics",
    "add_up",
    "as_dict",
)


class ClientStatistics(NamedTuple):
    """One session: a client, or a client and one account.

    The ledger always closes: received = confirmed + unconfirmed + queued + sum(dropped).
    """

    name: str
    """The client's name."""
    self_id: int | None
    """The account of this session; None for a session over all accounts."""
    state: str
    """``connected``, ``connecting``, ``waiting`` (for an account) or ``absent``."""
    received: int
    """Events that matched its filter."""
    confirmed: int
    """Events handed over."""
    unconfirmed: int
    """Events written, not yet confirmed."""
    queued: int
    """Events in the lane."""
    queued_bytes: int
    """Bytes in the lane."""
    max_queued: int
    """The most events the lane has ever held."""
    dropped: dict[str, int]
    """Events lost, by reason; reasons that never occurred are left out."""
    late: int
    """Answers, heartbeats and the like that were waiting when a link ended."""
    connects: int
    """Links this session has had."""
    caught_up: int
    """Events that were late, and went at the pace of catching up."""


class UpstreamStatistics(NamedTuple):
    """One upstream: an implementation we dial, or one that dialled us."""

    name: str
    """Its URL without secrets, or the address it dialled from."""
    state: str
    """``connected``, ``connecting``, ``absent``, ``stalled`` (it is silent, but the connection
    stands) or ``stuck`` (it answers no calls)."""
    self_ids: tuple[int, ...]
    """Accounts seen on it."""
    received: int
    """Frames that came from it."""
    connects: int
    """Links it has had."""


class AccountStatistics(NamedTuple):
    """One account."""

    self_id: int
    """Its QQ number."""
    online: bool
    """Whether an upstream link serves it now, and has not said that QQ has it offline."""
    state: str = ""
    """``online``, ``offline`` (QQ has it so, its upstream says), ``stalled`` (its upstream is) or
    ``absent`` (it has none)."""


class CallStatistics(NamedTuple):
    """API calls since the start."""

    pending: int
    """Waiting for their answer now."""
    forwarded: int
    """Handed to an upstream."""
    answered: int
    """Answers that reached the asking link."""
    failed: int
    """Failure answers of our own (retcodes 1400 and 1501 to 1505)."""
    late: int
    """Answers whose asker had gone, or whose call had expired."""
    unknown: int
    """Answers to nothing we asked."""
    held: int = 0
    """Waiting now for their turn under ``send_rate``; part of ``pending``."""
    shared: int = 0
    """Calls answered from another, identical one (``share_gets``); not part of ``forwarded``."""


class ListenerStatistics(NamedTuple):
    """One listening port."""

    url: str
    """Where it listens, without token."""
    accepted: int
    """Connections that came."""
    links: int
    """Clients that are linked by it now."""
    refused: dict[int, int]
    """Connections turned away, by HTTP status: 401 and 403 for who they are, 429 for guessing
    tokens, 503 for want of a place, 408 for taking too long, others for what they asked."""
    cut: int
    """Connections ended without an answer: TLS that failed or never came, and the silent ones that had to make room."""


class RelayStatistics(NamedTuple):
    """A relay's totals and parts."""

    uptime: float
    """Seconds since the relay started serving."""
    received: int
    """Events that came from upstreams and publishers."""
    invalid: int
    """Frames that were not valid JSON objects, dropped on arrival."""
    consumed: int
    """Upstream lifecycle and heartbeat events, which the relay answers for itself."""
    memory: int
    """Bytes of events held for clients, each form of an event counted once."""
    accounts: tuple[AccountStatistics, ...]
    listeners: tuple[ListenerStatistics, ...]
    upstreams: tuple[UpstreamStatistics, ...]
    clients: tuple[ClientStatistics, ...]
    gone: ClientStatistics
    """Sessions and subscriptions that are no more, added up."""
    calls: CallStatistics
    duplicates: int = 0
    """Events that came by another link of their account already."""
    closed: Mapping[int, int] = MappingProxyType({})
    """Links that we closed, by close code (RFC 6455, 7.4.1): 1002, 1007 and 1009 for what the peer
    sent, 1013 for being too slow or one too many, 4001 for a newer link of the same client."""
    loop_lag: float = 0.0
    """The longest its event loop has been held up, in seconds; 0 where nothing watches it."""
    handlers: WorkerStatistics = WorkerStatistics(0, 0, 0, 0, 0, 0, 0, {})
    """Calls of the functions registered with ``Relay.on``, of all of them together."""


def as_dict(statistics: RelayStatistics) -> dict[str, Any]:
    """The same figures as JSON takes them."""
    return {name: _plain(value) for name, value in statistics._asdict().items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): inner for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def add_up(*parts: ClientStatistics) -> ClientStatistics:
    """The ledgers of several sessions in one, which has no name; ``max_queued`` is the largest of theirs."""
    dropped: dict[str, int] = {}
    for part in parts:
        for reason, count in part.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    return ClientStatistics(
        name="",
        self_id=None,
        state="absent",
        received=sum(part.received for part in parts),
        confirmed=sum(part.confirmed for part in parts),
        unconfirmed=sum(part.unconfirmed for part in parts),
        queued=sum(part.queued for part in parts),
        queued_bytes=sum(part.queued_bytes for part in parts),
        max_queued=max((part.max_queued for part in parts), default=0),
        dropped=dropped,
        late=sum(part.late for part in parts),
        connects=sum(part.connects for part in parts),
        caught_up=sum(part.caught_up for part in parts),
    )


class LossReport:
    """Says when somebody has to be told of lost events: once per client, reason and minute."""

    def __init__(self, period: float = 60.0) -> None:
        self._period = period
        self._told: dict[tuple[object, str], tuple[float, int]] = {}

    def due(self, now: float, client: object, dropped: Mapping[str, int]) -> list[tuple[str, int]]:
        """The reasons to report for ``client`` and how many were lost since the last report of each.

        ``dropped`` are its totals. ``now`` in seconds.
        """
        news = []
        for reason, total in dropped.items():
            told_at, told = self._told.get((client, reason), (-self._period, 0))
            if total > told and now - told_at >= self._period:
                self._told[client, reason] = (now, total)
                news.append((reason, total - told))
        return news

    def rest(self, client: object, dropped: Mapping[str, int]) -> list[tuple[str, int]]:
        """What has not been reported yet, for a last word; ``client`` is then forgotten."""
        news = []
        for reason, total in dropped.items():
            _, told = self._told.pop((client, reason), (0.0, 0))
            if total > told:
                news.append((reason, total - told))
        return news
