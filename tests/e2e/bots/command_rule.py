"""NoneBot2's own command rule on texts: JSON on stdin, JSON on stdout, as test_commands.py wants it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import nonebot
from nonebot.adapters.onebot.v11 import Event, Message, MessageSegment
from nonebot.consts import CMD_ARG_KEY, CMD_KEY, CMD_WHITESPACE_KEY, PREFIX_KEY
from nonebot.rule import CommandRule, TrieRule, command
from pygtrie import CharTrie


class TextEvent(Event):
    """As much of a message event as the rule looks at."""

    text: str

    def get_type(self) -> str:
        return "message"

    def get_message(self) -> Message:
        return Message(MessageSegment.text(self.text))


async def takes(case: dict[str, Any]) -> list[list[int]]:
    """For each text, the numbers of the rules that NoneBot2 lets it pass."""
    nonebot.get_driver().config.command_start = case["starts"]
    TrieRule.prefix = CharTrie()
    rules: list[CommandRule] = []
    for names, whitespace in case["rules"]:
        [checker] = command(*names, force_whitespace=whitespace).checkers
        rules.append(checker.call)
    found = []
    for text in case["texts"]:
        state: dict[str, Any] = {}
        event = TextEvent(time=0, self_id=1, post_type="message", text=text)
        TrieRule.get_value(None, event, state)  # type: ignore[arg-type]
        prefix = state[PREFIX_KEY]
        answers = [await rule(prefix[CMD_KEY], prefix[CMD_ARG_KEY], prefix[CMD_WHITESPACE_KEY]) for rule in rules]
        found.append([row for row, answer in enumerate(answers) if answer])
    return found


nonebot.logger.remove()  # it writes to stdout
nonebot.init(driver="~none")
json.dump([asyncio.run(takes(case)) for case in json.load(sys.stdin)], sys.stdout)
