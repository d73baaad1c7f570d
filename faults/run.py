"""Rows in processes of their own: several at a time, but for those that measure times."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults.child import ROOT
from faults.report import Report, Result
from faults.table import Row

__all__ = ("Runner",)


class Runner:
    """Runs rows and tells a :class:`Report` of each."""

    def __init__(
        self, arguments: argparse.Namespace, report: Report, environment: dict[str, str] | None = None
    ) -> None:
        self._arguments = arguments
        self._report = report
        self._environment = environment or {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(self, rows: Sequence[Row]) -> None:
        """Those that measure times one by one, then the others side by side."""
        chosen = self._arguments.backend
        runs = [(row, backend) for row in rows for backend in row.backends if chosen in (None, backend)]
        try:
            for row, backend in runs:
                if row.alone:
                    self._run(row, backend)
            with ThreadPoolExecutor(self._arguments.jobs) as pool:
                # The longest first, so that nobody is waited for in the end.
                others = sorted((run for run in runs if not run[0].alone), key=lambda run: -run[0].limit)
                for future in [pool.submit(self._run, *run) for run in others]:
                    future.result()
        except KeyboardInterrupt:
            for process in self._running:
                _kill(process)
            raise

    def _run(self, row: Row, backend: str) -> None:
        arguments = self._arguments
        command = [
            sys.executable,
            "-m",
            "faults",
            "--one",
            row.name,
            "--backend",
            backend,
            "--seed",
            str(arguments.seed),
        ]
        if arguments.quick:
            command.append("--quick")
        if arguments.minutes is not None:
            command += ["--minutes", str(arguments.minutes)]
        if arguments.plant:
            command += ["--plant", arguments.plant]
        environment = {**os.environ, **self._environment}
        if arguments.plant:
            environment["NAPCORE_PURE"] = "1"
        limit = row.limit + 60 * (arguments.minutes or 0)
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
            with self._lock:
                self._running.add(process)
            try:
                out, _ = process.communicate(timeout=limit)
                why = f"it ended with {process.returncode}"
            except subprocess.TimeoutExpired:
                out, why = b"", f"not over within {limit:g} s"
            finally:
                # Also what it started and left.
                _kill(process)
                process.communicate()
                with self._lock:
                    self._running.discard(process)
            log.seek(0)
            logged = log.read().decode("utf-8", "replace")
        with self._lock:
            self._report.take(_result(row, backend, out, why, logged))
            if arguments.logs:
                Path(arguments.logs).mkdir(parents=True, exist_ok=True)
                (Path(arguments.logs) / f"{row.name}-{backend}.log").write_text(logged)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _result(row: Row, backend: str, out: bytes, why: str, logged: str) -> Result:
    try:
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        return Result(row, backend, [], [why], "", 0.0, logged)
    return Result(row, backend, found["figures"], found["failures"], found["skipped"], found["seconds"], logged)
