"""Noticing that what was read is given another value: matchers, rules, permissions and checkers.

Assignments are seen as they happen. A rule's set of checkers can also be changed in place, by whoever has got hold of
it: reading ``checkers`` from outside NoneBot2 is seen too, and such a set is compared for every event until nobody
else has it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dispatch import Dispatch
    from .patches import Patches
    from .stock import Stock

OF_MATCHERS = frozenset({"check_perm", "check_rule", "expire_time", "permission", "rule", "type"})
"""What is read of a matcher."""


def watch(stock: Stock, dispatch: Dispatch, patches: Patches) -> None:
    """Have every assignment to what was read noticed, at no cost to events."""
    meta = stock.MatcherMeta
    patches.put(meta, "__setattr__", _of_matcher(meta.__setattr__, dispatch))
    patches.put(meta, "__delattr__", _of_matcher(meta.__delattr__, dispatch))
    for owner in stock.checkers[:10]:
        watch_parts(owner, dispatch, patches)
    owners = (stock.Rule, stock.Permission, stock.checkers.user)
    functions = [getattr(each, "__func__", each) for owner in owners for each in vars(owner).values()]
    codes = frozenset(each.__code__ for each in functions if isinstance(each, FunctionType))
    for owner in (stock.Rule, stock.Permission):
        patches.put(owner, "checkers", Checkers(vars(owner)["checkers"], codes, dispatch))


def watch_parts(kind: type[Any], dispatch: Dispatch, patches: Patches) -> None:
    """The same for every object of one class."""
    patches.put(kind, "__setattr__", _of_part(kind.__setattr__, dispatch))


def _of_matcher(before: Callable[..., None], dispatch: Dispatch) -> Callable[..., None]:
    def change(matcher: Any, name: str, *value: Any) -> None:
        if name in OF_MATCHERS:
            dispatch.mark_stale()
        before(matcher, name, *value)

    return change


def _of_part(before: Callable[..., None], dispatch: Dispatch) -> Callable[..., None]:
    def __setattr__(part: Any, name: str, value: Any) -> None:
        if dispatch.index.watches(part):
            dispatch.mark_stale()
        before(part, name, value)

    return __setattr__


class Checkers:
    """The attribute ``checkers`` of rules or permissions; ``slot`` keeps the values, ``codes`` are NoneBot2's
    readers.
    """

    def __init__(self, slot: Any, codes: frozenset[Any], dispatch: Dispatch) -> None:
        self._slot = slot
        self._codes = codes
        self._dispatch = dispatch

    def __get__(self, part: Any, owner: Any = None) -> Any:
        if part is None:
            return self._slot
        index = self._dispatch.index
        if index.watches(part) and sys._getframe(1).f_code not in self._codes:
            index.expose(part)
        return self._slot.__get__(part, owner)

    def __set__(self, part: Any, value: Any) -> None:
        if self._dispatch.index.watches(part):
            self._dispatch.mark_stale()
        self._slot.__set__(part, value)
