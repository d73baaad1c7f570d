"""What conditions ask about an event: worked out when first asked for, and again once handlers may have changed it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

PREFIX, COMMAND = "_prefix", "command"
"""``PREFIX_KEY`` and ``CMD_KEY`` of ``nonebot.consts``: where NoneBot2 leaves the command it has read."""


class Facts:
    """One event, as it is now. An attribute raises where the event itself does in a way that no rule catches."""

    def __init__(self, bot: Any, event: Any, state: dict[Any, Any], first: Facts | None = None) -> None:
        self.bot = bot
        self.event = event
        self.state = state
        self._first = first or self
        """The facts at the beginning of the event."""

    @cached_property
    def kind(self) -> str:
        """The event's type: ``message``, ``notice``, ``request``, ``meta_event``."""
        return str(self.event.get_type())

    @cached_property
    def text(self) -> str | None:
        """The plain text; None where there is none, as for a notice: no text rule passes then."""
        try:
            text = self.event.get_plaintext()
        except Exception:
            return None
        return str(text)

    @cached_property
    def message(self) -> str | None:
        """The message as a string, segments and all."""
        try:
            message = self.event.get_message()
        except Exception:
            return None
        return str(message)

    @cached_property
    def session(self) -> str | None:
        """The session id."""
        try:
            session: str = self.event.get_session_id()
        except Exception:
            return None
        return session

    @cached_property
    def to_me(self) -> bool:
        """Whether the event is meant for the bot."""
        return bool(self.event.is_tome())

    @cached_property
    def command(self) -> Any:
        """The command that NoneBot2 has read; KeyError where reading it failed before it began."""
        return self.state[PREFIX][COMMAND]

    @property
    def text_changed(self) -> bool:
        """Whether the plain text is another than at the beginning of the event."""
        return self._first is not self and self._first.text != self.text

    @property
    def to_me_changed(self) -> bool:
        """Whether the answer is another than at the beginning of the event."""
        return self._first.to_me is not self.to_me

    @property
    def command_changed(self) -> bool:
        """Whether the command is another than at the beginning of the event."""
        return self._first.command is not self.command

    def begin(self) -> None:
        """Settle what later facts are compared with."""
        for name in ("to_me", "command", "text"):
            getattr(self, name)

    def again(self) -> Facts:
        """The same event, asked anew."""
        return Facts(self.bot, self.event, self.state, self._first)
