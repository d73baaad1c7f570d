"""NoneBot2 dials the relay. It ignores every event on a link whose first one is not lifecycle ``connect``."""

from __future__ import annotations

from typing import Any

import pytest

from napcore import Filter

A, B = 342561735, 1062848088
TOKEN = "the listen token, long"
OWN = "nonebot's own token, long"


@pytest.mark.parametrize("role", ["forward", "reverse"])
@pytest.mark.parametrize(
    ("path", "shown", "own"),
    [("/", TOKEN, None), ("/event", TOKEN, None), ("/c/nonebot", TOKEN, None), ("/", OWN, OWN)],
    ids=["anonymous", "event", "by-name", "by-token"],
)
async def test_lifecycle_comes_first_then_everything_in_order(
    stage: Any, role: str, path: str, shown: str, own: str | None
) -> None:
    async with stage:
        listener = await stage.listen(token=TOKEN)
        stage.relay.add_client("nonebot", token=own, filter=Filter(groups={A}))
        sim = await stage.simulate(role, groups=[A, B], token=TOKEN)
        bot = stage.start("nonebot_forward", ONEBOT_WS_URLS=f'["{listener.url}{path}"]', ONEBOT_ACCESS_TOKEN=shown)
        await stage.wait_for(lambda: bool(bot.meta))
        events = [sim.events.group_message((A, B)[number % 2], message=f"! {number}") for number in range(240)]
        for event in events:
            await sim.emit(event)
        declared = own is not None or path.startswith("/c/")
        wanted = [event["message_id"] for event in events if event["group_id"] == A or not declared]
        assert len(wanted) == (120 if declared else 240)
        await stage.wait_for(lambda: len(bot.answered) >= len(wanted))
        assert bot.message_ids == wanted
        assert bot.meta[0] == ("meta_event.lifecycle", "connect", None)
        assert bot.answered.keys() == set(wanted)
        assert bot.failed == {}
        assert sim.called == len(wanted)
        assert bot.lifecycles == 1
        (client,) = (client for client in stage.relay.statistics().clients if client.state == "connected")
        assert client.name == ("nonebot" if declared else "ws-1")
        assert client.connects == 1


async def test_a_bot_that_dials_before_any_account_is_known_waits_for_its_lifecycle(stage: Any) -> None:
    async with stage:
        listener = await stage.listen()
        bot = stage.start("nonebot_forward", ONEBOT_WS_URLS=f'["{listener.url}/c/nonebot"]')
        await stage.wait_for(lambda: [client.state for client in stage.relay.statistics().clients] == ["waiting"])
        assert bot.meta == []
        sim = await stage.simulate("forward", groups=[A])
        await stage.wait_for(lambda: bot.lifecycles == 1)
        event = sim.events.group_message(A, message="! 来了")
        await sim.emit(event)
        await stage.wait_for(lambda: event["message_id"] in bot.answered)
        assert bot.message_ids == [event["message_id"]]


async def test_every_link_has_its_own_token(stage: Any) -> None:
    """The upstream's, the listener's and each framework's: none is shown to another."""
    async with stage:
        listener = await stage.listen(token=TOKEN)
        nonebot = stage.start("nonebot_reverse", ONEBOT_ACCESS_TOKEN="nonebot-token")
        hoshino = stage.start("aiocqhttp_bot", BOT_TOKEN="hoshino-token")
        forward = stage.start(
            "nonebot_forward", ONEBOT_WS_URLS=f'["{listener.url}/c/forward"]', ONEBOT_ACCESS_TOKEN=TOKEN
        )
        sim = await stage.simulate("forward", groups=[A], token="napcat-token")
        await stage.dial(nonebot, token="nonebot-token")
        await stage.dial(hoshino, token="hoshino-token")
        await stage.wait_for(lambda: forward.lifecycles == 1)
        event = sim.events.group_message(A, message="! 口令")
        await sim.emit(event)
        bots = (nonebot, hoshino, forward)
        await stage.wait_for(lambda: all(event["message_id"] in bot.answered for bot in bots))
        assert [bot.message_ids for bot in bots] == [[event["message_id"]]] * 3


@pytest.mark.parametrize("program", ["nonebot_reverse", "aiocqhttp_bot"])
async def test_a_wrong_token_is_told_and_disturbs_nobody(
    stage: Any, program: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage:
        await stage.listen()
        sim = await stage.simulate("forward", groups=[A])
        strict = stage.start(program, name="strict", ONEBOT_ACCESS_TOKEN="right", BOT_TOKEN="right")
        easy = stage.start("aiocqhttp_bot", name="easy")
        await stage.dial(easy)
        await stage.wait_for(lambda: strict.ready)
        stage.relay.add_client("strict", strict.url, token="mistaken")
        told = f"client strict@{sim.self_id}: the peer answered HTTP 403"
        await stage.wait_for(lambda: told in caplog.text)
        assert "the token is not the one the peer expects" in caplog.text
        assert "mistaken" not in caplog.text
        event = sim.events.group_message(A, message="! 没事")
        await sim.emit(event)
        await stage.wait_for(lambda: event["message_id"] in easy.answered)
        assert strict.meta == strict.events == []
        (client,) = (client for client in stage.relay.statistics().clients if client.name == "strict")
        # Its event is held until it lets us in.
        assert (client.received, client.queued, client.dropped, client.connects) == (1, 1, {}, 0)
