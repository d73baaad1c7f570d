from __future__ import annotations

from typing import Any

import pytest

from napcore import Event
from napcore.core.conversation import conversation, is_in_group


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"message_type": "group", "group_id": 5, "user_id": 7}, (1, "group", 5)),
        ({"message_type": "group", "group_id": 5, "user_id": 8}, (1, "group", 5)),
        ({"message_type": "private", "user_id": 7}, (1, "private", 7)),
        ({"message_type": "private", "sub_type": "group", "group_id": 5, "user_id": 7}, (1, "private", 7)),
        ({"post_type": "message_sent", "message_type": "private", "group_id": 5, "user_id": 7}, (1, "private", 7)),
        ({"post_type": "notice", "notice_type": "group_recall", "group_id": 5, "user_id": 7}, (1, "group", 5)),
        ({"post_type": "request", "request_type": "friend", "user_id": 7}, (1, "private", 7)),
        ({"post_type": "meta_event", "meta_event_type": "heartbeat"}, (1, "private", None)),
    ],
)
def test_where_it_was_said(fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    event = Event.from_dict({"post_type": "message", "self_id": 1, **fields})
    assert conversation(event) == expected
    assert is_in_group(event) is (expected[1] == "group")
