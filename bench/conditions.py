"""Rows: what conditions cost those who have them, and those who do not; go-cqhttp's expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import orjson

from bench.corpus import FIRST_GROUP, Events, encoded, fresh, mixed, zipf_groups
from bench.rounds import Case
from bench.workload import SUBJECT, Workload
from napcore import Filter, dispatch
from napcore.core.expression import Expression

EVENTS = 256
ROWS = 1_000
CONDITIONAL = 10

# The last example of go-cqhttp's docs/EventFilter.md, with groups that speak.
EXPRESSION: dict[str, Any] = {
    ".or": [
        {"message_type": "private", "user_id": {".not": {".in": [11111, 22222, 33333]}, ".neq": 44444}},
        {
            "message_type": {".regex": "group|discuss"},
            ".or": [{"group_id": FIRST_GROUP}, {"raw_message": {".contains": "3.2"}}, {"sender.role": "owner"}],
        },
    ]
}


def workloads(seed: int) -> Iterator[Workload]:
    yield expression(seed)
    yield expression_from_bytes(seed)
    for asked, conditional in ((False, CONDITIONAL), (True, CONDITIONAL)):
        yield many_rows(seed, asked, conditional)


def events_of(seed: int) -> Events:
    random = Random(seed)
    return encoded(random, mixed(random, EVENTS), zipf_groups(random, EVENTS))


def expression(seed: int) -> Workload:
    """Decoded events, so that the expression alone is measured."""
    events = events_of(seed)
    expected = [passes_by_path(EXPRESSION, orjson.loads(raw)) for raw in events.raws]
    test = Expression(EXPRESSION).test
    return Workload(
        "conditions",
        "expression, decoded events",
        EVENTS,
        [
            judging(SUBJECT, orjson.loads, test, events, expected),
            judging("jsonpath style", orjson.loads, lambda event: passes_by_path(EXPRESSION, event), events, expected),
        ],
    )


def expression_from_bytes(seed: int) -> Workload:
    """From received bytes to the answer."""
    events = events_of(seed)
    expected = [passes_by_path(EXPRESSION, orjson.loads(raw)) for raw in events.raws]
    filter = Filter(expression=EXPRESSION, self_messages=True)
    return Workload(
        "conditions",
        "expression, from bytes",
        EVENTS,
        [
            judging(SUBJECT, bytes, lambda raw: filter.matches(dispatch.peek(raw)), events, expected),
            judging(
                "jsonpath style",
                bytes,
                lambda raw: passes_by_path(EXPRESSION, orjson.loads(raw)),
                events,
                expected,
            ),
        ],
    )


def many_rows(seed: int, asked: bool, conditional: int) -> Workload:
    """A router of many rows of which few have conditions, beside one that has the same rows without."""
    random = Random(seed)
    events = encoded(random, mixed(random, EVENTS), zipf_groups(random, EVENTS))
    groups = [FIRST_GROUP + random.randrange(200) for _ in range(ROWS)]
    # Where they are not asked, the rows with conditions list groups in which nothing happens.
    elsewhere = None if asked else FIRST_GROUP - 1
    filters = [Filter(groups={group}, kinds={"message"}, private=False) for group in groups]
    strict = [Filter(prefix="!!", keywords="3.2"), Filter(roles="owner"), Filter(to_me=True), Filter(has="image")]
    routers = []
    for with_conditions in (True, False):
        router = dispatch.Router()
        outbox = dispatch.Outbox()
        for number, filter in enumerate(filters):
            chosen = filter
            if number < conditional:
                place = Filter(groups={elsewhere or groups[number]}, kinds={"message"}, private=False)
                chosen = place & strict[number % len(strict)] if with_conditions else place
            router.add(outbox, **chosen.rules())
        routers.append(router)
    checked, bare = routers
    expected = [checked.match(dispatch.peek(raw)) for raw in events.raws]
    without = [bare.match(dispatch.peek(raw)) for raw in events.raws]
    assert (expected == without) is not asked
    share = "asked" if asked else "never asked"
    return Workload(
        "conditions",
        f"{ROWS} rows, {conditional} with conditions, {share}",
        EVENTS,
        [
            judging(SUBJECT, dispatch.peek, checked.match, events, expected),
            judging("without conditions", dispatch.peek, bare.match, events, without),
        ],
        deliveries=sum(map(len, expected)) / EVENTS,
    )


def judging(
    name: str, read: Callable[[bytes], Any], judge: Callable[[Any], Any], events: Events, expected: list[Any]
) -> Case:
    """``judge`` on what ``read`` has just made of bytes that were just made."""

    def prepare() -> list[Any]:
        return [read(raw) for raw in fresh(events.raws)]

    def run(inputs: list[Any]) -> None:
        for one in inputs:
            judge(one)

    def check(inputs: list[Any], _: object) -> None:
        assert [judge(one) for one in inputs] == expected, "another answer"

    return Case(name, prepare, run, check)


def passes_by_path(rules: dict[str, Any], value: Any) -> bool:
    """The same language interpreted, as relays in Python do it: paths split and walked at every event."""
    for key, rule in rules.items():
        if key == ".not":
            good = not passes_by_path(rule, value)
        elif key == ".or":
            good = any(passes_by_path(one, value) for one in rule)
        elif key == ".in":
            good = as_text(value) in map(as_text, rule)
        elif key == ".neq":
            good = as_text(value) != as_text(rule)
        elif key == ".contains":
            good = as_text(rule) in as_text(value)
        elif key == ".regex":
            good = re.search(rule, as_text(value)) is not None
        else:
            found = value
            for part in key.split("."):
                found = found.get(part) if isinstance(found, dict) else None
            good = passes_by_path(rule, found) if isinstance(rule, dict) else as_text(found) == as_text(rule)
        if not good:
            return False
    return True


def as_text(value: Any) -> str:
    """How values compare there."""
    return "" if value is None else str(value)
