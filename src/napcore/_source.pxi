# The source: from the read that brings events to the sockets of those who want them. Part of _wire.pyx.

cdef enum:
    FEW_EVENTS = 64  # of one read, whose times of birth need no memory of their own

cdef double SOON = 0.02


@cython.final
cdef class Source:
    """Where events come from: what one link of an upstream brings, routed and written.

    Args:
        router: whose rows want them.
        clock: seconds that never go back.
        peek: finds the events among messages that came together; ``peek_batch`` with its first arguments.
        birth: when an event happened that has come now, given it, the account that stands in for a missing
            ``self_id``, and the time.
        write: takes owners that are not written to at once: more than a slice of them, or any while
            ``behind`` holds some.
        behind: owners that are still to be written to.
        on_gap: called, with the time, before what comes after a silence longer than ``gap``.
    """

    cdef public int64_t account
    cdef public double gap
    cdef readonly Py_ssize_t messages
    cdef readonly Py_ssize_t events
    cdef Router router
    cdef object clock, peek, birth, write, behind, on_gap
    cdef list ready  # owners that have something to be written
    cdef double took_at
    # The last answer of birth: how old, when, and what it was asked about.
    cdef double age, asked_at
    cdef int64_t asked_account, asked_time
    cdef str asked_kind

    def __init__(self, Router router not None, *, clock, peek, birth, write, behind, on_gap):
        self.router = router
        self.clock = clock
        self.peek = peek
        self.birth = birth
        self.write = write
        self.behind = behind
        self.on_gap = on_gap
        self.ready = []
        self.gap = INFINITY
        self.took_at = self.asked_at = -INFINITY

    def take(self, list messages not None):
        """What one read brought: its events are queued for everyone who wants them."""
        self.take_messages(messages)

    cdef int take_messages(self, list messages) except -1:
        cdef double now = self.clock()
        cdef double[FEW_EVENTS] few
        cdef double *born = few
        cdef Routed routed
        cdef list events, ready
        cdef Py_ssize_t count
        self.messages += PyList_GET_SIZE(messages)
        if now - self.took_at > self.gap:
            self.on_gap(now)
        self.took_at = now
        events = <list?> self.peek(messages)
        count = PyList_GET_SIZE(events)
        if not count:
            return 0
        self.events += count
        if count > FEW_EVENTS:
            born = <double *> malloc(count * sizeof(double))
            if born == NULL:
                raise MemoryError
        try:
            self.tell_births(events, now, born)
            ready = self.router.route(events, now, self.account, born, &routed)
        finally:
            if born != few:
                free(born)
        self.ready = list(dict.fromkeys(self.ready + ready)) if self.ready else ready
        return 0

    cdef int tell_births(self, list events, double now, double *born) except -1:
        cdef Event event
        cdef int64_t account
        cdef Py_ssize_t at = 0
        for item in events:
            if not isinstance(item, Event):
                raise TypeError(f"expected events, not {type(item).__name__}")
            event = <Event> item
            account = event.account or self.account
            if (
                account != self.asked_account
                or event.when != self.asked_time
                or not (event.kind is self.asked_kind or event.kind == self.asked_kind)
                or not 0 <= now - self.asked_at < SOON
            ):
                self.age = now - <double> self.birth(event, self.account, now)
                self.asked_account = account
                self.asked_time = event.when
                self.asked_kind = event.kind
                self.asked_at = now
            born[at] = now - self.age
            at += 1
        return 0

    def flush(self):
        """Have written what has been queued: at once, but for what ``write`` takes."""
        self.flush_queued()

    cdef int flush_queued(self) except -1:
        cdef list ready = self.ready
        if not PyList_GET_SIZE(ready):
            return 0
        self.ready = []
        if PyList_GET_SIZE(ready) > LINKS or len(self.behind):
            self.write(ready)
            return 0
        for owner in flush_owners(ready, self.clock()):
            owner.flush()
        return 0
