"""What ``import napcore`` does to a fresh interpreter, as JSON on stdout. Run by test_import.py."""

from __future__ import annotations

import json
import sys

FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn")

events: list[str] = []
watching = True


def hook(event: str, arguments: tuple[object, ...]) -> None:
    if not watching:
        return
    if event.startswith(FORBIDDEN):
        events.append(event)
    elif event == "open":
        mode = arguments[1]
        if isinstance(mode, str) and mode.strip("rbt"):
            events.append(f"open({arguments[0]!r}, {mode!r})")


sys.addaudithook(hook)
before = set(sys.modules)

import napcore  # noqa: E402

watching = False
imported = sorted(set(sys.modules) - before)

import logging  # noqa: E402
import threading  # noqa: E402

json.dump(
    {
        "file": napcore.__file__,
        "modules": imported,
        "events": events,
        "threads": [thread.name for thread in threading.enumerate()],
        "root_handlers": [repr(handler) for handler in logging.getLogger().handlers],
        "handlers": {
            name: [type(handler).__name__ for handler in logger.handlers]
            for name, logger in logging.Logger.manager.loggerDict.items()
            if name.split(".")[0] == "napcore" and isinstance(logger, logging.Logger)
        },
        "levels": [logging.getLogger("napcore").level, logging.getLogger("napcore").propagate],
    },
    sys.stdout,
)
