"""What `groups` means for private messages, notices, requests and the account's own messages."""

from __future__ import annotations

from typing import Any

import pytest

from napcore import Filter
from napcore.testing import RecordingClient

SELF_ID = 1444683668
A, B = 342561735, 1062848088
FRIEND, MEMBER, STRANGER = 2001, 2002, 2003


def other(post_type: str, kind: str, **fields: Any) -> dict[str, Any]:
    """An event that is no message."""
    return {"time": 1750000000, "self_id": SELF_ID, "post_type": post_type, f"{post_type}_type": kind, **fields}


def events_of(sim: Any) -> list[tuple[dict[str, Any], str]]:
    """Events, and the first letters of the clients they are for: nonebot, hoshino, recorder."""
    sent = sim.events.group_message(A, user_id=SELF_ID, message="自己说的")
    sent["post_type"] = "message_sent"
    ban = {"user_id": MEMBER, "operator_id": STRANGER, "duration": 600, "sub_type": "ban"}
    ask = {"user_id": STRANGER, "comment": "让我进去", "flag": "1"}
    return [
        (sim.events.group_message(A, message="甲"), "nr"),
        (sim.events.group_message(B, message="乙"), "h"),
        (sim.events.private_message(FRIEND, message="好友"), "nr"),
        (sim.events.private_message(STRANGER, message="临时会话", temporary_from=B), "nr"),
        (other("notice", "group_ban", group_id=A, **ban), "nr"),
        (other("notice", "group_ban", group_id=B, **ban), "h"),
        (other("notice", "notify", sub_type="poke", group_id=B, user_id=MEMBER, target_id=SELF_ID), "h"),
        (other("notice", "friend_add", user_id=FRIEND), "nhr"),
        (other("notice", "group_increase", sub_type="invite", group_id=B, operator_id=FRIEND, user_id=SELF_ID), "nhr"),
        (other("request", "friend", **ask), "nhr"),
        (other("request", "group", sub_type="add", group_id=A, **ask), "nr"),
        (other("request", "group", sub_type="add", group_id=B, **ask), "h"),
        (other("request", "group", sub_type="invite", group_id=700000003, **ask), "nhr"),
        (sent, "r"),
        (other("notice", "bot_offline", user_id=SELF_ID, tag="下线", message="您的账号已在别处登录"), "nhr"),
    ]


@pytest.mark.parametrize("role", ["forward", "reverse"])
async def test_every_kind_reaches_whom_it_is_for(stage: Any, role: str) -> None:
    async with stage:
        listener = await stage.listen()
        nonebot, hoshino = stage.start("nonebot_reverse"), stage.start("aiocqhttp_bot")
        sim = await stage.simulate(role, groups=[A, B], seed=7)
        await stage.dial(nonebot, groups={A})
        await stage.dial(hoshino, groups={B}, private=False)
        stage.relay.add_client("recorder", filter=Filter(groups={A}, self_messages=True))
        recorder = await stage.enter(RecordingClient())
        await recorder.connect(f"{listener.url}/c/recorder")
        await recorder.wait_for(lambda: len(recorder.meta) == 1)
        events = events_of(sim)
        for event, _ in events:
            await sim.emit(event)
        clients = {"n": nonebot, "h": hoshino}
        wanted = {letter: [_key(event) for event, whom in events if letter in whom] for letter in "nhr"}
        assert {letter: len(keys) for letter, keys in wanted.items()} == {"n": 10, "h": 9, "r": 11}
        await stage.wait_for(lambda: all(len(clients[letter].events) >= len(wanted[letter]) for letter in clients))
        for letter, bot in clients.items():
            assert bot.events == wanted[letter]
        await recorder.received(11)
        assert recorder.events == [event for event, whom in events if "r" in whom]
        received = {client.name: client.received for client in stage.relay.statistics().clients}
        assert received == {"nonebot_reverse": 10, "aiocqhttp_bot": 9, "recorder": 11}


def _key(event: dict[str, Any]) -> tuple[str, int | None, int | None, int | None]:
    # NapCat names the second level of the account's own messages `message_type`.
    level = "message" if event["post_type"] == "message_sent" else event["post_type"]
    kind = f"{event['post_type']}.{event[f'{level}_type']}"
    return kind, event.get("group_id"), event.get("user_id"), event.get("message_id")
