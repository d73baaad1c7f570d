from __future__ import annotations

import json
import socket as socketlib
from typing import Any

import anyio
import pytest

from napcore.errors import ConnectionClosed
from napcore.net.open_socket import DialFailed, open_socket
from napcore.testing import Simulator


def request(action: str, echo: str = "1", **params: Any) -> bytes:
    return json.dumps({"action": action, "params": params, "echo": echo}).encode()


async def test_messages_go_both_ways() -> None:
    async with Simulator(10001, token="a-token") as sim:
        url = await sim.listen()
        async with open_socket(url, {"Authorization": "Bearer a-token"}) as socket:
            assert json.loads(await socket.receive())["meta_event_type"] == "lifecycle"
            await socket.send(request("get_login_info"))
            answer = json.loads(await socket.receive())
            assert (answer["echo"], answer["data"]["user_id"]) == ("1", 10001)
            assert not socket.closed
        with anyio.fail_after(5):
            await sim.wait_for(lambda: not sim.links)
        assert socket.closed
        with pytest.raises(ConnectionClosed):
            await socket.send(b"{}")


async def test_a_message_of_more_than_a_mebibyte() -> None:
    async with Simulator(10001) as sim:
        async with open_socket(await sim.listen(), {}) as socket:
            await socket.receive()
            big = json.dumps({"post_type": "notice", "text": "x" * (3 << 20)}).encode()
            await sim.emit(big)
            assert await socket.receive() == big
            for number in range(4):
                await socket.send(request("send_msg", str(number), message="x" * (5 << 20)))
            with anyio.fail_after(20):
                assert len(await sim.wait_called(4)) == 4


async def test_what_came_before_the_end_is_still_received() -> None:
    async with Simulator(10001) as sim:
        async with open_socket(await sim.listen(), {}) as socket:
            await sim.wait_connected()
            await sim.emit(b'{"post_type":"notice"}')
            await socket.receive()
            await anyio.wait_all_tasks_blocked()
            sim.links[0].close(4000, "going")
            assert await socket.receive() == b'{"post_type":"notice"}'
            with pytest.raises(ConnectionClosed) as raised:
                await socket.receive()
            assert (raised.value.close_code, "going" in raised.value.reason) == (4000, True)


async def test_nobody_there() -> None:
    with socketlib.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        unused_port = probe.getsockname()[1]
    with pytest.raises(DialFailed):
        async with open_socket(f"ws://127.0.0.1:{unused_port}", {}):
            raise AssertionError("it cannot be had")


async def test_a_peer_whose_messages_nobody_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napcore.net.open_socket.UNREAD", 1000)
    async with Simulator(10001) as sim:
        async with open_socket(await sim.listen(), {}) as socket:
            await sim.emit(b"%d" % 10**900)
            await sim.emit(b"%d" % 10**900)
            with anyio.fail_after(5):
                await sim.wait_for(lambda: not sim.links)
            for _ in range(3):
                await socket.receive()
            with pytest.raises(ConnectionClosed) as raised:
                await socket.receive()
            assert raised.value.close_code in (1013, 1006)


async def test_an_exception_of_the_block_comes_out_as_it_is() -> None:
    async with Simulator(10001) as sim:
        url = await sim.listen()
        with pytest.raises(ZeroDivisionError):
            async with open_socket(url, {}):
                _ = 1 / 0
