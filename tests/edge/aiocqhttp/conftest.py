"""aiocqhttp in this process, attached to a relay that a stand-in NapCat is linked to; skipped without aiocqhttp."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

HERE = Path(__file__).parent

if importlib.util.find_spec("aiocqhttp") is None:
    collect_ignore = [path.name for path in HERE.glob("test_*.py") if path.name != "test_present.py"]
else:
    spec = importlib.util.spec_from_file_location("napcore_aiocqhttp_stage", HERE / "stage.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = stage = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stage)


@pytest.fixture(autouse=True)
def framework_may_block(no_blocking_calls: BlockBuster) -> Iterator[None]:
    """Handlers run below a frame of napcore's here."""
    no_blocking_calls.deactivate()
    yield
    no_blocking_calls.activate()


@pytest.fixture(autouse=True)
def only_asyncio(request: pytest.FixtureRequest) -> None:
    """The one loop that aiocqhttp runs on."""
    if "anyio_backend" in request.fixturenames and request.getfixturevalue("anyio_backend")[0] != "asyncio":
        pytest.skip("aiocqhttp runs on asyncio")


@pytest.fixture
def seen() -> Any:
    """What handlers write down."""
    return stage.Seen()


@pytest.fixture(params=["thread", "loop", "unentered"])
def kind(request: pytest.FixtureRequest) -> str:
    """Where the relay runs."""
    return str(request.param)
