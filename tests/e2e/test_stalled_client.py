"""One client never reads, at 1,000 events a second for half a minute: nobody else notices, memory is bounded."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from array import array
from typing import Any

import anyio
import pytest

from napcore import Policy
from napcore.testing import RecordingClient
from napcore.testing.answers import encode

GROUP = 342561735
RATE = 1000
SECONDS = 30
TICK = 0.01
BATCH = 50
WARM_UP = 5
MAX_BYTES = 4 << 20
SLACK = 2 << 20


class Ids:
    """Message ids in the order they came, in memory that is taken before anything is measured."""

    def __init__(self, room: int) -> None:
        self._ids = array("q", [0]) * room
        self.count = 0

    def add(self, message_id: int) -> None:
        self._ids[self.count] = message_id
        self.count += 1

    def as_list(self) -> list[int]:
        return self._ids[: self.count].tolist()


# The C library keeps freed memory, in pieces between what is in use: asyncio reads into 256 KiB at a time and gives
# most of it back, which leaves 2 to 4 MiB of such pieces. They are not the lane's, so they are returned first.
_trim = getattr(ctypes.CDLL(None) if sys.platform == "linux" else None, "malloc_trim", lambda pad: 0)


def resident() -> int:
    """Bytes of this process in memory."""
    _trim(0)
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/statm tells the memory in use")
async def test_a_client_that_never_reads(stage: Any) -> None:
    total = RATE * (WARM_UP + SECONDS)
    async with stage:
        listener = await stage.listen()
        bot = stage.start("aiocqhttp_bot")
        sim = await stage.simulate("forward", groups=[GROUP], seed=8)
        await stage.dial(bot)
        stalled, dialled, dialling = [await stage.enter(RecordingClient(record=False)) for _ in range(3)]
        # Both roles of ours: masked frames to the one we dial, unmasked ones to the one that dials us.
        stage.relay.add_client("dialled", await dialled.listen())
        stage.relay.add_client("dialling")
        await dialling.connect(f"{listener.url}/c/dialling")
        stage.relay.add_client("stalled", await stalled.listen(), policy=Policy(max_bytes=MAX_BYTES))
        for client in (dialled, dialling, stalled):
            await client.wait_connected()
        ids = [Ids(total) for _ in range(3)]
        bot.on_event = ids[0].add
        dialled.on_event = lambda event: ids[1].add(event["message_id"])
        dialling.on_event = lambda event: ids[2].add(event["message_id"])

        head, tail = _around_the_id(sim)
        peak = 0

        async def emit(first: int, last: int) -> None:
            """Event n is due n / RATE seconds after the start, whatever happened before."""
            nonlocal peak, head, tail
            start = time.monotonic()
            number = first
            while number < last:
                due = min(last, first + 1 + int((time.monotonic() - start) * RATE))
                # Each with its own time: events that seem to grow old are held back as late.
                head, tail = _around_the_id(sim)
                for message_id in range(number, min(due, number + BATCH)):
                    await sim.emit(b"%b%d%b" % (head, message_id, tail))
                number = min(due, number + BATCH)
                for link in sim.links:
                    await link.drained()
                if number % RATE < BATCH:
                    peak = max(peak, resident())
                await anyio.sleep(TICK if number == due else 0)

        await emit(0, RATE * WARM_UP)
        await stalled.received(RATE * WARM_UP)
        stalled.pause()
        peak = before = resident()
        start = time.monotonic()
        await emit(RATE * WARM_UP, total)
        elapsed = time.monotonic() - start
        await stage.wait_for(lambda: all(one.count >= total for one in ids))
        growth = max(peak, resident()) - before

        for one in ids:
            assert one.as_list() == list(range(total))
        # The last of them are acknowledged with the ping of the next second.
        awake = ("aiocqhttp_bot", "dialled", "dialling")
        await stage.wait_for(
            lambda: all(one.confirmed == total for one in stage.relay.statistics().clients if one.name in awake)
        )
        sessions = {client.name: client for client in stage.relay.statistics().clients}
        for name in awake:
            assert (sessions[name].received, sessions[name].confirmed, sessions[name].dropped) == (total, total, {})
        lane = sessions["stalled"]
        assert lane.received == total
        assert lane.dropped.keys() == {"oldest"}
        # What the kernel and the lane hold is some thousand events; everything else had to go.
        assert lane.dropped["oldest"] > RATE * SECONDS - 8000
        assert 0 < lane.queued_bytes <= MAX_BYTES
        assert lane.queued > 1000
        assert lane.connects == 1
        # On a busy machine the others may lag for a moment; a byte that waits for one of them is in memory too.
        lag = sum(one.max_queued for name, one in sessions.items() if name != "stalled") * (len(head) + len(tail) + 32)
        stage.note(
            f"{RATE * SECONDS} events in {elapsed:.1f} s, {lane.dropped['oldest']} dropped for the stalled client;"
            f" memory grew by {growth / 2**20:.1f} MiB, of which the lag of the others {lag / 2**20:.1f} MiB"
        )
        assert growth < MAX_BYTES + SLACK + lag


def _around_the_id(sim: Any) -> tuple[bytes, bytes]:
    """The bytes before and behind the message id of a group message of 1 kB."""
    event = sim.events.group_message(GROUP, message="今天食堂吃什么？" * 12)
    event["message_id"] = 1234567890
    head, tail = encode(event).split(b'"message_id":1234567890')
    assert 900 < len(head) + len(tail) < 1100
    return head + b'"message_id":', tail
