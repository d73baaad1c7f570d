"""What is asked of each contender: how many clients, which events, how they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

LINKS = (1, 2, 10, 100, 1_000)
SIZES = {"600 B": 600, "4 KB": 4_096}
BURST = 16
DELIVERIES_PER_S = 40_000
"""What open loops offer: about a sixth of what C can do."""


@dataclass(frozen=True)
class Load:
    """One row of the table."""

    name: str
    links: int
    size: int
    burst: int = 1
    rate: float = 0
    """Events per second (open loop); 0: as fast as ``window`` allows (closed loop)."""
    stalled: int = 0
    """Clients more that never read."""
    wanted: int = 100
    """Percent of the events that a client wants."""
    seconds: float = 1.0
    warm: float = 1.2
    """Seconds before measuring: a window that follows the last second's count has found its width by then."""

    @property
    def window(self) -> int:
        """Events in flight at most: two bursts."""
        return 2 * self.burst

    def arguments(self) -> list[str]:
        """For the driver."""
        pace = f"rate={self.rate:g}" if self.rate else f"window={self.window}"
        return [
            *(f"links={self.links}", f"stalled={self.stalled}", f"wanted={self.wanted}", f"size={self.size}"),
            *(f"burst={self.burst}", pace, f"warm={self.warm:g}", f"seconds={self.seconds:g}"),
        ]


def paced_rate(links: int) -> float:
    """Events per second that this many clients are offered in the open loop."""
    return min(2_000, DELIVERIES_PER_S // links)


def loads(stall_seconds: float) -> Iterator[Load]:
    """All of them."""
    for size_name, size in SIZES.items():
        for links in LINKS:
            who = f"{links} link{'s' if links > 1 else ''}, {size_name}"
            rate = paced_rate(links)
            yield Load(f"singly, {who}", links, size)
            yield Load(f"bursts of {BURST}, {who}", links, size, BURST)
            yield Load(f"paced {rate:g}/s, {who}", links, size, 1, rate, seconds=3)
            yield Load(f"paced {4 * rate:g}/s in bursts, {who}", links, size, BURST, 4 * rate, seconds=3)
    yield Load("singly, 100 links, 600 B, 27 % wanted", 100, 600, wanted=27)
    yield Load(f"bursts of {BURST}, 100 links, 600 B, 27 % wanted", 100, 600, BURST, wanted=27)
    # Where nothing comes back there is no closed loop.
    yield Load("paced 20000/s, 100 links, 600 B, 0 % wanted", 100, 600, BURST, 20_000, wanted=0)
    yield Load("no stall, 10 links, 600 B", 10, 600, 1, 2_000, 0, seconds=stall_seconds)
    yield Load("one stalled, 10 links, 600 B", 10, 600, 1, 2_000, 1, seconds=stall_seconds)


def quick(load: Load) -> Load | None:
    """The same in a fraction of the time; None for those a smoke run leaves out."""
    if load.size != 600 or load.links not in (10, 100) or load.wanted != 100:
        return None
    return replace(load, seconds=0.3 if not load.rate else min(load.seconds, 1.0), warm=0.2)
