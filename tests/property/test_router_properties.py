"""The compiled router against its twin while rows come, change and go."""

from __future__ import annotations

import importlib
import os
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

NAMES = ["_dispatch_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_dispatch", "_dispatch_py"]
CORES = [importlib.import_module(f"napcore.{name}") for name in NAMES]

# Few values, so that rules and events meet.
some_ids = st.integers(1, 6) | st.sampled_from([-1, (1 << 63) - 1, -(1 << 63)])
id_sets = st.frozensets(some_ids, max_size=4)
post_types = st.sampled_from(["message", "message_sent", "notice", "request", "meta_event", "guild", None])
second_types = st.sampled_from(
    [
        *("group", "private", "group_increase", "group_decrease", "bot_offline", "notify", "friend", "heartbeat"),
        *("", "a.b", None),
    ]
)
sub_types = st.sampled_from(["invite", "add", "poke", "normal", "", "x.y", None])
patterns = st.sampled_from(
    [
        *("*", "message", "message.*", "message.group", "message.group.normal", "message.private", "message_sent"),
        *("message_sent.*", "notice", "notice.*", "notice.notify", "notice.notify.poke", "notice.notify.*", ".*"),
        *("request.group.invite", "request", "meta_event.heartbeat", "meta_event", "guild.a", "guild.a.b", "guild.a.*"),
        *("guild.", "guild..x", "notice.bot_offline", "x", "message.group.x", "message.group.x.y"),
    ]
)
pattern_sets = st.frozensets(patterns, max_size=3)
conditions = st.sampled_from(
    [
        lambda event, account: True,
        lambda event, account: event.user_id,
        lambda event, account: account == 1,
        lambda event, account: len(event.data) > 4,
        lambda event, account: 1 // (event.group_id or 0) < 1,  # raises where there is no group
    ]
)
texts = st.fixed_dictionaries(
    {},
    optional={
        "prefix": st.frozensets(st.sampled_from(["a", "ab", "b"]), max_size=2),
        "keywords": st.frozensets(st.sampled_from(["b", "ba"]), max_size=2),
        "commands": st.frozensets(st.sampled_from(["a", "b"]), max_size=2),
    },
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "groups": st.none() | id_sets,
        "exclude_groups": id_sets,
        "users": st.none() | id_sets,
        "exclude_users": id_sets,
        "kinds": st.none() | pattern_sets,
        "exclude_kinds": pattern_sets,
        "self_ids": st.none() | id_sets,
        "private": st.booleans(),
        "self_messages": st.booleans(),
        "shard": st.none() | st.sampled_from([(1, 1), (1, 2), (2, 2), (2, 3)]),
        "condition": st.none() | conditions,
        "text": st.none() | texts,
    },
)


@st.composite
def events(draw: st.DrawFn) -> bytes:
    post_type = draw(post_types)
    key = "message_type" if post_type == "message_sent" else f"{post_type}_type"
    fields: dict[str, Any] = {"post_type": post_type, key: draw(second_types), "sub_type": draw(sub_types)}
    for name in ("group_id", "user_id", "self_id"):
        fields[name] = draw(st.none() | some_ids)
    fields["message"] = draw(st.none() | st.sampled_from(["a", "/a", "ab", "bab", " /b x"]))
    return orjson.dumps({name: value for name, value in fields.items() if value is not None or name == "post_type"})


steps = st.lists(
    st.tuples(st.just("add"), rules)
    | st.tuples(st.just("replace"), rules, st.integers(0, 99))
    | st.tuples(st.just("remove"), st.integers(0, 99))
    | st.tuples(st.just("match"), events(), st.sampled_from([0, 0, 1, 2])),
    min_size=1,
    max_size=25,
)


@given(st.integers(0, 2), st.lists(rules, max_size=5), steps, st.lists(events(), min_size=1, max_size=6))
def test_routers_agree(many: int, first: list[dict[str, Any]], then: list[tuple[Any, ...]], last: list[bytes]) -> None:
    routers = [core.Router() for core in CORES]
    # Rows beyond one word of the bitsets, and beyond two.
    rows = [{"groups": {number}} for number in range(70 * many)] + first
    live: list[int] = []

    def same(calls: list[Any]) -> Any:
        assert calls.count(calls[0]) == len(calls)
        return calls[0]

    def match(data: bytes, account: int) -> None:
        found = same([router.match(core.peek(data), account) for core, router in zip(CORES, routers, strict=True)])
        assert found == sorted(found)
        assert set(found) <= set(live)

    def add(given_rules: dict[str, Any]) -> None:
        row = same([router.add(core.Outbox(), **given_rules) for core, router in zip(CORES, routers, strict=True)])
        assert row == min(set(range(len(live) + 1)) - set(live))
        live.append(row)

    for given_rules in rows:
        add(given_rules)
    for step in then:
        if step[0] == "add":
            add(step[1])
        elif step[0] == "match":
            match(*step[1:])
        elif live:
            row = live[step[-1] % len(live)]
            for router in routers:
                if step[0] == "replace":
                    router.replace(row, **step[1])
                else:
                    router.remove(row)
            if step[0] == "remove":
                live.remove(row)
        assert same([len(router) for router in routers]) == len(live)
    for data in last:
        match(data, 0)


@given(
    st.lists(st.tuples(rules, st.sampled_from(["event", "json", "frame"])), max_size=6),
    st.lists(events(), max_size=8),
    st.sampled_from([0, 1]),
)
def test_fan_out_agrees(rows: list[tuple[dict[str, Any], Any]], batch: list[bytes], account: int) -> None:
    seen = []
    for core in CORES:
        router = core.Router()
        outboxes = [core.Outbox(number, max_events=2) for number in range(len(rows))]
        for outbox, (given_rules, form) in zip(outboxes, rows, strict=True):
            router.add(outbox, form, **given_rules)
        report = core.fan_out(router, [core.peek(data) for data in batch], 0.0, account)
        lanes = [[getattr(item, "raw", item) for item in outbox.take(0.0)] for outbox in outboxes]
        counts = [(outbox.received, outbox.dropped) for outbox in outboxes]
        seen.append((report.matched, report.queued, report.dropped, report.ready, router.sequence, lanes, counts))
    assert seen.count(seen[0]) == len(seen)
    assert seen[0][0] == sum(received for received, _ in seen[0][-1])
    assert seen[0][2] == sum(sum(dropped.values()) for _, dropped in seen[0][-1])
