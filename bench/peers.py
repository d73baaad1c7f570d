"""The competitors, each used in the way that is best for it."""

from __future__ import annotations

import importlib
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from bench.corpus import Ids, ids_of_dict, ids_of_object

Reader = tuple[Callable[[bytes], Any], Callable[[Any], Ids]]


class Head(msgspec.Struct, gc=False):
    """What msgspec is asked to read: what a router needs, and the ids."""

    post_type: str | None = None
    message_type: str | None = None
    self_id: int | None = None
    group_id: int | None = None
    user_id: int | None = None
    message_id: int | None = None
    time: int | None = None


decode_head = msgspec.json.Decoder(Head).decode
missing: list[str] = []
"""Lines about peers that are not installed."""


def readers() -> dict[str, Reader]:
    """Ways to learn from bytes where an event goes, and how to get the ids out of their results."""
    found: dict[str, Reader] = {
        "orjson.loads": (orjson.loads, ids_of_dict),
        "msgspec Struct": (decode_head, ids_of_object),
        "json.loads": (json.loads, ids_of_dict),
    }
    if (simdjson := optional("simdjson", "pysimdjson")) is not None:
        parse = simdjson.Parser().parse

        def read(raw: bytes) -> tuple[Any, ...]:
            get = parse(raw).get
            get("post_type")
            get("message_type")
            return get("self_id"), get("group_id"), get("user_id"), get("message_id"), get("time")

        found["pysimdjson"] = (read, lambda ids: tuple(ids))
    return found


def pyahocorasick(words: Sequence[str]) -> Callable[[str], list[int]] | None:
    """Which of the words a text has, by their places in the list; None without the package."""
    if (module := optional("ahocorasick", "pyahocorasick")) is None:
        return None
    automaton = module.Automaton()
    for place, word in enumerate(words):
        automaton.add_word(word, place)
    automaton.make_automaton()
    search = automaton.iter

    def match(text: str) -> list[int]:
        return sorted({place for _, place in search(text)})

    return match


def optional(module: str, package: str) -> Any:
    """The module; None, with a line in ``missing``, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        line = f"skipped: {package} is not installed"
        if line not in missing:
            missing.append(line)
        return None


def server_frame(raw: bytes) -> bytes:
    """One unmasked text frame, in plain Python."""
    size = len(raw)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + raw
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + raw
    return b"\x81\x7f" + size.to_bytes(8, "big") + raw


def client_frame(raw: bytes, key: bytes) -> bytes:
    """One masked text frame, in plain Python: the fastest way is one exclusive or of two big integers."""
    size = len(raw)
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "little")
    masked = (int.from_bytes(raw, "little") ^ mask).to_bytes(size, "little")
    if size < 126:
        return b"\x81" + (0x80 | size).to_bytes(1, "big") + key + masked
    if size < 65536:
        return b"\x81\xfe" + size.to_bytes(2, "big") + key + masked
    return b"\x81\xff" + size.to_bytes(8, "big") + key + masked


class Inbox(deque[bytes]):
    """What waits for one client, bounded as an outbox is."""

    def __init__(self) -> None:
        super().__init__(maxlen=4096)


def index_of(sets: Sequence[frozenset[int]], values: Sequence[Any]) -> dict[int, list[Any]]:
    """Group id -> the values of all sets it is in."""
    index: dict[int, list[Any]] = {}
    for groups, value in zip(sets, values, strict=True):
        for group in groups:
            index.setdefault(group, []).append(value)
    return index


def index_and_shared_frame(
    raws: Sequence[bytes], index: Mapping[int, Sequence[Callable[[bytes], None]]], everyone: Sequence[Any]
) -> int:
    """The best design in pure Python: typed decode, group id -> appenders, one frame for all."""
    matched = 0
    for raw in raws:
        group = decode_head(raw).group_id
        appenders = everyone if group is None else index.get(group)
        if appenders:
            frame = server_frame(raw)
            for append in appenders:
                append(frame)
            matched += len(appenders)
    return matched


def sets_and_shared_frame(raws: Sequence[bytes], clients: Sequence[tuple[frozenset[int], Inbox]]) -> int:
    """Full decode, every client asked, one frame for all."""
    matched = 0
    for raw in raws:
        group = orjson.loads(raw).get("group_id")
        frame = None
        for groups, inbox in clients:
            if group is None or group in groups:
                if frame is None:
                    frame = server_frame(raw)
                inbox.append(frame)
                matched += 1
    return matched


def sets_and_dumps(raws: Sequence[bytes], clients: Sequence[tuple[frozenset[int], Inbox]]) -> int:
    """Full decode, every client asked, encoded again for each: what frameworks' forwarders do."""
    matched = 0
    for raw in raws:
        event = orjson.loads(raw)
        group = event.get("group_id")
        for groups, inbox in clients:
            if group is None or group in groups:
                inbox.append(server_frame(orjson.dumps(event)))
                matched += 1
    return matched
