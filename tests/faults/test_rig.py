"""The rig notices what it is there to notice, says so, and ends with 1."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from napcore import Relay
from napcore.core.stats import add_up

ROOT = Path(__file__).parents[2]
BACKENDS = [name for name in ("asyncio", "trio") if importlib.util.find_spec(name)]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the rig is for Linux")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faults", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=110
    )


def test_figures_have_bounds(faults: Any) -> None:
    case = faults("case").Case("trio", quick=True, seed=1)
    assert case.figure("time", 1.5, " s", most=2.0) == 1.5
    case.figure("drops", 12345, least=1)
    case.figure("doubles", 0, exactly=0)
    assert case.figures == ["time 1.5 s (<= 2 s)", "drops 12,345 (>= 1)", "doubles 0 (= 0)"]
    assert case.failures == []
    case.figure("time", 2.5, " s", most=2.0)
    case.figure("drops", 0, least=1)
    case.figure("doubles", 1, exactly=0)
    case.check(False, "no")
    case.check([], "nothing there")
    assert case.failures == ["time 2.5 s (<= 2 s)", "drops 0 (>= 1)", "doubles 1 (= 0)", "no", "nothing there"]


def test_a_ledger_that_does_not_close_is_a_failure(faults: Any) -> None:
    case = faults("case").Case("trio", quick=True, seed=1)
    case.ledger(Relay().statistics()._replace(gone=add_up()._replace(received=1)))
    (failure,) = case.failures
    assert failure.startswith("the ledger does not close: those that are gone: received 1, but 0 are accounted for")


def test_a_gap_that_is_not_counted_is_a_failure(faults: Any) -> None:
    check_gap, case_of = faults("stage").check_gap, faults("case").Case

    def failures(sent: int, got: list[int], **counts: Any) -> list[str]:
        case = case_of("trio", quick=True, seed=1)
        check_gap(case, sent, got, add_up()._replace(received=sent)._replace(**counts))
        return case.failures

    assert failures(3, [0, 1, 2], confirmed=3) == []
    assert failures(3, [0, 2], dropped={"ttl": 1}) == []
    # What was on the wire may have come or not.
    assert failures(3, [0, 1, 2], dropped={"uncertain": 1}) == failures(3, [0, 1], dropped={"uncertain": 1}) == []
    assert failures(3, [0, 1]) == ["1 events never came, but 0 are counted as lost {}"]
    assert failures(3, [0, 1, 2], dropped={"ttl": 1}) == ["1 events are counted as lost, but only 0 never came"]
    assert failures(3, [0, 1, 1, 2]) == ["doubles 1 (= 0)"]
    assert failures(3, [0, 2, 1]) == ["events came out of order"]
    assert failures(3, [0, 1], received=2) == [
        "of 3 events 2 were counted as received",
        "1 events never came, but 0 are counted as lost {}",
    ]


def attempt(faults: Any, backend: str, work: Any) -> Any:
    row = faults("table").Row("x", "", "", work, False, False, 10.0, (backend,))
    case = faults("case").Case(backend, quick=True, seed=1)
    anyio.run(faults("one").attempt, row, case, backend=backend)
    return case


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_row_leaves_behind_is_a_failure(faults: Any, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []

    async def leave_a_file(case: Any) -> None:
        files.append(os.open("/dev/null", os.O_RDONLY))

    async def raise_an_error(case: Any) -> None:
        async with anyio.create_task_group():
            raise ValueError("planted")

    async def do_nothing(case: Any) -> None:
        await anyio.lowlevel.checkpoint()

    assert attempt(faults, backend, do_nothing).failures == []
    assert attempt(faults, backend, raise_an_error).failures == ["ValueError: planted"]
    assert attempt(faults, backend, leave_a_file).failures == ["1 descriptors are left open"]
    os.close(files[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_machine_cannot_do_is_not_ok(faults: Any, backend: str) -> None:
    skipped = faults("case").Skipped

    async def skip(case: Any) -> None:
        async with anyio.create_task_group():
            case.skip("no such thing here")

    with pytest.raises(skipped, match="no such thing here"):
        attempt(faults, backend, skip)


def test_every_result_has_a_line_and_one_failure_is_enough(faults: Any, capsys: pytest.CaptureFixture[str]) -> None:
    report_of, result_of = faults("report").Report, faults("report").Result
    row = faults("table").Row("1", "it breaks", "it holds", None, True, False, 10.0, BACKENDS)
    report = report_of()
    assert report.failed
    report.take(result_of(row, "asyncio", ["p99 1 ms (<= 2 ms)"], [], "", 1.25, ""))
    assert not report.failed
    report.take(result_of(row, "trio", [], [], "no cgroup | here", 0.0, ""))
    assert not report.failed
    report.take(result_of(row, "trio", ["p99 3 ms (<= 2 ms)"], ["p99 3 ms (<= 2 ms)"], "", 1.0, ""))
    assert report.failed
    report.close(3.0, argparse.Namespace(seed=5))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        "1 asyncio 1.2 s ok [p99 1 ms (<= 2 ms)]".split(),
        "1 trio 0.0 s skipped: no cgroup | here".split(),
        "1 trio 1.0 s FAILED: p99 3 ms (<= 2 ms)".split(),
        "1 ok, 1 failed, 1 skipped in 3 s (seed 5)".split(),
    ]


def test_the_pages_keep_the_last_run_of_each_row(faults: Any, tmp_path: Path) -> None:
    result_of, row_of, pages = faults("report").Result, faults("table").Row, faults("pages")
    rows = {
        name: row_of(name, f"{name} breaks", f"{name} holds", None, True, False, 10.0, BACKENDS) for name in ("1", "x")
    }
    for page in pages.HEADS:
        (tmp_path / page).write_text("before\n<!-- results -->\n<!-- end of results -->\nafter\n")

    def lines(page: str) -> list[str]:
        text = (tmp_path / page).read_text()
        assert text.startswith("before\n<!-- results -->\n| ")
        assert text.endswith("|\n<!-- end of results -->\nafter\n")
        return [line.rsplit("|", 2)[0] for line in text.splitlines()[4:-2]]

    pages.update([result_of(rows["x"], "trio", [], [], "no | such", 1.0, "")], rows, tmp_path)
    pages.update([result_of(rows["1"], "trio", [], ["late"], "", 1.0, "")], rows, tmp_path)
    pages.update([result_of(rows["1"], "trio", ["p99 1 ms (<= 2 ms)"], [], "", 1.0, "")], rows, tmp_path)
    assert lines("faults.md") == [
        "| 1 | 1 breaks | 1 holds | trio | ok | p99 1 ms (<= 2 ms) ",
        "| x | x breaks | x holds | trio | skipped: no / such |  ",
    ]
    fault, expected = faults("chinese").FAULTS["1"]
    assert lines("faults.zh-CN.md")[0] == f"| 1 | {fault} | {expected} | trio | ok | p99 1 ms (<= 2 ms) "


def test_the_command_line_knows_its_rows() -> None:
    done = run("--list")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"1", "3", "7", "8", "11", "16", "21", "39"} <= set(names)
    done = run("--rows", "1,nonsense")
    assert (done.returncode, done.stderr) == (2, "no such rows: nonsense; --list has them\n")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_runs_and_tells_its_figures(backend: str) -> None:
    done = run("--rows", "21", "--quick", "--backend", backend)
    assert done.returncode == 0, done.stdout + done.stderr
    line, closing = done.stdout.splitlines()
    assert line.split()[:2] == ["21", backend]
    assert "ok  [bad frames 565; counted as invalid 565 (= 565);" in line
    assert closing.startswith("1 ok, 0 failed, 0 skipped in ")


def test_a_plant_makes_a_row_fail(faults: Any) -> None:
    assert faults("plants").PLANTS.keys() == {
        "drop-uncounted",
        "torn-frame",
        "no-lifecycle",
        "silent-gap",
        "resend",
        "second-answer",
        "overlapping-dial",
        "resend-call",
    }
    done = run("--plant", "silent-gap", "--quick", "--backend", BACKENDS[-1])
    assert done.returncode == 1
    assert "counted as received" in done.stdout


def test_a_process_that_dies_is_a_failure(faults: Any) -> None:
    row = faults("table").Row("1", "it breaks", "it holds", None, True, False, 10.0, BACKENDS)
    result = faults("run")._result(row, "trio", b"", "it ended with -9", "")
    assert result.verdict == "FAILED: it ended with -9"
    told = json.dumps({"figures": [], "failures": [], "skipped": "", "seconds": 1.0}).encode()
    assert faults("run")._result(row, "trio", b"noise\n" + told, "", "").verdict == "ok"
