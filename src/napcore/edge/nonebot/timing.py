"""How long plugins take, and where they hold the event loop up."""

from __future__ import annotations

import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any

LAST = 1024
"""Runs of a plugin that its p99 is taken from."""

NOTABLE = 0.001
"""Seconds: a shorter stretch is not worth looking up its line."""


@dataclass(frozen=True)
class PluginTime:
    """One plugin's runs since installation; times in seconds."""

    plugin: str
    runs: int
    """How many times one of its matchers ran."""
    mean: float
    """A run from its beginning to its end, waiting included."""
    p99: float
    """The same, over the last 1,024 runs."""
    busy: float
    """Time in all its runs in which it held the event loop."""
    longest: float
    """The longest stretch in which it did so without a pause."""
    line: str
    """Where that stretch ended, as ``file:line``; where a matcher was defined, if the stretch ended with the run."""


class _Runs:
    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.last: deque[float] = deque(maxlen=LAST)
        self.busy = 0.0
        self.longest = 0.0
        self.line = ""


class Timing:
    """Times by plugin. ``clock`` gives seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._runs: dict[str, _Runs] = {}

    async def run(self, matcher: Any, coroutine: Coroutine[Any, Any, None]) -> None:
        """Await a matcher's run and count it; what it raises goes on."""
        plugin = matcher.plugin_id or matcher.module_name or "?"
        runs = self._runs.setdefault(plugin, _Runs())
        began = self._clock()
        try:
            await self._stretches(matcher, runs, coroutine)
        finally:
            took = self._clock() - began
            runs.count += 1
            runs.total += took
            runs.last.append(took)

    @types.coroutine
    def _stretches(self, matcher: Any, runs: _Runs, coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        value: Any = None
        error: BaseException | None = None
        while True:
            began = self._clock()
            try:
                waits_for = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration:
                return
            finally:
                took = self._clock() - began
                runs.busy += took
                if took > runs.longest:
                    runs.longest = took
                    runs.line = _line(matcher, coroutine) if took > NOTABLE else _definition(matcher)
            try:
                value, error = (yield waits_for), None
            except BaseException as thrown:  # cancellation, on its way in
                value, error = None, thrown

    def statistics(self) -> tuple[PluginTime, ...]:
        """Every plugin that ran, the one that held the loop longest first."""
        out = [
            PluginTime(plugin, runs.count, runs.total / runs.count, _p99(runs.last), runs.busy, runs.longest, runs.line)
            for plugin, runs in self._runs.items()
            if runs.count
        ]
        return tuple(sorted(out, key=lambda each: -each.busy))


def _p99(durations: deque[float]) -> float:
    ordered = sorted(durations)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def _definition(matcher: Any) -> str:
    source = matcher._source
    return f"{matcher.module_name or '?'}:{(source and source.lineno) or '?'}"


def _line(matcher: Any, coroutine: Any) -> str:
    """The innermost line of the plugin's own code that a run waits in."""
    found = ""
    module = matcher.module_name or ""
    waits: Any = coroutine
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)
        if frame is not None:
            name = frame.f_globals.get("__name__", "")
            if module and (name == module or name.startswith(f"{module}.")):
                found = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return found or _definition(matcher)
