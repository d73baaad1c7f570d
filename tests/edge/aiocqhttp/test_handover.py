"""The order, the bounds and the patience of handing events over."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

import napcore.edge.aiocqhttp.handover
from napcore.edge.aiocqhttp.handover import Handover
from napcore.testing.change import Change

LATER = ContextVar("LATER", default=0)


class Clock:
    """The clock of the handover, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        monkeypatch.setattr(napcore.edge.aiocqhttp.handover, "time", self)

    def monotonic(self) -> float:
        return self.now


class Handlers:
    """Handlers that write down when they begin, and go on when they are told."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}

        self._change = Change()

    async def begun_all(self, count: int) -> None:
        await self._change.wait_for(lambda: len(self.begun) >= count, 10, lambda: f"begun: {self.begun}")

    def handler(self, number: int) -> Callable[[list[Any]], Coroutine[Any, Any, None]]:
        async def begin(tasks: list[Any]) -> None:
            self.begun.append(number)
            self.gates[number] = asyncio.Event()
            self._change.notify()
            await self.gates[number].wait()

        return begin

    async def end(self, *numbers: int) -> None:
        for number in numbers:
            self.gates[number].set()
        await anyio.wait_all_tasks_blocked()


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


def offer(handover: Handover, handlers: Handlers, key: Any, *numbers: int, expiry: float = math.inf) -> None:
    for number in numbers:
        handover.offer(key, handlers.handler(number), "message.group", expiry)


async def test_one_conversation_is_in_order_and_others_do_not_wait(handlers: Handlers) -> None:
    handover = Handover(patience=1e6)
    offer(handover, handlers, "a", 1, 2, 3)
    offer(handover, handlers, "b", 4, 5)
    offer(handover, handlers, None, 6, 7)
    await anyio.wait_all_tasks_blocked()
    assert handlers.begun == [1, 4, 6, 7]
    assert (handover.statistics().running, handover.statistics().waiting) == (4, 3)
    await handlers.end(1)
    assert handlers.begun[4:] == [2]
    await handlers.end(4, 2)
    assert handlers.begun[5:] == [5, 3]
    await handlers.end(3, 5, 6, 7)
    statistics = handover.statistics()
    assert (statistics.received, statistics.handled, statistics.running, statistics.waiting) == (7, 7, 0, 0)


async def test_a_handler_that_waits_for_a_later_event_of_its_group_gets_it(handlers: Handlers) -> None:
    handover = Handover(patience=0.02)
    answer = asyncio.Event()
    over = asyncio.Event()

    async def ask(tasks: list[Any]) -> None:
        await answer.wait()
        over.set()

    async def reply(tasks: list[Any]) -> None:
        answer.set()

    handover.offer("a", ask, "message.group")
    handover.offer("a", reply, "message.group")
    with anyio.fail_after(10):
        await over.wait()


async def test_nobody_waits_for_one_that_takes_long_already(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    handover = Handover(patience=0.5)
    offer(handover, handlers, "a", 1)
    await anyio.wait_all_tasks_blocked()
    clock.now += 0.6
    offer(handover, handlers, "a", 2)
    await anyio.wait_all_tasks_blocked()
    assert handlers.begun == [1, 2]
    await handlers.end(1, 2)


async def test_each_waits_no_longer_than_its_patience_and_the_order_stays(handlers: Handlers) -> None:
    handover = Handover(patience=0.01)
    offer(handover, handlers, "a", *range(50))
    with anyio.fail_after(10):
        await handlers.begun_all(50)
    assert handlers.begun == list(range(50))
    await handlers.end(*range(50))


async def test_what_has_waited_past_its_lifetime_is_not_begun(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    handover = Handover(patience=1e6)
    offer(handover, handlers, "a", 1)
    offer(handover, handlers, "a", 2, expiry=clock.now + 60)
    offer(handover, handlers, "a", 3, expiry=clock.now + 600)
    offer(handover, handlers, "b", 4, expiry=clock.now)
    await anyio.wait_all_tasks_blocked()
    clock.now += 61
    await handlers.end(1)
    assert handlers.begun == [1, 3]
    assert handover.statistics().stale == 2
    await handlers.end(3)


async def test_there_is_room_again_when_one_has_ended(handlers: Handlers) -> None:
    handover = Handover(places=3, patience=1e6)
    offer(handover, handlers, "a", 1, 2)
    with anyio.fail_after(1):
        await handover.room()
    offer(handover, handlers, "b", 3)
    entered = []

    async def enter() -> None:
        await handover.room()
        entered.append(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        await anyio.wait_all_tasks_blocked()
        assert entered == [], "one that waits for its turn counts too"
        await handlers.end(3)
        assert entered == [1]
    await handlers.end(1)
    await handlers.end(2)


async def test_handlers_that_take_long_are_told_of_and_free_their_places(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "napcore")
    clock = Clock(monkeypatch)
    handover = Handover(places=2, max_running=3)
    offer(handover, handlers, "a", 1)
    offer(handover, handlers, "b", 2)
    await anyio.wait_all_tasks_blocked()
    clock.now += 4.9
    handover.look()
    assert caplog.text == ""
    clock.now += 0.2
    handover.look()
    handover.look()
    assert caplog.text.count("a handler of message.group has run for 5 s, at ") == 1, "the same line, once a minute"
    assert f"{__file__}:" in caplog.text
    assert "in begin" in caplog.text
    with anyio.fail_after(1):
        await handover.room()
    offer(handover, handlers, "c", 3)
    await anyio.wait_all_tasks_blocked()
    assert handlers.begun == [1, 2, 3]
    # The bound on what runs however long it takes, and what becomes of that in the end.
    waiting = asyncio.ensure_future(handover.room())
    await anyio.wait_all_tasks_blocked()
    assert not waiting.done()
    clock.now += 595
    handover.look()
    await waiting
    assert handover.statistics().handled == 2, "given up"
    await handlers.end(1, 2, 3)
    assert (handover.statistics().handled, handover.statistics().running) == (3, 0)


async def test_one_that_raises_is_told_of_and_ends_nothing_else(
    handlers: Handlers, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(tasks: list[Any]) -> None:
        raise ValueError("broken plugin")

    handover = Handover(patience=1e6)
    handover.offer("a", fail, "message.group")
    offer(handover, handlers, "a", 1)
    await anyio.wait_all_tasks_blocked()
    assert handlers.begun == [1]
    assert "a handler of message.group failed" in caplog.text
    assert "broken plugin" in caplog.text
    await handlers.end(1)
    assert (handover.statistics().handled, handover.statistics().failed) == (2, 1)


async def test_a_handler_that_is_cancelled_makes_way(handlers: Handlers) -> None:
    handover = Handover(patience=1e6)
    running: list[Any] = []

    async def wait(tasks: list[Any]) -> None:
        running.append(asyncio.current_task())
        await asyncio.sleep(math.inf)

    handover.offer("a", wait, "message.group")
    offer(handover, handlers, "a", 1)
    await anyio.wait_all_tasks_blocked()
    running[0].cancel()
    await anyio.wait_all_tasks_blocked()
    assert handlers.begun == [1]
    await handlers.end(1)


async def test_handlers_do_not_see_each_others_context(handlers: Handlers) -> None:
    found = []

    async def look(tasks: list[Any]) -> None:
        found.append(LATER.get())
        LATER.set(1)

    handover = Handover(patience=1e6)
    for _ in range(3):
        handover.offer("a", look, "message.group")
    await anyio.wait_all_tasks_blocked()
    assert found == [0, 0, 0]


async def test_after_the_end_nothing_is_begun_and_what_runs_goes_on(handlers: Handlers) -> None:
    handover = Handover(patience=0.02)
    offer(handover, handlers, "a", 1, 2)
    await anyio.wait_all_tasks_blocked()
    handover.close()
    offer(handover, handlers, "b", 3)
    await handlers.end(1)
    assert handlers.begun == [1]
    assert handover.statistics().handled == 1
