"""Fixtures for pytest, there wherever napcore is installed: ``napcore_simulator`` and its like.

They are async fixtures of anyio's plugin, so a test that uses them is marked ``@pytest.mark.anyio`` and
runs on the loops that ``anyio_backend`` names. pytest loads this module at its start; what it
hands out is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from napcore.net.relay import Relay
    from napcore.testing.client import RecordingClient
    from napcore.testing.script import ScriptedUpstream
    from napcore.testing.simulator import Simulator

__all__ = ("napcore_client", "napcore_relay", "napcore_simulator", "napcore_upstream")


@pytest.fixture
async def napcore_simulator(anyio_backend: Any) -> AsyncIterator[Simulator]:
    """A stand-in NapCat for account 10001 that listens: ``napcore.connect(napcore_simulator.url)``.

    It has five groups (``napcore_simulator.events.groups``), always the same, and no heartbeat.
    """
    import math  # noqa: PLC0415

    from napcore.testing.simulator import Simulator  # noqa: PLC0415

    async with Simulator(10001, groups=5, seed=0, heartbeat=math.inf) as simulator:
        await simulator.listen()
        yield simulator


@pytest.fixture
async def napcore_upstream(anyio_backend: Any) -> AsyncIterator[ScriptedUpstream]:
    """An upstream that listens and does what the test's scripts say: ``napcore_upstream.scripts.append(Script()...)``.

    The test fails if something that a script expects does not come.
    """
    from napcore.testing.script import ScriptedUpstream  # noqa: PLC0415

    async with ScriptedUpstream() as upstream:
        await upstream.listen()
        yield upstream


@pytest.fixture
async def napcore_client(anyio_backend: Any) -> AsyncIterator[RecordingClient]:
    """A OneBot client that writes down what it gets; it dials (``connect``) or is dialled (``listen``)."""
    from napcore.testing.client import RecordingClient  # noqa: PLC0415

    async with RecordingClient() as client:
        yield client


@pytest.fixture
async def napcore_relay(anyio_backend: Any) -> AsyncIterator[Relay]:
    """A relay that runs; the test fails if an event in it is unaccounted for at the end."""
    from napcore.net.relay import Relay  # noqa: PLC0415
    from napcore.testing.ledger import check_ledger  # noqa: PLC0415

    async with Relay() as relay:
        yield relay
    check_ledger(relay, ended=True)
