"""nonebot 1 has the import name of NoneBot2, so it gets a folder of its own, ahead of the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from napcore.testing import Simulator

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def nonebot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nonebot 1 and what it needs."""
    folder = tmp_path_factory.mktemp("nonebot1")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "nonebot==1.9.1"]
    subprocess.run([*command, "--disable-pip-version-check", "--root-user-action=ignore"], check=True)
    return folder


def said(sim: Simulator) -> list[str]:
    calls = [call["params"]["message"] for call in sim.calls if call["action"] == "send_msg"]
    return ["".join(part["data"].get("text", "") for part in message).strip() for message in calls]


async def test_it_does_what_it_shows(nonebot: Path, run_example: Any, free_port: Any) -> None:
    async with Simulator(10001, groups=[5, 6], token="secret", heartbeat=1e6) as sim:
        environment = {"NAPCAT_URL": await sim.listen(), "NAPCAT_TOKEN": "secret", "PORT": str(free_port())}
        path = os.pathsep.join(filter(None, [str(nonebot), os.environ.get("PYTHONPATH")]))
        async with run_example("nonebot1_bot", PYTHONPATH=path, **environment) as program:
            await program.printed("Running on 127.0.0.1")
            first = sim.events.group_message(5)
            conversation = [("天气 北京", "北京：晴"), ("天气", "哪个城市？"), ("上海", "上海：晴"), ("发呆 1", "醒了")]
            # Its server has started; the first message goes out until the bot hears.
            await sim.wait_connected(timeout=30)
            for _ in range(30):
                await sim.emit({**first, **text_of("天气 广州")})
                with suppress(TimeoutError):
                    await sim.wait_for(lambda: bool(said(sim)), timeout=1)
                    break
            for text, answer in conversation:
                count = len(said(sim))
                await sim.emit({**first, **text_of(text)})
                await sim.wait_for(lambda count=count: len(said(sim)) > count, timeout=30)
                assert said(sim)[-1] == answer
            links = sim.links
            joined = {"self_id": 10001, "group_id": 5, "user_id": 7, "post_type": "notice", "sub_type": "approve"}
            await sim.emit({**joined, "notice_type": "group_increase", "operator_id": 8})
            await sim.wait_for(lambda: said(sim)[-1] == "欢迎", timeout=30)
            assert sim.links == links
        assert "secret" not in program.output


def text_of(text: str) -> dict[str, Any]:
    return {"raw_message": text, "message": [{"type": "text", "data": {"text": text}}]}
