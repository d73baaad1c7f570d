/* The text index against a naive reading. The input is a program: rows come, change and go, and
 * texts are looked at, all over an alphabet of a few characters. Memory fails on request. */
#include "harness.h"

static int allocations_to_fail;

static int memory_fails(void)
{
    if (allocations_to_fail == 0) return 0;
    allocations_to_fail--;
    return 1;
}

static void *unreliable_calloc(size_t count, size_t size)
{
    return memory_fails() ? NULL : calloc(count, size);
}

static void *unreliable_malloc(size_t size)
{
    return memory_fails() ? NULL : malloc(size);
}

static void *unreliable_realloc(void *block, size_t size)
{
    return memory_fails() ? NULL : realloc(block, size);
}

#define calloc unreliable_calloc
#define malloc unreliable_malloc
#define realloc unreliable_realloc
#include "_text.h"
#undef calloc
#undef malloc
#undef realloc

enum { ROWS = 24, MOST_PATTERNS = 6, LONGEST = 24, LONGEST_TEXT = 200, ALPHABET = 5, BASE = 32 };

typedef struct {
    int kind;
    size_t size;
    uint32_t text[LONGEST];
} pattern;

typedef struct {
    int live, folded, demand;
    size_t count;
    pattern patterns[MOST_PATTERNS];
} naive_row;

typedef struct {
    const uint8_t *data;
    size_t size;
} program;

static unsigned number(program *input, unsigned below)
{
    if (input->size == 0) return 0;
    input->size--;
    return *input->data++ % below;
}

/* Characters of all widths; two are white space. Half of the bytes repeat what came before, so that
 * patterns overlap themselves. */
static void some_text(program *input, const uint32_t *alphabet, unsigned letters, uint32_t *out, size_t size)
{
    size_t at;

    for (at = 0; at < size; at++) {
        const unsigned choice = number(input, 2 * letters);

        out[at] = choice < letters || at < 2 ? alphabet[choice % letters] : out[at - 1 - choice % 2];
    }
}

/* Parts of `base` one after the other, so that patterns and texts overlap deeply; returns the length. */
static size_t parts_of(program *input, const uint32_t *base, uint32_t *out, size_t longest)
{
    size_t size = 0;

    do {
        const size_t from = number(input, BASE), length = 1 + number(input, BASE);
        size_t at;

        for (at = from; at < BASE && at < from + length && size < longest; at++) out[size++] = base[at];
    } while (number(input, 4) == 0 && size < longest);
    return size;
}

static int is_at(const uint32_t *text, size_t size, size_t at, const pattern *pattern)
{
    return at + pattern->size <= size && memcmp(text + at, pattern->text, pattern->size * sizeof *text) == 0;
}

static int is_wanted(const naive_row *row, const uint32_t *text, size_t size)
{
    size_t at, place, start = 0;

    while (start < size && (text[start] == ' ' || text[start] == 0x3000)) start++;
    for (at = 0; at < row->count; at++) {
        const pattern *const own = &row->patterns[at];

        if (own->kind == NC_PREFIX && is_at(text, size, 0, own)) return 1;
        if (own->kind == NC_FULL && own->size == size && is_at(text, size, 0, own)) return 1;
        if (own->kind == NC_SUFFIX && own->size <= size && is_at(text, size, size - own->size, own)) return 1;
        if (own->kind == NC_COMMAND && is_at(text, size, start, own)) {
            const size_t end = start + own->size;

            for (place = end; place < size && (text[place] == ' ' || text[place] == 0x3000);) place++;
            if (place == size || row->demand == NC_ANYTHING) return 1;
            if (place > end && row->demand == NC_SPACE) return 1;
            if (place == end + 1 && text[end] == ' ' && row->demand == NC_THIS_SPACE) return 1;
        }
        for (place = 0; own->kind == NC_KEYWORD && place < size; place++) {
            if (is_at(text, size, place, own)) return 1;
        }
    }
    return 0;
}

/* The text in the smallest width that holds it, without slack. */
static nc_text narrow(const uint32_t *text, size_t size)
{
    uint32_t every = 0;
    nc_text made = {NULL, size, 4};
    uint8_t *data;
    size_t at;

    for (at = 0; at < size; at++) every |= text[at];
    if (every < 0x100) made.width = 1;
    else if (every < 0x10000) made.width = 2;
    data = exact_copy((const uint8_t *)text, size * (size_t)made.width);
    for (at = 0; at < size; at++) {
        if (made.width == 1) data[at] = (uint8_t)text[at];
        else if (made.width == 2) ((uint16_t *)data)[at] = (uint16_t)text[at];
    }
    made.data = data;
    return made;
}

static void check_match(nc_text_index *index, const naive_row *rows, const uint32_t *text, size_t size, int narrow_folded)
{
    const nc_text as_it_is = narrow(text, size), wide = {exact_copy((const uint8_t *)text, size * 4), size, 4};
    const nc_text both[2] = {as_it_is, narrow_folded ? as_it_is : wide};
    const size_t found = nc_text_match(index, both);
    size_t row, at = 0;

    for (row = 0; row < ROWS; row++) {
        if (!rows[row].live || !is_wanted(&rows[row], text, size)) continue;
        REQUIRE(at < found && index->found[at] == row);
        at++;
    }
    REQUIRE(at == found);
    free((void *)(uintptr_t)as_it_is.data);
    free((void *)(uintptr_t)wide.data);
}

static void drop_row(nc_text_index *index, naive_row *rows, size_t row)
{
    nc_text_drop_chain(index, index->rows[row].first);
    free(index->rows[row].space);
    memset(&index->rows[row], 0, sizeof index->rows[row]);
    rows[row].live = 0;
}

/* New patterns for the row, in front of whatever it has; they all come or none. */
static void change_row(
    nc_text_index *index, naive_row *rows, size_t row, program *input, const uint32_t *alphabet, unsigned letters,
    const uint32_t *base)
{
    static const int kinds[] = {NC_COMMAND, NC_PREFIX, NC_FULL, NC_SUFFIX, NC_KEYWORD, NC_KEYWORD};
    naive_row made = {.live = 1};
    uint32_t chain = 0, *space;
    size_t at;

    made.folded = (int)number(input, 2);
    made.demand = (int)number(input, 3);
    made.count = number(input, MOST_PATTERNS + 1);
    for (at = 0; at < made.count; at++) {
        pattern *const own = &made.patterns[at];

        own->kind = kinds[number(input, 6)];
        if (number(input, 2)) {
            own->size = parts_of(input, base, own->text, LONGEST);
        } else {
            own->size = 1 + number(input, number(input, 2) ? LONGEST : 4);
            some_text(input, alphabet, letters, own->text, own->size);
        }
    }
    if (!nc_text_make_row(index, row)) return;
    space = malloc(sizeof *space);
    REQUIRE(space != NULL);
    *space = ' ';
    for (at = 0; at < made.count; at++) {
        const pattern *const own = &made.patterns[at];

        if (!nc_text_add(index, &chain, row, own->kind, made.folded, own->text, own->size)) {
            nc_text_drop_chain(index, chain);
            free(space);
            return;
        }
    }
    if (rows[row].live) drop_row(index, rows, row);
    index->rows[row].live = 1;
    index->rows[row].first = chain;
    index->rows[row].demand = made.demand;
    index->rows[row].space = space;
    index->rows[row].space_size = 1;
    rows[row] = made;
}

static void check_trie(const nc_trie *trie)
{
    size_t at, edges = 0, grams = 0, used = 0;

    for (at = 0; at < trie->capacity; at++) edges += trie->edges[at].child != 0;
    for (at = 1; at < trie->made; at++) {
        const nc_node *const node = &trie->nodes[at];

        if (node->depth == NC_FREE) continue;
        used++;
        grams += (size_t)nc_is_gram(node);
        REQUIRE(node->posting || node->children);
        REQUIRE(nc_child_of(trie, node->parent, node->character) == at);
        REQUIRE(((nc_trie_edge_to(trie, (uint32_t)at)->child & NC_ENDS) != 0) == (node->posting != 0));
    }
    REQUIRE(used == trie->used && edges == used && grams == trie->grams);
    REQUIRE(used * 2 <= trie->capacity);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t alphabets[4][ALPHABET] = {
        {'a', 'b', ' ', '/', 'c'},
        {'a', 0x6C49, 0x3000, ' ', 0x5B57},
        {0, 0xFF, 0x100, 0xFFFF, ' '},
        {0x1F600, 0xD83D, 0xDE00, 0x10FFFF, ' '},
    };
    program input = {data, size};
    const uint32_t *const alphabet = alphabets[number(&input, 4)];
    const unsigned letters = 2 + number(&input, ALPHABET - 1);
    nc_text_index index;
    naive_row rows[ROWS];
    uint32_t base[BASE], text[LONGEST_TEXT];
    size_t at, length, made = 0;

    memset(&index, 0, sizeof index);
    memset(rows, 0, sizeof rows);
    allocations_to_fail = 0;
    some_text(&input, alphabet, letters, base, BASE);
    while (input.size) {
        const unsigned what = number(&input, 16);

        if (what < 5) {
            const size_t row = number(&input, ROWS) % (made + 1 < ROWS ? made + 1 : ROWS);

            change_row(&index, rows, row, &input, alphabet, letters, base);
            if (index.rows_made > made) made = index.rows_made;
        } else if (what < 7) {
            const size_t row = number(&input, ROWS);

            if (row < made && rows[row].live) drop_row(&index, rows, row);
        } else if (what == 7) {
            allocations_to_fail = (int)number(&input, 4);
        } else if (what == 8) {
            /* Numbers that come round again. */
            index.match = UINT32_MAX;
            for (at = 0; at < 2; at++) {
                index.patterns[at].words.search = UINT32_MAX;
                if (number(&input, 2)) index.patterns[at].words.trie.version += UINT32_MAX / 2;
            }
        } else {
            length = number(&input, what < 12 ? 12 : LONGEST_TEXT);
            if (what < 13) some_text(&input, alphabet, letters, text, length);
            else length = parts_of(&input, base, text, LONGEST_TEXT);
            check_match(&index, rows, text, length, what % 2);
        }
        for (at = 0; at < 2; at++) {
            check_trie(&index.patterns[at].heads);
            check_trie(&index.patterns[at].tails);
            check_trie(&index.patterns[at].words.trie);
        }
    }
    allocations_to_fail = 0;
    nc_text_free(&index);
    return 0;
}
