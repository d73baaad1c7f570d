"""Who guesses tokens, who says nothing, and who takes all the places: turned away, and nobody else with them."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from websockets.frames import Opcode

import napcore.net.accounts
import napcore.net.clients
import napcore.net.upstreams
import napcore.net.ws_server
from napcore import Relay
from napcore.core.capacity import Capacity
from napcore.core.throttle import GUESSES, LOCAL_GUESSES

TOKEN = "a-token-of-16-chars"
UPSTREAM = {"X-Self-ID": "10001", "Authorization": f"Bearer {TOKEN}"}
GOOD = {"Authorization": f"Bearer {TOKEN}"}


def guess(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer guess-number-{number:04}"}


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dials is on another machine."""
    monkeypatch.setattr(napcore.net.ws_server, "peer_address", lambda stream: "192.0.2.7")


@asynccontextmanager
async def silent(port: int) -> AsyncIterator[SocketStream]:
    """A connection that says nothing."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await anyio.wait_all_tasks_blocked()
        yield stream


async def ended(stream: SocketStream) -> bytes:
    """What comes until the other side ends the connection."""
    received = b""
    with anyio.fail_after(5):
        try:
            async for chunk in stream:
                received += chunk
        except anyio.BrokenResourceError:
            pass
    return received


async def test_guesses_from_another_machine_are_429_and_so_is_the_right_token(
    decided: Any, far: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        statuses = [await decided(listener, "/", guess(number)) for number in range(GUESSES + 3)]
        assert statuses == [403] * GUESSES + [429] * 3
        assert await decided(listener, "/", GOOD) == 429
        assert await decided(listener, "/", UPSTREAM) == 429
    (told,) = [record.getMessage() for record in caplog.records if "one token after another" in record.getMessage()]
    assert "192.0.2.7" in told


async def test_the_refusal_says_when_to_come_back(exchange: Any, far: None) -> None:
    request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nAuthorization: Bearer {}\r\n\r\n"
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        for number in range(GUESSES + 1):
            answer = await exchange(listener, request.format(f"guess-{number}").encode())
    head = answer.partition(b"\r\n\r\n")[0].decode().splitlines()
    assert head[0] == "HTTP/1.1 429 Too Many Requests"
    (wait,) = [int(line.partition(": ")[2]) for line in head if line.startswith("Retry-After: ")]
    assert 60 <= wait <= 90


async def test_on_this_machine_guesses_are_429_and_the_right_token_gets_in(decided: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", token="for-bot-alone")
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        statuses = [await decided(listener, "/", guess(number)) for number in range(LOCAL_GUESSES + 3)]
        assert statuses == [403] * LOCAL_GUESSES + [429] * 3
        assert await decided(listener, "/", GOOD) == 101
        assert await decided(listener, "/", {"Authorization": "Bearer for-bot-alone"}) == 101
        assert await decided(listener, "/", UPSTREAM) == 101
        (counted,) = relay.statistics().listeners
        assert (counted.url, counted.accepted) == (listener.url, LOCAL_GUESSES + 6)
        assert (counted.refused, counted.cut) == ({403: LOCAL_GUESSES, 429: 3}, 0)


async def test_a_bot_with_an_old_token_shuts_nobody_out(decided: Any, far: None) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        for _ in range(GUESSES * 4):
            assert await decided(listener, "/", guess(1)) == 403
            assert await decided(listener, "/") == 401
        assert await decided(listener, "/", GOOD) == 101


async def test_the_silent_make_room_for_an_upstream(
    monkeypatch: pytest.MonkeyPatch, dial: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(napcore.net.ws_server, "Capacity", partial(Capacity, handshakes=3))
    monkeypatch.setattr("napcore.core.capacity.GRACE", 0.0)
    caplog.set_level(logging.INFO)
    async with Relay() as relay, AsyncExitStack() as stack:
        listener = await relay.listen("127.0.0.1", 0)
        hanging = [await stack.enter_async_context(silent(listener.port)) for _ in range(8)]
        async with dial(listener, "/", {"X-Self-ID": "10001"}) as upstream:
            await upstream.send((Opcode.PING, b"here"))
            assert (await upstream.frame()).opcode is Opcode.PONG
            # Those that came first have been cut: each was the oldest when there were too many.
            for stream in hanging[:5]:
                assert await ended(stream) == b""
            (counted,) = relay.statistics().listeners
            assert (counted.accepted, counted.links, counted.refused) == (9, 0, {})
            assert counted.cut >= 5


async def test_a_storm_is_answered_at_once(monkeypatch: pytest.MonkeyPatch, exchange: Any) -> None:
    monkeypatch.setattr(napcore.net.ws_server, "Capacity", partial(Capacity, handshakes=1))
    monkeypatch.setattr("napcore.core.capacity.GRACE", 3600.0)
    monkeypatch.setattr("napcore.core.capacity.STORM", 1)
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with silent(listener.port) as first:
            async with silent(listener.port) as second:
                answer = await ended(second)
            assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"\r\nRetry-After: 1\r\n" in answer
            await first.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await ended(first)).startswith(b"HTTP/1.1 404 ")
        # The place is free again.
        assert (await exchange(listener, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 404 ")


async def test_clients_that_take_all_places_leave_one_for_the_upstream(
    monkeypatch: pytest.MonkeyPatch, decided: Any, dial: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(napcore.net.ws_server, "Capacity", partial(Capacity, connections=2))
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener), dial(listener, "/api"):
            assert [await decided(listener) for _ in range(3)] == [503] * 3
            assert await decided(listener, "/", {"X-Self-ID": "10001"}) == 101
        assert "there are 2 connections already" in caplog.text
        assert caplog.text.count("there are 2 connections already") == 1
        await until(lambda: not relay.traffic.clients.links)
        assert await decided(listener) == 101


async def test_one_machine_cannot_take_all_places(monkeypatch: pytest.MonkeyPatch, decided: Any, dial: Any) -> None:
    monkeypatch.setattr(napcore.net.ws_server, "Capacity", partial(Capacity, per_network=1))
    address = "192.0.2.7"
    monkeypatch.setattr(napcore.net.ws_server, "peer_address", lambda stream: address)
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener):
            assert await decided(listener) == 503
            address = "192.0.2.8"
            assert await decided(listener) == 101


async def test_made_up_accounts_are_bounded(
    monkeypatch: pytest.MonkeyPatch, dial: Any, message: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(napcore.net.accounts, "ACCOUNTS", 3)
    monkeypatch.setattr(napcore.net.upstreams, "ACCOUNTS", 3)
    async with Relay() as relay, AsyncExitStack() as stack:
        listener = await relay.listen("127.0.0.1", 0)
        upstream = await stack.enter_async_context(dial(listener, "/", {"X-Self-ID": "1"}))
        async with relay.subscribe() as events:
            for number in range(1, 10):
                await upstream.send((Opcode.TEXT, json.dumps(message(number, self_id=number)).encode()))
            # All are routed, three are remembered.
            assert [(await anext(events)).self_id for _ in range(9)] == list(range(1, 10))
        assert [account.self_id for account in relay.statistics().accounts] == [1, 2, 3]
        assert caplog.text.count("no more are taken in") == 1
        for number in (2, 3):
            await stack.enter_async_context(dial(listener, "/", {"X-Self-ID": str(number)}))
        async with dial(listener, "/", {"X-Self-ID": "4"}) as fourth:
            assert await fourth.closed() == (1013, "too many accounts")
        await upstream.stream.aclose()
        await until(
            lambda: len(tuple(relay.upstreams)) == 3 and not all(upstream.links for upstream in relay.upstreams)
        )
        # One that has left makes room.
        async with dial(listener, "/", {"X-Self-ID": "4"}) as fourth:
            await fourth.send((Opcode.PING, b"here"))
            assert (await fourth.frame()).opcode is Opcode.PONG


async def test_accounts_that_a_client_makes_up_are_bounded(
    monkeypatch: pytest.MonkeyPatch, dial: Any, message: Any
) -> None:
    monkeypatch.setattr(napcore.net.clients, "UNKNOWN_LIMIT", 2)
    async with Relay() as relay:
        relay.add_client("bot")
        relay.publish(message(self_id=5))
        listener = await relay.listen("127.0.0.1", 0)
        async with dial(listener, "/c/bot?self_id=1"), dial(listener, "/c/bot?self_id=2"):
            async with dial(listener, "/c/bot?self_id=3") as third:
                assert await third.closed() == (1013, "too many accounts asked for")
            async with dial(listener, "/c/bot?self_id=5") as known:
                assert (await known.json())["self_id"] == 5
            async with dial(listener, "/c/bot?self_id=1") as again:
                await again.send((Opcode.PING, b"here"))
                assert (await again.frame()).opcode is Opcode.PONG


async def test_who_does_not_finish_its_request_is_told(monkeypatch: pytest.MonkeyPatch, exchange: Any) -> None:
    monkeypatch.setattr(napcore.net.ws_server, "HEAD_TIMEOUT", 0.05)
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        answer = await exchange(listener, b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


async def test_links_that_were_closed_for_what_came_are_counted_by_code(dial: Any, until: Any) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        for _ in range(2):
            async with dial(listener, "/api") as peer:
                await peer.send((Opcode.TEXT, b'{"action":"\xff"}'))
                assert (await peer.closed())[0] == 1007
        async with dial(listener, "/api") as peer:
            await peer.send((Opcode.CLOSE, b"\x03\xe8"))
            assert (await peer.closed())[0] == 1000
        await until(lambda: not relay.traffic.clients.links)
        assert relay.statistics().closed == {1007: 2}
