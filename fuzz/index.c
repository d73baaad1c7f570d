/* The inverted index against a naive table. The input is a program: an operation, a number and a
 * row, three bytes each. Memory fails on request. */
#include "harness.h"

static int allocations_to_fail;

static void *unreliable_calloc(size_t count, size_t size)
{
    if (allocations_to_fail) {
        allocations_to_fail--;
        return NULL;
    }
    return calloc(count, size);
}

#define calloc unreliable_calloc
#include "_index.h"
#undef calloc

enum { NUMBERS = 64, MOST_WORDS = 6 };

typedef struct {
    uint64_t bits[NUMBERS][MOST_WORDS];
    size_t words;
} naive_table;

static int64_t number[NUMBERS];

/* Numbers that belong in few places of the table, at its end too, and some plain ones. */
static void choose_numbers(void)
{
    static const uint64_t homes[8] = {0, 1, 14, 15, 31, 62, 63, 127};
    static const int64_t plain[4] = {0, -1, INT64_MIN, INT64_MAX};
    const uint64_t factor = UINT64_C(0x9E3779B97F4A7C15); /* of nc_index_home */
    uint64_t inverse = factor, choice;
    int step;

    for (step = 0; step < 6; step++) inverse *= 2 - factor * inverse;
    for (choice = 0; choice < NUMBERS; choice++) {
        if (choice < 4) number[choice] = plain[choice];
        else if (choice < 48) number[choice] = (int64_t)((homes[choice % 8] << 32 | choice) * inverse);
        else number[choice] = 100000 + (int64_t)choice;
    }
}

static int is_listed(const naive_table *naive, size_t choice)
{
    size_t word;

    for (word = 0; word < naive->words; word++) {
        if (naive->bits[choice][word]) return 1;
    }
    return 0;
}

static void check_number(const nc_index *index, const naive_table *naive, size_t choice)
{
    const uint64_t *const found = nc_index_find(index, number[choice]);

    REQUIRE((found != NULL) == is_listed(naive, choice));
    if (found) REQUIRE(memcmp(found, naive->bits[choice], naive->words * sizeof *found) == 0);
}

static void check_all(const nc_index *index, const naive_table *naive)
{
    size_t choice, listed = 0, place, length = 0;

    for (choice = 0; choice < NUMBERS; choice++) {
        check_number(index, naive, choice);
        listed += (size_t)is_listed(naive, choice);
    }
    REQUIRE(index->used == listed);
    REQUIRE(index->used * 2 <= index->capacity || index->capacity == 0);
    for (place = index->free_place; place; place = (size_t)*nc_index_bits(index, place)) {
        REQUIRE(place <= index->places && ++length <= index->places);
    }
    REQUIRE(length + index->used == index->places);
}

static void check_matching(const uint8_t *input, size_t size)
{
    uint64_t word[10][2];
    const nc_rule rules[3] = {{word[1], word[2], word[3]}, {word[4], word[5], word[6]}, {word[7], word[8], word[9]}};
    uint64_t found[2];
    unsigned row, rule;

    if (size < sizeof word) return;
    memcpy(word, input, sizeof word);
    memcpy(found, word[0], sizeof found);
    nc_apply(found, 2, rules[0], rules[1], rules[2]);
    for (row = 0; row < 128; row++) {
        const uint64_t bit = UINT64_C(1) << row % 64;
        int passes = (word[0][row / 64] & bit) != 0;

        for (rule = 0; rule < 3; rule++) {
            const int allowed = (rules[rule].open[row / 64] & bit) || (rules[rule].listed[row / 64] & bit);

            passes = passes && allowed && !(rules[rule].excluded[row / 64] & bit);
        }
        REQUIRE(((found[row / 64] & bit) != 0) == passes);
    }
    if (found[0]) {
        for (row = 0; !(found[0] >> row & 1); row++) continue;
        REQUIRE(nc_lowest_bit(found[0]) == row);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    nc_index index = {0};
    naive_table naive = {.words = 1};
    size_t at;

    if (number[1] == 0) choose_numbers();
    check_matching(input, size);
    allocations_to_fail = 0;
    REQUIRE(nc_index_widen(&index, naive.words));
    for (at = 0; at + 3 <= size; at += 3) {
        const uint8_t operation = input[at] & 31, choice = input[at + 1] % NUMBERS;
        const size_t row = input[at + 2] % (naive.words * 64);

        if (operation < 14) {
            if (nc_index_set(&index, number[choice], row)) {
                naive.bits[choice][row / 64] |= UINT64_C(1) << row % 64;
            } else {
                check_all(&index, &naive);
            }
        } else if (operation < 28) {
            nc_index_clear(&index, number[choice], row);
            naive.bits[choice][row / 64] &= ~(UINT64_C(1) << row % 64);
        } else if (operation == 28) {
            if (naive.words < MOST_WORDS && nc_index_widen(&index, naive.words + 1)) naive.words++;
            check_all(&index, &naive);
        } else if (operation == 29) {
            allocations_to_fail = choice % 3;
        } else if (operation == 30) {
            check_all(&index, &naive);
        } else if (input[at + 2] == 0) {
            nc_index_free(&index);
            memset(&naive, 0, sizeof naive);
            naive.words = 1;
            allocations_to_fail = 0;
            REQUIRE(nc_index_widen(&index, naive.words));
        }
        check_number(&index, &naive, choice);
    }
    check_all(&index, &naive);
    nc_index_free(&index);
    return 0;
}
