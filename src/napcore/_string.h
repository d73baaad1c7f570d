/* Strings of JSON: prove them and undo their escapes. Python-free, see _json.h.
 *
 * The hot spots are nc_skip_plain (bytes that need no thought) and nc_skip_utf8: a vectorised
 * version replaces these two and nothing else.
 */
#ifndef NAPCORE_STRING_H
#define NAPCORE_STRING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_bits.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define NC_LIKELY(condition) (condition)
#define NC_NOINLINE __declspec(noinline)
#else
#define NC_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define NC_NOINLINE __attribute__((noinline))
#endif

typedef enum {
    NC_ACCEPTED,
    NC_NOT_AN_OBJECT,
    NC_BYTE_ORDER_MARK,
    NC_UNEXPECTED_END,
    NC_UNEXPECTED_BYTE,
    NC_INVALID_ESCAPE,
    NC_CONTROL_CHARACTER,
    NC_INVALID_UTF8,
    NC_TOO_DEEP,
    NC_TRAILING_DATA
} nc_reason;

typedef struct {
    const uint8_t *end;
    const uint8_t *at;
    nc_reason reason;
} nc_scan;

#define NC_FAIL(scan, place, why) ((scan)->at = (place), (scan)->reason = (why), (const uint8_t *)NULL)
/* The byte at `place` is wrong, or there is none. */
#define NC_UNEXPECTED(scan, place) \
    NC_FAIL(scan, place, (place) == (scan)->end ? NC_UNEXPECTED_END : NC_UNEXPECTED_BYTE)

static inline int nc_is_digit(uint8_t byte) { return (uint8_t)(byte - '0') < 10; }

/* ---- proving ---- */

static inline int nc_is_plain(uint8_t byte) { return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\'; }

/* The first byte from p on that is not plain ASCII text: a quote, a backslash, a control
 * character, a byte of a longer sequence; or end. */
static inline const uint8_t *nc_skip_plain(const uint8_t *p, const uint8_t *end)
{
    const uint64_t each = UINT64_C(0x0101010101010101);

    while (end - p >= 8) {
        uint64_t word, found;

        memcpy(&word, p, 8);
        /* The high bit of a byte is set for each that is not plain; a borrow may set it wrongly,
         * but only above one that is set rightly. */
        found = word | (word - each * 0x20) | ((word ^ each * '"') - each) | ((word ^ each * '\\') - each);
        found &= each * 0x80;
        if (found) {
#if (defined(__GNUC__) || defined(__clang__)) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ || defined(_MSC_VER)
            return p + (nc_lowest_bit(found) >> 3);
#else
            break; /* the byte loop finds the place */
#endif
        }
        p += 8;
    }
    while (p < end && nc_is_plain(*p)) p++;
    return p;
}

static inline int nc_is_rest(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* Behind the sequences of more than one byte that start at p (Unicode 15, table 3-7). */
static inline const uint8_t *nc_skip_utf8(const uint8_t *p, const uint8_t *end, nc_scan *scan)
{
    while (p < end && *p >= 0x80) {
        const uint8_t lead = *p;
        uint8_t low = 0x80, high = 0xBF;
        int rest;

        /* Most of Chinese, in one step. */
        if (NC_LIKELY(end - p >= 3 && (lead & 0xF0) == 0xE0 && (nc_is_rest(p[1]) & nc_is_rest(p[2])) && lead != 0xE0
                && lead != 0xED)) {
            p += 3;
            continue;
        }
        if ((lead & 0xF0) == 0xE0) {
            rest = 2;
            if (lead == 0xE0) low = 0xA0;
            if (lead == 0xED) high = 0x9F;
        } else if (lead >= 0xC2 && lead <= 0xDF) {
            rest = 1;
        } else if (lead >= 0xF0 && lead <= 0xF4) {
            rest = 3;
            if (lead == 0xF0) low = 0x90;
            if (lead == 0xF4) high = 0x8F;
        } else {
            return NC_FAIL(scan, p, NC_INVALID_UTF8);
        }
        p++;
        if (p == end) return NC_FAIL(scan, p, NC_UNEXPECTED_END);
        if (*p < low || *p > high) return NC_FAIL(scan, p, NC_INVALID_UTF8);
        p++;
        while (--rest) {
            if (p == end) return NC_FAIL(scan, p, NC_UNEXPECTED_END);
            if (!nc_is_rest(*p)) return NC_FAIL(scan, p, NC_INVALID_UTF8);
            p++;
        }
    }
    return p;
}

/* Value of a hexadecimal digit, or -1. */
static inline int nc_hex(uint8_t byte)
{
    if (nc_is_digit(byte)) return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Behind the escape whose backslash is at p. */
static inline const uint8_t *nc_skip_escape(const uint8_t *p, const uint8_t *end, nc_scan *scan)
{
    int digits;

    p++;
    if (p == end) return NC_FAIL(scan, p, NC_UNEXPECTED_END);
    switch (*p) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
        return p + 1;
    case 'u':
        p++;
        for (digits = 0; digits < 4; digits++, p++) {
            if (p == end) return NC_FAIL(scan, p, NC_UNEXPECTED_END);
            if (nc_hex(*p) < 0) return NC_FAIL(scan, p, NC_INVALID_ESCAPE);
        }
        return p;
    default:
        return NC_FAIL(scan, p, NC_INVALID_ESCAPE);
    }
}

/* The closing quote of the string whose text goes on at p. */
static NC_NOINLINE const uint8_t *nc_finish_string(const uint8_t *p, nc_scan *scan)
{
    const uint8_t *const end = scan->end;

    for (;;) {
        p = nc_skip_plain(p, end);
        if (p == end) return NC_FAIL(scan, p, NC_UNEXPECTED_END);
        if (*p == '"') return p;
        if (*p >= 0x80) p = nc_skip_utf8(p, end, scan);
        else if (*p == '\\') p = nc_skip_escape(p, end, scan);
        else return NC_FAIL(scan, p, NC_CONTROL_CHARACTER);
        if (p == NULL) return NULL;
    }
}

/* The closing quote of the string whose opening quote is at p. */
static inline const uint8_t *nc_string_end(const uint8_t *p, nc_scan *scan)
{
    p = nc_skip_plain(p + 1, scan->end);
    if (NC_LIKELY(p < scan->end && *p == '"')) return p;
    return nc_finish_string(p, scan);
}

/* ---- decoding ---- */

/* A key to look for besides the known ones: decoded, as UTF-8 in which lone surrogates may be. */
typedef struct {
    const uint8_t *text;
    size_t size;
} nc_key;

static inline unsigned nc_code_unit(const uint8_t *hex)
{
    return (unsigned)(nc_hex(hex[0]) << 12 | nc_hex(hex[1]) << 8 | nc_hex(hex[2]) << 4 | nc_hex(hex[3]));
}

/* Decode the escape at *p in the proved text that ends at end; returns its size in UTF-8. A pair
 * of surrogates makes one character, a lone one is encoded by itself. */
static inline size_t nc_decode_escape(const uint8_t **p, const uint8_t *end, uint8_t out[4])
{
    const uint8_t *at = *p + 1;
    uint32_t code;

    *p = at + 1;
    switch (*at) {
    case 'b': out[0] = '\b'; return 1;
    case 'f': out[0] = '\f'; return 1;
    case 'n': out[0] = '\n'; return 1;
    case 'r': out[0] = '\r'; return 1;
    case 't': out[0] = '\t'; return 1;
    case 'u': break;
    default: out[0] = *at; return 1;
    }
    code = nc_code_unit(at + 1);
    *p = at += 5;
    if ((code & 0xFC00) == 0xD800 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
        const uint32_t low = nc_code_unit(at + 2);

        if ((low & 0xFC00) == 0xDC00) {
            code = 0x10000 + ((code & 0x3FF) << 10 | (low & 0x3FF));
            *p = at + 6;
        }
    }
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xC0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (code & 0x3F));
    return 4;
}

/* Decode proved text into out; returns its size, or capacity + 1 when it does not fit. */
static inline size_t nc_decode(const uint8_t *p, const uint8_t *end, uint8_t *out, size_t capacity)
{
    size_t size = 0;

    while (p < end) {
        uint8_t character[4] = {*p};
        const size_t count = *p == '\\' ? nc_decode_escape(&p, end, character) : (p++, (size_t)1);

        if (count > capacity - size) return capacity + 1;
        memcpy(out + size, character, count);
        size += count;
    }
    return size;
}

/* Whether proved text decodes to the key. */
static inline int nc_equals(const uint8_t *p, const uint8_t *end, const nc_key *key)
{
    size_t at = 0;

    while (p < end) {
        uint8_t character[4] = {*p};
        const size_t count = *p == '\\' ? nc_decode_escape(&p, end, character) : (p++, (size_t)1);

        if (count > key->size - at || memcmp(key->text + at, character, count) != 0) return 0;
        at += count;
    }
    return at == key->size;
}

#endif
