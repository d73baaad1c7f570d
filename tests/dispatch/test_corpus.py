"""Every frame of the corpus: the head it must give, or where and why it must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from napcore.errors import BadEvent

CORPUS = Path(__file__).parents[1] / "corpus"


def lines(name: str) -> list[bytes]:
    # Frames hold U+2028 and the like, so nothing but \n ends a line.
    return [line for line in (CORPUS / name).read_bytes().split(b"\n") if line]


EVENTS = [
    (json.loads(expected), line) for line, expected in zip(lines("events.jsonl"), lines("expected.jsonl"), strict=True)
]
INVALID = [json.loads(line) for line in lines("invalid.jsonl")]


def test_corpus_is_complete() -> None:
    assert [expected["line"] for expected, _ in EVENTS] == list(range(1, len(EVENTS) + 1))
    assert (len(EVENTS), len(INVALID)) == (62, 20)
    assert [len(line) for _, line in EVENTS] == [expected["bytes"] for expected, _ in EVENTS]


@pytest.mark.parametrize(("expected", "line"), EVENTS, ids=[expected["name"] for expected, _ in EVENTS])
def test_head(core: Any, expected: dict[str, Any], line: bytes) -> None:
    head = dict(expected["route"])
    found = core.peek_frame(line)
    assert type(found).__name__.lower() == head.pop("frame")
    read = {name: getattr(found, name) for name in head}
    if read.get("echo") is not None:
        read["echo"] = read["echo"].decode()
    assert read == head
    assert found.raw is line
    assert found.data == json.loads(line)


@pytest.mark.parametrize("entry", INVALID, ids=[entry["name"] for entry in INVALID])
def test_verdict(core: Any, entry: dict[str, Any]) -> None:
    if entry["error"] is None:
        assert core.peek_frame(entry["frame"]).data == json.loads(entry["frame"])
        return
    for function in (core.peek, core.peek_frame, core.peek_request):
        with pytest.raises(BadEvent) as caught:
            function(entry["frame"])
        assert {"offset": caught.value.offset, "reason": caught.value.reason} == entry["error"]
