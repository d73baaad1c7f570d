/* WebSocket frames coming in (RFC 6455, 5 and 7.4): heads, unmasking, UTF-8 (8.1). Python-free.
 *
 * nc_read takes bytes in pieces of any size and stops where its caller has to do something: find
 * room for text, take a message or a control frame, give up. Each rule is judged as soon as the
 * bytes it is about are there. A head that needs fewer bytes than it has is let pass.
 */
#ifndef NAPCORE_READER_H
#define NAPCORE_READER_H

#include "_frame.h"
#include "_utf8_text.h"

enum { NC_CONTINUATION, NC_TEXT, NC_BINARY, NC_CLOSE = 8, NC_PING, NC_PONG };
enum { NC_LONGEST_CONTROL = 125, NC_LONGEST_HEAD = 14 };

typedef enum {
    NC_READ_ALL,     /* what there was has been read */
    NC_READ_ROOM,    /* `text` has no room left, and `left` bytes of a frame are still to come */
    NC_READ_MESSAGE, /* one has ended: `message` is its opcode, `filled` its size if it was kept */
    NC_READ_CONTROL, /* a control frame: `opcode`, `control`, `control_size` */
    NC_READ_FAULT    /* against the rules: `fault`; nothing may be read any more */
} nc_read_result;

typedef enum {
    NC_NO_FAULT,
    NC_RESERVED_OPCODE,
    NC_NOT_MASKED,
    NC_MASKED,
    NC_RESERVED_BITS,
    NC_CONTROL_FRAGMENTED,
    NC_CONTROL_TOO_LONG,
    NC_NOTHING_TO_CONTINUE,
    NC_NOT_CONTINUED,
    NC_TOO_LONG_MESSAGE,
    NC_TOO_MANY_FRAGMENTS,
    NC_NOT_UTF8,
    NC_CLOSE_TOO_SHORT,
    NC_CLOSE_CODE,
    NC_CLOSE_NOT_UTF8,
    NC_TOO_MUCH /* in unfinished messages; for the caller to find */
} nc_read_fault;

typedef struct {
    /* Set by the caller. */
    uint64_t limit;          /* bytes a message may have */
    uint32_t most_fragments; /* frames a message may be in */
    uint8_t masked;          /* whether the peer is the client */
    uint8_t keep_binary;     /* whether binary messages go where text goes; else they go nowhere */
    uint8_t simd;            /* 0: none, 1: SSE2, 2: AVX2 */
    uint8_t *text;           /* where a message goes, */
    uint64_t room;           /* and how much of it there can be */
    /* The frame under way. */
    uint8_t within; /* whether its head has been read */
    uint8_t head[NC_LONGEST_HEAD];
    uint8_t head_size; /* read so far */
    uint8_t opcode, final;
    uint8_t key[4]; /* turned so that it begins with the next byte's */
    uint64_t left;  /* bytes of it still to come */
    uint8_t control_size;
    uint8_t control[NC_LONGEST_CONTROL];
    /* The message under way. */
    uint8_t message; /* its opcode, 0: there is none */
    uint32_t fragments;
    uint64_t size;    /* of it, frames announced included */
    uint64_t filled;  /* bytes of it there are, */
    uint64_t checked; /* and as far as which they are known to be UTF-8, if they have to be */
    nc_read_fault fault;
} nc_reader;

static inline nc_read_result nc_read_fail(nc_reader *reader, nc_read_fault fault)
{
    reader->fault = fault;
    return NC_READ_FAULT;
}

/* What the first two bytes of a head break. */
static inline nc_read_fault nc_judge_head(const nc_reader *reader, const uint8_t *head)
{
    const unsigned opcode = head[0] & 15;

    if ((opcode > NC_BINARY && opcode < NC_CLOSE) || opcode > NC_PONG) return NC_RESERVED_OPCODE;
    if ((head[1] >> 7) != reader->masked) return reader->masked ? NC_NOT_MASKED : NC_MASKED;
    if (head[0] & 0x70) return NC_RESERVED_BITS;
    if (opcode >= NC_CLOSE) {
        if (!(head[0] & 0x80)) return NC_CONTROL_FRAGMENTED;
        return (head[1] & 0x7F) > NC_LONGEST_CONTROL ? NC_CONTROL_TOO_LONG : NC_NO_FAULT;
    }
    if (opcode == NC_CONTINUATION) return reader->message ? NC_NO_FAULT : NC_NOTHING_TO_CONTINUE;
    return reader->message ? NC_NOT_CONTINUED : NC_NO_FAULT;
}

/* Begin the frame whose head of `size` bytes, its key included, is at `head`; its length is known. */
static inline void nc_begin_frame(nc_reader *reader, const uint8_t *head, size_t size, uint64_t length)
{
    reader->opcode = head[0] & 15;
    reader->final = head[0] >> 7;
    reader->left = length;
    reader->within = 1;
    reader->head_size = 0;
    if (reader->masked) memcpy(reader->key, head + size - 4, 4);
    if (reader->opcode >= NC_CLOSE) {
        reader->control_size = 0;
        return;
    }
    if (reader->opcode != NC_CONTINUATION) {
        reader->message = reader->opcode;
        reader->fragments = 0;
        reader->size = reader->filled = reader->checked = 0;
    }
    reader->fragments++;
    reader->size += length;
}

/* What the length of a frame breaks. */
static inline nc_read_fault nc_judge_length(const nc_reader *reader, const uint8_t *head, uint64_t length)
{
    if ((head[0] & 15) >= NC_CLOSE) return NC_NO_FAULT;
    if (reader->message == 0) return length > reader->limit ? NC_TOO_LONG_MESSAGE : NC_NO_FAULT;
    if (length > reader->limit - reader->size) return NC_TOO_LONG_MESSAGE;
    return reader->fragments >= reader->most_fragments ? NC_TOO_MANY_FRAGMENTS : NC_NO_FAULT;
}

/* Bytes of a head up to the end of its length, and of all of it. */
static inline size_t nc_length_end(uint8_t second)
{
    const unsigned size = second & 0x7F;

    return size == 126 ? 4 : size == 127 ? 10 : 2;
}

static inline uint64_t nc_head_length(const uint8_t *head)
{
    const unsigned size = head[1] & 0x7F;
    uint64_t length = 0;
    size_t at;

    if (size < 126) return size;
    for (at = 2; at < nc_length_end(head[1]); at++) length = length << 8 | head[at];
    return length;
}

/* Bytes of a head up to the next place where something can be judged. */
static inline size_t nc_head_wanted(const nc_reader *reader)
{
    size_t end;

    if (reader->head_size < 2) return 2;
    end = nc_length_end(reader->head[1]);
    return reader->head_size < end ? end : end + 4 * reader->masked;
}

/* Read as much of a head as there is, beginning at *at. */
static inline nc_read_result nc_read_head(nc_reader *reader, const uint8_t **at, const uint8_t *end)
{
    if (NC_LIKELY(reader->head_size == 0 && end - *at >= 2)) {
        const uint8_t *const head = *at;
        const size_t size = nc_length_end(head[1]) + 4 * reader->masked;

        if (NC_LIKELY((size_t)(end - head) >= size)) {
            const uint64_t length = nc_head_length(head);

            reader->fault = nc_judge_head(reader, head);
            if (NC_LIKELY(reader->fault == NC_NO_FAULT)) reader->fault = nc_judge_length(reader, head, length);
            if (reader->fault != NC_NO_FAULT) return NC_READ_FAULT;
            nc_begin_frame(reader, head, size, length);
            *at += size;
            return NC_READ_ALL;
        }
    }
    for (;;) {
        const size_t wanted = nc_head_wanted(reader), missing = wanted - reader->head_size;
        const size_t there = (size_t)(end - *at), taken = there < missing ? there : missing;
        size_t length_end;

        memcpy(reader->head + reader->head_size, *at, taken);
        reader->head_size += (uint8_t)taken;
        *at += taken;
        if (taken < missing) return NC_READ_ALL;
        length_end = nc_length_end(reader->head[1]);
        if (wanted == 2) reader->fault = nc_judge_head(reader, reader->head);
        if (wanted == length_end && reader->fault == NC_NO_FAULT) {
            reader->fault = nc_judge_length(reader, reader->head, nc_head_length(reader->head));
        }
        if (reader->fault != NC_NO_FAULT) return NC_READ_FAULT;
        if (wanted == length_end + 4 * reader->masked) {
            nc_begin_frame(reader, reader->head, wanted, nc_head_length(reader->head));
            return NC_READ_ALL;
        }
    }
}

/* Put `size` bytes of the frame at `data` in plain to `out`, which may be `data` itself. */
static inline void nc_unmask(nc_reader *reader, uint8_t *out, const uint8_t *data, size_t size)
{
    uint8_t turned[4];
    size_t at;

    if (!reader->masked) {
        if (out != data) memcpy(out, data, size);
        return;
    }
    nc_mask_wide(out, data, size, reader->key, reader->simd);
    for (at = 0; at < 4; at++) turned[at] = reader->key[(size + at) % 4];
    memcpy(reader->key, turned, 4);
}

/* Prove the text that has come since the last time; `whole`: there will be no more of it. */
static inline int nc_check_text(nc_reader *reader, int whole)
{
    const size_t size = (size_t)(reader->filled - reader->checked);
    const uint8_t *data;
    size_t open;

    if (size == 0) return 1;
    data = reader->text + reader->checked;
    open = nc_utf8_open(data, size);
    if (open) {
        if (whole || !nc_utf8_may_begin(data + size - open, open)) return 0;
        /* Nor may another be cut short by this one. */
        if (nc_utf8_open(data, size - open)) return 0;
    }
    if (!nc_is_utf8(data, size - open, reader->simd)) return 0;
    reader->checked += size - open;
    return 1;
}

/* Whether a close frame may carry this code (RFC 6455, 7.4, and the registry it refers to). */
static inline int nc_is_close_code(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static inline nc_read_fault nc_judge_close(const nc_reader *reader)
{
    const uint8_t *const reason = reader->control + 2;
    const size_t size = reader->control_size;

    if (size == 0) return NC_NO_FAULT;
    if (size == 1) return NC_CLOSE_TOO_SHORT;
    if (!nc_is_close_code((unsigned)reader->control[0] << 8 | reader->control[1])) return NC_CLOSE_CODE;
    if (nc_utf8_open(reason, size - 2) || !nc_is_utf8(reason, size - 2, reader->simd)) return NC_CLOSE_NOT_UTF8;
    return NC_NO_FAULT;
}

/* The frame is over. */
static inline nc_read_result nc_end_frame(nc_reader *reader)
{
    reader->within = 0;
    if (reader->opcode >= NC_CLOSE) {
        if (reader->opcode == NC_CLOSE) reader->fault = nc_judge_close(reader);
        return reader->fault == NC_NO_FAULT ? NC_READ_CONTROL : NC_READ_FAULT;
    }
    return reader->final ? NC_READ_MESSAGE : NC_READ_ALL;
}

/* Read on from *at, at most to `end`. After NC_READ_MESSAGE the caller sets `message` to 0. */
static inline nc_read_result nc_read(nc_reader *reader, const uint8_t **at, const uint8_t *end)
{
    for (;;) {
        size_t taken = (size_t)(end - *at);
        nc_read_result result;

        if (!reader->within) {
            if (taken == 0) return NC_READ_ALL;
            result = nc_read_head(reader, at, end);
            if (result != NC_READ_ALL) return result;
            if (!reader->within) return NC_READ_ALL;
            taken = (size_t)(end - *at);
        }
        if (taken > reader->left) taken = (size_t)reader->left;
        if (reader->opcode >= NC_CLOSE) {
            nc_unmask(reader, reader->control + reader->control_size, *at, taken);
            reader->control_size += (uint8_t)taken;
        } else if (reader->message == NC_TEXT || reader->keep_binary) {
            const uint64_t room = reader->room - reader->filled;

            if (reader->left && room == 0) return NC_READ_ROOM;
            if (taken > room) taken = (size_t)room;
            if (taken) nc_unmask(reader, reader->text + reader->filled, *at, taken);
            reader->filled += taken;
            if (reader->message == NC_TEXT && (taken || (reader->final && reader->left == 0))
                && !nc_check_text(reader, reader->final && reader->left == taken)) {
                return nc_read_fail(reader, NC_NOT_UTF8);
            }
        }
        *at += taken;
        reader->left -= taken;
        if (reader->left) {
            if (*at == end) return NC_READ_ALL;
            continue; /* for more room */
        }
        result = nc_end_frame(reader);
        if (result != NC_READ_ALL) return result;
    }
}

#endif
