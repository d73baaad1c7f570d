"""Why a filter lets an event through or stops it, in words that show ids and rules, never what a message says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from napcore.core.conditions import text_condition
from napcore.types import EventClass

if TYPE_CHECKING:
    from napcore.core.filter import Filter
    from napcore.dispatch import Event

__all__ = ("PASSES", "explain_rules")

PASSES = "let through"
"""How every explanation of an event that passes begins; the others begin with ``stopped``."""

_PRIVATE = ("message.private", "message_sent.private")
_ALWAYS_IN_A_GROUP = ("message.group", "message_sent.group", "request.group")
_JOIN_OR_LEAVE = ("notice.group_increase", "notice.group_decrease")


class Answer(NamedTuple):
    """What one rule says."""

    name: str
    holds: bool
    words: str


def explain_rules(filter: Filter, event: Event, account: int) -> tuple[bool, str]:
    """Whether the filter's own rules and conditions let the event through, and one line that says why."""
    reasons = []
    for answer in _answers(filter, event, account):
        if not answer.holds:
            return False, f"stopped by {answer.name}: {answer.words}"
        reasons.append(f"{answer.name}: {answer.words}")
    return True, f"{PASSES}: {'; '.join(reasons) or 'no rule is against it'}"


def _answers(filter: Filter, event: Event, account: int) -> Iterator[Answer]:
    yield from _for_all(filter, event, account)
    if _post_type(event) != "meta_event":
        yield from _for_its_class(filter, event, account)
    yield from _conditions(filter, event, account)


def _for_all(filter: Filter, event: Event, account: int) -> Iterator[Answer]:
    self_id = event.self_id or account or None
    if filter.self_ids is not None:
        yield _listed("self_ids", filter.self_ids, self_id, "it has no account")
    kind = _path(event)
    if filter.kinds is not None:
        found = next(_fitting(filter.kinds, kind), None)
        yield Answer("kinds", found is not None, f"{kind!r} fits {found!r}" if found else f"{kind!r} is not listed")
    if filter.exclude_kinds:
        found = next(_fitting(filter.exclude_kinds, kind), None)
        yield Answer("exclude_kinds", found is None, f"{kind!r} fits {found!r}" if found else f"{kind!r} is not listed")


def _for_its_class(filter: Filter, event: Event, account: int) -> Iterator[Answer]:
    self_id = event.self_id or account or None
    if _post_type(event) == "message_sent":
        yield Answer("self_messages", filter.self_messages, "it is the account's own message")
    private = event.kind in _PRIVATE
    if filter.shard is not None:
        yield _shard(filter.shard, self_id or 0, 0 if private else event.group_id or 0)
    if _is_about_account(event, self_id):
        if filter.exclude_groups:
            yield _excluded("exclude_groups", filter.exclude_groups, event.group_id)
        return
    if private:
        yield Answer("private", filter.private, "it is a private message")
    else:
        if filter.groups is not None:
            if event.group_id is None and event.kind not in _ALWAYS_IN_A_GROUP:
                yield Answer("groups", True, "it is of no group")
            else:
                yield _listed("groups", filter.groups, event.group_id, "it has no group")
        if filter.exclude_groups:
            yield _excluded("exclude_groups", filter.exclude_groups, event.group_id)
    if filter.users is not None:
        yield _listed("users", filter.users, event.user_id, "it has no user")
    if filter.exclude_users:
        yield _excluded("exclude_users", filter.exclude_users, event.user_id)


def _conditions(filter: Filter, event: Event, account: int) -> Iterator[Answer]:
    text = text_condition(filter)
    for condition in ([text] if text is not None else []) + filter.conditions:
        if condition.messages_only and event.event_class != EventClass.MESSAGE:
            yield Answer(condition.name, True, "it is no message")
            continue
        holds = condition.test(event, account)
        words = condition.yes if holds else condition.no
        if condition.name == "expression":
            expression = filter.compiled_expression
            assert expression is not None
            words = expression.explain(event.data)
        yield Answer(condition.name, holds, words)


def _post_type(event: Event) -> str:
    return (event.kind or "").partition(".")[0]


def _path(event: Event) -> str:
    return f"{event.kind}.{event.sub_type}" if event.kind is not None and event.sub_type else event.kind or ""


def _fitting(patterns: Iterable[str], path: str) -> Iterator[str]:
    return (pattern for pattern in sorted(patterns) if _fits(pattern, path))


def _fits(pattern: str, path: str) -> bool:
    if pattern.endswith(".*"):
        return path.startswith(pattern[:-1])
    return pattern == "*" or f"{path}.".startswith(f"{pattern}.")


def _listed(name: str, ids: Iterable[int], found: int | None, without: str) -> Answer:
    if found is None:
        return Answer(name, False, without)
    holds = found in frozenset(ids)
    return Answer(name, holds, f"{found} is {'listed' if holds else 'not listed'}")


def _excluded(name: str, ids: Iterable[int], found: int | None) -> Answer:
    if found is None:
        return Answer(name, True, "it has none")
    holds = found not in frozenset(ids)
    return Answer(name, holds, f"{found} is {'not listed' if holds else 'listed'}")


def _shard(shard: str, self_id: int, group: int) -> Answer:
    number, count = map(int, shard.split("/"))
    mine = crc32(b"%d:%d" % (self_id, group)) % count + 1
    return Answer("shard", mine == number, f"it is of shard {mine}/{count}")


def _is_about_account(event: Event, self_id: int | None) -> bool:
    if event.kind == "request.group":
        return event.sub_type == "invite"
    if event.kind in _JOIN_OR_LEAVE:
        return event.user_id is not None and event.user_id == self_id
    return event.kind == "notice.bot_offline"
