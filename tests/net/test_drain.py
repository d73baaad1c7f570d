from __future__ import annotations

import logging
import math
import re
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import napcore.net.drain
import napcore.net.link
import napcore.net.relay
import napcore.net.ws_client
from napcore import Filter, NotSent, Relay
from napcore.net.drain import STOP, Stop
from napcore.testing import RecordingClient, Simulator, check_ledger
from napcore.testing.answers import encode


async def turns() -> None:
    """Let everybody have some turns. Not until all are blocked: the drain looks round in step with anyio, for long."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


def test_its_phases_fit_into_its_limit() -> None:
    drain = napcore.net.drain
    upstreams = drain.CLOSE_TIMEOUT + drain.CUT_LIMIT
    clients = drain.SPREAD + drain.CLOSE_TIMEOUT + drain.CUT_LIMIT
    assert drain.CALL_LIMIT + upstreams + drain.FLUSH_LIMIT + clients <= 30


async def test_calls_under_way_are_answered_and_nothing_new_begins(decided: Any, until: Any) -> None:
    asked: list[dict[str, Any]] = []
    answers: list[Any] = []
    async with Simulator(10001) as sim, RecordingClient() as bot, anyio.create_task_group() as tasks:
        sim.on_call = asked.append
        relay = Relay()
        await tasks.start(relay.serve)
        listener = await relay.listen("127.0.0.1", 0)
        await relay.add_upstream(await sim.listen()).ready()
        await bot.connect(listener.url)
        await bot.wait_for(lambda: len(bot.meta) == 1)

        async def call() -> None:
            answers.append(await bot.call("get_status", echo=7))

        tasks.start_soon(call)
        await until(lambda: asked)
        await relay.aclose()
        await until(lambda: relay.closing)
        assert await decided(listener) == 503
        assert await decided(listener, headers={"X-Self-ID": "10002"}) == 503
        refused = await bot.call("get_status", echo="late")
        assert (refused["retcode"], refused["echo"]) == (1501, "late")
        assert refused["message"].endswith("the relay is shutting down")
        with pytest.raises(NotSent, match="the relay is shutting down"):
            await relay.call("get_status")
        # Events still come in, and go out.
        await sim.emit(sim.events.next())
        await bot.received(1)
        assert (sim.called, answers) == (1, [])
        sim.links[0].send(encode({"status": "ok", "retcode": 0, "data": 5, "echo": asked[0]["echo"]}))
        await until(lambda: answers)
    assert answers == [{"status": "ok", "retcode": 0, "data": 5, "echo": 7}]
    check_ledger(relay, ended=True)


async def test_what_waits_is_written_before_clients_are_closed(message: Any, until: Any) -> None:
    async with RecordingClient(receive_buffer=4096) as bot:
        async with anyio.create_task_group() as tasks:
            relay = Relay()
            await tasks.start(relay.serve)
            relay.publish(message(0))
            relay.add_client("bot", await bot.listen())
            await bot.wait_for(lambda: len(bot.meta) == 1)
            bot.pause()
            for number in range(300):
                relay.publish(message(number, raw_message="x" * 1000))
            await until(lambda: relay.statistics().clients[0].queued > 100)
            (link,) = bot.links
            await relay.aclose()
            await until(lambda: relay.closing)
            # What comes now goes out too.
            relay.publish(message(300))
            bot.resume()
        await link.closed.wait()
        assert [event["message_id"] for event in bot.events] == list(range(301))
        assert link.close_code == 1012
    (session, _) = check_ledger(relay, ended=True)
    # The peer's close frame tells that it has read everything before it.
    assert (session.received, session.confirmed, session.dropped) == (301, 301, {})


@pytest.mark.parametrize("role", ["masked", "unmasked"])
async def test_events_written_a_moment_ago_are_confirmed_by_the_close(role: str, message: Any) -> None:
    async with RecordingClient() as bot:
        async with Relay() as relay:
            relay.publish(message(0))
            if role == "masked":
                relay.add_client("bot", await bot.listen())
            else:
                await bot.connect((await relay.listen("127.0.0.1", 0)).url)
            await bot.wait_for(lambda: len(bot.meta) == 1)
            for number in range(5):
                relay.publish(message(number))
            assert relay.statistics().clients[0].unconfirmed > 0
        (session, _) = check_ledger(relay, ended=True)
        await bot.received(5)
    assert (session.confirmed, session.dropped) == (5, {})


@pytest.mark.usefixtures("quick_close")
async def test_those_who_do_not_go_along_are_named_and_counted(
    message: Any, until: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # On a busy machine even the one that is awake needs a moment.
    monkeypatch.setattr(napcore.net.link, "CLOSE_TIMEOUT", 1.0)
    monkeypatch.setattr(napcore.net.drain, "CLOSE_TIMEOUT", 1.0)
    async with Simulator(10001, heartbeat=math.inf) as sim, AsyncExitStack() as stack:
        sim.on_call = lambda request: None
        bots = [await stack.enter_async_context(RecordingClient(receive_buffer=4096)) for _ in range(2)]
        async with Relay() as relay:
            await relay.add_upstream(await sim.listen()).ready()
            for name, bot in zip(("asleep", "awake"), bots, strict=True):
                relay.add_client(name, await bot.listen())
                await bot.wait_for(lambda bot=bot: len(bot.meta) == 1)  # type: ignore[misc]
            bots[1].send({"action": "get_status", "echo": 1})
            await sim.wait_called()
            bots[0].pause()
            sim.links[0].pause()
            for number in range(300):
                relay.publish(message(number, raw_message="x" * 4000))
            await until(lambda: relay.statistics().clients[1].queued == 0)
        asleep, awake, _ = check_ledger(relay, ended=True)
        await bots[1].wait_for(lambda: bool(bots[1].answers))
        # The answer of our own came ahead of the close.
        assert bots[1].answers[0]["retcode"] == 1502
    assert (awake.confirmed, awake.dropped) == (300, {})
    assert asleep.dropped.keys() <= {"shutdown", "uncertain"}
    assert asleep.dropped["shutdown"] > 100
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "closing: 1 calls have got no answer within 0.1 s" in told
    assert "closing: client asleep@10001 has not taken all that waits for it within 0.1 s" in told
    # In one or in two parts: the clock may tell of some before the end.
    found = re.findall(r"client asleep@10001 lost (\d+) events: the relay was closed", "\n".join(told))
    assert sum(map(int, found)) == asleep.dropped["shutdown"]


async def test_a_cancelled_host_closes_in_good_manners_but_waits_for_nobody(message: Any, until: Any) -> None:
    async with Simulator(10001) as sim, RecordingClient() as bot, RecordingClient() as asleep:
        sim.on_call = lambda request: None
        with anyio.CancelScope() as host:
            async with Relay() as relay:
                await relay.add_upstream(await sim.listen()).ready()
                relay.add_client("bot", await bot.listen(), filter=Filter(self_ids={10001}))
                relay.add_client("asleep", await asleep.listen())
                for one in (bot, asleep):
                    await one.wait_for(lambda one=one: len(one.meta) == 1)  # type: ignore[misc]
                links = [*sim.links, *bot.links]
                bot.send({"action": "get_status"})
                await sim.wait_called()
                host.cancel()
                await anyio.sleep_forever()
        assert host.cancelled_caught
        for link in links:
            await link.closed.wait()
        assert [link.close_code for link in links] == [1001, 1012]
    check_ledger(relay, ended=True)


@pytest.mark.usefixtures("quick_close")
async def test_a_drain_that_is_cancelled_hurries_and_passes_the_cancellation_on(
    monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    monkeypatch.setattr(napcore.net.drain, "CALL_LIMIT", 1000.0)
    after: list[str] = []
    async with Simulator(10001) as sim, anyio.create_task_group() as tasks:
        sim.on_call = lambda request: None
        relay = Relay()

        async def serve(*, task_status: Any) -> None:
            with anyio.CancelScope() as scope:
                async with relay:
                    task_status.started(scope)
                    await relay.add_upstream(await sim.listen()).ready()
                    tasks.start_soon(ask)
                    await sim.wait_called()
                after.append("the drain was waited for")
            assert scope.cancelled_caught

        async def ask() -> None:
            with pytest.raises(Exception, match="lost after the call was written"):
                await relay.call("get_status")

        scope = await tasks.start(serve)
        await until(lambda: relay.closing)
        scope.cancel()
    assert after == []


async def test_asked_to_stop_it_is_patient_though_the_program_is_being_cancelled(until: Any) -> None:
    asked: list[dict[str, Any]] = []
    answers: list[Any] = []
    stop = Stop()
    async with Simulator(10001) as sim, anyio.create_task_group() as tasks:
        sim.on_call = asked.append
        async with RecordingClient() as bot:

            async def main(*, task_status: Any) -> None:
                STOP.set(stop)
                with anyio.CancelScope() as scope:
                    async with Relay() as relay:
                        await relay.add_upstream(await sim.listen()).ready()
                        relay.add_client("bot", await bot.listen())
                        await bot.wait_for(lambda: len(bot.meta) == 1)
                        task_status.started((scope, relay))
                        await anyio.sleep_forever()
                assert scope.cancelled_caught

            scope, relay = await tasks.start(main)

            async def call() -> None:
                answers.append(await bot.call("get_status", echo=7))

            tasks.start_soon(call)
            await until(lambda: asked)
            stop.asked = True
            scope.cancel()
            await until(lambda: relay.closing)
            await turns()
            sim.links[0].send(encode({"status": "ok", "retcode": 0, "data": 5, "echo": asked[0]["echo"]}))
            await until(lambda: answers)
            await bot.wait_for(lambda: not bot.links)
    assert answers[0]["data"] == 5


@pytest.mark.parametrize("when", ["in the drain", "before it"])
async def test_told_to_hurry_it_ends_at_once(when: str, until: Any, message: Any, dial: Any) -> None:
    stop = Stop()
    async with Simulator(10001) as sim, anyio.create_task_group() as tasks:
        sim.on_call = lambda request: None

        async def main(*, task_status: Any) -> None:
            STOP.set(stop)
            with anyio.CancelScope() as scope:
                async with Relay() as relay:
                    await relay.add_upstream(await sim.listen()).ready()
                    task_status.started((scope, relay))
                    await anyio.sleep_forever()
            check_ledger(relay, ended=True)

        scope, relay = await tasks.start(main)
        listener = await relay.listen("127.0.0.1", 0)
        # Neither reads, nor completes the close handshake.
        async with dial(listener, slow=True) as peer:
            await peer.json()
            for number in range(300):
                relay.publish(message(number, raw_message="x" * 20_000))
            stop.asked = True
            with anyio.fail_after(1.0):
                if when == "before it":
                    stop.hurry()
                scope.cancel()
                if when == "in the drain":
                    await until(lambda: relay.closing)
                    await turns()
                    stop.hurry()
                await until(lambda: not relay.traffic.clients.links and not next(iter(relay.upstreams)).links)


async def test_a_port_that_is_being_opened_as_it_ends_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    opening, left = anyio.Event(), anyio.Event()
    open_listener = napcore.net.relay.open_listener

    async def open_late(*args: Any, **options: Any) -> Any:
        opened.append(await open_listener(*args, **options))
        opening.set()
        await left.wait()
        return opened[0]

    async def listen(relay: Relay) -> None:
        with pytest.raises(RuntimeError, match="the relay is shutting down"):
            await relay.listen("127.0.0.1", 0)

    monkeypatch.setattr(napcore.net.relay, "open_listener", open_late)
    async with anyio.create_task_group() as tasks:
        async with Relay() as relay:
            tasks.start_soon(listen, relay)
            await opening.wait()
        left.set()
    with pytest.raises(OSError, match="."):
        await anyio.connect_tcp("127.0.0.1", opened[0].port)


@pytest.mark.usefixtures("quick_close", "quick_redial")
async def test_nothing_is_dialled_any_more(
    monkeypatch: pytest.MonkeyPatch, message: Any, serve: Any, until: Any
) -> None:
    monkeypatch.setattr(napcore.net.drain, "CALL_LIMIT", 1000.0)
    dials: list[str] = []  # as they begin; the server hears of one later, perhaps when all is over
    dial = napcore.net.ws_client.dial

    async def counted(url: str, *args: Any, **options: Any) -> Any:
        dials.append(url)
        return await dial(url, *args, **options)

    monkeypatch.setattr(napcore.net.ws_client, "dial", counted)

    async def refuse(stream: Any) -> None:
        await stream.receive()

    async with serve(refuse) as server, Simulator(10001) as sim, anyio.create_task_group() as tasks:
        sim.on_call = lambda request: None
        relay = Relay()
        await tasks.start(relay.serve)
        await relay.add_upstream(await sim.listen()).ready()
        relay.add_client("bot", server.url)
        relay.add_upstream(server.url)
        await until(lambda: server.dials > 2)

        async def ask() -> None:
            with pytest.raises(Exception, match="lost after the call was written"):
                await relay.call("get_status")

        tasks.start_soon(ask)
        await sim.wait_called()
        await relay.aclose()
        await until(lambda: relay.closing)
        begun = len(dials)
        # Neither an account that is new, nor an upstream whose link ends.
        relay.publish(message(1, self_id=10002))
        relay.add_upstream(server.url)
        sim.links[0].abort()
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(0.05)
        assert len(dials) == begun
    check_ledger(relay, ended=True)


async def test_clients_are_closed_one_after_the_other(monkeypatch: pytest.MonkeyPatch, until: Any) -> None:
    monkeypatch.setattr(napcore.net.drain, "GAP", 0.3)
    async with RecordingClient() as one, RecordingClient() as two, anyio.create_task_group() as tasks:
        bots = [one, two]
        relay = Relay()
        await tasks.start(relay.serve)
        listener = await relay.listen("127.0.0.1", 0)
        for bot in bots:
            await bot.connect(listener.url)
        await relay.aclose()
        open_links = set()
        await until(lambda: open_links.add(sum(len(bot.links) for bot in bots)) or 0 in open_links)
        assert open_links == {2, 1, 0}
