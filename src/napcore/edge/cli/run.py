"""``napcore run``: the relay on its own."""

from __future__ import annotations

import errno
import json
import logging
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Final

from napcore.core.config import Config
from napcore.core.stats import as_dict
from napcore.edge.cli.check import add_file, read_config
from napcore.edge.cli.parser import Command
from napcore.edge.cli.texts import say
from napcore.edge.logs import set_up_logging
from napcore.net import runner
from napcore.net.relay import Relay
from napcore.net.watchdog import watch_loop

__all__ = ("COMMAND", "add_backend", "port_problem")


def add_backend(options: Any) -> None:
    """The option that names the event loop."""
    options.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help=say("backend"))


class _Ready:
    """Told by the relay when everything listens."""

    def started(self, value: None = None) -> None:
        print(say("run.ready"), file=sys.stderr)


def _add_options(options: Any) -> None:
    add_file(options)
    add_backend(options)
    options.add_argument("--statistics", metavar=say("file"), help=say("run.statistics"))
    options.add_argument("-v", "--verbose", action="store_true", help=say("verbose"))


def _run(arguments: Namespace) -> int:
    read = read_config(arguments.config)
    if read is None:
        return 1
    _, config = read
    set_up_logging(logging.DEBUG if arguments.verbose else logging.INFO)

    relay = Relay.from_config(config)

    async def serve() -> None:
        with watch_loop() as relay.watchdog:
            await relay.serve(task_status=_Ready())

    try:
        runner.run(serve, backend=arguments.backend)
    except OSError as error:
        print(port_problem(_port(config), error), file=sys.stderr)
        return 1
    print(say("run.stopped"), file=sys.stderr)
    if arguments.statistics:
        return _write_statistics(Path(arguments.statistics), relay)
    return 0


def _write_statistics(path: Path, relay: Relay) -> int:
    try:
        path.write_text(json.dumps(as_dict(relay.statistics())) + "\n", "utf-8")
    except OSError as error:
        print(say("run.not_written", path=path, cause=error.strerror or error), file=sys.stderr)
        return 1
    return 0


def port_problem(port: int, error: OSError) -> str:
    """Why a port could not be had, in one line."""
    if error.errno == errno.EADDRINUSE:
        return say("port_in_use", port=port)
    return say("port_refused", port=port, cause=error.strerror or error)


def _port(config: Config) -> int:
    return config.listen.port if config.listen is not None else 0


COMMAND: Final = Command("run", "run.about", _add_options, _run)
