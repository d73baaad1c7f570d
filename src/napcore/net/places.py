"""Where code stands, in words: the line of a program's own that is to be looked at."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any, Final

import anyio

__all__ = ("place_of_awaitable", "place_of_error", "place_of_thread")

TOLD: Final = 3
"""Places of one handler that are told at most."""

_LIBRARIES: Final = tuple(
    os.path.join(path, "")
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.__file__)}
    if path
)
_OWN: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_LOOPS: Final = ("anyio", "asyncio", "trio", "outcome", "uvloop", "sniffio")

_Line = tuple[FrameType, int]


def place_of_thread(ident: int) -> str:
    """Where the thread ``ident`` is; empty where nothing of it runs."""
    frame = sys._current_frames().get(ident)
    lines: list[_Line] = []
    while frame is not None:
        lines.append((frame, frame.f_lineno))
        frame = frame.f_back
    return _place(lines[::-1])


def place_of_awaitable(awaitable: object) -> str:
    """What a coroutine that is suspended waits for; in a task group, where the tasks of that group are.

    Up to three places are told. Empty where it cannot be seen. Belongs to the event loop.
    """
    places = _leaves(awaitable)
    told = "; ".join(places[:TOLD])
    return f"{told}; and {len(places) - TOLD} more" if len(places) > TOLD else told


def place_of_error(error: BaseException) -> str:
    """Where an exception was raised, in a group the first of it; empty for one that never was."""
    while inner := getattr(error, "exceptions", None):
        error = inner[0]
    lines: list[_Line] = []
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        lines.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return _place(lines)


def _leaves(awaitable: object) -> list[str]:
    tasks = anyio.get_running_tasks()
    children: dict[int, list[int]] = {}
    chains = {task.id: list(_chain(task.coro)) for task in tasks}
    for task in tasks:
        if task.parent_id is not None:
            children.setdefault(task.parent_id, []).append(task.id)
    root = next((ident for ident, chain in chains.items() if any(step is awaitable for step in chain)), None)
    found: list[str] = []
    waiting = [] if root is None else [root]
    while waiting:
        ident = waiting.pop()
        below = children.get(ident, ())
        if below:
            waiting += below
        else:
            # A task that waits for others stands at its `async with`, which explains nothing.
            found.append(_place(_lines(chains[ident])))
    return [place for place in dict.fromkeys(found) if place] or [_place(_lines(_chain(awaitable)))]


def _chain(awaitable: Any) -> Iterator[Any]:
    """What it awaits, and what that awaits, as far as Python can tell."""
    while awaitable is not None:
        yield awaitable
        for name in ("cr_await", "gi_yieldfrom", "ag_await"):
            following = getattr(awaitable, name, None)
            if following is not None:
                break
        awaitable = following


def _lines(chain: Any) -> list[_Line]:
    lines: list[_Line] = []
    for step in chain:
        for name in ("cr_frame", "gi_frame", "ag_frame"):
            frame = getattr(step, name, None)
            if frame is not None:
                lines.append((frame, frame.f_lineno))
    return lines


def _place(lines: Sequence[_Line]) -> str:
    """The innermost line that is no library's, and what it has called; ``lines`` has the outermost first."""
    if not lines:
        return ""
    innermost = lines[-1]
    own = next((line for line in reversed(lines) if not _is_library(line[0].f_code.co_filename)), None)
    if own is None:
        return f"in a library, at {_line(innermost)}"
    return f"at {_line(own)}" if own is innermost else f"at {_line(own)}, inside {_line(innermost)}"


def _line(line: _Line) -> str:
    frame, number = line
    return f"{frame.f_code.co_filename}:{number} in {frame.f_code.co_name}"


def _is_library(file: str) -> bool:
    if "site-packages" in file or "dist-packages" in file:
        # A plugin may live there too: only the loops themselves are never the reason.
        parts = file.replace("\\", "/").rpartition("-packages/")[2].split("/")
        return parts[0] in _LOOPS
    return file.startswith(("<frozen", *_LIBRARIES, _OWN))
