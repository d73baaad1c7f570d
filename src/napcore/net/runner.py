"""Starting an event loop for a relay from synchronous code."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import anyio

from napcore.errors import ConfigError
from napcore.net.drain import STOP, Stop
from napcore.net.signals import take_signals
from napcore.net.tasks import own_tasks

__all__ = ("backend_options", "run")

T = TypeVar("T")


def run(
    main: Callable[[], Awaitable[T]],
    *,
    backend: Literal["asyncio", "trio"] = "asyncio",
    use_uvloop: bool | None = None,
) -> T | None:
    """Run ``main()`` in a new event loop until it returns, or until SIGINT or SIGTERM cancels it.

    A relay in it is drained then, which takes up to 30 s: calls under way are answered and what
    waits is written, as far as the peers go along. A second signal ends it at once. On Windows
    Ctrl-Break counts as a signal, and a console window that is closed as one with 4 s to go.

    Returns what ``main`` returns, None after a signal. ``use_uvloop`` is for asyncio: None takes
    uvloop where it is installed.

    Raises:
        ConfigError: the backend is unknown or not installed.
    """
    options = backend_options(backend, use_uvloop)
    try:
        return anyio.run(_until_signal, main, backend=backend, backend_options=options)
    except KeyboardInterrupt:
        return None


def backend_options(backend: str, use_uvloop: bool | None) -> dict[str, Any]:
    """What ``anyio.run`` is told besides the backend's name.

    Raises:
        ConfigError: the backend is unknown or not installed.
    """
    if backend not in ("asyncio", "trio"):
        raise ConfigError(f"backend must be asyncio or trio, not {backend!r}", key="backend")
    if backend == "trio":
        if importlib.util.find_spec("trio") is None:
            raise ConfigError("trio is not installed: pip install 'napcore[trio]'", key="backend")
        return {}
    return {"use_uvloop": importlib.util.find_spec("uvloop") is not None if use_uvloop is None else use_uvloop}


async def _until_signal(main: Callable[[], Awaitable[T]]) -> T | None:
    result: T | None = None
    stop = Stop()
    token = STOP.set(stop)
    try:
        async with own_tasks() as tasks:
            scope = anyio.CancelScope()

            def ask() -> None:
                if stop.asked:
                    stop.hurry()
                stop.asked = True
                scope.cancel()

            if threading.current_thread() is threading.main_thread():
                await tasks.start(take_signals, ask, stop.hurry)
            with scope:
                result = await main()
    finally:
        STOP.reset(token)
    return result
