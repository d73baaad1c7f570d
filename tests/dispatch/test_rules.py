"""Which events a row lets through: the table of what a filter means, users, accounts and patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

ACCOUNT, GROUP, OTHER, USER = 10001, 342561735, 1062848088, 7

GROUP_MESSAGE = {"post_type": "message", "message_type": "group", "sub_type": "normal"}
PRIVATE_MESSAGE = {"post_type": "message", "message_type": "private", "sub_type": "friend"}


@pytest.fixture
def passes(core: Any, event: Callable[..., Any]) -> Callable[..., bool]:
    """Whether an event, by its fields, passes a row with the given rules."""

    def check(fields: dict[str, Any], account: int = 0, **rules: Any) -> bool:
        router = core.Router()
        row = router.add(core.Outbox(), **rules)
        found = router.match(event(self_id=ACCOUNT, **fields) if "self_id" not in fields else event(**fields), account)
        assert found in ([], [row])
        return bool(found)

    return check


# The table, row by row.

OF_A_GROUP = [
    GROUP_MESSAGE,
    {"post_type": "message", "message_type": "group", "sub_type": "anonymous"},
    {"post_type": "notice", "notice_type": "group_upload"},
    {"post_type": "notice", "notice_type": "group_ban", "sub_type": "ban"},
    {"post_type": "notice", "notice_type": "notify", "sub_type": "poke"},
    {"post_type": "notice", "notice_type": "group_increase", "sub_type": "approve"},
    {"post_type": "notice", "notice_type": "group_decrease", "sub_type": "kick"},
    {"post_type": "request", "request_type": "group", "sub_type": "add"},
    {"post_type": "guild", "guild_type": "message"},
    {"post_type": None},
]


@pytest.mark.parametrize("fields", OF_A_GROUP)
def test_of_a_group_only_if_listed(passes: Callable[..., bool], fields: dict[str, Any]) -> None:
    fields = {**fields, "group_id": GROUP, "user_id": USER}
    assert passes(fields)
    assert passes(fields, groups={GROUP})
    assert passes(fields, groups=[OTHER, GROUP])
    assert not passes(fields, groups={OTHER})
    assert not passes(fields, groups=set())
    assert passes(fields, exclude_groups={OTHER})
    assert not passes(fields, exclude_groups={GROUP})
    assert not passes(fields, groups={GROUP}, exclude_groups={GROUP})
    assert passes(fields, groups={GROUP}, private=False)


@pytest.mark.parametrize(
    "fields",
    [
        GROUP_MESSAGE,
        {"post_type": "request", "request_type": "group", "sub_type": "add"},
        {"post_type": "message_sent", "message_type": "group"},
    ],
)
def test_of_a_group_without_a_group_is_not_listed(passes: Callable[..., bool], fields: dict[str, Any]) -> None:
    assert passes(fields, self_messages=True)
    assert not passes(fields, self_messages=True, groups={GROUP})
    assert not passes(fields, self_messages=True, groups=set())
    assert passes(fields, self_messages=True, exclude_groups={GROUP})


WITHOUT_GROUP = [
    {"post_type": "request", "request_type": "friend"},
    {"post_type": "notice", "notice_type": "friend_recall"},
    {"post_type": "notice", "notice_type": "notify", "sub_type": "poke"},
    {"post_type": "notice", "notice_type": "notify", "sub_type": "input_status", "group_id": 0},
    {"post_type": "message", "message_type": "guild", "sub_type": "channel"},
    {"post_type": "guild"},
    {"post_type": 7},
]


@pytest.mark.parametrize("fields", WITHOUT_GROUP)
def test_without_group_passes(passes: Callable[..., bool], fields: dict[str, Any]) -> None:
    assert passes(fields, groups={GROUP})
    assert passes(fields, groups=set(), exclude_groups={GROUP, OTHER}, private=False)


@pytest.mark.parametrize(
    "fields",
    [
        PRIVATE_MESSAGE,
        {**PRIVATE_MESSAGE, "sub_type": "group", "group_id": OTHER},
        {**PRIVATE_MESSAGE, "sub_type": "group", "group_id": GROUP},
    ],
)
def test_private_messages_and_temporary_sessions(passes: Callable[..., bool], fields: dict[str, Any]) -> None:
    assert passes(fields)
    assert passes(fields, groups={GROUP})
    assert passes(fields, groups=set())
    assert passes(fields, exclude_groups={GROUP, OTHER})
    assert not passes(fields, private=False)
    assert not passes(fields, private=False, groups={GROUP})


ABOUT_THE_ACCOUNT = [
    {"post_type": "request", "request_type": "group", "sub_type": "invite", "user_id": USER},
    {"post_type": "notice", "notice_type": "group_increase", "sub_type": "invite", "user_id": ACCOUNT},
    {"post_type": "notice", "notice_type": "group_decrease", "sub_type": "kick_me", "user_id": ACCOUNT},
    {"post_type": "notice", "notice_type": "bot_offline", "user_id": ACCOUNT},
    {"post_type": "notice", "notice_type": "bot_offline"},
]


@pytest.mark.parametrize("fields", ABOUT_THE_ACCOUNT)
def test_about_the_account_itself(passes: Callable[..., bool], fields: dict[str, Any]) -> None:
    assert passes(fields, groups=set(), users=set(), exclude_users={USER, ACCOUNT}, private=False)
    in_group = {**fields, "group_id": OTHER}
    assert passes(in_group, groups={GROUP}, users={1}, exclude_users={USER, ACCOUNT})
    assert not passes(in_group, exclude_groups={OTHER})
    assert passes(in_group, exclude_groups={GROUP})
    assert not passes(in_group, kinds={"message"})
    assert not passes(in_group, exclude_kinds={fields["post_type"]})
    assert not passes(in_group, self_ids={ACCOUNT + 1})


def test_joining_of_others_is_not_about_the_account(passes: Callable[..., bool]) -> None:
    joined = {"post_type": "notice", "notice_type": "group_increase", "group_id": OTHER}
    assert not passes({**joined, "user_id": USER}, groups={GROUP})
    assert not passes(joined, groups={GROUP})
    assert not passes({**joined, "self_id": None}, groups={GROUP})
    # The link's account stands in for a missing self_id, here too.
    assert not passes({**joined, "self_id": None, "user_id": USER}, groups={GROUP})
    assert passes({**joined, "self_id": None, "user_id": USER}, account=USER, groups={GROUP})
    assert not passes({**joined, "user_id": USER}, account=USER, groups={GROUP})
    assert not passes({**joined, "notice_type": "group_admin", "user_id": ACCOUNT}, groups={GROUP})


def test_message_sent_only_with_self_messages(passes: Callable[..., bool]) -> None:
    in_group = {"post_type": "message_sent", "message_type": "group", "group_id": GROUP, "user_id": ACCOUNT}
    to_friend = {"post_type": "message_sent", "message_type": "private", "user_id": ACCOUNT}
    for fields in (in_group, to_friend, {"post_type": "message_sent"}):
        assert not passes(fields)
        assert not passes(fields, kinds={"message_sent"})
        assert passes(fields, self_messages=True)
        assert not passes(fields, self_messages=True, users={USER})
    assert passes(in_group, self_messages=True, groups={GROUP}, private=False)
    assert not passes(in_group, self_messages=True, groups={OTHER})
    assert not passes(in_group, self_messages=True, exclude_groups={GROUP})
    assert passes(to_friend, self_messages=True, groups=set())
    assert not passes(to_friend, self_messages=True, private=False)


def test_meta_events(passes: Callable[..., bool]) -> None:
    heartbeat = {"post_type": "meta_event", "meta_event_type": "heartbeat", "group_id": OTHER, "user_id": USER}
    assert passes(heartbeat, groups=set(), exclude_groups={OTHER}, users=set(), exclude_users={USER}, private=False)
    assert not passes(heartbeat, kinds={"message"})
    assert passes(heartbeat, kinds={"meta_event"})
    assert not passes(heartbeat, exclude_kinds={"meta_event.heartbeat"})
    assert not passes(heartbeat, self_ids={ACCOUNT + 1})
    assert passes(heartbeat, self_ids={ACCOUNT})


# The other rules.


@pytest.mark.parametrize(
    "fields",
    [{**GROUP_MESSAGE, "group_id": GROUP}, PRIVATE_MESSAGE, {"post_type": "request", "request_type": "friend"}],
)
def test_users(passes: Callable[..., bool], fields: dict[str, Any]) -> None:
    by_user = {**fields, "user_id": USER}
    assert passes(by_user, users={USER})
    assert not passes(by_user, users={8})
    assert not passes(by_user, users=set())
    assert not passes(by_user, exclude_users={USER})
    assert not passes(by_user, users={USER}, exclude_users={USER})
    assert passes(by_user, exclude_users={8})
    assert not passes(fields, users={USER})
    assert passes(fields, exclude_users={USER})


def test_group_and_user_rules_must_both_hold(passes: Callable[..., bool]) -> None:
    fields = {**GROUP_MESSAGE, "group_id": GROUP, "user_id": USER}
    assert passes(fields, groups={GROUP}, users={USER})
    assert not passes(fields, groups={OTHER}, users={USER})
    assert not passes(fields, groups={GROUP}, users={8})


def test_self_ids(passes: Callable[..., bool]) -> None:
    assert passes(GROUP_MESSAGE, self_ids={ACCOUNT})
    assert not passes(GROUP_MESSAGE, self_ids={5})
    assert not passes(GROUP_MESSAGE, self_ids=set())
    assert not passes(GROUP_MESSAGE, account=5, self_ids={5})
    unknown = {**GROUP_MESSAGE, "self_id": 0}
    assert passes(unknown)
    assert not passes(unknown, self_ids={ACCOUNT})
    assert not passes(unknown, self_ids={0})
    assert passes(unknown, account=5, self_ids={5})
    assert not passes(unknown, account=6, self_ids={5})


@pytest.mark.parametrize(
    ("pattern", "post_type", "second", "sub_type", "expected"),
    [
        ("*", "message", "group", "normal", True),
        ("*", None, None, None, True),
        ("message", "message", "group", "normal", True),
        ("message", "message", None, None, True),
        ("message", "message_sent", "group", None, False),
        ("message", "messages", None, None, False),
        ("message.group", "message", "group", "normal", True),
        ("message.group", "message", "group", None, True),
        ("message.group", "message", "groups", None, False),
        ("message.group", "message_sent", "group", None, False),
        ("message.group", "message", "private", None, False),
        ("message.group.normal", "message", "group", "normal", True),
        ("message.group.normal", "message", "group", None, False),
        ("message.group.normal", "message", "group", "", False),
        ("message.group.norma", "message", "group", "normal", False),
        ("message.group.normal.x", "message", "group", "normal", False),
        ("notice.notify.poke", "notice", "notify", "poke", True),
        ("notice.notify.poke", "notice", "notify", "honor", False),
        ("notice.poke", "notice", "notify", "poke", False),
        ("notice.*", "notice", "notify", "poke", True),
        ("notice.*", "notice", "notify", None, True),
        ("notice.*", "notice", None, None, False),
        ("notice.*", "notice", None, "poke", True),
        ("notice.notify.*", "notice", "notify", "poke", True),
        ("notice.notify.*", "notice", "notify", None, False),
        ("notice.notify.*", "notice", "notify_x", "poke", False),
        ("*.notify", "notice", "notify", None, False),
        ("notice*", "notice", "notify", None, False),
        ("not*", "notice", None, None, False),
        (".*", "notice", "notify", None, False),
        ("message.", "message", "", None, True),
        ("message.*", "message", "", None, True),
        ("频道.消息", "频道", "消息", "新", True),
        ("频道.*", "频道", "消息", "新", True),
        ("频", "频道", "消息", "新", False),
        ("None", None, None, None, False),
        ("x", None, None, "x", False),
    ],
)
def test_patterns(
    passes: Callable[..., bool],
    pattern: str,
    post_type: str | None,
    second: str | None,
    sub_type: str | None,
    expected: bool,
) -> None:
    key = "message_type" if post_type == "message_sent" else f"{post_type}_type"
    fields = {"post_type": post_type, key: second, "sub_type": sub_type}
    assert passes(fields, kinds={pattern}, self_messages=True) is expected
    assert passes(fields, kinds=["other", pattern, "other.x"], self_messages=True) is expected
    assert passes(fields, exclude_kinds={pattern}, self_messages=True) is not expected
    assert not passes(fields, kinds={pattern}, exclude_kinds=("*",), self_messages=True)


def test_no_kinds_at_all(passes: Callable[..., bool]) -> None:
    assert not passes(GROUP_MESSAGE, kinds=())
    assert passes(GROUP_MESSAGE, kinds=None)


# Shards.


def test_each_event_passes_one_shard(passes: Callable[..., bool]) -> None:
    fields = [
        *({**GROUP_MESSAGE, "group_id": group, "user_id": USER} for group in range(1, 60)),
        {**PRIVATE_MESSAGE, "user_id": USER},
        {"post_type": "notice", "notice_type": "bot_offline", "user_id": ACCOUNT},
        {"post_type": "request", "request_type": "group", "sub_type": "invite", "group_id": GROUP},
    ]
    found = [[passes(one, shard=(number, 4)) for number in (1, 2, 3, 4)] for one in fields]
    assert all(sum(row) == 1 for row in found)
    assert all(sum(column) >= 8 for column in zip(*found, strict=True)), "and they share the work"


def test_the_shard_is_the_crc_32_of_account_and_group(passes: Callable[..., bool]) -> None:
    fields = {**GROUP_MESSAGE, "group_id": GROUP, "user_id": USER}
    # crc32(b"10001:342561735") is 340157309, which is 4 modulo 5; crc32(b"10002:342561735") is 2376336764, which is 4
    assert [passes(fields, shard=(number, 5)) for number in (1, 2, 3, 4, 5)] == [False, False, False, False, True]
    assert [passes({**fields, "user_id": 8}, shard=(number, 5)) for number in (4, 5)] == [False, True]
    moved = {**fields, "self_id": ACCOUNT + 1}
    assert [number for number in (1, 2, 3, 4, 5) if passes(moved, shard=(number, 5))] == [5]


def test_private_messages_of_an_account_stay_together(passes: Callable[..., bool]) -> None:
    friend = {**PRIVATE_MESSAGE, "user_id": USER}
    temporary = {
        "post_type": "message",
        "message_type": "private",
        "sub_type": "group",
        "group_id": GROUP,
        "user_id": 8,
    }
    numbers = [[number for number in range(1, 8) if passes(one, shard=(number, 7))] for one in (friend, temporary)]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 1


def test_meta_events_go_to_every_shard(passes: Callable[..., bool]) -> None:
    heartbeat = {"post_type": "meta_event", "meta_event_type": "heartbeat"}
    assert all(passes(heartbeat, shard=(number, 3)) for number in (1, 2, 3))


def test_the_account_of_the_link_counts_for_shards(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    for number in (1, 2, 3, 4, 5):
        router.add(core.Outbox(), shard=(number, 5))
    named = event(self_id=ACCOUNT, group_id=GROUP, **GROUP_MESSAGE)
    assert router.match(named) == [4]
    assert router.match(event(group_id=GROUP, **GROUP_MESSAGE), ACCOUNT) == [4]


def test_shards_come_and_go_with_their_rows(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    here = event(self_id=ACCOUNT, group_id=GROUP, **GROUP_MESSAGE)
    row = router.add(core.Outbox(), shard=(1, 5))
    assert router.match(here) == []
    router.replace(row, shard=(5, 5))
    assert router.match(here) == [row]
    router.replace(row)
    assert router.match(here) == [row]
    router.replace(row, shard=(1, 5))
    router.remove(row)
    assert router.add(core.Outbox()) == row
    assert router.match(here) == [row]


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (-1, 2), (1, 0), (1, 1 << 31)])
def test_impossible_shards(core: Any, shard: tuple[int, int]) -> None:
    router = core.Router()
    with pytest.raises(ValueError, match="shard must be"):
        router.add(core.Outbox(), shard=shard)
    assert len(router) == 0


@pytest.mark.parametrize("shard", [("1", "2"), (1.0, 2), (True, 2), 2, (None, 1)])
def test_shards_of_a_wrong_type(core: Any, shard: Any) -> None:
    with pytest.raises(TypeError):
        core.Router().add(core.Outbox(), shard=shard)
