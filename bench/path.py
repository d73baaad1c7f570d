"""Rows: the whole way from received bytes into each client's queue as WebSocket frames.

Queues are emptied between the timed parts. Every client's frames are checked, order included.
The peers judge by the group alone and do not report whom to flush; napcore does everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from bench.corpus import Events, cover, encoded, fresh, mixed, realistic, zipf_groups
from bench.peers import (
    Inbox,
    index_and_shared_frame,
    index_of,
    server_frame,
    sets_and_dumps,
    sets_and_shared_frame,
)
from bench.rounds import Case
from bench.workload import SUBJECT, Aim, Workload
from napcore import dispatch

CLIENTS = (1, 10, 100, 1_000)
EVENTS = 128
BATCH = 16
BEST = "msgspec + dict index"
PER_DELIVERY = Aim(None, 6, 10)
AIMS: dict[int, tuple[Aim, ...]] = {10: (Aim(BEST, 3, 2),), 100: (Aim(BEST, 3, 2),), 1_000: (Aim(BEST, 4, 3),)}

Sets = Sequence[frozenset[int]]


def workloads(seed: int) -> Iterator[Workload]:
    for clients in CLIENTS:
        yield realistic_workload(seed, clients)
    for per_filter in (1, 20, 200):
        yield covered_workload(seed, 1_000, per_filter, 0.27)
    yield alone(covered_workload(seed, 1_000, 20, 0.27))


def realistic_workload(seed: int, clients: int) -> Workload:
    """The mix of events in Zipf-distributed groups; filters of 1 to 200 groups."""
    random = Random(seed)
    events = encoded(random, mixed(random, EVENTS), zipf_groups(random, EVENTS))
    sets = realistic(random, clients)
    return _workload(f"{clients} clients", events, sets, AIMS.get(clients, ()), "filters of 1 to 200 groups")


def covered_workload(seed: int, clients: int, per_filter: int, wanted: float) -> Workload:
    """Group messages only; every filter lists ``per_filter`` groups, a share ``wanted`` takes each event."""
    random = Random(seed)
    sets, spoken = cover(random, clients, per_filter, wanted)
    groups = [spoken[number % len(spoken)] for number in range(EVENTS)]
    events = encoded(random, mixed(random, EVENTS, messages_only=True), groups)
    name = f"{clients} clients x {per_filter} groups, {wanted:.0%} wanted"
    return _workload(name, events, sets, (PER_DELIVERY,), "every filter of the same size")


def alone(workload: Workload) -> Workload:
    """napcore only: with peers between its rounds it starts each of them with empty caches."""
    cases = [case for case in workload.cases if case.name.startswith(SUBJECT)]
    return replace(workload, name=f"{workload.name}, alone", cases=cases, aims=(), note="no peer runs in between")


def _workload(name: str, events: Events, sets: Sets, aims: Sequence[Aim], note: str) -> Workload:
    expected = [
        [number for number, ids in enumerate(events.ids) if ids[1] is None or ids[1] in chosen] for chosen in sets
    ]
    deliveries = sum(map(len, expected)) / EVENTS
    cases = [
        napcore_case(SUBJECT, events, sets, expected, 1),
        napcore_case(f"{SUBJECT}, batches of {BATCH}", events, sets, expected, BATCH),
        *peer_cases(events, sets, expected),
    ]
    note = f"{deliveries / len(sets):.1%} wanted, {events.size:.0f} B on average; {note}"
    return Workload("path", name, EVENTS, cases, deliveries, aims, note)


def napcore_case(name: str, events: Events, sets: Sets, expected: list[list[int]], batch: int) -> Case:
    router = dispatch.Router()
    outboxes = [dispatch.Outbox() for _ in sets]
    for outbox, chosen in zip(outboxes, sets, strict=True):
        router.add(outbox, "frame", groups=chosen)
    peek, fan_out = dispatch.peek, dispatch.fan_out

    def singly(raws: list[bytes]) -> int:
        queued = 0
        for raw in raws:
            queued += fan_out(router, (peek(raw),), 0.0).queued
        return queued

    def batched(raws: list[bytes]) -> int:
        queued = 0
        for start in range(0, len(raws), batch):
            queued += fan_out(router, [peek(raw) for raw in raws[start : start + batch]], 0.0).queued
        return queued

    def drain() -> list[list[bytes]]:
        frames = [outbox.take(0.0) for outbox in outboxes]
        assert not any(outbox.dropped for outbox in outboxes), "events were dropped"
        return frames

    return _case(name, events, expected, singly if batch == 1 else batched, drain)


def peer_cases(events: Events, sets: Sets, expected: list[list[int]]) -> list[Case]:
    def drained(inboxes: Sequence[Inbox]) -> Callable[[], list[list[bytes]]]:
        def drain() -> list[list[bytes]]:
            frames = [list(inbox) for inbox in inboxes]
            for inbox in inboxes:
                inbox.clear()
            return frames

        return drain

    indexed = [Inbox() for _ in sets]
    everyone = [inbox.append for inbox in indexed]
    index = index_of(sets, everyone)
    asked = [(chosen, Inbox()) for chosen in sets]
    encoding = [(chosen, Inbox()) for chosen in sets]
    return [
        _case(BEST, events, expected, lambda raws: index_and_shared_frame(raws, index, everyone), drained(indexed)),
        _case(
            "orjson + set tests",
            events,
            expected,
            lambda raws: sets_and_shared_frame(raws, asked),
            drained([inbox for _, inbox in asked]),
        ),
        _case(
            "orjson + dumps per client",
            events,
            expected,
            lambda raws: sets_and_dumps(raws, encoding),
            drained([inbox for _, inbox in encoding]),
        ),
    ]


def _case(
    name: str,
    events: Events,
    expected: list[list[int]],
    run: Callable[[list[bytes]], int],
    drain: Callable[[], list[list[bytes]]],
) -> Case:
    numbers = {server_frame(raw): number for number, raw in enumerate(events.raws)}
    total = sum(map(len, expected))

    def check(_: Any, counted: int) -> None:
        received = drain()
        assert counted == total, f"{counted} deliveries counted, not {total}"
        for client, (frames, wanted) in enumerate(zip(received, expected, strict=True)):
            assert [numbers.get(frame) for frame in frames] == wanted, f"client {client}: not its events in order"

    return Case(name, lambda: fresh(events.raws), run, check)
