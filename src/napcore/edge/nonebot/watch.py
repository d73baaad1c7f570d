"""Noticing that something which was read is given another value: rules, permissions and checkers of loaded matchers."""

from __future__ import annotations

from collections.abc import Callable
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
    k = stock.checkers
    for owner in (stock.Rule, stock.Permission, *k[:10]):
        watch_parts(owner, dispatch, patches)


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
