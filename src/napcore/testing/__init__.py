"""For bot authors' tests: stand-ins for NapCat, a client that records what it gets, and a check of the ledgers.

With pytest, the fixtures ``napcore_simulator``, ``napcore_upstream``, ``napcore_client`` and
``napcore_relay`` are there without any import (``napcore.testing.fixtures``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napcore.testing.client import Manners, RecordingClient
    from napcore.testing.events import EventMaker
    from napcore.testing.handshake import Refused
    from napcore.testing.ledger import check_ledger
    from napcore.testing.script import Script, ScriptedUpstream
    from napcore.testing.simulator import Simulator
    from napcore.testing.websocket import Socket

__all__ = (
    "EventMaker",
    "Manners",
    "RecordingClient",
    "Refused",
    "Script",
    "ScriptedUpstream",
    "Simulator",
    "Socket",
    "check_ledger",
)

_LAZY = {
    "EventMaker": "napcore.testing.events",
    "Manners": "napcore.testing.client",
    "RecordingClient": "napcore.testing.client",
    "Refused": "napcore.testing.handshake",
    "Script": "napcore.testing.script",
    "ScriptedUpstream": "napcore.testing.script",
    "Simulator": "napcore.testing.simulator",
    "Socket": "napcore.testing.websocket",
    "check_ledger": "napcore.testing.ledger",
}
# Each is loaded when it is first used: pytest imports this package at its start, wherever napcore is installed.


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'napcore.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
