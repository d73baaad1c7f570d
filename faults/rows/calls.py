"""Rows 23 to 27: API calls while upstreams die, answer twice, or are asked too much."""

from __future__ import annotations

import json
import math
import time
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from faults.case import Case
from faults.latency import Latency
from faults.proxy import FaultProxy
from faults.stage import Numbers
from faults.table import row
from napcore.testing import RecordingClient, Simulator
from napcore.testing.percentiles import percentile


def port_of(url: str) -> int:
    """The port in a URL."""
    return urlsplit(url).port or 0


@row("23", "the upstream dies before a call is written", "not sent (1501) at once; nothing is ever written", quick=True)
async def dies_before(case: Case) -> None:
    await _dies(case, after=False)


@row(
    "24",
    "the upstream dies after a call was written",
    "outcome unknown (1502) at once; it was written once",
    quick=True,
)
async def dies_after(case: Case) -> None:
    await _dies(case, after=True)


async def _dies(case: Case, *, after: bool) -> None:
    rounds = 10
    codes: list[int] = []
    took: list[float] = []
    async with Simulator(10001, seed=case.seed) as sim, case.relay() as relay, RecordingClient() as bot:
        sim.on_call = lambda request: None
        listener = await relay.listen("127.0.0.1", 0)
        with FaultProxy(port_of(await sim.listen()), receive_buffer=4096) as proxy:
            upstream = relay.add_upstream(f"ws://127.0.0.1:{proxy.port}")
            await upstream.ready()
            await bot.connect(listener.url)
            for number in range(rounds):
                await case.until(lambda: upstream.state == "connected", "a link")
                called = sim.called
                if after:
                    bot.send({"action": "send_group_msg", "params": {"group_id": 1, "message": "x"}, "echo": number})
                    await sim.wait_called(called + 1)
                else:
                    # What is written first fills the socket, so that the call behind it never begins.
                    proxy.fault("up", stall=True)
                    filler = {"action": "get_status", "params": {"x": "x" * 8_000_000}, "echo": "filler"}
                    bot.send(filler)
                    bot.send({"action": "send_group_msg", "params": {"group_id": 1, "message": "x"}, "echo": number})
                    await case.until(lambda: relay.statistics().calls.pending >= 2, "both calls at the relay")
                proxy.reset()
                start = time.monotonic()
                await bot.wait_for(lambda number=number: number in [a.get("echo") for a in bot.answers])  # type: ignore[misc]
                took.append(time.monotonic() - start)
                codes += [answer["retcode"] for answer in bot.answers if answer.get("echo") == number]
                proxy.fault("up")
            await anyio.sleep(2.0)
            written = [request for request in sim.calls if request["action"] == "send_group_msg"]
        case.figure("calls", rounds)
        case.figure("written", len(written), exactly=rounds if after else 0)
        case.figure("answers", len(codes), exactly=rounds)
        case.check(set(codes) == {1502 if after else 1501}, f"answered with {set(codes)}")
        case.figure("answered in", max(took) * 1e3, " ms", most=1000.0)


@row("25", "answers come twice, late, and to nothing that was asked", "each caller gets exactly one", quick=True)
async def stray_answers(case: Case) -> None:
    rounds = 100
    async with (
        Simulator(10001, seed=case.seed) as sim,
        case.relay(call_timeout=2.0) as relay,
        RecordingClient() as one,
        RecordingClient() as two,
    ):
        late: list[bytes] = []

        def answer(request: dict[str, Any]) -> Any:
            right = sim.answer(request)
            if request["params"].get("late"):
                late.append(json.dumps(right).encode())
                return None
            return right, right, {**right, "echo": "nobody asked"}, {**right, "echo": None}

        sim.on_call = answer
        listener = await relay.listen("127.0.0.1", 0)
        await relay.add_upstream(await sim.listen()).ready()
        for bot in (one, two):
            await bot.connect(listener.url)
        for number in range(rounds):
            for bot in (one, two):
                bot.send({"action": "get_status", "params": {}, "echo": {"seq": number}})
        one.send({"action": "get_status", "params": {"late": True}, "echo": "late"})
        await case.until(lambda: any(answer.get("echo") == "late" for answer in one.answers), "the expiry", 10)
        for frame in late:
            await sim.emit(frame)
        await anyio.sleep(0.5)
        for bot in (one, two):
            echoes = [json.dumps(answer.get("echo")) for answer in bot.answers]
            wanted = [json.dumps({"seq": number}) for number in range(rounds)]
            case.figure("extra", len(echoes) - len(set(echoes)), exactly=0)
            case.check(set(wanted) <= set(echoes), "an answer is missing")
            case.check(set(echoes) <= {*wanted, '"late"'}, "somebody got an answer that is not his")
        calls = relay.statistics().calls
        case.figure("late or twice, counted", calls.late, exactly=2 * rounds + 1)
        case.figure("unknown, counted", calls.unknown, exactly=4 * rounds)


@row(
    "26",
    "a client makes 10,000 calls that nobody answers",
    "256 are in flight, the rest refused at once; events unaffected",
    alone=True,
)
async def too_many(case: Case) -> None:
    async with (
        Simulator(10001, seed=case.seed, heartbeat=math.inf) as sim,
        RecordingClient(record=False) as good,
        RecordingClient() as greedy,
        RecordingClient() as modest,
        case.relay() as relay,
    ):
        sim.on_call = lambda request: None if request["action"] == "get_group_list" else sim.answer(request)
        listener = await relay.listen("127.0.0.1", 0)
        await relay.add_upstream(await sim.listen()).ready()
        relay.add_client("good", await good.listen())
        await good.wait_for(lambda: len(good.meta) > 0)
        for bot in (greedy, modest):
            await bot.connect(f"{listener.url}/api")
        latency = Latency(sim, good)
        before = await latency.phase(200.0, 3.0)
        start = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for number in range(10_000):
                greedy.send({"action": "get_group_list", "params": {}, "echo": number})
            await case.until(lambda: len(greedy.answers) >= 10_000 - 256, "the refusals", 30)
            refused_in = time.monotonic() - start
            during = 0.0

            async def events() -> None:
                nonlocal during
                during = await latency.phase(200.0, 3.0)

            tasks.start_soon(events)
            took = []
            for _ in range(50):
                asked = time.monotonic()
                answer = await modest.call("get_status")
                took.append(time.monotonic() - asked)
                case.check(answer["status"] == "ok", "another client's call failed")
        calls = relay.statistics().calls
        case.figure("in flight", calls.pending, exactly=256)
        case.figure("refused", sum(answer["retcode"] == 1503 for answer in greedy.answers), exactly=10_000 - 256)
        case.figure("refused in", refused_in, " s", most=10.0)
        case.figure("event p99 before", before * 1e3, " ms")
        case.figure(
            "event p99 with them in flight", during * 1e3, " ms", most=max(1.2 * before * 1e3, before * 1e3 + 3.0)
        )
        case.figure("another's call p99", (percentile(took, 99) or 0.0) * 1e3, " ms", most=100.0)


@row(
    "27",
    "eight calls of 48 MiB at once",
    "bytes that wait are bounded, refused calls say so, others are served",
    alone=True,
    limit=180,
)
async def huge(case: Case) -> None:
    size = 48 << 20
    async with (
        Simulator(10001, seed=case.seed, heartbeat=math.inf) as sim,
        case.relay() as relay,
        RecordingClient(record=False) as good,
        RecordingClient() as modest,
        AsyncExitStack() as stack,
    ):
        numbers = Numbers(sim)
        listener = await relay.listen("127.0.0.1", 0)
        with FaultProxy(port_of(await sim.listen()), receive_buffer=4096) as proxy:
            upstream = relay.add_upstream(f"ws://127.0.0.1:{proxy.port}")
            await upstream.ready()
            relay.add_client("good", await good.listen())
            await good.wait_for(lambda: len(good.meta) > 0)
            await modest.connect(f"{listener.url}/api")
            proxy.fault("up", stall=True)
            head = b'{"action":"upload_group_file","params":{"file":"'
            message = head + b"x" * (size - len(head) - 40) + b'"},"echo":"huge"}'
            senders = [await stack.enter_async_context(RecordingClient()) for _ in range(8)]
            for sender in senders:
                await sender.connect(f"{listener.url}/api")
            for sender in senders:
                sender.send(message)
                await anyio.lowlevel.checkpoint()

            def settled() -> int:
                calls = relay.statistics().calls
                return calls.forwarded + calls.failed + sum(not sender.links for sender in senders)

            await case.until(lambda: settled() >= 8, "all eight", 60)
            waiting = relay.traffic.calls._waiting.size
            failed = relay.statistics().calls.failed
            closed = sum(not sender.links for sender in senders)
            await numbers.emit(20)
            await case.until(lambda: good.count >= 20, "events meanwhile")
            case.figure("taken in", 8 - failed - closed, least=1, most=4)
            case.figure("refused with 1503", failed)
            case.figure("closed, for too much in unfinished messages of all", closed)
            case.figure("bytes of calls that wait", waiting / 2**20, " MiB", most=128 + 50)
            for sender in senders:
                codes = {answer["retcode"] for answer in sender.answers}
                case.check(codes <= {1503}, f"answered with {codes}")
                for link in sender.links:
                    link.abort()
            proxy.reset()
            proxy.fault("up")
            await case.until(
                lambda: upstream.statistics().connects == 2 and upstream.state == "connected", "another link", 40
            )
            case.check((await modest.call("get_status"))["status"] == "ok", "another client's call failed")
            await case.until(lambda: relay.traffic.calls._waiting.size == 0, "the bytes to be let go of")
