"""What a client wants to see."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

from napcore.dispatch import Event, Outbox, Router
from napcore.errors import ConfigError, ConfigProblem

__all__ = ("Filter",)

_INT64 = 1 << 63


@dataclass(frozen=True)
class Filter:
    """Which events a client gets. The default lets every event through but the account's own messages.

    Every rule must hold. Group rules judge messages, notices and requests *of a group*; private
    messages (temporary sessions included), friend requests and notices without a group pass
    them. Events about the account itself (group invites, its own joins and leaves,
    ``bot_offline``) are stopped only by ``exclude_groups``, ``kinds`` and ``self_ids``; meta
    events only by ``kinds`` and ``self_ids``.

    Collections of any type are taken and kept as frozensets.

    Raises:
        ConfigError: a value has the wrong type; all such values are listed.
    """

    groups: Collection[int] | None = None
    """Group ids let through; None is all, an empty collection none."""
    exclude_groups: Collection[int] = frozenset()
    """Group ids stopped, whatever ``groups`` says."""
    users: Collection[int] | None = None
    """User ids let through; an event without a user is then stopped."""
    exclude_users: Collection[int] = frozenset()
    """User ids stopped, whatever ``users`` says."""
    kinds: Collection[str] | None = None
    """Kinds let through: ``message.group``, with the sub_type ``notice.notify.poke``, a whole
    family ``notice`` or ``notice.*``. ``message_sent.group`` is not ``message.group``."""
    exclude_kinds: Collection[str] = frozenset()
    """Kinds stopped, whatever ``kinds`` says."""
    self_ids: Collection[int] | None = None
    """Accounts whose events are let through."""
    private: bool = True
    """Whether private messages pass."""
    self_messages: bool = False
    """Whether the account's own messages (``message_sent``) pass; the other rules still judge them."""
    shard: str | None = None
    """``"2/4"``: the second of four clients that share the work. The CRC-32 of account and group
    decides, so that a group stays with one of them; meta events go to all."""

    def __post_init__(self) -> None:
        problems: list[ConfigProblem] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "shard":
                if value is not None and not (isinstance(value, str) and _shard(value)):
                    problems.append(_problem("shard", f"looks like '2/4', the second of four, not {value!r}"))
                continue
            if field.name in ("private", "self_messages"):
                if not isinstance(value, bool):
                    problems.append(_problem(field.name, f"must be true or false, not {value!r}"))
                continue
            if value is None:
                if field.default is not None:
                    problems.append(_problem(field.name, "must be a collection, not None"))
                continue
            check = _not_a_kind if field.name.endswith("kinds") else _not_an_id
            if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
                problems.append(_problem(field.name, f"must be a collection such as a set, not {value!r}"))
                continue
            members = list(value)
            wrong = [text for text in map(check, members) if text]
            problems.extend(_problem(field.name, text) for text in wrong)
            if not wrong:
                object.__setattr__(self, field.name, frozenset(members))
        if problems:
            raise ConfigError(problems)

    def matches(self, event: Event, account: int = 0) -> bool:
        """Whether ``event`` passes; ``account`` stands in for a missing ``self_id``."""
        router = self.__dict__.get("_router")
        if router is None:
            router = Router()
            router.add(Outbox(), "event", **self.rules())
            object.__setattr__(self, "_router", router)
        return bool(router.match(event, account))

    def __getstate__(self) -> dict[str, Any]:
        # Without the router of matches(), which cannot be pickled and is made again.
        return self.rules()

    def rules(self) -> dict[str, Any]:
        """The keyword arguments for ``Router.add`` and ``Router.replace``."""
        rules = {field.name: getattr(self, field.name) for field in fields(self)}
        rules["shard"] = _shard(self.shard) if self.shard is not None else None
        return rules


def _problem(key: str, message: str) -> ConfigProblem:
    return ConfigProblem(None, None, key, message)


def _not_an_id(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"ids are integers, not {value!r}"
    if not -_INT64 <= value < _INT64:
        return f"{value} does not fit 64 bits"
    return None


def _not_a_kind(value: object) -> str | None:
    if not isinstance(value, str) or not value or value.startswith(".") or value.endswith("."):
        return f"a kind looks like 'message.group' or 'notice.*', not {value!r}"
    return None


def _shard(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text, re.ASCII)
    if found is None or int(found[1]) > int(found[2]):
        return None
    return int(found[1]), int(found[2])
