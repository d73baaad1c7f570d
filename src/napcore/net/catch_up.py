"""Late events, one after the other: who writes them when their turn comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from napcore.dispatch import Writer

__all__ = ("CatchUp",)

NAP: Final = 0.05
"""Seconds between two writes at least; what has its turn meanwhile goes together."""


class CatchUp:
    """Flushes a writer again while what is next for it is late, in a task that is there only then."""

    def __init__(self, writer: Writer, flush: Callable[[], None]) -> None:
        self._writer = writer
        self._flush = flush
        self._running = False

    def later(self, tasks: TaskGroup) -> None:
        """A flush has ended with ``LATER``."""
        self._writer.waking = True
        if not self._running:
            self._running = True
            tasks.start_soon(self._run)

    async def _run(self) -> None:
        writer = self._writer
        try:
            while writer.waking:
                await anyio.sleep(max(writer.lane.pause(time.monotonic()), NAP))
                writer.waking = False
                self._flush()
        finally:
            self._running = writer.waking = False
