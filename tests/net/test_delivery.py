"""Order and completeness, however slowly clients read and however the frames get into their sockets."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import napcore.net.link
import napcore.net.sockets
import napcore.net.traffic
from napcore import Policy, Relay

READERS = 12
EVENTS = 100
ALL_OF_IT = {"max_events": "off", "max_bytes": "off", "message_ttl": "off"}

ways = pytest.mark.parametrize("way", ["socket", "stream", "TLS", "TLS stream"])


@pytest.fixture
def by(monkeypatch: pytest.MonkeyPatch, certificates: Any) -> Callable[[str], tuple[Any, Any]]:
    """``by(way)``: make links write that way; the TLS contexts of the listener and of those who dial it."""

    def choose(way: str) -> tuple[Any, Any]:
        if way == "socket" and not napcore.net.sockets.CAN_WRITE:
            pytest.skip("no descriptors to write to")
        if way.endswith("stream"):
            monkeypatch.setattr(napcore.net.sockets, "CAN_WRITE", False)
        return (certificates.server, certificates.client) if way.startswith("TLS") else (None, None)

    return choose


def closes(client: Any) -> bool:
    return client.received == client.confirmed + client.unconfirmed + client.queued + sum(client.dropped.values())


@ways
async def test_twelve_readers_of_different_slowness(way: str, by: Any, dial: Any, message: Any, until: Any) -> None:
    server, client = by(way)
    dice = random.Random(7)
    sizes = [int(30 * 1000 ** dice.random()) for _ in range(EVENTS)]
    seen: list[list[int]] = [[] for _ in range(READERS)]
    over = anyio.Event()
    async with Relay() as relay, anyio.create_task_group() as readers:
        listener = await relay.listen("127.0.0.1", 0, ssl_context=server)
        relay.publish(message(0))

        async def read(number: int) -> None:
            # Every second one has no window, so that its socket fills up.
            async with dial(listener, f"/c/r{number}", slow=number % 4 == 3, ssl_context=client) as peer:
                while len(seen[number]) < EVENTS:
                    event = await peer.json()
                    if event["post_type"] == "message":
                        seen[number].append(event["message_id"])
                        assert len(event["raw_message"]) == sizes[event["message_id"] - 1]
                    for _ in range(number):
                        await anyio.lowlevel.checkpoint()
                await over.wait()

        for number in range(READERS):
            policy = Policy(**ALL_OF_IT, max_in_flight="off" if number % 2 else None)
            relay.add_client(f"r{number}", policy=policy)
            readers.start_soon(read, number)
        await until(lambda: sum(one.state == "connected" for one in relay.statistics().clients) == READERS)
        for number, size in enumerate(sizes, 1):
            relay.publish(message(number, raw_message="x" * size))
            if dice.random() < 0.2:
                await anyio.lowlevel.checkpoint()
        await until(lambda: all(len(one) == EVENTS for one in seen), 60)
        # The word of the last write may come later than what it wrote.
        await until(lambda: not any(one.queued for one in relay.statistics().clients))
        for one in relay.statistics().clients:
            assert closes(one)
            assert (one.received, one.queued, one.dropped) == (EVENTS, 0, {})
        over.set()
    assert seen == [list(range(1, EVENTS + 1))] * READERS


@ways
@pytest.mark.usefixtures("quick_tick")
async def test_everything_is_confirmed_in_the_end(way: str, by: Any, dial: Any, message: Any, until: Any) -> None:
    server, client = by(way)
    async with Relay() as relay:
        relay.add_client("bot")
        listener = await relay.listen("127.0.0.1", 0, ssl_context=server)
        relay.publish(message(0))
        async with dial(listener, "/c/bot", ssl_context=client) as peer, anyio.create_task_group() as tasks:
            await peer.json()
            relay.publish(message(1))
            assert (await peer.json())["message_id"] == 1
            for number in range(2, 11):
                relay.publish(message(number))

            async def read() -> None:
                while await peer.frame() is not None:
                    pass

            tasks.start_soon(read)
            # The last of them wait for the ping of the next second.
            await until(lambda: relay.statistics().clients[0].confirmed == 10)
            assert (closes(relay.statistics().clients[0]), relay.statistics().clients[0].unconfirmed) == (True, 0)
            tasks.cancel_scope.cancel()


async def test_many_links_are_written_to_in_slices(
    dial: Any, message: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napcore.net.traffic, "SLICE", 3)
    async with Relay() as relay, anyio.create_task_group() as tasks:
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0))
        seen: list[list[int]] = [[] for _ in range(8)]

        async def read(number: int) -> None:
            async with dial(listener) as peer:
                while len(seen[number]) < 20:
                    seen[number] += [event["message_id"] for event in await peer.events(1)]

        for number in range(8):
            tasks.start_soon(read, number)
        await until(lambda: [client.state for client in relay.statistics().clients] == ["connected"] * 8)
        written = []
        for number in range(1, 21):
            relay.publish(message(number))
            written.append(sum(client.unconfirmed + client.confirmed for client in relay.statistics().clients))
            if number % 5 == 0:
                await until(lambda: not relay.traffic._unwritten)
        # Three at once, and while the others have their turn nobody is written to out of it.
        assert written[:5] == [3] * 5
    assert seen == [list(range(1, 21))] * 8


async def test_a_peer_that_answers_no_pings_is_believed_after_a_while(
    dial: Any, message: Any, until: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(napcore.net.traffic, "TICK", 0.01)
    monkeypatch.setattr(napcore.net.link, "PATIENCE", 0.05)
    async with Relay() as relay:
        relay.add_client("mute", policy=Policy(max_in_flight=5))
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0))
        async with dial(listener, "/c/mute") as peer:
            await peer.json()
            peer.polite = False
            for number in range(1, 21):
                relay.publish(message(number))
            assert [event["message_id"] for event in await peer.events(5)] == [1, 2, 3, 4, 5]
            await anyio.sleep(0.1)
            assert (relay.statistics().clients[0].queued, caplog.records) == (15, []), "it may be asleep"
            await peer.send(b'{"action":"get_status","echo":1}')
            assert (await peer.json())["echo"] == 1
            assert [event["message_id"] for event in await peer.events(15)] == list(range(6, 21))
            assert relay.statistics().clients[0].confirmed == 20
            assert "link mute@10001 answers no pings" in caplog.text
            (record,) = caplog.records
            assert record.levelname == "WARNING"


@pytest.mark.usefixtures("quick_tick")
async def test_a_peer_that_has_answered_once_keeps_its_window(
    dial: Any, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napcore.net.link, "PATIENCE", 0.02)
    async with Relay() as relay:
        relay.add_client("bot", policy=Policy(max_in_flight=5))
        listener = await relay.listen("127.0.0.1", 0)
        relay.publish(message(0))
        async with dial(listener, "/c/bot") as peer:
            await peer.json()
            relay.publish(message(1))
            await peer.json()
            await peer.send(b'{"action":"get_status","echo":1}')
            assert (await peer.json())["echo"] == 1
            peer.polite = False
            for number in range(2, 21):
                relay.publish(message(number))
            for echo in range(5):
                await peer.send(b'{"action":"get_status","echo":%d}' % echo)
                await anyio.sleep(0.02)
            (client,) = relay.statistics().clients
            assert closes(client)
            assert client.queued >= 14
