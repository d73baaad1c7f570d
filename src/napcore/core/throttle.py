"""How often one address may show a wrong token. No clock here: the times are passed in."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import random
from typing import Final

__all__ = ("Throttle", "is_loopback", "network")

PERIOD: Final = 60.0
"""Seconds in which guesses are counted, and the least an address is shut out for."""

GUESSES: Final = 5
"""Different wrong tokens within a period before an address is shut out."""

LOCAL_GUESSES: Final = 50
"""The same on this machine, where all share one address."""

ADDRESSES: Final = 4096
"""Addresses remembered; the one that has been quiet longest is forgotten first."""


class Throttle:
    """Slows down whoever tries tokens.

    What counts is different tokens: a bot that dials again and again with the same wrong one
    learns nothing by it, and must not shut out others behind the same address. Of an IPv6 address
    the first 64 bits count, which is what one customer has.

    From another machine, an address that has guessed too often is shut out: not even a right token
    is looked at for a minute. On this machine all bots come from the same address and any program
    could shut the others out, so a right token always gets in there, and guesses are answered as
    too many; what protects it is the token's length.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self.refused = 0
        """Handshakes turned away for it."""
        self._random = rng or random.Random()
        self._key = os.urandom(16)
        self._guesses: dict[str, dict[bytes, float]] = {}  # by address: digests of wrong tokens, when last shown
        self._until: dict[str, float] = {}

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._guesses.keys() | self._until.keys())

    def shut_out(self, address: str, now: float) -> float:
        """Seconds until tokens of ``address`` are looked at again; 0 is now. Counts a refusal if not."""
        if is_loopback(address):
            return 0.0
        return self._remaining(network(address), now)

    def wrong(self, address: str, token: str, now: float) -> float:
        """A wrong token was shown. Seconds for which there have been too many from ``address``; 0 is not yet."""
        group = network(address)
        remaining = self._remaining(group, now)
        if remaining:
            return remaining
        guesses = self._guesses.pop(group, {})
        for digest in [digest for digest, at in guesses.items() if now - at > PERIOD]:
            del guesses[digest]
        guesses[hashlib.blake2b(token.encode(errors="surrogateescape"), key=self._key, digest_size=16).digest()] = now
        # Put back at the end: the dictionary is in order of the last guess.
        self._guesses[group] = guesses
        if len(guesses) > (LOCAL_GUESSES if is_loopback(address) else GUESSES):
            del self._guesses[group]
            self._until[group] = now + self._random.uniform(PERIOD, 1.5 * PERIOD)
        self._forget(now)
        return self._remaining(group, now)

    def _remaining(self, group: str, now: float) -> float:
        until = self._until.get(group)
        if until is None:
            return 0.0
        if until <= now:
            del self._until[group]
            return 0.0
        self.refused += 1
        return until - now

    def _forget(self, now: float) -> None:
        while len(self._guesses) > ADDRESSES:
            del self._guesses[next(iter(self._guesses))]
        while len(self._until) > ADDRESSES:
            del self._until[next(iter(self._until))]


def network(address: str) -> str:
    """What stands for ``address`` where addresses are counted: itself, or the first 64 bits of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        if not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


def is_loopback(address: str) -> bool:
    """Whether a peer's ``address`` is this machine; a peer without one (a local socket) is."""
    try:
        parsed = ipaddress.ip_address(network(address))
    except ValueError:
        return not address
    return parsed.is_loopback
