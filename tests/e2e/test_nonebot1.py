"""nonebot 1 from PyPI, and a bot of HoshinoBot's kind on it, attached in a process of their own.

nonebot 1 and NoneBot2 are both imported as ``nonebot``: version 1 gets a folder of its own, ahead of the rest.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "nonebot1"
NONEBOT = os.environ.get("NAPCORE_NONEBOT1", "nonebot==1.9.1")
"""What is tried; ``.ci/full`` names others."""


@pytest.fixture(scope="module")
def nonebot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nonebot 1 and what it needs."""
    folder = tmp_path_factory.mktemp("nonebot1")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), NONEBOT]
    subprocess.run([*command, "--disable-pip-version-check", "--root-user-action=ignore"], check=True)
    return folder


def play(nonebot: Path, program: str, script: list[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    """Run a bot, let NapCat's stand-in play the script, and return what it found, and the log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "LC_ALL", "NAPCORE_PURE")},
        "PYTHONPATH": os.pathsep.join([str(nonebot), str(HERE)]),
        "PYTHONUTF8": "1",
        "PORT": str(port),
        "SCRIPT": json.dumps(script),
    }
    done = subprocess.run(
        [sys.executable, HERE / program], env=environment, capture_output=True, text=True, encoding="utf-8", timeout=90
    )
    log = done.stdout + done.stderr
    # What Quart makes of SIGINT differs by its version and Python's.
    assert done.returncode in (0, 3), log
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert "error" not in found, (found, log)
    return found, log


def say(*texts: str, calls: int, **fields: Any) -> dict[str, Any]:
    return {"events": [{"text": text, **fields} for text in texts], "calls": calls}


def happen(calls: int, **event: Any) -> dict[str, Any]:
    return {"events": [event], "calls": calls}


def test_nonebot1_as_it_is_started(nonebot: Path) -> None:
    join = {"post_type": "notice", "notice_type": "group_increase", "sub_type": "approve", "operator_id": 8}
    ask = {"post_type": "request", "request_type": "group", "sub_type": "add", "flag": "f", "comment": "let me in"}
    script = [
        {"events": [], "calls": 1},
        say("天气 北京", calls=1),
        say("天气", calls=1),
        say("上海", calls=1),
        say("guess", calls=1),
        say("42", calls=1),
        say("ask", calls=1),
        # In another group, and in its own: neither waits for the handler that waits for the last.
        say("天气 广州", group_id=6, user_id=8, calls=1),
        say("天气 深圳", user_id=8, calls=1),
        say("=好", user_id=8, calls=1),
        say("小星 早安", calls=1),
        happen(1, **join),
        happen(1, **ask),
        say("fail", "天气 天津", calls=1),
    ]
    found, log = play(nonebot, "run_nonebot.py", script)
    assert found["early"] == 0
    assert found["steps"] == [
        [["get_group_list", {}]],
        [["send_msg", "北京：晴"]],
        [["send_msg", "哪个城市？"]],
        [["send_msg", "上海：晴"]],
        [["send_msg", "猜一个数"]],
        [["send_msg", "你猜了 42"]],
        [["send_msg", "请回答"]],
        [["send_msg", "广州：晴"]],
        [["send_msg", "深圳：晴"]],
        [["send_msg", "答案是 好"]],
        [["send_msg", "早安"]],
        [["send_msg", "欢迎 7"]],
        [[".handle_quick_operation", {"approve": True, "remark": ""}]],
        [["send_msg", "天津：晴"]],
    ]
    # Two handlers wait for a message: that of "guess" for one step, that of "ask" for three.
    assert found["running"] == [0, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0]
    assert "broken plugin" in log


def test_a_bot_of_hoshinobots_kind_as_it_is_started(nonebot: Path) -> None:
    recall = {"post_type": "notice", "notice_type": "group_recall", "operator_id": 8, "message_id": 1}
    script = [
        {"events": [], "calls": 1},
        say("猜头像", calls=1),
        say("查身份", "佩可", calls=3),
        say("广播", calls=3),
        happen(1, **recall),
    ]
    found, _ = play(nonebot, "run_hoshino.py", script)
    assert found["early"] == 0
    _, start, game, broadcast, recalled = found["steps"]
    assert start == [["send_msg", "开始"]]
    assert sorted(action for action, _ in game) == ["get_group_member_info", "send_msg", "send_msg"]
    assert {shown for action, shown in game if action == "send_msg"} == {"member", "[at] 结束"}
    assert broadcast == [["get_group_list", {}], ["send_group_msg", "广播"], ["send_group_msg", "广播"]]
    assert recalled == [["send_msg", "撤回了"]]
    assert found["running"] == [0, 1, 0, 0, 0]
