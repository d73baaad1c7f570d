"""``NAPCORE_*`` and ``ONEBOT_*`` in NoneBot's own configuration (``.env``): links, queue, filter."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from msgspec.structs import replace

from napcore.core.config import Config, FilterConfig, ListenConfig, QueueConfig, UpstreamConfig
from napcore.core.filter import Filter
from napcore.core.policy import Policy
from napcore.core.tables import read_fields
from napcore.edge.settings import load_config
from napcore.errors import ConfigError, ConfigProblem

PREFIX: Final = "napcore_"

PORT: Final = 6710
"""Where it listens unless told otherwise."""

API_TIMEOUT: Final = 120.0
"""Seconds a call may wait in the relay; more if ``API_TIMEOUT`` is more."""

OFF: Final = (False, "off", "none", "false", "")

_FILTER: Final = tuple(FilterConfig.__struct_fields__)
_QUEUE: Final = ("max_events", "max_bytes", "max_frame", "overflow", "message_ttl", "notice_ttl", "request_ttl", "keep")
_RELAY: Final = ("memory_limit", "send_rate", "share_gets")
_LISTEN: Final = ("allow_anonymous", "allowed_origins")
_OWN: Final = ("config", "listen", "matching_patience", "max_matching", "skip_unwanted", "watchdog")
_INDEX: Final = ("dispatch", "verify")

_IDS: Final = frozenset({"groups", "exclude_groups", "users", "exclude_users", "self_ids"})


@dataclass(frozen=True)
class Transport:
    """Everything the adapter is made of."""

    config: Config
    """The relay."""
    filter: Filter
    """Which events NoneBot gets."""
    policy: Policy
    """How many wait for it, and for how long."""
    self_ids: Collection[int] | None
    """The accounts that become bots; None is all."""
    max_matching: int = 8
    """Events that may be matched at once while the loop is busy."""
    patience: float = 5.0
    """Seconds an event may hold up those behind it in its group before its first handler begins."""
    skip_unwanted: bool = False
    """Whether events that no matcher can want are withheld."""
    watchdog: bool = True
    """Whether an event loop that stands still is told of."""


def read_transport(nonebot_config: Any, onebot_config: Any) -> tuple[Transport, list[str]]:
    """What NoneBot's configuration says, and its ``NAPCORE_*`` keys that mean nothing, in words.

    ``onebot_config`` is the stock adapter's own.

    Raises:
        ConfigError: with every value that is wrong, under its name in ``.env``.
    """
    found = _settings(nonebot_config)
    problems: list[ConfigProblem] = []
    rules = _read(FilterConfig, found, _FILTER, problems)
    queue = _read(QueueConfig, found, _QUEUE, problems)
    relay = _read(Config, found, _RELAY, problems)
    own: dict[str, Any] = {
        "max_matching": _whole(found, "max_matching", problems),
        "patience": _seconds(found, "matching_patience", problems),
        "skip_unwanted": _truth(found, "skip_unwanted", problems),
        "watchdog": _truth(found, "watchdog", problems),
    }
    if queue.get("overflow") == "disconnect":
        problems.append(_problem("overflow", "has no link to close here: drop_oldest or drop_newest"))
    base = _file(found, problems)
    doors = _read(ListenConfig, found, _LISTEN, problems)
    if problems:
        raise ConfigError(problems)
    rules.setdefault("self_messages", True)
    try:
        config = _config(base, found, relay, doors, onebot_config, nonebot_config)
        keep = QueueConfig(**queue).arguments()
        transport = Transport(
            config,
            _with_meta(FilterConfig(**rules).filter()),
            Policy(**keep),
            rules.get("self_ids"),
            **{name: value for name, value in own.items() if value is not None},
        )
    except ConfigError as error:
        raise ConfigError([_renamed(problem) for problem in error.errors]) from None
    return transport, _unknown(found)


def _settings(nonebot_config: Any) -> dict[str, Any]:
    """Every ``NAPCORE_*`` that is set, without its prefix."""
    values: dict[str, Any] = {}
    for source in (vars(nonebot_config), getattr(nonebot_config, "__pydantic_extra__", None) or {}):
        for name, value in source.items():
            if name.lower().startswith(PREFIX) and value is not None:
                values[name.lower().removeprefix(PREFIX)] = value
    return values


def _read(table: Any, found: Mapping[str, Any], names: Collection[str], problems: list[ConfigProblem]) -> Any:
    data = {name: _plain(name, found[name]) for name in names if name in found}
    values, wrong = read_fields(table, data, "")
    problems += map(_renamed, wrong)
    return values


def _plain(name: str, value: Any) -> Any:
    """Lists where sets are meant; a lone id stands for a list of one."""
    if name in _IDS and type(value) is int:
        return [value]
    return list(value) if isinstance(value, (set, frozenset, tuple)) else value


def _file(found: Mapping[str, Any], problems: list[ConfigProblem]) -> Config:
    path = found.get("config")
    if not path:
        return Config()
    try:
        return load_config(str(path))
    except ConfigError as error:
        problems += error.errors
        return Config()


def _config(
    base: Config,
    found: Mapping[str, Any],
    relay: dict[str, Any],
    doors: dict[str, Any],
    onebot_config: Any,
    nonebot_config: Any,
) -> Config:
    token = onebot_config.onebot_access_token or None
    urls = sorted(str(url) for url in onebot_config.onebot_ws_urls)
    upstream = (*base.upstream, *(UpstreamConfig(url=_bare(url), token=token) for url in urls))
    listen = base.listen
    if "listen" in found:
        listen = _listen(found["listen"], token, doors)
    elif not found.get("config") and not urls:
        listen = ListenConfig(port=PORT, token=token, **doors)
    waits = max(base.call_timeout, API_TIMEOUT, float(nonebot_config.api_timeout or 0.0))
    return replace(base, listen=listen, upstream=upstream, call_timeout=waits, **relay)


def _bare(url: str) -> str:
    """Without the slash that pydantic puts behind a URL that has no path."""
    head, _, path = url.partition("://")
    return f"{head}://{path.rstrip('/')}" if path.count("/") == 1 and path.endswith("/") else url


def _listen(value: Any, token: str | None, doors: dict[str, Any]) -> ListenConfig | None:
    if isinstance(value, str):
        value = value.strip()
    if value is False or (isinstance(value, str) and value.lower() in OFF):
        return None
    host, port = "", value
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
    try:
        if isinstance(port, bool):
            raise ValueError
        number = int(port)
    except (TypeError, ValueError):
        text = f"is a port (6710), an address and a port (0.0.0.0:6710), or off; not {value!r}"
        raise ConfigError(text, key="listen") from None
    if host:
        doors = {**doors, "host": host.strip("[]")}
    return ListenConfig(port=number, token=token, **doors)


def _with_meta(filter: Filter) -> Filter:
    """With upstream lifecycles and heartbeats, which a relay hands out only to who names them."""
    if filter.kinds is not None:
        return filter
    return filter | Filter(kinds={"meta_event"}, exclude_kinds=filter.exclude_kinds, self_ids=filter.self_ids)


def _whole(found: Mapping[str, Any], name: str, problems: list[ConfigProblem]) -> int | None:
    value = found.get(name)
    if value is None or (type(value) is int and value > 0):
        return value
    problems.append(_problem(name, f"must be a whole number above 0, not {value!r}"))
    return None


def _seconds(found: Mapping[str, Any], name: str, problems: list[ConfigProblem]) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    if type(value) in (int, float) and 0 < value < math.inf:
        return float(value)
    problems.append(_problem(name, f"must be seconds above 0, not {value!r}"))
    return None


def _truth(found: Mapping[str, Any], name: str, problems: list[ConfigProblem]) -> bool | None:
    value = found.get(name)
    if value is None:
        return None
    words = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
    truth = words.get(str(value).strip().lower())
    if truth is None:
        problems.append(_problem(name, f"must be true or false, not {value!r}"))
    return truth


def _problem(name: str, text: str) -> ConfigProblem:
    return ConfigProblem(None, None, _key(name), text)


def _key(name: str) -> str:
    return f"{PREFIX}{name}".upper()


def _renamed(problem: ConfigProblem) -> ConfigProblem:
    """Under the name that the value has in ``.env``."""
    key = problem.key
    if problem.file is not None or key.isupper():
        return problem
    if key.startswith("upstream"):
        return problem._replace(key="ONEBOT_ACCESS_TOKEN" if key.endswith("token") else "ONEBOT_WS_URLS")
    if key == "listen.token":
        text = problem.message.replace("allow_anonymous = true", "NAPCORE_ALLOW_ANONYMOUS=true")
        return problem._replace(key="ONEBOT_ACCESS_TOKEN", message=text)
    head, _, rest = key.removeprefix("listen.").partition(".")
    name = "LISTEN" if key in ("listen.host", "listen.port") else head.upper()
    return problem._replace(key=f"{_key(name)}{rest and '.'}{rest}")


def _unknown(found: Mapping[str, Any]) -> list[str]:
    known = {*_FILTER, *_QUEUE, *_RELAY, *_LISTEN, *_OWN, *_INDEX}
    out = []
    for name in sorted(set(found) - known):
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {_key(near[0])}?" if near else ""
        out.append(f"{_key(name)} means nothing to napcore{hint}")
    return out
