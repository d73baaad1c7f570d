"""What the system tells of a process, and the limits it can set: memory, CPU time, descriptors, clocks, the network.

Whatever a machine cannot do raises Skipped, with what is missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from faults.case import Skipped

__all__ = (
    "cgroup",
    "descriptors",
    "dropped_packets",
    "faketime_environment",
    "in_cgroup",
    "peak_resident",
    "resident",
    "trim",
)

CGROUPS: Final = Path("/sys/fs/cgroup")


def resident(pid: int | None = None) -> int:
    """Bytes of a process in memory; this one's by default, without what it has freed."""
    if pid is None:
        trim()
    with open(f"/proc/{pid or os.getpid()}/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_resident(pid: int) -> int:
    """The most bytes it has had in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise Skipped("the kernel does not tell a process's peak memory")


def trim() -> None:
    """Give memory that was freed back to the system, so that what is resident is in use."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def descriptors(pid: int | None = None) -> int:
    """How many descriptors a process has open; this one's by default."""
    return len(os.listdir(f"/proc/{pid or os.getpid()}/fd"))


@contextmanager
def cgroup(controller: str, **limits: int) -> Iterator[Path]:
    """A new control group (version 1) with these limits, such as ``cfs_quota_us``; removed in the end."""
    parent = CGROUPS / controller
    if not (parent / "cgroup.procs").exists():
        raise Skipped(f"no cgroup v1 controller {controller!r} is mounted here")
    group = parent / f"napcore-faults-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise Skipped(f"a cgroup cannot be made here: {error.strerror}") from error
    try:
        for name, limit in limits.items():
            (group / f"{controller}.{name}").write_text(str(limit))
        yield group
    finally:
        # A process that has just ended may still be in it.
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.02)


def in_cgroup(group: Path, command: list[str]) -> list[str]:
    """``command``, to be run inside ``group`` from its first instruction on."""
    return ["/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *command]


def faketime_environment(clock: Path) -> dict[str, str]:
    """Environment of a process whose wall clock is off by what the file ``clock`` says, such as ``+1d``; the monotonic
    one goes on as it is. The file may change meanwhile."""
    found = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if found is None:
        raise Skipped("libfaketime is not installed (Debian: apt-get install faketime)")
    return {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@contextmanager
def dropped_packets(port: int) -> Iterator[None]:
    """Drop every TCP packet from and to ``port`` on this machine, as a dead network does."""
    if shutil.which("nft") is None or sys.platform != "linux":
        raise Skipped("nft is not installed (Debian: apt-get install nftables)")
    table = f"napcore_faults_{os.getpid()}_{port}"
    rules = f"""table inet {table} {{
        chain input {{
            type filter hook input priority 0;
            tcp sport {port} drop
            tcp dport {port} drop
        }}
    }}"""
    done = subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True)
    if "not permitted" in done.stderr or "not supported" in done.stderr:
        raise Skipped(f"nft cannot set rules here: {done.stderr.splitlines()[0]}")
    if done.returncode:
        raise RuntimeError(done.stderr)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], capture_output=True)
