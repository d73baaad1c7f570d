"""Starting an event loop for a relay from synchronous code."""

from __future__ import annotations

import importlib.util
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import anyio
from anyio.abc import TaskStatus

from napcore.errors import ConfigError
from napcore.net.tasks import own_tasks

__all__ = ("run",)

T = TypeVar("T")


def run(
    main: Callable[[], Awaitable[T]],
    *,
    backend: Literal["asyncio", "trio"] = "asyncio",
    use_uvloop: bool | None = None,
) -> T | None:
    """Run ``main()`` in a new event loop until it returns, or until SIGINT or SIGTERM cancels it.

    Returns what ``main`` returns, None after a signal. ``use_uvloop`` is for asyncio: None takes
    uvloop where it is installed.

    Raises:
        ConfigError: the backend is unknown or not installed.
    """
    if backend not in ("asyncio", "trio"):
        raise ConfigError(f"backend must be asyncio or trio, not {backend!r}", key="backend")
    options: dict[str, Any] = {}
    if backend == "trio":
        if importlib.util.find_spec("trio") is None:
            raise ConfigError("trio is not installed: pip install 'napcore[trio]'", key="backend")
    elif use_uvloop is None:
        options["use_uvloop"] = importlib.util.find_spec("uvloop") is not None
    else:
        options["use_uvloop"] = use_uvloop
    try:
        return anyio.run(_until_signal, main, backend=backend, backend_options=options)
    except KeyboardInterrupt:
        return None


async def _until_signal(main: Callable[[], Awaitable[T]]) -> T | None:
    result: T | None = None
    async with own_tasks() as tasks:
        if threading.current_thread() is threading.main_thread():
            await tasks.start(_cancel_on_signal, tasks.cancel_scope)
        result = await main()
    return result


async def _cancel_on_signal(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    try:
        receiver = anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM)
        with receiver as signals:
            task_status.started()
            async for _ in signals:
                scope.cancel()
                return
    except NotImplementedError:
        # Windows: Ctrl-C arrives as KeyboardInterrupt.
        task_status.started()
