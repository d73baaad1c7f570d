"""What a dependent may rely on when it writes ``import napcore``, seen from fresh interpreters."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import napcore

HERE = Path(__file__).parent
PACKAGE = Path(napcore.__file__).parent
MODULES = sorted(
    ".".join(("napcore", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"
)


OF_FRAMEWORKS = {
    "napcore.edge.nonebot.adapter": ("nonebot2", "nonebot-adapter-onebot"),
    "napcore.edge.nonebot.driver": ("nonebot2",),
}
"""Modules that are made of a framework's classes, and the distributions they need."""


def python(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = python(HERE / "import_napcore.py", cwd=tmp_path_factory.mktemp("elsewhere"))
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_same_package_is_looked_at(seen: dict[str, Any]) -> None:
    assert seen["file"] == napcore.__file__
    assert {"napcore", "napcore.dispatch", "napcore.core.hub", "napcore.errors", "orjson"} <= set(seen["modules"])


@pytest.mark.parametrize(
    "module", ["asyncio", "anyio", "h11", "msgspec", "sniffio", "socket", "ssl", "trio", "websockets"]
)
def test_import_loads_no_loop_and_no_network(seen: dict[str, Any], module: str) -> None:
    assert [name for name in seen["modules"] if name.split(".")[0] == module] == []


def test_import_loads_the_inner_rings_only(seen: dict[str, Any]) -> None:
    rings = ("napcore.core.config", "napcore.net", "napcore.testing", "napcore.edge")
    assert [name for name in seen["modules"] if name.startswith(rings)] == []
    others = {name.split(".")[0] for name in seen["modules"]} - sys.stdlib_module_names
    # every Cython module registers the first two; the third is the standard library's, under a name of the platform
    others = {name for name in others if not name.startswith(("cython_runtime", "_cython_", "_sysconfigdata_"))}
    assert others == {"napcore", "orjson"}


def test_import_opens_and_starts_nothing(seen: dict[str, Any]) -> None:
    assert seen["events"] == []
    assert seen["threads"] == ["MainThread"]


def test_import_configures_no_logging(seen: dict[str, Any]) -> None:
    assert seen["root_handlers"] == []
    assert {name: handlers for name, handlers in seen["handlers"].items() if handlers} == {"napcore": ["NullHandler"]}
    assert seen["levels"] == [0, True]


def test_what_must_not_happen_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "napcore.py").write_text(
        "import asyncio, logging, socket, threading\n"
        "threading.Thread(target=threading.Event().wait, name='planted', daemon=True).start()\n"
        "socket.socket().close()\n"
        "open('planted.txt', 'w').close()\n"
        "logging.basicConfig()\n"
        "logging.getLogger('napcore.x').addHandler(logging.StreamHandler())\n",
        "utf-8",
    )
    code = f"import runpy, sys; sys.path.insert(0, '.'); runpy.run_path({str(HERE / 'import_napcore.py')!r})"
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    planted = json.loads(done.stdout)
    assert "asyncio.events" in planted["modules"]
    assert planted["threads"] == ["MainThread", "planted"]
    assert {"socket.__new__", "open('planted.txt', 'w')"} <= set(planted["events"])
    assert len(planted["root_handlers"]) == 1
    assert planted["handlers"] == {"napcore.x": ["StreamHandler"]}


def test_there_are_modules_to_import() -> None:
    assert {"napcore", "napcore.core.hub", "napcore.dispatch", "napcore.net.relay", "napcore.edge.cli"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_each_module_imports_alone(module: str, tmp_path: Path) -> None:
    """A circular import shows only in an interpreter that starts with this module."""
    for distribution in OF_FRAMEWORKS.get(module, ()):
        if not any(metadata.distributions(name=distribution)):
            pytest.skip(f"{distribution} is not installed")
    done = python("-c", f"import {module}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
