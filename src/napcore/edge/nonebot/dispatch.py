"""Where the index meets NoneBot2.

``nonebot.message.handle_event`` finds three things by name in its module: ``TrieRule``, ``matchers`` and
``check_and_run_matcher``. Each gets a stand-in there and nowhere else: plugins that list, add or remove matchers, and
whoever sets a matcher provider, deal with NoneBot2's own objects. The first is called once the pre-processors are done,
so an event is judged as they left it; the second is asked for each priority when its turn comes, and answers
``handle_event`` alone with fewer matchers. Everything else stays NoneBot2's work: checking, running, tasks, hooks.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .facts import PREFIX, Facts
from .index import Index
from .passage import Passage
from .reading import Reader
from .stage import Stage
from .stock import intact

if TYPE_CHECKING:
    from .settings import Settings
    from .stock import Stock

current: ContextVar[Passage | None] = ContextVar("napcore_passage", default=None)


@dataclass
class Counters:
    """What the index has done since it was installed."""

    events: int = 0
    """Events it was in front of."""
    skipped: int = 0
    """Matchers whose rules did not have to be asked, one event and one matcher at a time."""
    verified: int = 0
    """Events on which it was held against NoneBot2 itself."""
    mismatches: int = 0
    """Matchers it would have skipped although their rules passed: each is a defect."""
    stepped_aside: int = 0
    """Events it left to NoneBot2 because something had been replaced or had gone wrong."""


class Dispatch:
    """The index, its priorities, and the decision whether it may speak."""

    def __init__(
        self, stock: Stock, adapter: Any, settings: Callable[[], Settings], seen: Callable[[type[Any]], None]
    ) -> None:
        self._stock = stock
        self.adapter = adapter
        """The module of the OneBot 11 adapter."""
        self._event_type = adapter.Event
        self._reader = Reader(stock, adapter, seen)
        self._fingerprint = stock.fingerprint()
        self._stages: dict[int, Stage] = {}
        self._stale = False
        self._settings = settings
        self._random = random.Random()
        self._told = False
        self.index = Index(self._reader, self._stock)
        self.counters = Counters()
        self.check_and_run: Any = None
        """What stands for ``check_and_run_matcher``; the index is silent while something else does."""
        params = stock.params
        self.values: dict[Any, Callable[[Facts], Any]] = {
            params._command: lambda facts: facts.command,
            params._command_arg: lambda facts: facts.state[PREFIX]["command_arg"],
            params._command_whitespace: lambda facts: facts.state[PREFIX]["command_whitespace"],
            params._event_to_me: lambda facts: facts.event.is_tome(),
        }
        """How NoneBot2's own dependencies get their results."""

    def begin(self, bot: Any, event: Any, state: dict[Any, Any]) -> Passage | None:
        """An event is about to meet the matchers. None: NoneBot2 does it alone."""
        if not isinstance(event, self._event_type):
            return None
        settings = self._settings()
        if not settings.dispatch:
            return None
        self.counters.events += 1
        if not self._is_intact():
            self.counters.stepped_aside += 1
            return None
        verifying = settings.verify > 0 and self._random.random() < settings.verify
        self.counters.verified += verifying
        return Passage(self, Facts(bot, event, state), verifying)

    def speaks(self) -> bool:
        """Whether it may speak for the matchers now."""
        return self._settings().dispatch and self._is_intact()

    def wants(self, facts: Facts) -> bool:
        """Whether any matcher may want an event that NoneBot2 has not been shown; raises what reading it does."""
        self.revise()
        facts.begin()
        matchers = self._stock.message.matchers
        candidates, generation = self.index.candidates(facts), self.index.generation
        for priority in sorted(matchers.keys()):
            listed = matchers[priority]
            if type(listed) is not list:
                return True
            if not listed:
                continue
            stage = self.stage(priority, listed)
            if generation != self.index.generation:
                candidates, generation = self.index.candidates(facts), self.index.generation
            if stage.choose(facts, candidates, self.now):
                return True
        return False

    def _is_intact(self) -> bool:
        return self._stock.message.check_and_run_matcher is self.check_and_run and intact(self._fingerprint)

    def choose(self, passage: Passage, priority: int, listed: Any) -> Any:
        """The matchers of a priority that have to be asked; all of them whenever anything is not as expected."""
        if passage.failed or type(listed) is not list:
            return listed
        try:
            return passage.choose(priority, listed)
        except Exception as error:
            passage.failed = True
            self._give_up(error)
            return listed

    def _give_up(self, error: Exception) -> None:
        self.counters.stepped_aside += 1
        self._stages.clear()
        self.index = Index(self._reader, self._stock)
        if not self._told:
            self._told = True
            self._stock.logger.opt(exception=error).warning(
                "napcore: an event could not be looked up and was left to NoneBot2 alone; further ones are only counted"
            )

    def stage(self, priority: int, listed: list[Any]) -> Stage:
        """A priority, with what is listed there now."""
        stage = self._stages.get(priority)
        if stage is None:
            stage = self._stages[priority] = Stage(self.index, self._reader)
        stage.follow(listed)
        return stage

    def revise(self) -> None:
        """Read every matcher anew if anything that was read has changed."""
        if self._stale or self.index.changed():
            self._stale = False
            self._stages.clear()
            self.index = Index(self._reader, self._stock)

    def mark_stale(self) -> None:
        """Something that was read is about to change."""
        self._stale = True

    def now(self) -> datetime:
        """NoneBot2's own clock for expiry."""
        moment: datetime = self._stock.message.datetime.now()
        return moment

    def cached(self, value: Any) -> Any:
        """A result in the form in which NoneBot2 keeps it."""
        if self._stock.dependency_cache is None:
            import asyncio

            future = asyncio.get_running_loop().create_future()
            future.set_result(value)
            return future
        cache = self._stock.dependency_cache()
        cache.set_result(value)
        return cache

    def mismatch(self, matcher: Any) -> None:
        """A matcher that would have been skipped has passed its own rule."""
        self.counters.mismatches += 1
        self._stock.logger.error(
            "napcore: {} of plugin {} would have been skipped, but its rule passed; it was run. Please report this, "
            "and set NAPCORE_DISPATCH=false until it is mended.",
            matcher,
            matcher.plugin_id,
        )


class TrieRuleStandIn:
    """``TrieRule`` for ``handle_event``: reads the command as before, then an event is about to meet the matchers."""

    def __init__(self, trie_rule: Any, dispatch: Dispatch) -> None:
        self._trie_rule = trie_rule
        self._dispatch = dispatch

    def get_value(self, bot: Any, event: Any, state: dict[Any, Any]) -> Any:
        """Read the command; raises what ``TrieRule.get_value`` raises."""
        current.set(None)
        try:
            return self._trie_rule.get_value(bot, event, state)
        finally:
            current.set(self._dispatch.begin(bot, event, state))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trie_rule, name)


class MatchersStandIn(MutableMapping[int, Any]):
    """``matchers`` for ``handle_event``; everybody else who finds it sees NoneBot2's own."""

    def __init__(self, matchers: Any, dispatch: Dispatch, reader: Any) -> None:
        self._matchers = matchers
        self._dispatch = dispatch
        self._code = reader

    def __getitem__(self, priority: int) -> Any:
        listed = self._matchers[priority]
        passage = current.get()
        if passage is None or sys._getframe(1).f_code is not self._code:
            return listed
        return self._dispatch.choose(passage, priority, listed)

    def __setitem__(self, priority: int, listed: Any) -> None:
        self._matchers[priority] = listed

    def __delitem__(self, priority: int) -> None:
        del self._matchers[priority]

    def __iter__(self) -> Iterator[int]:
        return iter(self._matchers)

    def __len__(self) -> int:
        return len(self._matchers)

    def __contains__(self, priority: object) -> bool:
        return priority in self._matchers

    def __eq__(self, other: object) -> bool:
        return bool(self._matchers == other)

    __hash__ = None  # type: ignore[assignment]  # as a MatcherManager

    def __repr__(self) -> str:
        return repr(self._matchers)

    def keys(self) -> Any:
        """The priorities, as the provider gives them."""
        return self._matchers.keys()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._matchers, name)
