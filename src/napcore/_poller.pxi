# The poller: many sockets watched as one. Part of _wire.pyx.

cdef extern from "_poll.h" nogil:
    enum:
        NC_CAN_POLL
        NC_MOST_READY

    int nc_poll_open()
    int nc_poll_watch(int poll, int descriptor, bint watched)
    int nc_poll_ready(int poll, int *ready)

CAN_POLL = bool(NC_CAN_POLL)


@cython.final
cdef class Poller:
    """Sockets that are watched as one: woken once, all that have something to read read it.

    Raises:
        OSError: there are too many descriptors, or no epoll here.
        ValueError: it is closed; raised by its methods.
    """

    cdef readonly int descriptor
    cdef dict watched  # by descriptor: a reader, and what to do with what it reads

    def __cinit__(self):
        self.watched = {}
        self.descriptor = nc_poll_open()
        if self.descriptor < 0:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def __len__(self):
        return len(self.watched)

    def add(self, int descriptor, reader, on_read):
        """Watch a socket; ``reader.pull(descriptor, on_read)`` is called when it has something to read."""
        self.check()
        if nc_poll_watch(self.descriptor, descriptor, True) < 0:
            PyErr_SetFromErrno(OSError)
        self.watched[descriptor] = (reader, on_read)

    def remove(self, int descriptor):
        """Watch it no more."""
        self.check()
        del self.watched[descriptor]
        if nc_poll_watch(self.descriptor, descriptor, False) < 0:
            PyErr_SetFromErrno(OSError)

    def pull(self):
        """Have those read that have something to read, in no order; does not wait."""
        cdef int[NC_MOST_READY] ready
        cdef int at, count
        cdef tuple entry
        cdef dict watched = self.watched
        self.check()
        count = nc_poll_ready(self.descriptor, ready)
        if count < 0:
            PyErr_SetFromErrno(OSError)
        for at in range(count):
            entry = watched.get(ready[at])
            if entry is None:
                # Removed by one that was called before it.
                continue
            reader, on_read = entry
            if type(reader) is Reader:
                (<Reader> reader).pull_from(ready[at], on_read, None)
            else:
                reader.pull(ready[at], on_read)

    cdef int check(self) except -1:
        if self.descriptor < 0:
            raise ValueError("the poller is closed")
        return 0

    def close(self):
        """Let go of the descriptor."""
        cdef int descriptor = self.descriptor
        self.descriptor = -1
        if descriptor >= 0:
            os.close(descriptor)
