"""Attributes put in the place of others, and put back."""

from __future__ import annotations

from typing import Any, NamedTuple

MISSING = object()


class Patch(NamedTuple):
    """One attribute."""

    owner: Any
    name: str
    value: Any
    before: Any


class Patches:
    """What was put where; :meth:`restore` puts back what is still ours."""

    def __init__(self) -> None:
        self._made: list[Patch] = []

    def put(self, owner: Any, name: str, value: Any) -> None:
        """Put ``value`` in the place of ``owner``'s attribute."""
        self._made.append(Patch(owner, name, value, vars(owner).get(name, MISSING)))
        setattr(owner, name, value)

    def restore(self) -> list[str]:
        """Put everything back; returns the names of what somebody else has replaced since, which is left to them."""
        taken = []
        while self._made:
            patch = self._made.pop()
            if vars(patch.owner).get(patch.name) is not patch.value:
                taken.append(f"{getattr(patch.owner, '__name__', patch.owner)}.{patch.name}")
            elif patch.before is MISSING:
                delattr(patch.owner, patch.name)
            else:
                setattr(patch.owner, patch.name, patch.before)
        return taken
