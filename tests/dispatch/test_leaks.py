"""What events leave behind in memory does not grow with their number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "isolated" / "leaks.py"
RESIDENT_BOUND = 1 << 20
"""Bytes: a leak of 8 per event shows at 200,000 events, and one of a page is noise."""
TRACED_BOUND = 64 << 10
"""Bytes in Python objects; how full the lanes happen to be at the end is a part of it."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident size is read from /proc")
# Half a minute, and several on a machine that has other things to do.
@pytest.mark.timeout(300)
def test_events_leave_nothing_behind(core: Any) -> None:
    name = core.__name__.rpartition(".")[2]
    count = int(os.environ.get("NAPCORE_LEAK_EVENTS", 200_000)) if name == "_dispatch" else 4_000  # the twin is slow
    # Where a sanitizer is loaded, what it holds back after free() would be taken for a leak.
    options = f"{os.environ.get('ASAN_OPTIONS', '')}:quarantine_size_mb=1:thread_local_quarantine_size_kb=64".lstrip(
        ":"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, "--events", str(count), "--core", name],
        env={**os.environ, "ASAN_OPTIONS": options},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == count
    assert report["events"] > count // 2
    assert set(report["dropped"]) == {"disconnect", "hold", "newest", "oldest", "oversize", "ttl", "uncertain"}
    assert report["traced_growth"] < TRACED_BOUND, report
    assert report["resident_growth"] < RESIDENT_BOUND, report
