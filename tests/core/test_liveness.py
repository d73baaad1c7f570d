"""Silence of an upstream: who is asked when, and what becomes of one that does not answer."""

from __future__ import annotations

import math
from typing import Any

import pytest

from napcore.core.liveness import Liveness, Probe, Step, interval_of

NOTHING, PING, DEAD, STALLED, BACK = Step.NOTHING, Step.PING, Step.DEAD, Step.STALLED, Step.BACK


def steps(link: Liveness, start: int, end: int, heard_at: float) -> dict[float, Step]:
    """What a look every second brings while nothing is heard."""
    found = {now: link.look(now, heard_at) for now in range(start, end)}
    return {now: step for now, step in found.items() if step is not NOTHING}


def test_a_silent_remote_upstream_is_asked_and_cut_within_80_seconds() -> None:
    link = Liveness(0.0, patient=False)
    assert steps(link, 0, 81, 0.0) == {76: PING}
    assert link.look(81.0, 0.0) is DEAD


def test_the_heartbeats_own_interval_counts() -> None:
    link = Liveness(0.0, patient=False)
    link.beat(3.0)
    assert steps(link, 0, 13, 0.0) == {8: PING}
    assert link.look(13.0, 0.0) is DEAD


@pytest.mark.parametrize("interval", [0.0, -1.0, 3600.1, math.inf, math.nan])
def test_an_interval_that_cannot_be_meant_changes_nothing(interval: float) -> None:
    link = Liveness(0.0, patient=False)
    link.beat(interval)
    assert (link.interval, link.told) == (30.0, False)


def test_any_traffic_is_a_sign_of_life() -> None:
    link = Liveness(0.0, patient=False)
    assert [link.look(now, now - 10.0) for now in range(0, 500, 5)] == [NOTHING] * 100


def test_a_pong_starts_the_silence_anew() -> None:
    link = Liveness(0.0, patient=False)
    assert link.look(80.0, 0.0) is PING
    assert link.look(81.0, 80.5) is NOTHING
    assert steps(link, 82, 157, 80.5) == {156: PING}


def test_a_silent_process_on_this_machine_is_kept() -> None:
    link = Liveness(0.0, patient=True)
    assert steps(link, 0, 300, 0.0) == {76: PING, 81: STALLED}
    assert link.stalled
    assert link.look(301.0, 300.5) is BACK
    assert not link.stalled
    assert link.silent_for == 300.5
    assert steps(link, 302, 400, 300.5) == {376: PING, 381: STALLED}


def test_one_whose_account_has_a_newer_link_has_to_answer_now() -> None:
    for patient in (True, False):
        link = Liveness(0.0, patient=patient)
        link.doubt()
        assert link.look(1.0, 0.9) is PING
        assert link.look(5.9, 0.9) is NOTHING
        assert link.look(6.0, 0.9) is DEAD


def test_one_that_answers_is_doubted_no_more() -> None:
    link = Liveness(0.0, patient=True)
    link.doubt()
    assert link.look(1.0, 0.9) is PING
    assert link.look(2.0, 1.1) is NOTHING
    assert steps(link, 3, 77, 1.1) == {}


def test_a_stalled_one_is_cut_when_another_takes_its_place() -> None:
    link = Liveness(0.0, patient=True)
    steps(link, 0, 100, 0.0)
    link.doubt()
    assert link.look(101.0, 0.0) is DEAD, "it has not answered for long"


def test_a_gap_is_a_silence_that_must_have_held_a_heartbeat() -> None:
    link = Liveness(0.0, patient=True)
    assert not link.gap < 1000.0, "it may send none"
    link.beat(3.0)
    assert not link.gap < 4.5
    assert link.gap < 4.6


def test_a_probe_once_a_minute() -> None:
    probe = Probe()
    assert [now for now in range(200) if probe.wanted(now)] == [0, 60, 120, 180]


def test_an_unanswered_probe_makes_stuck_and_any_answer_unmakes_it() -> None:
    probe = Probe()
    assert not probe.look(100.0), "nobody has been asked"
    assert probe.wanted(100.0)
    assert not probe.look(109.9)
    assert probe.look(110.0)
    assert probe.stuck
    assert not probe.look(111.0), "told once"
    assert probe.answered()
    assert not probe.stuck
    assert not probe.answered()
    assert not probe.look(200.0)


def test_an_answered_probe_is_forgotten() -> None:
    probe = Probe()
    probe.wanted(0.0)
    assert not probe.answered()
    assert not probe.look(50.0)


@pytest.mark.parametrize(
    ("data", "interval"),
    [
        ({"interval": 30000}, 30.0),
        ({"interval": 2500.5}, 2.5005),
        ({}, 0.0),
        ({"interval": None}, 0.0),
        ({"interval": "30000"}, 0.0),
        ({"interval": True}, 0.0),
        ({"interval": math.inf}, 0.0),
    ],
)
def test_interval_of(data: Any, interval: float) -> None:
    assert interval_of(data) == interval
