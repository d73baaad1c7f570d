"""What a command is, by NoneBot2's own rule: the text index misses nothing that NoneBot2 takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from napcore import TextIndex

SCRIPT = Path(__file__).parent / "bots" / "command_rule.py"
LETTERS = "ab天气 /\u3000"


def cases(shadowing: bool) -> list[dict[str, Any]]:
    """Rules, start symbols and texts; in the plain ones no command begins with another, so that NoneBot2 hides none."""
    random = Random(20251127)
    found = []
    while len(found) < 60:
        starts = random.choice([["/"], ["/", "!"], ["", "/"], ["天"]])
        names = sorted({word(random, 1, 4) for _ in range(random.randint(1, 6))})
        commands = [start + name for start in starts for name in names]
        shadows = len(set(commands)) < len(commands) or any(
            one != other and other.startswith(one) for one in commands for other in commands
        )
        if shadows is not shadowing:
            continue
        # White space around a name is no part of what a text may have at its beginning.
        rules = [[[name], random.choice([None, None, True, " ", "\u3000", ""])] for name in names]
        texts = [
            random.choice(["", " ", "\n\u3000"]) + random.choice([*commands, ""]) + word(random, 0, 5)
            for _ in range(40)
        ]
        found.append({"starts": starts, "rules": rules, "texts": [text for text in texts if text]})
    return found


def word(random: Random, shortest: int, longest: int) -> str:
    return "".join(random.choices(LETTERS, k=random.randint(shortest, longest)))


@pytest.mark.parametrize("shadowing", [False, True])
def test_commands_are_what_nonebot_takes_for_commands(shadowing: bool) -> None:
    given = cases(shadowing)
    done = subprocess.run([sys.executable, SCRIPT], input=json.dumps(given), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    taken = 0
    for case, by_nonebot in zip(given, json.loads(done.stdout), strict=True):
        index = TextIndex()
        for names, whitespace in case["rules"]:
            index.add(
                commands=names,
                command_start=case["starts"],
                command_whitespace=False if whitespace is None else whitespace,
            )
        for text, rows in zip(case["texts"], by_nonebot, strict=True):
            found = index.match(text)
            assert set(rows) <= set(found), (case["starts"], case["rules"], text)
            if not shadowing:
                assert rows == found, (case["starts"], case["rules"], text)
            taken += len(rows)
    assert taken > 500
