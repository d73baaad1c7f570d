"""The rules on ids and kinds that a router's index carries out, and what becomes of them when filters are combined.

Rules are the keyword arguments of ``Router.add``. Where a combination cannot be written as such, what
comes out lets through too much, never too little; the rest is a condition's.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

__all__ = ("EVERYTHING", "RULES", "Rules", "meet", "no_rules", "unite")

Rules = dict[str, Any]

EVERYTHING: Final[Rules] = {
    "groups": None,
    "exclude_groups": frozenset(),
    "users": None,
    "exclude_users": frozenset(),
    "kinds": None,
    "exclude_kinds": frozenset(),
    "self_ids": None,
    "private": True,
    "self_messages": True,
    "shard": None,
}
"""The rules that let every event through."""

RULES: Final = tuple(EVERYTHING)

_ALLOWED: Final = ("groups", "users", "self_ids")
_EXCLUDED: Final = ("exclude_groups", "exclude_users")
_META: Final = frozenset({"meta_event"})


def meet(one: Rules, other: Rules) -> tuple[Rules, bool]:
    """Rules for what passes both, and whether they say exactly that."""
    met = dict(one)
    for name in (*_ALLOWED, "kinds"):
        if one[name] is None or other[name] is None:
            met[name] = other[name] if one[name] is None else one[name]
        else:
            met[name] = _common(one[name], other[name]) if name == "kinds" else one[name] & other[name]
    for name in (*_EXCLUDED, "exclude_kinds"):
        met[name] = one[name] | other[name]
    for name in ("private", "self_messages"):
        met[name] = one[name] and other[name]
    met["shard"] = one["shard"] or other["shard"]
    return met, None in (one["shard"], other["shard"]) or one["shard"] == other["shard"]


def unite(one: Rules, other: Rules) -> tuple[Rules, bool]:
    """Rules for what passes either, and whether they say exactly that."""
    united = dict(one)
    for name in (*_ALLOWED, "kinds"):
        united[name] = None if one[name] is None or other[name] is None else one[name] | other[name]
    for name in _EXCLUDED:
        united[name] = one[name] & other[name]
    united["exclude_kinds"] = _common(one["exclude_kinds"], other["exclude_kinds"])
    for name in ("private", "self_messages"):
        united[name] = one[name] or other[name]
    united["shard"] = one["shard"] if one["shard"] == other["shard"] else None
    # Where they differ in one respect only, either of two lists is the lists together.
    differing = [name for name in RULES if one[name] != other[name]]
    return united, len(differing) <= 1 and differing != ["shard"]


def no_rules(rules: Rules) -> Rules:
    """Rules for what does not pass ``rules``, as far as such rules can say it."""
    left = dict(EVERYTHING)
    narrow = {name for name in RULES if rules[name] != EVERYTHING[name]}
    if narrow == {"kinds"}:
        left["exclude_kinds"] = rules["kinds"]
    elif narrow == {"exclude_kinds"}:
        left["kinds"] = rules["exclude_kinds"]
    elif not narrow & {"kinds", "exclude_kinds", "self_ids"}:
        left["exclude_kinds"] = _META
        if not narrow - {"groups", "exclude_groups"}:
            left["private"] = False
        if narrow == {"groups"}:
            left["exclude_groups"] = rules["groups"]
    return left


def _common(one: Collection[str], other: Collection[str]) -> frozenset[str]:
    # What a pattern takes is a branch of one tree: of two, one lies within the other, or they have nothing in common.
    return frozenset(
        inner
        for here in one
        for there in other
        for inner, outer in ((here, there), (there, here))
        if _within(inner, outer)
    )


def _within(inner: str, outer: str) -> bool:
    """Whether all that ``inner`` takes is taken by ``outer``."""
    if outer == "*" or inner == outer:
        return True
    if inner == "*":
        return False
    base = inner[:-1] if inner.endswith(".*") else inner
    if outer.endswith(".*"):
        return base.startswith(outer[:-1])
    return base.startswith(outer + ".")
