"""Waiting for a condition that other tasks bring about, without polling."""

from __future__ import annotations

from collections.abc import Callable

import anyio

__all__ = ("Change",)


class Change:
    """Something happened: whoever waits for a condition looks again."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def notify(self) -> None:
        """Let every waiter look at its condition again."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait_for(self, condition: Callable[[], bool], timeout: float, describe: Callable[[], str]) -> None:
        """Return as soon as ``condition()`` holds.

        Raises:
            TimeoutError: not within ``timeout`` seconds; the text is ``describe()``.
        """
        with anyio.move_on_after(timeout):
            while not condition():
                if self._event is None:
                    self._event = anyio.Event()
                await self._event.wait()
            return
        raise TimeoutError(f"{describe()} after {timeout:g} s")
