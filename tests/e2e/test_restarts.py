"""Frameworks and upstreams that die and come back, and what the others notice of it: nothing."""

from __future__ import annotations

from typing import Any

import pytest

from napcore import Filter, Relay
from napcore.testing import RecordingClient, Simulator

GROUP = 342561735


@pytest.mark.parametrize(
    ("victim", "role"), [("nonebot_reverse", "forward"), ("aiocqhttp_bot", "reverse"), ("nonebot_forward", "forward")]
)
async def test_a_killed_framework_comes_back_and_the_other_has_no_gap(stage: Any, victim: str, role: str) -> None:
    # What is held may be some seconds old by then, and replies would be paced.
    stage.relay = Relay(send_rate="off")
    async with stage:
        listener = await stage.listen()
        stage.relay.add_client("nonebot_forward", filter=Filter(groups={GROUP}))
        dead = stage.start(victim, ONEBOT_WS_URLS=f'["{listener.url}/c/nonebot_forward"]')
        other = stage.start("aiocqhttp_bot" if victim != "aiocqhttp_bot" else "nonebot_reverse")
        sim = await stage.simulate(role, groups=[GROUP], seed=4)
        for bot in (dead, other):
            if bot.name != "nonebot_forward":
                await stage.dial(bot, groups={GROUP})
        await stage.wait_for(lambda: dead.lifecycles == 1)

        async def ask(count: int) -> list[int]:
            events = [sim.events.group_message(GROUP, message=f"! {number}") for number in range(count)]
            for event in events:
                await sim.emit(event)
            return [event["message_id"] for event in events]

        def session() -> Any:
            (found,) = (client for client in stage.relay.statistics().clients if client.name == dead.name)
            return found

        before = await ask(50)
        await stage.wait_for(lambda: len(dead.answered) == len(other.answered) == 50)
        during = await ask(50)
        dead.kill()
        during += await ask(50)
        await stage.wait_for(lambda: len(other.answered) == 150 and session().state != "connected")
        held = session().queued
        # Whatever its library had read by then is confirmed, whether a handler ever saw it or not.
        assert session().confirmed + session().dropped.get("uncertain", 0) + held == 150
        confirmed = session().confirmed
        away = await ask(50)
        await stage.wait_for(lambda: len(other.answered) == 200 and dead.ends == 1)
        assert session().queued == held + 50
        had = list(dead.message_ids)
        assert had[:50] == before
        # Of what was under way when it died it may have had the beginning, nothing else.
        assert had[50:] == during[: len(had) - 50]
        answered = dict(dead.answered)

        await stage.restart(dead)
        await stage.wait_for(lambda: dead.lifecycles == 2)
        after = await ask(50)
        await stage.wait_for(lambda: len(other.answered) == 250 and dead.answered.keys() >= set(after))
        # What had not been written when it died, what came while it was away, and what came then, in order.
        held_back = dead.message_ids[len(had) : -100]
        assert held_back == during[len(during) - len(held_back) :]
        assert dead.message_ids == had + held_back + away + after
        assert dead.answered.keys() == answered.keys() | {*held_back, *away, *after}
        assert other.message_ids == before + during + away + after
        assert other.answered.keys() == set(other.message_ids)
        assert (dead.failed, other.failed) == ({}, {})
        assert session().received == 250
        assert session().dropped.keys() <= {"uncertain"}
        assert len(held_back) == held
        # What it never handled had been read by its library, or is counted.
        assert 250 - len(dead.message_ids) <= session().dropped.get("uncertain", 0) + max(confirmed - len(had), 0)
        assert session().connects == 2
        assert other.lifecycles == 1
        sent = [(call["params"]["message"], call["params"]["group_id"]) for call in sim.calls]
        assert len(sent) == len(set(sent))
        assert {group for _, group in sent} == {GROUP}
        answers = {text for text, _ in sent}
        assert {f"{dead.name} {message_id}" for message_id in before + after} <= answers
        assert {f"{other.name} {message_id}" for message_id in other.message_ids} <= answers


@pytest.mark.parametrize("role", ["forward", "reverse"])
async def test_an_upstream_that_restarts_costs_no_client_its_link(stage: Any, role: str) -> None:
    async with stage:
        recorder = await stage.enter(RecordingClient())
        listener = await stage.listen()
        bots = [stage.start("nonebot_reverse"), stage.start("aiocqhttp_bot")]
        forward = stage.start("nonebot_forward", ONEBOT_WS_URLS=f'["{listener.url}/c/forward"]')
        stage.relay.add_client("forward", heartbeat=0.2)
        async with Simulator(1444683668, groups=[GROUP], seed=5) as sim:
            await stage.link(sim, role)
            for bot in bots:
                await stage.dial(bot)
            bots.append(forward)
            await stage.wait_for(lambda: forward.lifecycles == 1)
            await recorder.connect(f"{listener.url}/")
            first = sim.events.group_message(GROUP, message="! 在")
            await sim.emit(first)
            await stage.wait_for(lambda: all(first["message_id"] in bot.answered for bot in bots))
            port = int(sim.url.rsplit(":")[-1]) if role == "forward" else 0
            # It dies with three calls unanswered.
            sim.on_call = lambda request: None
            hung = sim.events.group_message(GROUP, message="! 卡住了")
            await sim.emit(hung)
            await sim.wait_called(6, timeout=20)
        await stage.wait_for(lambda: all(bot.meta[-1] == ("meta_event.heartbeat", None, False) for bot in bots))
        await stage.wait_for(lambda: all(hung["message_id"] in bot.failed for bot in bots))
        for bot in bots:
            assert bot.failed.pop(hung["message_id"])["retcode"] == 1502
        assert [account.online for account in stage.relay.statistics().accounts] == [False]

        meanwhile = [sim.events.group_message(GROUP, message=f"! {number}") for number in range(5)]
        for event in meanwhile:
            stage.relay.publish(event)
        await stage.wait_for(lambda: all(len(bot.failed) == 5 for bot in bots))
        for bot in bots:
            assert bot.failed.keys() == {event["message_id"] for event in meanwhile}
            assert {failure["retcode"] for failure in bot.failed.values()} == {1501}
            assert max(failure["seconds"] for failure in bot.failed.values()) < 1.0
        # Each has asked for two answers before these five, and its echoes come back as it made them.
        assert _echoes(bots[0]) == _echoes(forward) == ["3", "4", "5", "6", "7"]
        assert _echoes(bots[1]) == [{"seq": 3}, {"seq": 4}, {"seq": 5}, {"seq": 6}, {"seq": 7}]
        answer = await recorder.call("get_login_info", echo={"seq": 3})
        assert (answer["status"], answer["retcode"], answer["data"]) == ("failed", 1501, None)

        async with Simulator(1444683668, groups=[GROUP], seed=6) as sim:
            if role == "forward":
                await sim.listen(port)
                await sim.wait_connected(timeout=20)
            else:
                sim.connect(f"{listener.url}/onebot/v11/ws")
                await sim.wait_connected()
            last = sim.events.group_message(GROUP, message="! 回来了")
            await sim.emit(last)
            await stage.wait_for(lambda: all(last["message_id"] in bot.answered for bot in bots))
            assert sim.called == 3
        ids = [event["message_id"] for event in (first, hung, *meanwhile, last)]
        for bot in bots:
            assert bot.message_ids == ids
            assert bot.lifecycles == 1
            assert len(bot.failed) == 5
        await recorder.received(8)
        assert [event["message_id"] for event in recorder.events] == ids
        assert [client.connects for client in stage.relay.statistics().clients] == [1, 1, 1, 1]
        (upstream,) = stage.relay.statistics().upstreams
        assert upstream.connects == 2


def _echoes(bot: Any) -> list[Any]:
    return sorted((failure["echo"] for failure in bot.failed.values()), key=str)
