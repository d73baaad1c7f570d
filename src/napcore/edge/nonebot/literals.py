"""A text that whatever a regular expression matches has to contain: looked up at once for all expressions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from types import ModuleType
from typing import Any

from .conditions import UNCASED


@lru_cache(maxsize=4096)
def required_text(pattern: re.Pattern[str]) -> str:
    """The longest such text that is found; empty where there is none, or none that can be told.

    CPython's own parser reads the expression. What it makes of it is not documented: anything that does not look as
    known is taken to require nothing.
    """
    try:
        parser = _parser()
        parsed = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
        texts = [text for text in _texts(parsed, parser) if text]
    except Exception:
        return ""
    if pattern.flags & re.IGNORECASE:
        texts = [text for text in texts if UNCASED.fullmatch(text)]
    return max(texts, key=len, default="")


def _parser() -> ModuleType:
    try:
        from re import _parser  # type: ignore[attr-defined]
    except ImportError:  # Python 3.10
        import sre_parse as _parser
    return _parser  # type: ignore[no-any-return]


def _texts(parsed: Iterable[tuple[Any, Any]], parser: Any) -> list[str]:
    """The runs of literal characters that no match can do without."""
    out = [""]
    for operation, argument in parsed:
        if operation is parser.LITERAL:
            out[-1] += chr(argument)
            continue
        if operation is parser.SUBPATTERN:
            _, added, dropped, inner = argument
            if not added and not dropped:  # flags of its own could make letters of it without case
                out += [*_texts(inner, parser), ""]
                continue
        elif operation in {parser.MAX_REPEAT, parser.MIN_REPEAT}:
            least, _, inner = argument
            if least > 0:
                out += [*_texts(inner, parser), ""]
                continue
        if operation is not parser.AT:  # a place takes no room
            out.append("")
    return out
