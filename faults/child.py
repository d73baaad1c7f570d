"""Processes beside the one that is tried: what they say, line by line, and what can be done to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

from faults.case import Case

__all__ = ("Child", "python_child", "start")

ROOT = Path(__file__).parents[1]


class Child:
    """A process whose lines of output are JSON objects."""

    def __init__(self, case: Case, process: subprocess.Popen[bytes]) -> None:
        self.lines: list[dict[str, Any]] = []
        """Everything it said, but for what :attr:`on_line` took."""
        self.on_line: Callable[[dict[str, Any]], bool] | None = None
        """Called with each line; true means that it need not be kept."""
        self.ended = False
        self._case = case
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """What it ended with."""
        return self._process.poll()

    def said(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind."""
        return [line for line in self.lines if line.get("line") == kind]

    async def wait_for(self, kind: str, count: int = 1, limit: float = 20.0) -> dict[str, Any]:
        """The ``count``-th line of a kind, as soon as it has come."""
        if not await self._case.until(lambda: len(self.said(kind)) >= count, f"{count} lines {kind!r}", limit):
            raise TimeoutError(f"a child did not say {kind!r}")
        return self.said(kind)[count - 1]

    def tell(self, **order: Any) -> None:
        """Write one line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def freeze(self) -> None:
        """SIGSTOP: it does not run any more, and knows nothing of it."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait(10)

    async def over(self, limit: float = 60.0) -> int | None:
        """Wait until it has ended by itself; returns its exit code."""
        await self._case.until(lambda: self._process.poll() is not None, "a child's end", limit)
        return self._process.poll()

    async def read(self) -> None:
        """Take its output until the end of it."""
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            os.set_blocking(pipe.fileno(), False)
            rest = b""
            while True:
                await anyio.wait_readable(pipe)
                data = os.read(pipe.fileno(), 1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for text in lines:
                    line = json.loads(text)
                    if self.on_line is None or not self.on_line(line):
                        self.lines.append(line)
        self.ended = True


@asynccontextmanager
async def start(
    case: Case, command: Sequence[str | Path], environment: Mapping[str, str] | None = None, *, errors: Any = None
) -> AsyncIterator[Child]:
    """Run a command beside the block; it is killed in the end. ``errors`` is where its stderr goes."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
    )
    child = Child(case, process)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.read)
            try:
                yield child
            finally:
                process.kill()
                tasks.cancel_scope.cancel()
    finally:
        process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                # It may have ended with orders unread.
                with suppress(BrokenPipeError):
                    pipe.close()


def python_child(module: str, *arguments: object) -> list[str]:
    """The command that runs a module of this folder, as ``python_child("peers.bot", "--listen", 0)``."""
    return [sys.executable, "-m", f"faults.{module}", *map(str, arguments)]
