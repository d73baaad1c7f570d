"""napcore under test: ``python -m bench.wire.relay LOOP links=N [stalled=N] [dial=PORT] [tls] [wanted=P] [FIELD=X]``.

The relay as ``napcore run`` starts it, with N clients that dial it or, given the port, are dialled;
each wants ``wanted`` percent of the events. FIELD is one of the clients' ``Policy``.
"""

from __future__ import annotations

import sys
from typing import Any

import anyio

from bench.wire.servers import certificate, ready
from napcore import Filter, Policy, Relay
from napcore.core.capacity import Capacity
from napcore.core.pacing import Rates
from napcore.net import accept
from napcore.net.runner import run

GROUPS = 200
FIRST_GROUP = 100_000_000


def wanted_groups(client: int, percent: int) -> set[int]:
    """The groups that a client wants, as the driver knows them too."""
    return {FIRST_GROUP + group for group in range(GROUPS) if (group * 37 + client * 61) % 100 < percent}


async def serve(options: dict[str, str]) -> None:
    tls = certificate() if "tls" in options else None
    policy = Policy(**{key: _value(text) for key, text in options.items() if key in Policy.__dataclass_fields__})
    dial = options.get("dial")
    percent = int(options.get("wanted", 100))
    count = int(options["links"])
    async with Relay() as relay:
        for number in range(count):
            url = f"ws://127.0.0.1:{dial}/b{number}" if dial else None
            groups = wanted_groups(number, percent) if percent < 100 else None
            relay.add_client(f"b{number}", url, filter=Filter(groups=groups), policy=policy)
        for number in range(int(options.get("stalled", 0))):
            relay.add_client(f"stalled{number}", policy=Policy(write_timeout="off"))
        # What is measured is what a link costs; as it comes a listener holds 256, and lets them in bit by bit.
        vars(accept)["HANDSHAKES"] = Rates(1e6, 1e6)
        listener = await relay.listen("127.0.0.1", 0, ssl_context=tls)
        listener._capacity = Capacity(connections=2_000, handshakes=2_000)
        ready(listener.port)
        await anyio.sleep_forever()


def _value(text: str) -> Any:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def main(arguments: list[str]) -> None:
    loop, *rest = arguments
    options = {key: value for key, _, value in (argument.partition("=") for argument in rest)}
    run(lambda: serve(options), backend="trio" if loop == "trio" else "asyncio", use_uvloop=loop == "uvloop")


if __name__ == "__main__":
    main(sys.argv[1:])
