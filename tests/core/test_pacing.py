"""How fast messages may be sent."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napcore.core.pacing import Pacing, Queue, Verdict, check_send_rate
from napcore.errors import ConfigError

GO, WAIT, REFUSE = Verdict.GO, Verdict.WAIT, Verdict.REFUSE


def offer(pacing: Pacing, now: float, group: int | None = 1, item: Any = None, account: int = 10001) -> Verdict:
    return pacing.offer(item, "send_group_msg", account, group, now)


def run(pacing: Pacing, now: float, until: float) -> list[tuple[float, Any]]:
    """What is handed out as ready, and when."""
    found = []
    while (due := pacing.next_due(now)) is not None and due <= until:
        assert due >= now
        now = max(due, now)
        ready, late = pacing.due(now)
        assert ready or late, "it said that something would be due"
        found += [(now, item) for item in ready]
    return found


def test_normal_running_is_unlimited() -> None:
    pacing = Pacing()
    assert [offer(pacing, 0.0) for _ in range(1000)] == [GO] * 1000
    assert pacing.next_due(0.0) is None


def test_off_is_unlimited_whatever_happens() -> None:
    pacing = Pacing("off")
    pacing.disturb(10001, 0.0)
    assert [offer(pacing, 0.0) for _ in range(1000)] == [GO] * 1000


@pytest.mark.parametrize("send_rate", ["auto", "safe", (5.0, 1.0)])
def test_a_group_gets_five_at_once_then_one_a_second(send_rate: Any) -> None:
    pacing = Pacing(send_rate)
    pacing.disturb(10001, 0.0)
    assert [offer(pacing, 0.0, item=n) for n in range(8)] == [GO] * 5 + [WAIT] * 3
    assert [(round(at, 6), item) for at, item in run(pacing, 0.0, 60.0)] == [(1.0, 5), (2.0, 6), (3.0, 7)]


def test_an_account_gets_twenty_at_once_then_five_a_second() -> None:
    pacing = Pacing("safe")
    assert [offer(pacing, 0.0, group=n, item=n) for n in range(24)] == [GO] * 20 + [WAIT] * 4
    times = [(round(at, 6), item) for at, item in run(pacing, 0.0, 60.0)]
    assert times == [(0.2, 20), (0.4, 21), (0.6, 22), (0.8, 23)]


def test_private_messages_count_for_the_account_alone() -> None:
    pacing = Pacing("safe")
    assert [offer(pacing, 0.0, group=None) for _ in range(21)] == [GO] * 20 + [WAIT]


def test_accounts_are_apart() -> None:
    pacing = Pacing()
    pacing.disturb(1, 0.0)
    assert [offer(pacing, 0.0, account=1) for _ in range(6)][-1] is WAIT
    assert [offer(pacing, 0.0, account=2) for _ in range(50)] == [GO] * 50


def test_other_calls_pass() -> None:
    pacing = Pacing("safe")
    assert {pacing.offer(None, "get_group_info", 1, 1, 0.0) for _ in range(50)} == {GO}


def test_nobody_overtakes_in_a_group() -> None:
    pacing = Pacing("safe")
    for n in range(6):
        offer(pacing, 0.0, item=n)
    # At 1.0 there is a token again, but one waits for it.
    assert offer(pacing, 1.0, item="later") is WAIT
    assert [item for _, item in run(pacing, 1.0, 60.0)] == [5, "later"]


def test_what_cannot_come_in_time_is_refused_at_once() -> None:
    pacing = Pacing("safe")
    assert [offer(pacing, 0.0) for _ in range(30)] == [GO] * 5 + [WAIT] * 20 + [REFUSE] * 5
    other = Pacing("safe")
    verdicts = [offer(other, 0.0, group=n) for n in range(130)]
    assert verdicts == [GO] * 20 + [WAIT] * 100 + [REFUSE] * 10


def test_twenty_seconds_are_the_most() -> None:
    pacing = Pacing((1.0, 1.0))
    for n in range(40):
        offer(pacing, 0.0, group=n, item=n)
    assert pacing.due(19.999)[1] == []
    assert pacing.due(20.0) == ([], list(range(8, 24)))
    assert pacing.next_due(20.0) is None


def test_auto_ends_after_a_minute_but_not_while_something_waits() -> None:
    pacing = Pacing()
    pacing.disturb(10001, 0.0)
    assert [offer(pacing, 55.0) for _ in range(20)][-1] is WAIT
    assert offer(pacing, 60.1) is WAIT, "the rest of the burst is paced too"
    run(pacing, 60.1, 200.0)
    assert [offer(pacing, 100.0) for _ in range(100)] == [GO] * 100


def test_a_second_disturbance_starts_the_minute_anew() -> None:
    pacing = Pacing()
    pacing.disturb(10001, 0.0)
    pacing.disturb(10001, 50.0)
    assert pacing.paces(10001, 109.9)
    assert not pacing.paces(10001, 110.0)


def test_discarded_items_take_no_turn() -> None:
    pacing = Pacing("safe")
    for n in range(8):
        offer(pacing, 0.0, item=n)
    pacing.discard(lambda item: item < 7)
    assert [(round(at, 6), item) for at, item in run(pacing, 0.0, 60.0)] == [(1.0, 7)]


def test_quiet_groups_are_forgotten() -> None:
    pacing = Pacing((1000.0, 1000.0))
    for n in range(5000):
        offer(pacing, n * 10.0, group=n)
    assert len(pacing._accounts[10001].groups) < 300


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4) | st.none()), max_size=80),
    st.sampled_from([(5.0, 1.0), (2.0, 0.5), (0.7, 3.0)]),
)
def test_rates_hold_for_every_order_of_arrival(
    arrivals: list[tuple[float, int | None]], rates: tuple[float, float]
) -> None:
    pacing, now, sent = Pacing(rates), 0.0, []
    for number, (gap, group) in enumerate(arrivals):
        for at, item in run(pacing, now, now + gap):
            sent.append((at, item))
        now += gap
        if offer(pacing, now, group=group, item=(number, group)) is GO:
            sent.append((now, (number, group)))
    sent += run(pacing, now, math.inf)
    account, each = rates
    for who, rate, burst in [
        (None, account, max(1.0, 4 * account)),
        *[(g, each, max(1.0, 5 * each)) for g in range(1, 5)],
    ]:
        times = [at for at, (_, group) in sent if who is None or group == who]
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + rate * (times[last] - times[first]) + 1e-6
    for group in range(1, 5):
        order = [number for _, (number, to) in sent if to == group]
        assert order == sorted(order)


def test_rate_limited_calls_go_every_half_second() -> None:
    queue = Queue()
    assert [queue.offer(n, 1, 0.0) for n in range(4)] == [GO, WAIT, WAIT, WAIT]
    assert queue.offer("other account", 2, 0.0) is GO
    assert queue.next_due() == 0.5
    assert queue.due(0.4) == []
    assert queue.due(0.5) == [1]
    assert queue.due(0.9) == []
    assert (queue.due(1.0), queue.due(7.0)) == ([2], [3])
    assert queue.next_due() is None
    assert queue.offer("again", 1, 7.2) is WAIT
    assert queue.due(7.5) == ["again"]
    assert queue.offer("much later", 1, 20.0) is GO


def test_rate_limited_calls_can_be_discarded() -> None:
    queue = Queue()
    for n in range(3):
        queue.offer(n, 1, 0.0)
    queue.discard(lambda item: item == 1)
    assert queue.due(0.5) == [2]
    queue.offer(3, 1, 0.6)
    queue.discard(lambda item: True)
    assert queue.next_due() is None


@pytest.mark.parametrize("value", ["auto", "off", "safe", (5.0, 1.0), (0.5, 0.1)])
def test_send_rates(value: Any) -> None:
    assert check_send_rate(value) == value


def test_a_list_is_as_good_as_a_tuple() -> None:
    assert check_send_rate([5, 1]) == (5.0, 1.0)
    assert Pacing([5, 1]).send_rate == (5.0, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", ["fast", None, 5, (5,), (5, 1, 1), (0, 1), (5, -1), (5, math.inf), (5, math.nan), (True, 1), ("5", "1")]
)
def test_what_is_no_send_rate(value: Any) -> None:
    with pytest.raises(ConfigError, match="messages a second for each account"):
        check_send_rate(value)
