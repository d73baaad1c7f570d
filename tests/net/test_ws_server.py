from __future__ import annotations

import json
import socket
import time
from typing import Any

import anyio
import pytest
from websockets.frames import Opcode

import napcore.net.ws_server
from napcore import Relay
from napcore._wire_py import WINDOW_BYTES
from napcore.testing import RecordingClient, Simulator

UPGRADE = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
TOKEN = "a-token-of-16-chars"
REFUSED = "All connection attempts failed"


def head(target: str = "/", method: str = "GET", **headers: str | None) -> bytes:
    """A request head; headers of an upgrade unless they are None."""
    shown = {**UPGRADE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"{name}: {value}" for name, value in shown.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


def body(answer: bytes) -> str:
    return answer.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize(
    ("request_head", "status", "text"),
    [
        (head(Upgrade=None), 426, "this port speaks WebSocket"),
        (head("/api", Upgrade=None), 426, "this port speaks WebSocket"),
        (head("/send_group_msg", "POST", Upgrade=None), 404, "nothing here"),
        (head("/favicon.ico", Upgrade=None), 404, "nothing here"),
        (head("/nowhere"), 404, "no such path"),
        # 405 where websockets tells methods apart, 400 where it does not.
        (head("/", "POST"), (400, 405), "WebSocket"),
        (head(Sec_WebSocket_Key=None), 400, "Sec-WebSocket-Key"),
        (head(Sec_WebSocket_Version="8"), 400, "Sec-WebSocket-Version"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, ""),
        (b"GET / HTTP/1.1\r\n\r\n", 400, ""),
        (head(**{f"X_{number}": "y" for number in range(60)}), 431, "too many header lines"),
        (head(**{f"X_{number}": "y" * 600 for number in range(28)}), 431, "too large"),
        (head(X_Long="y" * 16_400), 431, ""),
        (head("/" + "y" * 16_400), 431, ""),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
async def test_what_is_no_websocket_gets_a_status_and_a_text(
    exchange: Any, request_head: bytes, status: int | tuple[int, ...], text: str
) -> None:
    async with Relay() as relay:
        answer = await exchange(await relay.listen("127.0.0.1", 0), request_head)
    assert answer.startswith(b"HTTP/1.1 ")
    assert int(answer.split()[1]) in (status if isinstance(status, tuple) else (status,))
    assert text in body(answer)
    assert body(answer).strip()
    assert (b"\r\nUpgrade: websocket\r\n" in answer) == (status == 426)


async def test_a_head_that_comes_slowly_is_cut_off(exchange: Any, monkeypatch: pytest.MonkeyPatch, dial: Any) -> None:
    monkeypatch.setattr(napcore.net.ws_server, "HEAD_TIMEOUT", 0.1)
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:

            async def dribble() -> None:
                # Each byte in time, the whole never.
                for byte in head("/" + "y" * 5000):
                    await stream.send(bytes([byte]))
                    with anyio.move_on_after(0.01):
                        await stream.receive()

            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)), anyio.fail_after(5):
                await dribble()
        async with dial(listener) as peer:
            await peer.send((Opcode.PING, b"well"))
            assert (await peer.frame()).opcode is Opcode.PONG


async def test_a_silent_tls_handshake_is_cut_off(monkeypatch: pytest.MonkeyPatch, certificates: Any, dial: Any) -> None:
    monkeypatch.setattr(napcore.net.ws_server, "HEAD_TIMEOUT", 0.05)
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, ssl_context=certificates.server)
        async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)), anyio.fail_after(5):
                await stream.receive()
        monkeypatch.undo()
        async with dial(listener, ssl_context=certificates.client) as peer:
            await peer.send((Opcode.PING, b"well"))
            assert (await peer.frame()).opcode is Opcode.PONG


async def test_plain_text_on_a_tls_port_disturbs_nobody(exchange: Any, certificates: Any, dial: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, ssl_context=certificates.server)
        assert listener.url == f"wss://127.0.0.1:{listener.port}"
        await exchange(listener, head())
        async with dial(listener, ssl_context=certificates.client) as peer:
            await peer.send((Opcode.PING, b"well"))
            assert (await peer.frame()).opcode is Opcode.PONG
        assert relay.failed is None


async def test_tls_for_both_roles(certificates: Any) -> None:
    async with Simulator(10001) as sim, RecordingClient() as bot, Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, ssl_context=certificates.server)
        sim.connect(listener.url, ssl_context=certificates.client)
        await bot.connect(listener.url, ssl_context=certificates.client)
        await bot.wait_for(lambda: len(bot.meta) == 1)
        await sim.emit(sim.events.group_message(5, message="hello"))
        assert [event["raw_message"] for event in await bot.received(1)] == ["hello"]
        assert (await bot.call("get_login_info"))["data"]["user_id"] == 10001


async def test_a_port_in_use_is_told_and_leaves_the_relay_working(decided: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with Relay() as relay:
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: the port is in use") as error:
                await relay.listen("127.0.0.1", port)
            assert error.value.errno
            with pytest.raises(OSError, match="the port is in use"):
                await relay.listen(("127.0.0.2", "127.0.0.1"), port)
            # What had been bound before the failure is free again.
            assert (await relay.listen("127.0.0.2", port)).port == port
            assert await decided(await relay.listen("127.0.0.1", 0)) == 101
            assert relay.failed is None


async def test_an_address_that_is_not_here() -> None:
    async with Relay() as relay:
        with pytest.raises(OSError, match="cannot listen on 192.0.2.1:6710: "):
            await relay.listen("192.0.2.1", 6710, allow_anonymous=True)


async def test_two_listeners_with_rules_of_their_own(decided: Any) -> None:
    async with Relay() as relay:
        inner = await relay.listen("127.0.0.1", 0)
        outer = await relay.listen("127.0.0.1", 0, token=TOKEN)
        assert inner.port != outer.port
        assert await decided(inner) == 101
        assert await decided(outer) == 401
        await inner.aclose()
        with pytest.raises(OSError, match=REFUSED):
            await decided(inner)
        assert await decided(outer, f"/?access_token={TOKEN}") == 101
        assert relay.failed is None


async def test_links_outlive_their_listener(dial: Any, decided: Any, message: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(1))
        async with dial(listener, "/c/bot") as peer:
            assert (await peer.json())["sub_type"] == "connect"
            await listener.aclose()
            relay.publish(message(2))
            assert [event["message_id"] for event in await peer.events(1)] == [2]
            with pytest.raises(OSError, match=REFUSED):
                await decided(listener)
        assert relay.failed is None


async def test_ipv6_and_both_together(dial: Any) -> None:
    async with Relay() as relay:
        six = await relay.listen("::1", 0)
        assert six.url == f"ws://[::1]:{six.port}"
        both = await relay.listen(port=0)
        for url in (six.url, f"ws://127.0.0.1:{both.port}", f"ws://[::1]:{both.port}"):
            async with dial(url) as peer:
                await peer.send((Opcode.PING, b""))
                assert (await peer.frame()).opcode is Opcode.PONG


async def test_a_new_connection_takes_a_name_over(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0))
        async with dial(listener, "/c/bot") as old:
            assert (await old.json())["sub_type"] == "connect"
            relay.publish(message(1))
            assert (await old.json())["message_id"] == 1
            async with anyio.create_task_group() as tasks:
                codes: list[Any] = []

                async def read_old() -> None:
                    codes.append(await old.closed())
                    # Gone, not merely closing, before the new one is served.
                    assert await old.frame() is None

                tasks.start_soon(read_old)
                async with dial(listener, "/c/bot") as new:
                    assert (await new.json())["sub_type"] == "connect"
                    assert codes == [(4001, "another connection of this client took over")]
                    relay.publish(message(2))
                    assert (await new.json())["message_id"] == 2
        await until(lambda: relay.statistics().clients[0].state == "absent")


@pytest.mark.usefixtures("quick_close")
async def test_a_take_over_loses_nothing_that_was_queued(dial: Any, message: Any, until: Any) -> None:
    padding = "x" * 20_000
    async with Relay() as relay:
        relay.add_client("bot")
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0))
        async with dial(listener, "/c/bot", slow=True) as old:
            assert (await old.json())["sub_type"] == "connect"
            for number in range(1, 151):
                relay.publish(message(number, raw_message=padding))
            (client,) = relay.statistics().clients
            await until(lambda: relay.statistics().clients[0].unconfirmed > 0)
            async with dial(listener, "/c/bot") as new:
                assert (await new.json())["sub_type"] == "connect"
                relay.publish(message(151))
                first = (await new.json())["message_id"]
                got = [first, *(event["message_id"] for event in await new.events(151 - first))]
                assert got == list(range(first, 152))
                await until(lambda: relay.statistics().clients[0].queued == 0)
                (client,) = relay.statistics().clients
    lost = client.dropped.get("uncertain", 0)
    assert client.connects == 2
    assert client.received == 151
    assert client.dropped == {"uncertain": lost}
    # What had been handed to the old socket.
    assert client.confirmed + client.unconfirmed == 151 - lost
    assert 0 < lost * len(padding) <= WINDOW_BYTES + len(padding)


async def test_a_name_that_we_dial_is_not_to_be_had_here(decided: Any, message: Any) -> None:
    async with RecordingClient() as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen())
        relay.publish(message(0))
        await bot.wait_for(lambda: len(bot.meta) == 1)
        listener = await relay.listen("127.0.0.1", 0)
        assert await decided(listener, "/c/bot") == 403
        relay.publish(message(1))
        await bot.received(1)
        assert (len(bot.links), len(bot.meta)) == (1, 1)


@pytest.mark.usefixtures("quick_close")
async def test_a_loop_blocked_during_a_take_over_does_no_harm(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot")
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0))
        async with dial(listener, "/c/bot", slow=True) as old:
            assert (await old.json())["sub_type"] == "connect"
            for number in range(1, 151):
                relay.publish(message(number, raw_message="x" * 20_000))
            await until(lambda: relay.statistics().clients[0].unconfirmed > 0)
            (session,) = relay.traffic.clients.sessions()
            async with dial(listener, "/c/bot") as new:
                await until(lambda: not session.link.link.open)
                # Every deadline of the old link's end passes at once.
                time.sleep(1.2)  # noqa: ASYNC251
                assert (await new.json())["sub_type"] == "connect"
                relay.publish(message(151))
                assert (await new.events(100))[-1]["message_id"] > 100
        assert relay.failed is None


async def test_links_on_api_take_over_nothing(dial: Any, message: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", token="for-bot")
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0))
        shown = {"Authorization": "Bearer for-bot"}
        async with dial(listener, "/", shown) as events, dial(listener, "/api", shown) as api:
            async with dial(listener, "/api", shown) as second:
                assert (await events.json())["sub_type"] == "connect"
                for peer in (api, second, events):
                    answer = await peer.call({"action": "get_status", "echo": 1})
                    assert (answer["retcode"], answer["echo"]) == (1501, 1)
            relay.publish(message(1))
            assert (await events.json())["message_id"] == 1
            answer = await api.call({"action": "get_status", "echo": 2})
            assert answer["echo"] == 2


async def test_an_upstream_dials_in(dial: Any) -> None:
    async with Simulator(10001, token=TOKEN) as sim, RecordingClient(token=TOKEN) as bot, Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        sim.connect(listener.url + "/onebot/v11/ws")
        await bot.connect(listener.url)
        await bot.wait_for(lambda: len(bot.meta) == 1)
        await sim.emit(sim.events.group_message(5, message="hello"))
        assert [event["raw_message"] for event in await bot.received(1)] == ["hello"]
        assert (await bot.call("get_login_info"))["data"]["user_id"] == 10001
        (upstream,) = relay.statistics().upstreams
        assert (upstream.name, upstream.state, upstream.self_ids) == ("reverse 10001", "connected", (10001,))


async def test_an_event_link_of_gocqhttp_takes_no_calls(dial: Any, until: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        shown = {"X-Self-ID": "10001"}
        async with dial(listener, "/", shown | {"X-Client-Role": "API"}) as api:
            await until(lambda: len(relay.statistics().upstreams) == 1)
            async with dial(listener, "/", shown | {"X-Client-Role": "Event"}), dial(listener) as client:
                await until(lambda: relay.statistics().upstreams[0].connects == 2)
                await client.send(b'{"action":"get_status","echo":1}')
                request = await api.json()
                assert request["action"] == "get_status"


async def test_a_connection_that_ends_during_the_handshake_disturbs_nobody(dial: Any, until: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        for data in (b"", b"GET / HT", head()[:-2]):
            async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:
                if data:
                    await stream.send(data)
        async with dial(listener) as peer:
            peer.reset()
        async with dial(listener) as peer:
            await peer.send((Opcode.PING, b""))
            assert (await peer.frame()).opcode is Opcode.PONG
        assert relay.failed is None


async def test_frames_right_behind_the_head_are_served(dial: Any, peer_of: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:
            request = b'{"action":"get_status","echo":"early"}'
            await stream.send(head("/api") + b"\x81" + bytes([0x80 | len(request)]) + b"\0\0\0\0" + request)
            data = b""
            with anyio.fail_after(5):
                while b"early" not in data:
                    data += await stream.receive()
    assert data.startswith(b"HTTP/1.1 101 ")
    assert json.loads(data[data.rindex(b"{") :])["retcode"] == 1400
