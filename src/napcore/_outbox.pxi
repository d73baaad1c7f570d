# Part of _dispatch.pyx: what waits for one client.

cdef bytes plain_bytes(object data):
    if not isinstance(data, bytes):
        raise TypeError(f"expected bytes, not {type(data).__name__}")
    return <bytes> data


cdef double positive(str name, object value) except? 0:
    cdef double number = value
    if isnan(number) or number <= 0:
        raise ValueError(f"{name} must be more than 0, not {value!r}")
    return number


@cython.final
cdef class Outbox:
    """Two lanes towards one client, bounded by count, bytes and age; it neither waits nor does I/O.

    The *event lane* is a queue: offered events wait, are staged while a write is under way, are
    written, and are confirmed once the client is known to have them. Its bounds count what waits
    or is staged; an empty lane takes any event up to ``max_frame``. The *control lane* belongs to
    the link: it has no age and goes first.

    At all times ``received == confirmed + unconfirmed + queued + sum(dropped.values())``.

    Args:
        owner: whatever stands for the client; ``fan_out`` reports it as ready.
        max_events: bound on waiting events.
        max_bytes: bound on their bytes.
        max_frame: largest event taken, in bytes.
        overflow: at the bound evict the oldest, refuse the newest, or clear the lane and ask
            for the link to be closed (``close_code`` 1013).
        message_ttl: seconds a message may wait.
        notice_ttl: seconds a notice, meta event or unknown event may wait.
        request_ttl: seconds a request may wait.

    ``math.inf`` is no limit.

    Raises:
        ValueError: a limit is 0, negative or NaN, or ``overflow`` is unknown.
    """

    def __init__(
        self,
        owner=None,
        *,
        max_events=4096,
        max_bytes=4194304,
        max_frame=52428800,
        overflow="drop_oldest",
        message_ttl=60.0,
        notice_ttl=600.0,
        request_ttl=86400.0,
    ):
        if overflow not in OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
        self.owner = owner
        self.max_events = positive("max_events", max_events)
        self.max_bytes = positive("max_bytes", max_bytes)
        self.max_frame = positive("max_frame", max_frame)
        self.overflow = OVERFLOWS.index(overflow)
        self.lifetimes[<int> EventClass.NOTICE] = positive("notice_ttl", notice_ttl)
        self.lifetimes[<int> EventClass.MESSAGE] = positive("message_ttl", message_ttl)
        self.lifetimes[<int> EventClass.REQUEST] = positive("request_ttl", request_ttl)
        self.lifetimes[<int> EventClass.META] = self.lifetimes[<int> EventClass.NOTICE]

    def __cinit__(self):
        self.control = []

    def __dealloc__(self):
        cdef uint64_t at
        for at in range(self.confirmed_to, self.staged_to):
            Py_XDECREF(self.ring[at & (self.capacity - 1)].payload)
        for at in range(self.waiting_from, self.tail):
            Py_DECREF(<object> self.ring[at & (self.capacity - 1)].payload)
        free(self.ring)

    @property
    def close_code(self):
        """The close code the link is to be closed with, 0 for none."""
        return self.closing

    @property
    def received(self):
        """Events ever offered."""
        return self.received_count

    @property
    def confirmed(self):
        """Events the client is known to have."""
        return self.confirmed_count

    @property
    def unconfirmed(self):
        """Events written but not confirmed."""
        return self.written_to - self.confirmed_to

    @property
    def queued(self):
        """Events waiting or being written."""
        return self.queued_count()

    @property
    def queued_bytes(self):
        """Their bytes."""
        return self.lane_bytes

    @property
    def max_queued(self):
        """The most events that were ever queued at once."""
        return self.most_queued

    @property
    def late(self):
        """Control frames that no link took any more."""
        return self.late_count

    @property
    def control_queued(self):
        """Control frames waiting or being written."""
        return len(self.control)

    @property
    def dropped(self):
        """Events dropped, by reason (``DROP_REASONS``), reasons that never occurred left out."""
        return {_DROP_REASONS[reason]: self.drops[reason] for reason in range(DROP_REASON_COUNT) if self.drops[reason]}

    def __len__(self):
        """Frames of both lanes not yet written."""
        return self.queued_count() + len(self.control)

    def __sizeof__(self):
        return object.__sizeof__(self) + self.capacity * sizeof(Entry)

    def __repr__(self):
        return f"<Outbox queued={self.queued} unconfirmed={self.unconfirmed} received={self.received}>"

    def offer(self, payload, long long event_class, int64_t sequence, double now):
        """Put one event into the lane, or say why not.

        ``sequence`` never falls from one offer to the next; ``now`` is monotonic, in seconds.

        Raises:
            TypeError: ``payload`` is neither bytes nor an Event.
            ValueError: ``event_class`` is no ``EventClass``.
        """
        cdef bytes raw = (<Event> payload).raw if isinstance(payload, Event) else plain_bytes(payload)
        if not 0 <= event_class < 4:
            raise ValueError(f"{event_class} is not a valid EventClass")
        return OUTCOMES[self.put(payload, PyBytes_GET_SIZE(raw), event_class, sequence, now)]

    def offer_control(self, frame):
        """Put one frame of the link itself (an answer, a heartbeat, a pong) ahead of all events.

        Returns DISCONNECT, with ``close_code`` set and the frame counted as ``late``, when more
        than ``CONTROL_LIMIT`` bytes of them wait already.

        Raises:
            TypeError: ``frame`` is not bytes.
        """
        cdef bytes data = plain_bytes(frame)
        if self.control_bytes > control_limit:
            self.late_count += 1
            self.closing = TRY_AGAIN_LATER
            return OUTCOMES[DISCONNECT]
        self.control.append(data)
        self.control_bytes += PyBytes_GET_SIZE(data)
        return OUTCOMES[QUEUED]

    def gather(self, double now, Py_ssize_t max_bytes=65536):
        """Stage the next frames for one write: control frames, then fresh events, oldest first.

        At least one frame, if there is one, and no more than ``max_bytes`` otherwise. Events past
        their lifetime are dropped on the way (reason ``ttl``).

        Raises:
            RuntimeError: the frames of an earlier call are still staged.
            TypeError: the lane holds an Event, which has no wire form.
        """
        cdef list frames = []
        cdef Py_ssize_t total = 0
        cdef uint64_t mask = self.capacity - 1
        cdef Entry *entry
        if self.staged_to != self.written_to or self.control_staged:
            raise RuntimeError("frames are staged already: wrote() or lose_link() comes first")
        for data in self.control:
            if frames and total + PyBytes_GET_SIZE(data) > max_bytes:
                break
            frames.append(data)
            total += PyBytes_GET_SIZE(data)
        if len(frames) < len(self.control):
            self.control_staged = len(frames)
            return frames
        while self.waiting_from != self.tail:
            entry = &self.ring[self.waiting_from & mask]
            if entry.expiry <= now:
                self.drop_first(TTL)
                continue
            if not isinstance(<object> entry.payload, bytes):
                while self.staged_to != self.written_to:
                    self.staged_to -= 1
                    self.waiting_from -= 1
                    self.ring[self.waiting_from & mask] = self.ring[self.staged_to & mask]
                raise TypeError("an Event cannot be written, offer bytes")
            if frames and total + entry.size > max_bytes:
                break
            frames.append(<object> entry.payload)
            total += entry.size
            # The gap stays between what is staged and what waits.
            self.ring[self.staged_to & mask] = entry[0]
            self.staged_to += 1
            self.waiting_from += 1
        self.control_staged = len(self.control)
        return frames

    def wrote(self):
        """What was staged is written: control frames are done, events wait for ``confirm``.

        Returns the sequence of the event written last, ever; 0 if there was none.
        """
        cdef Entry *entry
        cdef Py_ssize_t size = 0
        if self.control_staged:
            for data in self.control[:self.control_staged]:
                size += len(data)
            del self.control[:self.control_staged]
            self.control_bytes -= size
            self.control_staged = 0
        while self.written_to != self.staged_to:
            entry = &self.ring[self.written_to & (self.capacity - 1)]
            self.written_to += 1
            self.lane_bytes -= entry.size
            self.last_written = entry.sequence
            Py_DECREF(<object> entry.payload)
            entry.payload = NULL
        return self.last_written

    def confirm(self, int64_t sequence):
        """The client has all written events up to ``sequence``; returns how many are newly confirmed."""
        cdef uint64_t before = self.confirmed_to
        while (
            self.confirmed_to != self.written_to
            and self.ring[self.confirmed_to & (self.capacity - 1)].sequence <= sequence
        ):
            self.confirmed_to += 1
        cdef uint64_t count = self.confirmed_to - before
        self.confirmed_count += count
        self.rest()
        return count

    def take(self, double now, Py_ssize_t limit=0):
        """Hand over up to ``limit`` fresh payloads (0: all) in process; they count as confirmed.

        Raises:
            ValueError: ``limit`` is negative.
        """
        cdef list taken = []
        cdef Entry *entry
        if limit < 0:
            raise ValueError("limit must be 0 or more")
        while self.waiting_from != self.tail and not (limit and len(taken) == limit):
            entry = &self.ring[self.waiting_from & (self.capacity - 1)]
            if entry.expiry <= now:
                self.drop_first(TTL)
                continue
            taken.append(<object> entry.payload)
            self.waiting_from += 1
            self.lane_bytes -= entry.size
            self.confirmed_count += 1
            Py_DECREF(<object> entry.payload)
        self.rest()
        return taken

    def lose_link(self):
        """The link is gone: what was given to it and not confirmed is ``uncertain``.

        Control frames are cleared and counted as ``late``, ``close_code`` is 0 again. Returns
        how many events became uncertain.
        """
        cdef uint64_t count = self.staged_to - self.confirmed_to
        cdef uint64_t at
        cdef Entry *entry
        while self.staged_to != self.written_to:
            self.staged_to -= 1
            entry = &self.ring[self.staged_to & (self.capacity - 1)]
            self.lane_bytes -= entry.size
            Py_DECREF(<object> entry.payload)
        self.confirmed_to = self.written_to
        self.drops[UNCERTAIN] += count
        self.dropped_count += count
        self.late_count += len(self.control)
        self.control.clear()
        self.control_staged = self.control_bytes = 0
        self.closing = 0
        self.rest()
        return count

    def clear(self, reason):
        """Drop all events that wait, for ``reason``; returns how many. What is staged stays.

        Raises:
            ValueError: ``reason`` is not in ``DROP_REASONS``.
        """
        if reason not in _DROP_REASONS:
            raise ValueError(f"unknown drop reason {reason!r}")
        return self.drop_waiting(_DROP_REASONS.index(reason))

    cdef Py_ssize_t queued_count(self) noexcept:
        return (self.staged_to - self.written_to) + (self.tail - self.waiting_from)

    cdef bint fits(self, Py_ssize_t size) noexcept:
        return self.queued_count() + 1 <= self.max_events and self.lane_bytes + size <= self.max_bytes

    cdef int put(self, object payload, Py_ssize_t size, int event_class, int64_t sequence, double now) except -1:
        """``offer`` for arguments known to be good; returns the Outcome as int."""
        cdef int outcome = QUEUED
        cdef int64_t queued
        cdef Entry *entry
        self.received_count += 1
        if self.closing or size > self.max_frame:
            return self.refuse(size)
        # With nothing waiting any frame is taken, whatever is being written.
        while self.waiting_from != self.tail and not self.fits(size):
            if self.overflow != 0:
                return self.overflown()
            self.drop_first(OLDEST)
            outcome = DROPPED_OLDEST
        if self.tail - self.confirmed_to == self.capacity:
            self.make_room()
        entry = &self.ring[self.tail & (self.capacity - 1)]
        Py_INCREF(payload)
        entry.payload = <PyObject *> payload
        entry.sequence = sequence
        entry.expiry = now + self.lifetimes[event_class]
        entry.size = size
        entry.event_class = event_class
        self.tail += 1
        self.lane_bytes += size
        queued = self.queued_count()
        if queued > self.most_queued:
            self.most_queued = queued
        return outcome

    cdef int refuse(self, Py_ssize_t size) noexcept:
        """The event is not taken, whatever the lane holds."""
        self.dropped_count += 1
        if self.closing:
            self.drops[DISCONNECTED] += 1
            return DISCONNECT
        self.drops[TOO_LARGE] += 1
        return OVERSIZE

    cdef int overflown(self) noexcept:
        """The event is not taken, for the lane is full."""
        self.dropped_count += 1
        if self.overflow == 1:
            self.drops[NEWEST] += 1
            return DROPPED_NEWEST
        self.drops[DISCONNECTED] += 1
        self.drop_waiting(DISCONNECTED)
        self.closing = TRY_AGAIN_LATER
        return DISCONNECT

    cdef void drop_first(self, int reason) noexcept:
        cdef Entry *entry = &self.ring[self.waiting_from & (self.capacity - 1)]
        self.waiting_from += 1
        self.lane_bytes -= entry.size
        self.drops[reason] += 1
        self.dropped_count += 1
        Py_DECREF(<object> entry.payload)

    cdef int64_t drop_waiting(self, int reason) noexcept:
        cdef int64_t count = self.tail - self.waiting_from
        while self.waiting_from != self.tail:
            self.drop_first(reason)
        self.rest()
        return count

    cdef int make_room(self) except -1:
        """Room for one more entry: close the gap if it is worth it, else double the ring."""
        cdef uint64_t gap = self.waiting_from - self.staged_to
        cdef uint64_t mask = self.capacity - 1
        cdef uint64_t at, capacity
        cdef Entry *ring
        if gap and (self.staged_to == self.confirmed_to or gap * 4 >= self.capacity):
            # What is in flight moves up; it is nothing, or a fourth of the ring pays for it.
            at = self.staged_to
            while at != self.confirmed_to:
                at -= 1
                self.ring[(at + gap) & mask] = self.ring[at & mask]
            self.confirmed_to += gap
            self.written_to += gap
            self.staged_to += gap
            return 0
        capacity = self.capacity * 2 if self.capacity else 16
        ring = <Entry *> malloc(capacity * sizeof(Entry))
        if ring == NULL:
            self.received_count -= 1  # the offer has not taken place
            raise MemoryError
        for at in range(self.confirmed_to, self.tail):
            ring[at & (capacity - 1)] = self.ring[at & mask]
        free(self.ring)
        self.ring = ring
        self.capacity = capacity
        return 0

    cdef void rest(self) noexcept:
        """Where nothing is in flight there is no gap; where nothing is left a large ring can go."""
        if self.staged_to == self.confirmed_to:
            self.confirmed_to = self.written_to = self.staged_to = self.waiting_from
            if self.waiting_from == self.tail and self.capacity > 256:
                free(self.ring)
                self.ring = NULL
                self.capacity = 0
