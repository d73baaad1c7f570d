"""Planted faults: a rule read wrongly, an index that looks away, must not get past the comparison.

Each fault stands with the smallest program that shows it. The comparison has to see the difference, and has to see
none without the fault. Most are also searched for blindly, as the comparison would meet them: with
``--hypothesis-profile=full``.
"""

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
MUTANTS: dict[str, tuple[Plant, Any]] = {}


def shown_by(what: Any) -> Callable[[Plant], Plant]:
    def mutant(plant: Plant) -> Plant:
        MUTANTS[plant.__name__] = plant, what
        return plant

    return mutant


def made(
    number: int,
    *,
    type: str = "message",
    rule: Any = None,
    rules: Any = (),
    permission: Any = (),
    priority: int = 2,
    expired: bool | None = None,
    steps: Any = (),
) -> Any:
    """A matcher whose handler takes these steps."""
    checkers = [program.Checker(kind, tuple(rest)) for kind, *rest in ([rule] if rule else rules)]
    granted = [program.Checker(kind, tuple(rest)) for kind, *rest in permission]
    taken = [program.Step(step) if isinstance(step, str) else program.Step(*step) for step in steps]
    handler = program.Handler("handle", tuple(taken))
    return program.Matcher(number, type, tuple(checkers), tuple(granted), priority, False, False, expired, (handler,))


def says(*parts: str, role: str = "member") -> list[Any]:
    """A superuser's message in a group."""
    return [program.Event("message", parts, role=role)]


def change(kind: str, argument: Any) -> Any:
    """Something done to the matchers between two events."""
    return program.Event("change", change=program.Step(kind, argument))


def several(events: list[Any], *matchers: Any) -> Any:
    return program.Program(matchers, (), tuple(events))


def one(events: list[Any], **what: Any) -> Any:
    return several(events, made(0, **what))


@shown_by(one(says("hi", "\n"), rule=("endswith", ("hi",), False)))
def a_suffix_does_not_end_before_a_line_feed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.Suffix, "possible", lambda self, f: f.text is not None and f.text.endswith(self.patterns))


@shown_by(one(says("hi"), rule=("keyword", "hi", "天气")))
def a_keyword_rule_wants_every_word(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conditions.Keywords, "possible", lambda self, f: f.text is not None and all(w in f.text for w in self.words)
    )


@shown_by(one(says(" hi"), rule=("startswith", (" hi",), False)))
def a_prefix_is_looked_for_after_white_space(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conditions.Prefix, "possible", lambda self, f: f.text is not None and f.text.strip().startswith(self.patterns)
    )


@shown_by(one(says("HI"), rule=("fullmatch", ("Hi",), True)))
def a_full_match_keeps_its_case(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.Fullmatch, "possible", lambda self, f: bool(f.text) and f.text in self.texts)


@shown_by(one(says("HI"), rule=("startswith", ("hi",), True)))
def every_letter_is_without_case(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reading, "UNCASED", reading.re.compile("(?s).*"))


@shown_by(one(says("a"), rule=("startswith", ("",), False)))
def an_affix_of_nothing_fits_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.HasText, "possible", lambda self, f: False)


@shown_by(one(says("face"), rule=("regex", "CQ:face", 0)))
def an_expression_is_searched_in_the_plain_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conditions.MessagePattern, "possible", lambda self, f: f.text is not None and bool(self.pattern.search(f.text))
    )


@shown_by(one(says("a天气"), rule=("regex", "天气", 0)))
def an_expression_has_to_match_at_the_beginning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        conditions.MessagePattern,
        "possible",
        lambda self, f: f.message is not None and bool(self.pattern.match(f.message)),
    )


@shown_by(one(says("SS"), rule=("regex", "ss", 2)))
def an_expression_loses_its_flags(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reading, "_regex", lambda checker: conditions.MessagePattern(reading.re.compile(checker.regex)))


@shown_by(one(says("hi"), rule=("regex", "天气|hi", 0)))
def an_expression_requires_all_its_branches(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(index, "required_text", lambda pattern: reading.re.sub(r"\W", "", pattern.pattern))


@shown_by(several(says("hi"), made(0, steps=["to_me"], priority=1), made(1, rule=("to_me",))))
def to_me_is_settled_at_the_beginning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.ToMe, "possible", lambda self, f: f._first.to_me)


@shown_by(several(says("hi"), made(0, steps=["command"], priority=1), made(1, rule=("command", (("天气",),), None))))
def the_command_is_settled_at_the_beginning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(facts.Facts, "command_changed", False)
    patch.setattr(facts.Facts, "command", property(lambda self: _first_command(self)))


def _first_command(f: Any) -> Any:
    if f._first is not f:
        return f._first.command
    return f.__dict__.setdefault("first_command", f.state["_prefix"]["command"])


@shown_by(
    several(
        says("hi"),
        made(0, rule=("to_me",), priority=1),
        made(1, steps=["to_me"], priority=3),
        made(2, rule=("to_me",), priority=5),
    )
)
def nothing_is_put_into_the_cache(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(passage.Passage, "seed", lambda self, cache: None)


@shown_by(several(says("hi"), made(0, steps=["to_me"], priority=1), made(1, rule=("to_me",), priority=5)))
def too_much_is_put_into_the_cache(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stage.Stage, "results", lambda self, f, now: set(f_values(self)))


def f_values(self: Any) -> Any:
    from nonebot import params

    return [params._command, params._event_to_me, params._command_arg, params._command_whitespace]


@shown_by(one(says("hi"), rule=("is_type", "message")))
def a_type_has_no_subclasses(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.IsType, "possible", lambda self, f: type(f.event) in self.types)


@shown_by(one(says("hi"), permission=(("sender", "GROUP"), ("sender", "PRIVATE"))))
def a_permission_wants_all_of_its_checkers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.AnyOf, "possible", lambda self, f: all(each.possible(f) for each in self.conditions))


@shown_by(one(says("hi", role="admin"), permission=(("sender", "GROUP_ADMIN"),)))
def a_role_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.Sender, "possible", lambda self, f: isinstance(f.event, self.event_type) and not self.path)


@shown_by(one(says("hi"), permission=(("superuser",),)))
def nobody_is_a_superuser(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.SuperUser, "possible", lambda self, f: False)


@shown_by(one(says("hi"), permission=(("user", ("8", "group_5_7"), None),)))
def only_the_first_user_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conditions.Session, "possible", lambda self, f: self.users[:1] == (f.session,))


@shown_by(several(says("hi"), made(0, rules=[("keyword", "天气"), ("custom", "no")])))
def an_unknown_checker_is_skipped_with_the_known_ones(patch: pytest.MonkeyPatch) -> None:
    read = reading.Reader._rule

    def lenient(self: Any, dependent: Any, live: list[Any]) -> Any:
        try:
            return read(self, dependent, live)
        except reading.Unknown:
            return None

    patch.setattr(reading.Reader, "_rule", lenient)


@shown_by(one(says("hi"), permission=(("custom_permission", "yes"),)))
def an_unknown_permission_is_skipped_with_the_known_ones(patch: pytest.MonkeyPatch) -> None:
    read = reading.Reader._permission_checker

    def lenient(self: Any, dependent: Any) -> Any:
        try:
            return read(self, dependent)
        except reading.Unknown:
            return conditions.AnyOf(()), True

    patch.setattr(reading.Reader, "_permission_checker", lenient)


@shown_by(several(says("hi"), made(0, rule=("keyword", "天气"), permission=(("user", ("group_5_7",), "custom"),))))
def an_inner_permission_is_not_asked(patch: pytest.MonkeyPatch) -> None:
    read = reading.Reader._permission_checker

    def whole(self: Any, dependent: Any) -> Any:
        return read(self, dependent)[0], True

    patch.setattr(reading.Reader, "_permission_checker", whole)


@shown_by(one(says("hi"), rule=("parameterless",)))
def parameterless_dependencies_are_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reading.Reader, "_expect_form", lambda self, dependent: None)


@shown_by(one(says("hi"), rule=("regex", "[", 0)))
def a_faulty_expression_is_never_asked(patch: pytest.MonkeyPatch) -> None:
    read = reading._regex

    def silent(checker: Any) -> Any:
        try:
            return read(checker)
        except reading.re.error:
            return conditions.AnyOf(())

    patch.setattr(reading, "_regex", silent)


@shown_by(several(says("hi"), made(0, rule=("keyword", "天气"), expired=True)))
def what_is_past_its_time_stays(patch: pytest.MonkeyPatch) -> None:
    follow = stage.Stage.follow

    def without(self: Any, listed: Any) -> None:
        follow(self, listed)
        self._expiring = []

    patch.setattr(stage.Stage, "follow", without)


@shown_by(several([program.Event("notice")], made(0, type="")))
def a_matcher_of_every_type_wants_messages_only(patch: pytest.MonkeyPatch) -> None:
    make = index.Entry.__init__

    def as_message(self: Any, matcher: Any, read: Any) -> None:
        make(self, matcher, read)
        self.kind = self.kind or "message"

    patch.setattr(index.Entry, "__init__", as_message)


@shown_by(several(says("hi"), made(0, steps=[("rewrite", "天气")], priority=1), made(1, rule=("keyword", "天气"))))
def an_event_is_not_looked_at_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(facts.Facts, "again", lambda self: self)


@shown_by(
    several(
        [*says("hi"), change("destroy", 1), *says("hi")],
        made(0, steps=[("register", 2)], priority=1),
        made(1, rule=("keyword", "天气")),
        made(2, rule=("keyword", "hi")),
    )
)
def matchers_that_come_and_go_are_counted_only(patch: pytest.MonkeyPatch) -> None:
    follow = stage.Stage.follow

    def lazy(self: Any, listed: Any) -> None:
        if len(self._listed) != len(listed):
            follow(self, listed)

    patch.setattr(stage.Stage, "follow", lazy)


@shown_by(
    several([*says("hi"), *says("hi")], made(0, steps=[("register", 1)], priority=1), made(1, rule=("keyword", "hi")))
)
def new_matchers_are_not_seen(patch: pytest.MonkeyPatch) -> None:
    follow = stage.Stage.follow
    patch.setattr(stage.Stage, "follow", lambda self, listed: None if self._listed else follow(self, listed))


@shown_by(
    several(
        [*says("hi"), change("set_rule", (0, (program.Checker("keyword", ("hi",)),))), *says("hi")],
        made(0, rule=("keyword", "天气")),
    )
)
def attributes_are_read_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatch.Dispatch, "mark_stale", lambda self: None)


@shown_by(
    several(
        [*says("hi"), change("set_words", (0, ("hi",))), *says("hi")], made(0, rule=("startswith", ("天气",), False))
    )
)
def only_matchers_are_watched(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(index.Index, "watches", lambda self, thing: False)


@shown_by(several([*says("hi"), change("drop_checker", 0), *says("hi")], made(0, rule=("keyword", "天气"))))
def sets_of_checkers_are_read_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(index.Index, "changed", lambda self: False)


@shown_by(several(says("hi"), made(0), made(1)))
def the_order_is_turned(patch: pytest.MonkeyPatch) -> None:
    choose = stage.Stage.choose
    patch.setattr(stage.Stage, "choose", lambda self, *arguments: choose(self, *arguments)[::-1])


@shown_by(
    program.Program((made(0, rule=("keyword", "天气")),), (program.Step("event_rewrite", "天气"),), tuple(says("hi")))
)
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


@shown_by(several([program.Event("foreign")], made(0, rule=("keyword", "hi"))))
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
def test_a_planted_fault_is_seen(name: str) -> None:
    plant, what = MUTANTS[name]
    assert not difference(what)
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        assert difference(what)


SEARCHED = ["an_unknown_permission_is_skipped_with_the_known_ones", "what_is_past_its_time_stays"]
"""Found soon enough for every run."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MUTANTS if settings().max_examples >= 1000 else SEARCHED)
def test_a_planted_fault_is_found_blindly(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        MUTANTS[name][0](patch)
        try:
            find(
                program.programs(),
                difference,
                settings=settings(
                    max_examples=5000, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck)
                ),
                random=random.Random(1),
            )
        except NoSuchExample:
            pytest.fail(f"{name} made no difference in 5,000 programs")
