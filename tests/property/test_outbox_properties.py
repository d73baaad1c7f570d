"""Outboxes of both cores walk side by side through every order of calls; the ledger always closes."""

from __future__ import annotations

import importlib
import math
import os
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napcore.types import DROP_REASONS, Outcome

NAMES = ["_dispatch_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_dispatch", "_dispatch_py"]
CORES = [importlib.import_module(f"napcore.{name}") for name in NAMES]

COUNTERS = (
    *("close_code", "received", "confirmed", "unconfirmed", "queued", "queued_bytes", "max_queued", "late"),
    *("control_queued", "dropped", "in_flight", "in_flight_bytes", "in_flight_sequence", "max_frame"),
    *("at_least_once", "caught_up", "holding"),
)


Entry = tuple[bytes, int, float, int]
"""An event: payload, sequence, expiry, and the lower its rank the sooner it is evicted."""


class Outboxes(RuleBasedStateMachine):
    """The same calls to both; a model of what waits, to say what must come out."""

    @initialize(
        max_events=st.sampled_from([1, 2, 3, 7, 40, math.inf]),
        max_bytes=st.sampled_from([1, 20, 100, math.inf]),
        max_frame=st.sampled_from([15, 25, 1000]),
        overflow=st.sampled_from(["drop_oldest", "drop_newest", "disconnect"]),
        delivery=st.sampled_from(["at_most_once", "at_least_once"]),
        catch_up_rate=st.sampled_from([math.inf, None, 0.5, 3]),
    )
    def start(self, **limits: Any) -> None:
        self.limits = limits
        self.again = limits["delivery"] == "at_least_once"
        self.outboxes = [
            core.Outbox(**limits, message_ttl=5.0, notice_ttl=20.0, request_ttl=math.inf) for core in CORES
        ]
        self.sequence = self.offers = 0
        self.born: dict[bytes, float] = {}
        self.now = 100.0
        self.presence = "linked"
        self.waiting: list[Entry] = []
        self.writing: list[tuple[Entry | None, bytes]] = []
        self.torn: tuple[Entry | None, bytes] | None = None
        self.staged: list[Entry] = []
        self.written: list[Entry] = []
        self.copies: list[Entry] = []

    def settle(self) -> None:
        """What was handed out or had expired in front of it waits no more."""
        left = self.outboxes[0].queued - len(self.staged)
        self.waiting = self.waiting[len(self.waiting) - left :]

    def both(self, name: str, *args: Any) -> Any:
        results = [getattr(outbox, name)(*args) for outbox in self.outboxes]
        assert results.count(results[0]) == len(results)
        return results[0]

    def evicts(self) -> bool:
        return self.limits["overflow"] == "drop_oldest" or (
            self.limits["overflow"] == "disconnect" and self.presence != "linked"
        )

    def is_full(self, size: int) -> bool:
        counted = [*self.waiting, *self.staged, *self.copies]
        size += sum(len(entry[0]) for entry in counted)
        return len(counted) + 1 > self.limits["max_events"] or size > self.limits["max_bytes"]

    def fits(self, entry: Entry) -> bool:
        return entry[2] > self.now and len(entry[0]) <= self.outboxes[0].max_frame

    @rule(
        size=st.integers(0, 30),
        event_class=st.integers(0, 3),
        kept=st.booleans(),
        gap=st.integers(0, 2),
        times=st.integers(1, 12),
        age=st.sampled_from([0.0, 0.0, 0.0, 4.9, 5.1, 19.0]),
    )
    def offer(self, size: int, event_class: int, kept: bool, gap: int, times: int, age: float) -> None:
        for _ in range(times):
            self.sequence += gap
            self.offers += 1
            payload = b"%d" % self.offers + b"." * size  # no two are the same
            before = self.outboxes[0].queued
            outcomes = [
                outbox.offer(payload, event_class, self.sequence, self.now, kept=kept, born=self.now - age)
                for outbox in self.outboxes
            ]
            assert outcomes.count(outcomes[0]) == len(outcomes)
            outcome = outcomes[0]
            lifetime = (5.0, 20.0, math.inf, 20.0)[event_class]
            stale = self.now - age + lifetime <= self.now
            assert (outcome is Outcome.STALE) <= stale
            assert outcome in (Outcome.STALE, Outcome.OVERSIZE, Outcome.DISCONNECT) or not stale
            assert (outcome is Outcome.NOT_HELD) <= (self.presence in ("over", "nothing"))
            if outcome in (Outcome.QUEUED, Outcome.DROPPED_OLDEST):
                assert self.presence in ("linked", "held") or (event_class == 2 and self.presence == "over")
                gone = before + 1 - self.outboxes[0].queued
                assert (gone > 0) == (outcome is Outcome.DROPPED_OLDEST)
                assert gone == 0 or self.evicts()
                for _ in range(gone):
                    self.waiting.remove(min(self.waiting, key=lambda entry: entry[3]))
                while self.copies and not self.waiting and self.is_full(len(payload)):
                    assert self.evicts()
                    self.copies.pop(0)
                assert not (self.copies or self.waiting) or not self.is_full(len(payload))
                rank = (int(kept), 2, 3, 2)[event_class]
                self.waiting.append((payload, self.sequence, self.now - age + lifetime, rank))
                self.born[payload] = self.now - age
                assert len(payload) <= self.outboxes[0].max_frame
            elif outcome is Outcome.DISCONNECT and self.outboxes[0].queued == len(self.staged):
                self.waiting.clear()
            else:
                assert self.outboxes[0].queued == before

    @rule(size=st.integers(0, 40))
    def offer_control(self, size: int) -> None:
        assert self.both("offer_control", b"c" * size) is Outcome.QUEUED

    @rule(size=st.integers(1, 40))
    def offer_latest(self, size: int) -> None:
        before = self.outboxes[0].control_queued
        frame = bytes(bytearray(b"c" * size))  # an object of its own, as short ones are shared
        for outbox in self.outboxes:
            assert outbox.offer_control(frame, latest=True) is Outcome.QUEUED
        assert self.outboxes[0].control_queued - before in (0, 1)

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, 5.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(max_bytes=st.sampled_from([0, 10, 30, 100, 1000]), max_events=st.sampled_from([0, 1, 2.5, math.inf]))
    @precondition(lambda self: not self.writing)
    def gather(self, max_bytes: int, max_events: float) -> None:
        torn = [] if self.torn is None else [self.torn]
        control = self.outboxes[0].control_queued - (self.torn is not None and self.torn[0] is None)
        pause = self.both("pause", self.now)
        frames = self.both("gather", self.now, max_bytes, max_events)
        assert len(frames) < 2 or sum(map(len, frames)) <= max_bytes
        assert frames[: len(torn)] == [rest for _, rest in torn]
        controls = frames[len(torn) : len(torn) + control]
        events = frames[len(torn) + control :]
        assert all(set(frame) <= {ord("c")} for frame in controls)
        fresh = [entry for entry in self.waiting if self.fits(entry)]
        assert events == [payload for payload, *_ in fresh[: len(events)]]
        assert len(events) < max_events + 1
        assert frames or not control
        assert frames or not fresh or max_events == 0 or self.both("pause", self.now) > 0
        assert not (pause and events), "a late event came first, and its turn had not come"
        taken = fresh[: len(events)]
        self.writing = [*torn, *((None, frame) for frame in controls), *((entry, entry[0]) for entry in taken)]
        self.staged += taken
        self.settle()

    @rule()
    @precondition(lambda self: self.writing)
    def gather_while_writing(self) -> None:
        for outbox in self.outboxes:
            with pytest.raises(RuntimeError):
                outbox.gather(self.now)

    @rule()
    def wrote(self) -> None:
        self.both("wrote")
        if self.writing:
            self.finish(sum(len(rest) for _, rest in self.writing))

    @rule(share=st.floats(0, 1))
    @precondition(lambda self: self.writing)
    def sent(self, share: float) -> None:
        size = int(share * sum(len(rest) for _, rest in self.writing))
        self.both("sent", size)
        self.finish(size)

    @rule(more=st.integers(1, 3))
    def sent_more_than_there_was(self, more: int) -> None:
        for outbox in self.outboxes:
            for size in (sum(len(rest) for _, rest in self.writing) + more, -more):
                with pytest.raises(ValueError, match="cannot have been sent"):
                    outbox.sent(size)

    def finish(self, size: int) -> None:
        """So many bytes are out, the rest is not."""
        first = self.torn
        self.torn = None
        for place, (entry, rest) in enumerate(self.writing):
            if size < len(rest):
                if size or (place == 0 and first is not None):
                    self.torn = (entry, rest[size:])
                break
            size -= len(rest)
            if entry is not None:
                self.staged.remove(entry)
                self.written.append(entry)
                if self.again:
                    self.copies.append(entry)
        kept = [] if self.torn is None or self.torn[0] is None else [self.torn[0]]
        self.waiting = [entry for entry in self.staged if entry not in kept] + self.waiting
        self.staged = kept
        self.writing = []

    @rule(back=st.integers(-1, 6))
    def confirm(self, back: int) -> None:
        count = self.both("confirm", self.sequence - back)
        assert count == sum(entry[1] <= self.sequence - back for entry in self.written)
        self.copies = [entry for entry in self.copies if entry in self.written[count:]]
        del self.written[:count]

    @rule(limit=st.integers(0, 4))
    def take(self, limit: int) -> None:
        taken = self.both("take", self.now, limit)
        fresh = [entry[0] for entry in self.waiting if self.fits(entry)]
        assert taken == (fresh[:limit] if limit else fresh)
        self.settle()

    @rule(refused_size=st.booleans())
    def lose_link(self, refused_size: bool) -> None:
        limit = self.outboxes[0].max_frame
        given = self.written + self.staged
        largest = max(given, key=lambda entry: len(entry[0]), default=None) if refused_size else None
        if largest is not None:
            given.remove(largest)
            self.copies = [entry for entry in self.copies if entry is not largest]
            self.staged = [entry for entry in self.staged if entry is not largest]
            limit = len(largest[0]) - 1
        if self.again:
            again = self.copies + self.staged
        else:
            # What is out in part is not written.
            again = [] if self.writing else self.staged
        self.waiting = again + self.waiting
        assert self.both("lose_link", refused_size) == len(given) - len(again)
        assert self.outboxes[0].max_frame == limit
        self.staged = []
        self.writing = []
        self.torn = None
        self.written.clear()
        self.copies = []

    @rule()
    def hold(self) -> None:
        self.both("hold")
        self.presence = "held"

    @rule()
    def resume(self) -> None:
        self.both("resume")
        self.presence = "linked"

    @rule(everything=st.booleans())
    def end_hold(self, everything: bool) -> None:
        kept = [] if everything else [entry for entry in self.waiting if entry[3] == 3]
        assert self.both("end_hold", everything) == len(self.waiting) - len(kept)
        self.waiting = kept
        self.presence = "nothing" if everything else "over"

    @rule()
    def tick(self) -> None:
        self.both("tick", self.now)
        while self.waiting and not self.fits(self.waiting[0]):
            self.waiting.pop(0)
        assert self.outboxes[0].queued == len(self.staged) + len(self.waiting)

    @rule(reason=st.sampled_from(DROP_REASONS))
    def clear(self, reason: str) -> None:
        assert self.both("clear", reason) == len(self.waiting)
        self.waiting.clear()

    @invariant()
    def agree_and_close(self) -> None:
        if not hasattr(self, "outboxes"):
            return
        seen = [{name: getattr(outbox, name) for name in COUNTERS} for outbox in self.outboxes]
        assert seen.count(seen[0]) == len(seen)
        found = seen[0]
        settled = found["confirmed"] + found["unconfirmed"] + found["queued"] + sum(found["dropped"].values())
        assert found["received"] == settled
        assert found["queued"] == len(self.staged) + len(self.waiting)
        assert found["unconfirmed"] == len(self.written)
        assert found["in_flight"] == len(self.written) + len(self.staged)
        assert all(len(outbox) == found["queued"] + found["control_queued"] for outbox in self.outboxes)
        assert found["max_queued"] >= found["queued"]


TestOutboxes = Outboxes.TestCase
TestOutboxes.settings = settings(stateful_step_count=40)
