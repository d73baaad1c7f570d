"""Why a dial brought no link, in words that name the cure."""

from __future__ import annotations

import errno
import socket
import ssl

__all__ = ("dial_cause", "status_cause")

_STATUSES = {
    400: "it is no OneBot endpoint, or wants other headers",
    401: "it wants a token",
    403: "",
    404: "nothing is at that path",
    405: "it takes no WebSocket at that path",
    426: "it wants another protocol",
    429: "it has been asked too often",
    503: "it is busy or starting",
}

_ERRNOS = {
    errno.ENETUNREACH: "no route to that network",
    errno.EHOSTUNREACH: "no route to that machine",
    errno.ETIMEDOUT: "the machine does not answer",
    errno.ECONNRESET: "the peer reset the connection",
    errno.EADDRNOTAVAIL: "no free local port or address for the connection",
    errno.EMFILE: "this process has no file descriptors left",
    errno.EACCES: "the system or a firewall forbids the connection",
    errno.EPERM: "the system or a firewall forbids the connection",
}


def status_cause(status: int) -> str:
    """What an HTTP status in answer to a WebSocket handshake means."""
    meaning = _STATUSES.get(status, "")
    if not meaning and 300 <= status < 400:
        meaning = "it sends us elsewhere; give the final URL"
    return f"the peer answered HTTP {status}{': ' if meaning else ''}{meaning}"


def dial_cause(error: OSError, host: str) -> str:
    """What kept a connection to ``host`` from being made."""
    if isinstance(error, ssl.SSLError):
        return _tls_cause(error)
    # anyio wraps the failures of several addresses in one OSError.
    causes = getattr(error.__cause__, "exceptions", None) or (error.__cause__, error)
    for cause in causes:
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused: nothing listens there"
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return f"the name {host!r} cannot be resolved (DNS): {cause.strerror}"
        if isinstance(cause, OSError) and cause.errno in _ERRNOS:
            return _ERRNOS[cause.errno]
    return error.strerror or str(error) or type(error).__name__


def _tls_cause(error: ssl.SSLError) -> str:
    reason = getattr(error, "reason", None) or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS failed: the certificate is not accepted ({error.verify_message or reason})"
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return f"TLS failed: the peer does not speak TLS there; is it ws:// instead of wss://? ({reason})"
    return f"TLS failed: {reason}"
