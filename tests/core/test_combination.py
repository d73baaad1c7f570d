"""Filters put together by &, | and ~: what they let through, what an index still does for them, and why."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import orjson
import pytest

from napcore import Event, Filter, Hub, Policy, peek
from napcore.core.filter import Combination

ACCOUNT, GROUP, OTHER, USER = 10001, 342561735, 1062848088, 7


def said(text: str = "hello", **fields: Any) -> Event:
    segments = [{"type": "text", "data": {"text": text}}]
    group = {"message_type": "group", "group_id": GROUP, "user_id": USER, "sender": {"role": "member"}}
    return peek(orjson.dumps({"self_id": ACCOUNT, "post_type": "message", **group, "message": segments, **fields}))


PRIVATE = said(message_type="private", group_id=None)
OWN = said(post_type="message_sent")
NOTICE = peek(b'{"post_type":"notice","notice_type":"group_upload","group_id":342561735,"user_id":7}')
META = peek(b'{"post_type":"meta_event","meta_event_type":"heartbeat"}')
EVENTS = (said(), said(group_id=OTHER), said("!!a"), said(user_id=8), PRIVATE, OWN, NOTICE, META)

GROUPS, PREFIX, USERS = Filter(groups={GROUP}), Filter(prefix="!!"), Filter(users={8})


def asked(filter: Filter) -> tuple[bool, bool]:
    """Whether anything is left for a condition, and for a text rule."""
    rules = filter.rules()
    return rules["condition"] is not None, rules["text"] is not None


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.kind}-{event.group_id}-{event.user_id}")
def test_combinations_are_those_of_logic(event: Event) -> None:
    one, two, three = GROUPS.matches(event), PREFIX.matches(event), USERS.matches(event)
    assert (GROUPS & PREFIX).matches(event) is (one and two)
    assert (GROUPS | PREFIX).matches(event) is (one or two)
    assert (~GROUPS).matches(event) is (not one)
    assert (~PREFIX).matches(event) is (not two)
    assert ((GROUPS | PREFIX) & ~USERS).matches(event) is ((one or two) and not three)
    assert (~(GROUPS & PREFIX) | USERS).matches(event) is (not (one and two) or three)
    assert (GROUPS & PREFIX & Filter(suffix="a") & ~~USERS).matches(event) is (
        one and two and Filter(suffix="a").matches(event) and three
    )


def test_accounts_that_events_do_not_name() -> None:
    event = said(self_id=None)
    filter = Filter(self_ids={1}) | Filter(self_ids={2}, prefix="x")
    assert filter.matches(event, 1)
    assert not filter.matches(event, 2)
    assert not filter.matches(event)
    assert (~filter).matches(event, 2)


@pytest.mark.parametrize(
    ("filter", "rules", "left"),
    [
        # What an index can say it says alone.
        (GROUPS & Filter(groups={GROUP, OTHER}), {"groups": {GROUP}}, (False, False)),
        (GROUPS & USERS, {"groups": {GROUP}, "users": {8}}, (False, False)),
        (GROUPS & Filter(private=False, exclude_users={1}), {"private": False, "exclude_users": {1}}, (False, False)),
        (Filter(kinds={"message"}) & Filter(kinds={"message.*", "notice"}), {"kinds": {"message.*"}}, (False, False)),
        (Filter(kinds={"a.b", "c"}) & Filter(kinds={"a", "c.d.*", "e"}), {"kinds": {"a.b", "c.d.*"}}, (False, False)),
        (Filter(kinds={"*"}) & Filter(kinds={"a.*"}), {"kinds": {"a.*"}}, (False, False)),
        (Filter(exclude_kinds={"a"}) & Filter(exclude_kinds={"b"}), {"exclude_kinds": {"a", "b"}}, (False, False)),
        (GROUPS | Filter(groups={OTHER}), {"groups": {GROUP, OTHER}}, (False, False)),
        (GROUPS | Filter(), {"groups": None}, (False, False)),
        (Filter(exclude_groups={1, 2}) | Filter(exclude_groups={2, 3}), {"exclude_groups": {2}}, (False, False)),
        (Filter(exclude_kinds={"a", "b"}) | Filter(exclude_kinds={"a.*"}), {"exclude_kinds": {"a.*"}}, (False, False)),
        (Filter(shard="1/2") & Filter(groups={1}), {"shard": (1, 2), "groups": {1}}, (False, False)),
        # One text can be asked of the text index.
        (GROUPS & PREFIX, {"groups": {GROUP}}, (False, True)),
        (GROUPS & PREFIX & Filter(to_me=True), {"groups": {GROUP}}, (True, True)),
        (GROUPS & PREFIX & Filter(suffix="a"), {"groups": {GROUP}}, (True, False)),
        # Elsewhere it asks as much as it can, and a condition the rest.
        (GROUPS | USERS, {"groups": None, "users": None, "self_messages": False}, (True, False)),
        (
            Filter(groups={1}, users={1}) | Filter(groups={2}, users={2}),
            {"groups": {1, 2}, "users": {1, 2}},
            (True, False),
        ),
        (Filter(groups={1}, prefix="a") | Filter(groups={2}, prefix="b"), {"groups": {1, 2}}, (True, False)),
        (Filter(shard="1/2") & Filter(shard="1/3"), {"shard": (1, 2)}, (True, False)),
        (Filter(shard="1/2") | Filter(shard="2/2"), {"shard": None}, (True, False)),
        (Filter(self_ids={1}) & ~GROUPS, {"self_ids": {1}, "exclude_kinds": {"meta_event"}}, (True, False)),
        (~Filter(kinds={"notice"}, self_messages=True), {"exclude_kinds": {"notice"}}, (True, False)),
        (~Filter(exclude_kinds={"notice"}, self_messages=True), {"kinds": {"notice"}}, (True, False)),
        (
            ~Filter(groups={1}, self_messages=True),
            {"exclude_groups": {1}, "private": False, "exclude_kinds": {"meta_event"}},
            (True, False),
        ),
        (~PREFIX, {"exclude_kinds": frozenset(), "self_messages": True}, (True, False)),
        (
            ~(Filter(kinds={"a"}, self_messages=True) | Filter(kinds={"b"}, self_messages=True)),
            {"exclude_kinds": {"a", "b"}},
            (True, False),
        ),
        (
            ~(~Filter(groups={1}) & ~Filter(groups={2})),
            {"groups": {1, 2}, "self_messages": False},
            (True, False),
        ),
    ],
)
def test_what_the_index_does(filter: Filter, rules: dict[str, Any], left: tuple[bool, bool]) -> None:
    found = filter.rules()
    assert {name: found[name] for name in rules} == rules
    assert asked(filter) == left


def test_events_that_cannot_match_are_not_looked_at() -> None:
    filter = Filter(groups={1}, regex="x") | Filter(groups={2}, expression={"a": 1})
    calls: list[Any] = []
    condition = filter.rules()["condition"]
    filter.rules()["condition"] = lambda event, account: calls.append(event) or condition(event, account)
    hub = Hub()
    hub.add("client", filter)
    hub.publish(said(group_id=3))
    assert calls == []
    hub.publish(said(group_id=2))
    assert len(calls) == 1


def test_wherever_a_filter_is_taken_a_combination_is() -> None:
    combined = GROUPS & ~PREFIX
    assert isinstance(combined, Filter)
    hub = Hub()
    client = hub.add("client", combined)
    hub.publish_many([said(), said("!!"), said(group_id=OTHER)])
    assert [event.text for event in client.take()] == ["hello"]
    client.filter = combined | Filter(groups={OTHER})
    hub.publish_many([said("!!"), said(group_id=OTHER)])
    assert [event.group_id for event in client.take()] == [OTHER]
    assert Policy(keep=combined).keep is combined


@pytest.mark.parametrize("other", [1, None, "x", {}])
def test_only_filters_combine(other: Any) -> None:
    for combine in (lambda: GROUPS & other, lambda: GROUPS | other, lambda: other & GROUPS, lambda: other | GROUPS):
        with pytest.raises(TypeError, match="unsupported operand"):
            combine()


def test_combinations_flatten() -> None:
    for filter in (GROUPS & PREFIX & USERS, GROUPS & (PREFIX & USERS)):
        assert isinstance(filter, Combination)
        assert (filter.operator, filter.parts) == ("and", (GROUPS, PREFIX, USERS))
    mixed = (GROUPS | PREFIX) & USERS
    assert isinstance(mixed, Combination)
    assert len(mixed.parts) == 2
    assert ~~GROUPS is GROUPS
    assert ~~mixed == mixed


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda filter: pickle.loads(pickle.dumps(filter))])
def test_combinations_are_values(clone: Callable[[Filter], Filter]) -> None:
    filter = (GROUPS & PREFIX) | ~USERS
    assert filter == (Filter(groups=[GROUP]) & Filter(prefix=["!!"])) | ~Filter(users=[8])
    assert filter != (GROUPS & PREFIX) | USERS
    assert filter != GROUPS
    assert GROUPS != filter
    filter.matches(said())
    twin = clone(filter)
    assert twin == filter
    assert hash(twin) == hash(filter)
    assert [twin.matches(event) for event in EVENTS] == [filter.matches(event) for event in EVENTS]
    with pytest.raises(FrozenInstanceError):
        filter.groups = None  # type: ignore[misc]


def test_the_repr_is_how_it_was_made() -> None:
    one, two = Filter(groups={1}), Filter(to_me=True)
    assert repr((one & ~two) | two) == f"(({one!r} & ~{two!r}) | {two!r})"


def test_what_parts_name() -> None:
    meta = Filter(kinds={"meta_event.heartbeat"})
    assert meta.names("meta_event")
    assert not GROUPS.names("meta_event")
    assert (GROUPS | meta).names("meta_event")
    assert not (GROUPS | USERS).names("meta_event")


# Why.


@pytest.mark.parametrize(
    ("filter", "event", "words"),
    [
        (Filter(), said(), "let through: no rule is against it"),
        (GROUPS, said(), "let through: groups: 342561735 is listed"),
        (GROUPS, said(group_id=OTHER), "stopped by groups: 1062848088 is not listed"),
        (GROUPS, said(group_id=None), "stopped by groups: it has no group"),
        (GROUPS, PRIVATE, "let through: private: it is a private message"),
        (GROUPS, META, "let through: no rule is against it"),
        (Filter(), OWN, "stopped by self_messages: it is the account's own message"),
        (Filter(private=False), PRIVATE, "stopped by private: it is a private message"),
        (Filter(exclude_groups={GROUP}), said(), "stopped by exclude_groups: 342561735 is listed"),
        (Filter(exclude_groups={1}), said(), "let through: exclude_groups: 342561735 is not listed"),
        (Filter(exclude_groups={1}), META, "let through: no rule is against it"),
        (Filter(exclude_groups={1}, users={USER}), said(group_id=None), None),
        (USERS, said(), "stopped by users: 7 is not listed"),
        (USERS, said(user_id=None), "stopped by users: it has no user"),
        (Filter(exclude_users={USER}), said(), "stopped by exclude_users: 7 is listed"),
        (Filter(kinds={"notice"}), said(), "stopped by kinds: 'message.group' is not listed"),
        (Filter(kinds={"notice", "message.*"}), said(), "let through: kinds: 'message.group' fits 'message.*'"),
        (Filter(exclude_kinds={"message"}), said(), "stopped by exclude_kinds: 'message.group' fits 'message'"),
        (Filter(self_ids={1}), said(), "stopped by self_ids: 10001 is not listed"),
        (Filter(self_ids={1}), said(self_id=None), "stopped by self_ids: it has no account"),
        (Filter(shard="1/1"), said(), "let through: shard: it is of shard 1/1"),
        (Filter(prefix="!", commands="x"), said(), "stopped by commands or prefix: the text has none of them"),
        (PREFIX, said("!!"), "let through: prefix: the text has one of them"),
        (PREFIX, NOTICE, "let through: prefix: it is no message"),
        (Filter(regex={"a", "b"}), said(), "stopped by regex: the text has none of the 2 patterns"),
        (Filter(has={"image", "at"}), said(), "stopped by has: there is no segment of at, image"),
        (Filter(has=()), said(), "stopped by has: there is no segment of no types"),
        (Filter(roles="owner"), said(), "stopped by roles: the sender is none of owner"),
        (Filter(roles={"owner", "member"}), said(), "let through: roles: the sender is one of member, owner"),
        (Filter(max_size=5), said(), "stopped by max_size: it has more than 5 bytes"),
        (Filter(min_size=500), said(), "stopped by min_size: it has fewer than 500 bytes"),
        (Filter(expression={"user_id": {".in": [1, 2]}}), said(), None),
        (GROUPS & USERS, said(user_id=8), (
            "let through: every part lets it through\n"
            "  let through: groups: 342561735 is listed\n"
            "  let through: users: 8 is listed"
        )),
        (GROUPS & ~USERS, said(user_id=8), (
            "stopped: not every part lets it through\n"
            "  let through: groups: 342561735 is listed\n"
            "  stopped: the part, turned round, lets it through\n"
            "    let through: users: 8 is listed"
        )),
        (GROUPS | PREFIX, said(group_id=OTHER), (
            "stopped: no part lets it through\n"
            "  stopped by groups: 1062848088 is not listed\n"
            "  stopped by prefix: the text has none of them"
        )),
        (~GROUPS, said(group_id=OTHER), (
            "let through: the part, turned round, stops it\n"
            "  stopped by groups: 1062848088 is not listed"
        )),
    ],
)  # fmt: skip
def test_why_in_words(filter: Filter, event: Event, words: str | None) -> None:
    found = filter.explain(event)
    if words is not None:
        assert found == words
    assert found.startswith("let through") is filter.matches(event)


def test_an_expression_says_which_entry_decides() -> None:
    filter = Filter(groups={GROUP}, expression={".or": [{"user_id": 8}, {"raw_message": {".regex": "^!!"}}]})
    reason = "let through: groups: 342561735 is listed; expression: .or[0] > user_id: it is '8'"
    assert filter.explain(said(user_id=8)) == reason
    assert filter.explain(said()) == "stopped by expression: none of the 2 alternatives of .or holds"


def test_explanations_show_nothing_of_a_message() -> None:
    filter = Filter(prefix="a", regex="b", has="image", expression={"raw_message": {".contains": "c"}})
    for event in (said("secret words"), said("asecret b", raw_message="secret c")):
        for one in (filter, ~filter, filter | filter & filter):
            assert "secret" not in one.explain(event)
