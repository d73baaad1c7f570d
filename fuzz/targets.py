"""The targets: how each is built, run and judged."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fuzz import seeds

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src" / "napcore"
AT_ONCE: Final = 2
SPARE_SECONDS: Final = 120
"""What a run may take beyond its time: reading its seeds, the last input, the report."""

SANITIZERS: Final = "address,undefined"


class Missing(Exception):
    """What a target needs is not here, or it could not be built."""


@dataclass(frozen=True)
class Target:
    """One fuzzer."""

    name: str
    file: str
    seeds: str
    """What its input is: ``documents``, ``messages``, ``frames`` or ``programs``."""
    longest: int
    """Longest input in bytes."""

    @property
    def in_python(self) -> bool:
        """Whether it drives the compiled module; else it is C alone."""
        return self.file.endswith(".py")


TARGETS: Final = (
    Target("scan", "scan.c", "documents", 4096),
    Target("index", "index.c", "programs", 600),
    Target("text", "text.c", "programs", 600),
    Target("convert", "convert.c", "messages", 1024),
    Target("reader", "reader.c", "frames", 1024),
    Target("peek", "peek.py", "documents", 1024),
    Target("outbox", "outbox.py", "programs", 300),
    Target("texts", "texts.py", "programs", 400),
    Target("message", "message.py", "messages", 512),
    Target("frames", "frames.py", "frames", 512),
    Target("paths", "paths.py", "programs", 200),
    Target("expression", "expression.py", "programs", 600),
)


def say(line: str) -> None:
    """At once, also into a pipe: a run takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# ---- building ----


def compile_with_clang(arguments: list[str | Path], what: str) -> None:
    """Raises ``Missing`` when there is no clang or it fails."""
    clang = shutil.which("clang")
    if clang is None:
        raise Missing("clang is not installed (libFuzzer comes with it)")
    done = subprocess.run([clang, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"clang cannot build {what}:\n{done.stderr}")


def build_program(target: Target, build: Path, headers: Path) -> list[str]:
    """Build a C harness; returns the command that runs it."""
    program = build / target.name
    checks = [f"-fsanitize=fuzzer,{SANITIZERS}", "-fno-sanitize-recover=all"]
    source = ROOT / "fuzz" / target.file
    warnings = ["-Wall", "-Wextra", "-Werror"]
    compile_with_clang(["-std=c11", "-g", "-O2", *warnings, *checks, "-I", headers, source, "-o", program], target.file)
    return [str(program)]


def build_module(build: Path, headers: Path) -> None:
    """Build a copy of the package whose extensions feed a fuzzer."""
    for name in ("atheris", "Cython", "orjson"):
        if importlib.util.find_spec(name) is None:
            wheels = " (it has wheels for CPython 3.11 to 3.13 only)" if name == "atheris" else ""
            raise Missing(f"{name} is not installed for {sys.executable}{wheels}")
    package = build / "module" / "napcore"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    for source in sorted(SOURCE.glob("_*.pyx")):
        build_extension(source, build, package, headers)


def build_extension(source: Path, build: Path, package: Path, headers: Path) -> None:
    """Build one extension of that copy."""
    made = build / f"{source.stem}.c"
    cythonize = [sys.executable, "-m", "cython", "-3", "-X", "autotestdict=False", str(source), "-o", str(made)]
    done = subprocess.run(cythonize, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise Missing(f"Cython cannot translate {source.name}:\n{done.stdout}{done.stderr}")
    module = package / f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
    # What Cython generates adds 0 to a null pointer.
    ubsan = ["-fno-sanitize-recover=undefined", "-fno-sanitize=pointer-overflow"]
    checks = [f"-fsanitize=fuzzer-no-link,{SANITIZERS}", *ubsan]
    includes: list[str | Path] = ["-I", sysconfig.get_paths()["include"], "-I", headers]
    compile_with_clang(["-shared", "-fPIC", "-fwrapv", "-g1", "-O2", *checks, *includes, made, "-o", module], made.name)


def environment_of(target: Target, build: Path) -> dict[str, str]:
    """What has to be set for a target."""
    # Few frames per allocation: Python makes many.
    found = {"ASAN_OPTIONS": "detect_leaks=0:malloc_context_size=2:quarantine_size_mb=32"}
    if target.in_python:
        # Without PYTHONMALLOC a read past the end of bytes stays inside Python's own arena.
        found["PYTHONMALLOC"] = "malloc"
        found["PYTHONPATH"] = str(build / "module")
        found["LD_PRELOAD"] = str(importlib.metadata.distribution("atheris").locate_file("asan_with_fuzzer.so"))
    return found


# ---- running ----


@dataclass(frozen=True)
class Result:
    """How a run of one target ended."""

    target: Target
    executions: int
    seconds: float
    finding: str | None
    """What was found, or why nothing could be."""


def run_target(target: Target, build: Path, command: list[str], seconds: int) -> Result:
    """Run a built target; inputs that make a finding stay in the build folder."""
    corpus, finds = build / "corpus" / target.name, build / "findings"
    seeds.write(target.seeds, corpus)
    finds.mkdir(exist_ok=True)
    known = set(finds.iterdir())
    environment = environment_of(target, build)
    options = [
        *(f"-max_total_time={seconds}", f"-max_len={target.longest}", "-timeout=20", "-rss_limit_mb=1500"),
        *("-print_final_stats=1", f"-artifact_prefix={finds}/{target.name}-"),
    ]
    if target.seeds in ("documents", "messages"):
        options.append(f"-dict={ROOT / 'fuzz' / 'json.dict'}")
    log = build / f"{target.name}.log"
    timed_out = False
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options, str(corpus)],
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
            cwd=build,
        )
        try:
            status = process.wait(seconds + SPARE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            status, timed_out = process.wait(), True
    text = log.read_text("utf-8", "replace")
    done = re.search(r"^Done (\d+) runs in (\d+) second", text, re.MULTILINE)
    if status == 0 and done:
        return Result(target, int(done[1]), float(done[2]), None)
    units = re.findall(r"^(?:stat::number_of_executed_units: |#)(\d+)", text, re.MULTILINE)
    executions = int(units[-1]) if units else 0
    setting = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    why = "it did not end in time" if timed_out else first_complaint(text) or f"it ended with status {status}"
    lines = [why, f"  log: {log}"]
    for path in sorted(set(finds.iterdir()) - known):
        if path.name.startswith(f"{target.name}-"):
            lines += [f"  input: {path}", f"  replay: env {setting} {shlex.join([*command, str(path)])}"]
    return Result(target, executions, float(seconds), "\n".join(lines))


def first_complaint(text: str) -> str | None:
    """The line of a log that says what is wrong."""
    for pattern in (r"^.*does not hold: .*$", r"^.*runtime error: .*$", r"^AssertionError.*$", r"^.*ERROR: .*$"):
        if match := re.search(pattern, text, re.MULTILINE):
            return match[0][:500]
    return None


def prepare(wanted: list[Target], build: Path, headers: Path) -> Iterator[tuple[Target, list[str] | Missing]]:
    """Build each target; what is missing comes instead of its command."""
    module: Missing | None = None
    if any(target.in_python for target in wanted):
        try:
            build_module(build, headers)
        except Missing as problem:
            module = problem
    for target in wanted:
        if target.in_python:
            yield target, module or [sys.executable, str(ROOT / "fuzz" / target.file)]
            continue
        try:
            yield target, build_program(target, build, headers)
        except Missing as problem:
            yield target, problem


def run(wanted: list[Target], build: Path, headers: Path, seconds: int) -> int:
    """Build and run the targets and print what came of them; 0 when all ran without a finding."""
    build.mkdir(parents=True, exist_ok=True)
    failed = False
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = []
        for target, command in prepare(wanted, build, headers):
            if isinstance(command, Missing):
                failed = True
                say(f"{target.name:8} NOT RUN: {command}")
            else:
                runs.append(pool.submit(run_target, target, build, command, seconds))
        for future in runs:
            result = future.result()
            speed = result.executions / max(result.seconds, 1)
            say(
                f"{result.target.name:8} {result.executions:>12,} executions {speed:>10,.0f}/s  "
                + ("no finding" if result.finding is None else f"FINDING: {result.finding}")
            )
            failed = failed or result.finding is not None
    return int(failed)
