"""``napcore demo``: everything at once, in one process."""

from __future__ import annotations

import json
import logging
import sys
from argparse import Namespace
from dataclasses import asdict
from typing import Any, Final

from napcore.dispatch import COMPILED
from napcore.edge.cli.layout import table
from napcore.edge.cli.parser import Command, above_zero, whole_above_zero
from napcore.edge.cli.run import add_backend
from napcore.edge.cli.story import tell_story
from napcore.edge.cli.texts import say
from napcore.edge.logs import set_up_logging
from napcore.net import runner
from napcore.testing.demo import DemoResult, run_demo

__all__ = ("COMMAND",)

TITLES: Final = (
    "demo.client",
    "demo.received",
    "demo.dropped",
    "demo.waiting",
    "demo.p50",
    "demo.p99",
    "demo.max_queue",
)

FAST: Final = ("reverse", "forward")
"""Clients that must get everything."""


def _add_options(options: Any) -> None:
    options.add_argument("--groups", type=whole_above_zero, metavar="N", help=say("demo.groups"))
    options.add_argument("--rate", type=above_zero, metavar="N", help=say("demo.rate"))
    options.add_argument("--seconds", type=above_zero, metavar="N", help=say("demo.seconds"))
    add_backend(options)
    options.add_argument("--json", action="store_true", help=say("demo.json"))


def _demo(arguments: Namespace) -> int:
    set_up_logging(logging.WARNING)
    quiet = arguments.json
    given = (arguments.groups, arguments.rate, arguments.seconds)
    if given == (None, None, None) and not quiet:
        set_up_logging(logging.CRITICAL)
        return tell_story(arguments.backend)
    groups, rate, seconds = arguments.groups or 190, arguments.rate or 500.0, arguments.seconds or 10.0
    if not quiet:
        print(say("demo.start", groups=groups, rate=rate, seconds=seconds), flush=True)

    async def main() -> DemoResult:
        on_second = None if quiet else _print_second
        return await run_demo(groups, rate, seconds, on_second)

    try:
        result = runner.run(main, backend=arguments.backend)
    except OSError as error:
        print(say("error", message=error), file=sys.stderr)
        return 1
    if result is None:
        print(say("demo.interrupted"), file=sys.stderr)
        return 130
    if quiet:
        print(_json(result, arguments.backend), flush=True)
    else:
        _print_result(result, arguments.backend)
    missing = [client for client in result.clients if client.name in FAST and client.received != result.published]
    for client in missing:
        text = say("demo.missing", name=client.name, received=client.received, published=result.published)
        print(text, file=sys.stderr)
    return 1 if missing else 0


def _print_second(result: DemoResult) -> None:
    received = ", ".join(f"{client.name} {client.received}" for client in result.clients)
    print(say("demo.second", elapsed=result.elapsed_s, published=result.published, received=received), flush=True)


def _print_result(result: DemoResult, backend: str) -> None:
    rows = [
        [
            client.name,
            str(client.received),
            ", ".join(f"{reason} {count}" for reason, count in client.dropped.items()) or say("demo.none"),
            str(result.published - client.received - sum(client.dropped.values())),
            "-" if client.p50_ms is None else f"{client.p50_ms:.1f}",
            "-" if client.p99_ms is None else f"{client.p99_ms:.1f}",
            str(client.max_queue),
        ]
        for client in result.clients
    ]
    print()
    print(table([[say(title) for title in TITLES], *rows]))
    print()
    calls = result.calls
    print(
        say(
            "demo.end",
            published=result.published,
            elapsed=result.elapsed_s,
            rate=result.published / result.elapsed_s,
            backend=backend,
            core=say("compiled" if COMPILED else "pure"),
            calls=calls.forwarded,
            answered=calls.answered,
        )
    )


def _json(result: DemoResult, backend: str) -> str:
    return json.dumps(
        {
            "published": result.published,
            "elapsed_s": round(result.elapsed_s, 3),
            "backend": backend,
            "compiled": COMPILED,
            "clients": [asdict(client) for client in result.clients],
        }
    )


COMMAND: Final = Command("demo", "demo.about", _add_options, _demo)
