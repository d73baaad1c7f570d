"""The compiled text index against its twin, and the twin against a naive reading, while rows come, change and go."""

from __future__ import annotations

import importlib
import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

NAMES = ["_text_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_text", "_text_py"]
INDEXES = [importlib.import_module(f"napcore.{name}").TextIndex for name in NAMES]
KINDS = ("commands", "prefix", "suffix", "fullmatch", "keywords")

# Few characters, so that patterns and texts meet; each of these strings is an alphabet of its own.
ALPHABETS = (
    "ab",
    "abc /",
    "aAsSßẞſﬀİı̇",
    "汉字 \u3000/\n",
    "a\ud83d\udc00\U0001f600é /",
    "\x00\x1c\xff\u0100\uffff\U0010ffff",
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """What is done to an index, all over one alphabet."""
    letters = st.sampled_from(draw(st.sampled_from(ALPHABETS)))
    # Patterns and texts that are parts of one string overlap deeply.
    base = draw(st.text(letters, min_size=24, max_size=24))
    part = st.tuples(st.integers(0, 20), st.integers(1, 16)).map(lambda cut: base[cut[0] : sum(cut)])
    word = st.text(letters, min_size=1, max_size=draw(st.sampled_from([3, 6, 12]))) | part
    words = st.frozensets(word, max_size=4)
    rules = st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(KINDS, words),
            "command_start": st.frozensets(st.text(letters, max_size=1) | st.just("/"), max_size=3),
            "command_whitespace": st.booleans() | st.sampled_from([" ", "", "\u3000", "  ", "a"]),
            "ignore_case": st.booleans(),
        },
    )
    text = st.text(letters, max_size=40) | st.lists(part, max_size=4).map("".join)
    return draw(
        st.lists(
            st.tuples(st.just("add"), rules)
            | st.tuples(st.just("replace"), rules, st.integers(0, 99))
            | st.tuples(st.just("remove"), st.integers(0, 99))
            | st.tuples(st.just("match"), text),
            min_size=2,
            max_size=40,
        )
    )


def naive(rules: dict[str, Any], text: str) -> bool:
    """The meaning of a row's patterns, place by place."""
    fold = str.casefold if rules.get("ignore_case") else str
    text = fold(text)

    def is_at(pattern: str, place: int) -> bool:
        pattern = fold(pattern)
        return place >= 0 and text[place : place + len(pattern)] == pattern

    begin = 0
    while begin < len(text) and text[begin].isspace():
        begin += 1

    def is_command(command: str) -> bool:
        if not is_at(command, begin):
            return False
        end = begin + len(fold(command))
        demand = rules.get("command_whitespace", False)
        argument = end
        while argument < len(text) and text[argument].isspace():
            argument += 1
        if demand is False or argument == len(text):
            return True
        return argument > end and demand in (True, text[end:argument])

    starts = rules.get("command_start", {"/"})
    return (
        any(is_command(start + name) for start in starts for name in rules.get("commands", ()))
        or any(is_at(pattern, 0) for pattern in rules.get("prefix", ()))
        or any(is_at(pattern, len(text) - len(fold(pattern))) for pattern in rules.get("suffix", ()))
        or any(fold(pattern) == text for pattern in rules.get("fullmatch", ()))
        or any(is_at(pattern, place) for pattern in rules.get("keywords", ()) for place in range(len(text)))
    )


@given(histories())
def test_indexes_agree(history: list[tuple[Any, ...]]) -> None:
    indexes = [make() for make in INDEXES]
    live: dict[int, dict[str, Any]] = {}

    def same(results: list[Any]) -> Any:
        assert results.count(results[0]) == len(results), results
        return results[0]

    def match(text: str) -> None:
        found = same([index.match(text) for index in indexes])
        assert found == sorted(row for row, rules in live.items() if naive(rules, text))

    texts = [step[1] for step in history if step[0] == "match"]
    for step in history:
        if step[0] == "add":
            row = same([index.add(**step[1]) for index in indexes])
            assert row == min(set(range(len(live) + 1)) - set(live))
            live[row] = step[1]
        elif step[0] == "match":
            match(step[1])
        elif live:
            row = list(live)[step[-1] % len(live)]
            for index in indexes:
                if step[0] == "replace":
                    index.replace(row, **step[1])
                else:
                    index.remove(row)
            if step[0] == "replace":
                live[row] = step[1]
            else:
                del live[row]
        assert same([len(index) for index in indexes]) == len(live)
    for text in texts:
        match(text)
