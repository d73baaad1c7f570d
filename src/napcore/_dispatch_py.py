"""Plain twin of the compiled dispatch core: what happens to one event, in readable Python.

An event arrives as bytes. ``peek`` proves that they are JSON and reads the head (``_event_py``,
``_json_py``). ``fan_out`` gives it a sequence number, asks the ``Router`` which rows want it
(``_router_py``), builds each variant that those rows need once (a message format by ``_message_py``,
a wire form by ``_frame_py``), and offers it to their ``Outbox``es (``_outbox_py``), whose owners then
write or take what waits. There is no clock, no loop and no I/O in here: the time is passed in.

These modules are the specification of ``_dispatch.pyx``, its oracle in the tests, and what runs
where nothing could be compiled.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, final

from napcore._event_py import (
    Buffer,
    Event,
    Request,
    Response,
    peek,
    peek_batch,
    peek_frame,
    peek_request,
    with_bytes,
)
from napcore._frame_py import frame, join_frame, masked_frame, sse_block
from napcore._json_py import MAX_DEPTH
from napcore._ledger_py import Parcel
from napcore._message_py import convert_bytes, format_message, parse_message, plain_text
from napcore._outbox_py import CONTROL_LIMIT, Outbox
from napcore._router_py import FORMS, MESSAGE_FORMATS, Router
from napcore.types import EventClass, Form, MessageFormat, Outcome

__all__ = (
    "CONTROL_LIMIT",
    "MAX_DEPTH",
    "SIMD",
    "Buffer",
    "Event",
    "Outbox",
    "Report",
    "Request",
    "Response",
    "Router",
    "convert_event",
    "fan_out",
    "format_message",
    "frame",
    "join_frame",
    "masked_frame",
    "parse_message",
    "peek",
    "peek_batch",
    "peek_frame",
    "peek_request",
    "plain_text",
    "sse_block",
)

SIMD = "off"
"""The version of the scanner in use; plain Python has one only."""


@final
@dataclass(frozen=True, eq=False)
class Report:
    """What ``fan_out`` did with a batch."""

    matched: int
    """Rows that wanted an event, summed over the events."""
    queued: int
    """How many of those offers were taken into a lane."""
    dropped: int
    """Events that outboxes dropped during the call, earlier ones that had to go included."""
    invalid: int
    """What the caller counted as no event at all."""
    ready: list[Any] = field(repr=False)
    """Owners of the outboxes that were offered something and have something to send, or are to
    be closed; each outbox once, in the order they were first offered something: by event, by
    variant, by whether it is to be kept, by row."""


def convert_event(event: Event, message_format: MessageFormat) -> Event:
    """The event with its message in that format, every other byte as received.

    The event itself comes back when there is nothing to convert: no ``message`` or ``message_sent``
    event (in ``notice.bot_offline``, ``message`` is no message), already of that format by what
    ``message`` is, or not convertible: ``message`` is neither string nor array, or the array has
    something in it that a CQ string cannot carry (see ``format_message``).

    Rewritten are the values of ``message``, of ``message_format`` where there is one (NapCat writes
    it, go-cqhttp does not), and, to "string", of ``raw_message`` where there is one: NapCat and
    go-cqhttp report the same CQ string in both. To "array" it stays, for it is the CQ string in
    either format. A key that is there several times has the converted value everywhere, so that it
    does not matter which one a reader takes.

    Numbers and what is inside of nested arrays and objects are taken over as they are written, white
    space apart; so are escapes in strings, lone surrogates as well, but for those of printable ASCII.

    Raises:
        TypeError: no event.
        ValueError: no such format.
    """
    if not isinstance(event, Event):
        raise TypeError(f"expected an event, not {type(event).__name__}")
    if message_format not in ("array", "string"):
        raise ValueError(f"message_format must be one of array, string, not {message_format!r}")
    if event.event_class != EventClass.MESSAGE:
        return event
    raw = convert_bytes(event.raw, message_format)
    return event if raw is None else with_bytes(event, raw)


def fan_out(
    router: Router,
    events: Iterable[Event],
    now: float,
    account: int = 0,
    invalid: int = 0,
    born: Iterable[float] | None = None,
) -> Report:
    """Offer each event to every row that wants it; each variant is made once per event and shared.

    A variant is a wire form of the event as received or in a message format; an event that cannot
    be converted (see ``convert_event``) is offered as received.

    ``now`` is the monotonic time in seconds, ``account`` stands in for a missing ``self_id``,
    ``invalid`` is passed on to the report. ``born`` is when each event happened, by the same clock;
    None is now.

    Raises:
        TypeError: ``events`` holds something else; nothing has been routed then.
        ValueError: ``born`` is not as long as ``events``; nothing has been routed then.
    """
    batch = list(events)
    births = [now] * len(batch) if born is None else list(map(float, born))
    if len(births) != len(batch):
        raise ValueError(f"{len(births)} times of birth for {len(batch)} events")
    for event in batch:
        if not isinstance(event, Event):
            raise TypeError(f"expected events, not {type(event).__name__}")
    touched: dict[int, Outbox] = {}  # by identity, in order
    before: dict[int, tuple[Outbox, int]] = {}  # what those that may drop something had dropped before
    matched = queued = 0
    for event, birth in zip(batch, births, strict=True):
        router._sequence += 1
        shown: dict[MessageFormat | None, Event] = {None: event}
        variants: dict[tuple[Form, bytes], Parcel] = {}
        for outbox, form, message_format, kept in sorted(router._takers(event, account), key=_variant):
            if message_format is not None and message_format not in shown:
                shown[message_format] = convert_event(event, message_format)
            variant = form, shown[message_format].raw
            if variant not in variants:
                variants[variant] = Parcel(_build(shown[message_format], form), router._budget)
            touched.setdefault(id(outbox), outbox)
            before.setdefault(id(outbox), (outbox, _drops(outbox)))
            outcome = outbox._put(variants[variant], event.event_class, router._sequence, now, kept, birth)
            matched += 1
            queued += outcome in (Outcome.QUEUED, Outcome.DROPPED_OLDEST)
        variants.clear()
        if router._is_over_budget():
            for outbox in router._outboxes():
                before.setdefault(id(outbox), (outbox, _drops(outbox)))
            router._economize()
    return Report(
        matched,
        queued,
        sum(_drops(outbox) - count for outbox, count in before.values()),
        invalid,
        [outbox.owner for outbox in touched.values() if outbox._is_ready()],
    )


def _variant(taker: tuple[Outbox, Form, MessageFormat | None, bool]) -> tuple[int, bool]:
    """Its number: the forms as received, then the forms in each message format; what is kept comes last."""
    _, form, message_format, kept = taker
    return FORMS.index(form) + len(FORMS) * (None, *MESSAGE_FORMATS).index(message_format), kept


def _build(event: Event, form: Form) -> bytes | Event:
    if form == "event":
        return event
    if form == "json":
        return event.raw
    if form == "frame":
        return frame(event.raw)
    if form == "sse":
        return sse_block(event.raw)
    return masked_frame(event.raw, os.urandom(4))


def _drops(outbox: Outbox) -> int:
    return sum(outbox.dropped.values())
