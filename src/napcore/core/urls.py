"""URLs and tokens in a configuration: whether they can be right."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from napcore.errors import ConfigProblem

__all__ = ("check_strong", "check_token", "check_url", "public_url")

MIN_TOKEN: Final = 16
"""Characters a token needs where other machines can reach the listener."""


def public_url(url: str) -> str:
    """``url`` without user, password and query, fit for messages."""
    try:
        parts = urlsplit(url)
        query = "***" if parts.query else ""
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))
    except ValueError:
        return "***"


def check_url(url: str, key: str) -> list[ConfigProblem]:
    """What keeps ``url`` from being one of a WebSocket."""
    suggestion = None
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        right = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0 and not parts.fragment
        if parts.scheme in ("http", "https"):
            suggestion = public_url("ws" + url[4:])
    except ValueError:
        right = False
    if right and not re.search(r"\s", url):
        return []
    return [ConfigProblem(None, None, key, f"must be a ws:// or wss:// URL, not {public_url(url)!r}", suggestion)]


def check_token(token: str | None, key: str) -> list[ConfigProblem]:
    """What keeps ``token`` from being shown in a header."""
    if token is None or (token and token.isprintable() and token.isascii() and not re.search(r"\s", token)):
        return []
    text = "must be printable ASCII without spaces" if token else "is empty, which is no token; leave it out or set one"
    return [ConfigProblem(None, None, key, text)]


def check_strong(token: str | None, key: str) -> list[ConfigProblem]:
    """What makes ``token`` too weak for a port that other machines can reach."""
    if token is not None and len(token) >= MIN_TOKEN:
        return []
    text = f"other machines can reach this listener: it needs {MIN_TOKEN} characters or more, or allow_anonymous = true"
    return [ConfigProblem(None, None, key, text)]
