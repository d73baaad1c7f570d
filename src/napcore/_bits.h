/* What C lacks for single bits. Python-free. */
#ifndef NAPCORE_BITS_H
#define NAPCORE_BITS_H

#include <stdint.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

/* Number of the lowest bit that is set; there is one. */
static inline unsigned nc_lowest_bit(uint64_t bits)
{
#if defined(_MSC_VER) && !defined(__clang__)
    unsigned long bit;
    _BitScanForward64(&bit, bits);
    return (unsigned)bit;
#else
    return (unsigned)__builtin_ctzll(bits);
#endif
}

#endif
