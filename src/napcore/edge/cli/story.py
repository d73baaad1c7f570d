"""``napcore demo`` without options: the story, in words."""

from __future__ import annotations

import sys
from typing import Final

from napcore.dispatch import COMPILED
from napcore.edge.cli.layout import table
from napcore.edge.cli.texts import say
from napcore.net import runner
from napcore.testing.story import GROUPS, LIFETIME, QUEUE, RATE, SCRIPT, Figures, StoryResult, run_story

__all__ = ("tell_story",)

MOMENTS: Final = {
    "normal": "story.normal",
    "blocked": "story.blocked",
    "returned": "story.returned",
    "frozen": "story.frozen",
    "released": "story.released",
    "end": "story.end",
}


def tell_story(backend: str) -> int:
    """Play the story and tell it; the exit code."""
    seconds = sum(seconds for _, seconds in SCRIPT)
    print(say("story.start", seconds=seconds, groups=GROUPS, rate=RATE, lifetime=LIFETIME, queue=QUEUE), flush=True)

    async def main() -> StoryResult:
        return await run_story(_tell)

    try:
        result = runner.run(main, backend=backend)  # type: ignore[arg-type]  # one of the parser's choices
    except OSError as error:
        print(say("error", message=error), file=sys.stderr)
        return 1
    if result is None:
        print(say("demo.interrupted"), file=sys.stderr)
        return 130
    print()
    print(_table(result))
    print()
    print(say("story.where", backend=backend, core=say("compiled" if COMPILED else "pure")))
    return 0


def _tell(part: str, result: StoryResult) -> None:
    direct, napcore = result.direct, result.napcore
    stale = part == "frozen"
    text = say(
        MOMENTS[part],
        elapsed=result.elapsed,
        sent=result.sent,
        direct=direct.stale if stale else direct.waiting,
        napcore=napcore.stale if stale else napcore.waiting,
        direct_oldest=direct.oldest,
        dropped=napcore.dropped,
        state=napcore.state,
        redials=napcore.redials,
    )
    print(text, flush=True)


def _table(result: StoryResult) -> str:
    rows = [[say("story.measure"), say("story.direct"), say("story.napcore")]]
    ways = (result.direct, result.napcore)
    rows.append([say("story.p99"), *(_milliseconds(way) for way in ways)])
    rows.append([say("story.waiting"), *(str(way.most_waiting) for way in ways)])
    rows.append([say("story.kib"), *(f"{way.most_waiting_kib:.0f}" for way in ways)])
    rows.append([say("story.stale", lifetime=LIFETIME), *(str(way.stale) for way in ways)])
    rows.append([say("story.oldest"), *(f"{way.oldest:g}" for way in ways)])
    rows.append([say("story.dropped"), *(str(way.dropped) for way in ways)])
    rows.append([say("story.burst"), *(str(way.burst) for way in ways)])
    rows.append([say("story.redials"), *(str(way.redials) for way in ways)])
    return table(rows)


def _milliseconds(way: Figures) -> str:
    return "-" if way.healthy_p99_ms is None else f"{way.healthy_p99_ms:.1f}"
