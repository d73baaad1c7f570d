from __future__ import annotations

import json
import ssl

import anyio
import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from napcore.testing import RecordingClient, Refused, Simulator


def only_asyncio(anyio_backend_name: str) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("websockets' own client and server run on asyncio alone")


async def refusal_of(bot: RecordingClient, url: str, headers: dict[str, str]) -> int | None:
    with pytest.raises(Refused) as refusal:
        await bot.connect(url, headers=headers)
    return refusal.value.status


@pytest.mark.parametrize(
    ("manners", "headers", "status"),
    [
        ("nonebot", {"Authorization": "Bearer t"}, 403),
        ("nonebot", {"X-Self-ID": "1"}, 403),
        ("nonebot", {"X-Self-ID": "1", "Authorization": "Bearer wrong"}, 403),
        ("aiocqhttp", {"X-Self-ID": "1", "X-Client-Role": "Universal"}, 401),
        ("aiocqhttp", {"X-Self-ID": "1", "X-Client-Role": "Universal", "Authorization": "Bearer "}, 401),
        ("aiocqhttp", {"X-Self-ID": "1", "X-Client-Role": "Universal", "Authorization": "Bearer wrong"}, 403),
        ("aiocqhttp", {"X-Self-ID": "1", "Authorization": "Bearer t"}, 400),
        ("aiocqhttp", {"X-Client-Role": "Universal", "Authorization": "Bearer t"}, 400),
    ],
)
async def test_the_door(manners: str, headers: dict[str, str], status: int) -> None:
    async with RecordingClient(token="t") as bot, RecordingClient() as peer:
        url = await bot.listen("/ws", manners=manners)
        assert await refusal_of(peer, url, headers) == status
        assert len(bot.refused) == 1
        assert bot.links == []
        await peer.connect(url, headers={"X-Self-ID": "1", "X-Client-Role": "universal", "Authorization": "token t"})
        (link,) = await bot.wait_connected()
        assert link.self_id == 1


async def test_nonebot_takes_one_link_per_account() -> None:
    async with RecordingClient() as bot, RecordingClient() as peer:
        url = await bot.listen()
        first = await peer.connect(url, headers={"X-Self-ID": "1"})
        await peer.connect(url, headers={"X-Self-ID": "2"})
        await bot.wait_connected(2)
        assert await refusal_of(peer, url, {"X-Self-ID": "1"}) == 403
        assert bot.refused == ["Duplicate X-Self-ID"]
        first.abort()
        await bot.wait_for(lambda: len(bot.links) == 1)
        await peer.connect(url, headers={"X-Self-ID": "1"})


async def test_another_path_is_404_and_a_closed_port_has_no_status() -> None:
    async with RecordingClient() as bot, RecordingClient() as peer:
        url = await bot.listen("/ws/")
        await peer.connect(url.rstrip("/"), headers={"X-Self-ID": "1"})
        assert await refusal_of(peer, f"{url}x", {"X-Self-ID": "2"}) == 404
    async with RecordingClient() as peer:
        assert await refusal_of(peer, url, {}) is None


async def test_a_paused_client_reads_nothing_until_it_resumes() -> None:
    async with Simulator(groups=[5]) as sim, RecordingClient(receive_buffer=128 << 10) as client:
        link = await client.connect(await sim.listen())
        await client.wait_for(lambda: len(client.meta) == 1)
        client.pause()
        (upstream,) = await sim.wait_connected()
        upstream.ping(b"x")
        for _ in range(4500):
            await sim.emit(sim.events.group_message(message="长" * 200))
        await anyio.wait_all_tasks_blocked()
        assert upstream.unsent > 0
        assert client.count == 0
        client.resume()
        await client.received(4500, timeout=30)
        assert (upstream.unsent, link.open) == (0, True)


async def test_a_slow_client_takes_its_time() -> None:
    async with Simulator(groups=[5]) as sim, RecordingClient(delay=0.05) as client:
        await client.connect(await sim.listen())
        await sim.wait_connected()
        for _ in range(10):
            await sim.emit(sim.events.next())
        start = anyio.current_time()
        await client.received(5)
        assert anyio.current_time() - start >= 0.15


async def test_colliding_echoes_stay_with_their_callers() -> None:
    async with Simulator() as sim, RecordingClient() as one, RecordingClient() as two:
        url = await sim.listen()
        for client in (one, two):
            await client.connect(url)
        sim.on_call = lambda request: request["params"]["who"]
        assert (await one.call("x", {"who": 1}, echo="1"))["data"] == 1
        assert (await two.call("x", {"who": 2}, echo="1"))["data"] == 2
        assert (await two.call("x", {"who": 3}))["echo"] == "1"
        assert (await two.call("x", {"who": 4}))["echo"] == "2"
    assert (len(one.answers), len(two.answers)) == (1, 3)


async def test_an_echo_of_another_type_is_not_the_answer() -> None:
    async with Simulator() as sim, RecordingClient() as client:
        await client.connect(await sim.listen())
        sim.on_call = lambda request: {"status": "ok", "retcode": 0, "echo": 1}
        with pytest.raises(TimeoutError, match="no answer to x after 0.05 s"):
            await client.call("x", echo="1", timeout=0.05)
        assert client.answers == [{"status": "ok", "retcode": 0, "echo": 1}]


async def test_waiting_for_too_many_events_says_how_many_came() -> None:
    async with Simulator() as sim, RecordingClient() as client:
        await client.connect(await sim.listen())
        await sim.wait_connected()
        await sim.emit(sim.events.next())
        await client.received(1)
        with pytest.raises(TimeoutError, match="1 of 2 events have come after 0.05 s"):
            await client.received(2, timeout=0.05)


async def test_calls_need_a_link() -> None:
    async with RecordingClient() as client:
        with pytest.raises(ConnectionError):
            await client.call("get_status")
    with pytest.raises(RuntimeError, match="async with"):
        await RecordingClient().listen()


async def test_a_message_over_max_size_is_1009() -> None:
    async with Simulator() as sim, RecordingClient(max_size=1000) as client:
        link = await client.connect(await sim.listen())
        (upstream,) = await sim.wait_connected()
        await sim.emit(b'{"post_type":"message","x":"%s"}' % (b"x" * 1000))
        await link.closed.wait()
        await upstream.closed.wait()
        assert (link.close_code, upstream.close_code) == (1009, 1009)


async def test_invalid_utf8_is_1007() -> None:
    async with Simulator() as sim, RecordingClient() as client:
        link = await client.connect(await sim.listen())
        await sim.wait_connected()
        await sim.emit(b'{"post_type":"\xff"}')
        await link.closed.wait()
        assert (link.close_code, client.count) == (1007, 0)


async def test_close_codes_reach_the_other_side() -> None:
    async with Simulator() as sim, RecordingClient() as client:
        url = await sim.listen()
        link = await client.connect(url)
        (upstream,) = await sim.wait_connected()
        link.close(4001, "done")
        await upstream.closed.wait()
        assert (upstream.close_code, upstream.close_reason, link.send(b"{}")) == (4001, "done", False)
        await link.closed.wait()
        link = await client.connect(url)
        (upstream,) = await sim.wait_connected()
        upstream.abort()
        await link.closed.wait()
        assert link.close_code == 1006


async def test_against_websockets_client(anyio_backend_name: str) -> None:
    only_asyncio(anyio_backend_name)
    async with RecordingClient(token="t") as bot:
        url = await bot.listen()
        headers = {"X-Self-ID": "10001", "Authorization": "Bearer t"}
        async with connect(url, additional_headers=headers, compression=None) as peer:
            await bot.wait_connected()
            bot.send({"action": "get_status", "echo": {"seq": 1}})
            assert json.loads(await peer.recv()) == {"action": "get_status", "echo": {"seq": 1}}
            await peer.send(['{"post_type":"notice","x":', '"', '中"', "}"])
            assert await bot.received(1) == [{"post_type": "notice", "x": "中"}]
            await (await peer.ping())
        await bot.wait_for(lambda: not bot.links)


async def test_against_websockets_server(anyio_backend_name: str) -> None:
    only_asyncio(anyio_backend_name)

    async def handler(peer: object) -> None:
        async for message in peer:  # type: ignore[attr-defined]
            await peer.send(message)  # type: ignore[attr-defined]
            await peer.close(1008, "enough")  # type: ignore[attr-defined]

    async with serve(handler, "127.0.0.1", 0) as server, RecordingClient() as client:
        link = await client.connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x?y=1")
        assert link.path == "/x?y=1"
        client.send(b'{"post_type":"message","big":"%s"}' % (b"z" * 200_000))
        (event,) = await client.received(1)
        await link.closed.wait()
        assert (len(event["big"]), link.close_code, link.close_reason) == (200_000, 1008, "enough")


async def test_tls_in_both_roles() -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    async with Simulator(10001) as sim, RecordingClient() as client:
        url = await sim.listen(ssl_context=server_side)
        assert url.startswith("wss://")
        link = await client.connect(url, ssl_context=client_side)
        sim.connect(await client.listen(ssl_context=server_side), ssl_context=client_side)
        await sim.wait_connected(2)
        await sim.emit(sim.events.group_message(message="中" * 100_000))
        await client.received(2)
        assert (await client.call("get_login_info"))["data"]["user_id"] == 10001
        link.close(1000, "done")
        await link.closed.wait()
        assert link.close_code == 1000
        with pytest.raises(Refused, match="CERTIFICATE_VERIFY_FAILED"):
            await client.connect(url)
