"""An upstream and a good client in a process of their own: ``python -m faults.peers.prober PORT TOKEN``.

What is asked of it by a line on standard input is for how many seconds to measure; it sends events
through the relay, one at a time, and answers with a JSON line: the times from sending an event to
having it back. Plain blocking sockets, so that nothing but the relay is between the two.
"""

from __future__ import annotations

import json
import socket
import sys
import time

from faults.peers.attacker import knock, upgrade

RATE = 200
"""Events a second."""

EVENT = (
    '{"time":%d,"self_id":10003,"post_type":"message","message_type":"group","group_id":5,"user_id":7,'
    '"message_id":%d,"raw_message":"a message of the usual length, more or less","message":[]}'
)


class Peer:
    """One WebSocket connection to the relay; it answers pings."""

    def __init__(self, port: int, head: bytes) -> None:
        answered, self.raw = knock(port, head)
        if answered != "101":
            raise SystemExit(f"answered {answered}")
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""

    def send(self, opcode: int, payload: bytes) -> None:
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        # A key of zeros changes nothing.
        self.raw.sendall(bytes([0x80 | opcode]) + size + bytes(4) + payload)

    def text(self) -> bytes:
        """The next text message."""
        while True:
            first, size = self._take(2)
            payload = self._take(int.from_bytes(self._take(2), "big") if size == 126 else size)
            if first & 15 == 9:
                self.send(10, payload)
            elif first & 15 == 1:
                return payload

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            chunk = self.raw.recv(65536)
            if not chunk:
                raise SystemExit("the relay has closed the connection")
            self._data += chunk
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def main(port: int, token: str) -> None:
    authorization = f"Bearer {token}"
    upstream = Peer(port, upgrade(port, X_Self_ID="10003", Authorization=authorization))
    client = Peer(port, upgrade(port, "/c/prober?self_id=10003", Authorization=authorization))
    number = 0
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, delays = float(line), []
        start = last = time.perf_counter()
        for turn in range(int(seconds * RATE)):
            time.sleep(max(0.0, start + turn / RATE - time.perf_counter()))
            number += 1
            last = time.perf_counter()
            upstream.send(1, (EVENT % (time.time(), number)).encode())
            while json.loads(client.text()).get("message_id") != number:
                pass
            delays.append(time.perf_counter() - last)
        print(json.dumps(delays), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
