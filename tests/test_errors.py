"""The exceptions: their tree, codes, texts, and that they survive pickling."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import napcore
from napcore import (
    ActionFailed,
    AmbiguousAccount,
    BadEvent,
    CallError,
    CallTimeout,
    ConfigError,
    ConfigProblem,
    ConnectFailed,
    ConnectionClosed,
    NapcoreError,
    NotSent,
    OutcomeUnknown,
    errors,
)

TREE = {
    NapcoreError: (Exception, "NC000"),
    ConfigError: ((NapcoreError, ValueError), "NC101"),
    BadEvent: ((NapcoreError, ValueError), "NC201"),
    ConnectionClosed: (NapcoreError, "NC301"),
    ConnectFailed: ((NapcoreError, ConnectionError), "NC302"),
    CallError: (NapcoreError, "NC400"),
    ActionFailed: (CallError, "NC401"),
    NotSent: (CallError, "NC402"),
    CallTimeout: ((CallError, TimeoutError), "NC403"),
    OutcomeUnknown: (CallError, "NC404"),
    AmbiguousAccount: (CallError, "NC405"),
}
"""Every exception, its bases and its code; codes never change."""

PROBLEM = ConfigProblem("napcore.toml", 3, "client[1].groups", "must be a list", "groups")

SAMPLES: list[tuple[NapcoreError, str]] = [
    (NapcoreError("something"), "something"),
    (
        ConfigError([PROBLEM, ConfigProblem(None, None, "max_events", "must be greater than 0, not 0")]),
        "napcore.toml:3: client[1].groups: must be a list (did you mean 'groups'?)\n"
        "max_events: must be greater than 0, not 0",
    ),
    (ConfigError("the port is in use"), "the port is in use"),
    (ConfigError("unknown key", key="gruops", suggestion="groups"), "gruops: unknown key (did you mean 'groups'?)"),
    (BadEvent("unexpected end of data", 5), "unexpected end of data at byte 5"),
    (ConnectionClosed(1001, "the relay was closed"), "closed with 1001: the relay was closed"),
    (ConnectionClosed(1006), "closed with 1006"),
    (ConnectFailed("ws://127.0.0.1:3001", "it wants a token", True), "ws://127.0.0.1:3001: it wants a token"),
    (CallError("get_msg", "something"), "get_msg: something"),
    (
        ActionFailed("send_msg", 1200, "Timeout", "超时", {"a": [1]}),
        "send_msg: failed with retcode 1200: Timeout",
    ),
    (ActionFailed("send_msg", 1404, "", "不支持的Api"), "send_msg: failed with retcode 1404: 不支持的Api"),
    (ActionFailed("send_msg", None), "send_msg: failed with retcode None"),
    (NotSent("send_msg", "no upstream"), "send_msg: no upstream"),
    (CallTimeout("send_msg", "no answer within 30 s"), "send_msg: no answer within 30 s"),
    (OutcomeUnknown("send_msg", "the link was lost"), "send_msg: the link was lost"),
    (AmbiguousAccount("send_msg", "which account?"), "send_msg: which account?"),
]
IDS = [type(error).__name__ for error, _ in SAMPLES]

COPIES = [
    *(lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol)) for protocol in range(6)),
    copy.copy,
    copy.deepcopy,
]


def test_the_tree_is_whole() -> None:
    assert {getattr(errors, name) for name in errors.__all__} == {*TREE, ConfigProblem}
    assert {type(error) for error, _ in SAMPLES} == set(TREE)
    assert {name for name in napcore.__all__ if name in errors.__all__} == set(errors.__all__)


@pytest.mark.parametrize("kind", TREE)
def test_the_tree(kind: type[NapcoreError]) -> None:
    bases, code = TREE[kind]
    assert kind.__bases__ == (bases if isinstance(bases, tuple) else (bases,))
    assert kind.code == code
    assert kind.__module__ == "napcore.errors"
    assert f"{kind.__name__}" in (errors.__doc__ or "")


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in TREE}) == len(TREE)


@pytest.mark.parametrize(("error", "text"), SAMPLES, ids=IDS)
def test_text(error: NapcoreError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("clone", COPIES)
@pytest.mark.parametrize(("error", "text"), SAMPLES, ids=IDS)
def test_copies_and_pickles(error: NapcoreError, text: str, clone: Callable[[NapcoreError], NapcoreError]) -> None:
    twin = clone(error)
    assert type(twin) is type(error)
    assert str(twin) == text
    assert vars(twin) == vars(error)
    assert repr(twin) == repr(error)


@pytest.mark.parametrize(("error", "text"), SAMPLES, ids=IDS)
def test_repr(error: NapcoreError, text: str) -> None:
    assert repr(error) == f"{type(error).__name__}({text!r})"


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (CallError, "unknown"),
        (ActionFailed, "yes"),
        (NotSent, "no"),
        (CallTimeout, "unknown"),
        (OutcomeUnknown, "unknown"),
        (AmbiguousAccount, "no"),
    ],
)
def test_whether_the_call_was_sent(kind: type[CallError], sent: str) -> None:
    assert kind.sent == sent


def test_fields() -> None:
    failed = ActionFailed("send_msg", 1200, "Timeout", "超时", {"a": 1})
    assert (failed.action, failed.retcode, failed.message, failed.wording, failed.data) == (
        "send_msg",
        1200,
        "Timeout",
        "超时",
        {"a": 1},
    )
    bad = BadEvent("trailing data", 17)
    assert (bad.reason, bad.offset) == ("trailing data", 17)
    closed = ConnectionClosed(4001, "take-over")
    assert (closed.close_code, closed.reason) == (4001, "take-over")
    assert NotSent("get_msg", "x").action == "get_msg"


def test_config_errors_are_listed() -> None:
    problems = [PROBLEM, ConfigProblem(None, None, "port", "must be an integer")]
    error = ConfigError(iter(problems))  # type: ignore[arg-type]
    assert error.errors == problems
    assert ConfigError("wrong", "port", "6710").errors == [ConfigProblem(None, None, "port", "wrong", "6710")]
    assert ConfigError("wrong").errors == [ConfigProblem(None, None, "", "wrong", None)]


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (ConfigProblem("a.toml", 3, "port", "wrong"), "a.toml:3: port: wrong"),
        (ConfigProblem("a.toml", None, "port", "wrong"), "a.toml: port: wrong"),
        (ConfigProblem("a.toml", 3, "", "not TOML"), "a.toml:3: not TOML"),
        (ConfigProblem(None, None, "port", "wrong"), "port: wrong"),
        (ConfigProblem(None, None, "", "wrong"), "wrong"),
        (ConfigProblem(None, None, "prot", "unknown", "port"), "prot: unknown (did you mean 'port'?)"),
    ],
)
def test_config_problems_read_well(problem: ConfigProblem, text: str) -> None:
    assert str(problem) == text
    error: Any = ConfigError([problem])
    assert str(error) == text


def test_a_timeout_is_caught_as_one() -> None:
    with pytest.raises(TimeoutError) as raised:
        raise CallTimeout("get_msg", "no answer")
    assert isinstance(raised.value, CallTimeout)
    assert (raised.value.errno, raised.value.strerror) == (None, None)


def test_bad_values_are_caught_as_such() -> None:
    with pytest.raises(ValueError, match="^not an event at byte 0$"):
        napcore.peek(b"{}")
    with pytest.raises(ValueError, match="^groups: "):
        napcore.Filter(groups=1)  # type: ignore[arg-type]


def test_the_cause_of_a_bad_event_shows_no_data() -> None:
    with pytest.raises(BadEvent) as raised:
        napcore.peek(b'{"raw_message":"secret text", x}')
    assert "secret" not in repr(raised.value) + str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
