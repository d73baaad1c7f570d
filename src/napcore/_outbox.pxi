# Part of _dispatch.pyx: what waits for one client.

# A lane borrows its outbox's owner, so that must stay: garbage that holds both is broken up elsewhere.
@cython.final
@cython.no_gc_clear
cdef class Outbox:
    """Two lanes towards one client, bounded by count, bytes and age; it neither waits nor does I/O.

    The *event lane* is a queue: offered events wait, are staged while a write is under way, are
    written, and are confirmed once the client is known to have them. Its bounds count what waits
    or is staged; an empty lane takes any event up to ``max_frame``. What is staged or written is
    *in flight*. The *control lane* belongs to the link: it has no age and goes first.

    What has to go at the bound is the oldest message, then the oldest that is ``kept``, without
    one the oldest notice or meta event, and a request only when nothing else is left; what stays
    keeps its order.

    When a link is lost, what was written and is not confirmed is ``uncertain``: nothing is written
    twice. With ``at_least_once`` it is kept instead, counts against the bounds until it is
    confirmed, and is written again on the next link; where it fills the bound by itself, the oldest
    of it is kept no longer.

    At all times ``received == confirmed + unconfirmed + queued + sum(dropped.values())``.

    Args (``math.inf`` is no limit):
        owner: whatever stands for the client; ``fan_out`` reports it as ready.
        max_events: bound on waiting events.
        max_bytes: bound on their bytes.
        max_frame: largest event taken, in bytes.
        overflow: at the bound evict the oldest, refuse the newest, or clear the lane and ask
            for the link to be closed (``close_code`` 1013).
        message_ttl, notice_ttl, request_ttl: seconds a message, a notice (or meta, or unknown) or a request may wait.
        delivery: ``at_most_once`` or ``at_least_once``.
        catch_up_rate: late events that may go per second; four times the rate of the last 10
            seconds' other events if that is more. None is 50. Late is what was born more than 5
            seconds before it is gathered, and behind what is late more than 1 second.

    Raises:
        ValueError: a limit is 0, negative or NaN, or ``overflow`` or ``delivery`` is unknown.
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
        delivery="at_most_once",
        catch_up_rate=None,
    ):
        global shortest_lifetime
        if overflow not in OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
        if delivery not in DELIVERIES:
            raise ValueError(f"delivery must be one of {', '.join(DELIVERIES)}, not {delivery!r}")
        cdef int64_t held = self.bytes_bound - self.lane.bytes_left
        self.owner = owner
        self.max_events = most("max_events", max_events)
        self.bytes_bound = most("max_bytes", max_bytes)
        self.frame_bound = most("max_frame", max_frame)
        self.at_least_once = delivery == "at_least_once"
        self.lane.bytes_left = self.bytes_bound - held
        self.lane.max_frame = <uint32_t> min(self.frame_bound, <int64_t> UINT32_MAX)
        self.lane.credits = 0
        self.overflow = OVERFLOWS.index(overflow)
        self.lifetimes[<int> EventClass.NOTICE] = positive("notice_ttl", notice_ttl)
        self.lifetimes[<int> EventClass.MESSAGE] = positive("message_ttl", message_ttl)
        self.lifetimes[<int> EventClass.REQUEST] = positive("request_ttl", request_ttl)
        self.lifetimes[<int> EventClass.META] = self.lifetimes[<int> EventClass.NOTICE]
        self.lifetimes[A_KEPT_MESSAGE] = self.lifetimes[A_MESSAGE]
        self.watch = LATE
        for lifetime in self.lifetimes:
            self.watch = min(self.watch, <double> lifetime)
        self.watch *= 0.999  # a difference is not rounded as a sum is
        self.usual_watch = self.watch
        shortest_lifetime = min(shortest_lifetime, self.watch)
        self.turn(self.catching_up)
        start_pace(&self.pace, RATE if catch_up_rate is None else positive("catch_up_rate", catch_up_rate))

    def __cinit__(self):
        self.control = []
        self.gathered = -1
        self.lane = make_lane()
        self.lane.box = <PyObject *> self
        self.lane.owner = <PyObject *> None

    def __dealloc__(self):
        cdef uint64_t at
        if self.lane == NULL:
            return
        for at in range(self.confirmed_to, self.copied_from):
            release(self.lane.ring[at & (self.capacity - 1)])
        for at in range(self.copied_from, self.staged_to):
            leave_parcel(self.lane.ring[at & (self.capacity - 1)])
        for at in range(self.lane.waiting_from, self.lane.tail):
            if self.lane.ring[at & (self.capacity - 1)] != NULL:
                leave_parcel(self.lane.ring[at & (self.capacity - 1)])
        end_lane(self.lane)

    @property
    def owner(self):
        """Whatever stands for the client; ``fan_out`` reports it as ready."""
        return self.owned_by

    @owner.setter
    def owner(self, owner):
        self.lane.owner = <PyObject *> owner
        self.owned_by = owner

    @property
    def close_code(self):
        """The close code the link is to be closed with, 0 for none."""
        return self.closing

    @property
    def max_frame(self):
        """The largest event taken, in bytes: as set, or as learned from a peer that took no larger."""
        return INFINITY if self.frame_bound == INT64_MAX else <double> self.frame_bound

    @property
    def received(self):
        """Events ever offered."""
        return self.lane.tail + self.refused

    @property
    def confirmed(self):
        """Events the client is known to have."""
        return self.confirmed_count

    @property
    def holding(self):
        """Whether there is no link, so that events wait for one, or are not taken."""
        return self.lane.presence != LINKED

    @property
    def unconfirmed(self):
        """Events written but not confirmed."""
        return self.written_to - self.confirmed_to

    @property
    def in_flight(self):
        """Events staged or written, and not confirmed."""
        return self.staged_to - self.confirmed_to

    @property
    def in_flight_bytes(self):
        """Their bytes."""
        return self.flight_bytes

    @property
    def in_flight_sequence(self):
        """The sequence of the last of them; 0 if there is none."""
        return self.flight_sequence()

    @property
    def queued(self):
        """Events waiting or being written."""
        return self.queued_count()

    @property
    def queued_bytes(self):
        """Their bytes."""
        return self.bytes_bound - self.lane.bytes_left - self.copies_size()

    @property
    def max_queued(self):
        """The most events that were ever queued at once."""
        self.note_peak()
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
        return object.__sizeof__(self) + self.capacity * sizeof(Parcel *)

    def __repr__(self):
        return f"<Outbox queued={self.queued} unconfirmed={self.unconfirmed} received={self.received}>"

    def offer(self, payload, long long event_class, int64_t sequence, double now, *, bint kept=False, born=None):
        """Put one event into the lane, or say why not.

        ``sequence`` never falls from one offer to the next; ``now`` is monotonic, in seconds;
        ``kept`` messages are evicted after all others; ``born`` is when it happened, by the same
        clock, if that was earlier.

        Raises:
            TypeError: ``payload`` is neither bytes nor an Event.
            ValueError: ``event_class`` is no ``EventClass``.
        """
        cdef bytes raw = (<Event> payload).raw if isinstance(payload, Event) else plain_bytes(payload)
        if not 0 <= event_class < 4:
            raise ValueError(f"{event_class} is not a valid EventClass")
        cdef int own_class = A_KEPT_MESSAGE if kept and event_class == A_MESSAGE else <int> event_class
        cdef double birth = now if born is None else born
        cdef Parcel *parcel = make_parcel(payload, PyBytes_GET_SIZE(raw), own_class, sequence, birth, NULL)
        try:
            return OUTCOMES[self.put(parcel, now)]
        finally:
            leave_parcel(parcel)

    def offer_control(self, frame, *, bint latest=False):
        """Put one frame of the link itself (an answer, a heartbeat, a pong) ahead of all events.

        ``latest`` says that it makes an earlier one of its kind pointless: if that still waits, it
        takes its place.

        Returns DISCONNECT, with ``close_code`` set and the frame counted as ``late``, when more
        than ``CONTROL_LIMIT`` bytes of them wait already.

        Raises:
            TypeError: ``frame`` is not bytes.
        """
        cdef bytes data = plain_bytes(frame)
        cdef bytes earlier
        cdef Py_ssize_t at
        if latest:
            earlier = self.latest
            self.latest = data
            for at in range(self.control_staged, len(self.control)):
                if self.control[at] is earlier:
                    self.control[at] = data
                    self.control_bytes += len(data) - len(earlier)
                    return OUTCOMES[QUEUED]
        if self.control_bytes > control_limit:
            self.late_count += 1
            self.close_lane()
            return OUTCOMES[DISCONNECT]
        self.control.append(data)
        self.control_bytes += PyBytes_GET_SIZE(data)
        return OUTCOMES[QUEUED]

    def gather(self, double now, Py_ssize_t max_bytes=65536, double max_events=INFINITY):
        """Stage the next frames for one write: control frames, then fresh events, oldest first.

        At least one frame, if there is one that may go, and no more than ``max_bytes`` otherwise;
        no more than ``max_events`` events. Events past their lifetime are dropped on the way
        (reason ``ttl``), and those larger than ``max_frame`` has become (``oversize``). What the last
        write left of a frame comes before everything else. A late event waits for its turn, see
        ``pause``, and so do those behind it.

        Raises:
            RuntimeError: the frames of an earlier call are still staged.
            TypeError: the lane holds an Event, which has no wire form.
        """
        cdef Py_ssize_t room = 1 + PyList_GET_SIZE(self.control) + (self.lane.tail - self.lane.waiting_from)
        cdef PyObject **frames = <PyObject **> malloc(room * sizeof(PyObject *))
        cdef Py_ssize_t torn = self.torn, count, at
        cdef int64_t most = INT64_MAX if max_events >= 9e18 else <int64_t> ceil(max_events)
        if frames == NULL:
            raise MemoryError
        try:
            count = self.stage(now, max_bytes, most, frames, room)
            taken = [<object> frames[at] for at in range(count)]
        finally:
            free(frames)
        if torn and taken:
            taken[0] = taken[0][torn:]
        return taken

    def sent(self, Py_ssize_t size):
        """The first ``size`` bytes of what was gathered are out, and no more will follow by themselves.

        Whole frames are written: control frames are done, events wait for ``confirm``. A frame
        that is out in part stays staged: nothing may go before its rest. What was behind it waits
        again, in its old place.

        Returns the sequence of the event written last, ever; 0 if there was none.

        Raises:
            ValueError: ``size`` is negative or more than what was gathered.
        """
        if not 0 <= size <= max(self.gathered, 0):
            raise ValueError(f"{size} of {max(self.gathered, 0)} bytes cannot have been sent")
        self.settle(size)
        return self.last_written

    def wrote(self):
        """All of what was gathered is out; see ``sent``."""
        self.settle(max(self.gathered, 0))
        return self.last_written

    def confirm(self, int64_t sequence):
        """The client has all written events up to ``sequence``; returns how many are newly confirmed."""
        return self.confirm_to(sequence)

    def take(self, double now, Py_ssize_t limit=0, list deadlines=None):
        """Hand over up to ``limit`` fresh payloads (0: all) in process; they count as confirmed.

        ``deadlines`` gets, for each of them, the end of its lifetime on the clock of ``now``.

        Raises:
            ValueError: ``limit`` is negative.
        """
        cdef list taken = []
        cdef Parcel *parcel
        if limit < 0:
            raise ValueError("limit must be 0 or more")
        self.note_peak()
        while self.lane.waiting_from != self.lane.tail and not (limit and len(taken) == limit):
            parcel = self.lane.ring[self.lane.waiting_from & (self.capacity - 1)]
            if self.drop_if_unfit(parcel, now):
                continue
            taken.append(<object> parcel.payload)
            if deadlines is not None:
                deadlines.append(parcel.born + self.lifetimes[parcel.event_class])
            self.lane.waiting_from += 1
            self.skip_holes()
            self.lane.bytes_left += parcel.size
            self.confirmed_count += 1
            leave_parcel(parcel)
        self.rest()
        return taken

    def lose_link(self, bint refused_size=False):
        """The link is gone: what was given to it and not confirmed is ``uncertain``.

        With ``at_least_once`` it waits again instead, but for events that were written and whose
        payload has been let go since. An event of which ``sent`` has told that it is out in part
        counts as not written: it waits again. Control frames are cleared and counted as ``late``,
        ``close_code`` is 0 again.

        ``refused_size`` says that the peer has closed for the size of a frame (1009; RFC 6455,
        7.4.1): the largest event in flight is dropped as ``oversize``, and so is from now on
        whatever is not smaller.

        Returns how many events became uncertain.
        """
        cdef Lane *lane = self.lane
        cdef Parcel *parcel
        cdef uint64_t count
        self.note_peak()
        if refused_size and self.staged_to != self.confirmed_to:
            self.drop_largest()
        if self.gathered < 0:
            self.torn = 0
            self.torn_event = False
            self.gathered_late = 0  # it has had its turn
            self.unstage()
        if self.at_least_once and self.copied_from != self.staged_to:
            while self.copied_from != self.staged_to:
                self.staged_to -= 1
                lane.waiting_from -= 1
                lane.ring[lane.waiting_from & lane.mask] = lane.ring[self.staged_to & lane.mask]
            self.written_to = self.staged_to
            self.oldest[0] = self.oldest[1] = self.oldest[2] = lane.waiting_from
        count = self.staged_to - self.confirmed_to
        while self.staged_to != self.copied_from:
            self.staged_to -= 1
            parcel = lane.ring[self.staged_to & lane.mask]
            lane.bytes_left += parcel.size
            leave_parcel(parcel)
        self.written_to = self.staged_to
        while self.confirmed_to != self.written_to:
            self.confirmed_to += 1
            release(lane.ring[(self.confirmed_to - 1) & lane.mask])
        self.drops[UNCERTAIN] += count
        count_drops(count)
        self.late_count += len(self.control)
        self.control.clear()
        self.control_staged = self.control_bytes = 0
        self.flight_bytes = self.torn = 0
        self.torn_event = False
        self.gathered = -1
        self.closing = 0
        self.note_peak()
        self.rest()
        return count

    def hold(self):
        """There is no link: until ``resume``, ``disconnect`` means ``drop_oldest``, and nobody is told of events."""
        self.lane.presence = HELD
        self.rest()

    def end_hold(self, bint everything=False):
        """There has been no link for long: what waits is dropped (reason ``hold``), requests stay.

        Until ``resume`` only requests are taken; with ``everything`` they go too, and none are taken.
        Returns how many events were dropped.
        """
        global batches_under_way
        cdef Lane *lane = self.lane
        cdef uint64_t at = lane.tail, to = lane.tail
        cdef int64_t count = 0
        cdef Parcel *parcel
        self.note_peak()
        self.lane.presence = NO_HOLD if everything else HOLD_OVER
        # Whatever runs when a payload is let go finds the lane in order.
        batches_under_way += 1
        while at != lane.waiting_from:
            at -= 1
            parcel = lane.ring[at & lane.mask]
            if parcel == NULL:
                continue
            if parcel.event_class == A_REQUEST and not everything:
                to -= 1
                lane.ring[to & lane.mask] = parcel
                continue
            lane.bytes_left += parcel.size
            leave_parcel(parcel)
            count += 1
        lane.waiting_from = self.oldest[0] = self.oldest[1] = self.oldest[2] = to
        self.holes = 0
        self.drops[HOLD] += count
        count_drops(count)
        self.rest()
        batches_under_way -= 1
        if not batches_under_way:
            free_ended_lanes()
            let_payloads_go()
        return count

    def resume(self):
        """There is a link again."""
        self.lane.presence = LINKED
        self.rest()

    def tick(self, double now):
        """To be called about once a second: drops what expired in front, and notes how fast events come."""
        cdef Lane *lane = self.lane
        note_live(&self.pace, now, self.live())
        while lane.waiting_from != lane.tail and self.drop_if_unfit(lane.ring[lane.waiting_from & lane.mask], now):
            pass
        self.rest()

    def pause(self, double now):
        """Seconds until the event that waits first, which is late, may be written; 0 if it may, or is not late."""
        return self.pause_at(now)

    def clear(self, reason):
        """Drop all events that wait, for ``reason``; returns how many. What is staged stays.

        Raises:
            ValueError: ``reason`` is not in ``DROP_REASONS``.
        """
        if reason not in _DROP_REASONS:
            raise ValueError(f"unknown drop reason {reason!r}")
        return self.drop_waiting(_DROP_REASONS.index(reason))

    cdef Py_ssize_t stage(
        self, double now, Py_ssize_t max_bytes, int64_t max_events, PyObject **frames, Py_ssize_t room
    ) except -1:
        """``gather`` of at most ``room`` frames, which stay the outbox's; the first may be torn."""
        cdef Lane *lane = self.lane
        cdef Parcel *parcel
        cdef Py_ssize_t count = 0, total = 0, size
        cdef int64_t events = 0
        cdef bint late
        if self.gathered >= 0:
            raise RuntimeError("frames are staged already: wrote(), sent() or lose_link() comes first")
        self.gathered_late = 0
        if self.torn:
            frames[0] = (
                self.lane.ring[self.written_to & lane.mask].payload
                if self.torn_event
                else PyList_GET_ITEM(self.control, 0)
            )
            total = PyBytes_GET_SIZE(<object> frames[0]) - self.torn
            count = 1
        while count < room and self.control_staged < PyList_GET_SIZE(self.control):
            frames[count] = PyList_GET_ITEM(self.control, self.control_staged)
            size = PyBytes_GET_SIZE(<object> frames[count])
            if count and total + size > max_bytes:
                break
            count += 1
            total += size
            self.control_staged += 1
        if self.control_staged == PyList_GET_SIZE(self.control):
            while lane.waiting_from != lane.tail and events < max_events and count < room:
                parcel = lane.ring[lane.waiting_from & lane.mask]
                late = False
                if now - parcel.born >= self.watch:
                    if self.drop_if_unfit(parcel, now):
                        continue
                    late = now - parcel.born > (RECENT if self.catching_up else LATE)
                    if late and pause_of(&self.pace, now, self.live()) > 0:
                        break
                if not PyBytes_CheckExact(<object> parcel.payload) and not isinstance(<object> parcel.payload, bytes):
                    self.gathered_fresh = events - self.gathered_late
                    self.unstage()
                    raise TypeError("an Event cannot be written, offer bytes")
                if count and total + parcel.size > max_bytes:
                    break
                if late:
                    self.turn(True)
                    self.go_late(1)
                    self.gathered_late += 1
                elif self.catching_up:
                    self.turn(False)
                frames[count] = parcel.payload
                count += 1
                events += 1
                total += parcel.size
                # The gap stays between what is staged and what waits.
                lane.ring[self.staged_to & lane.mask] = parcel
                self.staged_to += 1
                lane.waiting_from += 1
                self.skip_holes()
                self.flight_bytes += parcel.size
        self.gathered_fresh = events - self.gathered_late
        if count:
            self.gathered = total
        return count

    cdef int settle(self, Py_ssize_t size) except -1:
        """``sent`` for a size known to be good."""
        cdef Lane *lane = self.lane
        cdef Parcel *parcel
        cdef Py_ssize_t left = size + self.torn, control_done = 0, frame_size
        cdef bint event = self.torn_event  # else control frames come first
        if self.gathered < 0:
            return 0
        self.note_peak()
        while self.staged_to != self.written_to or control_done < self.control_staged:
            event = event or control_done == self.control_staged
            if event:
                parcel = lane.ring[self.written_to & lane.mask]
                if left < parcel.size:
                    break
                left -= parcel.size
                self.written_to += 1
                self.last_written = parcel.sequence
                if not self.at_least_once:
                    lane.bytes_left += parcel.size
                    unload(parcel)
            else:
                frame_size = PyBytes_GET_SIZE(<object> PyList_GET_ITEM(self.control, control_done))
                if left < frame_size:
                    break
                left -= frame_size
                self.control_bytes -= frame_size
                control_done += 1
            event = False
        if not self.at_least_once:
            self.copied_from = self.written_to
        if control_done:
            del self.control[:control_done]
        self.torn = left
        self.torn_event = event and left > 0
        self.unstage()
        return 0

    cdef void unstage(self) noexcept:
        """Put back what is staged, but for a torn frame."""
        cdef Lane *lane = self.lane
        cdef uint64_t waiting_from = lane.waiting_from
        cdef int64_t count
        self.control_staged = 1 if self.torn and not self.torn_event else 0
        if self.gathered_late:
            count = self.staged_to - self.written_to - self.torn_event
            self.go_late(-max(<int64_t> 0, min(self.gathered_late, count - self.gathered_fresh)))  # in front
        while self.staged_to - self.written_to > <uint64_t> self.torn_event:
            self.staged_to -= 1
            lane.waiting_from -= 1
            lane.ring[lane.waiting_from & lane.mask] = lane.ring[self.staged_to & lane.mask]
            self.flight_bytes -= lane.ring[lane.waiting_from & lane.mask].size
        if lane.waiting_from != waiting_from:
            self.oldest[0] = self.oldest[1] = self.oldest[2] = lane.waiting_from
        self.gathered = -1

    cdef int64_t confirm_to(self, int64_t sequence) noexcept:
        cdef Lane *lane = self.lane
        cdef Parcel *parcel
        cdef int64_t count = 0
        while self.confirmed_to != self.written_to:
            parcel = lane.ring[self.confirmed_to & lane.mask]
            if parcel.sequence > sequence:
                break
            self.flight_bytes -= parcel.size
            if self.copied_from == self.confirmed_to:
                self.forget_copy()
            release(parcel)
            self.confirmed_to += 1
            count += 1
        self.confirmed_count += count
        self.rest()
        return count

    cdef int64_t flight_sequence(self) noexcept:
        if self.staged_to == self.confirmed_to:
            return 0
        return self.lane.ring[(self.staged_to - 1) & self.lane.mask].sequence

    cdef Py_ssize_t queued_count(self) noexcept:
        return (self.staged_to - self.written_to) + (self.lane.tail - self.lane.waiting_from) - self.holes

    cdef int64_t counted(self) noexcept:
        """Events that the bound is on."""
        return self.queued_count() + (self.written_to - self.copied_from)

    cdef int64_t copies_size(self) noexcept:
        """Bytes of what is kept for another link."""
        cdef int64_t size = 0
        cdef uint64_t at
        for at in range(self.copied_from, self.written_to):
            size += self.lane.ring[at & self.lane.mask].size
        return size

    cdef bint is_stale(self, Parcel *parcel, double now) noexcept:
        return parcel.born + self.lifetimes[parcel.event_class] <= now

    cdef bint drop_if_unfit(self, Parcel *parcel, double now) noexcept:
        """Whether the event that waits first was past its lifetime, or larger than the peer takes."""
        if self.is_stale(parcel, now):
            self.drop_first(TTL)
            return True
        if parcel.size > self.frame_bound:
            self.drop_first(TOO_LARGE)
            return True
        return False

    cdef void drop_largest(self) noexcept:
        """Drop the largest event in flight, which there is; nothing of its size is taken any more."""
        cdef Lane *lane = self.lane
        cdef uint64_t at, largest = self.confirmed_to
        cdef Parcel *parcel
        for at in range(self.confirmed_to, self.staged_to):
            if lane.ring[at & lane.mask].size > lane.ring[largest & lane.mask].size:
                largest = at
        parcel = lane.ring[largest & lane.mask]
        at = largest
        while at != self.confirmed_to:
            lane.ring[at & lane.mask] = lane.ring[(at - 1) & lane.mask]
            at -= 1
        self.confirmed_to += 1
        self.flight_bytes -= parcel.size
        if largest >= self.copied_from:
            lane.bytes_left += parcel.size
            unload(parcel)
            self.copied_from += 1
        if largest >= self.written_to:
            self.written_to += 1
        self.frame_bound = max(<int64_t> parcel.size - 1, <int64_t> 0)
        self.watch = self.usual_watch = -INFINITY
        lane.max_frame = <uint32_t> min(self.frame_bound, <int64_t> UINT32_MAX)
        self.drops[TOO_LARGE] += 1
        count_drops(1)
        release(parcel)

    cdef int64_t lowest(self) noexcept:
        """The lowest sequence of which a payload is held that can be let go; INT64_MAX if there is none."""
        cdef Lane *lane = self.lane
        if self.copied_from != self.written_to:
            return lane.ring[self.copied_from & lane.mask].sequence
        if lane.waiting_from != lane.tail:
            return lane.ring[lane.waiting_from & lane.mask].sequence
        return INT64_MAX

    cdef void forget_copy(self) noexcept:
        """The first event that is kept for another link will not be written again."""
        cdef Parcel *parcel = self.lane.ring[self.copied_from & self.lane.mask]
        self.copied_from += 1
        self.lane.bytes_left += parcel.size
        unload(parcel)

    cdef void economize(self, int64_t sequence) noexcept:
        """Let go what is held of the event with this sequence, the lowest here."""
        while self.lowest() == sequence:
            if self.copied_from != self.written_to:
                self.forget_copy()
            else:
                self.drop_first(BUDGET)
        self.rest()

    cdef int64_t live(self) noexcept:
        """Events that came in time."""
        return <int64_t> self.lane.tail + self.refused - self.aged

    cdef double pause_at(self, double now) noexcept:
        cdef Lane *lane = self.lane
        cdef Parcel *parcel
        if lane.waiting_from == lane.tail:
            return 0.0
        parcel = lane.ring[lane.waiting_from & lane.mask]
        if not now - parcel.born > (RECENT if self.catching_up else LATE):
            return 0.0
        if self.is_stale(parcel, now) or parcel.size > self.frame_bound:
            return 0.0
        return pause_of(&self.pace, now, self.live())

    cdef void turn(self, bint late) noexcept:
        """What is staged is late, or no longer."""
        self.catching_up = late
        self.watch = min(self.usual_watch, 0.999 * RECENT) if late else self.usual_watch

    cdef void go_late(self, int64_t count) noexcept:
        self.caught_up += count
        if not isinf(self.pace.rate):
            self.pace.tokens -= count

    cdef int put(self, Parcel *parcel, double now) except -1:
        """``offer`` for a parcel known to be good, which stays the caller's; returns the Outcome as int."""
        cdef Lane *lane = self.lane
        cdef int outcome = QUEUED
        if now - parcel.born > LATE:
            self.aged += 1
        if (
            self.closing
            or parcel.size > self.frame_bound
            or self.lane.presence >= HOLD_OVER
            or self.is_stale(parcel, now)
        ):
            outcome = self.refuse(parcel, now)
            if outcome != QUEUED:
                return outcome
        # With nothing waiting or kept any frame is taken, whatever is being written.
        while (self.counted() >= self.max_events or parcel.size > lane.bytes_left) and (
            lane.waiting_from != lane.tail or self.copied_from != self.written_to
        ):
            if self.overflow == 1 or (self.overflow == 2 and self.lane.presence == LINKED):
                return self.overflown()
            if lane.waiting_from == lane.tail:
                self.forget_copy()
                continue
            self.evict()
            outcome = DROPPED_OLDEST
        if lane.tail - self.confirmed_to == self.capacity:
            self.make_room()
        lane.ring[lane.tail & lane.mask] = parcel
        parcel.loads += 1
        parcel.holders += 1
        lane.tail += 1
        lane.bytes_left -= parcel.size
        self.count_credits()
        return outcome

    cdef void count_credits(self) noexcept:
        """How many more offers are taken for sure, as long as their size allows it."""
        cdef int64_t free_places = self.capacity - (self.lane.tail - self.confirmed_to)
        cdef int64_t allowed = self.max_events - self.counted()
        if self.lane.presence >= HOLD_OVER:
            allowed = 0
        self.lane.credits = <int32_t> max(min(free_places, allowed, <int64_t> INT32_MAX), <int64_t> 0)

    cdef void close_lane(self) noexcept:
        """Nothing is taken any more until the link is lost; it is to be closed."""
        self.closing = TRY_AGAIN_LATER
        self.lane.credits = 0

    cdef void note_peak(self) noexcept:
        """To be called before anything leaves the lane."""
        self.most_queued = max(self.most_queued, <int64_t> self.queued_count())

    cdef int refuse(self, Parcel *parcel, double now) noexcept:
        """Why the event is not taken, whatever the lane holds; QUEUED if it may be."""
        cdef int reason, outcome
        if self.closing:
            reason, outcome = DISCONNECTED, DISCONNECT
        elif parcel.size > self.frame_bound:
            reason, outcome = TOO_LARGE, OVERSIZE
        elif self.is_stale(parcel, now):
            reason, outcome = TTL, STALE
        elif self.lane.presence == NO_HOLD or (self.lane.presence == HOLD_OVER and parcel.event_class != A_REQUEST):
            reason, outcome = HOLD, NOT_HELD
        else:
            return QUEUED
        count_drops(1)
        self.refused += 1
        self.drops[reason] += 1
        return outcome

    cdef int overflown(self) noexcept:
        """The event is not taken, for the lane is full."""
        count_drops(1)
        self.refused += 1
        if self.overflow == 1:
            self.drops[NEWEST] += 1
            return DROPPED_NEWEST
        self.drops[DISCONNECTED] += 1
        self.drop_waiting(DISCONNECTED)
        self.close_lane()
        return DISCONNECT

    cdef void skip_holes(self) noexcept:
        """An event waits where the waiting begins."""
        cdef Lane *lane = self.lane
        while self.holes and lane.ring[lane.waiting_from & lane.mask] == NULL:
            lane.waiting_from += 1
            self.holes -= 1

    cdef void close_holes(self) noexcept:
        """What waits moves up to the tail."""
        cdef Lane *lane = self.lane
        cdef uint64_t to = lane.tail, at = lane.tail
        while at != lane.waiting_from:
            at -= 1
            if lane.ring[at & lane.mask] != NULL:
                to -= 1
                lane.ring[to & lane.mask] = lane.ring[at & lane.mask]
        lane.waiting_from = self.oldest[0] = self.oldest[1] = self.oldest[2] = to
        self.holes = 0

    cdef void evict(self) noexcept:
        """Drop what can best be done without; something waits."""
        cdef Lane *lane = self.lane
        cdef uint64_t at = lane.tail
        cdef Parcel *parcel = NULL
        cdef int rank
        for rank in range(3):
            # Events come in at the tail alone, so that none is looked at twice.
            at = max(self.oldest[rank], lane.waiting_from)
            while at != lane.tail:
                parcel = lane.ring[at & lane.mask]
                if parcel != NULL and RANKS[parcel.event_class] == rank:
                    break
                at += 1
            self.oldest[rank] = at
            if at != lane.tail:
                break
        if at == lane.tail or at == lane.waiting_from:
            self.drop_first(OLDEST)
            return
        self.note_peak()
        lane.ring[at & lane.mask] = NULL
        self.holes += 1
        lane.bytes_left += parcel.size
        self.drops[OLDEST] += 1
        count_drops(1)
        leave_parcel(parcel)

    cdef void drop_first(self, int reason) noexcept:
        cdef Parcel *parcel = self.lane.ring[self.lane.waiting_from & (self.capacity - 1)]
        self.note_peak()
        self.lane.waiting_from += 1
        self.skip_holes()
        self.lane.bytes_left += parcel.size
        self.drops[reason] += 1
        count_drops(1)
        leave_parcel(parcel)

    cdef int64_t drop_waiting(self, int reason) noexcept:
        cdef int64_t count = self.lane.tail - self.lane.waiting_from - self.holes
        while self.lane.waiting_from != self.lane.tail:
            self.drop_first(reason)
        self.rest()
        return count

    cdef int make_room(self) except -1:
        """Room for one more entry: close the holes and the gap if it is worth it, else double the ring."""
        if self.holes * 4 >= <int64_t> self.capacity:
            self.close_holes()
        cdef uint64_t gap = self.lane.waiting_from - self.staged_to
        cdef uint64_t mask = self.capacity - 1
        cdef uint64_t at, capacity
        cdef Parcel **ring
        if gap and (self.staged_to == self.confirmed_to or gap * 4 >= self.capacity):
            # What is in flight moves up; it is nothing, or a fourth of the ring pays for it.
            at = self.staged_to
            while at != self.confirmed_to:
                at -= 1
                self.lane.ring[(at + gap) & mask] = self.lane.ring[at & mask]
            self.confirmed_to += gap
            self.copied_from += gap
            self.written_to += gap
            self.staged_to += gap
            return 0
        capacity = self.capacity * 2 if self.capacity else 16
        ring = <Parcel **> malloc(capacity * sizeof(Parcel *))
        if ring == NULL or capacity > <uint64_t> 1 << 31:
            free(ring)
            raise MemoryError
        for at in range(self.confirmed_to, self.lane.tail):
            ring[at & (capacity - 1)] = self.lane.ring[at & mask]
        free(self.lane.ring)
        self.lane.ring = ring
        self.capacity = capacity
        self.lane.mask = <uint32_t> (capacity - 1)
        return 0

    cdef void rest(self) noexcept:
        """Where nothing is in flight there is no gap; where nothing is left a large ring can go."""
        if self.staged_to == self.confirmed_to:
            self.confirmed_to = self.copied_from = self.written_to = self.staged_to = self.lane.waiting_from
            if self.lane.waiting_from == self.lane.tail and self.capacity > LARGEST_KEPT:
                free(self.lane.ring)
                self.lane.ring = NULL
                self.capacity = 0
        if not self.closing:
            self.count_credits()
