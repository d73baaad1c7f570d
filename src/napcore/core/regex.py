"""Regular expressions by google-re2: linear in time whatever the pattern, as Go's own are.

Python's ``re`` can take a second for one message and holds the interpreter meanwhile, so it is
no substitute. The package comes with the extra ``napcore[re2]`` and is imported at first use.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

__all__ = ("compile_regex",)

_LONE: Final = re.compile("[\ud800-\udfff]")
_PLAIN: Final = re.compile(r"(\^?)([^\\.+*?()|\[\]{}^$\ufffd]*)(\$?)")
"""An alternative without anything special in it; U+FFFD is what a lone surrogate would have to match."""


@lru_cache(256)
def compile_regex(pattern: str) -> Callable[[str], bool]:
    """Whether a text has the pattern anywhere in it (RE2's syntax: no look-around, no backreferences).

    Raises:
        ValueError: google-re2 is not installed, or does not take the pattern; the text says which.
    """
    try:
        import re2  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415
    except ImportError:
        raise ValueError("regular expressions need google-re2: pip install 'napcore[re2]'") from None
    options = re2.Options()
    options.log_errors = False
    try:
        search: Callable[[bytes], Any] = re2.compile(_encoded(pattern), options).search
    except re2.error as error:
        # The error is the bytes that RE2 gave.
        reason = error.args[0] if error.args else b""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{pattern!r} is no regular expression of RE2: {text}") from None
    alternatives = [_PLAIN.fullmatch(part) for part in pattern.split("|")]
    plain = [_plain_test(*found.groups()) for found in alternatives if found is not None]
    if len(plain) == 1 == len(alternatives):
        return plain[0]
    if len(plain) == len(alternatives):

        def one_of(text: str) -> bool:
            for test in plain:
                if test(text):
                    return True
            return False

        return one_of
    return lambda text: search(_encoded(text)) is not None


def _plain_test(start: str, words: str, end: str) -> Callable[[str], bool]:
    # What most patterns are; str is several times as fast at these.
    if start and end:
        return lambda text: text == words
    if start:
        return lambda text: text.startswith(words)
    if end:
        return lambda text: text.endswith(words)
    return lambda text: words in text


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _LONE.sub("\ufffd", text).encode()
