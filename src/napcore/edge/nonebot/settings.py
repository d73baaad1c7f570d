"""``NAPCORE_*`` in NoneBot's own configuration (``.env``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napcore.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """How the index works."""

    dispatch: bool = True
    verify: float = 0.0

    def __post_init__(self) -> None:
        verify: Any = self.verify
        dispatch: Any = self.dispatch
        if isinstance(verify, bool) or not isinstance(verify, (int, float)) or not 0 <= verify <= 1:
            raise ConfigError(f"verify is a share of events from 0 to 1 (NAPCORE_VERIFY=0.01), not {verify!r}")
        if not isinstance(dispatch, bool):
            raise ConfigError(f"dispatch is true or false (NAPCORE_DISPATCH=false), not {dispatch!r}")

    def updated(self, config: Any) -> Settings:
        """These, with what NoneBot's configuration says besides; ConfigError names what is wrong there."""
        dispatch = getattr(config, "napcore_dispatch", None)
        verify = getattr(config, "napcore_verify", None)
        return Settings(
            self.dispatch if dispatch is None else _boolean(dispatch),
            self.verify if verify is None else _number(verify),
        )


def _boolean(value: Any) -> Any:
    words = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
    return words.get(str(value).strip().lower(), value)


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
