from __future__ import annotations

import socket
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

import napcore.net.sockets
from napcore.net.sockets import bind


def both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name stand for both loopback addresses, one of them twice."""

    async def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
        return [four, six, four]

    monkeypatch.setattr(napcore.net.sockets.anyio, "getaddrinfo", getaddrinfo)


async def test_every_address_of_a_name_has_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    both_families(monkeypatch)
    listeners = await bind("name", 0)
    ports = {listener.extra(SocketAttribute.local_port) for listener in listeners}
    addresses = [listener.extra(SocketAttribute.local_address)[0] for listener in listeners]
    assert (len(ports), addresses) == (1, ["127.0.0.1", "::1"])
    for listener in listeners:
        await listener.aclose()


async def test_a_failure_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    both_families(monkeypatch)
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await bind("name", port)
    for listener in await bind("name", port):
        await listener.aclose()


async def test_a_receive_buffer_is_inherited_by_what_is_accepted() -> None:
    (listener,) = await bind("127.0.0.1", 0, receive_buffer=4096)
    async with listener:
        async with await anyio.connect_tcp("127.0.0.1", listener.extra(SocketAttribute.local_port)):
            async with await listener.accept() as accepted:
                raw = accepted.extra(SocketAttribute.raw_socket)
                # Linux reports twice what was asked for.
                assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 8192


async def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(socket.gaierror):
        await bind("does-not-exist.invalid", 0)


async def test_windows_gets_its_own_option_against_shared_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    # With SO_REUSEADDR anybody could share a port there, and take its connections.
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)
    (listener,) = await bind("127.0.0.1", 0)
    async with listener:
        raw = listener.extra(SocketAttribute.raw_socket)
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
