"""Kept validators give what fresh ones give."""

from __future__ import annotations

import sys
from typing import Any

import nonebot.compat
import pytest
from nonebot.adapters.onebot.v11 import Adapter, Message, MessageSegment
from pydantic import BaseModel, ValidationError, create_model

import napcore.nonebot
from napcore.edge.nonebot import validators
from napcore.edge.nonebot.validators import kept_validators

pytestmark = pytest.mark.skipif(
    not nonebot.compat.PYDANTIC_V2, reason="pydantic 1 makes no validators that could be kept"
)

bench: Any = sys.modules["napcore_nonebot_bench"]
program: Any = sys.modules["napcore_nonebot_program"]


@pytest.fixture(autouse=True)
def emptied(no_matchers: None) -> None:
    pass


class Counting:
    """pydantic's TypeAdapter, counted."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def __call__(self, type_: Any) -> Any:
        self.made.append(type_)
        return nonebot.compat.TypeAdapter(type_)


def kept() -> tuple[Any, Counting]:
    counting = Counting()
    return kept_validators(nonebot.compat.type_validate_python, counting), counting


COMMON = {"time": 1, "self_id": 1, "user_id": 7}
MESSAGE = {**COMMON, "post_type": "message", "message_id": 1, "raw_message": "hi", "font": 0, "sender": {"user_id": 7}}
DATA: list[dict[str, Any]] = [
    {
        **MESSAGE,
        "message_type": "group",
        "sub_type": "normal",
        "group_id": 5,
        "message": [{"type": "text", "data": {"text": "hi"}}],
        "extra": {"kept": True},
    },
    {**MESSAGE, "message_type": "private", "sub_type": "friend", "message": "[CQ:face,id=1]hi"},
    {
        **COMMON,
        "post_type": "notice",
        "notice_type": "group_increase",
        "sub_type": "approve",
        "group_id": 5,
        "operator_id": 8,
    },
    {**COMMON, "post_type": "unheard_of", "what": 1},
    {"time": "x", "self_id": 1, "post_type": "message"},
]


@pytest.mark.parametrize("data", DATA)
def test_events_are_the_same(data: dict[str, Any]) -> None:
    stock = [Adapter.json_to_event(data) for _ in range(2)]
    napcore.nonebot.install()
    ours = [Adapter.json_to_event(data) for _ in range(3)]
    assert [type(event) for event in ours] == [type(stock[0])] * 3
    assert ours == [stock[0]] * 3


def test_a_validator_is_made_once() -> None:
    validate, counting = kept()
    for _ in range(3):
        assert validate(MessageSegment, {"type": "text", "data": {}}) == MessageSegment("text", {})
        assert validate(Message, "hi") == Message("hi")
    assert counting.made == [MessageSegment, Message]


def test_errors_are_the_same() -> None:
    validate, _ = kept()
    model = create_model("Model", number=(int, ...))
    errors = []
    for function in (nonebot.compat.type_validate_python, validate, validate):
        with pytest.raises(ValidationError) as caught:
            function(model, {"number": "x"})
        errors.append(str(caught.value))
    assert len(set(errors)) == 1


def test_a_rebuilt_model_is_not_the_old_one() -> None:
    validate, counting = kept()

    class Model(BaseModel):
        number: int

    assert validate(Model, {"number": "1"}).number == 1
    Model.model_rebuild(force=True)
    assert validate(Model, {"number": "1"}).number == 1
    assert counting.made == [Model, Model]


def test_a_replaced_hook_is_not_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    validate, _ = kept()
    assert validate(Message, "hi") == Message("hi")
    monkeypatch.setattr(Message, "_validate", classmethod(lambda cls, value: cls("other")))
    assert validate(Message, "hi") == Message("other")


@pytest.mark.parametrize("type_", [int, list[int], "int | None"])
def test_other_types_are_left_to_nonebot(type_: Any) -> None:
    validate, counting = kept()
    wanted = int | None if isinstance(type_, str) else type_
    value = [1] if wanted == list[int] else 1
    assert validate(wanted, value) == value
    assert counting.made == []


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validators, "KEPT", 3)
    validate, counting = kept()
    models = [create_model(f"Model{number}", number=(int, ...)) for number in range(4)]
    for model in (*models, models[3], models[0]):
        validate(model, {"number": 1})
    assert counting.made == [*models, models[0]]
