/* A trie over code points, with a filter in front that says at once that no pattern starts here.
 * Python-free.
 *
 * Nodes lie in one array; node 0 is the root. Edges lie in one table, open addressing with linear
 * probing, at most half full. What starts at a node of depth 1 is found by that node's character,
 * so that the first two characters of a text cost one look-up together.
 *
 * The filter knows, by hash, every way a pattern may start: its first five characters or, of a
 * shorter one, all of it. A place that it lets not pass is left without touching the trie, however
 * many patterns there are. It is a Bloom filter in words of 32 bits: a way has four bits of one
 * word, so that 10,000 patterns need 32 KB and one look-up in a hundred errs. Ways of patterns
 * that have gone stay in it until it is made anew, which costs a little time and nothing else.
 */
#ifndef NAPCORE_TRIE_H
#define NAPCORE_TRIE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#define NC_INLINE static __forceinline
#else
#define NC_INLINE static inline __attribute__((always_inline))
#endif

enum {
    NC_GRAM = 5, /* how many characters the filter looks at */
    NC_FEWEST_WORDS = 1 << 6,
    NC_MOST_WORDS = 1 << 20,
    NC_BIT_CHOICES = 256
};

#define NC_MOST_NODES UINT32_C(0x40000000)
#define NC_FIRST UINT32_C(0x80000000) /* with a character: stands for the node of depth 1 */
#define NC_ENDS UINT32_C(0x80000000)  /* with the child of an edge: a pattern ends there */
#define NC_FREE UINT32_MAX            /* the depth of a node that is free */

typedef struct {
    uint32_t parent; /* of a free node: the next free one */
    uint32_t character;
    uint32_t hash; /* of the way here */
    uint32_t depth;
    uint32_t children;
    uint32_t posting; /* of who owns the patterns that end here; 0: none ends here */
} nc_node;

typedef struct {
    uint32_t parent;
    uint32_t character;
    uint32_t child; /* perhaps with NC_ENDS; 0: the edge is free */
} nc_edge;

/* Text as Python keeps it: `width` bytes per code point. */
typedef struct {
    const void *data;
    size_t size; /* in code points */
    int width;   /* 1, 2 or 4 */
} nc_text;

typedef struct {
    nc_node *nodes;
    nc_edge *edges;
    uint32_t *filter; /* bits are 0 where there is something */
    size_t room;     /* nodes there is memory for */
    size_t made;     /* nodes that are or were in use, the root among them */
    size_t used;     /* nodes in use, the root left out */
    size_t capacity; /* edges; a power of two, or 0 */
    uint32_t free_node;
    uint32_t filter_mask; /* one less than its words, a power of two */
    size_t grams;             /* that are in the filter and in the trie */
    size_t stale;             /* that are in the filter alone, at most */
    size_t single;            /* patterns of one character */
    uint32_t version;         /* changes whenever a node comes or goes, or becomes the end of a pattern or ceases to */
} nc_trie;

NC_INLINE uint32_t nc_character(const void *data, size_t at, int width)
{
    return width == 1 ? ((const uint8_t *)data)[at]
        : width == 2 ? ((const uint16_t *)data)[at]
        : ((const uint32_t *)data)[at];
}

/* ---- the filter ---- */

NC_INLINE uint64_t nc_mix(uint32_t character)
{
    return character * UINT64_C(0x9E3779B97F4A7C15);
}

/* The hash of a gram that is one character longer; `mixed` is that character's. */
NC_INLINE uint64_t nc_gram_hash(uint64_t before, uint64_t mixed, unsigned place)
{
    return before + (place == 0 ? mixed : mixed << 13 * place | mixed >> (64 - 13 * place));
}

/* Four of 32 bits, in as many ways as fit into the cache beside everything else. */
static uint32_t nc_filter_bits[NC_BIT_CHOICES];

static inline void nc_filter_choose_bits(void)
{
    uint32_t chance = 1;
    size_t at;
    int count;

    for (at = 0; at < NC_BIT_CHOICES; at++) {
        for (count = 0; count < 4;) {
            const uint32_t bit = UINT32_C(1) << ((chance = chance * 1664525 + 1013904223) >> 27);

            if (nc_filter_bits[at] & bit) continue;
            nc_filter_bits[at] |= bit;
            count++;
        }
    }
}

NC_INLINE int nc_filter_has(const uint32_t *filter, uint32_t mask, uint64_t hash)
{
    return (filter[(uint32_t)(hash >> 32) & mask] & nc_filter_bits[hash >> 56]) == 0;
}

/* Whether the way to this node is a gram: how a pattern starts, as far as the filter looks. */
static inline int nc_is_gram(const nc_node *node)
{
    return node->depth == NC_GRAM || (node->depth < NC_GRAM && node->posting != 0);
}

static inline void nc_filter_mark(nc_trie *trie, uint32_t at)
{
    uint32_t way[NC_GRAM] = {0};
    uint64_t hash = 0;
    unsigned place;
    const unsigned depth = trie->nodes[at].depth;

    for (; at; at = trie->nodes[at].parent) way[trie->nodes[at].depth - 1] = trie->nodes[at].character;
    for (place = 0; place < depth; place++) hash = nc_gram_hash(hash, nc_mix(way[place]), place);
    trie->filter[(uint32_t)(hash >> 32) & trie->filter_mask] &= ~nc_filter_bits[hash >> 56];
}

/* Make the filter anew, with two words for three grams or more. Without memory a filter that is
 * there stays as it is, only fuller. */
static inline int nc_filter_renew(nc_trie *trie)
{
    uint32_t words = NC_FEWEST_WORDS, *filter;
    size_t at;

    while (words < NC_MOST_WORDS && words < trie->grams * 2 / 3) words *= 2;
    filter = malloc(words * sizeof *filter);
    if (filter == NULL) return trie->filter != NULL;
    memset(filter, 0xFF, words * sizeof *filter);
    if (nc_filter_bits[0] == 0) nc_filter_choose_bits();
    free(trie->filter);
    trie->filter = filter;
    trie->filter_mask = words - 1;
    trie->stale = 0;
    for (at = 1; at < trie->made; at++) {
        if (trie->nodes[at].depth <= NC_GRAM && nc_is_gram(&trie->nodes[at])) nc_filter_mark(trie, (uint32_t)at);
    }
    return 1;
}

/* This node has become a gram. Returns 0 without memory: it is none then. */
static inline int nc_gram_add(nc_trie *trie, uint32_t at)
{
    trie->grams++;
    if (trie->nodes[at].depth == 1) trie->single++;
    if (trie->filter == NULL || (trie->filter_mask < NC_MOST_WORDS - 1
            && (trie->grams + trie->stale) * 2 / 3 > trie->filter_mask + 1)) {
        if (!nc_filter_renew(trie)) {
            trie->grams--;
            if (trie->nodes[at].depth == 1) trie->single--;
            return 0;
        }
    }
    nc_filter_mark(trie, at);
    return 1;
}

/* This node is a gram no more. */
static inline void nc_gram_remove(nc_trie *trie, uint32_t depth)
{
    trie->grams--;
    trie->stale++;
    if (depth == 1) trie->single--;
    if (trie->stale > trie->grams + 64) (void)nc_filter_renew(trie);
}

/* ---- nodes and edges ---- */

/* What a node is called in the table of edges. */
NC_INLINE uint32_t nc_edge_name(const nc_trie *trie, uint32_t at)
{
    return trie->nodes[at].depth == 1 ? NC_FIRST | trie->nodes[at].character : at;
}

/* The hash of a way that is one character longer. It is of the way, not of the node, so that the
 * look-ups along a text need not wait for one another. */
NC_INLINE uint32_t nc_way_hash(uint32_t before, uint32_t character)
{
    return (uint32_t)((before + (uint64_t)character) * UINT64_C(0xD6E8FEB86659FD93) >> 32);
}

/* The place in the table of the edge to a way with this hash, or the free one where it belongs. */
NC_INLINE size_t nc_edge_probe(
    const nc_edge *edges, size_t capacity, uint32_t hash, uint32_t parent, uint32_t character)
{
    size_t at = hash & (capacity - 1);

    while (edges[at].child && (edges[at].parent != parent || edges[at].character != character)) {
        at = (at + 1) & (capacity - 1);
    }
    return at;
}

/* The child of what is called so, with NC_ENDS if a pattern ends there; 0: there is none. The hash
 * is that of the way to the child. The trie is not empty. */
NC_INLINE uint32_t nc_child_and_end(const nc_trie *trie, uint32_t hash, uint32_t parent, uint32_t character)
{
    return trie->edges[nc_edge_probe(trie->edges, trie->capacity, hash, parent, character)].child;
}

static inline uint32_t nc_child_of(const nc_trie *trie, uint32_t at, uint32_t character)
{
    const uint32_t hash = nc_way_hash(trie->nodes[at].hash, character);

    return nc_child_and_end(trie, hash, nc_edge_name(trie, at), character) & ~NC_ENDS;
}

static inline nc_edge *nc_trie_edge_to(const nc_trie *trie, uint32_t at)
{
    const nc_node *const node = &trie->nodes[at];
    const uint32_t parent = nc_edge_name(trie, node->parent);

    return &trie->edges[nc_edge_probe(trie->edges, trie->capacity, node->hash, parent, node->character)];
}

static inline int nc_trie_grow_edges(nc_trie *trie, size_t capacity)
{
    nc_edge *edges = calloc(capacity, sizeof *edges);
    size_t at;

    if (edges == NULL) return 0;
    for (at = 0; at < trie->capacity; at++) {
        const nc_edge edge = trie->edges[at];

        if (edge.child) {
            const uint32_t hash = trie->nodes[edge.child & ~NC_ENDS].hash;

            edges[nc_edge_probe(edges, capacity, hash, edge.parent, edge.character)] = edge;
        }
    }
    free(trie->edges);
    trie->edges = edges;
    trie->capacity = capacity;
    return 1;
}

static inline int nc_trie_grow_nodes(nc_trie *trie)
{
    const size_t room = trie->room ? trie->room + trie->room / 2 : 16;
    nc_node *nodes;

    if (trie->room >= NC_MOST_NODES) return 0;
    nodes = realloc(trie->nodes, room * sizeof *nodes);
    if (nodes == NULL) return 0;
    trie->nodes = nodes;
    trie->room = room;
    if (trie->made == 0) {
        memset(nodes, 0, sizeof *nodes);
        trie->made = 1;
    }
    return 1;
}

/* A new child; there is none so far. Returns 0 without memory. */
static inline uint32_t nc_trie_grow(nc_trie *trie, uint32_t parent, uint32_t character)
{
    uint32_t at = trie->free_node;
    size_t edge;
    nc_node *node;

    if ((trie->used + 1) * 2 > trie->capacity && !nc_trie_grow_edges(trie, trie->capacity ? trie->capacity * 2 : 16)) {
        return 0;
    }
    if (at) {
        trie->free_node = trie->nodes[at].parent;
    } else {
        if (trie->made >= trie->room && !nc_trie_grow_nodes(trie)) return 0;
        at = (uint32_t)trie->made++;
    }
    node = &trie->nodes[at];
    node->parent = parent;
    node->character = character;
    node->hash = nc_way_hash(trie->nodes[parent].hash, character);
    node->depth = trie->nodes[parent].depth + 1;
    node->children = 0;
    node->posting = 0;
    trie->nodes[parent].children++;
    edge = nc_edge_probe(trie->edges, trie->capacity, node->hash, nc_edge_name(trie, parent), character);
    trie->edges[edge].parent = nc_edge_name(trie, parent);
    trie->edges[edge].character = character;
    trie->edges[edge].child = at;
    trie->used++;
    return at;
}

static inline void nc_trie_cut(nc_trie *trie, uint32_t at)
{
    nc_node *const node = &trie->nodes[at];
    const size_t mask = trie->capacity - 1;
    size_t gap = (size_t)(nc_trie_edge_to(trie, at) - trie->edges), next;

    /* Close the gap, so that what was pushed behind it is still found. */
    for (next = (gap + 1) & mask; trie->edges[next].child; next = (next + 1) & mask) {
        const size_t home = trie->nodes[trie->edges[next].child & ~NC_ENDS].hash & mask;

        if (((next - home) & mask) >= ((next - gap) & mask)) {
            trie->edges[gap] = trie->edges[next];
            gap = next;
        }
    }
    trie->edges[gap].child = 0;
    trie->nodes[node->parent].children--;
    node->parent = trie->free_node;
    node->depth = NC_FREE;
    trie->free_node = at;
    trie->used--;
}

/* Take away the node and what led to it alone, as far as no pattern needs it. */
static inline void nc_trie_prune(nc_trie *trie, uint32_t at)
{
    while (at && trie->nodes[at].children == 0 && trie->nodes[at].posting == 0) {
        const uint32_t parent = trie->nodes[at].parent, depth = trie->nodes[at].depth;

        trie->version++;
        nc_trie_cut(trie, at);
        if (depth == NC_GRAM) nc_gram_remove(trie, depth);
        at = parent;
    }
    if (trie->used == 0) {
        free(trie->nodes);
        free(trie->edges);
        free(trie->filter);
        trie->nodes = NULL;
        trie->edges = NULL;
        trie->filter = NULL;
        trie->room = trie->made = trie->capacity = trie->grams = trie->stale = 0;
        trie->free_node = 0;
    }
}

/* The node of this pattern, backwards on request, which is not empty; it is made where it is not
 * there. Returns 0, and changes nothing, without memory. */
static inline uint32_t nc_trie_reach(nc_trie *trie, const uint32_t *pattern, size_t size, int backwards)
{
    uint32_t at = 0, next;
    size_t place;

    for (place = 0; place < size; place++) {
        const uint32_t character = pattern[backwards ? size - 1 - place : place];

        next = trie->capacity ? nc_child_of(trie, at, character) : 0;
        if (next == 0) {
            if (trie->made == 0 && !nc_trie_grow_nodes(trie)) return 0;
            next = nc_trie_grow(trie, at, character);
            if (next && trie->nodes[next].depth == NC_GRAM && !nc_gram_add(trie, next)) {
                nc_trie_cut(trie, next);
                next = 0;
            }
            if (next == 0) {
                nc_trie_prune(trie, at);
                return 0;
            }
            trie->version++;
        }
        at = next;
    }
    return at;
}

/* Say who owns the patterns that end at this node; 0: nobody. Returns 0 without memory. */
static inline int nc_trie_own(nc_trie *trie, uint32_t at, uint32_t posting)
{
    nc_node *const node = &trie->nodes[at];
    const uint32_t before = node->posting;

    node->posting = posting;
    if ((before != 0) == (posting != 0)) return 1;
    nc_trie_edge_to(trie, at)->child = posting ? at | NC_ENDS : at;
    trie->version++;
    if (node->depth >= NC_GRAM) return 1;
    if (posting == 0) {
        nc_gram_remove(trie, node->depth);
    } else if (!nc_gram_add(trie, at)) {
        node->posting = 0;
        nc_trie_edge_to(trie, at)->child = at;
        return 0;
    }
    return 1;
}

static inline void nc_trie_free(nc_trie *trie)
{
    free(trie->nodes);
    free(trie->edges);
    free(trie->filter);
    memset(trie, 0, sizeof *trie);
}

/* Whether a pattern may start at this place of a text, which may be read backwards; `left` are the
 * characters from there on. The trie is not empty. */
NC_INLINE int nc_may_start(const nc_trie *trie, const void *data, size_t at, size_t left, int width, int backwards)
{
    uint64_t hash = 0;
    unsigned place;
    int found = 0;

    for (place = 0; place < NC_GRAM && place < left; place++) {
        hash = nc_gram_hash(hash, nc_mix(nc_character(data, backwards ? at - place : at + place, width)), place);
        found |= nc_filter_has(trie->filter, trie->filter_mask, hash);
    }
    return found;
}

#endif
