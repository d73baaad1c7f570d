"""The text index: what each kind of pattern means, odd Unicode, rows that come, change and go."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest


@pytest.fixture
def make(core: Any) -> Any:
    """The class under test."""
    return importlib.import_module(core.__name__.replace("_dispatch", "_text")).TextIndex


def matches(make: Any, text: str, **patterns: Any) -> bool:
    """Whether a row with these patterns wants the text, among rows that do not."""
    index = make()
    index.add(keywords=["no text has this"], suffix=["nor this"])
    row = index.add(**patterns)
    index.add(prefix=["\U0010fffd"], ignore_case=True)
    found = index.match(text)
    assert found in ([row], [])
    return found == [row]


# What the kinds mean.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/help", True),
        ("/help me", True),
        ("/helpme", True),
        (" \n\u3000/help", True),
        ("/hel", False),
        ("/Help", False),
        ("x/help", False),
        ("//help", False),
        ("/ help", False),
        ("help", False),
        ("!help", False),
        ("", False),
        (" ", False),
    ],
)
def test_commands(make: Any, text: str, expected: bool) -> None:
    assert matches(make, text, commands=["weather", "help"]) is expected


def test_command_starts(make: Any) -> None:
    texts = ("/a", "!!a", "a", "!a", "/b", " b", "c")
    found = {
        start: [text for text in texts if matches(make, text, commands=["a", "b"], command_start=start)]
        for start in (("/", "!!"), ("",), ("", "!"), ())
    }
    assert found == {
        ("/", "!!"): ["/a", "!!a", "/b"],
        ("",): ["a", " b"],
        ("", "!"): ["a", "!a", " b"],
        (): [],
    }


def test_a_start_symbol_alone_is_a_command_without_a_name(make: Any) -> None:
    assert matches(make, " /anything", commands=[""])
    assert not matches(make, "anything", commands=[""])


@pytest.mark.parametrize(
    ("text", "anything", "space", "one_space", "nothing"),
    [
        ("/a", True, True, True, True),
        ("/a  \n\u3000", True, True, True, True),
        ("/ab", True, False, False, False),
        ("/a b", True, True, True, False),
        ("/a  b", True, True, False, False),
        ("/a\nb", True, True, False, False),
        ("\t/a b c", True, True, True, False),
    ],
)
def test_white_space_behind_a_command(
    make: Any, text: str, anything: bool, space: bool, one_space: bool, nothing: bool
) -> None:
    demands = (False, True, " ", "")
    found = tuple(matches(make, text, commands=["a"], command_whitespace=demand) for demand in demands)
    assert found == (anything, space, one_space, nothing)


def test_rows_do_not_hide_each_others_commands(make: Any) -> None:
    index = make()
    rows = [index.add(commands=[name]) for name in ("天", "天气", "天气预报", "气")]
    assert index.match("/天气预报 明天") == rows[:3]
    assert index.match("/天气") == rows[:2]


@pytest.mark.parametrize(
    ("kind", "wanted", "unwanted"),
    [
        ("prefix", ["签到", "签到了", "签到 "], [" 签到", "签", "到签到", ""]),
        ("suffix", ["签到", "我要签到"], ["签到 ", "到", "签到了", ""]),
        ("fullmatch", ["签到"], ["签到了", "我签到", " 签到", "签", ""]),
        ("keywords", ["签到", "我要签到了", "签签到到"], ["签 到", "到签", "签", ""]),
    ],
)
def test_the_other_kinds(make: Any, kind: str, wanted: list[str], unwanted: list[str]) -> None:
    assert [text for text in wanted + unwanted if matches(make, text, **{kind: ["签到", "不在"]})] == wanted


def test_one_pattern_of_any_kind_is_enough(make: Any) -> None:
    patterns = {"commands": ["a"], "prefix": ["b"], "suffix": ["c"], "fullmatch": ["dd"], "keywords": ["e"]}
    for text in ("/a", "bx", "xc", "dd", "xex", "/abcdde"):
        assert matches(make, text, **patterns)
    for text in ("a", "xb", "cx", "ddd", "d", "f"):
        assert not matches(make, text, **patterns)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 9, 12, 40, 300])
@pytest.mark.parametrize("letter", ["x", "é", "汉", "\U0001f600"])
def test_patterns_of_every_length(make: Any, letter: str, length: int) -> None:
    pattern = "".join(chr(ord(letter) + place % 3) for place in range(length))
    kinds = ("commands", "prefix", "suffix", "fullmatch", "keywords")
    index = make()
    for kind in kinds:
        index.add(**{kind: [pattern]}, command_start=[""])
    assert index.match(pattern) == [0, 1, 2, 3, 4]
    assert index.match(pattern + ".") == [0, 1, 4]
    assert index.match(" " + pattern) == [0, 2, 4]
    assert index.match(f"..{pattern}..") == [4]
    assert index.match(pattern[:-1]) == index.match(pattern[1:-1] + ".") == []


def test_words_within_words(make: Any) -> None:
    index = make()
    words = [
        "he",
        "she",
        "his",
        "hers",
        "e",
        "ushers and others",
        "hers and",
        "and other",
        "s and o",
        "other",
        "usher!",
    ]
    for word in words:
        index.add(keywords=[word])
    for text in (
        "ushers",
        "ushers and others",
        "ushers and other",
        "hers and ushers and othe",
        "s and os and o",
        "uuush",
    ):
        assert index.match(text) == [row for row, word in enumerate(words) if word in text]


def test_a_word_that_is_repeated_in_itself(make: Any) -> None:
    index = make()
    for length in range(1, 60):
        index.add(keywords=["a" * length], suffix=["ab" * length])
    for length in (1, 3, 4, 8, 30, 58, 59, 1000):
        assert index.match("a" * length) == list(range(min(length, 59)))
    assert index.match("ab" * 20) == list(range(20))


# Unicode.


def test_code_points_are_compared_not_what_they_look_like(make: Any) -> None:
    assert matches(make, "caf\u00e9", keywords=["f\u00e9"])
    assert not matches(make, "cafe\u0301", keywords=["f\u00e9"])
    assert matches(make, "👨\u200d👩\u200d👧", keywords=["👩"], ignore_case=True)


@pytest.mark.parametrize("letter", ["a", "\x00", "\xff", "\u0100", "\uffff", "\U00010000", "\U0010ffff"])
def test_texts_of_every_width(make: Any, letter: str) -> None:
    """Python keeps a text with 1, 2 or 4 bytes per character; what else is in the text decides."""
    index = make()
    rows = [index.add(prefix=[letter]), index.add(suffix=["b" + letter]), index.add(keywords=[f"a{letter}b"])]
    for other in ("", "\u1234", "\U0001f600"):
        assert index.match(f"{letter}{other}a{letter}b{letter}") == rows


def test_lone_surrogates(make: Any) -> None:
    index = make()
    index.add(keywords=["\ud83d"])
    index.add(prefix=["a\udc00"])
    index.add(fullmatch=["\ud83d\ude00"], ignore_case=True)
    assert index.match("x\ud83dy") == [0]
    assert index.match("a\udc00\U0001f600") == [1]
    assert index.match("\ud83d\ude00") == [0, 2]
    assert index.match("\U0001f600") == []


def test_white_space_is_what_python_says(make: Any) -> None:
    index = make()
    index.add(commands=["a"])
    index.add(commands=["a"], command_whitespace=True)
    for code in range(sys.maxunicode + 1):
        space = chr(code)
        if code != ord("a") and (space.isspace() or code < 0x3100):
            expected = [0, 1] if space.isspace() else []
            assert index.match(f"{space}/a") == expected, hex(code)
            assert index.match(f"/a{space}b") == (expected or [0]), hex(code)


# Without case.


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("HELLO", "hello"),
        ("straße", "STRASSE"),
        ("STRASSE", "straße"),
        ("ſ", "S"),
        ("ﬃ", "FFI"),
        ("Σ", "ς"),
        ("İ", "i\u0307"),
        ("Ω", "ω"),
        ("ᏸ", "Ᏸ"),
        ("ꭰ", "Ꭰ"),
        ("𐐀", "𐐨"),
        ("汉字ABC", "汉字abc"),
        ("ΐ", "\u03b9\u0308\u0301"),
    ],
)
def test_without_case(make: Any, pattern: str, text: str) -> None:
    for kind in ("commands", "prefix", "suffix", "fullmatch", "keywords"):
        options = {kind: [pattern], "command_start": [""]}
        assert matches(make, text, **options, ignore_case=True)
        assert not matches(make, text, **options)
        assert matches(make, pattern, **options)


def test_folding_may_end_within_a_character_of_the_text(make: Any) -> None:
    assert matches(make, "ß", prefix=["S"], ignore_case=True)
    assert matches(make, "groß", suffix=["S"], ignore_case=True)
    assert matches(make, "ﬃx", keywords=["FI"], ignore_case=True)
    assert not matches(make, "ß", fullmatch=["s"], ignore_case=True)


def test_start_symbols_and_white_space_without_case(make: Any) -> None:
    options = {"commands": ["Ping"], "command_start": ["Bot,"], "ignore_case": True}
    assert matches(make, "\u3000BOT,PING", **options)
    assert matches(make, "bot,ping\u3000x", **options, command_whitespace="\u3000")
    assert not matches(make, "bot,ping x", **options, command_whitespace="\u3000")


def test_every_character_folds_as_python_folds_it(make: Any) -> None:
    """All that change, some that do not, and a text that is longer than usual."""
    changed = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).casefold() != chr(code)]
    assert len(changed) > 1400
    index = make()
    for text in (*changed, "汉", "\ud800", "\U0010ffff"):
        row = index.add(fullmatch=[text.casefold()], ignore_case=True)
        assert row in index.match(text)
        index.remove(row)
    long = "".join(changed)
    assert index.add(fullmatch=[long], ignore_case=True) == index.add(suffix=[long[-500:].casefold()]) - 1
    assert index.match(long) == [0]
    assert index.match(long.casefold()) == [0, 1]


def test_rows_with_and_without_case_side_by_side(make: Any) -> None:
    index = make()
    for row in range(6):
        index.add(keywords=["Word"], ignore_case=row % 2 == 0)
    assert index.match("a word") == [0, 2, 4]
    assert index.match("a Word") == [0, 1, 2, 3, 4, 5]
    for row in (0, 2, 4):
        index.remove(row)
    assert index.match("a word") == []
    assert index.match("a Word") == [1, 3, 5]


# Rows.


def test_row_numbers(make: Any) -> None:
    index = make()
    assert len(index) == 0
    assert [index.add(keywords=["a"]) for _ in range(5)] == [0, 1, 2, 3, 4]
    for row in (3, 1, 4):
        index.remove(row)
    assert len(index) == 2
    assert index.match("a") == [0, 2]
    assert [index.add(keywords=["a"]) for _ in range(4)] == [1, 3, 4, 5]
    assert index.match("a") == [0, 1, 2, 3, 4, 5]


def test_replace(make: Any) -> None:
    index = make()
    row = index.add(commands=["a"], command_whitespace=True, prefix=["b"], suffix=["c"], keywords=["d"])
    index.replace(row, commands=["a"], keywords=["b"], ignore_case=True)
    found = [text for text in ("/ab", "/A", "xBx", "c", "d", "dxc") if index.match(text)]
    assert found == ["/ab", "/A", "xBx"]
    index.replace(row)
    assert index.match("/ab") == []
    assert len(index) == 1


def test_a_row_without_patterns_matches_nothing(make: Any) -> None:
    index = make()
    assert index.add() == 0
    assert index.match("") == index.match("a") == []
    index.remove(0)
    assert index.match("a") == []


def test_unknown_rows(make: Any) -> None:
    index = make()
    index.add(keywords=["a"])
    removed = index.add(keywords=["a"])
    index.remove(removed)
    for row in (removed, 2, -1, 1 << 70):
        with pytest.raises(KeyError):
            index.remove(row)
        with pytest.raises(KeyError):
            index.replace(row, keywords=["b"])
    assert len(index) == 1
    assert index.match("a") == [0]


@pytest.mark.parametrize(
    ("patterns", "error", "message"),
    [
        ({"commands": "help"}, TypeError, "commands must be a collection of strings, not one string"),
        ({"command_start": "/"}, TypeError, "command_start must be a collection of strings, not one string"),
        ({"prefix": "a"}, TypeError, "prefix must be a collection of strings, not one string"),
        ({"suffix": "a"}, TypeError, "suffix must be a collection of strings, not one string"),
        ({"fullmatch": "a"}, TypeError, "fullmatch must be a collection of strings, not one string"),
        ({"keywords": "a"}, TypeError, "keywords must be a collection of strings, not one string"),
        ({"keywords": [1]}, TypeError, "keywords must hold strings, not 1"),
        ({"keywords": b"ab"}, TypeError, "keywords must hold strings, not 97"),
        ({"keywords": None}, TypeError, "not iterable"),
        ({"prefix": ["a", None]}, TypeError, "prefix must hold strings, not None"),
        ({"command_whitespace": None}, TypeError, "command_whitespace must be a bool or a string, not None"),
        ({"command_whitespace": 1}, TypeError, "command_whitespace must be a bool or a string, not 1"),
        ({"nothing": 1}, TypeError, "unexpected keyword argument"),
        ({"prefix": ["a", ""]}, ValueError, "prefix: a pattern must not be empty"),
        ({"suffix": [""]}, ValueError, "suffix: a pattern must not be empty"),
        ({"fullmatch": [""]}, ValueError, "fullmatch: a pattern must not be empty"),
        ({"keywords": {""}}, ValueError, "keywords: a pattern must not be empty"),
        ({"commands": [""], "command_start": ["/", ""]}, ValueError, "commands: a pattern must not be empty"),
    ],
)
def test_bad_patterns_change_nothing(make: Any, patterns: dict[str, Any], error: type[Exception], message: str) -> None:
    index = make()
    kept = index.add(keywords=["kept"])
    with pytest.raises(error, match=message):
        index.add(**{"prefix": ["a"], **patterns})
    with pytest.raises(error, match=message):
        index.replace(kept, **{"prefix": ["a"], **patterns})
    assert len(index) == 1
    assert index.match("a") == []
    assert index.match("kept") == [kept]
    assert index.add(prefix=["a"]) == 1


def test_only_texts_are_matched(make: Any) -> None:
    class Text(str):
        __slots__ = ()

    index = make()
    index.add(keywords=[Text("a")])
    assert index.match(Text("bab")) == [0]
    for other in (None, b"a", 1, ["a"]):
        with pytest.raises(TypeError, match="expected a str, not "):
            index.match(other)


def test_patterns_may_come_from_any_collection(make: Any) -> None:
    index = make()
    index.add(keywords=(word for word in ("a", "b", "a")))
    index.add(keywords={"a": 1, "b": 2})
    assert index.match("b") == [0, 1]
    index.remove(0)
    assert index.match("b") == [1]


def test_a_collection_that_takes_the_row_away(make: Any) -> None:
    index = make()
    index.add(keywords=["a"])

    def words() -> Any:
        index.remove(0)
        yield "b"

    with pytest.raises(KeyError):
        index.replace(0, keywords=words())
    assert index.match("ab") == []
    assert len(index) == 0


def test_many_rows_share_patterns(make: Any) -> None:
    index = make()
    rows = [index.add(keywords=["shared"], prefix=[f"p{row % 7}"]) for row in range(1000)]
    assert index.match("it is shared") == rows
    assert index.match("p3") == rows[3::7]
    for row in rows[::2]:
        index.remove(row)
    assert index.match("it is shared") == rows[1::2]
    assert index.match("p3 shared") == sorted({*rows[1::2], *(row for row in rows[3::7] if row % 2)})


def test_thousands_of_rows_come_and_go(make: Any) -> None:
    index = make()
    words = [f"{number * 7919 % 4000:04}" for number in range(4000)]
    for word in words:
        index.add(keywords=[word], commands=[word], suffix=[f"{word}。"])
    assert index.match("0042") == [words.index("0042")]
    found = index.match("/1234567。")
    assert found == sorted(words.index(word) for word in ("1234", "2345", "3456") if word in words)
    for row in range(0, 4000, 2):
        index.remove(row)
    for text in ("0042", "/12341235", "x 39991。", "4000"):
        expected = [row for row, word in enumerate(words) if row % 2 and word in text]
        assert index.match(text) == expected
    for row in range(0, 4000, 2):
        assert index.add(keywords=["汉字"]) == row
    assert index.match("一个汉字") == list(range(0, 4000, 2))
    for row in range(4000):
        index.remove(row)
    assert index.match("汉字 0042") == []
    assert index.add(keywords=["汉字"]) == 0
    assert index.match("汉字") == [0]


def test_links_made_before_a_change(make: Any) -> None:
    """A text makes use of how words overlap; a change between two texts may concern that."""
    index = make()
    long = index.add(keywords=["abcdefghijklmnop"])
    text = "abcdefghijklmnoXghijklmnopq"
    assert index.match(text) == []
    inner = index.add(keywords=["efghijklmn"])
    assert index.match(text) == [inner]
    tail = index.add(keywords=["ghijklmnopq"])
    assert index.match(text) == index.match("abcdefghijklmnopq")[1:] == [inner, tail]
    index.remove(inner)
    assert index.match(text) == [tail]
    assert index.match("abcdefghijklmnopq") == [long, tail]
    index.remove(long)
    assert index.match("abcdefghijklmnopq") == [tail]


def test_words_behind_links_that_an_earlier_text_made(make: Any) -> None:
    index = make()
    index.add(keywords=["abcdefghijkl"])
    index.add(keywords=["cdefghijklmn"])
    index.add(keywords=["fg"])
    assert index.match("cdefghijklmn") == [1, 2]
    assert index.match("abcdefghijkX") == index.match("abcdefghXX") == [2]
    assert index.match("abcdefghijklmn") == [0, 1, 2]
