"""Sources of both cores get the same reads; what they ask, queue, count and hand on is the same."""

from __future__ import annotations

import importlib
import os
from functools import partial
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

CORES = ["_dispatch_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_dispatch", "_dispatch_py"]
DISPATCH = [importlib.import_module(f"napcore.{core}") for core in CORES]

messages = st.one_of(
    st.builds(
        lambda account, kind, time: orjson.dumps(
            {"self_id": account, "post_type": kind, f"{kind}_type": "group", "time": time}
        ),
        st.sampled_from([1, 1, 1, 2, 3, None]),
        st.sampled_from(["message", "message", "notice", "meta_event"]),
        st.sampled_from([100, 100, 101, None]),
    ),
    st.sampled_from([b"{}", b"[", b'{"echo":1}', b'{"post_type":7,"self_id":1}']),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.lists(messages, max_size=9)),
        st.tuples(st.just("take"), st.lists(messages, min_size=1, max_size=2)),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.019, 0.021])),
        st.tuples(st.just("flush"), st.none()),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.019, 0.021, 1.0, 100.0, -0.5])),
        st.tuples(st.just("account"), st.sampled_from([0, 1, 2])),
        st.tuples(st.just("doubt"), st.booleans()),
        st.tuples(st.just("behind"), st.booleans()),
        st.tuples(st.just("gap"), st.sampled_from([0.5, 50.0])),
    ),
    min_size=5,
    max_size=40,
)


class Owner:
    """Of a client that is in this process: what it has is not written."""

    writer = None

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number

    def flush(self) -> None:
        self.world.told.append(("flush", self.number))


class World:
    """A source of one core, and all that it told."""

    def __init__(self, core: Any) -> None:
        self.now = 50.0
        self.told: list[Any] = []
        self.doubt: set[int] = set()
        self.behind: set[int] = set()
        router = core.Router()
        wanted = {3: None, 60: ["notice"], 90: ["message"]}
        self.outboxes = [core.Outbox(message_ttl=ttl, owner=Owner(self, ttl)) for ttl in wanted]
        for outbox, kinds in zip(self.outboxes, wanted.values(), strict=True):
            router.add(outbox, "json", kinds=kinds)
        wire = importlib.import_module(core.__name__.replace("_dispatch", "_wire"))
        self.source = wire.Source(
            router,
            clock=lambda: self.now,
            peek=partial(core.peek_batch, {1, 2}, {"meta_event.group"}, (self.doubt,), self.other),
            birth=self.birth,
            write=lambda owners: self.told.append(("write", [owner.number for owner in owners])),
            behind=self.behind,
            on_gap=lambda now: self.told.append(("gap", now)),
        )

    def other(self, item: Any) -> bool:
        self.told.append(("other", type(item).__name__, getattr(item, "raw", None)))
        return type(item).__name__ == "Event" and item.kind != "meta_event.group"

    def birth(self, event: Any, account: int, now: float) -> float:
        self.told.append(("birth", event.raw, account, now))
        return now - (event.time or 0) % 10 * 5

    def step(self, what: str, how: Any) -> Any:
        if what == "take":
            self.source.take(how)
        elif what == "flush":
            self.source.flush()
        elif what == "pass":
            self.now += how
        elif what == "account":
            self.source.account = how
        elif what == "gap":
            self.source.gap = how
        else:
            chosen = self.doubt if what == "doubt" else self.behind
            chosen.clear()
            chosen.update([1] * how)
        return [
            *(self.source.messages, self.source.events, self.source.account, self.source.gap, self.told),
            *[(outbox.received, outbox.queued, outbox.dropped) for outbox in self.outboxes],
        ]


@settings(max_examples=500)
@given(steps)
def test_sources_agree(walk: list[tuple[str, Any]]) -> None:
    worlds = [World(core) for core in DISPATCH]
    for what, how in walk:
        found = [world.step(what, how) for world in worlds]
        assert found[0] == found[-1]
    taken = [[outbox.take(world.now) for outbox in world.outboxes] for world in worlds]
    assert taken[0] == taken[-1]
