"""Well-known plugins from PyPI, loaded unchanged, answer one scripted conversation alike with and without the index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PLUGINS = ("nonebot_plugin_admin", "nonebot_plugin_cocdicer", "nonebot_plugin_minesweeper")
MISSING = [plugin for plugin in PLUGINS if find_spec(plugin) is None]

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install --group plugins"
)


def conversation(mode: str, folder: Path) -> tuple[list[str], str]:
    """What the bot did, and its last words on stderr."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "bots" / "plugins.py", mode],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines(), done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""


@pytest.mark.timeout(600)
def test_three_plugins_answer_alike(tmp_path: Path) -> None:
    stock, _ = conversation("stock", tmp_path / "stock")
    ours, statistics = conversation("napcore", tmp_path / "napcore")
    assert ours == stock
    said = [line for line in stock if isinstance(json.loads(line)[0], int)]
    assert len(stock) - len(said) > 50, "much of the conversation should be answered"
    counted = json.loads(statistics)
    assert counted["skipped"] > 30 * len(said)
    assert counted["aside"] == 0
