"""Where NoneBot2 begins a handler: the point at which the events of a group are kept in order."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .patches import Patches

if TYPE_CHECKING:
    from napcore.net.precedence import Place

_place: ContextVar[Place | None] = ContextVar("napcore_place", default=None)


class Starts:
    """Has handlers wait for their event's turn. What NoneBot2 does before that, matching, is not held up.

    ``Matcher.run`` waits. A handler has begun when its dependencies have been solved: its function is called next.
    """

    def __init__(self) -> None:
        self._patches = Patches()

    def open(self) -> None:
        """Take part."""
        from nonebot.dependencies import Dependent
        from nonebot.internal.matcher import current_handler
        from nonebot.matcher import Matcher

        self._patches.put(Matcher, "run", _waiting(Matcher.run))
        self._patches.put(Dependent, "solve", _leaving(Dependent.solve, current_handler))

    def close(self) -> None:
        """Put everything back."""
        self._patches.restore()

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """What runs in the block, and in tasks it starts, belongs to the event at ``place``."""
        token = _place.set(place)
        try:
            yield
        finally:
            _place.reset(token)


def _waiting(before: Any) -> Any:
    @functools.wraps(before)
    async def run(self: Any, *arguments: Any, **named: Any) -> None:
        place = _place.get()
        if place is None or place.left:
            await before(self, *arguments, **named)
            return
        await place.wait()
        try:
            await before(self, *arguments, **named)
        finally:
            place.leave()

    return run


def _leaving(before: Any, current_handler: ContextVar[Any]) -> Any:
    @functools.wraps(before)
    async def solve(self: Any, **params: Any) -> Any:
        values = await before(self, **params)
        place = _place.get()
        if place is not None and not place.left and current_handler.get(None) is self:
            place.leave()
        return values

    return solve
