"""Splicing echoes into any JSON object changes the echo and nothing else."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from napcore import Response, peek_frame, peek_request
from napcore.core.calls import Call, Calls
from napcore.core.splice import replace_echo, restore_echo

ECHO_KEYS = ('"echo"', '"\\u0065cho"', '"ec\\u0068o"', '"\\u0065\\u0063\\u0068\\u006F"')
"""One key, written in several ways."""

NEAR_ECHO = ("Echo", "ech", "echoo", " echo", "echo\0", "écho", 'echo"', "\\echo", "")

SPECIAL = ("echo", "action", "post_type")

white = st.text(" \t\r\n", max_size=3)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["echo", '"', "\\", "}", ',"echo":1', "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just("echo"), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def rendered(draw: st.DrawFn) -> str:
    """A JSON value, spaced and escaped somehow."""
    value = draw(values)
    # A lone surrogate has no UTF-8: it can only be escaped.
    escaped = draw(st.booleans()) or "\\ud800" in json.dumps(value)
    return json.dumps(
        value,
        ensure_ascii=escaped,
        separators=draw(st.sampled_from([(",", ":"), (", ", " : "), ("\n,", ":\t")])),
    )


class Member(NamedTuple):
    """One member as it is written."""

    key: str
    value: str
    is_echo: bool


class Document(NamedTuple):
    """An object's text, where its last echo's value lies, and the text without that member."""

    raw: bytes
    value: tuple[int, int] | None
    without: bytes

    @property
    def pairs(self) -> list[tuple[str, Any]]:
        return pairs(self.raw)


def pairs(raw: bytes) -> list[tuple[str, Any]]:
    """The members in order, duplicates included; NaN-free, so equal when they are the same."""
    found: list[tuple[str, Any]] = json.loads(raw, object_pairs_hook=list)
    return found


@st.composite
def documents(draw: st.DrawFn, *, first: Member | None = None, echoes: st.SearchStrategy[int]) -> Document:
    """An object with that many echo members among others, and ``first`` somewhere."""
    keys = st.sampled_from(NEAR_ECHO) | st.text(max_size=6).filter(lambda key: key not in SPECIAL)
    members = [Member(json.dumps(draw(keys)), draw(rendered()), False) for _ in range(draw(st.integers(0, 4)))]
    members += [Member(draw(st.sampled_from(ECHO_KEYS)), draw(rendered()), True) for _ in range(draw(echoes))]
    if first is not None:
        members.append(first)
    members = draw(st.permutations(members))
    heads = [member.key + draw(white) + ":" + draw(white) for member in members]
    leads, trails = ([draw(white) for _ in members] for _ in range(2))
    parts = [
        lead + head + member.value + trail
        for lead, head, member, trail in zip(leads, heads, members, trails, strict=True)
    ]
    before, after = draw(white) + "{", "}" + draw(white)
    echo = max((number for number, member in enumerate(members) if member.is_echo), default=None)
    raw = (before + ",".join(parts) + after).encode()
    if echo is None:
        return Document(raw, None, raw)
    start = len((before + "".join(part + "," for part in parts[:echo]) + leads[echo] + heads[echo]).encode())
    # The member goes with the comma behind it, or else the one before it, and the white space up to that.
    if echo + 1 < len(parts):
        rest = [*parts[:echo], leads[echo] + parts[echo + 1], *parts[echo + 2 :]]
    elif echo:
        rest = [*parts[: echo - 1], parts[echo - 1] + trails[echo]]
    else:
        rest = [leads[echo] + trails[echo]]
    without = (before + ",".join(rest) + after).encode()
    return Document(raw, (start, start + len(members[echo].value.encode())), without)


requests = documents(first=Member('"action"', '"send_group_msg"', False), echoes=st.integers(0, 3))
responses = documents(echoes=st.integers(1, 3))
echoes = rendered().map(str.encode)


def peek_response(raw: bytes) -> Response:
    found = peek_frame(raw)
    assert isinstance(found, Response)
    return found


def with_last_echo(members: list[tuple[str, Any]], echo: Any) -> list[tuple[str, Any]]:
    last = max(number for number, (key, _) in enumerate(members) if key == "echo")
    return [*members[:last], ("echo", echo), *members[last + 1 :]]


@given(requests, echoes)
def test_replace_echo_changes_the_echo_alone(document: Document, echo: bytes) -> None:
    spliced = b"".join(replace_echo(peek_request(document.raw), echo))
    if document.value is not None:
        start, end = document.value
        assert spliced == document.raw[:start] + echo + document.raw[end:]
        assert pairs(spliced) == with_last_echo(document.pairs, json.loads(echo, object_pairs_hook=list))
    else:
        brace = document.raw.index(b"{") + 1
        assert spliced == document.raw[:brace] + b'"echo":' + echo + b"," + document.raw[brace:]
        assert pairs(spliced) == [("echo", json.loads(echo, object_pairs_hook=list)), *document.pairs]
    assert peek_request(spliced).echo == echo


@given(responses, echoes)
def test_restore_echo_changes_the_echo_alone(document: Document, echo: bytes) -> None:
    assert document.value is not None
    start, end = document.value
    restored = restore_echo(peek_response(document.raw), echo)
    assert restored == document.raw[:start] + echo + document.raw[end:]
    assert pairs(restored) == with_last_echo(document.pairs, json.loads(echo, object_pairs_hook=list))


@given(responses)
def test_restoring_no_echo_takes_the_member_out(document: Document) -> None:
    shorter = restore_echo(peek_response(document.raw), None)
    assert shorter == document.without
    members = document.pairs
    last = max(number for number, (key, _) in enumerate(members) if key == "echo")
    assert pairs(shorter) == members[:last] + members[last + 1 :]


@given(documents(echoes=st.just(0)))
def test_an_answer_without_an_echo_passes_unchanged(document: Document) -> None:
    assert restore_echo(peek_response(document.raw), b"1") == document.raw
    assert restore_echo(peek_response(document.raw), None) == document.raw


class Nobody:
    """Asks, and is never told."""

    client = None

    def answer(self, answer: object, /) -> None:
        raise AssertionError("nothing is delivered here")


@given(requests, responses)
def test_there_and_back(document: Document, answer: Document) -> None:
    calls, asker = Calls("ep"), Nobody()
    request = peek_request(document.raw)
    call = calls.forward(request, asker, "upstream", 0.0)
    assert isinstance(call, Call)
    assert json.loads(call.request)["echo"] == "ep.1"
    assert answer.value is not None
    start, end = answer.value
    returned = calls.answer(peek_response(answer.raw[:start] + call.key + answer.raw[end:]), "upstream", 0.0)
    assert returned is not None
    assert returned.origin is asker
    if document.value is None:
        assert request.echo is None
        assert returned.frame == answer.without
    else:
        echo = document.raw[slice(*document.value)]
        assert request.echo == echo
        assert returned.frame == answer.raw[:start] + echo + answer.raw[end:]
