/* Prove that bytes are one JSON object and find the members of its head. Python-free.
 *
 * One pass, no recursion, no allocation, no read outside [data, data + size). What is accepted,
 * and what offset and reason tell of what is not, is specified by the plain twin (_json_py.py).
 */
#ifndef NAPCORE_JSON_H
#define NAPCORE_JSON_H

#include "_string.h"

enum { NC_MAX_DEPTH = 512 }; /* the outermost object is level 1 */

/* The members that are looked for, wherever they may be of use. */
typedef enum {
    NC_POST_TYPE,
    NC_MESSAGE_TYPE, /* the four <post_type>_type keys in this order */
    NC_NOTICE_TYPE,
    NC_REQUEST_TYPE,
    NC_META_EVENT_TYPE,
    NC_SUB_TYPE,
    NC_SELF_ID,
    NC_GROUP_ID,
    NC_USER_ID,
    NC_MESSAGE_ID,
    NC_TIME,
    NC_ECHO,
    NC_STATUS,
    NC_RETCODE,
    NC_STREAM,
    NC_ACTION,
    NC_PARAMS,
    NC_WANTED, /* the key given to nc_find_member */
    NC_MEMBERS,
    NC_OTHER = NC_MEMBERS
} nc_slot;

/* Offsets of a value; start is 0 when there is none, for no value is that early. */
typedef struct {
    size_t start;
    size_t end;
} nc_span;

typedef struct {
    nc_span member[NC_MEMBERS];
    size_t echo_key; /* offset of its opening quote */
    size_t at;       /* where the input went wrong */
    nc_reason reason;
} nc_head;

static inline const uint8_t *nc_skip_white(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

/* ---- numbers and literals ---- */

static inline const uint8_t *nc_skip_digits(const uint8_t *p, nc_scan *scan)
{
    if (p == scan->end || !nc_is_digit(*p)) return NC_UNEXPECTED(scan, p);
    do p++;
    while (p < scan->end && nc_is_digit(*p));
    return p;
}

static inline const uint8_t *nc_skip_number(const uint8_t *p, nc_scan *scan)
{
    if (*p == '-') p++;
    if (p < scan->end && *p == '0') p++;
    else if ((p = nc_skip_digits(p, scan)) == NULL) return NULL;
    if (p < scan->end && *p == '.') {
        if ((p = nc_skip_digits(p + 1, scan)) == NULL) return NULL;
    }
    if (p < scan->end && (*p | 0x20) == 'e') {
        p++;
        if (p < scan->end && (*p == '+' || *p == '-')) p++;
        p = nc_skip_digits(p, scan);
    }
    return p;
}

static inline const uint8_t *nc_skip_literal(const uint8_t *p, const char *literal, nc_scan *scan)
{
    for (; *literal; literal++, p++) {
        if (p == scan->end || *p != (uint8_t)*literal) return NC_UNEXPECTED(scan, p);
    }
    return p;
}

/* Behind the value at p, which is no array or object. */
static inline const uint8_t *nc_skip_scalar(const uint8_t *p, nc_scan *scan)
{
    switch (*p) {
    case '"':
        p = nc_string_end(p, scan);
        return p ? p + 1 : NULL;
    case 't':
        return nc_skip_literal(p, "true", scan);
    case 'f':
        return nc_skip_literal(p, "false", scan);
    case 'n':
        return nc_skip_literal(p, "null", scan);
    default:
        return nc_skip_number(p, scan);
    }
}

/* ---- arrays and objects ---- */

/* The value behind the key whose opening quote is expected at p; *key_end is its closing quote. */
static inline const uint8_t *nc_skip_key(const uint8_t *p, const uint8_t **key_end, nc_scan *scan)
{
    if (p == scan->end || *p != '"') return NC_UNEXPECTED(scan, p);
    *key_end = nc_string_end(p, scan);
    if (*key_end == NULL) return NULL;
    p = nc_skip_white(*key_end + 1, scan->end);
    if (p == scan->end || *p != ':') return NC_UNEXPECTED(scan, p);
    p = nc_skip_white(p + 1, scan->end);
    return p < scan->end ? p : NC_UNEXPECTED(scan, p);
}

/* Behind the array or object that opens at p, inside the outermost object. */
static NC_NOINLINE const uint8_t *nc_skip_nested(const uint8_t *p, nc_scan *scan)
{
    const uint8_t *const end = scan->end, *key_end;
    uint64_t objects[NC_MAX_DEPTH / 64] = {0}; /* a bit per level, set for an object */
    unsigned depth = 1;
    int object;

open:
    if (depth == NC_MAX_DEPTH) return NC_FAIL(scan, p, NC_TOO_DEEP);
    object = *p == '{';
    objects[depth / 64] &= ~(UINT64_C(1) << depth % 64);
    objects[depth / 64] |= (uint64_t)object << depth % 64;
    depth++;
    p = nc_skip_white(p + 1, end);
    if (p < end && *p == (object ? '}' : ']')) goto close;

member:
    if (object) {
        p = nc_skip_key(p, &key_end, scan);
        if (p == NULL) return NULL;
    } else if (p == end) {
        return NC_FAIL(scan, p, NC_UNEXPECTED_END);
    }
    if (*p == '{' || *p == '[') goto open;
    p = nc_skip_scalar(p, scan);
    if (p == NULL) return NULL;

after:
    p = nc_skip_white(p, end);
    if (p == end) return NC_FAIL(scan, p, NC_UNEXPECTED_END);
    if (*p == ',') {
        p = nc_skip_white(p + 1, end);
        goto member;
    }
    if (*p != (object ? '}' : ']')) return NC_FAIL(scan, p, NC_UNEXPECTED_BYTE);

close:
    p++;
    depth--;
    if (depth == 1) return p;
    object = objects[(depth - 1) / 64] >> (depth - 1) % 64 & 1;
    goto after;
}

/* ---- keys ---- */

enum {
    NC_LONGEST_KEY = 15,     /* meta_event_type */
    NC_SHORTEST_ESCAPED = 9  /* "time" with one of its letters as six bytes */
};

/* Whether size bytes, four at least and sixteen at most, are the same: two loads each that overlap. */
static inline int nc_same(const uint8_t *a, const char *b, size_t size)
{
    uint64_t a8[2], b8[2];
    uint32_t a4[2], b4[2];

    if (size >= 8) {
        memcpy(&a8[0], a, 8);
        memcpy(&a8[1], a + size - 8, 8);
        memcpy(&b8[0], b, 8);
        memcpy(&b8[1], b + size - 8, 8);
        return ((a8[0] ^ b8[0]) | (a8[1] ^ b8[1])) == 0;
    }
    memcpy(&a4[0], a, 4);
    memcpy(&a4[1], a + size - 4, 4);
    memcpy(&b4[0], b, 4);
    memcpy(&b4[1], b + size - 4, 4);
    return ((a4[0] ^ b4[0]) | (a4[1] ^ b4[1])) == 0;
}

#define NC_IS(name, slot) \
    if (nc_same(key, name, sizeof(name) - 1)) return slot

static inline nc_slot nc_slot_of(const uint8_t *key, size_t size)
{
    switch (size) {
    case 4:
        NC_IS("time", NC_TIME);
        NC_IS("echo", NC_ECHO);
        break;
    case 6:
        NC_IS("status", NC_STATUS);
        NC_IS("stream", NC_STREAM);
        NC_IS("action", NC_ACTION);
        NC_IS("params", NC_PARAMS);
        break;
    case 7:
        NC_IS("user_id", NC_USER_ID);
        NC_IS("self_id", NC_SELF_ID);
        NC_IS("retcode", NC_RETCODE);
        break;
    case 8:
        NC_IS("group_id", NC_GROUP_ID);
        NC_IS("sub_type", NC_SUB_TYPE);
        break;
    case 9:
        NC_IS("post_type", NC_POST_TYPE);
        break;
    case 10:
        NC_IS("message_id", NC_MESSAGE_ID);
        break;
    case 11:
        NC_IS("notice_type", NC_NOTICE_TYPE);
        break;
    case 12:
        NC_IS("message_type", NC_MESSAGE_TYPE);
        NC_IS("request_type", NC_REQUEST_TYPE);
        break;
    case 15:
        NC_IS("meta_event_type", NC_META_EVENT_TYPE);
        break;
    default:
        break;
    }
    return NC_OTHER;
}

/* The slot of the key whose text lies between p and end. */
static inline nc_slot nc_slot_of_text(const uint8_t *p, const uint8_t *end, const nc_key *wanted)
{
    uint8_t decoded[NC_LONGEST_KEY];
    const size_t size = (size_t)(end - p);
    nc_slot slot;

    if (wanted) return nc_equals(p, end, wanted) ? NC_WANTED : NC_OTHER;
    slot = nc_slot_of(p, size);
    if (slot == NC_OTHER && size >= NC_SHORTEST_ESCAPED && memchr(p, '\\', size)) {
        slot = nc_slot_of(decoded, nc_decode(p, end, decoded, sizeof decoded));
    }
    return slot;
}

/* ---- documents ---- */

/* Behind the object that opens at p. Its members go into head: the known ones, or, where a key is
 * given, that one alone. The last of equal keys wins. */
static inline const uint8_t *nc_scan_object(
    const uint8_t *data, const uint8_t *p, const nc_key *wanted, nc_head *head, nc_scan *scan)
{
    const uint8_t *const end = scan->end;

    p = nc_skip_white(p + 1, end);
    if (p < end && *p == '}') return p + 1;
    for (;;) {
        const uint8_t *const key = p, *key_end, *value;
        nc_slot slot;

        value = nc_skip_key(p, &key_end, scan);
        if (value == NULL) return NULL;
        p = *value == '{' || *value == '[' ? nc_skip_nested(value, scan) : nc_skip_scalar(value, scan);
        if (p == NULL) return NULL;
        slot = nc_slot_of_text(key + 1, key_end, wanted);
        if (slot != NC_OTHER) {
            head->member[slot].start = (size_t)(value - data);
            head->member[slot].end = (size_t)(p - data);
            if (slot == NC_ECHO) head->echo_key = (size_t)(key - data);
        }
        p = nc_skip_white(p, end);
        if (p == end) return NC_FAIL(scan, p, NC_UNEXPECTED_END);
        if (*p == '}') return p + 1;
        if (*p != ',') return NC_FAIL(scan, p, NC_UNEXPECTED_BYTE);
        p = nc_skip_white(p + 1, end);
    }
}

static inline void nc_clear(nc_head *head)
{
    memset(head->member, 0, sizeof head->member);
    head->reason = NC_ACCEPTED;
}

/* Prove that data is one JSON object and read its head; returns whether it is, head->reason and
 * head->at tell why not. */
static inline int nc_scan_document(const uint8_t *data, size_t size, nc_head *head)
{
    nc_scan scan = {data + size, data, NC_ACCEPTED};
    const uint8_t *p;

    nc_clear(head);
    p = nc_skip_white(data, scan.end);
    if (size >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0) {
        p = NC_FAIL(&scan, data, NC_BYTE_ORDER_MARK);
    } else if (p == scan.end) {
        p = NC_FAIL(&scan, p, NC_UNEXPECTED_END);
    } else if (*p != '{') {
        p = NC_FAIL(&scan, p, NC_NOT_AN_OBJECT);
    } else {
        p = nc_scan_object(data, p, NULL, head, &scan);
        if (p) {
            p = nc_skip_white(p, scan.end);
            if (p != scan.end) p = NC_FAIL(&scan, p, NC_TRAILING_DATA);
        }
    }
    if (NC_LIKELY(p != NULL)) return 1;
    head->reason = scan.reason;
    head->at = (size_t)(scan.at - data);
    return 0;
}

/* Read the head of the object at [start, end) of proved data. */
static inline void nc_read_object(const uint8_t *data, size_t start, size_t end, nc_head *head)
{
    nc_scan scan = {data + end, data, NC_ACCEPTED};

    nc_clear(head);
    (void)nc_scan_object(data, data + start, NULL, head, &scan);
}

/* Find the member of the given key in a proved document. */
static inline nc_span nc_find_member(const uint8_t *data, size_t size, const nc_key *key)
{
    nc_scan scan = {data + size, data, NC_ACCEPTED};
    nc_head head;

    nc_clear(&head);
    (void)nc_scan_object(data, nc_skip_white(data, scan.end), key, &head, &scan);
    return head.member[NC_WANTED];
}

/* ---- values ---- */

/* Whether the eight bytes at p are digits; *value is their number then. */
static inline int nc_eight_digits(const uint8_t *p, uint64_t *value)
{
#if (defined(__GNUC__) || defined(__clang__)) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ || defined(_MSC_VER)
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint64_t word;

    memcpy(&word, p, 8);
    word ^= each * '0';
    if (((word + each * 0x76) | word) & each * 0x80) return 0;
    word = word * 10 + (word >> 8); /* pairs, in every other byte */
    word = ((word & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x000F424000000064) +
            ((word >> 16) & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x0000271000000001)) >> 32;
    *value = word;
    return 1;
#else
    (void)p;
    (void)value;
    return 0; /* one by one, then */
#endif
}

/* Whether the proved text, escapes undone, is `-?[0-9]+` within int64; *value is it then. */
static inline int nc_parse_integer(const uint8_t *p, const uint8_t *end, int64_t *value)
{
    const uint8_t *const start = p;
    int negative, digits = 0;
    uint64_t total = 0, limit;
    uint8_t character[4];

    /* Nearly all: up to eighteen plain digits, which cannot overflow. */
    if (NC_LIKELY(end - p <= 18 && p < end)) {
        if (end - p >= 8 && nc_eight_digits(p, &total)) p += 8;
        while (p < end && nc_is_digit(*p)) total = total * 10 + (uint64_t)(*p++ - '0');
        if (NC_LIKELY(p == end)) {
            *value = (int64_t)total;
            return 1;
        }
        p = start;
        total = 0;
    }
    if (p == end) return 0;
    character[0] = *p;
    if (*p == '\\') (void)nc_decode_escape(&p, end, character);
    else p++;
    negative = character[0] == '-';
    if (!negative) {
        if (!nc_is_digit(character[0])) return 0;
        total = (uint64_t)(character[0] - '0');
        digits = 1;
    }
    while (p < end) {
        character[0] = *p;
        if (*p == '\\') (void)nc_decode_escape(&p, end, character);
        else p++;
        if (!nc_is_digit(character[0]) || total > (UINT64_C(1) << 63) / 10) return 0;
        total = total * 10 + (uint64_t)(character[0] - '0');
        digits = 1;
    }
    limit = (UINT64_C(1) << 63) - (negative ? 0 : 1);
    if (!digits || total > limit) return 0;
    *value = (int64_t)(negative ? 0 - total : total);
    return 1;
}

#endif
