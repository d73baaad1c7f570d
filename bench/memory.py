"""What a filter and a pattern cost in memory, counted by glibc's allocator in a child process of its own.

``PYTHONMALLOC=malloc`` sends Python's objects there too, so that C structs and Python sets are
measured by one ruler. The outbox, which is one for all, is not counted; neither are the ids
themselves, which the callers hold anyway.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from random import Random

from bench.corpus import FIRST_GROUP, UNIVERSE
from bench.peers import index_of, pyahocorasick
from bench.report import Table
from bench.texts import Mix, patterns
from napcore import dispatch

FILTERS = 1_000
PER_FILTER = (1, 20, 200)
DESIGNS = ("napcore", "set per filter", "dict index")
PATTERNS = 10_000
PATTERN_KINDS = ("commands", "prefix", "suffix", "fullmatch", "keywords")


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def _counter() -> Callable[[], int] | None:
    """A function that returns the bytes in use; None where the C library has none."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    mallinfo.restype = _Mallinfo

    def used() -> int:
        info = mallinfo()
        return int(info.uordblks) + int(info.hblkhd)

    return used


def available() -> bool:
    """Whether memory can be measured here."""
    return _counter() is not None


def measure(design: str, per_filter: int) -> float:
    """Bytes per filter; to be called in a fresh process."""
    used = _counter()
    assert used is not None, "glibc 2.33 or later is needed"
    random = Random(1)
    ids = list(range(FIRST_GROUP, FIRST_GROUP + UNIVERSE))
    wanted = [random.sample(ids, per_filter) for _ in range(FILTERS)]
    keep: list[object] = []
    router, outbox = dispatch.Router(), dispatch.Outbox()
    before = used()
    if design == "napcore":
        for groups in wanted:
            router.add(outbox, groups=groups)
    elif design == "set per filter":
        keep.append([frozenset(groups) for groups in wanted])
    else:
        sets = [frozenset(groups) for groups in wanted]
        before = used()
        keep.append(index_of(sets, range(FILTERS)))
    return (used() - before) / FILTERS


def measure_patterns(design: str, script: str) -> float:
    """Bytes per pattern, its row and all; to be called in a fresh process."""
    used = _counter()
    assert used is not None, "glibc 2.33 or later is needed"
    words = [text for _, text in patterns(Random(1), PATTERNS, Mix(("keywords",), script))]
    before = used()
    if design == "pyahocorasick keywords":
        keep: object = pyahocorasick(words)
        assert keep, "pyahocorasick is not installed"
    else:
        keep = index = dispatch.TextIndex()
        for word in words:
            index.add(**{design: [word]})  # type: ignore[arg-type]
    return (used() - before) / PATTERNS


def texts_table() -> Table:
    """All kinds of patterns, of both scripts."""
    designs = [*PATTERN_KINDS, *(["pyahocorasick keywords"] if pyahocorasick(["a"]) else [])]
    scripts = ("Chinese", "ASCII")
    lines = [
        [design, *(f"{_in_child('measure_patterns', design, script):,.0f}" for script in scripts)] for design in designs
    ]
    return Table(
        f"memory: bytes per pattern ({PATTERNS} rows of one)", ("kind", "Chinese, 2 to 5", "ASCII, 4 to 9"), lines
    )


def table() -> Table:
    """All designs and sizes."""
    lines = [[design, *(f"{_in_child('measure', design, size):,.0f}" for size in PER_FILTER)] for design in DESIGNS]
    return Table(
        f"memory: bytes per filter ({FILTERS} filters)", ("design", *(f"{size} groups" for size in PER_FILTER)), lines
    )


def _in_child(function: str, design: str, size: int | str) -> float:
    code = f"from bench.memory import {function}; import sys; sys.stdout.write(str({function}({design!r}, {size!r})))"
    environment = {
        **os.environ,
        "PYTHONMALLOC": "malloc",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)
