"""Entry: ``python -m fuzz [--seconds 60] [--only NAME] [--build DIR] [--headers DIR]``.

Builds each target and runs it for that long, two at a time. Exit status 1: a finding, or something
that a target needs is missing; 2: not called as asked.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fuzz import targets


def main(arguments: list[str] | None = None) -> int:
    """Build and run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="fuzzing of the compiled core (needs clang)")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long each target runs (default: 60)")
    names = [target.name for target in targets.TARGETS]
    parser.add_argument("--only", choices=names, action="append", help="this target alone; may be repeated")
    parser.add_argument(
        "--build", type=Path, default=targets.ROOT / "build" / "fuzz", metavar="DIR", help="default: build/fuzz"
    )
    parser.add_argument(
        "--headers", type=Path, default=targets.SOURCE, metavar="DIR", help="C headers (default: src/napcore)"
    )
    chosen = parser.parse_args(arguments)
    if chosen.seconds < 1:
        parser.error("--seconds: at least 1")
    wanted = [target for target in targets.TARGETS if not chosen.only or target.name in chosen.only]
    return targets.run(wanted, chosen.build.resolve(), chosen.headers.resolve(), chosen.seconds)


if __name__ == "__main__":
    sys.exit(main())
