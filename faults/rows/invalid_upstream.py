"""Row 21: an upstream that sends what is no event."""

from __future__ import annotations

import json

from websockets.frames import Frame, Opcode

from faults.case import Case
from faults.stage import Numbers, ledgers, numbers_of
from faults.table import row
from napcore.testing import RecordingClient, Simulator

EVENT = b'{"post_type":"message","message_type":"group","group_id":1,"self_id":10001,"message_id":-1'

INVALID = (
    b"",
    b"rubbish",
    b"[]",
    b'[{"post_type":"message"}]',
    b'"post_type"',
    b"null",
    b"1e999",
    b"{",
    EVENT,
    EVENT + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    EVENT + b',"x":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    EVENT + b',"x":NaN}',
    EVENT + b',"x":01}',
    EVENT + b',"x":"\x01"}',
    EVENT + b',"x":"\\q"}',
    EVENT + b",}",
    EVENT + b"}}",
    b"\xef\xbb\xbf" + EVENT + b"}",
)
BINARY = 5


@row(
    "21",
    "an upstream sends invalid JSON, arrays, 5,000 levels, binary frames",
    "dropped and counted, no client sees it, every link is kept",
    quick=True,
)
async def invalid(case: Case) -> None:
    rounds = 20 if case.quick else 500
    async with (
        Simulator(10001, seed=case.seed) as forward,
        Simulator(10001, seed=case.seed) as reverse,
        RecordingClient() as bot,
        case.relay() as relay,
        RecordingClient() as dialling,
    ):
        listener = await relay.listen("127.0.0.1", 0)
        relay.add_client("bot", await bot.listen())
        await relay.add_upstream(await forward.listen()).ready()
        reverse.connect(listener.url)
        await reverse.wait_connected()
        await dialling.connect(f"{listener.url}/c/dialling")
        for client in (bot, dialling):
            await client.wait_for(lambda client=client: len(client.meta) > 0)  # type: ignore[misc]
        numbers = Numbers(forward)
        bad = 0
        for number in range(rounds):
            source = (forward, reverse)[number % 2]
            for text in case.random.sample(INVALID, len(INVALID)):
                await source.emit(text)
                bad += 1
            whole = json.dumps(source.events.group_message(), ensure_ascii=False).encode()
            for _ in range(10):
                # The beginning of a document is none.
                await source.emit(whole[: case.random.randrange(len(whole))].decode(errors="ignore").encode())
                bad += 1
            if number < BINARY:
                source.links[0].send_raw(Frame(Opcode.BINARY, b"\x00\xff").serialize(mask=source is reverse))
                bad += 1
            await numbers.emit(5)
        await bot.received(numbers.sent)
        await dialling.received(numbers.sent)
        await case.until(lambda: relay.statistics().invalid >= bad, "every bad frame counted")
        statistics = relay.statistics()
        case.figure("bad frames", bad)
        case.figure("counted as invalid", statistics.invalid, exactly=bad)
        for client in (bot, dialling):
            case.check(numbers_of(client.events) == list(range(numbers.sent)), "a client got something else")
        case.figure("ends of clients' links", sum(one.connects - 1 for one in ledgers(relay).values()), exactly=0)
        case.figure("ends of upstreams' links", sum(one.connects - 1 for one in statistics.upstreams), exactly=0)
