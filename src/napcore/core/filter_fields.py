"""What the fields of a filter may hold."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypedDict, get_args

from napcore.core.expression import Expression
from napcore.core.expression_file import read_expression
from napcore.core.regex import compile_regex
from napcore.errors import ConfigError, ConfigProblem
from napcore.types import FailMode, Role

__all__ = ("MESSAGE_FIELDS", "FilterFields", "check_expression", "check_field", "shard_of")

_INT64: Final = 1 << 63
_ROLES: Final = get_args(Role)
_log = logging.getLogger("napcore.filter")

MESSAGE_FIELDS: Final = frozenset(
    {"commands", "prefix", "suffix", "fullmatch", "keywords", "regex", "to_me", "has", "roles", "min_size", "max_size"}
)
"""Those that only messages are asked for."""


class FilterFields(TypedDict, total=False):
    """The fields of ``Filter`` but for ``kinds``, as keyword arguments."""

    groups: Collection[int] | None
    exclude_groups: Collection[int]
    users: Collection[int] | None
    exclude_users: Collection[int]
    exclude_kinds: Collection[str]
    self_ids: Collection[int] | None
    private: bool
    self_messages: bool
    shard: str | None
    commands: Collection[str]
    command_start: Collection[str]
    command_whitespace: bool | str
    prefix: Collection[str]
    suffix: Collection[str]
    fullmatch: Collection[str]
    keywords: Collection[str]
    ignore_case: bool
    regex: Collection[str] | None
    to_me: bool
    has: Collection[str] | None
    roles: Collection[Role] | Role | None
    min_size: int
    max_size: int | None
    expression: Expression | Mapping[str, Any] | str | os.PathLike[str] | None
    expression_fails: FailMode


def check_field(name: str, value: Any, default: Any, problems: list[ConfigProblem]) -> Any:
    """The value as it is kept; what is wrong with it goes into ``problems``."""
    if name == "shard":
        if value is not None and not (isinstance(value, str) and shard_of(value)):
            problems.append(_problem(name, f"looks like '2/4', the second of four, not {value!r}"))
    elif name in ("private", "self_messages", "ignore_case", "to_me"):
        if not isinstance(value, bool):
            problems.append(_problem(name, f"must be true or false, not {value!r}"))
    elif name == "command_whitespace":
        if not isinstance(value, bool) and not (isinstance(value, str) and value.isspace()):
            problems.append(_problem(name, f"must be true, false or white space, not {value!r}"))
    elif name == "expression_fails":
        if value not in get_args(FailMode):
            problems.append(_problem(name, f"must be one of {', '.join(get_args(FailMode))}, not {value!r}"))
    elif name == "max_size" and value == math.inf:
        return None
    elif name in ("min_size", "max_size"):
        if value is not default and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            problems.append(_problem(name, f"must be a whole number of bytes, 0 or more, not {value!r}"))
    elif name != "expression":
        return _check_collection(name, value, default, problems)
    return value


def check_expression(source: Any, fails: str, problems: list[ConfigProblem]) -> Expression | None:
    """The expression compiled, from wherever it comes; None for none and where it is broken."""
    if source is None or isinstance(source, Expression):
        return source
    try:
        if isinstance(source, (str, os.PathLike)):
            return read_expression(os.fspath(source))
        if isinstance(source, Mapping):
            return Expression(source)
    except ConfigError as error:
        if fails != "open":
            problems += error.errors
            return None
        _log.error('the expression is broken; everything passes it (expression_fails = "open"): %s', error)
        return Expression({}, file=os.fspath(source) if isinstance(source, (str, os.PathLike)) else None)
    problems.append(_problem("expression", f"must be an object or the path of a file, not {type(source).__name__}"))
    return None


def shard_of(text: str) -> tuple[int, int] | None:
    """Number and count of ``"2/4"``; None where it is none."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text, re.ASCII)
    if found is None or int(found[1]) > int(found[2]):
        return None
    return int(found[1]), int(found[2])


def _check_collection(name: str, value: Any, default: Any, problems: list[ConfigProblem]) -> Any:
    if value is None:
        if default is not None:
            problems.append(_problem(name, "must be a collection, not None"))
        return value
    check = _CHECKS.get(name, _not_an_id)
    if isinstance(value, str) and check not in (_not_an_id, _not_a_kind):
        value = (value,)
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        problems.append(_problem(name, f"must be a collection such as a set, not {value!r}"))
        return value
    members = list(value)
    wrong = [problem for member in members if (problem := check(member)) is not None]
    problems += [_problem(name, text, suggestion) for text, suggestion in wrong]
    return value if wrong else frozenset(members)


Wrong = tuple[str, str | None] | None


def _not_an_id(value: object) -> Wrong:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"ids are integers, not {value!r}", None
    if not -_INT64 <= value < _INT64:
        return f"{value} does not fit 64 bits", None
    return None


def _not_a_kind(value: object) -> Wrong:
    if not isinstance(value, str) or not value or value.startswith(".") or value.endswith("."):
        return f"a kind looks like 'message.group' or 'notice.*', not {value!r}", None
    return None


def _not_a_text(value: object) -> Wrong:
    if not isinstance(value, str) or not value:
        return f"must be a text that is not empty, not {value!r}", None
    return None


def _not_a_pattern(value: object) -> Wrong:
    if not isinstance(value, str) or not value:
        return _not_a_text(value)
    try:
        compile_regex(value)
    except ValueError as error:
        return str(error), None
    return None


def _not_a_start(value: object) -> Wrong:
    return None if isinstance(value, str) else (f"must be a text, not {value!r}", None)


def _not_a_role(value: object) -> Wrong:
    if value in _ROLES:
        return None
    near = next(iter(get_close_matches(str(value), _ROLES, n=1)), None)
    return f"must be one of {', '.join(_ROLES)}, not {value!r}", near


_CHECKS: Final[Mapping[str, Callable[[object], Wrong]]] = {
    "kinds": _not_a_kind,
    "exclude_kinds": _not_a_kind,
    "commands": _not_a_text,
    "command_start": _not_a_start,
    "prefix": _not_a_text,
    "suffix": _not_a_text,
    "fullmatch": _not_a_text,
    "keywords": _not_a_text,
    "regex": _not_a_pattern,
    "has": _not_a_text,
    "roles": _not_a_role,
}


def _problem(key: str, message: str, suggestion: str | None = None) -> ConfigProblem:
    return ConfigProblem(None, None, key, message, suggestion)
