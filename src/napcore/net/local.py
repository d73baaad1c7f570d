"""In the same process: subscriptions, calls and accounts without a socket."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

from napcore.core.calls import Answer
from napcore.core.conversation import is_in_group
from napcore.core.filter import Filter
from napcore.core.hub import HubClient
from napcore.core.onebot import OWN_META
from napcore.core.policy import Policy
from napcore.core.stats import ClientStatistics, add_up
from napcore.dispatch import Event, peek_frame
from napcore.errors import ActionFailed, AmbiguousAccount, CallTimeout, NotSent, OutcomeUnknown
from napcore.net.actions import Actions
from napcore.net.mailbox import current_wake
from napcore.types import Segment

if TYPE_CHECKING:
    from napcore.net.traffic import Traffic

__all__ = (
    "Account",
    "Caller",
    "PendingCall",
    "Subscription",
    "Unheard",
    "add_subscription",
    "open_subscription",
    "read_answer",
    "remove_subscription",
    "reply_action",
)


class Subscription:
    """Events for a task in this process: ``async for event in subscription``.

    One task iterates. Events wait in a queue with the bounds of its policy; ``missed`` says how
    many were lost there. Iteration ends when the subscription or the relay is closed.
    """

    writer: None = None
    """Nothing is written for it: ``flush_ready`` hands it back."""

    def __init__(self, client: HubClient) -> None:
        self.deadline = math.inf
        """When the event that was iterated last is past its lifetime, on the clock of ``time.monotonic``."""
        self._client = client
        self._news = anyio.Event()
        self._closed = False

    @property
    def name(self) -> str:
        """Its name in statistics."""
        return self._client.name

    @property
    def missed(self) -> int:
        """Events lost so far, for whatever reason."""
        return sum(self._client.outbox.dropped.values())

    def statistics(self) -> ClientStatistics:
        """A snapshot of its ledger."""
        return self._client.statistics()

    def flush(self) -> None:
        """Wake the task that iterates."""
        self._news.set()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._news.set()

    def let_go(self, traffic: Traffic) -> None:
        """Drop what waits, add its ledger to those that are gone, and end the iteration."""
        client = self._client
        traffic.tell_rest(self, client.name, client.outbox.dropped)
        # Counted, but no news to who has just left.
        client.outbox.clear("shutdown")
        traffic.hub.remove(client.name)
        traffic.left = add_up(traffic.left, self.statistics())
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        deadlines: list[float] = []
        batch = await self.batch(1, deadlines)
        if not batch:
            raise StopAsyncIteration
        (self.deadline,) = deadlines
        return batch[0]

    async def batch(self, limit: int, deadlines: list[float] | None = None) -> list[Event]:
        """Up to ``limit`` events at once, oldest first; waits for the first. None at the end of the iteration.

        ``deadlines`` gets, for each of them, when it is past its lifetime.
        """
        # Before anything is taken, so that a cancellation here loses no event.
        await anyio.lowlevel.checkpoint()
        while True:
            taken: list[Event] = self._client.take(limit, deadlines)
            if taken or self._closed:
                return taken
            self._news = anyio.Event()
            await self._news.wait()


S = TypeVar("S", bound=Subscription)


def add_subscription(
    traffic: Traffic, filter: Filter, name: str, policy: Policy | None, make: Callable[[HubClient], S]
) -> S:
    """Route events to a new subscription, from now on.

    Raises:
        ConfigError: the name is taken.
    """
    if not filter.names("meta_event"):
        # Upstream lifecycles and heartbeats are for those who ask for them by name.
        filter &= Filter(exclude_kinds=OWN_META, self_messages=True)
    client = traffic.hub.add(name, filter, policy)
    client.outbox.owner = subscription = make(client)
    traffic.subscriptions.append(subscription)
    return subscription


def remove_subscription(traffic: Traffic, subscription: Subscription) -> None:
    """Route nothing to it any more, and end its iteration."""
    traffic.subscriptions.remove(subscription)
    subscription.let_go(traffic)


@asynccontextmanager
async def open_subscription(
    traffic: Traffic, filter: Filter, name: str, policy: Policy | None
) -> AsyncIterator[Subscription]:
    """Route events to a new subscription as long as the block lasts."""
    subscription = add_subscription(traffic, filter, name, policy, Subscription)
    try:
        yield subscription
    finally:
        remove_subscription(traffic, subscription)


class PendingCall:
    """A call from this process, waiting for its answer."""

    def __init__(self, action: str, client: object) -> None:
        self.client = client
        """Whose calls count together: all of this process do."""
        self.action = action
        self._over = anyio.Event()
        self._answer: Answer | None = None

    def answer(self, answer: Answer) -> None:
        """Take an answer; the frames of a stream answer but the last are passed over."""
        if answer.final:
            self._answer = answer
            self._over.set()

    async def result(self, timeout: float) -> Any:
        """The answer's data.

        Raises:
            CallTimeout: no answer within ``timeout`` seconds.
            ActionFailed, NotSent, OutcomeUnknown, AmbiguousAccount: as the answer says.
        """
        return read_answer(self.action, await self.wait(timeout))

    async def wait(self, timeout: float | None) -> Answer:
        """The answer as it came.

        Raises:
            CallTimeout: none within ``timeout`` seconds.
        """
        with anyio.move_on_after(timeout):
            await self._over.wait()
        if self._answer is None:
            raise CallTimeout(self.action, f"no answer within {timeout:g} s")
        return self._answer


class Unheard:
    """Asks without waiting for the answer: what an ``_async`` call leaves behind, or a probe."""

    def __init__(self, client: object) -> None:
        self.client = client
        """Whose call it counts as."""

    def answer(self, answer: Answer) -> None:
        """Nobody waits for it."""


def read_answer(action: str, answer: Answer) -> Any:
    """The data of an answer.

    Raises:
        ActionFailed, CallTimeout, NotSent, OutcomeUnknown, AmbiguousAccount: as the answer says.
    """
    data = peek_frame(answer.frame).data
    if data.get("status") != "failed":
        return data.get("data")
    message, wording = str(data.get("message") or ""), str(data.get("wording") or "")
    own = _OWN_FAILURES.get(answer.retcode or 0)
    if own is not None:
        raise own(action, message)
    raise ActionFailed(action, data.get("retcode"), message, wording, data.get("data"))


_OWN_FAILURES: Mapping[int, Callable[[str, str], Exception]] = {
    1400: AmbiguousAccount,
    1501: NotSent,
    1502: OutcomeUnknown,
    1503: NotSent,
    1504: CallTimeout,
    1505: NotSent,
}


class Caller:
    """What can call OneBot actions: a relay, or one that runs in another thread."""

    async def call(
        self, action: str, params: Mapping[str, Any] | None = None, *, self_id: int | None = None, timeout: float = 30.0
    ) -> Any:
        """Call a OneBot action and return its answer's data; ``timeout`` in seconds.

        ``self_id`` names the account; it may be left out while there is only one.

        Raises:
            CallError: one of its kinds; ``sent`` says whether the upstream got the call.
        """
        raise NotImplementedError

    async def send(
        self, event: Event, message: str | list[Segment], *, quote: bool = False, at_sender: bool = False
    ) -> int:
        """Answer where ``event`` came from; returns the new message's id.

        Raises:
            ValueError: the event came neither from a group nor from a user.
            CallError: as :meth:`call`.
        """
        action, params = reply_action(event, message, quote=quote, at_sender=at_sender)
        data = await self.call(action, params, self_id=event.self_id)
        return int(data["message_id"])

    def call_sync(
        self, action: str, params: Mapping[str, Any] | None = None, *, self_id: int | None = None, timeout: float = 30.0
    ) -> Any:
        """As :meth:`call`, for a handler that is not async, in its thread; blocks it.

        Raises:
            CallError: as :meth:`call`.
            RuntimeError: it was called in the event loop's own thread, which would wait for itself, or
                in one that was not started for a handler.
        """
        if _runs_a_loop():
            raise RuntimeError("call_sync in the event loop's own thread would wait for itself; await call(...) there")
        return anyio.from_thread.run(partial(self.call, action, params, self_id=self_id, timeout=timeout))

    def send_sync(
        self, event: Event, message: str | list[Segment], *, quote: bool = False, at_sender: bool = False
    ) -> int:
        """As :meth:`send`, where :meth:`call_sync` can be called.

        Raises:
            ValueError, CallError, RuntimeError: as :meth:`send` and :meth:`call_sync`.
        """
        action, params = reply_action(event, message, quote=quote, at_sender=at_sender)
        return int(self.call_sync(action, params, self_id=event.self_id)["message_id"])

    def account(self, self_id: int) -> Account:
        """The account ``self_id``, with every action as a method."""
        return Account(self, self_id)


def _runs_a_loop() -> bool:
    try:
        current_wake()
    except RuntimeError:
        return False
    return True


class Account(Actions):
    """One account; every OneBot action is a method: ``await account.send_group_msg(group_id=1, message="hi")``."""

    def __init__(self, caller: Caller, self_id: int) -> None:
        self.self_id = self_id
        self._caller = caller

    async def call(self, action: str, params: Mapping[str, Any] | None = None, *, timeout: float = 30.0) -> Any:
        """As ``Relay.call``, for this account."""
        return await self._caller.call(action, params, self_id=self.self_id, timeout=timeout)

    async def _act(self, action: str, params: dict[str, Any]) -> Any:
        return await self.call(action, params)

    def __repr__(self) -> str:
        return f"<Account {self.self_id}>"


def reply_action(
    event: Event, message: str | list[Segment], *, quote: bool, at_sender: bool
) -> tuple[str, dict[str, Any]]:
    """The action and params that answer ``event`` where it came from.

    Raises:
        ValueError: the event came neither from a group nor from a user, or quoting was asked for and it
            has no ``message_id``.
    """
    in_group = is_in_group(event)
    head: list[Segment] = []
    if quote:
        if event.message_id is None:
            raise ValueError("only a message can be quoted; this event has no message_id")
        head.append({"type": "reply", "data": {"id": str(event.message_id)}})
    if at_sender and in_group and event.user_id is not None:
        head.append({"type": "at", "data": {"qq": str(event.user_id)}})
    body: str | list[Segment]
    if isinstance(message, str):
        # Both values are digits, so nothing in them needs escaping in a CQ string.
        codes = {"reply": "[CQ:reply,id={id}]", "at": "[CQ:at,qq={qq}] "}
        body = "".join(codes[segment["type"]].format(**segment["data"]) for segment in head) + message
    else:
        body = [*head, *message]
    if in_group:
        return "send_group_msg", {"group_id": event.group_id, "message": body}
    if event.user_id is None:
        raise ValueError("this event came neither from a group nor from a user")
    params: dict[str, Any] = {"user_id": event.user_id, "message": body}
    if event.group_id is not None:
        params["group_id"] = event.group_id
    return "send_private_msg", params
