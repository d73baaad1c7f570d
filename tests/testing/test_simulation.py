from __future__ import annotations

import math
import socket

import anyio
import pytest

from napcore.testing import RecordingClient
from napcore.testing.percentiles import percentile
from napcore.testing.simulation import Simulation, SimulationReport


def percentiles(values: list[float]) -> list[float | None]:
    return [percentile(values, percent) for percent in (50, 99, 100)]


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([]) == [None, None, None]
    assert percentiles([3.0]) == [3.0, 3.0, 3.0]
    assert percentiles([4.0, 1.0, 3.0, 2.0]) == [2.0, 4.0, 4.0]
    assert percentiles([float(number) for number in range(1, 201)]) == [100.0, 198.0, 200.0]


async def test_it_waits_for_a_bot_and_counts() -> None:
    links: list[int] = []
    urls: list[str] = []
    reports: list[SimulationReport] = []
    listening = anyio.Event()

    def note(url: str) -> None:
        urls.append(url)
        listening.set()

    simulation = Simulation(
        port=0,
        rate=100,
        seconds=0.3,
        groups=2,
        interval=0.1,
        on_listen=note,
        on_links=links.append,
        on_report=reports.append,
    )
    async with anyio.create_task_group() as tasks, RecordingClient() as bot:
        result: list[SimulationReport] = []

        async def play() -> None:
            result.append(await simulation.run())

        tasks.start_soon(play)
        await listening.wait()
        assert (simulation.report().sent, simulation.report().seconds) == (0, 0.0)
        await bot.connect(urls[0])
        (event, *_) = await bot.received(5)
        await bot.call("send_msg", {"group_id": event.get("group_id"), "user_id": 1, "message": "hi"})
        await bot.received(30)
        await bot.wait_for(lambda: not bot.links)
    assert (result[0].sent, result[0].calls, result[0].links) == (30, 1, 1)
    assert 0.29 <= result[0].seconds < 5
    assert reports
    assert links == [1]


async def test_a_cause_is_told_once_until_it_changes_or_the_bot_was_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    causes: list[str] = []
    simulation = Simulation(url=f"ws://127.0.0.1:{port}/ws", rate=10, on_refusal=causes.append)
    sim = simulation.simulator
    async with anyio.create_task_group() as tasks, RecordingClient(token="t") as bot:
        tasks.start_soon(simulation.run)
        await sim.wait_for(lambda: sim.refusals > 0)
        await bot.listen("/ws", port=port)
        sim.connect(f"ws://127.0.0.1:{port}/ws", reconnect=0.01)
        await sim.wait_for(lambda: sim.refusals > 4)
        sim.connect(f"ws://127.0.0.1:{port}/ws", token="t", reconnect=math.inf)
        await sim.wait_connected()
        seen = sim.refusals
        await sim.wait_for(lambda: sim.refusals > seen + 1)
        tasks.cancel_scope.cancel()
    assert causes == ["connection refused", "HTTP 403", "HTTP 403"]


async def test_a_port_in_use_is_a_plain_oserror() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await Simulation(port=taken.getsockname()[1]).run()
