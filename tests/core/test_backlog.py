from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napcore.core.backlog import Backlog, Job
from napcore.types import Outcome


def closes(backlog: Backlog[Any]) -> None:
    found = backlog.statistics()
    assert found.received == found.handled + found.running + found.queued + sum(found.dropped.values())
    assert backlog.lost == sum(found.dropped.values())
    assert dict(backlog.dropped) == found.dropped


def begin(backlog: Backlog[Any], now: float = 0.0) -> list[Any]:
    jobs = []
    while (job := backlog.take(now)) is not None:
        jobs.append(job)
    return jobs


def items(jobs: list[Job[Any]]) -> list[Any]:
    return [job.item for job in jobs]


def test_jobs_of_a_key_begin_one_after_the_other_and_keys_side_by_side() -> None:
    backlog: Backlog[str] = Backlog(workers=10)
    for item in ("a1", "a2", "b1", "a3", "b2"):
        assert backlog.offer(item[0], item, 0.0) is Outcome.QUEUED
    first = begin(backlog)
    assert items(first) == ["a1", "b1"]
    backlog.finish(first[0])
    second = begin(backlog)
    assert items(second) == ["a2"]
    backlog.finish(first[1])
    backlog.finish(second[0])
    assert items(begin(backlog)) == ["b2", "a3"]
    closes(backlog)


def test_no_more_run_than_there_are_workers_and_keys_take_turns() -> None:
    backlog: Backlog[str] = Backlog(workers=2)
    for item in ("a1", "a2", "b1", "c1"):
        backlog.offer(item[0], item, 0.0)
    (a1, b1) = begin(backlog)
    assert items([a1, b1]) == ["a1", "b1"]
    assert list(backlog.running) == [a1, b1]
    backlog.finish(a1)
    # c has waited longer for a turn than a.
    (c1,) = begin(backlog)
    assert c1.item == "c1"
    backlog.finish(b1)
    (a2,) = begin(backlog)
    assert a2.item == "a2"
    assert not backlog.idle
    backlog.finish(a2)
    backlog.finish(c1)
    assert backlog.idle
    assert backlog.statistics() == (4, 4, 0, 0, 0, 0, 4, {})


def test_a_released_job_gives_back_key_and_place_and_still_runs() -> None:
    backlog: Backlog[str] = Backlog(workers=1, max_running=2)
    for item in ("a1", "a2", "a3"):
        backlog.offer("a", item, 0.0)
    (a1,) = begin(backlog, 5.0)
    assert a1.begun_at == 5.0
    assert backlog.release(a1)
    assert not backlog.release(a1)
    (a2,) = begin(backlog)
    assert a2.item == "a2"
    assert (backlog.statistics().running, backlog.statistics().released) == (2, 1)
    assert backlog.release(a2)
    assert begin(backlog) == [], "no more than max_running, released or not"
    backlog.finish(a1)
    (a3,) = begin(backlog)
    backlog.finish(a3, "failed")
    backlog.finish(a2)
    assert not backlog.release(a2)
    assert backlog.statistics() == (3, 3, 1, 0, 0, 0, 3, {})


def test_finishing_a_released_job_takes_nothing_from_the_one_that_holds_its_key_now() -> None:
    backlog: Backlog[int] = Backlog(workers=5)
    for item in range(3):
        backlog.offer("a", item, 0.0)
    (first,) = begin(backlog)
    backlog.release(first)
    (second,) = begin(backlog)
    backlog.finish(first)
    assert begin(backlog) == []
    backlog.finish(second)
    assert items(begin(backlog)) == [2]


def test_at_the_bound_the_oldest_of_all_goes() -> None:
    backlog: Backlog[str] = Backlog(workers=1, max_jobs=3)
    for item in ("a1", "a2", "a3", "b1"):
        backlog.offer(item[0], item, 0.0)
    assert backlog.statistics().dropped == {"oldest": 1}
    (a2,) = begin(backlog)
    assert a2.item == "a2"
    assert backlog.offer("a", "a4", 0.0) is Outcome.QUEUED
    assert backlog.offer("c", "c1", 0.0) is Outcome.DROPPED_OLDEST
    backlog.finish(a2)
    rest = []
    while (job := backlog.take(0.0)) is not None:
        rest.append(job.item)
        backlog.finish(job)
    assert rest == ["b1", "c1", "a4"], "a3 went, and a has had its turn"
    closes(backlog)


def test_bytes_are_bounded_too_but_for_one_job() -> None:
    backlog: Backlog[str] = Backlog(workers=1, max_bytes=10)
    for item, size in (("a1", 4), ("b1", 4), ("c1", 2), ("d1", 5)):
        backlog.offer(item[0], item, 0.0, size=size)
    assert backlog.statistics().dropped == {"oldest": 2}
    assert backlog.offer("e", "e1", 0.0, size=99) is Outcome.DROPPED_OLDEST
    assert backlog.statistics()[5] == 1
    (job,) = begin(backlog)
    assert (job.item, job.size) == ("e1", 99)
    assert backlog.offer("f", "f1", 0.0, size=10) is Outcome.QUEUED
    backlog.clear()
    assert backlog.offer("f", "f1", 0.0, size=10) is Outcome.QUEUED
    refusing: Backlog[int] = Backlog(workers=1, max_bytes=10, overflow="drop_newest")
    assert [refusing.offer(0, 0, 0.0, size=size) for size in (6, 5, 4)] == [
        Outcome.QUEUED,
        Outcome.DROPPED_NEWEST,
        Outcome.QUEUED,
    ]
    closes(refusing)


def test_a_key_whose_last_job_went_is_forgotten() -> None:
    backlog: Backlog[int] = Backlog(workers=1, max_jobs=1)
    for item in range(1000):
        backlog.offer(item, item, 0.0)
    assert (len(backlog._queues), len(backlog._ready), len(backlog._waiting)) == (1, 1, 1)
    assert items(begin(backlog)) == [999]
    assert (len(backlog._queues), len(backlog._ready), len(backlog._waiting)) == (0, 0, 0)


def test_at_the_bound_the_newest_may_be_refused_instead() -> None:
    backlog: Backlog[int] = Backlog(workers=1, max_jobs=2, overflow="drop_newest")
    outcomes = [backlog.offer("a", item, 0.0) for item in range(4)]
    assert outcomes == [Outcome.QUEUED, Outcome.QUEUED, Outcome.DROPPED_NEWEST, Outcome.DROPPED_NEWEST]
    assert backlog.statistics().dropped == {"newest": 2}
    closes(backlog)


def test_what_is_past_its_lifetime_is_not_begun() -> None:
    backlog: Backlog[int] = Backlog(workers=1)
    assert backlog.offer("a", 0, 10.0, 10.0) is Outcome.STALE
    backlog.offer("a", 1, 0.0, 5.0)
    backlog.offer("a", 2, 0.0, 6.0)
    backlog.offer("b", 3, 0.0, 5.0)
    backlog.offer("c", 4, 0.0)
    (found,) = begin(backlog, 5.0)
    assert found.item == 2
    backlog.finish(found)
    (found,) = begin(backlog, 1e9)
    assert found.item == 4
    assert backlog.statistics().dropped == {"ttl": 3}
    closes(backlog)


def test_what_waits_can_be_dropped_and_what_comes_be_refused() -> None:
    backlog: Backlog[int] = Backlog(workers=1)
    for item in range(3):
        backlog.offer("a", item, 0.0)
    (first,) = begin(backlog)
    assert backlog.clear() == 2
    assert backlog.clear() == 0
    backlog.refuse("shutdown")
    backlog.finish(first, "shutdown")
    assert backlog.statistics() == (4, 0, 0, 0, 0, 0, 3, {"shutdown": 4})
    assert begin(backlog) == []
    backlog.offer("a", 9, 0.0)
    assert items(begin(backlog)) == [9], "its key was not left held"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 3), st.sampled_from([0.5, 3.0, float("inf")])),
        st.tuples(st.sampled_from(["take", "release", "finish", "fail", "tick"]), st.integers(0, 7), st.just(0.0)),
    ),
    max_size=60,
)


@given(steps=STEPS, workers=st.integers(1, 3), bound=st.integers(1, 5), newest=st.booleans(), more=st.integers(0, 2))
def test_order_bounds_and_ledger_hold_whatever_happens(
    steps: Any, workers: int, bound: int, newest: bool, more: int
) -> None:
    backlog: Backlog[int] = Backlog(
        workers=workers,
        max_running=workers + more,
        max_jobs=bound,
        overflow="drop_newest" if newest else "drop_oldest",
    )
    running: list[Job[int]] = []
    begun: dict[Any, list[int]] = {}
    number = 0
    now = 0.0
    for step, argument, ttl in steps:
        if step == "offer":
            number += 1
            backlog.offer(argument, number, now, now + ttl)
        elif step == "tick":
            now += 1.0
        elif step == "take":
            job = backlog.take(now)
            if job is not None:
                assert now < job.expiry
                running.append(job)
                begun.setdefault(job.key, []).append(job.item)
            else:
                # It refuses only for a reason.
                held = {job.key for job in running if not job.released}
                waiting = {key for key, queue in backlog._queues.items() if queue}
                full = len(held) == workers or len(running) == workers + more
                assert full or waiting <= held
        elif running:
            job = running[argument % len(running)]
            if step == "release":
                was = job.released
                assert backlog.release(job) is not was
            else:
                running.remove(job)
                backlog.finish(job, "failed" if step == "fail" else "handled")
        closes(backlog)
        found = backlog.statistics()
        assert found.queued <= bound
        assert (found.running, found.released) == (len(running), sum(job.released for job in running))
        assert found.running - found.released <= workers
        assert found.running <= workers + more
        holders = Counter(job.key for job in running if not job.released)
        assert all(count == 1 for count in holders.values())
    assert all(order == sorted(order) for order in begun.values())


@pytest.mark.parametrize("workers", [1, 4])
def test_nothing_is_left_over(workers: int) -> None:
    backlog: Backlog[int] = Backlog(workers=workers)
    for item in range(100):
        backlog.offer(item % 7, item, 0.0)
    done: list[int] = []
    running: list[Job[int]] = []
    while not backlog.idle:
        running += begin(backlog)
        job = running.pop(0)
        done.append(job.item)
        backlog.finish(job)
    assert sorted(done) == list(range(100))
    assert (backlog._queues, backlog._held, len(backlog._ready)) == ({}, set(), 0)
