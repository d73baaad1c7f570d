"""NoneBot2 as it was shipped: the parts the index relies on, and whether somebody has replaced one of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

SUPPORTED = ((2, 3), (2, 6))
"""First version that is known to work, and the first that is not: both were read and run, not guessed."""

Fingerprint = list[tuple[Any, str, Any]]


class Checkers(NamedTuple):
    """The classes of NoneBot2's own rule and permission checkers."""

    command: type[Any]
    shell_command: type[Any]
    startswith: type[Any]
    endswith: type[Any]
    fullmatch: type[Any]
    keyword: type[Any]
    regex: type[Any]
    to_me: type[Any]
    is_type: type[Any]
    user: type[Any]
    superuser: type[Any]
    kinds: tuple[type[Any], ...]
    """``MESSAGE``, ``NOTICE``, ``REQUEST`` and ``METAEVENT``."""


class Stock:
    """NoneBot2's modules and classes, imported; raises ImportError where NoneBot2 is not installed."""

    def __init__(self) -> None:
        import nonebot.compat
        import nonebot.dependencies
        import nonebot.internal.matcher.matcher
        import nonebot.internal.params
        import nonebot.internal.permission
        import nonebot.internal.rule
        import nonebot.message
        import nonebot.params
        import nonebot.permission
        import nonebot.rule
        from nonebot.log import logger

        self.message: Any = nonebot.message
        self.params: Any = nonebot.params
        self.rules: Any = nonebot.rule
        self.compat: Any = nonebot.compat
        self.Matcher: Any = nonebot.internal.matcher.matcher.Matcher
        self.MatcherMeta: Any = nonebot.internal.matcher.matcher.MatcherMeta
        self.Rule: Any = nonebot.internal.rule.Rule
        self.Permission: Any = nonebot.internal.permission.Permission
        self.Dependent: Any = nonebot.dependencies.Dependent
        self.DependParam: Any = nonebot.internal.params.DependParam
        self.dependency_cache: Any = getattr(nonebot.internal.params, "DependencyCache", None)
        """What holds a cached result; None before 2.4, where it is a future."""
        self.logger: Any = logger
        rule, permission = nonebot.rule, nonebot.permission
        self.checkers = Checkers(
            rule.CommandRule,
            rule.ShellCommandRule,
            rule.StartswithRule,
            rule.EndswithRule,
            rule.FullmatchRule,
            rule.KeywordsRule,
            rule.RegexRule,
            rule.ToMeRule,
            rule.IsTypeRule,
            nonebot.internal.permission.User,
            permission.SuperUser,
            (permission.Message, permission.Notice, permission.Request, permission.MetaEvent),
        )
        self._slots = {owner: vars(owner)["checkers"] for owner in (self.Rule, self.Permission)}
        self.handle_event: Any = nonebot.message.handle_event

    def checkers_of(self, part: Any) -> set[Any]:
        """A rule's or a permission's checkers, unnoticed by whoever watches the attribute."""
        for owner, slot in self._slots.items():
            if isinstance(part, owner):
                found: set[Any] = slot.__get__(part)
                return found
        raise TypeError(f"neither a rule nor a permission: {type(part).__name__}")

    def fingerprint(self) -> Fingerprint:
        """The functions that decide whether a matcher runs. While each is still in its place, an index may speak for
        them; nonebug and others put their own there.
        """
        c = self.checkers
        places: list[tuple[Any, str]] = [
            (self.Matcher, "check_perm"),
            (self.Matcher, "check_rule"),
            (self.Rule, "__call__"),
            (self.Permission, "__call__"),
            (self.Dependent, "__call__"),
            *((checker, "__call__") for checker in (*c[:11], *c.kinds)),
        ]
        found = [(vars(owner), name, vars(owner)[name]) for owner, name in places]
        return [*found, (vars(self.message), "_check_matcher", self.message._check_matcher)]

    def strange(self) -> str | None:
        """Why NoneBot2's dispatch does not look as expected; None where it does."""
        names = {"matchers", "TrieRule", "check_and_run_matcher"}
        missing = names - set(self.handle_event.__code__.co_names) - _names_within(self.handle_event.__code__)
        if missing:
            return f"handle_event does not use {', '.join(sorted(missing))}"
        for name in ("handle_event", "check_and_run_matcher", "_check_matcher", "_run_matcher"):
            function = getattr(self.message, name, None)
            if getattr(function, "__module__", None) != self.message.__name__:
                return f"nonebot.message.{name} has been replaced"
        return None


def _names_within(code: Any) -> set[str]:
    inner = [constant for constant in code.co_consts if hasattr(constant, "co_names")]
    return {name for constant in inner for name in (*constant.co_names, *_names_within(constant))}


def intact(fingerprint: Fingerprint) -> bool:
    """Whether each function is still the one that was found."""
    for place, name, value in fingerprint:
        if place.get(name) is not value:
            return False
    return True


def version() -> str:
    """The installed NoneBot2's version; raises ImportError where there is none, or where ``nonebot`` is version 1."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nonebot2")
    except PackageNotFoundError:
        raise ImportError("napcore.nonebot needs NoneBot2: pip install 'napcore[nonebot]'") from None


def is_supported(version: str) -> bool:
    """Whether this version of NoneBot2 is one that the index has been held against."""
    match = re.match(r"(\d+)\.(\d+)", version)
    first, beyond = SUPPORTED
    return bool(match) and first <= (int(match[1]), int(match[2])) < beyond  # type: ignore[index]


def onebot_v11() -> ModuleType | None:
    """The OneBot 11 adapter, None where it is not installed."""
    try:
        import nonebot.adapters.onebot.v11 as adapter
    except ImportError:
        return None
    return adapter


Undo = Callable[[], None]
