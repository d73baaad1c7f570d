/* Messages of events, from arrays of segments to CQ strings and back. Python-free.
 *
 * Converts the message of a proved document without decoding it. What comes out is specified by the
 * plain twin (_message_py.py), which also does what is too odd to be worth the code here (NC_ODD).
 */
#ifndef NAPCORE_MESSAGE_H
#define NAPCORE_MESSAGE_H

#include "_cq.h"
#include "_json.h"

typedef enum { NC_ARRAY, NC_STRING } nc_message_format;

enum { NC_MOST_PLACES = 8 }; /* to rewrite; more are duplicates of duplicates */

/* Which of the members a conversion rewrites. */
typedef enum { NC_THE_MESSAGE, NC_THE_RAW_MESSAGE, NC_THE_FORMAT, NC_NOT_REWRITTEN } nc_rewritten;

typedef struct {
    nc_buffer message; /* the new value, as JSON */
    nc_buffer plain;   /* a CQ string in which no escape hides what means something */
    nc_slice places[NC_MOST_PLACES]; /* the old values, in order */
    nc_rewritten which[NC_MOST_PLACES];
    size_t count;
    nc_message_format format;
} nc_conversion;

/* ---- members of proved objects ---- */

/* The closing quote of the string whose text begins at p; *plain tells that it has no escapes. */
static inline const uint8_t *nc_close_text(const uint8_t *p, const uint8_t *end, int *plain)
{
    *plain = 1;
    for (;;) {
#if defined(NC_HAVE_SSE2)
        while (end - p >= 16) {
            const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)p);
            const __m128i quotes = _mm_cmpeq_epi8(text, _mm_set1_epi8('"'));
            const unsigned found =
                (unsigned)_mm_movemask_epi8(_mm_or_si128(quotes, _mm_cmpeq_epi8(text, _mm_set1_epi8('\\'))));

            if (NC_LIKELY(found)) {
                p += nc_lowest_bit(found);
                break;
            }
            p += 16;
        }
#else
        (void)end;
#endif
        while (*p != '"' && *p != '\\') p++;
        if (*p == '"') return p;
        *plain = 0;
        p += 2;
    }
}

/* Behind the array or object at p. */
static inline const uint8_t *nc_close_nested(const uint8_t *p, const uint8_t *end)
{
    unsigned depth = 0;
    int plain;

    for (;;) {
        uint8_t folded; /* brackets and braces as braces */

#if defined(NC_HAVE_SSE2)
        while (end - p >= 16) {
            const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)p);
            const __m128i braces = _mm_or_si128(text, _mm_set1_epi8(0x20));
            __m128i marks = _mm_cmpeq_epi8(text, _mm_set1_epi8('"'));
            unsigned found;

            marks = _mm_or_si128(marks, _mm_cmpeq_epi8(braces, _mm_set1_epi8('{')));
            marks = _mm_or_si128(marks, _mm_cmpeq_epi8(braces, _mm_set1_epi8('}')));
            found = (unsigned)_mm_movemask_epi8(marks);
            if (found) {
                p += nc_lowest_bit(found);
                break;
            }
            p += 16;
        }
#endif
        while ((folded = *p | 0x20) != '{' && folded != '}' && *p != '"') p++;
        if (*p == '"') p = nc_close_text(p + 1, end, &plain);
        else if (folded == '{') depth++;
        else if (--depth == 0) return p + 1;
        p++;
    }
}

/* Behind the value at p. */
static inline const uint8_t *nc_value_end(const uint8_t *p, const uint8_t *end)
{
    int plain;

    if (*p == '"') return nc_close_text(p + 1, end, &plain) + 1;
    if ((*p | 0x20) == '{') return nc_close_nested(p, end);
    while (*p > ' ' && *p != ',' && (*p | 0x20) != '}') p++;
    return p;
}

/* The value behind the key at p. The key has its quotes off; *plain tells that it has no escapes. */
static inline const uint8_t *nc_read_key(const uint8_t *p, const uint8_t *end, nc_slice *key, int *plain)
{
    key->start = p + 1;
    key->end = p = nc_close_text(p + 1, end, plain);
    p = nc_skip_white(p + 1, end);
    return nc_skip_white(p + 1, end);
}

/* The first member or item of what opens at *p, or, if there is none, the place behind it. */
static inline int nc_enter(const uint8_t **p, const uint8_t *end)
{
    *p = nc_skip_white(*p + 1, end);
    if (**p != '}' && **p != ']') return 1;
    ++*p;
    return 0;
}

/* The member or item behind the one that ends at *p, or, if there is none, the place behind the bracket. */
static inline int nc_go_on(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *const at = nc_skip_white(*p, end);

    *p = at + 1;
    if (*at != ',') return 0;
    *p = nc_skip_white(at + 1, end);
    return 1;
}

/* ---- from an array to a string ---- */

/* An array or object, as the JSON of a text that is its compact JSON, with entities. */
static inline int nc_put_nested(nc_buffer *out, nc_slice value, int comma)
{
    const uint8_t *p = value.start;
    int inside = 0; /* of a string */

    while (p < value.end) {
        const uint8_t *const stop = value.end - p > NC_CHUNK ? p + NC_CHUNK : value.end;
        uint8_t *to;

        if (!nc_reserve(out, NC_ENTITY * (size_t)(stop - p) + NC_SLACK)) return 0;
        to = out->data + out->size;
        while ((p = nc_copy_plain(&to, p, stop, 1)) < stop) {
            const uint8_t character = *p++;

            if (character == '\\') {
                *to++ = '\\';
                *to++ = '\\';
                if (*p == '"' || *p == '\\') *to++ = '\\';
                *to++ = *p++;
            } else if (character == '"') {
                *to++ = '\\';
                *to++ = '"';
                inside = !inside;
            } else if (character > ' ') {
                if (character == ',' && !comma) *to++ = character;
                else to = nc_write_entity(to, character);
            } else if (inside) {
                *to++ = character;
            }
        }
        out->size = (size_t)(to - out->data);
    }
    return 1;
}

static inline int nc_put_value(nc_buffer *out, nc_slice value, int comma)
{
    switch (*value.start) {
    case '"':
        value.start++;
        value.end--;
        return nc_put_escaped(out, value, comma);
    case '{': case '[':
        return nc_put_nested(out, value, comma);
    default:
        return nc_put_slice(out, value);
    }
}

/* Read the members of the object at *place, which is behind it then. */
static inline int nc_read_parameters(nc_code *code, const uint8_t **place, const uint8_t *end)
{
    const uint8_t *p = *place;
    int more, plain;

    code->count = 0;
    for (more = nc_enter(&p, end); more; more = nc_go_on(&p, end)) {
        nc_parameter parameter;

        if (code->count == NC_MOST_PARAMETERS) return 0;
        parameter.value.start = p = nc_read_key(p, end, &parameter.key, &plain);
        if (!plain) return 0;
        parameter.value.end = p = nc_value_end(p, end);
        code->parameters[code->count++] = parameter;
    }
    *place = p;
    code->count = nc_drop_duplicates(code->parameters, code->count);
    return 1;
}

/* Read the segment at *place, which is behind it then; type is a string and has its quotes off. */
static inline nc_conversion_result nc_read_segment(nc_code *code, const uint8_t **place, const uint8_t *end)
{
    const uint8_t *p = *place;
    int more, plain, has_type = 0, good = 1;

    code->count = 0;
    if (*p != '{') return NC_AS_RECEIVED;
    for (more = nc_enter(&p, end); more; more = nc_go_on(&p, end)) {
        const uint8_t *value;
        nc_slice key;

        value = nc_read_key(p, end, &key, &plain);
        if (!plain) return NC_ODD;
        if (nc_slice_is(key, "data")) {
            code->count = 0;
            good = *value == '{' || *value == 'n';
            if (*value == '{') {
                p = value;
                if (!nc_read_parameters(code, &p, end)) return NC_ODD;
                continue;
            }
        }
        p = nc_value_end(value, end);
        if (nc_slice_is(key, "type")) {
            has_type = *value == '"';
            code->type.start = value + 1;
            code->type.end = p - 1;
        }
    }
    *place = p;
    if (!has_type || !good) return NC_AS_RECEIVED;
    return nc_has_escape(code->type) ? NC_ODD : NC_CONVERTED;
}

/* What the segment is in a CQ string. */
static inline nc_conversion_result nc_put_segment(nc_buffer *out, const nc_code *code)
{
    const int is_text = nc_slice_is(code->type, "text");
    int good = 1;
    size_t at;

    if (!is_text) {
        if (!nc_is_name_slice(code->type)) return NC_AS_RECEIVED;
        good = NC_PUT(out, "[CQ:") && nc_put_slice(out, code->type);
    }
    for (at = 0; at < code->count; at++) {
        const nc_slice key = code->parameters[at].key, value = code->parameters[at].value;

        if (*value.start == 'n' || (is_text && !nc_slice_is(key, "text"))) continue;
        if (!nc_is_name_slice(key)) return NC_AS_RECEIVED;
        if (!is_text) good = good && NC_PUT(out, ",") && nc_put_slice(out, key) && NC_PUT(out, "=");
        good = good && nc_put_value(out, value, !is_text);
    }
    return good && (is_text || NC_PUT(out, "]")) ? NC_CONVERTED : NC_NO_MEMORY;
}

/* Make the CQ string of the array at *place, which is behind it then. */
static inline nc_conversion_result nc_make_string(nc_conversion *made, const uint8_t **place, const uint8_t *end)
{
    const uint8_t *p = *place;
    nc_conversion_result result;
    nc_code code;
    int more;

    if (*p != '[') return NC_AS_RECEIVED;
    if (!NC_PUT(&made->message, "\"")) return NC_NO_MEMORY;
    for (more = nc_enter(&p, end); more; more = nc_go_on(&p, end)) {
        result = nc_read_segment(&code, &p, end);
        if (result == NC_CONVERTED) result = nc_put_segment(&made->message, &code);
        if (result != NC_CONVERTED) return result;
    }
    *place = p;
    return NC_PUT(&made->message, "\"") ? NC_CONVERTED : NC_NO_MEMORY;
}

/* ---- from a string to an array ---- */

static inline int nc_put_text(nc_buffer *out, const uint8_t *start, const uint8_t *end)
{
    const nc_slice text = {start, end};

    if (start == end) return 1;
    return NC_PUT(out, "{\"type\":\"text\",\"data\":{\"text\":\"") && nc_put_unescaped(out, text) &&
           NC_PUT(out, "\"}},");
}

static inline int nc_put_code(nc_buffer *out, const nc_code *code)
{
    size_t at;
    int good = NC_PUT(out, "{\"type\":\"") && nc_put_slice(out, code->type) && NC_PUT(out, "\",\"data\":{");

    for (at = 0; at < code->count; at++) {
        good = good && (at == 0 || NC_PUT(out, ",")) && NC_PUT(out, "\"") && nc_put_slice(out, code->parameters[at].key);
        good = good && NC_PUT(out, "\":\"") && nc_put_unescaped(out, code->parameters[at].value) && NC_PUT(out, "\"");
    }
    return good && NC_PUT(out, "}},");
}

/* Make the array of the CQ string at *place, which is behind it then. */
static inline nc_conversion_result nc_make_array(nc_conversion *made, const uint8_t **place, const uint8_t *end)
{
    const uint8_t *p = *place, *done;
    nc_slice body;
    nc_buffer *const out = &made->message;
    nc_code code;

    if (*p != '"') return NC_AS_RECEIVED;
    body.start = p + 1;
    *place = nc_value_end(p, end);
    body.end = *place - 1;
    if (!nc_undo_plain_escapes(&made->plain, &body) || !NC_PUT(out, "[")) return NC_NO_MEMORY;
    p = done = body.start;
    while ((p = memchr(p, '[', (size_t)(body.end - p))) != NULL) {
        const uint8_t *const opening = p;
        nc_conversion_result result;

        if (body.end - p < 4 || memcmp(p, "[CQ:", 4) != 0) {
            p++;
            continue;
        }
        result = nc_read_code(&code, &p, body.end);
        if (result == NC_ODD) return NC_ODD;
        if (result == NC_AS_RECEIVED) continue;
        if (!nc_put_text(out, done, opening) || !nc_put_code(out, &code)) return NC_NO_MEMORY;
        done = p;
    }
    if (!nc_put_text(out, done, body.end)) return NC_NO_MEMORY;
    if (out->data[out->size - 1] == ',') out->size--;
    return NC_PUT(out, "]") ? NC_CONVERTED : NC_NO_MEMORY;
}

/* ---- events ---- */

static inline nc_rewritten nc_rewritten_of(nc_slice key, int plain)
{
    static const char *const names[] = {"message", "raw_message", "message_format"};
    int at;

    for (at = 0; at < NC_NOT_REWRITTEN; at++) {
        const nc_key wanted = {(const uint8_t *)names[at], strlen(names[at])};

        if (plain ? nc_slice_is(key, names[at]) : nc_equals(key.start, key.end, &wanted)) break;
    }
    return (nc_rewritten)at;
}

/* Convert the message of a proved document. made is zero at first and may be used again; its texts
 * are the caller's to free. */
static inline nc_conversion_result nc_convert(
    nc_conversion *made, const uint8_t *data, size_t size, nc_message_format format)
{
    const uint8_t *const end = data + size;
    const uint8_t *p = nc_skip_white(data, end);
    nc_conversion_result result = NC_AS_RECEIVED;
    int more, plain;

    made->message.size = made->count = 0;
    made->format = format;
    for (more = nc_enter(&p, end); more; more = nc_go_on(&p, end)) {
        const uint8_t *value;
        nc_rewritten which;
        nc_slice key;

        value = p = nc_read_key(p, end, &key, &plain);
        which = nc_rewritten_of(key, plain);
        if (which == NC_THE_MESSAGE) {
            made->message.size = 0; /* what an earlier one has left */
            result = format == NC_STRING ? nc_make_string(made, &p, end) : nc_make_array(made, &p, end);
            if (result == NC_ODD || result == NC_NO_MEMORY) return result;
        }
        if (p == value) p = nc_value_end(value, end);
        if (which == NC_NOT_REWRITTEN || (which == NC_THE_RAW_MESSAGE && format == NC_ARRAY)) continue;
        if (made->count == NC_MOST_PLACES) return NC_ODD;
        made->places[made->count].start = value;
        made->places[made->count].end = p;
        made->which[made->count++] = which;
    }
    return result;
}

static inline nc_slice nc_new_value(const nc_conversion *made, size_t place)
{
    static const uint8_t formats[2][9] = {"\"array\"", "\"string\""};
    nc_slice value;

    if (made->which[place] == NC_THE_FORMAT) {
        value.start = formats[made->format];
        value.end = value.start + strlen((const char *)value.start);
    } else {
        value.start = made->message.data;
        value.end = value.start + made->message.size;
    }
    return value;
}

/* How long the document is now. */
static inline size_t nc_converted_size(const nc_conversion *made, size_t size)
{
    size_t at;

    for (at = 0; at < made->count; at++) {
        const nc_slice old = made->places[at], new_ = nc_new_value(made, at);

        size = size - (size_t)(old.end - old.start) + (size_t)(new_.end - new_.start);
    }
    return size;
}

/* Write the document as it is now. */
static inline void nc_write_converted(const nc_conversion *made, const uint8_t *data, size_t size, uint8_t *out)
{
    const uint8_t *done = data;
    size_t at;

    for (at = 0; at < made->count; at++) {
        const nc_slice old = made->places[at], new_ = nc_new_value(made, at);

        memcpy(out, done, (size_t)(old.start - done));
        out += old.start - done;
        memcpy(out, new_.start, (size_t)(new_.end - new_.start));
        out += new_.end - new_.start;
        done = old.end;
    }
    memcpy(out, done, (size_t)(data + size - done));
}

#endif
