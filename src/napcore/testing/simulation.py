"""The simulator against somebody's own bot: how many events, how fast the answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio

from napcore.testing.percentiles import percentile
from napcore.testing.simulator import Simulator

__all__ = ("Simulation", "SimulationReport")


@dataclass(frozen=True)
class SimulationReport:
    """Where a simulation stands."""

    seconds: float
    """Since the first event."""
    links: int
    """Open now."""
    sent: int
    """Events sent."""
    calls: int
    """API requests that came."""
    replies: int
    """``send_*`` requests that answered an event."""
    p50_ms: float | None
    """Median of the milliseconds from an event to the reply."""
    p99_ms: float | None
    """The 99th percentile of the same."""
    max_ms: float | None
    """The longest."""


class Simulation:
    """A stand-in NapCat for the bot at ``url``, which it dials, or for bots that dial ``port``.

    ``rate`` is in events a second; the first is sent once a bot is there. ``on_listen`` is
    called with the URL it listens on, ``on_refusal`` with the cause when the bot cannot be dialled
    (once while it stays the same), ``on_links`` with the number of open links when it changes,
    ``on_report`` every ``interval`` seconds.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        port: int | None = None,
        groups: int = 190,
        rate: float = 13.0,
        seconds: float = math.inf,
        token: str = "",
        self_id: int = 1444683668,
        seed: int | None = None,
        interval: float = 5.0,
        on_refusal: Callable[[str], None] = lambda cause: None,
        on_links: Callable[[int], None] = lambda links: None,
        on_listen: Callable[[str], None] = lambda url: None,
        on_report: Callable[[SimulationReport], None] = lambda report: None,
    ) -> None:
        self.simulator: Final = Simulator(self_id, groups=groups, seed=seed, token=token)
        self._url = url
        self._port = port
        self._rate = rate
        self._seconds = seconds
        self._interval = interval
        self._on_refusal = on_refusal
        self._on_links = on_links
        self._on_listen = on_listen
        self._on_report = on_report
        self._start: float | None = None

    def report(self) -> SimulationReport:
        """Where it stands; also after it was cancelled."""
        sim = self.simulator
        latencies = sim.replies.latencies
        p50, p99, longest = (percentile(latencies, percent) for percent in (50, 99, 100))
        return SimulationReport(
            seconds=0.0 if self._start is None else time.monotonic() - self._start,
            links=len(sim.links),
            sent=sim.sent,
            calls=sim.called,
            replies=len(latencies),
            p50_ms=_milliseconds(p50),
            p99_ms=_milliseconds(p99),
            max_ms=_milliseconds(longest),
        )

    async def run(self) -> SimulationReport:
        """Play until ``seconds`` have passed since the first event.

        Raises:
            OSError: the port cannot be had.
        """
        async with self.simulator as sim:
            if self._port is not None:
                self._on_listen(await sim.listen(self._port))
            if self._url is not None:
                sim.connect(self._url)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch)
                await sim.wait_connected(timeout=math.inf)
                self._start = time.monotonic()
                tasks.start_soon(self._tell)
                await sim.run(self._rate, self._seconds)
                tasks.cancel_scope.cancel()
            return self.report()

    async def _watch(self) -> None:
        sim = self.simulator
        links, refusals, told = 0, 0, ""

        def changed() -> bool:
            return (len(sim.links), sim.refusals) != (links, refusals)

        while True:
            await sim.wait_for(changed, timeout=math.inf)
            if len(sim.links) != links:
                links, told = len(sim.links), ""
                self._on_links(links)
            if sim.refusals != refusals:
                refusals, cause = sim.refusals, str(sim.last_refusal)
                if cause != told:
                    told = cause
                    self._on_refusal(cause)

    async def _tell(self) -> None:
        while True:
            await anyio.sleep(self._interval)
            self._on_report(self.report())


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
