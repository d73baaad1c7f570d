"""Paths and text as gjson has them; the cases of its own documentation first."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from napcore.core.gjson import MISSING, compile_path, text_of

# The document of gjson's SYNTAX.md.
DOCUMENT = {
    "name": {"first": "Tom", "last": "Anderson"},
    "age": 37,
    "children": ["Sara", "Alex", "Jack"],
    "fav.movie": "Deer Hunter",
    "friends": [
        {"first": "Dale", "last": "Murphy", "age": 44, "nets": ["ig", "fb", "tw"]},
        {"first": "Roger", "last": "Craig", "age": 68, "nets": ["fb", "tw"]},
        {"first": "Jane", "last": "Murphy", "age": 47, "nets": ["ig", "tw"]},
    ],
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("name.last", "Anderson"),
        ("name.first", "Tom"),
        ("age", 37),
        ("children", ["Sara", "Alex", "Jack"]),
        ("children.0", "Sara"),
        ("children.1", "Alex"),
        ("friends.1", DOCUMENT["friends"][1]),  # type: ignore[index]
        ("friends.1.first", "Roger"),
        ("child*.2", "Jack"),
        ("c?ildren.0", "Sara"),
        ("fav\\.movie", "Deer Hunter"),
        ("friends.#", 3),
        ("children.#", 3),
        ("friends.#.age", [44, 68, 47]),
        ("friends.#.first", ["Dale", "Roger", "Jane"]),
        ("friends.#.nets.#", [3, 2, 2]),
        ("friends.#.nets.0", ["ig", "fb", "ig"]),
        ("friends.#.nets.2", ["tw"]),
        ("friends.#.nobody", []),
        ("friends.1.nets.#", 2),
    ],
)
def test_the_documented_paths(path: str, expected: Any) -> None:
    assert compile_path(path)(DOCUMENT) == expected


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        # What is not there.
        ({}, "a", MISSING),
        ({"a": None}, "a", None),
        ({"a": None}, "a.b", MISSING),
        ({"a": "b"}, "a.b", MISSING),
        ({"a": '{"b":1}'}, "a.b", MISSING),
        ({"a": 1}, "a.0", MISSING),
        (None, "a", MISSING),
        ("text", "a", MISSING),
        (MISSING, "a", MISSING),
        (MISSING, "a.b", MISSING),
        # Indexes: digits only, of an array only.
        ([1, 2], "0", 1),
        ([1, 2], "00", 1),
        ([1, 2], "2", MISSING),
        ([1, 2], "-1", MISSING),
        ([1, 2], "+1", MISSING),
        ([1, 2], "1 ", MISSING),
        ([1, 2], "\u0661", MISSING),
        ([1, 2], "\\1", MISSING),
        ([1, 2], "99999999999999999999999", MISSING),
        ([[5]], "0.0", 5),
        ({"0": "key"}, "0", "key"),
        ([{"0": "key"}], "0.0", "key"),
        # The count, and what all items have; a null is there.
        ([], "#", 0),
        ([], "#.a", []),
        ([[], [1]], "#.#", [0, 1]),
        ([[{"a": 1}], [{"a": 2}, {}]], "#.#.a", [[1], [2]]),
        ([{"a": None}, {}, 1, "a"], "#.a", [None]),
        ({"#": 1}, "#", 1),
        ({"#": {"a": 1}}, "#.a", 1),
        ([1], "##", MISSING),
        ([1], "#a", MISSING),
        ([1], "\\#", MISSING),
        ({"a": 1}, "a.#", MISSING),
        # Empty keys between dots.
        ({"": 1}, "", 1),
        ({"a": {"": 1}}, "a.", 1),
        ({"a": {"": {"b": 1}}}, "a..b", 1),
        ([{"": 1}], "#.", [1]),
        ([1], "", MISSING),
        # Wildcards: the first key that fits and leads somewhere.
        ({"ab": 1, "ac": 2}, "a*", 1),
        ({"ab": 1, "ac": {"d": 2}}, "a*.d", 2),
        ({"ab": {"x": 1}, "ac": {"d": 2}}, "a?.d", 2),
        ({"a": 1}, "a*", 1),
        ({"a": 1}, "a?", MISSING),
        ({"a": 1}, "*", 1),
        ({"": 1}, "*", 1),
        ({"": 1}, "?", MISSING),
        ({"\u6c49\u5b57": 1}, "?\u5b57", 1),
        ({"abcabd": 1}, "*ab?", 1),
        ({"abcabd": 1}, "a**d", 1),
        ({"abcabd": 1}, "*abc", MISSING),
        ({"a" * 50: 1}, "*a" * 25 + "b", MISSING),
        ([5], "*", MISSING),
        ({"a": [5]}, "?.0", 5),
        # Escapes.
        ({"a*": 1, "ab": 2}, "a\\*", 1),
        ({"a?": 1, "ab": 2}, "a\\?", 1),
        ({"a|b": 1}, "a\\|b", 1),
        ({"@this": 1}, "\\@this", 1),
        ({"a\\b": 1}, "a\\\\b", 1),
        ({"a": 1}, "a\\", 1),
        ({"a": 1}, "\\a", 1),
        ({"a.b": {"c.d": 1}}, "a\\.b.c\\.d", 1),
        # One wildcard makes the others wildcards too, escaped or not.
        ({"axyb": 1}, "a\\*b*", 1),
        ({"a*bc": 1}, "a\\\\\\*b*", 1),
        ({"axbc": 1}, "a\\\\\\*b*", MISSING),
        ({"a\\": 1}, "*\\\\", 1),
        # Only where a path begins anew do these mean something.
        ({"@": 1}, "@", 1),
        ({"a@b": 1}, "a@b", 1),
        ({"a": {"[": 1}}, "a.[", 1),
        ({"a(b": 1}, "a(b", 1),
        ({"a#(b": 1}, "a#(b", 1),
    ],
)
def test_paths_at_their_corners(document: Any, path: str, expected: Any) -> None:
    found = compile_path(path)(document)
    assert found is MISSING if expected is MISSING else (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("@this", "a modifier"),
        ("children.@reverse", "a modifier"),
        ("a.#.@this", "a modifier"),
        ("friends|0", "a pipe"),
        ("a\\.b|c", "a pipe"),
        ("#(age>45)#.first", "a query"),
        ("friends.#(last=Murphy).first", "a query"),
        ("friends.#[first=Dale]", "a query"),
        ("[name,age]", "a multipath"),
        ("{name,age}", "a multipath"),
        ("a.{b}", "a multipath"),
        ('!"literal"', "a literal"),
        ("..0", "JSON lines"),
        ("a.#...b", "JSON lines"),
        (".".join("a" * 65), "at most 64 parts"),
    ],
)
def test_what_is_refused(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_path(path)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("null", ""),
        ("true", "true"),
        ("false", "false"),
        ('"text"', "text"),
        ('""', ""),
        ('"\\u6c49"', "\u6c49"),
        ("0", "0"),
        ("-7", "-7"),
        ("9223372036854775807", "9223372036854775807"),
        ("18446744073709551615", "18446744073709551615"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("0.1", "0.1"),
        ("-0.0", "-0"),
        ("1e3", "1000"),
        ("1E-7", "0.0000001"),
        ("1e22", "10000000000000000000000"),
        ("123456789.125", "123456789.125"),
        ("5e-324", "0." + "0" * 323 + "5"),
        ("[]", "[]"),
        ("{}", "{}"),
        ('{"a":[1,"b",null,true,1.5]}', '{"a":[1,"b",null,true,1.5]}'),
        # Where the decoded event is looked at and not its bytes.
        ('{ "a" : [ 1 ] }', '{"a":[1]}'),
        ("-0", "0"),
        ("18446744073709551616", "18446744073709552000"),
        ("-9223372036854775809", "-9223372036854776000"),
    ],
)
def test_values_as_text(written: str, expected: str) -> None:
    assert text_of(orjson.loads(written)) == expected


def test_what_only_json_decodes_as_text() -> None:
    assert text_of(MISSING) == ""
    assert text_of(float("inf")) == "+Inf"
    assert text_of(float("-inf")) == "-Inf"
    assert text_of(1 << 64) == text_of(float(1 << 64)) == "18446744073709552000"
    assert (text_of(10**400), text_of(-(10**400))) == ("+Inf", "-Inf")
    assert text_of(["\ud83d"]) == '["\ud83d"]'
    assert text_of({"a": 1 << 70}) == '{"a":1180591620717411303424}'
    deep = json.loads("[" * 300 + "]" * 300)
    assert text_of(deep) == "[" * 300 + "]" * 300
