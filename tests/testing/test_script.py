from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from napcore import ActionFailed, CallTimeout, OutcomeUnknown, connect
from napcore.testing import RecordingClient, Script, ScriptedUpstream


def event(number: int) -> dict[str, Any]:
    return {
        "self_id": 10001,
        "post_type": "message",
        "message_type": "group",
        "group_id": 5,
        "user_id": 7,
        "message_id": number,
    }


async def test_a_script_is_played_to_its_end() -> None:
    script = Script().send(event(1), event(2)).expect("send_group_msg", group_id=5).send(event(3)).close(1011, "bye")
    async with ScriptedUpstream(script) as upstream, RecordingClient() as bot:
        link = await bot.connect(await upstream.listen())
        await bot.received(2)
        await bot.call("get_status")
        await bot.call("send_group_msg", {"group_id": 6, "message": "x"})
        await anyio.wait_all_tasks_blocked()
        assert bot.count == 2
        await bot.call("send_group_msg", {"group_id": 5, "message": "x"})
        await bot.received(3)
        await upstream.played()
        await link.closed.wait()
        assert (link.close_code, link.close_reason) == (1011, "bye")
        assert upstream.sent == 3
    assert len(script) == 4


async def test_each_link_plays_the_next_script_and_further_ones_none() -> None:
    first, second = Script().send(event(1)).cut(), Script().send(event(2)).close()
    async with ScriptedUpstream(first, second) as upstream, RecordingClient() as bot:
        url = await upstream.listen()
        link = await bot.connect(url)
        await link.closed.wait()
        assert link.close_code == 1006
        api = await bot.connect(f"{url}/api")
        await upstream.played(1)
        link = await bot.connect(url)
        await link.closed.wait()
        assert link.close_code == 1005
        await upstream.played()
        await bot.connect(url)
        await bot.wait_for(lambda: len(bot.meta) == 3)
        assert (await bot.call("get_status"))["status"] == "ok"
        assert api.open
        assert [one["message_id"] for one in bot.events] == [1, 2]


async def test_scripts_may_be_added_until_their_link_comes() -> None:
    async with ScriptedUpstream() as upstream, RecordingClient() as bot:
        upstream.scripts.append(Script().sleep(0.001).send(b'{"post_type":"notice","self_id":1}'))
        await bot.connect(await upstream.listen())
        await bot.received(1)
        await upstream.played()


async def test_a_bot_that_is_paused_is_not_read() -> None:
    async with ScriptedUpstream(Script().pause().send(event(1)).expect("get_status")) as upstream:
        async with RecordingClient() as bot:
            await bot.connect(await upstream.listen())
            await bot.received(1)
            bot.send({"action": "get_status", "params": {}})
            with pytest.raises(TimeoutError, match="0 of 1 scripts"):
                await upstream.played(timeout=0.05)
            assert upstream.called == 0
            upstream.links[0].resume()
            await upstream.played()


async def test_reading_on_is_a_step_too() -> None:
    script = Script().pause().send(event(1)).sleep(0.02).resume().expect("get_status")
    async with ScriptedUpstream(script) as upstream, RecordingClient() as bot:
        await bot.connect(await upstream.listen())
        await bot.received(1)
        assert (await bot.call("get_status"))["status"] == "ok"
        await upstream.played()


def test_nothing_follows_the_end_of_a_link() -> None:
    for script in (Script().close(), Script().cut()):
        with pytest.raises(ValueError, match="nothing can follow the end of the link"):
            script.send(event(1))


# What does not come.


async def failure_of(upstream: ScriptedUpstream, play: Any) -> str:
    with pytest.raises(AssertionError) as failed:
        async with upstream:
            await play()
    return str(failed.value)


async def test_what_is_expected_and_does_not_come_fails_the_block() -> None:
    script = Script().send(event(1)).expect("send_group_msg", timeout=0.05, group_id=5)
    upstream = ScriptedUpstream(script)

    async def play() -> None:
        async with RecordingClient() as bot:
            await bot.connect(await upstream.listen())
            await bot.call("get_status")
            with pytest.raises(AssertionError, match="has not called send_group_msg"):
                await upstream.played()
            upstream.scripts.append(script)
            await bot.connect(upstream.url)
            await upstream.wait_for(lambda: bool(upstream._problems))

    assert await failure_of(upstream, play) == (
        "script 2, step 2 (expect send_group_msg): the bot has not called send_group_msg with {'group_id': 5},"
        " but nothing, after 0.05 s"
    )


async def test_what_was_called_instead_is_told() -> None:
    upstream = ScriptedUpstream(Script().expect("send_group_msg", timeout=0.05))

    async def play() -> None:
        async with RecordingClient() as bot:
            await bot.connect(await upstream.listen())
            await bot.call("get_status")
            await upstream.wait_for(lambda: bool(upstream._problems))

    assert "with anything, but ['get_status'], after" in await failure_of(upstream, play)


async def test_a_bot_that_leaves_too_early_fails_the_block() -> None:
    upstream = ScriptedUpstream(Script().sleep(60).expect("send_group_msg"), Script().sleep(60))

    async def play() -> None:
        for _ in range(2):
            async with RecordingClient() as bot:
                await bot.connect(await upstream.listen())
                await upstream.wait_connected()
            await upstream.wait_for(lambda: not upstream.links)

    assert await failure_of(upstream, play) == "script 1: the bot has closed the link before 'expect send_group_msg'"


async def test_leaving_in_the_middle_of_a_script_is_no_failure() -> None:
    async with RecordingClient() as bot:
        async with ScriptedUpstream(Script().expect("get_status")) as upstream:
            await bot.connect(await upstream.listen())
            await upstream.wait_connected()


async def test_a_failure_of_the_block_is_not_hidden() -> None:
    upstream = ScriptedUpstream(Script().expect("get_status", timeout=0.01))

    async def play() -> None:
        async with upstream, RecordingClient() as bot:
            await bot.connect(await upstream.listen())
            await upstream.wait_for(lambda: bool(upstream._problems))
            raise KeyError(1)

    with pytest.raises(KeyError):
        await play()


# Answers.


async def test_answers_come_in_turn_and_the_last_one_stays() -> None:
    async with ScriptedUpstream() as upstream, connect(await upstream.listen()) as bot:
        upstream.reply("get_group_list", [1], [2])
        assert [await bot.call("get_group_list") for _ in range(3)] == [[1], [2], [2]]
        upstream.reply("get_group_list", lambda request: [request["params"]["x"]])
        assert await bot.call("get_group_list", {"x": 3}) == [3]
        upstream.reply("get_group_list", {"status": "failed", "retcode": 5, "data": None, "message": "no"})
        with pytest.raises(ActionFailed, match="retcode 5: no"):
            await bot.get_group_list()
        upstream.fail("send_group_msg", 120, "被禁言")
        with pytest.raises(ActionFailed, match="retcode 120: 被禁言"):
            await bot.send_group_msg(group_id=5, message="hi")
        assert (await bot.get_login_info())["user_id"] == 10001
        with pytest.raises(ValueError, match="None is silence"):
            upstream.reply("get_status")


async def test_silence_delays_and_ends() -> None:
    async with ScriptedUpstream(Script().expect("set_restart").cut()) as upstream:
        async with connect(await upstream.listen()) as bot:
            upstream.reply("get_status", None)
            with pytest.raises(CallTimeout):
                await bot.call("get_status", timeout=0.02)
            upstream.reply("get_status", {"online": True}, delay=0.02)
            assert await bot.get_status() == {"online": True}
            upstream.reply("set_restart", None)
            with pytest.raises(OutcomeUnknown):
                await bot.set_restart()
            await upstream.played()


async def test_frames_as_they_are() -> None:
    def twice(request: dict[str, Any]) -> Any:
        answer = json.dumps({"status": "ok", "retcode": 0, "data": 7, "echo": request["echo"]}).encode()
        return answer, answer

    async with ScriptedUpstream() as upstream, connect(await upstream.listen()) as bot:
        upstream.reply("get_status", twice)
        assert await bot.call("get_status") == 7
        assert await bot.call("get_version_info")
        assert bot.statistics().calls.late + bot.statistics().calls.unknown == 1
