"""One row on one backend, in this process; prints one line of JSON. Run by ``python -m faults``."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import time
import traceback

import anyio

from faults import plants
from faults.case import Case, Skipped
from faults.system import descriptors
from faults.table import Row, load

__all__ = ("main",)


async def attempt(row: Row, case: Case) -> None:
    """Run the row, then see to it that nothing of it is left."""
    before = descriptors(), len(anyio.get_running_tasks())
    try:
        await row.work(case)
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, anyio.get_cancelled_exc_class())):
            raise
        cause = _innermost(error)
        if isinstance(cause, Skipped):
            # Whatever task groups it came through.
            raise cause from None
        case.failures.append(f"{type(cause).__name__}: {str(cause).split(chr(10))[0]}")
        traceback.print_exc()
    with anyio.move_on_after(3.0):
        while (left := (descriptors(), len(anyio.get_running_tasks()))) > before:
            gc.collect()
            await anyio.sleep(0.05)
    case.check(left[0] <= before[0], f"{left[0] - before[0]} descriptors are left open")
    case.check(left[1] <= before[1], f"{left[1] - before[1]} tasks are left")


def main(arguments: argparse.Namespace) -> None:
    """Carry one row out and say how it went."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(relativeCreated)9.0f %(name)s %(message)s")
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    row = load()[arguments.one]
    if arguments.plant:
        plants.apply(arguments.plant)
    case = Case(arguments.backend, quick=arguments.quick, seed=arguments.seed, minutes=arguments.minutes)
    start = time.monotonic()
    skipped = ""
    try:
        anyio.run(attempt, row, case, backend=arguments.backend)
    except Skipped as reason:
        skipped = str(reason)
    result = {
        "figures": case.figures,
        "failures": case.failures,
        "skipped": skipped,
        "seconds": time.monotonic() - start,
    }
    print(json.dumps(result))


def _innermost(error: BaseException) -> BaseException:
    while len(inner := getattr(error, "exceptions", [])) == 1:
        error = inner[0]
    return error
