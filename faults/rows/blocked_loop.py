"""Row 38: a plugin blocks the event loop."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread

from faults.case import Case
from faults.child import python_child, start
from faults.table import row
from napcore import Config, start_thread, watch_loop
from napcore.testing.percentiles import percentile

with suppress(ImportError):
    import uvloop

    # With its first loop libuv makes a pipe for the whole process, which is nobody's leak.
    uvloop.new_event_loop().close()


class Log(logging.Handler):
    """What the watchdog said."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        logging.getLogger("napcore.watchdog").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts.append(record.getMessage())


def block_badly(seconds: float) -> None:
    """What a plugin does."""
    time.sleep(seconds)


@row(
    "38",
    "a plugin blocks the loop for 60 s (quick: 5 s), the relay is in a thread of its own; then 2 s, in the same loop",
    "links stay, frames are answered, the upstream is drained; the watchdog names the line in both",
    limit=300,
)
async def blocked_loop(case: Case) -> None:
    log = Log()
    seconds = 5.0 if case.quick else 60.0
    config = Config.from_dict({"listen": {"host": "127.0.0.1", "port": 0}, "client": [{"name": "bot"}]})
    backend: Any = case.backend
    thread = await anyio.to_thread.run_sync(lambda: start_thread(config, backend=backend))
    try:
        url = thread.urls[0]
        napcat_child = python_child(
            "peers.napcat", "--seed", case.seed, "--rate", 67, "--heartbeat", 3, "--connect", url
        )
        bot_child = python_child("peers.bot", "--quiet", "--dial", f"{url}/c/bot")
        async with start(case, napcat_child) as napcat, start(case, bot_child) as bot:
            await napcat.wait_for("ready", limit=40)
            await bot.wait_for("linked", limit=40)
            await thread.call("get_status")
            before = await thread.statistics()
            # Nothing of this process's own loop runs from here on: neither plugin nor tests.
            block_badly(seconds)
            after = await thread.statistics()
            received = after.received - before.received
            case.figure("events taken in meanwhile", received, least=0.9 * 67 * seconds)
            ledger = {client.name: client for client in after.clients}["bot"]
            case.figure("waiting for the client", ledger.queued + ledger.unconfirmed, most=200)
            case.check(not ledger.dropped, f"lost: {ledger.dropped}")
            case.figure("links of the upstream", after.upstreams[0].connects, exactly=1)
            case.figure("links of the client", ledger.connects, exactly=1)
            case.figure("lag of the relay's own loop", after.loop_lag * 1e3, " ms", most=250.0)
            await anyio.sleep(0.5)
            took = []
            for _ in range(20):
                asked = time.monotonic()
                await thread.call("get_status")
                took.append(time.monotonic() - asked)
            case.figure("calls afterwards, p99", (percentile(took, 99) or 0.0) * 1e3, " ms", most=200.0)
        named = [text for text in log.texts if "in block_badly" in text and "blocked_loop.py:" in text]
        case.figure("reports that name the line", len(named), least=2)
    finally:
        await anyio.to_thread.run_sync(thread.stop)
    del log.texts[:]
    with watch_loop() as watchdog:
        await anyio.sleep(0.3)
        block_badly(2.0)
        await anyio.sleep(0.3)
    case.figure("in the same loop, held up", watchdog.worst, " s", least=1.8, most=4.0)
    named = [text for text in log.texts if "in block_badly" in text]
    case.figure("reports that name the line there", len(named), least=2)
