from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from napcore import ConfigError, Relay
from napcore.testing import Refused, Simulator

UPGRADE = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


TOKEN = "a-token-of-16-chars"


def head(target: str = "/", method: str = "GET", **headers: str | None) -> bytes:
    """A request head; headers of an upgrade unless they are None."""
    shown = {**UPGRADE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"{name}: {value}" for name, value in shown.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


def body(answer: bytes) -> str:
    return answer.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 101),
        ("/event", 101),
        ("/event/", 101),
        ("/api", 101),
        ("/api/", 101),
        ("/?self_id=10001", 101),
        ("/c/bot", 101),
        ("/c/A-b_c.9", 101),
        ("/c/" + "x" * 64, 101),
        ("/c/" + "x" * 65, 404),
        ("/c/", 404),
        ("/c/a b", 404),
        ("/c/a/b", 404),
        ("/c/机器人", 404),
        ("/onebot/v11/ws", 404),
        ("/?self_id=abc", 400),
        ("/?self_id=0", 400),
        ("/?self_id=-5", 400),
        ("/?self_id=99999999999999999999", 400),
    ],
)
async def test_paths(exchange: Any, path: str, status: int) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:
            await stream.send(head(path.replace(" ", "%20").encode("ascii", "xmlcharrefreplace").decode()))
            assert int((await stream.receive()).split()[1]) == status


BEARER = "Bearer "


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 401),
        ("/", {"Authorization": "Bearer "}, 401),
        ("/", {"Authorization": "Basic " + TOKEN}, 401),
        ("/?access_token=", {}, 401),
        ("/", {"Authorization": "Bearer wrong"}, 403),
        ("/?access_token=wrong", {}, 403),
        ("/", {"Authorization": BEARER + TOKEN}, 101),
        ("/", {"Authorization": "bearer " + TOKEN}, 101),
        ("/", {"Authorization": "Token " + TOKEN}, 101),
        ("/?access_token=" + TOKEN, {}, 101),
        ("/?access_token=" + TOKEN, {"Authorization": "Bearer "}, 101),
        ("/c/bot", {}, 401),
        ("/c/bot", {"Authorization": BEARER + TOKEN}, 101),
        ("/", {"X-Self-ID": "10001"}, 401),
        ("/", {"X-Self-ID": "10001", "Authorization": "Bearer wrong"}, 403),
        ("/anywhere", {"X-Self-ID": "10001", "Authorization": BEARER + TOKEN}, 101),
        ("/?access_token=" + TOKEN, {"X-Self-ID": "10001"}, 101),
        ("/", {"X-Self-ID": "abc", "Authorization": BEARER + TOKEN}, 400),
    ],
)
async def test_the_listen_token(decided: Any, path: str, headers: dict[str, str], status: int) -> None:
    async with Relay() as relay:
        assert await decided(await relay.listen("127.0.0.1", 0, token=TOKEN), path, headers) == status


async def test_a_refusal_for_want_of_a_token_says_which_scheme(exchange: Any) -> None:
    async with Relay() as relay:
        answer = await exchange(await relay.listen("127.0.0.1", 0, token=TOKEN), head())
    assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer
    assert "?access_token=" in body(answer)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"X-Self-ID": "10001", "Authorization": BEARER + "for-upstreams"}, 101),
        ("/", {"X-Self-ID": "10001", "Authorization": BEARER + TOKEN}, 403),
        ("/", {"X-Self-ID": "10001", "Authorization": BEARER + "for-bot"}, 403),
        ("/", {"Authorization": BEARER + "for-upstreams"}, 403),
        ("/c/bot", {"Authorization": BEARER + "for-bot"}, 101),
        ("/", {"Authorization": BEARER + "for-bot"}, 101),
        ("/anywhere", {"Authorization": BEARER + "for-bot"}, 101),
        ("/c/other", {"Authorization": BEARER + "for-bot"}, 101),
        ("/c/bot", {"Authorization": BEARER + TOKEN}, 403),
        ("/c/free", {"Authorization": BEARER + TOKEN}, 101),
    ],
)
async def test_upstream_listen_and_client_tokens(decided: Any, path: str, headers: dict[str, str], status: int) -> None:
    async with Relay() as relay:
        relay.add_client("bot", token="for-bot")
        relay.add_client("free")
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN, upstream_token="for-upstreams")
        assert await decided(listener, path, headers) == status


async def test_a_clients_own_token_makes_it_that_client_on_any_path(dial: Any, message: Any, until: Any) -> None:
    async with Relay() as relay:
        relay.add_client("bot", token="for-bot")
        relay.publish(message(0))
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        async with dial(listener, "/anywhere", {"Authorization": "Bearer for-bot"}) as peer:
            assert (await peer.json())["sub_type"] == "connect"
            assert [client.name for client in relay.statistics().clients] == ["bot"]


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:6710", "127.0.0.1:6710", 101),
        ("http://localhost:6710", "localhost:6710", 101),
        ("http://[::1]:6710", "[::1]:6710", 101),
        ("https://127.0.0.1:6710", "127.0.0.1:6710", 403),
        ("http://127.0.0.1:8080", "127.0.0.1:6710", 403),
        ("http://evil.example", "127.0.0.1:6710", 403),
        ("http://rebound.example:6710", "rebound.example:6710", 403),
        ("https://bots.example", "127.0.0.1:6710", 101),
        ("null", "127.0.0.1:6710", 403),
    ],
)
async def test_origins(exchange: Any, origin: str, host: str, status: int) -> None:
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, allowed_origins=["https://bots.example"])
        async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:
            await stream.send(head(Origin=origin, Host=host))
            answer = await stream.receive()
    assert int(answer.split()[1]) == status
    assert (b"allowed_origins" in answer) == (status == 403)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ["127.0.0.1", "0.0.0.0"], "192.0.2.1"])
@pytest.mark.parametrize("token", [None, "", "fifteen-letters"])
async def test_an_open_port_needs_a_long_token(host: Any, token: str | None) -> None:
    async with Relay() as relay:
        with pytest.raises(ConfigError, match="needs a token of at least 16 characters, or allow_anonymous") as error:
            await relay.listen(host, 0, token=token)
    assert [problem.key for problem in error.value.errors] == ["listen.token"]


async def test_an_open_port_with_a_token_or_on_purpose_without(decided: Any) -> None:
    async with Relay() as relay:
        guarded = await relay.listen("0.0.0.0", 0, token="sixteen-letters!")
        assert await decided(f"ws://127.0.0.1:{guarded.port}") == 401
        open_ = await relay.listen("0.0.0.0", 0, allow_anonymous=True)
        assert await decided(f"ws://127.0.0.1:{open_.port}") == 101


async def test_a_wrong_token_of_an_upstream_reaches_it_as_a_status(caplog: pytest.LogCaptureFixture) -> None:
    async with Simulator(10001, token="canary-wrong") as sim, Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        sim.connect(listener.url)
        await sim.wait_for(lambda: sim.refusals == 1)
        assert isinstance(sim.last_refusal, Refused)
        assert sim.last_refusal.status == 403
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage().endswith("refused: 403 wrong token")
