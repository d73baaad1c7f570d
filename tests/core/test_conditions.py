"""What a filter asks of messages beyond ids and kinds, judged alone and by a hub, and what it refuses."""

from __future__ import annotations

import copy
import logging
import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from napcore import ConfigError, Event, Filter, Hub, Policy, peek
from napcore.core.expression import Expression
from napcore.core.regex import compile_regex

ACCOUNT, GROUP, USER = 10001, 342561735, 7

Judge = Callable[..., bool]

# Enough that the row looked at is not in the first machine word.
OTHERS = [Filter(prefix="never said", has="nothing")] * 3 + [Filter(has="nothing")] * 64


@pytest.fixture(params=["filter", "hub", "both", "turned"])
def passes(request: pytest.FixtureRequest) -> Judge:
    """Whether an event passes a filter: by itself, in a hub, and as a part of a combination."""

    def check(fields: dict[str, Any], account: int = 0, **rules: Any) -> bool:
        event = peek(orjson.dumps({"self_id": ACCOUNT, **fields}))
        filter = Filter(**rules)
        if request.param == "filter":
            return filter.matches(event, account)
        hub = Hub()
        for number, other in enumerate(OTHERS):
            hub.add(f"other-{number}", other)
        given = {"hub": filter, "both": filter & Filter(self_messages=True), "turned": ~~filter}[request.param]
        client = hub.add("client", given)
        hub.route([event], account=account)
        found = bool(client.take())
        assert filter.explain(event, account).startswith("let through" if found else "stopped by")
        return found

    return check


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "data": {"text": value}}


def at(qq: Any) -> dict[str, Any]:
    return {"type": "at", "data": {"qq": qq}}


IMAGE = {"type": "image", "data": {"file": "a.jpg"}}
REPLY = {"type": "reply", "data": {"id": "5"}}


def said(*segments: Any, **fields: Any) -> dict[str, Any]:
    message = [text(segment) if isinstance(segment, str) else segment for segment in segments]
    sender = {"user_id": USER, "role": "member"}
    group = {"message_type": "group", "group_id": GROUP, "user_id": USER, "sender": sender}
    return {"post_type": "message", **group, "message": message, **fields}


NO_MESSAGES = (
    {"post_type": "notice", "notice_type": "group_upload", "group_id": GROUP, "user_id": USER},
    {"post_type": "notice", "notice_type": "notify", "sub_type": "poke", "group_id": GROUP, "user_id": USER},
    {"post_type": "request", "request_type": "friend", "user_id": USER},
    {"post_type": "meta_event", "meta_event_type": "heartbeat"},
    {"post_type": "guild"},
)

ALL: dict[str, Any] = {
    "commands": "x",
    "regex": "x",
    "to_me": True,
    "has": "image",
    "roles": "owner",
    "min_size": 1 << 30,
    "max_size": 0,
}


@pytest.mark.parametrize("rule", ALL)
def test_conditions_judge_messages_only(passes: Judge, rule: str) -> None:
    for fields in NO_MESSAGES:
        assert passes(fields, **{rule: ALL[rule]})
        assert not passes(fields, **{rule: ALL[rule]}, kinds={"message"})
    assert not passes(said("hello"), **{rule: ALL[rule]})
    own = said("hello", post_type="message_sent")
    assert not passes(own, **{rule: ALL[rule]}, self_messages=True)
    assert passes(own, self_messages=True)


# Text.


@pytest.mark.parametrize(
    ("rules", "right", "wrong"),
    [
        ({"commands": "help"}, ["/help", " /help me", "/helpful"], ["help", "a /help", ""]),
        ({"commands": {"help", "\u5929\u6c14"}, "command_start": {"", "!"}}, ["help", "!\u5929\u6c14"], ["/help"]),
        ({"commands": "help", "command_whitespace": True}, ["/help", "/help me"], ["/helpful"]),
        ({"commands": "help", "command_whitespace": "  "}, ["/help  me", "/help"], ["/help me"]),
        ({"prefix": "!!"}, ["!!", "!!a"], [" !!", "!", ""]),
        ({"suffix": {"?", "\uff1f"}}, ["why?", "\u5417\uff1f"], ["? no", ""]),
        ({"fullmatch": "ping"}, ["ping"], ["ping ", "Ping"]),
        ({"fullmatch": "ping", "ignore_case": True}, ["PING", "ping"], ["pong"]),
        ({"keywords": ["\u901a\u77e5"]}, ["\u91cd\u8981\u901a\u77e5!"], ["\u901a", ""]),
        ({"prefix": "a", "suffix": "z", "keywords": "m"}, ["ab", "yz", "lmn"], ["x", ""]),
        ({"regex": "^!!|\\?$"}, ["!!a", "a?"], ["a!!", ""]),
        ({"regex": ["^a", "b$"]}, ["a", "b", "ac"], ["c", ""]),
        ({"regex": []}, [], ["a", ""]),
        ({"regex": "^a", "prefix": "ab"}, ["ab"], ["a", "b"]),
    ],
)
def test_text(passes: Judge, rules: dict[str, Any], right: list[str], wrong: list[str]) -> None:
    for words, expected in ((right, True), (wrong, False)):
        for one in words:
            assert passes(said(one), **rules) is expected, one
            assert passes(said(one[:1], at(USER), one[1:]), **rules) is expected, one
            assert passes(said(message=one.replace("&", "&amp;").replace("[", "&#91;")), **rules) is expected, one
            assert passes(said(one, message_type="private", group_id=None), **rules) is expected, one


def test_messages_without_text(passes: Judge) -> None:
    for message in ([], [IMAGE], "[CQ:image,file=a]", None, {"type": "text"}, 7):
        assert not passes(said(message=message), keywords="i")
        assert not passes(said(message=message), regex=".")
        assert passes(said(message=message), regex="^$")


# To me.


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (said("hi"), False),
        (said(at(ACCOUNT), " hi"), True),
        (said("hi", at(str(ACCOUNT))), True),
        (said(at(USER)), False),
        (said(at("all")), False),
        (said(at(None)), False),
        (said({"type": "at"}), False),
        (said({"type": "at", "data": None}), False),
        (said(REPLY, "hi"), True),
        (said(message=f"[CQ:at,qq={ACCOUNT}] hi"), True),
        (said(message=f"&#91;CQ:at,qq={ACCOUNT}]"), False),
        (said(message="[CQ:reply,id=1]hi"), True),
        (said("hi", message_type="private", group_id=None), True),
        (said("hi", message_type="private", sub_type="group"), True),
        (said(message=[1, None, {"type": 5}, {"data": {}}]), False),
        (said(at(ACCOUNT), self_id=str(ACCOUNT)), True),
        (said(at(None), self_id=None), False),
        (said(at(""), self_id=None), False),
        (said(at(0), self_id=0), False),
    ],
)
def test_to_me(passes: Judge, fields: dict[str, Any], expected: bool) -> None:
    assert passes(fields, to_me=True) is expected
    assert passes(fields, to_me=False)


def test_to_me_knows_the_account_of_the_link(passes: Judge) -> None:
    fields = said(at(ACCOUNT), self_id=None)
    assert not passes(fields, to_me=True)
    assert passes(fields, ACCOUNT, to_me=True)
    assert not passes(fields, USER, to_me=True)


def test_own_private_messages_are_not_to_me(passes: Judge) -> None:
    assert not passes(said("hi", post_type="message_sent", message_type="private"), self_messages=True, to_me=True)


# Segments, senders, sizes.


def test_has(passes: Judge) -> None:
    assert passes(said("a", IMAGE), has="image")
    assert passes(said("a", IMAGE), has={"video", "image"})
    assert passes(said("a"), has=["text"])
    assert not passes(said("a"), has="image")
    assert not passes(said(IMAGE), has="text")
    assert not passes(said(IMAGE), has=[])
    assert not passes(said(), has="text")
    assert passes(said(message="a[CQ:image,file=x]"), has="image")
    assert passes(said(message="a[CQ:image,file=x]"), has="text")
    assert not passes(said(message="[CQ:image,file=x]"), has="text")
    assert not passes(said(message=None), has="text")


@pytest.mark.parametrize("role", ["owner", "admin", "member"])
def test_roles(passes: Judge, role: str) -> None:
    fields = said("a", sender={"role": role})
    assert passes(fields, roles=role)
    assert passes(fields, roles={"owner", "admin", "member"})
    assert not passes(fields, roles={"owner", "admin", "member"} - {role})
    assert not passes(fields, roles=[])


@pytest.mark.parametrize("sender", [None, {}, {"role": None}, {"role": ["owner"]}, {"role": ""}, "owner", []])
def test_without_a_role_no_role_fits(passes: Judge, sender: Any) -> None:
    assert not passes(said("a", sender=sender), roles={"owner", "admin", "member"})
    assert not passes(said("a", sender=sender, message_type="private"), roles={"owner", "admin", "member"})


def test_sizes_are_those_of_the_event_as_received(passes: Judge) -> None:
    fields = {"self_id": ACCOUNT, **said("\u6c49" * 10)}
    size = len(orjson.dumps(fields))
    assert passes(fields, min_size=size, max_size=size)
    assert not passes(fields, min_size=size + 1)
    assert not passes(fields, max_size=size - 1)
    assert passes(fields, min_size=0, max_size=math.inf)


def test_everything_at_once(passes: Judge) -> None:
    rules: dict[str, Any] = {
        "groups": {GROUP},
        "commands": "help",
        "regex": "me$",
        "to_me": True,
        "has": "at",
        "roles": "admin",
        "max_size": 1000,
        "expression": {"sender.role": "admin", "message.#": 2},
    }
    fields = said(at(ACCOUNT), "/help me", sender={"role": "admin"})
    assert passes(fields, **rules)
    assert not passes({**fields, "group_id": 1}, **rules)
    for wrong in (
        said(at(ACCOUNT), "/hello me", sender={"role": "admin"}),
        said(at(ACCOUNT), "/help you", sender={"role": "admin"}),
        said(at(USER), "/help me", sender={"role": "admin"}),
        said(at(ACCOUNT), "/help me", sender={"role": "owner"}),
        said(at(ACCOUNT), "/help", IMAGE, " me", sender={"role": "admin"}),
        said(at(ACCOUNT), "/help" + "x" * 1000 + " me", sender={"role": "admin"}),
    ):
        assert not passes(wrong, **rules)


# Expressions.


def test_an_expression_judges_every_event(passes: Judge) -> None:
    assert passes(said("a"), expression={"message_type": "group"})
    for fields in NO_MESSAGES:
        assert not passes(fields, expression={"message_type": "group"})
    assert passes(NO_MESSAGES[3], expression={"post_type": "meta_event"})


def test_an_expression_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    file.write_text('{"group_id": {".in": [1, 2]}}')
    event = peek(orjson.dumps(said("a", group_id=2)))
    for given in (file, str(file)):
        filter = Filter(expression=given)
        assert filter.matches(event)
        assert isinstance(filter.expression, Expression)
        assert filter.expression.file == str(file)
    assert Filter(expression=str(file)) == Filter(expression=file)


def test_a_broken_expression_fails_closed(tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    file.write_text('{\n  "group_id": {".inn": [1]}\n}')
    with pytest.raises(ConfigError) as error:
        Filter(expression=file)
    text = f"{file}:2: expression: group_id > .inn: there is no operator .inn (did you mean '.in'?)"
    assert str(error.value) == text
    with pytest.raises(ConfigError, match="there is no operator"):
        Filter(expression={".inn": 1})


@pytest.mark.parametrize("source", ["file", "document", "no file"])
def test_a_broken_expression_may_fail_open(tmp_path: Path, caplog: pytest.LogCaptureFixture, source: str) -> None:
    file = tmp_path / "filter.json"
    if source != "no file":
        file.write_text('{"group_id": {".inn": [1]}}')
    given: Any = {"group_id": {".inn": [1]}} if source == "document" else file
    filter = Filter(groups={GROUP}, expression=given, expression_fails="open")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("napcore.filter", logging.ERROR)
    assert "everything passes it" in record.getMessage()
    assert ("no operator .inn" if source != "no file" else "cannot be read") in record.getMessage()
    assert filter.matches(peek(orjson.dumps(said("a"))))
    assert not filter.matches(peek(orjson.dumps(said("a", group_id=1))))


def test_reloading_is_all_or_nothing(tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        file.write_text('{"user_id": 1}')
    filter = Filter(expression=files[0], groups={GROUP}) | Filter(expression=files[1])
    event = peek(orjson.dumps(said("a", user_id=2)))
    hub = Hub()
    client = hub.add("client", filter)
    files[1].write_text('{"user_id": 2}')
    files[0].write_text('{"user_id": {".x": 2}}')
    with pytest.raises(ConfigError, match=r"a\.json:1: expression: user_id > \.x"):
        client.filter = client.filter.reload()
    hub.publish(event)
    assert client.filter is filter
    assert client.take() == []
    files[0].write_text('{"user_id": 3}')
    client.filter = client.filter.reload()
    hub.publish(event)
    assert client.take() == [event]
    assert not filter.matches(event)


def test_reloading_is_strict_even_if_it_fails_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "filter.json"
    filter = Filter(expression=file, expression_fails="open")
    with pytest.raises(ConfigError):
        filter.reload()
    file.write_text('{"user_id": 1}')
    assert filter.reload() == Filter(expression=file, expression_fails="open")


def test_without_a_file_there_is_nothing_to_reload() -> None:
    for filter in (Filter(), Filter(expression={}), Filter() & Filter(expression={"a": 1}), ~Filter()):
        assert filter.reload() is filter


# Values.


def test_one_text_stands_for_a_collection_of_one() -> None:
    assert Filter(prefix="a", has="b", roles="owner", regex="c", commands="d", command_start="e") == Filter(
        prefix={"a"}, has=["b"], roles=("owner",), regex={"c"}, commands=["d"], command_start=["e"]
    )


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda filter: pickle.loads(pickle.dumps(filter))])
def test_filters_with_conditions_are_values(clone: Callable[[Filter], Filter]) -> None:
    filter = Filter(shard="1/1", prefix="a", regex="b", expression={"user_id": USER}, to_me=True)
    event = peek(orjson.dumps(said("ab", at(ACCOUNT), self_id=ACCOUNT)))
    assert filter.matches(event)
    twin = clone(filter)
    assert twin == filter
    assert hash(twin) == hash(filter)
    assert twin.matches(event)
    assert twin.explain(event) == filter.explain(event)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"prefix": ""}, "prefix: must be a text that is not empty, not ''"),
        ({"keywords": [1]}, "keywords: must be a text that is not empty, not 1"),
        ({"commands": None}, "commands: must be a collection, not None"),
        ({"commands": b"x"}, "commands: must be a collection such as a set, not b'x'"),
        ({"commands": "x", "command_start": []}, 'command_start: is empty, so no text is a command; "" is none'),
        ({"command_start": [1]}, "command_start: must be a text, not 1"),
        ({"command_whitespace": "x"}, "command_whitespace: must be true, false or white space, not 'x'"),
        ({"command_whitespace": ""}, "command_whitespace: must be true, false or white space, not ''"),
        ({"command_whitespace": None}, "command_whitespace: must be true, false or white space, not None"),
        ({"ignore_case": 1}, "ignore_case: must be true or false, not 1"),
        ({"to_me": None}, "to_me: must be true or false, not None"),
        ({"has": 5}, "has: must be a collection such as a set, not 5"),
        ({"roles": "admins"}, "roles: must be one of owner, admin, member, not 'admins' (did you mean 'admin'?)"),
        ({"min_size": -1}, "min_size: must be a whole number of bytes, 0 or more, not -1"),
        ({"min_size": None}, "min_size: must be a whole number of bytes, 0 or more, not None"),
        ({"max_size": 1.5}, "max_size: must be a whole number of bytes, 0 or more, not 1.5"),
        ({"max_size": True}, "max_size: must be a whole number of bytes, 0 or more, not True"),
        ({"regex": "("}, "regex: '(' is no regular expression of RE2: missing ): ("),
        ({"expression": 5}, "expression: must be an object or the path of a file, not int"),
        ({"expression": []}, "expression: must be an object or the path of a file, not list"),
        ({"expression_fails": "maybe"}, "expression_fails: must be one of closed, open, not 'maybe'"),
    ],
)
def test_a_wrong_value_is_named(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Filter(**rules)
    assert str(error.value) == message


def test_all_wrong_values_are_listed() -> None:
    with pytest.raises(ConfigError) as error:
        Filter(prefix="", regex=["(", "a", "[z-a]"], expression={".x": 1, ".y": 2}, to_me=1)  # type: ignore[arg-type]
    keys = [problem.key for problem in error.value.errors]
    assert keys == ["prefix", "regex", "regex", "to_me", "expression", "expression"]


def test_without_google_re2_a_pattern_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_regex.cache_clear()
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ConfigError) as error:
        Filter(regex="x")
    assert str(error.value) == "regex: regular expressions need google-re2: pip install 'napcore[re2]'"
    assert Filter(prefix="x").matches(Event.from_dict(said("x")))


def test_every_filter_is_one_for_keep() -> None:
    assert Policy(keep=Filter(to_me=True) | Filter(roles="owner")).keep is not None
