"""The fixtures as a bot author's test has them: in a pytest of its own, with anyio's plugin, on both loops."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

INI = """
[pytest]
addopts = -p no:benchmark -p no:nonebug -p no:cacheprovider
filterwarnings = error
"""

CONFTEST = """
import pytest

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param
"""

TESTS = """
import napcore
import pytest
from napcore.testing import Script, Simulator

pytestmark = pytest.mark.anyio


async def test_simulator(napcore_simulator):
    async with napcore.connect(napcore_simulator.url) as bot:
        await napcore_simulator.emit(napcore_simulator.events.group_message(message="ping"))
        async for event in bot:
            assert event.text == "ping"
            await bot.send(event, "pong")
            break
    (call,) = napcore_simulator.calls
    assert call["params"]["message"] == "pong"
    assert len(napcore_simulator.events.groups) == 5


async def test_upstream(napcore_upstream):
    event = {"self_id": 10001, "post_type": "message", "message_type": "private", "user_id": 7, "message_id": 1}
    napcore_upstream.scripts.append(Script().send(event).expect("send_private_msg", user_id=7).close(1011))
    async with napcore.connect(napcore_upstream.url) as bot:
        async for event in bot:
            await bot.send(event, "hi")
            break
        await napcore_upstream.played()


async def test_relay_and_client(napcore_relay, napcore_client):
    listener = await napcore_relay.listen("127.0.0.1", 0)
    event = {"self_id": 1, "post_type": "message", "message_type": "private", "user_id": 7}
    napcore_relay.publish(event)
    await napcore_client.connect(listener.url)
    await napcore_client.wait_for(lambda: napcore_client.meta)
    napcore_relay.publish(event)
    await napcore_client.received(1)


async def test_all_at_once(napcore_simulator, napcore_relay, napcore_client, napcore_upstream):
    await napcore_relay.add_upstream(napcore_simulator.url).ready()
    napcore_relay.add_client("bot", await napcore_client.listen())
    await napcore_simulator.emit(napcore_simulator.events.group_message())
    await napcore_client.received(1)
"""

UNFULFILLED = """
import napcore
import pytest
from napcore.testing import Script

pytestmark = pytest.mark.anyio


async def test_upstream(napcore_upstream):
    napcore_upstream.scripts.append(Script().expect("send_private_msg", timeout=0.05))
    async with napcore.connect(napcore_upstream.url) as bot:
        await napcore_upstream.wait_for(lambda: napcore_upstream._problems)
"""

WATCHING = """
import sys

def pytest_collection_finish():
    loaded = sorted(name for name in sys.modules if name.split(".")[0] == "napcore")
    print("LOADED", loaded)
"""


def run(pytester: pytest.Pytester, **files: str) -> pytest.RunResult:
    pytester.makeini(INI)
    pytester.makepyfile(**files)
    return pytester.runpytest_subprocess("-q")


BOTH = pytest.mark.skipif(not find_spec("trio"), reason="trio is not installed")


@BOTH
def test_they_work_on_both_loops(pytester: pytest.Pytester) -> None:
    run(pytester, conftest=CONFTEST, test_bot=TESTS).assert_outcomes(passed=8)


@BOTH
def test_they_need_no_fixture_of_the_user(pytester: pytest.Pytester) -> None:
    # anyio's own anyio_backend runs a test on every backend that is installed.
    run(pytester, test_bot=TESTS).assert_outcomes(passed=8)


@BOTH
def test_what_a_script_expects_and_does_not_come_fails_the_test(pytester: pytest.Pytester) -> None:
    result = run(pytester, conftest=CONFTEST, test_bot=UNFULFILLED)
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        ["*AssertionError: script 1, step 1 (expect send_private_msg): the bot has not called*"]
    )


def test_they_are_listed_with_what_they_are(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(test_one="def test_one(): pass")
    shown = pytester.runpytest_subprocess("--fixtures").stdout.str()
    for name in ("simulator", "upstream", "client", "relay"):
        assert f"napcore_{name}" in shown
    ours = shown.partition("napcore.testing.fixtures")[2].partition("fixtures defined from")[0]
    assert "no docstring available" not in ours


def test_pytest_loads_nothing_but_the_inner_rings_until_one_is_asked_for(pytester: pytest.Pytester) -> None:
    result = run(pytester, conftest=WATCHING, test_one="def test_one(): pass")
    result.assert_outcomes(passed=1)
    (line,) = [line for line in result.stdout.lines if line.startswith("LOADED")]
    loaded = json.loads(line.removeprefix("LOADED ").replace("'", '"'))
    assert "napcore.testing.fixtures" in loaded
    assert [name for name in loaded if name.startswith(("napcore.net", "napcore.edge"))] == []
    assert [name for name in loaded if name.startswith("napcore.testing.")] == ["napcore.testing.fixtures"]


def test_the_module_itself_imports_no_loop_and_no_network(tmp_path: Path) -> None:
    code = (
        "import sys, pytest, json; before = set(sys.modules); import napcore.testing.fixtures;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert "napcore.testing.fixtures" in loaded
    assert [name for name in loaded if name.split(".")[0] in ("anyio", "asyncio", "trio", "websockets", "ssl")] == []
    assert [name for name in loaded if name.startswith("napcore.net")] == []


def test_it_is_an_entry_point() -> None:
    (found,) = [point for point in entry_points(group="pytest11") if point.name == "napcore"]
    assert found.value == "napcore.testing.fixtures"


async def test_they_are_here_too(napcore_simulator: object, napcore_relay: object) -> None:
    assert napcore_simulator.url.startswith("ws://127.0.0.1:")  # type: ignore[attr-defined]
    assert napcore_relay.running  # type: ignore[attr-defined]
