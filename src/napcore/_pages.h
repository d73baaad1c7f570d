/* What goes to many sockets, put once into pages that all of them share: sendfile(2) from a file in memory.
 * The kernel copies nothing for each socket then, which is most of what a long send costs. Python-free. */
#ifndef NAPCORE_PAGES_H
#define NAPCORE_PAGES_H

#include "_send.h"

#if defined(__linux__)
#include <sys/syscall.h>
#endif

enum {
    NC_PAGES_LEAST = 8192, /* bytes from which on it pays */
    NC_PAGES_FEWEST = 4    /* sockets */
};

#if defined(__linux__) && defined(SYS_memfd_create)
#include <fcntl.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <unistd.h>

enum {
    NC_MFD_CLOEXEC = 1,
    NC_MFD_NOEXEC_SEAL = 8,
    NC_PAGE = 4096,
    NC_PAGES_ROOM = 1 << 19 /* bytes of the file until it begins anew */
};

typedef struct {
    int descriptor; /* -1: there is none yet; -2: there can be none */
    pid_t owner;    /* a child of fork() has the same file, and must not write to it */
    off_t start;    /* of what was put last */
    off_t end;
} nc_pages;

static inline void nc_pages_init(nc_pages *pages)
{
    pages->descriptor = -1;
    pages->start = pages->end = 0;
}

static inline void nc_pages_close(nc_pages *pages)
{
    if (pages->descriptor >= 0) close(pages->descriptor);
    nc_pages_init(pages);
}

/* Whether sends to the socket never wait, whoever does them. */
static inline int nc_pages_suit(int descriptor)
{
    int flags = fcntl(descriptor, F_GETFL);

    return flags >= 0 && flags & O_NONBLOCK;
}

static inline int nc_pages_open(nc_pages *pages)
{
    struct sigaction action;

    /* sendfile has no MSG_NOSIGNAL. Python ignores SIGPIPE, but a program may not. */
    if (pages->descriptor == -2 || sigaction(SIGPIPE, NULL, &action) < 0 || action.sa_handler != SIG_IGN) return 0;
    if (pages->descriptor >= 0 && pages->owner != getpid()) nc_pages_close(pages);
    if (pages->descriptor < 0) {
        /* By number: the C library of manylinux2014 does not know it. Linux 6.3 and later want to be told that nothing
         * in it is run; those before do not know that. */
        pages->descriptor = (int)syscall(SYS_memfd_create, "napcore", NC_MFD_CLOEXEC | NC_MFD_NOEXEC_SEAL);
        if (pages->descriptor < 0 && errno == EINVAL)
            pages->descriptor = (int)syscall(SYS_memfd_create, "napcore", NC_MFD_CLOEXEC);
        pages->owner = getpid();
        pages->end = 0;
        if (pages->descriptor < 0) pages->descriptor = -2;
    }
    return pages->descriptor >= 0;
}

/* Put parts there, one behind the other; false where that cannot be. What was put before stays as it is for
 * the sockets that have yet to send it: no byte of the file is written twice before it has been emptied, and
 * pages that leave it are not touched any more. */
static inline int nc_pages_put(nc_pages *pages, const nc_part *parts, int count, size_t size)
{
    ssize_t written;

    if (size > NC_PAGES_ROOM || !nc_pages_open(pages)) return 0;
    if (pages->end + (off_t)size > NC_PAGES_ROOM) {
        if (ftruncate(pages->descriptor, 0) < 0) {
            nc_pages_close(pages);
            return 0;
        }
        pages->end = 0;
    }
    pages->start = pages->end;
    pages->end = (pages->end + (off_t)size + NC_PAGE - 1) / NC_PAGE * NC_PAGE;
    do {
        written = pwritev(pages->descriptor, parts, count, pages->start);
    } while (written < 0 && errno == EINTR);
    return written == (ssize_t)size;
}

/* nc_send of the first bytes of what was put; 1 in *refused where the kernel cannot do it for this socket. */
static inline ptrdiff_t nc_pages_send(nc_pages *pages, int descriptor, size_t size, int *refused)
{
    off_t at = pages->start;
    ssize_t sent;

    do {
        sent = sendfile(descriptor, pages->descriptor, &at, size);
    } while (sent < 0 && errno == EINTR);
    *refused = sent < 0 && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == ENOMEM || errno == EPERM);
    return nc_taken(sent);
}
#else
typedef struct {
    int descriptor;
} nc_pages;

static inline void nc_pages_init(nc_pages *pages)
{
    pages->descriptor = -1;
}

static inline void nc_pages_close(nc_pages *pages)
{
    (void)pages;
}

static inline int nc_pages_suit(int descriptor)
{
    (void)descriptor;
    return 0;
}

static inline int nc_pages_put(nc_pages *pages, const nc_part *parts, int count, size_t size)
{
    (void)pages;
    (void)parts;
    (void)count;
    (void)size;
    return 0;
}

static inline ptrdiff_t nc_pages_send(nc_pages *pages, int descriptor, size_t size, int *refused)
{
    (void)pages;
    (void)descriptor;
    (void)size;
    *refused = 1;
    return 0;
}
#endif

#endif
