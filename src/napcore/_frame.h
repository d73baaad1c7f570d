/* WebSocket frames: heads and masking (RFC 6455, 5.2 and 5.3). Python-free. */
#ifndef NAPCORE_FRAME_H
#define NAPCORE_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#include <immintrin.h>
#endif

/* How many bytes the head of a frame with a payload of this size has, without a masking key. */
static inline size_t nc_frame_head_size(uint64_t size) { return size < 126 ? 2 : size < 65536 ? 4 : 10; }

/* Write the head of a final frame to out; returns its size. mask_bit is 0 or 0x80. */
static inline size_t nc_frame_head(uint8_t *out, unsigned opcode, uint64_t size, unsigned mask_bit)
{
    int at;

    out[0] = (uint8_t)(0x80 | opcode);
    if (size < 126) {
        out[1] = (uint8_t)(mask_bit | size);
        return 2;
    }
    if (size < 65536) {
        out[1] = (uint8_t)(mask_bit | 126);
        out[2] = (uint8_t)(size >> 8);
        out[3] = (uint8_t)size;
        return 4;
    }
    out[1] = (uint8_t)(mask_bit | 127);
    for (at = 0; at < 8; at++) out[2 + at] = (uint8_t)(size >> (56 - 8 * at));
    return 10;
}

/* Copy size bytes while masking them with the 4 bytes at key; unmasking is the same. */
static inline void nc_mask(uint8_t *out, const uint8_t *data, size_t size, const uint8_t *key)
{
    uint32_t half;
    uint64_t mask;
    size_t at = 0;

    memcpy(&half, key, 4);
    mask = (uint64_t)half << 32 | half; /* alike in either byte order */
    for (; size - at >= 8; at += 8) {
        uint64_t word;

        memcpy(&word, data + at, 8);
        word ^= mask;
        memcpy(out + at, &word, 8);
    }
    for (; at < size; at++) out[at] = data[at] ^ key[at % 4];
}

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
/* As many bytes as fill vectors; returns how many. */
__attribute__((target("avx2"))) static inline size_t nc_mask_avx2(
    uint8_t *out, const uint8_t *data, size_t size, const uint8_t *key)
{
    uint32_t word;
    __m256i mask;
    size_t at;

    memcpy(&word, key, 4);
    mask = _mm256_set1_epi32((int)word);
    for (at = 0; size - at >= 32; at += 32) {
        const __m256i piece = _mm256_loadu_si256((const __m256i *)(const void *)(data + at));

        _mm256_storeu_si256((__m256i *)(void *)(out + at), _mm256_xor_si256(piece, mask));
    }
    return at;
}
#endif

/* nc_mask with AVX2 where simd is 2; out may be data. */
static inline void nc_mask_wide(uint8_t *out, const uint8_t *data, size_t size, const uint8_t *key, int simd)
{
    size_t at = 0;

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
    if (simd == 2 && size >= 32) at = nc_mask_avx2(out, data, size, key);
#endif
    (void)simd;
    nc_mask(out + at, data + at, size - at, key);
}

#endif
