"""Counts, sizes and durations as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ("UNITS", "parse_count", "parse_duration", "parse_rate", "parse_size")

_SIZES: Final = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_DURATIONS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")


def parse_count(value: object) -> float:
    """A whole number; ``"off"`` and infinity are "no limit".

    Raises:
        ValueError: it is none; the text says what is right.
    """
    return _whole(_quantity(value, {"": 1}, 'a whole number or "off"'), value, 'a whole number or "off"')


def parse_size(value: object) -> float:
    """Bytes: a whole number, or text such as ``"4MiB"`` and ``"512KiB"``; ``"off"`` and infinity are "no limit".

    Raises:
        ValueError: it is none; the text says what is right.
    """
    right = 'bytes as a whole number, or with a unit: "512KiB", "4MiB", "1GiB"'
    return _whole(_quantity(value, _SIZES, right), value, right)


def parse_duration(value: object) -> float:
    """Seconds: a number, or text such as ``"500ms"``, ``"60s"``, ``"10min"``, ``"24h"``; ``"off"`` is infinite.

    Raises:
        ValueError: it is none; the text says what is right.
    """
    return _quantity(value, _DURATIONS, 'seconds as a number, or with a unit: "500ms", "60s", "10min", "24h", "7d"')


def parse_rate(value: object) -> float:
    """How many per second; ``"off"`` and infinity are "no limit".

    Raises:
        ValueError: it is none; the text says what is right.
    """
    return _quantity(value, {"": 1}, 'a number or "off"')


UNITS: Final[Mapping[str, Callable[[object], float]]] = {
    "call_timeout": parse_duration,
    "catch_up_rate": parse_rate,
    "heartbeat": parse_duration,
    "hold": parse_duration,
    "max_bytes": parse_size,
    "max_events": parse_count,
    "max_frame": parse_size,
    "max_in_flight": parse_count,
    "max_size": parse_size,
    "memory_limit": parse_size,
    "message_ttl": parse_duration,
    "min_size": parse_size,
    "notice_ttl": parse_duration,
    "request_ttl": parse_duration,
    "share_gets": parse_duration,
    "write_timeout": parse_duration,
}
"""Settings whose values may carry a unit."""


def _quantity(value: object, units: Mapping[str, float], right: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value):
        return value
    if isinstance(value, str):
        if value == "off":
            return math.inf
        match = _QUANTITY.fullmatch(value.strip())
        if match is not None and match[2].lower() in units:
            number = float(match[1]) if "." in match[1] else int(match[1])
            return number * units[match[2].lower()]
    raise ValueError(f"must be {right}; not {value!r}")


def _whole(number: float, value: object, right: str) -> float:
    if math.isinf(number):
        return number
    if number != int(number):
        raise ValueError(f"must be {right}; not {value!r}")
    return int(number)
