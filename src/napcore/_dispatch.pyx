# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The compiled dispatch core: peek, Event, Router, Outbox, fan_out.

What everything here does is specified by its plain twin, ``_dispatch_py`` and the modules it is
made of; this file only says how it is done fast.
"""

import heapq
import json
import logging
import os
from hmac import digest
from zlib import crc32

import orjson

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport (
    PyUnicode_DATA,
    PyUnicode_DecodeUTF8,
    PyUnicode_Find,
    PyUnicode_GET_LENGTH,
    PyUnicode_KIND,
    PyUnicode_READ,
    PyUnicode_READ_CHAR,
    PyUnicode_Substring,
)
from libc.math cimport INFINITY, ceil, isinf, isnan
from libc.stdint cimport INT32_MAX, INT64_MAX, UINT32_MAX
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcpy, memset

from napcore._json_py import decode
from napcore._message_py import convert_bytes
from napcore._text import TextIndex
from napcore.errors import BadEvent
from napcore.types import DROP_REASONS as _DROP_REASONS
from napcore.types import EventClass, Outcome

cdef extern from "_json.h" nogil:
    enum:
        NC_MAX_DEPTH

    enum:
        NC_POST_TYPE
        NC_MESSAGE_TYPE
        NC_SUB_TYPE
        NC_SELF_ID
        NC_GROUP_ID
        NC_USER_ID
        NC_MESSAGE_ID
        NC_TIME
        NC_ECHO
        NC_STATUS
        NC_RETCODE
        NC_STREAM
        NC_ACTION
        NC_PARAMS

    ctypedef struct nc_span:
        size_t start
        size_t end

    ctypedef struct nc_head:
        nc_span *member
        size_t echo_key
        size_t at
        int reason

    ctypedef struct nc_key:
        const uint8_t *text
        size_t size

    void nc_read_object(const uint8_t *data, size_t start, size_t end, nc_head *head)
    nc_span nc_find_member(const uint8_t *data, size_t size, const nc_key *key)
    size_t nc_decode(const uint8_t *p, const uint8_t *end, uint8_t *out, size_t capacity)
    bint nc_parse_integer(const uint8_t *p, const uint8_t *end, int64_t *value)

cdef extern from "_fast.h" nogil:
    ctypedef enum nc_version:
        NC_PORTABLE
        NC_SSE2
        NC_AVX2

    nc_version nc_best_version()
    bint nc_prove_document(const uint8_t *data, size_t size, nc_head *head, nc_version version)

cdef extern from "_short.h" nogil:
    ctypedef struct nc_short:
        pass

    void nc_short_read(nc_short *text, const uint8_t *p, size_t size, size_t limit)
    bint nc_short_same(const nc_short *a, const nc_short *b)
    unsigned nc_short_hash(const nc_short *text, size_t size, unsigned family)

cdef extern from "_frame.h" nogil:
    size_t nc_frame_head_size(uint64_t size)
    size_t nc_frame_head(uint8_t *out, unsigned opcode, uint64_t size, unsigned mask_bit)
    void nc_mask(uint8_t *out, const uint8_t *data, size_t size, const uint8_t *key)

cdef extern from "_index.h" nogil:
    ctypedef struct nc_rule:
        const uint64_t *open
        const uint64_t *listed
        const uint64_t *excluded

    const uint64_t *nc_index_find(const nc_index *index, int64_t number)
    bint nc_index_widen(nc_index *index, size_t words)
    bint nc_index_set(nc_index *index, int64_t number, size_t row)
    void nc_index_clear(nc_index *index, int64_t number, size_t row)
    void nc_index_free(nc_index *index)
    unsigned nc_lowest_bit(uint64_t bits)
    void nc_apply(uint64_t *found, size_t words, nc_rule accounts, nc_rule groups, nc_rule users)

cdef extern from "_prefetch.h" nogil:
    void nc_prefetch(const void *place)

cdef extern from "_message.h" nogil:
    ctypedef enum nc_conversion_result:
        NC_CONVERTED
        NC_AS_RECEIVED
        NC_ODD
        NC_NO_MEMORY

    ctypedef enum nc_message_format:
        NC_ARRAY
        NC_STRING

    ctypedef struct nc_buffer:
        uint8_t *data
        size_t size
        size_t room

    ctypedef struct nc_conversion:
        nc_buffer message
        nc_buffer plain

    bint nc_is_name(uint32_t character)
    nc_conversion_result nc_convert(nc_conversion *made, const uint8_t *data, size_t size, nc_message_format format)
    size_t nc_converted_size(const nc_conversion *made, size_t size)
    void nc_write_converted(const nc_conversion *made, const uint8_t *data, size_t size, uint8_t *out)

cdef extern from "Python.h":
    void Py_SET_SIZE(object varobject, Py_ssize_t size)

cdef extern from *:
    """
    /* Types whose objects come from functions of this module only. Their tp_new stays reachable
     * for those functions, which call it by its C name. */
    static void nc_forbid_new(PyObject *object)
    {
        PyTypeObject *type = (PyTypeObject *)object;

        type->tp_new = NULL;
        type->tp_vectorcall = NULL;
        type->tp_flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
        if (PyDict_DelItemString(type->tp_dict, "__new__") < 0) PyErr_Clear();
        PyType_Modified(type);
    }
    """
    void nc_forbid_new(object type)

Buffer = bytes | bytearray | memoryview | str
MAX_DEPTH = NC_MAX_DEPTH
CONTROL_LIMIT = 16777216

cdef Py_ssize_t control_limit = CONTROL_LIMIT

cdef tuple VERSIONS = ("off", "sse2", "avx2")  # as in nc_version


cdef nc_version choose_version() except *:
    """The best version of the scanner, or the one that NAPCORE_SIMD asks for."""
    cdef nc_version best = nc_best_version()
    asked = os.environ.get("NAPCORE_SIMD")
    if not asked:
        return best
    if asked not in VERSIONS or VERSIONS.index(asked) > best:
        raise RuntimeError(f"NAPCORE_SIMD={asked}: here it is one of {', '.join(VERSIONS[:best + 1])}")
    return <nc_version> <int> VERSIONS.index(asked)


cdef nc_version version = choose_version()
SIMD = VERSIONS[version]

cdef tuple REASONS = (
    None,
    "not an object",
    "byte order mark",
    "unexpected end of data",
    "unexpected byte",
    "invalid escape",
    "control character in string",
    "invalid UTF-8",
    "nesting too deep",
    "trailing data",
)
cdef tuple OUTCOMES = tuple(Outcome)
cdef tuple FORMS = ("event", "json", "frame", "masked", "sse")
cdef tuple MESSAGE_FORMATS = ("array", "string")  # as in nc_message_format
cdef tuple OVERFLOWS = ("drop_oldest", "drop_newest", "disconnect")
cdef tuple DELIVERIES = ("at_most_once", "at_least_once")

cdef enum:
    QUEUED, DROPPED_OLDEST, DROPPED_NEWEST, OVERSIZE, DISCONNECT, STALE, NOT_HELD  # as in Outcome

cdef enum:
    AS_EVENT, AS_JSON, AS_FRAME, AS_MASKED, AS_SSE, FORM_COUNT  # as in FORMS

cdef enum:
    OLDEST, NEWEST, TTL, TOO_LARGE, HOLD, BUDGET, DISCONNECTED, UNCERTAIN  # as in DROP_REASONS

cdef enum:
    TRY_AGAIN_LATER = 1013

cdef enum:
    LATE = 5  # seconds after which an event leaves at the pace of catching up
    RECENT = 1  # and seconds after which one behind it does

assert [int(outcome) for outcome in OUTCOMES] == list(range(NOT_HELD + 1))
assert _DROP_REASONS[OLDEST] == "oldest" and _DROP_REASONS[UNCERTAIN] == "uncertain"
assert len(_DROP_REASONS) == DROP_REASON_COUNT
assert VARIANT_COUNT == FORM_COUNT * (1 + len(MESSAGE_FORMATS))


include "_event.pxi"
include "_message.pxi"
include "_parcel.pxi"
include "_pace.pxi"
include "_outbox.pxi"


# ---- frames ----

cdef enum:
    KEY_POOL = 4096

cdef bytes key_pool = b""
cdef Py_ssize_t key_at = 0


cdef const uint8_t *fresh_key() except NULL:
    """Four random bytes, good until the next call; the operating system is asked once for many."""
    global key_pool, key_at
    if key_at == len(key_pool):
        key_pool = os.urandom(KEY_POOL)
        key_at = 0
    key_at += 4
    return <const uint8_t *> PyBytes_AS_STRING(key_pool) + key_at - 4


cdef bytes make_frame(bytes data, unsigned opcode, const uint8_t *key):
    """A final frame; masked if there is a key."""
    cdef size_t size = PyBytes_GET_SIZE(data)
    cdef size_t key_size = 4 if key != NULL else 0
    cdef size_t head_size = nc_frame_head_size(size)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, head_size + key_size + size)
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(made)
    nc_frame_head(out, opcode, size, 0x80 if key != NULL else 0)
    if key != NULL:
        memcpy(out + head_size, key, 4)
        nc_mask(out + head_size + 4, <const uint8_t *> PyBytes_AS_STRING(data), size, key)
    else:
        memcpy(out + head_size, PyBytes_AS_STRING(data), size)
    return made


cdef int check_opcode(object opcode) except -1:
    if not 0 <= opcode <= 15:
        raise ValueError(f"an opcode is within 0 to 15, not {opcode}")
    return opcode


def frame(data, opcode=1):
    """One final, unmasked WebSocket frame (RFC 6455, 5.2), as a server sends it.

    Raises:
        TypeError: ``data`` is not bytes.
        ValueError: ``opcode`` is not within 0 to 15.
    """
    return make_frame(plain_bytes(data), check_opcode(opcode), NULL)


def masked_frame(data, key, opcode=1):
    """One final frame masked with the 4 bytes of ``key`` (RFC 6455, 5.3), as a client sends it.

    Raises:
        TypeError: ``data`` or ``key`` is not bytes.
        ValueError: ``key`` is not 4 bytes, or ``opcode`` is not within 0 to 15.
    """
    cdef bytes payload = plain_bytes(data)
    if len(plain_bytes(key)) != 4:
        raise ValueError("a masking key has 4 bytes")
    return make_frame(payload, check_opcode(opcode), <const uint8_t *> PyBytes_AS_STRING(key))


def join_frame(parts, key):
    """One final text frame of the ``parts`` in a row, copied once; masked if there is a key.

    Raises:
        TypeError: a part is neither bytes nor a memoryview, or ``key`` is not bytes.
        ValueError: ``key`` is not 4 bytes, or a view is not of single bytes in a row.
    """
    if key is not None and len(plain_bytes(key)) != 4:
        raise ValueError("a masking key has 4 bytes")
    cdef tuple whole = tuple(parts)
    cdef uint64_t size = 0
    for part in whole:
        if isinstance(part, memoryview):
            if part.format != "B" or not part.c_contiguous:
                raise ValueError("a part is not single bytes in a row")
        else:
            plain_bytes(part)
        size += <uint64_t> len(part)
    cdef size_t head_size = nc_frame_head_size(size)
    cdef size_t key_size = 0 if key is None else 4
    cdef bytes made = PyBytes_FromStringAndSize(NULL, head_size + key_size + size)
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(made)
    cdef const unsigned char[::1] view
    cdef uint8_t turned[4]
    cdef size_t at = 0
    cdef int place
    nc_frame_head(out, 1, size, 0 if key is None else 0x80)
    out += head_size
    if key is not None:
        memcpy(out, PyBytes_AS_STRING(key), 4)
        out += 4
    for part in whole:
        view = part
        if view.shape[0] == 0:
            continue
        if key is None:
            memcpy(out + at, &view[0], view.shape[0])
        else:
            # Each part goes on in the key where the one before it ended.
            for place in range(4):
                turned[place] = (<const uint8_t *> PyBytes_AS_STRING(key))[(at + place) % 4]
            nc_mask(out + at, &view[0], view.shape[0], turned)
        at += view.shape[0]
    return made


def sse_block(data):
    """One event of a server-sent event stream (WHATWG HTML, 9.2.6): its data, a line each, and an empty line.

    Raises:
        TypeError: ``data`` is not bytes.
    """
    # JSON has line breaks only where white space may be; a parser puts them in again.
    return b"".join([b"data: " + line + b"\n" for line in plain_bytes(data).splitlines() or [b""]]) + b"\n"


include "_router.pxi"


# ---- fan out ----

@cython.final
@cython.freelist(8)
cdef class Report:
    """What ``fan_out`` did with a batch.

    ``matched``: rows that wanted an event, summed over the events. ``queued``: how many of those
    offers were taken into a lane. ``dropped``: events that outboxes dropped during the call,
    earlier ones that had to go included. ``invalid``: what the caller counted as no event at all.
    ``ready``: owners of the outboxes that were offered something and have something to send, or
    are to be closed; each outbox once, in the order they were first offered something: by event,
    by variant, by whether it is to be kept, by row.
    """

    cdef readonly Py_ssize_t matched
    cdef readonly Py_ssize_t queued
    cdef readonly Py_ssize_t dropped
    cdef readonly Py_ssize_t invalid
    cdef readonly list ready

    def __repr__(self):
        return (
            f"Report(matched={self.matched}, queued={self.queued}, dropped={self.dropped}, invalid={self.invalid})"
        )


cdef struct Space:
    # What a batch needs while it is under way; kept for the next.
    uint64_t *rows  # that want the event at hand
    Lane **lanes  # of those rows that take it in one variant
    uint64_t *kept  # those of these rows that are to keep it longest
    size_t words
    Lane **touched  # the lanes that were offered something, each once
    size_t room

cdef Space spare
memset(&spare, 0, sizeof(spare))

cdef struct Batch:
    Space space
    size_t words
    size_t touched
    Parcel *parcels[VARIANT_COUNT]  # the event at hand, in each variant made so far
    PyObject *converted[2]  # and in each of MESSAGE_FORMATS, where asked for; owned
    int variants  # none is made from here on
    bint keeps  # whether any row is to keep the event at hand longest
    Py_ssize_t matched, queued

cdef enum:
    # How many offers ahead memory is asked for: first the lane, then, by its content, the place in the ring.
    # And how many ahead that of an owner, who is to be counted.
    LANES_AHEAD = 16
    PLACES_AHEAD = 6
    OWNERS_AHEAD = 8


cdef bint find_rows(Batch *batch, Router router, Event event, int64_t account) except -1:
    """Whether any rows want the event, and which; then there is room for their lanes."""
    cdef const uint64_t *found = router.find(event, account)
    cdef size_t room, word = 0
    cdef void *grown
    batch.words = router.words
    while not found[word]:
        word += 1
        if word == batch.words:
            return False
    if batch.space.words < batch.words:
        grown = realloc(batch.space.rows, batch.words * sizeof(uint64_t))
        if grown == NULL:
            raise MemoryError
        batch.space.rows = <uint64_t *> grown
        grown = realloc(batch.space.kept, batch.words * sizeof(uint64_t))
        if grown == NULL:
            raise MemoryError
        batch.space.kept = <uint64_t *> grown
        grown = realloc(batch.space.lanes, batch.words * 64 * sizeof(Lane *))
        if grown == NULL:
            raise MemoryError
        batch.space.lanes = <Lane **> grown
        batch.space.words = batch.words
    room = batch.touched + batch.words * 64
    if batch.space.room < room:
        grown = realloc(batch.space.touched, 2 * room * sizeof(Lane *))
        if grown == NULL:
            raise MemoryError
        batch.space.touched = <Lane **> grown
        batch.space.room = 2 * room
    memcpy(batch.space.rows, found, batch.words * sizeof(uint64_t))
    batch.keeps = event.event_class == A_MESSAGE and PyDict_Size(router.keepers) and router.find_kept(batch.space.kept)
    return True


cdef int offer_variant(Batch *batch, Router router, Event event, int variant, double now, double born) except -1:
    """Offer the event to the rows found that take it in this variant."""
    cdef const uint64_t *takers = router.variant_rows[variant]
    cdef Parcel *parcel
    cdef Parcel *kept
    cdef Py_ssize_t count
    cdef size_t word = 0
    while not (batch.space.rows[word] & takers[word]):
        word += 1
        if word == batch.words:
            return 0
    # This may run anything, but rows that go meanwhile are no takers any more.
    parcel = batch.parcels[variant]
    if parcel == NULL:
        parcel = make_variant(batch, event, variant, router, born)
    if not batch.keeps:
        return deliver(batch, parcel, gather_lanes(batch, router, variant), now)
    deliver(batch, parcel, gather_some_lanes(batch, router, variant, False), now)
    count = gather_some_lanes(batch, router, variant, True)
    if count:
        kept = share_parcel(parcel, A_KEPT_MESSAGE)
        try:
            deliver(batch, kept, count, now)
        finally:
            leave_parcel(kept)
    return 0


cdef Py_ssize_t gather_some_lanes(Batch *batch, Router router, int variant, bint kept) noexcept:
    """The lanes of these rows that are to keep the event longest, or of those that are not."""
    cdef const uint64_t *takers = router.variant_rows[variant]
    cdef Lane **lanes = batch.space.lanes
    cdef uint64_t bits
    cdef size_t word
    cdef Py_ssize_t count = 0
    for word in range(batch.words):
        bits = batch.space.rows[word] & takers[word]
        bits &= batch.space.kept[word] if kept else ~batch.space.kept[word]
        while bits:
            lanes[count] = router.lanes[word * 64 + nc_lowest_bit(bits)]
            count += 1
            bits &= bits - 1
    return count


cdef Py_ssize_t gather_lanes(Batch *batch, Router router, int variant) noexcept:
    """The lanes of these rows; returns how many."""
    cdef const uint64_t *takers = router.variant_rows[variant]
    cdef Lane **lanes = batch.space.lanes
    cdef uint64_t bits
    cdef size_t word
    cdef Py_ssize_t count = 0
    for word in range(batch.words):
        bits = batch.space.rows[word] & takers[word]
        while bits:
            lanes[count] = router.lanes[word * 64 + nc_lowest_bit(bits)]
            count += 1
            bits &= bits - 1
    return count


cdef int deliver(Batch *batch, Parcel *parcel, Py_ssize_t count, double now) except -1:
    """Put the parcel into the lanes gathered. Nothing in here runs anybody else's code."""
    cdef Lane *const *lanes = batch.space.lanes
    cdef Lane **touched = batch.space.touched + batch.touched
    cdef Py_ssize_t size = parcel.size
    cdef const Lane *ahead
    cdef Lane *lane
    cdef Py_ssize_t at, newly = 0, taken = 0, queued = 0
    # Else each outbox has to look at its age.
    cdef bint fresh = now < parcel.born + shortest_lifetime
    # They are counted together afterwards; until then none may be the last to let it go.
    parcel.loads += <unsigned> count
    parcel.holders += <unsigned> count
    try:
        for at in range(count):
            if at + LANES_AHEAD < count:
                nc_prefetch(lanes[at + LANES_AHEAD])
                ahead = lanes[at + PLACES_AHEAD]
                nc_prefetch(ahead.ring + (ahead.tail & ahead.mask))
            lane = lanes[at]
            if not lane.touched:
                lane.touched = 1
                touched[newly] = lane
                newly += 1
            if fresh and lane.credits > 0 and size <= lane.max_frame and size <= lane.bytes_left:
                lane.ring[lane.tail & lane.mask] = parcel
                lane.tail += 1
                lane.credits -= 1
                lane.bytes_left -= size
                taken += 1
            else:
                queued += (<Outbox> lane.box).put(parcel, now) <= DROPPED_OLDEST
    finally:
        parcel.loads -= <unsigned> (count - taken)
        parcel.holders -= <unsigned> (count - taken)
        batch.touched += newly
    batch.matched += count
    batch.queued += queued + taken
    return 0


cdef inline bint is_ready(Lane *lane) noexcept:
    """Whether there is something to send, or the link is to be closed."""
    cdef PyObject *box = lane.box
    if box == NULL or lane.presence != LINKED:
        return False
    if lane.tail != lane.waiting_from:
        return True
    return (<Outbox> box).queued_count() > 0 or (<Outbox> box).closing or PyList_GET_SIZE((<Outbox> box).control) > 0


cdef list owners_ready(Batch *batch):
    """The owners of the touched outboxes that are ready."""
    cdef list owners = PyList_New(batch.touched)
    cdef Lane *lane
    cdef Py_ssize_t count = 0
    cdef size_t at
    for at in range(batch.touched):
        if at + OWNERS_AHEAD < batch.touched:
            nc_prefetch(batch.space.touched[at + OWNERS_AHEAD].owner)
        lane = batch.space.touched[at]
        lane.touched = 0
        if is_ready(lane):
            Py_INCREF(<object> lane.owner)
            PyList_SET_ITEM(owners, count, <object> lane.owner)
            count += 1
    batch.touched = 0
    # The places that are left are empty still.
    Py_SET_SIZE(owners, count)
    return owners


def fan_out(Router router not None, events, double now, int64_t account=0, Py_ssize_t invalid=0, born=None):
    """Offer each event to every row that wants it; each variant is made once per event and shared.

    A variant is a wire form of the event as received or in a message format; an event that cannot
    be converted (see ``convert_event``) is offered as received.

    ``now`` is the monotonic time in seconds, ``account`` stands in for a missing ``self_id``,
    ``invalid`` is passed on to the report. ``born`` is when each event happened, by the same clock;
    None is now.

    Raises:
        TypeError: ``events`` holds something else; nothing has been routed then.
        ValueError: ``born`` is not as long as ``events``; nothing has been routed then.
    """
    cdef list given = list(events)
    cdef list births = None if born is None else list(map(float, born))
    cdef Report report = Report.__new__(Report)
    cdef int64_t drops_before = all_drops
    cdef Routed routed
    cdef double *times = NULL
    cdef Py_ssize_t at
    if births is not None and len(births) != len(given):
        raise ValueError(f"{len(births)} times of birth for {len(given)} events")
    for item in given:
        if not isinstance(item, Event):
            raise TypeError(f"expected events, not {type(item).__name__}")
    try:
        if births:
            times = <double *> malloc(len(births) * sizeof(double))
            if times == NULL:
                raise MemoryError
            for at in range(len(births)):
                times[at] = births[at]
        report.ready = router.route(given, now, account, times, &routed)
    finally:
        free(times)
    report.matched = routed.matched
    report.queued = routed.queued
    report.dropped = all_drops - drops_before
    report.invalid = invalid
    return report


cdef list offer_all(
    Router router, list events, double now, int64_t account, const double *born, Routed *routed
):
    """See ``Router.route``."""
    global batches_under_way, spare
    cdef list ready
    cdef Batch batch
    cdef size_t at
    cdef Py_ssize_t place = 0
    cdef double birth = now
    cdef int variant
    memset(&batch, 0, sizeof(batch))
    batch.space = spare
    memset(&spare, 0, sizeof(spare))
    batches_under_way += 1
    try:
        for item in events:
            router.sequence += 1
            if born != NULL:
                birth = born[place]
                place += 1
            if not find_rows(&batch, router, <Event> item, account):
                continue
            try:
                for variant in range(VARIANT_COUNT):
                    if router.variant_counts[variant]:
                        offer_variant(&batch, router, <Event> item, variant, now, birth)
            finally:
                leave_variants(&batch)
            if router.account.bytes > router.memory_limit:
                router.economize()
        ready = owners_ready(&batch)
    finally:
        for at in range(batch.touched):
            batch.space.touched[at].touched = 0
        free(spare.rows)
        free(spare.lanes)
        free(spare.kept)
        free(spare.touched)
        spare = batch.space
        batches_under_way -= 1
        if not batches_under_way:
            free_ended_lanes()
            let_payloads_go()
    routed.matched = batch.matched
    routed.queued = batch.queued
    return ready


cdef Parcel *make_variant(Batch *batch, Event event, int variant, Router router, double born) except NULL:
    """The event in the form and message format of a variant that is not made yet."""
    cdef int form = variant % FORM_COUNT
    cdef int message_format = variant // FORM_COUNT - 1
    cdef Parcel *parcel
    cdef PyObject *shown = <PyObject *> event
    batch.variants = max(batch.variants, variant + 1)
    if message_format >= 0:
        shown = batch.converted[message_format]
        if shown == NULL:
            converted = convert(event, <nc_message_format> message_format)
            Py_INCREF(converted)
            shown = batch.converted[message_format] = <PyObject *> converted
    if message_format >= 0 and shown == <PyObject *> event:
        # There was nothing to convert: the same bytes as for those who take it as received.
        parcel = batch.parcels[form]
        if parcel == NULL:
            parcel = batch.parcels[form] = pack(event, form, router, born)
        parcel.loads += 1
        parcel.holders += 1
    else:
        parcel = pack(<Event> shown, form, router, born)
    batch.parcels[variant] = parcel
    return parcel


cdef void leave_variants(Batch *batch) noexcept:
    """The event at hand is done with."""
    cdef int at
    for at in range(batch.variants):
        if batch.parcels[at] != NULL:
            leave_parcel(batch.parcels[at])
            batch.parcels[at] = NULL
    batch.variants = 0
    for at in range(2):
        Py_XDECREF(batch.converted[at])
        batch.converted[at] = NULL


cdef Parcel *pack(Event event, int form, Router router, double born) except NULL:
    """The event in one of the forms."""
    cdef object payload = event
    if form == AS_FRAME:
        payload = make_frame(event.raw, 1, NULL)
    elif form == AS_MASKED:
        payload = make_frame(event.raw, 1, fresh_key())
    elif form == AS_SSE:
        payload = sse_block(event.raw)
    elif form == AS_JSON:
        payload = event.raw
    cdef Py_ssize_t size = PyBytes_GET_SIZE(event.raw if form == AS_EVENT else payload)
    return make_parcel(payload, size, event.event_class, router.sequence, born, router.account)


for made_here in (Event, Response, Request, Report):
    nc_forbid_new(made_here)
del made_here
