"""What waits for an upstream link: control frames and calls."""

from __future__ import annotations

import os
from collections import deque
from typing import Final

from napcore.core.calls import Call
from napcore.dispatch import CONTROL_LIMIT, join_frame
from napcore.types import Outcome

__all__ = ("RequestLane",)

REQUEST_LIMIT: Final = 64 << 20
"""Bytes of calls that may wait for one upstream link, plus one call."""


class RequestLane:
    """What waits for an upstream link: control frames and calls, in order, control first.

    It has an outbox's shape, so that one drainer serves both. ``masked`` says that we are the
    WebSocket client, whose frames carry a fresh random key each (RFC 6455, 5.3).
    """

    def __init__(self, *, masked: bool) -> None:
        self.close_code = 0
        """1013 once the control lane has overflowed."""
        self.late = 0
        """Control frames that were waiting when the link ended."""
        self._masked = masked
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._calls: deque[Call] = deque()
        self._call_bytes = 0
        self._staged = False

    def __len__(self) -> int:
        return len(self._control) + len(self._calls)

    @property
    def control_queued(self) -> int:
        """Control frames waiting."""
        return len(self._control)

    def offer_control(self, frame: bytes) -> Outcome:
        """Queue a control frame ahead of calls."""
        if self._control_bytes > CONTROL_LIMIT:
            self.late += 1
            self.close_code = 1013
            return Outcome.DISCONNECT
        self._control.append(frame)
        self._control_bytes += len(frame)
        return Outcome.QUEUED

    def offer(self, call: Call) -> bool:
        """Queue a call; False if the bytes waiting are at their bound, so that it cannot be sent."""
        if self._call_bytes > REQUEST_LIMIT:
            return False
        self._calls.append(call)
        self._call_bytes += call.size
        return True

    def gather(self, now: float, max_bytes: int = 65536) -> list[bytes]:
        """The next frames to write, at least one if any waits; from here on a call counts as written.

        Raises:
            RuntimeError: the frames gathered last are still being written.
        """
        if self._staged:
            raise RuntimeError("the frames gathered last are still being written")
        frames: list[bytes] = []
        size = 0
        while self._control and (not frames or size + len(self._control[0]) <= max_bytes):
            control = self._control.popleft()
            self._control_bytes -= len(control)
            frames.append(control)
            size += len(control)
        while self._calls and not self._control and (not frames or size + self._calls[0].size <= max_bytes):
            call = self._calls.popleft()
            self._call_bytes -= call.size
            if call.over:
                continue
            call.written = True
            frames.append(join_frame(call.parts, os.urandom(4) if self._masked else None))
            call.release()
            size += len(frames[-1])
        self._staged = bool(frames)
        return frames

    def wrote(self) -> int:
        """The frames gathered last are out."""
        self._staged = False
        return 0

    def lose_link(self, refused_size: bool = False) -> int:
        """The link is gone: what waited will never be written. ``Calls.lose`` fails the calls."""
        self.late += len(self._control)
        self._control.clear()
        self._control_bytes = 0
        self._calls.clear()
        self._call_bytes = 0
        self._staged = False
        self.close_code = 0
        return 0
