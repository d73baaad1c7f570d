"""What clever strangers, and bots that are not all one's own, may try."""

from __future__ import annotations

from typing import Any

import anyio

from faults.case import Case
from faults.good import TOKEN, Good, attack, bearer, connect, knock, prober
from faults.peers.attacker import upgrade
from faults.system import resident
from faults.table import row

SMUGGLING: dict[str, bytes] = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\n"
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : x\r\nUpgrade: websocket\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nHost: x\r\n Upgrade: websocket\r\n\r\n",
    "a bare CR": b"GET / HTTP/1.1\r\nHost: x\rUpgrade: websocket\r\n\r\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a second request behind the first": b"GET /x HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a head of 20 KiB": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_480 + b"\r\n\r\n",
    "100 lines": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 100 + b"\r\n",
    "an upgrade with a body": b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody",
}
"""Heads that two readers may understand differently; none may become a link."""

PATHS = (
    "/../c/own",
    "/c/../own",
    "/c/%6fwn",
    "/c/own/",
    "//c/own",
    "/c//own",
    "/C/own",
    "/c/own%00",
    "/c/own;x",
    "/x/%2e%2e/c/own",
)
"""Ways to write a name that has a token of its own, which the listen token must not get."""


@row(
    "attacks",
    "forged accounts, other people's names, made-up names, echoes, smuggled requests, crooked paths",
    "refused",
)
async def attacks(case: Case) -> None:
    async with case.relay() as relay:
        relay.add_client("own", token="the-token-of-own")
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        port = listener.port
        own = bearer("the-token-of-own")
        async with Good(relay, port).running() as good, prober(port) as probe:
            code = await knock(port, X_Self_ID="10001", Authorization=own)
            case.check(code == 403, f"X-Self-ID with a client's token: {code}, not 403")
            code = await knock(port, "/c/own", Authorization=bearer(TOKEN))
            case.check(code == 403, f"a name that has its own token: {code}, not 403")
            for path in PATHS:
                answered, stream, _ = await connect(port, upgrade(port, path, Authorization=bearer(TOKEN)))
                await anyio.sleep(0.01)
                taken = any(link.client.name == "own" for link in relay.traffic.clients.links)
                case.check(not taken, f"{path} was let in as own ({answered})")
                await stream.aclose()
            for name, request in SMUGGLING.items():
                code, stream, answer = await connect(port, request)
                await stream.aclose()
                case.check(code == 0 or code >= 400, f"{name}: {code}")
                case.check(answer.count(b"HTTP/1.1 ") <= 1, f"{name}: two answers")
            case.figure("heads and paths tried", len(SMUGGLING) + len(PATHS) + 2)
            before = resident()
            told: dict[str, Any] = {}
            made_up = attack("names", port, "--number", "10000", "--token", TOKEN, told=told)
            # 254 of them are let in, and get every event: they hold a token.
            await probe.compare(case, "made-up names", made_up, 1.0, spare=10.0)
            case.figure("made-up names kept of 10,000", told["kept"], most=256)
            case.figure("memory", (resident() - before) / (1 << 20), " MiB", most=32.0)
            case.figure("events a good client misses", good.missing, exactly=0)
            told = {}
            asked = attack("echoes", port, "--number", "20000", "--token", TOKEN, told=told)
            await probe.compare(case, "echoes", asked, 1.0, spare=3.0)
            case.note(f"20,000 calls at once without an upstream: {told['retcodes']}")
            case.check(sum(told["retcodes"].values()) == 20_000, f"answers: {told}")
            case.figure("events a good client misses", good.missing, exactly=0)
