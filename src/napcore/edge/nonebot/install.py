"""Switching the index on and off."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from napcore.errors import ConfigError

from .dispatch import Counters, Dispatch, MatchersStandIn, TrieRuleStandIn, current
from .patches import Patches
from .settings import Settings
from .stock import Stock, is_supported, onebot_v11, version
from .timing import PluginTime, Timing
from .validators import keep_validators
from .watch import watch, watch_parts


@dataclass(frozen=True)
class Statistics:
    """What the index and the plugins behind it have done since it was installed."""

    matchers: int
    """Matchers that it knows now."""
    events: int
    """Events that it was in front of."""
    skipped: int
    """How many times a matcher did not have to be asked."""
    verified: int
    """Events on which it was held against NoneBot2 itself."""
    mismatches: int
    """Matchers it would have skipped although their own rule passed: each is a defect, and was logged."""
    stepped_aside: int
    """Events left to NoneBot2 alone because something had been replaced, or had gone wrong."""
    plugins: tuple[PluginTime, ...]
    """Time by plugin, the busiest first."""


class Installed:
    """The index in front of NoneBot2's matchers. Made by :func:`install`."""

    def __init__(self, settings: Settings) -> None:
        self.active = False
        """Whether anything of NoneBot2 is replaced: False for a version that is not known, and once uninstalled."""
        self._settings = settings
        self._settled = False
        self._patches = Patches()
        self._dispatch: Dispatch | None = None
        self._timing = Timing()
        self._stock: Stock | None = None

    def statistics(self) -> Statistics:
        """A snapshot."""
        counters = self._dispatch.counters if self._dispatch else Counters()
        return Statistics(
            len(self._dispatch.index) if self._dispatch else 0,
            counters.events,
            counters.skipped,
            counters.verified,
            counters.mismatches,
            counters.stepped_aside,
            self._timing.statistics(),
        )

    def uninstall(self) -> None:
        """Put NoneBot2's own parts back; events on their way go on without the index. Does nothing the second time."""
        global _installed
        self.active = False
        taken = self._patches.restore()
        if taken and self._stock is not None:
            self._stock.logger.warning("napcore: somebody has replaced {} since; left as it is", ", ".join(taken))
        if _installed is self:
            _installed = None

    def settings(self) -> Settings:
        """The arguments of :func:`install` with what NoneBot's configuration says; read once NoneBot has it."""
        if not self._settled:
            import nonebot

            try:
                config = nonebot.get_driver().config
            except ValueError:
                return self._settings
            self._settled = True
            self._settings = self._settings.updated(config)
        return self._settings

    def parts(self) -> tuple[Dispatch | None, Stock | None]:
        """For the adapter: the index and the NoneBot2 it is in front of; None while it is not."""
        return (self._dispatch, self._stock) if self.active else (None, None)

    def _current_settings(self) -> Settings:
        try:
            return self.settings()
        except ConfigError as error:
            assert self._stock is not None
            self._stock.logger.error("napcore: {}; going on with {}", error, self._settings)
            return self._settings

    def _watch_checkers(self, kind: type[Any]) -> None:
        assert self._dispatch is not None
        watch_parts(kind, self._dispatch, self._patches)

    def _put(self, stock: Stock, adapter: Any) -> None:
        self._stock = stock
        keep_validators(stock, self._patches)
        message = stock.message
        dispatch = self._dispatch = Dispatch(stock, adapter, self._current_settings, self._watch_checkers)
        watch(stock, dispatch, self._patches)
        check_and_run = _seeding(message.check_and_run_matcher)
        dispatch.check_and_run = check_and_run
        self._patches.put(message, "TrieRule", TrieRuleStandIn(message.TrieRule, dispatch))
        self._patches.put(message, "matchers", MatchersStandIn(message.matchers, dispatch, stock.handle_event.__code__))
        self._patches.put(message, "check_and_run_matcher", check_and_run)
        self._patches.put(message, "_run_matcher", _watching(message._run_matcher, dispatch, self._timing))
        self.active = True


_installed: Installed | None = None


def install(*, dispatch: bool = True, verify: float = 0.0) -> Installed:
    """Put an index in front of NoneBot2's matchers: a message is shown to those whose own rule may pass.

    Call it before or after ``nonebot.init()``; a second call changes nothing and returns the first one's object. What
    NoneBot's configuration says (``NAPCORE_DISPATCH``, ``NAPCORE_VERIFY``) goes before the arguments.

    Args:
        dispatch: False keeps the faster validation of events and the statistics, and leaves matching to NoneBot2.
        verify: the share of events, from 0 to 1, on which every matcher is asked as without the index; one that would
            have been skipped although its rule passes is logged with its plugin, and runs.

    A version of NoneBot2 other than 2.3 to 2.5 is left as it is, with one warning.

    Raises:
        ImportError: NoneBot2 is not installed.
        ConfigError: an argument or a setting is out of range.
    """
    global _installed
    settings = Settings(dispatch, verify)
    if _installed is not None:
        return _installed
    found = version()
    installed = Installed(settings)
    stock = Stock() if is_supported(found) else None
    problem = stock.strange() if stock else f"version {found} is not known to this napcore"
    adapter = onebot_v11()
    if problem is None and adapter is None:
        problem = "nonebot-adapter-onebot is not installed"
    if stock is None or problem is not None:
        from nonebot.log import logger

        logger.warning("napcore leaves NoneBot2 as it is: {}", problem)
    else:
        installed._stock = stock
        installed.settings()
        installed._put(stock, adapter)
    _installed = installed
    return installed


def _seeding(before: Any) -> Any:
    @functools.wraps(before)
    async def check_and_run_matcher(
        Matcher: Any, bot: Any, event: Any, state: Any, stack: Any = None, dependency_cache: Any = None
    ) -> None:
        passage = current.get()
        if passage is not None and dependency_cache is not None:
            await passage.seed(dependency_cache)
        await before(Matcher, bot, event, state, stack, dependency_cache)

    return check_and_run_matcher


def _watching(before: Any, dispatch: Dispatch, timing: Timing) -> Any:
    @functools.wraps(before)
    async def _run_matcher(
        Matcher: Any, bot: Any, event: Any, state: Any, stack: Any = None, dependency_cache: Any = None
    ) -> None:
        passage = current.get()
        if passage is not None and Matcher in passage.skipped:
            dispatch.mismatch(Matcher)
        await timing.run(Matcher, before(Matcher, bot, event, state, stack, dependency_cache))

    return _run_matcher
