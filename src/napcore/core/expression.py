"""go-cqhttp's event filter (its docs/EventFilter.md and modules/filter): an expression over an event's JSON.

An object holds when all its entries hold, in order, up to the first that does not. A key that
starts with a dot is an operator on the value at hand; any other key is a path (``core/gjson.py``)
from it, with an object of rules for what is there, or something that it must equal.

Values are compared as text (gjson's ``String()``), so ``123`` equals ``"123"``, and null, ``""``
and what is missing are equal. It departs from go-cqhttp where that looks at the bytes and we at
the decoded event: an object or array as text is compact JSON whatever white space was sent,
integers beyond 64 bits are the nearest doubles, and of equal keys the last counts. A ``-0`` is
``0`` by that, a lone surrogate always one U+FFFD, and a string has no members.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal, NamedTuple

from napcore._json_py import decode
from napcore.core.gjson import MISSING, Get, compile_path, plain_key, text_of
from napcore.core.regex import compile_regex
from napcore.errors import ConfigError, ConfigProblem

__all__ = ("Expression", "Step")

DEEPEST: Final = 64
"""Objects and arrays inside each other; each level is a call inside a call."""

Step = str | int
"""A key or an index on the way to a place in the expression."""

Test = Callable[[Any], bool]

_LONE: Final = re.compile("[\ud800-\udfff]")
_REPLACEMENT: Final = "\ufffd"
_LOWEST: Final = -(1 << 63)
_HIGHEST: Final = (1 << 64) - 1
_INTEGER: Final = re.compile("0|-?[1-9][0-9]{0,18}|[1-9][0-9]{19}")
"""The text of integers, of those within 64 bits the only one."""
_LONGEST_SHOWN: Final = 40


class _Node(NamedTuple):
    """One operator, compiled."""

    kind: Literal["and", "or", "not", "value"]
    where: str
    test: Test
    parts: tuple[tuple[Get | None, _Node], ...] = ()
    words: tuple[str, str] = ("holds", "does not hold")


class Expression:
    """A compiled expression.

    ``document`` is the decoded JSON; ``file`` and ``locate``, which gives the line of a place in
    it, are for the text of errors.

    Raises:
        ConfigError: with every mistake in it. Patterns of ``.regex`` need the extra ``napcore[re2]``.
    """

    __slots__ = ("_json", "_node", "file", "test")

    def __init__(
        self,
        document: Mapping[str, Any],
        *,
        file: str | None = None,
        locate: Callable[[tuple[Step, ...]], int] | None = None,
    ) -> None:
        self.file: str | None = file
        """Where it was read from."""
        self.test: Test
        """Whether a decoded event passes."""
        problems: list[ConfigProblem] = []

        def wrong(steps: tuple[Step, ...], message: str, suggestion: str | None = None) -> _Node:
            text = f"{_place(steps)}: {message}" if steps else message
            line = locate(steps) if locate is not None else None
            problems.append(ConfigProblem(file, line, "expression", text, suggestion))
            return _NEVER

        try:
            # A copy that nobody else changes, of what JSON can hold.
            self._json = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError([ConfigProblem(file, None, "expression", f"is not JSON: {error}")]) from None
        self._node = _Compiler(wrong).conjunction(decode(self._json), ())
        if problems:
            raise ConfigError(problems)
        self.test = self._node.test

    @property
    def document(self) -> dict[str, Any]:
        """The decoded JSON, a copy of the caller's own."""
        document: dict[str, Any] = decode(self._json)
        return document

    def explain(self, data: Mapping[str, Any]) -> str:
        """Which entry decides, in words; ``data`` is the decoded event."""
        return _explain(self._node, data)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Expression):
            return (self._json, self.file) == (other._json, other.file)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self._json, self.file))

    def __repr__(self) -> str:
        shown = self._json.decode()
        return f"<Expression {self.file or _shown(shown)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._json, self.file)


def _restore(json: bytes, file: str | None) -> Expression:
    return Expression(decode(json), file=file)


_NEVER: Final = _Node("value", "", lambda value: False)


class _Compiler:
    """From JSON to tests. ``wrong`` notes a mistake and gives a node to go on with."""

    def __init__(self, wrong: Callable[..., _Node]) -> None:
        self.wrong = wrong
        self.operators: Mapping[str, Callable[[Any, tuple[Step, ...]], _Node]] = {
            ".not": self.negation,
            ".and": self.conjunction,
            ".or": self.disjunction,
            ".eq": self.equal,
            ".neq": self.unequal,
            ".in": self.membership,
            ".contains": self.containment,
            ".regex": self.regex,
        }

    def conjunction(self, argument: Any, steps: tuple[Step, ...]) -> _Node:
        if not isinstance(argument, dict):
            return self.wrong(steps, f"must be an object, not {_kind(argument)}")
        if len(steps) >= DEEPEST:
            return self.wrong(steps, f"is nested more than {DEEPEST} deep")
        parts = tuple(self.entry(key, value, (*steps, key)) for key, value in argument.items())
        return _Node("and", _place(steps), _all(parts), tuple((get, node) for _, get, node in parts))

    def entry(self, key: str, value: Any, steps: tuple[Step, ...]) -> tuple[str | None, Get | None, _Node]:
        if not key:
            return None, None, self.wrong(steps, "a key must not be empty")
        if key.startswith("."):
            operator = self.operators.get(key)
            if operator is None:
                near = next(iter(get_close_matches(key, self.operators, n=1)), None)
                return None, None, self.wrong(steps, f"there is no operator {key}", near)
            return None, None, operator(value, steps)
        try:
            get = compile_path(key)
        except ValueError as error:
            return None, None, self.wrong(steps, str(error))
        node = self.conjunction(value, steps) if isinstance(value, dict) else self.equal(value, steps)
        return plain_key(key), get, node

    def negation(self, argument: Any, steps: tuple[Step, ...]) -> _Node:
        inner = self.conjunction(argument, steps)
        test = inner.test
        return _Node("not", _place(steps), lambda value: not test(value), ((None, inner),))

    def disjunction(self, argument: Any, steps: tuple[Step, ...]) -> _Node:
        if not isinstance(argument, list):
            return self.wrong(steps, f"must be an array of objects, not {_kind(argument)}")
        parts = tuple((None, self.conjunction(item, (*steps, index))) for index, item in enumerate(argument))
        return _Node("or", _place(steps), _any([node.test for _, node in parts]), parts)

    def equal(self, argument: Any, steps: tuple[Step, ...]) -> _Node:
        operand = _repaired(text_of(argument))
        read = _reader(operand)
        return _Node(
            "value", _place(steps), lambda value: read(value) == operand, (), _words("is {}", "is not {}", operand)
        )

    def unequal(self, argument: Any, steps: tuple[Step, ...]) -> _Node:
        operand = _repaired(text_of(argument))
        same = _among(frozenset((operand,)))
        words = _words("is not {}", "is {}", operand)
        return _Node("value", _place(steps), lambda value: not same(value), (), words)

    def membership(self, argument: Any, steps: tuple[Step, ...]) -> _Node:
        if isinstance(argument, dict):
            return self.wrong(steps, "must be an array or a string, not an object")
        if isinstance(argument, list):
            operands = frozenset(_repaired(text_of(item)) for item in argument)
            words = f"is one of the {len(operands)} listed", f"is none of the {len(operands)} listed"
            return _Node("value", _place(steps), _among(operands), (), words)
        operand = _repaired(text_of(argument))
        read = _reader(operand)
        words = _words("is a part of {}", "is no part of {}", operand)
        return _Node("value", _place(steps), lambda value: read(value) in operand, (), words)

    def containment(self, argument: Any, steps: tuple[Step, ...]) -> _Node:
        if isinstance(argument, (dict, list)):
            return self.wrong(steps, f"must be a string, not {_kind(argument)}")
        operand = _repaired(text_of(argument))
        read = _reader(operand)
        words = _words("has {} in it", "has no {} in it", operand)
        return _Node("value", _place(steps), lambda value: operand in read(value), (), words)

    def regex(self, argument: Any, steps: tuple[Step, ...]) -> _Node:
        if isinstance(argument, (dict, list)):
            return self.wrong(steps, f"must be a string, not {_kind(argument)}")
        pattern = _repaired(text_of(argument))
        try:
            search = compile_regex(pattern)
        except ValueError as error:
            return self.wrong(steps, str(error))
        words = _words("has the pattern {} in it", "has no pattern {} in it", pattern)
        return _Node("value", _place(steps), lambda value: search(text_of(value)), (), words)


def _all(parts: tuple[tuple[str | None, Get | None, _Node], ...]) -> Test:
    steps = [(key, get, node.test) for key, get, node in parts]
    if len(steps) == 1:
        [(key, get, test)] = steps
        if key is not None:
            return lambda value: test(value.get(key, MISSING) if isinstance(value, dict) else MISSING)
        return test if get is None else lambda value: test(get(value))

    def every(value: Any) -> bool:
        for key, get, test in steps:
            if key is not None:
                inner = value.get(key, MISSING) if isinstance(value, dict) else MISSING
            else:
                inner = value if get is None else get(value)
            if not test(inner):
                return False
        return True

    return every


def _any(tests: list[Test]) -> Test:
    def some(value: Any) -> bool:
        for test in tests:
            if test(value):
                return True
        return False

    return some


def _among(operands: frozenset[str]) -> Test:
    # Most values are strings and integers, which need not be made text to be found.
    read = _reader("".join(operands))
    if read is not text_of:
        return lambda value: read(value) in operands
    numbers = frozenset(int(text) for text in operands if _INTEGER.fullmatch(text))

    def found(value: Any) -> bool:
        kind = type(value)
        if kind is str:
            return value in operands
        if kind is int and _LOWEST <= value <= _HIGHEST:
            return value in numbers
        return text_of(value) in operands

    return found


def _reader(operand: str) -> Callable[[Any], str]:
    # Only an operand with U+FFFD in it can tell a lone surrogate from what Go makes of it.
    return (lambda value: _repaired(text_of(value))) if _REPLACEMENT in operand else text_of


def _repaired(text: str) -> str:
    return text if text.isascii() else _LONE.sub(_REPLACEMENT, text)


def _explain(node: _Node, value: Any) -> str:
    holds = node.test(value)
    where = node.where or "the expression"
    if node.kind == "and" and (len(node.parts) == 1 or not holds):
        for get, part in node.parts:
            inner = value if get is None else get(value)
            if part.test(inner) == holds:
                return _explain(part, inner)
    if node.kind == "or":
        for _, part in node.parts:
            if part.test(value):
                return _explain(part, value)
        return f"none of the {len(node.parts)} alternatives of {where} holds"
    if node.kind == "not":
        return f"what {where} rules out {'does not hold' if holds else 'holds'}"
    if node.kind == "value":
        return f"{where}: it {node.words[0 if holds else 1]}"
    return f"{where} {node.words[0 if holds else 1]}"


def _words(yes: str, no: str, operand: str) -> tuple[str, str]:
    shown = _shown(operand)
    return yes.format(shown), no.format(shown)


def _place(steps: tuple[Step, ...]) -> str:
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f" > {step}" if text else step
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "...")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}
    return kinds.get(type(value), "a number")
