"""Routers of both cores, with outboxes that share a budget, through every order of calls."""

from __future__ import annotations

import gc
import importlib
import math
import os
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

NAMES = ["_dispatch_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_dispatch", "_dispatch_py"]
CORES = [importlib.import_module(f"napcore.{name}") for name in NAMES]

EVENTS = [
    orjson.dumps(fields)
    for fields in (
        {"post_type": "message", "message_type": "group", "group_id": 1, "user_id": 2, "message": "a" * 30},
        {"post_type": "message", "message_type": "group", "group_id": 1, "user_id": 3, "message": "/stop"},
        {"post_type": "message", "message_type": "group", "group_id": 2, "user_id": 2, "message": [{"type": "face"}]},
        {"post_type": "message", "message_type": "private", "user_id": 3, "message": "x" * 120},
        {"post_type": "notice", "notice_type": "notify", "group_id": 2, "user_id": 3},
        {"post_type": "request", "request_type": "friend", "user_id": 2},
    )
]
PEEKED = [[core.peek(raw) for raw in EVENTS] for core in CORES]
KEEPS: list[dict[str, Any] | None] = [
    None,
    {"users": {3}},
    {"groups": {2}, "private": False},
    {"text": {"prefix": ["/"]}},
    {"condition": lambda event, account: account == 1},
    {"condition": lambda event, account: 1 // ((event.group_id or 1) - 1) > 0},  # raises for group 1 and without one
]
FORMS = ["event", "json", "frame", "sse"]
COUNTERS = ("received", "confirmed", "unconfirmed", "queued", "queued_bytes", "max_queued", "dropped")


class Budgets(RuleBasedStateMachine):
    """The same calls to both."""

    @initialize(limit=st.sampled_from([150, 400, 1000, math.inf]))
    def start(self, limit: float) -> None:
        self.limit = limit
        self.routers = [core.Router(memory_limit=limit) for core in CORES]
        self.outboxes: list[list[Any]] = []
        self.rows: dict[int, dict[str, Any] | None] = {}
        self.now = 10.0

    def same(self, results: list[Any]) -> Any:
        assert results.count(results[0]) == len(results), results
        return results[0]

    def boxes(self, choice: int) -> list[Any]:
        return self.outboxes[choice % len(self.outboxes)] if self.outboxes else []

    @rule(
        max_events=st.sampled_from([2, 5, math.inf]),
        delivery=st.sampled_from(["at_most_once", "at_least_once"]),
        form=st.sampled_from(FORMS),
        message_format=st.sampled_from([None, None, "array", "string"]),
        keep=st.sampled_from(KEEPS),
        again=st.none() | st.integers(0, 9),
    )
    def add(
        self, max_events: float, delivery: str, form: str, message_format: str | None, keep: Any, again: Any
    ) -> None:
        if again is None or not self.outboxes:
            name = len(self.outboxes)
            self.outboxes.append([core.Outbox(name, max_events=max_events, delivery=delivery) for core in CORES])
            again = name
        row = self.same(
            [
                router.add(box, form, message_format=message_format, keep=keep)
                for router, box in zip(self.routers, self.boxes(again), strict=True)
            ]
        )
        taken = {*self.rows}
        assert row not in taken
        self.rows[row] = keep

    @rule(choice=st.integers(0, 9))
    def remove(self, choice: int) -> None:
        if self.rows:
            row = list(self.rows)[choice % len(self.rows)]
            for router in self.routers:
                router.remove(row)
            del self.rows[row]

    @rule(
        batch=st.lists(st.integers(0, len(EVENTS) - 1), min_size=1, max_size=4),
        account=st.sampled_from([0, 1]),
        ages=st.none() | st.lists(st.sampled_from([0.0, 6.0, 59.9, 60.0, 700.0]), min_size=4, max_size=4),
    )
    def fan_out(self, batch: list[int], account: int, ages: list[float] | None) -> None:
        born = None if ages is None else [self.now - age for age in ages[: len(batch)]]
        reports = [
            core.fan_out(router, [events[at] for at in batch], self.now, account, born=born)
            for core, router, events in zip(CORES, self.routers, PEEKED, strict=True)
        ]
        self.same([(report.matched, report.queued, report.dropped, report.ready) for report in reports])

    @rule(choice=st.integers(0, 9), max_bytes=st.sampled_from([0, 100, 65536]), share=st.floats(0, 1))
    def write(self, choice: int, max_bytes: int, share: float) -> None:
        results = []
        for box in self.boxes(choice):
            try:
                frames = box.gather(self.now, max_bytes)
            except TypeError:
                frames = []
            results.append([frames, box.sent(int(sum(map(len, frames)) * share))])
        if results:
            self.same(results)

    @rule(choice=st.integers(0, 9), back=st.integers(0, 3))
    def confirm(self, choice: int, back: int) -> None:
        if boxes := self.boxes(choice):
            self.same([box.confirm(box.in_flight_sequence - back) for box in boxes])

    @rule(choice=st.integers(0, 9), limit=st.integers(0, 2))
    def take(self, choice: int, limit: int) -> None:
        if boxes := self.boxes(choice):
            deadlines: list[list[float]] = [[] for _ in boxes]
            taken = [box.take(self.now, limit, each) for box, each in zip(boxes, deadlines, strict=True)]
            self.same([[getattr(item, "raw", item) for item in items] for items in taken])
            self.same(deadlines)
            assert len(deadlines[0]) == len(taken[0])
            assert all(deadline > self.now for deadline in deadlines[0])

    @rule(choice=st.integers(0, 9), refused_size=st.booleans())
    def lose_link(self, choice: int, refused_size: bool) -> None:
        if boxes := self.boxes(choice):
            self.same([box.lose_link(refused_size) for box in boxes])

    @rule(choice=st.integers(0, 9), what=st.sampled_from(["hold", "end_hold", "resume"]))
    def link(self, choice: int, what: str) -> None:
        if boxes := self.boxes(choice):
            self.same([getattr(box, what)() for box in boxes])

    @rule(seconds=st.sampled_from([1.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def agree_and_close(self) -> None:
        if not hasattr(self, "routers"):
            return
        self.same([router.memory for router in self.routers])
        self.same([len(router) for router in self.routers])
        assert len(self.routers[0]) == len(self.rows)
        for boxes in self.outboxes:
            found = self.same([{name: getattr(box, name) for name in COUNTERS} for box in boxes])
            settled = found["confirmed"] + found["unconfirmed"] + found["queued"] + sum(found["dropped"].values())
            assert found["received"] == settled

    @invariant()
    def within_the_budget(self) -> None:
        """Beyond it is only what no row's outbox can let go: of removed rows, or half written."""
        if not hasattr(self, "routers") or self.rows.keys() != set(range(len(self.rows))):
            return
        stuck = sum(box[0].queued_bytes for box in self.outboxes if box[0].in_flight != box[0].unconfirmed)
        if len(self.rows) == len(self.outboxes):
            assert self.routers[0].memory <= self.limit + stuck

    def teardown(self) -> None:
        """What is held is what the outboxes hold."""
        self.outboxes.clear()
        gc.collect()
        for router in getattr(self, "routers", ()):
            for row in self.rows:
                router.remove(row)
        gc.collect()
        assert [router.memory for router in getattr(self, "routers", ())] == [0] * len(getattr(self, "routers", ()))


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(stateful_step_count=40)
