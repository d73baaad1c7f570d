"""What a bot writes down for the test that started it: one JSON object a line, on its stdout."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

NAME = os.environ["BOT_NAME"]
"""Who it says it is in its answers."""

# Frameworks print to stdout too; that goes to stderr with their logs.
_lines = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
os.dup2(2, 1)


def write(line: str, **fields: Any) -> None:
    """Write one line of the kind ``line``."""
    _lines.write(json.dumps({"line": line, **fields}) + "\n")


def write_event(event: Any, message: Iterable[Any]) -> None:
    """Write down an event of either framework, with its message as the framework has read it."""
    post_type = event.post_type
    kind = f"{post_type}.{getattr(event, f'{post_type}_type', None)}"
    if post_type == "meta_event":
        status = getattr(event, "status", None)
        online = status["online"] if isinstance(status, dict) else getattr(status, "online", None)
        write("meta", kind=kind, sub_type=getattr(event, "sub_type", None), online=online)
    else:
        ids = {name: getattr(event, name, None) for name in ("group_id", "user_id", "message_id")}
        write("event", kind=kind, message=[(segment.type, segment.data) for segment in message], **ids)
