"""One event on its way through the priorities."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from . import alconna
from .facts import Facts
from .stage import Stage

if TYPE_CHECKING:
    from .dispatch import Dispatch


class Passage:
    """What is known of an event so far. Made when NoneBot2 has run its pre-processors and read the command."""

    __slots__ = (
        "_candidates",
        "_dispatch",
        "_facts",
        "_fresh",
        "_generation",
        "_keep_message",
        "_passed",
        "_seeds",
        "failed",
        "skipped",
        "verifying",
    )

    def __init__(self, dispatch: Dispatch, facts: Facts, verifying: bool) -> None:
        self._dispatch = dispatch
        self._facts = facts
        self._fresh = False
        self._candidates: list[Any] = []
        self._generation = -1
        self._passed: list[Stage] = []
        self._seeds: dict[Any, Any] = {}
        self._keep_message = False
        self.verifying = verifying
        self.skipped: set[Any] = set()
        """Only when verifying: the matchers that would not have been asked."""
        self.failed = False

    def choose(self, priority: int, listed: list[Any]) -> list[Any]:
        """The matchers of a priority that NoneBot2 has to ask."""
        dispatch = self._dispatch
        if not self._fresh:
            # Handlers have run since, or nothing was asked yet: the event, and rules changed in place, are looked at
            # anew.
            if self._generation == -1:
                self._facts.begin()
            else:
                self._facts = self._facts.again()
            dispatch.revise()
            self._generation = -1
        index = dispatch.index
        stage = dispatch.stage(priority, listed)
        if self._generation != index.generation:
            self._candidates = index.candidates(self._facts)
            self._generation = index.generation
        self._fresh = True
        chosen = stage.choose(self._facts, self._candidates, dispatch.now)
        self._passed.append(stage)
        if self.verifying:
            self.skipped.update(set(listed).difference(chosen))
            chosen = listed
        else:
            dispatch.counters.skipped += len(listed) - len(chosen)
        if chosen:
            self._fresh = False
            if not self.verifying:
                self._settle(index.results_of(chosen))
        return chosen

    def _settle(self, asked: set[Any]) -> None:
        """Note what NoneBot2 would have cached by now: a handler that is about to run could change what it is made of.

        ``asked``: what the rules that are about to be asked will put there by themselves.
        """
        values = self._dispatch.values
        *before, last = [stage.results(self._facts, self._dispatch.now) for stage in self._passed]
        for call in {*chain.from_iterable(before), *(last - asked)}:
            if call is alconna.KEPT_MESSAGE:
                self._keep_message = self._facts.kind == "message"
            elif call in values and call not in self._seeds:
                self._seeds[call] = values[call](self._facts)
        self._passed.clear()

    async def seed(self, cache: dict[Any, Any]) -> None:
        """Give NoneBot2's cache for this event, and the plugin's of messages, what they would have."""
        for call, value in self._seeds.items():
            if call not in cache:
                cache[call] = self._dispatch.cached(value)
        if self._keep_message:
            self._keep_message = False
            await alconna.keep_message(self._facts.bot, self._facts.event, self._facts.state)
