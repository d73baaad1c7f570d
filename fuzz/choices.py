"""Bytes of a fuzzer read as choices: of documents, paths and expressions that come close to meaning something."""

from __future__ import annotations

from typing import Any

KEYS = ("a", "b", "ab", "", "0", "1", "#", "a.b", "a*", "*", "a\\", "\u6c49", "@a", "|")
TEXTS = ("", "0", "1", "a", "ab", "true", "null", "\u6c49", "1.5", "[]", "\ufffd", "\ud83d")
NUMBERS = (0, 1, -1, 1.0, 1.5, -0.0, 1e22, 1e-7, 5e-324, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, 10**400, float("inf"))
PIECES = (*"aab01##**??\\\\........|@[{!(", "ab", "\u6c49", "\\.", "\\*", "\\#")
OPERATORS = (".not", ".and", ".or", ".eq", ".neq", ".in", ".contains", ".regex", ".nor", ".", "")
PATTERNS = ("^a", "a|b", "", "[0-9]$", "\u6c49", "(", "(?=a)", "\ufffd")


class Choices:
    """What is left of the bytes; when they end, everything chosen is the first of its kind."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, below: int) -> int:
        """A number from 0 on."""
        if self.at >= len(self.data):
            return 0
        self.at += 1
        return self.data[self.at - 1] % below

    def one(self, of: tuple[Any, ...]) -> Any:
        """One of them."""
        return of[self.number(len(of))]

    def path(self) -> str:
        """A path, often one that is refused."""
        return "".join(self.one(PIECES) for _ in range(self.number(9)))

    def value(self, depth: int = 3) -> Any:
        """What a document can hold."""
        kind = self.number(6 if depth else 4)
        if kind == 0:
            return self.one((None, True, False))
        if kind == 1:
            return self.one(TEXTS)
        if kind == 2:
            return self.one(NUMBERS)
        if kind == 3:
            return self.one((0, 1, "a", "ab"))
        if kind == 4:
            return [self.value(depth - 1) for _ in range(self.number(4))]
        return self.object(depth - 1)

    def object(self, depth: int = 3) -> dict[str, Any]:
        """An object of such values."""
        return {self.one(KEYS): self.value(depth) for _ in range(self.number(5))}

    def rules(self, depth: int = 4) -> dict[str, Any]:
        """An expression, often with a mistake in it."""
        return dict(self.rule(depth) for _ in range(self.number(4)))

    def rule(self, depth: int) -> tuple[str, Any]:
        """One entry of an expression."""
        kind = self.number(8)
        inner = self.rules if depth else self.value
        if kind < 3:
            return self.one((self.path, lambda: self.one(KEYS)))(), inner(depth - 1) if depth else self.value(1)
        if kind == 3:
            return ".or", [inner(depth - 1) if depth else {} for _ in range(self.number(4))]
        if kind == 4:
            return self.one((".not", ".and")), inner(depth - 1) if depth else {}
        if kind == 5:
            return ".regex", self.one(PATTERNS)
        return self.one(OPERATORS), self.value(2)
