"""Who may come in through the listening port, and as what. Pure rules; the server asks them."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from napcore.core.onebot import NAME, parse_self_id

__all__ = ("Admitted", "Door", "Head", "Refused", "admit", "is_local", "shown_token")


class Head(NamedTuple):
    """What counts of a handshake's head. Its repr shows neither target nor headers: tokens are in both."""

    target: str
    """The request target, path and query."""
    headers: Mapping[str, Sequence[str]]
    """Header values by lower-case name."""

    def __repr__(self) -> str:
        return f"<Head of {len(self.headers)} headers>"


class Door(NamedTuple):
    """The rules of one listener. Its repr does not show the tokens."""

    token: str | None = None
    """The listen token; None admits without one."""
    upstream_token: str | None = None
    """What upstreams show; None is the listen token."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages that may connect, such as ``https://bots.example``."""
    secure: bool = False
    """Whether the listener speaks TLS."""

    def __repr__(self) -> str:
        return f"<Door allowed_origins={self.allowed_origins} secure={self.secure}>"


class Admitted(NamedTuple):
    """Let in."""

    role: Literal["upstream", "client"]
    self_id: int | None
    """The upstream's account, or the account a client asks for with ``?self_id=``."""
    name: str | None = None
    """The client's name; None is a per-link one."""
    events: bool = True
    """Whether the link gets events; ``/api`` does not."""
    calls: bool = True
    """Whether calls can be sent to the upstream; go-cqhttp's ``Event`` role takes none."""


class Refused(NamedTuple):
    """Turned away with an HTTP status and a text that names the cure."""

    status: int
    text: str
    retry_after: float | None = None
    """Seconds after which it may be tried again, where that helps."""
    guess: bool = False
    """Whether a token was shown that is not the one."""


def admit(door: Door, head: Head, tokens: Mapping[str, str | None]) -> Admitted | Refused:
    """Decide about one WebSocket handshake.

    ``tokens`` holds the declared clients that dial in, with their own token or None.

    Who is who: ``X-Self-ID`` makes an upstream, which shows the upstream token; a client's own
    token makes that client on any path; the listen token and ``/c/<name>`` a declared client
    without a token of its own, or an ad-hoc one; the listen token and ``/``, ``/event`` or
    ``/api`` an anonymous client.
    """
    try:
        url = urlsplit(head.target)
    except ValueError:
        return Refused(400, "the request target is malformed")
    query = parse_qs(url.query)
    refusal = _check_origin(door, head)
    if refusal is not None:
        return refusal
    shown = shown_token(head)
    if "x-self-id" in head.headers:
        return _admit_upstream(door, head, shown)
    wanted = query.get("self_id", [None])[-1]
    self_id = parse_self_id(wanted)
    if wanted is not None and self_id is None:
        return Refused(400, "self_id must be a positive integer")
    path = url.path.rstrip("/")
    owner = None
    for name, token in tokens.items():
        # Every token is compared, so that the time tells nothing about which one nearly fitted.
        if _same(shown, token):
            owner = name
    if owner is not None:
        return Admitted("client", self_id, owner, path != "/api")
    refusal = _check_token(door.token, shown)
    if refusal is not None:
        return refusal
    if path.startswith("/c/"):
        name = path[3:]
        if not NAME.fullmatch(name):
            return Refused(404, "a client's name is 1 to 64 letters, digits, '_', '.' or '-'")
        if tokens.get(name) is not None:
            return Refused(403, f"client {name!r} has a token of its own; use that one")
        return Admitted("client", self_id, name)
    if path in ("", "/event", "/api"):
        return Admitted("client", self_id, None, path != "/api")
    return Refused(404, "no such path; clients connect to /, /event, /api or /c/<name>, upstreams send X-Self-ID")


def _admit_upstream(door: Door, head: Head, shown: str | None) -> Admitted | Refused:
    values = head.headers["x-self-id"]
    self_id = parse_self_id(values[0]) if len(values) == 1 else None
    if self_id is None:
        return Refused(400, "X-Self-ID must be one positive integer")
    refusal = _check_token(door.upstream_token if door.upstream_token is not None else door.token, shown)
    if refusal is not None:
        return refusal
    role = head.headers.get("x-client-role", ("Universal",))[-1].strip().lower()
    return Admitted("upstream", self_id, events=role != "api", calls=role != "event")


def _check_token(expected: str | None, shown: str | None) -> Refused | None:
    if expected is None or _same(shown, expected):
        return None
    if shown is None:
        return Refused(401, "a token is needed: Authorization: Bearer <token>, or ?access_token=")
    return Refused(403, "wrong token", guess=True)


def shown_token(head: Head) -> str | None:
    """The token in a handshake's head, by header or query; None if it shows none."""
    for value in head.headers.get("authorization", ()):
        scheme, _, token = value.strip().partition(" ")
        # go-cqhttp says "Token", everyone else "Bearer".
        if scheme.lower() in ("bearer", "token") and token.strip():
            return token.strip()
    try:
        query = parse_qs(urlsplit(head.target).query)
    except ValueError:
        return None
    return query.get("access_token", [None])[-1] or None


def _same(shown: str | None, expected: str | None) -> bool:
    if not shown or not expected:
        return False
    return hmac.compare_digest(shown.encode(errors="surrogateescape"), expected.encode(errors="surrogateescape"))


def _check_origin(door: Door, head: Head) -> Refused | None:
    origins = head.headers.get("origin")
    if not origins:
        return None
    origin = origins[-1].strip()
    if origin in door.allowed_origins:
        return None
    host = head.headers.get("host", ("",))[-1].strip()
    if origin == f"{'https' if door.secure else 'http'}://{host}" and _own_host(host):
        return None
    return Refused(403, "pages of this Origin may not connect; list it in allowed_origins if they should")


def _own_host(host: str) -> bool:
    # A name may be pointed at this machine by anyone (DNS rebinding); an address or localhost may not.
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name != "localhost":
            ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether ``host``, an address or a name, can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
