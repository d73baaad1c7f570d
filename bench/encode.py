"""Rows: what an event looks like on the wire."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import orjson
from websockets.frames import Frame, Opcode

from bench.corpus import Events, by_size, fresh, ids_of_dict, ids_of_object
from bench.peers import client_frame, server_frame
from bench.rounds import Case
from bench.workload import SUBJECT, Workload
from napcore import dispatch

apply_mask: Callable[[bytes, bytes], bytes] = importlib.import_module("websockets.frames").apply_mask
MASK_IN_C = type(apply_mask).__name__ == "builtin_function_or_method"

Keyed = tuple[bytes, bytes]


def workloads(seed: int) -> Iterator[Workload]:
    sizes = by_size(seed)
    for size in ("950 B mix", "170 KB forward"):
        events = sizes[size]
        count = len(events.raws)
        yield Workload("encode", f"frame, {size}", count, frames(events))
        yield Workload("encode", f"masked frame, {size}", count, masked_frames(events), note=_mask_note())
        yield Workload("encode", f"dict to event, {size}", count, dicts(events), note="napcore's also reads the head")


def _mask_note() -> str:
    return f"Frame.serialize draws its own key; websockets masks in {'C' if MASK_IN_C else 'Python: no C mask here'}"


def frames(events: Events) -> list[Case]:
    expected = [Frame(Opcode.TEXT, raw).serialize(mask=False) for raw in events.raws]

    def case(name: str, make: Callable[[bytes], bytes]) -> Case:
        def run(raws: list[bytes]) -> list[bytes]:
            return [make(raw) for raw in raws]

        def check(_: object, made: list[bytes]) -> None:
            assert made == expected, "not the frames that websockets makes"

        return Case(name, lambda: fresh(events.raws), run, check)

    return [
        case(SUBJECT, dispatch.frame),
        case("websockets Frame.serialize", lambda raw: Frame(Opcode.TEXT, raw).serialize(mask=False)),
        case("plain Python", server_frame),
    ]


def masked_frames(events: Events) -> list[Case]:
    def case(name: str, make: Callable[[bytes, bytes], bytes], *, given: bool = True) -> Case:
        def prepare() -> list[Keyed]:
            return [(raw, os.urandom(4)) for raw in fresh(events.raws)]

        def run(inputs: list[Keyed]) -> list[bytes]:
            return [make(raw, key) for raw, key in inputs]

        def check(inputs: list[Keyed], made: list[bytes]) -> None:
            _check_masked(inputs, made, given)

        return Case(name, prepare, run, check)

    def by_speedups(raw: bytes, key: bytes) -> bytes:
        return server_head(len(raw)) + key + apply_mask(raw, key)

    return [
        case(SUBJECT, dispatch.masked_frame),
        case(
            "websockets Frame.serialize",
            lambda raw, _: Frame(Opcode.TEXT, raw).serialize(mask=True),
            given=False,
        ),
        case("websockets apply_mask", by_speedups),
        case("plain Python", client_frame),
    ]


def server_head(size: int) -> bytes:
    """The head of a masked text frame up to the key."""
    if size < 126:
        return b"\x81" + (0x80 | size).to_bytes(1, "big")
    if size < 65536:
        return b"\x81\xfe" + size.to_bytes(2, "big")
    return b"\x81\xff" + size.to_bytes(8, "big")


def _check_masked(inputs: Sequence[Keyed], made: Sequence[bytes], given: bool) -> None:
    keys = set()
    for (raw, key), frame in zip(inputs, made, strict=True):
        head = server_head(len(raw))
        used = frame[len(head) : len(head) + 4]
        keys.add(used)
        assert used == key or not given, "another key"
        assert frame == head + used + apply_mask(raw, used), "not a masked frame of the event"
    # Random keys of 4 bytes: two alike in a hundred happens once in a million rounds, three never.
    assert len(keys) >= len(inputs) - 1, "keys are used again"


def dicts(events: Events) -> list[Case]:
    def case(name: str, make: Callable[[dict[str, Any]], Any], raw_of: Callable[[Any], bytes] = bytes) -> Case:
        def prepare() -> list[dict[str, Any]]:
            return [json.loads(raw) for raw in events.raws]

        def run(found: list[dict[str, Any]]) -> list[Any]:
            return [make(event) for event in found]

        def check(found: list[dict[str, Any]], made: list[Any]) -> None:
            assert [json.loads(raw_of(one)) for one in made] == found, "not the JSON of the dict"
            if name == SUBJECT:
                assert [ids_of_object(one) for one in made] == [ids_of_dict(event) for event in found], "other ids"

        return Case(name, prepare, run, check)

    return [
        case(SUBJECT, dispatch.Event.from_dict, lambda event: bytes(event.raw)),
        case("orjson.dumps", orjson.dumps),
        case("msgspec encode", msgspec.json.Encoder().encode),
        case("json.dumps", lambda event: json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()),
    ]
