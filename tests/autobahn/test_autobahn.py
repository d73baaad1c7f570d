"""The Autobahn TestSuite against links of both roles on both loops: sections 1 to 7, 9 and 10.

Compression (12 and 13) is left out: napcore offers none. ``NAPCORE_WSTEST`` is the Python 2.7 that
``install.sh`` has made; without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PYTHON = os.environ.get("NAPCORE_WSTEST", "")
SECTIONS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
CASES = 301
"""Counted: wstest ends with 0 even when nothing could be connected."""

PATIENCE = 300.0

FRAGMENTS = "in {} fragments: 1009, for a message may be in 4,096 (a flood of small ones costs more than its bytes)"
EXPLAINED: dict[str, tuple[str, str]] = {
    "7.1.6": ("INFORMATIONAL", "256 KiB, then a close, then a ping: the TestSuite only writes down what happens"),
    "7.13.1": ("INFORMATIONAL", "close code 5000, of which no standard speaks: 1002"),
    "7.13.2": ("INFORMATIONAL", "close code 65535, likewise"),
    "9.3.1": ("FAILED", "a text of 4 MiB " + FRAGMENTS.format("65,536")),
    "9.3.2": ("FAILED", "a text of 4 MiB " + FRAGMENTS.format("16,384")),
    "9.3.3": ("FAILED", "a text of 4 MiB " + FRAGMENTS.format("4,096 and an empty last one")),
    "9.4.1": ("FAILED", "a binary message of 4 MiB " + FRAGMENTS.format("65,536")),
    "9.4.2": ("FAILED", "a binary message of 4 MiB " + FRAGMENTS.format("16,384")),
    "9.4.3": ("FAILED", "a binary message of 4 MiB " + FRAGMENTS.format("4,096 and an empty last one")),
}
"""Every case that is not plainly OK, and why."""

pytestmark = [
    pytest.mark.timeout(2 * PATIENCE),
    pytest.mark.skipif(not PYTHON, reason="NAPCORE_WSTEST does not name a Python with the TestSuite"),
]
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wstest(folder: Path, mode: str, specification: dict[str, Any]) -> list[str]:
    path = folder / "specification.json"
    path.write_text(json.dumps({"outdir": str(folder / "reports"), "cases": SECTIONS, **specification}))
    return [PYTHON, str(HERE / "wstest.py"), "-m", mode, "-s", str(path), "-u", "0"]


def judge(folder: Path) -> None:
    (cases,) = json.loads((folder / "reports" / "index.json").read_text()).values()
    assert len(cases) == CASES
    told = {name: case["behavior"] for name, case in cases.items() if case["behavior"] != "OK"}
    # An explanation for what does not happen any more would hide the next fault.
    assert told == {name: behaviour for name, (behaviour, _) in EXPLAINED.items()}
    for name, case in cases.items():
        assert case["behaviorClose"] == told.get(name, "OK"), name
        if told.get(name) == "FAILED":
            assert case["remoteCloseCode"] == 1009, name


@BACKENDS
def test_server(backend: str, tmp_path: Path) -> None:
    with started(sys.executable, str(HERE / "echo.py"), "server", backend) as echo:
        assert echo.stdout is not None
        url = f"ws://127.0.0.1:{int(echo.stdout.readline())}"
        command = wstest(tmp_path, "fuzzingclient", {"servers": [{"agent": "napcore", "url": url}]})
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    judge(tmp_path)


@BACKENDS
def test_client(backend: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    with started(*wstest(tmp_path, "fuzzingserver", {"url": url})):
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "wstest does not listen"
                time.sleep(0.1)
        subprocess.run([sys.executable, str(HERE / "echo.py"), "client", backend, url], check=True, timeout=PATIENCE)
    judge(tmp_path)
