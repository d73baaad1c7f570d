"""napcore's warnings in the log of a bot that has configured none: no bot of this family sets the root logger up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

__all__ = ("pass_warnings_on",)


class _ToBot(logging.Handler):
    def __init__(self, bot: Any) -> None:
        super().__init__(logging.WARNING)
        self._bot = bot

    def emit(self, record: logging.LogRecord) -> None:
        own = [each for each in logging.getLogger("napcore").handlers if not isinstance(each, _SILENT)]
        if own or logging.getLogger().handlers:
            # Somebody shows it already.
            return
        is_nonebot = type(self._bot).__module__.split(".")[0] == "nonebot"
        logger = logging.getLogger("nonebot") if is_nonebot else self._bot.logger
        logger.handle(record)


_SILENT = (logging.NullHandler, _ToBot)


def pass_warnings_on(bot: Any) -> Callable[[], None]:
    """Show warnings of ``napcore`` where ``bot`` shows its own, unless they show anyway; returns what undoes it."""
    logger, handler = logging.getLogger("napcore"), _ToBot(bot)
    logger.addHandler(handler)
    return lambda: logger.removeHandler(handler)
