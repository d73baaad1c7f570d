from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest


class Wire:
    """A connection through a proxy, both ends of it."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far


@contextmanager
def wired(proxy: Any, server: socket.socket) -> Iterator[Wire]:
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as near:
        server.settimeout(5)
        far, _ = server.accept()
        with far:
            # Both ends are there before the proxy knows that its own dial has succeeded.
            while not proxy.open:
                time.sleep(0.001)
            for end in (near, far):
                end.settimeout(5)
            yield Wire(near, far)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield bound


@pytest.fixture
def proxy(fault_proxy: Any, server: socket.socket) -> Iterator[Any]:
    with fault_proxy(server.getsockname()[1]) as made:
        yield made


def take(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = end.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


def is_reset(end: socket.socket) -> bytes:
    """What comes before the reset."""
    data = b""
    try:
        while piece := end.recv(64):
            data += piece
    except ConnectionResetError:
        return data
    raise AssertionError("an end, not a reset")


def silent(end: socket.socket) -> bool:
    end.settimeout(0.1)
    try:
        return end.recv(1) == b"?"
    except TimeoutError:
        return True
    finally:
        end.settimeout(5)


def test_it_passes_bytes_on_in_both_directions(proxy: Any, server: socket.socket) -> None:
    with wired(proxy, server) as wire:
        wire.near.sendall(b"up" * 100_000)
        assert take(wire.far, 200_000) == b"up" * 100_000
        wire.far.sendall(b"down")
        assert take(wire.near, 4) == b"down"
        assert (proxy.accepted, proxy.open, proxy.passed) == (1, 1, {"up": 200_000, "down": 4})


def test_a_stall_holds_bytes_back_until_it_is_over(proxy: Any, server: socket.socket) -> None:
    with wired(proxy, server) as wire:
        proxy.fault("up", stall=True)
        wire.near.sendall(b"late")
        assert silent(wire.far)
        wire.far.sendall(b"free")
        assert take(wire.near, 4) == b"free"
        proxy.fault("up")
        assert take(wire.far, 4) == b"late"


def test_a_black_hole_swallows_them(proxy: Any, server: socket.socket) -> None:
    with wired(proxy, server) as wire:
        proxy.fault("down", blackhole=True)
        wire.far.sendall(b"gone")
        assert silent(wire.near)
        proxy.fault("down")
        wire.far.sendall(b"here")
        assert take(wire.near, 4) == b"here"


def test_a_delay_and_a_dribble_take_their_time(proxy: Any, server: socket.socket) -> None:
    with wired(proxy, server) as wire:
        proxy.fault("up", delay=0.1)
        start = time.monotonic()
        wire.near.sendall(b"x")
        assert take(wire.far, 1) == b"x"
        assert time.monotonic() - start >= 0.1
        proxy.fault("up", dribble=0.01)
        start = time.monotonic()
        wire.near.sendall(b"0123456789")
        assert wire.far.recv(10) == b"0"
        assert take(wire.far, 9) == b"123456789"
        assert time.monotonic() - start >= 0.08


def test_one_bit_is_flipped_once(proxy: Any, server: socket.socket) -> None:
    with wired(proxy, server) as wire:
        proxy.fault("up", corrupt=3)
        wire.near.sendall(b"aa")
        assert take(wire.far, 2) == b"aa"
        wire.near.sendall(b"aaaa")
        assert take(wire.far, 4) == b"qaaa"
        wire.near.sendall(b"aaaa")
        assert take(wire.far, 4) == b"aaaa"


def test_a_cut_comes_after_so_many_bytes_and_is_a_reset(proxy: Any, server: socket.socket) -> None:
    with wired(proxy, server) as wire:
        proxy.fault("up", cut_after=5)
        wire.near.sendall(b"abc")
        assert take(wire.far, 3) == b"abc"
        wire.near.sendall(b"defgh")
        # A reset may overtake what came before it.
        assert is_reset(wire.far) in (b"de", b"")
        assert is_reset(wire.near) == b""


def test_reset_finish_and_half_close(proxy: Any, server: socket.socket) -> None:
    with wired(proxy, server) as wire:
        proxy.reset()
        for end in (wire.near, wire.far):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
    with wired(proxy, server) as wire:
        proxy.finish()
        assert wire.near.recv(1) == wire.far.recv(1) == b""
    with wired(proxy, server) as wire:
        proxy.half_close("up")
        assert wire.far.recv(1) == b""
        wire.far.sendall(b"still")
        assert take(wire.near, 5) == b"still"


def test_an_end_passes_through(proxy: Any, server: socket.socket) -> None:
    with wired(proxy, server) as wire:
        wire.near.sendall(b"last")
        wire.near.shutdown(socket.SHUT_WR)
        assert take(wire.far, 5) == b"last"
        wire.far.sendall(b"answer")
        assert take(wire.near, 6) == b"answer"


def test_the_door(proxy: Any, server: socket.socket) -> None:
    proxy.door("refuse")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 5)
    proxy.door("hang")
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as hung:
        hung.settimeout(5)
        hung.sendall(b"anybody?")
        assert silent(hung)
        proxy.door("open")
        with suppress(ConnectionResetError):
            assert hung.recv(1) == b""
    with wired(proxy, server) as wire:
        wire.near.sendall(b"yes")
        assert take(wire.far, 3) == b"yes"


def test_nobody_behind_it(fault_proxy: Any, server: socket.socket) -> None:
    port = server.getsockname()[1]
    server.close()
    with fault_proxy(port) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as near:
        near.settimeout(5)
        with suppress(ConnectionResetError):
            assert near.recv(1) == b""
