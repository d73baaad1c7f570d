"""The examples of this folder under mypy --strict, against the package as a dependent has it: through py.typed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def mypy(file: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", file.name],
        cwd=file.parent,
        env={**os.environ, "MYPYPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_the_examples_check(tmp_path: Path, cache: Path) -> None:
    shutil.copy(HERE / "public_api.py", tmp_path)
    done = mypy(tmp_path / "public_api.py", cache)
    assert done.stdout == "Success: no issues found in 1 source file\n"
    assert done.returncode == 0


def test_a_wrong_example_is_found(tmp_path: Path, cache: Path) -> None:
    """Were the package untyped, everything would be Any and every example right."""
    (tmp_path / "wrong.py").write_text("import napcore\nx: int = napcore.peek(b'{}').kind\n", "utf-8")
    done = mypy(tmp_path / "wrong.py", cache)
    assert 'wrong.py:2: error: Incompatible types in assignment (expression has type "str | None"' in done.stdout
