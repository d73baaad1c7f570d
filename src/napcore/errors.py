"""Every exception napcore raises on purpose.

::

    NapcoreError                  .code
    |- ConfigError(ValueError)    .errors
    |- BadEvent(ValueError)       .offset .reason
    |- ConnectionClosed           .close_code .reason
    |- ConnectFailed(ConnectionError)    .url .cause .refused
    `- CallError                  .action .sent
       |- ActionFailed            .retcode .message .wording .data   sent = "yes"
       |- NotSent                 safe to retry                      sent = "no"
       |- CallTimeout(TimeoutError)                                  sent = "unknown"
       |- OutcomeUnknown          the link was lost after writing    sent = "unknown"
       `- AmbiguousAccount        no account, or several             sent = "no"

``code`` is stable across releases and languages (``NC101``); it is never a WebSocket close
code or a OneBot retcode. Texts are English and may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

__all__ = (
    "ActionFailed",
    "AmbiguousAccount",
    "BadEvent",
    "CallError",
    "CallTimeout",
    "ConfigError",
    "ConfigProblem",
    "ConnectFailed",
    "ConnectionClosed",
    "NapcoreError",
    "NotSent",
    "OutcomeUnknown",
)

Sent = Literal["no", "yes", "unknown"]


class NapcoreError(Exception):
    """Base of every napcore exception."""

    code: ClassVar[str] = "NC000"


class ConfigProblem(NamedTuple):
    """One mistake in a configuration."""

    file: str | None
    """Path of the file, None for a value given in Python."""
    line: int | None
    """Line in that file, counted from 1."""
    key: str
    """Dotted key or parameter name, such as ``client[1].queue.max_events``."""
    message: str
    """What is wrong and what to do."""
    suggestion: str | None = None
    """The nearest right key or value, if one is near."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        hint = f" (did you mean {self.suggestion!r}?)" if self.suggestion else ""
        return f"{where}{self.key}: {self.message}{hint}" if self.key else f"{where}{self.message}{hint}"


class ConfigError(NapcoreError, ValueError):
    """A setting is wrong. ``errors`` lists every mistake found, not only the first."""

    code = "NC101"

    def __init__(self, errors: Sequence[ConfigProblem] | str, key: str = "", suggestion: str | None = None) -> None:
        if isinstance(errors, str):
            errors = [ConfigProblem(None, None, key, errors, suggestion)]
        self.errors: list[ConfigProblem] = list(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class BadEvent(NapcoreError, ValueError):
    """Bytes that are not what was asked for: not JSON, not an object, or not an event.

    ``offset`` is the length in bytes of the longest prefix that some accepted document starts
    with (the length of the data when the input merely ends). ``reason`` is one of ``not an
    object``, ``byte order mark``, ``unexpected end of data``, ``unexpected byte``, ``invalid
    escape``, ``control character in string``, ``invalid UTF-8``, ``nesting too deep``,
    ``trailing data``, ``not an event`` and ``not a request``.
    """

    code = "NC201"

    def __init__(self, reason: str, offset: int) -> None:
        self.reason = reason
        self.offset = offset
        super().__init__(f"{reason} at byte {offset}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.offset)


class ConnectionClosed(NapcoreError):
    """The link, listener or relay is gone. ``close_code`` is the WebSocket close code (RFC 6455, 7.4)."""

    code = "NC301"

    def __init__(self, close_code: int, reason: str = "") -> None:
        self.close_code = close_code
        self.reason = reason
        super().__init__(f"closed with {close_code}{': ' + reason if reason else ''}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.close_code, self.reason)


class ConnectFailed(NapcoreError, ConnectionError):
    """There was no first link. ``cause`` says why, in words, and ``url`` to where, without secrets.

    ``refused`` is whether the token was refused, so that trying again is of no use.
    """

    code = "NC302"

    def __init__(self, url: str, cause: str, refused: bool = False) -> None:
        self.url = url
        self.cause = cause
        self.refused = refused
        super().__init__(f"{url}: {cause}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self.cause, self.refused)


class CallError(NapcoreError):
    """An API call that brought no answer's data. ``sent`` says whether the upstream got it."""

    code = "NC400"
    sent: Sent = "unknown"

    def __init__(self, action: str, text: str) -> None:
        self.action = action
        super().__init__(f"{action}: {text}")
        self._text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.action, self._text)


class ActionFailed(CallError):
    """The upstream answered ``status: failed``. ``data`` is the answer's data, mostly None."""

    code = "NC401"
    sent = "yes"

    def __init__(
        self, action: str, retcode: int | None, message: str = "", wording: str = "", data: Any = None
    ) -> None:
        self.retcode = retcode
        self.message = message
        self.wording = wording
        self.data = data
        super().__init__(
            action, f"failed with retcode {retcode}{': ' + (message or wording) if message or wording else ''}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.action, self.retcode, self.message, self.wording, self.data)


class NotSent(CallError):
    """The call never left; trying again is safe."""

    code = "NC402"
    sent = "no"


class CallTimeout(CallError, TimeoutError):
    """No answer in time. The action may have been carried out; do not repeat a send blindly."""

    code = "NC403"
    sent = "unknown"


class OutcomeUnknown(CallError):
    """The link was lost after the call was written (retcode 1502)."""

    code = "NC404"
    sent = "unknown"


class AmbiguousAccount(CallError):
    """No account is connected, or several are and the call names none (retcode 1400)."""

    code = "NC405"
    sent = "no"
