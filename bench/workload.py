"""What a row of the table is: a piece of work, who does it, and what is promised about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.rounds import Case, Timing

SUBJECT = "napcore"
"""The case that is judged."""


@dataclass(frozen=True)
class Aim:
    """A promise: so many times faster than a peer or, without a peer, at most so many ns per delivery."""

    peer: str | None
    aim: float
    floor: float


@dataclass(frozen=True)
class Workload:
    """One row before it is measured."""

    section: str
    name: str
    events: int
    """How many events one sample handles."""
    cases: Sequence[Case]
    deliveries: float | None = None
    """Per event, counted; None where nothing is delivered."""
    aims: Sequence[Aim] = ()
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of an aim."""

    promise: str
    value: float
    aim: float
    floor: float
    word: str


@dataclass(frozen=True)
class Row:
    """One row, measured: nanoseconds per event."""

    section: str
    name: str
    timings: dict[str, Timing]
    deliveries: float | None
    verdicts: Sequence[Verdict]
    note: str

    def ratio(self, peer: str) -> float:
        """How many times as long as napcore ``peer`` takes, by medians."""
        return self.timings[peer].median / self.timings[SUBJECT].median

    def per_delivery(self, case: str) -> float | None:
        """Nanoseconds per delivery; None where nothing is delivered."""
        return self.timings[case].median / self.deliveries if self.deliveries else None


def measured(workload: Workload, timings: dict[str, Timing]) -> Row:
    """The row with its aims judged; an aim against a peer that is not installed is left out."""
    row = Row(workload.section, workload.name, timings, workload.deliveries, (), workload.note)
    verdicts = []
    for aim in workload.aims:
        if aim.peer is None:
            value = row.per_delivery(SUBJECT)
            assert value is not None, f"{workload.name}: a bound per delivery, but nothing is delivered"
            verdicts.append(_verdict("ns per delivery", value, aim, value <= aim.aim, value <= aim.floor))
        elif aim.peer in timings:
            value = row.ratio(aim.peer)
            verdicts.append(_verdict(f"x {aim.peer}", value, aim, value >= aim.aim, value >= aim.floor))
    return Row(workload.section, workload.name, timings, workload.deliveries, verdicts, workload.note)


def _verdict(promise: str, value: float, aim: Aim, aim_met: bool, floor_met: bool) -> Verdict:
    if aim_met:
        word = "aim met"
    elif floor_met:
        word = f"aim missed by {abs(value / aim.aim - 1):.0%}, floor met"
    else:
        word = f"FLOOR MISSED by {abs(value / aim.floor - 1):.0%}"
    return Verdict(promise, value, aim.aim, aim.floor, word)
