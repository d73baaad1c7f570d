from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream
from websockets.frames import Frame, Opcode

import napcore.net.websocket
from napcore.errors import ConfigError
from napcore.net.websocket import DialFailed, check_url, dial, public_url


async def failure_of(url: str, **options: Any) -> DialFailed:
    with pytest.raises(DialFailed) as failure:
        await dial(url, {}, **options)
    return failure.value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def test_nobody_there() -> None:
    failure = await failure_of(f"ws://127.0.0.1:{free_port()}/")
    assert (failure.cause, failure.status) == ("connection refused: nothing listens there", None)


async def test_nobody_there_under_several_addresses() -> None:
    failure = await failure_of(f"ws://localhost:{free_port()}/")
    assert failure.cause == "connection refused: nothing listens there"


async def test_a_name_that_does_not_exist() -> None:
    failure = await failure_of("ws://does-not-exist.invalid/")
    assert failure.status is None
    assert failure.cause.startswith("the name 'does-not-exist.invalid' cannot be resolved (DNS): ")


@pytest.mark.parametrize(
    ("answer", "cause", "status"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "the peer answered HTTP 403", 403),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad", "the peer answered HTTP 502", 502),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "the peer answered HTTP 404: nothing is at that path",
            404,
        ),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "the peer answered HTTP 503: it is busy or starting", 503),
        (
            b"HTTP/1.1 307 x\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            "the peer answered HTTP 307: it sends us elsewhere; give the final URL",
            307,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "the peer answered HTTP 200", 200),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not a WebSocket: ", None),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "not a WebSocket: ", None),
        (b"", "the peer closed the connection during the handshake", None),
    ],
)
async def test_answers_that_are_no_websocket(serve: Any, answer: bytes, cause: str, status: int | None) -> None:
    async def handler(stream: ByteStream) -> None:
        await stream.receive()
        if answer:
            await stream.send(answer)

    async with serve(handler) as server:
        failure = await failure_of(server.url)
        assert failure.cause.startswith(cause)
        assert failure.status == status


async def test_a_peer_that_hangs(serve: Any) -> None:
    async with serve(lambda stream: anyio.sleep_forever()) as server:
        failure = await failure_of(server.url, timeout=0.05)
    assert failure.cause == "no answer within 0.05 s"


async def test_a_peer_that_dribbles_has_no_more_time(serve: Any) -> None:
    async def handler(stream: ByteStream) -> None:
        for byte in b"HTTP/1.1 101 Switching Protocols\r\n" * 100:
            await stream.send(bytes([byte]))
            await anyio.sleep(0.005)

    async with serve(handler) as server:
        failure = await failure_of(server.url, timeout=0.1)
    assert failure.cause == "no answer within 0.1 s"


async def test_what_comes_with_the_handshake_is_kept(serve: Any, accept: Any) -> None:
    dialled_in = anyio.Event()

    async def handler(stream: ByteStream) -> None:
        peer = await accept(stream, early=Frame(Opcode.TEXT, b"1").serialize(mask=False) + b"\x81\x01")
        assert peer.request.headers["X-Test"] == "yes"
        await dialled_in.wait()
        await stream.send(b"2")
        await anyio.sleep_forever()

    async with serve(handler, "/ws?x=1") as server:
        dialled = await dial(server.url, {"X-Test": "yes"})
        dialled_in.set()
        assert dialled.early + await dialled.stream.receive() == b"\x81\x011\x81\x012"
        await anyio.aclose_forcefully(dialled.stream)


async def test_tls(serve: Any, accept: Any, certificates: Any) -> None:
    async def handler(stream: ByteStream) -> None:
        await accept(stream)
        await anyio.sleep_forever()

    async with serve(handler, ssl_context=certificates.server) as server:
        dialled = await dial(server.url, {}, ssl_context=certificates.client)
        await anyio.aclose_forcefully(dialled.stream)


async def test_a_certificate_nobody_trusts(serve: Any, certificates: Any) -> None:
    async def handler(stream: ByteStream) -> None:
        with suppress(ssl.SSLError):
            await TLSStream.wrap(stream, server_side=True, ssl_context=certificates.server, standard_compatible=False)

    async with serve(handler) as server:
        failure = await failure_of(server.url.replace("ws:", "wss:"), ssl_context=ssl.create_default_context())
    assert failure.cause.startswith("TLS failed: the certificate is not accepted (")


async def test_a_cancelled_dial_leaves_nothing_open(serve: Any, until: Any) -> None:
    asked = anyio.Event()

    async def handler(stream: ByteStream) -> None:
        async for _ in stream:
            asked.set()

    async with serve(handler) as server:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(dial, server.url, {})
                await asked.wait()
                scope.cancel()
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("url", ["ws://127.0.0.1:3001", "wss://bots.example/onebot?x=1", "ws://[::1]:6710/c/bot"])
def test_good_urls(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize("url", ["", "127.0.0.1:3001", "http://127.0.0.1", "ws://", "ws://host:99999999/", "ws:/a", 5])
def test_bad_urls(url: Any) -> None:
    with pytest.raises(ConfigError, match="must be a ws:// or wss:// URL, not ") as error:
        check_url(url)
    assert [problem.key for problem in error.value.errors] == ["url"]


def test_a_bad_url_with_a_token_is_not_shown_in_full() -> None:
    with pytest.raises(ConfigError) as error:
        check_url("http://user:canary1@127.0.0.1/?access_token=canary2")
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("ws://127.0.0.1:3001/?access_token=secret&x=1", "ws://127.0.0.1:3001/?access_token=***&x=1"),
        ("ws://me:secret@host/path", "ws://host/path"),
        ("ws://[::1]:80/", "ws://[::1]:80/"),
        ("ws://host/#secret", "ws://host/"),
        ("ws://host:port/", "<not a URL>"),
        ("ws://host/?Token=secret", "ws://host/?Token=***"),
    ],
)
def test_urls_for_logs(url: str, public: str) -> None:
    assert public_url(url) == public


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        (("127.0.0.1", 5), True),
        (("127.9.9.9", 5), True),
        (("::1", 5), True),
        (("::ffff:127.0.0.1", 5), True),
        (("192.168.1.5", 5), False),
        (("2001:db8::1", 5), False),
        (("::ffff:10.0.0.1", 5), False),
        ("/run/socket", True),
    ],
)
def test_loopback(address: Any, loopback: bool) -> None:
    class Stub:
        def extra(self, attribute: object, default: object = None) -> object:
            return address

    stream: Any = Stub()
    assert napcore.net.websocket.is_loopback(stream) is loopback
