"""For bot authors' tests: a stand-in NapCat, a client that records what it gets, and a check of the ledgers."""

from __future__ import annotations

from napcore.testing.client import Manners, RecordingClient
from napcore.testing.events import EventMaker
from napcore.testing.handshake import Refused
from napcore.testing.ledger import check_ledger
from napcore.testing.simulator import Simulator
from napcore.testing.websocket import Socket

__all__ = ("EventMaker", "Manners", "RecordingClient", "Refused", "Simulator", "Socket", "check_ledger")
