"""``NAPCORE_*`` and ``ONEBOT_*`` in NoneBot's configuration, and what becomes of them."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napcore import ConfigError, Event
from napcore.edge.nonebot.transport import Transport, read_transport


def read(
    token: str | None = None, urls: tuple[str, ...] = (), api_timeout: float | None = 30.0, **settings: Any
) -> Any:
    onebot = SimpleNamespace(onebot_access_token=token, onebot_ws_urls=set(urls))
    return read_transport(SimpleNamespace(api_timeout=api_timeout, driver="~none", **settings), onebot)


def transport(**settings: Any) -> Transport:
    found, strange = read(**settings)
    assert strange == []
    return found


def keys(**settings: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(**settings)
    return [problem.key for problem in raised.value.errors]


def test_what_it_is_without_settings() -> None:
    found = transport()
    assert found.config.listen is not None
    assert (found.config.listen.port, found.config.listen.local, found.config.upstream) == (6710, True, ())
    assert (found.policy.max_events, found.policy.message_ttl) == (4096, 60.0)
    assert (found.max_matching, found.patience, found.skip_unwanted, found.watchdog) == (8, 5.0, False, True)
    for kind in ("meta_event", "message_sent", "notice"):
        event = {"post_type": kind, "self_id": 1, f"{kind}_type": "heartbeat", "group_id": 5, "message_type": "group"}
        assert found.filter.matches(Event.from_dict(event)), kind


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        (8080, None, 8080),
        ("8080", None, 8080),
        (0, None, 0),
        ("127.0.0.1:81", "127.0.0.1", 81),
        (" [::1]:82 ", "::1", 82),
        ("0.0.0.0:83", "0.0.0.0", 83),
    ],
)
def test_where_it_listens(value: Any, host: str | None, port: int) -> None:
    listen = transport(napcore_listen=value, token="a-token-of-16-chars").config.listen
    assert listen is not None
    assert (listen.port, listen.token) == (port, "a-token-of-16-chars")
    assert listen.host == (host or ("127.0.0.1", "::1"))


@pytest.mark.parametrize("value", [False, "off", "OFF", "none", ""])
def test_that_it_does_not_listen(value: Any) -> None:
    assert transport(napcore_listen=value).config.listen is None


def test_dialling_napcat() -> None:
    config = transport(urls=("ws://127.0.0.1:3001/", "wss://example.com/path/"), token="short").config
    assert config.listen is None
    assert [(each.url, each.token) for each in config.upstream] == [
        ("ws://127.0.0.1:3001", "short"),
        ("wss://example.com/path/", "short"),
    ]
    assert transport(urls=("ws://127.0.0.1:3001",), napcore_listen=1).config.listen is not None


def test_filters_and_bounds_have_the_names_of_their_fields() -> None:
    found = transport(
        napcore_groups=5,
        napcore_exclude_users={8},
        napcore_commands=["weather"],
        napcore_max_events=10,
        napcore_max_bytes="1MiB",
        napcore_message_ttl="90s",
        napcore_overflow="drop_newest",
        napcore_keep={"users": [7]},
        napcore_send_rate="off",
        napcore_request_ttl="off",
    )
    policy = found.policy
    assert (policy.max_events, policy.max_bytes, policy.message_ttl) == (10, 1 << 20, 90.0)
    assert (policy.overflow, policy.request_ttl, found.config.send_rate) == ("drop_newest", math.inf, "off")
    assert policy.keep is not None
    assert policy.keep.users == frozenset({7})

    def passes(text: str, group: int, user: int) -> bool:
        message = [{"type": "text", "data": {"text": text}}]
        event = {"post_type": "message", "message_type": "group", "group_id": group, "user_id": user, "self_id": 1}
        return found.filter.matches(Event.from_dict({**event, "message": message}))

    assert passes("/weather", 5, 7)
    assert not passes("/weather", 6, 7)
    assert not passes("/weather", 5, 8)
    assert not passes("hello", 5, 7)


def test_kinds_are_taken_as_they_are() -> None:
    found = transport(napcore_kinds=["message"], napcore_self_ids=[1])
    assert not found.filter.matches(
        Event.from_dict({"post_type": "meta_event", "meta_event_type": "heartbeat", "self_id": 1})
    )
    assert found.self_ids == frozenset({1})


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"napcore_groups": "all"}, ["NAPCORE_GROUPS"]),
        ({"napcore_message_ttl": -1}, ["NAPCORE_MESSAGE_TTL"]),
        ({"napcore_max_events": 0, "napcore_max_frame": "x"}, ["NAPCORE_MAX_FRAME"]),
        ({"napcore_overflow": "disconnect"}, ["NAPCORE_OVERFLOW"]),
        ({"napcore_overflow": "drop"}, ["NAPCORE_OVERFLOW"]),
        ({"napcore_keep": {"groups": ["x"]}}, ["NAPCORE_KEEP.groups[0]"]),
        ({"napcore_max_matching": 0}, ["NAPCORE_MAX_MATCHING"]),
        ({"napcore_matching_patience": "long"}, ["NAPCORE_MATCHING_PATIENCE"]),
        ({"napcore_skip_unwanted": "perhaps"}, ["NAPCORE_SKIP_UNWANTED"]),
        ({"napcore_listen": "here"}, ["NAPCORE_LISTEN"]),
        ({"napcore_listen": True}, ["NAPCORE_LISTEN"]),
        ({"napcore_listen": 70000}, ["NAPCORE_LISTEN"]),
        ({"napcore_listen": "0.0.0.0:6710"}, ["ONEBOT_ACCESS_TOKEN"]),
        ({"napcore_listen": "0.0.0.0:6710", "token": "short"}, ["ONEBOT_ACCESS_TOKEN"]),
        ({"napcore_send_rate": "fast"}, ["NAPCORE_SEND_RATE"]),
        ({"napcore_shard": "3/2"}, ["NAPCORE_SHARD"]),
    ],
)
def test_what_is_wrong_is_told_under_its_name_in_env(settings: dict[str, Any], wrong: list[str]) -> None:
    assert keys(**settings) == wrong


def test_several_mistakes_are_told_at_once() -> None:
    assert keys(napcore_groups="x", napcore_max_matching=-1, napcore_keep=3) == [
        "NAPCORE_GROUPS",
        "NAPCORE_KEEP",
        "NAPCORE_MAX_MATCHING",
    ]


def test_names_that_mean_nothing() -> None:
    _, strange = read(napcore_max_evnts=3, napcore_dispatch=False, napcore_zzz=1)
    assert strange == [
        "NAPCORE_MAX_EVNTS means nothing to napcore; did you mean NAPCORE_MAX_EVENTS?",
        "NAPCORE_ZZZ means nothing to napcore",
    ]


def test_a_file_makes_it_a_relay_for_others(tmp_path: Path) -> None:
    file = tmp_path / "napcore.toml"
    file.write_text('[listen]\nport = 7000\n[[client]]\nname = "hoshino"\nurl = "ws://127.0.0.1:8081/ws/"\n', "utf-8")
    config = transport(napcore_config=str(file), urls=("ws://127.0.0.1:3001",)).config
    assert config.listen is not None
    assert (config.listen.port, len(config.client), len(config.upstream)) == (7000, 1, 1)
    assert transport(napcore_config=str(file), napcore_listen=7001).config.listen.port == 7001  # type: ignore[union-attr]
    file.write_text("[listen]\nprot = 7000\n", "utf-8")
    with pytest.raises(ConfigError, match=r"napcore.toml:2: listen.prot"):
        read(napcore_config=str(file))


def test_the_relay_waits_as_long_as_nonebot_does() -> None:
    assert transport().config.call_timeout == 120.0
    assert transport(api_timeout=None).config.call_timeout == 120.0
    assert transport(api_timeout=300.0).config.call_timeout == 300.0


def test_no_token_is_shown() -> None:
    assert "a-token-of-16-chars" not in repr(transport(token="a-token-of-16-chars"))
