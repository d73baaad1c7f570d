"""pydantic validators that are kept: NoneBot2 builds one anew for every value it checks, three for each message.

Only the name ``type_validate_python`` of the three modules on an event's way is replaced. A validator is kept for as
long as it would be built the same again: the model's own has not been rebuilt, the type's hooks are the same
functions. Types that are neither are left to NoneBot2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .patches import Patches
    from .stock import Stock

KEPT = 512
"""Types whose validators are kept; with more, everything is forgotten and begins again."""


def keep_validators(stock: Stock, patches: Patches) -> bool:
    """Replace the three; returns False where that has no use (pydantic 1) or the modules look different."""
    if not getattr(stock.compat, "PYDANTIC_V2", False):
        return False
    import nonebot.adapters.onebot.v11.adapter as adapter
    import nonebot.adapters.onebot.v11.bot as bot
    import nonebot.internal.adapter.message as message

    before = stock.compat.type_validate_python
    modules = [module for module in (adapter, bot, message) if vars(module).get("type_validate_python") is before]
    kept = kept_validators(before, stock.compat.TypeAdapter)
    for module in modules:
        patches.put(module, "type_validate_python", kept)
    return bool(modules)


def kept_validators(before: Callable[..., Any], make: Callable[[Any], Any]) -> Callable[..., Any]:
    """``type_validate_python`` with a memory. ``make`` is pydantic's TypeAdapter."""
    validators: dict[Any, tuple[Any, Callable[[Any], Any]]] = {}

    def type_validate_python(type_: Any, data: Any) -> Any:
        """Validate data with given type."""
        try:
            made_of = _made_of(type_)
        except Exception:
            made_of = None
        if made_of is None:
            return before(type_, data)
        kept = validators.get(type_)
        if kept is None or kept[0] != made_of:
            if len(validators) >= KEPT:
                validators.clear()
            kept = validators[type_] = (made_of, make(type_).validate_python)
        return kept[1](data)

    return type_validate_python


def _made_of(type_: Any) -> Any:
    """What a type's validator is built from; None if that is not known."""
    if not isinstance(type_, type):
        return None
    own = vars(type_)
    if "__pydantic_validator__" in own:
        return _Same(own["__pydantic_validator__"]) if own.get("__pydantic_complete__") is True else None
    hooks = getattr(type_, "__get_validators__", None)
    if hooks is None or "__pydantic_fields__" in own:
        return None
    return (_Same(getattr(type_.__get_pydantic_core_schema__, "__func__", None)), *hooks())  # type: ignore[attr-defined]


class _Same:
    """Compares an object by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]
