/* The patterns of all rows of a text index: who wants a text. Python-free.
 *
 * Commands, prefixes and full matches share one trie, suffixes have one that is read backwards,
 * and keywords an automaton; there are two of each, since texts are looked at as they are and
 * case-folded. A posting ties a pattern's node to a row; it is in the list of its node, and in
 * that of its row, so that a change touches what it is about and nothing else.
 */
#ifndef NAPCORE_TEXT_H
#define NAPCORE_TEXT_H

#include "_automaton.h"

enum { NC_COMMAND = 1, NC_PREFIX = 2, NC_FULL = 4, NC_SUFFIX = 8, NC_KEYWORD = 16 };

/* What has to be between a command and its argument, if there is one. */
enum { NC_ANYTHING, NC_SPACE, NC_THIS_SPACE };

typedef struct {
    uint32_t row;
    uint32_t node;
    uint32_t next, before; /* postings of the node; 0: none */
    uint32_t sibling;      /* the next posting of the row; 0: none. Of a free one: the next free one */
    uint16_t kind;
    uint16_t folded;
} nc_posting;

typedef struct {
    int live;
    uint32_t first; /* posting; 0: none */
    int demand;     /* of its commands: NC_ANYTHING, NC_SPACE or NC_THIS_SPACE */
    uint32_t *space;
    size_t space_size;
} nc_row;

typedef struct {
    nc_trie heads, tails;
    nc_automaton words;
    size_t commands;
    size_t postings;
} nc_patterns;

typedef struct {
    nc_patterns patterns[2]; /* as they are, and case-folded */
    nc_posting *postings;    /* from 1 */
    size_t postings_room, postings_made;
    uint32_t free_posting;
    nc_row *rows;
    uint32_t *seen;  /* the match a row was last found in */
    uint32_t *found; /* rows that the last match found, ascending */
    size_t found_count;
    size_t rows_room, rows_made;
    uint32_t match; /* number of the last one */
} nc_text_index;

/* ---- changes ---- */

/* Make room for this row, which is not live. Returns 0 without memory. */
static inline int nc_text_make_row(nc_text_index *index, size_t row)
{
    if (row >= index->rows_room) {
        const size_t room = index->rows_room ? index->rows_room * 2 : 8;
        nc_row *const rows = realloc(index->rows, room * sizeof *rows);
        uint32_t *seen, *found;

        if (rows == NULL) return 0;
        index->rows = rows;
        seen = realloc(index->seen, room * sizeof *seen);
        if (seen == NULL) return 0;
        index->seen = seen;
        found = realloc(index->found, room * sizeof *found);
        if (found == NULL) return 0;
        index->found = found;
        index->rows_room = room;
    }
    if (row == index->rows_made) {
        index->rows_made++;
        memset(&index->rows[row], 0, sizeof index->rows[row]);
        index->seen[row] = 0;
    }
    return 1;
}

static inline void nc_text_drop_posting(nc_text_index *index, uint32_t at)
{
    nc_posting *const posting = &index->postings[at];
    nc_patterns *const patterns = &index->patterns[posting->folded];
    nc_trie *const trie = posting->kind == NC_KEYWORD ? &patterns->words.trie
        : posting->kind == NC_SUFFIX ? &patterns->tails
        : &patterns->heads;

    if (posting->next) index->postings[posting->next].before = posting->before;
    if (posting->before) index->postings[posting->before].next = posting->next;
    else (void)nc_trie_own(trie, posting->node, posting->next);
    nc_trie_prune(trie, posting->node);
    if (posting->kind == NC_KEYWORD) (void)nc_automaton_settle(&patterns->words);
    if (posting->kind == NC_COMMAND) patterns->commands--;
    patterns->postings--;
    posting->sibling = index->free_posting;
    index->free_posting = at;
}

/* Take away this posting and its siblings. */
static inline void nc_text_drop_chain(nc_text_index *index, uint32_t at)
{
    while (at) {
        const uint32_t next = index->postings[at].sibling;

        nc_text_drop_posting(index, at);
        at = next;
    }
}

static inline uint32_t nc_text_new_posting(nc_text_index *index)
{
    uint32_t at = index->free_posting;

    if (at) {
        index->free_posting = index->postings[at].sibling;
        return at;
    }
    if (index->postings_made + 1 >= index->postings_room) {
        const size_t room = index->postings_room ? index->postings_room + index->postings_room / 2 : 8;
        nc_posting *const postings = room > NC_MOST_NODES ? NULL : realloc(index->postings, room * sizeof *postings);

        if (postings == NULL) return 0;
        index->postings = postings;
        index->postings_room = room;
    }
    return (uint32_t)++index->postings_made;
}

/* Tie one pattern, which is not empty, to the row and put it in front of `chain`. Returns 0, and
 * changes nothing, without memory. */
static inline int nc_text_add(
    nc_text_index *index, uint32_t *chain, size_t row, int kind, int folded, const uint32_t *pattern, size_t size)
{
    nc_patterns *const patterns = &index->patterns[folded];
    nc_trie *const trie = kind == NC_KEYWORD ? &patterns->words.trie
        : kind == NC_SUFFIX ? &patterns->tails
        : &patterns->heads;
    const uint32_t at = nc_text_new_posting(index);
    nc_posting *posting;
    uint32_t node;

    if (at == 0) return 0;
    posting = &index->postings[at];
    node = nc_trie_reach(trie, pattern, size, kind == NC_SUFFIX);
    if (node) {
        posting->next = trie->nodes[node].posting;
        if (!nc_trie_own(trie, node, at) || (kind == NC_KEYWORD && !nc_automaton_settle(&patterns->words))) {
            (void)nc_trie_own(trie, node, posting->next);
            nc_trie_prune(trie, node);
            node = 0;
        }
    }
    if (node == 0) {
        posting->sibling = index->free_posting;
        index->free_posting = at;
        return 0;
    }
    posting->row = (uint32_t)row;
    posting->node = node;
    posting->before = 0;
    posting->kind = (uint16_t)kind;
    posting->folded = (uint16_t)folded;
    posting->sibling = *chain;
    if (posting->next) index->postings[posting->next].before = at;
    *chain = at;
    if (kind == NC_COMMAND) patterns->commands++;
    patterns->postings++;
    return 1;
}

static inline void nc_text_free(nc_text_index *index)
{
    size_t at;

    for (at = 0; at < 2; at++) {
        nc_trie_free(&index->patterns[at].heads);
        nc_trie_free(&index->patterns[at].tails);
        nc_automaton_free(&index->patterns[at].words);
    }
    for (at = 0; at < index->rows_made; at++) free(index->rows[at].space);
    free(index->rows);
    free(index->seen);
    free(index->found);
    free(index->postings);
    memset(index, 0, sizeof *index);
}

/* ---- matching ---- */

/* White space as `str.isspace` has it: Unicode's bidirectional types WS, B and S, and category Zs. */
NC_INLINE int nc_is_space(uint32_t character)
{
    if (character < 0x80) return (character >= 9 && character <= 13) || (character >= 28 && character <= 32);
    return character == 0x85 || character == 0xA0 || character == 0x1680
        || (character >= 0x2000 && character <= 0x200A) || character == 0x2028 || character == 0x2029
        || character == 0x202F || character == 0x205F || character == 0x3000;
}

static inline size_t nc_skip_space(nc_text text, size_t at)
{
    while (at < text.size && nc_is_space(nc_character(text.data, at, text.width))) at++;
    return at;
}

NC_INLINE void nc_text_find(nc_text_index *index, uint32_t row)
{
    if (index->seen[row] == index->match) return;
    index->seen[row] = index->match;
    index->found[index->found_count++] = row;
}

static inline void nc_text_found_word(void *context, uint32_t at)
{
    nc_text_index *const index = context;

    for (; at; at = index->postings[at].next) nc_text_find(index, index->postings[at].row);
}

/* Whether what follows a command, from `at` on, is what the row demands. */
static inline int nc_text_follows(const nc_row *row, nc_text text, size_t at)
{
    const size_t argument = nc_skip_space(text, at);
    size_t place;

    if (row->demand == NC_ANYTHING || argument == text.size) return 1;
    if (argument == at) return 0;
    if (row->demand == NC_SPACE) return 1;
    if (argument - at != row->space_size) return 0;
    for (place = at; place < argument; place++) {
        if (nc_character(text.data, place, text.width) != row->space[place - at]) return 0;
    }
    return 1;
}

/* Find the rows of those postings of a node that are of one of these kinds. */
static inline void nc_text_found_end(nc_text_index *index, uint32_t at, int kinds, nc_text text, size_t end)
{
    for (; at; at = index->postings[at].next) {
        const nc_posting *const posting = &index->postings[at];

        if ((posting->kind & kinds) == 0 || index->seen[posting->row] == index->match) continue;
        if (posting->kind == NC_COMMAND && !nc_text_follows(&index->rows[posting->row], text, end)) continue;
        nc_text_find(index, posting->row);
    }
}

/* Walk the trie along the text from `start` on, backwards on request. */
static inline void nc_text_walk(
    nc_text_index *index, const nc_trie *trie, nc_text text, size_t start, int backwards, int kinds)
{
    const size_t left = backwards ? start + 1 : text.size - start;
    size_t place;
    uint32_t name = 0, hash = 0, at = 0;

    if (!nc_may_start(trie, text.data, start, left, text.width, backwards)) return;
    for (place = 0; place < left; place++) {
        const uint32_t character = nc_character(text.data, backwards ? start - place : start + place, text.width);

        hash = nc_way_hash(hash, character);
        if (place || trie->single) {
            at = nc_child_and_end(trie, hash, name, character);
            if (at & NC_ENDS) {
                nc_text_found_end(index, trie->nodes[at & ~NC_ENDS].posting,
                    place + 1 == text.size ? kinds : kinds & ~NC_FULL, text, start + place + 1);
            }
            if (place && at == 0) return;
        }
        name = place ? at & ~NC_ENDS : NC_FIRST | character;
    }
}

static inline int nc_text_before(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static inline void nc_text_sort(nc_text_index *index)
{
    uint32_t *const found = index->found;
    size_t at, place, row;

    if (index->found_count > index->rows_made / 16) {
        for (at = row = 0; at < index->found_count; row++) {
            if (index->seen[row] == index->match) found[at++] = (uint32_t)row;
        }
    } else if (index->found_count > 32) {
        qsort(found, index->found_count, sizeof *found, nc_text_before);
    } else {
        for (at = 1; at < index->found_count; at++) {
            const uint32_t moved = found[at];

            for (place = at; place && found[place - 1] > moved; place--) found[place] = found[place - 1];
            found[place] = moved;
        }
    }
}

/* Put the rows that want the text into `found`, ascending; returns how many. `text` is as it is
 * and case-folded; the second is not looked at when there are no patterns for it. */
static inline size_t nc_text_match(nc_text_index *index, const nc_text text[2])
{
    size_t at, start;

    index->found_count = 0;
    if (++index->match == 0) {
        for (at = 0; at < index->rows_made; at++) index->seen[at] = 0;
        index->match = 1;
    }
    for (at = 0; at < 2; at++) {
        nc_patterns *const patterns = &index->patterns[at];

        if (patterns->postings == 0 || text[at].size == 0) continue;
        if (patterns->heads.used) {
            start = patterns->commands ? nc_skip_space(text[at], 0) : 0;
            nc_text_walk(index, &patterns->heads, text[at], 0, 0, NC_PREFIX | NC_FULL | (start ? 0 : NC_COMMAND));
            if (start && start < text[at].size) {
                nc_text_walk(index, &patterns->heads, text[at], start, 0, NC_COMMAND);
            }
        }
        if (patterns->tails.used) nc_text_walk(index, &patterns->tails, text[at], text[at].size - 1, 1, NC_SUFFIX);
        nc_automaton_search(&patterns->words, text[at], nc_text_found_word, index);
    }
    nc_text_sort(index);
    return index->found_count;
}

#endif
