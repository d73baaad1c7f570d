"""Outbox, Router and fan_out of the compiled module against the plain twin. The input is a program of calls."""

from __future__ import annotations

import math
import os
import sys
from typing import Any, get_args

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]
import orjson

from napcore import _dispatch, _dispatch_py
from napcore.types import DROP_REASONS, Delivery, Form, Overflow

CORES = (_dispatch, _dispatch_py)
COUNTERS = (
    *("close_code", "received", "confirmed", "unconfirmed", "queued", "queued_bytes", "max_queued", "late"),
    *(
        "caught_up",
        "holding",
        "control_queued",
        "dropped",
        "in_flight",
        "in_flight_bytes",
        "in_flight_sequence",
        "max_frame",
    ),
)
FORMS = get_args(Form)
OVERFLOWS = get_args(Overflow)
DELIVERIES = get_args(Delivery)
KINDS = (
    "*",
    "message",
    "message.*",
    "message.group.normal",
    "notice.notify",
    "notice.*",
    "request.group",
    "meta_event",
)
IDS = (1, 2, 3, -1, 10001, (1 << 63) - 1, -(1 << 63))
EVENTS = [
    orjson.dumps(fields)
    for fields in (
        {"post_type": "message", "message_type": "group", "sub_type": "normal", "group_id": 1, "user_id": 2},
        {
            "post_type": "message",
            "message_type": "group",
            "self_id": 10001,
            "group_id": 2,
            "user_id": 3,
            "x": "y" * 200,
        },
        {"post_type": "message", "message_type": "private", "sub_type": "group", "group_id": 3, "user_id": 1},
        {"post_type": "message", "message_type": "private", "user_id": -1},
        {"post_type": "message_sent", "message_type": "group", "self_id": 1, "group_id": 1, "user_id": 1},
        {"post_type": "notice", "notice_type": "notify", "sub_type": "poke", "group_id": 2, "user_id": 2},
        {"post_type": "notice", "notice_type": "group_increase", "self_id": 3, "group_id": 1, "user_id": 3},
        {"post_type": "notice", "notice_type": "bot_offline", "self_id": 2},
        {"post_type": "request", "request_type": "group", "sub_type": "invite", "group_id": 1, "user_id": 10001},
        {"post_type": "request", "request_type": "friend", "user_id": 1},
        {"post_type": "meta_event", "meta_event_type": "heartbeat", "self_id": 1},
        {"post_type": None, "group_id": 1},
        {"post_type": "guild", "guild_type": "", "sub_type": ".", "user_id": "2"},
    )
]
PEEKED = [[core.peek(raw) for raw in EVENTS] for core in CORES]
MOST_EVENTS = (math.inf, 0, 1, 2.5)
MOST_OUTBOXES = 6
MOST_ROWS = 140
"""More than two words of rows."""


class Program:
    """The input as a source of small choices; zeros once it has ended."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def number(self, below: int) -> int:
        """From 0 up to ``below``, which is at most 256."""
        if self.at >= len(self.data):
            return 0
        self.at += 1
        return self.data[self.at - 1] % below

    def choice(self, values: Any) -> Any:
        return values[self.number(len(values))]

    def some(self, values: Any) -> list[Any]:
        """Those values whose bit is set."""
        bits = self.number(256)
        return [value for place, value in enumerate(values) if bits >> place & 1]


def one_key(size: int) -> bytes:
    """In the place of ``os.urandom``: both cores mask with the same key, so that halves of frames can be compared."""
    return (b"wxyz" * (size // 4 + 1))[:size]


os.urandom = one_key


def plain_payload(payload: Any) -> Any:
    """A payload as a value that both cores have."""
    return payload if isinstance(payload, bytes) else ("event", payload.raw)


class Pair:
    """The same calls to both cores."""

    def __init__(self, memory_limit: float) -> None:
        self.routers = [core.Router(memory_limit=memory_limit) for core in CORES]
        self.outboxes: list[list[Any]] = []
        self.rows: list[int] = []
        self.now = 1.0
        self.sequence = 0

    def both(self, objects: Any, name: str, *arguments: Any, **options: Any) -> Any:
        """The one result or error of a method of both."""
        results = []
        for core, subject in enumerate(objects):
            own = [argument[core] if isinstance(argument, Each) else argument for argument in arguments]
            try:
                result = getattr(subject, name)(*own, **options)
                results.append([*map(plain_payload, result)] if name in ("gather", "take") else result)
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                results.append((type(error), str(error)))
        assert results[0] == results[1], f"{name}{arguments}{options}: {results[0]!r} != {results[1]!r}"
        return results[0]

    def check(self, outboxes: list[list[Any]]) -> None:
        """Counters of these outboxes agree and their ledgers close."""
        for pair in outboxes:
            seen = [{name: getattr(outbox, name) for name in COUNTERS} for outbox in pair]
            assert seen[0] == seen[1], f"{seen[0]} != {seen[1]}"
            assert len(pair[0]) == len(pair[1])
            found = seen[0]
            settled = found["confirmed"] + found["unconfirmed"] + found["queued"] + sum(found["dropped"].values())
            assert found["received"] == settled, "the ledger does not close"
        assert self.routers[0].sequence == self.routers[1].sequence
        assert len(self.routers[0]) == len(self.routers[1]) == len(self.rows)
        assert self.routers[0].memory == self.routers[1].memory


class Each(tuple[Any, ...]):
    """An argument that each core has its own of."""

    __slots__ = ()


def rules(program: Program) -> dict[str, Any]:
    """Options of ``Router.add``; a few choices, the rest left out."""
    options: dict[str, Any] = {}
    for name in ("groups", "exclude_groups", "users", "exclude_users", "self_ids"):
        if program.number(4) == 0:
            options[name] = program.some(IDS)
    for name in ("kinds", "exclude_kinds"):
        if program.number(4) == 0:
            options[name] = program.some(KINDS)
    if program.number(4) == 0:
        options["private"] = program.number(2) == 1
    if program.number(4) == 0:
        options["self_messages"] = program.number(2) == 1
    if program.number(4) == 0:
        options["shard"] = program.number(5), program.number(5)
    return options


def add_outbox(pair: Pair, program: Program) -> None:
    """One more outbox on both sides, as small as outboxes may be."""
    options = {
        "max_events": program.choice((1, 2, 3, 7, 17, math.inf)),
        "max_bytes": program.choice((1, 100, 400, 2000, math.inf)),
        "max_frame": program.choice((20, 120, 1000)),
        "overflow": program.choice(OVERFLOWS),
        "delivery": program.choice(DELIVERIES),
        "catch_up_rate": program.choice((None, math.inf, 1, 0.25)),
        "message_ttl": 5.0,
        "notice_ttl": 20.0,
        "request_ttl": math.inf,
    }
    owner = len(pair.outboxes)
    pair.outboxes.append([core.Outbox(owner, **options) for core in CORES])


def fan_out(pair: Pair, program: Program) -> None:
    """A batch, perhaps with one event several times."""
    chosen = [program.number(len(EVENTS)) for _ in range(program.number(5))]
    account, invalid = program.choice((0, 1, 3, 10001)), program.number(3)
    ages = program.choice((None, (0, 6, 0, 21), (6, 6, 4, 0)))
    born = None if ages is None else [pair.now - age for age in ages[: len(chosen)]]
    reports = [
        core.fan_out(router, [events[choice] for choice in chosen], pair.now, account, invalid, born)
        for core, router, events in zip(CORES, pair.routers, PEEKED, strict=True)
    ]
    fields = ("matched", "queued", "dropped", "invalid", "ready")
    compiled, plain = ({name: getattr(report, name) for name in fields} for report in reports)
    assert compiled == plain, f"fan_out: {compiled} != {plain}"
    pair.sequence = pair.routers[0].sequence


def change_routes(pair: Pair, program: Program, outboxes: Any) -> None:
    """Add, replace or remove a row, also one that is not there, or ask for what matches."""
    what = program.number(5)
    row = program.choice(pair.rows) if pair.rows and program.number(8) else 255
    if what < 2 and len(pair.rows) < MOST_ROWS:
        options = rules(program)
        times = 30 if program.number(16) == 15 else 1
        for _ in range(min(times, MOST_ROWS - len(pair.rows))):
            keep = rules(program) if program.number(4) == 3 else None
            row = pair.both(pair.routers, "add", Each(outboxes), program.choice(FORMS), keep=keep, **options)
            if isinstance(row, int):  # not an error
                pair.rows.append(row)
    elif what == 2:
        pair.both(pair.routers, "replace", row, **rules(program))
    elif what == 3:
        pair.both(pair.routers, "remove", row)
        if row in pair.rows:
            pair.rows.remove(row)
    else:
        chosen = program.number(len(EVENTS))
        event = Each(events[chosen] for events in PEEKED)
        pair.both(pair.routers, "match", event, program.choice((0, 1, 3)))


def use_outbox(pair: Pair, program: Program, outboxes: Any, what: int) -> None:
    """One call of an outbox."""
    if what == 0:
        pair.sequence += program.number(3)
        if program.number(8) == 0:
            place = program.number(len(EVENTS))
            argument: Any = Each(events[place] for events in PEEKED)
        else:
            argument = bytes([program.number(128)]) * program.number(256)
        kept = program.number(2) == 1
        born = pair.now - program.choice((0, 0, 3, 6, 21))
        pair.both(outboxes, "offer", argument, program.number(5), pair.sequence, pair.now, kept=kept, born=born)
    elif what == 1:
        size = 1 << 23 if program.number(64) == 63 else program.number(256)
        latest = program.number(4) == 3
        pair.both(outboxes, "offer_control", bytes(bytearray(b"c" * size)), latest=latest)
    elif what == 2:
        pair.both(outboxes, "gather", pair.now, program.choice((0, 10, 100, 500, 65536)), program.choice(MOST_EVENTS))
    elif what == 3:
        if program.number(2):
            pair.both(outboxes, "wrote")
        else:
            pair.both(outboxes, "sent", program.number(256) * program.choice((1, 1, 40)))
    elif what == 4:
        pair.both(outboxes, "confirm", pair.sequence - program.number(8) + 1)
    elif what == 5:
        pair.both(outboxes, "take", pair.now, program.choice((0, 1, 3, -1)))
    elif what == 6:
        pair.both(outboxes, "lose_link", program.number(3) == 2)
    elif program.number(2):
        presence = program.choice(("hold", "end_hold", "resume", "resume"))
        pair.both(outboxes, presence, *([program.number(2) == 1] if presence == "end_hold" else []))
        pair.both(outboxes, program.choice(("tick", "pause")), pair.now)
    else:
        pair.both(outboxes, "clear", program.choice((*DROP_REASONS, "?")))


def try_one(data: bytes) -> None:
    """One program."""
    program = Program(data)
    pair = Pair(program.choice((math.inf, 300, 1000, 5000)))
    add_outbox(pair, program)
    while program:
        what = program.number(16)
        outboxes = program.choice(pair.outboxes)
        if what < 8:
            use_outbox(pair, program, outboxes, what)
            pair.check([outboxes])
        elif what < 11:
            fan_out(pair, program)
            pair.check(pair.outboxes)
        elif what < 14:
            change_routes(pair, program, outboxes)
        elif what == 14:
            pair.now += program.choice((0.0, 1.0, 4.0, 5.0, 20.0))
        elif len(pair.outboxes) < MOST_OUTBOXES:
            add_outbox(pair, program)
    pair.check(pair.outboxes)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
