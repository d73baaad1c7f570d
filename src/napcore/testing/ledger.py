"""Whether every event that anybody was to get is accounted for."""

from __future__ import annotations

from napcore.core.hub import Hub
from napcore.core.stats import ClientStatistics, RelayStatistics
from napcore.net.relay import Relay

__all__ = ("check_ledger",)


def check_ledger(of: Relay | Hub | RelayStatistics, *, ended: bool = False) -> tuple[ClientStatistics, ...]:
    """Assert that every ledger closes, and return them: of each session and subscription, then of those that are gone.

    In each of them received = confirmed + unconfirmed + queued + all that was dropped. ``ended``
    says that the relay has been left, so that nothing may be queued or unconfirmed any more.

    Raises:
        AssertionError: something does not add up; the text has the figures.
    """
    if isinstance(of, Hub):
        ledgers = tuple(client.statistics() for client in of.clients.values())
    else:
        statistics = of.statistics() if isinstance(of, Relay) else of
        ledgers = (*statistics.clients, statistics.gone)
    problems = [problem for one in ledgers for problem in _problems(one, ended)]
    if problems:
        raise AssertionError("; ".join(problems))
    return ledgers


def _problems(one: ClientStatistics, ended: bool) -> list[str]:
    name = f"{one.name or 'those that are gone'}{f'@{one.self_id}' if one.self_id else ''}"
    dropped = sum(one.dropped.values())
    accounted = one.confirmed + one.unconfirmed + one.queued + dropped
    found = []
    if accounted != one.received:
        found.append(
            f"{name}: received {one.received}, but {accounted} are accounted for: {one.confirmed} confirmed"
            f" + {one.unconfirmed} unconfirmed + {one.queued} queued + {dropped} dropped {one.dropped}"
        )
    below = {field: value for field, value in one._asdict().items() if isinstance(value, int) and value < 0}
    if below or any(count <= 0 for count in one.dropped.values()):
        found.append(f"{name}: a count is below zero: {below or one.dropped}")
    if ended and (one.queued or one.unconfirmed):
        found.append(f"{name}: {one.queued} queued and {one.unconfirmed} unconfirmed after the end")
    return found
