"""Row 37 and the like: wall clocks that jump, or are apart."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from faults.case import Case
from faults.child import Child, python_child, start
from faults.program import run_program
from faults.rows.limits import client
from faults.stage import Numbers, ledgers, numbers_of
from faults.system import faketime_environment
from faults.table import row
from napcore import Policy, Relay
from napcore.testing import RecordingClient, Simulator

LIFETIME = 8.0
LEARNING = 130.0
HOUR, DAY = 3600.0, 86400.0


@row(
    "37",
    "the relay's wall clock jumps a day ahead, a day back, and by a second",
    "no timer fires, nothing expires, heartbeats stay regular",
)
async def jumping_clock(case: Case) -> None:
    with TemporaryDirectory() as folder:
        clock, still = Path(folder) / "clock", Path(folder) / "still"
        _set(clock, "+0")
        _set(still, "+0")
        async with (
            Simulator(10001, seed=case.seed, heartbeat=3.0) as sim,
            RecordingClient() as bot,
            RecordingClient(record=False) as control,
        ):
            upstream = f'[[upstream]]\nurl = "{await sim.listen()}"\n'
            config = upstream + client("bot", await bot.listen(), "heartbeat = 1.0")
            usual = upstream + client("control", await control.listen(), "heartbeat = 1.0")
            async with (
                run_program(case, config, environment=faketime_environment(clock)) as program,
                # The same, with the same tools, which cost time themselves; but nothing jumps.
                run_program(case, usual, environment=faketime_environment(still)),
                anyio.create_task_group() as tasks,
            ):
                numbers = Numbers(sim)
                beats = {one: _Beats(one) for one in (bot, control)}
                for one in (bot, control):
                    await one.wait_for(lambda one=one: len(one.meta) > 0)  # type: ignore[misc]
                    tasks.start_soon(beats[one].watch)
                for jump in ("+0", "+1d", "-1d", "+1", "-1"):
                    _set(clock, jump)
                    await numbers.run(50.0, 4.0)
                await bot.received(numbers.sent)
                program.child.signal(signal.SIGTERM)
                await program.child.over(40)
                stats = program.statistics()
                tasks.cancel_scope.cancel()
        # Else the clock has not been moved at all, and nothing was tried.
        case.figure("the relay's clock went from", min(beats[bot].apart) / HOUR, " h", most=-23.0)
        case.figure("to", max(beats[bot].apart) / HOUR, " h", least=23.0)
        # On a busy machine a relay whose clock is right may be late, too.
        late = max(beats[control].gaps())
        case.figure("longest between heartbeats", max(beats[bot].gaps()), " s", most=max(2.0, late + 0.5))
        case.note(f"{late:.2f} s beside it, where nothing jumps")
        case.figure("shortest", min(beats[bot].gaps()), " s", least=0.5)
        case.figure("events lost", sum(stats["bot"].dropped.values()), exactly=0)
        case.check(numbers_of(bot.events) == list(range(numbers.sent)), "not everything in order")
        case.figure("links", stats["bot"].connects, exactly=1)


def _set(clock: Path, to: str) -> None:
    # In one piece: a file that is empty for a moment is a jump of its own.
    clock.with_suffix(".new").write_text(f"{to}\n")
    clock.with_suffix(".new").replace(clock)


class _Beats:
    """When a client's heartbeats come, and how far the clock they carry is off."""

    def __init__(self, client: RecordingClient) -> None:
        self.apart: list[int] = []
        """In seconds."""
        self._client = client
        self._at: list[float] = []

    async def watch(self) -> None:
        """For ever."""
        client = self._client
        while True:
            await client.wait_for(lambda: len(client.meta) > 1 + len(self._at), timeout=60)
            self._at.append(time.monotonic())
            self.apart.append(client.meta[len(self._at)]["time"] - int(time.time()))

    def gaps(self) -> list[float]:
        """Seconds from one to the next."""
        return [later - earlier for earlier, later in zip(self._at, self._at[1:], strict=False)]


@row(
    "37a",
    "an upstream's clock is an hour ahead or behind, and steps by a day either way; it stands still for 12 s each time",
    "nothing fresh is lost, nothing stale is delivered",
    limit=400,
)
async def clocks_apart(case: Case) -> None:
    for apart, step in ((HOUR, DAY), (-HOUR, -DAY)):
        async with (
            start(case, python_child("peers.napcat", "--seed", case.seed, "--clock", apart)) as napcat,
            RecordingClient() as bot,
            case.relay() as relay,
        ):
            url = (await napcat.wait_for("ready", limit=40))["url"]
            relay.add_client("bot", await bot.listen(), policy=Policy(message_ttl=LIFETIME))
            await relay.add_upstream(url).ready()
            await bot.wait_for(lambda: len(bot.meta) > 0)
            watch = _Watch(case, napcat, relay, bot)
            await watch.fresh(f"{apart / HOUR:+.0f} h apart", 6.0)
            await watch.stale(f"{apart / HOUR:+.0f} h apart")
            napcat.tell(clock=apart + step)
            # Back, it takes two minutes of events that all look too old until the new time is believed.
            await watch.fresh(f"stepped by {step / DAY:+.0f} d", 6.0 if step > 0 else LEARNING)
            await watch.stale(f"stepped by {step / DAY:+.0f} d")


class _Watch:
    """Looks at what one upstream's events come to."""

    RATE = 20.0

    def __init__(self, case: Case, napcat: Child, relay: Relay, bot: RecordingClient) -> None:
        self._case = case
        self._napcat = napcat
        self._relay = relay
        self._bot = bot
        self._old: list[float] = []
        self._age: Callable[[int], float] = lambda number: 0.0
        bot.on_event = lambda event: self._old.append(self._age(event["message_id"]))

    async def fresh(self, when: str, seconds: float) -> None:
        """Nothing of what comes in time is lost."""
        case, before = self._case, self._lost()
        await self._run(seconds)
        case.check(self._lost() == before, f"{when}: {self._lost() - before} fresh events were lost")

    async def stale(self, when: str) -> None:
        """What is older than its lifetime is not delivered, what is younger is."""
        case, napcat = self._case, self._napcat
        before, self._old = self._lost(), []
        await self._run(2.0, freeze=LIFETIME + 4.0)
        del napcat
        lost = self._lost() - before
        # "time" is in whole seconds, and what is in flight when it gets stale is delivered.
        case.figure(f"{when}: oldest delivered", max(self._old), " s", most=LIFETIME + 2.0)
        case.figure(f"{when}: stale ones counted", lost, least=self.RATE * 2, most=self.RATE * 6)

    async def _run(self, seconds: float, freeze: float = 0.0) -> None:
        napcat = self._napcat
        states = len(napcat.said("state"))
        napcat.tell(rate=self.RATE)
        state = await napcat.wait_for("state", states + 1)
        began, first = state["at"], state["sent"]
        self._age = lambda number: time.monotonic() - (began + (number - first) / self.RATE)
        await anyio.sleep(seconds)
        if freeze:
            napcat.freeze()
            await anyio.sleep(freeze)
            napcat.thaw()
            await anyio.sleep(seconds)
        napcat.tell(rate=0)
        await anyio.sleep(0.5)
        states = len(napcat.said("state"))
        napcat.tell()
        sent = (await napcat.wait_for("state", states + 1))["sent"]
        await self._case.until(lambda: self._over(sent), "everything confirmed or counted", 60)

    def _over(self, sent: int) -> bool:
        ledger = ledgers(self._relay)["bot"]
        return ledger.received >= sent and ledger.queued == ledger.unconfirmed == 0

    def _lost(self) -> int:
        return sum(ledgers(self._relay)["bot"].dropped.values())
