"""NapCat's part: a stand-in in a thread of its own says what the script has, and writes down what is called."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
from typing import Any

import anyio

import napcore
import napcore.aiocqhttp
from napcore.testing import Simulator

ACCOUNT = 10001
PATIENCE = 20.0

_listening = threading.Event()
_started = threading.Event()
_over = threading.Event()
_found: dict[str, Any] = {"steps": [], "running": []}
_attached: list[Any] = []
_url = ""


def relay() -> napcore.RelayThread:
    """A relay that the stand-in is linked to."""
    threading.Thread(target=anyio.run, args=(_napcat,), daemon=True).start()
    assert _listening.wait(PATIENCE)
    return napcore.start_thread(napcore.Config.from_dict({"upstream": [{"url": _url}]}))


def watch(attached: napcore.aiocqhttp.Attached) -> None:
    """Write down how many events are being handled after each step."""
    _attached.append(attached)


async def started() -> None:
    """The bot's start-up function: nothing must come before it."""
    _found["early"] = len(_found["steps"])
    _started.set()


def over() -> None:
    """The bot has ended, which Quart may do by sys.exit(): show what came of it."""
    assert _over.is_set()
    sys.stdout.write("\n" + json.dumps(_found, ensure_ascii=False) + "\n")
    sys.stdout.flush()


atexit.register(over)


async def _napcat() -> None:
    global _url
    try:
        async with Simulator(ACCOUNT, groups=[5, 6], heartbeat=1e6, seed=1) as sim:
            _url = await sim.listen()
            _listening.set()
            await anyio.to_thread.run_sync(_started.wait)
            for step in json.loads(os.environ["SCRIPT"]):
                await _play(sim, step)
    except BaseException as error:
        _found["error"] = repr(error)
    finally:
        _over.set()
        os.kill(os.getpid(), signal.SIGINT)


async def _play(sim: Simulator, step: dict[str, Any]) -> None:
    """Send the events of a step, and wait for so many calls."""
    before = len(_calls(sim))
    for event in step["events"]:
        own = {"time": 1_700_000_000, "self_id": ACCOUNT, "user_id": 7, "group_id": 5}
        if event.get("post_type", "message") == "message":
            text = event.pop("text")
            said = sim.events.group_message(event.get("group_id", 5), message=text)
            own = {**said, "user_id": 7, "sender": {**said["sender"], "user_id": 7, "role": "member"}}
        await sim.emit({**own, **event})
    await sim.wait_for(lambda: len(_calls(sim)) >= before + step["calls"], timeout=PATIENCE)
    # What was answered last is about to be over.
    await anyio.sleep(0.1)
    _found["running"].append(_attached[0].statistics().running)
    _found["steps"].append([[call["action"], _shown(call["params"])] for call in _calls(sim)[before:]])


def _calls(sim: Simulator) -> list[dict[str, Any]]:
    """What the bot has called, without nonebot's own question for each command: whether the sender may use it."""
    return [call for call in sim.calls if not call["params"].get("no_cache")]


def _shown(params: dict[str, Any]) -> Any:
    """What is said where, or what is done."""
    message = params.get("message")
    if isinstance(message, str):
        return message
    if isinstance(message, list):
        return "".join(segment["data"].get("text", f"[{segment['type']}]") for segment in message)
    return params.get("operation", {name: value for name, value in params.items() if name != "self_id"})
