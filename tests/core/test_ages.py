"""Ages of events: clocks that are apart, stepped or drift; delays; idle accounts. Time is passed in."""

from __future__ import annotations

import orjson
import pytest

from napcore import Event
from napcore.core import ages
from napcore.core.ages import Ages

START = 5_000.0
"""Of our monotonic clock."""


def event(time: float | None, kind: str = "message", self_id: int | None = 10001) -> Event:
    fields: dict[str, object] = {"post_type": kind, f"{kind}_type": "group" if kind == "message" else "x"}
    if time is not None:
        fields["time"] = int(time)
    if self_id is not None:
        fields["self_id"] = self_id
    return Event.from_dict(fields)


class Upstream:
    """An upstream whose clock is so many seconds ahead of ours."""

    def __init__(self, ahead: float = 1_700_000_000.0) -> None:
        self.ages = Ages()
        self.ahead = ahead
        self.now = START

    def age(self, delay: float = 0.0, **fields: object) -> float:
        """Of an event that was ``delay`` seconds on its way."""
        born = self.ages.birth(event(self.now - delay + self.ahead, **fields), 0, self.now)  # type: ignore[arg-type]
        return self.now - born

    def run(self, seconds: float, delay: float = 0.0, step: float = 1.0) -> list[float]:
        """Ages of the events of so many seconds."""
        found = []
        for _ in range(int(seconds / step)):
            self.now += step
            found.append(self.age(delay))
        return found


@pytest.fixture(params=[0, 3600, -3600, 86400 * 365 * 60, 1_700_000_000], ids=str)
def upstream(request: pytest.FixtureRequest) -> Upstream:
    return Upstream(float(request.param) + 10_000)


def test_what_is_not_delayed_is_fresh_wherever_the_clocks_stand(upstream: Upstream) -> None:
    assert max(upstream.run(1500)) <= 1.0


def test_a_delay_is_seen(upstream: Upstream) -> None:
    upstream.run(30)
    for delay in (3, 30, 300, 3500):
        upstream.now += 1
        assert upstream.age(delay) == pytest.approx(delay, abs=1.0)
    upstream.now += 1
    assert upstream.age() <= 1.0


def test_a_burst_of_three_minutes_is_aged_event_by_event(upstream: Upstream) -> None:
    upstream.run(60)
    upstream.now += 180
    found = [upstream.age(180 - number / 100) for number in range(18_000)]
    assert found[0] == pytest.approx(180, abs=1.0)
    assert found[9000] == pytest.approx(90, abs=1.0)
    assert found[-1] <= 1.1


def test_milliseconds_and_missing_times() -> None:
    upstream = Upstream()
    upstream.run(10)
    now = upstream.now
    at = now + upstream.ahead
    events = [event(at), event(at - 40), event((at - 20) * 1000), event(None), event(0), event(-5)]
    found = [now - upstream.ages.birth(one, 0, now) for one in events]
    assert found == pytest.approx([0, 40, 20, 0, 0, 0], abs=1.0)


@pytest.mark.parametrize("step", [86400, -86400, 3600, 40, -30, -3600, -3700])
def test_a_clock_that_is_stepped_loses_nothing(step: float) -> None:
    upstream = Upstream()
    upstream.run(700)
    upstream.ahead += step
    found = upstream.run(1500)
    # Less than a lifetime, or disbelieved.
    assert max(found) <= max(1.0, -step + 1.0 if -60 < step < 0 else 1.0)
    assert max(found[-700:]) <= 1.0


def test_a_step_back_of_half_an_hour_is_learned_in_two_minutes(caplog: pytest.LogCaptureFixture) -> None:
    upstream = Upstream()
    upstream.run(700)
    upstream.ahead -= 1800
    found = upstream.run(600)
    assert max(found[:100]) > 1700
    assert max(found[125:]) <= 1.0
    assert caplog.text.count("so its clock or ours has been moved; ages are counted anew") == 1
    assert "account 10001: every message.group has seemed too old" in caplog.text


def test_after_a_step_back_of_a_day_delays_are_seen_again_in_two_minutes(caplog: pytest.LogCaptureFixture) -> None:
    upstream = Upstream()
    upstream.run(700)
    upstream.ahead -= 86400
    assert max(upstream.run(125)) <= 1.0
    assert caplog.text.count("so its clock or ours has been moved; ages are counted anew") == 1
    found = upstream.run(10, delay=50)
    assert 48 < min(found) <= max(found) < 52


def test_a_clock_that_was_ahead_for_one_event_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    upstream = Upstream()
    upstream.run(700)
    upstream.age(-7200)
    assert max(upstream.run(300)) <= 1.0  # two hours are disbelieved
    upstream.age(-20)
    upstream.run(650)
    assert upstream.age() <= 1.0


def test_a_backlog_that_trickles_in_is_no_moved_clock(caplog: pytest.LogCaptureFixture) -> None:
    upstream = Upstream()
    upstream.run(700)
    upstream.now += 180
    # A minute's worth of the backlog comes in 50 s, then it is fresh again.
    found = upstream.run(50, delay=170)
    assert min(found) > 165
    assert max(upstream.run(60)) <= 1.0
    assert "moved" not in caplog.text


def test_what_was_learned_is_kept_while_nothing_comes() -> None:
    upstream = Upstream()
    upstream.run(30)
    upstream.now += 8 * 3600
    assert upstream.age(50) == pytest.approx(50, abs=1.0)


def test_a_drift_is_followed() -> None:
    upstream = Upstream()
    for _ in range(48):
        upstream.ahead -= 5.0  # half an hour later the clock has lost 5 s
        found = upstream.run(1800, step=10.0)
        assert max(found) <= 6.0
        assert found[-1] <= 1.0


def test_rare_events_learn_too() -> None:
    upstream = Upstream()
    upstream.run(20)
    upstream.ahead -= 1800
    found = upstream.run(3600, step=300.0)
    assert max(found[4:]) <= 1.0


def test_every_kind_has_a_clock_of_its_own() -> None:
    upstream = Upstream()
    upstream.run(20)
    upstream.ahead += 7000  # the upstream's own clock is far ahead of the server's
    assert upstream.age(kind="notice") == 0.0
    upstream.ahead -= 7000
    assert upstream.age(30) == pytest.approx(30, abs=1.0)


def test_accounts_are_apart_and_the_links_account_stands_in() -> None:
    upstream = Upstream()
    upstream.run(20)
    at = upstream.now + upstream.ahead - 50
    born = upstream.ages.birth(event(at, self_id=10002), 0, upstream.now)
    assert born == upstream.now
    born = upstream.ages.birth(event(at, self_id=None), 10001, upstream.now)
    assert upstream.now - born == pytest.approx(50, abs=1.0)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ages, "MOST_CLOCKS", 2)
    found = Ages()
    for self_id in (1, 2, 3):
        for time in (1000, 900):
            born = found.birth(event(time, self_id=self_id), 0, 50.0)
            assert born == (50.0 if time == 1000 or self_id == 3 else -50.0)


def test_times_of_any_size() -> None:
    found = Ages()
    for time in (1, 99_999_999_999, 100_000_000_000, (1 << 63) - 1):
        raw = orjson.dumps({"post_type": "notice", "time": time})
        born = found.birth(Event.from_dict(orjson.loads(raw)), 0, 50.0)
        assert born <= 50.0
