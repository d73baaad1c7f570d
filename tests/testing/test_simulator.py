from __future__ import annotations

import json
import math
import socket
import time
from collections import Counter

import anyio
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close

from napcore.testing import EventMaker, RecordingClient, Refused, Simulator


def only_asyncio(anyio_backend_name: str) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("websockets' own client and server run on asyncio alone")


def block(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def test_lifecycle_is_the_first_frame_then_events_in_order() -> None:
    async with Simulator(10001, groups=[5, 6]) as sim, RecordingClient() as client:
        await client.connect(await sim.listen())
        await sim.wait_connected()
        for number in range(50):
            await sim.emit(sim.events.group_message(5, message=str(number)))
        events = await client.received(50)
    assert {key: client.meta[0][key] for key in ("self_id", "post_type", "meta_event_type", "sub_type")} == {
        "self_id": 10001,
        "post_type": "meta_event",
        "meta_event_type": "lifecycle",
        "sub_type": "connect",
    }
    assert len(client.meta) == 1
    assert [event["raw_message"] for event in events] == [str(number) for number in range(50)]
    assert sim.sent == 50


async def test_bytes_travel_as_they_are() -> None:
    frame = '{ "post_type" : "message",\t"x":"\\ud800 中" }\n'.encode()
    async with Simulator() as sim, RecordingClient() as client:
        await client.connect(await sim.listen())
        await sim.wait_connected()
        await sim.emit(frame)
        await client.received(1)
    assert client.raw == [frame]


async def test_an_api_link_gets_no_events_but_answers() -> None:
    async with Simulator() as sim, RecordingClient() as api, RecordingClient() as events:
        url = await sim.listen()
        await api.connect(f"{url}/api/")
        await events.connect(f"{url}/event")
        await sim.wait_connected(2)
        await sim.emit(sim.events.private_message())
        await events.received(1)
        assert (await api.call("get_login_info"))["data"] == {"user_id": 1444683668, "nickname": "Sakura BOT"}
        assert (await events.call("get_status"))["data"]["online"] is True
    assert (api.count, api.meta) == (0, [])


async def test_as_reverse_client_it_shows_napcats_headers_and_dials_again() -> None:
    async with Simulator(10001, token="secret") as sim, RecordingClient(token="secret") as bot:
        sim.connect(await bot.listen("/ws/"), reconnect=0.0)
        (link,) = await bot.wait_connected()
        shown = {name: link.headers[name] for name in ("X-Self-ID", "Authorization", "x-client-role", "User-Agent")}
        assert shown == {
            "X-Self-ID": "10001",
            "Authorization": "Bearer secret",
            "x-client-role": "Universal",
            "User-Agent": "OneBot/11",
        }
        await bot.wait_for(lambda: len(bot.meta) == 1)
        link.abort()
        await bot.wait_for(lambda: len(bot.meta) == 2)
        assert bot.meta[1]["meta_event_type"] == "lifecycle"
        assert bot.links[0] is not link


async def test_it_keeps_dialling_until_somebody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with Simulator() as sim, RecordingClient() as bot:
        sim.connect(f"ws://127.0.0.1:{port}/ws", reconnect=0.01)
        await sim.wait_for(lambda: sim.refusals == 3)
        assert isinstance(sim.last_refusal, Refused)
        assert sim.last_refusal.status is None
        await bot.listen("/ws", port=port)
        await sim.wait_connected()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"Authorization": "Bearer right"}),
        ("/", {"Authorization": "right"}),
        ("/?access_token=right", {}),
        ("/?access_token=right", {"Authorization": "Bearer wrong"}),
    ],
)
async def test_right_tokens(path: str, headers: dict[str, str]) -> None:
    async with Simulator(token="right") as sim, RecordingClient() as client:
        await client.connect(await sim.listen() + path, headers=headers)
        await sim.wait_connected()
        await client.wait_for(lambda: len(client.meta) == 1)


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/", {}), ("/", {"Authorization": "Bearer "}), ("/?access_token=wrong", {"Authorization": "Bearer right"})],
)
async def test_a_wrong_token_is_told_by_a_frame_and_a_close_without_a_code(path: str, headers: dict[str, str]) -> None:
    async with Simulator(token="right") as sim, RecordingClient() as client:
        link = await client.connect(await sim.listen() + path, headers=headers)
        await link.closed.wait()
        assert client.answers == [
            {
                "status": "failed",
                "retcode": 1403,
                "data": None,
                "message": "token验证失败",
                "wording": "token验证失败",
                "echo": None,
                "stream": "normal-action",
            }
        ]
        assert link.close_code == 1005
        assert (sim.links, client.meta) == ([], [])


@pytest.mark.parametrize("echo", ["1", 7, {"seq": 1}, [None, 1.5], "\ud800", 2**70, False, "01J55J4NRG2TYBFJZ458P6K3"])
async def test_echo_comes_back_verbatim(echo: object) -> None:
    async with Simulator(groups=[5]) as sim, RecordingClient() as client:
        await client.connect(await sim.listen())
        answer = await client.call("send_group_msg", {"group_id": 5, "message": "hi"}, echo=echo)
    assert (answer["status"], answer["retcode"], type(answer["echo"])) == ("ok", 0, type(echo))
    assert answer["echo"] == echo
    assert isinstance(answer["data"]["message_id"], int)
    assert list(answer) == ["status", "retcode", "data", "message", "wording", "echo", "stream"]


@pytest.mark.parametrize(
    ("frame", "retcode", "echo"),
    [
        (b"{", 1400, None),
        (b"[1]", 1400, None),
        (b'{"action":"get_status"}', 0, ""),
        (b'{"action":"get_status","echo":null}', 0, ""),
        (b'{"action":"no_such","echo":3}', 1404, 3),
        (b'{"echo":3}', 1404, 3),
        (b'{"action":"send_group_msg","params":{"group_id":5},"echo":3}', 1400, 3),
        (b'{"action":"send_msg","params":{"message":"x"},"echo":3}', 1400, 3),
        (b'{"action":"get_msg","params":{"message_id":"x"},"echo":3}', 1400, 3),
        (b'{"action":"get_group_info","params":{"group_id":404},"echo":3}', 1200, 3),
        (b'{"action":"get_group_list_async","echo":3}', 0, 3),
        (b'{"action":"send_msg_rate_limited","params":{"user_id":1,"message":"x"},"echo":3}', 0, 3),
    ],
)
async def test_retcodes(frame: bytes, retcode: int, echo: object) -> None:
    async with Simulator(groups=[5]) as sim, RecordingClient() as client:
        await client.connect(await sim.listen())
        client.send(frame)
        await client.wait_for(lambda: bool(client.answers))
    assert [(answer["retcode"], answer["echo"]) for answer in client.answers] == [(retcode, echo)]


async def test_lists_have_the_accounts_groups_and_members() -> None:
    async with Simulator(groups=[5, 6]) as sim, RecordingClient() as client:
        await client.connect(await sim.listen())
        groups = (await client.call("get_group_list"))["data"]
        members = (await client.call("get_group_member_list", {"group_id": "6"}))["data"]
        message = (await client.call("get_msg", {"message_id": 77}))["data"]
        deleted = await client.call("delete_msg", {"message_id": 77})
    assert [(group["group_id"], group["member_count"]) for group in groups] == [(5, 41), (6, 41)]
    assert (len(members), {member["group_id"] for member in members}) == (41, {6})
    assert (message["message_id"], message["real_id"]) == (77, 77)
    assert (deleted["status"], deleted["data"]) == ("ok", None)


async def test_answers_can_be_scripted() -> None:
    script = {
        "data": {"x": 1},
        "list": [1],
        "whole": {"status": "failed", "retcode": 1200, "data": None},
        "silence": None,
        "raw": b'{"echo":"raw","broken":1}',
        "twice": ({"status": "ok", "retcode": 0, "stream": "stream-action"}, {"last": True}),
    }
    async with Simulator() as sim, RecordingClient() as client:
        sim.on_call = lambda request: script.get(request["action"], sim.answer(request))
        await client.connect(await sim.listen())
        for action in script:
            client.send({"action": action, "echo": action})
        await client.call("get_status", echo="end")
    assert [(answer["echo"], answer.get("data")) for answer in client.answers[:-1]] == [
        ("data", {"x": 1}),
        ("list", [1]),
        ("whole", None),
        ("raw", None),
        ("twice", None),
        ("twice", {"last": True}),
    ]
    assert [request["action"] for request in sim.calls] == [*script, "get_status"]
    assert sim.called == 7


async def test_heartbeats_come_by_themselves() -> None:
    async with Simulator(10001, heartbeat=0.02) as sim, RecordingClient() as client:
        await client.connect(await sim.listen())
        await client.wait_for(lambda: len(client.meta) == 3)
    assert [event["meta_event_type"] for event in client.meta] == ["lifecycle", "heartbeat", "heartbeat"]
    assert (client.meta[1]["status"], client.meta[1]["interval"]) == ({"online": True, "good": True}, 20)


async def test_open_loop_pace_and_send_times() -> None:
    arrivals: dict[int, float] = {}
    async with Simulator(seed=3, groups=190) as sim, RecordingClient() as client:
        client.on_event = lambda event: arrivals.setdefault(event.get("message_id", 0), time.monotonic())
        await client.connect(await sim.listen())
        await sim.wait_connected()
        start = time.monotonic()
        assert await sim.run(1000, 0.5) == 500
        elapsed = time.monotonic() - start
        events = await client.received(500)
        first = next(event["message_id"] for event in events if event["post_type"] == "message")
        sent = sim.sent_at(first)
    assert sent is not None
    assert start <= sent <= arrivals[first]
    assert 0.499 - 0.001 <= elapsed < 5
    assert sim.sent_at(-1) is None
    assert (sim.sent, sim.lost) == (500, 0)


async def test_a_blocked_loop_is_made_good_by_a_burst() -> None:
    async with Simulator(groups=[5]) as sim, RecordingClient(record=False) as client:
        await client.connect(await sim.listen())
        await sim.wait_connected()
        client.on_event = lambda event: block(0.8) if client.count == 1 else None
        start = time.monotonic()
        await sim.run(100, 1.0)
        assert time.monotonic() - start < 1.7
        await client.received(100)


async def test_background_emission_starts_and_stops() -> None:
    async with Simulator() as sim, RecordingClient(record=False) as client:
        await client.connect(await sim.listen())
        await sim.wait_connected()
        sim.start(500)
        await client.received(20)
        sim.stop()
        await anyio.wait_all_tasks_blocked()
        sent = sim.sent
        await client.received(sent)
        assert sim.sent == sent
        assert client.events == []


async def test_events_without_a_link_are_lost() -> None:
    async with Simulator() as sim:
        await sim.emit(sim.events.next())
        assert (sim.sent, sim.lost) == (0, 1)


async def test_a_peer_that_is_gone_disturbs_nobody() -> None:
    async with Simulator() as sim, RecordingClient() as gone, RecordingClient() as client:
        url = await sim.listen()
        link = await gone.connect(url)
        await client.connect(url)
        await sim.wait_connected(2)
        link.abort()
        for _ in range(20):
            await sim.emit(sim.events.next())
        await client.received(20)
        await client.wait_for(lambda: not gone.links)


async def test_reply_latency_by_reply_by_mention_and_by_group() -> None:
    async with Simulator(groups=[5]) as sim, RecordingClient() as bot:
        await bot.connect(await sim.listen())
        await sim.wait_connected()
        first = sim.events.group_message(5, 71)
        await sim.emit(first)
        start = time.monotonic()
        await anyio.sleep(0.03)
        # By our clock: uvloop's counts whole milliseconds, and may wake a little early by others.
        apart = time.monotonic() - start
        await sim.emit(sim.events.group_message(5, 72))
        for message in (
            [{"type": "reply", "data": {"id": str(first["message_id"])}}],
            [{"type": "at", "data": {"qq": 71}}],
            "plain",
        ):
            await bot.call("send_group_msg", {"group_id": 5, "message": message})
        await bot.call("send_group_msg", {"group_id": 6, "message": "nobody spoke there"})
        await bot.call("get_group_info", {"group_id": 5})
        by_reply, by_mention, by_group = sim.replies.latencies
    assert by_reply >= apart
    assert by_mention >= apart
    assert by_group < by_reply


def test_group_messages_have_napcats_key_order() -> None:
    event = EventMaker(1, [5], seed=1).group_message(5, 7, "a[b]&c")
    assert list(event) == (
        "self_id user_id time message_id message_seq real_id real_seq message_type sender raw_message font sub_type"
        " message message_format post_type group_id group_name"
    ).split(" ")
    assert event["raw_message"] == "a&#91;b&#93;&amp;c"
    assert event["message"] == [{"type": "text", "data": {"text": "a[b]&c"}}]


def test_temporary_sessions_are_private_with_a_group() -> None:
    event = EventMaker(1, [5], seed=1).private_message(7, "hi", temporary_from=5)
    assert [event[key] for key in ("message_type", "sub_type", "group_id", "temp_source")] == ["private", "group", 5, 0]


def test_the_same_seed_makes_the_same_events() -> None:
    def made(seed: int) -> list[object]:
        maker = EventMaker(1, 190, seed=seed)
        return [{**maker.next(), "time": 0, "flag": ""} for _ in range(2000)]

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_the_mix_is_realistic() -> None:
    maker = EventMaker(1, 190, seed=1)
    events = [maker.next() for _ in range(5000)]
    kinds = Counter(event["post_type"] for event in events)
    groups = Counter(event["group_id"] for event in events if "group_id" in event)
    sizes = sorted(len(json.dumps(event, ensure_ascii=False).encode()) for event in events)
    ids = [event["message_id"] for event in events if event["post_type"] == "message"]
    assert kinds["message"] > 4700
    assert kinds["notice"] > 100
    assert len(groups) > 150
    assert groups.most_common(1)[0][0] == maker.groups[0]
    assert groups[maker.groups[0]] > 20 * groups[maker.groups[-1]]
    assert 400 < sizes[2500] < 1100
    assert sizes[-1] > 2000
    assert len(set(ids)) == len(ids)
    assert all(0 <= message_id < 2**31 for message_id in ids)


async def test_outside_async_with_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Simulator().listen()


async def test_a_taken_port_is_an_error() -> None:
    async with Simulator() as sim, Simulator() as other:
        url = await sim.listen()
        with pytest.raises(OSError, match="in use"):
            await other.listen(int(url.rsplit(":", 1)[1]))


async def test_against_websockets_client(anyio_backend_name: str) -> None:
    only_asyncio(anyio_backend_name)
    async with Simulator(10001, heartbeat=math.inf) as sim:
        url = await sim.listen()
        async with connect(url, compression=None) as peer:
            assert json.loads(await peer.recv())["sub_type"] == "connect"
            await sim.emit(sim.events.group_message(message="中" * 50_000))
            assert json.loads(await peer.recv())["raw_message"] == "中" * 50_000
            await peer.send(['{"action":"get_login_info",', '"echo":{"seq":1}}'])
            assert json.loads(await peer.recv())["echo"] == {"seq": 1}
            await (await peer.ping())
            sim.links[0].close(1001, "bye")
            with pytest.raises(ConnectionClosed) as closed:
                await peer.recv()
            assert closed.value.rcvd == Close(1001, "bye")


async def test_against_websockets_server(anyio_backend_name: str) -> None:
    only_asyncio(anyio_backend_name)
    seen: list[object] = []

    async def handler(peer: object) -> None:
        seen.append(json.loads(await peer.recv())["sub_type"])  # type: ignore[attr-defined]
        await peer.send('{"action":"get_status","echo":5}')  # type: ignore[attr-defined]
        seen.append(json.loads(await peer.recv())["echo"])  # type: ignore[attr-defined]

    async with serve(handler, "127.0.0.1", 0) as server, Simulator(10001) as sim:
        port = server.sockets[0].getsockname()[1]
        sim.connect(f"ws://127.0.0.1:{port}/", reconnect=30)
        await sim.wait_called()
        (link,) = sim.links
        await link.closed.wait()
        assert (seen, link.close_code) == (["connect", 5], 1000)


async def test_plain_http_gets_an_answer_and_the_next_link_is_served(anyio_backend_name: str) -> None:
    async with Simulator() as sim, RecordingClient() as client:
        url = await sim.listen()
        async with await anyio.connect_tcp("127.0.0.1", int(url.rsplit(":", 1)[1])) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive()).startswith(b"HTTP/1.1 426 ")
        await client.connect(url)
        await client.wait_for(lambda: len(client.meta) == 1)


async def test_websockets_client_sees_a_refusal_as_http(anyio_backend_name: str) -> None:
    only_asyncio(anyio_backend_name)
    async with RecordingClient() as bot:
        url = await bot.listen("/ws")
        with pytest.raises(InvalidStatus) as refusal:
            await connect(url)
        assert refusal.value.response.status_code == 403
