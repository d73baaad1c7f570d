"""Rows come, change and go; what is wrong changes nothing."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pytest

GROUP, OTHER, USER = 342561735, 1062848088, 7

GROUP_MESSAGE = {"post_type": "message", "message_type": "group", "sub_type": "normal"}
PRIVATE_MESSAGE = {"post_type": "message", "message_type": "private", "sub_type": "friend"}


def test_row_numbers(core: Any) -> None:
    router = core.Router()
    outbox = core.Outbox()
    assert [router.add(outbox) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(router) == 5
    for row in (3, 1, 4):
        router.remove(row)
    assert len(router) == 2
    assert [router.add(outbox) for _ in range(4)] == [1, 3, 4, 5]
    assert router.match(core.peek(b'{"post_type":"x"}')) == [0, 1, 2, 3, 4, 5]


def test_removed_rows_match_nothing_more(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    message = event(**GROUP_MESSAGE, group_id=GROUP, user_id=USER)
    rows = [router.add(core.Outbox(), groups={GROUP}, users={USER}, kinds={"message"}) for _ in range(70)]
    assert router.match(message) == rows
    router.remove(64)
    rows.remove(64)
    assert router.match(message) == rows
    # The number is used again without anything of its former rules.
    assert router.add(core.Outbox(), groups={OTHER}) == 64
    assert router.match(message) == rows
    assert router.match(event(**GROUP_MESSAGE, group_id=OTHER)) == [64]


def test_replace(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    row = router.add(core.Outbox(), groups={GROUP}, exclude_users={USER}, kinds={"message"}, private=False)
    listed, other = event(**GROUP_MESSAGE, group_id=GROUP), event(**GROUP_MESSAGE, group_id=OTHER)
    assert (router.match(listed), router.match(other)) == ([row], [])
    router.replace(row, groups={OTHER})
    assert (router.match(listed), router.match(other)) == ([], [row])
    assert router.match(event(**PRIVATE_MESSAGE, user_id=USER)) == [row]
    assert router.match(event(post_type="notice")) == [row]
    router.replace(row)
    assert (router.match(listed), router.match(other)) == ([row], [row])
    assert len(router) == 1


def test_unknown_rows(core: Any) -> None:
    router = core.Router()
    router.add(core.Outbox())
    removed = router.add(core.Outbox())
    router.remove(removed)
    for row in (removed, 2, -1, 1 << 70):
        with pytest.raises(KeyError):
            router.remove(row)
        with pytest.raises(KeyError):
            router.replace(row, groups={1})
    assert len(router) == 1


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ({"groups": {"342561735"}}, TypeError),
        ({"groups": [1, True]}, TypeError),
        ({"groups": {1.0}}, TypeError),
        ({"groups": 5}, TypeError),
        ({"groups": "5"}, TypeError),
        ({"exclude_groups": None}, TypeError),
        ({"users": [None]}, TypeError),
        ({"exclude_users": {1 << 63}}, ValueError),
        ({"self_ids": {-(1 << 63) - 1}}, ValueError),
        ({"kinds": "message"}, TypeError),
        ({"kinds": [1]}, TypeError),
        ({"kinds": b"message"}, TypeError),
        ({"exclude_kinds": None}, TypeError),
        ({"exclude_kinds": [b"message"]}, TypeError),
        ({"kinds": [""]}, ValueError),
        ({"nothing": 1}, TypeError),
    ],
)
def test_bad_rules_change_nothing(
    core: Any, event: Callable[..., Any], rules: dict[str, Any], error: type[Exception]
) -> None:
    router = core.Router()
    kept = router.add(core.Outbox(), groups={GROUP}, users={USER})
    with pytest.raises(error):
        router.add(core.Outbox(), **{"groups": {GROUP}, **rules})
    with pytest.raises(error):
        router.replace(kept, **{"groups": {OTHER}, **rules})
    assert len(router) == 1
    assert router.match(event(**GROUP_MESSAGE, group_id=GROUP, user_id=USER)) == [kept]
    assert router.match(event(**GROUP_MESSAGE, group_id=OTHER, user_id=USER)) == []
    assert router.add(core.Outbox()) == 1


def test_bad_outbox_and_form(core: Any) -> None:
    router = core.Router()
    for outbox in (None, "outbox", object()):
        with pytest.raises(TypeError):
            router.add(outbox)
    for form in ("xml", "", None, 1):
        with pytest.raises(ValueError, match="form must be one of event, json, frame, masked"):
            router.add(core.Outbox(), form)
    assert len(router) == 0
    for form in ("event", "json", "frame", "masked"):
        router.add(core.Outbox(), form)
    assert len(router) == 4


def test_match_takes_events_only(core: Any) -> None:
    router = core.Router()
    router.add(core.Outbox())
    for other in (None, b'{"post_type":"x"}', core.peek_frame(b"{}")):
        with pytest.raises((TypeError, AttributeError)):
            router.match(other)


def test_extreme_and_related_ids(core: Any, event: Callable[..., Any]) -> None:
    class Group(enum.IntEnum):
        HOME = 99

    low, high = -(1 << 63), (1 << 63) - 1
    router = core.Router()
    assert router.add(core.Outbox(), groups={low, -1, Group.HOME}) == 0
    assert router.add(core.Outbox(), groups=(high, high, 1)) == 1
    found = {value: router.match(event(**GROUP_MESSAGE, group_id=value)) for value in (low, -1, 99, high, 1, 2)}
    assert found == {low: [0], -1: [0], 99: [0], high: [1], 1: [1], 2: []}


def test_hundreds_of_rows_over_hundreds_of_groups(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    for row in range(300):
        assert router.add(core.Outbox(), groups=range(row + 1, row + 200), exclude_users={row}) == row
    for row in range(0, 300, 3):
        router.remove(row)
    for group in (1, 2, 64, 150, 199, 200, 201, 320, 498, 499):
        expected = [row for row in range(300) if row % 3 and row + 1 <= group < row + 200 and row != 77]
        assert router.match(event(**GROUP_MESSAGE, group_id=group, user_id=77)) == expected


def test_more_kinds_than_any_cache_holds(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    every = router.add(core.Outbox(), kinds={"notice"})
    one = router.add(core.Outbox(), kinds={"notice.t700", "notice.notify.s900"})
    for number in range(1500):
        expected = [every, one] if number == 700 else [every]
        assert router.match(event(post_type="notice", notice_type=f"t{number}")) == expected
        expected = [every, one] if number == 900 else [every]
        assert router.match(event(post_type="notice", notice_type="notify", sub_type=f"s{number}")) == expected


def test_kinds_seen_before_a_change(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    poke = event(post_type="notice", notice_type="notify", sub_type="poke", group_id=GROUP)
    assert router.match(poke) == []
    first = router.add(core.Outbox(), kinds={"notice.notify.poke"})
    assert router.match(poke) == [first]
    second = router.add(core.Outbox(), exclude_kinds={"message"})
    assert router.match(poke) == [first, second]
    router.replace(first, kinds={"message"})
    assert router.match(poke) == [second]
    router.remove(second)
    assert router.match(poke) == []
    assert router.add(core.Outbox()) == second
    assert router.match(poke) == [second]
