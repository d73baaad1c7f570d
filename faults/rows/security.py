"""Who must not get in, and what nobody may do to the others."""

from __future__ import annotations

import socket
import ssl
import statistics
import time
from contextlib import suppress
from typing import Any

import anyio
import trustme

from faults.case import Case
from faults.good import TOKEN, Good, attack, bearer, connect, knock, prober, status
from faults.peers.attacker import STAGES, upgrade
from faults.peers.bombs import BOMBS
from faults.system import resident
from faults.table import row
from napcore import ConfigError
from napcore.core.admission import Door, Head, admit


async def detonate(port: int, data: bytes) -> int:
    """Send this on a new link; the code it is closed with, 0 if it is cut without one."""
    code, stream, answer = await connect(port, upgrade(port, "/api", Authorization=bearer(TOKEN)))
    assert code == 101, code
    received = answer.partition(b"\r\n\r\n")[2]
    async with stream:
        with suppress(anyio.BrokenResourceError):
            for start in range(0, len(data), 1 << 16):
                await stream.send(data[start : start + (1 << 16)])
        with anyio.move_on_after(10), suppress(anyio.BrokenResourceError):
            async for chunk in stream:
                received += chunk
    # Answers to what was valid before it may come first.
    while len(received) >= 4:
        opcode, size = received[0] & 15, received[1]
        if opcode == 8:
            return int.from_bytes(received[2:4], "big")
        received = received[(4 + int.from_bytes(received[2:4], "big")) if size == 126 else 2 + size :]
    return 0


@row("28", "huge, fragmented, compressed, unmasked and malformed frames", "the right close code, memory + 1 MiB")
async def bombs(case: Case) -> None:
    async with case.relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        async with Good(relay, listener.port).running() as good, prober(listener.port) as probe:
            for data, _ in BOMBS.values():
                await detonate(listener.port, data)
            before = resident()
            for _ in range(5):
                for name, (data, expected) in BOMBS.items():
                    code = await detonate(listener.port, data)
                    case.check(code == expected, f"{name}: closed with {code}, not {expected}")
            case.figure("bombs", 5 * len(BOMBS))
            case.figure("memory", (resident() - before) / (1 << 20), " MiB", most=1.0)
            fallen = attack("bombs", listener.port, "--seconds", "3", "--token", TOKEN, told={})
            await probe.compare(case, "bombs", fallen, 2.0, spare=3.0)
            case.figure("events a good client misses", good.missing, exactly=0)


@row(
    "29",
    "200 handshakes that hang, at five stages",
    "cut within 5 s, an upstream still gets in",
    alone=True,
    limit=240.0,
)
async def slowloris(case: Case) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with case.relay() as relay:
        plain = await relay.listen("127.0.0.1", 0, token=TOKEN)
        secure = await relay.listen("127.0.0.1", 0, token=TOKEN, ssl_context=context)
        async with Good(relay, plain.port).running() as good, prober(plain.port) as probe:
            for stage in STAGES:
                port = secure.port if "TLS" in stage else plain.port
                options = ["--stage", stage, "--number", "200", "--seconds", "8"]
                if stage == "in the headers":
                    options.append("--dribble")
                slowest = 0.0
                told: dict[str, Any] = {}
                async with attack("hang", port, *options, told=told):
                    # While they hang an upstream dials in again and again.
                    for _ in range(20):
                        start = time.perf_counter()
                        code = await knock(plain.port, "/", X_Self_ID="10002", Authorization=bearer(TOKEN))
                        slowest = max(slowest, time.perf_counter() - start)
                        case.check(code == 101, f"{stage}: the upstream was answered {code}")
                # Bytes that dribble in on 200 connections at once are read in one turn of the loop.
                await probe.compare(case, stage, attack("hang", port, *options, told={}), 2.0, spare=5.0)
                case.figure(f"{stage}: longest", told["longest_s"], " s", most=6.0)
                case.figure("still open", told["still_open"], exactly=0)
                case.figure("upstream's handshake", 1000 * slowest, " ms", most=1000.0)
            case.figure("events a good client misses", good.missing, exactly=0)


@row("30", "a TLS handshake never comes; a TLS peer never says goodbye", "cut within 5 s, closed within 1 s")
async def silent_tls(case: Case) -> None:
    authority = trustme.CA()
    context, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(trusting)
    async with case.relay() as relay:
        listener = await relay.listen("127.0.0.1", 0, ssl_context=context)
        start = time.perf_counter()
        async with await anyio.connect_tcp("127.0.0.1", listener.port) as stream:
            with anyio.move_on_after(10), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()
        case.figure("silent handshake", time.perf_counter() - start, " s", most=5.5)
        # A peer that stops reading for good once it is linked; the relay ends its link in the middle of that.
        wrapped = await anyio.to_thread.run_sync(linked_by_tls, listener.port, trusting)
        await case.until(lambda: relay.traffic.clients.links, "the link")
        (link,) = relay.traffic.clients.links
        start = time.perf_counter()
        link.link.abort("the row ends it")
        await link.link.closed.wait()
        case.figure("end of a link whose peer says no goodbye", time.perf_counter() - start, " s", most=1.0)
        wrapped.close()


def linked_by_tls(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    peer = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
    peer.sendall(upgrade(port))
    assert peer.recv(4096).startswith(b"HTTP/1.1 101")
    return peer


@row("31", "foreign pages, rebound names, an open door to the network", "403, or a refusal to start")
async def foreign(case: Case) -> None:
    async with case.relay() as relay:
        listener = await relay.listen("127.0.0.1", 0)
        port = listener.port
        own = f"http://127.0.0.1:{port}"
        for origin, expected in (
            (own, 101),
            ("http://evil.example", 403),
            ("null", 403),
            (f"http://localhost:{port}", 403),
        ):
            code = await knock(port, Origin=origin)
            case.check(code == expected, f"Origin {origin}: {code}, not {expected}")
        rebound = upgrade(port, Origin=f"http://rebound.example:{port}").replace(
            f"Host: 127.0.0.1:{port}".encode(), f"Host: rebound.example:{port}".encode()
        )
        code = await status(port, rebound)
        case.check(code == 403, f"a name pointed at this machine: {code}, not 403")
        case.figure("origins tried", 5)
        for host, token in (("0.0.0.0", None), ("0.0.0.0", "short"), ("::", None)):
            try:
                await relay.listen(host, 0, token=token)
            except ConfigError:
                continue
            case.check(False, f"listens on {host} with the token {token!r}")


@row("32", "1,000 guesses at the token a second", "429, nobody let in, a good client unaffected", alone=True)
async def brute_force(case: Case) -> None:
    async with case.relay() as relay:
        relay.add_client("good")
        listener = await relay.listen("127.0.0.1", 0, token=TOKEN)
        async with Good(relay, listener.port).running() as good, prober(listener.port) as probe:
            told: dict[str, Any] = {}
            guesses = attack("brute", listener.port, "--rate", "1000", "--seconds", "6", told=told)
            await probe.compare(case, "guesses", guesses, 5.0)
            answers = told["answers"]
            case.figure("guesses", told["rate"], "/s")
            case.check(not answers.get("101"), f"{answers.get('101')} guesses were let in")
            case.figure("answered 429", answers.get("429", 0) / sum(answers.values()), least=0.5)
            case.check(set(answers) <= {"403", "429", "503"}, f"answers: {answers}")
            case.figure("events it misses", good.missing, exactly=0)
            code = await knock(listener.port, Authorization=bearer(TOKEN))
            case.check(code == 101, f"the right token: {code}")
    # The median of several: one of them may have been disturbed.
    case.figure("t of a token that nearly fits", statistics.median(abs(nearly_fits()) for _ in range(7)), most=4.5)


def nearly_fits(rounds: int = 5_000) -> float:
    """Welch's t between the times it takes to refuse a token that is wrong in its last letter, and one all wrong."""
    door = Door(TOKEN)
    heads = [Head("/", {"authorization": [bearer(token)]}) for token in (TOKEN[:-1] + "X", "X" * len(TOKEN))]
    times: list[list[int]] = [[], []]
    for number in range(rounds * 2):
        which = (number ^ number >> 1) & 1
        start = time.perf_counter_ns()
        admit(door, heads[which], {"bot": "a-token-of-its-own-1234"})
        times[which].append(time.perf_counter_ns() - start)
    # Interruptions are not the token's doing.
    kept = [sorted(values)[: int(0.95 * len(values))] for values in times]
    means = [statistics.fmean(values) for values in kept]
    errors = sum(statistics.variance(values) / len(values) for values in kept)
    return float((means[0] - means[1]) / errors**0.5)
