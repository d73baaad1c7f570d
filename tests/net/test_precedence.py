from __future__ import annotations

import time

import anyio
import anyio.lowlevel
from anyio import wait_all_tasks_blocked

from napcore.net.precedence import Place, Precedence


async def begin(place: Place, name: str, begun: list[str]) -> None:
    await place.wait()
    begun.append(name)
    place.leave()


async def test_those_of_a_key_begin_in_order() -> None:
    order, begun = Precedence(8, 60.0), []
    first, second, third, other = (order.enter(key) for key in ("a", "a", "a", "b"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin, third, "third", begun)
        tasks.start_soon(begin, second, "second", begun)
        tasks.start_soon(begin, other, "other", begun)
        await wait_all_tasks_blocked()
        assert begun == ["other"]
        tasks.start_soon(begin, first, "first", begun)
    assert begun == ["other", "first", "second", "third"]
    assert len(order) == 0


async def test_one_that_begins_nothing_lets_the_next_begin_at_its_end() -> None:
    order, begun = Precedence(8, 60.0), []
    first, second = order.enter("a"), order.enter("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin, second, "second", begun)
        await wait_all_tasks_blocked()
        assert begun == []
        first.leave()
        first.leave()
    assert begun == ["second"]


async def test_one_that_has_ended_lets_nobody_pass_those_ahead_of_it() -> None:
    order, begun = Precedence(8, 60.0), []
    first, second = order.enter("a"), order.enter("a")
    second.leave()
    third = order.enter("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin, third, "third", begun)
        await wait_all_tasks_blocked()
        assert begun == []
        tasks.start_soon(begin, first, "first", begun)
    assert begun == ["first", "third"]


async def test_handlers_of_one_event_begin_together() -> None:
    order, begun = Precedence(8, 60.0), []
    first, second = order.enter("a"), order.enter("a")
    async with anyio.create_task_group() as tasks:
        for name in ("one", "another"):
            tasks.start_soon(begin, second, name, begun)
        await wait_all_tasks_blocked()
        assert begun == []
        first.leave()
        await wait_all_tasks_blocked()
        assert sorted(begun) == ["another", "one"]
        await begin(second, "later", begun)
    assert begun[2] == "later"


async def test_nobody_is_waited_for_longer_than_patience() -> None:
    now = 100.0
    order, begun = Precedence(8, 5.0, lambda: now), []
    order.enter("a")
    second, third = order.enter("a"), order.enter("a")
    now = 105.0
    with anyio.fail_after(2):
        await begin(second, "second", begun)
        await begin(third, "third", begun)
    assert begun == ["second", "third"]


async def test_who_waits_sees_patience_end() -> None:
    order, begun = Precedence(8, 0.02), []
    order.enter("a")
    with anyio.fail_after(5):
        await begin(order.enter("a"), "second", begun)
    assert begun == ["second"]


async def test_a_cancelled_wait_lets_go_once_it_leaves() -> None:
    order, begun = Precedence(8, 60.0), []
    first, second, third = (order.enter("a") for _ in range(3))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await second.wait()
    assert not second.left
    second.leave()
    first.leave()
    await begin(third, "third", begun)
    assert begun == ["third"]


async def test_those_that_wait_leave_room_for_others() -> None:
    order = Precedence(2, 60.0)
    with anyio.fail_after(5):
        for number in range(50):
            await order.room()
            order.enter(number)
    assert len(order) == 50


async def test_those_that_compute_leave_none() -> None:
    order = Precedence(2, 60.0)
    places = [order.enter(number) for number in range(2)]
    passed = turns = 0

    async def compute(place: Place) -> None:
        nonlocal turns
        while not place.left:
            end = time.perf_counter() + 0.001
            while time.perf_counter() < end:
                pass
            turns += 1
            if turns == 40:
                assert passed == 0
                places[0].leave()
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for place in places:
            tasks.start_soon(compute, place)
        await order.room()
        passed = turns
        places[1].leave()
    assert passed >= 40


async def test_those_that_have_had_their_time_are_counted_no_more() -> None:
    now = 0.0
    order = Precedence(1, 5.0, lambda: now)
    stuck = order.enter("a")
    now = 5.0
    await order.room()
    assert stuck.left
    assert len(order) == 0
