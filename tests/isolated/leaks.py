"""Drive events through the whole dispatch core and print, as JSON, how much memory that left behind.

``python leaks.py [--events 200000] [--core _dispatch]``; 10,000,000 events is the long run. A tenth
of the events warms up (free lists, the allocator's arenas, the table of tracemalloc); what the rest
adds must be bounded, whatever their number.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import itertools
import json
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any, get_args

import orjson

from napcore.errors import BadEvent
from napcore.types import Form, MessageFormat

BATCH = 16
FORMS = get_args(Form)
OVERFLOWS = ("drop_oldest", "drop_newest", "disconnect")
MESSAGE_FORMATS = (None, *get_args(MessageFormat))
TEXT = "\u6c49\u5b57 text \U0001f600" * 8


def frames() -> list[bytes]:
    """Events of every class and shape, responses, requests, and what is refused."""
    fields: list[dict[str, Any]] = [
        {"post_type": "message", "message_type": "group", "sub_type": "normal", "group_id": 1, "user_id": 2, "x": TEXT},
        {"post_type": "message", "message_type": "private", "user_id": "77", "self_id": 10001, "message_id": -5},
        {"post_type": "notice", "notice_type": "notify", "sub_type": "poke", "group_id": 3, "user_id": 2},
        {"post_type": "request", "request_type": "group", "sub_type": "invite", "group_id": 2, "user_id": 2},
        {"post_type": "meta_event", "meta_event_type": "heartbeat", "self_id": 1 << 62},
        {"post_type": "guild", "guild_type": TEXT},
        {
            "post_type": "message",
            "message": [{"type": "at", "data": {"qq": 1}}, {"type": "text", "data": {"text": "&"}}],
        },
        {"post_type": "message", "message": "[CQ:at,qq=1]&amp;[CQ:", "raw_message": "x", "message_format": "string"},
        {"post_type": "message", "message": [{"type": "no name"}]},
        {"status": "ok", "retcode": 0, "stream": "s", "echo": {"n": [1, TEXT]}},
        {"action": "send_msg", "params": {"group_id": "1", "message_type": "group"}, "echo": TEXT},
    ]
    # With that many members it is the twin that converts it.
    odd = {"post_type": "message", "message": [{"type": "a", "data": dict.fromkeys(map(str, range(33)))}]}
    refused = [b"", b"[]", b'{"a":\xff}', b'{"post_type":"' + b"x" * 100, b"\xef\xbb\xbf{}", b'{"a":' * 600]
    return [orjson.dumps(one) for one in (*fields * 3, odd)] + [
        b'{"post_type":"\\u006eotice","\\ud83d":"\\udc00"}',
        *refused,
    ]


class Load:
    """One router, an outbox for every form and policy, and calls of every kind."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.texts = importlib.import_module(core.__name__.replace("_dispatch", "_text")).TextIndex()
        self.wire = importlib.import_module(core.__name__.replace("_dispatch", "_wire"))
        self.assembly = self.wire.Assembly(1 << 20)
        self.frames = frames()
        self.router = core.Router()
        self.outboxes = [
            (
                form,
                core.Outbox(form, max_events=24, max_bytes=8000, max_frame=200, overflow=overflow, message_ttl=1.5),
            )
            for form in FORMS
            for overflow in OVERFLOWS
        ]
        for place, (form, outbox) in enumerate(self.outboxes):
            self.router.add(outbox, form, message_format=MESSAGE_FORMATS[place % 3], exclude_groups=[9])
        self.router.add(self.outboxes[0][1], text={"keywords": [TEXT]}, condition=lambda event, account: event.text)
        self.outcomes = 0

    def read(self, raw: bytes) -> Any:
        """Peek fresh bytes in all ways and look at what came; an event, or None."""
        event = None
        for peek in (self.core.peek_frame, self.core.peek_request, self.core.peek):
            try:
                found = peek(raw)
            except BadEvent as error:
                self.outcomes += error.offset >= 0
                continue
            kind = type(found).__name__
            if kind == "Event":
                self.outcomes += hash((found.kind, found.sub_type, found.group_id, found.user_id, found.time)) != 0
                event = found
            else:
                self.outcomes += hash((found.echo, found.echo_span)) != 0
            self.outcomes += len(found.data) + len(repr(found)) > 0
        return event

    def convert(self, event: Any) -> None:
        """Its message to both formats, and read and written apart from it."""
        for message_format in MESSAGE_FORMATS[1:]:
            message = self.core.convert_event(event, message_format).data.get("message")
            self.outcomes += len(self.core.plain_text(message))
            if isinstance(message, str):
                message = self.core.parse_message(message)
            try:
                self.outcomes += len(self.core.format_message(message))
            except (TypeError, ValueError) as error:
                self.outcomes += len(str(error))

    def batch(self, number: int) -> None:
        """Fan a batch out, then let its links write, confirm, fall or be cleared, each in turn."""
        now = float(number)
        raws = [bytes(bytearray(self.frames[(number * BATCH + at) % len(self.frames)])) for at in range(BATCH)]
        events = [event for event in map(self.read, raws) if event is not None]
        report = self.core.fan_out(self.router, events, now, 10001, 1)
        self.outcomes += len(report.ready) + report.dropped
        for event in events[number % 16 :: 16]:
            self.convert(event)
        for place, (form, outbox) in enumerate(self.outboxes):
            self.use(form, outbox, number + place, now)
        if number % 8 == 0:
            row = self.router.add(
                self.outboxes[0][1], "masked", groups=range(number, number + 40), kinds=["message.*"], self_ids=[10001]
            )
            self.router.replace(row, users=range(number, number + 60), exclude_kinds=["notice"], private=False)
            self.router.replace(row, text={"prefix": [str(number)]}, condition=lambda event, account: 1 // 0)
            if events:
                self.outcomes += len(self.router.match(events[0]))
            self.router.remove(row)
        self.use_texts(number)
        self.receive(raws, number)

    def receive(self, raws: list[bytes], number: int) -> None:
        """Frames in pieces, whole and in fragments; some readers end in the middle, some over a fault."""
        reader = self.wire.Reader(number % 2 == 1, assembly=self.assembly, binary=number % 3 == 0)
        data = b""
        for raw in raws:
            for first, part in ((0x01, raw[:7]), (0x89, b"ping"), (0x00, raw[7:20]), (0x80, raw[20:]), (0x82, raw)):
                made = self.core.masked_frame(part, b"abcd") if number % 2 else self.core.frame(part)
                data += bytes((first,)) + made[1:]
        if number % 5 == 0:
            data += bytes((0x88, 0x80 * (number % 2))) + b"abcd" * (number % 2)
        step = (len(data), 7, 100, 1000)[number % 4]
        for start in range(0, len(data) - number % 50, step):
            self.outcomes += len(reader.feed(data[start : start + step])) + len(reader.take_pings())
        self.outcomes += reader.fault_code + reader.close_code + len(reader.fault)
        if number % 7 == 0:
            reader.close()

    def use_texts(self, number: int) -> None:
        """Rows with patterns of every kind come, change and go; some texts are longer than usual."""
        words = [f"{number % 97} {TEXT[:length]}" for length in (1, 3, 40)]
        kinds = dict.fromkeys(("commands", "prefix", "suffix", "fullmatch", "keywords"), words)
        row = self.texts.add(**kinds, command_whitespace=" \u3000", ignore_case=number % 2 == 0)
        for text in (words[2], f"  /{words[0]} x", TEXT * (number % 4)):
            self.outcomes += len(self.texts.match(text))
        self.texts.replace(row, **kinds, command_start=["", "!"])
        self.outcomes += len(self.texts.match(f"{TEXT}{words[1]}"))
        if number % 16:
            self.texts.remove(row)
        elif row > 8:
            for old in range(1, 9):
                self.texts.remove(old)
            self.texts.remove(row)

    def use(self, form: str, outbox: Any, turn: int, now: float) -> None:
        """One way to empty an outbox; one that is left alone overflows."""
        outbox.offer_control(b"c" * (turn % 50))
        what = turn % 8
        if what == 0:
            self.outcomes += outbox.lose_link()
        elif what == 1:
            self.outcomes += outbox.clear("hold")
        elif what == 2 or (form == "event" and what < 6):
            self.outcomes += len(outbox.take(now, turn % 3))
        elif what < 6:
            # Staged, and in some turns lost before it was written.
            self.outcomes += len(outbox.gather(now, 3000))
            if turn % 5 == 0:
                outbox.lose_link()
            self.outcomes += outbox.wrote() > 0
            self.outcomes += outbox.confirm(self.router.sequence - turn % 7)
        elif what == 6:
            self.outcomes += len(outbox.dropped) + len(repr(outbox))


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure() -> tuple[int, int]:
    gc.collect()
    return resident(), tracemalloc.get_traced_memory()[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--core", default="_dispatch", help="_dispatch or _dispatch_py")
    chosen = parser.parse_args()
    load = Load(importlib.import_module(f"napcore.{chosen.core}"))
    batches = itertools.count()
    tracemalloc.start()
    for number in itertools.islice(batches, chosen.events // BATCH // 10):
        load.batch(number)
    resident_before, traced_before = measure()
    for number in itertools.islice(batches, chosen.events // BATCH * 9 // 10):
        load.batch(number)
    resident_after, traced_after = measure()
    report = {
        "events": load.router.sequence,
        "frames": next(batches) * BATCH,
        "outcomes": load.outcomes,
        "resident_growth": resident_after - resident_before,
        "traced_growth": traced_after - traced_before,
        "dropped": {reason for _, outbox in load.outboxes for reason in outbox.dropped},
    }
    sys.stdout.write(json.dumps(report, default=sorted) + "\n")


if __name__ == "__main__":
    main()
