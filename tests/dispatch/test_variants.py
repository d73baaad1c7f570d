"""Message formats in a fan-out: each variant is made once per event and shared."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

FORMS = ("event", "json", "frame", "masked", "sse")
FORMATS = (None, "array", "string")
ARRAY = (
    b'{"post_type":"message","message_type":"group","group_id":5,"message":[{"type":"at","data":{"qq":"1"}}],"x": 1}'
)
STRING = b'{"post_type":"message","message_type":"group","group_id":5,"message":"[CQ:at,qq=1]","x": 1}'


def rows(core: Any, router: Any, times: int = 1) -> dict[tuple[str, str | None], list[Any]]:
    """Outboxes of every variant, the forms of one format mixed with the others'."""
    made: dict[tuple[str, str | None], list[Any]] = {}
    for _ in range(times):
        for form in FORMS:
            for message_format in FORMATS:
                outbox = core.Outbox((form, message_format))
                router.add(outbox, form, message_format=message_format)
                made.setdefault((form, message_format), []).append(outbox)
    return made


def in_form(core: Any, form: str, raw: bytes, found: Any) -> Any:
    """What the bytes are in a form; a mask is taken from what was found."""
    if form == "event":
        return core.peek(raw)
    if form == "masked":
        return core.masked_frame(raw, found[2:6] if len(raw) < 126 else found[4:8])
    return {"json": raw, "frame": core.frame(raw), "sse": b"data: " + raw + b"\n\n"}[form]


@pytest.mark.parametrize(("raw", "same"), [(ARRAY, "array"), (STRING, "string")])
def test_each_variant_is_made_once_and_shared(core: Any, raw: bytes, same: str) -> None:
    router = core.Router()
    outboxes = rows(core, router, times=2)
    event = core.peek(raw)
    report = core.fan_out(router, [event], 0.0)
    assert (report.matched, report.queued, report.dropped) == (30, 30, 0)
    taken = {variant: [outbox.take(0.0)[0] for outbox in pair] for variant, pair in outboxes.items()}
    for (form, message_format), (first, second) in taken.items():
        assert first is second
        expected = {None: raw, "array": ARRAY, "string": STRING}[message_format]
        assert first == in_form(core, form, expected, first)
    for form in FORMS:
        assert taken[form, same][0] is taken[form, None][0], "there was nothing to convert"
    assert taken["event", None][0] is event
    assert taken["json", None][0] is event.raw
    other = "string" if same == "array" else "array"
    assert taken["event", other][0].raw is taken["json", other][0], "converted once"
    assert taken["event", other][0].group_id == 5


@pytest.mark.parametrize(
    "raw",
    [
        b'{"post_type":"notice","notice_type":"bot_offline","message":"[CQ:at,qq=1]"}',
        b'{"post_type":"meta_event","meta_event_type":"heartbeat"}',
        b'{"post_type":"message","raw_message":"x"}',
        b'{"post_type":"message","message":null}',
        b'{"post_type":"message","message":[{"type":"a b"}]}',
    ],
)
def test_what_cannot_be_converted_is_offered_as_received(core: Any, raw: bytes) -> None:
    router = core.Router()
    outboxes = rows(core, router)
    event = core.peek(raw)
    message_formats = ("string",) if b'[{"' in raw or b"null" in raw else ("array", "string")
    assert core.fan_out(router, [event, event], 0.0).queued == 30
    for form in FORMS:
        plain = outboxes[form, None][0].take(0.0)
        for message_format in message_formats:
            assert all(a is b for a, b in zip(plain, outboxes[form, message_format][0].take(0.0), strict=True))


def test_a_batch_mixes_formats(core: Any) -> None:
    router = core.Router()
    array, string, received = core.Outbox(), core.Outbox(), core.Outbox()
    router.add(array, "json", message_format="array")
    router.add(string, "json", message_format="string")
    router.add(received, "json")
    core.fan_out(router, [core.peek(ARRAY), core.peek(STRING), core.peek(ARRAY)], 0.0)
    assert array.take(0.0) == [ARRAY] * 3
    assert string.take(0.0) == [STRING] * 3
    assert received.take(0.0) == [ARRAY, STRING, ARRAY]


def test_bounds_see_the_converted_bytes(core: Any) -> None:
    router = core.Router()
    outbox = core.Outbox(max_frame=len(STRING))
    router.add(outbox, "json", message_format="string")
    router.add(strict := core.Outbox(max_frame=len(STRING)), "json")
    router.add(events := core.Outbox(), "event", message_format="string")
    core.fan_out(router, [core.peek(ARRAY)], 0.0)
    assert outbox.queued_bytes == len(STRING)
    assert strict.dropped == {"oversize": 1}
    assert events.queued_bytes == len(STRING)


def test_a_row_keeps_its_format(core: Any) -> None:
    router = core.Router()
    outbox = core.Outbox()
    row = router.add(outbox, "json", message_format="string", groups={1})
    router.replace(row, groups={5})
    # The table of rows grows meanwhile, and a row that is given out again has its own format.
    more = [router.add(core.Outbox(), "json", message_format="array", groups={1}) for _ in range(200)]
    core.fan_out(router, [core.peek(ARRAY)], 0.0)
    assert outbox.take(0.0) == [STRING]
    router.remove(more[7])
    again = core.Outbox()
    assert router.add(again, "json") == more[7]
    core.fan_out(router, [core.peek(STRING)], 0.0)
    assert again.take(0.0) == [STRING]


@pytest.mark.parametrize("message_format", ["cq", "Array", "", 1, b"array"])
def test_an_unknown_format_is_refused(core: Any, message_format: Any) -> None:
    router = core.Router()
    with pytest.raises(ValueError, match="^message_format must be one of array, string, not "):
        router.add(core.Outbox(), message_format=message_format)
    assert len(router) == 0


def test_what_is_made_is_let_go(core: Any) -> None:
    router = core.Router()
    outboxes = rows(core, router)
    event = core.peek(ARRAY)
    core.fan_out(router, [event], 0.0)
    taken = outboxes["event", "string"][0].take(0.0) + outboxes["json", "array"][0].take(0.0)
    for (outbox,) in outboxes.values():
        outbox.clear("shutdown")
    gc.collect()
    assert taken == [core.peek(STRING), ARRAY]
    fresh = [core.peek(STRING)]
    counts = sys.getrefcount(taken[0]), sys.getrefcount(fresh[0])
    assert counts[0] == counts[1]
    before = sys.getrefcount(event)
    for _ in range(3):
        core.fan_out(router, [event], 0.0)
        for (outbox,) in outboxes.values():
            outbox.take(0.0)
    after = sys.getrefcount(event)
    assert after == before
