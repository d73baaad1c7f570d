"""The dispatch core, its writer and its reader: the compiled ones where there are any, else their plain twins.

The choice is made once, at the first import. ``NAPCORE_PURE=1`` in the environment takes the
plain twin even where the compiled core is installed. A compiled core that is there but cannot
be loaded is an error: a bot that is suddenly ten times slower would be harder to explain.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

__all__ = (
    "CAN_POLL",
    "CAN_READ",
    "CAN_WRITE",
    "COMPILED",
    "CONTROL_LIMIT",
    "MAX_DEPTH",
    "MAX_FRAGMENTS",
    "MESSAGE_LIMIT",
    "READ_AT_ONCE",
    "SIMD",
    "SLICE",
    "Assembly",
    "Buffer",
    "Event",
    "Outbox",
    "Owner",
    "Poller",
    "Reader",
    "Report",
    "Request",
    "Response",
    "Router",
    "Source",
    "TextIndex",
    "Writer",
    "convert_event",
    "fan_out",
    "flush_ready",
    "format_message",
    "frame",
    "join_frame",
    "masked_frame",
    "parse_message",
    "peek",
    "peek_batch",
    "peek_frame",
    "peek_request",
    "plain_text",
    "sse_block",
)

if TYPE_CHECKING:
    from napcore import _dispatch as _core
    from napcore import _text, _wire
elif os.environ.get("NAPCORE_PURE") == "1":
    from napcore import _dispatch_py as _core
    from napcore import _text_py as _text
    from napcore import _wire_py as _wire
else:
    try:
        import napcore._dispatch as _core
    except ModuleNotFoundError:
        from napcore import _dispatch_py as _core
        from napcore import _text_py as _text
        from napcore import _wire_py as _wire
    else:
        import napcore._text as _text
        import napcore._wire as _wire

COMPILED: Final = _core.__name__ == "napcore._dispatch"
"""Whether the compiled core is in use."""

CAN_POLL: Final = _wire.CAN_POLL
CAN_READ: Final = _wire.CAN_READ
CAN_WRITE: Final = _wire.CAN_WRITE
CONTROL_LIMIT: Final = _core.CONTROL_LIMIT
MAX_DEPTH: Final = _core.MAX_DEPTH
MAX_FRAGMENTS: Final = _wire.MAX_FRAGMENTS
MESSAGE_LIMIT: Final = _wire.MESSAGE_LIMIT
READ_AT_ONCE: Final = _wire.READ_AT_ONCE
SIMD: Final = _core.SIMD
SLICE: Final = _wire.SLICE
Assembly = _wire.Assembly
Buffer = _core.Buffer
Event = _core.Event
Outbox = _core.Outbox
Owner = _wire.Owner
Poller = _wire.Poller
Reader = _wire.Reader
Report = _core.Report
Request = _core.Request
Response = _core.Response
Router = _core.Router
Source = _wire.Source
TextIndex = _text.TextIndex
Writer = _wire.Writer
convert_event = _core.convert_event
fan_out = _core.fan_out
flush_ready = _wire.flush_ready
format_message = _core.format_message
frame = _core.frame
join_frame = _core.join_frame
masked_frame = _core.masked_frame
parse_message = _core.parse_message
peek = _core.peek
peek_batch = _core.peek_batch
peek_frame = _core.peek_frame
peek_request = _core.peek_request
plain_text = _core.plain_text
sse_block = _core.sse_block
