"""``python -m faults``: the table of faults, row by row. See ``docs/faults.md``."""

from __future__ import annotations

import argparse
import sys
import time

from faults import one, pages, plants
from faults.report import Report
from faults.run import Runner
from faults.table import load

DEFAULT_SEED = 20251128


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the rows of every change, shortened: under 3 minutes")
    parser.add_argument("--rows", help="only these, by name: 1,3,16")
    parser.add_argument("--backend", choices=("asyncio", "trio"), help="only on this one")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of everything that is chosen by chance")
    parser.add_argument("--minutes", type=float, help="how long a soak lasts (default 20)")
    parser.add_argument("--plant", choices=tuple(plants.PLANTS), help="plant this fault in the plain core first")
    parser.add_argument("--plants", action="store_true", help="plant each of them; every one must be found")
    parser.add_argument("--pages", action="store_true", help="write the results into the tables of docs/faults.md")
    parser.add_argument("--logs", metavar="FOLDER", help="keep what each row logged")
    parser.add_argument("--jobs", type=int, default=6, help="rows at a time that do not measure times (default 6)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Returns 1 if anything failed."""
    arguments = parse()
    if arguments.one:
        one.main(arguments)
        return 0
    table = load()
    if arguments.list:
        for row in table.values():
            print(f"{row.name:>10}  {'quick' if row.quick else '     '}  {row.fault}: {row.expected}")
        return 0
    if arguments.plants:
        return plants.find_all(table, arguments)
    names = arguments.rows.split(",") if arguments.rows else [row.name for row in table.values()]
    if unknown := [name for name in names if name not in table]:
        print(f"no such rows: {', '.join(unknown)}; --list has them", file=sys.stderr)
        return 2
    if arguments.plant and not arguments.rows:
        names = list(plants.PLANTS[arguments.plant].rows)
    rows = [table[name] for name in names if arguments.rows or not arguments.quick or table[name].quick]
    start = time.monotonic()
    report = Report()
    Runner(arguments, report).run(rows)
    report.close(time.monotonic() - start, arguments)
    if arguments.pages:
        pages.update(report.results, table, quick=arguments.quick)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
