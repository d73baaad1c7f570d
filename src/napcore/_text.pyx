# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The compiled text index.

What everything here does is specified by its plain twin, ``_text_py``; this file only says how it
is done fast.
"""

import heapq

cimport cython
from cpython.mem cimport PyMem_Free
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from napcore._text_py import patterns_of

cdef extern from "_text.h" nogil:
    enum:
        NC_COMMAND
        NC_PREFIX
        NC_FULL
        NC_SUFFIX
        NC_KEYWORD

    enum:
        NC_ANYTHING
        NC_SPACE
        NC_THIS_SPACE

    ctypedef struct nc_text:
        const void *data
        size_t size
        int width

    ctypedef struct nc_row:
        bint live
        uint32_t first
        int demand
        uint32_t *space
        size_t space_size

    ctypedef struct nc_patterns:
        size_t postings

    ctypedef struct nc_text_index:
        nc_patterns *patterns
        nc_row *rows
        uint32_t *found
        size_t rows_made

    bint nc_text_make_row(nc_text_index *index, size_t row)
    bint nc_text_add(
        nc_text_index *index, uint32_t *chain, size_t row, int kind, int folded, const uint32_t *pattern, size_t size
    )
    void nc_text_drop_chain(nc_text_index *index, uint32_t at)
    void nc_text_free(nc_text_index *index)
    size_t nc_text_match(nc_text_index *index, const nc_text *text)

cdef extern from "_fold.h" nogil:
    enum:
        NC_FOLD_PAGES
        NC_FOLD_PAGE
        NC_FOLD_LONGEST

    const uint32_t NC_FOLD_MANY

    ctypedef struct nc_expansion:
        uint32_t count
        uint32_t *character

    ctypedef struct nc_folding:
        const uint32_t **page
        nc_expansion *expansions

    uint32_t nc_character(const void *data, size_t at, int width)
    uint32_t *nc_fold(const nc_folding *folding, nc_text text, size_t *at, uint32_t *out)

cdef extern from *:
    """
    /* Until 3.12 there are strings that are not yet in their final form. */
    #if PY_VERSION_HEX < 0x030C0000
    #define NC_READY(text) PyUnicode_READY(text)
    #else
    #define NC_READY(text) 0
    #endif
    """
    int NC_READY(object text) except -1

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    uint32_t *PyUnicode_AsUCS4Copy(object text) except NULL

cdef enum:
    USUAL_LENGTH = 256


# ---- case folding ----

cdef nc_folding folding
cdef size_t expansions_made = 0
cdef uint32_t[256] same  # the page of characters that fold to themselves


cdef int learn_page(size_t number) except -1:
    """Ask ``str.casefold`` what becomes of the characters of one page."""
    global expansions_made
    cdef list characters = [chr(code) for code in range(number * NC_FOLD_PAGE, (number + 1) * NC_FOLD_PAGE)]
    cdef list folded = [character.casefold() for character in characters]
    cdef nc_expansion *expansions
    cdef uint32_t *page
    cdef size_t at, place
    cdef str text
    if folded == characters:
        folding.page[number] = same
        return 0
    many = sum([len(character) != 1 for character in folded])
    expansions = <nc_expansion *> realloc(folding.expansions, (expansions_made + many + 1) * sizeof(nc_expansion))
    if expansions == NULL:
        raise MemoryError
    folding.expansions = expansions
    page = <uint32_t *> calloc(NC_FOLD_PAGE, sizeof(uint32_t))
    if page == NULL:
        raise MemoryError
    for at in range(<size_t> NC_FOLD_PAGE):
        text = folded[at]
        if len(text) == 1:
            page[at] = (ord(text) - (number * NC_FOLD_PAGE + at)) & ~NC_FOLD_MANY
            continue
        page[at] = NC_FOLD_MANY | expansions_made
        expansions[expansions_made].count = len(text)
        for place in range(<size_t> len(text)):
            expansions[expansions_made].character[place] = ord(text[place])
        expansions_made += 1
    folding.page[number] = page
    return 0


cdef int fold(nc_text text, uint32_t *out, size_t *made) except -1:
    """Case-fold a text; ``out`` has room for three times as many characters."""
    cdef uint32_t *end = out
    cdef size_t at = 0
    while True:
        end = nc_fold(&folding, text, &at, end)
        if at == text.size:
            break
        learn_page(character_at(text, at) // NC_FOLD_PAGE)
    made[0] = end - out
    return 0


cdef inline uint32_t character_at(nc_text text, size_t at) noexcept:
    return nc_character(text.data, at, text.width)


# ---- the index ----

@cython.final
cdef class TextIndex:
    """Which rows have a pattern that a text has. Rows are numbered from 0; freed numbers are used again, lowest first.

    A row matches when the text has any of its patterns; one without patterns matches nothing.
    ``prefix``: the text begins with it. ``suffix``: it ends with it. ``fullmatch``: it is the
    text. ``keywords``: it is somewhere in the text. These look at the text as it is, code point by
    code point, lone surrogates included.

    ``commands`` are meant as NoneBot2 means them (``nonebot.rule``, 2.4): white space in front of
    the text does not count, then come one of the start symbols ``command_start`` and the name, with
    nothing between them; what follows is the argument. A start symbol may be ``""``, and without
    any there is no command. ``command_whitespace`` is what has to be between the command and its
    argument, if there is an argument, which is something other than white space: ``False`` anything
    or nothing, ``True`` white space, a string exactly this white space. It is NoneBot2's
    ``force_whitespace``, of which ``None`` is ``False`` here; NoneBot2's ``False`` (no white space
    may be there) is not had. Where several commands fit, NoneBot2 takes the longest one of the whole
    bot and the others do not hear of it; here rows know nothing of each other, and shorter commands
    match too. So a row matches whenever NoneBot2 could take one of its commands.

    ``ignore_case`` compares what ``str.casefold`` makes of the text with what it makes of the row's
    patterns. The text may get longer by it: "Straße" has the suffix "SSE", and "ß" the prefix "s".
    Rows with and without it live in one index.

    A pattern, of commands start symbol and name together, is never empty: it would match everything.
    """

    cdef nc_text_index index
    cdef list free_rows

    def __cinit__(self):
        self.free_rows = []

    def __dealloc__(self):
        nc_text_free(&self.index)

    def __len__(self):
        """How many rows there are."""
        return self.index.rows_made - len(self.free_rows)

    def add(
        self,
        *,
        commands=(),
        command_start=("/",),
        command_whitespace=False,
        prefix=(),
        suffix=(),
        fullmatch=(),
        keywords=(),
        ignore_case=False,
    ):
        """Add a row with these patterns; returns its number.

        Raises:
            TypeError: an argument or a member of a collection has the wrong type; one string is no
                collection of patterns.
            ValueError: a pattern is empty.
        """
        cdef object patterns = patterns_of(
            commands, command_start, command_whitespace, prefix, suffix, fullmatch, keywords, ignore_case
        )
        cdef size_t row = self.free_rows[0] if self.free_rows else self.index.rows_made
        cdef bint used_before = row < self.index.rows_made
        if not nc_text_make_row(&self.index, row):
            raise MemoryError
        try:
            self.install(row, patterns)
        except MemoryError:
            if not used_before:
                self.index.rows_made -= 1
            raise
        if used_before:
            heapq.heappop(self.free_rows)
        return row

    def replace(
        self,
        row,
        *,
        commands=(),
        command_start=("/",),
        command_whitespace=False,
        prefix=(),
        suffix=(),
        fullmatch=(),
        keywords=(),
        ignore_case=False,
    ):
        """Give ``row`` these patterns instead of its own.

        Raises:
            KeyError: there is no such row.
            TypeError: an argument or a member of a collection has the wrong type; one string is no
                collection of patterns.
            ValueError: a pattern is empty.
        """
        self.row_of(row)
        cdef object patterns = patterns_of(
            commands, command_start, command_whitespace, prefix, suffix, fullmatch, keywords, ignore_case
        )
        # Whoever made the patterns may have taken it away.
        self.install(self.row_of(row), patterns)

    def remove(self, row):
        """Forget ``row``; its number may be given out again.

        Raises:
            KeyError: there is no such row.
        """
        cdef size_t number = self.row_of(row)
        heapq.heappush(self.free_rows, number)
        self.uninstall(number)

    def match(self, text):
        """The rows that have a pattern which the text has, ascending.

        Raises:
            TypeError: ``text`` is not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"expected a str, not {type(text).__name__}")
        # Made first: the collector may run whatever it likes here, but not between search and result.
        cdef list rows = []
        cdef uint32_t[3 * USUAL_LENGTH] usual
        cdef uint32_t *folded = usual
        cdef nc_text[2] texts
        cdef size_t found, at
        NC_READY(text)
        texts[0].data = PyUnicode_DATA(text)
        texts[0].size = PyUnicode_GET_LENGTH(text)
        texts[0].width = PyUnicode_KIND(text)
        texts[1].data = NULL
        texts[1].size = 0
        texts[1].width = 4
        try:
            if self.index.patterns[1].postings:
                if texts[0].size > USUAL_LENGTH:
                    folded = <uint32_t *> malloc(texts[0].size * 3 * sizeof(uint32_t))
                    if folded == NULL:
                        raise MemoryError
                texts[1].data = folded
                fold(texts[0], folded, &texts[1].size)
            found = nc_text_match(&self.index, texts)
        finally:
            if folded != usual:
                free(folded)
        for at in range(found):
            rows.append(self.index.found[at])
        return rows

    cdef size_t row_of(self, object row) except? 0:
        if not isinstance(row, int) or not 0 <= row < self.index.rows_made or not self.index.rows[<size_t> row].live:
            raise KeyError(row)
        return row

    cdef int install(self, size_t row, object patterns) except -1:
        """Give the row these patterns instead of those it has; without memory nothing changes."""
        cdef uint32_t chain = 0
        cdef uint32_t *space = NULL
        cdef uint32_t *copied
        cdef nc_row *made
        cdef int demand = NC_THIS_SPACE
        cdef size_t size = 0
        cdef object whitespace = patterns.command_whitespace
        cdef bint folded = patterns.ignore_case
        if isinstance(whitespace, bool):
            demand = NC_SPACE if whitespace else NC_ANYTHING
        else:
            size = len(whitespace)
            copied = PyUnicode_AsUCS4Copy(whitespace)
            space = <uint32_t *> malloc((size + 1) * sizeof(uint32_t))
            if space != NULL:
                memcpy(space, copied, size * sizeof(uint32_t))
            PyMem_Free(copied)
            if space == NULL:
                raise MemoryError
        try:
            self.tie(&chain, row, NC_COMMAND, folded, patterns.commands)
            self.tie(&chain, row, NC_PREFIX, folded, patterns.prefix)
            self.tie(&chain, row, NC_SUFFIX, folded, patterns.suffix)
            self.tie(&chain, row, NC_FULL, folded, patterns.fullmatch)
            self.tie(&chain, row, NC_KEYWORD, folded, patterns.keywords)
        except MemoryError:
            nc_text_drop_chain(&self.index, chain)
            free(space)
            raise
        self.uninstall(row)
        made = &self.index.rows[row]
        made.live = True
        made.first = chain
        made.demand = demand
        made.space = space
        made.space_size = size
        return 0

    cdef int tie(self, uint32_t *chain, size_t row, int kind, bint folded, frozenset patterns) except -1:
        cdef uint32_t *copied
        cdef bint good
        for pattern in patterns:
            copied = PyUnicode_AsUCS4Copy(pattern)
            good = nc_text_add(&self.index, chain, row, kind, folded, copied, len(pattern))
            PyMem_Free(copied)
            if not good:
                raise MemoryError
        return 0

    cdef void uninstall(self, size_t row) noexcept:
        cdef nc_row *gone = &self.index.rows[row]
        nc_text_drop_chain(&self.index, gone.first)
        free(gone.space)
        gone.live = False
        gone.first = 0
        gone.space = NULL
