# Part of _dispatch.pyx: an outbox and time: without a link, and when it is late.

cdef enum:
    LINKED, HELD, HOLD_OVER, NO_HOLD  # the presence of a link, and what is held without one

# Of any outbox ever made: an event that is younger is neither stale nor late for any.
cdef double shortest_lifetime = INFINITY

cdef double RATE = 50.0
cdef double TIMES_LIVE = 4.0
cdef double LIVE_WINDOW = 10.0
cdef double PACE_BURST = 0.2


cdef void start_pace(Pace *pace, double rate) noexcept:
    pace.rate = rate
    pace.tokens = pace.last = 0.0
    pace.filled_at = pace.began = -INFINITY
    pace.live_then = 0


cdef void note_live(Pace *pace, double now, int64_t live) noexcept:
    cdef double elapsed = now - pace.began
    if elapsed >= LIVE_WINDOW:
        pace.last = <double> (live - pace.live_then) / elapsed
        pace.began = now
        pace.live_then = live


cdef double pause_of(Pace *pace, double now, int64_t live) noexcept:
    """Seconds until one late event may go; 0 if one may go now."""
    cdef double rate, this_window, full, more
    if isinf(pace.rate):
        return 0.0
    note_live(pace, now, live)
    this_window = <double> (live - pace.live_then) / LIVE_WINDOW
    rate = max(pace.rate, TIMES_LIVE * max(pace.last, this_window))
    full = max(1.0, rate * PACE_BURST)
    more = pace.tokens + (now - pace.filled_at) * rate
    pace.tokens = min(full, more)
    pace.filled_at = now
    return 0.0 if pace.tokens >= 1.0 else (1.0 - pace.tokens) / rate
