/* The fast path of peek: proves a document in two passes and only says yes or no. Python-free.
 *
 * First the bytes are proved to be UTF-8 (_utf8.h), then the grammar is walked with strings and
 * digits skipped sixteen bytes at a time. What is refused here goes to the scalar machine of
 * _json.h, which finds out where and why; where there is no SIMD it does everything.
 *
 * A NEON version needs nc_find_stop, nc_end_of_digits and a version in _utf8.h, nothing else.
 */
#ifndef NAPCORE_FAST_H
#define NAPCORE_FAST_H

#include "_json.h"
#include "_utf8.h"

typedef enum {
    NC_PORTABLE, /* the scalar machine alone */
    NC_SSE2,
    NC_AVX2 /* SSE2, but for the proof of UTF-8 */
} nc_version;

#if defined(NC_HAVE_SSE2)

static inline unsigned nc_first_bit(unsigned bits)
{
#if defined(_MSC_VER) && !defined(__clang__)
    unsigned long bit;
    _BitScanForward(&bit, bits);
    return (unsigned)bit;
#else
    return (unsigned)__builtin_ctz(bits);
#endif
}

/* The first quote, backslash or control character from p on, or end. */
static inline const uint8_t *nc_find_stop(const uint8_t *p, const uint8_t *end)
{
    while (NC_LIKELY(end - p >= 16)) {
        const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i marks =
            _mm_or_si128(_mm_cmpeq_epi8(text, _mm_set1_epi8('"')), _mm_cmpeq_epi8(text, _mm_set1_epi8('\\')));
        const __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(0x1F)), text);
        const unsigned stops = (unsigned)_mm_movemask_epi8(_mm_or_si128(marks, controls));

        if (NC_LIKELY(stops)) return p + nc_first_bit(stops);
        p += 16;
    }
    while (p < end && *p != '"' && *p != '\\' && *p >= 0x20) p++;
    return p;
}

static inline const uint8_t *nc_end_of_digits(const uint8_t *p, const uint8_t *end)
{
    while (NC_LIKELY(end - p >= 16)) {
        const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i value = _mm_sub_epi8(text, _mm_set1_epi8('0'));
        const __m128i digits = _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value);
        const unsigned others = (unsigned)_mm_movemask_epi8(digits) ^ 0xFFFF;

        if (NC_LIKELY(others)) return p + nc_first_bit(others);
        p += 16;
    }
    while (p < end && nc_is_digit(*p)) p++;
    return p;
}

/* In what follows the bytes are UTF-8 already: inside a string every byte but a quote, a backslash
 * and a control character is text. */

/* The closing quote of the string whose text goes on at p; NULL if there is none or it is wrong. */
static NC_NOINLINE const uint8_t *nc_quick_rest(const uint8_t *p, const uint8_t *end)
{
    nc_scan scan;

    scan.end = end;
    for (;;) {
        p = nc_find_stop(p, end);
        if (p == end) return NULL;
        if (*p == '"') return p;
        if (*p != '\\') return NULL;
        p = nc_skip_escape(p, end, &scan);
        if (p == NULL) return NULL;
    }
}

/* The closing quote of the string whose opening quote is at p. */
static inline const uint8_t *nc_quick_string(const uint8_t *p, const uint8_t *end)
{
    p = nc_find_stop(p + 1, end);
    if (NC_LIKELY(p < end && *p == '"')) return p;
    return nc_quick_rest(p, end);
}

static inline const uint8_t *nc_quick_number(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *digits;

    if (*p == '-') p++;
    if (p < end && *p == '0') {
        p++;
    } else {
        digits = p;
        p = nc_end_of_digits(p, end);
        if (p == digits) return NULL;
    }
    if (p < end && *p == '.') {
        digits = ++p;
        p = nc_end_of_digits(p, end);
        if (p == digits) return NULL;
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        digits = p;
        p = nc_end_of_digits(p, end);
        if (p == digits) return NULL;
    }
    return p;
}

/* Behind the string, number or literal at p. */
static inline const uint8_t *nc_quick_scalar(const uint8_t *p, const uint8_t *end)
{
    if (*p == '"') {
        p = nc_quick_string(p, end);
        return p ? p + 1 : NULL;
    }
    switch (*p) {
    case 't':
        return end - p >= 4 && memcmp(p, "true", 4) == 0 ? p + 4 : NULL;
    case 'f':
        return end - p >= 5 && memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
    case 'n':
        return end - p >= 4 && memcmp(p, "null", 4) == 0 ? p + 4 : NULL;
    default:
        return nc_quick_number(p, end);
    }
}

/* The value behind the key at p, whose closing quote is *key_end; *plain tells that it has no escapes. */
static inline const uint8_t *nc_quick_key(const uint8_t *p, const uint8_t **key_end, int *plain, const uint8_t *end)
{
    if (p == end || *p != '"') return NULL;
    p = nc_find_stop(p + 1, end);
    *plain = NC_LIKELY(p < end && *p == '"');
    if (!*plain) p = nc_quick_rest(p, end);
    if (p == NULL) return NULL;
    *key_end = p++;
    if (NC_LIKELY(end - p >= 2 && *p == ':' && p[1] > ' ')) return p + 1;
    p = nc_skip_white(p, end);
    if (p == end || *p != ':') return NULL;
    p = nc_skip_white(p + 1, end);
    return p < end ? p : NULL;
}

/* Behind the array or object that opens at p, inside the outermost object. */
static NC_NOINLINE const uint8_t *nc_quick_nested(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *key_end;
    uint64_t objects[NC_MAX_DEPTH / 64]; /* a bit per level, set for an object */
    uint64_t bit;
    unsigned depth = 1;
    int object, plain;

    objects[0] = 0;
open:
    if (depth == NC_MAX_DEPTH) return NULL;
    object = *p == '{';
    if (depth % 64 == 0) objects[depth / 64] = 0;
    bit = UINT64_C(1) << depth % 64;
    objects[depth / 64] = object ? objects[depth / 64] | bit : objects[depth / 64] & ~bit;
    depth++;
    p = nc_skip_white(p + 1, end);
    if (p == end) return NULL;
    if (*p == (object ? '}' : ']')) goto close;

member:
    if (object) {
        p = nc_quick_key(p, &key_end, &plain, end);
        if (p == NULL) return NULL;
    }
    if ((*p | 0x20) == '{') goto open;
    p = nc_quick_scalar(p, end);
    if (p == NULL) return NULL;

after:
    p = nc_skip_white(p, end);
    if (p == end) return NULL;
    if (*p == ',') {
        p = nc_skip_white(p + 1, end);
        if (p == end) return NULL;
        goto member;
    }
    if (*p != (object ? '}' : ']')) return NULL;

close:
    p++;
    depth--;
    if (depth == 1) return p;
    object = objects[(depth - 1) / 64] >> (depth - 1) % 64 & 1;
    goto after;
}

/* Whether the bytes, which are UTF-8, are one JSON object; its head is read on the way. */
static int nc_quick_document(const uint8_t *data, size_t size, nc_head *head)
{
    const uint8_t *const end = data + size;
    const uint8_t *p = nc_skip_white(data, end);

    if (p == end || *p != '{') return 0;
    p = nc_skip_white(p + 1, end);
    if (p < end && *p == '}') {
        p++;
    } else {
        for (;;) {
            const uint8_t *const key = p, *key_end, *value;
            nc_slot slot;
            int plain;

            value = nc_quick_key(p, &key_end, &plain, end);
            if (value == NULL) return 0;
            p = (*value | 0x20) == '{' ? nc_quick_nested(value, end) : nc_quick_scalar(value, end);
            if (p == NULL) return 0;
            slot = plain ? nc_slot_of(key + 1, (size_t)(key_end - key - 1)) : nc_slot_of_text(key + 1, key_end, NULL);
            if (slot != NC_OTHER) {
                head->member[slot].start = (size_t)(value - data);
                head->member[slot].end = (size_t)(p - data);
                if (slot == NC_ECHO) head->echo_key = (size_t)(key - data);
            }
            p = nc_skip_white(p, end);
            if (p == end) return 0;
            if (*p == '}') {
                p++;
                break;
            }
            if (*p != ',') return 0;
            p = nc_skip_white(p + 1, end);
        }
    }
    return nc_skip_white(p, end) == end;
}

#endif /* NC_HAVE_SSE2 */

/* The best version that this build and this processor have. */
static inline nc_version nc_best_version(void)
{
#if defined(NC_HAVE_AVX2)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) return NC_AVX2;
#endif
#if defined(NC_HAVE_SSE2)
    return NC_SSE2;
#else
    return NC_PORTABLE;
#endif
}

/* Whether data is one JSON object; its head is read on the way, but not what is wrong. The version
 * must be one that this build and this processor have. */
static inline int nc_accept_document(const uint8_t *data, size_t size, nc_head *head, nc_version version)
{
#if defined(NC_HAVE_SSE2)
    if (version != NC_PORTABLE) {
        nc_clear(head);
#if defined(NC_HAVE_AVX2)
        if (version == NC_AVX2) return nc_utf8_avx2(data, size) && nc_quick_document(data, size, head);
#endif
        return nc_utf8_sse2(data, size) && nc_quick_document(data, size, head);
    }
#endif
    (void)version;
    return nc_scan_document(data, size, head);
}

/* Prove that data is one JSON object and read its head; returns whether it is, head->reason and
 * head->at tell why not. */
static inline int nc_prove_document(const uint8_t *data, size_t size, nc_head *head, nc_version version)
{
    if (NC_LIKELY(nc_accept_document(data, size, head, version))) return 1;
    return version != NC_PORTABLE && nc_scan_document(data, size, head);
}

#endif
