"""napcore: the dispatch core for QQ / OneBot 11 bots.

What does no I/O is imported with the package; ``Relay``, ``run``, ``start_thread``, ``Config`` and
their like are loaded when they are first used.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from napcore.core.filter import Filter
from napcore.core.hub import Hub, HubClient
from napcore.core.policy import Policy
from napcore.dispatch import (
    COMPILED,
    Event,
    Report,
    Request,
    Response,
    TextIndex,
    convert_event,
    format_message,
    parse_message,
    peek,
    peek_frame,
    peek_request,
    plain_text,
)
from napcore.errors import (
    ActionFailed,
    AmbiguousAccount,
    BadEvent,
    CallError,
    CallTimeout,
    ConfigError,
    ConfigProblem,
    ConnectFailed,
    ConnectionClosed,
    NapcoreError,
    NotSent,
    OutcomeUnknown,
)
from napcore.types import Outcome, Segment

if TYPE_CHECKING:
    from napcore.core.config import Config
    from napcore.edge.settings import load_config
    from napcore.net.bot import Bot, connect
    from napcore.net.relay import Relay
    from napcore.net.runner import run
    from napcore.net.thread import RelayThread, start_thread
    from napcore.net.watchdog import watch_loop
    from napcore.net.workers import release_turn

__all__ = (
    "COMPILED",
    "ActionFailed",
    "AmbiguousAccount",
    "BadEvent",
    "Bot",
    "CallError",
    "CallTimeout",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "ConnectFailed",
    "ConnectionClosed",
    "Event",
    "Filter",
    "Hub",
    "HubClient",
    "NapcoreError",
    "NotSent",
    "Outcome",
    "OutcomeUnknown",
    "Policy",
    "Relay",
    "RelayThread",
    "Report",
    "Request",
    "Response",
    "Segment",
    "TextIndex",
    "__version__",
    "connect",
    "convert_event",
    "format_message",
    "load_config",
    "parse_message",
    "peek",
    "peek_frame",
    "peek_request",
    "plain_text",
    "release_turn",
    "run",
    "start_thread",
    "watch_loop",
)

__version__ = "0.1.0"

_LAZY = {
    "Bot": "napcore.net.bot",
    "Config": "napcore.core.config",
    "Relay": "napcore.net.relay",
    "RelayThread": "napcore.net.thread",
    "connect": "napcore.net.bot",
    "load_config": "napcore.edge.settings",
    "release_turn": "napcore.net.workers",
    "run": "napcore.net.runner",
    "start_thread": "napcore.net.thread",
    "watch_loop": "napcore.net.watchdog",
}

logging.getLogger("napcore").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'napcore' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
