"""When events left, and how long it took until a bot answered them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

__all__ = ("ReplyClock",)

_KEPT: Final = 100_000


class ReplyClock:
    """Pairs ``send_*`` calls with the events they answer.

    A reply segment names its event. Else the call is taken to answer the last message of the
    user it mentions, else the last message in its group, or of its private partner: in a busy
    group that is a lower bound.
    """

    def __init__(self) -> None:
        self.latencies: deque[float] = deque(maxlen=_KEPT)
        """Seconds from event to call, oldest first."""
        self._messages: dict[int, float] = {}
        self._last: dict[tuple[int | None, int | None], float] = {}

    def sent_at(self, message_id: int) -> float | None:
        """When the message left, on ``time.monotonic()``; None if unknown or over 100,000 messages ago."""
        return self._messages.get(message_id)

    def note_event(self, event: Mapping[str, Any]) -> None:
        """An event leaves now."""
        message_id = event.get("message_id")
        if event.get("post_type") != "message" or not isinstance(message_id, int):
            return
        now = time.monotonic()
        self._messages[message_id] = now
        if len(self._messages) > _KEPT:
            del self._messages[next(iter(self._messages))]
        group_id, user_id = event.get("group_id"), event.get("user_id")
        if event.get("message_type") == "private":
            group_id = None
        else:
            self._remember((group_id, None), now)
        self._remember((group_id, user_id), now)

    def note_call(self, request: Mapping[str, Any]) -> float | None:
        """A request came now; returns the seconds since the event it answers, if it answers one."""
        action, params = request.get("action"), request.get("params")
        if not isinstance(action, str) or not action.startswith("send_") or not isinstance(params, dict):
            return None
        left = self._cause(params)
        if left is None:
            return None
        latency = time.monotonic() - left
        self.latencies.append(latency)
        return latency

    def _remember(self, key: tuple[int | None, int | None], now: float) -> None:
        self._last.pop(key, None)
        self._last[key] = now
        if len(self._last) > _KEPT:
            del self._last[next(iter(self._last))]

    def _cause(self, params: Mapping[str, Any]) -> float | None:
        message = params.get("message")
        segments = [part for part in message if isinstance(part, dict)] if isinstance(message, list) else []
        named = _named(segments, "reply", "id")
        if named is not None and named in self._messages:
            return self._messages[named]
        group_id, user_id = _number(params.get("group_id")), _number(params.get("user_id"))
        if group_id is None:
            return self._last.get((None, user_id))
        mentioned = _named(segments, "at", "qq")
        return self._last.get((group_id, mentioned)) or self._last.get((group_id, None))


def _named(segments: list[dict[str, Any]], kind: str, key: str) -> int | None:
    for segment in segments:
        data = segment.get("data")
        if segment.get("type") == kind and isinstance(data, dict):
            return _number(data.get(key))
    return None


def _number(value: object) -> int | None:
    text = str(value)
    return int(text) if len(text) < 20 and text.isascii() and text.isdecimal() else None
