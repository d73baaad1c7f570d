"""Clients that ask for a message format, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from napcore import Config, ConfigError, Relay, format_message, parse_message
from napcore.testing import RecordingClient, Simulator
from napcore.testing.answers import encode
from napcore.types import MessageFormat

TEXT = "看 [CQ:at,qq=1], a&b"
SEGMENTS = [{"type": "text", "data": {"text": TEXT}}, {"type": "at", "data": {"qq": "1"}}]
STRING = "看 &#91;CQ:at,qq=1&#93;, a&amp;b[CQ:at,qq=1]"


def in_format(event: Mapping[str, Any], message_format: MessageFormat | None) -> dict[str, Any]:
    """The event as a client of that format should get it."""
    if message_format is None or event["post_type"] != "message":
        return dict(event)
    if isinstance(event["message"], list) == (message_format == "array"):
        return dict(event)
    if message_format == "array":
        return {**event, "message": parse_message(event["message"]), "message_format": "array"}
    string = format_message(event["message"])
    return {**event, "message": string, "raw_message": string, "message_format": "string"}


@pytest.mark.parametrize("role", ["forward", "reverse"])
async def test_one_upstream_and_clients_of_every_format(role: str) -> None:
    async with Simulator(10001, groups=[1, 2], seed=3) as sim, Relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        if role == "forward":
            await relay.add_upstream(await sim.listen()).ready(10)
        else:
            sim.connect(f"{listener.url}/")
            await sim.wait_connected()
        clients: dict[tuple[bool, MessageFormat | None], RecordingClient] = {}
        async with (
            RecordingClient() as a,
            RecordingClient() as b,
            RecordingClient() as c,
            RecordingClient() as d,
            RecordingClient() as e,
        ):
            wanted: list[tuple[bool, MessageFormat | None]] = [
                *((True, "array"), (True, "string"), (True, None), (False, "array"), (False, "string"))
            ]
            for key, client in zip(wanted, (a, b, c, d, e), strict=True):
                dialled, message_format = key
                clients[key] = client
                name = f"bot-{dialled}-{message_format}"
                relay.add_client(name, await client.listen() if dialled else None, message_format=message_format)
                if not dialled:
                    await client.connect(f"{listener.url}/c/{name}")
                await client.wait_for(lambda client=client: len(client.meta) == 1)
            message = sim.events.group_message(1, message=SEGMENTS)
            string = {**message, "message": STRING, "raw_message": STRING, "message_format": "string"}
            events = [
                message,
                string,
                *(sim.events.group_message(2) for _ in range(20)),
                sim.events.notice(1),
                {"self_id": 10001, "post_type": "notice", "notice_type": "bot_offline", "message": "[CQ:at,qq=1]"},
                sim.events.private_message(message=SEGMENTS),
                {**message, "message": [{"type": "no name", "data": {}}]},
            ]
            for event in events:
                await sim.emit(event)
            for (_, message_format), client in clients.items():
                received = await client.received(len(events))
                expected = [in_format(event, message_format) for event in events[:-1]] + events[-1:]
                assert received == expected
                assert client.raw == [encode(event) for event in expected]
            assert relay.statistics().invalid == 0


async def test_requests_stay_as_they_are() -> None:
    async with Simulator(10001, seed=1) as sim, Relay() as relay, RecordingClient() as bot:
        await relay.add_upstream(await sim.listen()).ready(10)
        relay.add_client("bot", await bot.listen(), message_format="string")
        await bot.wait_for(lambda: len(bot.meta) == 1)
        for message in (SEGMENTS, STRING):
            await bot.call("send_msg", {"group_id": 1, "message": message})
        assert [call["params"]["message"] for call in sim.calls] == [SEGMENTS, STRING]


def test_an_unknown_format_is_refused() -> None:
    relay = Relay()
    with pytest.raises(ConfigError, match="message_format: must be one of array, string, not 'cq'"):
        relay.add_client("bot", "ws://127.0.0.1:1", message_format="cq")  # type: ignore[arg-type]
    assert relay.add_client("bot", "ws://127.0.0.1:1", message_format="array").message_format == "array"


def test_the_format_comes_from_the_configuration() -> None:
    clients = [{"name": "a", "url": "ws://127.0.0.1:1", "message_format": "string"}, {"name": "b", "url": "ws://x:1"}]
    for defaults, expected in (({}, ["string", None]), ({"message_format": "array"}, ["string", "array"])):
        relay = Relay.from_config(Config.from_dict({"client": clients, "defaults": defaults}))
        assert [client.message_format for client in relay.traffic.clients] == expected


def test_the_rest_of_the_bytes_is_left_alone() -> None:
    raw = b'{"post_type": "message","x":1.50, "message":"a&amp;b"}'
    hub = Relay().traffic.hub
    hub.add("a", message_format="array", form="json")
    hub.publish(raw)
    (found,) = hub.clients["a"].take()
    assert found == raw.replace(b'"a&amp;b"', b'[{"type":"text","data":{"text":"a&b"}}]')
    assert json.loads(found)["x"] == 1.5
