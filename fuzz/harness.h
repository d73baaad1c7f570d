/* What the C harnesses share: the check that ends a run, blocks without slack, and a driver for
 * compilers that have no libFuzzer (-DNC_FUZZ_FILES: every argument is a file to try). */
#ifndef NAPCORE_FUZZ_HARNESS_H
#define NAPCORE_FUZZ_HARNESS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* A copy that ends where its block ends, so that AddressSanitizer sees a read past it. */
static inline uint8_t *exact_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);

    if (copy == NULL && size) abort();
    if (size) memcpy(copy, data, size);
    return copy;
}

#ifdef NC_FUZZ_FILES
int main(int count, char **paths)
{
    int at;

    for (at = 1; at < count; at++) {
        FILE *file = fopen(paths[at], "rb");
        uint8_t *data;
        long size;

        if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
            perror(paths[at]);
            return 1;
        }
        rewind(file);
        data = malloc((size_t)size + 1);
        if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) {
            perror(paths[at]);
            return 1;
        }
        fclose(file);
        (void)LLVMFuzzerTestOneInput(data, (size_t)size);
        free(data);
    }
    printf("%d files\n", count - 1);
    return 0;
}
#endif

#endif
