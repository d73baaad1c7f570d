from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import napcore
from napcore.testing import RecordingClient, Simulator

FOLDER = Path(__file__).parents[2] / "examples" / "from_two_reverse_websockets"


def entries(name: str) -> dict[str, str]:
    """NapCat's entries that are switched on."""
    network = json.loads((FOLDER / name).read_text("utf-8"))["network"]
    return {entry["name"]: entry["url"] for entry in network["websocketClients"] if entry["enable"]}


def test_napcore_takes_the_place_of_what_is_switched_off() -> None:
    config = napcore.load_config(FOLDER / "napcore.toml")
    assert {client.name: client.url for client in config.client} == entries("before.json")
    assert config.listen is not None
    assert entries("after.json") == {"napcore": f"ws://127.0.0.1:{config.listen.port}"}
    off = json.loads((FOLDER / "after.json").read_text("utf-8"))["network"]["websocketClients"][1:]
    assert {entry["name"]: entry["url"] for entry in off} == entries("before.json")


async def test_it_does_what_it_shows(run_example: Any, copy_example: Any, free_port: Any) -> None:
    """The bots are recording clients at the addresses that NapCat has dialled before."""
    paths = {name: urlsplit(url).path for name, url in entries("before.json").items()}
    ports = {"6710": free_port(), "8080": free_port(), "8090": free_port()}
    folder = copy_example("from_two_reverse_websockets", ports)
    async with RecordingClient() as nonebot, RecordingClient() as hoshino, Simulator(10001, groups=[5]) as sim:
        await nonebot.listen(port=ports["8080"])
        await hoshino.listen("/ws/", port=ports["8090"])
        async with run_example(folder, command=["-m", "napcore", "run"]) as program:
            await program.printed(str(ports["6710"]))
            sim.connect(f"ws://127.0.0.1:{ports['6710']}", reconnect=0.1)
            for bot, name in ((nonebot, "nonebot2"), (hoshino, "hoshino")):
                (link,) = await bot.wait_connected(timeout=30)
                assert urlsplit(link.path).path == paths[name]
                assert link.headers["X-Self-ID"] == "10001"
            message = sim.events.group_message(5, message="hi")
            await sim.emit(message)
            for bot in (nonebot, hoshino):
                await bot.wait_for(lambda bot=bot: bot.count == 1, timeout=30)
                assert bot.events == [message]
                assert (await bot.call("get_login_info"))["data"]["user_id"] == 10001
