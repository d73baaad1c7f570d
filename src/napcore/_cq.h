/* CQ strings, as they lie between the quotes of a JSON string. Python-free.
 *
 * Nothing is decoded: what has no meaning in a CQ string goes over as it is written, escapes of
 * JSON included. The language is specified by the plain twin (_message_py.py).
 */
#ifndef NAPCORE_CQ_H
#define NAPCORE_CQ_H

#include <stdlib.h>

#include "_quotes.h"

typedef enum {
    NC_CONVERTED,
    NC_AS_RECEIVED, /* there is nothing to convert, or it cannot be */
    NC_ODD,         /* a matter for the twin */
    NC_NO_MEMORY
} nc_conversion_result;

enum {
    NC_MOST_PARAMETERS = 32, /* of a segment; NapCat's have ten at most */
    NC_ENTITY = 5            /* &amp; and the others */
};

/* Text that grows. */
typedef struct {
    uint8_t *data;
    size_t size;
    size_t room;
} nc_buffer;

typedef struct {
    const uint8_t *start;
    const uint8_t *end;
} nc_slice;

typedef struct {
    nc_slice key;
    nc_slice value;
} nc_parameter;

/* A segment. */
typedef struct {
    nc_slice type;
    nc_parameter parameters[NC_MOST_PARAMETERS];
    size_t count;
} nc_code;

/* ---- text ---- */

static inline int nc_reserve(nc_buffer *text, size_t more)
{
    size_t room = text->room ? text->room : 1024;
    uint8_t *data;

    if (NC_LIKELY(text->room - text->size > more)) return 1;
    while (room - text->size <= more) {
        if (room > SIZE_MAX / 2) return 0;
        room *= 2;
    }
    data = realloc(text->data, room);
    if (data == NULL) return 0;
    text->data = data;
    text->room = room;
    return 1;
}

static inline int nc_put(nc_buffer *text, const void *bytes, size_t size)
{
    if (!nc_reserve(text, size)) return 0;
    memcpy(text->data + text->size, bytes, size);
    text->size += size;
    return 1;
}

static inline int nc_put_slice(nc_buffer *text, nc_slice slice)
{
    return nc_put(text, slice.start, (size_t)(slice.end - slice.start));
}

#define NC_PUT(text, literal) nc_put(text, literal, sizeof(literal) - 1)

/* ---- characters ---- */

/* Whether a type or key may have the character. */
static inline int nc_is_name(uint32_t character)
{
    const uint32_t letter = character | 0x20;

    return (letter >= 'a' && letter <= 'z') || (character >= '0' && character <= '9') || character == '_' ||
           character == '-' || character == '.';
}

static inline int nc_is_name_slice(nc_slice name)
{
    const uint8_t *p = name.start;

    while (p < name.end && nc_is_name(*p)) p++;
    return p == name.end && p > name.start;
}

static inline int nc_same_slice(nc_slice a, nc_slice b)
{
    const size_t size = (size_t)(a.end - a.start);

    return size == (size_t)(b.end - b.start) && memcmp(a.start, b.start, size) == 0;
}

static inline int nc_slice_is(nc_slice slice, const char *text)
{
    const size_t size = strlen(text);

    return size == (size_t)(slice.end - slice.start) && memcmp(slice.start, text, size) == 0;
}

/* The printable ASCII character that the escape at p stands for; 0 if it is none, or must stay escaped. */
static inline uint8_t nc_plain_escape(const uint8_t *p, const uint8_t *end)
{
    int code;

    if (end - p < 6 || p[1] != 'u' || p[2] != '0' || p[3] != '0') return 0;
    code = nc_hex(p[4]) << 4 | nc_hex(p[5]);
    return code >= 0x20 && code < 0x7F && code != '"' && code != '\\' ? (uint8_t)code : 0;
}

/* The entity that stands for the character in a CQ string; NULL: it stands for itself. */
static inline const char *nc_entity(uint8_t character)
{
    switch (character) {
    case '&': return "&amp;";
    case '[': return "&#91;";
    case ']': return "&#93;";
    case ',': return "&#44;";
    default: return NULL;
    }
}

/* The character that the entity at p stands for; 0 if there is none. */
static inline uint8_t nc_undo_entity(const uint8_t *p, const uint8_t *end)
{
    if (end - p < NC_ENTITY) return 0;
    if (memcmp(p, "&amp;", NC_ENTITY) == 0) return '&';
    if (memcmp(p, "&#91;", NC_ENTITY) == 0) return '[';
    if (memcmp(p, "&#93;", NC_ENTITY) == 0) return ']';
    return memcmp(p, "&#44;", NC_ENTITY) == 0 ? ',' : 0;
}

static inline int nc_has_escape(nc_slice text)
{
    return memchr(text.start, '\\', (size_t)(text.end - text.start)) != NULL;
}

/* ---- entities in and out ---- */

#ifndef NC_CHUNK
#define NC_CHUNK 4096 /* bytes for which room is made at a time; a fuzzer wants fewer */
#endif

enum { NC_SLACK = 32 }; /* room beyond that: for an escape at its end, and for whole vectors */

/* Whether nc_copy_plain stops at the byte. */
static inline int nc_is_mark(uint8_t byte, int nested)
{
    return (uint8_t)(byte - '[') <= ']' - '[' || byte == '&' || byte == ',' ||
           (nested && (byte <= ' ' || byte == '"'));
}

/* Copy from p up to the first mark or end; *out is behind it then, and has room for 16 bytes more. */
static inline const uint8_t *nc_copy_plain(uint8_t **out, const uint8_t *p, const uint8_t *end, int nested)
{
    uint8_t *to = *out;

#if defined(NC_HAVE_SSE2)
    while (end - p >= 16) {
        const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i bracket = _mm_sub_epi8(text, _mm_set1_epi8('[')); /* also a backslash */
        __m128i marks = _mm_cmpeq_epi8(_mm_min_epu8(bracket, _mm_set1_epi8(']' - '[')), bracket);
        unsigned found;

        marks = _mm_or_si128(marks, _mm_cmpeq_epi8(text, _mm_set1_epi8('&')));
        marks = _mm_or_si128(marks, _mm_cmpeq_epi8(text, _mm_set1_epi8(',')));
        if (nested) {
            const __m128i white = _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(' ')), text);

            marks = _mm_or_si128(marks, _mm_or_si128(white, _mm_cmpeq_epi8(text, _mm_set1_epi8('"'))));
        }
        found = (unsigned)_mm_movemask_epi8(marks);
        _mm_storeu_si128((__m128i *)(void *)to, text);
        if (found) {
            *out = to + nc_lowest_bit(found);
            return p + nc_lowest_bit(found);
        }
        p += 16;
        to += 16;
    }
#endif
    while (p < end && !nc_is_mark(*p, nested)) *to++ = *p++;
    *out = to;
    return p;
}

static inline uint8_t *nc_write_entity(uint8_t *to, uint8_t character)
{
    memcpy(to, nc_entity(character), NC_ENTITY);
    return to + NC_ENTITY;
}

/* Text that lies between quotes, with entities; a comma needs one in a value only. */
static inline int nc_put_escaped(nc_buffer *out, nc_slice body, int comma)
{
    const uint8_t *p = body.start;

    while (p < body.end) {
        const uint8_t *const stop = body.end - p > NC_CHUNK ? p + NC_CHUNK : body.end;
        uint8_t *to;

        if (!nc_reserve(out, NC_ENTITY * (size_t)(stop - p) + NC_SLACK)) return 0;
        to = out->data + out->size;
        while ((p = nc_copy_plain(&to, p, stop, 0)) < stop) {
            uint8_t character = *p;

            if (character == '\\') {
                character = nc_plain_escape(p, body.end);
                if (character == 0) {
                    *to++ = *p++;
                    *to++ = *p++;
                    continue;
                }
                p += 5;
            }
            p++;
            if (nc_entity(character) == NULL || (character == ',' && !comma)) *to++ = character;
            else to = nc_write_entity(to, character);
        }
        out->size = (size_t)(to - out->data);
    }
    return 1;
}

/* Whether there is a backslash before a u; the backslash may be text itself. */
static inline int nc_may_have_codes(nc_slice text)
{
    const uint8_t *p = text.start;

#if defined(NC_HAVE_SSE2)
    for (; text.end - p > 16; p += 16) {
        const __m128i first = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(p + 1));
        const __m128i backslashes = _mm_cmpeq_epi8(first, _mm_set1_epi8('\\'));

        if (_mm_movemask_epi8(_mm_and_si128(backslashes, _mm_cmpeq_epi8(second, _mm_set1_epi8('u'))))) return 1;
    }
#endif
    for (; text.end - p > 1; p++) {
        if (p[0] == '\\' && p[1] == 'u') return 1;
    }
    return 0;
}

/* Where the text has escapes of printable ASCII, take a copy without them. */
static inline int nc_undo_plain_escapes(nc_buffer *copy, nc_slice *body)
{
    const uint8_t *p = body->start, *done = p;

    if (!nc_may_have_codes(*body)) return 1;
    copy->size = 0;
    while ((p = memchr(p, '\\', (size_t)(body->end - p))) != NULL) {
        const uint8_t character = nc_plain_escape(p, body->end);

        if (character == 0) {
            p += 2;
            continue;
        }
        if (!nc_put(copy, done, (size_t)(p - done)) || !nc_put(copy, &character, 1)) return 0;
        p += 6;
        done = p;
    }
    if (done == body->start) return 1;
    if (!nc_put(copy, done, (size_t)(body->end - done))) return 0;
    body->start = copy->data;
    body->end = copy->data + copy->size;
    return 1;
}

static inline int nc_put_unescaped(nc_buffer *out, nc_slice text)
{
    const uint8_t *p = text.start;
    uint8_t *to;

    if (!nc_reserve(out, (size_t)(text.end - p) + NC_SLACK)) return 0;
    to = out->data + out->size;
    for (;;) {
        uint8_t character;

#if defined(NC_HAVE_SSE2)
        while (text.end - p >= 16) {
            const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
            const unsigned found = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('&')));

            _mm_storeu_si128((__m128i *)(void *)to, bytes);
            to += found ? nc_lowest_bit(found) : 16;
            p += found ? nc_lowest_bit(found) : 16;
            if (found) break;
        }
#endif
        while (p < text.end && *p != '&') *to++ = *p++;
        if (p == text.end) break;
        character = nc_undo_entity(p, text.end);
        *to++ = character ? character : *p;
        p += character ? NC_ENTITY : 1;
    }
    out->size = (size_t)(to - out->data);
    return 1;
}

/* ---- codes ---- */

/* Of equal keys the last value counts, at the place of the first. Returns how many are left. */
static inline size_t nc_drop_duplicates(nc_parameter *parameters, size_t count)
{
    size_t left = 0, at, earlier;

    for (at = 0; at < count; at++) {
        for (earlier = 0; earlier < left; earlier++) {
            if (nc_same_slice(parameters[earlier].key, parameters[at].key)) break;
        }
        parameters[earlier] = parameters[at];
        if (earlier == left) left++;
    }
    return left;
}

static inline const uint8_t *nc_skip_name(const uint8_t *p, const uint8_t *end)
{
    while (p < end && nc_is_name(*p)) p++;
    return p;
}

static inline const uint8_t *nc_end_of_parameter(const uint8_t *p, const uint8_t *end)
{
#if defined(NC_HAVE_SSE2)
    while (end - p >= 16) {
        const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i commas = _mm_cmpeq_epi8(text, _mm_set1_epi8(','));
        const unsigned found =
            (unsigned)_mm_movemask_epi8(_mm_or_si128(commas, _mm_cmpeq_epi8(text, _mm_set1_epi8(']'))));

        if (found) return p + nc_lowest_bit(found);
        p += 16;
    }
#endif
    while (p < end && *p != ',' && *p != ']') p++;
    return p;
}

/* Read the code that opens at *place, which is behind it then. What is no code is NC_AS_RECEIVED, and *place
 * is where that turned out: no other code starts before it, for it would go wrong there too. */
static inline nc_conversion_result nc_read_code(nc_code *code, const uint8_t **place, const uint8_t *end)
{
    const uint8_t *p = *place + 4;

    code->count = 0;
    code->type.start = p;
    code->type.end = *place = p = nc_skip_name(p, end);
    if (p == code->type.start) return NC_AS_RECEIVED;
    while (p < end && *p == ',') {
        nc_parameter parameter;

        parameter.key.start = ++p;
        parameter.key.end = *place = p = nc_skip_name(p, end);
        if (p == parameter.key.start) break;
        if (p == end || *p != '=') return NC_AS_RECEIVED;
        parameter.value.start = ++p;
        parameter.value.end = p = nc_end_of_parameter(p, end);
        if (code->count == NC_MOST_PARAMETERS) return NC_ODD;
        code->parameters[code->count++] = parameter;
    }
    *place = p;
    if (p == end || *p != ']') return NC_AS_RECEIVED;
    *place = p + 1;
    code->count = nc_drop_duplicates(code->parameters, code->count);
    return NC_CONVERTED;
}

#endif
