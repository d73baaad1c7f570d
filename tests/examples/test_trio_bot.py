from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from napcore.testing import Simulator

pytestmark = pytest.mark.skipif(not find_spec("trio"), reason="trio is not installed")


async def test_it_does_what_it_shows(run_example: Any) -> None:
    async with Simulator(10001, groups=[5], token="secret") as sim:
        url = await sim.listen()
        async with run_example("trio_bot", NAPCAT_URL=url, NAPCAT_TOKEN="secret", REPORT_SECONDS="0.05") as program:
            await program.printed("account 10001 is here")
            for user_id in (7, 8, 8):
                await sim.emit(sim.events.group_message(5, message="hello") | {"user_id": user_id})
            await sim.emit(sim.events.private_message(message="/top"))
            await sim.emit(sim.events.group_message(5, message="/top"))
            (call,) = await sim.wait_called(timeout=30)
            assert (call["action"], call["params"]) == ("send_group_msg", {"group_id": 5, "message": "8: 2"})
            await program.printed("connected: 6 events, 1 calls, 0 missed")
    assert "ERROR" not in program.output
    assert "Traceback" not in program.output


async def test_a_wrong_token_is_told_in_words(run_example: Any) -> None:
    async with Simulator(10001, token="secret") as sim:
        async with run_example("trio_bot", NAPCAT_URL=await sim.listen(), NAPCAT_TOKEN="wrong") as program:
            await program.printed("probably the token is not the one the peer expects")
            await program.process.wait()
    assert program.process.returncode == 1


def test_it_type_checks(check_types: Any) -> None:
    assert check_types("trio_bot") == "Success: no issues found in 1 source file"
