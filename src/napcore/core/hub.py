"""Routing without I/O: events in, per-client queues out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from napcore.core.filter import Filter
from napcore.core.message import check_message_format
from napcore.core.policy import Policy
from napcore.core.stats import ClientStatistics
from napcore.dispatch import Event, Report, Router, fan_out, peek
from napcore.errors import BadEvent, ConfigError
from napcore.types import Form, MessageFormat

__all__ = ("MEMORY_LIMIT", "Hub", "HubClient", "as_event")

MEMORY_LIMIT: Final = 256 << 20
"""Bytes of events that all clients together may hold, unless told otherwise."""


class HubClient:
    """One consumer of a hub: its filter, its bounds and what waits for it. Made by :meth:`Hub.add`."""

    def __init__(
        self,
        hub: Hub,
        name: str,
        filter: Filter,
        policy: Policy,
        form: Form,
        message_format: MessageFormat | None,
        owner: object,
    ) -> None:
        self.name = name
        self.policy = policy
        self.form = form
        self.message_format = message_format
        self.outbox = policy.outbox(self if owner is None else owner)
        self._hub = hub
        self._filter = filter
        keep = None if policy.keep is None else policy.keep.rules()
        self._row: int | None = hub.router.add(
            self.outbox, form, message_format=message_format, keep=keep, **filter.rules()
        )

    @property
    def filter(self) -> Filter:
        """Which events it gets; assign a new one at any time, it holds from the next event on."""
        return self._filter

    @filter.setter
    def filter(self, filter: Filter) -> None:
        self._hub._check_idle_thread()
        if self._row is not None:
            self._hub.router.replace(self._row, **filter.rules())
        self._filter = filter

    def take(self, limit: int = 0, deadlines: list[float] | None = None) -> list[Any]:
        """What waits, oldest first, at most ``limit`` (0 = all): Events, or bytes by ``form``.

        Events past their lifetime are dropped here, counted as ``ttl``. ``deadlines`` gets, for each
        event that is returned, the end of its lifetime on the hub's clock.
        """
        self._hub.check_thread()
        return self.outbox.take(self._hub.clock(), limit, deadlines)

    def statistics(self) -> ClientStatistics:
        """A snapshot of its ledger."""
        box = self.outbox
        return ClientStatistics(
            name=self.name,
            self_id=None,
            state="connected" if self._row is not None else "absent",
            received=box.received,
            confirmed=box.confirmed,
            unconfirmed=box.unconfirmed,
            queued=box.queued,
            queued_bytes=box.queued_bytes,
            max_queued=box.max_queued,
            dropped=box.dropped,
            late=box.late,
            connects=1,
            caught_up=box.caught_up,
        )

    def detach(self) -> None:
        """Leave the router; what waits can still be taken. Called by :meth:`Hub.remove`."""
        if self._row is not None:
            self._hub.router.remove(self._row)
            self._row = None

    def __repr__(self) -> str:
        return f"<HubClient {self.name!r} queued={self.outbox.queued}>"


class Hub:
    """The dispatch core without any I/O, for frameworks and tests.

    A hub belongs to one thread: the one that first publishes or takes. Another thread gets a
    RuntimeError.

    ``clock`` gives seconds that never go back; lifetimes are measured on it. ``memory_limit`` is how
    many bytes of events all clients together may hold, each form of an event counted once; beyond
    it the oldest events go, from every client that has them (reason ``budget``).

    Raises:
        ValueError: ``memory_limit`` is 0, negative or NaN.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, memory_limit: float = MEMORY_LIMIT) -> None:
        self.clock = clock
        self.router = Router(memory_limit=memory_limit)
        self._clients: dict[str, HubClient] = {}
        self._thread: int | None = None

    @property
    def clients(self) -> Mapping[str, HubClient]:
        """The clients by name, read-only."""
        return MappingProxyType(self._clients)

    def add(
        self,
        name: str,
        filter: Filter | None = None,
        policy: Policy | None = None,
        *,
        form: Form = "event",
        message_format: MessageFormat | None = None,
        owner: object = None,
    ) -> HubClient:
        """Add a client that sees events from now on.

        ``form`` is what it takes: Events, their JSON bytes, or WebSocket text frames.
        ``message_format`` is how messages are written then, "array" or "string" (CQ codes), None
        as received; what cannot be converted comes as received. ``owner`` is what
        ``Report.ready`` lists for it; by default the client itself.

        Raises:
            ConfigError: the name is taken, there is no such format, or the policy cannot be
                carried out.
        """
        self._check_idle_thread()
        if name in self._clients:
            raise ConfigError(f"a client named {name!r} exists already", key="name")
        check_message_format(message_format)
        client = HubClient(self, name, filter or Filter(), policy or Policy(), form, message_format, owner)
        self._clients[name] = client
        return client

    def remove(self, name: str) -> HubClient:
        """Remove a client; later events pass it by.

        Raises:
            KeyError: there is no such client.
        """
        self._check_idle_thread()
        client = self._clients.pop(name)
        client.detach()
        return client

    def publish(self, event: Event | bytes | dict[str, Any]) -> Report:
        """Route one event and queue it for every client that wants it.

        Bytes are validated and travel on unchanged; a dict is encoded once.

        Raises:
            BadEvent: not a JSON object, or not an event.
            TypeError: the dict holds what JSON cannot carry.
        """
        return self.route([as_event(event)])

    def publish_many(self, events: Iterable[Event | bytes | dict[str, Any]]) -> Report:
        """Route a batch. Never raises for a bad event: it is counted in ``Report.invalid``."""
        good: list[Event] = []
        invalid = 0
        for event in events:
            try:
                good.append(as_event(event))
            except (BadEvent, TypeError):
                invalid += 1
        return self.route(good, invalid=invalid)

    def route(
        self, events: list[Event], *, account: int = 0, invalid: int = 0, born: list[float] | None = None
    ) -> Report:
        """Route events that are already peeked; ``account`` stands in for a missing ``self_id``.

        ``born`` is when each of them happened, by ``clock``; None is now.
        """
        self.check_thread()
        return fan_out(self.router, events, self.clock(), account, invalid, born)

    def check_thread(self) -> None:
        """Bind the hub to this thread, or raise RuntimeError if it belongs to another."""
        ident = threading.get_ident()
        if self._thread is None:
            self._thread = ident
        elif self._thread != ident:
            raise RuntimeError("this hub belongs to another thread; publish from the thread that used it first")

    def _check_idle_thread(self) -> None:
        # Set-up may happen in another thread than the loop's, but only before the first event.
        if self._thread is not None:
            self.check_thread()


def as_event(event: Event | bytes | dict[str, Any]) -> Event:
    """What publishers give: an event, its JSON text, or a dict, which is encoded once.

    Raises:
        BadEvent: not a JSON object, or not an event.
        TypeError: the dict holds what JSON cannot carry.
    """
    if isinstance(event, Event):
        return event
    if isinstance(event, dict):
        return Event.from_dict(event)
    return peek(event)
