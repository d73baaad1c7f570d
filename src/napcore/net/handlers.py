"""Functions that are called for events: ``@relay.on("message.group", commands={"ping"})``.

An event: ``fan_out`` -> the handler's own queue -> :meth:`HandlerSubscription.flush` -> ``WorkerPool.submit`` ->
the handler, when it is the turn of its group.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from napcore.core.backlog import WorkerStatistics
from napcore.core.conversation import conversation
from napcore.core.filter import Filter
from napcore.core.filter_fields import MESSAGE_FIELDS, FilterFields
from napcore.core.hub import HubClient
from napcore.core.policy import Policy
from napcore.dispatch import Event
from napcore.errors import ConfigError
from napcore.net.local import Subscription, add_subscription, remove_subscription
from napcore.net.workers import Turn, WorkerPool
from napcore.types import Off

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from napcore.net.relay import Relay

__all__ = ("Handlers", "Handling", "Registration")

Owner = TypeVar("Owner")
Plain = TypeVar("Plain", bound=Callable[[Event], object])
R = TypeVar("R")

LIFETIMES: Final = Policy()
"""How long events may wait for their turn."""


class Registration(Generic[Owner]):
    """What ``on(...)`` gives: called with a handler, it registers it and returns it unchanged."""

    def __init__(self, register: Callable[[Callable[..., object]], None]) -> None:
        self._register = register

    @overload
    def __call__(self, handler: Plain) -> Plain: ...
    @overload
    def __call__(self, handler: Callable[[Event, Owner], R]) -> Callable[[Event, Owner], R]: ...
    def __call__(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Have it called for events.

        Raises:
            TypeError: it takes neither an event, nor an event and a relay or bot.
            ConfigError: something in the filter is wrong.
        """
        self._register(handler)
        return handler


class Handling(Generic[Owner]):
    """What has handlers: a relay, or a bot."""

    def _registering(self) -> Handlers:
        raise NotImplementedError

    def on(
        self,
        *kinds: str,
        filter: Filter | None = None,
        ordered: bool = True,
        lifetime: float | Off | None = None,
        **fields: Unpack[FilterFields],
    ) -> Registration[Owner]:
        """Have a function called for events: ``@relay.on("message.group", groups={1}, commands={"ping"})``.

        The function takes the event, or the event and the relay (of a bot: the bot), and may be async
        or not. One that is not runs in a thread, where ``call_sync`` and ``send_sync`` stand in for
        ``call`` and ``send``. What it returns is not looked at; what it raises is logged, with its
        line, and disturbs nothing else.

        ``kinds`` and ``fields`` are those of :class:`Filter`, ``filter`` is one that has to pass too.
        Without kinds, conditions on what a message says (``commands``, ``to_me``, ``has``...) let
        messages pass only, while notices and requests pass those of a ``Filter``.

        Events of one group, or one private chat, are handled one after the other, in their order, and
        those of different ones at the same time; each function has an order of its own. One that
        takes longer than the ``slow`` seconds of its relay is told of in the log, and the next event
        of the group begins without waiting for it; ``napcore.release_turn()`` has that at once.
        ``ordered=False`` asks for no order.

        Functions may be registered before the relay starts and at any time after it. An event that has
        waited for its turn for ``lifetime`` seconds is not handled any more; None is a minute for
        messages, ten minutes for notices and a day for requests. 4,096 events may wait, with 32 MiB, those of
        all functions together; then the oldest go.

        Raises:
            ConfigError: something in the filter is wrong.
        """
        if lifetime is not None and lifetime != "off" and not lifetime > 0:
            raise ConfigError(f'must be a number greater than 0, or "off", not {lifetime!r}', key="lifetime")
        seconds = math.inf if lifetime == "off" else lifetime
        found = _filter_of(kinds, filter, fields)
        handlers = self._registering()
        return Registration(partial(handlers.add, owner=self, filter=found, ordered=ordered, lifetime=seconds))

    def off(self, handler: Callable[..., object]) -> None:
        """Have a function called no more; events that wait for it are passed over, what it is at it brings to an end.

        Raises:
            ValueError: it is no handler here.
        """
        self._registering().remove(handler)


class HandlerSubscription(Subscription):
    """The events of one handler. They are handed over at once: what waits, waits in the pool."""

    def __init__(self, client: HubClient, handler: Handler) -> None:
        super().__init__(client)
        self._handler = handler

    def flush(self) -> None:
        """Hand over what has come."""
        if not self._closed:
            for event in self._client.take():
                self._handler.submit(event)


class Handler:
    """One function that is called for events."""

    def __init__(
        self,
        pool: WorkerPool,
        function: Callable[..., object],
        owner: object,
        filter: Filter,
        ordered: bool,
        lifetime: float | None,
    ) -> None:
        self.function = function
        self.name = name_of(function)
        self.filter = filter
        self.subscription: HandlerSubscription | None = None
        self.removed = False
        self._pool = pool
        self._arguments = (owner,) if _takes_owner(function) else ()
        self._in_thread = not _is_async(function)
        self._ordered = ordered
        self._lifetime = lifetime

    def submit(self, event: Event) -> None:
        """Have it called when it is the turn of the event's group."""
        self._pool.submit(
            partial(self._handle, event),
            key=(self, conversation(event)) if self._ordered else None,
            name=self.name,
            ttl=LIFETIMES.lifetime(event) if self._lifetime is None else self._lifetime,
            size=len(event.raw),
            in_thread=self._in_thread,
        )

    def _handle(self, event: Event, turn: Turn) -> object:
        return None if self.removed else self.function(event, *self._arguments)


class Handlers:
    """The functions a relay calls for events, and the workers that call them."""

    def __init__(self, relay: Relay, workers: int, slow: float | Off) -> None:
        if type(workers) is not int or workers < 1:
            raise ConfigError(f"must be a whole number, 1 or more, not {workers!r}", key="workers")
        if slow != "off" and (type(slow) not in (int, float) or not slow > 0):
            raise ConfigError(f'must be a number greater than 0, or "off", not {slow!r}', key="slow")
        self._pool = WorkerPool(workers=workers, slow=slow)
        self._relay = relay
        self._handlers: list[Handler] = []
        self._open = False

    def __len__(self) -> int:
        """How many there are."""
        return len(self._handlers)

    def add(
        self,
        function: Callable[..., object],
        *,
        owner: object,
        filter: Filter,
        ordered: bool,
        lifetime: float | None,
    ) -> None:
        """Call ``function`` for events.

        Raises:
            TypeError: it cannot be called with them.
        """
        handler = Handler(self._pool, function, owner, filter, ordered, lifetime)
        if self._open:
            self._start(handler)
        self._handlers.append(handler)

    def remove(self, function: Callable[..., object]) -> None:
        """Call it no more.

        Raises:
            ValueError: it is not here.
        """
        found = [handler for handler in self._handlers if handler.function == function]
        if not found:
            raise ValueError(f"{name_of(function)} is no handler here")
        for handler in found:
            self._handlers.remove(handler)
            handler.removed = True
            self._stop(handler)

    def open(self) -> None:
        """The relay runs: events come from now on."""
        self._open = True
        self._relay.start("the handlers", self._pool.serve)
        for handler in self._handlers:
            self._start(handler)

    async def drain(self, limit: float) -> None:
        """Take no more events, and let what has come be handled for ``limit`` seconds."""
        self._let_go()
        await self._pool.drain(limit)

    def close(self) -> None:
        """Take no more events, and cancel what is at work."""
        self._let_go()
        self._pool.close()

    def statistics(self) -> WorkerStatistics:
        """What became of the calls of all handlers."""
        return self._pool.statistics()

    def _let_go(self) -> None:
        self._open = False
        for handler in self._handlers:
            self._stop(handler)

    def _start(self, handler: Handler) -> None:
        traffic = self._relay.traffic
        name = handler.name if handler.name not in traffic.hub.clients else self._relay.unique_name(handler.name)
        handler.subscription = add_subscription(
            traffic, handler.filter, name, LIFETIMES, partial(HandlerSubscription, handler=handler)
        )

    def _stop(self, handler: Handler) -> None:
        if handler.subscription is not None:
            remove_subscription(self._relay.traffic, handler.subscription)
            handler.subscription = None


def name_of(function: Callable[..., object]) -> str:
    """Who a handler is, for logs and statistics: ``plugins.weather:today``."""
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def _is_async(function: Callable[..., object]) -> bool:
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _takes_owner(function: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        # Written in C, and it does not say.
        return False
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = [one for one in positional if one.default is one.empty]
    others = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    many = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    if others or len(needed) > 2 or not (positional or many):
        raise TypeError(
            f"a handler takes the event, or the event and the relay or bot; {name_of(function)} takes something else:"
            f" {inspect.signature(function)}"
        )
    return len(needed) == 2


def _filter_of(kinds: Collection[str], filter: Filter | None, fields: FilterFields) -> Filter:
    if not kinds and filter is None and MESSAGE_FIELDS.intersection(fields):
        kinds = ("message", "message_sent") if fields.get("self_messages") else ("message",)
    found = Filter(kinds=kinds or None, **fields)
    return found if filter is None else filter & found
