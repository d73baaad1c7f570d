from __future__ import annotations

import logging
import math
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from websockets.frames import Opcode

import napcore.net.api
import napcore.net.relay
from napcore import Config, Relay
from napcore.net.traffic import Traffic
from napcore.testing import RecordingClient, Simulator


class Trouble(Exception):
    """Somebody's own exception."""


async def test_exceptions_of_the_host_come_out_as_they_are(until: Any) -> None:
    seen: list[BaseException] = []
    async with Simulator(10001) as sim:
        try:
            async with Relay() as relay:
                await relay.listen("127.0.0.1", 0)
                await relay.add_upstream(await sim.listen()).ready()
                raise Trouble("mine")
        except BaseException as error:
            seen.append(error)
    assert [(type(error), error.args) for error in seen] == [(Trouble, ("mine",))]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
async def test_so_does_the_wish_to_end_the_program(kind: type[BaseException]) -> None:
    seen: list[BaseException] = []
    try:
        async with Relay():
            raise kind
    except BaseException as error:
        seen.append(error)
    assert [type(error) for error in seen] == [kind]


async def test_a_group_of_the_host_is_not_wrapped_again() -> None:
    seen: list[BaseException] = []
    try:
        async with Relay(), anyio.create_task_group():
            raise Trouble("mine")
    except BaseException as error:
        seen.append(error)
    (group,) = seen
    assert [type(error) for error in group.exceptions] == [Trouble]


async def test_cancelling_the_host_passes_through() -> None:
    steps: list[str] = []
    with anyio.CancelScope() as scope:
        async with Relay() as relay:
            await relay.listen("127.0.0.1", 0)
            scope.cancel()
            steps.append("cancelled")
            await anyio.sleep_forever()
            steps.append("never")
    assert scope.cancelled_caught
    assert steps == ["cancelled"]


async def test_a_host_that_is_cancelled_already_is_not_held_up() -> None:
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        scope.cancel()
        async with Relay():
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_an_exception_in_a_cancelled_host_is_not_swallowed() -> None:
    async def host() -> None:
        with anyio.CancelScope() as scope:
            async with Relay():
                scope.cancel()
                try:
                    await anyio.sleep_forever()
                finally:
                    raise Trouble

    with pytest.raises(Trouble):
        await host()


async def test_a_deadline_of_the_host_holds(message: Any) -> None:
    with anyio.move_on_after(0.02) as scope:
        async with Relay() as relay, relay.subscribe() as subscription:
            await anext(subscription)
    assert scope.cancelled_caught


async def test_a_port_in_use_at_entry_comes_out_as_it_is() -> None:
    async with Relay() as relay:
        port = (await relay.listen("127.0.0.1", 0)).port
        config = Config.from_dict({"listen": {"port": port, "host": "127.0.0.1"}})
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: the port is in use"):
            async with Relay.from_config(config):
                pass


async def failing(*args: Any) -> None:
    raise Trouble("planted")


def raising(*args: Any, **options: Any) -> Any:
    raise Trouble("planted")


async def test_a_fault_inside_does_not_cancel_the_host_and_the_next_call_raises_it(
    monkeypatch: pytest.MonkeyPatch, message: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(napcore.net.traffic.Traffic, "tick", failing)
    async with Relay() as relay:
        await until(lambda: relay.failed is not None)
        assert type(relay.failed) is Trouble
        await anyio.lowlevel.checkpoint()
        for method in (
            lambda: relay.publish(message(1)),
            lambda: relay.add_client("bot"),
            lambda: relay.add_upstream("ws://127.0.0.1:1"),
            lambda: relay.subscribe(),
        ):
            with pytest.raises(Trouble, match="planted"):
                method()
        with pytest.raises(Trouble, match="planted"):
            await relay.call("get_status")
        with pytest.raises(Trouble, match="planted"):
            await relay.listen("127.0.0.1", 0)
        assert relay.statistics().received == 0
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert record.getMessage() == "the clock failed inside napcore"
    assert record.exc_info is not None


async def test_a_fault_inside_ends_serve_and_is_raised_there(monkeypatch: pytest.MonkeyPatch, dial: Any) -> None:
    monkeypatch.setattr(napcore.net.api, "peek_request", raising)
    relay = Relay()
    faults: list[Exception] = []

    async def serve(*, task_status: Any) -> None:
        try:
            await relay.serve(task_status=task_status)
        except Trouble as error:
            faults.append(error)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await tasks.start(serve)
            async with dial(await relay.listen("127.0.0.1", 0), "/api") as peer:
                await peer.send(b'{"action":"get_status"}')
                await peer.rest()
    assert faults == [relay.failed]


@pytest.mark.parametrize("role", ["forward", "reverse", "dialled client", "client that dials", "api"])
async def test_a_fault_on_any_link_sets_failed_and_spares_the_host(
    role: str, monkeypatch: pytest.MonkeyPatch, dial: Any, until: Any, message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    request = b'{"action":"get_status","echo":1}'
    async with Simulator(10001, heartbeat=math.inf) as sim, RecordingClient() as bot, Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0))
        if role == "forward":
            await relay.add_upstream(await sim.listen()).ready()
            monkeypatch.setattr(Traffic, "take_other", raising)
            await sim.emit(sim.events.heartbeat(30.0))
        elif role == "dialled client":
            relay.add_client("bot", await bot.listen())
            await bot.wait_for(lambda: len(bot.meta) == 1)
            monkeypatch.setattr(napcore.net.api, "peek_request", raising)
            bot.send(request)
        else:
            headers = {"X-Self-ID": "10001"} if role == "reverse" else {}
            async with dial(listener, "/api" if role == "api" else "/", headers) as peer:
                monkeypatch.setattr(Traffic, "take_other", raising)
                monkeypatch.setattr(napcore.net.api, "peek_request", raising)
                await peer.send(request)
                assert all(frame.opcode is not Opcode.BINARY for frame in await peer.rest())
        await until(lambda: relay.failed is not None)
        assert type(relay.failed) is Trouble
        with pytest.raises(Trouble, match="planted"):
            relay.publish(message(1))
    assert [record.levelname for record in caplog.records if record.exc_info] == ["CRITICAL"]
