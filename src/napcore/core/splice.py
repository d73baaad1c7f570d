"""Other echoes and actions in the bytes of requests and answers. Params and data are never decoded."""

from __future__ import annotations

from typing import Final

from napcore.dispatch import Request, Response, peek_request
from napcore.errors import BadEvent

__all__ = ("more_follow", "replace_echo", "restore_echo", "split_suffix")

SUFFIXES: Final = ("_async", "_rate_limited")
"""Endings of actions with a meaning of their own (OneBot 11, api)."""

_TRIES: Final = 4
"""Places looked at for the name of an action: more than that are put there to cost time."""

_WHITE: Final = b" \t\r\n"
_COMMA: Final = ord(",")


def replace_echo(request: Request, echo: bytes) -> tuple[bytes | memoryview, ...]:
    """The request with ``echo`` (raw JSON) in place of its own, or added where it has none.

    In parts, of which the long ones are views of the request's own bytes: nothing is copied.
    """
    view = memoryview(request.raw)
    span = request.echo_span
    if span is not None:
        return view[: span[0]], echo, view[span[1] :]
    start = request.raw.index(b"{") + 1
    return view[:start], b'"echo":', echo, b",", view[start:]


def split_suffix(request: Request) -> tuple[Request, str]:
    """The request for the action itself, and ``_async`` or ``_rate_limited`` if its name ended so.

    (OneBot 11, api: "asynchronous calls", "rate-limited calls".) Where the name is written so
    that it cannot be cut without reading the whole again, it stays as it is.
    """
    for suffix in SUFFIXES:
        if request.action.endswith(suffix) and request.action != suffix:
            return _shortened(request, suffix), suffix
    return request, ""


def _shortened(request: Request, suffix: str) -> Request:
    raw, name = request.raw, b'"' + request.action.encode(errors="surrogatepass") + b'"'
    start, stop = request.params_span or (0, 0)
    at = -1
    for _ in range(_TRIES):
        at = raw.find(name, at + 1)
        if start <= at < stop:
            at = raw.find(name, stop)
        if at < 0:
            break
        end = at + len(name) - 1
        try:
            found = peek_request(raw[: end - len(suffix)] + raw[end:])
        except BadEvent:
            break
        # The same bytes may stand elsewhere too, in an echo for one.
        if found.action + suffix == request.action:
            return found
    return request


def restore_echo(response: Response, echo: bytes | None) -> bytes:
    """The answer's bytes with the asker's ``echo``; None takes the member out again."""
    raw = response.raw
    span, member = response.echo_span, response.echo_member
    if span is None or member is None:
        return raw
    view = memoryview(raw)
    if echo is not None:
        return b"".join((view[: span[0]], echo, view[span[1] :]))
    start, end = member
    after = end
    while raw[after] in _WHITE:
        after += 1
    if raw[after] == _COMMA:
        return b"".join((view[:start], view[after + 1 :]))
    before = start - 1
    while raw[before] in _WHITE:
        before -= 1
    if raw[before] == _COMMA:
        start = before
    return b"".join((view[:start], view[end:]))


def more_follow(response: Response) -> bool:
    """Whether this is a frame of a stream answer, and not its last (NapCat's ``stream-action``)."""
    if response.stream != "stream-action" or response.status == "failed":
        return False
    data = response.data.get("data")
    return isinstance(data, dict) and data.get("type") in ("stream", "reset")
