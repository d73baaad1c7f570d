"""Where the handlers of an event stand, in words, so that the log can name a plugin and its line."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

__all__ = ("place_of_tasks",)

_LIBRARIES: Final = tuple(
    os.path.join(path, "") for path in {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")} if path
)
_FRAMEWORK: Final = ("asyncio", "aiocqhttp", "nonebot", "quart", "napcore")


def place_of_tasks(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """The line at which the first of these tasks waits that can be seen to; empty where none can.

    A plugin's own line goes before one of a library it has called.
    """
    for task in tasks:
        for leaf in _leaves(task):
            frames = [frame for frame in _frames(leaf.get_coro()) if not _is_framework(frame)]
            own = [frame for frame in frames if not frame.f_code.co_filename.startswith(_LIBRARIES)]
            for frame in reversed(own or frames):
                return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
    return ""


def _leaves(task: asyncio.Task[Any]) -> Iterator[asyncio.Task[Any]]:
    """The tasks that ``task`` waits for in the end: aiocqhttp gathers its handlers. Itself if there are none."""
    import asyncio

    waits_for = getattr(task, "_fut_waiter", None)
    below = getattr(waits_for, "_children", None) or [waits_for]
    found = [each for each in below if isinstance(each, asyncio.Task) and not each.done()]
    for each in found:
        yield from _leaves(each)
    if not found:
        yield task


def _frames(coroutine: Any) -> Iterator[FrameType]:
    """Where a coroutine is suspended, and what it awaits, the outermost first."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _is_framework(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).split(".")[0] in _FRAMEWORK
