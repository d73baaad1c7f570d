"""Rows 2, 17, 40 and 41: memory, a burst, the end under load, and little CPU time."""

from __future__ import annotations

import signal
import time
from contextlib import AsyncExitStack

import anyio

from faults.case import Case
from faults.program import run_program
from faults.stage import Numbers, numbers_of
from faults.system import cgroup, peak_resident, resident
from faults.table import row
from napcore.testing import RecordingClient, Simulator
from napcore.testing.answers import encode

LANE = 4 << 20
"""``max_bytes`` of a client, its default."""

SOCKET = 64 << 10
FACTOR = 1.5
"""What the allocator may add."""


def client(name: str, url: str, more: str = "") -> str:
    """A client in a configuration."""
    return f'[[client]]\nname = "{name}"\nurl = "{url}"\n{more}\n'


@row(
    "2",
    "all clients stop reading, each with events of its own, in a memory cgroup of the size of their bounds",
    "no OOM kill, the upstream is never held up",
    limit=240,
)
async def all_stop_reading(case: Case) -> None:
    count, size = 16, 4 << 10
    bound = count * (LANE + SOCKET + size)
    async with AsyncExitStack() as stack:
        group = stack.enter_context(cgroup("memory"))
        sim = await stack.enter_async_context(Simulator(10001, groups=list(range(1, count + 1)), seed=case.seed))
        bots = [
            await stack.enter_async_context(RecordingClient(record=False, receive_buffer=4096)) for _ in range(count)
        ]
        config = f'[[upstream]]\nurl = "{await sim.listen()}"\n'
        for number, bot in enumerate(bots, 1):
            config += client(f"bot{number}", await bot.listen(), f"groups = [{number}]")
        program = await stack.enter_async_context(run_program(case, config, cgroup=group))
        for bot in bots:
            await bot.wait_for(lambda bot=bot: len(bot.meta) > 0)  # type: ignore[misc]
            bot.pause()
        idle = resident(program.child.pid)
        limit = int(idle + FACTOR * bound)
        (group / "memory.limit_in_bytes").write_text(str(limit))
        # Twice what all lanes hold.
        pieces = [encode(sim.events.group_message(group_id, message="x" * size)) for group_id in sim.events.groups]
        longest = 0.0
        for _ in range(2 * LANE // size):
            start = time.monotonic()
            for piece in pieces:
                await sim.emit(piece)
            for link in sim.links:
                await link.drained()
            longest = max(longest, time.monotonic() - start)
        await anyio.sleep(1.0)
        case.check(program.child.returncode is None, f"the relay ended with {program.child.returncode} (-9: OOM kill)")
        peak = peak_resident(program.child.pid)
        case.figure("peak memory against the limit", peak / limit, "x", most=1.0)
        case.note(f"{idle / 2**20:.0f} MiB idle, {peak / 2**20:.0f} at most, bounds {bound / 2**20:.0f} MiB")
        case.figure("longest wait of the upstream", longest * 1e3, " ms", most=1000.0)
        case.check(len(sim.links) == 1, "the upstream's link was closed")
        for bot in bots:
            bot.resume()
        program.child.signal(signal.SIGTERM)
        await program.child.over(40)
        lost = program.statistics()
        case.figure("dropped", sum(sum(one.dropped.values()) for one in lost.values()), least=count)
        kinds = {reason for one in lost.values() for reason in one.dropped}
        case.check(kinds <= {"oldest", "ttl", "uncertain", "shutdown"}, f"lost: {kinds}")


@row(
    "17",
    "an upstream sends 20,000 events in one go",
    "losses by policy only, memory within the bounds, the upstream is never held up",
    limit=240,
)
async def burst(case: Case) -> None:
    total = 20_000
    async with (
        Simulator(10001, seed=case.seed) as sim,
        RecordingClient() as good,
        RecordingClient() as slow,
    ):
        config = f'[[upstream]]\nurl = "{await sim.listen()}"\n'
        config += client("good", await good.listen()) + client("slow", await slow.listen())
        async with run_program(case, config) as program:
            for bot in (good, slow):
                await bot.wait_for(lambda bot=bot: len(bot.meta) > 0)  # type: ignore[misc]
            slow.delay = 0.001
            before = resident(program.child.pid)
            pieces = []
            for number in range(total):
                event = sim.events.group_message()
                event["message_id"] = number
                pieces.append(encode(event))
            (link,) = sim.links
            start = time.monotonic()
            for piece in pieces:
                link.send(piece)
            sent = time.monotonic()
            await link.drained()
            taken = time.monotonic() - start
            case.note(f"made ready in {sent - start:.2f} s")
            # 20 MB in all: whoever reads without waiting for anybody needs a second or two beside others.
            case.figure("taken in", taken, " s", most=5.0)
            await anyio.sleep(3.0)
            slow.delay = 0.0
            peak = peak_resident(program.child.pid)
            case.figure("memory", (peak - before) / 2**20, " MiB", most=FACTOR * 2 * (LANE + SOCKET) / 2**20 + 2)
            await anyio.sleep(3.0)
            program.child.signal(signal.SIGTERM)
            await program.child.over(40)
            for name, ledger in program.statistics().items():
                bot = good if name == "good" else slow
                got = numbers_of(bot.events)
                lost = sum(ledger.dropped.values())
                case.figure(f"{name}: delivered or counted", len(set(got)) + lost, exactly=total)
                case.note(f"{name} lost {ledger.dropped}")
                case.check(got == sorted(set(got)), f"{name}: out of order, or doubled")
                case.check(ledger.dropped.keys() <= {"oldest", "ttl", "shutdown"}, f"{name} lost {ledger.dropped}")
                case.figure(f"{name}: links", ledger.connects, exactly=1)


@row(
    "40",
    "SIGTERM under load, with a client that does not read and a call without an answer; once more with a second signal",
    "over within 30 s, clients closed with 1012, the ledger closes; the second signal ends it at once",
    limit=120,
)
async def terminated(case: Case) -> None:
    for twice in (False, True):
        async with (
            Simulator(10001, seed=case.seed) as sim,
            RecordingClient(record=False) as good,
            RecordingClient(record=False, receive_buffer=4096) as stalled,
            anyio.create_task_group() as tasks,
        ):
            sim.on_call = lambda request: None
            config = f'[[upstream]]\nurl = "{await sim.listen()}"\n'
            config += client("good", await good.listen()) + client("stalled", await stalled.listen())
            async with run_program(case, config) as program:
                for bot in (good, stalled):
                    await bot.wait_for(lambda bot=bot: len(bot.meta) > 0)  # type: ignore[misc]
                stalled.pause()
                sim.start(500.0)
                await anyio.sleep(3.0)
                good.send({"action": "get_status"})
                await sim.wait_called()
                (link,) = good.links
                start = time.monotonic()
                program.child.signal(signal.SIGTERM)
                if twice:
                    await anyio.sleep(1.0)
                    start = time.monotonic()
                    program.child.signal(signal.SIGTERM)
                code = await program.child.over(40)
                took = time.monotonic() - start
                case.check(code == 0, f"it ended with {code}")
                case.figure("over after a second signal" if twice else "over", took, " s", most=1.5 if twice else 30.0)
                stats = program.statistics()
                if not twice and stats:
                    case.check(link.close_code == 1012, f"the good client was closed with {link.close_code}")
                    case.figure("lost by the good one", sum(stats["good"].dropped.values()), exactly=0)
                if stats:
                    case.note(f"the stalled one lost {stats['stalled'].dropped}")
            tasks.cancel_scope.cancel()


@row("41", "the relay has 20 % of a processor", "slower, but nobody is taken for dead and nothing is lost", limit=120)
async def little_time(case: Case) -> None:
    async with AsyncExitStack() as stack:
        group = stack.enter_context(cgroup("cpu", cfs_period_us=100_000, cfs_quota_us=20_000))
        sim = await stack.enter_async_context(Simulator(10001, seed=case.seed, heartbeat=3.0))
        bots = {name: await stack.enter_async_context(RecordingClient()) for name in ("one", "two", "three")}
        config = f'[[upstream]]\nurl = "{await sim.listen()}"\n'
        for name, bot in bots.items():
            config += client(name, await bot.listen())
        program = await stack.enter_async_context(run_program(case, config, cgroup=group))
        for bot in bots.values():
            await bot.wait_for(lambda bot=bot: len(bot.meta) > 0, timeout=30)  # type: ignore[misc]
        numbers = Numbers(sim)
        await numbers.run(100.0, 30.0)
        # And more than it can do.
        await numbers.emit(3000)
        for name, bot in bots.items():
            await case.until(lambda bot=bot: bot.count >= numbers.sent, f"everything at {name}", 40)  # type: ignore[misc]
        program.child.signal(signal.SIGTERM)
        await program.child.over(60)
        stats = program.statistics()
        throttled = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
        case.figure("periods throttled", int(throttled["nr_throttled"]), least=1)
        case.figure("links lost", sum(one.connects - 1 for one in stats.values()), exactly=0)
        case.figure("events lost", sum(sum(one.dropped.values()) for one in stats.values()), exactly=0)
        for name, bot in bots.items():
            case.check(numbers_of(bot.events) == list(range(numbers.sent)), f"{name} did not get everything in order")
