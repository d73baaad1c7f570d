"""Small types that every ring shares: outcomes, classes of events, names of forms and policies."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Literal, TypeAlias, TypedDict

__all__ = (
    "DROP_REASONS",
    "Delivery",
    "EventClass",
    "FailMode",
    "Flushed",
    "Form",
    "MessageFormat",
    "Off",
    "Outcome",
    "Overflow",
    "Role",
    "Segment",
)

Off: TypeAlias = Literal["off"]
"""Written for "no limit" wherever a number is expected."""

Overflow: TypeAlias = Literal["drop_oldest", "drop_newest", "disconnect"]
"""What an outbox does at its bound."""

Delivery: TypeAlias = Literal["at_most_once", "at_least_once"]
"""What becomes of events that were written, and not confirmed, when a link is cut: they are never
written again, or they are."""

Form: TypeAlias = Literal["event", "json", "frame", "masked", "sse"]
"""What an outbox holds: the Event itself, its JSON bytes (also the body of an HTTP POST), an
unmasked text frame (we are the WebSocket server), a masked one (we are the client; RFC 6455, 5.3)
or a block of a server-sent event stream."""


MessageFormat: TypeAlias = Literal["array", "string"]
"""How the ``message`` of an event is written: as an array of segments, or as one CQ string (what
NapCat calls ``message_format`` and ``messagePostFormat``, go-cqhttp ``post-format``)."""

Role: TypeAlias = Literal["owner", "admin", "member"]
"""What the sender of a group message is there (OneBot 11, event/message)."""

FailMode: TypeAlias = Literal["closed", "open"]
"""What becomes of a filter that is broken: nobody gets anything, or everybody everything."""


class Segment(TypedDict):
    """One part of a message in array form (OneBot 11, message/array)."""

    type: str
    data: dict[str, Any]


class Outcome(IntEnum):
    """What became of one offer to an outbox. An offer never raises and never waits."""

    QUEUED = 0
    """In the lane."""
    DROPPED_OLDEST = 1
    """In the lane; older events had to go (reason ``oldest``)."""
    DROPPED_NEWEST = 2
    """Not in the lane: it was full (reason ``newest``)."""
    OVERSIZE = 3
    """Not in the lane: larger than ``max_frame`` (reason ``oversize``)."""
    DISCONNECT = 4
    """Not in the lane: it was full, has been cleared, and its link is to be closed with 1013."""
    STALE = 5
    """Not in the lane: past its lifetime when it came (reason ``ttl``)."""
    NOT_HELD = 6
    """Not in the lane: there is no link, and nothing of the kind is held any more (reason ``hold``)."""


class Flushed(IntEnum):
    """What became of one flush of a link. A flush never raises and never waits."""

    DONE = 0
    """Nothing is left that may be written now."""
    MORE = 1
    """All that was tried is out; there is more."""
    BLOCKED = 2
    """The socket has no room for the rest."""
    LOST = 3
    """The connection is gone."""
    LATER = 4
    """Nothing more may be written now; what is next is late, and goes when its turn comes (``Outbox.pause``)."""


class EventClass(IntEnum):
    """Classes of events with a lifetime of their own."""

    MESSAGE = 0
    """``message`` and ``message_sent``."""
    NOTICE = 1
    """``notice``."""
    REQUEST = 2
    """``request``."""
    META = 3
    """``meta_event`` and unknown post types; lives as long as a notice."""


DROP_REASONS = ("oldest", "newest", "ttl", "oversize", "hold", "budget", "disconnect", "uncertain", "shutdown")
"""Why an event that was meant for a client never reached it; the list is closed."""
