"""How long to wait before the next dial: lanes, caps, the reset, and the spread."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from napcore.core.backoff import Backoff, Lane


class Dice(random.Random):
    """Answers with a fixed place between the two ends and remembers which ends it was asked for."""

    def __init__(self, place: float = 1.0) -> None:
        super().__init__()
        self.place = place
        self.asked: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.asked.append((a, b))
        return a + (b - a) * self.place


def delays(backoff: Backoff, count: int, now: float = 0.0, lane: Lane = Lane.LOST) -> list[float]:
    return [backoff.delay(now, lane) for _ in range(count)]


def tops(dice: Dice) -> Sequence[float]:
    assert all(low == 0.0 for low, _ in dice.asked)
    return [high for _, high in dice.asked]


def test_delays_double_up_to_the_cap() -> None:
    dice = Dice()
    delays(Backoff(loopback=False, rng=dice), 9)
    assert tops(dice) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_the_cap_is_lower_on_loopback() -> None:
    dice = Dice()
    delays(Backoff(loopback=True, rng=dice), 6)
    assert tops(dice) == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_the_base_can_be_set() -> None:
    dice = Dice()
    delays(Backoff(loopback=True, base=2.0, rng=dice), 3)
    assert tops(dice) == [2.0, 4.0, 5.0]


def test_the_jitter_is_full() -> None:
    assert delays(Backoff(loopback=False, rng=Dice(0.0)), 3) == [0.0, 0.0, 0.0]
    assert delays(Backoff(loopback=False, rng=Dice(0.5)), 3) == [0.25, 0.5, 1.0]
    assert delays(Backoff(loopback=False, rng=Dice(1.0)), 3) == [0.5, 1.0, 2.0]


def test_many_tries_do_not_overflow() -> None:
    assert delays(Backoff(loopback=False, rng=Dice()), 3000)[-1] == 30.0
    assert delays(Backoff(loopback=False, rng=Dice()), 3000, lane=Lane.AUTH)[-1] == 300.0


def test_the_same_seed_gives_the_same_delays() -> None:
    one, two, other = (delays(Backoff(loopback=False, rng=random.Random(seed)), 8) for seed in (7, 7, 8))
    assert one == two
    assert one != other
    assert all(0.0 <= delay <= top for delay, top in zip(one, (0.5, 1, 2, 4, 8, 16, 30, 30), strict=True))


def test_dialers_do_not_walk_in_step() -> None:
    assert delays(Backoff(loopback=False), 8) != delays(Backoff(loopback=False), 8)


# The reset.


@pytest.mark.parametrize(("lasted", "top"), [(30.0, 0.5), (3600.0, 0.5), (29.9, 8.0), (0.0, 8.0)])
def test_a_stable_link_starts_the_count_anew(lasted: float, top: float) -> None:
    dice = Dice()
    backoff = Backoff(loopback=False, rng=dice)
    delays(backoff, 4)
    backoff.linked(100.0)
    backoff.delay(100.0 + lasted)
    assert tops(dice)[-1] == top


def test_a_stable_link_counts_once() -> None:
    dice = Dice()
    backoff = Backoff(loopback=False, rng=dice)
    backoff.linked(0.0)
    delays(backoff, 3, now=1000.0)
    assert tops(dice) == [0.5, 1.0, 2.0]


def test_what_is_stable_can_be_set() -> None:
    dice = Dice()
    backoff = Backoff(loopback=False, stable=5.0, rng=dice)
    delays(backoff, 2)
    backoff.linked(0.0)
    backoff.delay(5.0)
    assert tops(dice)[-1] == 0.5


# Refused tokens.


def test_a_refused_token_waits_30_to_300_seconds() -> None:
    dice = Dice()
    assert delays(Backoff(loopback=False, rng=dice), 6, lane=Lane.AUTH) == [60.0, 120.0, 240.0, 300.0, 300.0, 300.0]
    assert dice.asked == [(30, 60), (60, 120), (120, 240), (240, 480), (300, 600), (300, 600)]
    assert delays(Backoff(loopback=True, rng=Dice(0.0)), 6, lane=Lane.AUTH) == [30, 60, 120, 240, 300, 300]


def test_refusals_and_lost_links_are_counted_apart() -> None:
    backoff = Backoff(loopback=False, rng=Dice())
    assert backoff.delay(0.0) == 0.5
    assert backoff.delay(0.0, Lane.AUTH) == 60.0
    assert backoff.delay(0.0) == 1.0
    assert backoff.delay(0.0, Lane.AUTH) == 120.0


def test_a_stable_link_forgets_refusals() -> None:
    backoff = Backoff(loopback=False, rng=Dice())
    delays(backoff, 3, lane=Lane.AUTH)
    backoff.linked(0.0)
    assert backoff.delay(10.0, Lane.AUTH) == 300.0
    backoff.linked(20.0)
    assert backoff.delay(50.0, Lane.AUTH) == 60.0


# A busy peer.


def test_a_busy_peer_is_tried_quickly_for_a_minute() -> None:
    backoff = Backoff(loopback=False, rng=Dice())
    backoff.linked(0.0)
    tried = [backoff.delay(now, Lane.BUSY) for now in (100.0, 101.0, 103.0, 107.0, 115.0, 159.9)]
    assert tried == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.delay(160.0, Lane.BUSY) == 60.0
    assert backoff.delay(220.0, Lane.BUSY) == 120.0


def test_the_minute_starts_anew_with_the_next_link() -> None:
    backoff = Backoff(loopback=False, rng=Dice())
    backoff.delay(0.0, Lane.BUSY)
    backoff.linked(50.0)
    assert backoff.delay(90.0, Lane.BUSY) == 0.5
    assert backoff.delay(149.0, Lane.BUSY) == 1.0
    assert backoff.delay(150.0, Lane.BUSY) == 60.0


def test_a_link_closed_as_busy_right_away_does_not_start_it_anew() -> None:
    backoff = Backoff(loopback=False, rng=Dice())
    for now in range(0, 60, 5):
        backoff.linked(now)
        assert backoff.delay(now + 0.1, Lane.BUSY) <= 5.0
    backoff.linked(61.0)
    assert backoff.delay(61.1, Lane.BUSY) == 60.0


def test_a_busy_peer_on_loopback() -> None:
    assert delays(Backoff(loopback=True, rng=Dice()), 5, lane=Lane.BUSY) == [0.5, 1.0, 2.0, 4.0, 5.0]


def test_success_is_remembered() -> None:
    backoff = Backoff(loopback=False)
    assert backoff.succeeded is False
    backoff.delay(0.0, Lane.AUTH)
    assert backoff.succeeded is False
    backoff.linked(1.0)
    backoff.delay(2.0)
    assert backoff.succeeded is True
