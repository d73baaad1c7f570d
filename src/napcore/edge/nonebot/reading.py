"""Reading a matcher: what must hold for its own rule to pass, as far as every part of it is understood."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import alconna
from . import conditions as c
from .conditions import UNCASED, Unknown

if TYPE_CHECKING:
    from .stock import Stock


class Reading(NamedTuple):
    """A matcher, read."""

    conditions: tuple[c.Condition, ...] | None
    """All must hold, or the rule is certain to be false. None: nothing is certain but the type."""
    permission: c.Condition | None
    """The permission's condition, None where there is none; exact wherever :attr:`results` is not empty."""
    results: frozenset[Any]
    """Dependencies whose results NoneBot2 caches for the event when it asks this rule."""
    parts: tuple[tuple[Any, tuple[Any, ...]], ...]
    """The rule and the permission, if they were read, with their checkers: the set can be changed in place."""
    watched: tuple[Any, ...]
    """Objects that were read; an attribute of theirs may be set later."""
    live: tuple[Any, ...] = ()
    """What has to be polled, see :mod:`.alconna`."""


ALWAYS = Reading(None, None, frozenset(), (), ())


class Reader:
    """Reads matchers of one NoneBot2."""

    def __init__(self, stock: Stock, adapter: Any, seen: Callable[[type[Any]], None]) -> None:
        self._stock = stock
        self._seen = seen
        """Told of a class of checkers that was not there at first."""
        self._alconna_check: Any = None
        self._check_perm = vars(stock.Matcher)["check_perm"].__func__
        self._check_rule = vars(stock.Matcher)["check_rule"].__func__
        self._rule_call = stock.Rule.__call__
        self._permission_call = stock.Permission.__call__
        k = stock.checkers
        self._rules: dict[type[Any], Callable[[Any], c.Condition | None]] = {
            k.command: _command,
            k.shell_command: _command,
            k.startswith: _startswith,
            k.endswith: _endswith,
            k.fullmatch: _fullmatch,
            k.keyword: _keywords,
            k.regex: lambda checker: _regex(checker),
            k.to_me: lambda checker: c.ToMe(),
            k.is_type: lambda checker: c.IsType(_strict(checker.types, tuple)),
        }
        names = ("message", "notice", "request", "meta_event")
        self._kinds = dict(zip(k.kinds, (c.EventKind(name) for name in names), strict=True))
        self._functions = _sender_conditions(adapter)
        self._forms = {checker: self._form(checker) for checker in (*self._rules, *self._kinds, k.user, k.superuser)}

    def overrides(self, matcher: Any) -> bool:
        """Whether a matcher brings its own way of checking, or of setting its attributes."""
        return (
            getattr(matcher.check_perm, "__func__", None) is not self._check_perm
            or getattr(matcher.check_rule, "__func__", None) is not self._check_rule
            or type(matcher).__setattr__ is not self._stock.MatcherMeta.__setattr__
        )

    def read(self, matcher: Any) -> Reading:
        """Read a matcher; never raises for what it does not understand."""
        try:
            return self._read(matcher)
        except (AttributeError, TypeError):  # made by hand, of parts that NoneBot2 would not have put there
            return ALWAYS

    def _read(self, matcher: Any) -> Reading:
        rule, permission = matcher.rule, matcher.permission
        try:
            if type(permission).__call__ is not self._permission_call:
                raise Unknown
            granted, whole = self._permission(permission)
        except Unknown:
            return ALWAYS
        read = [permission]
        parts: list[c.Condition] = [granted] if granted else []
        results: set[Any] = set()
        try:
            if not whole or type(rule).__call__ is not self._rule_call:
                raise Unknown
            live: list[Any] = []
            checkers = self._stock.checkers_of(rule)
            needs = [self._rule(dependent, live) for dependent in checkers]
        except Unknown:
            return self._reading(parts, None, set(), read) if parts else ALWAYS
        parts += [need for need in needs if need is not None]
        if not parts:
            return ALWAYS
        for dependent in checkers:
            results |= self._results(dependent)
        return self._reading(parts, granted, results, [*read, rule], live)

    def _reading(
        self,
        conditions: list[c.Condition],
        granted: c.Condition | None,
        results: set[Any],
        read: list[Any],
        live: Sequence[Any] = (),
    ) -> Reading:
        parts = tuple((part, tuple(self._stock.checkers_of(part))) for part in read)
        watched = (*read, *(dependent.call for _, checkers in parts for dependent in checkers))
        return Reading(tuple(dict.fromkeys(conditions)), granted, frozenset(results), parts, watched, tuple(live))

    def _rule(self, dependent: Any, live: list[Any]) -> c.Condition | None:
        if alconna.is_rule(dependent.call):
            if self._alconna_check is None:
                self._alconna_check = type(dependent.call).__call__
                self._seen(type(dependent.call))
            head, part = alconna.read(dependent, self._alconna_check)
            live.append(part)
            return head
        read = self._rules.get(type(dependent.call))
        if read is None:
            raise Unknown
        self._expect_form(dependent)
        try:
            return read(dependent.call)
        except (TypeError, ValueError, re.error, RecursionError, Warning) as error:
            raise Unknown from error  # NoneBot2 logs the same error for every event, and has to go on doing so

    def _permission(self, permission: Any) -> tuple[c.Condition | None, bool]:
        """A permission's condition, and whether it is all that asking the permission would do."""
        checkers = self._stock.checkers_of(permission)
        if not checkers:
            return None, True
        read = [self._permission_checker(dependent) for dependent in checkers]
        found = tuple(condition for condition, _ in read)
        return found[0] if len(found) == 1 else c.AnyOf(found), all(whole for _, whole in read)

    def _permission_checker(self, dependent: Any) -> tuple[c.Condition, bool]:
        call = dependent.call
        by_function = self._functions.get(call) if callable(call) and hasattr(call, "__code__") else None
        if by_function is not None:
            if type(dependent) is not self._stock.Dependent or dependent.parameterless:
                raise Unknown
            return by_function, True
        kind = self._kinds.get(type(call))
        if kind is not None:
            self._expect_form(dependent)
            return kind, True
        if type(call) is self._stock.checkers.superuser:
            self._expect_form(dependent)
            return c.SuperUser(call), True
        if type(call) is self._stock.checkers.user:
            self._expect_form(dependent)
            users = _strict(call.users, tuple)
            if call.perm is None or not self._stock.checkers_of(call.perm):
                return c.Session(users), True
            try:
                inner, whole = self._permission(call.perm)
            except Unknown:
                return c.Session(users), False
            # the sets of an inner permission are not watched: asking it is left to NoneBot2
            return c.Session(users), whole and inner is None
        raise Unknown

    def _expect_form(self, dependent: Any) -> None:
        if type(dependent) is not self._stock.Dependent or dependent.parameterless:
            raise Unknown
        if self._shape(dependent) != self._forms[type(dependent.call)]:
            raise Unknown

    def _form(self, checker: type[Any]) -> tuple[Any, ...]:
        """How NoneBot2 fills a checker's parameters: taken from the checker itself, parsed as a rule would parse it."""
        kinds = (self._stock.Rule if checker in self._rules else self._stock.Permission).HANDLER_PARAM_TYPES
        return self._shape(self._stock.Dependent.parse(call=object.__new__(checker), allow_types=kinds))

    def _shape(self, dependent: Any) -> tuple[Any, ...]:
        return tuple(
            (field.name, type(field.field_info), getattr(getattr(field.field_info, "dependent", None), "call", None))
            for field in dependent.params
        )

    def _results(self, dependent: Any) -> set[Any]:
        if alconna.is_rule(dependent.call):
            return {alconna.KEPT_MESSAGE}
        depends = self._stock.DependParam
        return {
            field.field_info.dependent.call
            for field in dependent.params
            if isinstance(field.field_info, depends) and field.field_info.use_cache
        }


def _strict(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    """A checker's texts: it joins a tuple's elements, or a string's characters."""
    if type(value) not in (tuple, str) or not all(type(text) is str for text in value):
        raise TypeError
    return tuple(value)


def _command(checker: Any) -> c.Condition:
    return c.Command(frozenset(_strict(checker.cmds, tuple)))


def _affix(checker: Any, exact: Callable[[tuple[str, ...]], c.Condition], form: str) -> c.Condition | None:
    texts = _texts(checker.msg)
    if not texts or not all(texts):  # without a text, or with an empty one, the expression matches everything
        return None
    if not checker.ignorecase or all(UNCASED.fullmatch(text) for text in texts):
        return exact(texts)
    return c.TextPattern(re.compile(form.format("|".join(map(re.escape, texts))), re.IGNORECASE))


def _startswith(checker: Any) -> c.Condition | None:
    return _affix(checker, c.Prefix, r"\A(?:{})") or c.HasText()


def _endswith(checker: Any) -> c.Condition | None:
    return _affix(checker, c.Suffix, "(?:{})$") or c.HasText()


def _fullmatch(checker: Any) -> c.Condition:
    return c.Fullmatch(frozenset(_texts(checker.msg)), bool(checker.ignorecase))


def _keywords(checker: Any) -> c.Condition:
    return c.Keywords(tuple(word for word in _texts(checker.keywords) if word))


def _regex(checker: Any) -> c.Condition:
    return c.MessagePattern(re.compile(_strict(checker.regex, str), checker.flags))


def _sender_conditions(adapter: Any) -> dict[Any, c.Condition]:
    """The permissions of the OneBot 11 adapter, by their functions."""
    permission = adapter.permission
    private, group = adapter.PrivateMessageEvent, adapter.GroupMessageEvent
    return {
        permission._private: c.Sender(private),
        permission._private_friend: c.Sender(private, ("sub_type",), "friend"),
        permission._private_group: c.Sender(private, ("sub_type",), "group"),
        permission._private_other: c.Sender(private, ("sub_type",), "other"),
        permission._group: c.Sender(group),
        permission._group_member: c.Sender(group, ("sender", "role"), "member"),
        permission._group_admin: c.Sender(group, ("sender", "role"), "admin"),
        permission._group_owner: c.Sender(group, ("sender", "role"), "owner"),
    }
