/* An automaton for many words at once (Aho and Corasick, 1975) over a trie that changes.
 * Python-free.
 *
 * A node's link leads to the longest proper suffix of its way that is a way itself. Links are made
 * when a text first needs them, and hold until the trie changes: a change costs its own word's
 * length, and a text after it makes the links of those few nodes anew that it comes past. A text
 * takes time in proportion to its length, whatever the words.
 *
 * The links serve depths of NC_DEEP and more. From anything shallower the search goes back to the
 * filter of the trie, which is faster and sees at least as much: at most NC_DEEP - 1 characters
 * are looked at again.
 */
#ifndef NAPCORE_AUTOMATON_H
#define NAPCORE_AUTOMATON_H

#include "_trie.h"

enum { NC_DEEP = 8 };

typedef struct {
    uint32_t suffix;  /* the node of the longest proper suffix; 0: the root */
    uint32_t word;    /* the nearest node along these links where a word ends; 0: none */
    uint32_t version; /* of the trie, when these two were made */
    uint32_t seen;    /* the search that has come past here */
} nc_link;

typedef struct {
    nc_trie trie;
    nc_link *links;
    size_t room;     /* links there is memory for */
    uint32_t search; /* number of the last one */
} nc_automaton;

/* Gets the posting of a word that is in the text. */
typedef void (*nc_found_word)(void *context, uint32_t posting);

/* To be called after words were added or removed. Returns 0, when some were added, without memory. */
static inline int nc_automaton_settle(nc_automaton *automaton)
{
    nc_trie *const trie = &automaton->trie;
    nc_link *links;
    size_t at;

    if (trie->room == 0) {
        free(automaton->links);
        automaton->links = NULL;
    } else if (automaton->room < trie->room) {
        links = realloc(automaton->links, trie->room * sizeof *links);
        if (links == NULL) return 0;
        memset(links + automaton->room, 0, (trie->room - automaton->room) * sizeof *links);
        automaton->links = links;
    }
    automaton->room = trie->room;
    if (trie->version > UINT32_MAX / 2) {
        for (at = 0; at < automaton->room; at++) automaton->links[at].version = 0;
        trie->version = 1;
    }
    return 1;
}

static inline void nc_automaton_free(nc_automaton *automaton)
{
    nc_trie_free(&automaton->trie);
    free(automaton->links);
    memset(automaton, 0, sizeof *automaton);
}

NC_INLINE int nc_is_linked(const nc_automaton *automaton, uint32_t at)
{
    return at == 0 || automaton->links[at].version == automaton->trie.version;
}

/* Make the link of a node whose parent has one, and those of the nodes along it: whoever has a
 * link leads to nodes that have theirs. */
static inline void nc_link_node(nc_automaton *automaton, uint32_t at)
{
    const nc_trie *const trie = &automaton->trie;
    nc_link *const links = automaton->links;
    const uint32_t character = trie->nodes[at].character;
    uint32_t from = trie->nodes[at].parent, open = at, next = at, last, word;

    do {
        last = next;
        for (next = 0; from && next == 0;) {
            from = links[from].suffix;
            next = nc_child_of(trie, from, character);
        }
        links[last].suffix = next;
        if (trie->nodes[next].posting) word = next;
        else if (nc_is_linked(automaton, next)) word = next ? links[next].word : 0;
        else continue;
        for (; open != next; open = links[open].suffix) {
            links[open].word = word;
            links[open].version = trie->version;
        }
    } while (!nc_is_linked(automaton, next));
}

/* Make the links of a node and of all that lie between it and the root. */
static inline void nc_link_way(nc_automaton *automaton, uint32_t at)
{
    nc_link *const links = automaton->links;
    uint32_t below = 0, next;

    /* Up to the first that has one; what has none keeps the way down for the moment. */
    for (; !nc_is_linked(automaton, at); at = automaton->trie.nodes[at].parent) {
        links[at].word = below;
        below = at;
    }
    for (; below; below = next) {
        next = links[below].word;
        nc_link_node(automaton, below);
    }
}

/* Tell of the words that end where the way of this node ends. */
static inline void nc_tell_words(nc_automaton *automaton, uint32_t at, nc_found_word found, void *context)
{
    nc_link *const links = automaton->links;

    if (!nc_is_linked(automaton, at)) nc_link_way(automaton, at);
    /* Whatever lies beyond a node that was seen has been told of with it. */
    for (; at && links[at].seen != automaton->search; at = links[at].word) {
        links[at].seen = automaton->search;
        if (automaton->trie.nodes[at].posting) found(context, automaton->trie.nodes[at].posting);
    }
}

/* Follow a way of NC_DEEP characters that begins at `start`, with the links; returns where to search on. */
NC_INLINE size_t nc_follow(
    nc_automaton *automaton, uint32_t at, nc_text text, int width, size_t start, nc_found_word found, void *context)
{
    const nc_trie *const trie = &automaton->trie;
    size_t place = start + NC_DEEP;
    uint32_t above, next;

    for (above = at; above; above = trie->nodes[above].parent) nc_tell_words(automaton, above, found, context);
    for (;;) {
        while (place < text.size && (next = nc_child_of(trie, at, nc_character(text.data, place, width))) != 0) {
            at = next;
            place++;
            nc_tell_words(automaton, at, found, context);
        }
        if (place == text.size) return place;
        at = automaton->links[at].suffix;
        if (trie->nodes[at].depth < NC_DEEP) return place - trie->nodes[at].depth;
    }
}

/* The filter lets this place pass: see what starts here; returns where to search on. */
NC_INLINE size_t nc_search_from(
    nc_automaton *automaton, nc_text text, int width, size_t start, nc_found_word found, void *context)
{
    const nc_trie *const trie = &automaton->trie;
    const uint32_t first = nc_character(text.data, start, width);
    const size_t deep = text.size - start < NC_DEEP ? text.size : start + NC_DEEP;
    uint32_t name = NC_FIRST | first, hash = nc_way_hash(0, first), at;
    size_t place;

    /* A word that is found here brings the words at its own end with it. */
    if (trie->single && (at = nc_child_and_end(trie, hash, 0, first)) & NC_ENDS) {
        nc_tell_words(automaton, at & ~NC_ENDS, found, context);
    }
    for (place = start + 1; place < deep; place++) {
        const uint32_t character = nc_character(text.data, place, width);

        hash = nc_way_hash(hash, character);
        at = nc_child_and_end(trie, hash, name, character);
        if (at == 0) return start + 1;
        name = at & ~NC_ENDS;
        if (at & NC_ENDS) nc_tell_words(automaton, name, found, context);
    }
    if (place - start == NC_DEEP) return nc_follow(automaton, name, text, width, start, found, context);
    return start + 1;
}

NC_INLINE void nc_search_width(
    nc_automaton *automaton, nc_text text, int width, nc_found_word found, void *context)
{
    const nc_trie *const trie = &automaton->trie;
    const uint32_t *const filter = trie->filter;
    const uint32_t mask = trie->filter_mask;
    const int single = trie->single != 0;
    size_t at = 0, next;
    uint64_t one, second, third, fourth, fifth;

    while (at + NC_GRAM <= text.size) {
        one = nc_mix(nc_character(text.data, at, width));
        second = nc_mix(nc_character(text.data, at + 1, width));
        third = nc_mix(nc_character(text.data, at + 2, width));
        fourth = nc_mix(nc_character(text.data, at + 3, width));
        for (next = at + NC_GRAM - 1; next < text.size; next++) {
            const uint64_t two = nc_gram_hash(one, second, 1);
            const uint64_t three = nc_gram_hash(two, third, 2);
            const uint64_t four = nc_gram_hash(three, fourth, 3);

            fifth = nc_mix(nc_character(text.data, next, width));
            if (nc_filter_has(filter, mask, two) | nc_filter_has(filter, mask, three) | nc_filter_has(filter, mask, four)
                    | nc_filter_has(filter, mask, nc_gram_hash(four, fifth, 4)) | (single && nc_filter_has(filter, mask, one))) {
                break;
            }
            one = second;
            second = third;
            third = fourth;
            fourth = fifth;
        }
        at = next - (NC_GRAM - 1);
        if (next == text.size) break;
        at = nc_search_from(automaton, text, width, at, found, context);
    }
    while (at < text.size) {
        if (nc_may_start(trie, text.data, at, text.size - at, width, 0)) {
            at = nc_search_from(automaton, text, width, at, found, context);
        } else {
            at++;
        }
    }
}

/* Tell of every word that is somewhere in the text. One may be told of more than once. */
static inline void nc_automaton_search(nc_automaton *automaton, nc_text text, nc_found_word found, void *context)
{
    if (automaton->trie.used == 0) return;
    if (++automaton->search == 0) {
        size_t at;

        for (at = 0; at < automaton->room; at++) automaton->links[at].seen = 0;
        automaton->search = 1;
    }
    if (text.width == 1) nc_search_width(automaton, text, 1, found, context);
    else if (text.width == 2) nc_search_width(automaton, text, 2, found, context);
    else nc_search_width(automaton, text, 4, found, context);
}

#endif
