"""Rows: messages as CQ strings and as segments, alone and in whole events."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import orjson

from bench.corpus import Events, by_size, fresh
from bench.peers import optional
from bench.rounds import Case
from bench.workload import SUBJECT, Workload
from napcore import dispatch

Segments = list[dict[str, Any]]
Check = Callable[[list[Any]], None]

NOTE = "nonebot and aiocqhttp make objects of a class of theirs, napcore dicts"
PEERS = {
    "nonebot Message": ("nonebot.adapters.onebot.v11", "nonebot-adapter-onebot"),
    "aiocqhttp Message": ("aiocqhttp", "aiocqhttp"),
}


def workloads(seed: int) -> Iterator[Workload]:
    sizes = by_size(seed)
    messages = [event["message"] for event in map(orjson.loads, sizes["950 B mix"].raws) if "message" in event]
    # The frameworks write an array or object as Python prints it, which nobody can read.
    messages = [message for message in messages if not any(map(has_nested, message))]
    count = len(messages)
    yield Workload("message", "CQ string to segments", count, parsed(messages), note=NOTE)
    yield Workload("message", "segments to CQ string", count, written(messages), note=NOTE)
    yield Workload("message", "plain text of segments", count, texts(messages, strings=False), note=NOTE)
    yield Workload("message", "plain text of a CQ string", count, texts(messages, strings=True))
    for size in ("512 B", "950 B mix", "170 KB forward"):
        events = Events([raw for raw in sizes[size].raws if b'"message_format"' in raw], [])
        for to in ("string", "array"):
            yield Workload("message", f"event to {to}, {size}", len(events.raws), converted(events, to))


def has_nested(segment: dict[str, Any]) -> bool:
    return any(isinstance(value, (dict, list)) for value in segment["data"].values())


class Framework(NamedTuple):
    """A framework's way to read a CQ string, and to make a message of segments."""

    read: Callable[[str], Any]
    make: Callable[[Segments], Any]


@cache
def frameworks() -> dict[str, Framework]:
    """Those that are installed."""
    found: dict[str, Framework] = {}
    for name, (module, package) in PEERS.items():
        if optional(module.partition(".")[0], package) is not None:
            loaded = importlib.import_module(module)
            found[name] = Framework(loaded.Message, _maker(loaded.Message, loaded.MessageSegment))
    return found


def _maker(message: Any, segment: Any) -> Callable[[Segments], Any]:
    def make(segments: Segments) -> Any:
        # aiocqhttp's segment is a dict itself.
        made = [segment(one) if issubclass(segment, dict) else segment(one["type"], one["data"]) for one in segments]
        return message(made)

    return make


def written_by_hand(message: Segments) -> str:
    """The CQ string, by the letter of the format and nothing of napcore's."""
    parts = []
    for segment in message:
        values = {key: escape(str(value)).replace(",", "&#44;") for key, value in segment["data"].items()}
        code = ",".join([segment["type"], *(f"{key}={value}" for key, value in values.items())])
        parts.append(escape(segment["data"]["text"]) if segment["type"] == "text" else f"[CQ:{code}]")
    return "".join(parts)


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("[", "&#91;").replace("]", "&#93;")


def plain(message: Segments) -> str:
    return "".join(segment["data"]["text"] for segment in message if segment["type"] == "text")


def as_pairs(message: Any) -> list[tuple[str, dict[str, str]]]:
    """The segments of any of the classes, their values as strings."""
    pairs = [
        (one["type"], one["data"]) if type(one) is dict else (str(one.type), dict(one.data))  # aiocqhttp's is a dict
        for one in message
    ]
    return [(name, {key: str(value) for key, value in data.items()}) for name, data in pairs]


def case(name: str, make: Callable[[Any], Any], inputs: Callable[[], list[Any]], check: Check) -> Case:
    """One competitor, whose results are checked together."""

    def run(given: list[Any]) -> list[Any]:
        return [make(one) for one in given]

    return Case(name, inputs, run, lambda _, made: check(made))


def copy_of(text: str) -> str:
    """The same text in an object that nobody has seen."""
    return text.encode().decode()


def parsed(messages: Sequence[Segments]) -> list[Case]:
    strings = list(map(written_by_hand, messages))
    expected = list(map(as_pairs, messages))

    def inputs() -> list[Any]:
        return list(map(copy_of, strings))

    def check(made: list[Any]) -> None:
        assert list(map(as_pairs, made)) == expected, "not the segments that were written"

    peers = [case(name, framework.read, inputs, check) for name, framework in frameworks().items()]
    return [case(SUBJECT, dispatch.parse_message, inputs, check), *peers]


def written(messages: Sequence[Segments]) -> list[Case]:
    expected = list(map(written_by_hand, messages))

    def copies() -> list[Any]:
        return list(orjson.loads(orjson.dumps(messages)))

    def made_by(framework: Framework) -> Callable[[], list[Any]]:
        return lambda: list(map(framework.make, copies()))

    def check(made: list[Any]) -> None:
        assert made == expected, "not the CQ strings"

    peers = [case(name, str, made_by(framework), check) for name, framework in frameworks().items()]
    return [case(SUBJECT, dispatch.format_message, copies, check), *peers]


def texts(messages: Sequence[Segments], *, strings: bool) -> list[Case]:
    expected = list(map(plain, messages))

    def inputs() -> list[Any]:
        return list(map(written_by_hand, messages)) if strings else list(orjson.loads(orjson.dumps(messages)))

    def objects() -> list[Any]:
        return inputs() if strings else list(map(nonebot.make, inputs()))

    def of_nonebot(one: Any) -> str:
        return str((nonebot.read(one) if strings else one).extract_plain_text())

    def check(made: list[Any]) -> None:
        assert made == expected, "not the texts"

    found = [case(SUBJECT, dispatch.plain_text, inputs, check)]
    if "nonebot Message" in frameworks():  # aiocqhttp puts spaces between texts
        nonebot = frameworks()["nonebot Message"]
        found.append(case("nonebot Message", of_nonebot, objects, check))
    return found


def converted(events: Events, to: Literal["array", "string"]) -> list[Case]:
    raws = events.raws
    if to == "array":
        raws = [orjson.dumps(in_format(orjson.loads(raw), "string")) for raw in raws]
    expected = [orjson.dumps(in_format(orjson.loads(raw), to)) for raw in raws]

    def peeked() -> list[Any]:
        return list(map(dispatch.peek, fresh(raws)))

    def bytes_() -> list[Any]:
        return fresh(raws)

    def by_napcore(event: Any) -> bytes:
        return bytes(dispatch.convert_event(event, to).raw)

    def by_orjson(raw: bytes) -> bytes:
        return orjson.dumps(in_format(orjson.loads(raw), to))

    def by_json(raw: bytes) -> bytes:
        return json.dumps(in_format(json.loads(raw), to), ensure_ascii=False, separators=(",", ":")).encode()

    def check(made: list[Any]) -> None:
        assert made == expected, "not the event in the other format"

    return [
        case(SUBJECT, by_napcore, peeked, check),
        case("loads, convert, dumps", by_orjson, bytes_, check),
        case("json, convert, json", by_json, bytes_, check),
    ]


def in_format(event: dict[str, Any], to: str) -> dict[str, Any]:
    """The decoded event in the other format; the conversion alone is napcore's."""
    if to == "string":
        event["message"] = event["raw_message"] = dispatch.format_message(event["message"])
    else:
        event["message"] = dispatch.parse_message(event["message"])
    event["message_format"] = to
    return event
