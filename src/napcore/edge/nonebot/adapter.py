"""NoneBot2's OneBot 11 adapter on napcore's links: registered in place of the stock one, the same to every plugin.

This module is made of NoneBot2's classes and imports it; ``napcore.nonebot`` imports this one when it is asked for.

An event: the relay's thread -> its queue -> ``HandOver.run`` (room, a place in its group) -> :meth:`Adapter._handle`
(bot, event class) -> the stock ``Bot.handle_event``. A call: :meth:`Adapter._call_api` -> ``RelayThread.ask`` -> the
stock ``handle_api_result``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Any, cast

from nonebot.adapters.onebot.v11 import Adapter as StockAdapter
from nonebot.adapters.onebot.v11 import ApiNotAvailable, Bot, NetworkError
from nonebot.adapters.onebot.v11.utils import handle_api_result, log
from nonebot.drivers import (
    URL,
    ASGIMixin,
    HTTPServerSetup,
    Request,
    Response,
    WebSocket,
    WebSocketServerSetup,
)
from nonebot.utils import DataclassEncoder, escape_tag, run_sync

from napcore.dispatch import Event, peek_frame
from napcore.errors import BadEvent, CallTimeout, NotSent
from napcore.net.handover import HandOver
from napcore.net.precedence import Place
from napcore.net.thread import start_thread

from .install import install
from .logs import Route
from .starts import Starts
from .transport import read_transport
from .unwanted import Unwanted

if TYPE_CHECKING:
    from nonebot.adapters import Bot as BaseBot

    from napcore.core.stats import RelayStatistics
    from napcore.net.account_news import AccountNews
    from napcore.net.thread import RelayThread

CLOSE_TIMEOUT = 10.0
"""Seconds that handlers have to end when NoneBot does, as with the stock adapter."""

NOT_SENT = 1501
"""napcore's own retcode for a call without a link to go by."""

NAME = "nonebot"
"""The subscription's name in statistics and logs."""


class Adapter(StockAdapter):
    """The OneBot V11 adapter with napcore's links: ``driver.register_adapter(napcore.nonebot.Adapter)``.

    It has the stock adapter's name, bots, events, messages, permissions and errors. Links live in a thread and an event
    loop of napcore's own: a handler that blocks NoneBot's loop delays answers, and costs no link. NapCat is dialled at
    ``ONEBOT_WS_URLS``, or dials ``NAPCORE_LISTEN`` at ``/onebot/v11/ws``. Events wait in a queue with the bounds
    of a ``Policy`` (``NAPCORE_MAX_EVENTS``, ``NAPCORE_MESSAGE_TTL``, ...) for which ``NAPCORE_GROUPS`` and the
    other fields of a ``Filter`` choose them. It runs on asyncio and, with ``DRIVER=~none``, on trio.

    Registering it also puts the index in front of the matchers (:func:`napcore.nonebot.install`).

    Raises:
        ConfigError: a setting is wrong; all of them are listed.
    """

    relay: RelayThread
    """The relay behind it, once NoneBot has started: ``call``, ``subscribe``, ``statistics`` and ``urls``."""

    def _setup(self) -> None:
        self._transport, strange = read_transport(self.driver.config, self.onebot_config)
        for text in strange:
            log("WARNING", escape_tag(text))
        self.index = install()
        """What :func:`napcore.nonebot.install` returned."""
        self._started = False
        self._task: object = None
        """What serves, kept from being collected."""
        self._departed: dict[str, Bot] = {}
        self._news: AccountNews
        self._hand_over: HandOver | None = None
        self._starts = Starts()
        self._unwanted = Unwanted(self.index) if self._transport.skip_unwanted else None
        self._logs = Route()
        if isinstance(self.driver, ASGIMixin):
            self._setup_doors()
        self.on_ready(self._start)
        self.on_ready(self._begin)
        self.driver.on_shutdown(self._end)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it listens, such as ``ws://127.0.0.1:6710``; empty before NoneBot has started."""
        return self.relay.urls if self._started else ()

    @property
    def withheld(self) -> int:
        """Events withheld because no matcher can want them (``NAPCORE_SKIP_UNWANTED``)."""
        return self._unwanted.count if self._unwanted is not None else 0

    @property
    def missed(self) -> int:
        """Events that were lost on the way to NoneBot: too many waited, or for too long."""
        return self._hand_over.missed if self._hand_over is not None else 0

    async def statistics(self) -> RelayStatistics:
        """Everything the relay counts; NoneBot's own part of it is the client ``nonebot``."""
        return await self.relay.statistics()

    # From NoneBot's start to its end.

    def _start(self) -> None:
        """In a worker thread of NoneBot's: start the relay's own."""
        self._logs.open(self.config.log_level)
        self.relay = start_thread(self._transport.config, watchdog=self._transport.watchdog, opens=False)
        self._started = True

    async def _begin(self) -> None:
        """Take events in, and then have the links opened."""
        transport = self._transport
        self._starts.open()
        self._news = self.relay.follow_accounts()
        self._hand_over = HandOver(
            partial(self.relay.subscribe, transport.filter, name=self._name(), policy=transport.policy),
            transport.max_matching,
            transport.patience,
            self._handle,
        )
        self._spawn(self._serve)
        await self._hand_over.opened()
        try:
            await self.relay.open()
        except BaseException:
            await self._end()
            raise
        for url in self.relay.urls:
            log("INFO", f"napcore listens on <y>{escape_tag(url)}/onebot/v11/ws</y>")

    async def _serve(self) -> None:
        hand_over = cast(HandOver, self._hand_over)
        await hand_over.run(self._follow_accounts)
        if not hand_over.stopping:
            log("ERROR", "napcore's relay has ended, and with it every link; restart the bot", self.relay.failed)
            self._disconnect_all()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # trio
            self.driver.task_group.start_soon(work)
            return
        # As the stock adapter's: NoneBot's own group would wait at its end for handlers that are shielded.
        self._task = asyncio.create_task(work())

    def _name(self) -> str:
        taken = {client.name for client in self._transport.config.client}
        return next(name for name in chain((NAME,), (f"{NAME}-{number}" for number in count(2))) if name not in taken)

    async def _end(self) -> None:
        if self._hand_over is not None:
            await self._hand_over.stop(CLOSE_TIMEOUT)
            self._hand_over = None
        self._disconnect_all()
        self._starts.close()
        try:
            await run_sync(self.relay.stop)()
        except TimeoutError as error:
            log("WARNING", escape_tag(str(error)))
        self._logs.close()

    # Accounts.

    async def _follow_accounts(self) -> None:
        while True:
            await self._news.wait()
            self._take_news()

    def _take_news(self) -> None:
        wanted = self._transport.self_ids
        for self_id, linked in self._news.take():
            if wanted is not None and self_id not in wanted:
                continue
            if linked:
                self._connect(str(self_id))
            else:
                self._disconnect(str(self_id))

    def _connect(self, self_id: str) -> Bot | None:
        bot = Bot(self, self_id)
        try:
            self.bot_connect(bot)
        except RuntimeError as error:
            # Another adapter has an account of this number.
            log("ERROR", escape_tag(f"Bot {self_id} cannot be connected: {error}"))
            return None
        self._departed.pop(self_id, None)
        log("INFO", f"<y>Bot {escape_tag(self_id)}</y> connected")
        return bot

    def _disconnect(self, self_id: str) -> None:
        bot = self.bots.get(self_id)
        if bot is not None:
            self._departed[self_id] = cast(Bot, bot)
            self.bot_disconnect(bot)
            log("WARNING", f"<y>Bot {escape_tag(self_id)}</y> disconnected")

    def _disconnect_all(self) -> None:
        for self_id in list(self.bots):
            self._disconnect(self_id)

    def _bot_of(self, event: Event) -> Bot | None:
        """The bot of an event's account; the one it had last, where its link is gone since."""
        self._take_news()
        if event.self_id is None:
            only = list(self.bots.values())
            return cast(Bot, only[0]) if len(only) == 1 else None
        self_id = str(event.self_id)
        bot = self.bots.get(self_id) or self._departed.get(self_id)
        # None of them: it came by HTTP, or was published in this process.
        return cast("Bot | None", bot) or self._connect(self_id)

    # Events and calls.

    async def _handle(self, event: Event, place: Place) -> None:
        """One event; what goes wrong with it is logged and ends nothing else."""
        try:
            bot = self._bot_of(event)
            if bot is None or (self._unwanted is not None and self._unwanted.withholds(event, bot)):
                return
            found = self.json_to_event(event.json())
            if found is not None:
                with self._starts.at(place):
                    await bot.handle_event(found)
        except Exception as error:
            log("ERROR", "<r><bg #f8bbd0>Error while handling an event.</bg #f8bbd0></r>", error)

    async def _call_api(self, bot: BaseBot, api: str, **data: Any) -> Any:
        timeout: float | None = data.get("_timeout", self.config.api_timeout)
        log("DEBUG", f"Calling API <y>{api}</y>")
        self_id = bot.self_id
        if self_id not in self.bots and self_id in self.onebot_config.onebot_api_roots:
            return await super()._call_api(cast(Bot, bot), api, **data)
        echo = str(self._result_store.get_seq())
        request = json.dumps({"action": api, "params": data, "echo": echo}, cls=DataclassEncoder)
        try:
            answer = await self.relay.ask(request.encode(), self_id=int(self_id), timeout=timeout)
        except CallTimeout:
            raise NetworkError(f"WebSocket call api {api} timeout") from None
        except NotSent:
            raise ApiNotAvailable from None
        result = peek_frame(answer.frame).data
        if answer.retcode == NOT_SENT:
            raise ApiNotAvailable
        if answer.retcode is not None:
            raise NetworkError(f"WebSocket call api {api} failed: {result['message']}")
        return handle_api_result(result)

    # NoneBot's own port, where its driver has one.

    def _setup_doors(self) -> None:
        for path in ("/onebot/v11/", "/onebot/v11/http", "/onebot/v11/http/"):
            name = f"{self.get_name()} HTTP {path}"
            self.setup_http_server(HTTPServerSetup(URL(path), "POST", name, self._handle_http))
        for path in ("/onebot/v11/", "/onebot/v11/ws", "/onebot/v11/ws/"):
            name = f"{self.get_name()} WS {path}"
            self.setup_websocket_server(WebSocketServerSetup(URL(path), name, self._handle_ws))

    async def _handle_http(self, request: Request) -> Response:
        """An event by HTTP POST joins the others in the queue."""
        if not request.headers.get("x-self-id"):
            log("WARNING", "Missing X-Self-ID Header")
            return Response(400, content="Missing X-Self-ID Header")
        refusal = self._check_signature(request)
        if refusal is not None:
            return refusal
        content = request.content
        if not content:
            return Response(400, content="Invalid request body")
        try:
            self.relay.publish(content.encode() if isinstance(content, str) else content)
        except BadEvent:
            return Response(400, content="Invalid request body")
        return Response(204)

    async def _handle_ws(self, websocket: WebSocket) -> None:
        """Somebody dials the port where the stock adapter would be: say where the links are now."""
        where = " ".join(f"{url}/onebot/v11/ws" for url in self.urls) or "nowhere: NAPCORE_LISTEN is off"
        log("WARNING", f"NapCat dials NoneBot's own port; napcore listens on <y>{escape_tag(where)}</y>")
        await websocket.close(1008, "napcore listens on another port")
