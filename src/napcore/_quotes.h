/* The first pass of peek: where the strings of a document begin and end. Python-free.
 *
 * Sixty-four bytes at a time, the places of all quotes that are not escaped go into a list; on the
 * way the bytes are proved to be UTF-8, escapes to be whole, and strings to be free of control
 * characters. Which quotes open and which close follows from their number alone, so this pass
 * knows no grammar: where a document goes wrong outside its strings the list is of no use, and the
 * second pass, which sees every byte there, refuses it.
 *
 * A NEON version needs nc_list_neon and what it takes from _utf8.h, nothing else.
 */
#ifndef NAPCORE_QUOTES_H
#define NAPCORE_QUOTES_H

#include "_string.h"
#include "_utf8.h"

#if defined(NC_HAVE_SSE2)

#ifndef NC_LISTED
#define NC_LISTED 1024 /* quotes that are listed at a time; a fuzzer wants fewer */
#endif

enum { NC_BLOCK = 64 };

typedef struct {
    const uint8_t *data;
    size_t size;
    size_t at;      /* of the next block */
    size_t escaped; /* what lies before is text or part of an escape */
    unsigned count; /* an even number of quotes has been taken off the list */
    int open;       /* whether the last block had anything but ASCII */
    int wrong;      /* whether a string is no string */
    int has_escapes;
    uint32_t quotes[NC_LISTED + NC_BLOCK];
} nc_quotes;

static inline void nc_start_quotes(nc_quotes *list, const uint8_t *data, size_t size)
{
    list->data = data;
    list->size = size;
    list->at = list->escaped = 0;
    list->count = 0;
    list->open = list->wrong = list->has_escapes = 0;
}

/* Whether the four bytes are hexadecimal digits. */
static inline int nc_four_hex(const uint8_t *p)
{
    return (nc_hex(p[0]) | nc_hex(p[1]) | nc_hex(p[2]) | nc_hex(p[3])) >= 0;
}

/* What may stand behind a backslash, but for u. */
static const uint8_t nc_escaped_by_one[256] = {
    ['"'] = 1, ['\\'] = 1, ['/'] = 1, ['b'] = 1, ['f'] = 1, ['n'] = 1, ['r'] = 1, ['t'] = 1,
};

/* The quotes of the block at list->at without those that are escaped. */
static inline uint64_t nc_drop_escaped(nc_quotes *list, uint64_t quotes, uint64_t backslashes)
{
    const uint8_t *const data = list->data + list->at;
    const size_t left = list->size - list->at;

    if (list->escaped > list->at) {
        const uint64_t rest = ~UINT64_C(0) << (list->escaped - list->at);

        quotes &= rest;
        backslashes &= rest;
    }
    if (backslashes) list->has_escapes = 1;
    while (backslashes) {
        const unsigned bit = nc_lowest_bit(backslashes);
        unsigned length = 2;

        if (!NC_LIKELY(left - bit >= 2 && nc_escaped_by_one[data[bit + 1]])) {
            length = 6;
            if (left - bit < 6 || data[bit + 1] != 'u' || !nc_four_hex(data + bit + 2)) {
                list->wrong = 1;
                return 0;
            }
        }
        if (!NC_LIKELY(bit + length <= NC_BLOCK)) {
            list->escaped = list->at + bit + length;
            return quotes & ((UINT64_C(1) << bit) - 1);
        }
        quotes &= ~(((UINT64_C(1) << length) - 1) << bit);
        backslashes &= ~(((UINT64_C(1) << length) - 1) << bit);
    }
    return quotes;
}

/* The bits between each odd one that is set and the next, it included. */
static inline uint64_t nc_between(uint64_t bits)
{
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    return bits ^ bits << 32;
}

/* What is rare in a block: escapes and control characters. Returns its quotes; `inside` tells
 * whether a string goes on where it begins. */
static NC_NOINLINE uint64_t nc_rare_block(
    nc_quotes *list, uint64_t quotes, uint64_t backslashes, uint64_t controls, unsigned inside)
{
    quotes = nc_drop_escaped(list, quotes, backslashes);
    if (controls & (nc_between(quotes) ^ (inside ? ~UINT64_C(0) : 0))) list->wrong = 1;
    return quotes;
}

/* A copy of the first block, or of the last of a short document, with zeros before and spaces behind it. */
static inline const uint8_t *nc_pad_block(const nc_quotes *list, size_t at, uint8_t space[NC_BLOCK + 3])
{
    const size_t left = list->size - at;
    const size_t before = at < 3 ? at : 3;

    memset(space, 0, 3);
    memcpy(space + 3 - before, list->data + at - before, before);
    memset(space + 3, ' ', NC_BLOCK);
    memcpy(space + 3, list->data + at, left < NC_BLOCK ? left : NC_BLOCK);
    return space + 3;
}

static inline uint64_t nc_bits_sse2(const __m128i found[4])
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(found[0]) | (uint64_t)(unsigned)_mm_movemask_epi8(found[1]) << 16
        | (uint64_t)(unsigned)_mm_movemask_epi8(found[2]) << 32
        | (uint64_t)(unsigned)_mm_movemask_epi8(found[3]) << 48;
}

/* List the quotes of blocks until the list is full or the document ends. */
static NC_NOINLINE void nc_list_sse2(nc_quotes *list)
{
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1F);
    const uint8_t *const data = list->data;
    const size_t size = list->size;
    __m128i wrong = _mm_setzero_si128();
    uint32_t *out = list->quotes + list->count, *const full = list->quotes + NC_LISTED;
    uint8_t space[NC_BLOCK + 3];
    size_t at = list->at, escaped = list->escaped;
    unsigned part;
    int open = list->open;

    for (; at < size && out <= full; at += NC_BLOCK) {
        const uint8_t *p = data + at;
        __m128i text[4], quotes[4], rare[4], any;
        uint64_t bits;
        unsigned skip = 0;
        int was_open = open;

        if (!NC_LIKELY(size - at >= NC_BLOCK)) {
            if (size < NC_BLOCK + 3) {
                p = nc_pad_block(list, at, space);
            } else { /* the last full block once more, without what has been seen */
                p = data + size - NC_BLOCK;
                skip = (unsigned)(NC_BLOCK - (size - at));
            }
        }
        for (part = 0; part < 4; part++) {
            text[part] = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * part));
            quotes[part] = _mm_cmpeq_epi8(text[part], quote);
            rare[part] = _mm_or_si128(
                _mm_cmpeq_epi8(text[part], backslash), _mm_cmpeq_epi8(_mm_min_epu8(text[part], control), text[part]));
        }
        any = _mm_or_si128(_mm_or_si128(text[0], text[1]), _mm_or_si128(text[2], text[3]));
        open = _mm_movemask_epi8(any);
        if (open | was_open) {
            if (at == 0) p = nc_pad_block(list, at, space); /* for the bytes before it */
            for (part = 0; part < 4; part++) wrong = _mm_or_si128(wrong, nc_utf8_wrong_sse2(p + 16 * part));
        }
        bits = nc_bits_sse2(quotes) >> skip;
        any = _mm_or_si128(_mm_or_si128(rare[0], rare[1]), _mm_or_si128(rare[2], rare[3]));
        if (!NC_LIKELY(_mm_movemask_epi8(any) == 0 && escaped <= at)) {
            __m128i slashes[4], controls[4];

            for (part = 0; part < 4; part++) {
                slashes[part] = _mm_cmpeq_epi8(text[part], backslash);
                controls[part] = _mm_cmpeq_epi8(_mm_min_epu8(text[part], control), text[part]);
            }
            list->at = at;
            bits = nc_rare_block(
                list, bits, nc_bits_sse2(slashes) >> skip, nc_bits_sse2(controls) >> skip, (unsigned)(out - list->quotes) & 1);
            escaped = list->escaped;
        }
        for (; bits; bits &= bits - 1) *out++ = (uint32_t)at + nc_lowest_bit(bits);
    }
    list->at = at;
    list->open = open;
    list->count = (unsigned)(out - list->quotes);
    if (_mm_movemask_epi8(_mm_cmpeq_epi8(wrong, _mm_setzero_si128())) != 0xFFFF) list->wrong = 1;
}

#endif /* NC_HAVE_SSE2 */

#if defined(NC_HAVE_AVX2)

__attribute__((target("avx2"))) static inline uint64_t nc_bits_avx2(__m256i low, __m256i high)
{
    return (uint64_t)(unsigned)_mm256_movemask_epi8(low) | (uint64_t)(unsigned)_mm256_movemask_epi8(high) << 32;
}

/* The same, thirty-two bytes at a time. */
__attribute__((target("avx2,bmi,popcnt"))) static NC_NOINLINE void nc_list_avx2(nc_quotes *list)
{
    const __m256i quote = _mm256_set1_epi8('"'), backslash = _mm256_set1_epi8('\\');
    const __m256i control = _mm256_set1_epi8(0x1F);
    const uint8_t *const data = list->data;
    const size_t size = list->size;
    __m256i wrong = _mm256_setzero_si256();
    uint32_t *out = list->quotes + list->count, *const full = list->quotes + NC_LISTED;
    uint8_t space[NC_BLOCK + 3];
    size_t at = list->at, escaped = list->escaped;
    int open = list->open;

    for (; at < size && out <= full; at += NC_BLOCK) {
        const uint8_t *p = data + at;
        __m256i low, high, rare_low, rare_high;
        uint64_t bits;
        unsigned count, done, skip = 0;
        int was_open = open;

        if (!NC_LIKELY(size - at >= NC_BLOCK)) {
            if (size < NC_BLOCK + 3) {
                p = nc_pad_block(list, at, space);
            } else { /* the last full block once more, without what has been seen */
                p = data + size - NC_BLOCK;
                skip = (unsigned)(NC_BLOCK - (size - at));
            }
        }
        low = _mm256_loadu_si256((const __m256i *)(const void *)p);
        high = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
        open = _mm256_movemask_epi8(_mm256_or_si256(low, high));
        if (open | was_open) {
            if (at == 0) p = nc_pad_block(list, at, space); /* for the bytes before it */
            wrong = _mm256_or_si256(wrong, _mm256_or_si256(nc_utf8_wrong_avx2(p), nc_utf8_wrong_avx2(p + 32)));
        }
        bits = nc_bits_avx2(_mm256_cmpeq_epi8(low, quote), _mm256_cmpeq_epi8(high, quote)) >> skip;
        rare_low = _mm256_or_si256(
            _mm256_cmpeq_epi8(low, backslash), _mm256_cmpeq_epi8(_mm256_min_epu8(low, control), low));
        rare_high = _mm256_or_si256(
            _mm256_cmpeq_epi8(high, backslash), _mm256_cmpeq_epi8(_mm256_min_epu8(high, control), high));
        rare_low = _mm256_or_si256(rare_low, rare_high);
        if (!NC_LIKELY(_mm256_testz_si256(rare_low, rare_low) && escaped <= at)) {
            list->at = at;
            bits = nc_rare_block(
                list, bits,
                nc_bits_avx2(_mm256_cmpeq_epi8(low, backslash), _mm256_cmpeq_epi8(high, backslash)) >> skip,
                nc_bits_avx2(_mm256_cmpeq_epi8(_mm256_min_epu8(low, control), low),
                             _mm256_cmpeq_epi8(_mm256_min_epu8(high, control), high)) >> skip,
                (unsigned)(out - list->quotes) & 1);
            escaped = list->escaped;
        }
        count = (unsigned)__builtin_popcountll(bits);
        /* Eight at a time, whether there are as many or not: a loop that ends anywhere costs more. */
        for (done = 0; done < count; done += 8) {
            unsigned step;

            for (step = 0; step < 8; step++) {
                out[done + step] = (uint32_t)at + (uint32_t)_tzcnt_u64(bits);
                bits &= bits - 1;
            }
        }
        out += count;
    }
    list->at = at;
    list->open = open;
    list->count = (unsigned)(out - list->quotes);
    if (!_mm256_testz_si256(wrong, wrong)) list->wrong = 1;
}

#endif /* NC_HAVE_AVX2 */

#endif
