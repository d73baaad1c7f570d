"""A relay's configuration: the same names as in ``napcore.toml``. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from napcore.core.admission import is_local
from napcore.core.filter import Filter
from napcore.core.hub import MEMORY_LIMIT
from napcore.core.onebot import NAME
from napcore.core.pacing import check_send_rate
from napcore.core.policy import Policy
from napcore.core.tables import read_fields
from napcore.core.urls import check_strong, check_token, check_url, public_url
from napcore.errors import ConfigError, ConfigProblem
from napcore.types import Delivery, FailMode, MessageFormat, Overflow

__all__ = ("ClientConfig", "Config", "DefaultsConfig", "ListenConfig", "QueueConfig", "UpstreamConfig")

_FILTER_KEYS: Final = tuple(Filter.__dataclass_fields__)
_RELAY_KEYS: Final = ("memory_limit", "call_timeout", "send_rate", "share_gets")
_INT64: Final = 1 << 63


class Table(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of the file; its ``repr`` shows no token and no query of a URL."""

    def __repr__(self) -> str:
        shown = []
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            if "token" in field.name:
                value = "***"
            elif field.name == "url":
                value = public_url(value)
            shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def problems(self, path: str) -> list[ConfigProblem]:
        """What is wrong with the values; ``path`` is the table's own key, such as ``client[0]``."""
        return []


class FilterConfig(Table, frozen=True, kw_only=True):
    """The fields of a ``Filter``, which mean the same here.

    ``expression`` is a table, or the path of a JSON file: in a configuration file from the folder
    that this is in.
    """

    groups: frozenset[int] | None = None
    exclude_groups: frozenset[int] = frozenset()
    users: frozenset[int] | None = None
    exclude_users: frozenset[int] = frozenset()
    kinds: frozenset[str] | None = None
    exclude_kinds: frozenset[str] = frozenset()
    self_ids: frozenset[int] | None = None
    private: bool = True
    self_messages: bool = False
    shard: str | None = None
    commands: frozenset[str] | str = frozenset()
    command_start: frozenset[str] | str = frozenset({"/"})
    command_whitespace: bool | str = False
    prefix: frozenset[str] | str = frozenset()
    suffix: frozenset[str] | str = frozenset()
    fullmatch: frozenset[str] | str = frozenset()
    keywords: frozenset[str] | str = frozenset()
    ignore_case: bool = False
    regex: frozenset[str] | str | None = None
    to_me: bool = False
    has: frozenset[str] | str | None = None
    roles: frozenset[str] | str | None = None
    min_size: int = 0
    max_size: int | None = None
    expression: dict[str, Any] | str | None = None
    expression_fails: FailMode = "closed"

    def filter(self) -> Filter:
        """Which events it lets through.

        Raises:
            ConfigError: a value is out of range.
        """
        return Filter(**{key: getattr(self, key) for key in _FILTER_KEYS})

    def problems(self, path: str) -> list[ConfigProblem]:
        """Values ``Filter`` refuses."""
        try:
            self.filter()
        except ConfigError as error:
            return [problem._replace(key=_join(path, problem.key)) for problem in error.errors]
        return []


class QueueConfig(Table, frozen=True, kw_only=True):
    """The fields of ``Policy``, those that are set. Sizes are in bytes, durations in seconds.

    In a file, sizes may be written ``"4MiB"`` and durations ``"60s"``, ``"10min"`` or ``"24h"``;
    ``"off"`` and ``inf`` are "no limit". ``keep`` is a table with the fields of a ``Filter``.
    """

    max_events: float | None = None
    max_bytes: float | None = None
    max_frame: int | None = None
    overflow: Overflow | None = None
    message_ttl: float | None = None
    notice_ttl: float | None = None
    request_ttl: float | None = None
    hold: float | None = None
    keep: FilterConfig | None = None
    delivery: Delivery | None = None
    max_in_flight: float | None = None
    catch_up_rate: float | None = None
    write_timeout: float | None = None

    def arguments(self) -> dict[str, Any]:
        """What is set, as keyword arguments for ``Policy``.

        Raises:
            ConfigError: ``keep`` is no filter.
        """
        found = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return found if self.keep is None else {**found, "keep": self.keep.filter()}

    def problems(self, path: str) -> list[ConfigProblem]:
        """Values ``Policy`` refuses."""
        found = [] if self.keep is None else self.keep.problems(_join(path, "keep"))
        if found:
            return found
        try:
            Policy(**self.arguments())
        except ConfigError as error:
            found += [problem._replace(key=_join(path, problem.key)) for problem in error.errors]
        return found


class DefaultsConfig(Table, frozen=True, kw_only=True):
    """``[defaults]``: what clients get that do not say otherwise; ``queue`` key by key."""

    message_format: MessageFormat | None = None
    heartbeat: float = 15.0
    queue: QueueConfig = QueueConfig()

    def problems(self, path: str) -> list[ConfigProblem]:
        """Values out of range."""
        return _heartbeat(self.heartbeat, path) + self.queue.problems(_join(path, "queue"))


class ListenConfig(Table, frozen=True, kw_only=True):
    """``[listen]``: the port upstreams and clients dial."""

    host: str | tuple[str, ...] = ("127.0.0.1", "::1")
    port: int = 6710
    token: str | None = None
    upstream_token: str | None = None
    allow_anonymous: bool = False
    allowed_origins: tuple[str, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``Relay.listen``."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        hosts = (self.host,) if isinstance(self.host, str) else self.host
        return all(map(is_local, hosts))

    def problems(self, path: str) -> list[ConfigProblem]:
        """Values out of range, and a door open to other machines."""
        found = []
        if not self.host:
            found.append(ConfigProblem(None, None, _join(path, "host"), "must not be empty"))
        if not 0 <= self.port <= 65535:
            found.append(ConfigProblem(None, None, _join(path, "port"), f"must be 0 to 65535, not {self.port}"))
        for key in ("token", "upstream_token"):
            wrong = check_token(getattr(self, key), _join(path, key))
            if not self.local and not self.allow_anonymous and (key == "token" or self.upstream_token is not None):
                wrong = wrong or check_strong(getattr(self, key), _join(path, key))
            found += wrong
        return found


class UpstreamConfig(Table, frozen=True, kw_only=True):
    """``[[upstream]]``: a OneBot implementation we dial, NapCat's "WebSocket server"."""

    url: str
    token: str | None = None
    self_id: int | None = None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``Relay.add_upstream``."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def problems(self, path: str) -> list[ConfigProblem]:
        """A URL, token or account that cannot be one."""
        found = check_url(self.url, _join(path, "url")) + check_token(self.token, _join(path, "token"))
        if self.self_id is not None and not 0 < self.self_id < _INT64:
            found.append(ConfigProblem(None, None, _join(path, "self_id"), f"is no account: {self.self_id}"))
        return found


class ClientConfig(FilterConfig, frozen=True, kw_only=True):
    """``[[client]]``: a consumer we dial (``url``) or one that dials us, with its filter and its queue.

    The fields of a ``Filter`` mean the same here. ``expression`` is a table, or the path of a JSON
    file: in a configuration file from the folder that this is in.
    """

    name: str
    url: str | None = None
    token: str | None = None
    message_format: MessageFormat | None = None
    heartbeat: float | None = None
    queue: QueueConfig = QueueConfig()

    def policy(self, defaults: DefaultsConfig) -> Policy:
        """Its bounds, those of ``defaults`` where it sets none.

        Raises:
            ConfigError: a value is out of range.
        """
        return Policy(**{**defaults.queue.arguments(), **self.queue.arguments()})

    def arguments(self, defaults: DefaultsConfig) -> dict[str, Any]:
        """Keyword arguments for ``Relay.add_client``."""
        return {
            "name": self.name,
            "url": self.url,
            "token": self.token,
            "filter": self.filter(),
            "policy": self.policy(defaults),
            "message_format": self.message_format or defaults.message_format,
            "heartbeat": defaults.heartbeat if self.heartbeat is None else self.heartbeat,
        }

    def problems(self, path: str) -> list[ConfigProblem]:
        """Values out of range."""
        found = []
        if not NAME.fullmatch(self.name):
            text = f"must be 1 to 64 letters, digits, '_', '.' or '-', not {self.name!r}"
            found.append(ConfigProblem(None, None, _join(path, "name"), text))
        if self.url is not None:
            found += check_url(self.url, _join(path, "url"))
        found += check_token(self.token, _join(path, "token"))
        if self.heartbeat is not None:
            found += _heartbeat(self.heartbeat, path)
        return found + super().problems(path) + self.queue.problems(_join(path, "queue"))


class Config(Table, frozen=True, kw_only=True):
    """Everything a relay is made of; ``Relay.from_config`` builds one, ``load_config`` reads a file.

    What stands outside the tables are ``Relay``'s own arguments.

    Raises:
        ConfigError: with every mistake found.
    """

    call_timeout: float = 120.0
    send_rate: str | tuple[float, ...] = "auto"
    share_gets: float = math.inf
    listen: ListenConfig | None = None
    upstream: tuple[UpstreamConfig, ...] = ()
    client: tuple[ClientConfig, ...] = ()
    defaults: DefaultsConfig = DefaultsConfig()
    memory_limit: float = MEMORY_LIMIT

    def __post_init__(self) -> None:
        if found := self.problems(""):
            raise ConfigError(found)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """A configuration from plain data with the keys of ``napcore.toml``.

        Raises:
            ConfigError: with every mistake found.
        """
        values, found = read_fields(cls, data, "")
        listen = values.get("listen")
        upstream, client = values.get("upstream", ()), values.get("client", ())
        told = {problem.key for problem in found}
        doors = listen is not None or "listen" not in data
        more = _problems(values.get("defaults"), listen, upstream, client, doors=doors)
        more += _relay(**{key: values[key] for key in _RELAY_KEYS if key in values})
        found += [problem for problem in more if problem.key not in told]
        if found:
            raise ConfigError(found)
        return cls(**values)

    def problems(self, path: str) -> list[ConfigProblem]:
        """Every table's problems, and what does not go together."""
        own = _relay(self.memory_limit, self.call_timeout, self.send_rate, self.share_gets)
        return own + _problems(self.defaults, self.listen, self.upstream, self.client, doors=True)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``Relay``."""
        return {
            "memory_limit": self.memory_limit,
            "call_timeout": self.call_timeout,
            "send_rate": check_send_rate(self.send_rate),
            "share_gets": "off" if math.isinf(self.share_gets) else self.share_gets,
        }


def _relay(
    memory_limit: float = 1.0, call_timeout: float = 1.0, send_rate: object = "auto", share_gets: float = 0.0
) -> list[ConfigProblem]:
    found = []
    if not memory_limit > 0:
        found.append(ConfigProblem(None, None, "memory_limit", f"must be more than 0, not {memory_limit:g}"))
    if not 0 < call_timeout < math.inf:
        text = f"must be more than 0 and finite, not {call_timeout:g}"
        found.append(ConfigProblem(None, None, "call_timeout", text))
    try:
        check_send_rate(send_rate)
    except ConfigError as error:
        found += error.errors
    if share_gets < 0:
        found.append(
            ConfigProblem(None, None, "share_gets", f'must be seconds, 0 or more, or "off"; not {share_gets:g}')
        )
    return found


def _problems(
    defaults: DefaultsConfig | None,
    listen: ListenConfig | None,
    upstream: Sequence[UpstreamConfig | None],
    client: Sequence[ClientConfig | None],
    *,
    doors: bool,
) -> list[ConfigProblem]:
    # None stands for a table that could not be read at all; what is wrong with it is told already.
    tables: list[tuple[str, Table | None]] = [("defaults", defaults), ("listen", listen)]
    tables += [(f"upstream[{index}]", table) for index, table in enumerate(upstream)]
    tables += [(f"client[{index}]", table) for index, table in enumerate(client)]
    found = [problem for key, table in tables if table is not None for problem in table.problems(key)]
    found += _doubles("upstream", "url", [None if table is None else table.url for table in upstream])
    found += _doubles("client", "name", [None if table is None else table.name for table in client])
    if doors:
        found += _doors(listen, client)
    return found


def _doors(listen: ListenConfig | None, clients: Sequence[ClientConfig | None]) -> list[ConfigProblem]:
    # Clients that dial us need a port to dial, and a token that tells them apart.
    found = []
    tokens: list[str | None] = [None] * len(clients)
    for index, client in enumerate(clients):
        if client is None or client.url is not None:
            continue
        tokens[index] = client.token
        path = f"client[{index}]"
        if listen is None:
            text = "is missing, so the client must dial us; but there is no [listen]"
            found.append(ConfigProblem(None, None, _join(path, "url"), text))
        elif client.token is not None:
            if client.token in (listen.token, listen.upstream_token):
                text = "is a token of [listen]; give the client its own, or leave it out"
                found.append(ConfigProblem(None, None, _join(path, "token"), text))
            elif not listen.local and not listen.allow_anonymous:
                found += check_strong(client.token, _join(path, "token"))
    return found + _doubles("client", "token", tokens)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _heartbeat(seconds: float, path: str) -> list[ConfigProblem]:
    if 0 < seconds < math.inf:
        return []
    return [ConfigProblem(None, None, _join(path, "heartbeat"), f"must be more than 0 and finite, not {seconds:g}")]


def _doubles(table: str, key: str, values: Sequence[str | None]) -> list[ConfigProblem]:
    first: dict[str, int] = {}
    found = []
    for index, value in enumerate(values):
        if value is None:
            continue
        if value in first:
            text = f"is the same as {table}[{first[value]}].{key}"
            found.append(ConfigProblem(None, None, f"{table}[{index}].{key}", text))
        first.setdefault(value, index)
    return found
