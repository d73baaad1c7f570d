from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import napcore
from napcore.core.stats import CallStatistics
from napcore.edge import logs
from napcore.edge.cli import demo as demo_module
from napcore.edge.cli import main
from napcore.errors import ConfigError
from napcore.testing import RecordingClient, Simulator
from napcore.testing.demo import ClientResult, DemoResult

UPSTREAM = '[[upstream]]\nurl = "ws://127.0.0.1:1"\n'
CALLS = CallStatistics(pending=0, forwarded=4, answered=4, failed=0, late=0, unknown=0)


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPCORE_LANG", "en")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "napcore", *arguments],
        env={**os.environ, "PYTHONUNBUFFERED": "1", "NAPCORE_LANG": "en"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def wait_for_line(stream: Any, pattern: str) -> re.Match[str]:
    for line in stream:
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"no line matches {pattern}")


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def test_check_says_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "napcore.toml"
    file.write_text(UPSTREAM)
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr() == (f"OK: {file} (1 upstream(s), 0 client(s))\n", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAPCORE_LANG", "zh")
    assert main(["check"]) == 0
    assert capsys.readouterr() == ("没有问题：napcore.toml（上游 1 个，客户端 0 个）\n", "配置文件：napcore.toml\n")


def test_check_names_file_line_key_and_the_nearest_right_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "napcore.toml"
    file.write_text(f'{UPSTREAM}[listen]\nprot = 6710\n[[client]]\nname = "bot"\nqueue = {{ hold = "off" }}\n')
    assert main(["check", str(file)]) == 1
    assert capsys.readouterr() == (
        "",
        f"{file}:4: listen.prot: unknown key (did you mean 'port'?)\n{file}:7: client[0].queue.hold: must be finite\n",
    )
    assert main(["run", str(file)]) == 1
    assert "listen.prot" in capsys.readouterr().err


def test_without_a_configuration_the_places_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for command in ("run", "check"):
        assert main([command]) == 1
        place = tmp_path / "napcore" / "napcore.toml"
        assert capsys.readouterr() == ("", f"No configuration file found. Looked at: napcore.toml, {place}\n")


def test_help_is_in_the_users_language(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        main(["demo", "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("usage: napcore demo ")
    monkeypatch.setenv("NAPCORE_LANG", "zh")
    with pytest.raises(SystemExit):
        main(["simulate", "-h"])
    told = capsys.readouterr().out
    assert told.startswith("用法：napcore simulate ")
    assert "每秒事件数（默认 13）" in told
    assert main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split()[0] for line in told.err.splitlines() if line.startswith("    ")] == [
        "run",
        "demo",
        "simulate",
        "check",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--rate", "0"], "argument --rate: not a number above 0: '0'"),
        (["demo", "--rate", "inf"], "argument --rate: not a number above 0: 'inf'"),
        (["demo", "--seconds", "x"], "argument --seconds: not a number above 0: 'x'"),
        (["demo", "--groups", "1.5"], "argument --groups: not a whole number above 0: '1.5'"),
        (["simulate"], "one of the arguments --url --listen is required"),
        (["simulate", "--listen", "65536"], "argument --listen: not a port (0 to 65535): '65536'"),
        (["simulate", "--url", "http://x"], "argument --url: not a ws:// or wss:// URL: 'http://x'"),
        (["simulate", "--url", "ws://[x"], "argument --url: not a ws:// or wss:// URL: 'ws://[x'"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("usage: napcore ")
    assert told.endswith(f"\nerror: {message}\n")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    core = "compiled core" if napcore.COMPILED else "plain Python core"
    assert capsys.readouterr().out == f"napcore {napcore.__version__} ({core})\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_demo_json_is_one_line(backend: str) -> None:
    process = start("demo", "--json", "--groups", "19", "--rate", "300", "--seconds", "1", "--backend", backend)
    code, out, _ = finish(process)
    assert code == 0
    assert out.count("\n") == 1
    result = json.loads(out)
    assert list(result) == ["published", "elapsed_s", "backend", "compiled", "clients"]
    assert (result["published"], result["backend"], result["compiled"]) == (300, backend, napcore.COMPILED)
    assert 0.9 < result["elapsed_s"] < 10
    assert [client["name"] for client in result["clients"]] == ["reverse", "forward", "slow"]
    for client in result["clients"]:
        assert list(client) == ["name", "received", "dropped", "p50_ms", "p99_ms", "max_queue"]
        assert 0 < client["p50_ms"] <= client["p99_ms"]
    for client in result["clients"][:2]:
        assert (client["received"], client["dropped"]) == (300, {})
    assert result["clients"][2]["received"] < 300


def test_demo_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--groups", "5", "--rate", "100", "--seconds", "1.2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Simulator -> relay -> 3 clients on 127.0.0.1: 5 groups, 100 events/s, 1.2 s.")
    assert re.fullmatch(r" +1 s  \d+ events sent; received reverse \d+, forward \d+, slow \d+", lines[1])
    head = lines.index("") + 1
    assert re.split("  +", lines[head]) == [
        "client",
        "received",
        "dropped",
        "on its way",
        "p50 ms",
        "p99 ms",
        "longest queue",
    ]
    assert re.split("  +", lines[head + 1])[:4] == ["reverse", "120", "none", "0"]
    assert re.match(r"120 events published in \d\.\d s \(\d+/s\) on asyncio, .* core; \d+ API calls, \d+ ", lines[-1])


def scripted(received: int) -> DemoResult:
    fast = [ClientResult(name, received, {}, 0.5, 1.0, 3) for name in ("reverse", "forward")]
    slow = ClientResult("slow", 0, {"oldest": 4, "ttl": 1}, None, None, 100)
    return DemoResult(10, 2.0, (*fast, slow), CALLS)


def test_demo_fails_if_a_fast_client_missed_something(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_demo(*arguments: object) -> DemoResult:
        return scripted(9)

    monkeypatch.setattr(demo_module, "run_demo", run_demo)
    assert main(["demo", "--seconds", "10"]) == 1
    told = capsys.readouterr()
    assert told.err == "reverse did not get everything: 9 of 10\nforward did not get everything: 9 of 10\n"
    assert re.split("  +", told.out.splitlines()[-3]) == ["slow", "0", "oldest 4, ttl 1", "5", "-", "-", "100"]


def test_demo_that_does_not_come_up_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_demo(*arguments: object) -> DemoResult:
        raise TimeoutError("0 of 1 links are open after 10 s")

    monkeypatch.setattr(demo_module, "run_demo", run_demo)
    assert main(["demo", "--json"]) == 1
    assert capsys.readouterr() == ("", "error: 0 of 1 links are open after 10 s\n")


def test_run_with_a_port_in_use_is_one_line(
    tmp_path: Path, taken_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "napcore.toml"
    file.write_text(f'[listen]\nhost = "127.0.0.1"\nport = {taken_port}\n')
    assert main(["run", str(file)]) == 1
    assert capsys.readouterr() == (
        "",
        f"Port {taken_port} is in use by another program. Is napcore running already?"
        " Choose another port or end that program.\n",
    )


def test_run_on_an_address_of_another_machine_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "napcore.toml"
    file.write_text('[listen]\nhost = "203.0.113.1"\nport = 6710\ntoken = "1234567890123456"\n')
    assert main(["run", str(file)]) == 1
    told = capsys.readouterr()
    assert re.fullmatch(r"Port 6710: .*[Cc]annot assign requested address.*\n", told.err)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_run_until_a_signal(tmp_path: Path, number: signal.Signals, backend: str) -> None:
    file = tmp_path / "napcore.toml"
    file.write_text('[listen]\nhost = "127.0.0.1"\nport = 0\n')
    with start("run", str(file), "--backend", backend) as process:
        wait_for_line(process.stderr, r"listening on ws://127\.0\.0\.1:\d+")
        process.send_signal(number)
        code, out, err = finish(process)
    assert (code, out) == (0, "")
    assert err.endswith("Stopped.\n")
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_run_writes_its_statistics_when_it_ends(tmp_path: Path, backend: str) -> None:
    file, statistics = tmp_path / "napcore.toml", tmp_path / "statistics.json"
    async with RecordingClient() as bot:
        file.write_text(f'[[client]]\nname = "bot"\nurl = "{await bot.listen()}"\n[listen]\nport = 0\n')
        process = await anyio.to_thread.run_sync(
            start, "run", str(file), "--backend", backend, "--statistics", str(statistics)
        )
        try:
            line = await anyio.to_thread.run_sync(
                wait_for_line, process.stderr, r"listening on (ws://127\.0\.0\.1:\d+)"
            )
            async with Simulator(10001) as sim:
                sim.connect(line[1])
                await bot.wait_for(lambda: len(bot.meta) == 1)
                for _ in range(5):
                    await sim.emit(sim.events.next())
                await bot.received(5)
                process.send_signal(signal.SIGTERM)
                code, out, _ = await anyio.to_thread.run_sync(finish, process)
        finally:
            process.kill()
    assert (code, out) == (0, "")
    (told,) = statistics.read_text().splitlines()
    (client,) = json.loads(told)["clients"]
    assert (client["name"], client["received"], client["confirmed"], client["dropped"]) == ("bot", 5, 5, {})


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_statistics_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "napcore.toml"
    file.write_text('[listen]\nhost = "127.0.0.1"\nport = 0\n')
    with start("run", str(file), "--statistics", str(tmp_path)) as process:
        wait_for_line(process.stderr, r"listening on ws://127\.0\.0\.1:\d+")
        process.send_signal(signal.SIGTERM)
        code, out, err = finish(process)
    assert (code, out) == (1, "")
    assert err.endswith(f"Statistics not written to {tmp_path}: Is a directory\n")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_simulate_against_a_bot_that_dials() -> None:
    def play() -> subprocess.Popen[str]:
        return start(
            "simulate", "--listen", "0", "--rate", "200", "--groups", "3", "--token", "t", "--self-id", "10001"
        )

    process = await anyio.to_thread.run_sync(play)
    try:
        line = await anyio.to_thread.run_sync(wait_for_line, process.stdout, r"^Listening on (ws://127\.0\.0\.1:\d+);")
        async with RecordingClient(token="t") as bot:
            await bot.connect(line[1])
            events = await bot.received(20)
            assert {event["self_id"] for event in events} == {10001}
            event = next(event for event in events if event.get("message_type") == "group")
            reply = [{"type": "reply", "data": {"id": str(event["message_id"])}}]
            await bot.call("send_group_msg", {"group_id": event["group_id"], "message": reply})
            await bot.call("get_login_info")
            process.send_signal(signal.SIGINT)
            code, out, err = await anyio.to_thread.run_sync(finish, process)
    finally:
        process.kill()
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "Connections to the bot: 1"
    assert re.fullmatch(r"\d+ events in \d+\.\d s; 2 API calls, 1 of them replies", lines[-2])
    assert re.fullmatch(r"Reply latency: p50 (\S+) ms, p99 \1 ms, longest \1 ms", lines[-1])


async def test_simulate_ends_by_itself() -> None:
    async with RecordingClient() as bot:
        url = await bot.listen()
        process = await anyio.to_thread.run_sync(start, "simulate", "--url", url, "--rate", "100", "--seconds", "0.2")
        code, out, err = await anyio.to_thread.run_sync(finish, process)
        await bot.received(20)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == [f"Dialling {url}. Ctrl-C ends it.", "Connections to the bot: 1"]
    assert re.fullmatch(r"20 events in \d\.\d s; 0 API calls, 0 of them replies", lines[2])
    assert lines[3:] == ["No reply yet."]


def test_simulate_on_a_port_in_use_is_one_line(taken_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--listen", str(taken_port)]) == 1
    assert capsys.readouterr() == (
        "",
        f"Port {taken_port} is in use by another program. Is napcore running already?"
        " Choose another port or end that program.\n",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_simulate_says_once_why_the_bot_cannot_be_dialled(taken_port: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}/ws"
        with start("simulate", "--url", url) as process:
            wait_for_line(process.stdout, f"^Cannot connect to {url}: connection refused; trying again every 5 s$")
            process.send_signal(signal.SIGINT)
            code, out, err = finish(process)
    assert (code, out, err) == (0, "0 events in 0.0 s; 0 API calls, 0 of them replies\nNo reply yet.\n", "")


def test_logging_is_set_up_once_and_shows_napcore(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up_logging(logging.INFO)
    logs.set_up_logging(logging.INFO)
    logging.getLogger("napcore.relay").info("one")
    logging.getLogger("napcore.relay").debug("not shown")
    logging.getLogger("other").info("not shown")
    logging.getLogger("other").warning("two")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["INFO     napcore.relay: one", "WARNING  other: two"]


def test_a_backend_that_is_not_installed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise ConfigError("trio is not installed: pip install 'napcore[trio]'", key="backend")

    monkeypatch.setattr("napcore.net.runner.run", run)
    assert main(["demo", "--json", "--backend", "trio"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error: backend: trio is not installed: pip install 'napcore[trio]'\n"
