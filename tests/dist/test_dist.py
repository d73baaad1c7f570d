"""What is published: exact contents of sdist and wheels, and their installation in fresh environments.

Nothing here uses the working tree beyond reading it: packages are built from a copy, wheels from the
unpacked sdist, and the installed package is tried from another folder with the sdist's own tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
VERSION = "0.1.0"
MADE = re.compile(
    r"(^|/)(\.git|\.venv|\.ci|build|dist|__pycache__|\.[a-z]+_cache|\.hypothesis|\.benchmarks|[^/]+\.egg-info)(/|$)"
    r"|\.(so|pyd|pyc)$|^\.gitignore$|^\.coverage"
)
"""Paths that no package holds: products of building and testing, and what serves the repository alone."""

pytestmark = pytest.mark.timeout(600)


def run(*command: str | Path, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


def build(tree: Path, kind: str, out: Path, **env: str) -> Path:
    run(sys.executable, "-m", "build", f"--{kind}", "--outdir", out, tree, cwd=out.parent, **env)
    [package] = out.iterdir()
    return package


def sources() -> set[str]:
    """The files of the tree that an sdist is made of."""
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()}
    generated = {name for name in files if re.fullmatch(r"src/.*\.(c|html)", name)}
    return {name for name in files - generated if not MADE.search(name)}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for name in sources():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    return build(tree, "sdist", tmp_path_factory.mktemp("sdist") / "out")


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"napcore-{VERSION}"


class Wheel(NamedTuple):
    path: Path
    compiled: bool


@pytest.fixture(scope="module", params=["compiled", "plain"])
def wheel(request: pytest.FixtureRequest, unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    compiled = request.param == "compiled"
    tree = tmp_path_factory.mktemp(request.param)
    shutil.copytree(unpacked, tree / "tree")
    env = {"CFLAGS": "-O2 -g0"} if compiled else {"NAPCORE_PURE": "1"}
    return Wheel(build(tree / "tree", "wheel", tree / "out", **env), compiled)


def test_the_sdist_holds_the_sources_and_nothing_made(sdist: Path) -> None:
    assert sdist.name == f"napcore-{VERSION}.tar.gz"
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    egg = {f"src/napcore.egg-info/{name}" for name in ("PKG-INFO", "SOURCES.txt", "dependency_links.txt")}
    egg |= {f"src/napcore.egg-info/{name}" for name in ("entry_points.txt", "requires.txt", "top_level.txt")}
    assert names - egg == sources() | {"PKG-INFO", "setup.cfg"}
    assert names >= {
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "README.zh-CN.md",
        "pyproject.toml",
        "setup.py",
        "src/napcore/_dispatch.pyi",
        "src/napcore/_dispatch.pyx",
        "src/napcore/_dispatch_py.py",
        "src/napcore/_json.h",
        "src/napcore/py.typed",
        "tests/conftest.py",
        "tests/corpus/events.jsonl",
    }
    assert [name for name in names if name.startswith("src/") and name.endswith((".c", ".so", ".html"))] == []


def test_the_wheel_holds_what_runs_and_no_source_of_the_extension(wheel: Wheel) -> None:
    with zipfile.ZipFile(wheel.path) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = f"napcore-{VERSION}.dist-info"
    package = {name.removeprefix("src/") for name in sources() if name.startswith("src/napcore/")}
    package = {name for name in package if not name.endswith((".pyx", ".pxi", ".h"))}
    meta = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    extensions = {name for name in names if name.endswith((".so", ".pyd"))}
    assert names - extensions - {f"{info}/top_level.txt"} == package | meta
    compiled = {name.removeprefix("src/").removesuffix(".pyx") for name in sources() if name.endswith(".pyx")}
    assert sorted(name.partition(".")[0] for name in extensions) == (sorted(compiled) if wheel.compiled else [])
    assert names >= {"napcore/__init__.py", "napcore/_dispatch.pyi", "napcore/_dispatch_py.py", "napcore/py.typed"}
    assert [
        name for name in names if name.startswith(("tests", "bench")) or name.endswith((".c", ".h", ".pxi", ".pyx"))
    ] == []
    assert wheel.path.stat().st_size <= 1_000_000
    assert wheel.path.name.endswith("-py3-none-any.whl") == (not wheel.compiled)


def test_the_metadata_promise_what_the_documents_say(wheel: Wheel) -> None:
    with zipfile.ZipFile(wheel.path) as archive:
        metadata = archive.read(f"napcore-{VERSION}.dist-info/METADATA").decode()
        scripts = archive.read(f"napcore-{VERSION}.dist-info/entry_points.txt").decode()
    required = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", metadata, re.M)
    assert sorted(required) == ["anyio", "h11", "msgspec", "orjson", "tomli", "websockets"]
    assert "Requires-Python: >=3.10\n" in metadata
    assert "License-Expression: MIT\n" in metadata
    assert scripts.split("\n\n") == [
        "[console_scripts]\nnapcore = napcore.edge.cli:main",
        "[pytest11]\nnapcore = napcore.testing.fixtures\n",
    ]


def test_the_installed_wheel_works_from_elsewhere(
    wheel: Wheel, unpacked: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", symlinks=sys.platform != "win32")
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q")
    run(*pip, wheel.path, cwd=folder)

    code = "import napcore; print(napcore.COMPILED, napcore.__version__, napcore.__file__)"
    compiled, version, file = run(python, "-I", "-c", code, cwd=folder, NAPCORE_PURE="").stdout.split()
    assert (compiled, version) == (str(wheel.compiled), VERSION)
    assert Path(file).is_relative_to(folder / "venv")
    assert run(python, "-I", "-c", code, cwd=folder, NAPCORE_PURE="1").stdout.startswith("False ")
    assert run(python.with_name("napcore"), "--help", cwd=folder).stdout.startswith("usage: napcore")

    # Tests of the sdist, without its sources: what they import can only be the installed package.
    shutil.copytree(unpacked / "tests", folder / "tests")
    shutil.copyfile(unpacked / "pyproject.toml", folder / "pyproject.toml")
    run(*pip, "--group", folder / "pyproject.toml:test", cwd=folder)
    done = run(
        *(python, "-m", "pytest", "-q", "-c", folder / "pyproject.toml", "--loops", "asyncio,trio"),
        *(folder / "tests" / part for part in ("dispatch", "core", "isolated")),
        cwd=folder,
        NAPCORE_PURE="" if wheel.compiled else "1",
    )
    assert re.search(r"\d{2,} passed", done.stdout), done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="CC means nothing to MSVC")
def test_a_failing_compiler_is_loud(unpacked: Path, tmp_path: Path) -> None:
    shutil.copytree(unpacked, tmp_path / "tree")
    done = run(
        *(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "out", tmp_path / "tree"),
        cwd=tmp_path,
        check=False,
        CC="false",
    )
    assert done.returncode != 0
    assert re.search(r"error: Command '\['false', .*\]' returned non-zero exit status 1", done.stdout + done.stderr)
    assert not list(tmp_path.glob("out/*.whl"))
