/* Full case folding of code points, by pages that the caller fills when they are first needed.
 * Python-free: what folds to what is the caller's to know.
 */
#ifndef NAPCORE_FOLD_H
#define NAPCORE_FOLD_H

#include "_trie.h"

enum {
    NC_FOLD_PAGES = 0x1100,
    NC_FOLD_PAGE = 256,
    NC_FOLD_LONGEST = 3 /* characters that one may become; Unicode 15, CaseFolding.txt */
};

#define NC_FOLD_MANY UINT32_C(0x80000000) /* with the place of an expansion */

typedef struct {
    uint32_t count;
    uint32_t character[NC_FOLD_LONGEST];
} nc_expansion;

typedef struct {
    const uint32_t *page[NC_FOLD_PAGES]; /* NULL: not known yet */
    nc_expansion *expansions;
} nc_folding;

/* Fold the text from `*at` on into `out`, as far as pages are known; returns the end of what was
 * written. `out` has room for NC_FOLD_LONGEST times the text. */
static inline uint32_t *nc_fold(const nc_folding *folding, nc_text text, size_t *at, uint32_t *out)
{
    for (; *at < text.size; (*at)++) {
        const uint32_t character = nc_character(text.data, *at, text.width);
        const uint32_t *const page = folding->page[character / NC_FOLD_PAGE];
        uint32_t folded, place;

        if (page == NULL) break;
        folded = page[character % NC_FOLD_PAGE];
        if (folded & NC_FOLD_MANY) {
            const nc_expansion *const expansion = &folding->expansions[folded & ~NC_FOLD_MANY];

            for (place = 0; place < expansion->count; place++) *out++ = expansion->character[place];
        } else {
            *out++ = (character + folded) & ~NC_FOLD_MANY; /* what is kept is the difference */
        }
    }
    return out;
}

#endif
