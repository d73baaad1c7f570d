"""``napcore run`` as a process of its own: where a limit, a clock or a signal is to hit the relay alone."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from faults.case import Case
from faults.child import Child, start
from faults.system import in_cgroup
from napcore import Relay
from napcore.core.stats import ClientStatistics, add_up

__all__ = ("Program", "run_program")


class Program:
    """The running relay."""

    def __init__(self, case: Case, child: Child, folder: Path) -> None:
        self.child = child
        self._case = case
        self._folder = folder

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self._folder / "log").read_text("utf-8", "replace")

    @property
    def port(self) -> int:
        """Where it listens."""
        found = re.search(r"listening on ws://127\.0\.0\.1:(\d+)", self.log)
        return int(found[1]) if found else 0

    @property
    def url(self) -> str:
        """The same, to be dialled."""
        return f"ws://127.0.0.1:{self.port}"

    def statistics(self) -> dict[str, ClientStatistics]:
        """Its closing statistics by client's name; the ledgers are looked at, too."""
        path = self._folder / "statistics.json"
        if not path.exists():
            self._case.failures.append(f"no closing statistics; it ended with {self.child.returncode}")
            return {}
        told: dict[str, Any] = json.loads(path.read_text())
        clients = tuple(add_up()._replace(**client) for client in told["clients"])
        gone = add_up()._replace(**told["gone"])
        self._case.ledger(Relay().statistics()._replace(clients=clients, gone=gone), ended=True)
        return {client.name: client for client in clients}


@asynccontextmanager
async def run_program(
    case: Case,
    config: str,
    *,
    cgroup: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Program]:
    """Run it with ``config``, which is given a listener; it is killed in the end unless it has ended by itself."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "napcore.toml").write_text(f'[listen]\nhost = "127.0.0.1"\nport = 0\n{config}', "utf-8")
        command: Sequence[str] = [
            sys.executable,
            "-m",
            "napcore",
            "run",
            str(folder / "napcore.toml"),
            "--backend",
            case.backend,
            "--statistics",
            str(folder / "statistics.json"),
        ]
        if cgroup is not None:
            command = in_cgroup(cgroup, list(command))
        with (folder / "log").open("wb") as log:
            async with start(case, command, environment, errors=log) as child:
                program = Program(case, child, folder)
                if not await case.until(lambda: program.port, "the relay's port", 60):
                    raise RuntimeError(program.log[-500:])
                yield program
