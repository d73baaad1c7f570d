"""Faults planted in the plain core and in the relay: whoever plants one must see some row fail.

``python -m faults --plants`` plants each of them and ends with 1 if one is not found, or if a row that is
to find it fails without it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from faults.report import Report
from faults.run import Runner
from faults.table import Row
from napcore.dispatch import COMPILED

__all__ = ("PLANTS", "Plant", "apply", "find_all")


class Plant(NamedTuple):
    """A fault, and the rows that must find it."""

    what: str
    rows: tuple[str, ...]
    patch: Callable[[], None]


def _drop_uncounted() -> None:
    from napcore._outbox_py import Outbox

    evict = Outbox._evict

    def evict_uncounted(self: Any) -> None:
        evict(self)
        self._dropped["oldest"] -= 1

    Outbox._evict = evict_uncounted  # type: ignore[method-assign]


def _reuse_after_torn_frame() -> None:
    from napcore._outbox_py import Outbox

    sent = Outbox.sent

    def sent_whole(self: Any, size: int) -> int:
        last = sent(self, size)
        # What is out in part is put back and written again, behind half of itself.
        self._torn, self._torn_event = 0, False
        self._unstage()
        return last

    Outbox.sent = sent_whole  # type: ignore[method-assign]


def _no_lifecycle() -> None:
    from napcore.net.client import Session

    Session.greet = lambda self: None  # type: ignore[method-assign]


def _silent_gap() -> None:
    from napcore._outbox_py import Outbox

    lose_link = Outbox.lose_link

    def lose_silently(self: Any, *args: Any) -> int:
        before = self._dropped["uncertain"]
        lost = lose_link(self, *args)
        # The ledger closes; the events are gone all the same.
        self._received -= self._dropped["uncertain"] - before
        self._dropped["uncertain"] = before
        return lost

    Outbox.lose_link = lose_silently  # type: ignore[method-assign, assignment]


def _resend() -> None:
    from napcore._outbox_py import Outbox

    make = Outbox.__init__

    def make_resending(self: Any, *args: Any, **options: Any) -> None:
        make(self, *args, **{**options, "delivery": "at_least_once"})

    Outbox.__init__ = make_resending  # type: ignore[method-assign]


def _second_answer() -> None:
    from napcore.core.calls import Calls

    answer = Calls.answer

    def answer_again(self: Any, response: Any, upstream: Any, now: float) -> Any:
        call = self._calls.get(response.echo)
        found = answer(self, response, upstream, now)
        if call is not None and found is not None and found.final:
            self._calls[call.key] = call
            call.origin = found.origin
            self._origins.setdefault(call.origin, set()).add(call.key)
            self._clients[call.origin.client] = self._clients.get(call.origin.client, 0) + 1
        return found

    Calls.answer = answer_again  # type: ignore[method-assign]


def _overlapping_dial() -> None:
    import anyio

    import napcore.net.ws_client as ws_client
    from napcore.net.websocket import DialFailed

    dial = vars(ws_client)["dial"]

    async def dial_twice(*arguments: Any, **options: Any) -> Any:
        async with anyio.create_task_group() as tasks:

            async def another() -> None:
                await anyio.sleep(0.2)
                with suppress(DialFailed):
                    second = await dial(*arguments, **options)
                    await anyio.aclose_forcefully(second.stream)

            tasks.start_soon(another)
            found = failure = None
            try:
                found = await dial(*arguments, **options)
            except DialFailed as error:
                # Raised outside, or the task group would wrap it.
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return found

    vars(ws_client)["dial"] = dial_twice


def _resend_call() -> None:
    from napcore.net.api import Api

    take = Api.take_request
    lose = Api.lose
    asked: list[tuple[bytes, Any, Any]] = []

    def remember(self: Any, message: bytes, asker: Any, self_id: Any) -> None:
        asked.append((message, asker, self_id))
        take(self, message, asker, self_id)

    def send_again(self: Any, link: Any) -> None:
        written = [call for call in self.calls._calls.values() if call.upstream is link and call.written]
        lose(self, link)
        if written and asked:
            self._relay.start("a planted fault", _later, self, *asked[-1])

    async def _later(api: Any, message: bytes, asker: Any, self_id: Any) -> None:
        import anyio

        while api._accounts.link(api._accounts.first) is None:
            await anyio.sleep(0.01)
        take(api, message, asker, self_id)

    Api.take_request = remember  # type: ignore[method-assign]
    Api.lose = send_again  # type: ignore[method-assign]


PLANTS: Final[Mapping[str, Plant]] = {
    "drop-uncounted": Plant("what is evicted at the bound is not counted", ("3",), _drop_uncounted),
    "torn-frame": Plant("a connection is used on after half a frame", ("1",), _reuse_after_torn_frame),
    "no-lifecycle": Plant("a link begins without the lifecycle event", ("8",), _no_lifecycle),
    "silent-gap": Plant("what was on the wire at a cut is neither delivered nor counted", ("8",), _silent_gap),
    "resend": Plant("what was written before a cut is written again", ("8",), _resend),
    "second-answer": Plant("a second answer to a call passes", ("25",), _second_answer),
    "overlapping-dial": Plant("a second dial begins while the first is under way", ("20",), _overlapping_dial),
    "resend-call": Plant("a call is written again after its upstream was lost", ("24",), _resend_call),
}
"""By name."""


def apply(name: str) -> None:
    """Plant a fault in this process.

    Raises:
        RuntimeError: it runs the compiled core, where nothing can be planted.
    """
    if COMPILED:
        raise RuntimeError("faults are planted in the plain core: set NAPCORE_PURE=1")
    PLANTS[name].patch()


def find_all(table: Mapping[str, Row], arguments: argparse.Namespace) -> int:
    """Plant each of them and run the rows that must find it. Returns 1 if one was not found."""
    arguments.quick = True
    names = dict.fromkeys(name for plant in PLANTS.values() for name in plant.rows)
    failed = False
    for planted, rows in (("", tuple(names)), *((name, plant.rows) for name, plant in PLANTS.items())):
        arguments.plant = planted or None
        report = Report(quiet=True)
        Runner(arguments, report, {"NAPCORE_PURE": "1"}).run([table[name] for name in rows])
        for result in report.results:
            right = bool(result.failures) if planted else result.verdict == "ok"
            word = ("found" if right else "NOT FOUND") if planted else ("sound" if right else "NOT SOUND")
            print(
                f"{planted or 'nothing planted':>16}  row {result.row.name:<4} {result.backend:<7}  {word:<9}"
                f"  {result.verdict}",
                flush=True,
            )
            failed = failed or not right
    return 1 if failed else 0
