"""What rows ask a relay in this process, and events that can be told apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anyio

from faults.case import Case
from napcore import Relay
from napcore.core.stats import ClientStatistics
from napcore.net.client import Session
from napcore.testing import Simulator

__all__ = ("LoopLag", "Numbers", "check_gap", "ledgers", "numbers_of", "session_of", "waiting_for")


def session_of(relay: Relay, name: str) -> Session:
    """The one session of a client."""
    (session,) = (session for session in relay.traffic.clients.sessions() if session.client.name == name)
    return session


def ledgers(relay: Relay) -> dict[str, ClientStatistics]:
    """Every session's ledger by its client's name."""
    return {client.name: client for client in relay.statistics().clients}


def waiting_for(relay: Relay, name: str) -> int:
    """Events that wait for a client."""
    return ledgers(relay)[name].queued


class Numbers:
    """Group messages with the message ids 0, 1, 2 and so on, from a simulator."""

    def __init__(self, simulator: Simulator, text: str = "今天食堂吃什么？") -> None:
        self.sent = 0
        self._simulator = simulator
        self._text = text

    async def emit(self, count: int) -> None:
        """So many at once."""
        for _ in range(count):
            event = self._simulator.events.group_message(message=self._text)
            event["message_id"] = self.sent
            self.sent += 1
            await self._simulator.emit(event)

    async def run(self, rate: float, seconds: float) -> None:
        """So many a second, whatever happens to who gets them."""
        start, sent = time.monotonic(), 0
        while (now := time.monotonic() - start) < seconds:
            due = int(now * rate) + 1 - sent
            sent += due
            await self.emit(due)
            await anyio.sleep(max(0.0, start + sent / rate - time.monotonic()))


def check_gap(case: Case, sent: int, got: Sequence[int], ledger: ClientStatistics) -> None:
    """Nothing twice, nothing out of order, and nothing missing that was not counted as lost."""
    case.figure("doubles", len(got) - len(set(got)), exactly=0)
    case.check(list(got) == sorted(got), "events came out of order")
    missing = sent - len(set(got))
    lost = sum(ledger.dropped.values())
    case.check(ledger.received == sent, f"of {sent} events {ledger.received} were counted as received")
    case.check(missing <= lost, f"{missing} events never came, but {lost} are counted as lost {ledger.dropped}")
    # What was being written when a link was cut may have come all the same, nothing else.
    certain = lost - ledger.dropped.get("uncertain", 0)
    case.check(missing >= certain, f"{certain} events are counted as lost, but only {missing} never came")


class LoopLag:
    """How late this process's event loop is: ``tasks.start_soon(lag.watch)``."""

    def __init__(self) -> None:
        self.most = 0.0
        """Seconds; set it to 0 to begin anew."""
        self.most_work = 0.0
        """The same in processor time of this thread: what the loop itself was busy with in one go. On a machine
        that others use, too, the rest of the delay is theirs."""

    async def watch(self) -> None:
        """Look, for ever."""
        while True:
            due, work = time.monotonic() + 0.01, time.thread_time()
            await anyio.sleep(0.01)
            self.most = max(self.most, time.monotonic() - due)
            self.most_work = max(self.most_work, time.thread_time() - work)


def numbers_of(events: Sequence[dict[str, Any]]) -> list[int]:
    """Their message ids."""
    return [event["message_id"] for event in events]
