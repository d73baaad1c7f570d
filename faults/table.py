"""The rows: what is tried, and how long it may take."""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from faults.case import Case

__all__ = ("ROWS", "Row", "load", "row")


class Row(NamedTuple):
    """One fault, and the function that inflicts it."""

    name: str
    """Its number in the table, or a word."""
    fault: str
    """What happens, in a few words."""
    expected: str
    """What must come of it."""
    work: Callable[[Case], Awaitable[None]]
    quick: bool
    """Whether it belongs to the quick tier."""
    alone: bool
    """Whether it measures times, so that nothing else may run beside it."""
    limit: float
    """Seconds after which it has failed."""
    backends: tuple[str, ...]


ROWS: Final[dict[str, Row]] = {}
"""Every row by name; filled by :func:`load`."""


def row(
    name: str,
    fault: str,
    expected: str,
    *,
    quick: bool = False,
    alone: bool = False,
    limit: float = 120.0,
    backends: tuple[str, ...] = ("asyncio", "trio"),
) -> Callable[[Callable[[Case], Awaitable[None]]], Callable[[Case], Awaitable[None]]]:
    """Enter ``async def work(case)`` into the table. It is run in a process of its own on each backend."""

    def enter(work: Callable[[Case], Awaitable[None]]) -> Callable[[Case], Awaitable[None]]:
        assert name not in ROWS, name
        ROWS[name] = Row(name, fault, expected, work, quick, alone, limit, backends)
        return work

    return enter


def load() -> dict[str, Row]:
    """Import every file in ``faults/rows`` and return the table, numbers first."""
    package = import_module("faults.rows")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"faults.rows.{module.name}")
    ordered = sorted(
        ROWS.values(), key=lambda row: (not row.name.isdigit(), int(row.name) if row.name.isdigit() else 0)
    )
    return {row.name: row for row in ordered}
