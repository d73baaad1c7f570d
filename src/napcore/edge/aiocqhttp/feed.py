"""Events from a relay to a bot: one subscription, handed over on the bot's own loop."""

from __future__ import annotations

import json
import logging
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from napcore.core.conversation import conversation
from napcore.core.filter import Combination, Filter
from napcore.core.onebot import lifecycle
from napcore.core.policy import Policy
from napcore.dispatch import Event, peek
from napcore.edge.aiocqhttp.calls import HANDLED, AccountLink
from napcore.edge.aiocqhttp.handover import Handover, HandoverStatistics
from napcore.edge.aiocqhttp.spawned import SPAWNED
from napcore.net.accounts import ACCOUNTS
from napcore.net.crossing import ThreadSubscription
from napcore.net.local import Subscription
from napcore.net.relay import Relay
from napcore.net.thread import RelayThread

if TYPE_CHECKING:
    import asyncio

__all__ = ("Feed", "with_meta_events")

LOOK: Final = 1.0
"""Seconds between looks at the accounts and at handlers that take long."""

POST_TYPES: Final = frozenset({"message", "message_sent", "notice", "request", "meta_event"})

_log = logging.getLogger("napcore.aiocqhttp")


def with_meta_events(filter: Filter | None) -> Filter:
    """The filter, and lifecycle and heartbeats of the accounts it lets through: bots wait for those."""
    filter = filter or Filter()
    if isinstance(filter, Combination):
        if filter.operator == "not":
            return filter | Filter(kinds={"meta_event"})
        return Combination(filter.operator, tuple(map(with_meta_events, filter.parts)))
    return replace(filter, kinds=POST_TYPES if filter.kinds is None else {*filter.kinds, "meta_event"})


class Feed:
    """What runs on the bot's loop while it is attached.

    ``table`` is aiocqhttp's own of the accounts that can be called. It is kept up to date here,
    because bots read it: HoshinoBot sends its broadcasts to the accounts in it.
    """

    def __init__(self, bot: Any, relay: Relay | RelayThread, filter: Filter, policy: Policy | None, name: str) -> None:
        self._bot = bot
        self._relay = relay
        self._filter = filter
        self._policy = policy
        self._name = name
        self._table: dict[str, Any] = bot._wsr_api_clients
        self._handover: Handover | None = None
        self._subscription: Subscription | ThreadSubscription | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Event | None = None
        self._introduced: set[int] = set()
        self._served: tuple[int, ...] = ()
        self._passing: dict[int, bool] = {}
        self._doubled: set[str] = set()

    def statistics(self) -> HandoverStatistics:
        """A snapshot."""
        missed = self._subscription.missed if self._subscription is not None else 0
        return (self._handover or Handover()).statistics(missed)

    def served(self) -> tuple[int, ...]:
        """The accounts that the bot can call now: those of its filter."""
        relay = self._relay
        found = relay.accounts if isinstance(relay, RelayThread) else relay.traffic.accounts.served
        return tuple(filter(self._passes, found))

    async def start(self) -> None:
        """Begin; returns once events are routed here. Does nothing while it runs.

        Raises:
            ConfigError: the name is taken.
            RuntimeError: the relay has ended.
        """
        import asyncio

        if self._task is not None and not self._task.done():
            return
        ready = asyncio.get_running_loop().create_future()
        self._stopping = asyncio.Event()
        self._introduced.clear()
        self._task = asyncio.create_task(self._run(ready, self._stopping), name="napcore aiocqhttp")
        await asyncio.wait((ready, self._task), return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            # What went wrong is raised here, not in a task that nobody looks at.
            self._task.result()

    def stop(self) -> None:
        """Take no more events; those that are being handled go on."""
        if self._stopping is not None:
            self._stopping.set()
        if self._handover is not None:
            self._handover.close()
        for key, link in tuple(self._table.items()):
            if isinstance(link, AccountLink):
                del self._table[key]

    async def ended(self) -> None:
        """Wait until it has let go of the relay."""
        import asyncio

        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self, ready: asyncio.Future[None], stopping: asyncio.Event) -> None:
        import asyncio

        async with AsyncExitStack() as exits:
            if isinstance(self._relay, Relay) and not self._relay.inbox.is_open:
                if self._relay.closing:
                    raise RuntimeError("the relay has ended")
                await exits.enter_async_context(self._relay)
            # Handlers find quart.current_app, as they do behind a WebSocket.
            await exits.enter_async_context(self._bot.server_app.app_context())
            self._subscription = events = await exits.enter_async_context(self._subscribe())
            self._handover = handover = Handover()
            self._look(first=True)
            ready.set_result(None)
            tasks = (
                asyncio.create_task(self._follow(events, handover)),
                asyncio.create_task(self._look_on(handover)),
                asyncio.create_task(stopping.wait()),
            )
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            for task in tasks:
                error = None if task.cancelled() else task.exception()
                if error is not None:
                    _log.critical("feeding the bot failed inside napcore", exc_info=error)
            if not stopping.is_set():
                _log.error("the relay has ended: this bot gets no more events")
                self.stop()

    def _subscribe(self) -> AbstractAsyncContextManager[Subscription | ThreadSubscription]:
        return self._relay.subscribe(self._filter, name=self._name, policy=self._policy)

    async def _follow(self, events: Subscription | ThreadSubscription, handover: Handover) -> None:
        """Take events as there is room for them; until the relay ends."""
        while True:
            await handover.room()
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return
            self._take(event, events.deadline, handover)

    def _take(self, event: Event, deadline: float, handover: Handover) -> None:
        payload = event.json()
        self_id = event.self_id
        if self_id is None:
            self_id = self._served[0] if len(self._served) == 1 else None
            if self_id is not None:
                payload.setdefault("self_id", self_id)
        elif str(self_id) not in self._table:
            self._look()
        if self_id is not None:
            if event.kind != "meta_event.lifecycle" or event.sub_type != "connect":
                self._introduce(self_id)
            elif len(self._introduced) < ACCOUNTS:
                self._introduced.add(self_id)
        ordered = event.post_type != "meta_event"
        key = conversation(event) if ordered else None
        handover.offer(key, partial(self._handle, payload, self_id), event.kind or "an event", deadline)

    def _introduce(self, self_id: int) -> None:
        """Tell the bot of an account before its first event: plugins wait for ``lifecycle.connect``."""
        if self_id in self._introduced or len(self._introduced) >= ACCOUNTS:
            # As many as the relay remembers: more are somebody's invention.
            return
        if self._handover is not None:
            self._introduced.add(self_id)
            payload = json.loads(lifecycle(self_id, int(time.time())))
            self._handover.offer(None, partial(self._handle, payload, self_id), "meta_event.lifecycle")

    async def _handle(self, payload: dict[str, Any], self_id: int | None, tasks: list[asyncio.Task[Any]]) -> None:
        import asyncio

        HANDLED.set(self_id)
        SPAWNED.set(tasks)
        await self._bot._handle_event_with_response(payload)
        if spawned := tasks[1:]:
            await asyncio.wait(spawned)

    async def _look_on(self, handover: Handover) -> None:
        import asyncio

        while True:
            await asyncio.sleep(LOOK)
            self._look()
            handover.look()

    def _look(self, *, first: bool = False) -> None:
        """Which accounts can be called now: the bot's table says so, and new ones are introduced."""
        if self._stopping is None or self._stopping.is_set():
            return
        before, self._served = self._served, self.served()
        for self_id in self._served:
            link = self._table.setdefault(str(self_id), AccountLink(self_id))
            if not isinstance(link, AccountLink):
                self._tell_doubled(str(self_id))
            if first or self_id in before:
                # A moment later, lest its own lifecycle event be on its way.
                self._introduce(self_id)
        for key, link in tuple(self._table.items()):
            if isinstance(link, AccountLink) and link.self_id not in self._served:
                del self._table[key]

    def _passes(self, self_id: int) -> bool:
        if self_id not in self._passing:
            self._passing[self_id] = self._filter.matches(peek(lifecycle(self_id, 0)))
        return self._passing[self_id]

    def _tell_doubled(self, account: str) -> None:
        if account not in self._doubled:
            self._doubled.add(account)
            _log.warning(
                "account %s comes through napcore and has dialled this bot itself as well: each event is handled"
                " twice; switch off that entry in NapCat",
                account,
            )
