from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest


class Watched:
    """One socket with a reader of its own, and its peer."""

    def __init__(self, wire: Any, connections: ExitStack) -> None:
        self.near, self.far = socket.socketpair()
        for one in (self.near, self.far):
            one.setblocking(False)
            connections.enter_context(one)
        self.reader = wire.Reader(masked=False)
        self.got: list[bytes] = []

    @property
    def descriptor(self) -> int:
        return self.near.fileno()

    def says(self, text: bytes) -> None:
        self.far.send(bytes([0x81, len(text)]) + text)


@pytest.fixture
def watched(wire: Any) -> Iterator[list[Watched]]:
    if not wire.CAN_POLL:
        pytest.skip("no epoll here")
    with ExitStack() as connections:
        yield [Watched(wire, connections) for _ in range(200)]


def test_those_that_have_something_to_read_read_it(wire: Any, watched: list[Watched]) -> None:
    poller = wire.Poller()
    for one in watched:
        poller.add(one.descriptor, one.reader, one.got.extend)
    assert len(poller) == 200
    poller.pull()
    for one in watched[:100]:
        one.says(b"a")
        one.says(b"b")
    poller.pull()
    assert [one.got for one in watched] == [[b"a", b"b"]] * 100 + [[]] * 100
    for one in watched:
        one.says(b"c")
    # More than one call looks at: the rest has its turn with the next.
    poller.pull()
    poller.pull()
    assert [one.got[-1:] for one in watched] == [[b"c"]] * 200
    for one in watched:
        poller.remove(one.descriptor)
        one.says(b"d")
    poller.pull()
    assert [one.got[-1:] for one in watched] == [[b"c"]] * 200
    assert len(poller) == 0
    poller.close()


def test_it_is_readable_when_one_of_them_is(wire: Any, watched: list[Watched]) -> None:
    poller, outer = wire.Poller(), wire.Poller()
    calls: list[int] = []

    class Inner:
        def pull(self, descriptor: int, on_read: Any) -> None:
            assert descriptor == poller.descriptor
            calls.append(1)
            poller.pull()

    outer.add(poller.descriptor, Inner(), calls.append)
    poller.add(watched[0].descriptor, watched[0].reader, watched[0].got.extend)
    outer.pull()
    assert calls == []
    watched[0].says(b"x")
    outer.pull()
    outer.pull()
    assert calls == [1]
    assert watched[0].got == [b"x"]


def test_one_may_remove_another_that_was_about_to_be_called(wire: Any, watched: list[Watched]) -> None:
    poller = wire.Poller()
    one, two = watched[:2]

    def remove(other: Watched, got: list[bytes]) -> Any:
        def took(messages: list[bytes]) -> None:
            got.extend(messages)
            poller.remove(other.descriptor)

        return took

    poller.add(one.descriptor, one.reader, remove(two, one.got))
    poller.add(two.descriptor, two.reader, remove(one, two.got))
    one.says(b"x")
    two.says(b"x")
    poller.pull()
    assert one.got + two.got == [b"x"]
    assert len(poller) == 1


def test_the_end_of_a_connection_is_something_to_read(wire: Any, watched: list[Watched]) -> None:
    poller = wire.Poller()
    one = watched[0]
    poller.add(one.descriptor, one.reader, one.got.extend)
    one.far.close()
    poller.pull()
    assert one.reader.ended


def test_what_cannot_be_watched_is_an_error_and_leaves_nothing(wire: Any, watched: list[Watched]) -> None:
    poller = wire.Poller()
    one = watched[0]
    with pytest.raises(OSError, match=os.strerror(9)):
        poller.add(10**6, one.reader, one.got.extend)
    poller.add(one.descriptor, one.reader, one.got.extend)
    with pytest.raises(OSError, match=os.strerror(17)):
        poller.add(one.descriptor, one.reader, one.got.extend)
    assert len(poller) == 1
    one.says(b"x")
    poller.pull()
    assert one.got == [b"x"]
    with pytest.raises(KeyError):
        poller.remove(10**6)


def test_a_fault_of_one_reader_is_its_callers(wire: Any, watched: list[Watched]) -> None:
    poller = wire.Poller()
    one = watched[0]

    def fail(messages: list[bytes]) -> None:
        raise RuntimeError("what a handler raised")

    poller.add(one.descriptor, one.reader, fail)
    one.says(b"x")
    with pytest.raises(RuntimeError, match="a handler"):
        poller.pull()


def test_a_closed_one_watches_nothing(wire: Any, watched: list[Watched]) -> None:
    poller = wire.Poller()
    one = watched[0]
    descriptor = poller.descriptor
    poller.close()
    poller.close()
    assert poller.descriptor == -1
    with pytest.raises(OSError, match=os.strerror(9)):
        os.fstat(descriptor)
    for act in (lambda: poller.add(one.descriptor, one.reader, print), lambda: poller.remove(3), poller.pull):
        with pytest.raises(ValueError, match="closed"):
            act()
