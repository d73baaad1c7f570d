"""What the tests of an attached bot share: a stand-in NapCat, relays of every kind, and what handlers write down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread

import napcore
from napcore.testing import Simulator
from napcore.testing.change import Change

ACCOUNT, OTHER = 10001, 10002
PATIENCE = 10.0
"""Seconds for anything that must happen."""


class Seen(list[Any]):
    """What handlers write down."""

    def __init__(self) -> None:
        super().__init__()
        self._change = Change()

    def add(self, *items: Any) -> None:
        self.extend(items)
        self._change.notify()

    async def wait_for(self, condition: Callable[[], object]) -> None:
        await self._change.wait_for(lambda: bool(condition()), PATIENCE, lambda: f"not so, with {list(self)},")

    async def wait(self, count: int) -> list[Any]:
        """The first ``count`` of them, once there are so many."""
        await self.wait_for(lambda: len(self) >= count)
        return self[:count]


@asynccontextmanager
async def napcat(self_id: int = ACCOUNT, **options: Any) -> AsyncIterator[Simulator]:
    """A stand-in NapCat that listens; heartbeats only if they are asked for."""
    async with Simulator(self_id, **{"groups": [5, 6], "heartbeat": 1e6, **options}) as sim:
        await sim.listen()
        yield sim


@asynccontextmanager
async def relay_of(kind: str, *urls: str, **options: Any) -> AsyncIterator[Any]:
    """A relay of one kind that dials ``urls``: in a thread of its own, on this loop, or not entered yet."""
    config = napcore.Config.from_dict({"upstream": [{"url": url} for url in urls], **options})
    async with AsyncExitStack() as exits:
        if kind == "thread":
            thread = napcore.start_thread(config, watchdog=False)
            try:
                yield thread
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(thread.stop)
            return
        relay = napcore.Relay.from_config(config)
        yield await exits.enter_async_context(relay) if kind == "loop" else relay


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread brings about, of which nobody is told."""
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        await anyio.sleep(0.01)
    raise TimeoutError(f"not so after {PATIENCE:g} s")
