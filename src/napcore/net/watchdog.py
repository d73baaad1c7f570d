"""A thread that notices when an event loop stands still, and says which line holds it up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from napcore.net.mailbox import Wake, current_wake
from napcore.net.places import place_of_thread

__all__ = ("Watchdog", "watch_loop")

BEAT: Final = 0.1
"""Seconds between two looks: what is held up for less is not seen."""

_log = logging.getLogger("napcore.watchdog")


class Watchdog:
    """Watches the loop that runs in the thread ``thread``, which ``wake`` wakes.

    A loop that has not come round for ``warn`` seconds is told of with a warning that names the
    line it is at, and again after ``error`` seconds with an error; when it comes round at last, how
    long it took. Nothing is patched, so it works on any loop, and for code that waits in a system
    call as for code that computes. Code that never lets go of the GIL is seen only afterwards.
    """

    def __init__(
        self,
        wake: Wake,
        thread: int,
        *,
        name: str = "",
        warn: float = 0.25,
        error: float = 1.0,
        beat: float | None = None,
    ) -> None:
        self.worst = 0.0
        """The longest the loop has been held up, in seconds."""
        self.reports = 0
        """Times it was held up for ``warn`` seconds or more."""
        self._wake = wake
        self._watched = thread
        self._name = name or "the event loop"
        self._levels = ((error, logging.ERROR), (warn, logging.WARNING))
        self._beat = BEAT if beat is None else beat
        self._came_round = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="napcore-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; does not wait for the thread to end, which it does at once. From any thread."""
        self._end.set()
        self._came_round.set()

    def join(self) -> None:
        """Wait until its thread has ended; not for an event loop."""
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(self._beat):
            self._came_round.clear()
            asked_at = time.monotonic()
            try:
                self._wake(self._came_round.set)
            except RuntimeError:
                return
            told = logging.NOTSET
            where = ""
            while not self._came_round.wait(self._beat) and not self._end.is_set():
                told, where = self._tell(time.monotonic() - asked_at, told, where)
            lag = time.monotonic() - asked_at
            if self._end.is_set():
                return
            self.worst = max(self.worst, lag)
            warn = self._levels[-1][0]
            if told:
                _log.warning("%s goes on after %.1f s; it was held up %s", self._name, lag, where)
            elif lag >= warn:
                # This thread could not look either.
                self.reports += 1
                _log.warning(
                    "%s was held up for %.1f s, and with it this whole process: by code that keeps the GIL, or"
                    " because the process was stopped",
                    self._name,
                    lag,
                )

    def _tell(self, lag: float, told: int, where: str) -> tuple[int, str]:
        for limit, level in self._levels:
            if lag >= limit and level > told:
                where = place_of_thread(self._watched) or where or "where nothing of it runs"
                self.reports += not told
                _log.log(level, "%s has been held up for %.1f s %s", self._name, lag, where)
                return level, where
        return told, where


@contextmanager
def watch_loop(*, warn: float = 0.25, error: float = 1.0) -> Iterator[Watchdog]:
    """Watch the event loop that runs here, asyncio's or trio's, as long as the block lasts.

    A loop held up for ``warn`` seconds gets a warning in the log that names the line, one held up
    for ``error`` seconds an error. The thread that watches is named ``napcore-watchdog``.

    Raises:
        RuntimeError: no event loop runs here.
    """
    _, wake = current_wake()
    watchdog = Watchdog(wake, threading.get_ident(), warn=warn, error=error)
    watchdog.start()
    try:
        yield watchdog
    finally:
        watchdog.stop()
