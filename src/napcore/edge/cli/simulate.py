"""``napcore simulate``: a NapCat for the user's own bot."""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from typing import Any, Final

from napcore.edge.cli.parser import Command, above_zero, port, websocket_url, whole_above_zero
from napcore.edge.cli.run import add_backend, port_problem
from napcore.edge.cli.texts import say
from napcore.net import runner
from napcore.testing.simulation import Simulation, SimulationReport

__all__ = ("COMMAND",)


def _add_options(options: Any) -> None:
    where = options.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", type=websocket_url, metavar="URL", help=say("simulate.url"))
    where.add_argument("--listen", type=port, metavar="PORT", help=say("simulate.listen"))
    options.add_argument("--groups", type=whole_above_zero, default=190, metavar="N", help=say("demo.groups"))
    options.add_argument("--rate", type=above_zero, default=13.0, metavar="N", help=say("simulate.rate"))
    options.add_argument("--seconds", type=above_zero, default=math.inf, metavar="N", help=say("simulate.seconds"))
    options.add_argument("--token", default="", metavar="TOKEN", help=say("simulate.token"))
    options.add_argument(
        "--self-id", type=whole_above_zero, default=1444683668, metavar="QQ", help=say("simulate.self_id")
    )
    add_backend(options)


def _simulate(arguments: Namespace) -> int:
    url = arguments.url
    simulation = Simulation(
        url=url,
        port=arguments.listen,
        groups=arguments.groups,
        rate=arguments.rate,
        seconds=arguments.seconds,
        token=arguments.token,
        self_id=arguments.self_id,
        on_listen=lambda url: _print(say("simulate.listening", url=url)),
        on_refusal=lambda cause: _print(say("simulate.refused", url=url, cause=cause)),
        on_links=lambda links: _print(say("simulate.links", links=links)),
        on_report=_report,
    )
    if url is not None:
        _print(say("simulate.dialling", url=url))
    try:
        runner.run(simulation.run, backend=arguments.backend)
    except OSError as error:
        print(port_problem(arguments.listen, error), file=sys.stderr)
        return 1
    _report(simulation.report())
    return 0


def _report(report: SimulationReport) -> None:
    told = say("simulate.end", sent=report.sent, seconds=report.seconds, calls=report.calls, replies=report.replies)
    if report.p50_ms is None:
        told += "\n" + say("simulate.no_replies")
    else:
        told += "\n" + say("simulate.latency", p50=report.p50_ms, p99=report.p99_ms, longest=report.max_ms)
    _print(told)


def _print(text: str) -> None:
    print(text, flush=True)


COMMAND: Final = Command("simulate", "simulate.about", _add_options, _simulate)
