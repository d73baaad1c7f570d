"""Plain twin, first part: from received bytes to an event, a response or a request."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sized
from hmac import digest
from typing import Any, Final, NoReturn, TypeAlias, TypeVar, final

import orjson

from napcore._json_py import Member, decode, identifier, integer, scan, scan_object, string
from napcore._message_py import plain_text
from napcore.errors import BadEvent
from napcore.types import EventClass

__all__ = (
    "Buffer",
    "Event",
    "Request",
    "Response",
    "peek",
    "peek_batch",
    "peek_frame",
    "peek_request",
    "with_bytes",
)

Buffer: TypeAlias = bytes | bytearray | memoryview | str
"""What can be peeked. bytes are kept as they are, the others are copied once (str as UTF-8)."""

_CLASSES: Final = {
    "message": EventClass.MESSAGE,
    "message_sent": EventClass.MESSAGE,
    "notice": EventClass.NOTICE,
    "request": EventClass.REQUEST,
}

_Made = TypeVar("_Made", bound="_Document")


class _Document:
    """Proved bytes and what was read from them; made by the peek functions only, immutable."""

    __slots__ = ("_data", "raw")

    raw: bytes
    """The received bytes, exactly."""
    _data: dict[str, Any]

    def __new__(cls) -> _Document:
        raise TypeError(f"cannot create {cls.__name__!r} instances, they come from peek functions")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"attribute {name!r} of {type(self).__name__!r} objects is not writable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"attribute {name!r} of {type(self).__name__!r} objects is not writable")

    @property
    def data(self) -> dict[str, Any]:
        """The decoded object, decoded at the first use and shared by all who ask: do not change it."""
        try:
            return self._data
        except AttributeError:
            object.__setattr__(self, "_data", self.json())
            return self._data

    def json(self) -> dict[str, Any]:
        """Decode afresh: a dict of the caller's own."""
        decoded: dict[str, Any] = decode(self.raw)
        return decoded


@final
class Event(_Document):
    """One OneBot event: its bytes and its head, the fields that routing needs.

    A head field is None when it is missing or not of its type. Ids are integers within int64,
    written as such or as a string of digits; 0 is None. Events are equal when their bytes are.
    """

    __slots__ = (
        *("_plain", "_signatures", "event_class", "group_id", "kind", "message_id", "post_type", "self_id", "sub_type"),
        *("time", "user_id"),
    )

    post_type: str | None
    """``message``, ``message_sent``, ``notice``, ``request``, ``meta_event`` or what else was sent."""
    kind: str | None
    """``post_type`` and the second-level type, such as ``message.group``; ``post_type`` alone without one."""
    sub_type: str | None
    """As sent."""
    self_id: int | None
    """The account that reports."""
    group_id: int | None
    """The group, also of a temporary session."""
    user_id: int | None
    """The sender, or whom the event is about."""
    message_id: int | None
    """The message, when it has a number."""
    time: int | None
    """As sent, mostly in seconds since 1970."""
    event_class: int
    """The ``EventClass``, which decides the lifetime in an outbox."""

    _plain: str
    _signatures: dict[bytes, str]

    @property
    def text(self) -> str:
        """The plain text of a message (``plain_text``), made at the first use; ``""`` for other events."""
        if self.event_class != EventClass.MESSAGE:
            return ""
        try:
            return self._plain
        except AttributeError:
            object.__setattr__(self, "_plain", plain_text(self.data.get("message")))
            return self._plain

    def signature(self, secret: bytes, /) -> str:
        """The ``X-Signature`` of a POST whose body is ``raw`` (OneBot 11, communication/http-post).

        HMAC-SHA1 with ``secret``, computed once per secret.

        Raises:
            TypeError: ``secret`` is not bytes.
        """
        if not isinstance(secret, bytes):
            raise TypeError(f"expected bytes, not {type(secret).__name__}")
        try:
            signatures = self._signatures
        except AttributeError:
            signatures = {}
            object.__setattr__(self, "_signatures", signatures)
        if secret not in signatures:
            signatures[secret] = "sha1=" + digest(secret, self.raw, "sha1").hex()
        return signatures[secret]

    def __eq__(self, other: object, /) -> bool:
        return self.raw == other.raw if isinstance(other, Event) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return (
            f"<Event {self.kind} self_id={self.self_id} group_id={self.group_id} user_id={self.user_id}"
            f" message_id={self.message_id} size={len(self.raw)}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return peek, (self.raw,)

    @staticmethod
    def from_dict(data: dict[str, Any], /) -> Event:
        """Encode ``data`` once and peek it, for publishers in the same process.

        Raises:
            TypeError: orjson cannot encode it.
            BadEvent: it has no ``post_type``.
        """
        return peek(orjson.dumps(data))


@final
class Response(_Document):
    """One frame that is no event: the answer to an API call."""

    __slots__ = ("echo", "echo_member", "echo_span", "retcode", "status", "stream")

    status: str | None
    """``ok``, ``async`` or ``failed``."""
    retcode: int | None
    """The integer code; 0 is success."""
    stream: str | None
    """NapCat's mark of answers that come in several frames."""
    echo: bytes | None
    """The JSON value of ``echo``, byte for byte; None when there is none (``null`` is ``b"null"``)."""
    echo_span: tuple[int, int] | None
    """Start and end of that value in ``raw``."""
    echo_member: tuple[int, int] | None
    """Start of the key's opening quote and end of the value in ``raw``."""

    def __repr__(self) -> str:
        return f"<Response {self.status} retcode={self.retcode} size={len(self.raw)}>"


@final
class Request(_Document):
    """One API request of a client."""

    __slots__ = ("action", "echo", "echo_span", "group_id", "message_type", "params_span", "self_id", "user_id")

    action: str
    """The API to call."""
    echo: bytes | None
    """The JSON value of ``echo``, byte for byte; None when there is none."""
    echo_span: tuple[int, int] | None
    """Start and end of that value in ``raw``."""
    params_span: tuple[int, int] | None
    """Start and end of the value of ``params`` in ``raw``, of any type."""
    group_id: int | None
    """``params.group_id``."""
    user_id: int | None
    """``params.user_id``."""
    self_id: int | None
    """``params.self_id``."""
    message_type: str | None
    """``params.message_type``."""

    def __repr__(self) -> str:
        return f"<Request {self.action} size={len(self.raw)}>"


def with_bytes(event: Event, raw: bytes) -> Event:
    """The same head over other bytes, in which it stands as well."""
    return _make(Event, **{name: getattr(event, name) for name in _HEAD}, raw=raw)


def peek(data: Buffer, /) -> Event:
    """Prove that ``data`` is one JSON object and an event, and read its head.

    Raises:
        BadEvent: it is not; an API response is ``not an event`` here.
        TypeError: ``data`` is of no such type.
    """
    found = peek_frame(data)
    if isinstance(found, Event):
        return found
    raise BadEvent("not an event", 0)


def peek_frame(data: Buffer, /) -> Event | Response:
    """Prove that ``data`` is one JSON object; with a ``post_type`` it is an event, else a response.

    Raises:
        BadEvent: it is no JSON object.
        TypeError: ``data`` is of no such type.
    """
    raw = _as_bytes(data)
    members = scan(raw)
    if "post_type" not in members:
        status, stream = (_string(raw, members, key) for key in ("status", "stream"))
        retcode = integer(raw, members["retcode"].start, members["retcode"].end) if "retcode" in members else None
        echo, echo_span, echo_member = _echo(raw, members)
        return _make(
            Response,
            raw=raw,
            status=status,
            retcode=retcode,
            stream=stream,
            echo=echo,
            echo_span=echo_span,
            echo_member=echo_member,
        )
    post_type = _string(raw, members, "post_type")
    return _make(
        Event,
        raw=raw,
        post_type=post_type,
        kind=_kind(raw, members, post_type),
        sub_type=_string(raw, members, "sub_type"),
        self_id=_identifier(raw, members, "self_id"),
        group_id=_identifier(raw, members, "group_id"),
        user_id=_identifier(raw, members, "user_id"),
        message_id=_identifier(raw, members, "message_id"),
        time=_identifier(raw, members, "time"),
        event_class=_CLASSES.get(post_type or "", EventClass.META).value,
    )


def peek_batch(
    known: Container[int],
    telling: Container[str | None],
    doubts: Iterable[Sized],
    other: Callable[[Event | Response | BadEvent], object],
    messages: list[bytes],
    /,
) -> list[Event]:
    """``peek_frame`` for messages that came together: the events among them that are to be routed.

    Most are, just as they are: those of an account in ``known``, of a kind that is not in
    ``telling``, as long as all ``doubts`` are empty. ``other`` is called with each of the others in
    turn, a BadEvent where a message is none, and says whether it is to be routed too; what it changes
    holds for what follows.
    """
    in_doubt = tuple(doubts)
    events: list[Event] = []
    for message in messages:
        item: Event | Response | BadEvent
        try:
            item = peek_frame(message)
        except BadEvent as error:
            item = error
        plain = isinstance(item, Event) and item.self_id in known and item.kind not in telling
        if (plain and not any(map(len, in_doubt))) or other(item):
            events.append(item)  # type: ignore[arg-type]
    return events


def peek_request(data: Buffer, /) -> Request:
    """Prove that ``data`` is one JSON object with an ``action``, and read what forwarding needs.

    Raises:
        BadEvent: it is not; without an ``action`` that is a string it is ``not a request``.
        TypeError: ``data`` is of no such type.
    """
    raw = _as_bytes(data)
    members = scan(raw)
    action = _string(raw, members, "action")
    if action is None:
        raise BadEvent("not a request", 0)
    params = members.get("params")
    inner = scan_object(raw, params.start)[0] if params and raw[params.start] == ord("{") else {}
    echo, echo_span, _ = _echo(raw, members)
    return _make(
        Request,
        raw=raw,
        action=action,
        echo=echo,
        echo_span=echo_span,
        params_span=(params.start, params.end) if params else None,
        group_id=_identifier(raw, inner, "group_id"),
        user_id=_identifier(raw, inner, "user_id"),
        self_id=_identifier(raw, inner, "self_id"),
        message_type=_string(raw, inner, "message_type"),
    )


_HEAD: Final = tuple(name for name in Event.__slots__ if not name.startswith("_"))


def _as_bytes(data: Buffer) -> bytes:
    if type(data) is bytes:
        return data
    if isinstance(data, str):
        # A lone surrogate goes through, to fail as invalid UTF-8 at its place in the bytes.
        return str.encode(data, "utf-8", "surrogatepass")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return memoryview(data).tobytes()
    raise TypeError(f"expected bytes, bytearray, memoryview or str, not {type(data).__name__}")


def _make(cls: type[_Made], **fields: object) -> _Made:
    made = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def _string(raw: bytes, members: dict[str, Member], key: str) -> str | None:
    member = members.get(key)
    return string(raw, member.start, member.end) if member and raw[member.start] == ord('"') else None


def _identifier(raw: bytes, members: dict[str, Member], key: str) -> int | None:
    member = members.get(key)
    return identifier(raw, member.start, member.end) if member else None


def _kind(raw: bytes, members: dict[str, Member], post_type: str | None) -> str | None:
    if post_type is None:
        return None
    second = _string(raw, members, "message_type" if post_type == "message_sent" else f"{post_type}_type")
    return post_type if second is None else f"{post_type}.{second}"


def _echo(
    raw: bytes, members: dict[str, Member]
) -> tuple[bytes | None, tuple[int, int] | None, tuple[int, int] | None]:
    member = members.get("echo")
    if member is None:
        return None, None, None
    return raw[member.start : member.end], (member.start, member.end), (member.key, member.end)
