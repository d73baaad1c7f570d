from __future__ import annotations

import inspect
import math
from dataclasses import fields
from typing import Any

import msgspec
import pytest

from napcore.core.config import ClientConfig, Config, ListenConfig, QueueConfig, UpstreamConfig
from napcore.core.filter import Filter
from napcore.core.policy import Policy
from napcore.core.tables import Variable
from napcore.core.units import parse_count, parse_duration, parse_size
from napcore.errors import ConfigError

LISTEN = {"port": 6710}
BOT = "ws://127.0.0.1:8080/onebot/v11/ws"


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        Config.from_dict(data)
    return [str(problem) for problem in error.value.errors]


def client(**values: Any) -> dict[str, Any]:
    return {"client": [{"name": "bot", "url": BOT, **values}]}


def queue(**values: Any) -> dict[str, Any]:
    return client(queue=values)


def test_a_whole_configuration() -> None:
    config = Config.from_dict(
        {
            "listen": {"host": "127.0.0.1", "port": 6710, "token": "change-me-16-chars"},
            "upstream": [{"url": "ws://127.0.0.1:3001", "self_id": 10001}],
            "client": [
                {
                    "name": "nonebot",
                    "url": BOT,
                    "groups": [342561735, 1062848088],
                    "kinds": ["message"],
                    "private": False,
                    "message_format": "string",
                    "queue": {
                        "max_events": 100,
                        "max_bytes": "4MiB",
                        "overflow": "drop_newest",
                        "message_ttl": "10min",
                    },
                },
                {"name": "hoshino", "token": "its-own", "heartbeat": "5s"},
            ],
            "defaults": {"heartbeat": 20, "message_format": "array", "queue": {"max_events": 7, "notice_ttl": "off"}},
        }
    )
    assert config.listen is not None
    assert config.listen.arguments() == {
        "host": "127.0.0.1",
        "port": 6710,
        "token": "change-me-16-chars",
        "upstream_token": None,
        "allow_anonymous": False,
        "allowed_origins": (),
    }
    assert [upstream.arguments() for upstream in config.upstream] == [
        {"url": "ws://127.0.0.1:3001", "token": None, "self_id": 10001}
    ]
    nonebot, hoshino = (client.arguments(config.defaults) for client in config.client)
    assert nonebot == {
        "name": "nonebot",
        "url": BOT,
        "token": None,
        "filter": Filter(groups={342561735, 1062848088}, kinds={"message"}, private=False),
        "policy": Policy(
            max_events=100, max_bytes=4 << 20, overflow="drop_newest", message_ttl=600.0, notice_ttl=math.inf
        ),
        "message_format": "string",
        "heartbeat": 20,
    }
    assert (hoshino["url"], hoshino["token"], hoshino["heartbeat"]) == (None, "its-own", 5)
    assert hoshino["message_format"] == "array"
    assert hoshino["policy"] == Policy(max_events=7, notice_ttl=math.inf)


def test_the_empty_configuration() -> None:
    config = Config.from_dict({})
    assert (config.listen, config.upstream, config.client, config.defaults.heartbeat) == (None, (), (), 15.0)
    assert Config.from_dict({"listen": {}}).listen == ListenConfig(host=("127.0.0.1", "::1"), port=6710)


def test_the_names_are_those_of_the_library() -> None:
    from napcore.net.relay import Relay

    inline = set(ClientConfig.__struct_fields__) - {"name", "url", "token", "message_format", "heartbeat", "queue"}
    not_built = {"keep", "catch_up_rate"}
    assert inline == {field.name for field in fields(Filter)}
    assert set(QueueConfig.__struct_fields__) == {field.name for field in fields(Policy)} - not_built
    for table, method in ((ListenConfig, Relay.listen), (UpstreamConfig, Relay.add_upstream)):
        assert set(table.__struct_fields__) == set(inspect.signature(method).parameters) - {"self", "ssl_context"}
    for table, method in ((ListenConfig, Relay.listen), (ClientConfig, Relay.add_client)):
        signature = inspect.signature(method)
        for field in msgspec.structs.fields(table):
            if field.name in signature.parameters and not field.required and field.name != "heartbeat":
                assert field.default == signature.parameters[field.name].default, field.name


def test_every_mistake_is_told() -> None:
    assert problems(
        {
            "listne": {},
            "listen": {"prt": 1, "host": 5},
            "upstream": [{"url": "http://127.0.0.1:3001"}, {"tokn": "x"}, 5],
            "client": [
                {"name": "a", "url": BOT, "groups": [1, "2"], "max_events": 5},
                {"name": "a b", "url": BOT, "private": 1, "queue": {"overflow": "drop_oldst", "message_ttl": 0}},
                {"name": "a", "url": BOT},
            ],
        }
    ) == [
        "listne: unknown key (did you mean 'listen'?)",
        "listen.prt: unknown key (did you mean 'port'?)",
        "listen.host: must be a text in quotes or a list, not a whole number",
        "upstream[1].tokn: unknown key (did you mean 'token'?)",
        "upstream[1].url: is missing",
        "upstream[2]: must be a table",
        "client[0].max_events: belongs into queue = { max_events = ... } (did you mean 'queue.max_events'?)",
        "client[0].groups[1]: must be a whole number, not a text in quotes",
        "client[1].private: must be true or false, not a whole number",
        "client[1].queue.overflow: must be one of drop_oldest, drop_newest, disconnect, not 'drop_oldst'"
        " (did you mean 'drop_oldest'?)",
        "upstream[0].url: must be a ws:// or wss:// URL, not 'http://127.0.0.1:3001'"
        " (did you mean 'ws://127.0.0.1:3001'?)",
        "client[1].name: must be 1 to 64 letters, digits, '_', '.' or '-', not 'a b'",
        "client[1].queue.message_ttl: must be greater than 0, not 0",
        "client[2].name: is the same as client[0].name",
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"listen": [{}]}, "listen: there is one only: write [listen] (did you mean '[listen]'?)"),
        ({"client": {}}, "client: there may be several: write [[client]] (did you mean '[[client]]'?)"),
        ({"listen": 5}, "listen: must be a table"),
        (client(queue=[]), "client[0].queue: must be a table"),
        (client(groups=5), "client[0].groups: must be a list, not a whole number"),
        (client(groups=[2**70]), "client[0].groups: 1180591620717411303424 does not fit 64 bits"),
        (
            client(kinds=["message."]),
            "client[0].kinds: a kind looks like 'message.group' or 'notice.*', not 'message.'",
        ),
        (
            client(message_format="arry"),
            "client[0].message_format: must be one of array, string, not 'arry' (did you mean 'array'?)",
        ),
        ({"defaults": {"message_format": 1}}, "defaults.message_format: must be one of array, string, not 1"),
        (client(heartbeat=0), "client[0].heartbeat: must be more than 0 and finite, not 0"),
        (client(heartbeat="off"), "client[0].heartbeat: must be more than 0 and finite, not inf"),
        (client(name="中"), "client[0].name: must be 1 to 64 letters, digits, '_', '.' or '-', not '中'"),
        (client(token="a b"), "client[0].token: must be printable ASCII without spaces"),
        (client(token=""), "client[0].token: is empty, which is no token; leave it out or set one"),
        (queue(max_events=0), "client[0].queue.max_events: must be greater than 0, not 0"),
        (queue(max_frame="off"), "client[0].queue.max_frame: must be finite"),
        (
            queue(max_events="many"),
            "client[0].queue.max_events: must be a whole number or \"off\"; not 'many'",
        ),
        (
            queue(max_bytes="4MB"),
            'client[0].queue.max_bytes: must be bytes as a whole number, or with a unit: "512KiB", "4MiB", "1GiB";'
            " not '4MB'",
        ),
        (
            queue(notice_ttl="10m"),
            'client[0].queue.notice_ttl: must be seconds as a number, or with a unit: "500ms", "60s", "10min", "24h",'
            " \"7d\"; not '10m'",
        ),
        ({"upstream": [{"url": "ws://a:1", "self_id": 0}]}, "upstream[0].self_id: is no account: 0"),
        ({"listen": {"port": 65536}}, "listen.port: must be 0 to 65535, not 65536"),
        ({"listen": {"host": []}}, "listen.host: must not be empty"),
        (
            {"upstream": [{"url": "ws://a:1"}, {"url": "ws://a:1"}]},
            "upstream[1].url: is the same as upstream[0].url",
        ),
        (
            {"client": [{"name": "bot"}]},
            "client[0].url: is missing, so the client must dial us; but there is no [listen]",
        ),
        (
            {"listen": {"token": "t"}, "client": [{"name": "bot", "token": "t"}]},
            "client[0].token: is a token of [listen]; give the client its own, or leave it out",
        ),
        (
            {"listen": {}, "client": [{"name": "a", "token": "t"}, {"name": "b", "token": "t"}]},
            "client[1].token: is the same as client[0].token",
        ),
    ],
)
def test_mistakes(data: dict[str, Any], problem: str) -> None:
    assert problems(data) == [problem]


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (queue(keep={"users": [1]}), "client[0].queue.keep"),
        (queue(catch_up_rate="off"), "client[0].queue.catch_up_rate"),
    ],
)
def test_what_is_not_built_is_refused(data: dict[str, Any], key: str) -> None:
    assert problems(data) == [f"{key}: is not built in this release; leave it out"]


def test_what_the_relay_itself_takes() -> None:
    plain = Config()
    assert plain.arguments() == {
        "memory_limit": 256 << 20,
        "call_timeout": 120.0,
        "send_rate": "auto",
        "share_gets": "off",
    }
    data = {"memory_limit": "1GiB", "call_timeout": "90s", "send_rate": [5, 0.5], "share_gets": "500ms"}
    assert Config.from_dict(data).arguments() == {
        "memory_limit": 1 << 30,
        "call_timeout": 90.0,
        "send_rate": (5.0, 0.5),
        "share_gets": 0.5,
    }
    assert Config.from_dict({"send_rate": "safe", "share_gets": "off"}).arguments()["share_gets"] == "off"


def test_what_belongs_to_the_top_is_told_where_it_stands_below_a_table() -> None:
    found = problems({"client": [{"name": "bot", "url": "ws://127.0.0.1:1", "send_rate": "off"}]})
    assert found == ["client[0].send_rate: belongs to the top of the file, above the first [table]: send_rate = ..."]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"call_timeout": 0}, "call_timeout: must be more than 0 and finite, not 0"),
        ({"call_timeout": "off"}, "call_timeout: must be more than 0 and finite, not inf"),
        ({"memory_limit": 0}, "memory_limit: must be more than 0, not 0"),
        ({"share_gets": -1}, 'share_gets: must be seconds, 0 or more, or "off"; not -1'),
        ({"send_rate": [5]}, "send_rate: "),
        ({"send_rate": "fast"}, "send_rate: "),
        ({"send_rate": [0, 1]}, "send_rate: "),
    ],
)
def test_what_the_relay_itself_does_not_take(data: dict[str, Any], problem: str) -> None:
    (found,) = problems(data)
    assert found.startswith(problem)
    if problem == "send_rate: ":
        assert "messages a second for each account" in found


def test_hold_is_not_built() -> None:
    text = "client[0].queue.hold: is not built in this release; leave it out, or write 0"
    assert problems(queue(hold=600)) == [text]
    assert problems(queue(hold="5min")) == [text]
    for built in ({"hold": 0}, {"delivery": "at_most_once"}):
        Config.from_dict(queue(**built))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", ["127.0.0.1", "::1"]])
def test_on_this_machine_any_token_will_do(host: object) -> None:
    Config.from_dict({"listen": {"host": host}})
    Config.from_dict({"listen": {"host": host, "token": "t"}})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ["127.0.0.1", "192.168.1.2"]])
def test_for_other_machines_tokens_are_long(host: object) -> None:
    weak = "other machines can reach this listener: it needs 16 characters or more, or allow_anonymous = true"
    assert problems({"listen": {"host": host}}) == [f"listen.token: {weak}"]
    assert problems({"listen": {"host": host, "token": "123456789012345"}}) == [f"listen.token: {weak}"]
    strong = {"host": host, "token": "1234567890123456"}
    Config.from_dict({"listen": strong})
    assert problems({"listen": {**strong, "upstream_token": "short"}}) == [f"listen.upstream_token: {weak}"]
    weak_client = {"client": [{"name": "bot", "token": "short"}]}
    assert problems({"listen": strong, **weak_client}) == [f"client[0].token: {weak}"]
    Config.from_dict({"listen": {"host": host, "allow_anonymous": True}, **weak_client})


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ws://", "ws:///path", "ws://host:0", "ws://host:99999", "ws://[::1", "ws://h/#x", "ws://a b/"],
)
def test_urls_that_are_none(url: str) -> None:
    (problem,) = problems({"upstream": [{"url": url}]})
    assert problem.startswith("upstream[0].url: must be a ws:// or wss:// URL, not '")


def test_repr_and_problems_show_no_secrets() -> None:
    config = Config.from_dict(
        {
            "listen": {"token": "secret-1", "upstream_token": "secret-2"},
            "upstream": [{"url": "ws://secret-3@h:1/?access_token=secret-4", "token": "secret-5"}],
            "client": [{"name": "bot", "token": "secret-6"}],
        }
    )
    assert "secret" not in repr(config)
    assert "upstream_token='***'" in repr(config)
    assert "ws://h:1/?***" in repr(config)
    assert problems({"upstream": [{"url": "http://secret@h/?t=secret"}], "listen": {"token": "se cret"}}) == [
        "listen.token: must be printable ASCII without spaces",
        "upstream[0].url: must be a ws:// or wss:// URL, not 'http://h/?***' (did you mean 'ws://h/?***'?)",
    ]


def test_made_in_python_it_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="must be 0 to 65535, not -1"):
        Config(listen=ListenConfig(port=-1))
    config = Config(client=(ClientConfig(name="bot", url=BOT, queue=QueueConfig(max_events=5)),))
    assert config.client[0].policy(config.defaults) == Policy(max_events=5)
    with pytest.raises(AttributeError):
        config.listen = ListenConfig()  # type: ignore[misc]


def test_a_variable_may_stand_for_a_number() -> None:
    config = Config.from_dict({"listen": {"port": Variable("6711"), "allow_anonymous": Variable("true")}})
    assert config.listen == ListenConfig(port=6711, allow_anonymous=True)
    assert problems({"listen": {"port": "6711"}}) == ["listen.port: must be a whole number, not a text in quotes"]
    assert Config.from_dict({"listen": {"token": Variable("12345")}}).listen == ListenConfig(token="12345")


@pytest.mark.parametrize(
    ("parse", "written", "value"),
    [
        (parse_size, "4MiB", 4 << 20),
        (parse_size, "512 kib", 512 << 10),
        (parse_size, "1.5GiB", 3 << 29),
        (parse_size, "100B", 100),
        (parse_size, "100", 100),
        (parse_size, 7, 7),
        (parse_size, "off", math.inf),
        (parse_size, math.inf, math.inf),
        (parse_count, "12", 12),
        (parse_count, 1e3, 1000),
        (parse_count, "off", math.inf),
        (parse_duration, "500ms", 0.5),
        (parse_duration, "60s", 60.0),
        (parse_duration, "10min", 600.0),
        (parse_duration, "24h", 86400.0),
        (parse_duration, "7d", 604800.0),
        (parse_duration, 2.5, 2.5),
        (parse_duration, "off", math.inf),
    ],
)
def test_units(parse: Any, written: object, value: float) -> None:
    assert parse(written) == value


@pytest.mark.parametrize("parse", [parse_size, parse_count, parse_duration])
@pytest.mark.parametrize(
    "wrong", ["", "x", "-5", "1e3", "5 5", "s", "5parsec", True, None, [], math.nan, "１２", "9" * 19]
)
def test_not_units(parse: Any, wrong: object) -> None:
    with pytest.raises(ValueError, match="^must be "):
        parse(wrong)


@pytest.mark.parametrize(("parse", "wrong"), [(parse_size, 1.5), (parse_size, "1.5"), (parse_count, "1.5")])
def test_no_half_bytes(parse: Any, wrong: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        parse(wrong)
