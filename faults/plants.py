"""Faults planted in the plain core and in the relay: whoever plants one must see some row fail."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from faults.table import Row
from napcore.dispatch import COMPILED

__all__ = ("PLANTS", "Plant", "apply", "find_all")


class Plant(NamedTuple):
    """A fault, and the rows that must find it."""

    what: str
    rows: tuple[str, ...]
    patch: Callable[[], None]


def _drop_uncounted() -> None:
    """What is evicted at the bound is not counted."""
    from napcore._outbox_py import Outbox

    evict = Outbox._evict

    def evict_uncounted(self: Any) -> None:
        evict(self)
        self._dropped["oldest"] -= 1

    Outbox._evict = evict_uncounted  # type: ignore[method-assign]


PLANTS: Final[Mapping[str, Plant]] = {
    "drop-uncounted": Plant("an eviction is not counted", ("1",), _drop_uncounted),
}
"""By name."""


def apply(name: str) -> None:
    """Plant a fault in this process."""
    if COMPILED:
        raise RuntimeError("faults are planted in the plain core: set NAPCORE_PURE=1")
    PLANTS[name].patch()


def find_all(table: Mapping[str, Row], arguments: argparse.Namespace) -> int:
    """Plant each of them and run the rows that must find it. Returns 1 if one was not found."""
    from faults.report import Report
    from faults.run import Runner

    lost = 0
    arguments.quick = True
    for name, plant in PLANTS.items():
        arguments.plant = name
        report = Report(quiet=True)
        Runner(arguments, report).run([table[row] for row in plant.rows])
        found = [result for result in report.results if result.failures]
        for result in report.results:
            verdict = "found" if result.failures else "NOT FOUND"
            print(f"{name:>20}  row {result.row.name:<4} {result.backend:<7}  {verdict}  {result.verdict}", flush=True)
        lost += not found
    return 1 if lost else 0
