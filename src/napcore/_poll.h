/* Many sockets watched as one, with Linux's epoll. Python-free. */
#ifndef NAPCORE_POLL_H
#define NAPCORE_POLL_H

#if defined(__linux__)
#define NC_CAN_POLL 1

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

enum { NC_MOST_READY = 128 };

/* A new descriptor, readable when one of the sockets is; -1 with errno. */
static inline int nc_poll_open(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

/* Watch a socket for something to read, or no longer; -1 with errno. */
static inline int nc_poll_watch(int poll, int descriptor, int watched)
{
    struct epoll_event event;

    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    return epoll_ctl(poll, watched ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, descriptor, &event);
}

/* Which sockets have something to read now, or have ended; how many, -1 with errno. */
static inline int nc_poll_ready(int poll, int ready[NC_MOST_READY])
{
    struct epoll_event events[NC_MOST_READY];
    int count, at;

    do {
        count = epoll_wait(poll, events, NC_MOST_READY, 0);
    } while (count < 0 && errno == EINTR);
    for (at = 0; at < count; at++) ready[at] = events[at].data.fd;
    return count;
}
#else
#define NC_CAN_POLL 0

#include <errno.h>

enum { NC_MOST_READY = 1 };

static inline int nc_poll_open(void)
{
    errno = ENOSYS;
    return -1;
}

static inline int nc_poll_watch(int poll, int descriptor, int watched)
{
    (void)poll;
    (void)descriptor;
    (void)watched;
    errno = ENOSYS;
    return -1;
}

static inline int nc_poll_ready(int poll, int ready[NC_MOST_READY])
{
    (void)poll;
    (void)ready;
    errno = ENOSYS;
    return -1;
}
#endif

#endif
