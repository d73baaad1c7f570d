"""What a client wants to see."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any, Final, Literal

from napcore.core.conditions import Condition, conditions_of, text_of_filter, together
from napcore.core.explanation import PASSES, explain_rules
from napcore.core.expression import Expression
from napcore.core.expression_file import read_expression
from napcore.core.filter_fields import check_expression, check_field, shard_of
from napcore.core.rules import EVERYTHING, RULES, Rules, meet, no_rules, unite
from napcore.dispatch import Event, Outbox, Router
from napcore.errors import ConfigError, ConfigProblem
from napcore.types import FailMode, Role

__all__ = ("Combination", "Filter")

_HEADS: Final = {
    ("and", True): "every part lets it through",
    ("and", False): "not every part lets it through",
    ("or", True): "a part lets it through",
    ("or", False): "no part lets it through",
    ("not", True): "the part, turned round, stops it",
    ("not", False): "the part, turned round, lets it through",
}


@dataclass(frozen=True)
class Filter:
    """Which events a client gets. The default lets every event through but the account's own messages.

    Every rule must hold. Group rules judge messages, notices and requests *of a group*; private
    messages (temporary sessions included), friend requests and notices without a group pass
    them. Events about the account itself (group invites, its own joins and leaves,
    ``bot_offline``) are stopped only by ``exclude_groups``, ``kinds`` and ``self_ids``; meta
    events only by ``kinds`` and ``self_ids``.

    What follows ``shard`` are conditions. They judge messages, ``message_sent`` included, by what
    they say and who says it; notices, requests and meta events pass them: ``kinds={"message"}``
    stops those. A message that lacks what a condition asks for does not pass it. ``expression``
    alone judges every event.

    Collections of any type are taken and kept as frozensets; for texts and roles one string
    stands for a collection of one.

    ``a & b`` is what passes both, ``a | b`` what passes either, ``~a`` what does not pass ``a``
    (so ``~Filter(groups={1})`` lets through the account's own messages, which a filter stops by
    default, and no private message). The results are filters.

    Raises:
        ConfigError: a value has the wrong type, a pattern or an expression is none, or google-re2
            is needed and not installed; all such values are listed.
    """

    groups: Collection[int] | None = None
    """Group ids let through; None is all, an empty collection none."""
    exclude_groups: Collection[int] = frozenset()
    """Group ids stopped, whatever ``groups`` says."""
    users: Collection[int] | None = None
    """User ids let through; an event without a user is then stopped."""
    exclude_users: Collection[int] = frozenset()
    """User ids stopped, whatever ``users`` says."""
    kinds: Collection[str] | None = None
    """Kinds let through: ``message.group``, with the sub_type ``notice.notify.poke``, a whole
    family ``notice`` or ``notice.*``. ``message_sent.group`` is not ``message.group``."""
    exclude_kinds: Collection[str] = frozenset()
    """Kinds stopped, whatever ``kinds`` says."""
    self_ids: Collection[int] | None = None
    """Accounts whose events are let through."""
    private: bool = True
    """Whether private messages pass."""
    self_messages: bool = False
    """Whether the account's own messages (``message_sent``) pass; the other rules still judge them."""
    shard: str | None = None
    """``"2/4"``: the second of four clients that share the work. The CRC-32 of account and group
    decides, so that a group stays with one of them; meta events go to all."""
    commands: Collection[str] = frozenset()
    """Names of commands as NoneBot2 means them: white space, a start symbol, the name, an argument.
    Of ``commands``, ``prefix``, ``suffix``, ``fullmatch`` and ``keywords`` together a message needs
    one; all look at its plain text, that of its text segments, joined."""
    command_start: Collection[str] = frozenset({"/"})
    """Start symbols of commands; ``""`` is none needed."""
    command_whitespace: bool | str = False
    """What must be between a command and its argument: True some white space, a string just this."""
    prefix: Collection[str] = frozenset()
    """What a text may start with."""
    suffix: Collection[str] = frozenset()
    """What a text may end with."""
    fullmatch: Collection[str] = frozenset()
    """What the whole text may be."""
    keywords: Collection[str] = frozenset()
    """What may be somewhere in a text."""
    ignore_case: bool = False
    """Whether these five see no difference between upper and lower case (``str.casefold``)."""
    regex: Collection[str] | None = None
    """Patterns (RE2) of which the plain text must have one, anywhere. Needs the extra ``napcore[re2]``."""
    to_me: bool = False
    """Only messages to the account: private ones, those that mention it, and those that reply to
    some message. Whose message that was the event does not say, so each reply counts."""
    has: Collection[str] | None = None
    """Types of segments, such as ``image``, of which a message must have one."""
    roles: Collection[Role] | Role | None = None
    """What the sender may be in the group: ``owner``, ``admin``, ``member``. A private message has
    no such sender and does not pass."""
    min_size: int = 0
    """Bytes that a message event has at least, as received."""
    max_size: int | None = None
    """Bytes that a message event has at most."""
    expression: Expression | Mapping[str, Any] | str | os.PathLike[str] | None = None
    """A filter of go-cqhttp: its JSON, decoded, or the path of a file, which is read at once."""
    expression_fails: FailMode = "closed"
    """What becomes of an expression that is broken: ``closed`` raises, so that nothing is let
    through; ``open`` logs the error and lets everything pass it, as go-cqhttp does."""

    def __post_init__(self) -> None:
        problems: list[ConfigProblem] = []
        for field in fields(self):
            kept = check_field(field.name, getattr(self, field.name), field.default, problems)
            object.__setattr__(self, field.name, kept)
        if self.commands and not self.command_start:
            problems.append(ConfigProblem(None, None, "command_start", 'is empty, so no text is a command; "" is none'))
        expression = check_expression(self.expression, self.expression_fails, problems)
        if not problems:
            object.__setattr__(self, "expression", expression)
            object.__setattr__(self, "_conditions", conditions_of(self))
        else:
            raise ConfigError(problems)

    @property
    def compiled_expression(self) -> Expression | None:
        """The expression as it is carried out."""
        return self.expression if isinstance(self.expression, Expression) else None

    @property
    def conditions(self) -> list[Condition]:
        """What is asked beside ids, kinds and text, in this order; a combination asks its parts."""
        conditions: list[Condition] = self.__dict__.get("_conditions", [])
        return conditions

    def matches(self, event: Event, account: int = 0) -> bool:
        """Whether ``event`` passes; ``account`` stands in for a missing ``self_id``."""
        router = self.__dict__.get("_router")
        if router is None:
            router = Router()
            router.add(Outbox(), "event", **self.rules())
            object.__setattr__(self, "_router", router)
        return bool(router.match(event, account))

    def explain(self, event: Event, account: int = 0) -> str:
        """Which rule stops ``event``, or which rules let it through, in words.

        It begins with ``let through`` if the event passes, else with ``stopped``; of combined
        filters the parts follow, a line each. Shows ids and the filter's own values, nothing of
        what a message says.
        """
        return explain_rules(self, event, account)[1]

    def reload(self) -> Filter:
        """The same filter with the files of its expressions read again; itself if there are none.

        Raises:
            ConfigError: a file is broken, whatever ``expression_fails`` says; this filter is what
                it was.
        """
        expression = self.compiled_expression
        if expression is None or expression.file is None:
            return self
        return replace(self, expression=read_expression(expression.file))

    def rules(self) -> dict[str, Any]:
        """The keyword arguments for ``Router.add`` and ``Router.replace``."""
        return {**self._index(), "condition": together(self.conditions), "text": text_of_filter(self)}

    def names(self, post_type: str) -> bool:
        """Whether ``kinds`` asks for kinds of this post type by name."""
        return any(kind.split(".")[0] == post_type for kind in self.kinds or ())

    def __and__(self, other: Filter) -> Filter:
        combined: Filter = _combine("and", self, other)
        return combined

    def __or__(self, other: Filter) -> Filter:
        combined: Filter = _combine("or", self, other)
        return combined

    def __invert__(self) -> Filter:
        return Combination("not", (self,))

    def __getstate__(self) -> dict[str, Any]:
        # Without what is made again: the router of matches() and the conditions cannot be pickled.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _index(self) -> Rules:
        rules = {name: getattr(self, name) for name in RULES}
        rules["shard"] = shard_of(self.shard) if self.shard is not None else None
        return rules

    def _opposite(self) -> Rules:
        conditional = self.conditions or text_of_filter(self) is not None
        return dict(EVERYTHING) if conditional else no_rules(self._index())

    def _explain(self, event: Event, account: int, depth: int) -> str:
        return "  " * depth + explain_rules(self, event, account)[1]


class Combination(Filter):
    """Filters put together by ``&``, ``|`` or ``~``; made by those.

    Its own fields are the narrowest rules that stop nothing it lets through: they are what an index
    looks at first. ``operator`` and ``parts`` are what decides.
    """

    operator: Literal["and", "or", "not"]
    parts: tuple[Filter, ...]

    def __init__(self, operator: Literal["and", "or", "not"], parts: tuple[Filter, ...]) -> None:
        keep = object.__setattr__
        keep(self, "operator", operator)
        keep(self, "parts", parts)
        rules, condition, text = self._compile()
        keep(self, "_rules", {**rules, "condition": condition, "text": text})
        shard = rules["shard"]
        for name in RULES:
            keep(self, name, rules[name])
        keep(self, "shard", f"{shard[0]}/{shard[1]}" if shard is not None else None)

    def rules(self) -> dict[str, Any]:
        """The keyword arguments for ``Router.add`` and ``Router.replace``."""
        rules: dict[str, Any] = self.__dict__["_rules"]
        return rules

    def explain(self, event: Event, account: int = 0) -> str:
        """As ``Filter.explain``, with a line for each part below."""
        return self._explain(event, account, 0)

    def reload(self) -> Filter:
        """As ``Filter.reload``, of all parts or none."""
        parts = tuple(part.reload() for part in self.parts)
        return self if all(map(_same, parts, self.parts)) else Combination(self.operator, parts)

    def names(self, post_type: str) -> bool:
        """Whether ``kinds`` of any part asks for kinds of this post type by name."""
        return any(part.names(post_type) for part in self.parts)

    def __invert__(self) -> Filter:
        return self.parts[0] if self.operator == "not" else Combination("not", (self,))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Combination):
            return (self.operator, self.parts) == (other.operator, other.parts)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.operator, self.parts))

    def __repr__(self) -> str:
        if self.operator == "not":
            return f"~{self.parts[0]!r}"
        return f"({(' & ' if self.operator == 'and' else ' | ').join(map(repr, self.parts))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Combination, (self.operator, self.parts)

    def _compile(self) -> tuple[Rules, Callable[[Event, int], bool] | None, dict[str, Any] | None]:
        parts = self.parts
        if self.operator == "not":
            [part] = parts
            return part._opposite(), lambda event, account: not part.matches(event, account), None
        found = [part.rules() for part in parts]
        bare = all(rules["condition"] is None and rules["text"] is None for rules in found)
        rules, exact = _index_of(found[0]), True
        for other in found[1:]:
            rules, still = (meet if self.operator == "and" else unite)(rules, _index_of(other))
            exact = exact and still
        if exact and bare:
            return rules, None, None
        if self.operator == "or":
            return rules, lambda event, account: any(part.matches(event, account) for part in parts), None
        if not exact:
            return rules, lambda event, account: all(part.matches(event, account) for part in parts), None
        # The index has asked for everything but these; one text can be asked of the text index.
        texts = [rules["text"] for rules in found if rules["text"] is not None]
        tests = [rules["condition"] for rules in found if rules["condition"] is not None]
        if len(texts) > 1:
            tests += [part.matches for part, rules in zip(parts, found, strict=True) if rules["text"] is not None]
        condition = (lambda event, account: all(test(event, account) for test in tests)) if tests else None
        return rules, condition, texts[0] if len(texts) == 1 else None

    def _opposite(self) -> Rules:
        if self.operator == "not":
            return _index_of(self.parts[0].rules())
        join = unite if self.operator == "and" else meet
        return reduce(lambda one, other: join(one, other)[0], (part._opposite() for part in self.parts))

    def _explain(self, event: Event, account: int, depth: int) -> str:
        passes = self.matches(event, account)
        head = f"{PASSES if passes else 'stopped'}: {_HEADS[self.operator, passes]}"
        return "\n".join(
            ["  " * depth + head, *(part._explain(event, account, depth + 1) for part in self.parts)],
        )


def _index_of(rules: Mapping[str, Any]) -> Rules:
    return {name: rules[name] for name in RULES}


def _same(one: object, other: object) -> bool:
    return one is other


def _combine(operator: Literal["and", "or"], one: Filter, other: object) -> Any:
    if not isinstance(other, Filter):
        return NotImplemented
    parts: list[Filter] = []
    for part in (one, other):
        parts += part.parts if isinstance(part, Combination) and part.operator == operator else (part,)
    return Combination(operator, tuple(parts))
