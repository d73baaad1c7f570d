"""Regular expressions: RE2's answers, also where a pattern is so plain that RE2 is not asked."""

from __future__ import annotations

import re
import sys

import pytest
import re2  # type: ignore[import-not-found,import-untyped,unused-ignore]
from hypothesis import given
from hypothesis import strategies as st

from napcore.core.regex import compile_regex

texts = st.lists(st.sampled_from(["a", "b", "\n", "\u6c49", "|", "A"]), max_size=5).map("".join)


@given(st.lists(st.sampled_from(["a", "b", "^", "$", "|", "\u6c49", "\n", "."]), max_size=6).map("".join), texts)
def test_plain_patterns_are_those_of_re2(pattern: str, text: str) -> None:
    assert compile_regex(pattern)(text) is (re2.search(pattern, text) is not None)


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        ("", ["", "x"], []),
        ("^", ["", "x"], []),
        ("$", ["", "x"], []),
        ("^$", [""], ["x", "\n"]),
        ("^ab$", ["ab"], ["ab\n", "xab", "abc"]),
        ("^a|b$|c", ["ax", "xb", "xcx"], ["xa", "bx"]),
        ("a|", ["", "x"], []),
        ("(?i)HELP", ["help"], ["hel"]),
        ("(?s)a.b", ["a\nb"], ["ab"]),
        ("a.b", ["axb"], ["a\nb"]),
        (r"\d{3}", ["1234"], ["12", "\u0661\u0662\u0663"]),
        (r"\p{Han}+$", ["a\u6c49\u5b57"], ["\u6c49a"]),
        ("a$b", [], ["a$b", "ab"]),
        ("\ufffd", ["\ufffd", "a\ud83d"], ["a"]),
        (".", ["\ud83d"], [""]),
    ],
)
def test_patterns(pattern: str, right: list[str], wrong: list[str]) -> None:
    search = compile_regex(pattern)
    assert [search(text) for text in right] == [True] * len(right)
    assert [search(text) for text in wrong] == [False] * len(wrong)


def test_what_is_slow_elsewhere_is_not_here() -> None:
    search = compile_regex("(a+)+$")
    assert not search("a" * 100_000 + "b")


@pytest.mark.parametrize("pattern", ["(", "(?=a)", "(?<=a)", r"\1", "a{2000}", "[z-a]", "*a", "|*"])
def test_what_re2_does_not_take(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no regular expression of RE2: " + "."):
        compile_regex(pattern)


def test_errors_are_not_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=re.escape("'('")):
        compile_regex("(")
    assert capfd.readouterr() == ("", "")


def test_without_google_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_regex.cache_clear()
    monkeypatch.setitem(sys.modules, "re2", None)
    for pattern in ("a", "(a|b)+"):
        with pytest.raises(ValueError, match=r"pip install 'napcore\[re2\]'"):
            compile_regex(pattern)
