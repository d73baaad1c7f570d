"""One priority: which of its matchers an event is shown to, in the order they are listed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .index import Entry, Index
from .reading import Reader

if TYPE_CHECKING:
    from .facts import Facts

Now = Callable[[], datetime]


class Stage:
    """The matchers of one priority, as they were listed when last looked at."""

    def __init__(self, index: Index, reader: Reader) -> None:
        self._index = index
        self._reader = reader
        self._listed: list[Any] = []
        self._positions: dict[Entry, int] = {}
        self._own_ways: list[int] = []
        """Positions of matchers that nothing is certain of, not even their type."""
        self._always: dict[str, list[int]] = {}
        """Positions of those that are certain only not to want another type; "" wants every type."""
        self._expiring: list[Entry] = []
        self._results: dict[str, frozenset[Any]] = {}
        self._guarded: list[Entry] = []
        """Entries whose cached dependencies are asked for only under a condition."""
        self._whole = False

    def follow(self, listed: list[Any]) -> None:
        """Take over what is listed now."""
        if self._listed == listed:
            return
        before = list(self._positions)
        self._listed = listed.copy()
        self._positions = {}
        self._own_ways, self._always, self._expiring = [], {}, []
        self._results, self._guarded = {}, []
        self._whole = len(set(listed)) != len(listed)
        if not self._whole:
            for position, matcher in enumerate(listed):
                self._add(position, matcher)
        for entry in before:
            entry.stages -= 1
            if not entry.stages:
                self._index.drop(entry)

    def _add(self, position: int, matcher: Any) -> None:
        expire_time = matcher.expire_time
        understood = not expire_time or (type(expire_time) is datetime and expire_time.tzinfo is None)
        if self._reader.overrides(matcher) or type(matcher.type) is not str or not understood:
            self._own_ways.append(position)
            return
        entry = self._index.entry(matcher)
        entry.stages += 1
        self._positions[entry] = position
        reading = entry.reading
        if reading.conditions is None:
            self._always.setdefault(entry.kind, []).append(position)
        if expire_time:
            self._expiring.append(entry)
        if reading.results and not expire_time and reading.permission is None:
            self._results[entry.kind] = self._results.get(entry.kind, frozenset()) | reading.results
        elif reading.results:
            self._guarded.append(entry)

    def choose(self, facts: Facts, candidates: Collection[Entry], now: Now) -> list[Any]:
        """The matchers that may want an event, and those past their time, which NoneBot2 destroys."""
        if self._whole:
            return self._listed.copy()
        positions = [*self._own_ways]
        if self._always:
            positions += self._always.get("", ())
            positions += self._always.get(facts.kind, ()) if facts.kind else ()
        for entry in candidates:
            position = self._positions.get(entry)
            if position is not None:
                positions.append(position)
        if self._expiring:
            moment = now()
            positions += [self._positions[entry] for entry in self._expiring if moment > entry.expire_time]
        if not positions:
            return []
        return [self._listed[position] for position in sorted(set(positions))]

    def results(self, facts: Facts, now: Now) -> set[Any]:
        """The dependencies whose results NoneBot2 would have cached by asking the rules of this priority."""
        found = {*self._results.get("", ()), *self._results.get(facts.kind, ())}
        for entry in self._guarded:
            if entry.reading.results <= found or (entry.kind and entry.kind != facts.kind):
                continue
            if entry.expire_time and now() > entry.expire_time:
                continue
            if entry.reading.permission is None or entry.reading.permission.possible(facts):
                found |= entry.reading.results
        return found
