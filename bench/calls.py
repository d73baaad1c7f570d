"""One API call through napcore, beside what NapCat does with it: json5 in Node, and an answer as JSON.

No sockets: what is measured is CPU time per call, of both in turn. napcore reads the request, puts an
echo of its own in, makes a masked frame of it, reads the answer and puts the client's echo back.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.wire.build import CACHE
from napcore.core.calls import Answer, Call, Calls
from napcore.core.request_lane import RequestLane
from napcore.dispatch import COMPILED, Response, peek_frame, peek_request

HERE = Path(__file__).parent
SIZES = ((300, 2000), (64 << 10, 50), (5 << 20, 3))
"""Bytes of a request, and calls in one round."""

ANSWER = (
    b'{"status":"ok","retcode":0,"data":{"message_id":1},"message":"","wording":"","echo":%b,"stream":"normal-action"}'
)


@dataclass(frozen=True)
class Options:
    """What to run."""

    out: Path
    rounds: int = 9


class Client:
    """Who asks."""

    client = None

    def answer(self, answer: Answer) -> None:
        """Calls.answer hands it back; nothing is delivered here."""


class Napcore:
    """The path of a call, without its links."""

    def __init__(self) -> None:
        self._calls = Calls("0123abcd")
        self._lane = RequestLane(masked=True)
        self._client = Client()

    def call(self, data: bytes) -> bytes:
        """There and back."""
        call = self._calls.forward(peek_request(data), self._client, self, 0.0)
        assert isinstance(call, Call)
        self._lane.offer(call)
        frames = self._lane.gather(0.0)
        assert len(frames) == 1
        self._lane.wrote()
        response = peek_frame(ANSWER % call.key)
        assert isinstance(response, Response)
        found = self._calls.answer(response, self, 0.0)
        assert found is not None
        return found.frame


def request(size: int) -> bytes:
    """A request of so many bytes, as a framework sends it."""
    head = b'{"action":"send_group_msg","params":{"group_id":342561735,"message":"'
    tail = b'"},"echo":"12345"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def json5_folder() -> Path | None:
    """``node_modules`` with json5 in it, installed once; None without node, npm or their registry."""
    modules = CACHE / "json5" / "node_modules"
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        return None
    if not (modules / "json5").exists():
        modules.parent.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(modules.parent), "json5"]
        subprocess.run(command, capture_output=True, timeout=120)
    return modules if (modules / "json5").exists() else None


def run(options: Options, say: Callable[[str], None]) -> int:
    """Measure both in turn and say what came of it. Returns 1 when somebody did not do the work."""
    modules = json5_folder()
    if modules is None:
        say("skipped: no node, or npm could not install json5")
        return 0
    core = "compiled" if COMPILED else "plain"
    say(
        f"one API call, CPU time; napcore ({core}) and json5 + JSON.stringify in Node, in turn, {options.rounds} rounds"
    )
    say(f"{'request':>10}  {'napcore':>12}  {'NapCat way':>12}  {'ratio':>8}  {'napcore':>12}  {'NapCat way':>12}")
    node = subprocess.Popen(
        ["node", str(HERE / "calls_node.mjs"), str(modules)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert node.stdin is not None
    assert node.stdout is not None
    napcore, found = Napcore(), []
    try:
        for size, calls in SIZES:
            data = request(size)
            assert json.loads(napcore.call(data))["echo"] == "12345"
            ours: list[float] = []
            theirs: list[float] = []
            for _ in range(options.rounds + 1):
                start = time.thread_time_ns()
                for _ in range(calls):
                    napcore.call(data)
                ours.append((time.thread_time_ns() - start) / calls)
                node.stdin.write(f"{size} {calls}\n")
                node.stdin.flush()
                answer = json.loads(node.stdout.readline())
                if answer["bytes"] < 100:
                    return 1
                theirs.append(answer["ns"])
            # The first round of each warms up.
            own, other = statistics.median(ours[1:]), statistics.median(theirs[1:])
            found.append({"bytes": size, "napcore_ns": own, "json5_ns": other, "ratio": other / own})
            say(
                f"{size:>8} B  {own / 1000:>9.1f} us  {other / 1000:>9.1f} us  {other / own:>7.1f}x"
                f"  {1e9 / own:>10,.0f}/s  {1e9 / other:>10,.0f}/s"
            )
    finally:
        node.stdin.close()
        node.wait(10)
        node.stdout.close()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "calls.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0
