"""Rows: reading the head of received bytes. Only msgspec's Struct does not check UTF-8."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from bench.corpus import Events, Ids, by_size, fresh, ids_of_dict, ids_of_object
from bench.peers import Reader, readers
from bench.rounds import Case
from bench.workload import SUBJECT, Aim, Workload
from napcore import dispatch

TWIN = "plain twin"

SMALL = (Aim("orjson.loads", 5, 4), Aim("msgspec Struct", 1.5, 1.25))
LARGE = (Aim("orjson.loads", 8, 6),)
WITHOUT_SIMD = (Aim("orjson.loads", 2, 1.3),)


def simd() -> str | None:
    """Which vector instructions the compiled core uses; None when there is no such core or it does not say."""
    if not dispatch.COMPILED:
        return None
    found: str | None = getattr(importlib.import_module("napcore._dispatch"), "SIMD", None)
    return found


def aims_for(size: str, vectors: str | None) -> tuple[Aim, ...]:
    if size == "512 B":
        return ()
    if vectors == "off":
        return WITHOUT_SIMD
    return LARGE if size.startswith("170 KB") else SMALL


def workloads(seed: int) -> Iterator[Workload]:
    section = "peek without SIMD" if simd() == "off" else "peek"
    for size, events in by_size(seed).items():
        cases = [
            reading(name, reader, events, validates=name in (SUBJECT, TWIN)) for name, reader in competitors().items()
        ]
        cases += [floor("memchr (floor)", events, _search), floor("memcpy (floor)", events, _copy)]
        note = f"{events.size:.0f} B on average, {len(events.raws)} different events"
        yield Workload(section, size, len(events.raws), cases, aims=aims_for(size, simd()), note=note)


def competitors() -> dict[str, Reader]:
    found: dict[str, Reader] = {SUBJECT: (dispatch.peek, ids_of_object), **readers()}
    if dispatch.COMPILED and simd() != "off":
        found[TWIN] = (importlib.import_module("napcore._dispatch_py").peek, ids_of_object)
    return found


def reading(name: str, reader: Reader, events: Events, *, validates: bool = False) -> Case:
    """``read`` on bytes that were just made; one that claims to validate is tried with what it must refuse."""
    read, ids = reader
    seen: list[bytes] = []

    def run(raws: list[bytes]) -> None:
        for raw in raws:
            read(raw)

    def check(raws: list[bytes], _: object) -> None:
        assert len({id(raw) for raw in raws}) == len(set(raws)) == len(raws), "payloads are shared"
        assert not any(new is old for new, old in zip(raws, seen, strict=False)), "a payload is used twice"
        if not seen:
            _check_ids(read, ids, raws)
            if validates:
                _check_refusals(read, raws[0])
        seen[:] = raws

    return Case(name, lambda: fresh(events.raws), run, check)


def _check_ids(read: Callable[[bytes], Any], ids: Callable[[Any], Ids], raws: list[bytes]) -> None:
    for raw in raws:
        found, expected = ids(read(raw)), ids_of_dict(json.loads(raw))
        assert found == expected, f"found {found}, json.loads finds {expected}"


def _check_refusals(read: Callable[[bytes], Any], raw: bytes) -> None:
    place = raw.index(b'"raw_message":"') + 15 if b'"raw_message":"' in raw else 2
    for what, bad in (
        ("invalid UTF-8", raw[:place] + b"\xe4\xbd" + raw[place:]),
        ("a control character", raw[:place] + b"\x01" + raw[place:]),
        ("a document without its end", raw[:-1]),
        ("something behind the document", raw + b"]"),
    ):
        try:
            read(bad)
        except ValueError:
            continue
        raise AssertionError(f"{what} is accepted")


def floor(name: str, events: Events, work: Callable[[list[bytes]], None]) -> Case:
    """Touches every byte once and learns nothing: nobody can be faster."""
    return Case(name, lambda: fresh(events.raws), work, lambda _inputs, _result: None)


def _search(raws: list[bytes]) -> None:
    for raw in raws:
        raw.find(b"\0")


def _copy(raws: list[bytes]) -> None:
    for raw in raws:
        bytearray(raw)
