from __future__ import annotations

import hashlib
from typing import Any

from napcore.testing import Simulator

GROUP = 5


def messages(sim: Simulator) -> list[Any]:
    return [call["params"]["message"] for call in sim.calls if call["action"].startswith("send_")]


async def said(sim: Simulator, count: int) -> list[Any]:
    await sim.wait_for(lambda: len(messages(sim)) >= count, timeout=30)
    return messages(sim)


async def test_it_does_what_it_shows(run_example: Any) -> None:
    async with Simulator(10001, groups=[GROUP], token="secret") as sim:
        url = await sim.listen()
        async with run_example("asyncio_bot", NAPCAT_URL=url, NAPCAT_TOKEN="secret") as program:
            await program.printed("account 10001 is here")

            await sim.emit(sim.events.group_message(GROUP, message="/ping"))
            (pong,) = await said(sim, 1)
            assert pong.startswith("[CQ:reply,id=")
            assert pong.endswith("]pong")
            await sim.emit(sim.events.private_message(message="/hash abc"))
            digest = hashlib.pbkdf2_hmac("sha256", b"abc", b"salt", 100_000).hex()
            assert (await said(sim, 2))[1] == digest

            # A game: the person is asked, and others are not listened to.
            player = sim.events.group_message(GROUP, message="/guess")
            await sim.emit(player)
            assert (await said(sim, 3))[2] == "1-9?"
            other = sim.events.group_message(GROUP, message="5") | {"user_id": 99}
            for number in range(1, 10):
                await sim.emit(other)
                guess = sim.events.group_message(GROUP, message=str(number)) | {"user_id": player["user_id"]}
                await sim.emit(guess)
                answer = (await said(sim, 3 + number))[2 + number]
                if answer != "no":
                    break
            assert answer == f"[CQ:at,qq={player['user_id']}] yes"

            await sim.emit(sim.events.friend_request())
            await sim.wait_for(lambda: sim.calls[-1]["action"] == "set_friend_add_request")
            assert sim.calls[-1]["params"].keys() == {"flag"}
            joined = {"self_id": 10001, "group_id": GROUP, "user_id": 7, "post_type": "notice"}
            await sim.emit(joined | {"notice_type": "group_increase", "sub_type": "approve", "operator_id": 8})
            count = len(messages(sim))
            assert (await said(sim, count + 1))[-1] == "[CQ:at,qq=7] welcome!"
    assert "ERROR" not in program.output
    assert "Traceback" not in program.output
    assert "secret" not in program.output


def test_it_type_checks(check_types: Any) -> None:
    assert check_types("asyncio_bot") == "Success: no issues found in 1 source file"
