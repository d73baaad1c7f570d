/* An inverted index: from a 64-bit number to the set of rows that list it. Python-free.
 *
 * Open addressing with linear probing, at most half full, holds for each number the place of its
 * bitset in one slab; a bitset has one bit per row. A number that no row lists any more leaves
 * the table.
 */
#ifndef NAPCORE_INDEX_H
#define NAPCORE_INDEX_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_bits.h"

typedef struct {
    int64_t number;
    size_t place; /* of its bitset, counted from 1; 0: the entry is free */
} nc_index_entry;

typedef struct {
    nc_index_entry *entries;
    size_t capacity; /* a power of two, or 0 */
    size_t used;
    uint64_t *slab;
    size_t places;     /* how many bitsets the slab has room for */
    size_t free_place; /* head of the list of free ones, linked through their first words; 0: none */
    size_t words;      /* per bitset */
} nc_index;

static inline size_t nc_index_home(const nc_index *index, int64_t number)
{
    return (size_t)(((uint64_t)number * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (index->capacity - 1);
}

/* The entry of the number, or the free one where it belongs. */
static inline nc_index_entry *nc_index_probe(const nc_index *index, int64_t number)
{
    size_t at = nc_index_home(index, number);

    while (index->entries[at].place && index->entries[at].number != number) at = (at + 1) & (index->capacity - 1);
    return &index->entries[at];
}

static inline uint64_t *nc_index_bits(const nc_index *index, size_t place)
{
    return index->slab + (place - 1) * index->words;
}

/* The rows that list the number, or NULL for none. */
static inline const uint64_t *nc_index_find(const nc_index *index, int64_t number)
{
    const nc_index_entry *entry;

    if (index->used == 0) return NULL;
    entry = nc_index_probe(index, number);
    return entry->place ? nc_index_bits(index, entry->place) : NULL;
}

static inline int nc_index_grow_table(nc_index *index)
{
    nc_index grown = *index;
    size_t at;

    grown.capacity = index->capacity ? index->capacity * 2 : 16;
    grown.entries = calloc(grown.capacity, sizeof *grown.entries);
    if (grown.entries == NULL) return 0;
    for (at = 0; at < index->capacity; at++) {
        if (index->entries[at].place) *nc_index_probe(&grown, index->entries[at].number) = index->entries[at];
    }
    free(index->entries);
    *index = grown;
    return 1;
}

/* Give the slab room for `places` bitsets of `words` words. */
static inline int nc_index_resize_slab(nc_index *index, size_t places, size_t words)
{
    uint64_t *slab = calloc(places * words, sizeof *slab);
    size_t at;

    if (slab == NULL) return 0;
    for (at = 0; at < index->places; at++) {
        memcpy(slab + at * words, index->slab + at * index->words, index->words * sizeof *slab);
    }
    free(index->slab);
    index->slab = slab;
    index->words = words;
    for (at = index->places; at < places; at++) {
        slab[at * words] = index->free_place;
        index->free_place = at + 1;
    }
    index->places = places;
    return 1;
}

/* Make all bitsets `words` words long, which is no less than before. Returns 0 without memory. */
static inline int nc_index_widen(nc_index *index, size_t words)
{
    if (index->places) return nc_index_resize_slab(index, index->places, words);
    index->words = words;
    return 1;
}

/* The row lists the number. Returns 0, and changes nothing, without memory. */
static inline int nc_index_set(nc_index *index, int64_t number, size_t row)
{
    nc_index_entry *entry;

    if ((index->used + 1) * 2 > index->capacity && !nc_index_grow_table(index)) return 0;
    entry = nc_index_probe(index, number);
    if (entry->place == 0) {
        if (index->free_place == 0) {
            if (!nc_index_resize_slab(index, index->places ? index->places * 2 : 8, index->words)) return 0;
        }
        entry->number = number;
        entry->place = index->free_place;
        index->free_place = (size_t)*nc_index_bits(index, entry->place);
        *nc_index_bits(index, entry->place) = 0;
        index->used++;
    }
    nc_index_bits(index, entry->place)[row / 64] |= UINT64_C(1) << row % 64;
    return 1;
}

/* The row lists the number no more, if it did. */
static inline void nc_index_clear(nc_index *index, int64_t number, size_t row)
{
    nc_index_entry *entry;
    uint64_t *bits;
    size_t at, next;

    if (index->used == 0) return;
    entry = nc_index_probe(index, number);
    if (entry->place == 0) return;
    bits = nc_index_bits(index, entry->place);
    bits[row / 64] &= ~(UINT64_C(1) << row % 64);
    for (at = 0; at < index->words; at++) {
        if (bits[at]) return;
    }
    bits[0] = index->free_place;
    index->free_place = entry->place;
    index->used--;
    /* Close the gap, so that what was pushed behind it is still found. */
    at = (size_t)(entry - index->entries);
    for (next = (at + 1) & (index->capacity - 1); index->entries[next].place; next = (next + 1) & (index->capacity - 1)) {
        const size_t home = nc_index_home(index, index->entries[next].number);

        if (((next - home) & (index->capacity - 1)) >= ((next - at) & (index->capacity - 1))) {
            index->entries[at] = index->entries[next];
            at = next;
        }
    }
    index->entries[at].place = 0;
}

static inline void nc_index_free(nc_index *index)
{
    free(index->entries);
    free(index->slab);
    memset(index, 0, sizeof *index);
}

/* ---- matching ---- */

/* One rule of all rows: those without an allow-list, those whose list has the number at hand, and
 * those that exclude it. */
typedef struct {
    const uint64_t *open;
    const uint64_t *listed;
    const uint64_t *excluded;
} nc_rule;

/* The rows of `found` that pass every rule stay in it. */
static inline void nc_apply(uint64_t *found, size_t words, nc_rule accounts, nc_rule groups, nc_rule users)
{
    size_t at;

    for (at = 0; at < words; at++) {
        found[at] &= (accounts.open[at] | accounts.listed[at]) & ~accounts.excluded[at]
            & (groups.open[at] | groups.listed[at]) & ~groups.excluded[at]
            & (users.open[at] | users.listed[at]) & ~users.excluded[at];
    }
}

#endif
