"""Entry: ``python -m bench hot|wire|frameworks|calls [--quick] [--out DIR]`` and what each adds to that."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import calls, hot
from bench.wire import run as wire


def say(line: str) -> None:
    """At once, also into a pipe: a run takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; 1 when a case did not do its work, 2 when nothing is called as asked."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="napcore beside its peers, in one run")
    commands = parser.add_subparsers(dest="command", required=True)
    failed = (
        "Exit status 1: a case gave wrong results. An aim or floor that is missed does not change it: "
        "what a busy machine measures is not proof enough."
    )
    command = commands.add_parser("hot", help="reading, routing, encoding, queueing: no network", description=failed)
    command.add_argument("--quick", action="store_true", help="few rounds, about 20 s")
    command.add_argument("--only", default="", metavar="NAME", help='rows with NAME in "section, row"')
    command.add_argument("--rounds", type=int, metavar="N", help="rounds per row (default: 40, with --quick 7)")
    command.add_argument("--seed", type=int, default=hot.Options.seed, metavar="N", help="of the events and filters")
    command.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="default: bench/results")
    command.add_argument("--instructions", action="store_true", help="count instructions under valgrind instead")
    command = commands.add_parser("wire", help="delivery over sockets, beside C and other servers", description=failed)
    command.add_argument("--quick", action="store_true", help="one round of a few loads, about two minutes")
    command.add_argument("--only", default="", metavar="NAME", help="loads with NAME in their name")
    command.add_argument("--who", default="", metavar="NAME", help="contenders with NAME in theirs")
    command.add_argument("--rounds", type=int, metavar="N", help="rounds per load (default: 5, with --quick 1)")
    command.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="default: bench/results")
    command.add_argument(
        "--stall-seconds", type=float, default=30.0, metavar="S", help="how long one client does not read"
    )
    command = commands.add_parser(
        "frameworks",
        help="NoneBot2 and aiocqhttp, each alone and with napcore",
        description="Exit status 1: a case failed. An aim that is missed does not change it.",
    )
    command.add_argument("--quick", action="store_true", help="1 and 100 commands only, short troubles, two minutes")
    command.add_argument("--troubles", action="store_true", help="only links, events and answers in trouble")
    command.add_argument(
        "--only", default="", metavar="KIND", help="command, keyword, regex, alconna or mixed (NoneBot2), aiocqhttp"
    )
    command.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="default: bench/results")
    command.set_defaults(rounds=None)
    command = commands.add_parser(
        "calls", help="an API call, beside what NapCat does with it in Node", description=failed
    )
    command.add_argument("--quick", action="store_true", help="3 rounds")
    command.add_argument("--rounds", type=int, metavar="N", help="rounds per size (default: 9)")
    command.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="default: bench/results")
    chosen = parser.parse_args(arguments)
    if chosen.rounds is not None and chosen.rounds < 1:
        parser.error("--rounds: at least 1")
    return {"hot": _hot, "wire": _wire, "frameworks": _frameworks, "calls": _calls}[chosen.command](chosen, parser)


def _hot(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    results = hot.run(
        hot.Options(
            out=chosen.out,
            only=chosen.only,
            rounds=chosen.rounds or (7 if chosen.quick else hot.Options.rounds),
            seed=chosen.seed,
            quick=chosen.quick,
            instructions=chosen.instructions,
            budget_ns=60_000_000 if chosen.quick else hot.Options.budget_ns,
        ),
        say,
    )
    if results.failures:
        return 1
    if not results.rows and not results.tables and not results.skipped:
        parser.error(f"nothing is called {chosen.only!r}")
    return 0


def _wire(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    options = wire.Options(
        out=chosen.out,
        only=chosen.only,
        who=chosen.who,
        rounds=chosen.rounds or (1 if chosen.quick else wire.Options.rounds),
        quick=chosen.quick,
        stall_seconds=chosen.stall_seconds,
    )
    results = wire.run(options, hot.versions("picows", "aiohttp", "uvloop", "trio", "anyio"), say)
    if results.failures:
        return 1
    if not results.loads and not results.receive and not results.skipped:
        parser.error(f"nothing is called {chosen.only!r}, or nobody {chosen.who!r}")
    return 0


def _calls(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    rounds = chosen.rounds or (3 if chosen.quick else calls.Options.rounds)
    return calls.run(calls.Options(chosen.out, rounds), say)


def _frameworks(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """NoneBot2 is imported only when it is to be measured."""
    from bench import framework_bot, frameworks, troubles

    if chosen.troubles:
        return 1 if troubles.run(chosen.quick, say, chosen.out) else 0
    kinds = [kind for kind in framework_bot.KINDS if kind == chosen.only or (not chosen.only and not chosen.quick)]
    if chosen.quick and not chosen.only:
        kinds = ["command"]
    if not kinds and chosen.only != "aiocqhttp":
        parser.error(f"nothing is called {chosen.only!r}")
    counts = (1, 100) if chosen.quick else frameworks.Options.counts
    seconds = 0.5 if chosen.quick else frameworks.Options.seconds
    failures: list[str] = []
    if kinds:
        found = frameworks.run(frameworks.Options(kinds, counts, seconds, out=chosen.out), say)
        failures += found.failures
    if chosen.only in ("", "aiocqhttp"):
        failures += troubles.run(chosen.quick, say, chosen.out, chosen.only)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
