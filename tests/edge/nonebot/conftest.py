"""NoneBot2 in this process, emptied for each test; without NoneBot2 everything here is skipped."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from blockbuster import BlockBuster

HERE = Path(__file__).parent


def is_missing(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return True
    return False


MISSING = [name for name in ("nonebot2", "nonebot-adapter-onebot") if is_missing(name)]


def load(name: str) -> ModuleType:
    """A module beside this file, by a name of its own: folders of tests are no packages."""
    full = f"napcore_nonebot_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


if MISSING:
    collect_ignore = [path.name for path in HERE.glob("test_*.py") if path.name != "test_present.py"]
else:
    import nonebot
    from nonebot.log import logger

    logger.remove()
    nonebot.init(
        driver="~none",
        superusers={"7"},
        command_start={"/", ""},
        command_sep={"."},
        nickname=set(),
        log_level="WARNING",
    )
    load("program")
    load("bench")


@pytest.fixture(autouse=True)
def framework_may_block(no_blocking_calls: BlockBuster) -> Iterator[None]:
    """Handlers and loguru, which reads source files for its tracebacks, run below a frame of napcore's here."""
    no_blocking_calls.deactivate()
    yield
    no_blocking_calls.activate()


@pytest.fixture
def no_matchers() -> Iterator[None]:
    """NoneBot2 without matchers, commands or hooks, and without napcore afterwards."""
    bench: Any = load("bench")
    bench.reset()
    yield
    bench.reset()
