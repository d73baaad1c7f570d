"""What came of the rows: a line for each, and the table of ``docs/faults.md``."""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from typing import NamedTuple

from faults.table import Row
from napcore import COMPILED, __version__

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
        """Say how it went in all, and write the table if that was asked for."""
        ok = sum(result.verdict == "ok" for result in self.results)
        failed = sum(bool(result.failures) for result in self.results)
        skipped = len(self.results) - ok - failed
        print(f"{ok} ok, {failed} failed, {skipped} skipped in {seconds:.0f} s (seed {arguments.seed})")
        if arguments.markdown:
            Path(arguments.markdown).write_text("\n".join(self._markdown(seconds, arguments)) + "\n", "utf-8")

    def _markdown(self, seconds: float, arguments: argparse.Namespace) -> list[str]:
        core = "compiled core" if COMPILED else "plain core"
        lines = [
            f"napcore {__version__}, {core}, Python {platform.python_version()}, {platform.system()}"
            f" {platform.release()}, {time.strftime('%Y-%m-%d', time.gmtime())};"
            f" {len(self.results)} runs in {seconds:.0f} s, seed {arguments.seed}.",
            "",
            "| row | fault | expected | loop | result | figures (bound) |",
            "|---|---|---|---|---|---|",
        ]
        order = {name: at for at, name in enumerate(dict.fromkeys(result.row.name for result in self.results))}
        for result in sorted(self.results, key=lambda result: (_place(result.row.name), order[result.row.name])):
            row = result.row
            figures = "; ".join(result.figures).replace("|", "\\|")
            lines.append(
                f"| {row.name} | {row.fault} | {row.expected} | {result.backend} |"
                f" {result.verdict.replace('|', chr(92) + '|')} | {figures} |"
            )
        return lines


def _place(name: str) -> tuple[bool, int, str]:
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)
