"""The plugin package in contrib: what the plugin store asks of it, and that loading it is enough."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "contrib" / "nonebot-plugin-napcore"

PROGRAM = """
import sys
import nonebot
from nonebot.adapters.onebot.v11 import Adapter
nonebot.init(driver="~none", log_level="CRITICAL", napcore_verify=0.5, superusers={"7"})
nonebot.get_driver().register_adapter(Adapter)
plugin = nonebot.load_plugin("nonebot_plugin_napcore")
meta = plugin.metadata
assert meta.type == "library", meta
assert meta.homepage.startswith("https://")
assert {adapter.get_name() for adapter in meta.get_supported_adapters()} == {"OneBot V11"}
assert meta.config().napcore_verify == 0.0
assert all((meta.name, meta.description, meta.usage))
assert len(plugin.matcher) == 1
installed = plugin.module.installed
assert installed.active
assert installed.settings().verify == 0.5
import napcore.nonebot
assert napcore.nonebot.install() is installed
"""


@pytest.mark.skipif(not FOLDER.exists(), reason="contrib is not part of what is installed")
def test_loading_the_plugin_switches_the_index_on(tmp_path: Path) -> None:
    program = f"import sys\nsys.path.insert(0, {str(FOLDER)!r})\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
