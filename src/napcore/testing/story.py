"""The demo's story: one script of troubles, through a relay and past it, side by side in one run.

Past it means what NapCat does by itself: it dials every bot and writes every event to each of
them, whatever that bot still has unread. Both ways get the same events at the same moments, and
their bots are of the same make.
"""

from __future__ import annotations

import math
import time
from array import array
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.lowlevel

from napcore.core.policy import Policy
from napcore.net.relay import Relay
from napcore.testing.client import RecordingClient
from napcore.testing.percentiles import percentile
from napcore.testing.simulator import Simulator

__all__ = ("Figures", "StoryResult", "run_story")

GROUPS: Final = 190
RATE: Final = 120.0
"""Events a second."""

SCRIPT: Final = (("normal", 8.0), ("blocked", 11.0), ("returned", 8.0), ("frozen", 10.0), ("released", 8.0))
"""What happens, and for how many seconds."""

BOTS: Final = ("one", "two", "three")
BLOCKED: Final = "three"
"""The bot whose loop a plugin blocks."""

LIFETIME: Final = 5.0
"""Seconds a message may wait for a bot here; it is stale when a bot gets it later than that."""

QUEUE: Final = 512
"""Events that may wait for a bot in napcore."""

REPLY_TO: Final = 5
"""Bots reply to one message in so many."""

BUFFER: Final = 128 << 10
"""SO_RCVBUF of the bots: less hides in the kernel."""

HEARTBEAT: Final = 0.5
"""Seconds between the upstream's heartbeats."""


@dataclass(frozen=True)
class Figures:
    """What one way has come to so far."""

    received: int
    """Events that reached the two healthy bots."""
    healthy_p99_ms: float | None
    """The 99th percentile of the milliseconds from the upstream's sending to a healthy bot."""
    waiting: int
    """Events on their way to the blocked bot now."""
    most_waiting: int
    """The most there ever were."""
    most_waiting_kib: float
    """The same in KiB, by the mean size of an event."""
    stale: int
    """Messages that reached a bot later than their lifetime after they were said."""
    oldest: float
    """The age of the oldest of them, in seconds."""
    dropped: int
    """Events dropped on purpose."""
    burst: int
    """The most replies the upstream got within one second after a recovery."""
    redials: int
    """Links to bots that had to be made again."""
    state: str
    """What the relay says of its upstream; empty where there is none."""


@dataclass(frozen=True)
class StoryResult:
    """Both ways at one moment of the story."""

    elapsed: float
    """Seconds since it began."""
    sent: int
    """Events the upstream has sent to each."""
    direct: Figures
    napcore: Figures


class _Way:
    """One way from an upstream to its bots."""

    def __init__(self, sim: Simulator, relay: Relay | None, lifetime: float) -> None:
        self.sim = sim
        self.relay = relay
        self.bots = {name: RecordingClient(record=False, receive_buffer=BUFFER) for name in BOTS}
        self.latencies = array("d")
        self.stale = 0
        self.oldest = 0.0
        self.most_waiting = 0
        self.said: dict[int, float] = {}
        self.replies: deque[float] = deque()
        self.burst = 0
        self.counting = False
        self._lifetime = lifetime
        self._sizes = [0, 0]
        sim.on_call = self._answer

    async def connect(self) -> None:
        policy = Policy(max_events=QUEUE, message_ttl=self._lifetime, notice_ttl=self._lifetime)
        for name, bot in self.bots.items():
            url = await bot.listen()
            bot.on_event = self._watcher(name, bot)
            if self.relay is None:
                self.sim.connect(url)
            else:
                self.relay.add_client(name, url, policy=policy)
        if self.relay is not None:
            self.relay.add_upstream(await self.sim.listen())
        for bot in self.bots.values():
            await bot.wait_for(lambda bot=bot: bool(bot.meta))  # type: ignore[misc]

    async def emit(self, event: dict[str, Any], said_at: float) -> None:
        if event["post_type"] == "message":
            self.said[event["message_id"]] = said_at
        await self.sim.emit(event)
        self.most_waiting = max(self.most_waiting, self.waiting)

    def freeze(self, frozen: bool) -> None:
        """Let the upstream read nothing, and so answer no pings; or read on."""
        for link in self.sim.links:
            if frozen:
                link.pause()
            else:
                link.resume()

    @property
    def waiting(self) -> int:
        return self.sim.sent - self.sim_meta - self.bots[BLOCKED].count - self.dropped(BLOCKED)

    sim_meta = 0
    """Heartbeats among what the upstream has sent."""

    def dropped(self, name: str | None = None) -> int:
        if self.relay is None:
            return 0
        sessions = [session for session in self.relay.statistics().clients if name in (None, session.name)]
        return sum(sum(session.dropped.values()) for session in sessions)

    def figures(self, size: float) -> Figures:
        p99 = percentile(self.latencies, 99)
        lifecycles = [sum(event["meta_event_type"] == "lifecycle" for event in bot.meta) for bot in self.bots.values()]
        states = [upstream.state for upstream in self.relay.statistics().upstreams] if self.relay is not None else [""]
        return Figures(
            received=sum(bot.count for name, bot in self.bots.items() if name != BLOCKED),
            healthy_p99_ms=None if p99 is None else round(p99 * 1000, 1),
            waiting=self.waiting,
            most_waiting=self.most_waiting,
            most_waiting_kib=round(self.most_waiting * size / 1024, 1),
            stale=self.stale,
            oldest=round(self.oldest, 1),
            dropped=self.dropped(),
            burst=self.burst,
            redials=sum(lifecycles) - len(lifecycles),
            state=states[0],
        )

    def _watcher(self, name: str, bot: RecordingClient) -> Callable[[dict[str, Any]], None]:
        messages = 0

        def watch(event: dict[str, Any]) -> None:
            nonlocal messages
            if event["post_type"] != "message":
                return
            messages += 1
            now, number = time.monotonic(), event["message_id"]
            sent = self.sim.sent_at(number)
            if name != BLOCKED and sent is not None:
                self.latencies.append(now - sent)
            age = now - self.said.get(number, now)
            if age > self._lifetime:
                self.stale += 1
                self.oldest = max(self.oldest, age)
            if messages % REPLY_TO == 0 and "group_id" in event:
                reply = {"action": "send_group_msg", "params": {"group_id": event["group_id"], "message": "收到"}}
                bot.send({**reply, "echo": number})

        return watch

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.counting and request["action"].startswith("send_"):
            now = time.monotonic()
            self.replies.append(now)
            while self.replies[0] <= now - 1.0:
                self.replies.popleft()
            self.burst = max(self.burst, len(self.replies))
        return self.sim.answer(request)


class _Source:
    """The events of both ways."""

    def __init__(self, ways: tuple[_Way, _Way], rate: float) -> None:
        self.frozen = False
        self.sent = 0
        self.bytes = 0
        self._ways = ways
        self._rate = rate
        self._held: deque[tuple[dict[str, Any], float]] = deque()
        self._events = ways[0].sim.events

    async def run(self) -> None:
        start = beat = time.monotonic()
        count = 0
        while True:
            count += 1
            await anyio.sleep(max(0.0, start + count / self._rate - time.monotonic()))
            now = time.monotonic()
            self._held.append((self._events.next(), now))
            if self.frozen:
                continue
            if now >= beat:
                beat = now + HEARTBEAT
                for way in self._ways:
                    way.sim_meta += 1
                    await way.sim.emit(self._events.heartbeat(HEARTBEAT))
            while self._held:
                event, said_at = self._held.popleft()
                self.sent += 1
                self.bytes += len(str(event))
                for way in self._ways:
                    await way.emit(event, said_at)


async def run_story(on_moment: Callable[[str, StoryResult], None] | None = None, *, pace: float = 1.0) -> StoryResult:
    """Play the script, and tell what each way made of it.

    A bot's loop is blocked and comes back; then the upstream freezes and lets go of all it held.
    ``on_moment`` is called with the name of each part of :data:`SCRIPT` as it begins, and with
    ``end``. ``pace`` below 1 shortens it, for tests.

    Raises:
        TimeoutError: the parts did not come together.
    """
    played: list[StoryResult] = []
    # Cancelled at the end, so that nobody waits for answers that the story has no more use for.
    with anyio.CancelScope() as scope:
        async with _stage(LIFETIME * pace) as ways:
            played.append(await _play(ways, on_moment, pace))
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    return played[0]


async def _play(
    ways: tuple[_Way, _Way], on_moment: Callable[[str, StoryResult], None] | None, pace: float
) -> StoryResult:
    source = _Source(ways, RATE)
    start = time.monotonic()

    def so_far() -> StoryResult:
        size = source.bytes / source.sent if source.sent else 0.0
        direct, napcore = (way.figures(size) for way in ways)
        return StoryResult(round(time.monotonic() - start, 1), source.sent, direct, napcore)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        for part, seconds in SCRIPT:
            if on_moment is not None:
                on_moment(part, so_far())
            for way in ways:
                if part == "blocked":
                    way.bots[BLOCKED].pause()
                if part == "returned":
                    way.bots[BLOCKED].resume()
                way.counting = part in ("returned", "released")
                way.freeze(part == "frozen")
            source.frozen = part == "frozen"
            await anyio.sleep(seconds * pace)
        result = so_far()
        if on_moment is not None:
            on_moment("end", result)
        tasks.cancel_scope.cancel()
    return result


@asynccontextmanager
async def _stage(lifetime: float) -> AsyncGenerator[tuple[_Way, _Way], None]:
    async with AsyncExitStack() as stack:
        sims = [Simulator(groups=GROUPS, seed=1, heartbeat=math.inf) for _ in range(2)]
        for sim in sims:
            await stack.enter_async_context(sim)
        relay = Relay()
        ways = _Way(sims[0], None, lifetime), _Way(sims[1], relay, lifetime)
        for way in ways:
            for bot in way.bots.values():
                await stack.enter_async_context(bot)
        await stack.enter_async_context(relay)
        for way in ways:
            await way.connect()
        yield ways
