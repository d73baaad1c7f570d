"""Functions that are called for events: which, in which order, and what becomes of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import napcore.net.drain
import napcore.net.handlers
from napcore import ConfigError, Event, Filter, Relay, release_turn
from napcore.core.filter_fields import MESSAGE_FIELDS, FilterFields
from napcore.net.drain import STOP, Stop
from napcore.net.handlers import name_of
from napcore.testing import Simulator, check_ledger


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "napcore.handlers"]


def closes(relay: Relay) -> None:
    check_ledger(relay)
    found = relay.statistics().handlers
    assert found.received == found.handled + found.running + found.queued + sum(found.dropped.values())


class Record:
    """Handlers that write down what they were called with."""

    def __init__(self) -> None:
        self.events: list[int | None] = []

    async def one(self, event: Event) -> None:
        self.events.append(event.message_id)


# What is called for what.


async def test_a_function_is_called_for_the_events_its_filter_lets_through(message: Any, until: Any) -> None:
    everything, groups, texts, poked = Record(), Record(), Record(), Record()
    async with Relay() as relay:
        relay.on()(everything.one)
        relay.on("message.group", groups={5})(groups.one)
        relay.on(commands={"ping"}, users=[7])(texts.one)
        relay.on("notice.notify.poke")(poked.one)
        text = [{"type": "text", "data": {"text": "/ping"}}]
        relay.publish(message(1, group_id=5))
        relay.publish(message(2, group_id=6, message=text))
        relay.publish(message(3, group_id=None, message=text, user_id=8))
        relay.publish({"post_type": "notice", "notice_type": "notify", "sub_type": "poke", "self_id": 1, "user_id": 7})
        await until(lambda: len(everything.events) == 4)
        await anyio.wait_all_tasks_blocked()
        closes(relay)
    assert sorted(everything.events, key=str) == [1, 2, 3, None]
    assert (groups.events, texts.events, poked.events) == ([1], [2], [None])
    found = relay.statistics()
    assert found.handlers.handled == 7
    closes(relay)


async def test_the_decorator_gives_the_function_back_and_takes_methods_and_more(message: Any, until: Any) -> None:
    seen: list[Any] = []

    class Plugin:
        def __init__(self, name: str) -> None:
            self.name = name

        async def method(self, event: Event) -> None:
            seen.append(self.name)

        async def __call__(self, event: Event, relay: Relay) -> None:
            seen.append((self.name, relay))

    async with Relay() as relay:

        @relay.on("message")
        async def plain(event: Event) -> None:
            seen.append("plain")

        @relay.on("message")
        async def with_default(event: Event, count: int = 3) -> None:
            seen.append(count)

        @relay.on("message")
        async def both(event: Event, relay: Relay) -> None:
            seen.append(relay)

        async def many(*arguments: Any) -> None:
            seen.append(len(arguments))

        assert plain.__name__ == "plain"
        relay.on()(Plugin("bound").method)
        relay.on()(Plugin("object"))
        relay.on()(partial(both, relay=relay))
        relay.on()(many)
        relay.publish(message(1))
        await until(lambda: len(seen) == 7)
    for expected in ("plain", 3, relay, "bound", ("object", relay), 1):
        assert expected in seen
    assert seen.count(relay) == 2


@pytest.mark.parametrize(
    "handler",
    [lambda: None, lambda a, b, c: None, lambda event, *, needed: None, "no function"],
    ids=["none", "three", "keyword", "text"],
)
def test_what_takes_something_else_is_told_where_it_is_registered(handler: Any) -> None:
    relay = Relay()
    with pytest.raises(TypeError):
        relay.on()(handler)
    assert len(relay.handlers) == 0


def test_what_is_wrong_with_a_filter_is_told_at_once() -> None:
    relay = Relay()
    with pytest.raises(ConfigError, match="ids are integers"):
        relay.on(groups={"5"})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="grups"):
        relay.on(grups={5})  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="lifetime"):
        relay.on(lifetime=0)


@pytest.mark.parametrize(
    ("name", "value"), [("workers", 0), ("workers", 1.5), ("workers", True), ("slow", 0), ("slow", "no")]
)
def test_what_a_relay_is_told_of_its_workers_is_looked_at(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        Relay(**{name: value})


def test_the_keywords_are_the_fields_of_a_filter() -> None:
    fields = {name: field.type for name, field in Filter.__dataclass_fields__.items() if name != "kinds"}
    assert {name: hint.__forward_arg__ for name, hint in FilterFields.__annotations__.items()} == fields
    assert fields.keys() >= MESSAGE_FIELDS


@pytest.mark.parametrize(
    ("kinds", "fields", "filter", "expected"),
    [
        ((), {}, None, Filter()),
        ((), {"commands": "ping"}, None, Filter(kinds={"message"}, commands={"ping"})),
        (
            (),
            {"to_me": True, "self_messages": True},
            None,
            Filter(kinds={"message", "message_sent"}, to_me=True, self_messages=True),
        ),
        (("notice",), {"commands": {"ping"}}, None, Filter(kinds={"notice"}, commands={"ping"})),
        ((), {"groups": [1]}, None, Filter(groups={1})),
        ((), {"has": "image"}, Filter(groups={1}), Filter(groups={1}) & Filter(has="image")),
    ],
)
def test_which_filter_comes_of_it(kinds: Any, fields: Any, filter: Filter | None, expected: Filter) -> None:
    assert napcore.net.handlers._filter_of(kinds, filter, fields) == expected


def test_names() -> None:
    async def inner(event: Event) -> None: ...

    assert name_of(inner) == f"{__name__}:test_names.<locals>.inner"
    assert name_of(partial(inner)) == name_of(inner)
    assert name_of(Record().one) == f"{__name__}:Record.one"
    assert name_of(Record) == f"{__name__}:Record"
    assert name_of(partial(print)) == "builtins:print"


# When.


async def test_handlers_registered_before_the_start_miss_nothing() -> None:
    seen: list[str | None] = []
    relay = Relay()

    @relay.on("message")
    async def handler(event: Event) -> None:
        seen.append(event.kind)

    async with Simulator(10001, groups=[5]) as sim:
        relay.add_upstream(await sim.listen())
        async with relay:
            await sim.wait_connected()
            await sim.emit(sim.events.group_message(5))
            await sim.emit(sim.events.private_message())
            with anyio.fail_after(10):
                while len(seen) < 2:
                    await anyio.lowlevel.checkpoint()
    assert sorted(map(str, seen)) == ["message.group", "message.private"]


async def test_handlers_are_clients_in_the_statistics(message: Any, until: Any) -> None:
    record = Record()
    async with Relay() as relay:
        relay.on("message")(record.one)
        relay.on("message")(record.one)
        relay.publish(message(1))
        await until(lambda: len(record.events) == 2)
        names = [client.name for client in relay.statistics().clients]
        assert names[0] == f"{__name__}:Record.one"
        assert names[1].startswith(f"{names[0]}-")
        assert [client.confirmed for client in relay.statistics().clients] == [1, 1]
    assert relay.statistics().gone.confirmed == 2


async def test_what_is_taken_off_is_called_no_more(message: Any, until: Any) -> None:
    record, other = Record(), Record()
    go = anyio.Event()

    async def slow(event: Event) -> None:
        await go.wait()
        record.events.append(event.message_id)

    async with Relay() as relay:
        relay.on("message")(slow)
        relay.on("message")(slow)
        relay.on("message")(other.one)
        relay.publish(message(1))
        relay.publish(message(2))
        await anyio.wait_all_tasks_blocked()
        relay.off(slow)
        go.set()
        relay.publish(message(3))
        await until(lambda: len(other.events) == 3)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="slow is no handler here"):
            relay.off(slow)
        relay.off(other.one)
        relay.publish(message(4))
        await anyio.wait_all_tasks_blocked()
    assert record.events == [1, 1]
    assert other.events == [1, 2, 3]


# In which order.


async def test_each_group_has_an_order_and_each_function_one_of_its_own(message: Any, until: Any) -> None:
    gates = {number: anyio.Event() for number in range(10)}
    begun: list[Any] = []
    quick = Record()

    async def slow(event: Event) -> None:
        begun.append(event.message_id)
        await gates[event.message_id or 0].wait()

    async with Relay() as relay:
        relay.on("message")(slow)
        relay.on("message")(quick.one)
        for number, fields in enumerate(
            ({"group_id": 5}, {"group_id": 5}, {"group_id": 6}, {"group_id": None}, {"group_id": None, "user_id": 8}), 1
        ):
            relay.publish(message(number, **fields))
        await anyio.wait_all_tasks_blocked()
        assert sorted(begun) == [1, 3, 4, 5]
        assert sorted(map(int, quick.events)) == [1, 2, 3, 4, 5]  # type: ignore[arg-type]
        assert [number for number in quick.events if number in (1, 2)] == [1, 2]
        gates[1].set()
        await anyio.wait_all_tasks_blocked()
        assert begun[-1] == 2
        for gate in gates.values():
            gate.set()
    assert len(begun) == 5


async def test_accounts_are_apart_and_order_is_no_must(message: Any) -> None:
    go = anyio.Event()
    begun: list[Any] = []

    async def slow(event: Event) -> None:
        begun.append(event.message_id)
        await go.wait()

    async with Relay() as relay:
        relay.on("message", ordered=False, groups={5})(slow)
        relay.publish(message(1))
        relay.publish(message(2))
        await anyio.wait_all_tasks_blocked()
        assert sorted(begun) == [1, 2]
        relay.off(slow)
        relay.on("message")(slow)
        relay.publish(message(3, self_id=1))
        relay.publish(message(4, self_id=2))
        await anyio.wait_all_tasks_blocked()
        assert sorted(begun) == [1, 2, 3, 4]
        go.set()


async def test_a_handler_may_wait_for_the_next_message_of_its_group(message: Any, until: Any) -> None:
    conversation: list[Any] = []

    async with Relay(slow="off") as relay:

        @relay.on("message", fullmatch="quiz")
        async def quiz(event: Event, relay: Relay) -> None:
            async with relay.subscribe(Filter(groups={5}, kinds={"message"})) as replies:
                conversation.append("asked")
                conversation.append((await anext(replies)).message_id)

        waiting: list[anyio.Event] = []

        @relay.on("message")
        async def waits(event: Event) -> None:
            if event.message_id == 1:
                waiting.append(anyio.Event())
                release_turn()
                await waiting[0].wait()
                conversation.append("woken")
            else:
                waiting[0].set()

        relay.publish(message(1, message=[{"type": "text", "data": {"text": "quiz"}}]))
        await until(lambda: "asked" in conversation and waiting)
        relay.publish(message(2))
        await until(lambda: {2, "woken"} <= set(conversation))


async def test_a_slow_handler_is_told_of_by_name_and_line(
    message: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    go = anyio.Event()
    begun: list[Any] = []

    async with Relay(slow=0.02, workers=1) as relay:

        @relay.on("message")
        async def slow(event: Event) -> None:
            begun.append(event.message_id)
            await go.wait()

        relay.publish(message(1))
        relay.publish(message(2))
        await until(lambda: begun == [1, 2])
        go.set()
    text = told(caplog)[0]
    assert text.startswith(f"handler {name_of(slow)} has run for 0.")
    assert f"at {__file__}:" in text
    assert " in slow" in text


async def test_an_event_that_has_waited_too_long_is_not_handled(message: Any, until: Any) -> None:
    record = Record()
    go = anyio.Event()

    async def slow(event: Event) -> None:
        await record.one(event)
        await go.wait()

    async with Relay() as relay:
        relay.on("message", lifetime=0.01)(slow)
        relay.publish(message(1))
        relay.publish(message(2))
        await anyio.sleep(0.02)
        go.set()
        await until(lambda: relay.statistics().handlers.dropped)
        closes(relay)
    assert record.events == [1]
    assert relay.statistics().handlers.dropped == {"ttl": 1}


# Threads.


async def test_functions_that_are_not_async_run_in_threads_and_can_call(message: Any, until: Any) -> None:
    seen: list[Any] = []
    async with Simulator(10001, groups=[5]) as sim, Relay() as relay:
        await relay.add_upstream(await sim.listen()).ready()

        @relay.on("message")
        def handler(event: Event, relay: Relay) -> None:
            seen.append(threading.current_thread() is threading.main_thread())
            seen.append(relay.send_sync(event, "hi"))
            seen.append(relay.call_sync("get_login_info", self_id=10001)["user_id"])

        await sim.emit(sim.events.group_message(5))
        await until(lambda: len(seen) == 3)
        for action in (
            lambda: relay.call_sync("get_status"),
            lambda: relay.send_sync(Event.from_dict(message(1)), "x"),
        ):
            with pytest.raises(RuntimeError, match="would wait for itself"):
                action()
    assert seen[0] is False
    assert isinstance(seen[1], int)
    assert seen[2] == 10001
    assert [call["action"] for call in sim.calls] == ["send_group_msg", "get_login_info"]


async def test_what_a_plain_function_gives_back_to_be_awaited_is_awaited(message: Any, until: Any) -> None:
    record = Record()

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda event: function(event)

    async with Relay() as relay:
        relay.on("message")(wrapped(record.one))
        relay.publish(message(1))
        await until(lambda: record.events)


# Faults and the end.


async def test_a_fault_in_a_handler_is_its_own(message: Any, until: Any, caplog: pytest.LogCaptureFixture) -> None:
    record = Record()
    async with Relay() as relay:

        @relay.on("message")
        async def broken(event: Event) -> None:
            raise KeyError("planted")

        relay.on("message")(record.one)
        relay.publish(message(1))
        relay.publish(message(2))
        await until(lambda: record.events == [1, 2] and relay.statistics().handlers.failed == 2)
        assert relay.failed is None
    assert [text.startswith(f"handler {name_of(broken)} failed at {__file__}:") for text in told(caplog)] == [
        True,
        True,
    ]


async def test_leaving_lets_handlers_send_their_answers(message: Any) -> None:
    answered: list[int] = []
    async with Simulator(10001, groups=[5]) as sim:
        async with Relay() as relay:
            await relay.add_upstream(await sim.listen()).ready()

            @relay.on("message")
            async def handler(event: Event) -> None:
                await anyio.sleep(0.02)
                answered.append(await relay.send(event, "hi"))

            relay.publish(message(1, group_id=5))
            relay.publish(message(2, group_id=5))
        assert len(answered) == 2
        assert sim.called == 2
    closes(relay)
    check_ledger(relay, ended=True)


async def test_leaving_is_bounded(
    message: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(napcore.net.drain, "DRAIN_LIMIT", 0.02)
    ended: list[int] = []
    async with Relay() as relay:

        @relay.on("message")
        async def endless(event: Event) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(1)

        relay.publish(message(1))
        relay.publish(message(2))
        await anyio.wait_all_tasks_blocked()
    assert ended == [1]
    assert relay.statistics().handlers.dropped == {"shutdown": 2}
    assert [record.levelno for record in caplog.records if "has not ended within" in record.getMessage()] == [
        logging.WARNING
    ]
    closes(relay)


async def test_a_cancelled_host_waits_for_no_handler(message: Any) -> None:
    began: list[int] = []
    with anyio.CancelScope() as scope:
        async with Relay() as relay:

            @relay.on("message")
            async def endless(event: Event) -> None:
                began.append(1)
                await anyio.sleep_forever()

            relay.publish(message(1))
            relay.publish(message(2))
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert began == [1]
    assert relay.statistics().handlers.dropped == {"shutdown": 2}
    closes(relay)


async def test_a_handler_may_end_the_relay(message: Any) -> None:
    relay = Relay()

    @relay.on("message")
    async def stop(event: Event) -> None:
        await relay.aclose()

    async with anyio.create_task_group() as tasks:
        await tasks.start(relay.serve)
        relay.publish(message(1))
    assert relay.statistics().handlers.handled == 1


async def test_meta_events_come_to_those_who_ask_for_them(until: Any) -> None:
    beats, others = Record(), Record()
    relay = Relay()
    relay.on("meta_event.heartbeat")(beats.one)
    relay.on()(others.one)
    async with Simulator(10001, heartbeat=0.01) as sim, relay:
        relay.add_upstream(await sim.listen())
        await until(lambda: beats.events)
    assert others.events == []


@pytest.mark.parametrize("hurry", [False, True])
async def test_a_program_that_is_told_to_end_lets_handlers_finish_unless_it_hurries(message: Any, hurry: bool) -> None:
    answered: list[int] = []
    begun, go = anyio.Event(), anyio.Event()
    stop = Stop()
    token = STOP.set(stop)
    try:
        async with Simulator(10001, groups=[5]) as sim, anyio.create_task_group() as tasks:

            async def main() -> None:
                async with Relay() as relay:
                    await relay.add_upstream(await sim.listen()).ready()

                    @relay.on("message")
                    async def handler(event: Event) -> None:
                        begun.set()
                        await go.wait()
                        answered.append(await relay.send(event, "hi"))

                    relay.publish(message(1, group_id=5))
                    await anyio.sleep_forever()

            with anyio.CancelScope() as scope:
                tasks.start_soon(ask, stop, scope, begun, go, hurry)
                await main()
    finally:
        STOP.reset(token)
    assert len(answered) == (0 if hurry else 1)


async def ask(stop: Stop, scope: anyio.CancelScope, begun: anyio.Event, go: anyio.Event, hurry: bool) -> None:
    """As ``napcore.run`` does on a signal, and on a second one."""
    await begun.wait()
    stop.asked = True
    scope.cancel()
    await anyio.wait_all_tasks_blocked()
    if hurry:
        stop.hurry()
        await anyio.wait_all_tasks_blocked()
    go.set()
