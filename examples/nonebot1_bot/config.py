"""nonebot 1's own settings, as ever."""

from __future__ import annotations

import os

from nonebot.default_config import *  # noqa: F403

HOST = "127.0.0.1"
PORT = int(os.environ.get("PORT", "8080"))
DEBUG = False
SUPERUSERS = {10000}
COMMAND_START = {"", "/"}
