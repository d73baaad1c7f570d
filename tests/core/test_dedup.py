"""Events that came by another link of their account already."""

from __future__ import annotations

from typing import Any

import pytest

from napcore import Event
from napcore.core.dedup import LIMIT, Dedup

ONE, TWO = object(), object()


def message(number: int = 1, **fields: Any) -> Event:
    return Event.from_dict(
        {"post_type": "message", "message_type": "group", "self_id": 5, "group_id": 6, "message_id": number, **fields}
    )


def poke(time: int = 1) -> Event:
    return Event.from_dict(
        {"post_type": "notice", "notice_type": "notify", "sub_type": "poke", "self_id": 5, "time": time}
    )


@pytest.fixture
def dedup() -> Dedup:
    found = Dedup()
    found.links(5, 2, 0.0)
    return found


def test_with_one_link_nothing_is_looked_at() -> None:
    dedup = Dedup()
    dedup.links(5, 1, 0.0)
    assert not dedup.accounts
    assert not dedup.repeated(message(), 5, ONE, 0.0)
    assert not dedup.repeated(message(), 5, TWO, 0.0)


@pytest.mark.parametrize("event", [message(), poke()])
def test_the_second_link_brings_it_again(dedup: Dedup, event: Event) -> None:
    assert not dedup.repeated(event, 5, ONE, 0.0)
    assert dedup.repeated(event, 5, TWO, 0.0)
    assert dedup.count == 1


@pytest.mark.parametrize("event", [message(), poke()])
def test_the_same_link_never_repeats(dedup: Dedup, event: Event) -> None:
    passed = [not dedup.repeated(event, 5, link, 0.0) for link in (ONE, TWO, ONE, TWO, ONE)]
    assert passed == [True, False, True, False, True], "two equal pokes are two pokes"


def test_a_message_is_its_id_whatever_its_bytes(dedup: Dedup) -> None:
    assert not dedup.repeated(message(raw_message="a"), 5, ONE, 0.0)
    assert dedup.repeated(message(raw_message="[CQ:x]"), 5, TWO, 0.0)
    assert not dedup.repeated(message(2), 5, TWO, 0.0)


def test_kinds_and_accounts_are_apart(dedup: Dedup) -> None:
    dedup.links(7, 2, 0.0)
    recall = Event.from_dict({"post_type": "notice", "notice_type": "group_recall", "message_id": 1, "self_id": 5})
    assert not dedup.repeated(message(1), 5, ONE, 0.0)
    assert not dedup.repeated(recall, 5, TWO, 0.0)
    assert not dedup.repeated(message(1), 7, TWO, 0.0)
    assert dedup.count == 0


def test_meta_events_are_every_links_own(dedup: Dedup) -> None:
    beat = Event.from_dict({"post_type": "meta_event", "meta_event_type": "heartbeat", "self_id": 5})
    assert not dedup.repeated(beat, 5, ONE, 0.0)
    assert not dedup.repeated(beat, 5, TWO, 0.0)


def test_after_30_seconds_it_is_another(dedup: Dedup) -> None:
    assert not dedup.repeated(message(), 5, ONE, 0.0)
    assert dedup.repeated(message(), 5, TWO, 29.9)
    assert not dedup.repeated(message(), 5, TWO, 30.0)


def test_it_lives_on_for_30_seconds_once_one_link_is_left(dedup: Dedup) -> None:
    assert not dedup.repeated(message(1), 5, ONE, 99.0)
    dedup.links(5, 1, 100.0)
    assert dedup.repeated(message(1), 5, TWO, 110.0)
    dedup.links(5, 0, 120.0)
    assert dedup.accounts
    assert not dedup.repeated(message(1), 5, TWO, 130.0)
    assert not dedup.accounts


def test_a_third_link_keeps_it_going(dedup: Dedup) -> None:
    dedup.links(5, 1, 0.0)
    dedup.links(5, 2, 10.0)
    assert not dedup.repeated(message(), 5, ONE, 100.0)
    assert dedup.repeated(message(), 5, TWO, 100.0)


def test_the_table_is_bounded(dedup: Dedup) -> None:
    for number in range(LIMIT + 10):
        dedup.repeated(message(number), 5, ONE, 0.0)
    assert len(dedup._seen) == LIMIT
    assert not dedup.repeated(message(0), 5, TWO, 0.0), "forgotten"
    assert dedup.repeated(message(LIMIT + 9), 5, TWO, 0.0)
