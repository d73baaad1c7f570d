"""What the fuzzers start from: the corpus of the tests, and documents at the borders of the scanner."""

from __future__ import annotations

import json
import random
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
LONGEST = 4096
"""Longer frames teach a fuzzer nothing and make every run slow."""


def documents() -> list[bytes]:
    """Accepted and refused documents."""
    found = [line for line in (CORPUS / "events.jsonl").read_bytes().split(b"\n") if line]
    refused = [json.loads(line) for line in (CORPUS / "invalid.jsonl").read_bytes().split(b"\n") if line]
    found += [entry["frame"].encode("utf-8", "surrogatepass") for entry in refused]
    found = [document for document in found if len(document) <= LONGEST]
    for levels in (510, 511, 512):  # the outermost object is one more
        found.append(b'{"a":' + b"[" * levels + b"]" * levels + b"}")
        found.append(b'{"a":' * levels + b"{}" + b"}" * levels)
    for size in (15, 16, 17, 31, 32, 33, 64):  # around the widths of the vectors
        found.append(b'{"post_type":"' + b"x" * size + b'"}')
        found.append(b'{"post_type":"' + "\u6c49".encode() * size + b'"}')
        found.append(b'{"time":' + b"1" * size + b"}")
        found.append(b'{"echo":"' + b"x" * size + '\\"\U0001f600"}'.encode())
    for size in range(40, 60):  # escapes and sequences across the end of a block
        found.append(b'{"echo":"' + b"x" * size + b'\\\\\\"\\u6c49\\\\", "time": 1}\n')
        found.append(b'{"echo":"' + b"x" * size + "\u6c49\U0001f600".encode() + b'","a":"\\u"}')
    found.append(b'{"a":[' + b'"",' * 700 + b'""]}')
    for number in ("0", "-0", "-1", str((1 << 63) - 1), str(1 << 63), str(-(1 << 63)), "00000000000000000000000012"):
        found.append(b'{"post_type":"message","group_id":"%s","user_id":%s}' % ((number.encode(),) * 2))
    found.append(b'{"action":"a","params":{"user_id":1,"group_id":"\\u002d\\u0031"},"\\u0065cho":[{}],"echo" : null}')
    found.append(b'{"post_type":"\\ud83d","\\ud83d_type":"\\ude00"}')
    found.append(b'{"a":1E400,"b":-1' + b"0" * 400 + b',"c":"\\uDC00"}')
    return found


def messages() -> list[bytes]:
    """Values of ``message`` as JSON, and what lies between the quotes of CQ strings."""
    found = []
    for document in documents():
        try:
            event = json.loads(document)
        except ValueError:
            continue
        for key in ("message", "raw_message") if isinstance(event, dict) else ():
            value = json.dumps(event.get(key), ensure_ascii=False, separators=(",", ":"))
            if key in event and len(value) <= LONGEST:
                found.append((value[1:-1] if value.startswith('"') else value).encode("utf-8", "backslashreplace"))
    found.append(b'[ { "data" : { "b" : [ 1.50 , { "c" : "\\\\" } ] , "b2" : null } , "type" : "a" } ]')
    found.append(b'[{"type":"a","type":"b","data":{"c":1,"c":2}},{"t\\u0079pe":"text","data":{"text":"&[],"}}]')
    found.append(b"[CQ:a,b=&#44;&amp;#91;,b=2,][CQ:c,d[CQ:e]\\u005bCQ:f\\u002cg=\\u0026amp;]\\ud83d")
    for size in (14, 15, 16, 17, 31, 33):  # around the width of the vectors
        found.append(b"x" * size + b"&amp;" + b"y" * size + b"[CQ:a,b=" + b"z" * size + b"]")
        found.append(b'[{"type":"a","data":{"b":"%b,","c":["%b"]}}]' % (b"x" * size, b"y" * size))
    return sorted(set(found))


def programs() -> list[bytes]:
    """Sequences of operations, for the harnesses that read their input as such; always the same ones."""
    chance = random.Random(0)
    return [chance.randbytes(size) for size in (30, 90, 180, 300, 600) for _ in range(4)]


def frames() -> list[bytes]:
    """What comes in over a WebSocket, behind the two bytes that say how it is read; each in both roles."""
    text = "\u6c49\u5b57 and letters".encode()
    streams = [
        [(0x81, b""), (0x81, b"x"), (0x81, text)],
        [(0x01, text[:2]), (0x89, b"ping"), (0x00, text[2:4]), (0x8A, b"12345678"), (0x80, text[4:])],
        [(0x82, b"\xff" * 200), (0x02, b"\x80"), (0x80, b"\x81"), (0x81, text * 12)],
        [(0x81, b"x"), (0x88, (1000).to_bytes(2, "big") + text), (0x81, b"y")],
        [(0x88, b"")],
        [(0x88, (4999).to_bytes(2, "big"))],
        [(0x01, b""), *[(0x00, b"x")] * 4, (0x80, b"y"), (0x81, b"z" * 700)],
        [(0x81, "\U0001f600".encode() * 40 + b"a" * 70), (0x81, b"a" * 126)],
        [(0x89, b"p" * 125)] * 3,
    ]
    found = []
    for number, stream in enumerate(streams):
        for masked in (0, 1):
            data = bytes((masked | number % 12 << 1, (0, 1, 7, 40)[number % 4]))
            for first, payload in stream:
                size = len(payload)
                data += bytes((first, masked << 7 | (size if size < 126 else 126)))
                data += size.to_bytes(2, "big") if size > 125 else b""
                # A key of zeros: what is masked can be read, and changed, in the input.
                data += bytes(4 * masked) + payload
            found.append(data)
    return found


def write(kind: str, folder: Path) -> None:
    """Write the seeds of this kind into ``folder``, which may hold finds of earlier runs."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = {"documents": documents, "messages": messages, "frames": frames, "programs": programs}[kind]()
    for number, seed in enumerate(seeds):
        (folder / f"seed-{number:03d}").write_bytes(seed)
