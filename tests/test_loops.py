"""The frame of the other tests: loops, timeouts and guards are really in force."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import anyio
import sniffio

HERE = Path(__file__).parent


def pytest_in(tmp_path: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` as a test file under the settings and the conftest of this folder."""
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text("utf-8"), "utf-8")
    (tmp_path / "test_inner.py").write_text(code, "utf-8")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            HERE.parent / "pyproject.toml",
            "--rootdir",
            tmp_path,
            tmp_path,
            *arguments,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_the_chosen_loop_runs(anyio_backend: tuple[str, dict[str, bool]]) -> None:
    name, options = anyio_backend
    assert sniffio.current_async_library() == name
    if name == "asyncio":
        import asyncio

        module = type(asyncio.get_running_loop()).__module__
        assert module.split(".")[0] == ("uvloop" if options["use_uvloop"] else "asyncio")


async def test_tasks_can_be_ordered_without_sleeping() -> None:
    seen: list[int] = []

    async def receive(event: anyio.Event) -> None:
        await event.wait()
        seen.append(1)

    async with anyio.create_task_group() as tasks:
        event = anyio.Event()
        tasks.start_soon(receive, event)
        await anyio.wait_all_tasks_blocked()
        assert seen == []
        event.set()
    assert seen == [1]


def test_every_async_test_runs_once_per_loop(tmp_path: Path) -> None:
    done = pytest_in(tmp_path, "async def test_a(): pass\ndef test_b(): pass\n", "-v")
    assert done.returncode == 0, done.stdout
    loops = [loop for loop in ("asyncio", "uvloop", "trio") if loop == "asyncio" or find_spec(loop)]
    assert re.findall(r"::(\S+) PASSED", done.stdout) == [f"test_a[{loop}]" for loop in loops] + ["test_b"]


def test_loops_can_be_chosen(tmp_path: Path) -> None:
    done = pytest_in(tmp_path, "async def test_a(): pass\ndef test_b(): pass\n", "-v", "--loops", "asyncio")
    assert re.findall(r"::(\S+) PASSED", done.stdout) == ["test_a[asyncio]", "test_b"]


def test_an_unknown_loop_is_refused(tmp_path: Path) -> None:
    done = pytest_in(tmp_path, "def test_a(): pass\n", "--loops", "asyncio,tokio")
    assert done.returncode == 4
    assert "--loops: 'tokio' is none of asyncio, uvloop, trio" in done.stderr


def test_what_must_fail_fails(tmp_path: Path) -> None:
    code = """
import warnings
import pytest

def test_warning():
    warnings.warn("planted")

@pytest.mark.xfail
def test_unexpected_success():
    pass

@pytest.mark.timeout(0.1)
def test_endless():
    while True:
        pass
"""
    done = pytest_in(tmp_path, code)
    assert "UserWarning: planted" in done.stdout
    assert "XPASS(strict)" in done.stdout
    assert "Timeout (>0.1s)" in done.stdout
    assert "3 failed" in done.stdout


def test_an_unknown_marker_is_refused(tmp_path: Path) -> None:
    done = pytest_in(tmp_path, "import pytest\n@pytest.mark.typo\ndef test_a(): pass\n")
    assert done.returncode == 2
    assert "'typo' not found in `markers`" in done.stdout


def test_a_blocking_call_inside_the_package_fails(tmp_path: Path) -> None:
    code = """
import time
from pathlib import Path
import napcore

async def test_a():
    # compiled under a file name of the package, as if one of its modules slept
    exec(compile("time.sleep(0)", Path(napcore.__file__).parent / "net" / "planted.py", "exec"), {"time": time})

async def test_b():
    time.sleep(0)
"""
    done = pytest_in(tmp_path, code, "--loops", "asyncio")
    assert "BlockingError: Blocking call to time.sleep" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
