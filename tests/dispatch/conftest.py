"""Every test of the dispatch core runs on the compiled core and on its plain twin."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from napcore.types import EventClass, Outcome

CORES = ["_dispatch_py"] if os.environ.get("NAPCORE_PURE") == "1" else ["_dispatch", "_dispatch_py"]


@pytest.fixture(params=CORES, ids=lambda name: "plain" if name.endswith("_py") else "compiled", scope="session")
def core(request: pytest.FixtureRequest) -> Any:
    """The module under test; a compiled core that is missing is a failure, not a skip."""
    return importlib.import_module(f"napcore.{request.param}")


@pytest.fixture
def wire(core: Any) -> Any:
    """The module of the writer, reader and poller that belong to the core under test."""
    return importlib.import_module(core.__name__.replace("_dispatch", "_wire"))


@pytest.fixture
def event(core: Any) -> Callable[..., Any]:
    """Makes an event of the core under test from its fields."""

    def make(**fields: Any) -> Any:
        return core.peek(orjson.dumps(fields))

    return make


def check_ledger(outbox: Any) -> None:
    settled = outbox.confirmed + outbox.unconfirmed + outbox.queued + sum(outbox.dropped.values())
    assert outbox.received == settled
    assert len(outbox) == outbox.queued + outbox.control_queued


@pytest.fixture
def check() -> Callable[[Any], None]:
    """Asserts that an outbox's ledger closes."""
    return check_ledger


@pytest.fixture
def fill() -> Callable[..., list[Outcome]]:
    """Offers numbered messages to an outbox, and checks its ledger after each."""

    def offer(outbox: Any, count: int, size: int = 10, now: float = 0.0, first: int = 1) -> list[Outcome]:
        found = []
        for number in range(first, first + count):
            found.append(outbox.offer(b"%0*d" % (size, number), EventClass.MESSAGE, number, now))
            check_ledger(outbox)
        return found

    return offer
