"""Plain twin of the compiled wire: how events get from an upstream's socket into those of the clients.

A reader makes whole messages of what a socket has (``_reader_py``), a poller says which of many have
something (``_poller_py``), a source finds the events among the messages and queues them
(``_source_py``), and writers write what is queued (``_writer_py``).

These modules are the specification of ``_wire.pyx``, its oracle in the tests, and what runs where
nothing could be compiled.
"""

from __future__ import annotations

from napcore._poller_py import CAN_POLL, Poller
from napcore._reader_py import CAN_READ, MAX_FRAGMENTS, MAX_PINGS, MESSAGE_LIMIT, READ_AT_ONCE, Assembly, Reader
from napcore._source_py import SLICE, Source
from napcore._writer_py import CAN_WRITE, WINDOW_BYTES, WINDOW_EVENTS, Owner, Writer, flush_ready

__all__ = (
    "CAN_POLL",
    "CAN_READ",
    "CAN_WRITE",
    "MAX_FRAGMENTS",
    "MAX_PINGS",
    "MESSAGE_LIMIT",
    "READ_AT_ONCE",
    "SLICE",
    "WINDOW_BYTES",
    "WINDOW_EVENTS",
    "Assembly",
    "Owner",
    "Poller",
    "Reader",
    "Source",
    "Writer",
    "flush_ready",
)
