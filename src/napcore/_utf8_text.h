/* Whether text is UTF-8, in pieces as they come. Python-free. What is said about single bytes here
 * is Unicode 15, table 3-7, as in _utf8.h, whose vectors do the work.
 */
#ifndef NAPCORE_UTF8_TEXT_H
#define NAPCORE_UTF8_TEXT_H

#include "_utf8.h"

/* How many bytes at the end begin a character and do not end it, by their first one. */
static inline size_t nc_utf8_open(const uint8_t *data, size_t size)
{
    size_t back;

    for (back = 1; back <= 3 && back <= size; back++) {
        const uint8_t byte = data[size - back];

        if (byte < 0x80) return 0;
        if (byte >= 0xC0) return back < (size_t)(byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2) ? back : 0;
    }
    return 0;
}

/* Whether these bytes, found by nc_utf8_open, can become a character. */
static inline int nc_utf8_may_begin(const uint8_t *data, size_t size)
{
    const uint8_t lead = data[0];

    if (lead < 0xC2 || lead > 0xF4) return 0;
    if (size == 1) return 1;
    if (lead == 0xE0) return data[1] >= 0xA0;
    if (lead == 0xED) return data[1] <= 0x9F;
    if (lead == 0xF0) return data[1] >= 0x90;
    if (lead == 0xF4) return data[1] <= 0x8F;
    return 1;
}

static inline int nc_is_utf8_scalar(const uint8_t *data, size_t size)
{
    const uint8_t *const end = data + size;
    nc_scan scan = {end, data, NC_ACCEPTED};

    while (data < end) {
        uint64_t word;

        if (end - data >= 8) {
            memcpy(&word, data, 8);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                data += 8;
                continue;
            }
        }
        if (*data < 0x80) {
            data++;
            continue;
        }
        data = nc_skip_utf8(data, end, &scan);
        if (data == NULL) return 0;
    }
    return 1;
}

#if defined(NC_HAVE_SSE2)
/* At most 32 bytes. Zeros around them: nothing is open before, nothing may be behind. */
static inline int nc_is_utf8_short(const uint8_t *data, size_t size)
{
    uint8_t space[3 + 32] = {0};
    __m128i wrong;

    memcpy(space + 3, data, size);
    wrong = nc_utf8_wrong_sse2(space + 3);
    if (size > 16) wrong = _mm_or_si128(wrong, nc_utf8_wrong_sse2(space + 19));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(wrong, _mm_setzero_si128())) == 0xFFFF;
}

/* More than 32 bytes: the first ones apart, the last ones perhaps twice. */
static inline int nc_is_utf8_sse2(const uint8_t *data, size_t size)
{
    __m128i wrong = _mm_setzero_si128();
    uint8_t space[3 + 16] = {0};
    size_t at;
    int was_open;

    memcpy(space + 3, data, 16);
    was_open = _mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)data));
    if (was_open) wrong = nc_utf8_wrong_sse2(space + 3);
    for (at = 16; at < size; at += 16) {
        const uint8_t *const p = data + (size - at < 16 ? size - 16 : at);
        const int open = _mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)p));

        if (open | was_open) wrong = _mm_or_si128(wrong, nc_utf8_wrong_sse2(p));
        was_open = open;
    }
    return _mm_movemask_epi8(_mm_cmpeq_epi8(wrong, _mm_setzero_si128())) == 0xFFFF;
}
#endif

#if defined(NC_HAVE_AVX2)
/* The same, thirty-two at a time: 35 bytes or more, since the last ones are looked at with three before them. */
__attribute__((target("avx2"))) static inline int nc_is_utf8_avx2(const uint8_t *data, size_t size)
{
    __m256i wrong = _mm256_setzero_si256();
    uint8_t space[3 + 32] = {0};
    size_t at;
    int was_open;

    memcpy(space + 3, data, 32);
    was_open = _mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(const void *)data));
    if (was_open) wrong = nc_utf8_wrong_avx2(space + 3);
    for (at = 32; at < size; at += 32) {
        const uint8_t *const p = data + (size - at < 32 ? size - 32 : at);
        const int open = _mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(const void *)p));

        if (open | was_open) wrong = _mm256_or_si256(wrong, nc_utf8_wrong_avx2(p));
        was_open = open;
    }
    return _mm256_testz_si256(wrong, wrong);
}
#endif

/* Whether text that ends where a character does is UTF-8; `simd` is 0 for none, 1 SSE2, 2 AVX2. */
static inline int nc_is_utf8(const uint8_t *data, size_t size, int simd)
{
#if defined(NC_HAVE_SSE2)
    if (simd && size <= 32) return nc_is_utf8_short(data, size);
#if defined(NC_HAVE_AVX2)
    if (simd == 2 && size >= 32 + 3) return nc_is_utf8_avx2(data, size);
#endif
    if (simd) return nc_is_utf8_sse2(data, size);
#endif
    (void)simd;
    return nc_is_utf8_scalar(data, size);
}

#endif
