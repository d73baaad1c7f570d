# The reader: bytes in, whole text messages out. Part of _wire.pyx.

cdef extern from "_reader.h" nogil:
    enum:
        NC_TEXT, NC_BINARY, NC_CLOSE, NC_PING, NC_PONG
        NC_READ_ALL, NC_READ_ROOM, NC_READ_MESSAGE, NC_READ_CONTROL, NC_READ_FAULT
        NC_NO_FAULT, NC_RESERVED_OPCODE, NC_NOT_MASKED, NC_MASKED, NC_RESERVED_BITS, NC_CONTROL_FRAGMENTED
        NC_CONTROL_TOO_LONG, NC_NOTHING_TO_CONTINUE, NC_NOT_CONTINUED, NC_TOO_LONG_MESSAGE, NC_TOO_MANY_FRAGMENTS
        NC_NOT_UTF8, NC_CLOSE_TOO_SHORT, NC_CLOSE_CODE, NC_CLOSE_NOT_UTF8, NC_TOO_MUCH

    ctypedef struct nc_reader:
        uint64_t limit
        unsigned most_fragments
        uint8_t masked
        uint8_t keep_binary
        uint8_t simd
        uint8_t *text
        uint64_t room
        uint8_t within, opcode, final
        uint64_t left
        uint8_t control_size
        uint8_t control[125]
        uint8_t message
        uint64_t filled
        int fault

    int nc_read(nc_reader *reader, const uint8_t **at, const uint8_t *end)

cdef extern from "_send.h" nogil:
    ptrdiff_t nc_receive(int descriptor, void *out, size_t size)
    bint nc_would_block(ptrdiff_t result)

MESSAGE_LIMIT = 52428800
MAX_FRAGMENTS = 4096
MAX_PINGS = 16
CAN_READ = CAN_WRITE
READ_AT_ONCE = 524288

cdef enum:
    AT_ONCE = 8388608  # room made for a message before any of it is there
    DIRECT = 16384  # of a text this much still to come goes straight to its place
    MOST_PINGS = 16
    MOST_PENDING = 32768  # bytes handed on before a source is flushed
    A_BURST = 4  # messages of one read

cdef dict FAULTS = {
    NC_RESERVED_OPCODE: (1002, "reserved opcode"),
    NC_NOT_MASKED: (1002, "a client's frame must be masked"),
    NC_MASKED: (1002, "a server's frame must not be masked"),
    NC_RESERVED_BITS: (1002, "reserved bits must be 0"),
    NC_CONTROL_FRAGMENTED: (1002, "control frame in fragments"),
    NC_CONTROL_TOO_LONG: (1002, "control frame of more than 125 bytes"),
    NC_NOTHING_TO_CONTINUE: (1002, "continuation of nothing"),
    NC_NOT_CONTINUED: (1002, "new message before the end of the last"),
    NC_TOO_LONG_MESSAGE: (1009, "message too large"),
    NC_TOO_MANY_FRAGMENTS: (1009, "message in too many fragments"),
    NC_NOT_UTF8: (1007, "text is not UTF-8"),
    NC_CLOSE_TOO_SHORT: (1002, "close frame of one byte"),
    NC_CLOSE_CODE: (1002, "close code that must not be sent"),
    NC_CLOSE_NOT_UTF8: (1007, "close reason is not UTF-8"),
    NC_TOO_MUCH: (1009, "too much in unfinished messages of all links"),
}

# Where received bytes go first; NULL while it is in use.
cdef uint8_t *spare_chunk = NULL


@cython.final
cdef class Assembly:
    """What all unfinished messages together may take.

    Args:
        limit: bytes.
    """

    cdef readonly Py_ssize_t limit
    cdef readonly Py_ssize_t used

    def __init__(self, Py_ssize_t limit):
        self.limit = limit


@cython.final
cdef class Reader:
    """The reading end of a link: what comes in, in pieces of any size, becomes whole text messages.

    Args:
        masked: whether the peer is the WebSocket client (RFC 6455, 5.1).
        writer: whose pings the peer's pongs answer.
        assembly: what it shares with others; None is no bound but ``limit``.
        limit: bytes a message may have.
        binary: whether binary messages are handed out too, as bytearrays.
        at_once: bytes that are read before others have their turn.
    """

    cdef readonly bint over
    cdef readonly bint ended
    cdef readonly int close_code
    cdef readonly str close_reason
    cdef readonly int fault_code
    cdef readonly str fault
    cdef readonly Py_ssize_t binary
    cdef readonly Py_ssize_t reads
    cdef readonly Py_ssize_t at_once
    cdef public bint due
    cdef nc_reader state
    cdef PyObject *text  # of the message under way; owned
    cdef Writer writer
    cdef Assembly assembly
    cdef Py_ssize_t charged
    cdef list pings

    def __cinit__(self):
        self.close_reason = self.fault = ""

    def __init__(
        self,
        bint masked,
        *,
        Writer writer=None,
        Assembly assembly=None,
        Py_ssize_t limit=MESSAGE_LIMIT,
        bint binary=False,
        Py_ssize_t at_once=READ_AT_ONCE,
    ):
        self.state.masked = masked
        self.state.keep_binary = binary
        self.state.limit = limit
        self.state.most_fragments = MAX_FRAGMENTS
        self.state.simd = SIMD_LEVEL
        self.writer = writer
        self.assembly = assembly
        self.at_once = at_once

    def __dealloc__(self):
        self.drop()

    def feed(self, bytes data not None):
        """What these bytes complete."""
        cdef list messages = []
        self.reads += 1
        if not self.over:
            self.read(<const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), messages)
        return messages

    def receive(self, int descriptor):
        """``feed`` with what a socket has; does not wait."""
        return self.take(descriptor)

    cdef list take(self, int descriptor):
        global spare_chunk
        cdef list messages = []
        cdef nc_reader *state = &self.state
        cdef uint8_t *chunk = spare_chunk
        cdef uint8_t *place
        # The rest of a frame under way is no more work for that.
        cdef size_t size = min(<uint64_t> CHUNK, self.at_once + (state.left if state.within else 0))
        cdef ptrdiff_t taken
        spare_chunk = NULL
        if chunk == NULL:
            chunk = <uint8_t *> malloc(CHUNK)
            if chunk == NULL:
                raise MemoryError
        place = chunk
        # What goes into a long text goes there without a stop on the way.
        if state.within and state.opcode <= NC_BINARY and not self.over:
            if state.left >= DIRECT and state.room - state.filled >= DIRECT:
                place = state.text + state.filled
                size = min(min(state.left, state.room - state.filled), <uint64_t> MOST_BYTES)
        taken = nc_receive(descriptor, place, size)
        self.reads += taken > 0
        try:
            if taken > 0:
                if not self.over:
                    self.read(place, taken, messages)
            elif not nc_would_block(taken):
                self.ended = self.over = self.due = True
                self.drop()
        finally:
            if spare_chunk == NULL:
                spare_chunk = chunk
            else:
                free(chunk)
        return messages

    def pull(self, int descriptor, on_read, source=None):
        """``receive`` as long as messages come; what to do with them is ``on_read``'s, or a ``source``'s."""
        self.pull_from(descriptor, on_read, source)

    cdef int pull_from(self, int descriptor, object on_read, object source) except -1:
        cdef bint ours = type(source) is Source
        cdef list messages
        cdef Py_ssize_t count, pending = 0
        cdef int reads
        for reads in range(max(<Py_ssize_t> 1, self.at_once // CHUNK)):
            messages = self.take(descriptor)
            count = PyList_GET_SIZE(messages)
            if source is not None and count and not self.due:
                if ours:
                    (<Source> source).take_messages(messages)
                else:
                    source.take(messages)
            elif self.due or count:
                on_read(messages)
            if source is not None:
                for message in messages:
                    pending += len(message) + 1
                if count >= A_BURST and pending < MOST_PENDING and not self.over:
                    continue
                if pending:
                    if ours:
                        (<Source> source).flush_queued()
                    else:
                        source.flush()
                    pending = 0
                    count = 1  # while it worked more may have come
            if self.over or not count:
                return 0
        if pending:
            source.flush()
        return 0

    def take_pings(self):
        """What the pings carried that have come since the last time: at most the last ``MAX_PINGS``."""
        cdef list pings = self.pings
        self.pings = None
        return [] if pings is None else pings

    def close(self):
        """Read nothing any more, and let go of a message that is not whole."""
        self.over = self.due = True
        self.drop()

    cdef int read(self, const uint8_t *at, Py_ssize_t size, list messages) except -1:
        cdef const uint8_t *end = at + size
        cdef nc_reader *state = &self.state
        cdef int result
        cdef Py_ssize_t held
        while True:
            result = nc_read(state, &at, end)
            if result == NC_READ_ALL:
                break
            if result == NC_READ_ROOM:
                self.make_room()
            elif result == NC_READ_MESSAGE:
                self.take_message(messages)
            elif result == NC_READ_FAULT or self.take_control() < 0:
                self.fail()
                return 0
            if self.over:
                return 0
        if self.text != NULL or self.charged:
            held = <Py_ssize_t> state.filled if self.text != NULL else 0
            if self.assembly is not None:
                self.assembly.used += held - self.charged
                self.charged = held
                if self.assembly.used > self.assembly.limit and held:
                    state.fault = NC_TOO_MUCH
                    self.fail()
        return 0

    cdef int make_room(self) except -1:
        """For what is still to come of the frame; of a very long one, for a part of it."""
        cdef nc_reader *state = &self.state
        cdef uint64_t wanted = state.filled + state.left
        cdef uint64_t room = wanted
        if wanted > AT_ONCE:
            room = min(wanted, max(<uint64_t> AT_ONCE, state.filled * 2))
        if not state.final:
            # More will follow: not a new place for each fragment.
            room = max(room, min(state.limit, state.filled * 2))
        if self.text == NULL:
            # Made empty: of one byte and filled at once it would be the interpreter's own.
            text = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> room)
            Py_INCREF(text)
            self.text = <PyObject *> text
        else:
            self.resize(<Py_ssize_t> room)
        state.text = <uint8_t *> PyBytes_AS_STRING(<object> self.text)
        state.room = room
        return 0

    cdef int resize(self, Py_ssize_t size) except -1:
        try:
            _PyBytes_Resize(&self.text, size)
        except BaseException:
            # It has been freed.
            self.text = NULL
            self.state.text = NULL
            self.state.room = 0
            self.over = True
            raise
        return 0

    cdef int take_message(self, list messages) except -1:
        cdef nc_reader *state = &self.state
        message = b""
        if self.text != NULL:
            if state.room != state.filled:
                self.resize(<Py_ssize_t> state.filled)
            message = <object> self.text
            Py_DECREF(message)
            self.text = NULL
        if state.message == NC_TEXT:
            messages.append(message)
        else:
            self.binary += 1
            if state.keep_binary:
                messages.append(bytearray(message))
        state.message = 0
        state.text = NULL
        state.room = state.filled = 0
        return 0

    cdef int take_control(self) except -2:
        """-1 if it is against the rules."""
        cdef nc_reader *state = &self.state
        cdef const uint8_t *data = state.control
        cdef Py_ssize_t size = state.control_size
        if state.opcode == NC_PONG:
            if size == 8 and self.writer is not None and self.writer.answer(read_number(data)):
                # What the window held back may go now.
                self.due = self.due or self.writer.lane.queued_count() > 0
        elif state.opcode == NC_PING:
            if self.pings is None:
                self.pings = []
            if PyList_GET_SIZE(self.pings) == MOST_PINGS:
                del self.pings[0]
            self.pings.append((<const char *> data)[:size])
            self.due = True
        else:
            self.close_code = 1005 if size == 0 else <int> data[0] << 8 | data[1]
            self.close_reason = (<const char *> data + 2)[:size - 2].decode() if size > 2 else ""
            self.over = self.due = True
            self.drop()
        return 0

    cdef int fail(self) except -1:
        self.fault_code, self.fault = FAULTS[self.state.fault]
        self.over = self.due = True
        self.drop()
        return 0

    cdef void drop(self) noexcept:
        """Nothing more is read: let go of what has been."""
        if self.assembly is not None:
            self.assembly.used -= self.charged
        self.charged = 0
        self.state.text = NULL
        self.state.room = self.state.filled = 0
        if self.text != NULL:
            text = <object> self.text
            self.text = NULL
            Py_DECREF(text)
