"""The command line: ``napcore run``, ``demo``, ``simulate`` and ``check``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Final

from napcore import __version__
from napcore.dispatch import COMPILED
from napcore.edge.cli import check, demo, run, simulate
from napcore.edge.cli.parser import parser
from napcore.edge.cli.texts import say
from napcore.errors import ConfigError

__all__ = ("main",)

COMMANDS: Final = (run.COMMAND, demo.COMMAND, simulate.COMMAND, check.COMMAND)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line, ``sys.argv`` by default; returns the exit code.

    0 is success, 1 a failure, 2 a command line that is wrong (raised as SystemExit), 130 an interruption.
    """
    for stream in (sys.stdout, sys.stderr):
        # A console that lacks a character shows "?" rather than a traceback.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    whole = parser(COMMANDS, f"napcore {__version__} ({say('compiled' if COMPILED else 'pure')})")
    arguments = whole.parse_args(argv)
    if arguments.command is None:
        whole.print_help(sys.stderr)
        return 2
    try:
        return int(arguments.carry_out(arguments))
    except ConfigError as error:
        print(say("error", message=error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
