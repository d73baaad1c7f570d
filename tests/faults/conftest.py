from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def root_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """``faults`` is no part of the package: it is found from the project's folder alone."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])


@pytest.fixture
def faults() -> Callable[[str], Any]:
    """``faults("proxy")``: a module of the rig."""
    return lambda name: importlib.import_module(f"faults.{name}")


@pytest.fixture
def fault_proxy(faults: Any) -> Any:
    """``with fault_proxy(port) as proxy``: a TCP proxy that breaks what passes through it."""
    return faults("proxy").FaultProxy
