"""The small types every ring shares: their values are part of the contract with the compiled core."""

from __future__ import annotations

import pickle
from typing import get_args, get_type_hints

import pytest

import napcore
from napcore import Segment, types
from napcore.dispatch import Outbox, peek
from napcore.types import DROP_REASONS, EventClass, Form, Off, Outcome, Overflow


def test_outcomes() -> None:
    assert {outcome.name: int(outcome) for outcome in Outcome} == {
        "QUEUED": 0,
        "DROPPED_OLDEST": 1,
        "DROPPED_NEWEST": 2,
        "OVERSIZE": 3,
        "DISCONNECT": 4,
        "STALE": 5,
        "NOT_HELD": 6,
    }
    assert napcore.Outcome is Outcome
    assert pickle.loads(pickle.dumps(Outcome.OVERSIZE)) is Outcome.OVERSIZE


def test_event_classes() -> None:
    assert {kind.name: int(kind) for kind in EventClass} == {"MESSAGE": 0, "NOTICE": 1, "REQUEST": 2, "META": 3}


@pytest.mark.parametrize(
    ("post_type", "kind"),
    [
        ("message", EventClass.MESSAGE),
        ("message_sent", EventClass.MESSAGE),
        ("notice", EventClass.NOTICE),
        ("request", EventClass.REQUEST),
        ("meta_event", EventClass.META),
        ("guild", EventClass.META),
    ],
)
def test_the_class_of_an_event(post_type: str, kind: EventClass) -> None:
    assert peek(f'{{"post_type":"{post_type}"}}').event_class == kind


def test_the_list_of_drop_reasons_is_closed() -> None:
    assert DROP_REASONS == (
        "oldest",
        "newest",
        "ttl",
        "oversize",
        "hold",
        "budget",
        "disconnect",
        "uncertain",
        "shutdown",
    )
    for reason in DROP_REASONS:
        assert Outbox().clear(reason) == 0
    with pytest.raises(ValueError, match="^unknown drop reason 'filtered'$"):
        Outbox().clear("filtered")


def test_names() -> None:
    assert get_args(Off) == ("off",)
    assert get_args(Overflow) == ("drop_oldest", "drop_newest", "disconnect")
    assert get_args(Form) == ("event", "json", "frame", "masked", "sse")


@pytest.mark.parametrize("overflow", get_args(Overflow))
def test_every_overflow_is_known_to_the_outbox(overflow: Overflow) -> None:
    assert len(Outbox(overflow=overflow)) == 0


def test_segments_are_plain_dicts() -> None:
    segment: Segment = {"type": "text", "data": {"text": "hi"}}
    assert type(segment) is dict
    assert set(get_type_hints(Segment)) == {"type", "data"}
    assert Segment.__required_keys__ == {"type", "data"}


def test_all_is_complete() -> None:
    assert sorted(types.__all__) == list(types.__all__)
    assert {name for name in types.__all__ if hasattr(types, name)} == set(types.__all__)
