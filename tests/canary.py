"""Whether anything secret comes out: run the suite with ``--canary``.

While a test runs, every token it gives to a relay and every text that passes through one is written
down; what napcore logs (at any level), raises and says of itself (``repr``, statistics) is searched
for them afterwards. Loaded by ``conftest.py``; the plugin of that name is this module.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import napcore.net.api
import napcore.net.traffic
from napcore import Event, Relay
from napcore.errors import NapcoreError

SHORT = 6
"""A shorter token or text turns up by chance."""

PLAIN = frozenset({"message", "private", "napcore", "connect", "upstream"})
"""Words of ours that tests take for a token or a text."""


class Canary:
    """What must not come out, and what came out."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        """What each is, by its text."""
        self.said: list[tuple[str, str]] = []
        """Where, and what."""
        self.relays: list[weakref.ref[Relay]] = []

    def plant(self, kind: str, text: object) -> None:
        """``text`` is secret from here on."""
        if isinstance(text, str) and len(text) >= SHORT and text not in PLAIN:
            self.secrets.setdefault(text, kind)

    def overhear(self, where: str, text: str) -> None:
        """Something was said."""
        self.said.append((where, text))

    def found(self) -> list[str]:
        """Every secret that came out, with where it did."""
        return [
            f"{kind} {secret!r} in {where}: {text}"
            for where, text in self.said
            for secret, kind in self.secrets.items()
            if secret in text
        ]


def listen(patch: pytest.MonkeyPatch, canary: Canary) -> None:
    """Hear all that napcore's loggers are given, whatever their level; what goes on to handlers stays as it was."""
    enabled, handle = logging.Logger.isEnabledFor, logging.Logger.callHandlers
    formatter = logging.Formatter("%(name)s %(message)s")

    def is_enabled(logger: logging.Logger, level: int) -> bool:
        # One that is silent whatever is asked for is silent: it is given to websockets' classes, which tell all.
        return (logger.name.startswith("napcore") and logger.level < logging.CRITICAL) or enabled(logger, level)

    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        if logger.name.startswith("napcore"):
            canary.overhear(f"the log ({record.levelname})", formatter.format(record))
        if enabled(logger, record.levelno):
            handle(logger, record)

    patch.setattr(logging.Logger, "isEnabledFor", is_enabled)
    patch.setattr(logging.Logger, "callHandlers", call_handlers)


def plant_message(canary: Canary, message: object) -> None:
    if isinstance(message, str):
        canary.plant("message text", message)
    elif isinstance(message, list):
        for segment in message:
            data = segment.get("data") if isinstance(segment, dict) else None
            canary.plant("message text", data.get("text") if isinstance(data, dict) else None)


def wrap(patch: pytest.MonkeyPatch, owner: Any, name: str, before: Callable[..., None]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        before(*args, **keywords)
        return original(*args, **keywords)

    patch.setattr(owner, name, wrapped)


def read(patch: pytest.MonkeyPatch, module: ModuleType, name: str, after: Callable[[Any], None]) -> None:
    """See what the function ``name`` of a module returns."""
    original = getattr(module, name)

    def wrapped(*args: Any) -> Any:
        item = original(*args)
        after(item)
        return item

    patch.setattr(module, name, wrapped)


@pytest.fixture(autouse=True)
def nothing_secret_comes_out() -> Iterator[None]:
    """Plants and listens while one test runs, and fails it if a secret came out."""
    canary = Canary()
    raised: list[NapcoreError] = []

    def plant_tokens(*_: Any, **keywords: Any) -> None:
        for name in ("token", "upstream_token"):
            canary.plant(name, keywords.get(name))

    def plant_events(events: list[Event]) -> None:
        for event in events:
            canary.plant("message text", event.data.get("raw_message"))
            plant_message(canary, event.data.get("message"))

    def plant_request(item: Any) -> None:
        params = item.data.get("params")
        plant_message(canary, params.get("message") if isinstance(params, dict) else None)

    def remember(error: NapcoreError, *args: Any) -> None:
        super(NapcoreError, error).__init__(*args)
        raised.append(error)

    with pytest.MonkeyPatch.context() as patch:
        listen(patch, canary)
        for name in ("listen", "add_upstream", "add_client"):
            wrap(patch, Relay, name, plant_tokens)
        wrap(patch, Relay, "__init__", lambda relay, *_, **__: canary.relays.append(weakref.ref(relay)))
        read(patch, napcore.net.traffic, "peek_batch", plant_events)
        read(patch, napcore.net.api, "peek_request", plant_request)
        patch.setattr(NapcoreError, "__init__", remember)
        yield
    for error in raised:
        canary.overhear("an error", f"{error} {error!r}")
    for relay in (relay for reference in canary.relays if (relay := reference()) and hasattr(relay, "opens_on_entry")):
        for thing in (relay, relay.traffic, relay.statistics(), *relay.traffic.clients, *relay.traffic.subscriptions):
            canary.overhear(f"repr({type(thing).__name__})", repr(thing))
    if found := canary.found():
        pytest.fail("secrets came out:\n" + "\n".join(found[:10]), pytrace=False)
