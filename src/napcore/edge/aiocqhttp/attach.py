"""Attaching a relay to a bot, and taking it off again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from napcore.core.filter import Filter
from napcore.core.policy import Policy
from napcore.edge.aiocqhttp.calls import Calls
from napcore.edge.aiocqhttp.feed import Feed, with_meta_events
from napcore.edge.aiocqhttp.handover import HandoverStatistics
from napcore.edge.aiocqhttp.logs import pass_warnings_on
from napcore.edge.aiocqhttp.spawned import note_down
from napcore.net.relay import Relay
from napcore.net.thread import RelayThread

if TYPE_CHECKING:
    import asyncio

__all__ = ("Attached", "attach")

_log = logging.getLogger("napcore.aiocqhttp")


class Attached:
    """A bot with a relay in place of its WebSockets. Made by :func:`attach`.

    It begins when the bot's server has started, and ends with it. For a bot that runs no server, ``async
    with attach(bot, relay):`` is from the block's start to its end, and then detaches.
    """

    def __init__(self, bot: Any, feed: Feed, calls: Calls) -> None:
        self._bot = bot
        self._feed = feed
        self._loop_before = bot._loop
        self._keep: list[asyncio.Task[None]] = []
        self._serving = _Serving(feed)
        stock = bot._api._wsr_api
        bot._api._wsr_api = calls
        bot.server_app.while_serving_gens.append(self._serving)
        self._undo: list[Callable[[], object]] = [
            pass_warnings_on(bot),
            note_down(bot),
            lambda: setattr(bot._api, "_wsr_api", stock),
            lambda: bot.server_app.while_serving_gens.remove(self._serving),
        ]

    def statistics(self) -> HandoverStatistics:
        """What became of the events so far, since the bot's last start."""
        return self._feed.statistics()

    def detach(self) -> None:
        """Take no more events and put back everything that was replaced; handlers under way go on.

        Belongs to the bot's loop, or to any thread while that does not run. Does nothing the second time.
        """
        self._feed.stop()
        while self._undo:
            self._undo.pop()()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """For :func:`attach` alone: the bot's server has started already, on ``loop``."""
        self._serving.begun = True
        loop.call_soon_threadsafe(lambda: self._keep.append(loop.create_task(self._begin())))

    async def _begin(self) -> None:
        try:
            if self._undo:
                await self._feed.start()
        except Exception:
            _log.exception("the bot could not be attached")

    async def __aenter__(self) -> Attached:
        import asyncio

        if self._bot._loop is None:
            # What bot.sync needs, and the bot's server would have set.
            self._bot._loop = asyncio.get_running_loop()
        try:
            await self._feed.start()
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()
        await self._feed.ended()

    def _leave(self) -> None:
        self.detach()
        self._bot._loop = self._loop_before


class _Serving:
    """What Quart runs after all of its start-up functions, and once more at its end."""

    def __init__(self, feed: Feed) -> None:
        self.begun = False
        self._feed = feed

    async def __anext__(self) -> None:
        self.begun = not self.begun
        if self.begun:
            await self._feed.start()
            return
        self._feed.stop()
        await self._feed.ended()
        raise StopAsyncIteration


def attach(
    bot: Any,
    relay: Relay | RelayThread,
    *,
    filter: Filter | None = None,
    policy: Policy | None = None,
    name: str = "aiocqhttp",
) -> Attached:
    """Feed ``bot`` from ``relay`` in process: events, API calls and what bots ask of their links.

    ``bot`` is a ``CQHttp`` of aiocqhttp 1.4 or the ``NoneBot`` of nonebot 1.9, HoshinoBot's. Its handlers, its
    start and its HTTP server stay as they are; its WebSocket addresses too, for accounts that go on dialling it.

    ``relay`` in a thread of its own (``napcore.start_thread``) goes on while a plugin blocks the bot's loop. A
    ``Relay`` runs on that loop; one that has not been entered is run as long as the bot is.

    ``filter`` is which events the bot gets, lifecycle and heartbeats always; ``policy`` bounds what waits
    for it while it is busy; ``name`` is its name in statistics.

    Raises:
        ImportError: aiocqhttp is not installed.
        TypeError: ``bot`` or ``relay`` is none.
        RuntimeError: the bot is attached already, or its aiocqhttp is not known to this napcore.
    """
    try:
        import aiocqhttp
    except ImportError as error:
        raise ImportError("aiocqhttp is not installed: pip install 'napcore[aiocqhttp]'") from error
    if not isinstance(bot, aiocqhttp.CQHttp):
        raise TypeError(f"a bot of aiocqhttp or nonebot 1 is wanted, not {type(bot).__name__}")
    if not isinstance(relay, Relay | RelayThread):
        raise TypeError(f"a Relay, or what start_thread returns, is wanted, not {type(relay).__name__}")
    stock = vars(bot._api).get("_wsr_api")
    if isinstance(stock, Calls):
        raise RuntimeError("this bot is attached already; detach it first")
    if not {"_timeout_sec", "_api_clients"} <= vars(stock or object).keys():
        raise RuntimeError("this version of aiocqhttp is not known to this napcore, which knows 1.4")
    feed = Feed(bot, relay, with_meta_events(filter), policy, name)
    calls = Calls(relay, feed.served, bot._wsr_api_clients, stock, stock._timeout_sec)
    attached = Attached(bot, feed, calls)
    loop = bot._loop
    if loop is not None and loop.is_running():
        attached.begin(loop)
    return attached
