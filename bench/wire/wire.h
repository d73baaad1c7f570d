/* What driver and floor servers share: clocks, the WebSocket handshake and frame heads (RFC 6455). */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

static inline void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline int64_t nanoseconds(clockid_t clock)
{
    struct timespec at;

    clock_gettime(clock, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static inline int64_t now(void) { return nanoseconds(CLOCK_MONOTONIC); }

/* A frame's head. Returns its size, 0 when there is too little of it. */
static inline size_t read_head(const uint8_t *data, size_t size, unsigned *opcode, uint64_t *length, const uint8_t **key)
{
    size_t head = 2;
    int at;

    if (size < 2) return 0;
    *opcode = data[0] & 0x0f;
    *length = data[1] & 0x7f;
    if (!(data[0] & 0x80) || (data[0] & 0x70)) die("a fragment or an extension's frame: not what these peers send");
    if (*length >= 126) {
        int wide = *length == 126 ? 2 : 8;

        head += (size_t)wide;
        if (size < head) return 0;
        for (*length = 0, at = 0; at < wide; at++) *length = *length << 8 | data[2 + at];
    }
    *key = NULL;
    if (data[1] & 0x80) {
        *key = data + head;
        head += 4;
        if (size < head) return 0;
    }
    return head;
}

static inline size_t write_head(uint8_t *out, unsigned opcode, uint64_t size, unsigned mask_bit)
{
    int at;

    out[0] = (uint8_t)(0x80 | opcode);
    if (size < 126) {
        out[1] = (uint8_t)(mask_bit | size);
        return 2;
    }
    if (size < 65536) {
        out[1] = (uint8_t)(mask_bit | 126);
        out[2] = (uint8_t)(size >> 8);
        out[3] = (uint8_t)size;
        return 4;
    }
    out[1] = (uint8_t)(mask_bit | 127);
    for (at = 0; at < 8; at++) out[2 + at] = (uint8_t)(size >> (56 - 8 * at));
    return 10;
}

/* Masking and unmasking (5.3), from in to out, which may be the same. */
static inline void mask(uint8_t *out, const uint8_t *in, size_t size, const uint8_t *key)
{
    uint32_t half;
    uint64_t wide, word;
    size_t at = 0;

    memcpy(&half, key, 4);
    wide = (uint64_t)half << 32 | half;
    for (; size - at >= 8; at += 8) {
        memcpy(&word, in + at, 8);
        word ^= wide;
        memcpy(out + at, &word, 8);
    }
    for (; at < size; at++) out[at] = in[at] ^ key[at % 4];
}

/* SHA-1 (RFC 3174) of less than 120 bytes. */
static inline void sha1(const char *text, size_t size, uint8_t out[20])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t block[128] = {0};
    size_t total = size < 56 ? 64 : 128, at;
    int t;

    memcpy(block, text, size);
    block[size] = 0x80;
    for (t = 0; t < 8; t++) block[total - 1 - (size_t)t] = (uint8_t)((uint64_t)size * 8 >> (8 * t));
    for (at = 0; at < total; at += 64) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

        for (t = 0; t < 16; t++) {
            const uint8_t *p = block + at + 4 * t;

            w[t] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (; t < 80; t++) {
            uint32_t x = w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16];

            w[t] = x << 1 | x >> 31;
        }
        for (t = 0; t < 80; t++) {
            uint32_t f = t < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                         : t < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                         : t < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                  : (b ^ c ^ d) + 0xca62c1d6;
            uint32_t next = (a << 5 | a >> 27) + f + e + w[t];

            e = d;
            d = c;
            c = b << 30 | b >> 2;
            b = a;
            a = next;
        }
        h[0] += a;
        h[1] += b;
        h[2] += c;
        h[3] += d;
        h[4] += e;
    }
    for (t = 0; t < 20; t++) out[t] = (uint8_t)(h[t / 4] >> (24 - 8 * (t % 4)));
}

/* The answer to an upgrade request, whose head is in text. */
static inline size_t accept_answer(const char *text, char *out, size_t room)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *line = text;
    char joined[119];
    uint8_t hash[21] = {0};
    char encoded[29];
    size_t size = 0;
    int at;

    while (line && strncasecmp(line, "sec-websocket-key:", 18)) line = (line = strstr(line, "\r\n")) ? line + 2 : NULL;
    if (!line) die("an upgrade request without Sec-WebSocket-Key");
    for (line += 18; *line == ' '; line++) {}
    while (line[size] > ' ' && size < 60) size++;
    memcpy(joined, line, size);
    memcpy(joined + size, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    sha1(joined, size + 36, hash);
    for (at = 0; at < 28; at++) {
        unsigned group = (unsigned)hash[at / 4 * 3] << 16 | (unsigned)hash[at / 4 * 3 + 1] << 8 |
                         (at / 4 * 3 + 2 < 20 ? (unsigned)hash[at / 4 * 3 + 2] : 0);

        encoded[at] = digits[group >> (18 - 6 * (at % 4)) & 63];
    }
    encoded[27] = '=';
    encoded[28] = 0;
    return (size_t)snprintf(out, room,
                            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Accept: %s\r\n\r\n",
                            encoded);
}

static inline int listen_here(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&address, &size))
        die("cannot listen: %s", strerror(errno));
    *port = ntohs(address.sin_port);
    return fd;
}

static inline void no_delay(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline void no_wait(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

#endif
