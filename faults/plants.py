"""Faults planted in the plain core and in the relay: whoever plants one must see some row fail."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from faults.table import Row
from napcore.dispatch import COMPILED

__all__ = ("PLANTS", "Plant", "apply", "find_all")


class Plant(NamedTuple):
    """A fault, and the rows that must find it."""

    what: str
    rows: tuple[str, ...]
    patch: Callable[[], None]


def _drop_uncounted() -> None:
    """What is evicted at the bound is not counted."""
    from napcore._outbox_py import Outbox

    evict = Outbox._evict

    def evict_uncounted(self: Any) -> None:
        evict(self)
        self._dropped["oldest"] -= 1

    Outbox._evict = evict_uncounted  # type: ignore[method-assign]


def _second_answer() -> None:
    """A call stays in the table when it has been answered, so that a second answer passes too."""
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
    """The next dial does not wait for the end of the last one."""
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


def _resend() -> None:
    """A call whose upstream is lost is sent again on the next link."""
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
    "drop-uncounted": Plant("an eviction is not counted", ("1",), _drop_uncounted),
    "second-answer": Plant("a second answer to a call passes", ("25",), _second_answer),
    "overlapping-dial": Plant("a second dial begins while the first is under way", ("20",), _overlapping_dial),
    "resend": Plant("a call is written again after its upstream was lost", ("24",), _resend),
}
"""By name."""


def apply(name: str) -> None:
    """Plant a fault in this process."""
    if COMPILED:
        raise RuntimeError("faults are planted in the plain core: set NAPCORE_PURE=1")
    PLANTS[name].patch()


def find_all(table: Mapping[str, Row], arguments: argparse.Namespace) -> int:
    """Plant each of them and run the rows that must find it. Returns 1 if one was not found."""
    from faults.report import Report
    from faults.run import Runner

    lost = 0
    arguments.quick = True
    for name, plant in PLANTS.items():
        arguments.plant = name
        report = Report(quiet=True)
        Runner(arguments, report).run([table[row] for row in plant.rows])
        found = [result for result in report.results if result.failures]
        for result in report.results:
            verdict = "found" if result.failures else "NOT FOUND"
            print(f"{name:>20}  row {result.row.name:<4} {result.backend:<7}  {verdict}  {result.verdict}", flush=True)
        lost += not found
    return 1 if lost else 0
