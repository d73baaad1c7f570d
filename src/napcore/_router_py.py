"""Plain twin, fourth part: which clients want an event."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final
from zlib import crc32

from napcore._event_py import Event
from napcore._outbox_py import Outbox
from napcore._text_py import TextIndex
from napcore.types import EventClass, Form, MessageFormat

__all__ = ("Router",)

_log = logging.getLogger("napcore")

FORMS: Final = ("event", "json", "frame", "masked", "sse")
MESSAGE_FORMATS: Final = ("array", "string")
_INT64: Final = 1 << 63

_PRIVATE_MESSAGES: Final = ("message.private", "message_sent.private")
_ALWAYS_IN_A_GROUP: Final = ("message.group", "message_sent.group", "request.group")
_JOIN_OR_LEAVE: Final = ("notice.group_increase", "notice.group_decrease")


@dataclass(frozen=True)
class _Rules:
    """What one row lets through."""

    groups: frozenset[int] | None
    exclude_groups: frozenset[int]
    users: frozenset[int] | None
    exclude_users: frozenset[int]
    kinds: frozenset[str] | None
    exclude_kinds: frozenset[str]
    self_ids: frozenset[int] | None
    private: bool
    self_messages: bool
    shard: tuple[int, int] | None

    def passes(self, event: Event, account: int) -> bool:
        """Whether the row wants ``event``, which came over the link of ``account`` (0: unknown)."""
        self_id = event.self_id or account or None
        if self.self_ids is not None and self_id not in self.self_ids:
            return False
        kind = event.kind or ""
        path = f"{kind}.{event.sub_type}" if event.kind is not None and event.sub_type else kind
        if self.kinds is not None and not _any_matches(self.kinds, path):
            return False
        if _any_matches(self.exclude_kinds, path):
            return False
        post_type = kind.partition(".")[0]
        if post_type == "meta_event":
            return True
        if post_type == "message_sent" and not self.self_messages:
            return False
        if self.shard is not None and not self._passes_shard(event, self_id):
            return False
        if _is_about_account(event, self_id):
            return event.group_id not in self.exclude_groups
        if kind in _PRIVATE_MESSAGES:
            return self.private and self._passes_user(event)
        return self._passes_group(event) and self._passes_user(event)

    def _passes_shard(self, event: Event, self_id: int | None) -> bool:
        assert self.shard is not None
        number, count = self.shard
        # A temporary session is private: it belongs with the account's other private messages.
        group = 0 if event.kind in _PRIVATE_MESSAGES else event.group_id or 0
        return crc32(b"%d:%d" % (self_id or 0, group)) % count == number - 1

    def _passes_group(self, event: Event) -> bool:
        if event.group_id is None:
            return self.groups is None or event.kind not in _ALWAYS_IN_A_GROUP
        return (self.groups is None or event.group_id in self.groups) and event.group_id not in self.exclude_groups

    def _passes_user(self, event: Event) -> bool:
        return (self.users is None or event.user_id in self.users) and event.user_id not in self.exclude_users


def _is_about_account(event: Event, self_id: int | None) -> bool:
    if event.kind == "request.group":
        return event.sub_type == "invite"
    if event.kind in _JOIN_OR_LEAVE:
        return event.user_id is not None and event.user_id == self_id
    return event.kind == "notice.bot_offline"


def _any_matches(patterns: Iterable[str], path: str) -> bool:
    return any(_matches(pattern, path) for pattern in patterns)


def _matches(pattern: str, path: str) -> bool:
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return path.startswith(pattern[:-1])
    return path == pattern or path.startswith(pattern + ".")


@final
class Router:
    """Which outboxes want an event. Rows are numbered from 0; freed numbers are used again, lowest first.

    A row's rules, all of which must hold:

    ``self_ids``: only events of these accounts. ``kinds``, ``exclude_kinds``: patterns on
    ``kind`` and ``kind.sub_type`` at dot borders: ``notice.notify`` takes itself and all below,
    ``notice.*`` only what is below, ``*`` everything; exclusion wins. These apply to every event.

    ``self_messages``: whether ``message_sent`` passes at all. ``groups``, ``exclude_groups``:
    judge the events of a group; private messages, friend requests and notices without a group
    are not theirs to stop. ``private``: whether private messages pass. ``users``,
    ``exclude_users``: judge messages, notices and requests by their user; an allow-list stops
    those without one. Meta events pass all of these; what is about the account itself (an
    invitation, its own joining or leaving, ``bot_offline``) is stopped by ``exclude_groups`` alone.

    ``shard``, a pair (number from 1, count), takes the events of which the CRC-32 of
    ``self_id:group`` says so (0 for what is missing, and for the group of a private message): each
    event but meta events passes exactly one of the ``count`` shards.

    Two more are asked of rows that all these let through. ``text``, keyword arguments of
    ``TextIndex.add``, judges messages by their plain text; one index holds those of all rows and is
    asked at most once per event. ``condition`` is called with the event and ``account``; what it
    raises is no match, and is logged as a warning, once per row.
    """

    __slots__ = ("_conditions", "_failed", "_free", "_rows", "_sequence", "_text_rows", "_texts")

    def __init__(self) -> None:
        self._rows: dict[int, tuple[Outbox, Form, MessageFormat | None, _Rules]] = {}
        self._free: list[int] = []
        self._sequence = 0
        self._conditions: dict[int, Callable[[Event, int], bool]] = {}
        self._texts = TextIndex()
        self._text_rows: dict[int, int] = {}  # from a row here to one there
        self._failed: set[int] = set()  # whose conditions have raised

    @property
    def sequence(self) -> int:
        """The number of the last event that was fanned out; 0 before the first."""
        return self._sequence

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def add(
        self,
        outbox: Outbox,
        form: Form = "json",
        *,
        message_format: MessageFormat | None = None,
        groups: Collection[int] | None = None,
        exclude_groups: Collection[int] = (),
        users: Collection[int] | None = None,
        exclude_users: Collection[int] = (),
        kinds: Collection[str] | None = None,
        exclude_kinds: Collection[str] = (),
        self_ids: Collection[int] | None = None,
        private: bool = True,
        self_messages: bool = False,
        shard: tuple[int, int] | None = None,
        condition: Callable[[Event, int], bool] | None = None,
        text: Mapping[str, Any] | None = None,
    ) -> int:
        """Add a row that offers matching events to ``outbox`` as ``form``; returns its number.

        ``message_format`` is how their messages are written then, "array" or "string"; None is as
        received.

        Raises:
            TypeError: an argument or a member of a collection has the wrong type.
            ValueError: the form or format is unknown, an id does not fit 64 bits, or a pattern is empty.
        """
        if not isinstance(outbox, Outbox):
            raise TypeError(f"expected an Outbox, not {type(outbox).__name__}")
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
        if message_format is not None and message_format not in MESSAGE_FORMATS:
            raise ValueError(f"message_format must be one of {', '.join(MESSAGE_FORMATS)}, not {message_format!r}")
        rules = _rules(
            groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
        )
        _check_condition(condition)
        text_row = None if text is None else self._texts.add(**text)
        row = heapq.heappop(self._free) if self._free else len(self._rows)
        self._rows[row] = outbox, form, message_format, rules
        self._attach(row, condition, text_row)
        return row

    def replace(
        self,
        row: int,
        *,
        groups: Collection[int] | None = None,
        exclude_groups: Collection[int] = (),
        users: Collection[int] | None = None,
        exclude_users: Collection[int] = (),
        kinds: Collection[str] | None = None,
        exclude_kinds: Collection[str] = (),
        self_ids: Collection[int] | None = None,
        private: bool = True,
        self_messages: bool = False,
        shard: tuple[int, int] | None = None,
        condition: Callable[[Event, int], bool] | None = None,
        text: Mapping[str, Any] | None = None,
    ) -> None:
        """Give ``row`` new rules; its outbox, form and message format stay.

        Raises:
            KeyError: there is no such row.
            TypeError: an argument or a member of a collection has the wrong type.
            ValueError: an id does not fit 64 bits, or a pattern is empty.
        """
        outbox, form, message_format, _ = self._rows[row]
        rules = _rules(
            groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
        )
        _check_condition(condition)
        text_row = None if text is None else self._texts.add(**text)
        self._detach(row)
        self._rows[row] = outbox, form, message_format, rules
        self._attach(row, condition, text_row)

    def remove(self, row: int) -> None:
        """Forget ``row``; its number may be given out again.

        Raises:
            KeyError: there is no such row.
        """
        del self._rows[row]
        self._detach(row)
        heapq.heappush(self._free, row)

    def match(self, event: Event, account: int = 0) -> list[int]:
        """The rows that want ``event``, ascending; ``account`` stands in for a missing ``self_id``."""
        found = sorted(row for row, (_, _, _, rules) in self._rows.items() if rules.passes(event, account))
        conditional = [row for row in found if row in self._conditions or row in self._text_rows]
        if not conditional:
            return found
        failed = self._failing(conditional, event, account)
        # A condition may have removed rows.
        return [row for row in found if row not in failed and row in self._rows]

    def _failing(self, rows: list[int], event: Event, account: int) -> set[int]:
        failed = set()
        wanted: set[int] | None = None
        for row in rows:
            text_row, condition = self._text_rows.get(row), self._conditions.get(row)
            try:
                if text_row is not None and event.event_class == EventClass.MESSAGE:
                    if wanted is None:
                        wanted = set(self._texts.match(event.text))
                    if text_row not in wanted:
                        failed.add(row)
                        continue
                if condition is not None and not condition(event, account):
                    failed.add(row)
            except Exception as error:
                failed.add(row)
                if row not in self._failed:
                    self._failed.add(row)
                    _log.warning("a condition raised %s, which counts as no match", type(error).__name__)
        return failed

    def _attach(self, row: int, condition: Callable[[Event, int], bool] | None, text_row: int | None) -> None:
        if condition is not None:
            self._conditions[row] = condition
        if text_row is not None:
            self._text_rows[row] = text_row

    def _detach(self, row: int) -> None:
        self._failed.discard(row)
        self._conditions.pop(row, None)
        text_row = self._text_rows.pop(row, None)
        if text_row is not None:
            self._texts.remove(text_row)


def _check_condition(condition: object) -> None:
    if condition is not None and not callable(condition):
        raise TypeError(f"a condition must be callable, not {type(condition).__name__}")


def _rules(
    groups: Collection[int] | None,
    exclude_groups: Collection[int],
    users: Collection[int] | None,
    exclude_users: Collection[int],
    kinds: Collection[str] | None,
    exclude_kinds: Collection[str],
    self_ids: Collection[int] | None,
    private: bool,
    self_messages: bool,
    shard: tuple[int, int] | None,
) -> _Rules:
    return _Rules(
        None if groups is None else _ids("groups", groups),
        _ids("exclude_groups", exclude_groups),
        None if users is None else _ids("users", users),
        _ids("exclude_users", exclude_users),
        None if kinds is None else _patterns("kinds", kinds),
        _patterns("exclude_kinds", exclude_kinds),
        None if self_ids is None else _ids("self_ids", self_ids),
        bool(private),
        bool(self_messages),
        None if shard is None else _shard(shard),
    )


def _shard(shard: tuple[int, int]) -> tuple[int, int]:
    number, count = shard
    if any(isinstance(value, bool) or not isinstance(value, int) for value in (number, count)):
        raise TypeError(f"shard must be a pair of integers, not {shard!r}")
    if not 1 <= number <= count < 1 << 31:
        raise ValueError(f"shard must be (number, count) with 1 <= number <= count, not {shard!r}")
    return number, count


def _ids(name: str, values: Collection[int]) -> frozenset[int]:
    ids = list(values)
    for value in ids:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must hold integers, not {value!r}")
        if not -_INT64 <= value < _INT64:
            raise ValueError(f"{name}: {value} does not fit 64 bits")
    return frozenset(ids)


def _patterns(name: str, values: Collection[str]) -> frozenset[str]:
    if isinstance(values, str):
        raise TypeError(f"{name} must be a collection of patterns, not one string")
    patterns = list(values)
    for value in patterns:
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold strings, not {value!r}")
        if not value:
            raise ValueError(f"{name}: a pattern must not be empty")
    return frozenset(patterns)
