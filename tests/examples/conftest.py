"""What the tests of the examples share: each is run as its user would, as a program, over real sockets."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.streams.text import TextReceiveStream

from napcore.net.tasks import own_tasks

EXAMPLES = Path(__file__).parents[2] / "examples"


class Program:
    """An example that runs."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        self.output = ""
        """What it has printed, stderr too."""
        self.over = anyio.Event()
        """Set when it prints nothing any more."""
        self._news = anyio.Event()

    async def read(self) -> None:
        """Take down what it prints, to its end."""
        assert self.process.stdout is not None
        with suppress(anyio.ClosedResourceError):
            async for text in TextReceiveStream(self.process.stdout, errors="replace"):
                self.output += text
                news, self._news = self._news, anyio.Event()
                news.set()
        self.over.set()

    async def printed(self, text: str, timeout: float = 30.0) -> None:
        """Wait until it has printed ``text``."""
        with anyio.move_on_after(timeout):
            while text not in self.output:
                await self._news.wait()
            return
        raise AssertionError(f"it has not printed {text!r}, but:\n{self.output}")


@asynccontextmanager
async def _run(
    folder: str | Path, *, file: str = "bot.py", command: Sequence[str] = (), **env: str
) -> AsyncIterator[Program]:
    process = await anyio.open_process(
        [sys.executable, *(command or [file])],
        cwd=EXAMPLES / folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    program = Program(process)
    async with own_tasks() as tasks:
        tasks.start_soon(program.read)
        try:
            yield program
        except BaseException:
            sys.stdout.write(program.output)
            raise
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(10):
                if process.returncode is None:
                    process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
                await process.wait()
                await program.over.wait()
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


@pytest.fixture
def run_example() -> Callable[..., Any]:
    """``async with run_example("folder", NAME="value") as program``: an example as a program, ended by Ctrl-C."""
    return _run


@pytest.fixture
def copy_example(tmp_path: Path) -> Callable[[str, dict[str, int]], Path]:
    """``copy_example("folder", {"8080": port})``: an example whose settings have ports that are free."""

    def copy(folder: str, ports: dict[str, int]) -> Path:
        copied = shutil.copytree(EXAMPLES / folder, tmp_path / folder)
        for settings in copied.glob("*.toml"):
            text = settings.read_text("utf-8")
            for written, port in ports.items():
                assert written in text
                text = text.replace(written, str(port))
            settings.write_text(text, "utf-8")
        return Path(copied)

    return copy


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port that nobody listens on now."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return find


@pytest.fixture
def check_types(tmp_path: Path) -> Callable[[str], str]:
    """``check_types("folder")``: what ``mypy --strict`` says of an example."""

    def check(folder: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", "."],
            cwd=EXAMPLES / folder,
            env={**os.environ, "MYPYPATH": os.environ.get("PYTHONPATH", "")},
            capture_output=True,
            text=True,
        )
        return done.stdout.splitlines()[-1] if done.returncode == 0 else done.stdout

    return check
