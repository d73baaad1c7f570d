from __future__ import annotations

import logging
import re
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from websockets.frames import Opcode

from napcore import Filter, Relay
from napcore.testing import RecordingClient, Simulator


def delays(caplog: pytest.LogCaptureFixture) -> list[float]:
    """What was logged as the wait before the next dial."""
    found = (re.search(r"next try in (\d+\.\d) s", record.getMessage()) for record in caplog.records)
    return [float(match[1]) for match in found if match]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def heads(stream_head: bytes) -> dict[str, list[str]]:
    """Every value of every header of a request."""
    found: dict[str, list[str]] = {}
    for line in stream_head.decode().split("\r\n")[1:-2]:
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


async def test_the_head_shown_to_a_client(serve: Any, message: Any) -> None:
    seen: list[bytes] = []
    done = anyio.Event()

    async def handler(stream: ByteStream) -> None:
        seen.append(await stream.receive())
        done.set()

    async with serve(handler, "/onebot/v11/ws?x=1") as server, Relay() as relay:
        relay.add_client("bot", server.url, token="client-token")
        relay.publish(message())
        await done.wait()
    assert seen[0].startswith(b"GET /onebot/v11/ws?x=1 HTTP/1.1\r\n")
    shown = heads(seen[0])
    assert {name: shown[name] for name in ("x-self-id", "x-client-role", "user-agent", "authorization", "upgrade")} == {
        "x-self-id": ["10001"],
        "x-client-role": ["Universal"],
        "user-agent": ["OneBot/11"],
        "authorization": ["Bearer client-token"],
        "upgrade": ["websocket"],
    }
    assert "sec-websocket-extensions" not in shown


async def test_the_head_shown_to_an_upstream(serve: Any) -> None:
    seen: list[bytes] = []
    done = anyio.Event()

    async def handler(stream: ByteStream) -> None:
        seen.append(await stream.receive())
        done.set()

    async with serve(handler, "/") as server, Relay() as relay:
        relay.add_upstream(server.url, token="upstream-token")
        await done.wait()
    shown = heads(seen[0])
    assert shown["authorization"] == ["Bearer upstream-token"]
    assert shown["user-agent"] == ["OneBot/11"]
    assert "x-self-id" not in shown


async def test_without_a_token_none_is_shown(serve: Any) -> None:
    seen: list[bytes] = []
    done = anyio.Event()

    async def handler(stream: ByteStream) -> None:
        seen.append(await stream.receive())
        done.set()

    async with serve(handler) as server, Relay() as relay:
        relay.add_upstream(server.url, token="")
        await done.wait()
    assert "authorization" not in heads(seen[0])


@pytest.mark.usefixtures("quick_redial")
async def test_a_lost_client_is_dialled_again_and_links_never_overlap(serve: Any, accept: Any, message: Any) -> None:
    served: list[dict[str, Any]] = []
    done = anyio.Event()

    async def handler(stream: ByteStream) -> None:
        peer = await accept(stream)
        served.append(await peer.json())
        if server.dials == 5:
            done.set()
        elif server.dials % 2:
            peer.reset()
        else:
            await peer.send((Opcode.CLOSE, b"\x03\xe8"))

    async with serve(handler) as server, Relay() as relay:
        relay.add_client("bot", server.url)
        relay.publish(message())
        await done.wait()
        assert server.most == 1
    assert [event["meta_event_type"] for event in served] == ["lifecycle"] * 5


@pytest.mark.usefixtures("quick_redial")
async def test_nonebot_never_sees_a_second_link_of_an_account() -> None:
    async with Simulator(10001) as sim, RecordingClient() as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen())
        relay.add_upstream(await sim.listen())
        for _ in range(5):
            (link,) = await bot.wait_connected()
            link.abort()
            await link.closed.wait()
            await bot.wait_for(lambda link=link: bot.links != [] and bot.links[-1] is not link)
        assert bot.refused == []


async def test_one_dial_at_a_time_while_the_handshake_hangs(serve: Any, until: Any) -> None:
    go_on = anyio.Event()

    async def handler(stream: ByteStream) -> None:
        await go_on.wait()

    async with serve(handler) as server, Relay() as relay:
        relay.add_upstream(server.url)
        await until(lambda: server.open == 1)
        await anyio.wait_all_tasks_blocked()
        assert (server.dials, server.most) == (1, 1)
        go_on.set()
        await until(lambda: server.dials == 2)
        assert server.most == 1


@pytest.mark.usefixtures("quick_redial")
async def test_a_lost_upstream_is_dialled_again(until: Any) -> None:
    async with Simulator(10001) as sim, Relay() as relay:
        upstream = relay.add_upstream(await sim.listen())
        for connects in (1, 2, 3):
            await until(lambda connects=connects: upstream.connects == connects)
            await upstream.ready()
            (link,) = await sim.wait_connected()
            link.abort()
            await link.closed.wait()


async def test_the_same_trouble_is_told_once_and_waits_grow_from_little(
    caplog: pytest.LogCaptureFixture, until: Any, quick_redial: None
) -> None:
    caplog.set_level(logging.DEBUG, "napcore")
    async with RecordingClient() as nobody, Relay() as relay:
        url = await nobody.listen("/there")
        relay.add_upstream(url.replace("there", "elsewhere"))
        await until(lambda: len(delays(caplog)) >= 4)
    assert warnings(caplog) == [
        f"upstream {url.replace('there', 'elsewhere')}: the peer answered HTTP 404: nothing is at that path;"
        " next try in 0.0 s"
    ]


@pytest.mark.parametrize(("status", "code"), [("401 Unauthorized", 401), ("403 Forbidden", 403)])
async def test_a_refused_token_takes_the_slow_lane(
    serve: Any, until: Any, caplog: pytest.LogCaptureFixture, status: str, code: int
) -> None:
    caplog.set_level(logging.DEBUG, "napcore")

    async def handler(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    async with serve(handler) as server, Relay() as relay:
        upstream = relay.add_upstream(server.url, token="wrong-canary")
        await until(lambda: delays(caplog))
        assert upstream.state == "connecting"
    assert 30 <= delays(caplog)[0] <= 60
    assert f"the peer answered HTTP {code}" in warnings(caplog)[0]
    assert " (probably the token is not the one the peer expects" in warnings(caplog)[0]
    assert "disable NapCat's own entry" in warnings(caplog)[0]


async def test_nonebots_403_after_a_success_takes_the_quick_lane(
    caplog: pytest.LogCaptureFixture, until: Any, quick_redial: None
) -> None:
    caplog.set_level(logging.DEBUG, "napcore")
    async with Simulator(10001) as sim, RecordingClient(token="right") as bot, Relay() as relay:
        relay.add_client("bot", await bot.listen(), token="right")
        relay.add_upstream(await sim.listen())
        (link,) = await bot.wait_connected()
        await bot.wait_for(lambda: len(bot.meta) == 1)
        bot.token = "another"
        link.abort()
        await bot.wait_for(lambda: len(bot.refused) == 3)
        await until(lambda: len(delays(caplog)) >= 4)
    assert all(delay <= 5 for delay in delays(caplog))
    assert "probably the framework still holds our last session" in warnings(caplog)[1]


async def test_1008_takes_the_slow_lane(
    serve: Any, accept: Any, until: Any, caplog: pytest.LogCaptureFixture, message: Any
) -> None:
    async def handler(stream: ByteStream) -> None:
        peer = await accept(stream)
        await peer.send((Opcode.CLOSE, b"\x03\xf0"))
        await peer.closed()

    async with serve(handler) as server, Relay() as relay:
        relay.add_client("bot", server.url)
        relay.publish(message())
        await until(lambda: delays(caplog))
    assert 30 <= delays(caplog)[0] <= 60
    assert "closed by the peer with 1008" in warnings(caplog)[0]


async def test_1008_for_a_double_takes_the_quick_lane(
    serve: Any, accept: Any, until: Any, caplog: pytest.LogCaptureFixture, message: Any, quick_redial: None
) -> None:
    async def handler(stream: ByteStream) -> None:
        peer = await accept(stream)
        await peer.send((Opcode.CLOSE, b"\x03\xf0Duplicate X-Self-ID"))
        await peer.rest()

    async with serve(handler) as server, Relay() as relay:
        relay.add_client("bot", server.url)
        relay.publish(message())
        await until(lambda: server.dials >= 3)
        assert server.most == 1
    assert all(delay <= 5 for delay in delays(caplog))
    assert "probably the framework still holds our last session" in warnings(caplog)[0]


async def test_napcats_1403_takes_the_slow_lane(caplog: pytest.LogCaptureFixture, until: Any) -> None:
    async with Simulator(10001, token="right") as sim, Relay() as relay:
        upstream = relay.add_upstream(await sim.listen(), token="wrong")
        await until(lambda: delays(caplog))
        assert upstream.state == "connecting"
        assert relay.statistics().calls.unknown == 0
        assert relay.statistics().accounts == ()
    assert 30 <= delays(caplog)[0] <= 60
    assert "it refused the token (1403)" in warnings(caplog)[0]


@pytest.mark.usefixtures("quick_redial")
async def test_a_removed_client_is_dialled_no_more(until: Any, message: Any) -> None:
    async with RecordingClient() as bot, Relay() as relay:
        client = relay.add_client("bot", await bot.listen())
        relay.publish(message())
        (link,) = await bot.wait_connected()
        await bot.wait_for(lambda: len(bot.meta) == 1)
        await client.aclose()
        await link.closed.wait()
        assert (link.close_code, link.close_reason) == (1000, "no longer needed")
        assert relay.statistics().clients == ()
        again = relay.add_client("bot", bot.url)
        (link,) = await bot.wait_connected()
        assert list(again.sessions) == [10001]
        assert bot.refused == []


@pytest.mark.usefixtures("quick_redial")
async def test_a_removed_upstream_is_dialled_no_more(until: Any) -> None:
    async with Simulator(10001) as sim, Relay() as relay:
        upstream = relay.add_upstream(await sim.listen())
        await upstream.ready()
        (link,) = sim.links
        await upstream.aclose()
        await link.closed.wait()
        assert (link.close_code, link.close_reason) == (1000, "no longer needed")
        assert upstream.state == "absent"
        assert relay.statistics().upstreams == ()
        await anyio.wait_all_tasks_blocked()
        assert sim.links == []


async def test_one_session_per_account_as_the_filter_allows(message: Any) -> None:
    async with RecordingClient() as every, RecordingClient() as one, Relay() as relay:
        relay.add_client("every", await every.listen())
        relay.add_client("one", await one.listen(), filter=Filter(self_ids={10002}))
        relay.publish(message(1, self_id=10001))
        relay.publish(message(1, self_id=10002))
        assert {link.self_id for link in await every.wait_connected(2)} == {10001, 10002}
        assert {link.self_id for link in await one.wait_connected()} == {10002}
        await every.wait_for(lambda: len(every.meta) == 2)
        await one.wait_for(lambda: len(one.meta) == 1)
        for number in range(2, 5):
            relay.publish(message(number, self_id=10001))
            relay.publish(message(number, self_id=10002))
        events = await every.received(8)
        assert {(event["self_id"], event["message_id"]) for event in events} == {
            (self_id, number) for self_id in (10001, 10002) for number in (1, 2, 3, 4)
        }
        assert [event["self_id"] for event in await one.received(4)] == [10002] * 4


async def test_an_account_let_in_by_a_new_filter_is_dialled(message: Any) -> None:
    async with RecordingClient() as bot, Relay() as relay:
        client = relay.add_client("bot", await bot.listen(), filter=Filter(self_ids={10001}))
        for self_id in (10001, 10002):
            relay.publish(message(1, self_id=self_id))
        await bot.wait_for(lambda: len(bot.meta) == 1)
        client.filter = Filter()
        await bot.wait_for(lambda: len(bot.meta) == 2)
        assert {link.self_id for link in bot.links} == {10001, 10002}
        await client.aclose()
        client.filter = Filter(groups={5})
        assert relay.statistics().clients == ()


async def test_tls_to_upstream_and_client(certificates: Any, message: Any) -> None:
    async with Simulator(10001) as sim, RecordingClient() as bot, Relay() as relay:
        upstream = relay.add_upstream(
            await sim.listen(ssl_context=certificates.server), ssl_context=certificates.client
        )
        relay.add_client("bot", await bot.listen(ssl_context=certificates.server), ssl_context=certificates.client)
        await upstream.ready()
        await bot.wait_for(lambda: len(bot.meta) == 1)
        await sim.emit(sim.events.group_message(5, message="x" * 200_000))
        events = await bot.received(1)
        assert events[0]["raw_message"] == "x" * 200_000
        assert (await bot.call("get_login_info"))["data"]["user_id"] == 10001


async def test_a_client_is_not_dialled_before_an_account_is_known(until: Any, message: Any) -> None:
    async with RecordingClient() as bot, Relay() as relay:
        client = relay.add_client("bot", await bot.listen())
        await anyio.wait_all_tasks_blocked()
        assert (client.sessions, bot.links, bot.refused) == ({}, [], [])
        relay.publish(message())
        (link,) = await bot.wait_connected()
        assert link.self_id == 10001
        late = relay.add_client("late", bot.url.replace("/onebot", "/nowhere"))
        assert list(late.sessions) == [10001]
