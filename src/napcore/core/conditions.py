"""What a filter asks of an event beyond ids and kinds: of messages what they say and who says it, of all an expression.

Asked only where the rules on ids and kinds have let an event through, on the one decoded event that
all share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from napcore.core.regex import compile_regex
from napcore.dispatch import Event, TextIndex, parse_message
from napcore.types import EventClass

if TYPE_CHECKING:
    from napcore.core.filter import Filter

__all__ = ("TEXT_FIELDS", "Condition", "conditions_of", "text_condition", "text_of_filter", "together")

Test = Callable[[Event, int], bool]

TEXT_FIELDS: Final = ("commands", "prefix", "suffix", "fullmatch", "keywords")
_MESSAGE: Final = int(EventClass.MESSAGE)
_TEXT_OPTIONS: Final = ("command_start", "command_whitespace", "ignore_case")


class Condition(NamedTuple):
    """One question about an event, and the words for its answers."""

    name: str
    test: Test
    """Gets the event and the account that stands in for a missing ``self_id``."""
    yes: str
    no: str
    messages_only: bool = True


def text_of_filter(filter: Filter) -> dict[str, Any] | None:
    """The keyword arguments for ``TextIndex.add``; None without text rules."""
    if not any(getattr(filter, name) for name in TEXT_FIELDS):
        return None
    return {name: getattr(filter, name) for name in (*TEXT_FIELDS, *_TEXT_OPTIONS)}


def text_condition(filter: Filter) -> Condition | None:
    """The text rules as a condition, for those who have no router; None without any."""
    text = text_of_filter(filter)
    if text is None:
        return None
    index = TextIndex()
    index.add(**text)
    names = " or ".join(name for name in TEXT_FIELDS if text[name])
    return Condition(
        names,
        lambda event, account: bool(index.match(event.text)),
        "the text has one of them",
        "the text has none of them",
    )


def conditions_of(filter: Filter) -> list[Condition]:
    """What the filter asks beside its text rules, the cheapest first."""
    return list(_conditions(filter))


def together(conditions: list[Condition]) -> Test | None:
    """All of them as one; None for none."""
    if not conditions:
        return None
    if len(conditions) == 1 and not conditions[0].messages_only:
        return conditions[0].test
    for_all = [condition.test for condition in conditions if not condition.messages_only]
    for_messages = [condition.test for condition in conditions if condition.messages_only] + for_all

    def holds(event: Event, account: int) -> bool:
        for test in for_messages if event.event_class == _MESSAGE else for_all:
            if not test(event, account):
                return False
        return True

    return holds


def _conditions(filter: Filter) -> Iterator[Condition]:
    least, most = filter.min_size, filter.max_size
    if least:
        yield Condition(
            "min_size",
            lambda event, account: len(event.raw) >= least,
            f"it has {least} bytes or more",
            f"it has fewer than {least} bytes",
        )
    if most is not None:
        limit = most
        yield Condition(
            "max_size",
            lambda event, account: len(event.raw) <= limit,
            f"it has {limit} bytes or fewer",
            f"it has more than {limit} bytes",
        )
    if filter.roles is not None:
        yield _roles(frozenset(filter.roles))
    if filter.has is not None:
        yield _has(frozenset(filter.has))
    if filter.to_me:
        yield Condition(
            "to_me",
            _is_to_me,
            "it is private, mentions the account or replies to a message",
            "it is not private, does not mention the account and replies to nothing",
        )
    if filter.regex is not None:
        yield _regex(sorted(filter.regex))
    expression = filter.compiled_expression
    if expression is not None:
        test = expression.test
        yield Condition("expression", lambda event, account: test(event.data), "", "", messages_only=False)


def _roles(roles: frozenset[str]) -> Condition:
    def test(event: Event, account: int) -> bool:
        sender = event.data.get("sender")
        role = sender.get("role") if isinstance(sender, dict) else None
        return isinstance(role, str) and role in roles

    listed = ", ".join(sorted(roles))
    return Condition("roles", test, f"the sender is one of {listed}", f"the sender is none of {listed or 'no roles'}")


def _has(wanted: frozenset[str]) -> Condition:
    listed = ", ".join(sorted(wanted))
    return Condition(
        "has",
        lambda event, account: any(segment["type"] in wanted for segment in _segments(event)),
        f"there is a segment of {listed}",
        f"there is no segment of {listed or 'no types'}",
    )


def _regex(patterns: list[str]) -> Condition:
    searches = [compile_regex(pattern) for pattern in patterns]
    return Condition(
        "regex",
        lambda event, account: any(search(event.text) for search in searches),
        "the text has one of the patterns",
        f"the text has none of the {len(patterns)} patterns",
    )


def _is_to_me(event: Event, account: int) -> bool:
    if event.kind == "message.private":
        return True
    self_id = str(event.self_id or account or "")
    for segment in _segments(event):
        if segment["type"] == "reply":
            return True
        data = segment.get("data")
        if segment["type"] == "at" and self_id and isinstance(data, dict) and str(data.get("qq")) == self_id:
            return True
    return False


def _segments(event: Event) -> Iterator[dict[str, Any]]:
    message = event.data.get("message")
    if isinstance(message, str):
        message = parse_message(message)
    for segment in message if isinstance(message, list) else ():
        if isinstance(segment, dict) and isinstance(segment.get("type"), str):
            yield segment
