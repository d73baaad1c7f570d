"""napcore's own log, shown where NoneBot2 shows its."""

from __future__ import annotations

import logging
from typing import Any

ROOT = "napcore"


class Route:
    """Sends what napcore logs to NoneBot2's log, unless the user's own logging does that already."""

    def __init__(self) -> None:
        self._handler: logging.Handler | None = None
        self._level = logging.NOTSET

    def open(self, level: Any) -> None:
        """Begin; ``level`` is NoneBot2's ``LOG_LEVEL``, a name or a number."""
        from nonebot.log import LoguruHandler, logger

        source = logging.getLogger(ROOT)
        if any(isinstance(handler, LoguruHandler) for handler in (*source.handlers, *logging.getLogger().handlers)):
            return
        self._level = source.level
        self._handler = LoguruHandler()
        source.addHandler(self._handler)
        source.setLevel(level if isinstance(level, int) else logger.level(level).no)

    def close(self) -> None:
        """End."""
        if self._handler is not None:
            source = logging.getLogger(ROOT)
            source.removeHandler(self._handler)
            source.setLevel(self._level)
            self._handler = None
