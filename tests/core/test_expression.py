"""go-cqhttp's event filter: its documented examples, every operator at its corners, and what is refused."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from napcore.core.expression import Expression
from napcore.core.expression_file import read_expression
from napcore.core.regex import compile_regex
from napcore.errors import ConfigError

PRIVATE = {"post_type": "message", "message_type": "private", "user_id": 55555, "raw_message": "hi"}
GROUP = {
    "post_type": "message",
    "message_type": "group",
    "group_id": 123456,
    "user_id": 12345,
    "anonymous": None,
    "raw_message": "hi",
    "sender": {"sex": "male", "role": "member"},
    "message": [{"type": "text", "data": {"text": "hi"}}, {"type": "image", "data": {"file": "a.jpg"}}],
}
HEARTBEAT = {"post_type": "meta_event", "meta_event_type": "heartbeat"}


def passes(rules: dict[str, Any], event: Any) -> bool:
    found = Expression(rules).test(event)
    assert type(found) is bool
    return found


def refused(rules: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        Expression(rules)
    assert all(problem.key == "expression" for problem in error.value.errors)
    return [problem.message for problem in error.value.errors]


# The examples of docs/EventFilter.md.


def test_nothing_passes() -> None:
    for event in (PRIVATE, GROUP, HEARTBEAT, {}):
        assert not passes({".not": {}}, event)


def test_messages_that_start_with_two_exclamation_marks() -> None:
    rules = {"raw_message": {".regex": "^!!"}}
    assert passes(rules, {**GROUP, "raw_message": "!!help"})
    assert not passes(rules, {**GROUP, "raw_message": "help!!"})
    assert not passes(rules, HEARTBEAT)


def test_group_messages_that_are_not_anonymous() -> None:
    rules = {"message_type": "group", "anonymous": {".eq": None}}
    assert passes(rules, GROUP)
    assert passes(rules, {key: value for key, value in GROUP.items() if key != "anonymous"})
    assert not passes(rules, {**GROUP, "anonymous": {"id": 1, "name": "a", "flag": "b"}})
    assert not passes(rules, PRIVATE)


def test_private_or_one_group_that_is_not_anonymous() -> None:
    rules = {
        ".or": [
            {"message_type": "private"},
            {"message_type": "group", "group_id": {".in": [123456]}, "anonymous": {".eq": None}},
        ]
    }
    assert passes(rules, PRIVATE)
    assert passes(rules, GROUP)
    assert not passes(rules, {**GROUP, "group_id": 1234567})
    assert not passes(rules, {**GROUP, "anonymous": {"id": 1}})
    assert not passes(rules, HEARTBEAT)


def test_three_groups_without_one_user_and_all_of_another() -> None:
    rules = {
        ".or": [{"group_id": {".in": [11111, 22222, 33333]}, "user_id": {".neq": 12345}}, {"user_id": 66666}],
    }
    assert passes(rules, {"group_id": 22222, "user_id": 1})
    assert not passes(rules, {"group_id": 22222, "user_id": 12345})
    assert passes(rules, {"group_id": 9, "user_id": 66666})
    assert not passes(rules, {"group_id": 9, "user_id": 1})


def test_the_more_complex_example() -> None:
    rules = {
        ".or": [
            {"message_type": "private", "user_id": {".not": {".in": [11111, 22222, 33333]}, ".neq": 44444}},
            {
                "message_type": {".regex": "group|discuss"},
                ".or": [{"group_id": 12345}, {"raw_message": {".contains": "\u901a\u77e5"}}],
            },
        ]
    }
    assert passes(rules, PRIVATE)
    assert not passes(rules, {**PRIVATE, "user_id": 22222})
    assert not passes(rules, {**PRIVATE, "user_id": 44444})
    assert passes(rules, {**GROUP, "group_id": 12345})
    assert passes(rules, {**GROUP, "raw_message": "\u91cd\u8981\u901a\u77e5\uff01"})
    assert passes(rules, {"message_type": "discuss", "raw_message": "\u901a\u77e5"})
    assert not passes(rules, GROUP)


def test_nested_values_and_paths() -> None:
    for rules in ({"sender": {"sex": "male"}}, {"sender.sex": "male"}):
        assert passes(rules, GROUP)
        assert not passes(rules, {**GROUP, "sender": {"sex": "female"}})
        assert not passes(rules, PRIVATE)
    assert passes({"message.0.type": "text"}, GROUP)
    assert not passes({"message.1.type": "text"}, GROUP)
    assert passes({"message.#": 2, "message.#.type": ["text", "image"]}, GROUP)
    assert passes({"message.#.type": {".contains": '"image"'}}, GROUP)


# Each operator, argument and value.

VALUE: dict[str, Any] = {
    "n": 123,
    "s": "123",
    "f": 1.0,
    "t": True,
    "z": None,
    "e": "",
    "big": 18446744073709551616,
    "a": [1, "b", None],
    "o": {"k": 1},
    "empty": [],
}


@pytest.mark.parametrize(
    ("path", "operator", "argument", "expected"),
    [
        # Types do not matter, the text does.
        ("n", ".eq", 123, True),
        ("n", ".eq", "123", True),
        ("s", ".eq", 123, True),
        ("n", ".eq", 123.0, True),
        ("n", ".eq", "123.0", False),
        ("f", ".eq", 1, True),
        ("f", ".eq", "1.0", False),
        ("t", ".eq", True, True),
        ("t", ".eq", "true", True),
        ("t", ".eq", 1, False),
        ("t", ".eq", "True", False),
        # Null, the empty text and nothing at all are the same.
        ("z", ".eq", None, True),
        ("z", ".eq", "", True),
        ("e", ".eq", None, True),
        ("nowhere", ".eq", None, True),
        ("nowhere", ".eq", "", True),
        ("z", ".eq", "null", False),
        ("n", ".eq", None, False),
        ("empty", ".eq", None, False),
        # Containers are compact JSON.
        ("a", ".eq", [1, "b", None], True),
        ("a", ".eq", '[1,"b",null]', True),
        ("a", ".eq", '[1, "b", null]', False),
        ("o", ".eq", {"k": 1}, True),
        ("o", ".eq", {"k": "1"}, False),
        ("empty", ".eq", [], True),
        ("big", ".eq", 1.8446744073709552e19, True),
        ("n", ".neq", 123, False),
        ("n", ".neq", 124, True),
        ("nowhere", ".neq", None, False),
        ("nowhere", ".neq", 1, True),
        # In a list, by text; in a text, as a part of it.
        ("n", ".in", [1, 123], True),
        ("n", ".in", ["123"], True),
        ("n", ".in", [], False),
        ("z", ".in", [None], True),
        ("nowhere", ".in", [""], True),
        ("a", ".in", [[1, "b", None]], True),
        ("n", ".in", "0123456", True),
        ("n", ".in", 31234, True),
        ("n", ".in", "12", False),
        ("n", ".in", None, False),
        ("nowhere", ".in", "anything", True),
        ("nowhere", ".in", None, True),
        ("t", ".in", True, True),
        # The other way round.
        ("n", ".contains", "2", True),
        ("n", ".contains", 23, True),
        ("n", ".contains", "1234", False),
        ("n", ".contains", "", True),
        ("n", ".contains", None, True),
        ("nowhere", ".contains", "", True),
        ("nowhere", ".contains", "a", False),
        ("a", ".contains", ',"b",', True),
        ("t", ".contains", True, True),
        # Anywhere in the text, unless the pattern says otherwise.
        ("n", ".regex", "2", True),
        ("n", ".regex", 12, True),
        ("n", ".regex", "^2", False),
        ("n", ".regex", "^123$", True),
        ("n", ".regex", "", True),
        ("nowhere", ".regex", None, True),
        ("nowhere", ".regex", "^$", True),
        ("nowhere", ".regex", ".", False),
        ("t", ".regex", "(?i)TRUE", True),
        ("a", ".regex", r"\[1,", True),
        # Rules inside rules.
        ("n", ".not", {".eq": 123}, False),
        ("n", ".not", {".eq": 124}, True),
        ("n", ".not", {}, False),
        ("nowhere", ".not", {"deeper": 1}, True),
        ("n", ".and", {}, True),
        ("n", ".and", {".neq": 1, ".neq2": 1}, None),
        ("n", ".and", {".neq": 1, ".regex": "3"}, True),
        ("o", ".and", {"k": 1}, True),
        ("n", ".or", [], False),
        ("n", ".or", [{}], True),
        ("n", ".or", [{".eq": 1}, {".eq": 123}], True),
        ("n", ".or", [{".eq": 1}, {".eq": 2}], False),
    ],
)
def test_operators(path: str, operator: str, argument: Any, expected: bool | None) -> None:
    rules = {path: {operator: argument}}
    if expected is None:
        assert refused(rules) != []
        return
    event = orjson.loads(orjson.dumps({key: value for key, value in VALUE.items() if key != "big"}))
    event["big"] = orjson.loads(b"18446744073709551616")
    assert passes(rules, event) is expected
    assert passes({".and": rules}, event) is expected
    assert passes({".not": rules}, event) is not expected
    assert passes({".or": [{".not": {}}, rules]}, event) is expected


def test_a_key_with_an_array_or_a_scalar_must_be_equal() -> None:
    assert passes({"a": [1, "b", None], "s": 123, "z": None, "t": "true"}, VALUE)
    assert not passes({"a": [1]}, VALUE)


def test_all_entries_must_hold() -> None:
    assert passes({}, VALUE)
    assert passes({"n": 123, "s": "123"}, VALUE)
    assert not passes({"n": 123, "s": "124"}, VALUE)
    assert not passes({"n": 124, "s": "123"}, VALUE)


def test_integers_beyond_64_bits_are_doubles(tmp_path: Path) -> None:
    assert passes({"big": 18446744073709551617}, {"big": 18446744073709551616.0})
    assert passes({"big": 10**400}, {"big": 10**401})
    (tmp_path / "filter.json").write_text('{"big": 1' + "0" * 400 + "}")
    assert read_expression(tmp_path / "filter.json").test({"big": float("inf")})


def test_lone_surrogates_are_what_go_makes_of_them() -> None:
    event = {"s": "a\ud83d"}
    for operator in (".eq", ".in", ".contains"):
        assert passes({"s": {operator: "a\ufffd"}}, event)
    assert passes({"s": {".in": ["a\ufffd"], ".regex": "^a\ufffd$"}}, event)
    assert not passes({"s": {".neq": "a\ufffd"}}, event)
    assert not passes({"s": {".eq": "a"}}, event)


# What is refused.


@pytest.mark.parametrize(
    ("rules", "messages"),
    [
        ({".not": []}, [".not: must be an object, not an array"]),
        ({".not": "x"}, [".not: must be an object, not a string"]),
        ({".and": None}, [".and: must be an object, not null"]),
        ({".or": {}}, [".or: must be an array of objects, not an object"]),
        ({".or": [{}, 1, True]}, [
            ".or[1]: must be an object, not a number",
            ".or[2]: must be an object, not true or false",
        ]),
        ({"a": {".in": {}}}, ["a > .in: must be an array or a string, not an object"]),
        ({"a": {".contains": []}}, ["a > .contains: must be a string, not an array"]),
        ({"a": {".contains": {}}}, ["a > .contains: must be a string, not an object"]),
        ({"a": {".regex": ["x"]}}, ["a > .regex: must be a string, not an array"]),
        ({"a": {".regex": {}}}, ["a > .regex: must be a string, not an object"]),
        ({".equals": 1}, [".equals: there is no operator .equals"]),
        ({".": 1}, [".: there is no operator ."]),
        ({"a": {"": 1}}, ["a > : a key must not be empty"]),
        ({"a|b": 1}, ["a|b: a pipe (|) is not supported; write \\| for the character itself"]),
        ({".or": [{"x.@this": {".nor": []}}]}, [
            ".or[0] > x.@this: a modifier (@...) is not supported; write \\@ for the character itself"
        ]),
    ],
)  # fmt: skip
def test_mistakes_name_their_place(rules: dict[str, Any], messages: list[str]) -> None:
    assert refused(rules) == messages


def test_a_near_operator_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"no operator \.regexp \(did you mean '\.regex'\?\)"):
        Expression({"a": {".regexp": "x"}})


def test_patterns_that_re2_does_not_take() -> None:
    [message] = refused({"a": {".regex": "(?=x)"}})
    assert message.startswith("a > .regex: '(?=x)' is no regular expression of RE2: ")
    [message] = refused({"a": {".regex": "("}})
    assert "missing )" in message


@pytest.mark.parametrize("rules", [[], "x", None, 1])
def test_an_expression_is_an_object(rules: Any) -> None:
    [message] = refused(rules)
    assert message.startswith("must be an object, not ")


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, float("nan"), float("inf"), "\ud83d"])
def test_an_expression_is_json(value: Any) -> None:
    [message] = refused({"a": value})
    assert message.startswith("is not JSON: ")


def test_nesting_is_bounded() -> None:
    rules: dict[str, Any] = {}
    for _ in range(63):
        rules = {".not": rules}
    Expression(rules)
    [message] = refused({".not": rules})
    assert message.endswith("is nested more than 64 deep")
    endless: dict[str, Any] = {}
    endless[".not"] = endless
    assert refused(endless) != []


def test_without_google_re2_patterns_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_regex.cache_clear()
    monkeypatch.setitem(sys.modules, "re2", None)
    message = "a > .regex: regular expressions need google-re2: pip install 'napcore[re2]'"
    assert refused({"a": {".regex": "x"}}) == [message]
    assert passes({"a": {".contains": "x"}}, {"a": "axe"})


# Files.


def test_a_file_is_read_with_or_without_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    for prefix in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(prefix + '{"raw_message": {".contains": "\u901a\u77e5"}}\r\n'.encode())
        expression = read_expression(file)
        assert expression.file == str(file)
        assert expression.document == {"raw_message": {".contains": "\u901a\u77e5"}}
        assert expression.test({"raw_message": "\u901a\u77e5"})


def test_of_equal_keys_the_last_counts(tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    file.write_text('{"a": 1, "\\u0061": 2}')
    assert read_expression(file).document == {"a": 2}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "not valid JSON: unexpected end of data"),
        ("[]", 1, "must be a JSON object"),
        ('{\n  "a": 1,\n}', 3, "not valid JSON: unexpected byte"),
        ('{\n  "a": 1\n}\nx', 4, "not valid JSON: trailing data"),
        (
            '{\n  ".or": [\n    {"a": 1},\n    {"b": [1, {}], "a": {\n      ".inn": 1}}\n  ]\n}',
            5,
            "there is no operator",
        ),
        ('{\n  "a": 1,\n  ".or": [\n    {},\n    7\n  ]\n}', 5, r".or\[1\]: must be an object"),
        ('\n{"a": "}]\\"",\n".no": 1, "b": 2}', 3, "there is no operator .no"),
        ('{".not": {},\n".not": 1}', 2, ".not: must be an object"),
    ],
)
def test_mistakes_name_their_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = tmp_path / "filter.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_expression(file)
    [problem] = error.value.errors
    assert (problem.file, problem.line, problem.key) == (str(file), line, "expression")
    assert str(problem).startswith(f"{file}:{line}: expression: ")


def test_every_mistake_is_told(tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    file.write_text('{"a|b": 1,\n".x": 1,\n"c": {".regex": []}}')
    with pytest.raises(ConfigError) as error:
        read_expression(file)
    assert [problem.line for problem in error.value.errors] == [1, 2, 3]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_expression(tmp_path / "none.json")
    (tmp_path / "gbk.json").write_bytes('{"a": "\u6c49"}'.encode("gbk"))
    with pytest.raises(ConfigError, match="invalid UTF-8"):
        read_expression(tmp_path / "gbk.json")


# As a value.


def test_equal_expressions_are_equal(tmp_path: Path) -> None:
    one, same, other = Expression({"a": 1}), Expression({"a": 1}), Expression({"a": "1"})
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != {"a": 1}
    for made in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert made == one
        assert made.test({"a": "1"})
    assert repr(one) == "<Expression '{\"a\":1}'>"


def test_the_document_is_a_copy() -> None:
    rules: dict[str, Any] = {"a": {".in": [1]}}
    expression = Expression(rules)
    rules["a"][".in"].append(2)
    expression.document["a"][".in"].append(3)
    assert expression.document == {"a": {".in": [1]}}
    assert not expression.test({"a": 2})


# In words.


@pytest.mark.parametrize(
    ("rules", "event", "words"),
    [
        ({}, {}, "the expression holds"),
        ({"a": 1}, {"a": 1}, "a: it is '1'"),
        ({"a": 1}, {"a": 2}, "a: it is not '1'"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, "the expression holds"),
        ({"a": 1, "b": 2}, {"a": 1}, "b: it is not '2'"),
        ({"a": {".neq": 1}}, {"a": 1}, "a > .neq: it is '1'"),
        ({"a": {".in": [1, 2]}}, {"a": 3}, "a > .in: it is none of the 2 listed"),
        ({"a": {".in": [1, 2]}}, {"a": 2}, "a > .in: it is one of the 2 listed"),
        ({"a": {".in": "xyz"}}, {"a": "u"}, "a > .in: it is no part of 'xyz'"),
        ({"a": {".contains": "x"}}, {"a": "xy"}, "a > .contains: it has 'x' in it"),
        ({"a": {".regex": "^x"}}, {"a": "yx"}, "a > .regex: it has no pattern '^x' in it"),
        ({".not": {}}, {}, "what .not rules out holds"),
        ({".not": {"a": 1}}, {}, "what .not rules out does not hold"),
        ({".or": [{"a": 1}, {"a": 2, "b": 3}]}, {"a": 2, "b": 3}, ".or[1] holds"),
        ({".or": [{"a": 1}, {"a": 2}]}, {"a": 2}, ".or[1] > a: it is '2'"),
        ({".or": [{"a": 1}, {"a": 2}]}, {}, "none of the 2 alternatives of .or holds"),
        ({"a": "x" * 50}, {"a": 1}, f"a: it is not '{'x' * 40}...'"),
    ],
)
def test_what_decides_in_words(rules: dict[str, Any], event: dict[str, Any], words: str) -> None:
    assert Expression(rules).explain(event) == words
