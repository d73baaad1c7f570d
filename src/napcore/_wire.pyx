# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The compiled wire: messages out of a socket, events out of those, and gathered sends into others' sockets.

What everything here does is specified by its plain twin, ``_wire_py``.
"""

import os

cimport cython
from cpython.bytes cimport _PyBytes_Resize, PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.list cimport PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.math cimport INFINITY, ceil, isinf
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from napcore._dispatch cimport Event, Outbox, Routed, Router

from napcore._dispatch import SIMD as _SIMD
from napcore.types import Flushed

cdef extern from "_send.h" nogil:
    enum:
        NC_CAN_SEND

    ctypedef struct nc_part:
        void *iov_base
        size_t iov_len

    ctypedef struct nc_copied:
        int count

    ptrdiff_t nc_send(int descriptor, nc_part *parts, int count)
    ptrdiff_t nc_send_copied(int descriptor, nc_part *parts, int count, const nc_part *tail, nc_copied *copied)

cdef extern from "_pages.h" nogil:
    enum:
        NC_PAGES_LEAST
        NC_PAGES_FEWEST

    ctypedef struct nc_pages:
        int descriptor

    void nc_pages_init(nc_pages *pages)
    void nc_pages_close(nc_pages *pages)
    bint nc_pages_suit(int descriptor)
    bint nc_pages_put(nc_pages *pages, const nc_part *parts, int count, size_t size)
    ptrdiff_t nc_pages_send(nc_pages *pages, int descriptor, size_t size, bint *refused)

cdef extern from "_prefetch.h" nogil:
    void nc_prefetch(const void *place)
    void nc_prefetch_lines(const void *place, size_t size)

cdef extern from "_frame.h" nogil:
    size_t nc_frame_head(uint8_t *out, unsigned opcode, uint64_t size, unsigned mask_bit)
    void nc_mask(uint8_t *out, const uint8_t *data, size_t size, const uint8_t *key)

CAN_WRITE = bool(NC_CAN_SEND)
WINDOW_EVENTS = 64
WINDOW_BYTES = 262144

cdef enum:
    DONE, MORE, BLOCKED, LOST, LATER  # as in Flushed

cdef enum:
    PING = 9
    PING_SIZE = 14  # head, masking key, sequence
    CHUNK = 65536
    AT_ONE_GO = 98304  # bytes of one send: what one read brings, and some frame heads
    FEWEST_EVENTS = 64
    MOST_BYTES = 262144
    UNCONFIRMED_EVENTS = 256
    UNCONFIRMED_BYTES = 262144
    PARTS_PER_SEND = 1024  # what POSIX systems take at most
    PARTS = 4096  # in one slice
    FEW = 8  # links whose frames are staged before the first of them is written to
    # How many of these ahead memory is asked for: the owner, its writer, and then their outbox.
    OWNERS_AHEAD = 16
    WRITERS_AHEAD = 8
    OUTBOXES_AHEAD = 4
    WRITER_SIZE = 256  # what a write touches of a writer,
    OUTBOX_SIZE = 256  # and of an outbox
    LINKS = 128  # in one slice

SLICE = LINKS

cdef double PING_INTERVAL = 1.0
cdef int SIMD_LEVEL = ("off", "sse2", "avx2").index(_SIMD)
cdef tuple FLUSHED = tuple(Flushed)

assert [int(one) for one in FLUSHED] == [DONE, MORE, BLOCKED, LOST, LATER]


cdef struct Job:
    # One writer's part in a slice.
    PyObject *writer  # owned while the slice is under way
    Py_ssize_t owner  # its place in the caller's list
    int first, count  # of the parts
    int frames  # whole ones, which are all of the parts; 0: there is more to them
    nc_part tail  # a ping behind parts that may be another job's; empty: none
    int descriptor
    bint suits  # the pages that many sockets share
    ptrdiff_t size
    ptrdiff_t result

cdef struct Slice:
    nc_part parts[PARTS]
    PyObject *frames[2][PARTS_PER_SEND]  # of the job at hand, and of one before it
    Job jobs[LINKS]
    nc_copied copied
    nc_pages pages
    nc_part tail  # in the pages, behind the parts

# Kept for the next slice; NULL while it is in use.
cdef Slice *spare = NULL


cdef Slice *take_slice() except NULL:
    global spare
    cdef Slice *taken = spare
    spare = NULL
    if taken == NULL:
        taken = <Slice *> malloc(sizeof(Slice))
        if taken == NULL:
            raise MemoryError
        nc_pages_init(&taken.pages)
    return taken


cdef void give_back(Slice *taken) noexcept:
    global spare
    if spare == NULL:
        spare = taken
    else:
        nc_pages_close(&taken.pages)
        free(taken)


@cython.final
cdef class Writer:
    """The writing end of a link towards a client.

    ``flush`` writes to the descriptor; where that cannot be (TLS, or a platform without), a task
    takes frames with ``gather``, writes them its own way and says ``wrote``.

    Args:
        lane: the client's outbox.
        descriptor: of a connected stream socket, which the writer then owns and closes; -1 for none.
        masked: whether we are the WebSocket client (RFC 6455, 5.3).
        max_in_flight: events that may be written beyond the last acknowledgement; None is the
            larger of ``WINDOW_EVENTS`` and what the last second brought. ``math.inf`` is no bound
            on bytes either.
    """

    cdef readonly Outbox lane
    cdef readonly int descriptor
    cdef public bint held
    cdef public bint closing
    cdef public bint trusting
    cdef public bint waking
    cdef readonly int error
    cdef readonly int64_t progress
    cdef readonly double pinged_at
    cdef readonly bint ponged
    cdef bint masked
    cdef bint suits  # see Job
    cdef double window  # negative: the automatic one
    cdef Py_ssize_t gathered  # bytes of the lane's frames that are being written
    cdef int64_t ping_sequence, outstanding_sequence
    cdef bint awaiting
    cdef double ping_time
    cdef bint early  # whether the pong of the ping that is being written has come already
    cdef int ping_size  # of the ping that is being written; 0: none is
    cdef int rest_at, rest_size  # what the socket did not take of a ping
    cdef uint8_t[PING_SIZE] ping
    cdef uint8_t[PING_SIZE] ping_rest
    cdef double second_began
    cdef int64_t this_second, last_second

    def __cinit__(self):
        self.lane = Outbox.__new__(Outbox)
        self.descriptor = -1

    def __init__(self, Outbox lane not None, int descriptor=-1, *, bint masked=False, max_in_flight=None):
        self.lane = lane
        self.descriptor = descriptor
        self.masked = masked
        self.suits = descriptor >= 0 and nc_pages_suit(descriptor)
        self.window = -1 if max_in_flight is None else max_in_flight
        self.pinged_at = self.second_began = -INFINITY

    def __dealloc__(self):
        if self.descriptor >= 0:
            os.close(self.descriptor)

    @property
    def outstanding(self):
        """Whether a ping is waiting for its pong."""
        return self.awaiting

    def gather(self, double now, Py_ssize_t max_bytes=CHUNK):
        """The next frames to write, as ``Outbox.gather`` has them, and a ping behind them if one is due."""
        cdef list frames = []
        cdef int64_t before = self.in_flight()
        cdef int64_t room = self.room(now)
        if self.rest_size:
            frames.append((<char *> self.ping_rest)[self.rest_at:self.rest_at + self.rest_size])
        taken = self.lane.gather(now, self.fitting(room, max_bytes), room)
        self.this_second += self.in_flight() - before
        self.gathered = sum(map(len, taken))
        frames += taken
        if self.ping_is_due(now):
            self.make_ping(now)
            frames.append((<char *> self.ping)[:self.ping_size])
        return frames

    def sent(self, Py_ssize_t size):
        """The first ``size`` bytes of what was gathered are out; see ``Outbox.sent``."""
        self.settle(size)

    def wrote(self):
        """All of what was gathered is out."""
        self.settle(self.rest_size + self.gathered + self.ping_size)

    def flush(self, double now):
        """Write what may go now, in one call that does not wait."""
        cdef Slice *slice = take_slice()
        cdef Job *job = slice.jobs
        try:
            self.prepare(job, slice, 0, now, 0, NULL)
            if not job.count:
                return FLUSHED[self.outlook(now)]
            if job.tail.iov_len:
                slice.parts[job.count] = job.tail
            job.result = nc_send(job.descriptor, slice.parts, job.count + (job.tail.iov_len > 0))
            return FLUSHED[self.finish(job, now)]
        finally:
            give_back(slice)

    def pong(self, bytes data not None):
        """A pong has come; True if it answers our last ping, so that what it covers is confirmed."""
        if PyBytes_GET_SIZE(data) != 8:
            return False
        return self.answer(read_number(<const uint8_t *> PyBytes_AS_STRING(data)))

    cdef bint answer(self, int64_t sequence) noexcept:
        """``pong`` for what it carries."""
        if self.awaiting and self.outstanding_sequence == sequence:
            self.acknowledge()
            return True
        # A peer may be quicker than the task that has yet to hear that its write has ended.
        self.early = self.early or (self.ping_size and self.ping_sequence == sequence)
        return False

    def close(self):
        """Close the descriptor; nothing is written any more."""
        cdef int descriptor = self.descriptor
        self.held = True
        self.descriptor = -1
        if descriptor >= 0:
            os.close(descriptor)

    cdef void acknowledge(self) noexcept:
        self.lane.confirm_to(self.outstanding_sequence)
        self.awaiting = False
        self.ponged = True
        self.progress += 1

    cdef int64_t in_flight(self) noexcept:
        return self.lane.staged_to - self.lane.confirmed_to

    cdef bint bounded(self) noexcept:
        return not self.trusting and not isinf(self.window)

    cdef int64_t room(self, double now) noexcept:
        """How many events may follow."""
        if self.closing:
            return 0
        if not self.bounded():
            return INT64_MAX
        if self.lane.flight_bytes >= MOST_BYTES:
            return 0
        return max(<int64_t> 0, self.width(now) - self.in_flight())

    cdef Py_ssize_t fitting(self, int64_t room, Py_ssize_t max_bytes) noexcept:
        """The bytes that may follow."""
        if room > 0 and self.bounded():
            return min(max_bytes, <Py_ssize_t> (MOST_BYTES - self.lane.flight_bytes))
        return max_bytes

    cdef int64_t width(self, double now) noexcept:
        """The window, in events."""
        cdef double elapsed = now - self.second_began
        if elapsed >= 1.0:
            self.last_second = self.this_second if elapsed < 2.0 else 0
            self.this_second = 0
            self.second_began = now
        if self.window >= 0:
            return <int64_t> ceil(self.window)
        return max(<int64_t> FEWEST_EVENTS, max(self.last_second, self.this_second))

    cdef bint ping_is_due(self, double now) noexcept:
        cdef int64_t flying = self.in_flight()
        if self.closing or self.awaiting or self.rest_size or not flying:
            return False
        if now - self.pinged_at >= PING_INTERVAL:
            return True
        if self.lane.at_least_once and (
            flying >= UNCONFIRMED_EVENTS or self.lane.flight_bytes >= UNCONFIRMED_BYTES
        ):
            return True
        return self.bounded() and (flying * 2 >= self.width(now) or self.lane.flight_bytes * 2 >= MOST_BYTES)

    cdef int make_ping(self, double now) except -1:
        cdef uint8_t[8] number
        cdef size_t head = nc_frame_head(self.ping, PING, 8, 0x80 if self.masked else 0)
        cdef bytes key
        self.ping_sequence = self.lane.flight_sequence()
        self.ping_time = now
        write_number(number, self.ping_sequence)
        if self.masked:
            key = os.urandom(4)
            memcpy(self.ping + head, PyBytes_AS_STRING(key), 4)
            nc_mask(self.ping + head + 4, number, 8, <const uint8_t *> PyBytes_AS_STRING(key))
            head += 4
        else:
            memcpy(self.ping + head, number, 8)
        self.ping_size = <int> head + 8
        return 0

    cdef int settle(self, Py_ssize_t size) except -1:
        cdef Py_ssize_t part = min(size, <Py_ssize_t> self.rest_size)
        self.progress += size > 0
        self.rest_at += <int> part
        self.rest_size -= <int> part
        size -= part
        part = min(size, self.gathered)
        self.lane.settle(part)
        size -= part
        if self.trusting:
            self.lane.confirm_to(self.lane.last_written)
        if self.ping_size and size > 0:
            self.outstanding_sequence = self.ping_sequence
            self.awaiting = True
            self.pinged_at = self.ping_time
            memcpy(self.ping_rest, self.ping, PING_SIZE)
            self.rest_at = <int> size
            self.rest_size = self.ping_size - <int> size
            if self.early:
                self.acknowledge()
        self.ping_size = 0
        self.early = False
        self.gathered = 0
        return 0

    cdef int prepare(self, Job *job, Slice *slice, int first, double now, int which, Job *before) except -1:
        """Stage what may go now as parts of a send, from ``first`` on; on an error nothing is staged.

        Where it is just what the job ``before`` sends, the parts are that job's. ``which`` says where its own
        frames go, and thereby where those of the job before are.
        """
        cdef PyObject **frames = slice.frames[which]
        cdef nc_part *parts = slice.parts + first
        cdef Outbox lane = self.lane
        cdef int64_t before_flight = self.in_flight()
        cdef int64_t room = self.room(now)
        cdef Py_ssize_t torn = lane.torn
        cdef Py_ssize_t taken, at
        cdef int count = 0
        cdef bint pinging
        job.writer = <PyObject *> self
        job.descriptor = self.descriptor
        job.suits = self.suits
        job.count = job.frames = 0
        job.tail.iov_len = 0
        job.first = first
        job.size = self.rest_size
        if self.rest_size:
            parts.iov_base = self.ping_rest + self.rest_at
            parts.iov_len = self.rest_size
            count = 1
        taken = lane.stage(now, self.fitting(room, AT_ONE_GO), room, frames, PARTS_PER_SEND - 2)
        if taken:
            self.gathered = lane.gathered
            self.this_second += self.in_flight() - before_flight
            job.size += self.gathered
        # What has just been taken counts.
        pinging = self.ping_is_due(now)
        if taken and not torn and not self.rest_size:
            job.count = job.frames = <int> taken
            if pinging:
                self.stage_ping(job, &job.tail, now)
            if before != NULL and before.frames == taken and not memcmp(
                frames, slice.frames[1 - which], taken * sizeof(PyObject *)
            ):
                job.first = before.first
                return 0
        for at in range(taken):
            parts[count].iov_base = PyBytes_AS_STRING(<object> frames[at])
            parts[count].iov_len = PyBytes_GET_SIZE(<object> frames[at])
            count += 1
        if job.frames:
            return 0
        if taken and torn:
            parts[count - taken].iov_base = <char *> parts[count - taken].iov_base + torn
            parts[count - taken].iov_len -= torn
        if pinging:
            self.stage_ping(job, parts + count, now)
            count += 1
        job.count = count
        return 0

    cdef int stage_ping(self, Job *job, nc_part *part, double now) except -1:
        """A ping as a part of a job's send; on an error nothing is staged."""
        try:
            self.make_ping(now)
        except BaseException:
            self.settle(0)
            raise
        part.iov_base = self.ping
        part.iov_len = self.ping_size
        job.size += self.ping_size
        return 0

    cdef int finish(self, Job *job, double now) except -1:
        """Take down what became of it; returns what to make of the flush."""
        if job.result < 0:
            self.settle(0)
            self.error = <int> -job.result
            return LOST
        self.settle(job.result)
        if job.result < job.size:
            return BLOCKED
        return self.outlook(now)

    cdef int outlook(self, double now) noexcept:
        """What is to be done about what is left, when the socket has taken all it was given."""
        cdef Outbox lane = self.lane
        if PyList_GET_SIZE(lane.control):
            return MORE
        if not lane.queued_count() or self.room(now) <= 0:
            return DONE
        return LATER if lane.pause_at(now) > 0 else MORE


cdef class Owner:
    """Who has an outbox, such as ``Report.ready`` lists, and a writer that ``flush_ready`` finds at once."""

    cdef public object writer


cdef void write_number(uint8_t *out, int64_t number) noexcept:
    cdef int at
    for at in range(8):
        out[at] = <uint8_t> (<uint64_t> number >> (56 - 8 * at))


cdef int64_t read_number(const uint8_t *data) noexcept:
    cdef uint64_t number = 0
    cdef int at
    for at in range(8):
        number = number << 8 | data[at]
    return <int64_t> number


include "_source.pxi"
include "_reader.pxi"
include "_poller.pxi"


cdef void send_jobs(Slice *slice, int jobs) noexcept nogil:
    cdef Job *job
    cdef nc_part *tail
    cdef size_t shared = 0  # bytes in the pages, without a tail
    cdef int number, put = -1  # the first of the parts that were looked at for that
    cdef bint refused
    for number in range(jobs):
        job = &slice.jobs[number]
        tail = &job.tail if job.tail.iov_len else NULL
        if job.frames and job.first != put:
            put = job.first
            shared = share(slice, number, jobs)
        if (
            shared
            and job.frames
            and job.suits
            and (tail == NULL or tail.iov_len == slice.tail.iov_len)
            and (tail == NULL or not memcmp(tail.iov_base, slice.tail.iov_base, tail.iov_len))
        ):
            job.result = nc_pages_send(&slice.pages, job.descriptor, job.size, &refused)
            if not refused:
                continue
            shared = 0
        job.result = nc_send_copied(job.descriptor, slice.parts + job.first, job.count, tail, &slice.copied)


cdef size_t share(Slice *slice, int number, int jobs) noexcept nogil:
    """Put the parts of a job into pages if many others have the same, with the tail of one of them; how many bytes."""
    cdef Job *job = &slice.jobs[number]
    cdef nc_part *parts = slice.parts + job.first
    cdef size_t size = job.size - job.tail.iov_len
    cdef int at, count = 0
    slice.tail.iov_len = 0
    if size < NC_PAGES_LEAST or jobs - number < NC_PAGES_FEWEST:
        return 0
    for at in range(number, jobs):
        if slice.jobs[at].first == job.first:
            count += slice.jobs[at].suits
            if slice.jobs[at].tail.iov_len:
                slice.tail = slice.jobs[at].tail
    if count < NC_PAGES_FEWEST:
        return 0
    # Behind the parts, where prepare() has left room.
    if slice.tail.iov_len:
        parts[job.count] = slice.tail
    if not nc_pages_put(&slice.pages, parts, job.count + (slice.tail.iov_len > 0), size + slice.tail.iov_len):
        return 0
    return size


def flush_ready(list owners not None, double now):
    """Flush the writers of owners, such as ``Report.ready`` lists, each once, all in one go.

    An owner's writer is its attribute ``writer``. Returns those whose flush was not the end of it,
    for their callers to look after: without a writer, with one that is held or has no descriptor,
    with a lane that wants its link closed, blocked, lost, or with more to write, be it later.
    """
    return flush_owners(owners, now)


cdef inline Writer writer_ahead(list owners, Py_ssize_t at):
    """The writer of the owner at that place, where it is had without running anything."""
    owner = owners[at]
    if isinstance(owner, Owner) and type((<Owner> owner).writer) is Writer:
        return <Writer> (<Owner> owner).writer
    return None


cdef int fetch_ahead(list owners, Py_ssize_t at, Py_ssize_t total) except -1:
    """Ask for the memory of those whose turn comes next: the writes between have pushed it out of the caches."""
    cdef Writer writer
    if at + OWNERS_AHEAD < total:
        nc_prefetch(<PyObject *> owners[at + OWNERS_AHEAD])
    if at + WRITERS_AHEAD < total:
        writer = writer_ahead(owners, at + WRITERS_AHEAD)
        if writer is not None:
            nc_prefetch_lines(<PyObject *> writer, WRITER_SIZE)
    if at + OUTBOXES_AHEAD < total:
        writer = writer_ahead(owners, at + OUTBOXES_AHEAD)
        if writer is not None:
            nc_prefetch_lines(<PyObject *> writer.lane, OUTBOX_SIZE)
            nc_prefetch(writer.lane.lane)
    return 0


cdef list flush_owners(list owners, double now):
    """``flush_ready``, for whoever has the list to itself."""
    cdef list left = []
    cdef Slice *slice = take_slice()
    cdef Py_ssize_t at = 0, total = PyList_GET_SIZE(owners)
    cdef int jobs = 0, most, parts, number, flushed, which = 0
    cdef Writer writer
    cdef Job *job
    cdef Job *before
    try:
        while at < total:
            jobs = parts = 0
            before = NULL
            # Many at a time only where they may share pages: until then the first would wait for the last.
            most = FEW
            while at < total and jobs < most and parts <= PARTS - PARTS_PER_SEND:
                owner = owners[at]
                fetch_ahead(owners, at, total)
                at += 1
                found = (<Owner> owner).writer if isinstance(owner, Owner) else owner.writer
                if type(found) is not Writer:
                    left.append(owner)
                    continue
                writer = <Writer> found
                # Staged already: a payload's end has brought us here, from within another flush.
                if writer.held or writer.descriptor < 0 or writer.lane.closing or writer.lane.gathered >= 0:
                    left.append(owner)
                    continue
                job = &slice.jobs[jobs]
                writer.prepare(job, slice, parts, now, which, before)
                if job.count:
                    Py_INCREF(writer)
                    job.owner = at - 1
                    jobs += 1
                    if jobs == FEW and slice.jobs[0].size >= NC_PAGES_LEAST:
                        most = LINKS
                    if job.first == parts:
                        parts += job.count + 1  # and a tail
                        if job.frames:
                            before = job
                            which = 1 - which
                elif writer.outlook(now) == LATER and not writer.waking:
                    left.append(owner)
            slice.copied.count = 0
            # Other threads are let run only while much is written: whoever takes its turn keeps it for 5 ms.
            if jobs <= FEW:
                send_jobs(slice, jobs)
            else:
                with nogil:
                    send_jobs(slice, jobs)
            while jobs:
                jobs -= 1
                job = &slice.jobs[jobs]
                writer = <Writer> job.writer
                flushed = writer.finish(job, now)
                if flushed != DONE and not (flushed == LATER and writer.waking):
                    left.append(owners[job.owner])
                Py_DECREF(<object> job.writer)
    finally:
        # Only an error leaves some of them over; nothing of theirs is out.
        for number in range(jobs):
            (<Writer> slice.jobs[number].writer).settle(0)
            Py_DECREF(<object> slice.jobs[number].writer)
        give_back(slice)
    return left
