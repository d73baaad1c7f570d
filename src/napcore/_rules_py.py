"""Plain twin: the rules of one row, and what they let through."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

from napcore._event_py import Event

__all__ = ("Rules", "check_condition", "check_rules", "read_keep")

_INT64: Final = 1 << 63

_PRIVATE_MESSAGES: Final = ("message.private", "message_sent.private")
_ALWAYS_IN_A_GROUP: Final = ("message.group", "message_sent.group", "request.group")
_EVERYTHING: Final[Mapping[str, Any]] = {
    "groups": None,
    "exclude_groups": (),
    "users": None,
    "exclude_users": (),
    "kinds": None,
    "exclude_kinds": (),
    "self_ids": None,
    "private": True,
    "self_messages": False,
    "shard": None,
}
_JOIN_OR_LEAVE: Final = ("notice.group_increase", "notice.group_decrease")


@dataclass(frozen=True)
class Rules:
    """What one row lets through."""

    groups: frozenset[int] | None
    exclude_groups: frozenset[int]
    users: frozenset[int] | None
    exclude_users: frozenset[int]
    kinds: frozenset[str] | None
    exclude_kinds: frozenset[str]
    self_ids: frozenset[int] | None
    private: bool
    self_messages: bool
    shard: tuple[int, int] | None

    def passes(self, event: Event, account: int) -> bool:
        """Whether the row wants ``event``, which came over the link of ``account`` (0: unknown)."""
        self_id = event.self_id or account or None
        if self.self_ids is not None and self_id not in self.self_ids:
            return False
        kind = event.kind or ""
        path = f"{kind}.{event.sub_type}" if event.kind is not None and event.sub_type else kind
        if self.kinds is not None and not _any_matches(self.kinds, path):
            return False
        if _any_matches(self.exclude_kinds, path):
            return False
        post_type = kind.partition(".")[0]
        if post_type == "meta_event":
            return True
        if post_type == "message_sent" and not self.self_messages:
            return False
        if self.shard is not None and not self._passes_shard(event, self_id):
            return False
        if _is_about_account(event, self_id):
            return event.group_id not in self.exclude_groups
        if kind in _PRIVATE_MESSAGES:
            return self.private and self._passes_user(event)
        return self._passes_group(event) and self._passes_user(event)

    def _passes_shard(self, event: Event, self_id: int | None) -> bool:
        assert self.shard is not None
        number, count = self.shard
        # A temporary session is private: it belongs with the account's other private messages.
        group = 0 if event.kind in _PRIVATE_MESSAGES else event.group_id or 0
        return crc32(b"%d:%d" % (self_id or 0, group)) % count == number - 1

    def _passes_group(self, event: Event) -> bool:
        if event.group_id is None:
            return self.groups is None or event.kind not in _ALWAYS_IN_A_GROUP
        return (self.groups is None or event.group_id in self.groups) and event.group_id not in self.exclude_groups

    def _passes_user(self, event: Event) -> bool:
        return (self.users is None or event.user_id in self.users) and event.user_id not in self.exclude_users


def _is_about_account(event: Event, self_id: int | None) -> bool:
    if event.kind == "request.group":
        return event.sub_type == "invite"
    if event.kind in _JOIN_OR_LEAVE:
        return event.user_id is not None and event.user_id == self_id
    return event.kind == "notice.bot_offline"


def _any_matches(patterns: Iterable[str], path: str) -> bool:
    return any(_matches(pattern, path) for pattern in patterns)


def _matches(pattern: str, path: str) -> bool:
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return path.startswith(pattern[:-1])
    return path == pattern or path.startswith(pattern + ".")


def read_keep(
    condition: Callable[[Event, int], bool] | None = None, text: Mapping[str, Any] | None = None, **rules: Any
) -> tuple[Rules, Callable[[Event, int], bool] | None, Mapping[str, Any] | None]:
    """The rules of a ``keep``, and what is asked of a message beside them."""
    found = check_rules(**{**_EVERYTHING, **rules})
    check_condition(condition)
    return found, condition, text


def check_condition(condition: object) -> None:
    if condition is not None and not callable(condition):
        raise TypeError(f"a condition must be callable, not {type(condition).__name__}")


def check_rules(
    groups: Collection[int] | None,
    exclude_groups: Collection[int],
    users: Collection[int] | None,
    exclude_users: Collection[int],
    kinds: Collection[str] | None,
    exclude_kinds: Collection[str],
    self_ids: Collection[int] | None,
    private: bool,
    self_messages: bool,
    shard: tuple[int, int] | None,
) -> Rules:
    return Rules(
        None if groups is None else _ids("groups", groups),
        _ids("exclude_groups", exclude_groups),
        None if users is None else _ids("users", users),
        _ids("exclude_users", exclude_users),
        None if kinds is None else _patterns("kinds", kinds),
        _patterns("exclude_kinds", exclude_kinds),
        None if self_ids is None else _ids("self_ids", self_ids),
        bool(private),
        bool(self_messages),
        None if shard is None else _shard(shard),
    )


def _shard(shard: tuple[int, int]) -> tuple[int, int]:
    number, count = shard
    if any(isinstance(value, bool) or not isinstance(value, int) for value in (number, count)):
        raise TypeError(f"shard must be a pair of integers, not {shard!r}")
    if not 1 <= number <= count < 1 << 31:
        raise ValueError(f"shard must be (number, count) with 1 <= number <= count, not {shard!r}")
    return number, count


def _ids(name: str, values: Collection[int]) -> frozenset[int]:
    ids = list(values)
    for value in ids:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must hold integers, not {value!r}")
        if not -_INT64 <= value < _INT64:
            raise ValueError(f"{name}: {value} does not fit 64 bits")
    return frozenset(ids)


def _patterns(name: str, values: Collection[str]) -> frozenset[str]:
    if isinstance(values, str):
        raise TypeError(f"{name} must be a collection of patterns, not one string")
    patterns = list(values)
    for value in patterns:
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold strings, not {value!r}")
        if not value:
            raise ValueError(f"{name}: a pattern must not be empty")
    return frozenset(patterns)
