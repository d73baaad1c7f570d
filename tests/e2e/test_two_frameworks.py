"""NoneBot2 and aiocqhttp at once behind one relay: who gets which event, and who gets which answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from napcore import Filter
from napcore.testing import RecordingClient
from napcore.testing.answers import encode

A, B, C, D = GROUPS = 342561735, 1062848088, 700000003, 123456789

roles = pytest.mark.parametrize("role", ["forward", "reverse"])


def key(event: dict[str, Any]) -> tuple[str, int | None, int | None, int | None]:
    """What a bot writes down of an event."""
    post_type = event["post_type"]
    kind = f"{post_type}.{event[f'{post_type}_type']}"
    return kind, event.get("group_id"), event.get("user_id"), event.get("message_id")


@roles
async def test_each_gets_what_its_filter_allows_in_order_and_nothing_else(stage: Any, role: str) -> None:
    async with stage:
        await stage.listen()
        nonebot, hoshino = stage.start("nonebot_reverse"), stage.start("aiocqhttp_bot")
        sim = await stage.simulate(role, groups=GROUPS, seed=1)
        await stage.dial(nonebot, groups={A, B})
        await stage.dial(hoshino, groups={B, C}, private=False)
        for_nonebot, for_hoshino = [], []
        for number in range(600):
            group = GROUPS[number * 7 % 4]
            if number % 10 == 9:
                event = sim.events.private_message(message=f"私聊 {number}")
                for_nonebot.append(key(event))
            else:
                event = sim.events.group_message(group, message=f"第 {number} 条")
                if group in (A, B):
                    for_nonebot.append(key(event))
                if group in (B, C):
                    for_hoshino.append(key(event))
            await sim.emit(event)
        # Whatever should not have come would have come before this one.
        last = sim.events.group_message(B, message="最后一条")
        await sim.emit(last)
        for_nonebot.append(key(last))
        for_hoshino.append(key(last))
        await stage.wait_for(lambda: nonebot.events[-1:] == hoshino.events[-1:] == [key(last)])
        assert (len(for_nonebot), len(for_hoshino)) == (331, 271)
        assert nonebot.events == for_nonebot
        assert hoshino.events == for_hoshino
        received = {client.name: client.received for client in stage.relay.statistics().clients}
        assert received == {"nonebot_reverse": 331, "aiocqhttp_bot": 271}


@roles
async def test_a_busy_account_with_190_groups(stage: Any, role: str) -> None:
    """Events of every kind and size as they come; NoneBot2 asks for each quoted message meanwhile."""
    async with stage:
        await stage.listen()
        nonebot, hoshino = stage.start("nonebot_reverse"), stage.start("aiocqhttp_bot")
        sim = await stage.simulate(role, groups=190, seed=2)
        loud, quiet = set(sim.events.groups[:10]), set(sim.events.groups[5:])
        await stage.dial(nonebot, groups=loud)
        await stage.dial(hoshino, groups=quiet)
        events = [sim.events.next() for _ in range(500)]
        for event in events:
            await sim.emit(event)
        for_nonebot = [key(event) for event in events if event.get("group_id") in (None, *loud)]
        for_hoshino = [key(event) for event in events if event.get("group_id") in (None, *quiet)]
        assert len(for_nonebot) > 100
        assert len(for_hoshino) > 100
        last = sim.events.private_message(message="最后一条")
        await sim.emit(last)
        await stage.wait_for(lambda: len(nonebot.events) > len(for_nonebot) and len(hoshino.events) > len(for_hoshino))
        assert hoshino.events == [*for_hoshino, key(last)]
        # NoneBot2 hands a message that quotes another out only after it has been told what that one said.
        assert Counter(nonebot.events) == Counter([*for_nonebot, key(last)])
        quoted = [event for event in events if key(event) in for_nonebot and _quotes(event)]
        assert len(quoted) > 5
        wanted = Counter(str(event["message"][0]["data"]["id"]) for event in quoted)
        assert Counter(str(call["params"]["message_id"]) for call in sim.calls) == wanted
        assert {call["action"] for call in sim.calls} == {"get_msg"}
        received = {client.name: client.received for client in stage.relay.statistics().clients}
        assert received == {"nonebot_reverse": len(for_nonebot) + 1, "aiocqhttp_bot": len(for_hoshino) + 1}


def _quotes(event: dict[str, Any]) -> bool:
    return event["post_type"] == "message" and event["message"][0]["type"] == "reply"


@roles
async def test_answers_come_back_to_who_asked(stage: Any, role: str) -> None:
    """Three frameworks and two bare links count their echoes alike and have every call in flight at once."""
    async with stage:
        listener = await stage.listen()
        nonebot, hoshino = stage.start("nonebot_reverse"), stage.start("aiocqhttp_bot")
        forward = stage.start("nonebot_forward", ONEBOT_WS_URLS=f'["{listener.url}/c/forward"]')
        stage.relay.add_client("forward", filter=Filter(groups={A, C}))
        sim = await stage.simulate(role, groups=GROUPS, seed=3)
        await stage.dial(nonebot, groups={A, B})
        await stage.dial(hoshino, groups={B, C})
        await stage.wait_for(lambda: forward.lifecycles == 1)
        sim.on_call = lambda request: None
        asked = {nonebot.name: {}, hoshino.name: {}, forward.name: {}}
        for number in range(60):
            group = (A, B, C)[number % 3]
            event = sim.events.group_message(group, message="! 问")
            for bot, groups in ((nonebot, (A, B)), (hoshino, (B, C)), (forward, (A, C))):
                if group in groups:
                    asked[bot.name][event["message_id"]] = group
            await sim.emit(event)
        bare = await stage.enter(RecordingClient())
        links = [await bare.connect(f"{listener.url}/api") for _ in range(2)]
        for link in links:
            for echo in ("1", {"seq": 1}, 1):
                bare.send({"action": "get_login_info", "echo": echo}, link=link)
        calls = await sim.wait_called(126, timeout=20)
        assert len({call["echo"] for call in calls}) == 126
        assert Counter(call["action"] for call in calls) == {"send_group_msg": 120, "get_login_info": 6}
        sends = [call for call in calls if call["action"] == "send_group_msg"]
        sent = [(call["params"]["message"], call["params"]["group_id"]) for call in sends]
        assert sorted(sent) == sorted(
            (f"{name} {message_id}", group) for name, events in asked.items() for message_id, group in events.items()
        )
        answers = {call["echo"]: sim.answer(call) for call in calls}
        for answer in reversed(answers.values()):
            sim.links[-1].send(encode(answer))
        returned = {call["params"]["message"]: answers[call["echo"]]["data"]["message_id"] for call in sends}
        assert len(set(returned.values())) == 120
        for bot in (nonebot, hoshino, forward):
            await stage.wait_for(lambda bot=bot: len(bot.answered) == 40)
            assert bot.answered == {message_id: returned[f"{bot.name} {message_id}"] for message_id in asked[bot.name]}
            assert bot.failed == {}
        await bare.wait_for(lambda: len(bare.answers) == 6)
        assert sorted(encode(answer["echo"]) for answer in bare.answers) == [
            b'"1"', b'"1"', b"1", b"1", b'{"seq":1}', b'{"seq":1}',
        ]  # fmt: skip
        assert [answer["data"]["user_id"] for answer in bare.answers] == [1444683668] * 6
        statistics = stage.relay.statistics().calls
        assert (statistics.forwarded, statistics.answered, statistics.pending) == (126, 126, 0)
        assert (statistics.failed, statistics.late, statistics.unknown) == (0, 0, 0)
