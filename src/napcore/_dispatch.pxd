# Layouts of the compiled dispatch core, for extensions of this package that reach into them.

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "_index.h":
    ctypedef struct nc_index:
        size_t words


cdef enum:
    DROP_REASON_COUNT = 9
    INDEXES = 7
    KIND_SLOTS = 256
    VARIANT_COUNT = 15  # of an event: the forms as received, then the forms in each of MESSAGE_FORMATS


cdef struct Account:
    # What the payloads come to that the outboxes of one router hold.
    int64_t bytes
    int64_t holders  # the router, and the parcels that count in it


cdef struct Parcel:
    # One event in one wire form, shared by all lanes that hold it.
    PyObject *payload  # owned, unless it is another's; NULL once nobody will write it any more
    int64_t sequence
    double born  # monotonic, in seconds
    Py_ssize_t size
    int event_class
    unsigned loads  # how many lanes may write it
    unsigned holders  # how many lanes have it at all
    bint shares  # whether the payload is that of another parcel, the next
    Parcel *next  # also where it is free, or its payload is to be let go
    Account *account  # that it counts in, or NULL


cdef struct Lane:
    # What every offer touches of an outbox, in one cache line. The event lane is a ring; the
    # counters say how many entries there have been since its start. One offer more is taken
    # without a thought where credits, max_frame and bytes_left allow it.
    Parcel **ring
    uint64_t tail
    uint64_t waiting_from
    int64_t bytes_left  # of max_bytes; negative where an empty lane has taken a large event
    PyObject *owner  # borrowed from the outbox
    PyObject *box  # borrowed; NULL: the outbox is gone
    uint32_t max_frame  # at most what fits here; beyond it the outbox decides
    uint32_t mask  # capacity of the ring - 1
    int32_t credits  # never more than there are
    uint16_t touched  # by the batch under way
    uint16_t presence  # of a link


cdef struct Pace:
    # A bucket of what is late, see _pace_py.
    double rate, tokens, filled_at
    double began, last  # of the windows over which the live rate is taken
    int64_t live_then


cdef struct Routed:
    # What became of a batch.
    Py_ssize_t matched  # rows that wanted an event, summed over the events
    Py_ssize_t queued  # how many of those offers were taken


cdef struct KindSlot:
    # What the kinds of an event decide; the rows themselves are in Router.kind_rows.
    PyObject *kind  # owned; NULL: the slot is free
    PyObject *sub_type  # owned
    int treatment


@cython.final
cdef class Event:
    cdef readonly bytes raw
    cdef readonly str post_type
    cdef readonly str kind
    cdef readonly str sub_type
    cdef object decoded
    cdef str plain
    cdef dict signatures  # by secret
    cdef int64_t account, group, user, message, when  # 0: none
    cdef readonly int event_class


@cython.final
cdef class Outbox:
    # With those of the Lane these count entries of the ring since its start, so that
    # confirmed <= copied <= written <= staged <= waiting <= tail. What lies between staged and
    # waiting is a gap left by events that were evicted, expired or taken. What lies between copied
    # and written is kept for another link.
    # What every write touches comes first.
    cdef Lane *lane
    cdef uint64_t capacity  # a power of two, or 0
    cdef uint64_t confirmed_to, copied_from, written_to, staged_to
    cdef list control
    cdef Py_ssize_t gathered  # bytes handed to a write that has not ended; -1: there is none
    cdef Py_ssize_t torn  # bytes already out of the one frame that is then staged between writes
    cdef Py_ssize_t control_staged, control_bytes
    cdef int64_t flight_bytes
    cdef int64_t holes  # places between waiting_from and the tail whose events were evicted; the first is none
    cdef int64_t max_events, frame_bound, most_queued, last_written, confirmed_count
    cdef double watch  # what is younger is not late, stale or too large
    cdef double usual_watch  # while it is not catching up
    cdef double[5] lifetimes  # by event class
    cdef bint torn_event  # whether that is an event
    cdef readonly bint at_least_once
    cdef int overflow
    cdef int closing  # the close code, 0 for none
    cdef bint catching_up  # whether what was staged last was late
    cdef int64_t gathered_fresh, gathered_late  # how many of the events gathered were late, and how many not
    cdef int64_t refused, bytes_bound
    cdef uint64_t[3] oldest  # no event of this rank lies before it, see RANKS
    cdef object owned_by
    cdef bytes latest  # the frame last offered as the latest of its kind
    cdef int64_t late_count
    cdef int64_t aged  # events that were late when they came
    cdef readonly int64_t caught_up
    cdef Pace pace
    cdef int64_t[DROP_REASON_COUNT] drops

    cdef Py_ssize_t stage(
        self, double now, Py_ssize_t max_bytes, int64_t max_events, PyObject **frames, Py_ssize_t room
    ) except -1
    cdef int settle(self, Py_ssize_t size) except -1
    cdef int64_t confirm_to(self, int64_t sequence) noexcept
    cdef int64_t flight_sequence(self) noexcept
    cdef void unstage(self) noexcept
    cdef int64_t live(self) noexcept
    cdef double pause_at(self, double now) noexcept
    cdef void go_late(self, int64_t count) noexcept
    cdef void turn(self, bint late) noexcept
    cdef int put(self, Parcel *parcel, double now) except -1
    cdef int refuse(self, Parcel *parcel, double now) noexcept
    cdef bint is_stale(self, Parcel *parcel, double now) noexcept
    cdef int overflown(self) noexcept
    cdef void close_lane(self) noexcept
    cdef void count_credits(self) noexcept
    cdef void note_peak(self) noexcept
    cdef Py_ssize_t queued_count(self) noexcept
    cdef int64_t counted(self) noexcept
    cdef int64_t copies_size(self) noexcept
    cdef bint drop_if_unfit(self, Parcel *parcel, double now) noexcept
    cdef void drop_largest(self) noexcept
    cdef int64_t lowest(self) noexcept
    cdef void economize(self, int64_t sequence) noexcept
    cdef void forget_copy(self) noexcept
    cdef void skip_holes(self) noexcept
    cdef void close_holes(self) noexcept
    cdef void evict(self) noexcept
    cdef void drop_first(self, int reason) noexcept
    cdef int64_t drop_waiting(self, int reason) noexcept
    cdef int make_room(self) except -1
    cdef void rest(self) noexcept


@cython.final
cdef class Router:
    cdef list outboxes  # by row; None: the row is free
    cdef Lane **lanes  # theirs, by row; NULL: the row is free
    cdef uint8_t *variants  # by row
    cdef uint64_t *variant_rows[VARIANT_COUNT]  # which rows take it
    cdef size_t variant_counts[VARIANT_COUNT]  # and how many
    cdef list rules  # by row
    cdef list free_rows  # a heap
    cdef dict shards  # by row, of the rows that have one
    cdef dict conditions  # likewise
    cdef dict text_rows  # likewise, their rows in the text index
    cdef object texts  # that index
    cdef set failed  # rows whose conditions have raised
    cdef readonly int64_t sequence
    cdef Account *account
    cdef int64_t memory_limit
    cdef dict keepers  # from a row to the one that says what of it is kept
    cdef uint32_t *kept_rows  # and back, for rows in the set KEEPERS

    cdef size_t words  # per set of rows
    cdef uint64_t *sets  # one set of rows after the other, see there too
    cdef nc_index[INDEXES] indexes  # see the enum in _dispatch.pyx
    cdef dict patterns  # the numbers of kind patterns in the indexes
    cdef Py_ssize_t longest_pattern, patterns_made

    cdef KindSlot[KIND_SLOTS + 1] kind_slots
    cdef uint64_t *kind_rows

    cdef uint64_t *rows_of(self, int which) noexcept
    cdef const uint64_t *listing(self, int index, int64_t number) noexcept
    cdef int widen(self, size_t words) except -1
    cdef int install(self, size_t row, tuple rules) except -1
    cdef int uninstall(self, size_t row, tuple rules) except -1
    cdef object number_of(self, str pattern)
    cdef bint lists_pattern(self, int64_t number) noexcept
    cdef void forget_kinds(self) noexcept
    cdef size_t row_of(self, object row) except? 0
    cdef size_t new_row(self, tuple rules, object condition, object text) except? 0
    cdef int free_row(self, size_t row) except -1
    cdef bint find_kept(self, uint64_t *kept) noexcept
    cdef int economize(self) except -1
    cdef Py_ssize_t kind_slot(self, str kind, str sub_type) except -1
    cdef int attach(self, size_t row, object condition, object text_row) except -1
    cdef int detach(self, size_t row) except -1
    cdef list route(self, list events, double now, int64_t account, const double *born, Routed *routed)
    cdef uint64_t *find(self, Event event, int64_t account) except NULL
    cdef int judge(self, Event event, int64_t account) except -1
    cdef list failing(self, list rows, Event event, int64_t account)
    cdef int apply_shards(self, uint64_t *found, int64_t account, int64_t group) except -1
