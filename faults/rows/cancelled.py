"""Row 39: cancellation at every await of a link's life."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Literal

import anyio

import napcore.net.drain
import napcore.net.ws_client
from faults.case import Case
from faults.steps import Steps
from faults.system import descriptors
from faults.table import row
from napcore import CallError, Relay
from napcore.core.backoff import Backoff
from napcore.net.client import ClientLink
from napcore.net.upstream import UpstreamLink
from napcore.testing import RecordingClient, Simulator

Target = Literal["host", "upstream", "dialled", "dialling"]

MARGIN = 3
"""Steps behind the last one that the life had when nobody was cancelled: it is not the same each time."""

AFTERWARDS = 0.02
"""Seconds that a relay goes on after one of its links has been cancelled, until it is asked to end."""


@row(
    "39",
    "a task is cancelled at step k, for every k: the host, an upstream's link, a client's link in either role",
    "nothing is left open, the ledger closes, a host is cancelled by its own cancellation only",
    quick=True,
    limit=400,
)
async def cancelled(case: Case) -> None:
    logging.disable(logging.WARNING)
    # The same steps, in less time.
    napcore.net.drain.LOOK = napcore.net.drain.GAP = 0.001  # type: ignore[misc]
    vars(napcore.net.ws_client)["Backoff"] = partial(Backoff, base=0.001)
    steps = Steps(case.backend)
    targets: tuple[Target, ...] = ("host", "upstream", "dialled", "dialling")
    tried = 0
    with steps.installed():
        for target in targets:
            await Life(case, steps, target, 0).run()
            total = steps.count
            for at in range(1, total + MARGIN + 1):
                before = descriptors(), len(anyio.get_running_tasks())
                life = Life(case, steps, target, at)
                await life.run()
                tried += life.done
                left = descriptors() - before[0], len(anyio.get_running_tasks()) - before[1]
                case.check(left == (0, 0), f"{left[0]} descriptors and {left[1]} tasks are left")
                if case.failures:
                    case.failures[-1] += f" ({target} cancelled at step {at} of {total})"
                    return
            gc.collect()
            case.figure(f"steps with {target}", total, least=20)
    case.figure("cancellations", tried, least=100)
    case.note("descriptors and tasks left after each: 0 (= 0)")


class Life:
    """An upstream and two clients are linked, events and calls pass, a link ends, the relay ends."""

    def __init__(self, case: Case, steps: Steps, target: Target, at: int) -> None:
        self.done = False
        """Whether anything was cancelled."""
        self._case = case
        self._steps = steps
        self._target = target
        self._at = at
        self._relay = Relay()
        self._host = anyio.CancelScope()
        self._playing = anyio.CancelScope()
        self._links: list[anyio.CancelScope] = []
        self._ready = anyio.Event()

    async def run(self) -> None:
        """Live, and look at what is left."""
        async with (
            Simulator(10001, groups=[5], heartbeat=math.inf) as sim,
            RecordingClient() as dialled,
            RecordingClient() as dialling,
        ):
            urls = await sim.listen(), await dialled.listen(manners="aiocqhttp")
            with anyio.fail_after(20), self._watched():
                async with anyio.create_task_group() as tasks:
                    with self._steps.counted(self._at, self._cancel):
                        tasks.start_soon(self._serve)
                    with self._playing:
                        await self._ready.wait()
                        # Whatever is cut: the peers may find nobody there.
                        with suppress(ConnectionError, CallError, RuntimeError):
                            await self._play(sim, dialled, dialling, *urls)
                    await self._relay.aclose()
        relay = self._relay
        self._case.ledger(relay, ended=True)
        self._case.check(relay.failed is None, f"a fault inside napcore: {relay.failed!r}")
        self._case.check(not relay.traffic.clients.links, "a link is left in the table")
        self._case.check(not relay.statistics().calls.pending, "a call is left in the table")

    def started(self, value: None = None) -> None:
        """The relay calls this when it runs."""
        self._ready.set()

    async def _serve(self) -> None:
        left = False
        with self._host:
            await self._relay.serve(task_status=self)
            left = True
        meant = self._target == "host" and self.done
        self._case.check(left or meant, "the host was cancelled, though only a link was meant")
        self._ready.set()
        self._playing.cancel()

    def _cancel(self) -> None:
        scopes = [self._host] if self._target == "host" else self._links
        for scope in scopes:
            self.done = True
            scope.cancel()
        if self.done:
            self._playing.deadline = anyio.current_time() + AFTERWARDS

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Scopes around the links that are meant."""
        runs = UpstreamLink.run, ClientLink.run
        life = self

        async def run_upstream(self: Any, link: Any) -> None:
            with anyio.CancelScope() as scope:
                if life._target == "upstream":
                    life._links.append(scope)
                await runs[0](self, link)

        async def run_client(self: Any) -> None:
            with anyio.CancelScope() as scope:
                if life._target == self.client.name:
                    life._links.append(scope)
                await runs[1](self)

        UpstreamLink.run, ClientLink.run = run_upstream, run_client  # type: ignore[method-assign]
        try:
            yield
        finally:
            UpstreamLink.run, ClientLink.run = runs  # type: ignore[method-assign]

    async def _play(
        self, sim: Simulator, dialled: RecordingClient, dialling: RecordingClient, upstream_url: str, client_url: str
    ) -> None:
        relay = self._relay
        with self._steps.more():
            # The tasks that these start are the relay's.
            listener = await relay.listen("127.0.0.1", 0)
            relay.add_client("dialled", client_url)
            relay.add_client("dialling")
            upstream = relay.add_upstream(upstream_url)
        await upstream.ready()
        link = await dialling.connect(f"{listener.url}/c/dialling")
        for client in (dialled, dialling):
            await client.wait_for(lambda client=client: len(client.meta) > 0)  # type: ignore[misc]
        for _ in range(3):
            await sim.emit(sim.events.group_message())
        await dialled.received(3)
        await dialling.received(3)
        await dialling.call("get_status")
        await relay.call("get_status")
        # More than the socket takes at once, so that a drainer has to see to it.
        await sim.emit(sim.events.group_message(message="x" * 1_000_000))
        await dialled.received(4)
        await dialling.received(4)
        link.close(1000)
        await dialling.wait_for(lambda: not dialling.links)
        await dialling.connect(f"{listener.url}/c/dialling")
        await sim.emit(sim.events.group_message())
