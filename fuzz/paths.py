"""Paths into documents, and values as text, against the direct reading (``reading.py``)."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]
import reading
from choices import Choices

with atheris.instrument_imports(include=["napcore.core.gjson"]):
    from napcore.core.gjson import MISSING, compile_path, text_of


def try_one(data: bytes) -> None:
    """One input."""
    choices = Choices(data)
    path, document = choices.path(), choices.object()
    for value in document.values():
        # A lone surrogate in a string is a matter of comparing.
        assert isinstance(value, str) or text_of(value) == reading.string(value), value
    try:
        expected = reading.follow(path, document)
    except reading.Refused:
        try:
            compile_path(path)
        except ValueError:
            return
        raise AssertionError(f"{path!r} is taken") from None
    found = compile_path(path)(document)
    if expected is reading.NOTHING:
        assert found is MISSING, f"{path!r} in {document!r} gives {found!r}, not nothing"
    else:
        assert repr(found) == repr(expected), f"{path!r} in {document!r} gives {found!r}, not {expected!r}"


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
