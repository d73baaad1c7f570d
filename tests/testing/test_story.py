"""The demo's story, shortened."""

from __future__ import annotations

import pytest

from napcore.testing.story import QUEUE, SCRIPT, StoryResult, run_story


def test_it_takes_45_seconds() -> None:
    assert sum(seconds for _, seconds in SCRIPT) == 45


async def test_every_figure_comes_from_the_run() -> None:
    moments: dict[str, StoryResult] = {}
    result = await run_story(lambda part, so_far: moments.setdefault(part, so_far) and None, pace=0.08)
    assert list(moments) == [*(part for part, _ in SCRIPT), "end"]
    assert moments["end"] == result
    first, blocked, returned, frozen, released = (moments[part] for part, _ in SCRIPT)
    assert (first.sent, first.direct.received, first.napcore.received) == (0, 0, 0)
    for way in ("direct", "napcore"):
        before, after, end = (getattr(moment, way) for moment in (blocked, returned, result))
        assert before.received > 0
        assert before.waiting < after.waiting == after.most_waiting or after.waiting >= after.most_waiting - 2
        assert end.received > before.received
        assert end.healthy_p99_ms is not None
        assert 0 < end.healthy_p99_ms < 5000
        assert end.redials == 0
        assert end.burst > 0
    assert result.direct.dropped == 0
    assert result.direct.stale > 0
    assert result.direct.oldest > 0.4
    assert result.napcore.most_waiting <= result.direct.most_waiting + 2 <= QUEUE
    assert result.sent > released.sent == frozen.sent, "nothing was sent while the upstream stood still"
    assert (result.direct.state, result.napcore.state) == ("", "connected")


async def test_a_host_that_gives_up_ends_it() -> None:
    def give_up(part: str, so_far: StoryResult) -> None:
        if part == "blocked":
            raise KeyError(part)

    with pytest.raises(BaseException) as error:  # noqa: PT011
        await run_story(give_up, pace=0.01)
    found: BaseException = error.value
    while isinstance(inner := getattr(found, "exceptions", None), tuple):
        (found,) = inner
    assert isinstance(found, KeyError)
