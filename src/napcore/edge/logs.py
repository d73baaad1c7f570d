"""Logging for the command line; the library itself configures none."""

from __future__ import annotations

import logging
import sys

__all__ = ("set_up_logging",)

_FORMAT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Ours, to be told apart from a host's."""


def set_up_logging(level: int = logging.INFO) -> None:
    """Write napcore's log records from ``level`` on, and everybody's warnings, to standard error.

    Calling it again replaces what it set up before.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    handler = _Handler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
    root.addHandler(handler)
    logging.getLogger("napcore").setLevel(level)
