"""Writers of both cores walk side by side through every order of calls; what they write is what was offered."""

from __future__ import annotations

import importlib
import math
import os
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

CORES = ["_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["", "_py"]
DISPATCH = [importlib.import_module(f"napcore._dispatch{core}") for core in CORES]
WIRE = [importlib.import_module(f"napcore._wire{core}") for core in CORES]

SEEN = ("held", "closing", "trusting", "error", "progress", "pinged_at", "ponged", "outstanding", "descriptor")
LANE = (
    "confirmed",
    "unconfirmed",
    "queued",
    "in_flight",
    "in_flight_bytes",
    "dropped",
    "late",
    "control_queued",
    "caught_up",
)


class Writers(RuleBasedStateMachine):
    """The same calls to both; the bytes that are out are checked frame by frame."""

    @initialize(
        window=st.sampled_from([None, 1, 2.5, 7, math.inf]),
        delivery=st.sampled_from(["at_most_once", "at_least_once"]),
        catch_up_rate=st.sampled_from([None, math.inf, 2]),
    )
    def start(self, window: float | None, **options: Any) -> None:
        self.window = window
        self.lanes = [core.Outbox(message_ttl=5.0, notice_ttl=math.inf, max_events=300, **options) for core in DISPATCH]
        self.now = 100.0
        self.sequence = 0
        self.link()

    def link(self) -> None:
        self.writers = [
            core.Writer(lane, max_in_flight=self.window) for core, lane in zip(WIRE, self.lanes, strict=True)
        ]
        self.gathered: list[bytes] = []
        self.stream = b""

    def both(self, things: list[Any], name: str, *args: Any) -> Any:
        results = [getattr(one, name)(*args) for one in things]
        assert results.count(results[0]) == len(results), results
        return results[0]

    @rule(size=st.sampled_from([0, 5, 3000, 150_000]), event_class=st.integers(0, 3), times=st.integers(1, 40))
    def offer(self, size: int, event_class: int, times: int) -> None:
        for _ in range(times if size < 1000 else 2):
            self.sequence += 1
            payload = b"<e%d%s>" % (self.sequence, b"." * size)
            self.both(self.lanes, "offer", payload, event_class, self.sequence, self.now)

    @rule(number=st.integers(0, 9))
    def offer_control(self, number: int) -> None:
        self.both(self.lanes, "offer_control", b"<c%d>" % number)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(max_bytes=st.sampled_from([0, 100, 65536]))
    @precondition(lambda self: not self.gathered)
    def gather(self, max_bytes: int) -> None:
        before = self.lanes[0].in_flight
        self.gathered = self.both(self.writers, "gather", self.now, max_bytes)
        lane, writer = self.lanes[0], self.writers[0]
        if not writer.trusting and self.window not in (None, math.inf):
            assert lane.in_flight <= max(before, math.ceil(self.window or 0))

    @rule(share=st.floats(0, 1))
    @precondition(lambda self: self.gathered)
    def sent(self, share: float) -> None:
        data = b"".join(self.gathered)
        size = int(len(data) * share)
        self.stream += data[:size]
        self.both(self.writers, "sent", size)
        self.gathered = []

    @rule()
    def wrote(self) -> None:
        self.stream += b"".join(self.gathered)
        self.both(self.writers, "wrote")
        self.gathered = []

    @rule(back=st.integers(-1, 3), early=st.booleans())
    def pong(self, back: int, early: bool) -> None:
        sequence = self.lanes[0].in_flight_sequence - back
        self.both(self.writers, "pong", (sequence if early else max(sequence, 0)).to_bytes(8, "big", signed=True))

    @rule()
    def pong_what_was_pinged(self) -> None:
        last = self.stream.rfind(b"\x89\x08")
        if last >= 0:
            self.both(self.writers, "pong", self.stream[last + 2 : last + 10])

    @rule()
    def read_pong(self) -> None:
        last = self.stream.rfind(b"\x89\x08")
        if last >= 0 and len(self.stream) >= last + 10:
            number = self.stream[last + 2 : last + 10]
            masked = bytes(byte ^ b"wxyz"[at % 4] for at, byte in enumerate(number))
            readers = [core.Reader(masked=True, writer=one) for core, one in zip(WIRE, self.writers, strict=True)]
            self.both(readers, "feed", b"\x8a\x88wxyz" + masked)
            assert len({reader.due for reader in readers}) == 1

    @rule()
    def stop_pinging(self) -> None:
        for writer in self.writers:
            writer.trusting = True

    @rule()
    def begin_close(self) -> None:
        for writer in self.writers:
            writer.closing = True

    @rule()
    def lose_link(self) -> None:
        self.both(self.lanes, "lose_link")
        self.both(self.writers, "close")
        self.link()

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "writers"):
            return
        for things, names in ((self.writers, SEEN), (self.lanes, LANE)):
            seen = [{name: getattr(one, name) for name in names} for one in things]
            assert seen.count(seen[0]) == len(seen), seen
        lane = self.lanes[0]
        assert lane.received == lane.confirmed + lane.unconfirmed + lane.queued + sum(lane.dropped.values())

    @invariant()
    def whole_and_in_order(self) -> None:
        """What is out is frames one after the other, the last perhaps in part; events rise, pings cover what is out."""
        if not hasattr(self, "stream"):
            return
        rest, last = self.stream, 0
        while rest:
            if rest[:1] == b"\x89":
                if len(rest) < 10:
                    break
                assert int.from_bytes(rest[2:10], "big") == last
                rest = rest[10:]
            else:
                frame, end, rest = rest.partition(b">")
                assert frame[:1] == b"<"
                assert b"<" not in frame[1:]
                if not end:
                    break
                if frame[1:2] == b"e":
                    number = int(frame[2:].rstrip(b"."))
                    assert number > last
                    last = number


TestWriters = Writers.TestCase
TestWriters.settings = settings(stateful_step_count=40)
