"""Plain twin, fourth part: which clients want an event."""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, final

from napcore._event_py import Event
from napcore._ledger_py import Budget, bound
from napcore._outbox_py import Outbox
from napcore._rules_py import Rules, check_condition, check_rules, read_keep
from napcore._text_py import TextIndex
from napcore.types import EventClass, Form, MessageFormat

__all__ = ("Router",)

_log = logging.getLogger("napcore")

FORMS: Final = ("event", "json", "frame", "masked", "sse")
MESSAGE_FORMATS: Final = ("array", "string")


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

    ``keep``, keyword arguments of rules, says which of a row's messages are evicted after the
    others. They take a number of their own, which is freed with the row's, and match nothing.

    Args:
        memory_limit: bytes of events that its rows' outboxes may hold together, each form of an
            event counted once. When there are more, the events with the lowest sequences go, out
            of every lane that has them (reason ``budget``); what is written already keeps its
            place, but cannot be written again.

    Raises:
        ValueError: ``memory_limit`` is 0, negative or NaN.
    """

    __slots__ = (
        "_budget",
        "_conditions",
        "_failed",
        "_free",
        "_keepers",
        "_keeps",
        "_memory_limit",
        "_rows",
        "_sequence",
        "_text_rows",
        "_texts",
    )

    def __init__(self, memory_limit: float = math.inf) -> None:
        self._memory_limit = bound("memory_limit", memory_limit)
        self._budget = Budget()
        self._keepers: dict[int, int] = {}  # from a row to the one that says what of it is kept
        self._keeps: dict[int, Rules] = {}  # what that lets through
        self._rows: dict[int, tuple[Outbox, Form, MessageFormat | None, Rules]] = {}
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

    @property
    def memory(self) -> int:
        """Bytes of events that are held, each form of an event counted once."""
        return self._budget.bytes

    def __len__(self) -> int:
        """How many rows there are, those of ``keep`` left out."""
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
        keep: Mapping[str, Any] | None = None,
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
        rules = check_rules(
            groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
        )
        kept = None if keep is None else read_keep(**keep)
        check_condition(condition)
        text_row = None if text is None else self._texts.add(**text)
        row = self._next_row()
        self._rows[row] = outbox, form, message_format, rules
        self._attach(row, condition, text_row)
        if kept is not None:
            kept_rules, kept_condition, kept_text = kept
            text_row = None if kept_text is None else self._texts.add(**kept_text)
            keeper = self._keepers[row] = self._next_row()
            self._keeps[keeper] = kept_rules
            self._attach(keeper, kept_condition, text_row)
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
        """Give ``row`` new rules; its outbox, form, message format and ``keep`` stay.

        Raises:
            KeyError: there is no such row.
            TypeError: an argument or a member of a collection has the wrong type.
            ValueError: an id does not fit 64 bits, or a pattern is empty.
        """
        outbox, form, message_format, _ = self._rows[row]
        rules = check_rules(
            groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
        )
        check_condition(condition)
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
        keeper = self._keepers.pop(row, None)
        if keeper is not None:
            del self._keeps[keeper]
            self._detach(keeper)
            heapq.heappush(self._free, keeper)

    def match(self, event: Event, account: int = 0) -> list[int]:
        """The rows that want ``event``, ascending; ``account`` stands in for a missing ``self_id``."""
        return [row for row in self._find(event, account) if row in self._rows]

    def _find(self, event: Event, account: int) -> list[int]:
        """``match``, the rows of ``keep`` included."""
        rows = [(row, rules) for row, (_, _, _, rules) in self._rows.items()]
        found = sorted(row for row, rules in [*rows, *self._keeps.items()] if rules.passes(event, account))
        conditional = [row for row in found if row in self._conditions or row in self._text_rows]
        if not conditional:
            return found
        failed = self._failing(conditional, event, account)
        # A condition may have removed rows.
        return [row for row in found if row not in failed and (row in self._rows or row in self._keeps)]

    def _takers(self, event: Event, account: int) -> list[tuple[Outbox, Form, MessageFormat | None, bool]]:
        """Who wants the event, in which form and format, and whether it is to be kept, by row."""
        found = self._find(event, account)
        is_message = event.event_class == EventClass.MESSAGE
        return [
            (*self._rows[row][:3], is_message and self._keepers.get(row) in found) for row in found if row in self._rows
        ]

    def _is_over_budget(self) -> bool:
        return self._budget.bytes > self._memory_limit

    def _economize(self) -> None:
        """Let go what is oldest until the rest is within the budget."""
        while self._is_over_budget():
            held = [(outbox, outbox._lowest()) for outbox in self._outboxes()]
            lowest = min((sequence for _, sequence in held if sequence is not None), default=None)
            if lowest is None:
                return
            for outbox, sequence in held:
                if sequence == lowest:
                    outbox._economize(lowest)

    def _outboxes(self) -> list[Outbox]:
        return [outbox for outbox, _, _, _ in self._rows.values()]

    def _next_row(self) -> int:
        return heapq.heappop(self._free) if self._free else len(self._rows) + len(self._keeps)

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
