"""Clients that want their messages in one format, whatever the upstream sends."""

from __future__ import annotations

from typing import Any

import pytest

from napcore import format_message
from napcore.types import MessageFormat

GROUP = 342561735
URL = "https://multimedia.nt.qq.com.cn/download?appid=1407&fileid=EhSx&rkey=[CAQS],x"

SEGMENTS = [
    ("text", {"text": "! 看 [这个], a&b "}),
    ("at", {"qq": "2001"}),
    ("image", {"summary": "", "file": "A4547.jpg", "sub_type": 1, "url": URL}),
    ("face", {"id": "178", "raw": {"faceIndex": 178, "faceText": "[斜眼笑]", "packId": None}}),
    ("text", {"text": "&#91;完&#93;"}),
]

AS_STRINGS = [
    *SEGMENTS[:2],
    ("image", {"summary": "", "file": "A4547.jpg", "sub_type": "1", "url": URL}),
    ("face", {"id": "178", "raw": '{"faceIndex":178,"faceText":"[斜眼笑]","packId":null}'}),
    SEGMENTS[4],
]
"""What is left of it where it went through a CQ string."""


@pytest.mark.parametrize("upstream", ["array", "string"])
@pytest.mark.parametrize("formats", [("string", "array"), ("array", "string")], ids="-".join)
async def test_each_framework_reads_the_format_it_is_given(
    stage: Any, upstream: str, formats: tuple[MessageFormat, MessageFormat]
) -> None:
    async with stage:
        await stage.listen()
        nonebot, hoshino = stage.start("nonebot_reverse"), stage.start("aiocqhttp_bot")
        sim = await stage.simulate("forward", groups=[GROUP], seed=1)
        for bot, message_format in zip((nonebot, hoshino), formats, strict=True):
            await stage.dial(bot, message_format=message_format)
        segments = [{"type": name, "data": data} for name, data in SEGMENTS]
        event = sim.events.group_message(GROUP, message=segments)
        event["raw_message"] = format_message(segments)
        if upstream == "string":
            event |= {"message": event["raw_message"], "message_format": "string"}
        await sim.emit(event)
        number = event["message_id"]
        # Its answer is a string and goes to the upstream as it is.
        await stage.wait_for(lambda: number in nonebot.answered and number in hoshino.answered)
        for bot, message_format in zip((nonebot, hoshino), formats, strict=True):
            went_through_a_string = "string" in (upstream, message_format)
            expected = AS_STRINGS if went_through_a_string else SEGMENTS
            assert [tuple(segment) for segment in bot.messages[number]] == expected
        assert sorted(call["params"]["message"] for call in sim.calls if call["action"] == "send_group_msg") == [
            f"aiocqhttp_bot {number}",
            f"nonebot_reverse {number}",
        ]
