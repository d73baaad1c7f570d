"""What a bot and its users do, as data: matchers, hooks, events; drawn by hypothesis, run twice by the bench."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

WORDS = ("hi", "Hi", "天气", "天气预报", "a", "ß", "SS")
"""Some contain others, some have several cases."""

COMMANDS = (("天气",), ("天气预报",), ("a",), ("a", "b"))

SEPARATORS = ("", " ", "\n", "  ", ".", "/")

TYPES = ("", "message", "message", "message", "notice", "request", "meta_event")

USERS = (7, 8)
"""The first is a superuser."""

GROUPS = (5, 6, None)
ROLES = ("member", "admin", "owner")


@dataclass(frozen=True)
class Checker:
    """A rule's or a permission's checker, and what it is made with."""

    kind: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Step:
    """What a handler does."""

    kind: str
    argument: Any = None


@dataclass(frozen=True)
class Handler:
    """A handler: its way in (``handle``, ``got``, ``receive``) and its steps."""

    entry: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Matcher:
    """A matcher. ``number`` names it in the trace."""

    number: int
    type: str
    rule: tuple[Checker, ...]
    permission: tuple[Checker, ...]
    priority: int
    block: bool
    temp: bool
    expired: bool | None
    handlers: tuple[Handler, ...]


@dataclass(frozen=True)
class Event:
    """An event, or something done to the matchers between two."""

    kind: str
    text: tuple[str, ...] = ()
    """Parts of the message: words, and ``@me``, ``@other``, ``face``."""
    user: int = 7
    group: int | None = 5
    role: str = "member"
    bot: int = 0
    change: Step | None = None


@dataclass(frozen=True)
class Program:
    """Everything."""

    matchers: tuple[Matcher, ...]
    hooks: tuple[Step, ...]
    events: tuple[Event, ...]


texts = st.lists(st.sampled_from((*WORDS, *SEPARATORS)), max_size=3).map("".join)
words = st.sampled_from(WORDS)
some_words = st.lists(words, min_size=1, max_size=2).map(tuple)
odd_words = st.one_of(some_words, some_words, some_words, st.just(("",)), st.just(()))
flags = st.sampled_from((0, 0, 2, 8, 10))
patterns = st.sampled_from(
    (
        "^hi",
        "天气",
        r"(?i)HI$",
        "a.b",
        "[",
        "CQ:face",
        "ß",
        r"^$",
        "ss",
        r"hi(?=\s)",
        "天气|hi",
        "(?:a|hi)天?",
        "CQ:at,qq=\\d+",
    )
)

rules = st.one_of(
    st.builds(
        lambda names, space: Checker("command", (tuple(names), space)),
        st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=2),
        st.sampled_from((None, None, True, False, " ")),
    ),
    st.builds(lambda names, own: Checker("shell_command", (tuple(names), own)), st.just((("a",),)), st.booleans()),
    st.builds(lambda words, fold: Checker("startswith", (words, fold)), odd_words, st.booleans()),
    st.builds(lambda words, fold: Checker("endswith", (words, fold)), odd_words, st.booleans()),
    st.builds(lambda words, fold: Checker("fullmatch", (words, fold)), odd_words, st.booleans()),
    st.builds(lambda words: Checker("keyword", words), odd_words),
    st.builds(lambda pattern, flags: Checker("regex", (pattern, flags)), patterns, flags),
    st.just(Checker("to_me")),
    st.builds(lambda name: Checker("is_type", (name,)), st.sampled_from(("group", "private", "message", "notice"))),
    st.builds(
        lambda what: Checker("custom", (what,)),
        st.sampled_from(("yes", "no", "long", "raise", "skip", "state", "depends")),
    ),
    st.just(Checker("parameterless")),
)

permissions = st.one_of(
    st.builds(
        lambda name: Checker("sender", (name,)),
        st.sampled_from(("PRIVATE", "PRIVATE_FRIEND", "GROUP", "GROUP_MEMBER", "GROUP_ADMIN", "GROUP_OWNER")),
    ),
    st.builds(lambda name: Checker("type", (name,)), st.sampled_from(("MESSAGE", "NOTICE", "REQUEST", "METAEVENT"))),
    st.just(Checker("superuser")),
    st.builds(
        lambda users, inner: Checker("user", (users, inner)),
        st.lists(st.sampled_from(("group_5_7", "group_6_8", "7", "8")), max_size=2).map(tuple),
        st.sampled_from((None, None, "GROUP_ADMIN", "custom")),
    ),
    st.builds(lambda what: Checker("custom_permission", (what,)), st.sampled_from(("yes", "no", "raise", "skip"))),
)

calm = st.one_of(
    st.just(Step("record")),
    st.builds(lambda text: Step("send", text), words),
    st.sampled_from([Step(kind) for kind in ("pause", "reject", "finish", "raise", "stop", "skip", "state")]),
)
"""What concerns nobody else."""

changes = st.one_of(
    st.builds(lambda n: Step("destroy", n), st.integers(0, 7)),
    st.builds(lambda n, rule: Step("set_rule", (n, tuple(rule))), st.integers(0, 7), st.lists(rules, max_size=2)),
    st.builds(lambda n, rule: Step("and_rule", (n, rule)), st.integers(0, 7), rules),
    st.builds(lambda n, rule: Step("add_checker", (n, rule)), st.integers(0, 7), rules),
    st.builds(lambda n: Step("drop_checker", n), st.integers(0, 7)),
    st.builds(lambda n: Step("swap_checkers", n), st.integers(0, 7)),
    st.builds(lambda n, rule: Step("set_permission", (n, rule)), st.integers(0, 7), permissions),
    st.builds(lambda n, kind: Step("set_type", (n, kind)), st.integers(0, 7), st.sampled_from(TYPES)),
    st.builds(lambda n: Step("expire", n), st.integers(0, 7)),
    st.builds(lambda n, words: Step("set_words", (n, words)), st.integers(0, 7), some_words),
    st.just(Step("reverse")),
    st.just(Step("set_provider")),
)

disturbing = st.one_of(
    changes,
    st.builds(lambda words: Step("rewrite", "".join(words)), some_words),
    st.just(Step("to_me")),
    st.just(Step("command")),
    st.builds(lambda n: Step("register", n), st.integers(0, 7)),
)
"""What other matchers notice: only done by a matcher that is alone in its priority, or the outcome would be chance."""


@st.composite
def plain_matchers(draw: st.DrawFn, number: int) -> Matcher:
    """A matcher with a rule or a permission and a handler that does nothing: what decides is whether it runs."""
    by_rule = draw(st.integers(0, 3)) > 0
    return Matcher(
        number,
        draw(st.sampled_from(("message", "message", "message", ""))),
        (draw(rules),) if by_rule else (),
        () if by_rule else tuple(draw(st.lists(permissions, min_size=1, max_size=2))),
        draw(st.sampled_from((2, 2, 6))),
        False,
        False,
        draw(st.sampled_from((None, None, None, True))),
        (Handler("handle", ()),),
    )


@st.composite
def matchers(draw: st.DrawFn, number: int) -> Matcher:
    disturbs = draw(st.integers(0, 3)) == 0
    steps = st.one_of(calm, disturbing) if disturbs else calm
    handlers = st.builds(
        Handler,
        st.sampled_from(("handle", "handle", "handle", "got", "receive")),
        st.lists(steps, max_size=2).map(tuple),
    )
    simple = draw(st.booleans())
    return Matcher(
        number,
        draw(st.sampled_from(TYPES)),
        tuple(draw(st.lists(rules, min_size=simple, max_size=1 if simple else 2))),
        tuple(draw(st.just([]) if simple else st.lists(permissions, max_size=2))),
        2 * number + 1 if disturbs else draw(st.sampled_from((2, 2, 6, 10))),
        draw(st.integers(0, 4)) == 0,
        draw(st.integers(0, 4)) == 0,
        draw(st.sampled_from((None, None, None, None, False, True))),
        tuple(draw(st.lists(handlers, min_size=1, max_size=3))),
    )


parts = st.one_of(
    words, words, words, st.sampled_from(SEPARATORS), st.sampled_from(("@me", "@other", "face", "/", "/"))
)


def words_of(matcher: Matcher) -> list[str]:
    """What a message could hold to please a matcher's rule."""
    out: list[str] = []
    for checker in matcher.rule:
        if checker.kind in {"command", "shell_command"}:
            out += [f"/{'.'.join(command)}" for command in checker.arguments[0]]
        elif checker.kind == "keyword":
            out += checker.arguments
        elif checker.kind in {"startswith", "endswith", "fullmatch"}:
            out += checker.arguments[0]
    return out


def pleasing(words: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """A message of such words, as they are, in another case, or with something in front or behind."""
    word = st.sampled_from(words)
    cased = st.one_of(word, word, word.map(str.swapcase))
    before = st.sampled_from(("", "", "", " ", "@me", "face"))
    after = st.sampled_from(("", "", "\n", "\n", " ", "face"))
    return st.tuples(before, cased, after, st.one_of(st.just(""), st.just(""), st.just(""), parts))


def messages(text: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[Event]:
    """Messages with such texts."""
    return st.builds(
        Event,
        st.just("message"),
        text,
        st.sampled_from(USERS),
        st.sampled_from(GROUPS),
        st.sampled_from(ROLES),
        st.integers(0, 1),
    )


others = st.one_of(
    messages(st.lists(parts, max_size=4).map(tuple)),
    st.builds(
        Event, st.sampled_from(("notice", "request", "meta_event", "message_sent", "foreign")), bot=st.integers(0, 1)
    ),
    st.builds(lambda change: Event("change", change=change), changes),
)

hooks = st.tuples(
    st.none()
    | st.builds(lambda words: Step("event_rewrite", "".join(words)), some_words)
    | st.sampled_from([Step("event_record"), Step("event_ignore")]),
    st.none() | st.just(Step("event_after")),
    st.none() | st.sampled_from([Step("run_record"), Step("run_cancel")]),
    st.none() | st.just(Step("run_after")),
).map(lambda steps: tuple(step for step in steps if step))
"""One of each place at most: several hooks of one place run side by side, in an order that is chance."""


@st.composite
def programs(draw: st.DrawFn) -> Program:
    kind = draw(st.sampled_from((matchers, plain_matchers)))
    made = tuple(draw(kind(number)) for number in range(draw(st.integers(1, 6))))
    known = [word for matcher in made for word in words_of(matcher)]
    pleased = messages(pleasing(known)) if known else others
    return Program(
        made,
        draw(hooks),
        tuple(draw(st.lists(st.one_of(pleased, pleased, pleased, others), min_size=1, max_size=5))),
    )
