"""go-cqhttp's event filter against the direct reading of its rules (``reading.py``)."""

from __future__ import annotations

import json
import sys
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]
import reading
from choices import Choices

with atheris.instrument_imports(include=["napcore.core.gjson", "napcore.core.expression"]):
    from napcore.core.expression import Expression

from napcore.core.regex import compile_regex
from napcore.errors import ConfigError


def search(pattern: str, text: str) -> bool:
    """The same engine: what RE2 does is its own business."""
    try:
        return compile_regex(pattern)(text)
    except ValueError:
        raise reading.Refused(pattern) from None


def is_json(rules: Any) -> bool:
    """Whether an expression may hold this: no lone surrogates, no infinity."""
    try:
        json.dumps(rules, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def try_one(data: bytes) -> None:
    """One input."""
    choices = Choices(data)
    rules, event = choices.rules(), choices.object()
    try:
        # Integers beyond 64 bits become doubles on both sides.
        expected: bool | None = reading.passes(rules, event, search) if is_json(rules) else None
    except reading.Refused:
        expected = None
    try:
        expression = Expression(rules)
    except ConfigError as error:
        assert expected is None, f"{rules!r} is refused: {error}"
        return
    assert expected is not None, f"{rules!r} is taken"
    assert expression.test(event) is expected, f"{rules!r} on {event!r} is not {expected}"
    assert expression.explain(event)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
