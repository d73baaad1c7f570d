"""Jobs in order within a key and side by side across keys; slow, failing and endless ones; on every loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from blockbuster import BlockBuster

import napcore.net.workers
from napcore.net.workers import Turn, WorkerPool, release_turn

MARK: ContextVar[str] = ContextVar("MARK", default="clean")


class Gate:
    """Jobs that write down when they begin and go on when they are let."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        self._open: dict[Any, anyio.Event] = {}

    def job(self, name: Any) -> Any:
        self._open[name] = anyio.Event()

        async def work(turn: Turn) -> None:
            self.begun.append(name)
            await self._open[name].wait()
            self.ended.append(name)

        return work

    def open(self, *names: Any) -> None:
        for name in names:
            self._open[name].set()


def closes(pool: WorkerPool) -> None:
    found = pool.statistics()
    assert found.received == found.handled + found.running + found.queued + sum(found.dropped.values()), found


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "napcore.handlers"]


def line_of(work: Any, text: str) -> str:
    lines, first = inspect.getsourcelines(work)
    (offset,) = [number for number, line in enumerate(lines) if text in line]
    return f"{__file__}:{first + offset}"


async def test_jobs_of_one_key_run_in_order_and_others_beside_them() -> None:
    gate = Gate()
    async with WorkerPool() as pool:
        for name in ("a1", "a2", "b1", "a3"):
            assert pool.submit(gate.job(name), key=name[0], name=name)
        await anyio.wait_all_tasks_blocked()
        assert sorted(gate.begun) == ["a1", "b1"], "trio starts tasks in any order"
        gate.open("a2", "a3")
        await anyio.wait_all_tasks_blocked()
        assert sorted(gate.begun) == ["a1", "b1"]
        gate.open("a1")
        await anyio.wait_all_tasks_blocked()
        assert gate.ended == ["a1", "a2", "a3"]
        gate.open("b1")
    assert pool.statistics()[:6] == (4, 4, 0, 0, 0, 0)
    closes(pool)


async def test_no_more_run_at_once_than_there_are_workers() -> None:
    gate = Gate()
    async with WorkerPool(workers=3) as pool:
        for number in range(9):
            pool.submit(gate.job(number), key=number, name="one")
        await anyio.wait_all_tasks_blocked()
        assert sorted(gate.begun) == [0, 1, 2]
        gate.open(1)
        await anyio.wait_all_tasks_blocked()
        assert sorted(gate.begun) == [0, 1, 2, 3]
        found = pool.statistics()
        assert (found.running, found.queued, found.handled) == (3, 5, 1)
        gate.open(*range(9))
    assert pool.statistics().handled == 9


async def test_without_a_key_there_is_no_order() -> None:
    gate = Gate()
    async with WorkerPool() as pool:
        for number in range(3):
            pool.submit(gate.job(number), name="one")
        await anyio.wait_all_tasks_blocked()
        assert sorted(gate.begun) == [0, 1, 2]
        gate.open(0, 1, 2)


async def test_a_job_may_let_the_next_of_its_key_begin() -> None:
    begun: list[int] = []
    go = anyio.Event()

    async def work(turn: Turn) -> None:
        begun.append(len(begun))
        await anyio.lowlevel.checkpoint()
        assert begun[-1] == len(begun) - 1, "the next begins behind this one's first lines, never ahead"
        turn.release()
        turn.release()
        await go.wait()

    async with WorkerPool(workers=1) as pool:
        for _ in range(5):
            pool.submit(work, key="a", name="one")
        await anyio.wait_all_tasks_blocked()
        assert begun == [0, 1, 2, 3, 4]
        assert pool.statistics().released == 5
        go.set()
    assert pool.statistics()[:5] == (5, 5, 0, 0, 0)


async def test_a_handler_may_let_go_from_wherever_it_is() -> None:
    begun: list[str] = []
    go = anyio.Event()

    async def in_a_task(turn: Turn) -> None:
        begun.append("task")

        async def deeper() -> None:
            release_turn()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deeper)
            await go.wait()

    def in_a_thread(turn: Turn) -> None:
        begun.append("thread")
        release_turn()
        release_turn()
        anyio.from_thread.run(go.wait)

    async def last(turn: Turn) -> None:
        begun.append("last")
        go.set()

    release_turn()
    async with WorkerPool() as pool:
        pool.submit(in_a_task, key="a", name="one")
        pool.submit(in_a_thread, key="a", name="two", in_thread=True)
        pool.submit(last, key="a", name="three")
        with anyio.fail_after(10):
            await go.wait()
    assert begun == ["task", "thread", "last"]
    assert pool.statistics()[:5] == (3, 3, 0, 0, 0)


async def test_what_waits_is_bounded_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    async with WorkerPool(workers=1, max_jobs=2) as pool:
        answers = []
        for number in range(6):
            answers.append(pool.submit(gate.job(number), key="a", name="one"))
            await anyio.wait_all_tasks_blocked()
        assert answers == [True] * 6
        gate.open(*range(6))
    assert gate.ended == [0, 4, 5]
    assert pool.statistics().dropped == {"oldest": 3}
    assert told(caplog) == [
        "1 events were not handled: too many waited, and the oldest had to go; the handlers take too long",
        "2 events were not handled: too many waited, and the oldest had to go; the handlers take too long",
    ]
    closes(pool)


async def test_the_newest_may_be_refused() -> None:
    gate = Gate()
    async with WorkerPool(workers=1, max_jobs=1, overflow="drop_newest") as pool:
        assert pool.submit(gate.job(0), key="a", name="one")
        await anyio.wait_all_tasks_blocked()
        assert [pool.submit(gate.job(number), key="a", name="one") for number in (1, 2)] == [True, False]
        gate.open(*range(3))
    assert gate.ended == [0, 1]
    assert pool.statistics().dropped == {"newest": 1}


async def test_what_is_too_old_is_not_begun(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    now = [100.0]
    async with WorkerPool(workers=1, slow="off", clock=lambda: now[0]) as pool:
        for number in range(3):
            pool.submit(gate.job(number), key="a", name="one", ttl=(60.0, 5.0, math.inf)[number])
        await anyio.wait_all_tasks_blocked()
        now[0] += 5.0
        gate.open(*range(3))
        await anyio.wait_all_tasks_blocked()
        assert gate.ended == [0, 2]
        assert not pool.submit(gate.job(3), key="a", name="one", ttl=0.0)
    assert pool.statistics().dropped == {"ttl": 2}
    assert "1 events were not handled: they had waited past their lifetime; the handlers take too long" in told(caplog)


async def test_a_failure_is_logged_with_name_and_line_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(turn: Turn) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("planted")  # here

    def fail_in_a_thread(turn: Turn) -> None:
        [].index(1)  # and here

    async def in_tasks(turn: Turn) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail, turn)
            await anyio.sleep_forever()

    done = anyio.Event()

    async def work(turn: Turn) -> None:
        done.set()

    async with WorkerPool() as pool:
        pool.submit(fail, key="a", name="plugins.a:fail")
        pool.submit(fail_in_a_thread, key="a", name="plugins.b:fail", in_thread=True)
        pool.submit(in_tasks, key="a", name="plugins.c:fail")
        pool.submit(lambda turn: None, key="a", name="plugins.d:plain")
        pool.submit(work, key="a", name="plugins.e:fine")
        with anyio.fail_after(10):
            await done.wait()
    here = f"at {line_of(fail, 'here')} in fail"
    assert told(caplog) == [
        f"handler plugins.a:fail failed {here}",
        f"handler plugins.b:fail failed at {line_of(fail_in_a_thread, 'here')} in fail_in_a_thread",
        f"handler plugins.c:fail failed {here}",
    ]
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True] * 3
    assert pool.statistics()[:3] == (5, 5, 3)


async def test_a_cancellation_that_is_not_the_pools_is_a_failure(
    anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("only asyncio passes on what another task was told")
    gate = Gate()

    async def work(turn: Turn) -> None:
        other = asyncio.ensure_future(asyncio.sleep(60))
        other.cancel()
        await other

    async with WorkerPool() as pool:
        pool.submit(work, key="a", name="plugins.a:work")
        pool.submit(gate.job(1), key="a", name="plugins.b:work")
        gate.open(1)
    assert gate.ended == [1]
    assert pool.statistics()[:3] == (2, 2, 1)
    known = sys.version_info >= (3, 11)
    assert told(caplog)[0].startswith(f"handler plugins.a:work {'failed at ' if known else 'was cancelled'}")


async def test_a_task_that_asyncio_cancels_ends_alone(
    anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("only asyncio can cancel a task past anyio")
    gate = Gate()

    async def work(turn: Turn) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.lowlevel.checkpoint()

    async with WorkerPool() as pool:
        pool.submit(work, key="a", name="plugins.a:work")
        pool.submit(gate.job(1), key="a", name="plugins.b:work")
        gate.open(1)
    assert gate.ended == [1]
    assert pool.statistics()[:3] == (2, 2, 1)
    assert told(caplog) == ["handler plugins.a:work was cancelled"]


async def test_one_handler_does_not_see_the_context_of_another() -> None:
    seen: list[str] = []

    async def work(turn: Turn) -> None:
        seen.append(MARK.get())
        MARK.set("dirty")

    MARK.set("outer")
    async with WorkerPool() as pool:
        MARK.set("later")
        for _ in range(3):
            pool.submit(work, key="a", name="one")
    assert seen == ["outer"] * 3


async def test_jobs_submitted_before_it_serves_wait_for_it() -> None:
    gate = Gate()
    pool = WorkerPool()
    pool.submit(gate.job(1), key="a", name="one")
    assert pool.statistics().queued == 1
    gate.open(1)
    async with pool:
        await anyio.wait_all_tasks_blocked()
        assert gate.ended == [1]
    assert not pool.submit(gate.job(2), key="a", name="one")
    assert pool.statistics().dropped == {"shutdown": 1}


# Slow ones.


async def waits_here(event: anyio.Event) -> None:
    await event.wait()  # the line


async def test_a_slow_handler_is_named_with_its_line_and_nothing_waits_for_it(
    until: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()
    go = anyio.Event()

    async def slow(turn: Turn) -> None:
        await waits_here(go)

    async with WorkerPool(workers=1, slow=0.02) as pool:
        pool.submit(slow, key="a", name="plugins.weather:today")
        pool.submit(gate.job("a2"), key="a", name="plugins.other:fine")
        gate.open("a2")
        await until(lambda: gate.ended)
        (text,) = told(caplog)
        assert text.startswith("handler plugins.weather:today has run for 0.")
        assert f"at {line_of(waits_here, 'the line')} in waits_here" in text
        assert text.endswith("; what comes after it begins now, without waiting for its end")
        found = pool.statistics()
        assert (found.running, found.released, found.handled) == (1, 1, 1)
        go.set()
    assert pool.statistics()[:5] == (2, 2, 0, 0, 0)


async def test_one_that_has_let_go_is_not_told_of(until: Any, caplog: pytest.LogCaptureFixture) -> None:
    go = anyio.Event()

    async def long(turn: Turn) -> None:
        turn.release()
        await go.wait()

    async def slow(turn: Turn) -> None:
        await go.wait()

    async with WorkerPool(slow=0.02) as pool:
        pool.submit(long, key="a", name="plugins.quiz:play")
        pool.submit(slow, key="b", name="plugins.weather:today")
        await until(lambda: told(caplog))
        go.set()
    assert [text.split()[1] for text in told(caplog)] == ["plugins.weather:today"]


async def test_a_handler_that_waits_for_a_later_message_of_its_group_gets_it(until: Any) -> None:
    answers: list[str] = []
    asked: list[anyio.Event] = []

    async def handler(turn: Turn) -> None:
        if not asked:
            asked.append(anyio.Event())
            await asked[0].wait()
            answers.append("got it")
        else:
            asked[0].set()

    async with WorkerPool(workers=1, slow=0.02) as pool:
        pool.submit(handler, key="group", name="plugins.quiz:ask")
        pool.submit(handler, key="group", name="plugins.quiz:ask")
        await until(lambda: answers)


async def test_tasks_that_a_handler_waits_for_are_looked_into(until: Any, caplog: pytest.LogCaptureFixture) -> None:
    go = anyio.Event()

    async def slow(turn: Turn) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(waits_here, go)

    async with WorkerPool(slow=0.02) as pool:
        pool.submit(slow, name="plugins.weather:today")
        await until(lambda: told(caplog))
        go.set()
    (text,) = told(caplog)
    assert text.count(f"at {line_of(waits_here, 'the line')} in waits_here") == 1, "twice the same is told once"
    assert "in slow" not in text


async def test_many_places_are_counted(until: Any, caplog: pytest.LogCaptureFixture) -> None:
    go = anyio.Event()

    async def one() -> None:
        await go.wait()

    async def two() -> None:
        await go.wait()

    async def three() -> None:
        await go.wait()

    async def four() -> None:
        await go.wait()

    async def slow(turn: Turn) -> None:
        async with anyio.create_task_group() as tasks:
            for work in (one, two, three, four):
                tasks.start_soon(work)

    async with WorkerPool(slow=0.02) as pool:
        pool.submit(slow, name="plugins.weather:today")
        await until(lambda: told(caplog))
        go.set()
    assert "; and 1 more; what comes after it" in told(caplog)[0]


async def test_an_async_generator_on_the_way_hides_nothing(until: Any, caplog: pytest.LogCaptureFixture) -> None:
    go = anyio.Event()

    async def numbers() -> Any:
        yield 1
        await go.wait()

    async def slow(turn: Turn) -> None:
        async for _ in numbers():
            pass

    async with WorkerPool(slow=0.02) as pool:
        pool.submit(slow, name="plugins.weather:today")
        await until(lambda: told(caplog))
        go.set()
    assert f"at {line_of(slow, 'async for')} in slow" in told(caplog)[0]


def sleep_badly(go: threading.Event) -> None:
    go.wait(20)  # the line


@pytest.fixture
def no_wrappers(no_blocking_calls: BlockBuster) -> Iterator[None]:
    """Its wrapper would be the innermost line."""
    no_blocking_calls.deactivate()
    yield
    no_blocking_calls.activate()


@pytest.mark.usefixtures("no_wrappers")
async def test_a_slow_thread_is_named_with_its_line(until: Any, caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()

    def slow(turn: Turn) -> None:
        sleep_badly(go)

    async with WorkerPool(workers=2, threads=1, slow=0.02) as pool:
        pool.submit(slow, key="a", name="plugins.weather:today", in_thread=True)
        pool.submit(slow, key="b", name="plugins.stocks:today", in_thread=True)
        await until(lambda: len(told(caplog)) == 2)
        go.set()
    # Which of them has the thread is trio's choice.
    texts = told(caplog)
    assert sorted(text.split()[1] for text in texts) == ["plugins.stocks:today", "plugins.weather:today"]
    assert [f"at {line_of(sleep_badly, 'the line')} in sleep_badly" in text for text in texts].count(True) == 1
    assert [", waiting for a free thread; " in text for text in texts].count(True) == 1
    assert pool.statistics().handled == 2


async def test_the_same_handler_is_told_of_once_a_minute(until: Any, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    later = 0.0
    async with WorkerPool(workers=1, slow=0.02, clock=lambda: time.monotonic() + later) as pool:
        for number in range(3):
            pool.submit(gate.job(number), key="a", name="plugins.llm:chat")
        await until(lambda: pool.statistics().released == 3)
        assert len(told(caplog)) == 1
        later = 61.0
        pool.submit(gate.job(3), key="a", name="plugins.llm:chat")
        await until(lambda: len(told(caplog)) == 2)
        gate.open(*range(4))
    assert told(caplog)[1].endswith("without waiting for its end (2 more of it since this was last said)")


async def test_looking_fails_and_nothing_else(
    until: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(awaitable: object) -> str:
        raise AssertionError("planted")

    monkeypatch.setattr(napcore.net.workers, "place_of_awaitable", fail)
    gate = Gate()
    async with WorkerPool(slow=0.02) as pool:
        pool.submit(gate.job(1), name="one")
        await until(lambda: told(caplog))
        gate.open(1)
    assert "handler one has run for 0.0 s; what comes after it begins now" in told(caplog)[-1]
    assert pool.statistics().handled == 1


# The end.


async def test_leaving_waits_for_what_runs_and_waits() -> None:
    gate = Gate()
    async with anyio.create_task_group() as tasks:
        async with WorkerPool(workers=1) as pool:
            pool.submit(gate.job(1), key="a", name="one")
            pool.submit(gate.job(2), key="a", name="one")

            async def later() -> None:
                await anyio.wait_all_tasks_blocked()
                assert not pool.submit(gate.job(3), key="b", name="late")
                gate.open(1, 2)

            tasks.start_soon(later)
    assert gate.ended == [1, 2]
    assert pool.statistics() == (3, 2, 0, 0, 0, 0, 2, {"shutdown": 1})


async def test_leaving_is_bounded_and_says_who_is_in_the_way(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    cleaned: list[int] = []

    async def endless(turn: Turn) -> None:
        try:
            await waits_here(anyio.Event())
        finally:
            cleaned.append(1)

    async with WorkerPool(workers=2, drain=0.02) as pool:
        for number in range(12):
            pool.submit(endless, key=number, name="plugins.weather:today")
        pool.submit(gate.job(1), key=1, name="plugins.other:fine")
    assert len(cleaned) == 2
    assert pool.statistics()[:5] == (13, 0, 0, 0, 0)
    assert pool.statistics().dropped == {"shutdown": 13}
    texts = told(caplog)
    assert texts[0] == (
        "closing: handler plugins.weather:today has not ended within 0.02 s, "
        f"at {line_of(waits_here, 'the line')} in waits_here, inside {texts[0].rpartition('inside ')[2]}"
    )
    assert "13 events were not handled: they had not ended when the handlers were stopped" in texts or (
        sum(int(text.split()[0]) for text in texts if "when the handlers were stopped" in text) == 13
    )


async def test_many_in_the_way_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def endless(turn: Turn) -> None:
        await anyio.sleep_forever()

    async with WorkerPool(drain=0.01) as pool:
        for _ in range(13):
            pool.submit(endless, name="plugins.weather:today")
        await anyio.wait_all_tasks_blocked()
    assert "closing: nor have 3 others" in told(caplog)


async def test_a_thread_that_does_not_end_is_left_alone(until: Any) -> None:
    go = threading.Event()
    began = threading.Event()

    def slow(turn: Turn) -> None:
        began.set()
        go.wait(20)

    async with WorkerPool(drain=0.01) as pool:
        pool.submit(slow, key="a", name="plugins.weather:today", in_thread=True)
        await until(began.is_set)
    go.set()
    assert pool.statistics().dropped == {"shutdown": 1}


async def test_cancelling_the_block_cancels_what_runs() -> None:
    gate = Gate()
    with anyio.CancelScope() as scope:
        async with WorkerPool() as pool:
            pool.submit(gate.job(1), key="a", name="one")
            pool.submit(gate.job(2), key="a", name="one")
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert gate.begun == [1]
    assert pool.statistics()[:5] == (2, 0, 0, 0, 0)
    assert pool.statistics().dropped == {"shutdown": 2}


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    gate = Gate()
    pool = WorkerPool()

    async def fail() -> None:
        async with pool:
            pool.submit(gate.job(1), key="a", name="one")
            await anyio.wait_all_tasks_blocked()
            raise KeyError(1)

    with pytest.raises(KeyError):
        await fail()
    closes(pool)
    assert pool.statistics().running == 0


async def test_a_pool_that_was_closed_before_it_served_does_nothing() -> None:
    gate = Gate()
    pool = WorkerPool()
    pool.submit(gate.job(1), key="a", name="one")
    pool.close()
    await pool.serve()
    assert gate.begun == []
    assert pool.statistics().dropped == {"shutdown": 1}


async def test_thousands_of_jobs_go_through() -> None:
    orders: dict[int, list[int]] = {key: [] for key in range(20)}

    def job(key: int, number: int) -> Any:
        async def work(turn: Turn) -> None:
            if number % 3 == 0:
                await anyio.lowlevel.checkpoint()
            if number % 7 == 0:
                turn.release()
            orders[key].append(number)

        return work

    async with WorkerPool(workers=8, max_jobs="off") as pool:
        for number in range(4000):
            pool.submit(job(number % 20, number // 20), key=number % 20, name="one")
    assert all(sorted(order) == list(range(200)) for order in orders.values())
    found = pool.statistics()
    assert (found.handled, found.dropped) == (4000, {})
