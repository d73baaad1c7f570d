"""go-cqhttp's event filter against a second, direct reading of its rules (``fuzz/reading.py``)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napcore.core.expression import Expression
from napcore.core.gjson import MISSING, compile_path, text_of
from napcore.core.regex import compile_regex
from napcore.errors import ConfigError


@pytest.fixture(scope="module")
def reading() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        # ``fuzz`` is no part of the package: it is found from the project's folder alone.
        patch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2])])
        return importlib.import_module("fuzz.reading")


keys = st.sampled_from(["a", "b", "ab", "", "0", "1", "#", "a.b", "a*", "*", "a\\", "\u6c49", "@a", "|"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 1, 2, 10])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "0", "1", "a", "ab", "true", "null", "\u6c49", "1.5", "[]"])
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
events = st.dictionaries(keys, values, max_size=4)
paths = st.lists(st.sampled_from(list("aab01##**??\\\\..........|@[{!(") + ["ab", "\u6c49"]), max_size=8).map("".join)
patterns = st.sampled_from(["^a", "a|b", "", "[0-9]$", "\u6c49", "(", "(?=a)"])


def entries(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    rules = st.one_of(
        st.tuples(st.sampled_from([".not", ".and"]), inner),
        st.tuples(st.just(".or"), st.lists(inner, max_size=3)),
        st.tuples(st.sampled_from([".eq", ".neq"]), values),
        st.tuples(st.just(".in"), st.lists(values, max_size=3) | scalars),
        st.tuples(st.just(".contains"), scalars),
        st.tuples(st.just(".regex"), patterns),
        st.tuples(paths, inner | values),
        st.tuples(keys, inner | values),
        st.tuples(st.sampled_from([".not", ".and", ".or", ".in", ".contains", ".regex", ".nor", "."]), values),
    )
    return st.lists(rules, max_size=3).map(dict)


expressions = st.recursive(st.just({}), entries, max_leaves=12)


@given(events, paths)
@example({"a": [{"ab": 1}, {"b": 2}]}, "a.#.a*")
@example({"a*b": 1, "axb": 2}, "a\\*b*")
def test_paths_lead_where_the_reading_says(reading: Any, event: Any, path: str) -> None:
    try:
        expected = reading.follow(path, event)
    except reading.Refused:
        with pytest.raises(ValueError, match="not supported|at most"):
            compile_path(path)
        return
    found = compile_path(path)(event)
    if expected is reading.NOTHING:
        assert found is MISSING
    else:
        assert (type(found), found) == (type(expected), expected)


@given(st.floats() | st.integers() | st.text())
def test_values_are_the_text_the_reading_says(reading: Any, value: Any) -> None:
    if value == value:
        assert text_of(value) == reading.string(value)


@given(expressions, events)
def test_expressions_hold_when_the_reading_says(reading: Any, rules: Any, event: Any) -> None:
    def search(pattern: str, text: str) -> bool:
        try:
            return compile_regex(pattern)(text)
        except ValueError:
            raise reading.Refused(pattern) from None

    try:
        expected = reading.passes(rules, event, search)
    except reading.Refused:
        with pytest.raises(ConfigError):
            Expression(rules)
        return
    expression = Expression(rules)
    assert expression.test(event) is expected
    assert expression.explain(event)
