"""Events of a relay in another thread, handed over to a framework's handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import anyio

from napcore.core.conversation import conversation
from napcore.dispatch import Event
from napcore.net.crossing import ThreadSubscription
from napcore.net.precedence import Place, Precedence
from napcore.net.tasks import own_tasks

__all__ = ("HandOver",)

Handle: TypeAlias = Callable[[Event, Place], Awaitable[None]]
"""Handles one event: must not raise, and waits at ``place`` where the framework's own handler would begin."""


class HandOver:
    """Starts a task for each event, as :class:`Precedence` has it: those of a group begin in order.

    Nothing is taken out of the relay's queue before it can be handled, so the bounds and lifetimes
    there hold. ``limit`` and ``patience`` are those of :class:`Precedence`.
    """

    def __init__(
        self,
        subscribe: Callable[[], AbstractAsyncContextManager[ThreadSubscription]],
        limit: int,
        patience: float,
        handle: Handle,
    ) -> None:
        self.stopping = False
        """Whether :meth:`stop` has been called."""
        self._subscribe = subscribe
        self._precedence = Precedence(limit, patience)
        self._handle = handle
        self._events: ThreadSubscription | None = None
        self._error: Exception | None = None
        self._scope = anyio.CancelScope()
        self._opened = anyio.Event()
        self._ended = anyio.Event()

    @property
    def missed(self) -> int:
        """Events lost so far on the way here."""
        return self._events.missed if self._events is not None else 0

    async def run(self, *beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Hand events over until the relay ends or :meth:`stop` is called; ``beside`` runs as long."""
        try:
            with self._scope:
                async with own_tasks() as tasks:
                    for work in beside:
                        tasks.start_soon(work)
                    async with self._subscribe() as self._events:
                        self._opened.set()
                        while True:
                            await self._precedence.room()
                            try:
                                event = await anext(self._events)
                            except StopAsyncIteration:
                                break
                            tasks.start_soon(self._run, event, self._precedence.enter(conversation(event)))
        except (ValueError, RuntimeError) as error:
            # ConfigError is a ValueError: the name is taken, or the relay has ended.
            self._error = error
        finally:
            self._opened.set()
            self._ended.set()

    async def opened(self) -> None:
        """Wait until events are taken in.

        Raises:
            ConfigError, RuntimeError: they will not be.
        """
        await self._opened.wait()
        if self._error is not None:
            raise self._error

    async def stop(self, timeout: float) -> None:
        """Hand nothing over any more and cancel what runs; waits ``timeout`` seconds at most for its end."""
        self.stopping = True
        self._scope.cancel()
        with anyio.move_on_after(timeout):
            await self._ended.wait()

    async def _run(self, event: Event, place: Place) -> None:
        try:
            await self._handle(event, place)
        finally:
            place.leave()
