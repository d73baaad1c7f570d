"""The demo: simulator, relay and three clients over real sockets, in one process."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from napcore.core.policy import Policy
from napcore.core.stats import CallStatistics
from napcore.net.relay import Relay
from napcore.testing.client import RecordingClient
from napcore.testing.percentiles import percentile
from napcore.testing.simulator import Simulator

__all__ = ("ClientResult", "DemoResult", "run_demo")

SLOW_QUEUE: Final = 100
"""Events the slow client's queue holds, so that its drops show."""

SLOW_DELAY: Final = 0.02
"""Seconds the slow client spends on an event."""

SLOW_BUFFER: Final = 128 << 10
"""Its SO_RCVBUF: less hides from the queue in the kernel."""

CALL_INTERVAL: Final = 0.25
"""Seconds between the API calls of a fast client."""

DRAIN_TIMEOUT: Final = 15.0
"""Seconds the fast clients have to get the rest once the last event has left."""


@dataclass(frozen=True)
class ClientResult:
    """What one client saw."""

    name: str
    received: int
    """Events that reached it."""
    dropped: dict[str, int]
    """Events it lost, by reason."""
    p50_ms: float | None
    """Median of the milliseconds from the simulator to the client, over messages; None if none came."""
    p99_ms: float | None
    """The 99th percentile of the same."""
    max_queue: int
    """The most events that ever waited for it."""


@dataclass(frozen=True)
class DemoResult:
    """Where a demo stands, or ended."""

    published: int
    """Events the simulator sent."""
    elapsed_s: float
    """Seconds from the first event to the end of sending."""
    clients: tuple[ClientResult, ...]
    calls: CallStatistics


@dataclass
class _Sample:
    name: str
    client: RecordingClient
    latencies: array[float] = field(default_factory=lambda: array("d"))

    def watch(self, sim: Simulator) -> None:
        def note(event: dict[str, Any]) -> None:
            sent = sim.sent_at(event["message_id"]) if event["post_type"] == "message" else None
            if sent is not None:
                self.latencies.append(time.monotonic() - sent)

        self.client.on_event = note

    def result(self, relay: Relay) -> ClientResult:
        (session,) = (one for one in relay.statistics().clients if one.name == self.name)
        return ClientResult(
            name=self.name,
            received=self.client.count,
            dropped=session.dropped,
            p50_ms=_milliseconds(percentile(self.latencies, 50)),
            p99_ms=_milliseconds(percentile(self.latencies, 99)),
            max_queue=session.max_queued,
        )


async def run_demo(
    groups: int, rate: float, seconds: float, on_second: Callable[[DemoResult], None] | None = None
) -> DemoResult:
    """Send ``rate`` events a second from ``groups`` groups for ``seconds``, and tell what became of them.

    Three clients take all of them: ``reverse`` is dialled by the relay, ``forward`` dials it,
    and ``slow`` dials it, takes its time and has a small queue. The first two make API calls now and then. At the
    end they are waited for, the slow one is not. ``on_second`` is called about once a second.

    Raises:
        TimeoutError: the parts did not come together.
    """
    async with (
        Simulator(groups=groups, seed=1, heartbeat=math.inf) as sim,
        RecordingClient(record=False) as reverse,
        RecordingClient(record=False) as forward,
        RecordingClient(record=False, delay=SLOW_DELAY, receive_buffer=SLOW_BUFFER) as slow,
        Relay() as relay,
    ):
        samples = [_Sample("reverse", reverse), _Sample("forward", forward), _Sample("slow", slow)]
        for sample in samples:
            sample.watch(sim)
        listener = await relay.listen("127.0.0.1", 0)
        relay.add_client("reverse", await reverse.listen())
        relay.add_client("forward")
        relay.add_client("slow", policy=Policy(max_events=SLOW_QUEUE))
        relay.add_upstream(await sim.listen())
        # Its account is known once the relay has dialled a client for it.
        await reverse.wait_connected()
        await forward.connect(f"{listener.url}/c/forward")
        await slow.connect(f"{listener.url}/c/slow")
        for sample in samples:
            await sample.client.wait_for(lambda client=sample.client: bool(client.meta))  # type: ignore[misc]

        start = time.monotonic()

        def so_far(elapsed: float) -> DemoResult:
            clients = tuple(sample.result(relay) for sample in samples)
            return DemoResult(sim.sent, elapsed, clients, relay.statistics().calls)

        async def tell() -> None:
            while on_second is not None:
                await anyio.sleep(1.0)
                on_second(so_far(time.monotonic() - start))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell)
            for client in (reverse, forward):
                tasks.start_soon(_make_calls, client, sim)
            await sim.run(rate, seconds)
            elapsed = time.monotonic() - start
            tasks.cancel_scope.cancel()
        with anyio.move_on_after(DRAIN_TIMEOUT):
            for client in (reverse, forward):
                await client.wait_for(lambda client=client: client.count >= sim.sent, timeout=math.inf)  # type: ignore[misc]
        return so_far(elapsed)


async def _make_calls(client: RecordingClient, sim: Simulator) -> None:
    while True:
        await anyio.sleep(CALL_INTERVAL)
        group_id = sim.events.group()
        await client.call("get_group_info", {"group_id": group_id})
        await client.call("send_group_msg", {"group_id": group_id, "message": "收到"})


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
