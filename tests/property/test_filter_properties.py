"""Filters and their combinations against a direct reading of what each field says, and their explanations."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from zlib import crc32

import orjson
from hypothesis import given
from hypothesis import strategies as st

from napcore import Event, Filter, Hub, peek

ids = st.integers(1, 4)
id_sets = st.frozensets(ids, max_size=3)
kinds = st.frozensets(
    st.sampled_from(
        ["*", "message", "message.*", "message.group", "message.private", "message_sent", "notice", "notice.notify.*"]
        + ["notice.notify.poke", "request.group.invite", "meta_event", "meta_event.*", "x"]
    ),
    max_size=3,
)
words = st.frozensets(st.sampled_from(["a", "b", "ab", "/a", "\u6c49"]), max_size=2)
texts = st.lists(st.sampled_from(["a", "b", "/", " ", "\u6c49", "A"]), max_size=4).map("".join)
fields = {
    "groups": st.none() | id_sets,
    "exclude_groups": id_sets,
    "users": st.none() | id_sets,
    "exclude_users": id_sets,
    "kinds": st.none() | kinds,
    "exclude_kinds": kinds,
    "self_ids": st.none() | id_sets,
    "private": st.booleans(),
    "self_messages": st.booleans(),
    "shard": st.none() | st.sampled_from(["1/2", "2/2", "1/3"]),
    "commands": words,
    "prefix": words,
    "suffix": words,
    "fullmatch": words,
    "keywords": words,
    "ignore_case": st.booleans(),
    "regex": st.none() | st.frozensets(st.sampled_from(["^a", "b$", "\u6c49"]), max_size=2),
    "to_me": st.booleans(),
    "has": st.none() | st.frozensets(st.sampled_from(["text", "at", "image"]), max_size=2),
    "roles": st.none() | st.frozensets(st.sampled_from(["owner", "admin"]), max_size=2),
    "min_size": st.sampled_from([0, 200]),
    "max_size": st.none() | st.just(250),
    "expression": st.none()
    | st.sampled_from([{}, {"user_id": 1}, {"message.#": 2}, {".not": {"group_id": {".in": [1, 2]}}}]),
}
# Few fields at a time, so that filters let something through and combinations can be carried out by the index.
leaves = st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
)
trees: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner) | st.tuples(st.just("not"), inner),
    max_leaves=5,
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    post_type, second = draw(
        st.sampled_from(
            [("message", "group"), ("message", "private"), ("message_sent", "group"), ("message_sent", "private")] * 2
            + [("notice", "notify"), ("notice", "group_increase"), ("notice", "bot_offline"), ("request", "group")]
            + [("request", "friend"), ("meta_event", "heartbeat"), ("guild", None)]
        )
    )
    key = "message_type" if post_type == "message_sent" else f"{post_type}_type"
    segments = st.sampled_from([{"type": "image", "data": {}}, {"type": "at", "data": {"qq": "1"}}, {"type": "reply"}])
    made = {
        "post_type": post_type,
        key: second,
        "sub_type": draw(st.sampled_from([None, "poke", "invite", "normal"])),
        "self_id": draw(st.none() | ids),
        "group_id": draw(st.none() | ids),
        "user_id": draw(st.none() | ids),
        "sender": draw(st.none() | st.sampled_from([{"role": "owner"}, {"role": "member"}])),
        "message": draw(
            texts | st.lists(segments | texts.map(lambda text: {"type": "text", "data": {"text": text}}), max_size=3)
        ),
    }
    return peek(orjson.dumps({name: value for name, value in made.items() if value is not None}))


# The reading: one function per field, straight from its docstring.


def segments_of(event: Event) -> list[dict[str, Any]]:
    message = event.data.get("message")
    if isinstance(message, str):
        return [{"type": "text", "data": {"text": message}}] if message else []
    return message or []


def text_of(event: Event) -> str:
    return "".join(segment["data"]["text"] for segment in segments_of(event) if segment["type"] == "text")


def has_text(rules: dict[str, Any], event: Event) -> bool:
    fold: Callable[[str], str] = str.casefold if rules.get("ignore_case") else str
    text = fold(text_of(event))

    def any_of(name: str, fits: Callable[[str], bool]) -> bool:
        return any(fits(fold(one)) for one in rules.get(name, ()))

    return (
        any_of("commands", lambda one: text.lstrip().startswith("/" + one))
        or any_of("prefix", text.startswith)
        or any_of("suffix", text.endswith)
        or any_of("fullmatch", text.__eq__)
        or any_of("keywords", lambda one: one in text)
    )


def conditions_hold(rules: dict[str, Any], event: Event, account: int) -> bool:
    message = event.data["post_type"] in ("message", "message_sent")
    present = {segment["type"] for segment in segments_of(event)}
    mentions = [segment["data"]["qq"] for segment in segments_of(event) if segment["type"] == "at"]
    if message:
        if any(rules.get(name) for name in ("commands", "prefix", "suffix", "fullmatch", "keywords")):
            if not has_text(rules, event):
                return False
        if rules.get("regex") is not None and not any(re.search(one, text_of(event)) for one in rules["regex"]):
            return False
        if rules.get("to_me") and not (
            event.kind == "message.private" or str(event.self_id or account) in mentions or "reply" in present
        ):
            return False
        if rules.get("has") is not None and not rules["has"] & present:
            return False
        if rules.get("roles") is not None and (event.data.get("sender") or {}).get("role") not in rules["roles"]:
            return False
        if not rules.get("min_size", 0) <= len(event.raw) <= (rules.get("max_size") or 10**9):
            return False
    expression = rules.get("expression")
    if not expression:
        return True
    if "user_id" in expression:
        return event.data.get("user_id") == 1
    if "message.#" in expression:
        return isinstance(event.data["message"], list) and len(event.data["message"]) == 2
    return event.data.get("group_id") not in (1, 2)


def kind_fits(patterns: Any, event: Event) -> bool:
    kind, sub_type = event.kind, event.sub_type
    names = [name for name in (kind, sub_type) if name] if kind else []
    path = ".".join(names)
    return any(
        pattern == "*"
        or re.match(re.escape(pattern).replace(r"\.\*", r"\.") + ("" if "*" in pattern else r"(\.|$)"), path)
        for pattern in patterns
    )


def leaf_passes(rules: dict[str, Any], event: Event, account: int) -> bool:
    self_id, group, user = event.self_id or account or None, event.group_id, event.user_id
    kind = event.kind or ""
    if rules.get("self_ids") is not None and self_id not in rules["self_ids"]:
        return False
    if rules.get("kinds") is not None and not kind_fits(rules["kinds"], event):
        return False
    if kind_fits(rules.get("exclude_kinds", ()), event) or not conditions_hold(rules, event, account):
        return False
    if kind.startswith("meta_event"):
        return True
    if kind.startswith("message_sent") and not rules.get("self_messages", False):
        return False
    private = kind.endswith(".private")
    if rules.get("shard"):
        number, count = rules["shard"].split("/")
        key = f"{self_id or 0}:{0 if private else group or 0}".encode()
        if crc32(key) % int(count) + 1 != int(number):
            return False
    join = kind == "notice.group_increase" and user is not None and user == self_id
    if join or kind == "notice.bot_offline" or (kind == "request.group" and event.sub_type == "invite"):
        return group not in rules.get("exclude_groups", ())
    if private and not rules.get("private", True):
        return False
    if not private:
        of_a_group = group is not None or kind in ("message.group", "message_sent.group", "request.group")
        if rules.get("groups") is not None and of_a_group and group not in rules["groups"]:
            return False
        if group in rules.get("exclude_groups", ()):
            return False
    if rules.get("users") is not None and user not in rules["users"]:
        return False
    return user not in rules.get("exclude_users", ())


def passes(tree: Any, event: Event, account: int) -> bool:
    if isinstance(tree, dict):
        return leaf_passes(tree, event, account)
    operator, *parts = tree
    found = [passes(part, event, account) for part in parts]
    return all(found) if operator == "and" else any(found) if operator == "or" else not found[0]


def build(tree: Any) -> Filter:
    if isinstance(tree, dict):
        return Filter(**tree)
    operator, *parts = tree
    filters = [build(part) for part in parts]
    if operator == "not":
        return ~filters[0]
    return filters[0] & filters[1] if operator == "and" else filters[0] | filters[1]


@given(trees, st.lists(events(), min_size=1, max_size=4), st.sampled_from([0, 1, 2]))
def test_filters_let_through_what_they_say(tree: Any, given_events: list[Event], account: int) -> None:
    filter = build(tree)
    for event in given_events:
        expected = passes(tree, event, account)
        assert filter.matches(event, account) is expected
        assert filter.explain(event, account).startswith("let through" if expected else "stopped")


@given(st.lists(trees, min_size=1, max_size=4), st.lists(events(), min_size=1, max_size=4), st.sampled_from([0, 1]))
def test_hubs_let_through_what_filters_do(trees: list[Any], given_events: list[Event], account: int) -> None:
    hub = Hub()
    clients = [hub.add(str(number), build(tree)) for number, tree in enumerate(trees)]
    for client, tree in zip(clients, trees, strict=True):
        client.filter = build(tree)
    hub.route(given_events, account=account)
    for client, tree in zip(clients, trees, strict=True):
        assert client.take() == [event for event in given_events if passes(tree, event, account)]
