"""Each written-out action is sent under its own name, with the parameters it was given and no others."""

from __future__ import annotations

import inspect
from typing import Any

import anyio
import pytest

from napcore.net.actions import Actions
from napcore.testing.answers import ACTIONS

METHODS = {name: method for name, method in vars(Actions).items() if not name.startswith("_")}


class Recorder(Actions):
    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def _act(self, action: str, params: dict[str, Any]) -> Any:
        self.calls.append((action, params))
        return {"answer": 1}


@pytest.mark.parametrize("name", METHODS)
def test_an_action_is_sent_as_it_is_called(name: str) -> None:
    recorder = Recorder()
    parameters = list(inspect.signature(getattr(recorder, name)).parameters.values())
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)
    needed = {one.name: f"<{one.name}>" for one in parameters if one.default is one.empty}
    every = {one.name: f"<{one.name}>" for one in parameters}

    async def main() -> list[Any]:
        method = getattr(recorder, name)
        return [await method(**needed), await method(**every), await method(**dict.fromkeys(every, 0))]

    answers = anyio.run(main)
    assert recorder.calls == [(name, needed), (name, every), (name, dict.fromkeys(every, 0))]
    returns = METHODS[name].__annotations__["return"]
    assert answers == [None if returns == "None" else {"answer": 1}] * 3


def test_the_common_ones_are_there() -> None:
    standard = {name for name in ACTIONS if name.startswith(("get_", "set_", "send_", "delete_", "can_"))}
    assert standard <= METHODS.keys()
    assert len(METHODS) >= 30


def test_every_other_name_is_an_action_too() -> None:
    recorder = Recorder()

    async def main() -> Any:
        return await recorder.set_msg_emoji_like(message_id=1, emoji_id=None)

    assert anyio.run(main) == {"answer": 1}
    assert recorder.calls == [("set_msg_emoji_like", {"message_id": 1, "emoji_id": None})]
    assert not hasattr(recorder, "__await__")
    assert not hasattr(recorder, "_private")


def test_what_is_missing_or_too_much_is_told() -> None:
    recorder = Recorder()
    with pytest.raises(TypeError, match="message"):
        recorder.send_group_msg(group_id=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="mesage"):
        recorder.send_group_msg(group_id=1, message="", mesage="")  # type: ignore[call-arg]
