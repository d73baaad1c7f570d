"""The same with a recorder, which has to see every event."""

from __future__ import annotations

from nonebot.message import event_preprocessor
from wanting import hello as hello


@event_preprocessor
async def recorder() -> None:
    """Would write everything down."""
