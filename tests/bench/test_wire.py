"""The harness of the wire: that it builds and measures, that it catches cheats, and how it judges."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

CHEAT = """
import asyncio, sys
from websockets.asyncio.server import broadcast, serve

clients = set()
how = sys.argv[1]

async def handle(socket):
    if "X-Self-ID" not in socket.request.headers:
        clients.add(socket)
        return await socket.wait_closed()
    first = None
    async for message in socket:
        first = first or message
        if how == "loses" and hash(message) % 3 == 0:
            continue
        if how == "alters":
            message = message.replace('"font":14', '"font":41')
        if how == "repeats":
            message = first
        broadcast(clients, message)
        if how == "doubles":
            broadcast(clients, message)

async def main():
    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def root_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """``bench`` is no part of the package: it is found from the project's folder alone."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])


def wire(name: str) -> Any:
    return importlib.import_module(f"bench.wire.{name}")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Any:
    sys.path.append(str(ROOT))
    try:
        return wire("build").build(tmp_path_factory.mktemp("wire"))
    except wire("build").CannotBuild as error:
        pytest.skip(str(error))
    finally:
        sys.path.remove(str(ROOT))


def load(**fields: Any) -> Any:
    return wire("loads").Load("a load", **{"links": 2, "size": 600, "seconds": 0.1, "warm": 0.05, **fields})


def of(name: str, tools: Any) -> Any:
    return next(one for one in wire("contenders").contenders(tools)[0] if one.name == name)


@pytest.mark.parametrize("fields", [{}, {"burst": 16, "size": 4096}, {"rate": 500.0}, {"wanted": 27, "links": 7}])
@pytest.mark.parametrize("name", ["napcore", "napcore, masked"])
def test_a_relay_is_measured(tools: Any, name: str, fields: dict[str, Any]) -> None:
    found = wire("measure").sample(tools, of(name, tools), load(**fields))
    assert found.rate > 0
    assert found.us_per_delivery > 0
    assert (found.missed, found.lag, found.stuck) == (0, 0, False)
    if "rate" in fields:
        assert found.rate == pytest.approx(500 * 2, rel=0.5)


@pytest.mark.parametrize("how", ["loses", "alters", "repeats", "doubles"])
def test_a_server_that_cheats_is_caught(tools: Any, tmp_path: Path, how: str) -> None:
    script = tmp_path / "cheat.py"
    script.write_text(CHEAT)
    contender = wire("contenders").Contender("cheat", lambda load, port: (sys.executable, str(script), how))
    what = "events never came" if how == "loses" else "not what was sent, or not in order"
    with pytest.raises(wire("measure").Failed, match=what):
        wire("measure").sample(tools, contender, load(burst=16, seconds=0.2))


def test_a_server_that_does_not_start_is_named(tools: Any) -> None:
    contender = wire("contenders").Contender("dead", lambda load, port: (sys.executable, "-c", "raise OSError('no')"))
    with pytest.raises(wire("measure").Failed, match="(?s)did not start: .*OSError: no"):
        wire("measure").sample(tools, contender, load())


def test_a_run_writes_everything(tools: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module("bench.__main__").main
    arguments = ["wire", "--quick", "--only", "singly, 10 links", "--who", "C send loop", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert "C send loop" in capsys.readouterr().out
    found = json.loads((tmp_path / "wire.json").read_text())
    assert found["loads"]["singly, 10 links, 600 B"]["C send loop"]["rate"] > 0


def figures(**fields: Any) -> Any:
    sample = wire("measure").Sample
    zero = dict.fromkeys(sample.__dataclass_fields__, 0)
    return sample(**{**zero, "us_per_delivery": 1.0, "rate": 1.0, "stuck": False, "runs": 1, **fields})


def test_medians_keep_what_went_wrong_once() -> None:
    samples = [figures(p50_us=time, missed=missed) for time, missed in ((1.0, 0), (9.0, 2), (2.0, 0))]
    found = wire("measure").medians(samples)
    assert (found.p50_us, found.missed, found.runs) == (2.0, 2, 3)


def test_a_sink_at_its_limit_is_marked() -> None:
    assert figures(use=0.5, sink_use=0.97).void
    assert not figures(use=0.95, sink_use=0.97).void
    assert "sink-bound" in wire("run").text("load", {"x": figures(use=0.5, sink_use=0.97)}, [])


def test_what_is_promised_is_judged() -> None:
    samples = {
        "C send loop": figures(us_per_delivery=2.0),
        "picows": figures(us_per_delivery=2.2),
        "napcore": figures(us_per_delivery=2.1),
    }
    found = wire("aims").verdicts(load(links=10), samples)
    assert [(verdict.promise, round(verdict.value, 2), verdict.word) for verdict in found] == [
        ("napcore: x the CPU of C send loop", 1.05, "aim missed by 5%, floor met"),
        ("napcore: x less CPU than picows", 1.05, "aim missed by 5%, floor met"),
    ]
    assert wire("aims").judged("x", 0.9, 1.5, 1.0, True).word == "FLOOR MISSED by 10%"


def test_a_stall_is_judged_beside_the_same_without_one() -> None:
    calm, stalled = figures(p99_us=100.0, grown_mib=1.0), figures(p99_us=130.0, grown_mib=5.5, upstream_write_us=90.0)
    found = wire("aims").stall_verdicts({"napcore": calm}, {"napcore": stalled}, 4.0)
    assert [verdict.word for verdict in found] == [
        *("FLOOR MISSED by 8%", "aim missed by 12%, floor met", "aim met", "aim met"),
    ]


def test_loads_have_names_of_their_own_and_cover_the_matrix() -> None:
    every = list(wire("loads").loads(30))
    assert len({one.name for one in every}) == len(every)
    matrix = {(one.links, one.size, one.burst, bool(one.rate)) for one in every if one.wanted == 100}
    assert len(matrix) >= 5 * 2 * 2 * 2


def test_received_bytes_become_the_same_messages_with_everybody() -> None:
    rounds, receive = importlib.import_module("bench.rounds"), wire("receive")
    names = []
    for one in receive.workloads():
        names.append(one.name)
        timings = rounds.interleave(one.cases, one.events, 1)
        assert {"napcore", "websockets"} <= timings.keys()
        wrong = rounds.Case("wrong", one.cases[0].prepare, lambda inputs: [], one.cases[0].check)
        with pytest.raises(rounds.Failed, match="other messages than were sent"):
            rounds.interleave([wrong], 1, 1)
    assert names[:2] == ["258 B, one frame at a time", "258 B, pieces of 64 KiB"]
    assert len(names) == 8


def test_the_receive_rows_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module("bench.__main__").main
    assert main(["wire", "--quick", "--only", "receive 258 B", "--who", "websockets", "--out", str(tmp_path)]) == 0
    assert "258 B, one frame at a time" in capsys.readouterr().out
    found = json.loads((tmp_path / "wire.json").read_text())
    assert [row["name"] for row in found["receive"]] == ["258 B, one frame at a time", "258 B, pieces of 64 KiB"]
