"""What it costs to learn from received bytes where an event goes: peek beside JSON decoders.

Run with ``pytest bench/test_peek.py``; one group per size, sorted by time. msgspec's Struct does
not check UTF-8, all others do. Every payload is an object of its own, so that no reader meets
bytes it has just seen, and every reader must find the ids that ``json.loads`` finds.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
IDS = ("self_id", "group_id", "user_id", "message_id", "time")
Ids = tuple[Any, ...]


class Head(msgspec.Struct):
    """What msgspec is asked to read: the same fields as peek."""

    post_type: str | None = None
    message_type: str | None = None
    sub_type: str | None = None
    self_id: int | None = None
    group_id: int | None = None
    user_id: int | None = None
    message_id: int | None = None
    time: int | None = None


def ids_of_object(found: Any) -> Ids:
    return tuple(getattr(found, name) for name in IDS)


def ids_of_dict(found: dict[str, Any]) -> Ids:
    return tuple(found[name] for name in IDS)


READERS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], Ids]]] = {
    "peek, plain": (importlib.import_module("napcore._dispatch_py").peek, ids_of_object),
    "orjson.loads": (orjson.loads, ids_of_dict),
    "json.loads": (json.loads, ids_of_dict),
    "msgspec Struct": (msgspec.json.Decoder(Head).decode, ids_of_object),
}
if os.environ.get("NAPCORE_PURE") != "1":
    READERS["peek, compiled"] = (importlib.import_module("napcore._dispatch").peek, ids_of_object)


def corpus_event(name: str) -> dict[str, Any]:
    for expected, line in zip(
        (CORPUS / "expected.jsonl").read_bytes().split(b"\n"),
        (CORPUS / "events.jsonl").read_bytes().split(b"\n"),
        strict=True,
    ):
        if json.loads(expected)["name"] == name:
            event: dict[str, Any] = json.loads(line)
            return event
    raise LookupError(name)


def message(text: str) -> dict[str, Any]:
    """A group message as NapCat reports it; the text is in it twice."""
    return {
        **corpus_event("group_text"),
        "raw_message": text,
        "message": [{"type": "text", "data": {"text": text}}],
    }


SENTENCE = "see https://example.org/a?b=c&d=e for the list of today's events; "
CHINESE = "魔方我拿去弄研究了，今天的活动从晚上八点开始，大家不要忘记了。"
EVENTS = {
    "600 B": message("the quick brown fox jumps over the lazy dog, twice a day or so"),
    "950 B": message(SENTENCE * 3 + "that is all of it, bye; one more is to follow"),
    "950 B, Chinese": message(CHINESE * 2 + "抽卡一百次，求欧气～ 🎲✨，大家晚安"),
    "2 KB": corpus_event("group_mixed_array"),
    "170 KB": corpus_event("large_forward"),
}


def payloads(event: dict[str, Any]) -> list[bytes]:
    size = len(orjson.dumps(event))
    return [orjson.dumps({**event, "message_id": 1340512200 + number}) for number in range(4 if size > 100_000 else 64)]


@pytest.mark.parametrize("size", EVENTS)
@pytest.mark.parametrize("reader", READERS)
def test_peek(benchmark: Any, reader: str, size: str) -> None:
    read, ids = READERS[reader]
    batch = payloads(EVENTS[size])
    benchmark.group = f"peek, {size}"
    benchmark.extra_info["bytes"] = len(batch[0])

    def run() -> None:
        for raw in batch:
            read(raw)

    benchmark(run)
    benchmark.extra_info["events"] = len(batch)
    for raw in batch:
        assert ids(read(raw)) == ids_of_dict(json.loads(raw))
