"""What has to be there before a run: the C programs, compiled on the fly, and node's ``ws``."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "napcore-bench"
"""Where npm puts ``ws``: outside the project."""


class CannotBuild(Exception):
    """There is no C compiler, or it failed."""


@dataclass(frozen=True)
class Tools:
    """Programs to run; None where one cannot be had."""

    driver: Path
    floor: Path
    tls: bool
    """Whether the driver speaks TLS: OpenSSL's headers were there."""
    node: Path | None
    """The folder ``node_modules`` with ``ws`` in it."""


def build(folder: Path) -> Tools:
    """Compile driver and floor servers into ``folder``.

    Raises:
        CannotBuild: no compiler, or not Linux.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or not Path("/proc/self/schedstat").exists():
        raise CannotBuild("needs Linux (epoll and /proc/PID/schedstat) and a C compiler")
    driver, floor = folder / "driver", folder / "floor"
    tls = _compile(compiler, driver, "-DWIRE_TLS", libraries=("-lssl", "-lcrypto")) is None
    for target in (floor, *(() if tls else (driver,))):
        if (error := _compile(compiler, target)) is not None:
            raise CannotBuild(f"{target.name}.c: {error}")
    return Tools(driver, floor, tls, _node_modules())


def _compile(compiler: str, target: Path, *flags: str, libraries: tuple[str, ...] = ()) -> str | None:
    """Why it failed; None when it worked."""
    source = HERE / f"{target.name}.c"
    command = [compiler, "-O2", "-D_GNU_SOURCE", *flags, "-o", str(target), str(source), *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr[-500:] if done.returncode else None


def _node_modules() -> Path | None:
    """``ws``, installed once; None without node, npm or their registry."""
    modules = CACHE / "node" / "node_modules"
    if shutil.which("node") is None:
        return None
    if not (modules / "ws").exists() and (npm := shutil.which("npm")) is not None:
        modules.parent.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(modules.parent), "ws", "bufferutil"]
        subprocess.run(command, capture_output=True, check=False)
    return modules if (modules / "ws").exists() else None
