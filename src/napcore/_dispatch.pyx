# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The compiled dispatch core: peek, Event, Router, Outbox, fan_out.

What everything here does is specified by its plain twin, ``_dispatch_py`` and the modules it is
made of; this file only says how it is done fast.
"""

import heapq
import os
from hmac import digest
from zlib import crc32

import orjson

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport isnan
from libc.stdint cimport INT64_MAX
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from napcore._json_py import decode
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
cdef tuple OVERFLOWS = ("drop_oldest", "drop_newest", "disconnect")

cdef enum:
    QUEUED, DROPPED_OLDEST, DROPPED_NEWEST, OVERSIZE, DISCONNECT  # as in Outcome

cdef enum:
    AS_EVENT, AS_JSON, AS_FRAME, AS_MASKED, AS_SSE, FORM_COUNT  # as in FORMS

cdef enum:
    OLDEST, NEWEST, TTL, TOO_LARGE, HOLD, BUDGET, DISCONNECTED, UNCERTAIN  # as in DROP_REASONS

cdef enum:
    TRY_AGAIN_LATER = 1013

assert [int(outcome) for outcome in OUTCOMES] == [QUEUED, DROPPED_OLDEST, DROPPED_NEWEST, OVERSIZE, DISCONNECT]
assert _DROP_REASONS[OLDEST] == "oldest" and _DROP_REASONS[UNCERTAIN] == "uncertain"
assert len(_DROP_REASONS) == DROP_REASON_COUNT


include "_event.pxi"
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


def sse_block(data):
    """One event of a server-sent event stream (WHATWG HTML, 9.2.6): its data, a line each, and an empty line.

    Raises:
        TypeError: ``data`` is not bytes.
    """
    # JSON has line breaks only where white space may be; a parser puts them in again.
    return b"".join([b"data: " + line + b"\n" for line in plain_bytes(data).splitlines() or [b""]]) + b"\n"


# ---- router ----

cdef enum:
    # The indexes of a router, in the order of a row's rules.
    GROUPS, EXCLUDED_GROUPS, USERS, EXCLUDED_USERS, KINDS, EXCLUDED_KINDS, ACCOUNTS

cdef enum:
    # The sets of rows beside them; before these, for each index the set of rows without such a list.
    PRIVATE = INDEXES
    SELF_MESSAGES, ACTIVE, NO_ROW, FOUND, EVERY_ROW, ROW_SETS

cdef enum:
    # How the rules on groups and users apply to an event, by its kind.
    META, ABOUT_ACCOUNT, JOIN_OR_LEAVE, PRIVATE_MESSAGE, ALWAYS_IN_A_GROUP, PERHAPS_IN_A_GROUP

cdef enum:
    LONGEST_KEPT_KIND = 128


cdef tuple check_ids(str name, object values):
    cdef list ids = list(values)
    for value in ids:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must hold integers, not {value!r}")
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError(f"{name}: {value} does not fit 64 bits")
    return tuple(ids)


cdef tuple check_patterns(str name, object values):
    if isinstance(values, str):
        raise TypeError(f"{name} must be a collection of patterns, not one string")
    cdef list patterns = list(values)
    for value in patterns:
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold strings, not {value!r}")
        if not value:
            raise ValueError(f"{name}: a pattern must not be empty")
    return tuple(patterns)


cdef tuple check_shard(object shard):
    number, count = shard
    if isinstance(number, bool) or not isinstance(number, int) or isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"shard must be a pair of integers, not {shard!r}")
    if not 1 <= number <= count < 1 << 31:
        raise ValueError(f"shard must be (number, count) with 1 <= number <= count, not {shard!r}")
    return number, count


cdef tuple check_rules(
    groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
):
    return (
        None if groups is None else check_ids("groups", groups),
        check_ids("exclude_groups", exclude_groups),
        None if users is None else check_ids("users", users),
        check_ids("exclude_users", exclude_users),
        None if kinds is None else check_patterns("kinds", kinds),
        check_patterns("exclude_kinds", exclude_kinds),
        None if self_ids is None else check_ids("self_ids", self_ids),
        bool(private),
        bool(self_messages),
        None if shard is None else check_shard(shard),
    )


cdef inline void mark(uint64_t *rows, size_t row, bint on) noexcept nogil:
    if on:
        rows[row // 64] |= <uint64_t> 1 << (row % 64)
    else:
        rows[row // 64] &= ~(<uint64_t> 1 << (row % 64))


cdef int treatment_of(str kind, str sub_type) except -1:
    if kind is None:
        return PERHAPS_IN_A_GROUP
    if kind.partition(".")[0] == "meta_event":
        return META
    if kind == "message.group" or kind == "message_sent.group":
        return ALWAYS_IN_A_GROUP
    if kind == "message.private" or kind == "message_sent.private":
        return PRIVATE_MESSAGE
    if kind == "request.group":
        return ABOUT_ACCOUNT if sub_type == "invite" else ALWAYS_IN_A_GROUP
    if kind == "notice.group_increase" or kind == "notice.group_decrease":
        return JOIN_OR_LEAVE
    if kind == "notice.bot_offline":
        return ABOUT_ACCOUNT
    return PERHAPS_IN_A_GROUP


cdef list prefixes_of(str path, Py_ssize_t longest):
    """All patterns that match the path, but for those that nobody can have given: they are longer."""
    cdef list patterns = ["*", path]
    cdef Py_ssize_t at = path.find(".")
    while 0 <= at <= longest:
        patterns.append(path[:at])
        patterns.append(path[:at] + ".*")
        at = path.find(".", at + 1)
    return patterns


@cython.final
cdef class Router:
    """Which outboxes want an event. Rows are numbered from 0; freed numbers are used again, lowest first.

    A row's rules, all of which must hold:

    ``self_ids``: only events of these accounts. ``kinds``, ``exclude_kinds``: patterns on
    ``kind`` and ``kind.sub_type`` at dot borders: ``notice.notify`` takes itself and all below,
    ``notice.*`` only what is below, ``*`` everything; exclusion wins. These apply to every event.

    ``self_messages``: whether ``message_sent`` passes at all. ``groups``, ``exclude_groups``:
    judge the events of a group; private messages, friend requests and notices without a group
    are not theirs to stop. ``private``: whether private messages pass. ``users``,
    ``exclude_users``: judge messages, notices and requests by their user; an allow-list stops
    those without one. Meta events pass all of these; what is about the account itself (an
    invitation, its own joining or leaving, ``bot_offline``) is stopped by ``exclude_groups`` alone.

    ``shard``, a pair (number from 1, count), takes the events of which the CRC-32 of
    ``self_id:group`` says so (0 for what is missing, and for the group of a private message): each
    event but meta events passes exactly one of the ``count`` shards.

    ``sequence`` is the number of the last event that was fanned out, 0 before the first.
    """

    def __cinit__(self):
        self.outboxes = []
        self.rules = []
        self.forms = bytearray()
        self.free_rows = []
        self.patterns = {}
        self.shards = {}
        self.widen(1)

    def __dealloc__(self):
        self.forget_kinds()
        free(self.kind_rows)
        free(self.sets)
        for index in range(INDEXES):
            nc_index_free(&self.indexes[index])

    def __len__(self):
        """How many rows there are."""
        return len(self.outboxes) - len(self.free_rows)

    def add(
        self,
        Outbox outbox not None,
        form="json",
        *,
        groups=None,
        exclude_groups=(),
        users=None,
        exclude_users=(),
        kinds=None,
        exclude_kinds=(),
        self_ids=None,
        private=True,
        self_messages=False,
        shard=None,
    ):
        """Add a row that offers matching events to ``outbox`` as ``form``; returns its number.

        Raises:
            TypeError: an argument or a member of a collection has the wrong type.
            ValueError: the form is unknown, an id does not fit 64 bits, or a pattern is empty.
        """
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
        cdef tuple rules = check_rules(
            groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
        )
        cdef size_t row = self.free_rows[0] if self.free_rows else len(self.outboxes)
        if row == self.words * 64:
            self.widen(self.words * 2)
        self.install(row, rules)
        if self.free_rows:
            heapq.heappop(self.free_rows)
            self.outboxes[row] = outbox
            self.rules[row] = rules
            self.forms[row] = FORMS.index(form)
        else:
            self.outboxes.append(outbox)
            self.rules.append(rules)
            self.forms.append(FORMS.index(form))
        return row

    def replace(
        self,
        row,
        *,
        groups=None,
        exclude_groups=(),
        users=None,
        exclude_users=(),
        kinds=None,
        exclude_kinds=(),
        self_ids=None,
        private=True,
        self_messages=False,
        shard=None,
    ):
        """Give ``row`` new rules; its outbox and form stay.

        Raises:
            KeyError: there is no such row.
            TypeError: a member of a collection has the wrong type.
            ValueError: an id does not fit 64 bits, or a pattern is empty.
        """
        cdef size_t number = self.row_of(row)
        cdef tuple rules = check_rules(
            groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
        )
        cdef tuple before = self.rules[number]
        self.uninstall(number, before)
        try:
            self.install(number, rules)
        except MemoryError:
            # There was room for these a moment ago.
            self.install(number, before)
            raise
        self.rules[number] = rules

    def remove(self, row):
        """Forget ``row``; its number may be given out again.

        Raises:
            KeyError: there is no such row.
        """
        cdef size_t number = self.row_of(row)
        heapq.heappush(self.free_rows, number)
        self.uninstall(number, self.rules[number])
        self.outboxes[number] = None
        self.rules[number] = None

    def match(self, Event event not None, int64_t account=0):
        """The rows that want ``event``, ascending; ``account`` stands in for a missing ``self_id``."""
        cdef const uint64_t *found = self.find(event, account)
        cdef list rows = []
        cdef uint64_t bits
        cdef size_t word
        for word in range(self.words):
            bits = found[word]
            while bits:
                rows.append(word * 64 + nc_lowest_bit(bits))
                bits &= bits - 1
        return rows

    cdef size_t row_of(self, object row) except? 0:
        if not isinstance(row, int) or not 0 <= row < len(self.outboxes) or self.outboxes[row] is None:
            raise KeyError(row)
        return row

    cdef uint64_t *rows_of(self, int which) noexcept:
        return self.sets + which * self.words

    cdef const uint64_t *listing(self, int index, int64_t number) noexcept:
        """The rows whose list has the number; 0 is in no list."""
        cdef const uint64_t *rows = nc_index_find(&self.indexes[index], number) if number else NULL
        return rows if rows != NULL else self.rows_of(NO_ROW)

    cdef int widen(self, size_t words) except -1:
        """Make all sets of rows this many words long."""
        cdef int which
        cdef size_t word
        cdef uint64_t *sets = <uint64_t *> calloc(ROW_SETS * words, sizeof(uint64_t))
        cdef uint64_t *kind_rows = <uint64_t *> malloc((KIND_SLOTS + 1) * words * sizeof(uint64_t))
        cdef bint good = sets != NULL and kind_rows != NULL
        for which in range(INDEXES):
            good = good and nc_index_widen(&self.indexes[which], words)
        if not good:
            free(sets)
            free(kind_rows)
            raise MemoryError
        for which in range(NO_ROW):
            for word in range(self.words):
                sets[which * words + word] = self.rows_of(which)[word]
        memset(sets + EVERY_ROW * words, 0xFF, words * sizeof(uint64_t))
        self.forget_kinds()
        free(self.kind_rows)
        free(self.sets)
        self.sets = sets
        self.kind_rows = kind_rows
        self.words = words
        return 0

    cdef int install(self, size_t row, tuple rules) except -1:
        """Enter the rules of a row that has none; where memory ends, it has none again."""
        cdef int which
        self.forget_kinds()
        try:
            for which in range(INDEXES):
                if rules[which] is None:
                    mark(self.rows_of(which), row, True)
                    continue
                for item in rules[which]:
                    if which == KINDS or which == EXCLUDED_KINDS:
                        item = self.number_of(item)
                    if not nc_index_set(&self.indexes[which], item, row):
                        raise MemoryError
        except MemoryError:
            self.uninstall(row, rules)
            raise
        mark(self.rows_of(PRIVATE), row, rules[INDEXES])
        mark(self.rows_of(SELF_MESSAGES), row, rules[INDEXES + 1])
        mark(self.rows_of(ACTIVE), row, True)
        if rules[INDEXES + 2] is not None:
            self.shards[row] = rules[INDEXES + 2]
        return 0

    cdef int uninstall(self, size_t row, tuple rules) except -1:
        cdef int which
        self.forget_kinds()
        self.shards.pop(row, None)
        for which in range(NO_ROW):
            mark(self.rows_of(which), row, False)
        for which in range(INDEXES):
            for item in rules[which] or ():
                if which != KINDS and which != EXCLUDED_KINDS:
                    nc_index_clear(&self.indexes[which], item, row)
                elif item in self.patterns:
                    number = self.patterns[item]
                    nc_index_clear(&self.indexes[which], number, row)
                    if not self.lists_pattern(number):
                        del self.patterns[item]
        return 0

    cdef object number_of(self, str pattern):
        """The number that stands for the pattern in the indexes."""
        if pattern not in self.patterns:
            self.patterns_made += 1
            self.patterns[pattern] = self.patterns_made
            self.longest_pattern = max(self.longest_pattern, len(pattern))
        return self.patterns[pattern]

    cdef bint lists_pattern(self, int64_t number) noexcept:
        return (
            nc_index_find(&self.indexes[KINDS], number) != NULL
            or nc_index_find(&self.indexes[EXCLUDED_KINDS], number) != NULL
        )

    cdef void forget_kinds(self) noexcept:
        for at in range(KIND_SLOTS):
            Py_XDECREF(self.kind_slots[at].kind)
            Py_XDECREF(self.kind_slots[at].sub_type)
            self.kind_slots[at].kind = self.kind_slots[at].sub_type = NULL

    cdef Py_ssize_t kind_slot(self, str kind, str sub_type) except -1:
        """The slot with what these decide: the rows that may want such an event, and its treatment."""
        cdef uint64_t mixed = (<uint64_t> <size_t> <PyObject *> kind >> 4) * <uint64_t> 0x9E3779B97F4A7C15
        mixed ^= (<uint64_t> <size_t> <PyObject *> sub_type >> 4) * <uint64_t> 0xC2B2AE3D27D4EB4F
        cdef Py_ssize_t at = mixed >> 56
        cdef KindSlot *slot = &self.kind_slots[at]
        # Texts that come again are the same objects, so that their addresses will do.
        if slot.kind == <PyObject *> kind and slot.sub_type == <PyObject *> sub_type:
            return at
        cdef str path = "" if kind is None else f"{kind}.{sub_type}" if sub_type else kind
        if len(path) > LONGEST_KEPT_KIND:
            at = KIND_SLOTS
            slot = &self.kind_slots[at]
        cdef list numbers = [
            self.patterns[pattern] for pattern in prefixes_of(path, self.longest_pattern) if pattern in self.patterns
        ]
        cdef bint private = kind == "message.private" or kind == "message_sent.private"
        cdef bint own = kind is not None and kind.partition(".")[0] == "message_sent"
        cdef int treatment = treatment_of(kind, sub_type)
        cdef uint64_t *rows = self.kind_rows + at * self.words
        cdef const uint64_t *listed
        cdef size_t word
        memcpy(rows, self.rows_of(KINDS), self.words * sizeof(uint64_t))
        for number in numbers:
            listed = self.listing(KINDS, number)
            for word in range(self.words):
                rows[word] |= listed[word]
        for number in numbers:
            listed = self.listing(EXCLUDED_KINDS, number)
            for word in range(self.words):
                rows[word] &= ~listed[word]
        for word in range(self.words):
            rows[word] &= self.rows_of(ACTIVE)[word]
            rows[word] &= self.rows_of(PRIVATE if private else EVERY_ROW)[word]
            rows[word] &= self.rows_of(SELF_MESSAGES if own else EVERY_ROW)[word]
        slot.treatment = treatment
        if at < KIND_SLOTS:
            Py_INCREF(kind)
            Py_INCREF(sub_type)
            Py_XDECREF(slot.kind)
            Py_XDECREF(slot.sub_type)
            slot.kind = <PyObject *> kind
            slot.sub_type = <PyObject *> sub_type
        return at

    cdef uint64_t *find(self, Event event, int64_t account) except NULL:
        """The set of rows that want the event; it is good until the next call."""
        cdef Py_ssize_t slot = self.kind_slot(event.kind, event.sub_type)
        cdef int treatment = self.kind_slots[slot].treatment
        cdef const uint64_t *nothing = self.rows_of(NO_ROW)
        cdef const uint64_t *every = self.rows_of(EVERY_ROW)
        cdef uint64_t *found = self.rows_of(FOUND)
        cdef nc_rule accounts, groups, users
        if event.account:
            account = event.account
        if treatment == JOIN_OR_LEAVE:
            treatment = ABOUT_ACCOUNT if event.user and event.user == account else PERHAPS_IN_A_GROUP
        accounts.open = self.rows_of(ACCOUNTS)
        accounts.listed = self.listing(ACCOUNTS, account)
        groups.open = users.open = every
        groups.listed = users.listed = nothing
        accounts.excluded = groups.excluded = users.excluded = nothing
        if treatment != META and treatment != PRIVATE_MESSAGE:
            if treatment == ALWAYS_IN_A_GROUP or (event.group and treatment != ABOUT_ACCOUNT):
                groups.open = self.rows_of(GROUPS)
                groups.listed = self.listing(GROUPS, event.group)
            groups.excluded = self.listing(EXCLUDED_GROUPS, event.group)
        if treatment != META and treatment != ABOUT_ACCOUNT:
            users.open = self.rows_of(USERS)
            users.listed = self.listing(USERS, event.user)
            users.excluded = self.listing(EXCLUDED_USERS, event.user)
        memcpy(found, self.kind_rows + slot * self.words, self.words * sizeof(uint64_t))
        nc_apply(found, self.words, accounts, groups, users)
        if self.shards and treatment != META:
            self.apply_shards(found, account, 0 if treatment == PRIVATE_MESSAGE else event.group)
        return found

    cdef int apply_shards(self, uint64_t *found, int64_t account, int64_t group) except -1:
        """Take out the rows of which another shard gets the event."""
        cdef unsigned long hash_ = crc32(b"%d:%d" % (account, group))
        cdef unsigned long number, count
        cdef size_t row
        for item, shard in self.shards.items():
            row = item
            number, count = shard
            if hash_ % count != number - 1:
                mark(found, row, False)
        return 0


# ---- fan out ----

cdef uint64_t batches = 0


@cython.final
cdef class Report:
    """What ``fan_out`` did with a batch.

    ``matched``: rows that wanted an event, summed over the events. ``queued``: how many of those
    offers were taken into a lane. ``dropped``: events that outboxes dropped during the call,
    earlier ones that had to go included. ``invalid``: what the caller counted as no event at all.
    ``ready``: owners of the outboxes that were offered something and have something to send, or
    are to be closed; each outbox once, in the order they were first offered something.
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


cdef struct Touched:
    # The outboxes that a batch has touched, each once and held.
    PyObject **boxes
    size_t size
    size_t room


cdef inline int touch(Touched *touched, PyObject *box) except -1:
    cdef PyObject **boxes
    cdef size_t room
    if touched.size == touched.room:
        room = touched.room * 2 if touched.room else 64
        boxes = <PyObject **> realloc(touched.boxes, room * sizeof(PyObject *))
        if boxes == NULL:
            raise MemoryError
        touched.boxes = boxes
        touched.room = room
    Py_INCREF(<object> box)
    touched.boxes[touched.size] = box
    touched.size += 1
    return 0


cdef list owners_ready(Touched *touched):
    """The owners of those with something to send, or to be closed."""
    cdef list owners = PyList_New(touched.size)
    cdef PyObject *box
    cdef Py_ssize_t count = 0
    cdef size_t at
    for at in range(touched.size):
        box = touched.boxes[at]
        if (<Outbox> box).queued_count() or (<Outbox> box).closing or PyList_GET_SIZE((<Outbox> box).control):
            Py_INCREF((<Outbox> box).owner)
            PyList_SET_ITEM(owners, count, (<Outbox> box).owner)
            count += 1
    # The places that are left are empty still.
    Py_SET_SIZE(owners, count)
    return owners


cdef void forget_touched(Touched *touched) noexcept:
    cdef size_t at
    for at in range(touched.size):
        Py_DECREF(<object> touched.boxes[at])
    free(touched.boxes)


def fan_out(Router router not None, events, double now, int64_t account=0, Py_ssize_t invalid=0):
    """Offer each event to every row that wants it; each wire form is made once per event and shared.

    ``now`` is the monotonic time in seconds, ``account`` stands in for a missing ``self_id``,
    ``invalid`` is passed on to the report.

    Raises:
        TypeError: ``events`` holds something else; nothing has been routed then.
    """
    global batches
    cdef list batch = list(events)
    cdef Report report = Report.__new__(Report)
    cdef Parcel *parcels[FORM_COUNT]
    cdef Parcel *parcel
    cdef PyObject *box
    cdef Event event
    cdef Touched touched
    cdef int64_t drops_before = all_drops
    cdef uint64_t bits
    cdef size_t word, row
    cdef Py_ssize_t matched = 0, queued = 0
    cdef int form
    for item in batch:
        if not isinstance(item, Event):
            raise TypeError(f"expected events, not {type(item).__name__}")
    touched.boxes = NULL
    touched.size = touched.room = 0
    batches += 1
    try:
        for item in batch:
            event = <Event> item
            router.sequence += 1
            router.find(event, account)
            memset(parcels, 0, sizeof(parcels))
            try:
                word = 0
                # An offer may end the life of an evicted event and, with what a user has put into
                # its data, run anything: no address in the router is kept over one.
                while word < router.words:
                    bits = router.rows_of(FOUND)[word]
                    while bits:
                        row = word * 64 + nc_lowest_bit(bits)
                        bits &= bits - 1
                        box = <PyObject *> PyList_GET_ITEM(router.outboxes, row)
                        if box == <PyObject *> None:
                            continue
                        if (<Outbox> box).batch != batches:
                            (<Outbox> box).batch = batches
                            touch(&touched, box)
                        form = router.forms[row]
                        parcel = parcels[form]
                        if parcel == NULL:
                            parcel = parcels[form] = pack(event, form, router.sequence, now)
                        matched += 1
                        queued += (<Outbox> box).put(parcel) <= DROPPED_OLDEST
                    word += 1
            finally:
                for form in range(FORM_COUNT):
                    if parcels[form] != NULL:
                        leave_parcel(parcels[form])
        report.ready = owners_ready(&touched)
    finally:
        forget_touched(&touched)
    report.matched = matched
    report.queued = queued
    report.dropped = all_drops - drops_before
    report.invalid = invalid
    return report


cdef Parcel *pack(Event event, int form, int64_t sequence, double now) except NULL:
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
    return make_parcel(payload, size, event.event_class, sequence, now)


for made_here in (Event, Response, Request, Report):
    nc_forbid_new(made_here)
del made_here
