"""The measuring harness: what it prints of fixed numbers, in which order it runs, and that it notices cheating."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def root_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """``bench`` is no part of the package: it is found from the project's folder alone."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])


def bench(name: str) -> Any:
    return importlib.import_module(f"bench.{name}")


def case(name: str, log: list[str], *, check: Callable[[], None] = lambda: None) -> Any:
    return bench("rounds").Case(name, lambda: None, lambda _: log.append(name), lambda _inputs, _result: check())


def ticking(*steps: int) -> Callable[[], int]:
    """A clock on which the first sample takes the first step, and so on."""
    times = iter([time for step in steps for time in (0, step)])
    return lambda: next(times)


def test_cases_take_turns_and_the_first_place_moves_on() -> None:
    log: list[str] = []
    timings = bench("rounds").interleave([case(name, log) for name in "abc"], 1, 3, clock=ticking(*[5] * 12))
    assert "".join(log) == "abc" + "abc" + "bca" + "cab"
    assert {name: timing.rounds for name, timing in timings.items()} == {"a": 3, "b": 3, "c": 3}


def test_medians_are_per_event_and_the_warm_up_does_not_count() -> None:
    timings = bench("rounds").interleave([case("a", [])], 10, 3, clock=ticking(9999, 50, 10, 30))
    assert (timings["a"].median, timings["a"].p10, timings["a"].rounds) == (3.0, 1.0, 3)


def test_a_slow_case_sits_rounds_out() -> None:
    log: list[str] = []
    cases = [case("fast", log), case("slow", log)]
    steps = [10, 1000] + [10] * 25
    bench("rounds").interleave(cases, 1, 20, budget_ns=5000, clock=ticking(*steps))
    assert (log.count("fast"), log.count("slow")) == (21, 6)


def test_a_wrong_result_is_reported_with_its_case() -> None:
    def check() -> None:
        raise AssertionError("3 deliveries counted, not 4")

    with pytest.raises(bench("rounds").Failed, match="^b: 3 deliveries counted, not 4$"):
        bench("rounds").interleave([case("a", []), case("b", [], check=check)], 1, 3)


def row(**timings: float) -> Any:
    workload = bench("workload")
    aims = (workload.Aim("fast_peer", 5, 4), workload.Aim("slow_peer", 5, 4), workload.Aim(None, 6, 10))
    return workload.measured(
        workload.Workload("path", "10 clients", 64, (), 2.5, aims, "a note"),
        {name: bench("rounds").Timing(median, median - 1, 7) for name, median in timings.items()},
    )


def test_verdicts() -> None:
    words = [verdict.word for verdict in row(napcore=20.0, fast_peer=60.0, slow_peer=90.0).verdicts]
    assert words == ["FLOOR MISSED by 25%", "aim missed by 10%, floor met", "aim missed by 33%, floor met"]
    assert [verdict.word for verdict in row(napcore=15.0, slow_peer=75.0).verdicts] == ["aim met", "aim met"]


def test_table() -> None:
    assert bench("report").section_text([row(napcore=20.0, fast_peer=60.0, slow_peer=90.0)]).split("\n") == [
        "path        ns/event  p10  dlv/event  ns/dlv  fast_peer  slow_peer",
        "10 clients        20   19       2.50     8.0      3.00x      4.50x",
        "  10 clients: a note",
        "  promised:",
        "  path, 10 clients: 3.00 x fast_peer (aim 5, floor 4): FLOOR MISSED by 25%",
        "  path, 10 clients: 4.50 x slow_peer (aim 5, floor 4): aim missed by 10%, floor met",
        "  path, 10 clients: 8.00 ns per delivery (aim 6, floor 10): aim missed by 33%, floor met",
    ]


def test_json_holds_everything_and_can_be_read_back() -> None:
    report = bench("report")
    results = report.Results({"python": "3.12"}, [row(napcore=20.0, fast_peer=60.0)], skipped=["skipped: x"])
    text = report.as_json(results)
    found = json.loads(text)
    assert found["rows"][0]["ratios"] == {"fast_peer": 3.0}
    assert found["rows"][0]["ns_per_delivery"] == {"napcore": 8.0, "fast_peer": 24.0}
    assert (found["environment"], found["skipped"]) == ({"python": "3.12"}, ["skipped: x"])
    assert bench("hot").rows_of(text) == results.rows


def test_picture() -> None:
    root = ElementTree.fromstring(bench("chart").svg([row(napcore=20.0, fast_peer=60.0)]))
    bars = [element for element in root if element.tag.endswith("rect")]
    assert [(bar.get("class"), bar.get("width")) for bar in bars] == [("own", "146.7"), ("bar", "440.0")]
    assert [element.text for element in root if element.tag.endswith("text")] == [
        *("path, 10 clients", "napcore", "20 ns", "fast_peer", "60 ns (3.00x)"),
    ]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(284.4, "284 ns"), (999.6, "1.00 us"), (23_449.0, "23.4 us"), (1_200_000.0, "1.20 ms"), (2.5e9, "2500 ms")],
)
def test_durations(nanoseconds: float, text: str) -> None:
    assert bench("chart").duration(nanoseconds) == text


def test_flatness() -> None:
    rows = [
        bench("workload").measured(
            bench("workload").Workload("route", f"10 filters x {size} groups, 27% wanted", 64, ()),
            {"napcore": bench("rounds").Timing(median, median, 7)},
        )
        for size, median in ((1, 40.0), (20, 41.0), (200, 50.0))
    ]
    assert bench("report").flatness(rows).lines == [["10 filters, 27% wanted", "40", "50", "1.25x"]]
    assert bench("report").flatness(rows[1:]) is None


def test_events_are_distinct_and_of_the_sizes_they_are_named_after() -> None:
    sizes = {name: events.size for name, events in bench("corpus").by_size(5).items()}
    assert list(sizes) == ["512 B", "950 B mix", "950 B Chinese", "950 B shuffled keys", "170 KB forward"]
    for (name, size), named in zip(sizes.items(), (512, 950, 950, 950, 180_000), strict=True):
        assert size == pytest.approx(named, rel=0.1), name


@pytest.mark.parametrize("wanted", [0.0, 0.27, 1.0])
def test_filters_want_the_share_they_are_named_after(wanted: float) -> None:
    corpus = bench("corpus")
    sets, spoken = corpus.cover(corpus.Random(3), 1_000, 20, wanted)
    assert {len(chosen) for chosen in sets} == {20}
    share = sum(group in chosen for group in spoken for chosen in sets) / len(spoken) / len(sets)
    assert share == pytest.approx(wanted, abs=0.01)


def test_a_reader_that_finds_other_ids_is_caught() -> None:
    peek, corpus = bench("peek"), bench("corpus")
    events = corpus.by_size(5)["512 B"]
    wrong = peek.reading("wrong", (json.loads, lambda found: (*corpus.ids_of_dict(found)[:-1], 7)), events)
    with pytest.raises(bench("rounds").Failed, match=r"^wrong: found \(.*, 7\), json.loads finds \("):
        bench("rounds").interleave([wrong], 1, 1)


def test_a_reader_that_does_not_validate_is_caught() -> None:
    peek = bench("peek")
    events = bench("corpus").by_size(5)["512 B"]

    def forgiving(raw: bytes) -> dict[str, Any]:
        text = raw.decode(errors="replace")
        found: dict[str, Any] = json.loads(text)
        return found

    careless = peek.reading("careless", (forgiving, bench("corpus").ids_of_dict), events, validates=True)
    with pytest.raises(bench("rounds").Failed, match="^careless: invalid UTF-8 is accepted$"):
        bench("rounds").interleave([careless], 1, 1)


def test_a_queue_that_loses_an_event_is_caught() -> None:
    path = bench("path")
    workload = path.realistic_workload(5, 3)
    for honest in workload.cases:
        inputs = honest.prepare()
        honest.check(inputs, honest.run(inputs))
    cheat = workload.cases[0]
    counted = cheat.run(cheat.prepare()[:-100])
    with pytest.raises(AssertionError, match="deliveries counted, not"):
        cheat.check(None, counted)
    total = round(workload.deliveries * workload.events)
    cheat.run(cheat.prepare()[:-100])
    with pytest.raises(AssertionError, match="client 0: not its events in order"):
        cheat.check(None, total)


@pytest.fixture
def failing_section(monkeypatch: pytest.MonkeyPatch) -> str:
    def check() -> None:
        raise AssertionError("nothing arrived")

    workload = bench("workload").Workload("peek", "512 B", 1, [case("napcore", [], check=check)])
    monkeypatch.setattr(bench("hot"), "SECTIONS", {"peek": lambda _seed: iter([workload])})
    return "FAILED: peek, 512 B: napcore: nothing arrived"


def test_a_failing_row_is_printed_and_fails_the_run(
    failing_section: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert bench("__main__").main(["hot", "--only", "512 B", "--rounds", "1", "--out", str(tmp_path)]) == 1
    assert failing_section in capsys.readouterr().out.split("\n")
    assert json.loads((tmp_path / "hot.json").read_text())["failures"] == [failing_section]


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = bench("peers")
    monkeypatch.setattr(peers, "missing", [])
    monkeypatch.setitem(sys.modules, "simdjson", None)
    assert "pysimdjson" not in peers.readers()
    assert peers.missing == ["skipped: pysimdjson is not installed"]


def test_instructions_are_read_from_the_log() -> None:
    counted = bench("instructions").counted
    assert counted("==1== Events    : Ir\n==1== Collected : 1234567\n") == 1234567
    with pytest.raises(RuntimeError, match="valgrind failed"):
        counted("==1== Collected : 1234567\n", 1)
    with pytest.raises(RuntimeError, match="valgrind failed"):
        counted("no such file")


def test_what_became_of_a_trouble_is_told_in_a_table() -> None:
    pytest.importorskip("nonebot.adapters.onebot")
    from bench.troubles import Outcome, table

    text = table([Outcome("a trouble", "nonebot2", "stock", lost=1, asked=3, answered=2, worst=1.234, rate=1234.5)])
    line = text.splitlines()[-1].split()
    assert line == ["a", "trouble", "nonebot2", "stock", "1", "-", "2/3", "-", "1.23", "1,234", "-", "-"]
