"""What a filter lets through, judged alone and by a hub, and what it refuses to be made of."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import orjson
import pytest

from napcore import ConfigError, ConfigProblem, Event, Filter, Hub, peek

ACCOUNT, GROUP, OTHER, USER = 10001, 342561735, 1062848088, 7

Judge = Callable[..., bool]


def make(fields: dict[str, Any]) -> Event:
    return peek(orjson.dumps({"self_id": ACCOUNT, **fields}))


@pytest.fixture(params=["filter", "hub", "changed", "many"])
def passes(request: pytest.FixtureRequest) -> Judge:
    """Whether an event passes a filter: by the filter itself, and by a hub's client that has it."""

    def check(fields: dict[str, Any], account: int = 0, **rules: Any) -> bool:
        event, filter = make(fields), Filter(**rules)
        if request.param == "filter":
            return filter.matches(event, account)
        hub = Hub()
        if request.param == "many":
            # Enough rows that the one looked at is not in the first machine word.
            for number in range(70):
                hub.add(f"nobody-{number}", Filter(kinds=()))
        client = hub.add("client", filter if request.param != "changed" else Filter(kinds=()))
        client.filter = filter
        report = hub.route([event], account=account)
        taken = client.take()
        assert (report.matched, report.ready, taken) in [(1, [client], [event]), (0, [], [])]
        return bool(taken)

    return check


def message(**fields: Any) -> dict[str, Any]:
    return {"post_type": "message", "message_type": "group", "group_id": GROUP, "user_id": USER, **fields}


def private(**fields: Any) -> dict[str, Any]:
    return {"post_type": "message", "message_type": "private", "sub_type": "friend", "user_id": USER, **fields}


def notice(kind: str, **fields: Any) -> dict[str, Any]:
    return {"post_type": "notice", "notice_type": kind, "user_id": USER, **fields}


def request_(kind: str, **fields: Any) -> dict[str, Any]:
    return {"post_type": "request", "request_type": kind, "user_id": USER, **fields}


def sent(**fields: Any) -> dict[str, Any]:
    return {"post_type": "message_sent", "user_id": ACCOUNT, **fields}


def meta(kind: str, **fields: Any) -> dict[str, Any]:
    return {"post_type": "meta_event", "meta_event_type": kind, **fields}


def named(*rows: dict[str, Any]) -> Any:
    ids = [".".join(str(value) for key, value in row.items() if key.endswith("type")) for row in rows]
    return pytest.mark.parametrize("fields", rows, ids=ids)


# The table of what groups={...} means, row by row.


@named(
    message(sub_type="normal"),
    message(sub_type="anonymous"),
    notice("group_recall", group_id=GROUP),
    notice("group_upload", group_id=GROUP),
    notice("notify", sub_type="poke", group_id=GROUP),
    notice("group_increase", sub_type="approve", group_id=GROUP),
    notice("group_decrease", sub_type="kick", group_id=GROUP),
    notice("group_ban", sub_type="ban", group_id=GROUP),
    request_("group", sub_type="add", group_id=GROUP),
)
def test_events_of_a_group_pass_only_if_it_is_listed(passes: Judge, fields: dict[str, Any]) -> None:
    assert passes(fields)
    assert passes(fields, groups={GROUP})
    assert passes(fields, groups={GROUP, OTHER}, private=False)
    assert not passes(fields, groups={OTHER})
    assert not passes(fields, groups=set())
    assert passes(fields, exclude_groups={OTHER})
    assert not passes(fields, exclude_groups={GROUP})
    assert not passes(fields, groups={GROUP}, exclude_groups={GROUP})


@named(
    private(),
    private(sub_type="group"),
    private(sub_type="group", group_id=OTHER),
    request_("friend"),
    notice("friend_add"),
    notice("friend_recall"),
    notice("notify", sub_type="poke"),
)
def test_what_is_of_no_group_passes_group_rules(passes: Judge, fields: dict[str, Any]) -> None:
    assert passes(fields)
    assert passes(fields, groups={GROUP})
    assert passes(fields, groups=set())
    assert passes(fields, exclude_groups={GROUP, OTHER})


@named(private(), private(sub_type="group"), private(sub_type="group", group_id=GROUP))
def test_private_false_stops_private_messages(passes: Judge, fields: dict[str, Any]) -> None:
    assert not passes(fields, private=False)
    assert not passes(fields, private=False, groups={GROUP})


@named(request_("friend"), notice("friend_add"), notice("notify", sub_type="poke"), message())
def test_private_false_stops_nothing_else(passes: Judge, fields: dict[str, Any]) -> None:
    assert passes(fields, private=False)


ABOUT_THE_ACCOUNT = (
    request_("group", sub_type="invite", group_id=OTHER),
    notice("group_increase", sub_type="invite", group_id=OTHER, user_id=ACCOUNT),
    notice("group_decrease", sub_type="kick_me", group_id=OTHER, user_id=ACCOUNT),
    notice("group_decrease", sub_type="leave", group_id=OTHER, user_id=ACCOUNT),
    notice("bot_offline"),
)


@named(*ABOUT_THE_ACCOUNT)
def test_what_is_about_the_account_passes(passes: Judge, fields: dict[str, Any]) -> None:
    assert passes(fields)
    assert passes(fields, groups={GROUP})
    assert passes(fields, groups=set(), private=False)
    assert passes(fields, groups={GROUP}, users={1}, exclude_users={USER, ACCOUNT})
    assert passes(fields, exclude_groups={GROUP})


@named(*ABOUT_THE_ACCOUNT[:-1])
def test_what_is_about_the_account_is_stopped_by_exclude_groups(passes: Judge, fields: dict[str, Any]) -> None:
    assert not passes(fields, exclude_groups={OTHER})


@named(*ABOUT_THE_ACCOUNT)
def test_what_is_about_the_account_is_stopped_by_kinds_and_self_ids(passes: Judge, fields: dict[str, Any]) -> None:
    assert not passes(fields, kinds={"message"})
    assert not passes(fields, exclude_kinds={fields["post_type"]})
    assert not passes(fields, self_ids={ACCOUNT + 1})


def test_the_joining_of_others_is_of_the_group(passes: Judge) -> None:
    assert not passes(notice("group_increase", group_id=OTHER), groups={GROUP})


def test_own_joining_is_known_by_the_links_account_too(passes: Judge) -> None:
    fields = notice("group_increase", group_id=OTHER, user_id=ACCOUNT, self_id=None)
    assert passes(fields, ACCOUNT, groups={GROUP})
    assert not passes(fields, ACCOUNT + 1, groups={GROUP})


def test_own_messages_pass_only_when_asked_for(passes: Judge) -> None:
    fields = sent(message_type="group", group_id=GROUP)
    assert not passes(fields)
    assert not passes(fields, kinds={"message_sent"})
    assert passes(fields, self_messages=True)
    assert passes(fields, self_messages=True, groups={GROUP}, users={ACCOUNT})


def test_own_messages_are_judged_as_messages(passes: Judge) -> None:
    group, direct = sent(message_type="group", group_id=GROUP), sent(message_type="private", target_id=USER)
    assert not passes(group, self_messages=True, groups={OTHER})
    assert not passes(group, self_messages=True, exclude_groups={GROUP})
    assert not passes(group, self_messages=True, exclude_users={ACCOUNT})
    assert passes(direct, self_messages=True, groups=set())
    assert not passes(direct, self_messages=True, private=False)


@named(meta("heartbeat"), meta("lifecycle", sub_type="connect"), meta("lifecycle", group_id=GROUP, user_id=USER))
def test_meta_events_are_stopped_by_kinds_and_self_ids_alone(passes: Judge, fields: dict[str, Any]) -> None:
    assert passes(fields)
    assert passes(fields, groups=set(), exclude_groups={GROUP}, users=set(), exclude_users={USER}, private=False)
    assert passes(fields, kinds={"meta_event"}, self_ids={ACCOUNT})
    assert not passes(fields, kinds={"message"})
    assert not passes(fields, exclude_kinds={"meta_event"})
    assert not passes(fields, self_ids={ACCOUNT + 1})


# Users, accounts and kinds.


def test_users(passes: Judge) -> None:
    assert passes(message(), users={USER})
    assert not passes(message(), users={8})
    assert not passes(message(), users=set())
    assert passes(message(), exclude_users={8})
    assert not passes(message(), exclude_users={USER})
    assert not passes(message(), users={USER}, exclude_users={USER})
    assert not passes(private(), users={8})
    assert not passes(request_("friend"), exclude_users={USER})


def test_an_allow_list_of_users_stops_events_without_one(passes: Judge) -> None:
    fields = notice("group_card", group_id=GROUP, user_id=None)
    assert passes(fields)
    assert passes(fields, exclude_users={USER})
    assert not passes(fields, users={USER})
    assert not passes(notice("essence", group_id=GROUP, user_id=0), users={0, USER})


def test_every_rule_must_hold(passes: Judge) -> None:
    rules = {"groups": {GROUP}, "users": {USER}, "kinds": {"message.group"}, "self_ids": {ACCOUNT}}
    assert passes(message(), **rules)
    for key, wrong in {"groups": {1}, "users": {1}, "kinds": {"notice"}, "self_ids": {1}}.items():
        assert not passes(message(), **{**rules, key: wrong}), key


def test_self_ids(passes: Judge) -> None:
    assert passes(message(), self_ids={ACCOUNT})
    assert not passes(message(), self_ids={ACCOUNT + 1})
    assert not passes(message(), self_ids=set())


def test_the_links_account_stands_in_for_a_missing_self_id(passes: Judge) -> None:
    fields = message(self_id=None)
    assert passes(fields, ACCOUNT, self_ids={ACCOUNT})
    assert not passes(fields, self_ids={ACCOUNT})
    assert not passes(fields, self_ids={0})
    assert not passes(message(), ACCOUNT + 1, self_ids={ACCOUNT + 1})


@pytest.mark.parametrize(
    ("pattern", "passing"),
    [
        ("*", {"message.group.normal", "message_sent.group.normal", "notice.notify.poke", "notice.bot_offline"}),
        ("message", {"message.group.normal"}),
        ("message.*", {"message.group.normal"}),
        ("message.group", {"message.group.normal"}),
        ("message.group.*", {"message.group.normal"}),
        ("message.group.normal", {"message.group.normal"}),
        ("message.private", set()),
        ("message.gro", set()),
        ("message_sent.group", {"message_sent.group.normal"}),
        ("notice", {"notice.notify.poke", "notice.bot_offline"}),
        ("notice.*", {"notice.notify.poke", "notice.bot_offline"}),
        ("notice.notify", {"notice.notify.poke"}),
        ("notice.notify.poke", {"notice.notify.poke"}),
        ("notice.poke", set()),
        ("notice.bot_offline.*", set()),
        ("Notice", set()),
    ],
)
def test_kinds(passes: Judge, pattern: str, passing: set[str]) -> None:
    events = {
        "message.group.normal": message(sub_type="normal"),
        "message_sent.group.normal": sent(message_type="group", sub_type="normal", group_id=GROUP),
        "notice.notify.poke": notice("notify", sub_type="poke"),
        "notice.bot_offline": notice("bot_offline"),
    }
    for name, fields in events.items():
        assert passes(fields, kinds={pattern}, self_messages=True) == (name in passing), name
        assert passes(fields, exclude_kinds={pattern}, self_messages=True) == (name not in passing), name


def test_excluded_kinds_win(passes: Judge) -> None:
    rules = {"kinds": {"notice.*"}, "exclude_kinds": {"notice.notify.poke"}}
    assert passes(notice("notify", sub_type="honor"), **rules)
    assert not passes(notice("notify", sub_type="poke"), **rules)
    assert not passes(message(), kinds=set())


# The value itself.


def test_defaults() -> None:
    assert Filter().rules() == {
        "groups": None,
        "exclude_groups": frozenset(),
        "users": None,
        "exclude_users": frozenset(),
        "kinds": None,
        "exclude_kinds": frozenset(),
        "self_ids": None,
        "private": True,
        "self_messages": False,
        "shard": None,
        "condition": None,
        "text": None,
    }


@pytest.mark.parametrize("groups", [[2, 1, 2], (1, 2), {1, 2}, {1: "a", 2: "b"}, range(1, 3), (n for n in (1, 2))])
def test_collections_of_any_type_are_kept_as_frozensets(groups: Any) -> None:
    filter = Filter(groups=groups)
    assert filter.groups == frozenset({1, 2})
    assert type(filter.groups) is frozenset


def test_the_callers_collection_is_not_watched() -> None:
    groups = {GROUP}
    filter = Filter(groups=groups)
    groups.clear()
    assert filter.matches(make(message()))


def test_filters_are_values() -> None:
    filter = Filter(groups=[1], kinds=["notice"])
    filter.matches(make(message()))
    assert filter == Filter(groups={1}, kinds={"notice"})
    assert filter != Filter(groups={1})
    assert hash(filter) == hash(Filter(groups={1}, kinds={"notice"}))
    assert replace(filter, groups=None).matches(make(notice("notify", group_id=2)))
    with pytest.raises(FrozenInstanceError):
        filter.groups = None  # type: ignore[misc]


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda filter: pickle.loads(pickle.dumps(filter))])
def test_a_used_filter_can_be_copied_and_pickled(clone: Callable[[Filter], Filter]) -> None:
    filter = Filter(groups={GROUP})
    assert filter.matches(make(message()))
    twin = clone(filter)
    assert twin == filter
    assert twin.matches(make(message()))
    assert not twin.matches(make(message(group_id=OTHER)))


def test_the_ends_of_int64_are_ids() -> None:
    lowest, highest = -(1 << 63), (1 << 63) - 1
    filter = Filter(groups={lowest, highest})
    assert filter.matches(make(message(group_id=highest)))
    assert filter.matches(make(message(group_id=lowest)))
    assert not filter.matches(make(message(group_id=highest - 1)))


def test_without_an_account_a_missing_self_id_is_nobodys() -> None:
    fields = message(self_id=None)
    assert not Filter(self_ids={0, 1, ACCOUNT}).matches(make(fields))
    assert Filter(self_ids={1}).matches(make(fields), 1)


# What it refuses.


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"groups": 342561735}, "groups: must be a collection such as a set, not 342561735"),
        ({"groups": "342561735"}, "groups: must be a collection such as a set, not '342561735'"),
        ({"users": b"7"}, "users: must be a collection such as a set, not b'7'"),
        ({"groups": ["342561735"]}, "groups: ids are integers, not '342561735'"),
        ({"groups": [True]}, "groups: ids are integers, not True"),
        ({"self_ids": [1.0]}, "self_ids: ids are integers, not 1.0"),
        ({"self_ids": [None]}, "self_ids: ids are integers, not None"),
        ({"exclude_users": [1 << 63]}, "exclude_users: 9223372036854775808 does not fit 64 bits"),
        ({"exclude_users": [-(1 << 63) - 1]}, "exclude_users: -9223372036854775809 does not fit 64 bits"),
        ({"exclude_groups": None}, "exclude_groups: must be a collection, not None"),
        ({"exclude_kinds": None}, "exclude_kinds: must be a collection, not None"),
        ({"kinds": "message"}, "kinds: must be a collection such as a set, not 'message'"),
        ({"kinds": [""]}, "kinds: a kind looks like 'message.group' or 'notice.*', not ''"),
        ({"kinds": ["message."]}, "kinds: a kind looks like 'message.group' or 'notice.*', not 'message.'"),
        ({"kinds": [".group"]}, "kinds: a kind looks like 'message.group' or 'notice.*', not '.group'"),
        ({"exclude_kinds": [1]}, "exclude_kinds: a kind looks like 'message.group' or 'notice.*', not 1"),
        ({"private": None}, "private: must be true or false, not None"),
        ({"private": 1}, "private: must be true or false, not 1"),
        ({"self_messages": "yes"}, "self_messages: must be true or false, not 'yes'"),
    ],
)
def test_a_wrong_value_is_named(rules: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Filter(**rules)
    assert str(raised.value) == text


def test_all_wrong_values_are_listed() -> None:
    with pytest.raises(ConfigError) as raised:
        Filter(groups=["a", 1, 2.5], kinds=["", "message"], private=0, self_ids=7)  # type: ignore[arg-type]
    assert raised.value.errors == [
        ConfigProblem(None, None, "groups", "ids are integers, not 'a'"),
        ConfigProblem(None, None, "groups", "ids are integers, not 2.5"),
        ConfigProblem(None, None, "kinds", "a kind looks like 'message.group' or 'notice.*', not ''"),
        ConfigProblem(None, None, "self_ids", "must be a collection such as a set, not 7"),
        ConfigProblem(None, None, "private", "must be true or false, not 0"),
    ]
    assert isinstance(raised.value, ValueError)


# Shards.


def test_a_shard_takes_its_part() -> None:
    shards = [Filter(shard=f"{number}/3") for number in (1, 2, 3)]
    events = [
        Event.from_dict({"post_type": "message", "message_type": "group", "self_id": 1, "group_id": group})
        for group in range(1, 40)
    ]
    taken = [[shard.matches(event) for shard in shards] for event in events]
    assert all(sum(row) == 1 for row in taken)
    assert all(any(column) for column in zip(*taken, strict=True))


@pytest.mark.parametrize(
    "shard", ["0/4", "5/4", "4", "1/", "/4", "1/0", "a/b", "-1/4", " 1/4", "1/4 ", "\u0661/4", 2, (1, 4)]
)
def test_wrong_shards(shard: Any) -> None:
    with pytest.raises(ConfigError, match="looks like '2/4'") as caught:
        Filter(shard=shard)
    assert [problem.key for problem in caught.value.errors] == ["shard"]
