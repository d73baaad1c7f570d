from __future__ import annotations

import asyncio
import importlib.util
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from napcore import ConfigError, run
from napcore.net import runner

BACKENDS: list[tuple[str, bool | None, str]] = [
    ("asyncio", False, "asyncio"),
    ("asyncio", True, "uvloop"),
    ("asyncio", None, "uvloop"),
    ("trio", None, "trio"),
]


INSTALLED: list[Any] = [name for name in ("asyncio", "trio") if importlib.util.find_spec(name)]


def loop_name() -> str:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return "trio"
    return type(loop).__module__.split(".")[0]


@pytest.mark.parametrize(("backend", "use_uvloop", "expected"), BACKENDS)
def test_it_runs_on_the_loop_asked_for(backend: Any, use_uvloop: bool | None, expected: str) -> None:
    if expected != "asyncio" and importlib.util.find_spec(expected) is None:
        pytest.skip(f"{expected} is not installed")

    async def main() -> str:
        await anyio.lowlevel.checkpoint()
        return loop_name()

    assert run(main, backend=backend, use_uvloop=use_uvloop) == expected


def test_an_unknown_backend() -> None:
    async def main() -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match="backend must be asyncio or trio, not 'curio'") as error:
        run(main, backend="curio")  # type: ignore[arg-type]
    assert [problem.key for problem in error.value.errors] == ["backend"]


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        raise AssertionError

    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"trio is not installed: pip install 'napcore\[trio\]'"):
        run(main, backend="trio")


def test_without_uvloop_it_runs_on_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> str:
        return loop_name()

    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: None)
    assert run(main) == "asyncio"


@pytest.mark.parametrize("backend", INSTALLED)
@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_exceptions_come_out_as_they_are(backend: Any, kind: type[BaseException]) -> None:
    async def main() -> None:
        await anyio.lowlevel.checkpoint()
        raise kind("mine")

    seen: list[BaseException] = []
    try:
        run(main, backend=backend)
    except BaseException as error:
        seen.append(error)
    assert [(type(error), error.args) for error in seen] == [(kind, ("mine",))]


@pytest.mark.parametrize("backend", INSTALLED)
def test_it_runs_in_another_thread_too(backend: Any) -> None:
    seen: list[object] = []

    async def main() -> int:
        await anyio.lowlevel.checkpoint()
        return 5

    thread = threading.Thread(target=lambda: seen.append(run(main, backend=backend)))
    thread.start()
    thread.join()
    assert seen == [5]


PROGRAM = """
import sys
import anyio
import anyio.lowlevel
from napcore import Relay, run

async def main():
    async with Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        print(listener.port, flush=True)
        try:
            await anyio.sleep_forever()
        finally:
            print("leaving", flush=True)

print("returned", run(main, backend=sys.argv[1], use_uvloop=sys.argv[2] == "uvloop"), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_a_signal_ends_it_in_good_order(loop: str, number: signal.Signals) -> None:
    if importlib.util.find_spec(loop) is None:
        pytest.skip(f"{loop} is not installed")
    backend = "trio" if loop == "trio" else "asyncio"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, backend, loop], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert int(child.stdout.readline()) > 0
        child.send_signal(number)
        out, err = child.communicate(timeout=10)
    assert (out, err, child.returncode) == ("leaving\nreturned None\n", "", 0)


ENDING = """
import sys
import anyio
from napcore import Relay, run
from napcore.testing import RecordingClient, Simulator

relay = Relay()

async def main():
    async with Simulator(10001) as sim, RecordingClient() as bot:
        sim.on_call = lambda request: None
        async with relay:
            await relay.add_upstream(await sim.listen()).ready()
            await bot.connect((await relay.listen("127.0.0.1", 0)).url)
            bot.send({"action": "get_status"})
            await sim.wait_called()
            print("ready", flush=True)
            try:
                await anyio.sleep_forever()
            finally:
                print("leaving", flush=True)

run(main, backend=sys.argv[1], use_uvloop=sys.argv[2] == "uvloop")
print("pending", relay.statistics().calls.pending, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_a_second_signal_ends_it_at_once(loop: str, number: signal.Signals) -> None:
    if importlib.util.find_spec(loop) is None:
        pytest.skip(f"{loop} is not installed")
    backend = "trio" if loop == "trio" else "asyncio"
    with subprocess.Popen(
        [sys.executable, "-c", ENDING, backend, loop], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert child.stdout.readline() == "leaving\n"
        # The call under way has ten seconds now. Its upstream and its asker are in the same program, and gone already.
        start = time.monotonic()
        child.send_signal(number)
        out, err = child.communicate(timeout=10)
    assert (out, err, child.returncode) == ("pending 0\n", "", 0)
    assert time.monotonic() - start < 5
