"""The import rule: edge -> testing -> net -> core -> dispatch -> errors/types, and who may use which library."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "napcore"

RINGS = ("types", "dispatch", "core", "net", "testing", "edge")
DOORS = {"napcore", "napcore.nonebot", "napcore.aiocqhttp"}
"""Public modules that only hand out names of the rings; the rule does not bind them, and no ring imports them."""

LIBRARIES = {
    "types": set(),
    "dispatch": {"orjson"},
    "core": {"msgspec", "orjson"},
    "net": {"anyio", "h11", "orjson", "websockets"},
    "testing": {"anyio", "h11", "orjson", "websockets"},
    "edge": {"msgspec", "orjson", "tomli", "tomllib"},
}
"""What a ring imports besides the standard library. edge may import more inside functions: those are its extras."""

PYTEST_PLUGIN = "napcore.testing.fixtures"
"""The one module that imports pytest, which has loaded it."""

OF_FRAMEWORKS = {"napcore.edge.nonebot.adapter": "nonebot", "napcore.edge.nonebot.driver": "nonebot"}
"""Modules of edge that are made of a framework's classes: they import it, and are imported inside functions only."""

EXTRAS = {"core": {"re2"}}
"""What other rings may import inside functions."""

NO_IO = {"types", "dispatch", "core"}
IO_MODULES = {"asyncio", "http", "multiprocessing", "select", "selectors", "signal", "socket", "ssl", "subprocess"}
WITHOUT_WAITING = {"_poller_py.py": {"select"}}
"""Ring 0 asks the system which sockets are readable, as it writes to them and reads them: without waiting."""

LOOPS = {"asyncio", "sniffio", "trio", "uvloop"}
CYTHON = {"cpython", "cython", "libc"}

LIMITS = {".py": 400, ".pyi": 400, ".pyx": 900, ".pxd": 900, ".pxi": 900}


class Import(NamedTuple):
    """One import of one module, as it stands in a file."""

    line: int
    module: str
    in_function: bool
    type_checking: bool


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imported_by_call(node: ast.Call) -> str | None:
    """The literal of ``import_module("x")`` or ``__import__("x")``."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in {"import_module", "__import__"} and node.args and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return None


def absolute(package: str, level: int, module: str | None) -> str:
    parts = package.split(".")
    base = parts[: len(parts) - level + 1] if level else []
    return ".".join([*base, *([module] if module else [])])


def python_imports(source: str, package: str) -> Iterator[Import]:
    def visit(node: ast.AST, in_function: bool, type_checking: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, in_function, type_checking)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(package, node.level, node.module)
            for alias in node.names:
                # whether the name is a module or an attribute does not matter to the ring it lies in
                yield Import(node.lineno, f"{module}.{alias.name}", in_function, type_checking)
        elif isinstance(node, ast.Call) and (called := imported_by_call(node)) is not None:
            yield Import(node.lineno, called, in_function, type_checking)
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.body:
                yield from visit(child, in_function, True)
            for child in node.orelse:
                yield from visit(child, in_function, type_checking)
            return
        inside = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside, type_checking)

    yield from visit(ast.parse(source), False, False)


CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>[\w.]+)[ \t]+c?import\b|c?import[ \t]+(?P<names>[\w., \t]+))", re.M
)


def cython_imports(source: str, package: str) -> Iterator[Import]:
    """ast cannot read Cython; its files keep imports on lines of their own."""
    for match in CYTHON_IMPORT.finditer(source):
        line = source.count("\n", 0, match.start()) + 1
        base = match["base"]
        for name in [base] if base else match["names"].split(","):
            level = len(name) - len(name.lstrip("."))
            module = name.split(" as ")[0].strip(" .")
            yield Import(line, absolute(package, level, module), False, False)


def ring_of(module: str) -> str | None:
    """The ring of a napcore module, "door" for a public one, None where it belongs nowhere."""
    if module in DOORS:
        return "door"
    part = module.split(".")[1]
    if part in {"errors", "types"}:
        return "types"
    if part == "dispatch" or (part.startswith("_") and not part.startswith("__")):
        return "dispatch"
    if part == "__main__":
        return "edge"
    return part if part in RINGS else None


def module_of(path: Path, package: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(("napcore", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def wrong(ring: str, found: Import) -> str | None:
    """Why a ring may not have this import; None where it may."""
    top = found.module.split(".")[0]
    if any(found.module.startswith(name) for name in OF_FRAMEWORKS) and not (found.in_function or found.type_checking):
        return "imports its framework"
    if top == "napcore":
        if found.module == "napcore.__version__" and ring == "edge":
            return None
        target = ring_of(found.module)
        if target is None or target == "door":
            return "is no ring's"
        return f"is in {target}" if RINGS.index(target) > RINGS.index(ring) else None
    if top in LIBRARIES[ring] or top == "__future__":
        return None
    if ring in NO_IO and top in IO_MODULES:
        return "does I/O"
    if top == "typing_extensions" and found.type_checking:
        # Every type checker has it; nothing imports it when the program runs.
        return None
    if top in LOOPS:
        allowed = found.in_function or found.type_checking or (top == "asyncio" and ring in {"net", "testing"})
        return None if allowed and ring not in NO_IO else "is one event loop's"
    if top in sys.stdlib_module_names:
        return None
    if ring == "edge" and top != "anyio" and (found.in_function or found.type_checking):
        return None
    if top in EXTRAS.get(ring, ()) and found.in_function:
        return None
    return "is not among its libraries"


def problems(package: Path) -> list[str]:
    """Every import below ``package`` that breaks the rule, as ``file:line: text``."""
    out = []
    for path in sorted(package.rglob("*.p*")):
        if path.suffix not in LIMITS:
            continue
        module = module_of(path, package)
        name = path.relative_to(package).as_posix()
        ring = ring_of(module)
        if ring == "door":
            continue
        if ring is None:
            out.append(f"{name}: belongs to no ring")
            continue
        parent = module if path.stem == "__init__" else module.rpartition(".")[0]
        read = cython_imports if path.suffix in {".pyx", ".pxd", ".pxi"} else python_imports
        for found in read(path.read_text("utf-8"), parent):
            if path.suffix == ".pyi":
                found = found._replace(type_checking=True)  # nothing else reads it
            if found.module.split(".")[0] == OF_FRAMEWORKS.get(module):
                continue
            if read is cython_imports and found.module.split(".")[0] in CYTHON:
                continue
            if found.module in WITHOUT_WAITING.get(name, ()):
                continue
            if module == PYTEST_PLUGIN and found.module.split(".")[0] == "pytest":
                continue
            reason = wrong(ring, found)
            if reason:
                out.append(f"{name}:{found.line}: {ring} imports {found.module}, which {reason}")
    return out


def test_imports_point_inwards_only() -> None:
    assert problems(PACKAGE) == []


def test_the_rule_reads_the_real_tree() -> None:
    """An empty list of problems must not come from having looked at nothing."""
    rings = [ring_of(module_of(path, PACKAGE)) for path in PACKAGE.rglob("*.py")]
    assert {ring for ring in rings if ring} >= {"types", "dispatch", "core", "net"}
    imports = list(python_imports((PACKAGE / "core" / "hub.py").read_text("utf-8"), "napcore.core"))
    assert "napcore.dispatch.fan_out" in {found.module for found in imports}


@pytest.mark.parametrize(
    ("file", "code", "expected"),
    [
        ("core/a.py", "from napcore.net.relay import Relay", "core imports napcore.net.relay.Relay, which is in net"),
        ("core/a.py", "from napcore import net", "core imports napcore.net, which is in net"),
        ("core/a.py", "from ..net import relay", "core imports napcore.net.relay, which is in net"),
        ("core/a.py", "from .. import edge", "core imports napcore.edge, which is in edge"),
        ("core/__init__.py", "from ..testing import x", "core imports napcore.testing.x, which is in testing"),
        ("core/deep/a.py", "from ...net import x", "core imports napcore.net.x, which is in net"),
        ("core/a.py", "import napcore", "core imports napcore, which is no ring's"),
        ("core/a.py", "from napcore import Hub", "core imports napcore.Hub, which is no ring's"),
        ("core/a.py", "from napcore import __version__", "core imports napcore.__version__, which is no ring's"),
        ("edge/a.py", "from napcore import Relay", "edge imports napcore.Relay, which is no ring's"),
        ("core/a.py", "import napcore.nonebot", "core imports napcore.nonebot, which is no ring's"),
        ("core/a.py", "import napcore.edge.cli as cli", "core imports napcore.edge.cli, which is in edge"),
        ("core/a.py", "def f():\n    import napcore.net", "core imports napcore.net, which is in net"),
        (
            "core/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from napcore.net.link import Link",
            "core imports napcore.net.link.Link, which is in net",
        ),
        (
            "core/a.py",
            "import importlib\nimportlib.import_module('napcore.net')",
            "core imports napcore.net, which is in net",
        ),
        ("core/a.py", "import anyio", "core imports anyio, which is not among its libraries"),
        ("core/a.py", "import re2", "core imports re2, which is not among its libraries"),
        ("net/a.py", "def f():\n    import re2", "net imports re2, which is not among its libraries"),
        (
            "core/a.py",
            "from anyio.abc import ByteStream",
            "core imports anyio.abc.ByteStream, which is not among its libraries",
        ),
        ("core/a.py", "import asyncio", "core imports asyncio, which does I/O"),
        ("core/a.py", "def f():\n    import trio", "core imports trio, which is one event loop's"),
        ("core/a.py", "import socket", "core imports socket, which does I/O"),
        ("errors.py", "from napcore.dispatch import peek", "types imports napcore.dispatch.peek, which is in dispatch"),
        ("dispatch.py", "from napcore.core.hub import Hub", "dispatch imports napcore.core.hub.Hub, which is in core"),
        ("_dispatch_py.py", "import msgspec", "dispatch imports msgspec, which is not among its libraries"),
        ("_dispatch.pyx", "from napcore.core.hub import Hub", "dispatch imports napcore.core.hub, which is in core"),
        ("_dispatch.pyx", "from .core cimport hub", "dispatch imports napcore.core, which is in core"),
        ("_dispatch.pyx", "import os, asyncio", "dispatch imports asyncio, which does I/O"),
        (
            "_dispatch.pyi",
            "from napcore.core.hub import Hub",
            "dispatch imports napcore.core.hub.Hub, which is in core",
        ),
        ("net/a.py", "from napcore.testing import x", "net imports napcore.testing.x, which is in testing"),
        ("net/a.py", "import trio", "net imports trio, which is one event loop's"),
        (
            "net/a.py",
            "from typing_extensions import Unpack",
            "net imports typing_extensions.Unpack, which is not among its libraries",
        ),
        ("net/a.py", "import msgspec", "net imports msgspec, which is not among its libraries"),
        ("testing/a.py", "from napcore.edge import cli", "testing imports napcore.edge.cli, which is in edge"),
        ("testing/a.py", "import pytest", "testing imports pytest, which is not among its libraries"),
        ("edge/a.py", "import anyio", "edge imports anyio, which is not among its libraries"),
        ("edge/a.py", "def f():\n    import anyio", "edge imports anyio, which is not among its libraries"),
        ("edge/a.py", "import asyncio", "edge imports asyncio, which is one event loop's"),
        ("edge/a.py", "import nonebot", "edge imports nonebot, which is not among its libraries"),
        (
            "edge/nonebot/a.py",
            "from .adapter import Adapter",
            "edge imports napcore.edge.nonebot.adapter.Adapter, which imports its framework",
        ),
        (
            "edge/nonebot/adapter.py",
            "import aiocqhttp",
            "edge imports aiocqhttp, which is not among its libraries",
        ),
        ("other/a.py", "", "belongs to no ring"),
        ("helpers.py", "", "belongs to no ring"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, file: str, code: str, expected: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, "utf-8")
    [problem] = problems(tmp_path)
    assert problem.startswith(f"{file}:")
    assert problem.endswith(expected)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("__init__.py", "from napcore.edge.settings import load_config"),
        ("nonebot.py", "from napcore.edge.nonebot import x"),
        ("types.py", "from napcore.errors import x"),
        (
            "_dispatch.pyx",
            "cimport cython\nfrom libc.string cimport a\nfrom cpython.bytes cimport b\nimport json, orjson",
        ),
        ("core/a.py", "import time, threading, orjson, msgspec\nfrom .b import x\nfrom ..types import Outcome"),
        ("net/a.py", "import anyio, socket, ssl, websockets.client\nfrom napcore.dispatch import peek"),
        ("net/a.py", "def f():\n    import sniffio"),
        ("core/a.py", "def f():\n    import re2"),
        ("testing/a.py", "import anyio\nfrom napcore.net.link import Link"),
        ("testing/fixtures.py", "import pytest"),
        ("net/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from typing_extensions import Unpack"),
        ("_wire.pyi", "from typing_extensions import disjoint_base"),
        (
            "edge/a.py",
            "import msgspec\nfrom napcore.testing import simulator\ndef f():\n    import asyncio\n    import nonebot",
        ),
        (
            "edge/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nonebot",
        ),
        ("edge/nonebot/adapter.py", "import nonebot\nfrom nonebot.drivers import Request"),
        ("edge/nonebot/a.py", "def f():\n    from .adapter import Adapter"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, "utf-8")
    assert problems(tmp_path) == []


def too_long(package: Path) -> list[str]:
    out = []
    for path in sorted(package.rglob("*.p*")):
        lines = path.read_text("utf-8").count("\n") if path.suffix in LIMITS else 0
        if lines > LIMITS.get(path.suffix, 0):
            out.append(f"{path.relative_to(package).as_posix()}: {lines} lines, the limit is {LIMITS[path.suffix]}")
    return out


def test_files_are_split_before_they_grow_long() -> None:
    assert too_long(PACKAGE) == []


def test_a_long_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("\n" * 401)
    (tmp_path / "b.py").write_text("\n" * 400)
    (tmp_path / "c.pyx").write_text("\n" * 901)
    assert too_long(tmp_path) == ["a.py: 401 lines, the limit is 400", "c.pyx: 901 lines, the limit is 900"]


def test_test_folders_are_no_packages() -> None:
    """With an ``__init__.py`` pytest would put the tree on the path, and the tests would miss what is not installed."""
    assert [str(path) for path in (ROOT / "tests").rglob("__init__.py")] == []
