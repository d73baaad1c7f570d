/* Short texts as four words, for tables of those that come again. Python-free. */
#ifndef NAPCORE_SHORT_H
#define NAPCORE_SHORT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint64_t word[4]; /* zeros behind the text */
} nc_short;

/* Take in a text of at most 32 bytes; `limit` bytes from p on may be read. */
static inline void nc_short_read(nc_short *text, const uint8_t *p, size_t size, size_t limit)
{
    memset(text, 0, sizeof *text);
    if (size <= 16 && limit >= 16) {
        /* Two loads and a mask instead of a copy whose length nobody foresees. */
        const uint64_t low = size >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << 8 * size) - 1;
        const uint64_t high = size >= 16 ? ~UINT64_C(0) : size > 8 ? (UINT64_C(1) << 8 * (size - 8)) - 1 : 0;

        memcpy(text->word, p, 16);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        memset(text, 0, sizeof *text);
        memcpy(text->word, p, size);
        (void)low;
        (void)high;
#else
        text->word[0] &= low;
        text->word[1] &= high;
#endif
        return;
    }
    memcpy(text->word, p, size);
}

static inline int nc_short_same(const nc_short *a, const nc_short *b)
{
    return ((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2])
            | (a->word[3] ^ b->word[3])) == 0;
}

/* A place among 256. */
static inline unsigned nc_short_hash(const nc_short *text, size_t size, unsigned family)
{
    const uint64_t mixed = text->word[0] ^ text->word[1] << 1 ^ text->word[2] << 2 ^ text->word[3] << 3;

    return (unsigned)((mixed ^ (uint64_t)size << 56 ^ family) * UINT64_C(0x9E3779B97F4A7C15) >> 56);
}

#endif
