"""Who runs: each contender is a server program and how the driver meets it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from bench.wire.build import HERE, Tools
from bench.wire.loads import Load

C_EACH, C_GATHER, C_IOVEC = "C send loop", "C gathered", "C gathered, iovec"
OWN = "napcore"
OWN_UVLOOP, OWN_TRIO = "napcore uvloop", "napcore trio"
PICOWS, BROADCAST, AIOHTTP, NODE = "picows", "websockets broadcast", "aiohttp", "node ws"

Command = Callable[[Load, int], Sequence[str]]


@dataclass(frozen=True)
class Contender:
    """A server under test."""

    name: str
    command: Command
    """Given the load and the driver's own port."""
    dials: bool = False
    """Whether it opens the links to the clients."""
    tls: bool = False
    filters: bool = False
    """Whether its clients can want a part of the events."""
    bounded: bool = True
    """Whether one client that does not read leaves it running: C's loops wait for each client."""


def contenders(tools: Tools) -> tuple[list[Contender], list[str]]:
    """Those that can run here, and a line for each that cannot."""
    found, missing = [_floor(tools, name, how) for name, how in FLOORS.items()], []
    found += [_relay(name, *parts) for name, parts in RELAYS.items()]
    for name, (module, server, tls) in PEERS.items():
        if find_spec(module) is None:
            missing.append(f"skipped: {name}: {module} is not installed")
        else:
            found.append(_python(name, server, tls))
    if tools.node is None:
        missing.append("skipped: node ws: no node, or npm could not install ws")
    else:
        script = str(HERE / "node_ws.mjs")
        found += [_fixed(NODE, "node", script, "each"), _fixed(f"{NODE}, stringify once", "node", script, "once")]
    for loop in ("uvloop", "trio"):
        if find_spec(loop) is None:
            missing.append(f"skipped: napcore {loop}: it is not installed")
            found = [one for one in found if not one.name.startswith(f"{OWN} {loop}")]
    if not tools.tls:
        missing.append("skipped: TLS: OpenSSL's headers are not installed")
        found = [one for one in found if not one.tls]
    return found, missing


FLOORS = {C_EACH: "each", C_GATHER: "gather", C_IOVEC: "iovec"}

RELAYS: dict[str, tuple[str, ...]] = {
    OWN: ("asyncio",),
    OWN_UVLOOP: ("uvloop",),
    OWN_TRIO: ("trio",),
    f"{OWN}, no window": ("asyncio", "max_in_flight=off"),
    f"{OWN}, masked": ("asyncio", "dial"),
    f"{OWN_TRIO}, masked": ("trio", "dial"),
    f"{OWN}, TLS": ("asyncio", "tls"),
    f"{OWN_TRIO}, TLS": ("trio", "tls"),
}
"""The loop, and what is asked for beside links of ours in the server role, in the clear."""

PEERS: dict[str, tuple[str, str, bool]] = {
    PICOWS: ("picows", "picows", False),
    "picows, TLS": ("picows", "picows", True),
    BROADCAST: ("websockets", "websockets-broadcast", False),
    f"{BROADCAST}, TLS": ("websockets", "websockets-broadcast", True),
    "websockets send": ("websockets", "websockets-send", False),
    AIOHTTP: ("aiohttp", "aiohttp", False),
    "asyncio write": ("websockets", "asyncio-write", False),
    "uvloop write": ("uvloop", "uvloop-write", False),
}
"""The module it needs, its name in servers.py, and whether over TLS."""


def _fixed(name: str, *command: str) -> Contender:
    return Contender(name, lambda load, port: command)


def _floor(tools: Tools, name: str, how: str) -> Contender:
    command = (str(tools.floor), how)
    return Contender(name, lambda load, port: command, bounded=False)


def _python(name: str, server: str, tls: bool) -> Contender:
    command = (sys.executable, "-m", "bench.wire.servers", server, *(("tls",) if tls else ()))
    return Contender(name, lambda load, port: command, tls=tls)


def _relay(name: str, loop: str, *asked: str) -> Contender:
    def command(load: Load, port: int) -> Sequence[str]:
        options = [f"dial={port}" if option == "dial" else option for option in asked]
        return (
            *(sys.executable, "-m", "bench.wire.relay", loop, f"links={load.links}", f"stalled={load.stalled}"),
            *(f"wanted={load.wanted}", *options),
        )

    return Contender(name, command, "dial" in asked, "tls" in asked, filters=True)
