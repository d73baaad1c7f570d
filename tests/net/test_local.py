from __future__ import annotations

import json
import math
import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from napcore import (
    ActionFailed,
    AmbiguousAccount,
    CallError,
    CallTimeout,
    ConfigError,
    Event,
    Filter,
    NotSent,
    OutcomeUnknown,
    Policy,
    Relay,
)
from napcore.net.local import reply_action
from napcore.testing import Simulator


async def test_a_subscription_yields_events_in_order_from_its_start_on(message: Any) -> None:
    async with Relay() as relay:
        relay.publish(message(0))
        async with relay.subscribe() as subscription:
            for number in range(1, 6):
                relay.publish(message(number))
            assert [(await anext(subscription)).message_id for _ in range(5)] == [1, 2, 3, 4, 5]
            assert subscription.missed == 0
            assert subscription.name.startswith("sub")
        relay.publish(message(6))
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)


async def test_a_subscription_has_a_filter_a_name_and_bounds(message: Any) -> None:
    async with Relay() as relay:
        async with relay.subscribe(Filter(groups={6}), name="six", policy=Policy(max_events=2)) as subscription:
            for number in range(1, 6):
                relay.publish(message(number, group_id=5))
                relay.publish(message(10 * number, group_id=6))
            assert subscription.missed == 3
            assert [(await anext(subscription)).message_id for _ in range(2)] == [40, 50]
            statistics = subscription.statistics()
            assert (statistics.name, statistics.self_id, statistics.dropped) == ("six", None, {"oldest": 3})
            assert relay.statistics().clients == (statistics,)
        assert relay.statistics().clients == ()


async def test_a_subscription_tells_until_when_its_last_event_is_worth_handling(message: Any) -> None:
    async with Relay() as relay, relay.subscribe(policy=Policy(message_ttl=30.0)) as subscription:
        assert subscription.deadline == math.inf
        before = time.monotonic()
        relay.publish(message(1))
        await anext(subscription)
        assert before + 30 <= subscription.deadline <= time.monotonic() + 30


async def test_a_subscription_wakes_when_something_comes(message: Any) -> None:
    seen: list[int | None] = []
    async with Relay() as relay, anyio.create_task_group() as tasks:

        async def read(subscription: Any) -> None:
            async for event in subscription:
                seen.append(event.message_id)
                if event.message_id == 3:
                    return

        async with relay.subscribe() as subscription:
            tasks.start_soon(read, subscription)
            for number in (1, 2, 3):
                await anyio.wait_all_tasks_blocked()
                relay.publish(message(number))
            await anyio.wait_all_tasks_blocked()
    assert seen == [1, 2, 3]


async def test_cancelling_a_reader_loses_nothing(message: Any) -> None:
    seen: list[int | None] = []
    async with Relay() as relay, relay.subscribe() as subscription:
        for number in range(1, 21):
            relay.publish(message(number))
            with anyio.CancelScope() as scope:
                if number % 2:
                    scope.cancel()
                seen.append((await anext(subscription)).message_id)
        assert seen == list(range(1, 11))
        while len(seen) < 20:
            seen.append((await anext(subscription)).message_id)
    assert seen == list(range(1, 21))
    assert subscription.missed == 0


async def test_cancelling_a_waiting_reader_loses_nothing(message: Any) -> None:
    seen: list[int | None] = []
    async with Relay() as relay, relay.subscribe() as subscription:

        async def read() -> None:
            async for event in subscription:
                seen.append(event.message_id)
                await anyio.lowlevel.checkpoint()

        for number in range(1, 6):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                # Two events are there and the reader is cancelled, all before it runs again.
                relay.publish(message(2 * number - 1))
                relay.publish(message(2 * number))
                tasks.cancel_scope.cancel()
        while len(seen) < 10:
            seen.append((await anext(subscription)).message_id)
    assert seen == list(range(1, 11))


async def test_iteration_ends_with_the_relay_behind_what_is_queued(message: Any) -> None:
    seen: list[int | None] = []

    async def read(*, task_status: Any) -> None:
        async with relay.subscribe() as subscription:
            task_status.started()
            seen.extend([event.message_id async for event in subscription])
        seen.append(None)

    async with anyio.create_task_group() as tasks:
        async with Relay() as relay:
            await tasks.start(read)
            relay.publish(message(1))
            relay.publish(message(2))
    assert seen == [1, 2, None]


async def test_a_name_that_is_taken_is_told() -> None:
    async with Relay() as relay, relay.subscribe(name="one"):
        with pytest.raises(ConfigError, match="'one' exists already"):
            async with relay.subscribe(name="one"):
                pass
        assert [client.name for client in relay.statistics().clients] == ["one"]


async def test_call_returns_the_data() -> None:
    async with Simulator(10001, groups=[5]) as sim, Relay() as relay:
        await relay.add_upstream(await sim.listen()).ready()
        assert await relay.call("get_login_info") == {"user_id": 10001, "nickname": "Sakura BOT"}
        data = await relay.call("get_group_info", {"group_id": 5}, self_id=10001)
        assert data["group_id"] == 5
        assert await relay.call("delete_msg", {"message_id": 1}) is None
        assert sim.calls[1]["params"] == {"group_id": 5}
        assert relay.statistics().calls[:4] == (0, 3, 3, 0)


async def test_an_account_has_every_action_as_a_method() -> None:
    async with Simulator(10001) as sim, Simulator(10002) as other, Relay() as relay:
        await relay.add_upstream(await sim.listen()).ready()
        await relay.add_upstream(await other.listen()).ready()
        account = relay.account(10002)
        assert (await account.get_login_info())["user_id"] == 10002
        assert isinstance((await account.send_group_msg(group_id=5, message="hi"))["message_id"], int)
        assert (sim.called, other.called) == (0, 2)
        assert other.calls[1]["params"] == {"group_id": 5, "message": "hi"}
        assert repr(account) == "<Account 10002>"
        assert not hasattr(account, "__await__")


async def test_action_failed_has_the_upstreams_words() -> None:
    async with Simulator(10001, groups=[5]) as sim, Relay() as relay:
        await relay.add_upstream(await sim.listen()).ready()
        with pytest.raises(ActionFailed) as failure:
            await relay.call("no_such_action")
        error = failure.value
        assert (error.action, error.retcode, error.message, error.sent) == (
            "no_such_action",
            1404,
            "不支持的Api no_such_action",
            "yes",
        )
        sim.on_call = lambda request: {
            "status": "failed",
            "retcode": 100,
            "data": {"why": 1},
            "message": "",
            "wording": "不行",
        }
        with pytest.raises(ActionFailed) as failure:
            await relay.call("get_status")
        assert (failure.value.retcode, failure.value.wording, failure.value.data) == (100, "不行", {"why": 1})
        # An upstream's own 1400 is no AmbiguousAccount.
        sim.on_call = None
        with pytest.raises(ActionFailed, match="1400"):
            await relay.call("send_group_msg", {"group_id": 5})


async def test_async_answers_are_success() -> None:
    async with Simulator(10001) as sim, Relay() as relay:
        sim.on_call = lambda request: {"status": "async", "retcode": 1, "data": None}
        await relay.add_upstream(await sim.listen()).ready()
        assert await relay.call("get_status") is None


async def test_no_account_several_accounts_and_none_there(message: Any) -> None:
    async with Relay() as relay:
        with pytest.raises(AmbiguousAccount, match="none yet") as ambiguous:
            await relay.call("get_status")
        assert ambiguous.value.sent == "no"
        with pytest.raises(NotSent, match="no upstream is connected") as not_sent:
            await relay.call("get_status", self_id=10001)
        assert not_sent.value.sent == "no"
        relay.publish(message(0, self_id=10001))
        with pytest.raises(NotSent):
            await relay.call("get_status")
        relay.publish(message(0, self_id=10002))
        with pytest.raises(AmbiguousAccount, match="known: 10001, 10002"):
            await relay.call("get_status")
        with pytest.raises(NotSent):
            await relay.call("get_status", {"self_id": 10001})


async def test_a_timeout_leaves_the_answer_to_come_too_late(until: Any) -> None:
    async with Simulator(10001) as sim, Relay() as relay:
        sim.on_call = lambda request: None
        await relay.add_upstream(await sim.listen()).ready()
        with pytest.raises(CallTimeout, match="get_status: no answer within 0.02 s") as timeout:
            await relay.call("get_status", timeout=0.02)
        assert timeout.value.sent == "unknown"
        assert isinstance(timeout.value, TimeoutError)
        await sim.wait_called()
        sim.on_call = None
        (request,) = sim.calls
        sim.links[0].send(b'{"status":"ok","retcode":0,"data":1,"echo":"%b"}' % request["echo"].encode())
        assert (await relay.call("get_status"))["online"] is True
        calls = relay.statistics().calls
        assert (calls.late, calls.answered, calls.pending) == (1, 1, 0)


async def test_the_relays_own_expiry_is_a_timeout_too(quick_tick: None) -> None:
    async with Simulator(10001) as sim, Relay(call_timeout=0.02) as relay:
        sim.on_call = lambda request: None
        await relay.add_upstream(await sim.listen()).ready()
        with pytest.raises(CallTimeout, match="no answer in time"):
            await relay.call("get_status")
        assert relay.statistics().calls.pending == 0


async def test_an_upstream_that_dies_leaves_the_outcome_unknown() -> None:
    async with Simulator(10001) as sim, Relay() as relay:
        sim.on_call = lambda request: sim.links[0].abort()
        await relay.add_upstream(await sim.listen()).ready()
        with pytest.raises(OutcomeUnknown) as unknown:
            await relay.call("send_group_msg", {"group_id": 5, "message": "hi"})
        assert unknown.value.sent == "unknown"
        assert sim.called == 1


@pytest.mark.usefixtures("quick_close")
async def test_a_closing_relay_answers_who_still_waits() -> None:
    failures: list[CallError] = []

    async def call(relay: Relay) -> None:
        with pytest.raises(CallError) as failure:
            await relay.call("get_status")
        failures.append(failure.value)

    async with Simulator(10001) as sim, anyio.create_task_group() as tasks:
        sim.on_call = lambda request: None
        async with Relay() as relay:
            await relay.add_upstream(await sim.listen()).ready()
            tasks.start_soon(call, relay)
            await sim.wait_called()
    assert [type(failure) for failure in failures] == [OutcomeUnknown]


async def test_cancelling_a_call_passes_and_is_forgotten(until: Any) -> None:
    async with Simulator(10001) as sim, Relay() as relay:
        sim.on_call = lambda request: None
        await relay.add_upstream(await sim.listen()).ready()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(relay.call, "get_status")
                (request,) = await sim.wait_called()
                scope.cancel()
        assert scope.cancelled_caught
        sim.links[0].send(b'{"status":"ok","retcode":0,"data":1,"echo":"%b"}' % request["echo"].encode())
        await until(lambda: relay.statistics().calls.late == 1)
        assert relay.statistics().calls.pending == 0


async def test_many_calls_at_once_each_get_their_own_answer() -> None:
    async with Simulator(10001, heartbeat=math.inf) as sim, Relay() as relay:
        sim.on_call = lambda request: request["params"]["number"]
        await relay.add_upstream(await sim.listen()).ready()
        answers: dict[int, Any] = {}

        async def call(number: int) -> None:
            answers[number] = await relay.call("x", {"number": number})

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(call, number)
        assert answers == {number: number for number in range(200)}


async def test_a_stream_answer_gives_its_last_data(until: Any) -> None:
    async with Simulator(10001) as sim, Relay() as relay:
        sim.on_call = lambda request: None
        await relay.add_upstream(await sim.listen()).ready()
        answers: list[Any] = []

        async def call() -> None:
            answers.append(await relay.call("download_file_stream"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            (request,) = await sim.wait_called()
            part = {"status": "ok", "retcode": 0, "stream": "stream-action", "echo": request["echo"]}
            for number in (1, 2):
                sim.links[0].send(json.dumps(part | {"data": {"type": "stream", "chunk": number}}).encode())
                await until(lambda number=number: relay.statistics().calls.answered == number)
                await anyio.wait_all_tasks_blocked()
                assert answers == []
            sim.links[0].send(json.dumps(part | {"data": {"type": "response", "total": 2}}).encode())
        assert answers == [{"type": "response", "total": 2}]


async def test_what_json_cannot_carry_is_a_type_error() -> None:
    async with Relay() as relay:
        with pytest.raises(TypeError):
            await relay.call("x", {"set": {1}})
        assert relay.statistics().calls.forwarded == 0


async def test_send_answers_where_the_event_came_from(message: Any) -> None:
    async with Simulator(10001) as sim, Relay() as relay:
        await relay.add_upstream(await sim.listen()).ready()
        sim.on_call = lambda request: {"message_id": 77}
        event = Event.from_dict(message(55, group_id=5, user_id=7))
        assert await relay.send(event, "hi", quote=True, at_sender=True) == 77
        (request,) = sim.calls
        assert (request["action"], request["params"]) == (
            "send_group_msg",
            {"group_id": 5, "message": "[CQ:reply,id=55][CQ:at,qq=7] hi"},
        )


TEXT: Any = [{"type": "text", "data": {"text": "hi"}}]
REPLY = {"type": "reply", "data": {"id": "55"}}
AT = {"type": "at", "data": {"qq": "7"}}


@pytest.mark.parametrize(
    ("fields", "text", "options", "action", "params"),
    [
        ({}, "hi", {}, "send_group_msg", {"group_id": 5, "message": "hi"}),
        ({}, "a,b[&", {"quote": True}, "send_group_msg", {"group_id": 5, "message": "[CQ:reply,id=55]a,b[&"}),
        ({}, TEXT, {}, "send_group_msg", {"group_id": 5, "message": TEXT}),
        (
            {},
            TEXT,
            {"quote": True, "at_sender": True},
            "send_group_msg",
            {"group_id": 5, "message": [REPLY, AT, *TEXT]},
        ),
        ({"group_id": None}, "hi", {}, "send_private_msg", {"user_id": 7, "message": "hi"}),
        (
            {"group_id": None},
            TEXT,
            {"quote": True, "at_sender": True},
            "send_private_msg",
            {"user_id": 7, "message": [REPLY, *TEXT]},
        ),
        (
            {"message_type": "private", "sub_type": "group"},
            "hi",
            {"at_sender": True},
            "send_private_msg",
            {"user_id": 7, "message": "hi", "group_id": 5},
        ),
        (
            {"post_type": "notice", "notice_type": "group_increase", "message_type": None},
            "hi",
            {"at_sender": True},
            "send_group_msg",
            {"group_id": 5, "message": "[CQ:at,qq=7] hi"},
        ),
    ],
)
def test_reply_actions(message: Any, fields: Any, text: Any, options: Any, action: str, params: dict[str, Any]) -> None:
    event = Event.from_dict({**message(55, group_id=fields.pop("group_id", 5)), **fields})
    assert reply_action(event, text, **{"quote": False, "at_sender": False, **options}) == (action, params)


def test_what_cannot_be_answered() -> None:
    nowhere = Event.from_dict({"post_type": "meta_event"})
    with pytest.raises(ValueError, match="neither from a group nor from a user"):
        reply_action(nowhere, "hi", quote=False, at_sender=False)
    notice = Event.from_dict({"post_type": "notice", "group_id": 5})
    with pytest.raises(ValueError, match="no message_id"):
        reply_action(notice, "hi", quote=True, at_sender=False)
