/* The conversion of messages against what it promises, and its loops against plain ones.
 *
 * The input is tried as a whole document, as the value of a message and as what lies between the
 * quotes of one. A conversion must leave a document, give the same again when there is nothing more
 * to convert, and come back to itself by way of the other format. Memory fails on request.
 */
#include "harness.h"

static int reallocations_to_go = -1; /* before one fails; -1: none does */

static void *unreliable_realloc(void *block, size_t size)
{
    if (reallocations_to_go == 0) return NULL;
    if (reallocations_to_go > 0) reallocations_to_go--;
    return realloc(block, size);
}

#define NC_CHUNK 40 /* so that short values need more than one */
#define realloc unreliable_realloc
#include "_message.h"
#undef realloc

#include "_fast.h"

typedef struct {
    uint8_t *data;
    size_t size;
} block;

/* The document in the other format, in a block of its own; result tells whether there is one. */
static block converted(block document, nc_message_format format, nc_conversion_result *result)
{
    nc_conversion made;
    block found = {NULL, 0};

    memset(&made, 0, sizeof made);
    *result = nc_convert(&made, document.data, document.size, format);
    if (*result == NC_CONVERTED) {
        found.size = nc_converted_size(&made, document.size);
        found.data = malloc(found.size);
        if (found.data == NULL) abort();
        nc_write_converted(&made, document.data, document.size, found.data);
    }
    free(made.message.data);
    free(made.plain.data);
    return found;
}

static int is_document(block document)
{
    nc_head head;

    return nc_scan_document(document.data, document.size, &head);
}

static int same(block a, block b) { return a.size == b.size && memcmp(a.data, b.data, a.size) == 0; }

static nc_span member(block document, const char *name)
{
    const nc_key key = {(const uint8_t *)name, strlen(name)};

    return nc_find_member(document.data, document.size, &key);
}

/* Members that are not rewritten, and those that are. */
static void check_members(block before, block after, nc_message_format format)
{
    static const char *const kept[] = {"post_type", "time", "sender", "a", "", "raw_message"};
    const nc_span new_format = member(after, "message_format"), message = member(after, "message");
    size_t at;

    for (at = 0; at < sizeof kept / sizeof kept[0] - (format == NC_STRING); at++) {
        const nc_span old = member(before, kept[at]), new_ = member(after, kept[at]);

        REQUIRE((old.start == 0) == (new_.start == 0));
        REQUIRE(old.end - old.start == new_.end - new_.start);
        REQUIRE(memcmp(before.data + old.start, after.data + new_.start, old.end - old.start) == 0);
    }
    REQUIRE(after.data[message.start] == (format == NC_STRING ? '"' : '['));
    if (new_format.start) {
        const char *name = format == NC_STRING ? "\"string\"" : "\"array\"";

        REQUIRE(new_format.end - new_format.start == strlen(name));
        REQUIRE(memcmp(after.data + new_format.start, name, strlen(name)) == 0);
    }
}

/* From a format to the other and back, until nothing changes any more. */
static void check_ways(block document, nc_message_format format)
{
    nc_conversion_result result;
    block steps[5] = {document, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    size_t at, last = 0;

    for (at = 1; at < 5; at++) {
        const nc_message_format to = (format == NC_ARRAY) == (at % 2 != 0) ? NC_ARRAY : NC_STRING;
        block again;

        steps[at] = converted(steps[at - 1], to, &result);
        if (result != NC_CONVERTED) break;
        last = at;
        REQUIRE(is_document(steps[at]));
        check_members(steps[at - 1], steps[at], to);
        again = converted(steps[at], to, &result);
        REQUIRE(result == NC_AS_RECEIVED && again.data == NULL);
    }
    REQUIRE(last == 0 || last == 4 || result == NC_ODD);
    /* What is lost is lost the first time. */
    REQUIRE(last < 4 || same(steps[4], steps[2]));
    REQUIRE(last < 4 || format == NC_ARRAY || same(steps[3], steps[1]));
    for (at = 1; at <= last; at++) free(steps[at].data);
}

/* Wherever memory ends, it is told and nothing is lost. */
static void check_memory(block document, nc_message_format format)
{
    nc_conversion_result result;
    int allowed;

    for (allowed = 0; allowed < 3; allowed++) {
        reallocations_to_go = allowed;
        free(converted(document, format, &result).data);
        reallocations_to_go = -1;
        if (result != NC_NO_MEMORY) return;
    }
}

static void check_document(const uint8_t *before, const uint8_t *data, size_t size, const uint8_t *after)
{
    const size_t head = strlen((const char *)before), tail = strlen((const char *)after);
    block document = {malloc(head + size + tail + 1), head + size + tail};
    uint8_t *exact;

    if (document.data == NULL) abort();
    memcpy(document.data, before, head);
    if (size) memcpy(document.data + head, data, size);
    memcpy(document.data + head + size, after, tail);
    exact = exact_copy(document.data, document.size);
    free(document.data);
    document.data = exact;
    if (is_document(document)) {
        check_ways(document, NC_STRING);
        check_ways(document, NC_ARRAY);
        check_memory(document, NC_STRING);
        check_memory(document, NC_ARRAY);
    }
    free(exact);
}

static void check_loops(const uint8_t *data, size_t size)
{
    const uint8_t *const end = data + size, *plain_end;
    uint8_t *const out = malloc(size + 16), *to;
    int nested;

    if (out == NULL) abort();
    for (nested = 0; nested < 2; nested++) {
        for (plain_end = data; plain_end < end && !nc_is_mark(*plain_end, nested);) plain_end++;
        to = out;
        REQUIRE(nc_copy_plain(&to, data, end, nested) == plain_end);
        REQUIRE(to - out == plain_end - data && (size == 0 || memcmp(out, data, (size_t)(to - out)) == 0));
    }
    for (plain_end = data; plain_end < end && *plain_end != ',' && *plain_end != ']';) plain_end++;
    REQUIRE(nc_end_of_parameter(data, end) == plain_end);
    free(out);
}

#define TEXT(text) ((const uint8_t *)(text))

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    uint8_t *const data = exact_copy(input, size);

    check_document(TEXT(""), data, size, TEXT(""));
    check_document(TEXT("{\"message\":"), data, size, TEXT(",\"message_format\":1,\"a\":[\"\\\"\"]}"));
    check_document(TEXT("{\"message\":\""), data, size, TEXT("\",\"raw_message\":\"r\",\"time\":5}"));
    check_loops(data, size);
    free(data);
    return 0;
}
