"""The command line's grammar, with help in the user's language."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from napcore.edge.cli.texts import say

__all__ = ("Command", "Parser")


class _Formatter(argparse.HelpFormatter):
    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, say("usage") if prefix is None else prefix)


class Parser(argparse.ArgumentParser):
    """An argument parser whose own words come from the catalogue."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(formatter_class=_Formatter, add_help=False, allow_abbrev=False, **keywords)
        self.options = self.add_argument_group(say("options"))
        self.options.add_argument("-h", "--help", action="help", help=say("help"))

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message`` and leave with 2."""
        self.print_usage(sys.stderr)
        self.exit(2, say("error", message=message) + "\n")


class Command(NamedTuple):
    """One sub-command."""

    name: str
    about: str
    """Key of its description in the catalogue."""
    add_options: Callable[[Any], None]
    carry_out: Callable[[argparse.Namespace], int]
    """Returns the exit code."""


def parser(commands: Iterable[Command], version: str) -> Parser:
    """The parser of the whole command line."""
    whole = Parser(prog="napcore", description=say("about"))
    whole.options.add_argument("--version", action="version", version=version, help=say("version"))
    choices = whole.add_subparsers(title=say("commands"), dest="command", metavar=say("command"), parser_class=Parser)
    for command in commands:
        one = choices.add_parser(command.name, help=say(command.about), description=say(command.about))
        command.add_options(one.options)
        one.set_defaults(carry_out=command.carry_out)
    return whole


def above_zero(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(say("not_number", text=text))
    return value


def whole_above_zero(text: str) -> int:
    """A whole number above 0."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text)):
        raise argparse.ArgumentTypeError(say("not_whole", text=text))
    return int(text)


def port(text: str) -> int:
    """A TCP port; 0 lets the system choose."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < 65536):
        raise argparse.ArgumentTypeError(say("not_port", text=text))
    return int(text)


def websocket_url(text: str) -> str:
    """A ws:// or wss:// URL."""
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        right = False
    if not right:
        raise argparse.ArgumentTypeError(say("url_wrong", text=text))
    return text
