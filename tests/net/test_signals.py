"""Signals where the event loop takes none, and the console's own events: forced here, meant for Windows."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import anyio
import pytest

import napcore.net.signals
from napcore.net.signals import console_close

PROGRAM = """
import ctypes
import signal
import sys
import threading
import time

import anyio

from napcore import Relay, run

def say(*words):
    # In one piece: two threads speak.
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

def none(*numbers):
    raise NotImplementedError

anyio.open_signal_receiver = none

class Kernel32:
    handler = None

    def SetConsoleCtrlHandler(self, handler, add):
        Kernel32.handler = handler if add else None
        return 1

class Windll:
    kernel32 = Kernel32()

ctypes.windll = Windll()

def close():
    begun = time.monotonic()
    kept = Kernel32.handler(2)
    say("kept", kept, time.monotonic() - begun < 4.9)

async def main():
    async with Relay() as relay:
        await relay.listen("127.0.0.1", 0)
        say("ready")
        if sys.argv[3] == "close":
            thread = threading.Thread(target=close)
            thread.start()
        try:
            await anyio.sleep_forever()
        finally:
            say("leaving")

before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
say("returned", run(main, backend=sys.argv[1], use_uvloop=sys.argv[2] == "uvloop"))
assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
assert Kernel32.handler is None
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "close"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_where_a_loop_takes_no_signals_they_end_it_all_the_same(loop: str, how: str) -> None:
    if importlib.util.find_spec(loop) is None:
        pytest.skip(f"{loop} is not installed")
    backend = "trio" if loop == "trio" else "asyncio"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, backend, loop, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        if how != "close":
            child.send_signal(getattr(signal, how))
        # Not communicate(): what readline() has taken in with the first line would be lost.
        assert child.stderr is not None
        out, err = child.stdout.read(), child.stderr.read()
        child.wait(20)
    assert (err, child.returncode) == ("", 0)
    lines = out.splitlines()
    assert [line for line in lines if not line.startswith("kept")] == ["leaving", "returned None"]
    assert how != "close" or "kept 1 True" in lines


async def test_a_console_that_is_closed_leaves_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(napcore.net.signals, "CLOSE_PATIENCE", 0.02)
    asked: list[str] = []
    hurried = anyio.Event()

    class Kernel32:
        handler: Any = None

        def SetConsoleCtrlHandler(self, handler: Any, add: bool) -> int:
            Kernel32.handler = handler if add else None
            return 1

    def none(*numbers: int) -> Any:
        raise NotImplementedError

    monkeypatch.setattr(
        napcore.net.signals.ctypes, "windll", type("windll", (), {"kernel32": Kernel32()}), raising=False
    )
    monkeypatch.setattr(anyio, "open_signal_receiver", none)
    async with anyio.create_task_group() as tasks:
        await tasks.start(napcore.net.signals.take_signals, lambda: asked.append("ask"), hurried.set)
        assert Kernel32.handler(0) == 0, "Ctrl-C is a signal"
        thread = threading.Thread(target=Kernel32.handler, args=(6,))
        thread.start()
        with anyio.fail_after(10):
            await hurried.wait()
        assert asked == ["ask"]
        tasks.cancel_scope.cancel()
    thread.join(10)
    assert not thread.is_alive(), "the system is kept waiting no longer than needed"
    assert Kernel32.handler is None


def test_the_system_is_not_kept_waiting_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(napcore.net.signals, "CLOSE_LIMIT", 0.05)
    closed: list[int] = []

    class Kernel32:
        handler: Any = None

        def SetConsoleCtrlHandler(self, handler: Any, add: bool) -> int:
            self.handler = handler
            return 1

    kernel32 = Kernel32()
    with console_close(lambda: closed.append(1), kernel32):
        start = time.monotonic()
        assert kernel32.handler(2) == 1
        assert time.monotonic() - start < 5
    assert closed == [1]


def test_elsewhere_there_is_no_console_to_be_closed() -> None:
    with console_close(lambda: None):
        pass
