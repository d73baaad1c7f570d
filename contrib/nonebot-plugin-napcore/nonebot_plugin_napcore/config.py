"""What may stand in ``.env``; napcore reads it there by itself."""

from __future__ import annotations

from pydantic import BaseModel


class Config(BaseModel):
    """All of it is optional."""

    napcore_dispatch: bool = True
    """Whether messages are looked up; false leaves matching to NoneBot2."""
    napcore_verify: float = 0.0
    """The share of events, from 0 to 1, on which every matcher is asked to hold the index to account."""
