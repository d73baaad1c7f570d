from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from napcore import Config, Event, Policy, RelayThread, start_thread
from napcore.core.conversation import conversation
from napcore.errors import ConfigError
from napcore.net.handover import HandOver
from napcore.net.precedence import Place

LISTEN = Config.from_dict({"listen": {"host": "127.0.0.1", "port": 0}})


@pytest.fixture
def thread() -> Iterator[RelayThread]:
    with start_thread(LISTEN, watchdog=False) as thread:
        yield thread


def message(number: int, group: int | None = 5, **fields: Any) -> dict[str, Any]:
    kind = {"message_type": "private"} if group is None else {"message_type": "group", "group_id": group}
    return {"post_type": "message", "self_id": 10001, "user_id": 7, "message_id": number, **kind, **fields}


class Framework:
    """Handlers of a framework: each waits for its turn, and then for its number to be let go."""

    def __init__(self) -> None:
        self.taken: list[int | None] = []
        self.begun: list[int | None] = []
        self.slow: set[int] = set()
        """Messages whose matching takes until :attr:`go` is set."""
        self.go = anyio.Event()
        self.change = anyio.Event()

    async def handle(self, event: Event, place: Place) -> None:
        self.taken.append(event.message_id)
        self._tell()
        if event.message_id in self.slow:
            await self.go.wait()
        await place.wait()
        self.begun.append(event.message_id)
        place.leave()
        self._tell()

    def _tell(self) -> None:
        change, self.change = self.change, anyio.Event()
        change.set()

    async def come_to(self, taken: int, begun: int) -> None:
        with anyio.fail_after(10):
            while (len(self.taken), len(self.begun)) != (taken, begun):
                await self.change.wait()


def hand_over(thread: RelayThread, framework: Framework, limit: int = 8, **options: Any) -> HandOver:
    return HandOver(lambda: thread.subscribe(**options), limit, 60.0, framework.handle)


async def test_events_of_a_group_begin_in_order_and_others_pass_them(thread: RelayThread) -> None:
    framework = Framework()
    framework.slow = {1, 2}
    handed = hand_over(thread, framework)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handed.run)
        await handed.opened()
        for number, group in ((1, 5), (2, 5), (3, 5), (4, 6), (5, None)):
            thread.publish(message(number, group))
        await framework.come_to(5, 2)
        assert framework.taken == [1, 2, 3, 4, 5]
        assert framework.begun == [4, 5]
        framework.go.set()
        await framework.come_to(5, 5)
        assert framework.begun == [4, 5, 1, 2, 3]
        await handed.stop(5)
    assert handed.stopping


async def test_many_that_wait_in_matching_hold_nobody_up(thread: RelayThread) -> None:
    framework = Framework()
    framework.slow = set(range(1, 101))
    handed = hand_over(thread, framework, 2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handed.run)
        await handed.opened()
        for number in range(1, 102):
            thread.publish(message(number, number))
        await framework.come_to(101, 1)
        assert framework.begun == [101]
        await handed.stop(5)


async def test_stopping_cancels_what_runs(thread: RelayThread) -> None:
    framework = Framework()
    framework.slow = {1}
    handed = hand_over(thread, framework)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handed.run)
        await handed.opened()
        thread.publish(message(1))
        await framework.come_to(1, 0)
        with anyio.fail_after(5):
            await handed.stop(5)
    assert framework.begun == []


async def test_it_ends_with_the_relay(thread: RelayThread) -> None:
    handed = hand_over(thread, Framework())
    beside = anyio.Event()

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            beside.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handed.run, wait)
        await handed.opened()
        await anyio.to_thread.run_sync(thread.stop)
    assert beside.is_set()
    assert not handed.stopping


async def test_a_name_that_is_taken_is_told_to_who_waits(thread: RelayThread) -> None:
    async with thread.subscribe(name="nonebot"):
        handed = hand_over(thread, Framework(), name="nonebot")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handed.run)
            with pytest.raises(ConfigError, match="nonebot"):
                await handed.opened()


async def test_what_is_lost_in_the_queue_is_told(thread: RelayThread) -> None:
    handed = hand_over(thread, Framework(), policy=Policy(max_events=1, max_frame=100))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handed.run)
        assert handed.missed == 0
        await handed.opened()
        thread.publish(message(1, raw_message="x" * 200))
        with anyio.fail_after(10):
            while not handed.missed:
                await thread.statistics()
        await handed.stop(5)


def test_keys() -> None:
    keys = [
        conversation(Event.from_dict(event))
        for event in (
            message(1),
            message(2),
            message(3, 6),
            message(4, None),
            message(5, None, user_id=8),
            {"post_type": "notice", "notice_type": "notify", "self_id": 10001, "group_id": 5, "user_id": 9},
            message(6, self_id=10002),
        )
    ]
    assert [keys.index(key) for key in keys] == [0, 0, 2, 3, 4, 0, 6]
