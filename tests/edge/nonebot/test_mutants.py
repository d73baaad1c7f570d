"""Planted faults: a rule read wrongly, an index that looks away, must not get past the comparison."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from napcore.edge.nonebot import conditions, dispatch, facts, index, passage, reading, stage

bench: Any = sys.modules["napcore_nonebot_bench"]
program: Any = sys.modules["napcore_nonebot_program"]

Plant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Plant] = {}


def mutant(plant: Plant) -> Plant:
    MUTANTS[plant.__name__] = plant
    return plant


@mutant
def a_suffix_does_not_end_before_a_line_feed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conditions.Suffix, "possible", lambda self, f: f.text is not None and f.text.endswith(self.patterns)
    )


@mutant
def a_keyword_rule_wants_every_word(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conditions.Keywords, "possible", lambda self, f: f.text is not None and all(w in f.text for w in self.words)
    )


@mutant
def a_prefix_is_looked_for_after_white_space(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conditions.Prefix, "possible", lambda self, f: f.text is not None and f.text.strip().startswith(self.patterns)
    )


@mutant
def a_full_match_keeps_its_case(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.Fullmatch, "possible", lambda self, f: bool(f.text) and f.text in self.texts)


@mutant
def every_letter_is_without_case(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reading, "UNCASED", reading.re.compile("(?s).*"))


@mutant
def an_affix_of_nothing_fits_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.HasText, "possible", lambda self, f: False)


@mutant
def an_expression_is_searched_in_the_plain_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conditions.MessagePattern, "possible", lambda self, f: f.text is not None and bool(self.pattern.search(f.text))
    )


@mutant
def an_expression_has_to_match_at_the_beginning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conditions.MessagePattern, "possible", lambda self, f: f.message is not None and bool(self.pattern.match(f.message))
    )


@mutant
def an_expression_loses_its_flags(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        reading, "_regex", lambda checker: conditions.MessagePattern(reading.re.compile(checker.regex))
    )


@mutant
def to_me_is_settled_at_the_beginning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.ToMe, "possible", lambda self, f: f._first.to_me)


@mutant
def the_command_is_settled_at_the_beginning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(facts.Facts, "command_changed", False)
    patch.setattr(facts.Facts, "command", property(lambda self: _first_command(self)))


def _first_command(f: Any) -> Any:
    if f._first is not f:
        return f._first.command
    return f.__dict__.setdefault("first_command", f.state["_prefix"]["command"])


@mutant
def nothing_is_put_into_the_cache(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(passage.Passage, "seed", lambda self, cache: None)


@mutant
def too_much_is_put_into_the_cache(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stage.Stage, "results", lambda self, f, now: set(f_values(self)))


def f_values(self: Any) -> Any:
    from nonebot import params

    return [params._command, params._event_to_me, params._command_arg, params._command_whitespace]


@mutant
def a_type_has_no_subclasses(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.IsType, "possible", lambda self, f: type(f.event) in self.types)


@mutant
def a_permission_wants_all_of_its_checkers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.AnyOf, "possible", lambda self, f: all(each.possible(f) for each in self.conditions))


@mutant
def a_role_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.Sender, "possible", lambda self, f: isinstance(f.event, self.event_type) and not self.path)


@mutant
def nobody_is_a_superuser(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.SuperUser, "possible", lambda self, f: False)


@mutant
def only_the_first_user_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.Session, "possible", lambda self, f: self.users[:1] == (f.session,))


@mutant
def an_unknown_checker_is_skipped_with_the_known_ones(patch: pytest.MonkeyPatch) -> None:
    read = reading.Reader._rule

    def lenient(self: Any, dependent: Any) -> Any:
        try:
            return read(self, dependent)
        except reading.Unknown:
            return None

    patch.setattr(reading.Reader, "_rule", lenient)


@mutant
def an_unknown_permission_is_skipped_with_the_known_ones(patch: pytest.MonkeyPatch) -> None:
    read = reading.Reader._permission_checker

    def lenient(self: Any, dependent: Any) -> Any:
        try:
            return read(self, dependent)
        except reading.Unknown:
            return conditions.AnyOf(()), True

    patch.setattr(reading.Reader, "_permission_checker", lenient)


@mutant
def an_inner_permission_is_not_asked(patch: pytest.MonkeyPatch) -> None:
    read = reading.Reader._permission_checker

    def whole(self: Any, dependent: Any) -> Any:
        return read(self, dependent)[0], True

    patch.setattr(reading.Reader, "_permission_checker", whole)


@mutant
def parameterless_dependencies_are_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reading.Reader, "_expect_form", lambda self, dependent: None)


@mutant
def a_faulty_expression_is_never_asked(patch: pytest.MonkeyPatch) -> None:
    read = reading._regex

    def silent(checker: Any) -> Any:
        try:
            return read(checker)
        except reading.re.error:
            return conditions.AnyOf(())

    patch.setattr(reading, "_regex", silent)


@mutant
def what_is_past_its_time_stays(patch: pytest.MonkeyPatch) -> None:
    follow = stage.Stage.follow

    def without(self: Any, listed: Any) -> None:
        follow(self, listed)
        self._expiring = []

    patch.setattr(stage.Stage, "follow", without)


@mutant
def a_matcher_of_every_type_wants_messages_only(patch: pytest.MonkeyPatch) -> None:
    make = index.Entry.__init__

    def as_message(self: Any, matcher: Any, read: Any) -> None:
        make(self, matcher, read)
        self.kind = self.kind or "message"

    patch.setattr(index.Entry, "__init__", as_message)


@mutant
def an_event_is_not_looked_at_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(facts.Facts, "again", lambda self: self)


@mutant
def matchers_that_come_and_go_are_counted_only(patch: pytest.MonkeyPatch) -> None:
    follow = stage.Stage.follow

    def lazy(self: Any, listed: Any) -> None:
        if len(self._listed) != len(listed):
            follow(self, listed)

    patch.setattr(stage.Stage, "follow", lazy)


@mutant
def new_matchers_are_not_seen(patch: pytest.MonkeyPatch) -> None:
    follow = stage.Stage.follow
    patch.setattr(stage.Stage, "follow", lambda self, listed: None if self._listed else follow(self, listed))


@mutant
def attributes_are_read_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatch.Dispatch, "mark_stale", lambda self: None)


@mutant
def only_matchers_are_watched(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(index.Index, "watches", lambda self, thing: False)


@mutant
def sets_of_checkers_are_read_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(index.Index, "changed", lambda self: False)


@mutant
def the_order_is_turned(patch: pytest.MonkeyPatch) -> None:
    choose = stage.Stage.choose
    patch.setattr(stage.Stage, "choose", lambda self, *arguments: choose(self, *arguments)[::-1])


@mutant
def the_text_of_before_the_hooks_is_taken(patch: pytest.MonkeyPatch) -> None:
    from nonebot import message

    apply = message._apply_event_preprocessors
    texts: dict[int, Any] = {}

    async def early(bot: Any, event: Any, *rest: Any, **more: Any) -> Any:
        try:
            texts[id(event)] = event.get_plaintext()
        except Exception:
            texts[id(event)] = None
        return await apply(bot, event, *rest, **more)

    patch.setattr(message, "_apply_event_preprocessors", early)
    patch.setattr(facts.Facts, "text", property(lambda self: texts.get(id(self.event))))


@mutant
def other_adapters_are_served_too(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatch.Dispatch, "begin", lambda self, bot, event, state: _with_all(self, bot, event, state))


def _with_all(self: Any, bot: Any, event: Any, state: Any) -> Any:
    self.counters.events += 1
    made = facts.Facts(bot, event, state)
    if not hasattr(event, "post_type"):
        made.__dict__["text"] = None  # such an adapter may keep its text elsewhere
    return passage.Passage(self, made, False)


def difference(what: Any) -> bool:
    stock, _ = bench.run(what, napcore_on=False)
    ours, _ = bench.run(what, napcore_on=True)
    return bool(stock != ours)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_found(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        MUTANTS[name](patch)
        try:
            find(
                program.programs(),
                difference,
                settings=settings(
                    max_examples=4000,
                    phases=[Phase.generate],
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
                random=random.Random(1),
            )
        except NoSuchExample:
            pytest.fail(f"{name} made no difference in 4,000 programs")
