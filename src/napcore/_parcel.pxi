# Part of _dispatch.pyx: the memory of lanes, and what outboxes share.

cdef bytes plain_bytes(object data):
    if not isinstance(data, bytes):
        raise TypeError(f"expected bytes, not {type(data).__name__}")
    return <bytes> data


cdef double positive(str name, object value) except? 0:
    cdef double number = value
    if isnan(number) or number <= 0:
        raise ValueError(f"{name} must be more than 0, not {value!r}")
    return number


cdef int64_t most(str name, object value) except? 0:
    """The largest whole number within a limit."""
    cdef double number = positive(name, value)
    return INT64_MAX if number >= 9e18 else <int64_t> number


# Parcels that are free, for the next events.
cdef Parcel *free_parcels = NULL


cdef Account *open_account() except NULL:
    cdef Account *account = <Account *> malloc(sizeof(Account))
    if account == NULL:
        raise MemoryError
    account.bytes = 0
    account.holders = 1
    return account


cdef void leave_account(Account *account) noexcept:
    account.holders -= 1
    if account.holders == 0:
        free(account)


cdef Parcel *new_parcel() except NULL:
    """With one load and one holder, and nothing else filled in."""
    global free_parcels
    cdef Parcel *parcel = free_parcels
    if parcel != NULL:
        free_parcels = parcel.next
    else:
        parcel = <Parcel *> malloc(sizeof(Parcel))
        if parcel == NULL:
            raise MemoryError
    parcel.loads = parcel.holders = 1
    return parcel


cdef Parcel *make_parcel(
    object payload, Py_ssize_t size, int event_class, int64_t sequence, double born, Account *account
) except NULL:
    """A parcel that belongs to the caller alone, until ``leave_parcel``; it counts in the account, if there is one."""
    cdef Parcel *parcel = new_parcel()
    Py_INCREF(payload)
    parcel.payload = <PyObject *> payload
    parcel.size = size
    parcel.event_class = event_class
    parcel.sequence = sequence
    parcel.born = born
    parcel.shares = False
    parcel.account = account
    if account != NULL:
        account.bytes += size
        account.holders += 1
    return parcel


cdef Parcel *share_parcel(Parcel *parcel, int event_class) except NULL:
    """Another with the same payload, for an event of another class."""
    cdef Parcel *shared = new_parcel()
    shared.payload = parcel.payload
    shared.size = parcel.size
    shared.event_class = event_class
    shared.sequence = parcel.sequence
    shared.born = parcel.born
    shared.shares = True
    shared.account = NULL
    shared.next = parcel
    parcel.loads += 1
    parcel.holders += 1
    return shared


cdef enum:
    A_MESSAGE, A_NOTICE, A_REQUEST, A_META  # as in EventClass
    A_KEPT_MESSAGE

assert list(EventClass) == [A_MESSAGE, A_NOTICE, A_REQUEST, A_META]

cdef int[5] RANKS = [0, 2, 3, 2, 1]  # the lower, the sooner an event of the class is evicted


# Events dropped by any outbox, ever.
cdef int64_t all_drops = 0


cdef inline void count_drops(int64_t count) noexcept:
    global all_drops
    all_drops += count


# While a batch is fanned out, payloads are not let go: that may run anything, if it is an Event and
# a user has put something into its data, and the fan-out goes by addresses.
cdef int batches_under_way = 0
cdef Parcel *let_go_later = NULL


cdef inline void unload(Parcel *parcel) noexcept:
    """One lane less that may write it."""
    parcel.loads -= 1
    if parcel.loads == 0:
        put_away(parcel)


cdef void put_away(Parcel *parcel) noexcept:
    """Nobody will write it any more."""
    global let_go_later
    cdef PyObject *payload
    cdef Parcel *base
    if parcel.shares:
        parcel.payload = NULL
        base = parcel.next
        base.loads -= 1
        if base.loads == 0:
            put_away(base)
        release(base)
        return
    if parcel.account != NULL:
        parcel.account.bytes -= parcel.size
        leave_account(parcel.account)
        parcel.account = NULL
    if batches_under_way:
        parcel.holders += 1
        parcel.next = let_go_later
        let_go_later = parcel
        return
    payload = parcel.payload
    parcel.payload = NULL
    Py_XDECREF(payload)


cdef inline void release(Parcel *parcel) noexcept:
    """One lane less that has it."""
    global free_parcels
    parcel.holders -= 1
    if parcel.holders == 0:
        parcel.next = free_parcels
        free_parcels = parcel


cdef inline void leave_parcel(Parcel *parcel) noexcept:
    unload(parcel)
    release(parcel)


cdef void let_payloads_go() noexcept:
    """What has waited for the end of the batches under way."""
    global let_go_later
    cdef Parcel *parcel
    cdef PyObject *payload
    while let_go_later != NULL and not batches_under_way:
        parcel = let_go_later
        let_go_later = parcel.next
        payload = parcel.payload
        parcel.payload = NULL
        release(parcel)
        Py_XDECREF(payload)


# Lanes are taken from blocks of them, so that those made one after the other lie together. A lane
# whose outbox ends while a batch is under way stays as it is until then.
cdef enum:
    LANES_AT_ONCE = 64
    CACHE_LINE = 64

cdef enum:
    LARGEST_KEPT = 256  # places that the ring of an empty lane may have

cdef Lane *free_lanes = NULL
cdef Lane *ended_lanes = NULL


cdef Lane *make_lane() except NULL:
    global free_lanes
    cdef Lane *lane
    cdef char *block
    cdef int at
    if free_lanes == NULL:
        block = <char *> malloc((LANES_AT_ONCE + 1) * CACHE_LINE)
        if block == NULL:
            raise MemoryError
        block += CACHE_LINE - <size_t> block % CACHE_LINE
        for at in range(LANES_AT_ONCE - 1, -1, -1):
            lane = <Lane *> (block + at * CACHE_LINE)
            lane.box = <PyObject *> free_lanes
            free_lanes = lane
    lane = free_lanes
    free_lanes = <Lane *> lane.box
    memset(lane, 0, sizeof(Lane))
    return lane


cdef void end_lane(Lane *lane) noexcept:
    global free_lanes, ended_lanes
    free(lane.ring)
    lane.ring = NULL
    if batches_under_way:
        # Whoever comes upon it has to see that it is gone.
        lane.credits = 0
        lane.tail = lane.waiting_from
        lane.owner = <PyObject *> ended_lanes
        lane.box = NULL
        ended_lanes = lane
    else:
        lane.box = <PyObject *> free_lanes
        free_lanes = lane


cdef void free_ended_lanes() noexcept:
    global ended_lanes
    cdef Lane *lane
    while ended_lanes != NULL and not batches_under_way:
        lane = ended_lanes
        ended_lanes = <Lane *> lane.owner
        end_lane(lane)
