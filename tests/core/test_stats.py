"""When somebody is told of lost events, and that snapshots are plain values."""

from __future__ import annotations

import pytest

from napcore.core.stats import CallStatistics, ClientStatistics, ListenerStatistics, LossReport, RelayStatistics

ALICE, BOB = object(), object()


def test_the_first_loss_is_reported_at_once() -> None:
    assert LossReport().due(0.0, ALICE, {"oldest": 3}) == [("oldest", 3)]
    assert LossReport().due(5.0, ALICE, {"ttl": 1}) == [("ttl", 1)]


def test_nothing_lost_is_nothing_to_say() -> None:
    report = LossReport()
    assert report.due(0.0, ALICE, {}) == []
    assert report.due(0.0, ALICE, {"oldest": 0}) == []
    assert report.rest(ALICE, {}) == []


def test_more_of_the_same_waits_for_the_minute_to_pass() -> None:
    report = LossReport()
    report.due(100.0, ALICE, {"oldest": 3})
    assert report.due(101.0, ALICE, {"oldest": 4}) == []
    assert report.due(159.9, ALICE, {"oldest": 10}) == []
    assert report.due(160.0, ALICE, {"oldest": 12}) == [("oldest", 9)]
    assert report.due(219.9, ALICE, {"oldest": 13}) == []


def test_the_minute_is_counted_from_the_last_report_not_the_last_loss() -> None:
    report = LossReport()
    report.due(0.0, ALICE, {"oldest": 1})
    assert report.due(1000.0, ALICE, {"oldest": 1}) == []
    assert report.due(1001.0, ALICE, {"oldest": 2}) == [("oldest", 1)]
    assert report.due(1002.0, ALICE, {"oldest": 3}) == []


def test_reasons_are_told_apart() -> None:
    report = LossReport()
    assert report.due(0.0, ALICE, {"oldest": 3}) == [("oldest", 3)]
    assert report.due(1.0, ALICE, {"oldest": 5, "ttl": 2}) == [("ttl", 2)]
    assert report.due(60.0, ALICE, {"oldest": 5, "ttl": 3}) == [("oldest", 2)]
    assert report.due(61.0, ALICE, {"oldest": 5, "ttl": 3}) == [("ttl", 1)]


def test_clients_are_told_apart() -> None:
    report = LossReport()
    assert report.due(0.0, ALICE, {"oldest": 3}) == [("oldest", 3)]
    assert report.due(1.0, BOB, {"oldest": 1}) == [("oldest", 1)]
    assert report.due(1.0, ALICE, {"oldest": 4}) == []


def test_the_period_can_be_set() -> None:
    report = LossReport(period=5.0)
    report.due(10.0, ALICE, {"oldest": 1})
    assert report.due(14.9, ALICE, {"oldest": 2}) == []
    assert report.due(15.0, ALICE, {"oldest": 2}) == [("oldest", 1)]


def test_the_last_word_is_what_has_not_been_told() -> None:
    report = LossReport()
    report.due(0.0, ALICE, {"oldest": 3, "ttl": 1})
    assert report.rest(ALICE, {"oldest": 5, "ttl": 1, "shutdown": 2}) == [("oldest", 2), ("shutdown", 2)]


def test_after_the_last_word_a_client_is_forgotten() -> None:
    report = LossReport()
    report.due(0.0, ALICE, {"oldest": 3})
    report.due(0.0, BOB, {"oldest": 3})
    assert report.rest(ALICE, {"oldest": 3}) == []
    assert report.due(1.0, ALICE, {"oldest": 1}) == [("oldest", 1)]
    assert report.due(1.0, BOB, {"oldest": 4}) == []


@pytest.mark.parametrize("kind", [CallStatistics, ClientStatistics, ListenerStatistics, RelayStatistics])
def test_snapshots_cannot_be_changed(kind: type) -> None:
    snapshot = kind(*range(len(kind._fields)))  # type: ignore[attr-defined]
    for field in kind._fields:  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            setattr(snapshot, field, None)
