"""``NAPCORE_SKIP_UNWANTED``: events that no matcher can want are withheld before NoneBot2 validates them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .facts import Facts
from .sketch import Sketcher

if TYPE_CHECKING:
    from napcore.dispatch import Event

    from .install import Installed

OTHER_KINDS = ("notice", "request", "meta_event")
"""Post types that are judged by the types of the matchers alone."""


class Unwanted:
    """Says of an event, before it is validated, whether no matcher of NoneBot2 can want it.

    Anything that is not understood lets the event through: another Bot class, a custom event class, a
    quoted message, a matcher whose rule is not known. While an event pre- or post-processor is
    registered nothing is withheld, for recorders and ban lists live there; that is said once, by name.
    """

    def __init__(self, installed: Installed) -> None:
        self.count = 0
        """Events withheld."""
        self._installed = installed
        self._told: set[str] = set()
        self._random = random.Random()
        self._sketcher: Sketcher | None = None

    def withholds(self, event: Event, bot: Any) -> bool:
        """Whether it is withheld; ``bot`` is whose event it is."""
        dispatch, stock = self._installed.parts()
        if dispatch is None or stock is None:
            self._tell("the index is not in place, which alone knows what matchers want")
            return False
        for processor in _processors(stock.message):
            self._tell(processor)
            return False
        settings = self._installed.settings()
        if not dispatch.speaks() or self._random.random() < settings.verify:
            return False
        if event.post_type == "message":
            wanted = self._wants_message(dispatch, stock, event, bot)
        elif event.post_type in OTHER_KINDS:
            wanted = _wants_kind(stock.message.matchers, event.post_type)
        else:
            return False
        self.count += not wanted
        return not wanted

    def _wants_message(self, dispatch: Any, stock: Any, event: Event, bot: Any) -> bool:
        if self._sketcher is None:
            self._sketcher = Sketcher(dispatch.adapter)
        sketch = self._sketcher.sketch(event.data, bot)
        if sketch is None:
            return True
        state: dict[Any, Any] = {}
        try:
            stock.rules.TrieRule.get_value(bot, sketch, state)
            return bool(dispatch.wants(Facts(bot, sketch, state)))
        except Exception:
            # NoneBot2 will run into the same, and say so.
            return True

    def _tell(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            from nonebot.log import logger

            logger.warning("napcore: NAPCORE_SKIP_UNWANTED does nothing: {}", why)


def _processors(message: Any) -> Iterator[str]:
    for name, what in (("_event_preprocessors", "pre"), ("_event_postprocessors", "post")):
        for dependent in getattr(message, name):
            yield f"the event {what}-processor {_place_of(dependent.call)} has to see every event"


def _place_of(call: Any) -> str:
    from nonebot.plugin import get_plugin_by_module_name

    module = getattr(call, "__module__", None) or type(call).__module__
    plugin = get_plugin_by_module_name(module)
    name = getattr(call, "__qualname__", None) or type(call).__qualname__
    return f"{module}.{name} of plugin {plugin.name if plugin is not None else 'none'}"


def _wants_kind(matchers: Any, kind: str) -> bool:
    return any(
        # A matcher that may be past its time has to be looked at, whatever its type.
        matcher.type in ("", kind) or matcher.expire_time or type(matcher.type) is not str
        for listed in list(matchers.values())
        for matcher in listed
    )
