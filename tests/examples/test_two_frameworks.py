"""Two frameworks and napcore between them and NapCat, each a program of its own."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from napcore.testing import Simulator

pytestmark = pytest.mark.e2e


def said(sim: Simulator) -> list[tuple[int | None, str]]:
    """Where something was said, and by whom."""
    found = []
    for call in sim.calls:
        params = call["params"]
        if call["action"].startswith("send_"):
            message = params["message"]
            text = message if isinstance(message, str) else "".join(part["data"]["text"] for part in message)
            found.append((params.get("group_id"), text))
        elif call["action"] == ".handle_quick_operation":
            found.append((params["context"].get("group_id"), params["operation"]["reply"]))
    return found


async def test_it_does_what_it_shows(run_example: Any, copy_example: Any, free_port: Any) -> None:
    ports = {"8080": free_port(), "8090": free_port()}
    folder = copy_example("two_frameworks", ports)
    async with Simulator(10001, groups=[5, 6], token="secret") as sim, AsyncExitStack() as exits:
        url = await sim.listen()
        for file, port in (("nonebot2_bot.py", "8080"), ("aiocqhttp_bot.py", "8090")):
            await exits.enter_async_context(run_example(folder, file=file, PORT=str(ports[port])))
        environment = {"NAPCAT_URL": url, "NAPCAT_TOKEN": "secret", "LANG": "en_US.UTF-8", "NAPCORE_LANG": "en"}
        relay = await exits.enter_async_context(run_example(folder, command=["-m", "napcore", "run"], **environment))
        for name in ("nonebot", "hoshino"):
            await relay.printed(f"client {name}@10001: connected to", 30)
        for number, (group, who) in enumerate([(5, "NoneBot2"), (6, "aiocqhttp"), (5, "NoneBot2")], 1):
            await sim.emit(sim.events.group_message(group, message="/who"))
            await sim.wait_for(lambda number=number: len(said(sim)) >= number, timeout=30)
            assert said(sim)[-1] == (group, who)
        await sim.emit(sim.events.private_message(message="/who"))
        await sim.wait_for(lambda: len(said(sim)) >= 4, timeout=30)
        assert said(sim)[3] == (None, "NoneBot2")
        assert "secret" not in relay.output
