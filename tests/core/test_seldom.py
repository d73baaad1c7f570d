from __future__ import annotations

from napcore.core.seldom import Seldom


def test_it_is_due_at_first_and_then_once_a_period() -> None:
    told = Seldom(10.0)
    assert [told.due(now) for now in (3.0, 3.0, 12.9, 13.0, 13.1, 22.9, 50.0)] == [
        True,
        False,
        False,
        True,
        False,
        False,
        True,
    ]
    assert Seldom().due(0.0)
