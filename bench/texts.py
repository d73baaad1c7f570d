"""Rows: which rows' patterns a text has, while the number of patterns grows; and what a change costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from statistics import median
from time import thread_time_ns
from typing import NamedTuple

from bench.corpus import SENTENCES
from bench.peers import pyahocorasick
from bench.report import Table
from bench.rounds import Case
from bench.workload import SUBJECT, Aim, Workload
from napcore import dispatch

SIZES = (10, 100, 1_000, 10_000)
TEXTS = 500
WANTED = 0.1
"""The share of texts that have one of the first ten patterns for certain."""

KINDS = ("commands", "keywords", "prefix", "fullmatch", "suffix")
SHARES = (45, 30, 10, 10, 5)

HANZI = [chr(0x4E00 + rank) for rank in range(3_000)]
HANZI_WEIGHTS = [1 / (rank + 100) for rank in range(3_000)]
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
LETTER_WEIGHTS = [12, 9, 8, 7.5, 7, 6.7, 6.3, 6, 6, 4.2, 4, 2.8, 2.8, 2.4, 2.4, 2.2, 2, 1.9, 1, 1.5, 2, 0.8, 0.2] + [
    0.1
] * 3

FLAT = "the first 10"
FLAT_NOTE = f"{FLAT}: napcore with ten of these patterns on the same texts; 0.67x: it takes two thirds of the time"
PEER_NOTE = (
    "beside peers that leave little in the caches; re alternation says whether anything is there, and the loop then "
    "what; it stops at 1,000 patterns"
)


class Pattern(NamedTuple):
    """One row's only pattern; commands begin with a slash."""

    kind: str
    text: str


class Mix(NamedTuple):
    """What the patterns and the texts are like."""

    kinds: Sequence[str]
    script: str
    ignore_case: bool = False

    def __str__(self) -> str:
        kinds = "patterns of all kinds" if len(self.kinds) > 1 else self.kinds[0]
        return f"{kinds}, {self.script}{' without case' if self.ignore_case else ''}"


ALL_KINDS = Mix(KINDS, "mixed")
KEYWORDS = Mix(("keywords",), "mixed")
MIXES = (
    ALL_KINDS,
    KEYWORDS,
    Mix(("keywords",), "Chinese"),
    Mix(("keywords",), "ASCII"),
    Mix(("keywords",), "mixed", ignore_case=True),
)


def hanzi(random: Random, count: int) -> str:
    return "".join(random.choices(HANZI, HANZI_WEIGHTS, k=count))


def word(random: Random, shortest: int, longest: int) -> str:
    return "".join(random.choices(LETTERS, LETTER_WEIGHTS, k=random.randint(shortest, longest)))


def chat(random: Random, script: str) -> str:
    """What people write: 5 to 200 characters, half of it below 30; some of it the same again and again."""
    size = min(200, max(5, int(random.lognormvariate(3.3, 0.8))))
    if script == "ASCII":
        text = ""
        while len(text) < size:
            text += word(random, 1, 9) + " "
        return text[:size]
    if script == "Chinese":
        return hanzi(random, size)
    kind = random.choices(("Chinese", "ASCII", "sentence", "command"), (55, 20, 20, 5))[0]
    if kind == "sentence":
        return random.choice(SENTENCES)
    return f"/{hanzi(random, 3)} {word(random, 2, 8)}" if kind == "command" else chat(random, kind)


def patterns(random: Random, count: int, mix: Mix) -> list[Pattern]:
    """Distinct ones, of two to five Chinese characters or four to nine letters."""
    found: dict[Pattern, None] = {}
    while len(found) < count:
        kind = random.choices(KINDS, SHARES)[0] if len(mix.kinds) > 1 else mix.kinds[0]
        chinese = mix.script == "Chinese" or (mix.script == "mixed" and random.random() < 0.7)
        text = hanzi(random, random.choice((2, 2, 3, 3, 4, 5))) if chinese else word(random, 4, 9)
        found[Pattern(kind, text)] = None
    return list(found)


def planted(random: Random, pattern: Pattern, text: str) -> str:
    """The text with the pattern in it."""
    if pattern.kind == "commands":
        return f"/{pattern.text} {text}"
    if pattern.kind == "prefix":
        return pattern.text + text
    if pattern.kind == "suffix":
        return text + pattern.text
    place = random.randint(0, len(text))
    return pattern.text if pattern.kind == "fullmatch" else text[:place] + pattern.text + text[place:]


def workloads(seed: int) -> Iterator[Workload]:
    for mix in MIXES:
        for size in SIZES[1:]:
            yield flat_workload(seed, size, mix)
    for mix in (ALL_KINDS, KEYWORDS):
        for size in SIZES:
            yield workload(seed, size, mix)


def material(seed: int, size: int, mix: Mix) -> tuple[list[Pattern], list[str], list[list[int]]]:
    """Patterns, one for each row; texts; what the naive reading finds. The first patterns are the same in all sizes."""
    chosen = patterns(Random(seed), max(SIZES), mix)[:size]
    random = Random(seed + 1)  # the same draws would make texts of the patterns themselves
    texts = []
    for _ in range(TEXTS):
        text = chat(random, mix.script)
        texts.append(planted(random, random.choice(chosen[:10]), text) if random.random() < WANTED else text)
    texts = [text.upper() for text in texts] if mix.ignore_case else texts
    find = loop_over(chosen, mix.ignore_case)
    return chosen, texts, [find(text) for text in texts]


def flat_workload(seed: int, size: int, mix: Mix) -> Workload:
    """Napcore with all patterns and with the first ten."""
    chosen, texts, expected = material(seed, size, mix)
    first = [[row for row in rows if row < 10] for rows in expected]
    return Workload(
        "text index",
        f"{size} {mix} and 10 of them",
        TEXTS,
        [
            matching(SUBJECT, index_of(chosen, mix.ignore_case).match, texts, expected),
            matching(FLAT, index_of(chosen[:10], mix.ignore_case).match, texts, first),
        ],
        deliveries=sum(map(len, expected)) / TEXTS,
        aims=[Aim(FLAT, 1 / 1.5, 1 / 2)] if size == max(SIZES) else (),
        note=FLAT_NOTE,
    )


def workload(seed: int, size: int, mix: Mix = ALL_KINDS) -> Workload:
    """Beside peers."""
    chosen, texts, expected = material(seed, size, mix)
    by_loop = loop_over(chosen, mix.ignore_case)
    matchers = {SUBJECT: index_of(chosen, mix.ignore_case).match, "Python loop": by_loop}
    if size <= 1_000:
        matchers["re alternation"] = by_alternation(chosen, by_loop)
    if mix.kinds == ("keywords",) and (automaton := pyahocorasick([text for _, text in chosen])) is not None:
        matchers["pyahocorasick"] = automaton
    return Workload(
        "text index",
        f"{size} {mix}",
        TEXTS,
        [matching(name, match, texts, expected) for name, match in matchers.items()],
        deliveries=sum(map(len, expected)) / TEXTS,
        note=PEER_NOTE,
    )


def index_of(chosen: Sequence[Pattern], ignore_case: bool) -> dispatch.TextIndex:
    index = dispatch.TextIndex()
    for pattern in chosen:
        index.add(**{pattern.kind: [pattern.text]}, ignore_case=ignore_case)  # type: ignore[arg-type]
    return index


def loop_over(chosen: Sequence[Pattern], ignore_case: bool) -> Callable[[str], list[int]]:
    """The naive reading: one kind after the other."""
    of = {kind: [(row, text) for row, (own, text) in enumerate(chosen) if own == kind] for kind in KINDS}
    commands = [(row, f"/{name}") for row, name in of["commands"]]

    def match(text: str) -> list[int]:
        text = text.casefold() if ignore_case else text
        bare = text.lstrip()
        found = [row for row, word in of["keywords"] if word in text]
        found += [row for row, command in commands if bare.startswith(command)]
        found += [row for row, prefix in of["prefix"] if text.startswith(prefix)]
        found += [row for row, suffix in of["suffix"] if text.endswith(suffix)]
        found += [row for row, whole in of["fullmatch"] if text == whole]
        return sorted(found)

    return match


def by_alternation(chosen: Sequence[Pattern], by_loop: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
    """The usual speed-up of the loop: one expression says whether there is anything."""
    forms = {"commands": r"\A\s*/{}", "prefix": r"\A{}", "suffix": r"{}\Z", "fullmatch": r"\A{}\Z", "keywords": "{}"}
    search = re.compile("|".join(forms[kind].format(re.escape(text)) for kind, text in chosen)).search

    def match(text: str) -> list[int]:
        return by_loop(text) if search(text) else []

    return match


def matching(name: str, match: Callable[[str], list[int]], texts: list[str], expected: list[list[int]]) -> Case:
    """``match`` on every text; the texts are new objects in every round."""

    def prepare() -> list[str]:
        return ["".join((text, " "))[:-1] for text in texts]

    def run(inputs: list[str]) -> list[list[int]]:
        return [match(text) for text in inputs]

    def check(_: object, found: list[list[int]]) -> None:
        assert found == expected, "other rows than the naive reading says"

    return Case(name, prepare, run, check)


def changes(seed: int) -> Table:
    """What it costs to add a keyword to many and to take it away again, and the next text after each."""
    lines = []
    for size in SIZES:
        random = Random(seed)
        chosen = patterns(random, size + 200, KEYWORDS)
        texts = [chat(random, "mixed") for _ in range(200)]
        taken = change_times(index_of(chosen[:size], False), [[text] for _, text in chosen[size:]], texts)
        lines.append([f"{size} keywords", *(f"{median(times):,.0f}" for times in taken)])
    columns = ("patterns", "add", "text after it", "same text again", "remove")
    return Table("text index: cost of a change, ns", columns, lines)


def change_times(index: dispatch.TextIndex, words: list[list[str]], texts: list[str]) -> list[list[int]]:
    """Nanoseconds of each step, for every word."""
    taken = []
    for own, text in zip(words, texts, strict=True):
        times = [thread_time_ns()]
        row = index.add(keywords=own)
        times.append(thread_time_ns())
        index.match(text)
        times.append(thread_time_ns())
        index.match(text)
        times.append(thread_time_ns())
        index.remove(row)
        times.append(thread_time_ns())
        taken.append([after - before for before, after in pairwise(times)])
    return [list(step) for step in zip(*taken, strict=True)]
