"""Matchers by what their rules ask for: from an event to the matchers whose rules may pass, without asking each."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from sys import getrefcount
from typing import TYPE_CHECKING, Any

from napcore.dispatch import TextIndex

from . import alconna
from . import conditions as c
from .literals import required_text
from .reading import Reader, Reading

if TYPE_CHECKING:
    from .facts import Facts
    from .stock import Stock

TEXT = (c.Prefix, c.Suffix, c.Keywords, alconna.Head)
"""Looked up in the text index."""


class Entry:
    """A matcher that can be skipped: its type, expiry and rule are understood."""

    __slots__ = ("expire_time", "kind", "matcher", "reading", "row", "stages")

    def __init__(self, matcher: Any, reading: Reading) -> None:
        self.matcher = matcher
        self.reading = reading
        self.kind: str = matcher.type
        self.expire_time = matcher.expire_time
        self.row: int | None = None
        self.stages = 0
        """In how many priorities it is listed; one, unless somebody lists it by hand."""

    def possible(self, facts: Facts) -> bool:
        """Whether its type fits and its rule may pass."""
        if self.kind and self.kind != facts.kind:
            return False
        conditions = self.reading.conditions
        if conditions is None:
            return True
        for condition in conditions:
            if not condition.possible(facts):
                return False
        return True


class Index:
    """All entries, by what their conditions can be looked up with.

    An entry is filed under one of its conditions: a session, a command, a full match or a text. What cannot be looked
    up is asked once per event for each distinct set of conditions.
    """

    def __init__(self, reader: Reader, stock: Stock) -> None:
        self._reader = reader
        self._checkers_of = stock.checkers_of
        rule = stock.Rule()
        self._unshared = getrefcount(stock.checkers_of(rule))
        """References to a set of checkers that nobody but its rule has."""
        self._sessions: dict[Any, list[Entry]] = {}
        self._commands: dict[Any, list[Entry]] = {}
        self._fullmatches: dict[str, list[Entry]] = {}
        self._folded: dict[str, list[Entry]] = {}
        self._texts = TextIndex()
        self._rows: dict[int, Entry] = {}
        self._messages = TextIndex()
        self._message_rows: dict[int, Entry] = {}
        self._asked: dict[tuple[c.Condition, ...], list[Entry]] = {}
        self._entries: dict[Any, Entry] = {}
        self._watched: dict[int, int] = {}
        self._exposed: dict[int, tuple[Any, tuple[Any, ...]]] = {}
        self._poll: alconna.Poll | None = None
        self._heads: list[Entry] = []
        self.generation = 0
        """Changes whenever an entry comes, goes or is read anew."""

    def __len__(self) -> int:
        return len(self._entries)

    def watches(self, thing: object) -> bool:
        """Whether something was read that is this very object."""
        return id(thing) in self._watched

    def entry(self, matcher: Any) -> Entry:
        """A matcher's entry, read if it is new."""
        found = self._entries.get(matcher)
        if found is None:
            found = self._entries[matcher] = Entry(matcher, self._reader.read(matcher))
            self._file(found)
        return found

    def results_of(self, matchers: Iterable[Any]) -> set[Any]:
        """The dependencies whose results NoneBot2 caches by asking these matchers' rules."""
        found = (self._entries.get(matcher) for matcher in matchers)
        return {call for entry in found if entry is not None for call in entry.reading.results}

    def drop(self, entry: Entry) -> None:
        """Forget an entry."""
        if self._entries.pop(entry.matcher, None) is entry:
            self._unfile(entry)

    def expose(self, part: Any) -> None:
        """Somebody else has got hold of a rule's or a permission's checkers. May be called from any thread."""
        for entry in list(self._entries.values()):
            for read, checkers in entry.reading.parts:
                if read is part:
                    self._exposed[id(part)] = part, checkers
                    return

    def changed(self) -> bool:
        """Whether anything that was read has been changed in place since. Costs what is out of our sight, not the
        rest.
        """
        if self._poll is None:
            self._poll = alconna.Poll([part for entry in self._entries.values() for part in entry.reading.live])
        for part, checkers in list(self._exposed.values()):
            if tuple(self._checkers_of(part)) != checkers:
                return True
            if getrefcount(self._checkers_of(part)) <= self._unshared:
                del self._exposed[id(part)]
        return self._poll.changed()

    def clear(self) -> None:
        """Forget everything."""
        for entry in list(self._entries.values()):
            self.drop(entry)

    def candidates(self, facts: Facts) -> list[Entry]:
        """The entries whose rules may pass for an event, but for those of which nothing is known."""
        found: list[Iterable[Entry]] = []
        if self._sessions and facts.session is not None:
            found.append(self._sessions.get(facts.session, ()))
        if self._commands:
            if facts.command_changed:
                found += self._commands.values()
            else:
                found.append(self._commands.get(facts.command, ()))
        text = facts.text
        if text:
            found += (self._fullmatches.get(text, ()), self._folded.get(text.casefold(), ()) if self._folded else ())
        if self._rows and text is not None:
            rows = self._texts.match(text)
            if text.endswith("\n"):  # what a suffix may end in front of
                rows += self._texts.match(text[:-1])
            if self._heads and alconna.bare_text(text) != text:
                rows += self._texts.match(alconna.bare_text(text))
            found.append([self._rows[row] for row in rows])
        if self._heads and (text is None or facts.text_changed):
            found.append(self._heads)
        if self._message_rows and facts.message is not None:
            found.append([self._message_rows[row] for row in self._messages.match(facts.message)])
        out = dict.fromkeys(entry for entry in chain.from_iterable(found) if entry.possible(facts))
        for conditions, entries in self._asked.items():
            if all(condition.possible(facts) for condition in conditions):
                out.update(dict.fromkeys(entry for entry in entries if not entry.kind or entry.kind == facts.kind))
        return list(out)

    def _file(self, entry: Entry) -> None:
        self.generation += 1
        self._poll = None
        for part, checkers in entry.reading.parts:
            if getrefcount(self._checkers_of(part)) > self._unshared:
                self._exposed[id(part)] = part, checkers
        for thing in entry.reading.watched:
            self._watched[id(thing)] = self._watched.get(id(thing), 0) + 1
        conditions = entry.reading.conditions
        if conditions is None:
            return
        places = self._places(conditions)
        if places is not None:
            for table, key in places:
                table.setdefault(key, []).append(entry)
            return
        patterns = next((each for each in conditions if isinstance(each, TEXT)), None)
        if patterns is None:
            entry.row = self._messages.add(keywords=(_literal(conditions),))
            self._message_rows[entry.row] = entry
        else:
            entry.row = self._texts.add(**_row(patterns))
            self._rows[entry.row] = entry
            if isinstance(patterns, alconna.Head):
                self._heads.append(entry)

    def _unfile(self, entry: Entry) -> None:
        self.generation += 1
        self._poll = None
        for thing in entry.reading.watched:
            left = self._watched[id(thing)] - 1
            if left:
                self._watched[id(thing)] = left
            else:
                del self._watched[id(thing)]
                self._exposed.pop(id(thing), None)
        if entry.reading.conditions is None:
            return
        for table, key in self._places(entry.reading.conditions) or ():
            table[key].remove(entry)
            if not table[key]:
                del table[key]
        if entry.row is None:
            return
        if self._message_rows.get(entry.row) is entry:
            self._messages.remove(entry.row)
            del self._message_rows[entry.row]
        else:
            self._texts.remove(entry.row)
            del self._rows[entry.row]
            if entry in self._heads:
                self._heads.remove(entry)

    def _places(self, conditions: tuple[c.Condition, ...]) -> list[tuple[dict[Any, list[Entry]], Any]] | None:
        """Where an entry with these conditions is filed: nowhere if it lists nothing, None for a text index."""
        for kind in (c.Session, c.Command, c.Fullmatch):
            for each in conditions:
                if not isinstance(each, kind):
                    continue
                if isinstance(each, c.Session):
                    return [(self._sessions, user) for user in dict.fromkeys(each.users)]
                if isinstance(each, c.Command):
                    return [(self._commands, command) for command in each.commands]
                table = self._folded if each.ignore_case else self._fullmatches
                return [(table, text) for text in each.texts]
        if any(isinstance(each, TEXT) for each in conditions) or _literal(conditions):
            return None
        return [(self._asked, conditions)]


def _literal(conditions: tuple[c.Condition, ...]) -> str:
    """What a message has to contain for an expression among the conditions to match."""
    texts = [required_text(each.pattern) for each in conditions if isinstance(each, c.MessagePattern)]
    return max(texts, key=len, default="")


def _row(patterns: c.Condition) -> dict[str, Any]:
    if isinstance(patterns, c.Prefix):
        return {"prefix": patterns.patterns}
    if isinstance(patterns, c.Suffix):
        return {"suffix": patterns.patterns}
    assert isinstance(patterns, (c.Keywords, alconna.Head))
    return {"keywords": patterns.words}
