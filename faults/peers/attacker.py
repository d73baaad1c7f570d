"""A hostile peer in a process of its own: ``python -m faults.peers.attacker MODE PORT``; a JSON line tells how it went.

Plain sockets of the standard library, so that it is not bound to any client's manners.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count, cycle
from typing import Any

from faults.peers.bombs import BOMBS

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
)

STAGES: dict[str, bytes] = {
    "connected": b"",
    "in the request line": b"GET / HT",
    "in the headers": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: webso",
    "before the last line": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n",
    "in a TLS hello": bytes.fromhex("16030100f8010000f40303"),
}
"""What a peer has sent when it falls silent."""


def upgrade(port: int, path: str = "/", **headers: str) -> bytes:
    """A WebSocket handshake's head."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return UPGRADE.format(path=path, port=port, headers=lines).encode()


def knock(port: int, head: bytes, limit: float = 10.0) -> tuple[str, socket.socket]:
    """Send a head; the status it is answered with, or what happened instead, and the connection."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=limit)
    try:
        peer.sendall(head)
        answer = peer.recv(4096)
    except (ConnectionError, TimeoutError) as error:
        return type(error).__name__, peer
    return (answer.split()[1].decode() if answer.startswith(b"HTTP/") else "end"), peer


def hang(port: int, number: int, stage: bytes, dribble: bool, limit: float) -> dict[str, Any]:
    """Open ``number`` connections, send ``stage`` (and a byte now and then), and wait to be cut off."""
    started: dict[socket.socket, float] = {}
    held: list[float] = []
    answers: Counter[str] = Counter()
    for _ in range(number):
        peer = socket.create_connection(("127.0.0.1", port), timeout=limit)
        started[peer] = time.monotonic()
        try:
            peer.sendall(stage)
        except ConnectionError:
            pass
    print("ready", flush=True)
    end = time.monotonic() + limit
    received: dict[socket.socket, bytes] = dict.fromkeys(started, b"")
    while started and time.monotonic() < end:
        readable, _, _ = select.select(list(started), [], [], 0.1)
        for peer in readable:
            try:
                data = peer.recv(4096)
            except ConnectionError:
                data = b""
            received[peer] += data
            if not data:
                held.append(time.monotonic() - started.pop(peer))
                answer = received[peer]
                answers[answer.split()[1].decode() if answer.startswith(b"HTTP/") else "cut"] += 1
                peer.close()
        for peer in list(started) if dribble else ():
            try:
                peer.send(b"x")
            except OSError:
                pass
    return {"still_open": len(started), "longest_s": max(held, default=0.0), "answers": dict(answers)}


def brute(port: int, rate: float, seconds: float) -> dict[str, Any]:
    """Show another random token ``rate`` times a second."""
    answers: Counter[str] = Counter()
    numbers, lock, end = count(), threading.Lock(), time.monotonic() + seconds
    start = time.monotonic()

    def guess() -> None:
        while True:
            with lock:
                due = start + next(numbers) / rate
            if due >= end:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            token = base64.urlsafe_b64encode(os.urandom(12)).decode()
            status, peer = knock(port, upgrade(port, Authorization=f"Bearer {token}"))
            peer.close()
            with lock:
                answers[status] += 1

    print("ready", flush=True)
    threads = [threading.Thread(target=guess) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answers": dict(answers), "rate": sum(answers.values()) / (time.monotonic() - start)}


def bombs(port: int, seconds: float, token: str) -> dict[str, Any]:
    """Send what must not be sent, 40 times a second, each on a link of its own."""
    answers: Counter[str] = Counter()
    head = upgrade(port, "/api", Authorization=f"Bearer {token}")
    print("ready", flush=True)
    end = time.monotonic() + seconds
    for data, _ in cycle(BOMBS.values()):
        if time.monotonic() >= end:
            break
        status, peer = knock(port, head)
        answers[status] += 1
        with peer, suppress(OSError):
            peer.sendall(data)
            while peer.recv(4096):
                pass
        time.sleep(0.025)
    return {"answers": dict(answers)}


def names(port: int, number: int, token: str) -> dict[str, Any]:
    """Dial in under ``number`` made-up names, keeping every link that is let in."""
    answers: Counter[str] = Counter()
    kept = []
    print("ready", flush=True)
    for made in range(number):
        status, peer = knock(port, upgrade(port, f"/c/made-up-{made}", Authorization=f"Bearer {token}"))
        answers[status] += 1
        if status == "101":
            kept.append(peer)
        else:
            peer.close()
    return {"answers": dict(answers), "kept": len(kept)}


def echoes(port: int, token: str, number: int) -> dict[str, Any]:
    """Make ``number`` calls at once on one link and read their answers."""
    status, peer = knock(port, upgrade(port, "/api", Authorization=f"Bearer {token}"))
    print("ready", flush=True)
    retcodes: Counter[str] = Counter()
    frames = bytearray()
    for echo in range(number):
        body = b'{"action":"get_status","echo":"%d"}' % echo
        frames += bytes([0x81, 0x80 | len(body)]) + b"\0\0\0\0" + body
    sender = threading.Thread(target=peer.sendall, args=(frames,))
    sender.start()
    received = bytearray()
    peer.settimeout(5.0)
    try:
        while sum(retcodes.values()) < number:
            data = peer.recv(1 << 16)
            if not data:
                break
            received += data
            while len(received) >= 2:
                size, start = received[1] & 127, 2
                if size == 126:
                    size, start = int.from_bytes(received[2:4], "big"), 4
                if len(received) < start + size:
                    break
                if received[0] & 15 == 1:
                    retcodes[str(json.loads(received[start : start + size]).get("retcode"))] += 1
                del received[: start + size]
    except TimeoutError:
        pass
    sender.join(1.0)
    return {"status": status, "retcodes": dict(retcodes)}


def main(arguments: list[str]) -> None:
    # Attackers have machines of their own: here they must not take a processor from those they attack.
    os.nice(19)
    """Carry out one mode."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("hang", "brute", "bombs", "names", "echoes"))
    parser.add_argument("port", type=int)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--stage", choices=list(STAGES), default="connected")
    parser.add_argument("--dribble", action="store_true")
    parser.add_argument("--token", default="")
    args = parser.parse_args(arguments)
    modes: dict[str, Callable[[], dict[str, Any]]] = {
        "hang": lambda: hang(args.port, args.number, STAGES[args.stage], args.dribble, args.seconds),
        "brute": lambda: brute(args.port, args.rate, args.seconds),
        "bombs": lambda: bombs(args.port, args.seconds, args.token),
        "names": lambda: names(args.port, args.number, args.token),
        "echoes": lambda: echoes(args.port, args.token, args.number),
    }
    print(json.dumps(modes[args.mode]()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
