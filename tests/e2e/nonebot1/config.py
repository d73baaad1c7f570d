"""A configuration of nonebot 1, as a user writes it."""

from __future__ import annotations

import os

from nonebot.default_config import *  # noqa: F403

PORT = int(os.environ["PORT"])
DEBUG = False
SUPERUSERS = {10000}
NICKNAME = {"小星"}
COMMAND_START = {"", "/"}
