"""``napcore check`` and what ``run`` shares with it: which file, and its mistakes."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Final

from napcore.core.config import Config
from napcore.edge.cli.parser import Command
from napcore.edge.cli.texts import say
from napcore.edge.settings import config_places, find_config, load_config
from napcore.errors import ConfigError

__all__ = ("COMMAND", "add_file", "read_config")


def add_file(options: Any) -> None:
    """The argument that names the file."""
    options.add_argument("config", nargs="?", metavar="CONFIG.toml", type=Path, help=say("config"))


def read_config(named: Path | None) -> tuple[Path, Config] | None:
    """The configuration file and what it says; None if there is none or it is wrong, which is then told."""
    path = named or find_config()
    if path is None:
        print(say("config.none", places=", ".join(map(str, config_places()))), file=sys.stderr)
        return None
    if named is None:
        print(say("config.taken", path=path), file=sys.stderr)
    try:
        return path, load_config(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return None


def _check(arguments: Namespace) -> int:
    read = read_config(arguments.config)
    if read is None:
        return 1
    path, config = read
    print(say("check.ok", path=path, upstreams=len(config.upstream), clients=len(config.client)))
    return 0


COMMAND: Final = Command("check", "check.about", add_file, _check)
