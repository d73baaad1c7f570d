"""A second, direct reading of go-cqhttp's event filter: slow, short, and nothing shared with the first.

Where that compiles, this interprets: it takes the path apart again at every value, as gjson does,
because an object and an array read the same path differently.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

NOTHING: Any = object()


class Refused(Exception):
    """What no filter may hold."""


def passes(rules: dict[str, Any], event: Any, search: Any = None) -> bool:
    """Whether the event passes; ``search(pattern, text)`` stands for the regular expressions."""
    outcome = True
    for key, value in rules.items():  # every entry is read, so that each mistake is found
        outcome = entry(key, value, event, search) and outcome
    return outcome


def entry(key: str, rule: Any, value: Any, search: Any) -> bool:
    if key == "":
        raise Refused(key)
    if key[0] != ".":
        inner = follow(key, value)
        return passes(rule, inner, search) if isinstance(rule, dict) else string(rule) == string(inner)
    if key in (".and", ".not"):
        if not isinstance(rule, dict):
            raise Refused(key)
        return passes(rule, value, search) == (key == ".and")
    if key == ".or":
        if not isinstance(rule, list) or not all(isinstance(one, dict) for one in rule):
            raise Refused(key)
        return True in [passes(one, value, search) for one in rule]
    if key == ".eq":
        return string(value) == string(rule)
    if key == ".neq":
        return string(value) != string(rule)
    if key == ".in" and not isinstance(rule, dict):
        if isinstance(rule, list):
            return string(value) in [string(one) for one in rule]
        return string(rule).find(string(value)) >= 0
    if key == ".contains" and not isinstance(rule, (dict, list)):
        return string(value).find(string(rule)) >= 0
    if key == ".regex" and not isinstance(rule, (dict, list)):
        return bool(search(string(rule), string(value)))
    raise Refused(key)


def string(value: Any) -> str:
    """gjson's String()."""
    if value is NOTHING or value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, (int, float)):
        return number(value)
    try:
        return orjson.dumps(value).decode()  # the stated departure from the bytes as received
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def number(value: int | float) -> str:
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return str(value)
    try:
        text = repr(float(value))
    except OverflowError:
        text = "inf" if value > 0 else "-inf"
    if text.endswith("inf"):
        return "-Inf" if text[0] == "-" else "+Inf"
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    digits, _, power = text.partition("e")
    whole, _, fraction = digits.partition(".")
    point = len(whole) + int(power or 0)
    digits = whole + fraction
    digits = "0" * -(point - 1) + digits if point < 1 else digits
    point = max(point, 1)
    digits = digits.ljust(point, "0")
    whole, fraction = digits[:point].lstrip("0") or "0", digits[point:].rstrip("0")
    return sign + whole + ("." + fraction if fraction else "")


def follow(path: str, value: Any) -> Any:
    """gjson's Get."""
    check(path)
    return get(path, value)


def check(path: str) -> None:
    masked = re.sub(r"\\.", "xx", path, flags=re.S)  # what is escaped has no meaning
    parts = masked.split(".")
    before, at = "#", 0
    for part in parts:
        rest = masked[at : at + 2]
        if before == "#" and rest == "..":
            raise Refused(path)
        if rest in ("#(", "#[") or (len(rest) == 2 and rest[0] in "@![{") or "|" in part:
            raise Refused(path)
        before, at = path[at : at + len(part)], at + len(part) + 1
    if len(parts) > 64:
        raise Refused(path)


def get(path: str, value: Any) -> Any:
    if isinstance(value, dict):
        return in_object(path, value)
    return in_array(path, value) if isinstance(value, list) else NOTHING


def in_object(path: str, value: dict[str, Any]) -> Any:
    key, wild, at = "", False, 0
    while at < len(path) and path[at] != ".":
        if path[at] == "\\":
            at += 1
            key += path[at : at + 1]
        else:
            wild = wild or path[at] in "*?"
            key += path[at]
        at += 1
    for name, inner in value.items():
        if re.fullmatch(glob(key), name, re.S) if wild else key == name:
            found = inner if at >= len(path) else get(path[at + 1 :], inner)
            if found is not NOTHING:
                return found
    return NOTHING


def glob(key: str) -> str:
    return re.sub(
        r"\\(.)|(\*+)|(\?)|(.)",
        lambda found: ".*" if found[2] else "." if found[3] else re.escape(found[1] or found[4]),
        key,
        flags=re.S,
    )


def in_array(path: str, value: list[Any]) -> Any:
    part, dot, rest = path.partition(".")
    if part == "#":
        if not dot:
            return len(value)
        return [found for one in value if (found := get(rest, one)) is not NOTHING]
    if re.fullmatch("[0-9]{1,18}", part) and int(part) < len(value):
        return get(rest, value[int(part)]) if dot else value[int(part)]
    return NOTHING
