"""Counting what tasks do, step by step, so that one can be cancelled at each of them.

A step is what a task does from one await that really waits to the next. Counted are the steps of tasks
that were started within :meth:`Steps.counted`, on asyncio by a task factory, on trio by an instrument.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import trio

__all__ = ("Steps",)

_COUNTED: ContextVar[Steps | None] = ContextVar("_COUNTED", default=None)


class Steps(trio.abc.Instrument):
    """Calls ``at_step`` at the end of step number ``wanted`` (0: never)."""

    def __init__(self, backend: str) -> None:
        self.count = 0
        self._backend = backend
        self._wanted = 0
        self._at_step: Callable[[], None] = lambda: None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """As long as tasks are to be counted at all."""
        if self._backend == "trio":
            trio.lowlevel.add_instrument(self)
            yield
            trio.lowlevel.remove_instrument(self)
        else:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(self._make_task)
            yield
            loop.set_task_factory(None)

    @contextmanager
    def counted(self, wanted: int, at_step: Callable[[], None]) -> Iterator[None]:
        """Count, from 1 on, the steps of all tasks that are started in this block and by them."""
        self.count, self._wanted, self._at_step = 0, wanted, at_step
        with self.more():
            yield

    @contextmanager
    def more(self) -> Iterator[None]:
        """The same for more tasks, without counting anew."""
        token = _COUNTED.set(self)
        try:
            yield
        finally:
            _COUNTED.reset(token)

    def step(self) -> None:
        """One more."""
        self.count += 1
        if self.count == self._wanted:
            self._at_step()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Trio calls this."""
        if task.context.get(_COUNTED) is self:
            self.step()

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        if _COUNTED.get() is self:
            coroutine = _walk(coroutine, self)
        return asyncio.Task(coroutine, loop=loop, **options)


async def _walk(coroutine: Any, steps: Steps) -> Any:
    return await _Walk(coroutine, steps)


class _Walk:
    def __init__(self, coroutine: Any, steps: Steps) -> None:
        self._coroutine = coroutine
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, Any]:
        # Written out, since "yield from" would hide what passes through.
        coroutine, answer = self._coroutine, None
        error: BaseException | None = None
        while True:
            try:
                waits_for = coroutine.send(answer) if error is None else coroutine.throw(error)
            except StopIteration as end:
                return end.value
            self._steps.step()
            answer = error = None
            try:
                answer = yield waits_for
            except BaseException as raised:
                error = raised
