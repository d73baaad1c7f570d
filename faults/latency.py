"""How long events take from an upstream to clients, in one process."""

from __future__ import annotations

import time
from typing import Any

import anyio

from napcore.testing import RecordingClient, Simulator
from napcore.testing.percentiles import percentile

__all__ = ("Latency",)


class Latency:
    """Takes the clients' ``on_event``; each event is on its way from ``emit`` until a client has decoded it."""

    def __init__(self, simulator: Simulator, *clients: RecordingClient) -> None:
        self.all: list[float] = []
        """Seconds, of every phase."""
        self._simulator = simulator
        self._clients = clients
        self._found: list[float] = []
        for client in clients:
            client.on_event = self._note

    @property
    def p99(self) -> float:
        """Over every phase, in seconds."""
        return percentile(self.all, 99) or 0.0

    def _note(self, event: dict[str, Any]) -> None:
        sent = self._simulator.sent_at(event.get("message_id", -1))
        if sent is not None:
            self._found.append(time.monotonic() - sent)

    async def phase(self, rate: float, seconds: float, limit: float = 10.0) -> float:
        """Emit for so long, wait until everybody has everything, and return the 99th percentile in seconds."""
        self._found = []
        before = [client.count for client in self._clients]
        sent = await self._simulator.run(rate, seconds)
        with anyio.move_on_after(limit):
            for client, had in zip(self._clients, before, strict=True):
                await client.wait_for(lambda client=client, had=had: client.count >= had + sent, timeout=limit)  # type: ignore[misc]
        self.all += self._found
        return percentile(self._found, 99) or 0.0
