/* Upstream and N clients in one process: sends events to the server under test, takes every
 * delivery, and checks that each client got each event, whole and in order.
 *
 *   driver KEY=VALUE...
 *
 * links=N clients, wanted=P percent of events each of them wants (a set of its own), stalled=N more
 * that never read, size=BYTES and burst=N of events; window=EVENTS in flight at most (closed loop)
 * or rate=EVENTS per second (open loop); warm=, seconds= of sending; accept=1: the server dials the
 * clients, at ws://127.0.0.1:PORT/bNUMBER; tls=1: all connections are TLS.
 *
 * Prints "listening PORT", reads "PORT PID" of the server from standard input, and prints one line
 * of JSON. Every event has a text of its own; what arrives is compared by number and hash. Times
 * are monotonic; with a rate, latency counts from when an event was due, not from when it left. */
#include "wire.h"

#include <dirent.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#ifdef WIRE_TLS
#include <openssl/ssl.h>
#endif

enum {
    READ = 256 << 10,
    RING = 1 << 17, /* events that may be under way */
    GROUPS = 200,
    FIRST = 1000000000, /* the first message_id, so that all have ten digits */
    NUMBER_AT = 69,     /* where it stands in an event */
    SUB = 64,           /* latency is kept in steps of 1/64 */
    STEPS = 64 * SUB
};

static const char HEAD[] = "{\"self_id\":10001,\"user_id\":2100000000,\"time\":%010lld,\"message_id\":%010llu,"
                           "\"message_type\":\"group\",\"sender\":{\"user_id\":2100000000,\"nickname\":\"\xe9\xad\x94\xe6\x96\xb9\","
                           "\"card\":\"\",\"role\":\"member\"},\"raw_message\":\"";
static const char MIDDLE[] = "\",\"font\":14,\"sub_type\":\"normal\",\"message\":[{\"type\":\"text\",\"data\":{\"text\":\"";
static const char TAIL[] = "\"}}],\"message_format\":\"array\",\"post_type\":\"message\",\"group_id\":%u}";

typedef struct {
    int fd;
    uint64_t next; /* number of the event it has to get next */
    uint8_t *rest; /* of a frame that has not come in whole */
    size_t rest_size;
    uint8_t key[4];
    uint64_t key_of; /* number of the event that had this masking key */
#ifdef WIRE_TLS
    SSL *ssl;
#endif
} Link;

typedef struct {
    uint64_t hash;
    int64_t due;
    uint32_t left; /* clients that have yet to get it */
} Sent;

static int links = 1, stalled, accepting, tls, burst = 1;
static unsigned wanted = 100;
static size_t event_size = 600;
static double window = 2, rate, warm = 0.3, seconds = 1;

static Link upstream, *clients;
static Sent sent[RING];
static uint64_t sent_count, done_count;
static uint8_t input[2 * READ];
static uint8_t *output; /* of the upstream's, not yet taken by the kernel */
static size_t output_at, output_size, output_room;
static int64_t output_since, slowest_write;
static int poller, timer, measuring;
static uint64_t steps[STEPS], deliveries, missed, wrong, meta, pings, same_keys;
static int64_t worst;

#ifdef WIRE_TLS
static SSL_CTX *context;
#endif

/* ---- reading and writing ---- */

static ssize_t read_link(Link *link, void *data, size_t size)
{
#ifdef WIRE_TLS
    if (link->ssl) {
        int got = SSL_read(link->ssl, data, (int)size);

        if (got > 0) return got;
        got = SSL_get_error(link->ssl, got);
        if (got == SSL_ERROR_WANT_READ || got == SSL_ERROR_WANT_WRITE) {
            errno = EAGAIN;
            return -1;
        }
        return 0;
    }
#endif
    return recv(link->fd, data, size, 0);
}

static ssize_t write_link(Link *link, const void *data, size_t size)
{
#ifdef WIRE_TLS
    if (link->ssl) {
        int put = SSL_write(link->ssl, data, (int)size);

        if (put > 0) return put;
        put = SSL_get_error(link->ssl, put);
        errno = put == SSL_ERROR_WANT_READ || put == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
        return -1;
    }
#endif
    return send(link->fd, data, size, MSG_NOSIGNAL);
}

static void secure(Link *link)
{
#ifdef WIRE_TLS
    if (!tls) return;
    link->ssl = SSL_new(context);
    SSL_set_fd(link->ssl, link->fd);
    if (SSL_connect(link->ssl) != 1) die("TLS: no handshake with the server");
#else
    (void)link;
    if (tls) die("built without TLS");
#endif
}

static void watch(Link *link, int change, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = link};

    if (epoll_ctl(poller, change, link->fd, &event)) die("epoll: %s", strerror(errno));
}

/* ---- connecting ---- */

static void read_until_blank(Link *link, char *head, size_t room)
{
    size_t have = 0;
    char *end;

    for (;;) {
        ssize_t got = read_link(link, head + have, room - 1 - have);

        if (got <= 0) die("a connection ended during its handshake: %.*s", (int)have, head);
        have += (size_t)got;
        head[have] = 0;
        if ((end = strstr(head, "\r\n\r\n"))) break;
    }
    end += 4;
    link->rest_size = have - (size_t)(end - head);
    link->rest = malloc(READ);
    memcpy(link->rest, end, link->rest_size);
}

static void dial(Link *link, int port, const char *path, const char *header)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[8192];
    int size;

    address.sin_port = htons((uint16_t)port);
    link->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(link->fd, (struct sockaddr *)&address, sizeof address)) die("cannot connect: %s", strerror(errno));
    no_delay(link->fd);
    secure(link);
    size = snprintf(text, sizeof text,
                    "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                    path, port, header);
    write_link(link, text, (size_t)size);
    read_until_blank(link, text, sizeof text);
    if (strncmp(text, "HTTP/1.1 101", 12)) die("refused: %.200s", text);
}

/* A server that dials asks for /bNUMBER, so that it is known which client it takes this for. */
static void welcome(int listener)
{
    char head[8192], answer[256];
    Link made = {.fd = accept(listener, NULL, NULL)};
    int client;

    if (made.fd < 0) die("accept: %s", strerror(errno));
    no_delay(made.fd);
    read_until_blank(&made, head, sizeof head);
    if (sscanf(head, "GET /b%d ", &client) != 1 || client < 0 || client >= links || clients[client].fd)
        die("an unexpected connection: %.40s", head);
    write_link(&made, answer, accept_answer(head, answer, sizeof answer));
    clients[client] = made;
}

/* ---- what an event is ---- */

static uint64_t hash_of(const uint8_t *data, size_t size)
{
    uint64_t lanes[4] = {size, 1, 2, 3}, word;
    size_t at = 0;
    int lane;

    for (; size - at >= 32; at += 32)
        for (lane = 0; lane < 4; lane++) {
            memcpy(&word, data + at + 8 * lane, 8);
            lanes[lane] = (lanes[lane] ^ word) * 0x9e3779b97f4a7c15u;
            lanes[lane] ^= lanes[lane] >> 29;
        }
    for (; at < size; at++) lanes[0] = (lanes[0] ^ data[at]) * 0x9e3779b97f4a7c15u;
    for (lane = 1; lane < 4; lane++) lanes[0] = (lanes[0] ^ lanes[lane]) * 0x9e3779b97f4a7c15u;
    return lanes[0] ^ lanes[0] >> 31;
}

static unsigned group_of(uint64_t number) { return (unsigned)(number * 7919 % GROUPS); }

/* Whether a client wants an event: each has a set of groups of its own. */
static int wants(int client, uint64_t number)
{
    return wanted >= 100 || (group_of(number) * 37 + (unsigned)client * 61) % 100 < wanted;
}

static void find_next(int client)
{
    while (wanted && !wants(client, clients[client].next)) clients[client].next++;
}

/* Write event number into out; returns its size. Its text, twice in it, is no other event's. */
static size_t make_event(uint64_t number, uint8_t *out)
{
    static const char letters[] = "\xe9\xad\x94\xe6\x96\xb9\xe6\x88\x91\xe6\x8b\xbf\xe5\x8e\xbb\xe5\xbc\x84\xe7\xa0\x94"
                                  "\xe7\xa9\xb6\xe4\xba\x86\xe4\xbb\x8a\xe5\xa4\xa9\xe7\x9a\x84\xe6\xb4\xbb\xe5\x8a\xa8"
                                  "\xe4\xbb\x8e\xe6\x99\x9a";
    size_t bare = sizeof HEAD + sizeof MIDDLE + sizeof TAIL, size, text, start, at;
    uint64_t dice = (number + 1) * 0x9e3779b97f4a7c15u;

    text = event_size > bare ? (event_size - bare) / 6 : 1;
    size = (size_t)sprintf((char *)out, HEAD, (long long)time(NULL), (unsigned long long)(FIRST + number));
    start = size;
    for (at = 0; at < text; at++) {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        memcpy(out + size, letters + 3 * (dice >> 60), 3);
        size += 3;
    }
    memcpy(out + size, MIDDLE, sizeof MIDDLE - 1);
    memcpy(out + size + sizeof MIDDLE - 1, out + start, 3 * text);
    size += sizeof MIDDLE - 1 + 3 * text;
    return size + (size_t)sprintf((char *)out + size, TAIL, 100000000 + group_of(number));
}

/* ---- sending ---- */

static void push(void)
{
    while (output_at < output_size) {
        ssize_t put = write_link(&upstream, output + output_at, output_size - output_at);

        if (put < 0) {
            if (errno != EAGAIN) die("the server has closed the upstream: %s", strerror(errno));
            break;
        }
        output_at += (size_t)put;
    }
    if (output_at < output_size) return;
    if (output_since && measuring) {
        int64_t taken = now() - output_since;

        if (taken > slowest_write) slowest_write = taken;
    }
    output_at = output_size = 0;
    output_since = 0;
}

static void send_burst(int64_t due)
{
    int at, client;

    if (output_room - output_size < (event_size + 1024) * (size_t)burst) {
        output_room = output_room * 2 + (event_size + 1024) * (size_t)burst;
        output = realloc(output, output_room);
    }
    for (at = 0; at < burst; at++) {
        uint8_t event[128 << 10], key[4];
        size_t size = make_event(sent_count, event);
        Sent *slot = &sent[sent_count % RING];
        uint32_t half = (uint32_t)((sent_count + 1) * 2654435761u);

        slot->hash = hash_of(event, size);
        slot->due = due;
        slot->left = (uint32_t)links;
        if (wanted < 100)
            for (slot->left = 0, client = 0; client < links; client++) slot->left += (uint32_t)wants(client, sent_count);
        if (!slot->left) done_count++;
        memcpy(key, &half, 4);
        output_size += write_head(output + output_size, TEXT, size, 0x80);
        memcpy(output + output_size, key, 4);
        mask(output + output_size + 4, event, size, key);
        output_size += 4 + size;
        sent_count++;
    }
    if (!output_since) output_since = now();
    push();
}

/* ---- receiving ---- */

static void keep_latency(int64_t taken)
{
    uint64_t micros = taken > 0 ? (uint64_t)taken / 100 : 0, step; /* tenths of a microsecond */
    int high;

    if (taken > worst) worst = taken;
    high = micros >= 2 * SUB ? 63 - __builtin_clzll(micros) - 6 : 0;
    step = (uint64_t)high * SUB + (micros >> high);
    steps[step < STEPS ? step : STEPS - 1]++;
}

static double percentile(double share)
{
    uint64_t total = 0, seen = 0, at;

    for (at = 0; at < STEPS; at++) total += steps[at];
    for (at = 0; at < STEPS; at++) {
        seen += steps[at];
        if (total && (double)seen >= share * (double)total) break;
    }
    if (at < 2 * SUB) return (double)at / 10;
    return (double)((at % SUB + SUB) << (at / SUB - 1)) / 10;
}

static void take_event(int client, const uint8_t *data, size_t size, const uint8_t *key, int64_t at)
{
    Link *link = &clients[client];
    uint64_t number = 0;
    Sent *slot;
    size_t digit;

    if (size < NUMBER_AT + 10 || memcmp(data, HEAD, 16)) {
        /* lifecycles and heartbeats of a relay */
        if (memmem(data, size, "meta_event", 10))
            meta++;
        else
            wrong++;
        return;
    }
    for (digit = 0; digit < 10; digit++) number = number * 10 + (data[NUMBER_AT + digit] - '0');
    number -= FIRST;
    if (number < link->next || number >= sent_count || !wants(client, number)) {
        wrong++;
        return;
    }
    for (; link->next < number; link->next++, find_next(client)) {
        missed++;
        if (!--sent[link->next % RING].left) done_count++;
    }
    slot = &sent[number % RING];
    if (sent_count - number < RING && slot->hash != hash_of(data, size)) wrong++;
    if (key) {
        uint32_t word;

        memcpy(&word, key, 4);
        if (!word || (link->key_of && !memcmp(link->key, key, 4))) same_keys++;
        memcpy(link->key, key, 4);
        link->key_of = number + 1;
    }
    if (!--slot->left) done_count++;
    if (measuring) {
        deliveries++;
        keep_latency(at - slot->due);
    }
    link->next = number + 1;
    find_next(client);
}

/* Answers a ping; the peer's frames need no more. */
static void pong(Link *link, const uint8_t *data, size_t size, int masked)
{
    uint8_t out[140], key[4] = {0x5a, 0x17, 0xc3, 0x2d};
    size_t head = write_head(out, PONG, size, masked ? 0x80 : 0);

    pings++;
    if (masked) {
        memcpy(out + head, key, 4);
        mask(out + head + 4, data, size, key);
        head += 4;
    } else
        memcpy(out + head, data, size);
    if (write_link(link, out, head + size) != (ssize_t)(head + size)) die("no room for a pong");
}

/* Returns false when nothing more is there. */
static int take(Link *link, int client)
{
    ssize_t got;
    size_t have, at = 0;
    int64_t when;

    memcpy(input, link->rest, link->rest_size);
    got = read_link(link, input + link->rest_size, READ);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return 0;
        die("the server has closed %s", client < 0 ? "the upstream" : "a client");
    }
    have = link->rest_size + (size_t)got;
    when = now();
    for (;;) {
        unsigned opcode;
        uint64_t length;
        const uint8_t *key;
        size_t head = read_head(input + at, have - at, &opcode, &length, &key);

        if (!head || have - at < head + length) break;
        if (length > READ / 2) die("a frame of %llu bytes", (unsigned long long)length);
        if (client >= 0 && accepting != (key != NULL)) die("a frame that is%s masked", key ? "" : " not");
        if (key) mask(input + at + head, input + at + head, length, key);
        if (opcode == PING)
            pong(link, input + at + head, length, client < 0 || !accepting);
        else if (opcode == CLOSE)
            die("the server says it closes %s: %.*s", client < 0 ? "the upstream" : "a client", (int)length - 2,
                input + at + head + 2);
        else if (opcode == TEXT && client >= 0)
            take_event(client, input + at + head, length, key, when);
        else if (opcode != PONG && client >= 0)
            wrong++;
        at += head + length;
    }
    link->rest_size = have - at;
    memcpy(link->rest, input + at, link->rest_size);
    return have > (size_t)got || (size_t)got == READ || tls;
}

/* ---- what the server uses ---- */

static int64_t cpu_of(int pid)
{
    char name[64];
    struct dirent *entry;
    int64_t total = 0;
    DIR *tasks;

    snprintf(name, sizeof name, "/proc/%d/task", pid);
    if (!(tasks = opendir(name))) die("the server has ended");
    while ((entry = readdir(tasks))) {
        char file[512];
        long long taken;
        FILE *stat;

        if (entry->d_name[0] == '.') continue;
        snprintf(file, sizeof file, "%s/%s/schedstat", name, entry->d_name);
        if ((stat = fopen(file, "r"))) {
            if (fscanf(stat, "%lld", &taken) == 1) total += taken;
            fclose(stat);
        }
    }
    closedir(tasks);
    return total;
}

static long memory_of(int pid, const char *what)
{
    char name[64], line[256];
    long size = 0;
    FILE *status;

    snprintf(name, sizeof name, "/proc/%d/status", pid);
    if (!(status = fopen(name, "r"))) die("the server has ended");
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, what, strlen(what))) size = atol(line + strlen(what));
    fclose(status);
    return size;
}

/* ---- one run ---- */

static void connect_all(int port, int listener)
{
    char path[32];
    int at;

    /* The account must be known before clients of it come. */
    dial(&upstream, port, "/onebot/v11/ws", "X-Self-ID: 10001\r\nX-Client-Role: Universal\r\n");
    for (at = 0; at < links; at++) {
        if (accepting) {
            welcome(listener);
            continue;
        }
        snprintf(path, sizeof path, "/c/b%d", at);
        dial(&clients[at], port, path, "");
    }
    for (at = 0; at < links; at++) find_next(at);
    for (at = 0; at < stalled; at++) {
        snprintf(path, sizeof path, "/c/stalled%d", at);
        dial(&clients[links + at], port, path, "");
    }
    watch(&upstream, EPOLL_CTL_ADD, EPOLLIN);
    no_wait(upstream.fd);
    for (at = 0; at < links; at++) {
        no_wait(clients[at].fd);
        watch(&clients[at], EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void wait_for(int timeout)
{
    static struct epoll_event ready[1024];
    int found = epoll_wait(poller, ready, 1024, timeout), at;

    for (at = 0; at < found; at++) {
        Link *link = ready[at].data.ptr;

        if (!link) {
            uint64_t ticks;

            if (read(timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN) die("timer: %s", strerror(errno));
        } else if (link == &upstream) {
            if (ready[at].events & EPOLLIN)
                while (take(link, -1)) {}
            push();
        } else
            while (take(link, (int)(link - clients))) {}
    }
}

int main(int count, char **args)
{
    int64_t start, end, measured_from, cpu, own_cpu, due = 0, last_progress, idle_until;
    uint64_t progress = 0, sent_before = 0;
    long rss_bare, rss_idle, rss_end;
    uint16_t own_port = 0;
    int at, port, pid, listener = -1, stuck = 0, waiting_for_room = 0;
    struct rlimit files;

    for (at = 1; at < count; at++) {
        char *value = strchr(args[at], '=');

        if (!value) die("not KEY=VALUE: %s", args[at]);
        *value++ = 0;
        if (!strcmp(args[at], "links")) links = atoi(value);
        else if (!strcmp(args[at], "stalled")) stalled = atoi(value);
        else if (!strcmp(args[at], "wanted")) wanted = (unsigned)atoi(value);
        else if (!strcmp(args[at], "size")) event_size = (size_t)atol(value);
        else if (!strcmp(args[at], "burst")) burst = atoi(value);
        else if (!strcmp(args[at], "window")) window = atof(value);
        else if (!strcmp(args[at], "rate")) rate = atof(value);
        else if (!strcmp(args[at], "warm")) warm = atof(value);
        else if (!strcmp(args[at], "seconds")) seconds = atof(value);
        else if (!strcmp(args[at], "accept")) accepting = atoi(value);
        else if (!strcmp(args[at], "tls")) tls = atoi(value);
        else die("unknown: %s", args[at]);
    }
    if (event_size > 100 << 10) die("size: at most 100 KiB");
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
#ifdef WIRE_TLS
    context = SSL_CTX_new(TLS_client_method());
#endif
    if (accepting) listener = listen_here(&own_port);
    printf("listening %u\n", own_port);
    fflush(stdout);
    if (scanf("%d %d", &port, &pid) != 2) die("expected the server's port and process on standard input");
    clients = calloc((size_t)(links + stalled), sizeof *clients);
    poller = epoll_create1(0);
    rss_bare = memory_of(pid, "VmRSS:");
    connect_all(port, listener);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

        epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    }
    /* Let handshakes and lifecycles settle, so that idle memory and the first event mean something. */
    for (idle_until = now() + 200000000; now() < idle_until;) wait_for(20);
    rss_idle = memory_of(pid, "VmRSS:");

    start = now();
    due = start;
    end = start + (int64_t)((warm + seconds) * 1e9);
    measured_from = last_progress = start;
    cpu = own_cpu = 0;
    while (1) {
        int64_t at_now = now();

        if (!measuring && at_now >= start + (int64_t)(warm * 1e9)) {
            measuring = 1;
            measured_from = at_now;
            sent_before = sent_count;
            cpu = cpu_of(pid);
            own_cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
        }
        if (done_count != progress) {
            progress = done_count;
            last_progress = at_now;
        }
        if (at_now >= end) {
            /* Open loop: what is late by now is the lag. Closed loop: what is under way is little. */
            if (rate == 0 || done_count == sent_count || at_now >= end + 2000000000) break;
        } else if (rate > 0) {
            while (due <= at_now && due < end && sent_count - done_count < RING - 1024) {
                send_burst(due);
                due += (int64_t)(1e9 * burst / rate);
            }
        } else {
            if (!wanted) die("a closed loop needs something that comes back: give a rate");
            while ((double)(sent_count - done_count + (uint64_t)burst) <= window && output_size == output_at)
                send_burst(now());
        }
        if (at_now - last_progress > 3000000000 && sent_count > done_count && (stuck = 1) && rate == 0) break;
        if ((output_at < output_size) != waiting_for_room) {
            waiting_for_room = output_at < output_size;
            watch(&upstream, EPOLL_CTL_MOD, waiting_for_room ? EPOLLIN | EPOLLOUT : EPOLLIN);
        }
        if (rate > 0 && at_now < end && due > at_now) {
            struct itimerspec when = {.it_value = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000}};

            timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        }
        wait_for(100);
    }
    cpu = cpu_of(pid) - cpu;
    own_cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - own_cpu;
    end = now();
    rss_end = memory_of(pid, "VmRSS:");
    printf("{\"seconds\": %.6f, \"events\": %llu, \"deliveries\": %llu, \"cpu_ns\": %lld, \"driver_cpu_ns\": %lld, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, \"missed\": %llu, "
           "\"wrong\": %llu, \"meta\": %llu, \"pings\": %llu, \"same_keys\": %llu, \"lag\": %llu, \"stuck\": %s, "
           "\"upstream_write_us\": %.1f, \"rss_bare_kib\": %ld, \"rss_idle_kib\": %ld, \"rss_kib\": %ld, "
           "\"peak_kib\": %ld}\n",
           (double)(end - measured_from) / 1e9, (unsigned long long)(sent_count - sent_before),
           (unsigned long long)deliveries, (long long)cpu, (long long)own_cpu, percentile(0.5), percentile(0.99),
           percentile(0.999), (double)worst / 1e3, (unsigned long long)missed, (unsigned long long)wrong,
           (unsigned long long)meta, (unsigned long long)pings, (unsigned long long)same_keys,
           (unsigned long long)(sent_count - done_count), stuck ? "true" : "false", (double)slowest_write / 1e3,
           rss_bare, rss_idle, rss_end, memory_of(pid, "VmHWM:"));
    return 0;
}
