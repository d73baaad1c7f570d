"""Who holds an event loop up is named by file and line, on every loop."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from blockbuster import BlockBuster

import napcore.net.watchdog
from napcore import watch_loop


@pytest.fixture(autouse=True)
def blocking_is_meant(no_blocking_calls: BlockBuster) -> Any:
    no_blocking_calls.deactivate()
    yield
    no_blocking_calls.activate()


@pytest.fixture(autouse=True)
def quick_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(napcore.net.watchdog, "BEAT", 0.01)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "napcore.watchdog"]


def sleep_badly(seconds: float) -> None:
    time.sleep(seconds)  # the line


def compute_badly(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def line_of(work: Any, text: str) -> str:
    lines, first = inspect.getsourcelines(work)
    (offset,) = [number for number, line in enumerate(lines) if text in line]
    return f"{__file__}:{first + offset} in {work.__name__}"


@pytest.mark.parametrize("how", ["sleep", "compute", "library"])
async def test_the_line_is_named(how: str, caplog: pytest.LogCaptureFixture) -> None:
    with watch_loop(warn=0.05, error=0.15) as watchdog:
        await anyio.sleep(0.03)
        if how == "sleep":
            sleep_badly(0.5)
        elif how == "compute":
            compute_badly(0.5)
        else:
            threading.Event().wait(0.5)
        await anyio.sleep(0.05)
    place = {"sleep": "in sleep_badly", "compute": "in compute_badly", "library": "in test_the_line_is_named"}[how]
    # A busy machine may hold the loop up besides.
    found = [(level, text) for level, text in told(caplog) if place in text]
    levels, texts = [level for level, _ in found], [text for _, text in found]
    # Where the other thread comes to look late, the first look finds an error already.
    whole = [logging.WARNING, logging.ERROR, logging.WARNING]
    assert levels in (whole, whole[1:])
    assert f"at {__file__}:" in texts[0]
    if how == "sleep":
        assert line_of(sleep_badly, "the line") in texts[0]
    if how == "library":
        # Not the line of the library it is inside of, though that is told too.
        assert "threading.py:" in texts[0]
    assert "goes on after " in texts[-1]
    assert watchdog.reports >= 1
    assert 0.2 < watchdog.worst < 30


async def test_a_loop_that_comes_round_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with watch_loop(warn=5.0, error=9.0) as watchdog:
        for _ in range(20):
            await anyio.sleep(0.01)
    assert told(caplog) == []
    assert watchdog.reports == 0
    assert watchdog.worst < 5.0


async def test_its_thread_ends_with_the_block_even_while_the_loop_is_held_up() -> None:
    with watch_loop(warn=0.01, error=0.02) as watchdog:
        assert "napcore-watchdog" in {thread.name for thread in threading.enumerate()}
        sleep_badly(0.05)
    watchdog.join()
    assert "napcore-watchdog" not in {thread.name for thread in threading.enumerate()}


def test_a_loop_that_has_ended_is_not_watched_any_more() -> None:
    def wake(work: object) -> None:
        raise RuntimeError("Event loop is closed")

    watchdog = napcore.net.watchdog.Watchdog(wake, threading.get_ident(), beat=0.001)
    watchdog.start()
    watchdog._thread.join(10)
    assert not watchdog._thread.is_alive()
    watchdog.stop()


def test_what_keeps_the_whole_process_is_told_of_afterwards(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock jumps between the question and the answer, as it does when the process is stopped.
    now = [100.0]

    def wake(work: Any) -> None:
        now[0] += 3.0
        work()
        watchdog._end_soon = True  # type: ignore[attr-defined]

    monkeypatch.setattr(napcore.net.watchdog.time, "monotonic", lambda: now[0])
    watchdog = napcore.net.watchdog.Watchdog(wake, threading.get_ident(), beat=0.001)
    watchdog.start()
    while not told(caplog):
        threading.Event().wait(0.001)
    watchdog.stop()
    assert "was held up for 3.0 s, and with it this whole process" in told(caplog)[0][1]
    assert watchdog.worst == 3.0


def test_without_a_loop_there_is_nothing_to_watch() -> None:
    with pytest.raises(RuntimeError), watch_loop():
        raise AssertionError("there is no loop")
