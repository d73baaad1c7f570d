/* Handing several pieces of memory to a socket at once, and taking what it has, without waiting. Python-free. */
#ifndef NAPCORE_SEND_H
#define NAPCORE_SEND_H

#include <stddef.h>
#include <stdint.h>

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

typedef struct {
    int count;
} nc_copied;

static inline ptrdiff_t nc_send_copied(int descriptor, nc_part *parts, int count, const nc_part *tail, nc_copied *copied)
{
    (void)tail;
    (void)copied;
    return nc_send(descriptor, parts, count);
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

/* What a call that sends came to: how many bytes the socket took, 0 when it has no room; -errno when the
 * connection is gone. */
static inline ptrdiff_t nc_taken(ssize_t sent)
{
    if (sent >= 0) return sent;
    /* ENOBUFS: the kernel is short of memory for now. */
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ? 0 : -(ptrdiff_t)errno;
}

/* See nc_taken. */
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
    return nc_taken(sent);
}

enum {
    NC_MOST_COPIED = 65536,
    NC_LARGE_PART = 2048 /* such parts cost the kernel less than copying them costs us */
};

/* Parts that lie one behind the other now. They must stay what they are as long as this is used. */
typedef struct {
    const nc_part *parts;
    int count;
    size_t size;
    uint8_t data[NC_MOST_COPIED];
} nc_copied;

/* nc_send for many sockets in turn. Small parts go in one piece, which costs the kernel a fifth less;
 * what goes to many is put together once. A tail, NULL for none, follows. */
static inline ptrdiff_t nc_send_copied(int descriptor, nc_part *parts, int count, const nc_part *tail, nc_copied *copied)
{
    nc_part whole[2];
    ptrdiff_t sent, more;
    size_t size = 0;
    int at;

    if (count < 2)
        whole[0] = *parts;
    else {
        if (count != copied->count || parts != copied->parts) {
            for (at = 0; at < count; at++) size += parts[at].iov_len;
            if (size > NC_MOST_COPIED || size >= NC_LARGE_PART * (size_t)count) {
                sent = nc_send(descriptor, parts, count);
                if (tail == NULL || sent < (ptrdiff_t)size) return sent;
                whole[0] = *tail;
                more = nc_send(descriptor, whole, 1);
                /* What has become of the connection the next send will say. */
                return more < 0 ? sent : sent + more;
            }
            copied->parts = parts;
            copied->count = count;
            copied->size = 0;
            for (at = 0; at < count; at++) {
                memcpy(copied->data + copied->size, parts[at].iov_base, parts[at].iov_len);
                copied->size += parts[at].iov_len;
            }
        }
        whole[0].iov_base = copied->data;
        whole[0].iov_len = copied->size;
    }
    if (tail != NULL) whole[1] = *tail;
    return nc_send(descriptor, whole, tail != NULL ? 2 : 1);
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
