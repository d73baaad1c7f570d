"""What every test shares: the event loops, the guard against blocking calls, hypothesis profiles."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "full", deadline=None, max_examples=5_000, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")

LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
INSTALLED = tuple(loop for loop in LOOPS if loop == "asyncio" or find_spec(loop))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--loops",
        default=",".join(INSTALLED),
        help=f"event loops for async tests, a comma list of {', '.join(LOOPS)} (default: those installed)",
    )
    parser.addoption("--canary", action="store_true", help="look for tokens and message texts in all that napcore says")


def chosen_loops(config: pytest.Config) -> list[str]:
    loops = [loop.strip() for loop in config.getoption("--loops").split(",")]
    for loop in loops:
        if loop not in LOOPS:
            raise pytest.UsageError(f"--loops: {loop!r} is none of {', '.join(LOOPS)}")
        if loop not in INSTALLED:
            raise pytest.UsageError(f"--loops: {loop} is not installed")
    return loops


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> None:
    """Let anyio run every ``async def test_…``: its ``anyio_mode = "auto"``, which our lowest anyio lacks."""
    test = obj.hypothesis.inner_test if hasattr(obj, "hypothesis") else obj
    if isinstance(collector, pytest.Module | pytest.Class) and collector.istestfunction(obj, name):
        if inspect.iscoroutinefunction(test):
            pytest.mark.usefixtures("anyio_backend")(obj)


def pytest_configure(config: pytest.Config) -> None:
    chosen_loops(config)
    if config.getoption("--canary"):
        spec = spec_from_file_location("canary", Path(__file__).with_name("canary.py"))
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        config.pluginmanager.register(module, "canary")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" in metafunc.fixturenames:
        loops = chosen_loops(metafunc.config)
        metafunc.parametrize("anyio_backend", [LOOPS[loop] for loop in loops], ids=loops, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by folder, ahead of the selection by ``-m``, so that no file below can forget its marker.

    A test that names a loop as its parameter is skipped where that loop is not installed.
    """
    here = Path(__file__).parent
    absent = LOOPS.keys() - set(INSTALLED)
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        for loop in absent.intersection(value for value in parameters if isinstance(value, str)):
            item.add_marker(pytest.mark.skip(f"{loop} is not installed"))
        if item.path.is_relative_to(here / "dist"):
            item.add_marker("slow")
        elif item.path.is_relative_to(here / "e2e"):
            item.add_marker("e2e")
        elif item.path.is_relative_to(here / "autobahn"):
            item.add_marker("autobahn")


@pytest.fixture(scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The loop of this round; ``--loops`` says which there are."""
    loop: tuple[str, dict[str, Any]] = request.param
    return loop


@pytest.fixture(scope="session", autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """Fail where napcore blocks an event loop. Seen on asyncio and uvloop only; the code on trio is the same."""
    with blockbuster_ctx("napcore") as guard:
        yield guard
