/* Handing several pieces of memory to a socket at once, and taking what it has, without waiting. Python-free. */
#ifndef NAPCORE_SEND_H
#define NAPCORE_SEND_H

#include <stddef.h>

#if defined(_WIN32)
/* Python's event loops there own the socket's I/O: nothing is written past them. */
#define NC_CAN_SEND 0

typedef struct {
    void *iov_base;
    size_t iov_len;
} nc_part;

static inline ptrdiff_t nc_send(int descriptor, nc_part *parts, int count)
{
    (void)descriptor;
    (void)parts;
    (void)count;
    return -1;
}

static inline ptrdiff_t nc_receive(int descriptor, void *out, size_t size)
{
    (void)descriptor;
    (void)out;
    (void)size;
    return 0;
}

static inline int nc_would_block(ptrdiff_t result)
{
    (void)result;
    return 0;
}
#else
#define NC_CAN_SEND 1

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores SIGPIPE */
#endif

typedef struct iovec nc_part;

/* How many bytes the socket took, 0 when it has no room; -errno when the connection is gone. */
static inline ptrdiff_t nc_send(int descriptor, nc_part *parts, int count)
{
    struct msghdr message;
    ssize_t sent;

    memset(&message, 0, sizeof message);
    message.msg_iov = parts;
    message.msg_iovlen = count; /* size_t or int, as the platform has it */
    do {
        /* One piece goes the shorter way. */
        sent = count == 1 ? send(descriptor, parts->iov_base, parts->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                          : sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) return sent;
    /* ENOBUFS: the kernel is short of memory for now. */
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ? 0 : -(ptrdiff_t)errno;
}

/* How many bytes came, 0 when no more will, -errno when there are none now or the connection is gone. */
static inline ptrdiff_t nc_receive(int descriptor, void *out, size_t size)
{
    ssize_t taken;

    do {
        taken = recv(descriptor, out, size, MSG_DONTWAIT);
    } while (taken < 0 && errno == EINTR);
    return taken >= 0 ? taken : -(ptrdiff_t)errno;
}

/* Whether such a result says that there may be more later. */
static inline int nc_would_block(ptrdiff_t result)
{
    return result == -EAGAIN || result == -EWOULDBLOCK || result == -ENOBUFS;
}
#endif

#endif
