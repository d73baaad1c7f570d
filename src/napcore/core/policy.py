"""How much waits for a client, for how long, and what happens at the bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, get_args

from napcore.core.filter import Filter
from napcore.dispatch import Event, Outbox
from napcore.errors import ConfigError, ConfigProblem
from napcore.types import Delivery, Off, Overflow

__all__ = ("Policy", "stall_limit")

_OFF_REFUSED = ("hold", "max_frame")


@dataclass(frozen=True)
class Policy:
    """Bounds of one client's outbox.

    Numbers are positive; ``math.inf`` or ``"off"`` is unlimited; 0 is refused (only ``hold=0``
    means "no hold"); None is the documented automatic rule.

    Raises:
        ConfigError: a value is out of range; all such values are listed.
    """

    max_events: float | Off = 4096
    """Events waiting in the lane."""
    max_bytes: float | Off = 4 << 20
    """Bytes waiting in the lane; an empty lane takes any one frame."""
    max_frame: int = 50 << 20
    """Largest event in bytes; larger ones are dropped as ``oversize``."""
    overflow: Overflow = "drop_oldest"
    """What happens at the bound; ``disconnect`` clears the lane and closes the link with 1013."""
    message_ttl: float | Off = 60.0
    """Seconds a message may wait before it is dropped as ``ttl``."""
    notice_ttl: float | Off = 600.0
    """Seconds a notice may wait."""
    request_ttl: float | Off = 86400.0
    """Seconds a request may wait."""
    hold: float = 600.0
    """Seconds for which messages and notices are kept while the client has no link; requests are
    kept for their lifetime. 0 keeps nothing. Of no meaning in process, where there are no links."""
    keep: Filter | None = None
    """Messages that are evicted after all other messages."""
    delivery: Delivery = "at_most_once"
    """What happens to events that were written, and not acknowledged, when a link was cut: with
    ``at_most_once`` they are lost if the client did not get them (``uncertain``), with
    ``at_least_once`` they are kept within the bounds and written again, so that it may get some twice."""
    max_in_flight: float | Off | None = None
    """Events written beyond the last acknowledgement; None: the larger of 64 and the last second's
    count, and 256 KiB."""
    catch_up_rate: float | Off | None = None
    """Events older than 5 s that are written per second, so that what has piled up does not come
    at once; None: 50. Four times the rate of the last 10 s if that is more. Of no meaning in process."""
    write_timeout: float | Off | None = None
    """Seconds a link may take nothing while something waits; None: 10 s for remote peers, 600 s
    on loopback, where silence means a blocked bot."""

    def __post_init__(self) -> None:
        problems: list[ConfigProblem] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "overflow":
                problems += _one_of(field.name, value, get_args(Overflow))
            elif field.name == "delivery":
                problems += _one_of(field.name, value, get_args(Delivery))
            elif field.name == "keep":
                if value is not None and not isinstance(value, Filter):
                    problems.append(ConfigProblem(None, None, "keep", f"must be a Filter, not {value!r}"))
            elif value is None and field.default is None:
                continue
            elif value == "off" and field.name not in _OFF_REFUSED:
                object.__setattr__(self, field.name, math.inf)
            else:
                problems += _positive(field.name, value, zero=field.name == "hold", finite=field.name in _OFF_REFUSED)
        if problems:
            raise ConfigError(problems)

    def outbox(self, owner: object = None) -> Outbox:
        """A new, empty outbox with these bounds."""
        return Outbox(
            owner,
            max_events=float(self.max_events),
            max_bytes=float(self.max_bytes),
            max_frame=self.max_frame,
            overflow=self.overflow,
            message_ttl=float(self.message_ttl),
            notice_ttl=float(self.notice_ttl),
            request_ttl=float(self.request_ttl),
            delivery=self.delivery,
            catch_up_rate=None if self.catch_up_rate is None else float(self.catch_up_rate),
        )

    def lifetime(self, event: Event) -> float:
        """Seconds that ``event`` may wait."""
        return self.lifetimes[event.event_class]

    @property
    def lifetimes(self) -> tuple[float, float, float, float]:
        """Seconds an event may wait, by its ``EventClass``."""
        notice = float(self.notice_ttl)
        return float(self.message_ttl), notice, float(self.request_ttl), notice

    @property
    def window(self) -> float | None:
        """``max_in_flight`` as a number, None for the automatic rule."""
        return None if self.max_in_flight is None else float(self.max_in_flight)

    def stall_limit(self, loopback: bool) -> float:
        """Seconds without progress after which a link is given up; ``math.inf`` is never."""
        if self.write_timeout is not None:
            return float(self.write_timeout)
        return stall_limit(loopback)


def stall_limit(loopback: bool) -> float:
    """Seconds without progress after which a peer is given up: on this machine it may just be blocked."""
    return 600.0 if loopback else 10.0


def _one_of(key: str, value: object, names: tuple[str, ...]) -> list[ConfigProblem]:
    if value in names:
        return []
    return [ConfigProblem(None, None, key, f"must be one of {', '.join(names)}, not {value!r}")]


def _positive(key: str, value: Any, *, zero: bool, finite: bool) -> list[ConfigProblem]:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return [ConfigProblem(None, None, key, f"must be a number, not {value!r}")]
    if value < 0 or (value == 0 and not zero):
        return [ConfigProblem(None, None, key, f"must be {'0 or more' if zero else 'greater than 0'}, not {value!r}")]
    if finite and math.isinf(value):
        return [ConfigProblem(None, None, key, "must be finite")]
    if key == "max_frame" and not isinstance(value, int):
        return [ConfigProblem(None, None, key, f"must be an integer, not {value!r}")]
    return []
