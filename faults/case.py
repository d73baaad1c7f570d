"""One run of one row: what it may use, and what it writes down."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import anyio

from napcore import Relay
from napcore.core.stats import RelayStatistics
from napcore.testing import check_ledger

__all__ = ("Case", "Skipped")

LOOK = 0.01


class Skipped(Exception):
    """This machine cannot do it; the text says what is missing."""


class Case:
    """What a row is given. Figures that miss their bound, and checks that do not hold, make it fail; it goes on."""

    def __init__(self, backend: str, *, quick: bool, seed: int, minutes: float | None = None) -> None:
        self.backend = backend
        self.quick = quick
        """Whether it has to be over soon."""
        self.seed = seed
        self.random = random.Random(seed)
        self.minutes = minutes
        """How long a soak is to last; None is its own length."""
        self.figures: list[str] = []
        self.failures: list[str] = []

    def figure(
        self,
        name: str,
        value: float,
        unit: str = "",
        *,
        most: float | None = None,
        least: float | None = None,
        exactly: float | None = None,
    ) -> float:
        """Write a figure down beside its bound, and fail if it is out of bounds; returns it."""
        bounds = [(most, "<="), (least, ">="), (exactly, "=")]
        shown = f"{name} {number(value)}{unit}" + "".join(
            f" ({sign} {number(bound)}{unit})" for bound, sign in bounds if bound is not None
        )
        self.figures.append(shown)
        wrong = (
            (most is not None and not value <= most)
            or (least is not None and not value >= least)
            or (exactly is not None and value != exactly)
        )
        if wrong:
            self.failures.append(shown)
        return value

    def note(self, text: str) -> None:
        """Write something down that has no bound."""
        self.figures.append(text)

    def check(self, holds: object, why: str) -> None:
        """Fail, and say ``why``, unless it holds."""
        if not holds:
            self.failures.append(why)

    def skip(self, why: str) -> NoReturn:
        """End the row here: it says nothing about napcore."""
        raise Skipped(why)

    def ledger(self, of: Relay | RelayStatistics, *, ended: bool = False) -> None:
        """Fail unless the ledger of every session and subscription closes."""
        try:
            check_ledger(of, ended=ended)
        except AssertionError as error:
            self.failures.append(f"the ledger does not close: {error}")

    @asynccontextmanager
    async def relay(self, **options: Any) -> AsyncIterator[Relay]:
        """A relay in this process, whose ledgers are looked at before and after its end."""
        relay = Relay(**options)
        try:
            async with relay:
                yield relay
                self.ledger(relay)
        finally:
            self.check(relay.failed is None, f"a fault inside napcore: {relay.failed!r}")
            self.ledger(relay, ended=True)

    async def until(self, condition: Callable[[], object], what: str, limit: float = 20.0) -> bool:
        """Wait until it holds; fail, and say ``what`` has not come, after ``limit`` seconds. Returns whether it did."""
        with anyio.move_on_after(limit):
            while not condition():
                await anyio.sleep(LOOK)
            return True
        self.failures.append(f"not within {limit:g} s: {what}")
        return False


def number(value: float) -> str:
    """A figure as people read it."""
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
