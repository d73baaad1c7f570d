"""A message event of OneBot 11 as NoneBot2 will see it, without validating it: to ask the index, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

_INTEGERS = ("time", "self_id", "user_id", "message_id", "font")
_TEXTS = ("sub_type", "raw_message")
_SENDER = {
    "user_id": int,
    "nickname": str,
    "sex": str,
    "age": int,
    "card": str,
    "area": str,
    "level": str,
    "role": str,
    "title": str,
}
_OWN = frozenset({"to_me", "reply", "original_message"})
"""Fields that the adapter fills; an event that brings them is not sketched."""


class Sketcher:
    """Makes sketches of the events of one stock adapter."""

    def __init__(self, adapter: Any) -> None:
        import nonebot.adapters.onebot.v11.bot as bot

        self._module: Any = bot
        self._models = {"group": adapter.GroupMessageEvent, "private": adapter.PrivateMessageEvent}
        self._segment: Any = adapter.MessageSegment
        self._message: Any = adapter.Message
        self._sender = _blank(adapter.event.Sender)
        self._blanks = {kind: _blank(model) for kind, model in self._models.items()}
        self._handle_event = vars(adapter.Bot)["handle_event"]
        self._bot: Any = adapter.Bot

    def sketch(self, data: Any, bot: Any) -> Any:
        """The event after the adapter has looked for mentions of the bot; None where that is not certain.

        ``data`` is only read. An event that quotes another is not sketched: the adapter would fetch
        the other one first.
        """
        if type(data) is not dict or type(bot) is not self._bot:
            return None
        if vars(self._bot)["handle_event"] is not self._handle_event:
            # Somebody has put something of their own in front of every event.
            return None
        kind = data.get("message_type")
        if kind not in self._models or not _is_plain(data, kind):
            return None
        if next(iter(bot.adapter.get_event_model(data)), None) is not self._models[kind]:
            return None
        message = self._read(data["message"])
        if message is None:
            return None
        sender, event = copy(self._sender), copy(self._blanks[kind])
        # Past pydantic, which takes ten times as long to make an object, also without validation.
        vars(sender).update(data["sender"])
        vars(event).update(data)
        vars(event).update(message=message, sender=sender)
        message.reduce()
        # Both change the event's message, and look at nothing else of it.
        self._module._check_at_me(bot, event)
        self._module._check_nickname(bot, event)
        return event

    def _read(self, message: Any) -> Any:
        if type(message) is str:
            found = self._message(message)
        elif type(message) is list:
            segments = []
            for segment in message:
                if type(segment) is not dict or type(segment.get("type")) is not str:
                    return None
                values = segment.get("data")
                if type(values) is not dict or (segment["type"] == "text" and type(values.get("text")) is not str):
                    return None
                segments.append(self._segment(segment["type"], values.copy()))
            found = self._message(segments)
        else:
            return None
        return None if any(segment.type == "reply" for segment in found) else found


def _is_plain(data: Mapping[str, Any], kind: str) -> bool:
    """Whether every field that the event class asks for is just what it asks for."""
    integers = (*_INTEGERS, "group_id") if kind == "group" else _INTEGERS
    sender = data.get("sender")
    return (
        all(type(data.get(name)) is int for name in integers)
        and all(type(data.get(name)) is str for name in _TEXTS)
        and data.get("anonymous") is None
        and type(sender) is dict
        and all(sender.get(name) is None or type(sender[name]) is of for name, of in _SENDER.items())
        and _OWN.isdisjoint(data)
    )


def _blank(model: Any) -> Any:
    """An object without values but the defaults. pydantic's way has another name in either major version."""
    return (getattr(model, "model_construct", None) or model.construct)()
