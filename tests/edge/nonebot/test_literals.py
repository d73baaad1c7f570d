"""Texts that an expression requires: whatever it matches contains them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napcore.edge.nonebot.literals import required_text


@pytest.mark.parametrize(
    ("pattern", "flags", "required"),
    [
        ("天气", 0, "天气"),
        ("^查询(.+)天气$", 0, "查询"),
        ("^(?:明天|今天)的天气$", 0, "的天气"),
        ("(ab)c", 0, "ab"),
        ("a(?:bcd)+e", 0, "bcd"),
        ("a(?:bcd)*e", 0, "a"),
        ("a(?:bcd)?ef", 0, "ef"),
        ("abc|abd", 0, "ab"),
        ("abc|xyz", 0, ""),
        ("[ab]c", 0, "c"),
        (r"\d+", 0, ""),
        ("(?!abc)d", 0, "d"),
        ("(?<=abc)d", 0, "d"),
        ("(?i:abc)d", 0, "d"),
        ("(?i)abc", 0, ""),
        ("abc", re.IGNORECASE, ""),
        ("abc天气", re.IGNORECASE, ""),
        ("天气", re.IGNORECASE, "天气"),
        ("a b # c", re.VERBOSE, "ab"),
        (r"a\nb", 0, "a\nb"),
        ("(a)(?(1)bcd|e)", 0, "a"),
        ("x{2,3}yz", 0, "yz"),
        ("", 0, ""),
    ],
)
def test_what_is_required(pattern: str, flags: int, required: str) -> None:
    assert required_text(re.compile(pattern, flags)) == required


atoms = st.sampled_from(
    ["a", "b", "ab", "天", "天气", ".", r"\d", "[ab]", "[^a]", "^", "$", r"\b", "(?=a)", "(?!b)", "(?i:a)", "ß"]
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: f"(?:{'|'.join(each)})"),
        inner.map(lambda each: f"({each})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "+?"])).map(
            lambda each: f"(?:{each[0]}){each[1]}"
        ),
    ),
    max_leaves=8,
)


@given(expressions, st.sampled_from([0, re.I, re.M, re.S, re.I | re.M]), st.text("abAB天气1ßſ\n", max_size=8))
def test_whatever_matches_contains_it(expression: str, flags: int, text: str) -> None:
    pattern = re.compile(expression, flags)
    if pattern.search(text):
        assert required_text(pattern) in text
