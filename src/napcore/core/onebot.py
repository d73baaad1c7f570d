"""OneBot 11 as it is spoken: return codes of our own, meta events, answers.

Sources: the OneBot 11 standard (botuniverse/onebot-11: communication, api, event/meta) and
NapCat's network layer.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

__all__ = (
    "FAILURES",
    "MAX_FRAME",
    "NAME",
    "OWN_META",
    "acknowledgement",
    "check_signature",
    "encode_call",
    "failure",
    "heartbeat",
    "lifecycle",
    "parse_self_id",
    "sign",
)

MAX_FRAME: Final = 50 << 20
"""Largest frame in bytes, either way: NapCat's own limit (``maxPayload``)."""

OWN_META: Final = frozenset({"meta_event.lifecycle", "meta_event.heartbeat"})
"""Upstream events a relay answers for itself: every link gets our own."""

NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What a client's name looks like."""

FAILURES: Final[Mapping[int, tuple[str, str]]] = {
    1400: ("bad request", "请求无效"),
    1501: ("no upstream is connected for this account; the call was not sent", "该账号没有可用的上游连接，请求未发送"),
    1502: (
        "the upstream link was lost after the call was written; the outcome is unknown",
        "请求写出后上游连接断开，结果未知",
    ),
    1503: ("too many calls; the call was not sent", "请求过多，请求未发送"),
    1504: ("no answer in time; the outcome is unknown", "等待上游应答超时，结果未知"),
    1505: ("the call is too large; it was not sent", "请求过大，未发送"),
}
"""Retcodes of our own: English ``message`` and Chinese ``wording``."""

_SELF_ID = re.compile(r"[1-9][0-9]{0,18}")


def failure(retcode: int, echo: bytes | None, detail: str = "", why: str = "") -> bytes:
    """A failure answer of our own; ``echo`` is raw JSON, None leaves it out.

    ``detail`` is appended to the English text, ``why`` to the Chinese one.
    """
    message, wording = FAILURES[retcode]
    text = f"{message}: {detail}" if detail else message
    wording = f"{wording}：{why}" if why else wording
    body = orjson.dumps({"status": "failed", "retcode": retcode, "data": None, "message": text, "wording": wording})
    return _with_echo(body, echo)


def acknowledgement(echo: bytes | None) -> bytes:
    """The answer at once to a call nobody waits for (OneBot 11, api); ``echo`` is raw JSON, None leaves it out."""
    return _with_echo(orjson.dumps({"status": "async", "retcode": 1, "data": None}), echo)


def _with_echo(body: bytes, echo: bytes | None) -> bytes:
    return body if echo is None else b"".join((body[:-1], b',"echo":', echo, b"}"))


def lifecycle(self_id: int, time: int) -> bytes:
    """The first event on every link; forward clients ignore everything before it. ``time`` in Unix seconds."""
    return orjson.dumps(
        {
            "time": time,
            "self_id": self_id,
            "post_type": "meta_event",
            "meta_event_type": "lifecycle",
            "sub_type": "connect",
        }
    )


def heartbeat(self_id: int, time: int, interval: float, online: bool) -> bytes:
    """A heartbeat event; ``interval`` in seconds (milliseconds on the wire), ``online`` = the upstream is there."""
    return orjson.dumps(
        {
            "time": time,
            "self_id": self_id,
            "post_type": "meta_event",
            "meta_event_type": "heartbeat",
            "status": {"online": online, "good": online},
            "interval": round(interval * 1000),
        }
    )


def encode_call(action: str, params: Mapping[str, Any] | None) -> bytes:
    """An API request without an echo.

    What orjson refuses and JSON can carry is encoded all the same: lone surrogates, which events may
    bring and bots repeat, integers beyond 64 bits, and keys that are no strings.

    Raises:
        TypeError: ``params`` holds what JSON cannot carry.
    """
    request = {"action": action, "params": dict(params) if params else {}}
    try:
        return orjson.dumps(request)
    except TypeError:
        return json.dumps(request, separators=(",", ":")).encode()


def parse_self_id(text: str | None) -> int | None:
    """The account in an ``X-Self-ID`` header or a ``self_id`` query; None if it is not a positive int64."""
    if text is None or not _SELF_ID.fullmatch(text.strip()):
        return None
    value = int(text)
    return value if value < 1 << 63 else None


def sign(secret: str, body: bytes) -> str:
    """The ``X-Signature`` of an HTTP body: ``sha1=`` and its HMAC in hexadecimal.

    Source: OneBot 11, communication/http-post. SHA-1 is what the standard names; as an HMAC it
    still proves that whoever made it knew ``secret``.
    """
    return "sha1=" + hmac.digest(secret.encode(), body, hashlib.sha1).hex()


def check_signature(secret: str, body: bytes, shown: str | None) -> bool:
    """Whether ``shown``, an ``X-Signature`` header, is that of ``body``; takes as long for any wrong one.

    ``body`` are the bytes as they were received: a decoded and encoded body has another signature.
    """
    if shown is None:
        return False
    return hmac.compare_digest(shown.strip().encode(errors="surrogateescape"), sign(secret, body).encode())
