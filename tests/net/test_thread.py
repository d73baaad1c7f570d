"""A relay in a thread of its own, used from asyncio, uvloop, trio, and no loop at all."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

import napcore.net.crossing
import napcore.net.mailbox
from napcore import (
    BadEvent,
    CallTimeout,
    Config,
    ConfigError,
    Event,
    Filter,
    NotSent,
    Policy,
    Relay,
    RelayThread,
    start_thread,
)
from napcore.core.stats import RelayStatistics
from napcore.net.mailbox import Mailbox, current_wake
from napcore.testing import Simulator

LISTEN = Config.from_dict({"listen": {"host": "127.0.0.1", "port": 0}})


@pytest.fixture(params=["asyncio", "trio"])
def thread(request: pytest.FixtureRequest) -> Iterator[RelayThread]:
    """A relay's thread, with its own backend; the test's loop is whatever it is."""
    with start_thread(LISTEN, backend=request.param, watchdog=False) as thread:
        yield thread


class Clock:
    """The clock of a loop that has stood still meanwhile."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead


async def come_to(thread: RelayThread, condition: Callable[[RelayStatistics], object]) -> None:
    with anyio.fail_after(10):
        while not condition(await thread.statistics()):
            # Its answer is one round through the relay's loop later.
            pass


@asynccontextmanager
async def napcat(thread: RelayThread) -> AsyncIterator[Simulator]:
    async with Simulator(10001) as sim:
        sim.connect(thread.urls[0])
        await come_to(thread, lambda found: found.accounts)
        yield sim


def message(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "post_type": "message",
        "message_type": "group",
        "self_id": 10001,
        "group_id": 5,
        "user_id": 7,
        "message_id": number,
        **fields,
    }


def threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("napcore-"))


# Beginning and end.


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_listens_once_it_is_there_and_is_gone_after_it(backend: Any) -> None:
    with start_thread(LISTEN, backend=backend) as thread:
        assert threads() == ["napcore-relay", "napcore-watchdog"]
        port = int(thread.urls[0].rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port)).close()
        assert thread.failed is None
        thread.stop()
        thread.stop()
    assert threads() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert anyio.run(thread.statistics).uptime == 0.0


def test_a_port_that_is_taken_is_told_here() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = Config.from_dict({"listen": {"host": "127.0.0.1", "port": taken.getsockname()[1]}})
        with pytest.raises(OSError, match="the port is in use by another program"):
            start_thread(config)
    assert threads() == []


def test_mistakes_in_the_configuration_are_told_here() -> None:
    with pytest.raises(ConfigError, match="backend must be"):
        start_thread(LISTEN, backend="curio")  # type: ignore[arg-type]
    assert threads() == []


def test_one_that_does_not_come_to_listening_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    listen = Relay.listen

    async def slow(self: Relay, *args: Any, **options: Any) -> Any:
        await anyio.to_thread.run_sync(go.wait)
        return await listen(self, *args, **options)

    monkeypatch.setattr(Relay, "listen", slow)
    with pytest.raises(TimeoutError, match="does not listen within 0.05 s"):
        start_thread(LISTEN, timeout=0.05)
    go.set()
    # The relay's own first: the watchdog's ends with it.
    for name in ("napcore-relay", "napcore-watchdog"):
        for thread in threading.enumerate():
            if thread.name == name:
                thread.join(10)
    assert threads() == []


def test_it_cannot_wait_for_itself() -> None:
    with start_thread(LISTEN, watchdog=False) as thread:
        told: list[BaseException] = []
        done = threading.Event()

        def inside() -> None:
            for work in (thread.stop, lambda: thread.call_sync("get_status")):
                try:
                    work()
                except RuntimeError as error:
                    told.append(error)
            done.set()

        thread._relay.inbox.post(inside)
        assert done.wait(10)
        assert len(told) == 2


async def test_after_the_end_nothing_is_taken() -> None:
    thread = await anyio.to_thread.run_sync(lambda: start_thread(LISTEN, watchdog=False))
    await anyio.to_thread.run_sync(thread.stop)
    with pytest.raises(NotSent):
        await thread.call("get_status")
    with pytest.raises(NotSent):
        await anyio.to_thread.run_sync(lambda: thread.call_sync("get_status"))
    with pytest.raises(RuntimeError, match="not running"):
        thread.publish(message(1))
    with pytest.raises(RuntimeError, match="has ended"):
        async with thread.subscribe():
            raise AssertionError("there is nothing to subscribe to")


# Calls.


async def test_calls_from_this_loop(thread: RelayThread) -> None:
    async with napcat(thread) as sim:
        assert (await thread.call("get_login_info"))["user_id"] == 10001
        assert await thread.account(10001).get_status() == sim.answer({"action": "get_status"})["data"]
        event = Event.from_dict(message(7))
        assert isinstance(await thread.send(event, "hi"), int)
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(thread.call, "get_group_list")
        assert sim.called == 53


async def test_the_accounts_that_can_be_called(thread: RelayThread) -> None:
    assert thread.accounts == ()
    thread.publish(message(1, self_id=10002))
    async with napcat(thread):
        await come_to(thread, lambda found: len(found.accounts) == 2)
        assert thread.accounts == (10001,)
    await come_to(thread, lambda found: not any(upstream.state == "connected" for upstream in found.upstreams))
    assert thread.accounts == ()


async def test_a_call_nobody_answers(thread: RelayThread) -> None:
    async with napcat(thread) as sim:
        sim.on_call = lambda request: None
        with pytest.raises(CallTimeout):
            await thread.call("get_status", timeout=0.02)
        with anyio.move_on_after(0.02):
            await thread.call("get_status")
        with pytest.raises(CallTimeout):
            await anyio.to_thread.run_sync(lambda: thread.call_sync("get_status", timeout=0.02))
        await come_to(thread, lambda found: not thread._relay.traffic.calls.waiting)
        sim.on_call = None
        assert await thread.call("get_status")


async def test_calls_without_a_loop(thread: RelayThread) -> None:
    async with napcat(thread):
        found = await anyio.to_thread.run_sync(lambda: thread.call_sync("get_login_info"))
        assert found["user_id"] == 10001
        with pytest.raises(NotSent):
            await anyio.to_thread.run_sync(lambda: thread.call_sync("get_status", self_id=10002))


# Events.


async def test_events_reach_this_loop_in_order_and_in_batches(thread: RelayThread) -> None:
    wakes = 0
    async with thread.subscribe(Filter(groups={5})) as events:
        mailbox = events._mailbox
        wake = mailbox._wake

        def count(work: Any) -> None:
            nonlocal wakes
            wakes += 1
            wake(work)

        mailbox._wake = count
        for number in range(1, 501):
            thread.publish(message(number))
            thread.publish(message(number, group_id=6))
        assert [(await anext(events)).message_id for _ in range(500)] == list(range(1, 501))
        assert events.missed == 0
    assert wakes <= 100, "not one for each event"


async def test_the_bounds_of_a_subscription_hold_while_this_loop_stands_still(thread: RelayThread) -> None:
    async with thread.subscribe(policy=Policy(max_events=10)) as events:
        for number in range(1, 6):
            thread.publish(message(number))
        assert (await anext(events)).message_id == 1
        for number in range(6, 1001):
            thread.publish(message(number))
        await come_to(thread, lambda found: found.received == 1000)
        seen = []
        with anyio.move_on_after(1.0):
            while not seen or seen[-1] != 1000:
                seen.append((await anext(events)).message_id)
        assert seen == sorted(set(seen)), "in order, once each"
        assert seen[-1] == 1000
        assert events.missed == 999 - len(seen)


async def test_what_crossed_over_is_dropped_past_its_lifetime(
    thread: RelayThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with thread.subscribe(name="slow") as events:
        for number in range(1, 11):
            thread.publish(message(number))
        thread.publish({"post_type": "notice", "notice_type": "group_upload", "self_id": 10001, "group_id": 5})
        seen = [(await anext(events)).message_id for _ in range(3)]
        assert 55 < events.deadline - time.monotonic() <= 60
        monkeypatch.setattr(napcore.net.crossing, "time", Clock(61.0))
        assert (await anext(events)).kind == "notice.group_upload"
        assert 595 < events.deadline - time.monotonic() <= 600
        assert seen == [1, 2, 3]
        assert events.missed == 7
    assert "client slow lost 7 events" in caplog.text


async def test_iteration_ends_with_the_relay(thread: RelayThread) -> None:
    seen = []

    async def follow() -> None:
        async with thread.subscribe() as events:
            subscribed.set()
            async for event in events:
                seen.append(event.message_id)
                got.set()

    subscribed, got = anyio.Event(), anyio.Event()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await subscribed.wait()
            thread.publish(message(1))
            await got.wait()
            await anyio.to_thread.run_sync(thread.stop)
    assert seen == [1]


async def test_a_name_that_is_taken(thread: RelayThread) -> None:
    async with thread.subscribe(name="one"):
        with pytest.raises(ValueError, match="one"):
            async with thread.subscribe(name="one"):
                raise AssertionError("it is taken")
    async with thread.subscribe(name="one"):
        pass


async def test_leaving_a_subscription_ends_it_in_the_relay(thread: RelayThread) -> None:
    async with thread.subscribe():
        assert len((await thread.statistics()).clients) == 1
    await come_to(thread, lambda found: not found.clients)


async def test_bad_events_are_refused_here(thread: RelayThread) -> None:
    with pytest.raises(BadEvent):
        thread.publish(b'{"a":')
    assert (await thread.statistics()).received == 0


async def test_links_go_on_while_this_loop_is_blocked(thread: RelayThread) -> None:
    async with napcat(thread):
        port = int(thread.urls[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as bot, thread_emitting(thread):
            key = b"dGhlIHNhbXBsZSBub25jZQ=="
            bot.sendall(
                b"GET /event HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
            )
            bot.settimeout(10)
            received = b""
            # This loop stands still: everything below is blocking. Without a pong the window closes.
            while received.count(b'"raw_message":"while"') < 30:
                received += bot.recv(65536)


@contextmanager
def thread_emitting(thread: RelayThread) -> Iterator[None]:
    """A plugin elsewhere that goes on publishing."""
    end = threading.Event()

    def emit() -> None:
        number = 0
        while not end.wait(0.005):
            number += 1
            thread.publish(message(number, raw_message="while"))

    emitter = threading.Thread(target=emit)
    emitter.start()
    try:
        yield
    finally:
        end.set()
        emitter.join()


# From other threads into a relay of this loop.


async def test_publish_threadsafe() -> None:
    async with Relay() as relay, relay.subscribe() as events:

        def work(base: int) -> None:
            for number in range(base, base + 250):
                relay.publish_threadsafe(message(number))

        async with anyio.create_task_group() as tasks:
            for base in (1, 1001, 2001, 3001):
                tasks.start_soon(anyio.to_thread.run_sync, work, base)
        seen = [(await anext(events)).message_id for _ in range(1000)]
        assert len(set(seen)) == 1000
        for base in (1, 1001, 2001, 3001):
            mine = [number for number in seen if base <= number < base + 1000]
            assert mine == sorted(mine), "each thread's in its order"
        assert relay.statistics().received == 1000


async def test_publish_threadsafe_refuses_what_a_relay_cannot_take(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Relay()
    with pytest.raises(RuntimeError, match="not running"):
        relay.publish_threadsafe(message(1))
    async with relay:
        with pytest.raises(BadEvent):
            relay.publish_threadsafe(b"[]")
        monkeypatch.setattr(napcore.net.mailbox, "WAITING_LIMIT", 3)
        for number in range(3):
            relay.publish_threadsafe(message(number))
        with pytest.raises(RuntimeError, match="stands still: 3 events"):
            relay.publish_threadsafe(message(4))
    with pytest.raises(RuntimeError, match="not running"):
        relay.publish_threadsafe(message(1))


# The mailbox.


async def test_a_mailbox_wakes_its_loop_once_for_all_that_came(caplog: pytest.LogCaptureFixture) -> None:
    wakes = 0
    _, wake = current_wake()

    def count(work: Any) -> None:
        nonlocal wakes
        wakes += 1
        wake(work)

    mailbox = Mailbox(count)
    done: list[int] = []
    over = anyio.Event()

    def fail() -> None:
        raise ValueError("mine")

    for number in range(100):
        assert mailbox.post(lambda number=number: done.append(number))  # type: ignore[misc]
    assert len(mailbox) == 100
    mailbox.post(fail)
    mailbox.post(over.set)
    await over.wait()
    assert (done, wakes) == (list(range(100)), 1)
    mailbox.post(lambda: None)
    assert wakes == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "a fault of one piece spares the others"


def test_a_mailbox_whose_loop_has_ended() -> None:
    async def make() -> Mailbox:
        return Mailbox(current_wake()[1])

    mailbox = asyncio.run(make())
    assert mailbox.post(lambda: None) is False
    assert mailbox.post(lambda: None) is False
    assert len(mailbox) == 0
    with pytest.raises(RuntimeError):
        current_wake()


# Opening later, accounts, and requests that are JSON already.


@asynccontextmanager
async def opened_later(config: Config) -> AsyncIterator[RelayThread]:
    thread = await anyio.to_thread.run_sync(lambda: start_thread(config, watchdog=False, opens=False))
    try:
        yield thread
    finally:
        await anyio.to_thread.run_sync(thread.stop)


async def test_what_subscribes_before_it_is_open_misses_nothing() -> None:
    async with opened_later(LISTEN) as thread:
        assert thread.urls == ()
        async with thread.subscribe(Filter(kinds={"meta_event.lifecycle"})) as events, Simulator(10001) as sim:
            await thread.open()
            sim.connect(thread.urls[0])
            with anyio.fail_after(10):
                assert (await anext(events)).kind == "meta_event.lifecycle"


async def test_upstreams_are_dialled_when_it_is_opened() -> None:
    async with Simulator(10001) as sim:
        config = Config.from_dict({"upstream": [{"url": await sim.listen()}]})
        async with opened_later(config) as thread:
            await thread.statistics()
            assert sim.links == []
            await thread.open()
            await sim.wait_connected()


async def test_a_port_that_is_taken_is_told_to_who_opens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = Config.from_dict({"listen": {"host": "127.0.0.1", "port": taken.getsockname()[1]}})
        async with opened_later(config) as thread:
            with pytest.raises(OSError, match="in use"):
                await thread.open()
            assert thread.failed is None
    with pytest.raises(RuntimeError, match="ended"):
        await thread.open()


async def test_accounts_that_come_and_go(thread: RelayThread) -> None:
    news = thread.follow_accounts()
    assert news.take() == []
    with anyio.fail_after(10):
        async with napcat(thread), Simulator(10001) as second:
            await news.wait()
            assert news.take() == [(10001, True)]
            second.connect(thread.urls[0])
            await second.wait_connected()
            await come_to(thread, lambda found: sum(each.connects for each in found.upstreams) == 2)
            late = thread.follow_accounts()
            await late.wait()
            assert late.take() == [(10001, True)]
            # A second link of the same account is no news, nor is the end of one of two.
            assert news.take() == []
        await news.wait()
        assert news.take() == [(10001, False)]


async def test_a_request_that_is_json_already(thread: RelayThread) -> None:
    async with napcat(thread) as sim:
        answer = await thread.ask(b'{"action":"get_login_info","params":{},"echo":"7"}', self_id=10001)
        assert answer.retcode is None
        assert json.loads(answer.frame)["echo"] == "7"
        answer = await thread.ask(b'{"action":"get_login_info","echo":[1]}', self_id=10002, timeout=None)
        assert (answer.retcode, json.loads(answer.frame)["echo"]) == (1501, [1])
        sim.on_call = lambda request: None
        with pytest.raises(CallTimeout):
            await thread.ask(b'{"action":"get_status"}', self_id=10001, timeout=0.01)
        with pytest.raises(BadEvent):
            await thread.ask(b"{}")
    await anyio.to_thread.run_sync(thread.stop)
    with pytest.raises(NotSent):
        await thread.ask(b'{"action":"get_status"}')


async def test_answers_to_what_comes_late_are_paced(thread: RelayThread, monkeypatch: pytest.MonkeyPatch) -> None:
    pacing = thread._relay.traffic.api.pacing
    async with thread.subscribe() as events:
        for number in range(3):
            thread.publish(message(number))
        await anext(events)
        assert not pacing.paces(10001, time.monotonic())
        monkeypatch.setattr(napcore.net.crossing, "time", Clock(6.0))
        await anext(events)
        await thread.statistics()
        assert pacing.paces(10001, time.monotonic())
