"""The wish to end a program, as the system tells it: signals, and on Windows the console's own events."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus

from napcore.net.mailbox import Mailbox, current_wake

__all__ = ("console_close", "take_signals")

CLOSE_EVENTS: Final = frozenset({2, 5, 6})
"""CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT and CTRL_SHUTDOWN_EVENT: the console is closed, the user or the machine goes."""

CLOSE_PATIENCE: Final = 3.5
"""Seconds of good order after the console was closed; Windows ends the process 5 s after it."""

CLOSE_LIMIT: Final = 4.5
"""Seconds for which Windows is kept waiting: until everything has ended, or there is no more time."""


async def take_signals(
    ask: Callable[[], None], hurry: Callable[[], None], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Call ``ask`` for each SIGINT and SIGTERM, for ever; ``hurry`` when there is no more time. In the main thread.

    Where the event loop takes no signals, which is Windows, they come by handlers of our own, with
    Ctrl-Break among them; a console that is closed counts as one too.
    """
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                ask()
    except NotImplementedError:
        await _take_by_handlers(ask, hurry, task_status)


async def _take_by_handlers(ask: Callable[[], None], hurry: Callable[[], None], task_status: TaskStatus[None]) -> None:
    mailbox = Mailbox(current_wake()[1])
    wishes: list[bool] = []
    news = anyio.Event()

    def note(closing: bool) -> None:
        wishes.append(closing)
        news.set()

    async def run_out() -> None:
        await anyio.sleep(CLOSE_PATIENCE)
        hurry()

    with _handled(lambda: mailbox.post(lambda: note(False))), console_close(lambda: mailbox.post(lambda: note(True))):
        task_status.started()
        async with anyio.create_task_group() as tasks:
            while True:
                await news.wait()
                news = anyio.Event()
                while wishes:
                    if wishes.pop(0):
                        tasks.start_soon(run_out)
                    ask()


@contextmanager
def _handled(take: Callable[[], object]) -> Iterator[None]:
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda number, frame: take()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def console_close(closed: Callable[[], object], kernel32: Any = None) -> Iterator[None]:
    """Call ``closed``, in a thread of the system's, when the console window is closed or the machine shut down.

    The system is then kept waiting until the block is left, for 4.5 s at most. Nothing happens on
    other systems than Windows; ``kernel32`` is its library.
    """
    kernel32 = kernel32 or getattr(getattr(ctypes, "windll", None), "kernel32", None)
    if kernel32 is None:
        yield
        return
    over = threading.Event()

    def handle(event: int) -> bool:
        if event not in CLOSE_EVENTS:
            # Ctrl-C and Ctrl-Break are signals too.
            return False
        closed()
        over.wait(CLOSE_LIMIT)
        return True

    # Kept here: the system calls it as long as it is registered.
    handler = _handler_type()(handle)
    kernel32.SetConsoleCtrlHandler(handler, True)
    try:
        yield
    finally:
        over.set()
        kernel32.SetConsoleCtrlHandler(handler, False)


def _handler_type() -> Any:
    # PHANDLER_ROUTINE: BOOL WINAPI handler(DWORD).
    make = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
    return make(ctypes.c_int, ctypes.c_uint)
