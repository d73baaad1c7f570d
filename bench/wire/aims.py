"""What is promised about delivery, and the judgement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.wire.contenders import AIOHTTP, BROADCAST, C_EACH, C_GATHER, NODE, OWN, OWN_TRIO, OWN_UVLOOP, PICOWS
from bench.wire.loads import BURST, Load
from bench.wire.measure import Sample
from bench.workload import Verdict


@dataclass(frozen=True)
class Aim:
    """A ratio to another contender of the same load, or a figure where there is none.

    ``better``: the peer's figure in ours, to be at least the aim; else ours in the peer's, at most.
    """

    subject: str
    peer: str
    what: str
    figure: Callable[[Sample], float]
    aim: float
    floor: float
    better: bool = False


def _cpu(one: Sample) -> float:
    return one.us_per_delivery


def _p50(one: Sample) -> float:
    return one.p50_us


def _p99(one: Sample) -> float:
    return one.p99_us


def _idle(one: Sample) -> float:
    return one.idle_kib


def _cost(peer: str, asyncio: tuple[float, float], trio: tuple[float, float]) -> list[Aim]:
    return [
        Aim(subject, peer, "CPU", _cpu, *bounds)
        for subject, bounds in ((OWN, asyncio), (OWN_UVLOOP, asyncio), (OWN_TRIO, trio))
    ]


def _gain(peers: Mapping[str, tuple[float, float]], *subjects: str) -> list[Aim]:
    return [
        Aim(subject, peer, "CPU", _cpu, *bounds, better=True) for subject in subjects for peer, bounds in peers.items()
    ]


SINGLY = [
    *_cost(C_EACH, (1.0, 1.15), (1.1, 1.3)),
    *_gain({PICOWS: (1.1, 1.0), BROADCAST: (2, 1.8), AIOHTTP: (1.8, 1.6), NODE: (2.5, 2.2)}, OWN, OWN_UVLOOP, OWN_TRIO),
]
BURSTS = [
    *_cost(C_GATHER, (1.2, 1.4), (1.2, 1.4)),
    *_gain({PICOWS: (15, 12), BROADCAST: (20, 18), NODE: (30, 25)}, OWN, OWN_UVLOOP, OWN_TRIO),
]
TWO = [
    *_gain({BROADCAST: (1.5, 1.15), NODE: (1.4, 1.1)}, OWN, OWN_TRIO),
    *_gain({BROADCAST: (2, 1.7), NODE: (1.6, 1.4)}, OWN_UVLOOP),
]
PACED = [
    Aim(subject, C_EACH, what, figure, 1.05, 1.1)
    for subject in (OWN, OWN_UVLOOP, OWN_TRIO)
    for what, figure in (("p50", _p50), ("p99", _p99))
]
IDLE = [Aim(subject, "", "KiB per idle link", _idle, 24, 40) for subject in (OWN, OWN_UVLOOP, OWN_TRIO)]


def aims(load: Load) -> list[Aim]:
    """Those that hold for a load."""
    if load.stalled or load.wanted != 100 or load.size != 600:
        return []
    if load.rate:
        return PACED if load.links == 100 and load.burst == 1 else []
    if load.burst == BURST:
        return BURSTS if load.links == 100 else []
    return (TWO if load.links == 2 else SINGLY if load.links >= 10 else []) + (IDLE if load.links == 1_000 else [])


def verdicts(load: Load, samples: Mapping[str, Sample]) -> list[Verdict]:
    """What came of them; those whose contenders did not run are left out."""
    found = []
    for aim in aims(load):
        if aim.subject not in samples or (aim.peer and aim.peer not in samples):
            continue
        value = aim.figure(samples[aim.subject])
        if aim.peer:
            other = aim.figure(samples[aim.peer])
            value = other / value if aim.better else value / other
        kind = f"x less {aim.what} than {aim.peer}" if aim.better else f"x the {aim.what} of {aim.peer}"
        found.append(judged(f"{aim.subject}: {kind if aim.peer else aim.what}", value, aim.aim, aim.floor, aim.better))
    return found


def judged(promise: str, value: float, aim: float, floor: float, better: bool) -> Verdict:
    """A value against its bounds; ``better``: more is."""

    def meets(bound: float) -> bool:
        return value >= bound if better else value <= bound

    if meets(aim):
        word = "aim met"
    elif meets(floor):
        word = f"aim missed by {abs(value / aim - 1):.0%}, floor met"
    else:
        word = f"FLOOR MISSED by {abs(value / floor - 1):.0%}"
    return Verdict(promise, value, aim, floor, word)


def stall_verdicts(calm: Mapping[str, Sample], stalled: Mapping[str, Sample], bound_mib: float) -> list[Verdict]:
    """One client that does not read: what the others notice, and what it costs in memory."""
    found = []
    for name, sample in stalled.items():
        if not name.startswith(OWN) or name not in calm:
            continue
        found.append(judged(f"{name}: x the p99 without a stall", sample.p99_us / calm[name].p99_us, 1.05, 1.2, False))
        grown = sample.grown_mib - calm[name].grown_mib
        found.append(judged(f"{name}: MiB more memory", grown, bound_mib, bound_mib + 2, False))
        found.append(judged(f"{name}: events missed", sample.missed + sample.lag, 0, 0, False))
        found.append(judged(f"{name}: ms of the slowest upstream write", sample.upstream_write_us / 1e3, 1, 1, False))
    return found
