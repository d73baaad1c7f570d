"""The source: what an upstream's read brings goes to those who want it, aged, written to all links at once."""

from __future__ import annotations

import gc
import math
import os
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import orjson
import pytest

ACCOUNT = 10001


def text(number: int = 1, **fields: Any) -> bytes:
    head = {"self_id": ACCOUNT, "post_type": "message", "message_type": "group", "time": 100, "message_id": number}
    return orjson.dumps(head | fields)


class Someone:
    """The owner of one client's outbox and, given a socket, its writer."""

    def __init__(self, core: Any, wire: Any, near: socket.socket | None, **bounds: Any) -> None:
        self.flushed = 0
        self.outbox = core.Outbox(**{"message_ttl": math.inf, "owner": self, **bounds})
        self.writer = None if near is None else wire.Writer(self.outbox, os.dup(near.fileno()))

    def flush(self) -> None:
        self.flushed += 1


class World:
    """A source, and what it calls."""

    def __init__(self, core: Any, wire: Any) -> None:
        self.core, self.wire = core, wire
        self.now = 50.0
        self.router = core.Router()
        self.behind: dict[Any, None] = {}
        self.handed: list[list[Any]] = []
        self.gaps: list[float] = []
        self.asked: list[tuple[Any, int, float]] = []
        self.others: list[Any] = []
        self.delay = 0.0
        self.source = wire.Source(
            self.router,
            clock=lambda: self.now,
            peek=partial(core.peek_batch, {ACCOUNT, ACCOUNT + 1}, {"meta_event.heartbeat"}, (), self.other),
            birth=self.birth,
            write=self.handed.append,
            behind=self.behind,
            on_gap=self.gaps.append,
        )
        self.source.account = ACCOUNT

    def other(self, item: Any) -> bool:
        self.others.append(item)
        return getattr(item, "kind", None) == "notice"

    def birth(self, event: Any, account: int, now: float) -> float:
        self.asked.append((event.message_id, account, now))
        return now - self.delay

    def add(self, near: socket.socket | None = None, **bounds: Any) -> Someone:
        made = Someone(self.core, self.wire, near, **bounds)
        self.router.add(made.outbox, "json")
        return made


@pytest.fixture
def world(core: Any, wire: Any) -> World:
    return World(core, wire)


@pytest.fixture
def sockets() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """Makes connected pairs."""
    with ExitStack() as stack:

        def make() -> tuple[socket.socket, socket.socket]:
            pair = socket.socketpair()
            for one in pair:
                one.setblocking(False)
                stack.enter_context(one)
            return pair

        yield make


def waiting(owner: Someone) -> list[bytes]:
    taken: list[bytes] = owner.outbox.take(0.0)
    return taken


def test_what_a_read_brings_goes_to_all_who_want_it(world: World) -> None:
    first, second = world.add(), world.add()
    world.source.take([text(1), b"nonsense", text(2), b'{"echo":1}', text(3, self_id=None, post_type="notice")])
    assert (world.source.messages, world.source.events) == (5, 3)
    assert waiting(first) == waiting(second) == [text(1), text(2), text(3, self_id=None, post_type="notice")]
    assert [type(item).__name__ for item in world.others] == ["BadEvent", "Response", "Event"]
    world.source.take([])
    world.source.take([b"{}"])
    assert (world.source.messages, world.source.events) == (6, 3)


def test_everything_is_written_in_one_flush(world: World, sockets: Any) -> None:
    if not world.wire.CAN_WRITE:
        pytest.skip("no descriptors to write to")
    pairs = [sockets() for _ in range(3)]
    owners = [world.add(near) for near, _ in pairs]
    world.source.take([text(1)])
    world.source.take([text(2), text(3)])
    assert [owner.outbox.queued for owner in owners] == [3, 3, 3]
    world.source.flush()
    for _, far in pairs:
        assert far.recv(65536).startswith(text(1) + text(2) + text(3))
    assert [owner.flushed for owner in owners] == [0, 0, 0]
    world.source.flush()
    assert world.handed == []


def test_whose_flush_was_not_the_end_of_it_is_told(world: World, sockets: Any) -> None:
    held, alone = world.add(sockets()[0]), world.add()
    held.writer.held = True
    world.source.take([text(1)])
    world.source.take([text(2)])
    world.source.flush()
    assert (held.flushed, alone.flushed, world.handed) == (1, 1, [])


def test_more_than_a_slice_is_handed_on(world: World) -> None:
    owners = [world.add() for _ in range(world.wire.SLICE)]
    world.source.take([text(1)])
    world.source.flush()
    assert [owner.flushed for owner in owners] == [1] * world.wire.SLICE
    owners.append(world.add())
    world.source.take([text(2)])
    world.source.take([text(3)])
    world.source.flush()
    assert world.handed == [owners], "each once, in order"
    assert owners[0].flushed == 1


def test_nobody_overtakes_those_that_are_still_to_be_written_to(world: World) -> None:
    late, prompt = world.add(), world.add()
    world.behind[late] = None
    world.source.take([text(1)])
    world.source.flush()
    assert (world.handed, prompt.flushed) == ([[late, prompt]], 0)
    world.behind.clear()
    world.source.take([text(2)])
    world.source.flush()
    assert (late.flushed, prompt.flushed) == (1, 1)


def test_an_age_is_asked_for_once_for_what_is_alike(world: World) -> None:
    world.add()
    world.source.take([text(1), text(2), text(3, time=101), text(4, self_id=ACCOUNT + 1, time=101)])
    assert world.asked == [(1, ACCOUNT, 50.0), (3, ACCOUNT, 50.0), (4, ACCOUNT, 50.0)]
    world.asked.clear()
    of_another = {"self_id": ACCOUNT + 1, "time": 101, "message_type": "x"}
    world.source.take([text(5, self_id=ACCOUNT + 1, time=101), text(6, **of_another)])
    assert world.asked == [(6, ACCOUNT, 50.0)]
    world.now += 0.015
    world.source.take([text(7, **of_another)])
    assert len(world.asked) == 1
    world.now += 0.01
    world.source.take([text(8, **of_another)])
    assert world.asked[1:] == [(8, ACCOUNT, 50.025)]
    world.now = 40.0  # a clock that goes back is believed nothing
    world.source.take([text(9, **of_another)])
    assert world.asked[2:] == [(9, ACCOUNT, 40.0)]


def test_a_missing_account_is_the_links(world: World) -> None:
    world.add()
    world.source.take([text(1, post_type="notice"), text(2, post_type="notice", self_id=None)])
    assert [number for number, *_ in world.asked] == [1], "one account"
    world.source.account = 7
    world.source.take([text(3, post_type="notice", self_id=None)])
    assert world.asked[1:] == [(3, 7, 50.0)]


def test_ages_count_from_birth(world: World) -> None:
    fresh, stale = world.add(), world.add(message_ttl=60)
    world.delay = 61.0
    world.source.take([text(1)])
    assert (len(waiting(fresh)), stale.outbox.dropped.get("ttl")) == (1, 1)
    # A hundredth of a second later: what was answered is an age, not a moment.
    world.now += 0.01
    world.delay = 0.0
    world.source.take([text(2)])
    assert stale.outbox.dropped.get("ttl") == 2
    world.now += 1.0
    world.source.take([text(3)])
    assert [orjson.loads(raw)["message_id"] for raw in stale.outbox.take(world.now)] == [3]


def test_many_events_of_one_read(world: World) -> None:
    owner = world.add()
    world.delay = 1.0
    world.source.take([text(number, time=number) for number in range(1, 301)])
    assert len(world.asked) == world.source.events == 300
    assert [orjson.loads(raw)["message_id"] for raw in waiting(owner)] == list(range(1, 301))


def test_a_silence_is_told_of_before_what_ends_it(world: World) -> None:
    world.add()
    world.now += 1000
    world.source.take([text(1)])
    world.now += 1e9
    world.source.take([text(2)])
    assert world.gaps == [], "no gap has been named"
    world.source.gap = 45.0
    world.now += 45
    world.source.take([b"{}"])
    assert world.gaps == []
    world.now += 46
    world.source.take([text(3)])
    world.source.take([text(4)])
    assert world.gaps == [world.now]


@pytest.mark.parametrize("where", ["other", "birth"])
def test_an_error_queues_nothing_of_the_read_and_breaks_nothing(world: World, where: str, core: Any, wire: Any) -> None:
    owner = world.add()
    world.source.take([text(1)])

    def failing(*_: Any) -> Any:
        raise RuntimeError("planted")

    faulty = wire.Source(
        world.router,
        clock=lambda: world.now,
        peek=partial(core.peek_batch, {ACCOUNT}, (), (), failing),
        birth=failing,
        write=world.handed.append,
        behind={},
        on_gap=failing,
    )
    messages = [text(2), b"{}"] if where == "other" else [text(2)]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="planted"):
            faulty.take(messages)
        faulty.flush()
    assert (owner.flushed, waiting(owner)) == (0, [text(1)])
    world.source.flush()
    assert owner.flushed == 1


def test_an_error_while_writing_leaves_nothing_to_be_written_twice(world: World) -> None:
    owner = world.add()

    def failing() -> None:
        raise RuntimeError("planted")

    world.source.take([text(1)])
    owner.flush = failing  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="planted"):
        world.source.flush()
    del owner.flush
    world.source.flush()
    assert owner.flushed == 0


def test_what_is_no_event_is_refused(core: Any, wire: Any) -> None:
    for found in ([7], (7,), None):
        source = wire.Source(
            core.Router(),
            clock=lambda: 0.0,
            peek=lambda _, found=found: found,
            birth=lambda *_: 0.0,
            write=list,
            behind={},
            on_gap=print,
        )
        if not found and core.__name__.endswith("_py"):
            continue  # which takes it for an empty list
        with pytest.raises((TypeError, AttributeError)):
            source.take([b"{}"])
    with pytest.raises((TypeError, AttributeError)):
        source.take(None)


def test_a_reader_feeds_it_without_a_look_between(world: World, sockets: Any) -> None:
    if not world.wire.CAN_READ:
        pytest.skip("no descriptors to read from")
    upstream, ours = sockets()
    near, far = sockets()
    world.add(near)
    reader = world.wire.Reader(False)
    looked: list[Any] = []

    def on_read(messages: list[bytes]) -> None:
        looked.append(len(messages))
        reader.due = False
        world.source.take(messages)

    frames = [world.core.frame(text(number)) for number in range(1, 40)]
    upstream.sendall(b"".join(frames[:20]))
    reader.pull(ours.fileno(), on_read, world.source)
    upstream.sendall(b"".join(frames[20:]) + world.core.frame(b"?", 9))
    reader.pull(ours.fileno(), on_read, world.source)
    assert looked == [19]
    assert far.recv(65536).count(b'"message_id"') == world.source.events == 39


def test_it_is_let_go_of_with_what_it_calls(core: Any, wire: Any) -> None:
    world = World(core, wire)  # holds the source, which calls it
    gone = weakref.ref(world)
    del world
    gc.collect()
    assert gone() is None
