"""Message formats as users write them; the conversions themselves are ring 0's."""

from __future__ import annotations

from typing import get_args

from napcore.errors import ConfigError
from napcore.types import MessageFormat

__all__ = ("check_message_format",)


def check_message_format(message_format: MessageFormat | None) -> None:
    """Refuse what is no message format.

    Raises:
        ConfigError: it is neither one nor None.
    """
    formats = get_args(MessageFormat)
    if message_format is not None and message_format not in formats:
        raise ConfigError(f"must be one of {', '.join(formats)}, not {message_format!r}", key="message_format")
