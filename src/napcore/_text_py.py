"""Plain twin of ``_text``: which rows have a pattern that a text has."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import final

__all__ = ("TextIndex",)


@dataclass(frozen=True)
class Patterns:
    """What one row asks for, checked; case-folded where that is asked for. The compiled index takes these too."""

    commands: frozenset[str]
    """Start symbol and name together."""
    command_whitespace: bool | str
    prefix: frozenset[str]
    suffix: frozenset[str]
    fullmatch: frozenset[str]
    keywords: frozenset[str]
    ignore_case: bool

    def has(self, text: str) -> bool:
        """Whether the text has one of them."""
        if self.ignore_case:
            text = str.casefold(text)
        return (
            text in self.fullmatch
            or any(text.startswith(pattern) for pattern in self.prefix)
            or any(text.endswith(pattern) for pattern in self.suffix)
            or any(pattern in text for pattern in self.keywords)
            or self._has_command(text.lstrip())
        )

    def _has_command(self, text: str) -> bool:
        return any(text.startswith(command) and self._may_follow(text[len(command) :]) for command in self.commands)

    def _may_follow(self, rest: str) -> bool:
        argument = rest.lstrip()
        if self.command_whitespace is False or not argument:
            return True
        space = rest[: len(rest) - len(argument)]
        return bool(space) and (self.command_whitespace is True or space == self.command_whitespace)


@final
class TextIndex:
    """Which rows have a pattern that a text has. Rows are numbered from 0; freed numbers are used again, lowest first.

    A row matches when the text has any of its patterns; one without patterns matches nothing.
    ``prefix``: the text begins with it. ``suffix``: it ends with it. ``fullmatch``: it is the
    text. ``keywords``: it is somewhere in the text. These look at the text as it is, code point by
    code point, lone surrogates included.

    ``commands`` are meant as NoneBot2 means them (``nonebot.rule``, 2.4): white space in front of
    the text does not count, then come one of the start symbols ``command_start`` and the name, with
    nothing between them; what follows is the argument. A start symbol may be ``""``, and without
    any there is no command. ``command_whitespace`` is what has to be between the command and its
    argument, if there is an argument, which is something other than white space: ``False`` anything
    or nothing, ``True`` white space, a string exactly this white space. It is NoneBot2's
    ``force_whitespace``, of which ``None`` is ``False`` here; NoneBot2's ``False`` (no white space
    may be there) is not had. Where several commands fit, NoneBot2 takes the longest one of the whole
    bot and the others do not hear of it; here rows know nothing of each other, and shorter commands
    match too. So a row matches whenever NoneBot2 could take one of its commands.

    ``ignore_case`` compares what ``str.casefold`` makes of the text with what it makes of the row's
    patterns. The text may get longer by it: "Straße" has the suffix "SSE", and "ß" the prefix "s".
    Rows with and without it live in one index.

    A pattern, of commands start symbol and name together, is never empty: it would match everything.
    """

    __slots__ = ("_free", "_rows")

    def __init__(self) -> None:
        self._rows: dict[int, Patterns] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def add(
        self,
        *,
        commands: Collection[str] = (),
        command_start: Collection[str] = ("/",),
        command_whitespace: bool | str = False,
        prefix: Collection[str] = (),
        suffix: Collection[str] = (),
        fullmatch: Collection[str] = (),
        keywords: Collection[str] = (),
        ignore_case: bool = False,
    ) -> int:
        """Add a row with these patterns; returns its number.

        Raises:
            TypeError: an argument or a member of a collection has the wrong type; one string is no
                collection of patterns.
            ValueError: a pattern is empty.
        """
        patterns = patterns_of(
            commands, command_start, command_whitespace, prefix, suffix, fullmatch, keywords, ignore_case
        )
        row = heapq.heappop(self._free) if self._free else len(self._rows)
        self._rows[row] = patterns
        return row

    def replace(
        self,
        row: int,
        *,
        commands: Collection[str] = (),
        command_start: Collection[str] = ("/",),
        command_whitespace: bool | str = False,
        prefix: Collection[str] = (),
        suffix: Collection[str] = (),
        fullmatch: Collection[str] = (),
        keywords: Collection[str] = (),
        ignore_case: bool = False,
    ) -> None:
        """Give ``row`` these patterns instead of its own.

        Raises:
            KeyError: there is no such row.
            TypeError: an argument or a member of a collection has the wrong type; one string is no
                collection of patterns.
            ValueError: a pattern is empty.
        """
        if row not in self._rows:
            raise KeyError(row)
        patterns = patterns_of(
            commands, command_start, command_whitespace, prefix, suffix, fullmatch, keywords, ignore_case
        )
        if row not in self._rows:  # whoever made the patterns has taken it away
            raise KeyError(row)
        self._rows[row] = patterns

    def remove(self, row: int) -> None:
        """Forget ``row``; its number may be given out again.

        Raises:
            KeyError: there is no such row.
        """
        del self._rows[row]
        heapq.heappush(self._free, row)

    def match(self, text: str) -> list[int]:
        """The rows that have a pattern which the text has, ascending.

        Raises:
            TypeError: ``text`` is not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"expected a str, not {type(text).__name__}")
        return sorted(row for row, patterns in self._rows.items() if patterns.has(text))


def patterns_of(
    commands: Collection[str],
    command_start: Collection[str],
    command_whitespace: bool | str,
    prefix: Collection[str],
    suffix: Collection[str],
    fullmatch: Collection[str],
    keywords: Collection[str],
    ignore_case: bool,
) -> Patterns:
    """Check the arguments of ``TextIndex.add``; raises what that raises."""
    if not isinstance(command_whitespace, (bool, str)):
        raise TypeError(f"command_whitespace must be a bool or a string, not {command_whitespace!r}")
    starts = _strings("command_start", command_start)
    names = _strings("commands", commands)
    fold = bool(ignore_case)
    return Patterns(
        _patterns("commands", [start + name for start in starts for name in names], fold),
        command_whitespace,
        _patterns("prefix", _strings("prefix", prefix), fold),
        _patterns("suffix", _strings("suffix", suffix), fold),
        _patterns("fullmatch", _strings("fullmatch", fullmatch), fold),
        _patterns("keywords", _strings("keywords", keywords), fold),
        fold,
    )


def _strings(name: str, values: Collection[str]) -> list[str]:
    if isinstance(values, str):
        raise TypeError(f"{name} must be a collection of strings, not one string")
    strings = list(values)
    for value in strings:
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold strings, not {value!r}")
    return strings


def _patterns(name: str, strings: Iterable[str], fold: bool) -> frozenset[str]:
    patterns = frozenset(str.casefold(string) if fold else string for string in strings)
    if "" in patterns:
        raise ValueError(f"{name}: a pattern must not be empty")
    return patterns
