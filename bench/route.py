"""Rows: which filters want an event that has been read already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from bench.corpus import Events, cover, encoded, fresh, mixed
from bench.peers import decode_head, index_of
from bench.rounds import Case
from bench.workload import SUBJECT, Workload
from napcore import dispatch

FILTERS = (1, 10, 100, 1_000)
PER_FILTER = (1, 20, 200)
WANTED = (0.0, 0.27, 1.0)
EVENTS = 256

NOTE = "the dict index lends its list, napcore makes one"


def workloads(seed: int) -> Iterator[Workload]:
    for wanted in WANTED:
        for filters in FILTERS:
            for per_filter in PER_FILTER:
                yield workload(seed, filters, per_filter, wanted)


def workload(seed: int, filters: int, per_filter: int, wanted: float) -> Workload:
    """Every event is of a group; the filters list groups and nothing else."""
    random = Random(seed)
    sets, spoken = cover(random, filters, per_filter, wanted)
    groups = [spoken[number % len(spoken)] for number in range(EVENTS)]
    events = encoded(random, mixed(random, EVENTS, messages_only=True), groups)
    expected = [[row for row, chosen in enumerate(sets) if group in chosen] for group in groups]

    router = dispatch.Router()
    outbox = dispatch.Outbox()
    for chosen in sets:
        router.add(outbox, groups=chosen)
    index = index_of(sets, range(filters))

    def by_sets(head: Any) -> list[int]:
        group = head.group_id
        return [row for row, chosen in enumerate(sets) if group in chosen]

    def by_index(head: Any) -> list[int]:
        return index.get(head.group_id, [])

    return Workload(
        "route",
        f"{filters} filters x {per_filter} groups, {wanted:.0%} wanted",
        EVENTS,
        [
            routing(SUBJECT, dispatch.peek, router.match, events, expected),
            routing("set per filter", decode_head, by_sets, events, expected),
            routing("dict index", decode_head, by_index, events, expected),
        ],
        deliveries=sum(map(len, expected)) / EVENTS,
        note=NOTE,
    )


def routing(
    name: str,
    read: Callable[[bytes], Any],
    match: Callable[[Any], list[int]],
    events: Events,
    expected: list[list[int]],
) -> Case:
    """``match`` on objects that ``read`` has just made of bytes that were just made."""

    def prepare() -> list[Any]:
        return [read(raw) for raw in fresh(events.raws)]

    def run(heads: list[Any]) -> None:
        for head in heads:
            match(head)

    def check(heads: list[Any], _: object) -> None:
        assert len({id(head) for head in heads}) == EVENTS, "events are shared"
        assert [match(head) for head in heads] == expected, "other rows than the group sets say"

    return Case(name, prepare, run, check)
