"""Why a dial failed, in words."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from napcore.net.causes import dial_cause, status_cause


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Group(OSError):
    """What anyio raises when every address of a host failed."""

    def __init__(self, *causes: OSError) -> None:
        super().__init__("All connection attempts failed")
        self.__cause__ = ExceptionGroupOf(causes)


class ExceptionGroupOf(Exception):
    def __init__(self, exceptions: tuple[OSError, ...]) -> None:
        self.exceptions = exceptions
        super().__init__("several")


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused: nothing listens there"),
        (Group(error(errno.ENETUNREACH), error(errno.ECONNREFUSED)), "connection refused: nothing listens there"),
        (Group(error(errno.EHOSTUNREACH)), "no route to that machine"),
        (error(errno.ENETUNREACH), "no route to that network"),
        (error(errno.ETIMEDOUT), "the machine does not answer"),
        (error(errno.EACCES), "the system or a firewall forbids the connection"),
        (error(errno.EMFILE), "this process has no file descriptors left"),
        (socket.gaierror(-2, "Name or service not known"), "the name 'qq.example' cannot be resolved (DNS): Name or"),
        (error(errno.EPIPE), os.strerror(errno.EPIPE)),
        (OSError(), "OSError"),
    ],
)
def test_dial_cause(failure: OSError, words: str) -> None:
    assert dial_cause(failure, "qq.example").startswith(words)


def test_tls() -> None:
    received = ssl.MemoryBIO()
    received.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    tls = ssl.create_default_context().wrap_bio(received, ssl.MemoryBIO(), server_hostname="qq.example")
    with pytest.raises(ssl.SSLError) as failure:
        tls.do_handshake()
    assert "does not speak TLS there; is it ws:// instead of wss://?" in dial_cause(failure.value, "qq.example")
    other = ssl.SSLError(1, "x")
    assert dial_cause(other, "qq.example").startswith("TLS failed: ")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "the peer answered HTTP 401: it wants a token"),
        (403, "the peer answered HTTP 403"),
        (302, "the peer answered HTTP 302: it sends us elsewhere; give the final URL"),
        (418, "the peer answered HTTP 418"),
    ],
)
def test_status_cause(status: int, words: str) -> None:
    assert status_cause(status) == words
