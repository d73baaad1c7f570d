"""Rows 14, 15, 18, 19, 20, 22 and the states of 16: upstreams that are gone, silent, doubled, or refuse us."""

from __future__ import annotations

import json
import logging
import math
import time
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio

import napcore.core.liveness
import napcore.net.api
import napcore.net.link
import napcore.net.ws_client
from faults.case import Case
from faults.child import python_child, start
from faults.proxy import FaultProxy
from faults.stage import Numbers, ledgers, numbers_of
from faults.system import dropped_packets
from faults.table import row
from napcore import Relay
from napcore.core.backoff import Backoff
from napcore.testing import RecordingClient, Simulator


class Log(logging.Handler):
    """What was said from WARNING on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        logging.getLogger("napcore").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts.append(record.getMessage())

    def count(self, part: str) -> int:
        """Records with these words."""
        return sum(part in text for text in self.texts)


def state(relay: Relay) -> str:
    """That of its upstream."""
    return relay.statistics().upstreams[0].state


def take_for_remote() -> None:
    """Every peer for one on another machine, in this process."""
    vars(napcore.net.link)["is_loopback"] = lambda stream: False


def port_of(url: str) -> int:
    """The port in a URL."""
    return urlsplit(url).port or 0


@row(
    "14",
    "the upstream is killed, and started again after 3 s",
    "clients stay linked; it is dialled again, one at a time",
)
async def killed(case: Case) -> None:
    async with RecordingClient() as bot, case.relay() as relay:
        relay.add_client("bot", await bot.listen(), heartbeat=0.2)
        async with start(case, python_child("peers.napcat", "--seed", case.seed, "--rate", 50)) as first:
            url = (await first.wait_for("ready", limit=40))["url"]
            upstream = relay.add_upstream(url)
            await upstream.ready(40)
            await bot.received(20)
            first.kill()
            gone = time.monotonic()
            await case.until(lambda: state(relay) == "connecting", "the loss to be noticed")
        case.figure("noticed after", (time.monotonic() - gone) * 1e3, " ms", most=2000.0)
        await case.until(lambda: bot.meta[-1].get("status") == {"online": False, "good": False}, "an offline heartbeat")
        await anyio.sleep(max(0.0, gone + 3.0 - time.monotonic()))
        had = bot.count
        child = python_child("peers.napcat", "--seed", case.seed, "--rate", 50, "--listen", port_of(url))
        async with start(case, child) as second:
            await second.wait_for("ready", limit=40)
            back = time.monotonic()
            await case.until(lambda: bot.count > had, "events again")
            case.figure("events again after", time.monotonic() - back, " s", most=7.0)
            case.figure("links of the upstream", relay.statistics().upstreams[0].connects, exactly=2)
            case.figure("links of the client", ledgers(relay)["bot"].connects, exactly=1)
            case.check(
                relay.traffic.api.pacing.paces(1444683668, time.monotonic()), "messages are not paced afterwards"
            )


@row(
    "15",
    "the network towards a remote upstream is dead: packets vanish",
    "noticed by the heartbeat that does not come, within 2.5 of them and 5 s; dialled again",
    limit=120,
)
async def half_open(case: Case) -> None:
    take_for_remote()
    beat = 2.0
    async with Simulator(10001, seed=case.seed, heartbeat=beat) as sim, RecordingClient() as bot, case.relay() as relay:
        relay.add_client("bot", await bot.listen())
        await relay.add_upstream(await sim.listen()).ready()
        await case.until(lambda: relay.statistics().consumed >= 2, "a heartbeat")
        port = port_of(sim.url)
        with dropped_packets(port):
            dead = time.monotonic()
            await case.until(lambda: state(relay) != "connected", "the silence to be noticed", 60)
            noticed = time.monotonic() - dead
        # The same figures with the interval of NapCat's default, 30 s: 2.5 * 30 + 5, and 2 for our looks.
        case.figure("noticed after", noticed, " s", most=2.5 * beat + 5.0 + beat + 2.0)
        await case.until(lambda: state(relay) == "connected", "another link", 40)
        await sim.emit(sim.events.group_message())
        await case.until(lambda: bot.count >= 1, "events again")
        case.figure("links of the client", ledgers(relay)["bot"].connects, exactly=1)


@row(
    "16-state",
    "the upstream's process stands still; then one that answers pings, but no calls",
    "called stalled and kept, called stuck after a probe and kept; both end by themselves",
    limit=120,
)
async def stalled_and_stuck(case: Case) -> None:
    log = Log()
    async with RecordingClient() as bot, case.relay() as relay:
        relay.add_client("bot", await bot.listen(), heartbeat=0.2)
        child = python_child("peers.napcat", "--seed", case.seed, "--rate", 20, "--heartbeat", 1)
        async with start(case, child) as napcat:
            await relay.add_upstream((await napcat.wait_for("ready", limit=40))["url"]).ready(40)
            await case.until(lambda: relay.statistics().consumed >= 3, "heartbeats")
            napcat.freeze()
            frozen = time.monotonic()
            await case.until(lambda: state(relay) == "stalled", "stalled", 30)
            case.figure("called stalled after", time.monotonic() - frozen, " s", most=2.5 + 5.0 + 3.0)
            await case.until(
                lambda: bot.meta[-1].get("status") == {"online": False, "good": False}, "offline heartbeats"
            )
            had = bot.count
            napcat.thaw()
            await case.until(lambda: state(relay) == "connected" and bot.count > had, "it back")
            case.figure("links of the upstream", relay.statistics().upstreams[0].connects, exactly=1)
        case.figure("told", log.count("probably frozen"), exactly=1)
    napcore.net.api.SLOW = 1.0  # type: ignore[misc]
    napcore.core.liveness.PROBE_ANSWER = 1.0  # type: ignore[misc]
    napcore.core.liveness.PROBE_EVERY = 2.0  # type: ignore[misc]
    async with Simulator(10001, heartbeat=0.5) as sim, case.relay() as relay:
        silent = True
        sim.on_call = lambda request: None if silent else sim.answer(request)
        await relay.add_upstream(await sim.listen()).ready()

        async def ask() -> None:
            await relay.call("get_group_list", timeout=60.0)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await case.until(lambda: state(relay) == "stuck", "stuck", 20)
            await anyio.sleep(5.0)
            probes = sum(request["action"] == "get_status" for request in sim.calls)
            case.figure("probes in some 8 s", probes, least=2, most=6)
            silent = False
            await case.until(lambda: state(relay) == "connected", "it to answer", 20)
            tasks.cancel_scope.cancel()
        case.figure("links of the stuck upstream", relay.statistics().upstreams[0].connects, exactly=1)
        case.figure("told of stuck", log.count("is stuck"), exactly=1)


@row(
    "18",
    "an upstream has two links at a time, and sends everything on both",
    "each event passes once; the newest takes calls",
)
async def doubled(case: Case) -> None:
    async with (
        Simulator(10001, seed=case.seed, heartbeat=math.inf) as sim,
        RecordingClient() as bot,
        case.relay() as relay,
    ):
        listener = await relay.listen("127.0.0.1", 0)
        relay.add_client("bot", await bot.listen())
        numbers = Numbers(sim)
        sim.connect(listener.url, reconnect=0.2)
        await bot.wait_for(lambda: len(bot.meta) > 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(numbers.run, 200.0, 4.0)
            await anyio.sleep(0.5)
            # As NapCat does: another link, the old one not closed; and then the old one goes.
            sim.connect(listener.url, reconnect=0.2)
            await sim.wait_connected(2)
            newest = sim.links[-1]
            await anyio.sleep(1.0)
            await relay.call("get_status")
            case.check(relay.traffic.accounts.link(10001) is not None, "no link takes calls")
            sim.links[0].abort()
            await anyio.sleep(1.0)
            case.check(newest in sim.links, "the newest link was cut")
        await case.until(lambda: bot.count >= numbers.sent, "every event")
        await anyio.sleep(0.2)
        got = numbers_of(bot.events)
        case.figure("events", numbers.sent)
        case.figure("came twice and were dropped", relay.statistics().duplicates, least=100)
        case.figure("doubles", len(got) - len(set(got)), exactly=0)
        case.figure("missing", numbers.sent - len(set(got)), exactly=0)


@row(
    "19", "the upstream refuses our token, by a 1403 frame after the handshake", "the slow lane, told once", quick=True
)
async def refused(case: Case) -> None:
    log = Log()
    seconds = 10.0 if case.quick else 75.0
    async with Simulator(10001, token="right", seed=case.seed) as sim, case.relay() as relay:
        dials = 0
        take = sim._take

        async def count(stream: Any) -> None:
            nonlocal dials
            dials += 1
            await take(stream)

        sim._take = count  # type: ignore[method-assign]
        relay.add_upstream(await sim.listen(), token="wrong")
        await anyio.sleep(seconds)
        case.figure(f"dials in {seconds:g} s", dials, least=1, most=1 + seconds / 30)
        case.figure("told", log.count("it refused the token (1403)"), exactly=dials)
        case.check(state(relay) == "connecting", f"it is {state(relay)}")


@row(
    "20",
    "the upstream accepts and never answers the handshake",
    "a timeout, one dial at a time, jitter between",
    quick=True,
    limit=90,
)
async def hangs(case: Case) -> None:
    seconds, least, most_dials = (13.0, 1, 3) if case.quick else (36.0, 2, 5)
    async with Simulator(10001, seed=case.seed) as sim, case.relay() as relay:
        with FaultProxy(port_of(await sim.listen())) as proxy:
            proxy.door("hang")
            relay.add_upstream(f"ws://127.0.0.1:{proxy.port}")
            most = 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                most = max(most, _established(proxy.port))
                await anyio.sleep(0.02)
            case.figure("connections at one time", most, exactly=1)
            case.figure(f"dials in {seconds:g} s", proxy.accepted, least=least, most=most_dials)
            proxy.door("open")
            await case.until(lambda: state(relay) == "connected", "the link", 30)


@row(
    "22",
    "a bit of what the upstream sends is flipped on the way",
    "1002 or 1007, dialled again; no client gets rubbish",
)
async def corrupted(case: Case) -> None:
    vars(napcore.net.ws_client)["Backoff"] = partial(Backoff, base=0.01)
    rounds = 20
    recovered: list[float] = []
    async with (
        Simulator(10001, seed=case.seed, heartbeat=math.inf) as sim,
        RecordingClient() as bot,
        case.relay() as relay,
    ):
        numbers = Numbers(sim)
        relay.add_client("bot", await bot.listen())
        with FaultProxy(port_of(await sim.listen())) as proxy:
            await relay.add_upstream(f"ws://127.0.0.1:{proxy.port}").ready()
            await bot.wait_for(lambda: len(bot.meta) > 0)
            for _ in range(rounds):
                had = relay.statistics().upstreams[0].connects
                # A reserved bit in the first byte of a frame's head.
                proxy.fault("down", corrupt=1)
                await numbers.emit(1)
                start = time.monotonic()
                await case.until(lambda: state(relay) != "connected", "the bit to be noticed", 5)
                # Each connection gets its bit; the next one is to be good.
                proxy.fault("down")
                await case.until(lambda had=had: relay.statistics().upstreams[0].connects > had, "another link")  # type: ignore[misc]
                recovered.append(time.monotonic() - start)
                await sim.wait_for(lambda: len(sim.links) == 1)
            before = bot.count
            await numbers.emit(5)
            await case.until(lambda: bot.count >= before + 5, "events again")
        case.figure("bits flipped", rounds)
        case.figure("links made again", relay.statistics().upstreams[0].connects - 1, exactly=rounds)
        # The close handshake has 2 s, and the last of twenty dials in a row waits up to 5.
        case.figure("recovered in", max(recovered, default=0.0), " s", most=8.0)
        case.figure("links of the client", ledgers(relay)["bot"].connects, exactly=1)
        case.check(all(json.dumps(event) for event in bot.events), "a client got rubbish")


def _established(port: int) -> int:
    """Connections to a local port that are open now."""
    wanted = f":{port:04X}"
    found = 0
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            found += fields[2].endswith(wanted) and fields[3] == "01"
    return found
