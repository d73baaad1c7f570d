"""Where a key of a TOML file stands."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ("locate_keys",)

_SPACE: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")
_ESCAPE: Final = re.compile(r'\\(?:u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|["\\btnfr])')
_SIMPLE: Final = {'\\"': '"', "\\\\": "\\", "\\b": "\b", "\\t": "\t", "\\n": "\n", "\\f": "\f", "\\r": "\r"}


def locate_keys(text: str) -> dict[str, int]:
    """The line, counted from 1, of every key and list member: ``client[0].queue.max_bytes``, ``client[0].groups[2]``.

    Tables stand where their header does, or where the first key that implies them does.
    ``text`` must be valid TOML.
    """
    scan = _Scan(text)
    scan.document()
    return scan.lines


class _Scan:
    """A walk over valid TOML that remembers places and forgets values."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines: dict[str, int] = {}
        self._at = 0
        self._line = 1
        self._counted = 0
        self._lengths: dict[str, int] = {}

    def document(self) -> None:
        table = ""
        while self._next() is not None:
            if self.text.startswith("[[", self._at):
                table = self._header(2)
            elif self.text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _next(self) -> str | None:
        # To the next character that is neither space nor comment.
        match = _SPACE.match(self.text, self._at)
        assert match is not None
        self._at = match.end()
        return self.text[self._at] if self._at < len(self.text) else None

    def _here(self) -> int:
        self._line += self.text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _note(self, path: str) -> str:
        self.lines.setdefault(path, self._here())
        return path

    def _header(self, brackets: int) -> str:
        self._at += brackets
        path = ""
        keys = self._keys()
        for number, key in enumerate(keys, 1):
            path = _join(path, key)
            if brackets == 2 and number == len(keys):
                length = self._lengths.get(path, 0)
                self._lengths[path] = length + 1
                self._note(path)
                path = f"{path}[{length}]"
            elif path in self._lengths:
                # A table below a list of tables belongs to the list's last member.
                path = f"{path}[{self._lengths[path] - 1}]"
            self._note(path)
        self._at += brackets
        return path

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._next()
            if self.text[self._at] in "\"'":
                keys.append(self._string())
            else:
                match = _BARE.match(self.text, self._at)
                assert match is not None
                keys.append(match[0])
                self._at = match.end()
            if self._next() != ".":
                return keys
            self._at += 1

    def _pair(self, table: str) -> None:
        path = table
        line = self._here()
        for key in self._keys():
            path = _join(path, key)
            self.lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: str) -> None:
        start = self._next()
        if start == "[":
            self._at += 1
            index = 0
            while self._next() != "]":
                self._value(self._note(f"{path}[{index}]"))
                index += 1
                self._comma()
            self._at += 1
        elif start == "{":
            self._at += 1
            while self._next() != "}":
                self._pair(path)
                self._comma()
            self._at += 1
        elif start in ('"', "'"):
            self._string()
        else:
            match = _SCALAR.match(self.text, self._at)
            assert match is not None
            self._at = match.end()

    def _comma(self) -> None:
        if self._next() == ",":
            self._at += 1

    def _string(self) -> str:
        text, quote = self.text, self.text[self._at]
        fence = quote * 3 if text.startswith(quote * 3, self._at) else quote
        start = at = self._at + len(fence)
        while not text.startswith(fence, at):
            at += 2 if quote == '"' and text[at] == "\\" else 1
        while len(fence) == 3 and text.startswith(quote, at + 3):
            # Up to two quotes may stand in front of the closing three.
            at += 1
        self._at = at + len(fence)
        return text[start:at] if quote == "'" else _ESCAPE.sub(_unescape, text[start:at])


def _unescape(match: re.Match[str]) -> Any:
    return _SIMPLE.get(match[0]) or chr(int(match[0][2:], 16))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
