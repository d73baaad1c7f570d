"""Where an event was said: in which group, or with whom in private."""

from __future__ import annotations

from napcore.dispatch import Event

__all__ = ("conversation", "is_in_group")


def is_in_group(event: Event) -> bool:
    """Whether it belongs to a group. A temporary session is private though it bears a ``group_id``."""
    return event.group_id is not None and event.kind not in ("message.private", "message_sent.private")


def conversation(event: Event) -> tuple[int | None, str, int | None]:
    """The account, and ``group`` or ``private`` with an id: what events have in common that are to keep their order.

    Events of neither a group nor a user, such as meta events, have that of their account.
    """
    if is_in_group(event):
        return event.self_id, "group", event.group_id
    return event.self_id, "private", event.user_id
