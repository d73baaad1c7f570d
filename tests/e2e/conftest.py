"""Real frameworks as child processes, behind a relay in this process, on the event loop under test."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio
import pytest
from anyio.abc import TaskGroup

from napcore import Filter, Relay
from napcore.net.relay import RemoteClient
from napcore.net.tasks import own_tasks
from napcore.net.ws_server import Listener
from napcore.testing import Simulator, check_ledger
from napcore.testing.change import Change
from napcore.types import MessageFormat

SELF_ID = 1444683668
PATIENCE = 20.0
"""Seconds for anything that must happen; on a quiet machine each takes a fraction of one, a redial at most five."""

API_TIMEOUT = 10.0
"""Seconds the frameworks wait for an answer; their own defaults are 30 and 60."""

HEARTBEAT = 0.2

T = TypeVar("T")
Program = Literal["nonebot_reverse", "nonebot_forward", "nonebot_adapter", "aiocqhttp_bot"]


class Bot:
    """A framework in a child process, and what it wrote down."""

    def __init__(self, program: Program, name: str, folder: Path, settings: Mapping[str, str], change: Change) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}{'/ws/' if program == 'aiocqhttp_bot' else '/onebot/v11/ws'}"
        self.ready = False
        self.events: list[tuple[str, int | None, int | None, int | None]] = []
        """Kind, group, user and message id of each event in the order they came; meta events are in :attr:`meta`."""
        self.messages: dict[int, list[Any]] = {}
        """The segments of messages by message id, as pairs of type and data."""
        self.meta: list[tuple[str, str | None, bool | None]] = []
        """Kind, sub_type and ``online`` of each meta event."""
        self.answered: dict[int, int] = {}
        """Message ids it answered, with the id that came back for each answer."""
        self.failed: dict[int, dict[str, Any]] = {}
        """Message ids it could not answer, and how that went."""
        self.lines: list[dict[str, Any]] = []
        """Everything else that it wrote down."""
        self.ends = 0
        """How many of its processes have ended."""
        self.on_event: Callable[[int | None], None] | None = None
        """Called with the message id of each event in place of keeping it."""
        self._program = program
        self._settings = dict(settings)
        self._folder = folder
        self._change = change
        self._killed = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def message_ids(self) -> list[int | None]:
        """The ids of the messages that came, in order."""
        return [message_id for *_, message_id in self.events]

    @property
    def lifecycles(self) -> int:
        """How many times it was told of a new link."""
        return sum(kind == "meta_event.lifecycle" for kind, *_ in self.meta)

    def start(self, tasks: TaskGroup) -> None:
        """Start the process."""
        assert self._process is None
        environment = {
            **{key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "LC_ALL")},
            "API_TIMEOUT": str(API_TIMEOUT),
            "BOT_NAME": self.name,
            "HOST": "127.0.0.1",
            "LOG_LEVEL": "WARNING",
            "PORT": str(self.port),
            **self._settings,
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).parent / "bots" / f"{self._program}.py"],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        tasks.start_soon(self._read, self._process)

    def set(self, **settings: str) -> None:
        """Change environment variables, before it is started."""
        self._settings |= settings

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer would; returns once the process is gone."""
        if self._process is not None:
            self._killed += 1
            self.ready = False
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def check(self) -> None:
        """Fail if the process ended by itself."""
        if self.ends > self._killed:
            code = self._process.wait(1) if self._process is not None else None
            pytest.fail(f"{self.name} ended by itself with {code}:\n{self.log()}")

    def log(self) -> str:
        """What its processes printed."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def __repr__(self) -> str:
        return (
            f"<{self.name}: ready={self.ready} lifecycles={self.lifecycles} events={len(self.events)}"
            f" answered={len(self.answered)} failed={len(self.failed)} ends={self.ends}>"
        )

    @property
    def _log(self) -> Path:
        return self._folder / f"{self.name}.log"

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            os.set_blocking(pipe.fileno(), False)
            rest = b""
            while True:
                await anyio.wait_readable(pipe)
                data = os.read(pipe.fileno(), 65536)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
                self._change.notify()
        self.ends += 1
        self._change.notify()

    def _take(self, line: dict[str, Any]) -> None:
        match line.pop("line"):
            case "event" if self.on_event is not None:
                self.on_event(line["message_id"])
            case "event":
                self.events.append((line["kind"], line["group_id"], line["user_id"], line["message_id"]))
                if line["message"]:
                    self.messages[line["message_id"]] = line["message"]
            case "meta":
                self.meta.append((line["kind"], line["sub_type"], line["online"]))
            case "answered":
                self.answered[line["message_id"]] = line["answer"]
            case "failed":
                self.failed[line["message_id"]] = line
            case "ready":
                self.ready = True
            case kind:
                self.lines.append({"line": kind, **line})

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind, without it."""
        return [{k: v for k, v in line.items() if k != "line"} for line in self.lines if line["line"] == kind]


class Stage:
    """A relay, the frameworks around it and the stand-in NapCat; ``async with stage:``.

    On leaving, every session's ledger must close and nothing may have failed inside the relay.
    """

    def __init__(self, folder: Path) -> None:
        self.relay = Relay()
        self.listener: Listener
        self.bots: list[Bot] = []
        self._folder = folder
        self._change = Change()
        self._news = _News(self._change)
        self._exits = AsyncExitStack()
        self._tasks: TaskGroup

    async def __aenter__(self) -> Stage:
        logging.getLogger("napcore").addHandler(self._news)
        self._exits.callback(logging.getLogger("napcore").removeHandler, self._news)
        self._tasks = await self._exits.enter_async_context(anyio.create_task_group())
        self._exits.callback(self._tasks.cancel_scope.cancel)
        self._exits.callback(self._show)
        await self._exits.enter_async_context(self.relay)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The test's own exception is not passed on, or the task groups would wrap it.
        try:
            if kind is None:
                self.check()
        finally:
            await self._exits.aclose()
        if kind is None:
            self.check_relay()
        check_ledger(self.relay, ended=True)

    def check(self) -> None:
        """Assert that the ledgers close and that nothing ended or failed."""
        self.check_relay()
        for bot in self.bots:
            bot.check()
        statistics = self.relay.statistics()
        assert statistics.invalid == 0
        assert statistics.clients
        check_ledger(statistics)

    def check_relay(self) -> None:
        """Assert that nothing failed inside the relay."""
        assert self.relay.failed is None

    async def listen(self, *, token: str | None = None) -> Listener:
        """Open the relay's port."""
        self.listener = await self.relay.listen("127.0.0.1", 0, token=token)
        return self.listener

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter something that is left at the end, ahead of the relay."""
        return await self._exits.enter_async_context(manager)

    async def simulate(self, role: str, **options: Any) -> Simulator:
        """A stand-in NapCat that is linked to the relay until the end; ``options`` as :class:`Simulator`."""
        simulator = await self.enter(Simulator(SELF_ID, **options))
        await self.link(simulator, role)
        return simulator

    async def link(self, simulator: Simulator, role: str, *, token: str | None = None) -> None:
        """Link a stand-in NapCat: "forward" (the relay dials it) or "reverse" (it dials the relay)."""
        if role == "forward":
            url = await simulator.listen()
            await self.relay.add_upstream(url, token=token or simulator.token).ready(PATIENCE)
        else:
            simulator.connect(f"{self.listener.url}/onebot/v11/ws", token=token, reconnect=0.1)
            await simulator.wait_connected(timeout=PATIENCE)
            await self.wait_for(lambda: bool(self.relay.statistics().accounts))

    def start(self, program: Program, name: str = "", **settings: str) -> Bot:
        """Start a framework; ``settings`` are environment variables."""
        bot = Bot(program, name or program, self._folder, settings, self._change)
        self.bots.append(bot)
        bot.start(self._tasks)
        return bot

    async def restart(self, bot: Bot) -> None:
        """Start a framework that was killed anew, on its old port."""
        bot.start(self._tasks)
        await self.wait_for(lambda: bot.ready)

    async def dial(
        self,
        bot: Bot,
        *,
        token: str | None = None,
        message_format: MessageFormat | None = None,
        **rules: Collection[int] | bool,
    ) -> RemoteClient:
        """Make a framework that listens a client of the relay; ``rules`` as :class:`Filter`."""
        await self.wait_for(lambda: bot.ready)
        client = self.relay.add_client(
            bot.name,
            bot.url,
            token=token,
            filter=Filter(**rules),
            message_format=message_format,
            heartbeat=HEARTBEAT,
        )
        if self.relay.statistics().accounts:
            await self.wait_for(lambda: bot.lifecycles == 1)
        return client

    async def wait_for(self, condition: Callable[[], bool], *, timeout: float = PATIENCE) -> None:
        """Wait until ``condition()`` holds; looked at whenever a bot writes a line or the relay logs one."""

        def holds() -> bool:
            self.check_relay()
            for bot in self.bots:
                bot.check()
            return condition()

        await self._change.wait_for(holds, timeout, lambda: f"not so, with {self.bots},")

    def note(self, text: str) -> None:
        """Say something that pytest shows when the test fails, or with ``-rP``."""
        sys.stdout.write(f"---- {text}\n")

    def _show(self) -> None:
        for bot in self.bots:
            bot.kill()
            self.note(f"{bot!r}\n{bot.log()}")


class Bots:
    """Frameworks that stand alone, with nothing between them and the stand-in NapCats; ``async with bots:``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._change = Change()
        self._exits = AsyncExitStack()
        self._started: list[Bot] = []
        self._tasks: TaskGroup

    async def __aenter__(self) -> Bots:
        self._tasks = await self._exits.enter_async_context(own_tasks())
        self._exits.callback(self._end)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def start(self, name: str, *, adapter: str = "napcore", plugin: str = "scenes", **settings: Any) -> Bot:
        """Start NoneBot2 with ``adapter``: stock, napcore or napcore-trio; ``settings`` are its own."""
        which, _, backend = adapter.partition("-")
        bot = Bot("nonebot_adapter", name, self._folder, {}, self._change)
        told: dict[str, Any] = {"adapter": which, "plugin": plugin, "backend": backend or "asyncio"}
        if which == "napcore":
            told |= {"driver": "~none", "napcore_listen": bot.port}
        else:
            told |= {"driver": "~fastapi"}
        bot.set(SETTINGS=json.dumps(told | settings))
        self._started.append(bot)
        bot.start(self._tasks)
        await self.wait_for(lambda: bot.ready)
        return bot

    async def napcat(self, bot: Bot, self_id: int = SELF_ID, **options: Any) -> Simulator:
        """A stand-in NapCat that has dialled the bot."""
        token = options.pop("token", "")
        simulator = await self._exits.enter_async_context(Simulator(self_id, token=token, **options))
        simulator.connect(bot.url, reconnect=0.1)
        await simulator.wait_connected(timeout=PATIENCE)
        return simulator

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter something that is left at the end."""
        return await self._exits.enter_async_context(manager)

    async def wait_for(self, condition: Callable[[], bool], *, timeout: float = PATIENCE) -> None:
        """Wait until ``condition()`` holds; looked at whenever a bot writes a line."""

        def holds() -> bool:
            for bot in self._started:
                bot.check()
            return condition()

        await self._change.wait_for(holds, timeout, lambda: f"not so, with {self._started},")

    def _end(self) -> None:
        for bot in self._started:
            bot.kill()
            sys.stdout.write(f"---- {bot!r}\n{bot.log()}\n")


class _News(logging.Handler):
    """What the relay logs is a sign that something may have changed."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self._notify = change.notify

    def emit(self, record: logging.LogRecord) -> None:
        self._notify()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Stage:
    """A relay and what it takes to put frameworks around it."""
    caplog.set_level(logging.INFO, "napcore")
    return Stage(tmp_path)


@pytest.fixture
def bots(tmp_path: Path) -> Bots:
    """Frameworks that stand alone."""
    return Bots(tmp_path)
