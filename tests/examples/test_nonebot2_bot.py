from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from napcore.testing import Simulator

pytestmark = pytest.mark.e2e


def said(sim: Simulator) -> list[str]:
    calls = [call["params"]["message"] for call in sim.calls if call["action"] == "send_msg"]
    return ["".join(part["data"].get("text", "") for part in message) for message in calls]


async def test_it_does_what_it_shows(run_example: Any, copy_example: Any, free_port: Any) -> None:
    port = free_port()
    folder: Path = copy_example("nonebot2_bot", {})
    settings = folder / ".env"
    settings.write_text(settings.read_text("utf-8").replace("NAPCORE_LISTEN=6710", f"NAPCORE_LISTEN={port}"), "utf-8")
    async with Simulator(10001, groups=[342561735, 5], heartbeat=0.5) as sim, run_example(folder) as program:
        sim.connect(f"ws://127.0.0.1:{port}/onebot/v11/ws", reconnect=0.2)
        await sim.wait_connected(timeout=30)
        await program.printed("Bot 10001 connected")
        for text, group, answer in (
            ("/天气 北京", 342561735, "北京：晴"),
            ("/天气", 342561735, "哪个城市？"),
            ("上海", 342561735, "上海：晴"),
            ("/天气 广州", 5, ""),
            ("/天气 深圳", 342561735, "深圳：晴"),
        ):
            count = len(said(sim))
            event = {**sim.events.group_message(group), "user_id": 7, "raw_message": text}
            message = json.loads(json.dumps([{"type": "text", "data": {"text": text}}]))
            await sim.emit({**event, "message": message})
            with suppress(*((TimeoutError,) if not answer else ())):
                await sim.wait_for(lambda count=count: len(said(sim)) > count, timeout=30 if answer else 0.3)
            assert said(sim)[-1] == (answer or "上海：晴")
            await sim.emit(sim.events.private_message(message="之后"))
            await program.printed("之后")


def test_its_types(check_types: Any) -> None:
    assert "Success" in check_types("nonebot2_bot")
