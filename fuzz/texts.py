"""The text index of the compiled module against the plain twin. The input is a program of calls."""

from __future__ import annotations

import sys
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

from napcore import _text, _text_py

ALPHABETS = (
    "ab",
    "abA /!",
    "aAsSßẞſﬀﬃİıΣς",
    "汉字 \u3000/\n",
    "a\ud83d\udc00\U0001f600é /",
    "\x00\x1c\xff\u0100\uffff\U0010ffff",
)
KINDS = ("commands", "prefix", "suffix", "fullmatch", "keywords")
WHITESPACE = (False, True, " ", "\u3000", "", "  ", "a", None)
MOST_ROWS = 60


class Program:
    """The input as a source of small choices; zeros once it has ended."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 1
        self.letters = ALPHABETS[data[0] % len(ALPHABETS)] if data else "a"

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def number(self, below: int) -> int:
        """From 0 up to ``below``, which is at most 256."""
        if self.at >= len(self.data):
            return 0
        self.at += 1
        return self.data[self.at - 1] % below

    def text(self, longest: int) -> str:
        """A text; some parts come again."""
        found = ""
        for _ in range(self.number(longest + 1)):
            choice = self.number(len(self.letters) + 2)
            found += self.letters[choice] if choice < len(self.letters) else found[-3:]
        return found

    def options(self) -> dict[str, Any]:
        """Options of ``TextIndex.add``; a few choices, the rest left out."""
        found: dict[str, Any] = {}
        for kind in KINDS:
            if self.number(3) == 0:
                found[kind] = [self.text(9) or "a" for _ in range(self.number(4))]
                if self.number(32) == 31:
                    found[kind] = ("", [""], [1], [""] * 2)[self.number(4)]
        if self.number(3) == 0:
            found["command_start"] = [self.text(1) for _ in range(self.number(3))]
        if self.number(3) == 0:
            found["command_whitespace"] = WHITESPACE[self.number(len(WHITESPACE))]
        if self.number(2) == 0:
            found["ignore_case"] = self.number(2) == 0
        return found


class Pair:
    """The same calls to both."""

    def __init__(self) -> None:
        self.indexes: tuple[Any, ...] = _text.TextIndex(), _text_py.TextIndex()
        self.rows: list[int] = []

    def both(self, name: str, *arguments: Any, **options: Any) -> Any:
        """The one result or error of a method of both."""
        results = []
        for index in self.indexes:
            try:
                results.append(getattr(index, name)(*arguments, **options))
            except (KeyError, TypeError, ValueError) as error:
                results.append((type(error), str(error)))
        assert results[0] == results[1], f"{name}{arguments}{options}: {results[0]!r} != {results[1]!r}"
        return results[0]


def try_one(data: bytes) -> None:
    """One program."""
    program = Program(data)
    pair = Pair()
    while program:
        what = program.number(10)
        row = pair.rows[program.number(len(pair.rows))] if pair.rows and program.number(8) else 255
        if what < 3 and len(pair.rows) < MOST_ROWS:
            row = pair.both("add", **program.options())
            if isinstance(row, int):  # not an error
                pair.rows.append(row)
        elif what == 3:
            pair.both("replace", row, **program.options())
        elif what == 4:
            pair.both("remove", row)
            if row in pair.rows:
                pair.rows.remove(row)
        else:
            pair.both("match", program.text(40) * (20 if what == 9 else 1))
        assert len(pair.indexes[0]) == len(pair.indexes[1]) == len(pair.rows)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
