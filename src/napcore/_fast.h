/* The fast path of peek: proves a document in two passes and only says yes or no. Python-free.
 *
 * The first pass lists the quotes (_quotes.h). The second walks the grammar and takes the ends of
 * strings from the list, so that no step waits for the search of the one before. What is refused
 * here goes to the scalar machine of _json.h, which finds out where and why; where there is no SIMD
 * it does everything.
 */
#ifndef NAPCORE_FAST_H
#define NAPCORE_FAST_H

#include "_json.h"
#include "_quotes.h"

typedef enum {
    NC_PORTABLE, /* the scalar machine alone */
    NC_SSE2,
    NC_AVX2 /* AVX2 in the first pass; with BMI1 and POPCNT, which every such processor has */
} nc_version;

#if defined(NC_HAVE_SSE2)

/* Where the second pass is. The document ends at `last`, a brace: no other byte that the grammar
 * takes can be there, so that whatever follows such a byte may be read. */
typedef struct {
    const uint32_t *next; /* the quote that comes next */
    const uint32_t *listed;
    const uint8_t *last;
    nc_quotes list;
    nc_version version;
} nc_walk;

static inline void nc_list_quotes(nc_walk *walk)
{
#if defined(NC_HAVE_AVX2)
    if (walk->version == NC_AVX2) nc_list_avx2(&walk->list);
    else
#endif
        nc_list_sse2(&walk->list);
    walk->next = walk->list.quotes;
    walk->listed = walk->list.quotes + walk->list.count;
}

/* Whether there is another pair of quotes in the document; then it is listed. */
static NC_NOINLINE int nc_list_more(nc_walk *walk)
{
    while (walk->listed - walk->next < 2) {
        nc_quotes *const list = &walk->list;

        if (list->at >= list->size) return 0;
        list->count = (unsigned)(walk->listed - walk->next);
        if (list->count) list->quotes[0] = *walk->next;
        nc_list_quotes(walk);
        if (list->wrong) return 0;
    }
    return 1;
}

/* The closing quote of the string that opens here; NULL if there is none. */
static inline const uint8_t *nc_close_quote(nc_walk *walk)
{
    if (!NC_LIKELY(walk->listed - walk->next >= 2) && !nc_list_more(walk)) return NULL;
    walk->next += 2;
    return walk->list.data + walk->next[-1];
}

/* In what follows p stays at or before `last`, but where an object closes. */

static inline const uint8_t *nc_quick_white(const uint8_t *p)
{
    while (*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

static inline const uint8_t *nc_quick_digits(const uint8_t *p)
{
    while (nc_is_digit(*p)) p++;
    return p;
}

/* Behind the number at p, of any form. */
static NC_NOINLINE const uint8_t *nc_any_number(const uint8_t *p)
{
    const uint8_t *digits;

    if (*p == '-') p++;
    if (*p == '0') {
        p++;
    } else {
        digits = p;
        p = nc_quick_digits(p);
        if (p == digits) return NULL;
    }
    if (*p == '.') {
        digits = ++p;
        p = nc_quick_digits(p);
        if (p == digits) return NULL;
    }
    if ((*p | 0x20) == 'e') {
        p++;
        if (*p == '+' || *p == '-') p++;
        digits = p;
        p = nc_quick_digits(p);
        if (p == digits) return NULL;
    }
    return p;
}

/* Behind the number at p. */
static inline const uint8_t *nc_quick_number(const uint8_t *p, const nc_walk *walk)
{
    if (NC_LIKELY(walk->last - p >= 16 && (uint8_t)(*p - '1') < 9)) {
        const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i value = _mm_sub_epi8(text, _mm_set1_epi8('0'));
        const __m128i digits = _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value);
        const unsigned others = (unsigned)_mm_movemask_epi8(digits) ^ 0xFFFF;

        if (NC_LIKELY(others)) {
            const uint8_t *const end = p + nc_lowest_bit(others);

            if (NC_LIKELY(*end != '.' && (*end | 0x20) != 'e')) return end;
        }
    }
    return nc_any_number(p);
}

/* Behind the number or literal at p. */
static inline const uint8_t *nc_quick_bare(const uint8_t *p, const nc_walk *walk)
{
    if (*p <= '9') return nc_quick_number(p, walk);
    if (walk->last - p < 5) {
        if (walk->last - p < 4) return NULL;
        if (*p == 'f') return NULL;
    }
    if (memcmp(p, "null", 4) == 0 || memcmp(p, "true", 4) == 0) return p + 4;
    return memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
}

/* The value behind the key whose closing quote is at p; NULL if no colon follows. */
static inline const uint8_t *nc_quick_colon(const uint8_t *p)
{
    p++;
    if (NC_LIKELY(*p == ':')) {
        p++;
    } else {
        p = nc_quick_white(p);
        if (*p++ != ':') return NULL;
    }
    return NC_LIKELY(*p > ' ') ? p : nc_quick_white(p);
}

/* Behind the array or object that opens at p, inside the outermost object. */
static NC_NOINLINE const uint8_t *nc_quick_nested(const uint8_t *p, nc_walk *walk)
{
    const uint8_t *const last = walk->last;
    uint64_t objects[NC_MAX_DEPTH / 64]; /* a bit per level, set for an object */
    uint64_t level = 0;                  /* those of the sixty-four levels that this one is in */
    unsigned depth = 1;

open:
    if (depth == NC_MAX_DEPTH) return NULL;
    if (depth % 64 == 0) {
        objects[depth / 64 - 1] = level;
        level = 0;
    }
    depth++;
    if (*p == '{') {
        level = level << 1 | 1;
        p++;
        if (*p <= ' ') p = nc_quick_white(p);
        if (*p == '}') goto close;
        goto key;
    }
    level <<= 1;
    p++;
    if (*p <= ' ') p = nc_quick_white(p);
    if (*p == ']') goto close;
    goto value;

key:
    if (*p != '"') return NULL;
    p = nc_close_quote(walk);
    if (p == NULL) return NULL;
    p = nc_quick_colon(p);
    if (p == NULL) return NULL;
value:
    if (*p == '"') {
        p = nc_close_quote(walk);
        if (p == NULL) return NULL;
        p++;
    } else if ((*p | 0x20) == '{') {
        goto open;
    } else {
        p = nc_quick_bare(p, walk);
        if (p == NULL) return NULL;
    }
after:
    if (*p <= ' ') p = nc_quick_white(p);
    if (*p == ',') {
        p++;
        if (*p <= ' ') p = nc_quick_white(p);
        if (level & 1) goto key;
        goto value;
    }
    if (*p != (level & 1 ? '}' : ']')) return NULL;

close:
    if (p == last) return NULL; /* it is the outermost object's */
    p++;
    depth--;
    if (depth == 1) return p;
    level >>= 1;
    if (depth % 64 == 0) level = objects[depth / 64 - 1];
    goto after;
}

/* The known keys, each at the place that its size and two of its letters give it. */
typedef struct {
    char text[16];
    unsigned size;
    nc_slot slot;
} nc_known_key;

static const nc_known_key nc_known_keys[32] = {
    {"meta_event_type", 15, NC_META_EVENT_TYPE},
    {"notice_type", 11, NC_NOTICE_TYPE},
    {"", 0, NC_OTHER},
    {"", 0, NC_OTHER},
    {"user_id", 7, NC_USER_ID},
    {"post_type", 9, NC_POST_TYPE},
    {"", 0, NC_OTHER},
    {"group_id", 8, NC_GROUP_ID},
    {"", 0, NC_OTHER},
    {"status", 6, NC_STATUS},
    {"request_type", 12, NC_REQUEST_TYPE},
    {"", 0, NC_OTHER},
    {"", 0, NC_OTHER},
    {"stream", 6, NC_STREAM},
    {"", 0, NC_OTHER},
    {"sub_type", 8, NC_SUB_TYPE},
    {"", 0, NC_OTHER},
    {"retcode", 7, NC_RETCODE},
    {"", 0, NC_OTHER},
    {"", 0, NC_OTHER},
    {"", 0, NC_OTHER},
    {"", 0, NC_OTHER},
    {"self_id", 7, NC_SELF_ID},
    {"message_id", 10, NC_MESSAGE_ID},
    {"", 0, NC_OTHER},
    {"message_type", 12, NC_MESSAGE_TYPE},
    {"", 0, NC_OTHER},
    {"action", 6, NC_ACTION},
    {"time", 4, NC_TIME},
    {"echo", 4, NC_ECHO},
    {"params", 6, NC_PARAMS},
    {"", 0, NC_OTHER},
};

/* The slot of the key between the quotes at key and key_end. */
static inline nc_slot nc_quick_slot(const uint8_t *key, const uint8_t *key_end, const nc_walk *walk)
{
    static const uint8_t ones[32] = {
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    const size_t size = (size_t)(key_end - key - 1);

    if (NC_LIKELY(walk->last - key > 16)) {
        const nc_known_key *const known = &nc_known_keys[(size + 5u * key[1] + 4u * key[3]) & 31];
        __m128i text, same;

        /* Where sizes differ the comparison means nothing. */
        text = _mm_loadu_si128((const __m128i *)(const void *)(key + 1));
        text = _mm_and_si128(text, _mm_loadu_si128((const __m128i *)(const void *)(ones + 16 - (size & 15))));
        same = _mm_cmpeq_epi8(text, _mm_loadu_si128((const __m128i *)(const void *)known->text));
        if ((_mm_movemask_epi8(same) == 0xFFFF) & (known->size == size)) return known->slot;
        if (NC_LIKELY(!walk->list.has_escapes || size < NC_SHORTEST_ESCAPED)) return NC_OTHER;
    }
    return nc_slot_of_text(key + 1, key_end, NULL);
}

/* Whether the bytes are one JSON object; its head is read on the way. */
static NC_NOINLINE int nc_quick_document(const uint8_t *data, size_t size, nc_head *head, nc_version version)
{
    nc_walk walk;
    nc_span others; /* of keys that are not looked for */
    const uint8_t *p = data, *last = data + size;

    if (size > UINT32_MAX) return 0; /* the list has no room for such places */
    do {
        if (last == data) return 0;
        last--;
    } while (*last <= ' ' && (*last == ' ' || *last == '\n' || *last == '\r' || *last == '\t'));
    if (*last != '}') return 0;
    p = nc_quick_white(p);
    if (*p != '{' || p == last) return 0;
    walk.last = last;
    walk.version = version;
    nc_start_quotes(&walk.list, data, size);
    nc_list_quotes(&walk);
    if (walk.list.wrong) return 0; /* a key must be proved before it is decoded */
    p = nc_quick_white(p + 1);
    if (*p == '}') return p == last && walk.list.at >= size;
    for (;;) {
        const uint8_t *const key = p, *key_end, *value;
        nc_slot slot;
        nc_span *span;

        if (*p != '"') return 0;
        key_end = nc_close_quote(&walk);
        if (key_end == NULL) return 0;
        value = p = nc_quick_colon(key_end);
        if (p == NULL) return 0;
        slot = nc_quick_slot(key, key_end, &walk);
        if (*p == '"') {
            p = nc_close_quote(&walk);
            if (p == NULL) return 0;
            p++;
        } else {
            p = (*p | 0x20) == '{' ? nc_quick_nested(p, &walk) : nc_quick_bare(p, &walk);
            if (p == NULL) return 0;
        }
        span = slot == NC_OTHER ? &others : &head->member[slot];
        span->start = (size_t)(value - data);
        span->end = (size_t)(p - data);
        if (slot == NC_ECHO) head->echo_key = (size_t)(key - data);
        if (*p <= ' ') p = nc_quick_white(p);
        if (*p == ',') {
            p++;
            if (*p <= ' ') p = nc_quick_white(p);
            continue;
        }
        /* Every block has been seen: quotes that are still to come would lie outside the document. */
        if (*p != '}' || p != last) return 0;
        while (walk.list.at < size && walk.next == walk.listed) {
            walk.list.count = 0;
            nc_list_quotes(&walk);
        }
        return !walk.list.wrong;
    }
}

#endif /* NC_HAVE_SSE2 */

/* The best version that this build and this processor have. */
static inline nc_version nc_best_version(void)
{
#if defined(NC_HAVE_AVX2)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt")) {
        return NC_AVX2;
    }
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
        return nc_quick_document(data, size, head, version);
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
