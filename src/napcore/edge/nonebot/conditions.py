"""What must hold for a rule or a permission of NoneBot2 to be able to pass.

A condition may say yes too often, never no too often: a matcher it lets through is still asked by NoneBot2 itself. Each
mirrors one checker of ``nonebot.rule``, ``nonebot.permission`` or ``nonebot.adapters.onebot.v11.permission``, versions
2.3 to 2.5. Equal conditions are one: a hundred ``to_me`` rules are asked once per event.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .facts import Facts


UNCASED = re.compile("[\\x00-@\\[-`{-\\x7f\u2e80-\u9fff]*")
"""Characters that re.IGNORECASE takes for themselves alone: ASCII without letters, CJK."""


class Unknown(Exception):
    """A checker that is not NoneBot2's own, or not as NoneBot2 makes it: it may do anything, so it always runs."""


class Condition(Protocol):
    """Something about an event."""

    def possible(self, facts: Facts) -> bool:
        """Whether it may hold; False is certain."""
        ...


@dataclass(frozen=True)
class Command:
    """The command that NoneBot2 read at the start of the message is one of these (command and shell command)."""

    commands: frozenset[Any]

    def possible(self, facts: Facts) -> bool:
        """Also yes where the command is not certain: handlers can write to what the rule reads."""
        return facts.command_changed or facts.command in self.commands


@dataclass(frozen=True)
class Fullmatch:
    """The plain text is one of these."""

    texts: frozenset[str]
    ignore_case: bool

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        text = facts.text
        if not text:
            return False
        return (text.casefold() if self.ignore_case else text) in self.texts


@dataclass(frozen=True)
class HasText:
    """The event has a plain text, an empty one included (an affix of no text)."""

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        return facts.text is not None


@dataclass(frozen=True)
class Prefix:
    """The plain text starts with one of these."""

    patterns: tuple[str, ...]

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        return facts.text is not None and facts.text.startswith(self.patterns)


@dataclass(frozen=True)
class Suffix:
    """The plain text ends with one of these, or does before its last line feed: the rule is a ``$`` expression."""

    patterns: tuple[str, ...]

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        text = facts.text
        if text is None:
            return False
        return text.endswith(self.patterns) or (text.endswith("\n") and text[:-1].endswith(self.patterns))


@dataclass(frozen=True)
class Keywords:
    """The plain text contains one of these."""

    words: tuple[str, ...]

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        text = facts.text
        return text is not None and any(word in text for word in self.words)


@dataclass(frozen=True)
class TextPattern:
    """The plain text is matched by an expression (prefixes and suffixes without regard to case)."""

    pattern: re.Pattern[str]

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        return facts.text is not None and self.pattern.search(facts.text) is not None


@dataclass(frozen=True)
class MessagePattern:
    """The message, segments and all, is matched by an expression (regex)."""

    pattern: re.Pattern[str]

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        return facts.message is not None and self.pattern.search(facts.message) is not None


@dataclass(frozen=True)
class ToMe:
    """The event is meant for the bot."""

    def possible(self, facts: Facts) -> bool:
        """Also yes once the answer has changed during the event: the rule may have the old one in its cache."""
        return facts.to_me_changed or facts.to_me


@dataclass(frozen=True)
class IsType:
    """The event is an instance of one of these."""

    types: tuple[type[Any], ...]

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        return isinstance(facts.event, self.types)


@dataclass(frozen=True)
class EventKind:
    """The event has this type (the permissions ``MESSAGE``, ``NOTICE``, ``REQUEST`` and ``METAEVENT``)."""

    kind: str

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        return facts.kind == self.kind


@dataclass(frozen=True)
class Sender:
    """A OneBot 11 permission: an event of a class, whose attribute has a value."""

    event_type: type[Any]
    path: tuple[str, ...] = ()
    value: str = ""

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        found: Any = facts.event
        if not isinstance(found, self.event_type):
            return False
        for name in self.path:
            found = getattr(found, name)
        return not self.path or found == self.value


@dataclass(frozen=True)
class SuperUser:
    """The sender is a superuser of the bot. NoneBot2's own checker answers: it awaits nothing."""

    checker: Any

    def possible(self, facts: Facts) -> bool:
        """Exact."""
        return bool(result_of(self.checker(facts.bot, facts.event)))


@dataclass(frozen=True)
class Session:
    """The event belongs to one of these sessions (``USER``, and whoever waits in ``got``, ``pause``, ``reject``)."""

    users: tuple[str, ...]

    def possible(self, facts: Facts) -> bool:
        """Exact, but for a permission that must hold besides."""
        return facts.session is not None and facts.session in self.users


@dataclass(frozen=True)
class AnyOf:
    """One of several holds: a permission with several checkers."""

    conditions: tuple[Condition, ...]

    def possible(self, facts: Facts) -> bool:
        """Exact where each is."""
        return any(condition.possible(facts) for condition in self.conditions)


def result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that awaits nothing; RuntimeError if it does."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("this coroutine was not expected to wait")
