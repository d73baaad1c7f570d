"""nonebot 1 hands each event on to a task of its own that nobody waits for; here they are noted down."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

__all__ = ("SPAWNED", "note_down")

SPAWNED: ContextVar[list[asyncio.Task[Any]] | None] = ContextVar("napcore_spawned_tasks", default=None)
"""Where the tasks of the event that is being handled are noted down."""

_HANDLERS: Final = ("handle_message", "handle_notice_or_request")


def note_down(bot: Any) -> Callable[[], None]:
    """Have the tasks noted down in which ``bot``, if it is nonebot 1's, handles events; returns what undoes it.

    Without that an event would count as handled at once, and neither order nor bounds would hold.
    """
    put: list[tuple[set[Any], Any, Any]] = []
    for post_type in ("message", "notice", "request"):
        subscribers = bot._bus._subscribers[post_type]
        for before in tuple(subscribers):
            handle = _handler_of(before)
            if handle is not None:
                after = _noting(bot, handle)
                subscribers.discard(before)
                subscribers.add(after)
                put.append((subscribers, before, after))

    def undo() -> None:
        for subscribers, before, after in put:
            if after in subscribers:
                subscribers.discard(after)
                subscribers.add(before)

    return undo


def _handler_of(subscriber: Any) -> Any:
    """What a subscriber of nonebot 1's own has its task run; None for any other function."""
    if getattr(subscriber, "__module__", "") != "nonebot":
        return None
    names = inspect.getclosurevars(subscriber).nonlocals
    return next((names[name] for name in _HANDLERS if name in names), None)


def _noting(bot: Any, handle: Any) -> Any:
    async def subscriber(event: Any) -> None:
        import asyncio

        task = asyncio.create_task(handle(bot, event))
        spawned = SPAWNED.get()
        if spawned is not None:
            spawned.append(task)

    return subscriber
