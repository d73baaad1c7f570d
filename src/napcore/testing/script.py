"""An upstream that does what a script says: events, pauses, closed links, and the answers a test needs."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import anyio
from anyio.abc import TaskGroup

from napcore.testing.answers import failed
from napcore.testing.simulator import Simulator
from napcore.testing.websocket import Socket

__all__ = ("Script", "ScriptedUpstream")


class _Link:
    """A link on which a script is played."""

    def __init__(self, upstream: ScriptedUpstream, socket: Socket) -> None:
        self.upstream = upstream
        self.socket = socket
        self.calls: list[dict[str, Any]] = []
        self.seen = 0


_Do: TypeAlias = Callable[[_Link], Awaitable[None]]


class _Step(NamedTuple):
    name: str
    do: _Do
    expects: bool = False
    ends: bool = False


class _Later(NamedTuple):
    delay: float
    result: Any


class Script:
    """What an upstream does on one link, step by step; each method adds a step and gives the script back.

    ::

        Script().send(event).expect("send_group_msg", group_id=5).close(1011)
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    def __len__(self) -> int:
        """How many steps it has."""
        return len(self._steps)

    def __iter__(self) -> Iterator[_Step]:
        return iter(self._steps)

    def send(self, *events: Mapping[str, Any] | bytes) -> Script:
        """Send events, or any bytes as one message each."""

        async def step(link: _Link) -> None:
            for event in events:
                link.upstream.send(link.socket, event)

        return self._add(f"send {len(events)} events", step)

    def sleep(self, seconds: float) -> Script:
        """Do nothing for a while."""
        return self._add(f"sleep {seconds:g} s", lambda link: anyio.sleep(seconds))

    def expect(self, action: str, *, timeout: float = 10.0, **params: Any) -> Script:
        """Wait until the bot has called ``action``, with these parameters and any others.

        Calls before the one the last ``expect`` found do not count. One that does not come within
        ``timeout`` seconds ends the script, and is told by ``ScriptedUpstream.played`` and at the end of its block.
        """

        async def step(link: _Link) -> None:
            def found() -> bool:
                for place in range(link.seen, len(link.calls)):
                    if _fits(link.calls[place], action, params):
                        link.seen = place + 1
                        return True
                return False

            def describe() -> str:
                others = [call.get("action") for call in link.calls[link.seen :]]
                return f"the bot has not called {action} with {params or 'anything'}, but {others or 'nothing'},"

            await link.upstream.wait_in_script(found, timeout, describe)

        return self._add(f"expect {action}", step, expects=True)

    def pause(self) -> Script:
        """Read nothing any more: no call, no ping, as a frozen NapCat."""

        async def step(link: _Link) -> None:
            link.socket.pause()

        return self._add("pause", step)

    def resume(self) -> Script:
        """Read on."""

        async def step(link: _Link) -> None:
            link.socket.resume()

        return self._add("resume", step)

    def close(self, code: int | None = None, reason: str = "") -> Script:
        """Close the link, with a close code (RFC 6455, 7.4) or, like NapCat, without."""

        async def step(link: _Link) -> None:
            link.socket.close(code, reason)
            await link.socket.closed.wait()

        return self._add(f"close {code or 'without a code'}", step, ends=True)

    def cut(self) -> Script:
        """Cut the connection without a close frame, once what was sent has been written."""

        async def step(link: _Link) -> None:
            await link.socket.drained()
            link.socket.abort()
            await anyio.sleep_forever()

        return self._add("cut", step, ends=True)

    def _add(self, name: str, step: _Do, *, expects: bool = False, ends: bool = False) -> Script:
        if self._steps and self._steps[-1].ends:
            raise ValueError("nothing can follow the end of the link; what comes on the next link is another script")
        self._steps.append(_Step(name, step, expects, ends))
        return self


class ScriptedUpstream(Simulator):
    """A stand-in NapCat that does what it is told.

    The first link plays the first of ``scripts``, the second the second, and so on; links that come
    after the last do nothing by themselves. ``/api`` links play none. Calls are answered as :meth:`reply` says, else
    as NapCat would. All of :class:`Simulator` is there too.

    Leaving the block raises an AssertionError if something that a script expects has not come in time,
    or not before the bot closed the link; unless the block fails itself.
    """

    def __init__(
        self,
        *scripts: Script,
        self_id: int = 10001,
        groups: int | Sequence[int] = 5,
        seed: int | None = 0,
        token: str = "",
        heartbeat: float = math.inf,
    ) -> None:
        super().__init__(self_id, groups=groups, seed=seed, token=token, heartbeat=heartbeat)
        self.scripts: Final = list(scripts)
        """What the links do; more may be added until they come."""
        self.on_call = self._reply
        self._begun = 0
        self._over = 0
        self._leaving = False
        self._problems: list[str] = []
        self._replies: dict[str, list[Any]] = {}
        self._playing: dict[Socket, _Link] = {}

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[ScriptedUpstream, None]:
        async with super().__asynccontextmanager__():
            try:
                yield self
            finally:
                self._leaving = True
        self._check()

    def reply(self, action: str, *answers: Any, delay: float = 0.0) -> None:
        """Answer the next calls of ``action`` with these, one each, and every further one with the last.

        An answer is what ``Simulator.on_call`` may return: None for silence, a dict with ``status`` and ``retcode``
        for a whole answer, bytes for a frame as it is, a tuple for several frames, anything else
        for the ``data`` of a success. A function is called with the request. ``delay`` is in seconds.
        """
        if not answers:
            raise ValueError("give at least one answer; None is silence")
        self._replies[action] = [_Later(delay, answer) if delay else answer for answer in answers]

    def fail(self, action: str, retcode: int = 1200, message: str = "") -> None:
        """Answer every further call of ``action`` with a failure."""

        def answer(request: dict[str, Any]) -> dict[str, Any]:
            return failed(retcode, message, request.get("echo", ""))

        self.reply(action, answer)

    async def played(self, scripts: int | None = None, *, timeout: float = 10.0) -> None:
        """Wait until that many scripts have been played to their end, all of them by default.

        Raises:
            AssertionError: one was given up, and why.
            TimeoutError: not within ``timeout`` seconds.
        """
        wanted = len(self.scripts) if scripts is None else scripts
        await self._change.wait_for(
            lambda: self._over >= wanted or bool(self._problems),
            timeout,
            lambda: f"{self._over} of {wanted} scripts have been played",
        )
        self._check()

    # For the steps of scripts.

    def send(self, socket: Socket, event: Mapping[str, Any] | bytes) -> None:
        """Send an event, or bytes, on one link alone."""
        socket.send(self._encode(event))
        self.sent += 1

    async def wait_in_script(self, condition: Callable[[], bool], timeout: float, describe: Callable[[], str]) -> None:
        """Wait until ``condition()`` holds; looked at with every call."""
        await self._change.wait_for(condition, timeout, describe)

    def _start(self, link: Socket, tasks: TaskGroup) -> None:
        super()._start(link, tasks)
        if self._begun < len(self.scripts):
            self._begun += 1
            playing = self._playing[link] = _Link(self, link)
            tasks.start_soon(self._play, self.scripts[self._begun - 1], self._begun, playing)

    async def _play(self, script: Script, number: int, link: _Link) -> None:
        steps = list(script)
        place = 0
        try:
            for step in steps:
                place += 1
                if step.ends:
                    self._over += 1
                    self._change.notify()
                await step.do(link)
            if not (steps and steps[-1].ends):
                self._over += 1
        except TimeoutError as error:
            self._problems.append(f"script {number}, step {place} ({steps[place - 1].name}): {error}")
        except anyio.get_cancelled_exc_class():
            missing = [step.name for step in steps[max(place - 1, 0) :] if step.expects]
            if missing and not self._leaving:
                self._problems.append(f"script {number}: the bot has closed the link before {missing[0]!r}")
            raise
        finally:
            self._playing.pop(link.socket, None)
            self._change.notify()

    def _take_request(self, link: Socket, request: dict[str, Any]) -> None:
        playing = self._playing.get(link)
        if playing is not None:
            playing.calls.append(request)
        super()._take_request(link, request)

    def _reply(self, request: dict[str, Any]) -> Any:
        answers = self._replies.get(str(request.get("action")))
        if answers is None:
            return self.answer(request)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _send_answer(self, link: Socket, request: dict[str, Any], result: Any) -> None:
        if isinstance(result, _Later):
            self._running().start_soon(partial(self._answer_later, link, request, result))
        elif callable(result):
            self._send_answer(link, request, result(request))
        else:
            super()._send_answer(link, request, result)

    async def _answer_later(self, link: Socket, request: dict[str, Any], later: _Later) -> None:
        await anyio.sleep(later.delay)
        self._send_answer(link, request, later.result)

    def _check(self) -> None:
        if self._problems:
            problems, self._problems = self._problems, []
            raise AssertionError("; ".join(problems))


def _fits(call: dict[str, Any], action: str, params: Mapping[str, Any]) -> bool:
    given = call.get("params")
    given = given if isinstance(given, dict) else {}
    return call.get("action") == action and all(
        name in given and given[name] == value for name, value in params.items()
    )
