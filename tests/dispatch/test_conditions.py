"""What rows ask beyond their rules: the text of a message, and conditions of the caller's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

GROUP, OTHER = 342561735, 1062848088


def message(text: str = "hello", **fields: Any) -> dict[str, Any]:
    segments = [{"type": "text", "data": {"text": text}}]
    return {"post_type": "message", "message_type": "group", "group_id": GROUP, "message": segments, **fields}


NOTICE = {"post_type": "notice", "notice_type": "group_upload", "group_id": GROUP}


class Asked:
    """A condition that notes what it is asked."""

    def __init__(self, answer: Any = True) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, int]] = []

    def __call__(self, event: Any, account: int) -> Any:
        self.calls.append((event, account))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


# The text of an event.


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"message": [{"type": "text", "data": {"text": "a"}}, {"type": "face", "data": {"id": "1"}}]}, "a"),
        (
            {"message": [{"type": "text", "data": {"text": "a "}}, {"type": "text", "data": {"text": "\u6c49"}}]},
            "a \u6c49",
        ),
        ({"message": "a[CQ:face,id=1]&amp;b"}, "a&b"),
        ({"message": []}, ""),
        ({"message": None}, ""),
        ({"message": {"type": "text"}}, ""),
        ({}, ""),
        ({"raw_message": "a"}, ""),
        ({"post_type": "message_sent", "message": "a"}, "a"),
        ({"post_type": "notice", "message": "a"}, ""),
        ({"post_type": None, "message": "a"}, ""),
    ],
)
def test_the_text_of_an_event(event: Callable[..., Any], fields: dict[str, Any], expected: str) -> None:
    made = event(**{"post_type": "message", **fields})
    assert made.text == expected
    assert made.text is made.text
    with pytest.raises(AttributeError):
        made.text = "b"


# Conditions.


def test_a_condition_decides(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    yes, no = Asked(1), Asked([])
    rows = [router.add(core.Outbox(), condition=condition) for condition in (yes, no, None)]
    made = event(**message())
    assert router.match(made, 7) == [rows[0], rows[2]]
    assert yes.calls == no.calls == [(made, 7)]


def test_rows_that_do_not_match_are_not_asked(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    asked = Asked()
    router.add(core.Outbox(), groups=[OTHER], condition=asked, text={"prefix": ["h"]})
    assert router.match(event(**message())) == []
    assert asked.calls == []


def test_many_rows_of_which_some_have_conditions(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    expected = []
    for number in range(300):
        answer = number % 3 > 0
        if number % 7 == 0:
            row = router.add(core.Outbox(), condition=Asked(answer))
        else:
            row = router.add(core.Outbox(), groups=[GROUP if answer else OTHER])
        expected += [row] if answer else []
    assert router.match(event(**message())) == expected


def test_fan_out_asks_too(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    boxes = [core.Outbox(number) for number in range(3)]
    asked = [Asked(False), Asked(True)]
    for box, condition in zip(boxes, [*asked, None], strict=True):
        router.add(box, "event", condition=condition)
    made = event(**message())
    report = core.fan_out(router, [made, made], 0.0, 9)
    assert (report.matched, report.queued, report.ready) == (4, 4, [1, 2])
    assert [len(box) for box in boxes] == [0, 2, 2]
    assert asked[0].calls == asked[1].calls == [(made, 9), (made, 9)]


def test_what_a_condition_raises_is_no_match_and_said_once(
    core: Any, event: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    router = core.Router()
    bad, good = Asked(ZeroDivisionError("text of a message")), Asked()
    row = router.add(core.Outbox(), condition=bad)
    other = router.add(core.Outbox(), condition=good)
    made = event(**message())
    with caplog.at_level(logging.WARNING, "napcore"):
        assert [router.match(made) for _ in range(3)] == [[other]] * 3
    assert len(bad.calls) == 3
    [record] = caplog.records
    assert (record.name, record.levelno) == ("napcore", logging.WARNING)
    assert record.getMessage() == "a condition raised ZeroDivisionError, which counts as no match"
    # A row with another condition starts anew.
    router.replace(row, condition=Asked(KeyError("x")))
    router.match(made)
    router.match(made)
    assert [record.getMessage().split()[3] for record in caplog.records] == ["ZeroDivisionError,", "KeyError,"]


def test_interruptions_go_through(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    router.add(core.Outbox(), condition=Asked(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        router.match(event(**message()))


def test_replacing_and_removing(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    no = Asked(False)
    row = router.add(core.Outbox(), condition=no, text={"prefix": ["x"]})
    made = event(**message())
    assert router.match(made) == []
    router.replace(row, text={"prefix": ["h"]})
    assert router.match(made) == [row]
    router.replace(row, condition=no)
    assert router.match(made) == []
    router.replace(row)
    assert router.match(made) == [row]
    router.replace(row, condition=no, text={"prefix": ["x"]})
    router.remove(row)
    assert router.add(core.Outbox()) == row
    assert router.match(made) == [row]
    assert no.calls == [(made, 0)]


def test_a_condition_may_use_the_router(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    other = event(**message(group_id=OTHER))
    rows = [router.add(core.Outbox(), groups=[GROUP]) for _ in range(3)]

    def condition(asked: Any, account: int) -> bool:
        if asked != other:
            assert router.match(other) == [elsewhere]
            for _ in range(200):
                router.add(core.Outbox(), kinds=[])
        return True

    row = router.add(core.Outbox(), groups=[GROUP], condition=condition)
    elsewhere = router.add(core.Outbox(), groups=[OTHER])
    assert router.match(event(**message())) == [*rows, row]


def test_a_condition_may_change_the_router_while_a_batch_is_fanned_out(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    boxes = [core.Outbox(number) for number in range(4)]
    made = event(**message())

    def condition(asked: Any, account: int) -> bool:
        if len(router) == 4:
            for _ in range(200):
                router.add(core.Outbox(), kinds=[])
            router.remove(rows[2])
            core.fan_out(router, [event(**message(group_id=OTHER))], 0.0)
        return True

    rows = [router.add(boxes[0], "event", groups=[GROUP])]
    rows.append(router.add(boxes[1], "event", groups=[GROUP], condition=condition))
    rows.append(router.add(boxes[2], "event", groups=[GROUP]))
    rows.append(router.add(boxes[3], "event", groups=[OTHER]))
    report = core.fan_out(router, [made, made], 0.0)
    assert [[one.group_id for one in box.take(0.0)] for box in boxes] == [[GROUP] * 2, [GROUP] * 2, [], [OTHER]]
    assert (report.matched, report.ready) == (4, [0, 1])


@pytest.mark.parametrize("condition", [1, "x", object()])
def test_a_condition_is_callable(core: Any, event: Callable[..., Any], condition: Any) -> None:
    router = core.Router()
    with pytest.raises(TypeError, match="a condition must be callable"):
        router.add(core.Outbox(), condition=condition)
    row = router.add(core.Outbox(), condition=Asked(False))
    with pytest.raises(TypeError, match="a condition must be callable"):
        router.replace(row, condition=condition, text={"prefix": ["h"]})
    assert len(router) == 1
    assert router.match(event(**message())) == []


# Text.


def test_text_rules_judge_messages_only(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    row = router.add(core.Outbox(), self_messages=True, text={"commands": ["help"]})
    for fields, expected in [
        (message("/help me"), True),
        (message("help"), False),
        (message("/help", message_type="private"), True),
        (message("hello", post_type="message_sent"), False),
        (message("/help", post_type="message_sent"), True),
        ({**message(), "message": None}, False),
        (NOTICE, True),
        ({"post_type": "request", "request_type": "friend"}, True),
        ({"post_type": "meta_event", "meta_event_type": "heartbeat"}, True),
        ({"post_type": 7}, True),
    ]:
        assert router.match(event(**fields)) == ([row] if expected else []), fields


def test_text_rules_of_many_rows(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    texts = [{"prefix": ["he"]}, {"suffix": ["lo"]}, {"fullmatch": ["hell"]}, {"keywords": ["ell"]}, None, {}]
    rows = [router.add(core.Outbox(), text=text) for text in texts]
    assert router.match(event(**message("hello"))) == [rows[0], rows[1], rows[3], rows[4]]
    router.remove(rows[1])
    router.remove(rows[0])
    again = router.add(core.Outbox(), text={"prefix": ["HE"], "ignore_case": True})
    assert router.match(event(**message("hello"))) == [again, rows[3], rows[4]]


def test_text_and_condition_must_both_hold(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    asked = Asked(False)
    router.add(core.Outbox(), text={"prefix": ["x"]}, condition=asked)
    assert router.match(event(**message())) == []
    assert asked.calls == []
    row = router.add(core.Outbox(), text={"prefix": ["h"]}, condition=Asked())
    router.add(core.Outbox(), text={"prefix": ["h"]}, condition=Asked(False))
    assert router.match(event(**message())) == [row]


def test_text_rules_that_are_none(core: Any, event: Callable[..., Any]) -> None:
    router = core.Router()
    for text in ({"prefix": [""]}, {"prefix": [1]}, {"nothing": ["x"]}):
        with pytest.raises((TypeError, ValueError)):
            router.add(core.Outbox(), text=text)
    row = router.add(core.Outbox(), text={"prefix": ["x"]})
    with pytest.raises(ValueError, match="empty"):
        router.replace(row, text={"prefix": [""]}, groups=[OTHER])
    assert len(router) == 1
    assert router.match(event(**message("x"))) == [row]
