"""Events to measure with: as NapCat reports them, each different, each a bytes object of its own.

Everything comes from a ``random.Random`` that the caller seeds, so that a run can be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import orjson

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
IDS = ("self_id", "group_id", "user_id", "message_id", "time")
FIRST_GROUP = 100_000_000
GROUPS = 200
"""Groups of a busy account; how often each speaks falls with its rank (Zipf, 1.1)."""
UNIVERSE = 3_000
"""Group ids that filters may name."""

SENTENCES = (
    "魔方我拿去弄研究了，今天的活动从晚上八点开始，大家不要忘记了。",
    "抽卡一百次，求欧气～ 🎲✨",
    "这个角色的被动技能要配合装备才有用，不然伤害打不出来",
    "see https://example.org/a?b=c&d=e for the list of today's events;",
    "哈哈哈哈哈哈",
    "有没有人知道 3.2 版本什么时候更新？",
    "早上好！",
)
CHINESE = SENTENCES[0] + SENTENCES[2]

Ids = tuple[int | None, ...]


class Events(NamedTuple):
    """Payloads and what ``json.loads`` finds in them."""

    raws: list[bytes]
    ids: list[Ids]

    @property
    def size(self) -> float:
        """Bytes per event, on average."""
        return sum(map(len, self.raws)) / len(self.raws)


@cache
def _lines() -> dict[str, bytes]:
    names = [json.loads(line)["name"] for line in (CORPUS / "expected.jsonl").read_bytes().splitlines()]
    return dict(zip(names, (CORPUS / "events.jsonl").read_bytes().split(b"\n"), strict=False))


def corpus_event(name: str) -> dict[str, Any]:
    """A decoded event of the tests' corpus, new at every call."""
    event: dict[str, Any] = json.loads(_lines()[name])
    return event


def message(text: str) -> dict[str, Any]:
    """A group message as NapCat reports it; the text is in it twice."""
    return {
        **corpus_event("group_text"),
        "raw_message": text,
        "message": [{"type": "text", "data": {"text": text}}],
    }


def text(random: Random, size: int) -> str:
    """Chat of about ``size`` bytes, mostly Chinese, the beginning never the same."""
    parts = [f"{random.randrange(1000)} "]
    used = 0
    while used < size:
        parts.append(random.choice(SENTENCES))
        used += len(parts[-1].encode())
    return "".join(parts).encode()[: max(size, 1)].decode(errors="ignore")


def _any_text(random: Random) -> dict[str, Any]:
    return message(text(random, min(int(random.lognormvariate(3.7, 0.9)), 1200)))


# What a busy account sees, by hundredths: 950 B on average, half of it below 600 B.
MIX: tuple[tuple[str, int], ...] = (
    ("text", 55),
    ("group_mixed_array", 16),
    ("group_mface_dice_markdown", 5),
    ("group_json_card", 5),
    ("group_forward_nested_parsed", 2),
    ("group_record", 2),
    ("notice_poke_group", 6),
    ("notice_emoji_like", 4),
    ("notice_group_recall", 3),
    ("notice_group_card", 1),
    ("private_friend", 1),
)


def mixed(random: Random, count: int, *, messages_only: bool = False) -> list[dict[str, Any]]:
    """``count`` decoded events of the mix in random order, its shares kept as exactly as ``count`` allows."""
    kinds = [kind for kind, share in MIX for _ in range(share)]
    if messages_only:
        kinds = [kind for kind in kinds if kind == "text" or kind.startswith("group_")]
    drawn = [kinds[number * len(kinds) // count] for number in range(count)]
    random.shuffle(drawn)
    return [_any_text(random) if kind == "text" else corpus_event(kind) for kind in drawn]


def zipf_groups(random: Random, count: int) -> list[int]:
    """The groups in which ``count`` events happen."""
    weights = [1 / (rank + 1) ** 1.1 for rank in range(GROUPS)]
    return [FIRST_GROUP + rank for rank in random.choices(range(GROUPS), weights, k=count)]


def encoded(random: Random, events: Sequence[dict[str, Any]], groups: Sequence[int] | None = None) -> Events:
    """The events as bytes with ids of their own; those of a group happen in ``groups``, in turn."""
    raws = []
    for number, event in enumerate(events):
        event["user_id"] = random.randrange(10_000, 1 << 32)
        event["time"] = 1_750_000_000 + number
        if "message_id" in event:
            event["message_id"] = 1_000_000_000 + number
        if groups is not None and "group_id" in event:
            event["group_id"] = groups[number]
        raws.append(orjson.dumps(event))
    assert len(set(raws)) == len(raws), "events must be distinct"
    return Events(raws, [ids_of_dict(json.loads(raw)) for raw in raws])


def shuffled(random: Random, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same events, the keys of each object in random order, at every depth."""

    def shuffle(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffle(item) for item in value]
        if not isinstance(value, dict):
            return value
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffle(value[key]) for key in keys}

    return [shuffle(event) for event in events]


def ids_of_dict(found: dict[str, Any]) -> Ids:
    return tuple(found.get(name) for name in IDS)


def ids_of_object(found: Any) -> Ids:
    return tuple(getattr(found, name) for name in IDS)


def by_size(seed: int) -> dict[str, Events]:
    """The classes of events that reading is measured with."""
    random = Random(seed)
    mix = mixed(random, 100)
    return {
        "512 B": encoded(random, [message(text(random, 30)) for _ in range(64)]),
        "950 B mix": encoded(random, mix, zipf_groups(random, len(mix))),
        "950 B Chinese": encoded(random, [message(CHINESE + text(random, 48)) for _ in range(64)]),
        "950 B shuffled keys": encoded(random, shuffled(random, mix), zipf_groups(random, len(mix))),
        "170 KB forward": encoded(random, [corpus_event("large_forward") for _ in range(8)]),
    }


def fresh(raws: Sequence[bytes]) -> list[bytes]:
    """The same bytes in new objects, so that nobody meets an object he has seen."""
    return [bytes(memoryview(raw)) for raw in raws]


def cover(random: Random, filters: int, per_filter: int, wanted: float) -> tuple[list[frozenset[int]], list[int]]:
    """Group sets for ``filters`` filters, and groups such that each is in a share ``wanted`` of the sets.

    The rest of each set is drawn from groups in which nothing happens.
    """
    spoken = [FIRST_GROUP + number for number in range(max(1, min(64, int(per_filter / wanted) if wanted else 64)))]
    silent = range(FIRST_GROUP + 1_000, FIRST_GROUP + 1_000 + UNIVERSE)
    hits = [min(per_filter, int(wanted * len(spoken) + random.random())) for _ in range(filters)]
    sets = [frozenset(random.sample(spoken, hit) + random.sample(silent, per_filter - hit)) for hit in hits]
    return sets, spoken


def realistic(random: Random, filters: int) -> list[frozenset[int]]:
    """Group sets of 1 to 200 groups (log-uniform), drawn from the account's groups."""
    sizes = [round(GROUPS ** random.random()) for _ in range(filters)]
    return [frozenset(random.sample(range(FIRST_GROUP, FIRST_GROUP + GROUPS), size)) for size in sizes]
