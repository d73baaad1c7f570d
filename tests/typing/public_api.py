"""The public names as a type checker sees them. Checked by mypy --strict, never run.

A line that must be an error carries a ``type: ignore`` with its code: mypy reports the comment once the
error is gone.
"""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import assert_type

import napcore


def events() -> None:
    event = napcore.peek(b"{}")
    assert_type(event, napcore.Event)
    assert_type(napcore.peek("{}"), napcore.Event)
    assert_type(napcore.peek(bytearray()), napcore.Event)
    assert_type(napcore.peek(memoryview(b"")), napcore.Event)
    assert_type(napcore.peek_frame(b"{}"), napcore.Event | napcore.Response)
    assert_type(napcore.peek_request(b"{}"), napcore.Request)
    assert_type(event.kind, str | None)
    assert_type(event.group_id, int | None)
    assert_type(event.raw, bytes)
    assert_type(event.data, dict[str, Any])
    assert_type(napcore.Event.from_dict({}), napcore.Event)

    napcore.peek({})  # type: ignore[arg-type]
    event.group_id = 1  # type: ignore[misc]


def hub() -> None:
    hub = napcore.Hub(clock=lambda: 0.0)
    client = hub.add("a", napcore.Filter(groups={1}), napcore.Policy(max_events=10))
    assert_type(client, napcore.HubClient)
    assert_type(hub.publish({}), napcore.Report)
    assert_type(hub.publish_many([b"", {}, napcore.peek(b"{}")]).invalid, int)
    assert_type(hub.publish(b"").ready, list[Any])
    hub.add("b", form="json")

    hub.add("c", form="text")  # type: ignore[arg-type]
    hub.add("d", {1})  # type: ignore[arg-type]
    hub.publish("{}")  # type: ignore[arg-type]
    hub.clients["e"] = client  # type: ignore[index]


def values() -> None:
    napcore.Filter(groups=[1], users=(2,), kinds=frozenset({"message.*"}), private=False)
    policy = napcore.Policy(max_events="off", overflow="disconnect", hold=0)
    assert_type(policy.overflow, Literal["drop_oldest", "drop_newest", "disconnect"])
    assert_type(policy.max_events, float | Literal["off"])

    napcore.Filter(groups={"1"})  # type: ignore[arg-type]
    napcore.Policy(overflow="block")  # type: ignore[arg-type]
    napcore.Policy(hold="off")  # type: ignore[arg-type]
    policy.hold = 1.0  # type: ignore[misc]


def texts() -> None:
    index = napcore.TextIndex()
    row = index.add(commands=["help"], command_start={"", "/"}, command_whitespace=True, keywords=("a",))
    assert_type(row, int)
    index.replace(row, prefix=frozenset({"a"}), command_whitespace=" ", ignore_case=True)
    assert_type(index.match("/help"), list[int])
    assert_type(len(index), int)

    index.add(keywords=[b"a"])  # type: ignore[list-item]
    index.match(b"a")  # type: ignore[arg-type]


async def relay() -> None:
    napcore.Relay(send_rate=(5.0, 1.0), share_gets=0.5)
    napcore.Relay(send_rate="slow")  # type: ignore[arg-type]
    async with napcore.Relay(call_timeout=60.0, send_rate="safe", share_gets="off") as relay:
        assert_type(relay, napcore.Relay)
        assert_type((await relay.listen(port=0)).port, int)
        relay.add_upstream("ws://127.0.0.1:3001", token="secret", self_id=10001)
        relay.add_client("nonebot", "ws://127.0.0.1:8080/onebot/v11/ws", filter=napcore.Filter(groups={1}))
        async with relay.subscribe(napcore.Filter(kinds={"message"})) as subscription:
            async for event in subscription:
                assert_type(event, napcore.Event)
                assert_type(await relay.send(event, "hello", quote=True), int)
                await relay.send(event, [{"type": "text", "data": {"text": "hello"}}])
        assert_type(relay.publish({"post_type": "message"}), napcore.Report)
        assert_type(await relay.call("get_group_list", self_id=10001, timeout=5.0), Any)
        await relay.account(10001).send_group_msg(group_id=1, message="hello")
        assert_type(relay.failed, BaseException | None)

        relay.publish_threadsafe(b"{}")

        relay.add_client("late", 8080)  # type: ignore[arg-type]
        await relay.send(event, [{"type": "text"}])  # type: ignore[typeddict-item]


async def thread(config: napcore.Config) -> None:
    with napcore.start_thread(config, backend="trio", timeout=5.0) as relay, napcore.watch_loop(warn=0.5) as watchdog:
        assert_type(relay, napcore.RelayThread)
        assert_type(watchdog.worst, float)
        async with relay.subscribe(napcore.Filter(groups={1})) as subscription:
            async for event in subscription:
                assert_type(event, napcore.Event)
                assert_type(await relay.send(event, "hello"), int)
        assert_type(await relay.call("get_status", timeout=5.0), Any)
        assert_type(relay.call_sync("get_status"), Any)
        assert_type((await relay.statistics()).received, int)
        await relay.account(10001).get_status()
        relay.publish({"post_type": "message"})
        relay.stop()

        relay.publish(5)  # type: ignore[arg-type]


async def handlers(relay: napcore.Relay) -> None:
    @relay.on("message.group", "notice", groups={1}, commands="ping", ordered=False, lifetime="off")
    async def one(event: napcore.Event) -> None: ...

    assert_type(await one(event=napcore.peek(b"")), None)

    @relay.on(filter=napcore.Filter(groups={1}), to_me=True)
    def two(event: napcore.Event, relay: napcore.Relay) -> int:
        assert_type(relay.send_sync(event, "hello"), int)
        return 1

    assert_type(two(napcore.peek(b""), relay), int)
    relay.off(one)
    napcore.release_turn()
    assert_type(relay.statistics().handlers.failed, int)

    relay.on(5)  # type: ignore[arg-type]
    relay.on(grups={1})  # type: ignore[call-arg]
    relay.on(groups={"1"})  # type: ignore[arg-type]

    @relay.on()  # type: ignore[type-var]
    async def three(event: int) -> None: ...

    @relay.on()  # type: ignore[type-var]
    async def four(event: napcore.Event, relay: int) -> None: ...


async def bot() -> None:
    async with napcore.connect("ws://127.0.0.1:3001", token="secret", filter=napcore.Filter(groups={1})) as bot:
        assert_type(bot, napcore.Bot)
        async for event in bot:
            assert_type(event, napcore.Event)
            assert_type(await bot.send(event, "hi", quote=True), int)
        assert_type((await bot.send_group_msg(group_id=1, message="hi"))["message_id"], int)
        assert_type(await bot.get_group_list(), list[dict[str, Any]])
        assert_type(await bot.account(10001).set_group_ban(group_id=1, user_id=2), None)
        assert_type(await bot.set_msg_emoji_like(message_id=1, emoji_id="76"), Any)
        assert_type(bot.self_id, int | None)
        assert_type(bot.relay, napcore.Relay)

        @bot.on("message", commands={"ping"})
        async def ping(event: napcore.Event, who: napcore.Bot) -> None: ...

        @bot.on()  # type: ignore[type-var]
        async def pong(event: napcore.Event, who: napcore.Relay) -> None: ...

        await bot.send_group_msg(group_id="1", message="hi")  # type: ignore[arg-type]
        await bot.send_group_msg(message="hi")  # type: ignore[call-arg]
        await bot.set_group_add_request(flag="", sub_type="other")  # type: ignore[arg-type]
    napcore.run(bot.serve)


async def answer() -> int:
    return 42


def running() -> None:
    assert_type(napcore.run(answer, backend="trio"), int | None)
    napcore.run(answer, backend="curio")  # type: ignore[arg-type]
    napcore.run(answer())  # type: ignore[arg-type]

    config = napcore.load_config("napcore.toml")
    assert_type(config, napcore.Config)
    assert_type(napcore.Relay.from_config(config), napcore.Relay)


def failed(error: napcore.ConnectFailed) -> None:
    assert_type(error.refused, bool)
    assert_type(error.errno, int | None)


def errors(error: napcore.CallError) -> None:
    assert_type(error.sent, Literal["no", "yes", "unknown"])
    if isinstance(error, napcore.ActionFailed):
        assert_type(error.retcode, int | None)
    try:
        napcore.peek(b"")
    except ValueError as bad:
        if isinstance(bad, napcore.BadEvent):
            assert_type(bad.offset, int)
            assert_type(bad.reason, str)
