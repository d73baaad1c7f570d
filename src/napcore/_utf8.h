/* Whether a block of bytes is UTF-8 (Unicode 15, table 3-7: no surrogates, nothing beyond U+10FFFF,
 * shortest forms only). Python-free; the result is zero where all is well, the scalar machine of
 * _string.h finds the place.
 *
 * Two versions, for _quotes.h to choose from: SSE2 and AVX2. Each looks at one vector and at the
 * three before it, byte by byte; a sequence that the vector leaves open is judged with the next.
 */
#ifndef NAPCORE_UTF8_H
#define NAPCORE_UTF8_H

#include "_string.h"

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define NC_HAVE_AVX2 1
#include <immintrin.h>
#endif

#if defined(__SSE2__) || defined(_M_X64)
#define NC_HAVE_SSE2 1
#include <emmintrin.h>

/* Not zero where the vector at p is wrong, given the three bytes before it. */
static inline __m128i nc_utf8_wrong_sse2(const uint8_t *p)
{
    const __m128i input = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i one = _mm_loadu_si128((const __m128i *)(const void *)(p - 1)); /* each byte's predecessor */
    const __m128i two = _mm_loadu_si128((const __m128i *)(const void *)(p - 2));
    const __m128i three = _mm_loadu_si128((const __m128i *)(const void *)(p - 3));
    const __m128i wanted = _mm_or_si128(
        _mm_or_si128(_mm_subs_epu8(one, _mm_set1_epi8((char)0xBF)), _mm_subs_epu8(two, _mm_set1_epi8((char)0xDF))),
        _mm_subs_epu8(three, _mm_set1_epi8((char)0xEF)));
    const __m128i unwanted = _mm_cmpeq_epi8(wanted, _mm_setzero_si128());
    const __m128i rest = _mm_cmplt_epi8(input, _mm_set1_epi8((char)0xC0)); /* signed: 80..BF */
    /* A continuation stands exactly where one is wanted. */
    __m128i wrong = _mm_cmpeq_epi8(unwanted, rest);
    /* No sequence starts so: C0, C1, F5.. */
    wrong = _mm_or_si128(wrong, _mm_subs_epu8(input, _mm_set1_epi8((char)0xF4)));
    wrong = _mm_or_si128(
        wrong, _mm_cmpeq_epi8(_mm_and_si128(input, _mm_set1_epi8((char)0xFE)), _mm_set1_epi8((char)0xC0)));
    /* Second bytes with a narrower range: E0 A0.., ED ..9F, F0 90.., F4 ..8F. */
    wrong = _mm_or_si128(wrong, _mm_and_si128(_mm_cmpeq_epi8(one, _mm_set1_epi8((char)0xE0)),
                                              _mm_cmplt_epi8(input, _mm_set1_epi8((char)0xA0))));
    wrong = _mm_or_si128(wrong, _mm_and_si128(_mm_cmpeq_epi8(one, _mm_set1_epi8((char)0xED)),
                                              _mm_cmpgt_epi8(input, _mm_set1_epi8((char)0x9F))));
    wrong = _mm_or_si128(wrong, _mm_and_si128(_mm_cmpeq_epi8(one, _mm_set1_epi8((char)0xF0)),
                                              _mm_cmplt_epi8(input, _mm_set1_epi8((char)0x90))));
    return _mm_or_si128(wrong, _mm_and_si128(_mm_cmpeq_epi8(one, _mm_set1_epi8((char)0xF4)),
                                             _mm_cmpgt_epi8(input, _mm_set1_epi8((char)0x8F))));
}
#endif

#ifdef NC_HAVE_AVX2
/* Three table look-ups per byte pair tell which mistakes the pair may be part of; where all three
 * agree there is one (the method is Keiser and Lemire's, "Validating UTF-8 in less than one
 * instruction per byte", 2021). */
enum {
    NC_TOO_SHORT = 1,      /* a lead byte that is not followed by a continuation */
    NC_TOO_LONG = 2,       /* ASCII followed by a continuation */
    NC_OVERLONG_3 = 4,     /* E0 80..9F */
    NC_TOO_LARGE = 8,      /* F4 90.., F5.. */
    NC_SURROGATE = 16,     /* ED A0.. */
    NC_OVERLONG_2 = 32,    /* C0, C1 */
    NC_OVERLONG_4 = 64,    /* F0 80..8F; with F5.. 80..8F */
    NC_TWO_CONTS = 128,    /* two continuations in a row: right only behind a longer lead */
    NC_CARRY = NC_TOO_SHORT | NC_TOO_LONG | NC_TWO_CONTS
};

#define NC_TWICE(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
    _mm256_setr_epi8((char)(a), (char)(b), (char)(c), (char)(d), (char)(e), (char)(f), (char)(g), (char)(h), \
                     (char)(i), (char)(j), (char)(k), (char)(l), (char)(m), (char)(n), (char)(o), (char)(p), \
                     (char)(a), (char)(b), (char)(c), (char)(d), (char)(e), (char)(f), (char)(g), (char)(h), \
                     (char)(i), (char)(j), (char)(k), (char)(l), (char)(m), (char)(n), (char)(o), (char)(p))

/* Not zero where the vector at p is wrong, given the three bytes before it. */
__attribute__((target("avx2"))) static inline __m256i nc_utf8_wrong_avx2(const uint8_t *p)
{
    const __m256i input = _mm256_loadu_si256((const __m256i *)(const void *)p);
    const __m256i one = _mm256_loadu_si256((const __m256i *)(const void *)(p - 1)); /* each byte's predecessor */
    const __m256i two = _mm256_loadu_si256((const __m256i *)(const void *)(p - 2));
    const __m256i three = _mm256_loadu_si256((const __m256i *)(const void *)(p - 3));
    const __m256i low = _mm256_set1_epi8(0x0F);
    const __m256i of_first_high = NC_TWICE(
        NC_TOO_LONG, NC_TOO_LONG, NC_TOO_LONG, NC_TOO_LONG, NC_TOO_LONG, NC_TOO_LONG, NC_TOO_LONG, NC_TOO_LONG,
        NC_TWO_CONTS, NC_TWO_CONTS, NC_TWO_CONTS, NC_TWO_CONTS, NC_TOO_SHORT | NC_OVERLONG_2, NC_TOO_SHORT,
        NC_TOO_SHORT | NC_OVERLONG_3 | NC_SURROGATE, NC_TOO_SHORT | NC_TOO_LARGE | NC_OVERLONG_4);
    const __m256i of_first_low = NC_TWICE(
        NC_CARRY | NC_OVERLONG_3 | NC_OVERLONG_2 | NC_OVERLONG_4, NC_CARRY | NC_OVERLONG_2, NC_CARRY, NC_CARRY,
        NC_CARRY | NC_TOO_LARGE, NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4, NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4,
        NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4, NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4,
        NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4, NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4,
        NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4, NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4,
        NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4 | NC_SURROGATE, NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4,
        NC_CARRY | NC_TOO_LARGE | NC_OVERLONG_4);
    const __m256i of_second_high = NC_TWICE(
        NC_TOO_SHORT, NC_TOO_SHORT, NC_TOO_SHORT, NC_TOO_SHORT, NC_TOO_SHORT, NC_TOO_SHORT, NC_TOO_SHORT, NC_TOO_SHORT,
        NC_TOO_LONG | NC_OVERLONG_2 | NC_TWO_CONTS | NC_OVERLONG_3 | NC_OVERLONG_4,
        NC_TOO_LONG | NC_OVERLONG_2 | NC_TWO_CONTS | NC_OVERLONG_3 | NC_TOO_LARGE,
        NC_TOO_LONG | NC_OVERLONG_2 | NC_TWO_CONTS | NC_SURROGATE | NC_TOO_LARGE,
        NC_TOO_LONG | NC_OVERLONG_2 | NC_TWO_CONTS | NC_SURROGATE | NC_TOO_LARGE,
        NC_TOO_SHORT, NC_TOO_SHORT, NC_TOO_SHORT, NC_TOO_SHORT);
    const __m256i pair = _mm256_and_si256(
        _mm256_and_si256(
            _mm256_shuffle_epi8(of_first_high, _mm256_and_si256(_mm256_srli_epi16(one, 4), low)),
            _mm256_shuffle_epi8(of_first_low, _mm256_and_si256(one, low))),
        _mm256_shuffle_epi8(of_second_high, _mm256_and_si256(_mm256_srli_epi16(input, 4), low)));
    /* Bit 7 where a second or third continuation has to stand: two behind E0.., three behind F0... */
    const __m256i behind = _mm256_or_si256(
        _mm256_subs_epu8(two, _mm256_set1_epi8((char)(0xE0 - 0x80))),
        _mm256_subs_epu8(three, _mm256_set1_epi8((char)(0xF0 - 0x80))));
    return _mm256_xor_si256(_mm256_and_si256(behind, _mm256_set1_epi8((char)0x80)), pair);
}
#endif

#endif
