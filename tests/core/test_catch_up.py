"""An upstream that froze for three minutes and lets go of 20,000 events at once. Time is passed in."""

from __future__ import annotations

from itertools import pairwise

import pytest

from napcore import Event, Filter, Hub, Policy
from napcore.core.ages import Ages

RATE = 20_000 / 180
GROUPS = 190
AHEAD = 1_700_000_000.0
"""Of the upstream's clock."""


class Scene:
    """A hub behind an upstream; every client is written to 20 times a second."""

    def __init__(self) -> None:
        self.now = 5_000.0
        self.hub = Hub(clock=lambda: self.now)
        self.ages = Ages()
        self.number = 0
        self.born: dict[int, float] = {}
        self.written: dict[str, list[tuple[int, float]]] = {}

    def add(self, name: str, filter: Filter | None = None, policy: Policy | None = None) -> None:
        self.hub.add(name, filter, policy, form="json")
        self.written[name] = []

    def event(self, born: float, **fields: object) -> Event:
        self.number += 1
        self.born[self.number] = born
        message = {"post_type": "message", "message_type": "group", "user_id": 7, "self_id": 10001}
        group = 1 + self.number % GROUPS
        return Event.from_dict(
            {**message, "group_id": group, "message_id": self.number, "time": int(born + AHEAD), **fields}
        )

    def take_in(self, events: list[Event]) -> None:
        self.hub.route(events, born=[self.ages.birth(event, 0, self.now) for event in events])

    def write(self) -> None:
        for name, client in self.hub.clients.items():
            box = client.outbox
            box.tick(self.now)
            while frames := box.gather(self.now):
                box.wrote()
                box.confirm(1 << 60)
                self.written[name] += [
                    (int(frame.split(b'"message_id":')[1].split(b",")[0]), self.now) for frame in frames
                ]

    def run(self, seconds: float) -> None:
        """Live events, and writes."""
        due = 0.0
        for _ in range(round(seconds * 20)):
            self.now += 0.05
            due += RATE / 20
            self.take_in([self.event(self.now) for _ in range(int(due))])
            due -= int(due)
            self.write()


@pytest.fixture(scope="module")
def scene() -> Scene:
    scene = Scene()
    scene.add("all")
    scene.add("short", policy=Policy(message_ttl=20.0, max_events=500))
    scene.add("other", Filter(kinds={"notice"}))
    scene.run(20.0)
    frozen_at = scene.now
    scene.now += 180.0
    backlog = [scene.event(frozen_at + number / RATE) for number in range(20_000)]
    for start in range(0, len(backlog), 70):
        scene.take_in(backlog[start : start + 70])
    scene.take_in([scene.event(scene.now, post_type="notice", notice_type="x")])
    scene.write()
    scene.run(120.0)
    return scene


def test_every_event_is_delivered_or_counted(scene: Scene) -> None:
    for name in ("all", "short"):
        client = scene.hub.clients[name].statistics()
        assert client.received == scene.number
        assert client.received == client.confirmed + client.queued + sum(client.dropped.values())
        assert client.confirmed == len(scene.written[name])
        assert set(client.dropped) == {"ttl", "oldest"}
        # What was past its lifetime was never let in.
        assert client.dropped["ttl"] > (20_000 if name == "short" else 13_000) * 0.85


def test_order_is_kept_and_nothing_stale_is_written(scene: Scene) -> None:
    for name, lifetime in (("all", 60.0), ("short", 20.0)):
        written = scene.written[name]
        assert all(one[0] < other[0] for one, other in pairwise(written))
        assert all(now - scene.born[number] < lifetime + 1.1 for number, now in written)


def test_what_is_late_comes_at_a_pace(scene: Scene) -> None:
    for name, written in scene.written.items():
        counts: dict[int, int] = {}
        for number, now in written:
            if name != "other" and now - scene.born[number] > 6.0:
                counts[int(now)] = counts.get(int(now), 0) + 1
        assert max(counts.values(), default=0) <= 4 * RATE * 1.3


def test_it_is_over_soon_and_live_events_are_on_time_again(scene: Scene) -> None:
    for name in ("all", "short"):
        late = [now for number, now in scene.written[name] if now - scene.born[number] > 6.0]
        # Of five hundred places none holds what is late.
        assert bool(late) == (name == "all")
        assert max(late, default=0.0) < scene.now - 60.0
        assert scene.hub.clients[name].outbox.queued == 0


def test_who_has_no_backlog_gets_its_event_at_once(scene: Scene) -> None:
    ((_, when),) = scene.written["other"]
    first_late = next(now for number, now in scene.written["all"] if now - scene.born[number] > 6.0)
    assert when <= first_late
