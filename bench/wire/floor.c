/* The floor: what fan-out costs in C. Whoever sends an X-Self-ID header is the upstream; its text
 * frames go to all others.
 *
 *   floor each|gather|iovec
 *
 * each: one send() per frame and client, as events come; gather: one send() per client for all
 * frames of a read, from one buffer; iovec: the same by sendmsg(), frame by frame, as a server
 * must whose clients do not all want the same. A client that does not read holds everybody up. */
#include "wire.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/uio.h>

enum { READ = 256 << 10, FRAMES = 1024, CLIENTS = 4096 };

static uint8_t input[2 * READ], output[2 * READ];
static int clients[CLIENTS], client_count;
static int upstream = -1;
static size_t kept;

/* RFC 3629; eight bytes at a time while they are ASCII. */
static int is_utf8(const uint8_t *data, size_t size)
{
    size_t at = 0;

    while (at < size) {
        uint64_t word;
        unsigned first = data[at], more, low = 0x80, high = 0xbf;

        if (size - at >= 8 && (memcpy(&word, data + at, 8), !(word & 0x8080808080808080u))) {
            at += 8;
            continue;
        }
        at++;
        if (first < 0x80) continue;
        if (first < 0xc2 || first > 0xf4) return 0;
        more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
        if (size - at < more) return 0;
        if (first == 0xe0) low = 0xa0;
        if (first == 0xed) high = 0x9f;
        if (first == 0xf0) low = 0x90;
        if (first == 0xf4) high = 0x8f;
        if (data[at] < low || data[at] > high) return 0;
        while (--more)
            if ((data[++at] & 0xc0) != 0x80) return 0;
        at++;
    }
    return 1;
}

static void send_all(int fd, struct iovec *parts, int count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};

    while (message.msg_iovlen) {
        ssize_t sent = message.msg_iovlen == 1 ? send(fd, message.msg_iov->iov_base, message.msg_iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                                               : sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};

            if (errno != EAGAIN) return;
            poll(&wait, 1, -1);
            continue;
        }
        while (message.msg_iovlen && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
}

static void flush_frames(const struct iovec *frames, int count, const char *how)
{
    int at, part;

    if (!count) return;
    for (part = 0; part < (how[0] == 'e' ? count : 1); part++)
        for (at = 0; at < client_count; at++) {
            struct iovec parts[FRAMES];
            int size = how[0] == 'i' ? count : 1;

            memcpy(parts, frames + part, (size_t)size * sizeof *parts);
            if (how[0] == 'g')
                parts->iov_len =
                    (size_t)((uint8_t *)frames[count - 1].iov_base + frames[count - 1].iov_len - (uint8_t *)frames->iov_base);
            send_all(clients[at], parts, size);
        }
}

/* Returns false when the upstream has gone. */
static int take_upstream(const char *how)
{
    ssize_t got = recv(upstream, input + kept, READ, 0);
    size_t have, at = 0, out = 0;
    struct iovec frames[FRAMES];
    int count = 0;

    if (got <= 0) return got < 0 && errno == EAGAIN;
    have = kept + (size_t)got;
    for (;;) {
        unsigned opcode;
        uint64_t length;
        const uint8_t *key;
        size_t head = read_head(input + at, have - at, &opcode, &length, &key);

        if (!head || have - at < head + length || count == FRAMES) break;
        if (opcode == TEXT) {
            size_t size = write_head(output + out, TEXT, length, 0);

            mask(output + out + size, input + at + head, length, key);
            if (!is_utf8(output + out + size, length)) die("the upstream sent invalid UTF-8");
            frames[count].iov_base = output + out;
            frames[count++].iov_len = size + length;
            out += size + length;
        }
        at += head + length;
    }
    flush_frames(frames, count, how);
    kept = have - at;
    memmove(input, input + at, kept);
    return 1;
}

static void welcome(int fd)
{
    char head[4096], answer[256];
    size_t have = 0;

    while (have < sizeof head - 1) {
        ssize_t got = recv(fd, head + have, sizeof head - 1 - have, 0);

        if (got <= 0) die("a connection ended during its handshake");
        have += (size_t)got;
        head[have] = 0;
        if (strstr(head, "\r\n\r\n")) break;
    }
    send(fd, answer, accept_answer(head, answer, sizeof answer), MSG_NOSIGNAL);
    no_delay(fd);
    if (strcasestr(head, "\r\nx-self-id:"))
        upstream = fd;
    else if (client_count < CLIENTS)
        clients[client_count++] = fd;
}

int main(int count, char **args)
{
    struct epoll_event event = {.events = EPOLLIN}, ready[64];
    int poller = epoll_create1(0), listener, at, found;
    uint16_t port;

    if (count != 2) die("usage: floor each|gather|iovec");
    listener = listen_here(&port);
    printf("port %u\n", port);
    fflush(stdout);
    event.data.fd = listener;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        found = epoll_wait(poller, ready, 64, -1);
        for (at = 0; at < found; at++) {
            int fd = ready[at].data.fd;

            if (fd == listener) {
                int before = upstream;

                fd = accept(listener, NULL, NULL);
                if (fd < 0) continue;
                welcome(fd);
                if (upstream == before) continue;
                no_wait(fd);
                event.data.fd = fd;
                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
            } else if (!take_upstream(args[1]))
                return 0;
        }
    }
}
