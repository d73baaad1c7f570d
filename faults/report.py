"""What came of the rows: a line for each."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from faults.table import Row

__all__ = ("Report", "Result")


class Result(NamedTuple):
    """One row on one backend."""

    row: Row
    backend: str
    figures: list[str]
    failures: list[str]
    skipped: str
    seconds: float
    logged: str

    @property
    def verdict(self) -> str:
        """``ok``, ``FAILED: why`` or ``skipped: why``."""
        if self.failures:
            return f"FAILED: {'; '.join(self.failures)}"
        return f"skipped: {self.skipped}" if self.skipped else "ok"


class Report:
    """Prints every result as it comes."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.results: list[Result] = []
        self._quiet = quiet

    @property
    def failed(self) -> bool:
        """Whether anything failed, or nothing was run."""
        return not self.results or any(result.failures for result in self.results)

    def take(self, result: Result) -> None:
        """One more."""
        self.results.append(result)
        if not self._quiet:
            figures = f"  [{'; '.join(result.figures)}]" if result.figures and not result.failures else ""
            print(
                f"{result.row.name:>10}  {result.backend:<7}  {result.seconds:5.1f} s  {result.verdict}{figures}",
                flush=True,
            )

    def close(self, seconds: float, arguments: argparse.Namespace) -> None:
        """Say how it went in all."""
        ok = sum(result.verdict == "ok" for result in self.results)
        failed = sum(bool(result.failures) for result in self.results)
        skipped = len(self.results) - ok - failed
        print(f"{ok} ok, {failed} failed, {skipped} skipped in {seconds:.0f} s (seed {arguments.seed})")
