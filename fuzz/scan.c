/* The scanner in every version, the readers of what it proved, and frames, against plain loops.
 *
 * The input is one would-be document. All versions must give one verdict and one head; where it is
 * refused, the offset must be what the specification says: the longest prefix that may still become
 * a document, which is tried by scanning that prefix.
 */
#define NC_LISTED 8 /* so that short documents need more than one list */

#include "harness.h"

#include "_fast.h"
#include "_frame.h"

static const char *const NAMES[] = {
    "post_type", "message_type", "notice_type", "request_type", "meta_event_type", "sub_type",
    "self_id",   "group_id",     "user_id",     "message_id",   "time",            "echo",
    "status",    "retcode",      "stream",      "action",       "params",
};
enum { KNOWN = sizeof NAMES / sizeof NAMES[0] };

/* ---- plain loops ---- */

static int plain_is_utf8(const uint8_t *data, size_t size)
{
    size_t at = 0;

    while (at < size) {
        const uint8_t lead = data[at++];
        uint32_t code, least;
        int rest;

        if (lead < 0x80) continue;
        if (lead >= 0xC0 && lead < 0xE0) code = lead & 0x1F, rest = 1, least = 0x80;
        else if (lead >= 0xE0 && lead < 0xF0) code = lead & 0x0F, rest = 2, least = 0x800;
        else if (lead >= 0xF0 && lead < 0xF8) code = lead & 0x07, rest = 3, least = 0x10000;
        else return 0;
        for (; rest; rest--) {
            if (at == size || (data[at] & 0xC0) != 0x80) return 0;
            code = code << 6 | (data[at++] & 0x3F);
        }
        if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return 0;
    }
    return 1;
}

/* `-?[0-9]+` within int64, by comparing decimal digits. */
static int plain_integer(const uint8_t *text, size_t size, int64_t *value)
{
    const int negative = size && text[0] == '-';
    const char *limit = negative ? "9223372036854775808" : "9223372036854775807";
    uint64_t total = 0;
    size_t at = (size_t)negative;

    if (at == size) return 0;
    for (; at < size; at++) {
        if (text[at] < '0' || text[at] > '9') return 0;
    }
    at = (size_t)negative;
    while (at < size && text[at] == '0') at++;
    if (size - at > 19 || (size - at == 19 && memcmp(text + at, limit, 19) > 0)) return 0;
    for (; at < size; at++) total = total * 10 + (uint64_t)(text[at] - '0');
    *value = negative ? (int64_t)(~total + 1) : (int64_t)total;
    return 1;
}

/* ---- checks ---- */

static int same_heads(const nc_head *a, const nc_head *b)
{
    if (memcmp(a->member, b->member, sizeof a->member) != 0) return 0;
    return a->member[NC_ECHO].start == 0 || a->echo_key == b->echo_key;
}

static void check_refusal(const uint8_t *data, size_t size, const nc_head *head)
{
    uint8_t *prefix;
    nc_head of_prefix;

    REQUIRE(head->reason > NC_ACCEPTED && head->reason <= NC_TRAILING_DATA);
    REQUIRE(head->at <= size);
    REQUIRE((head->at == size) == (head->reason == NC_UNEXPECTED_END));
    REQUIRE(head->reason != NC_BYTE_ORDER_MARK || head->at == 0);
    prefix = exact_copy(data, head->at);
    if (head->reason == NC_TRAILING_DATA) {
        REQUIRE(nc_scan_document(prefix, head->at, &of_prefix));
        REQUIRE(same_heads(&of_prefix, head));
    } else {
        REQUIRE(!nc_scan_document(prefix, head->at, &of_prefix));
        REQUIRE(of_prefix.reason == NC_UNEXPECTED_END && of_prefix.at == head->at);
    }
    free(prefix);
}

/* A text between quotes, or a number: as an integer, as a key, decoded. */
static void check_text(const uint8_t *text, size_t size)
{
    uint8_t *const decoded = malloc(size + 1);
    nc_key key;
    int64_t found = 0, expected = 0;
    int is_integer;

    if (decoded == NULL) abort();
    key.text = decoded;
    key.size = nc_decode(text, text + size, decoded, size);
    REQUIRE(key.size <= size);
    REQUIRE(nc_equals(text, text + size, &key));
    if (key.size) {
        uint8_t *const small = malloc(key.size - 1);

        if (small == NULL && key.size > 1) abort();
        REQUIRE(nc_decode(text, text + size, small, key.size - 1) == key.size);
        free(small);
        decoded[key.size - 1] ^= 1;
        REQUIRE(!nc_equals(text, text + size, &key));
        decoded[key.size - 1] ^= 1;
    }
    is_integer = nc_parse_integer(text, text + size, &found);
    REQUIRE(is_integer == plain_integer(decoded, key.size, &expected));
    REQUIRE(!is_integer || found == expected);
    free(decoded);
}

static void check_object(const uint8_t *data, nc_span span)
{
    uint8_t *const alone = exact_copy(data + span.start, span.end - span.start);
    nc_head inside, outside;
    size_t slot;

    REQUIRE(nc_scan_document(alone, span.end - span.start, &outside));
    nc_read_object(data, span.start, span.end, &inside);
    for (slot = 0; slot < NC_MEMBERS; slot++) {
        if (outside.member[slot].start) {
            outside.member[slot].start += span.start;
            outside.member[slot].end += span.start;
        }
    }
    outside.echo_key += outside.member[NC_ECHO].start ? span.start : 0;
    REQUIRE(same_heads(&inside, &outside));
    free(alone);
}

static void check_members(const uint8_t *data, size_t size, const nc_head *head)
{
    size_t slot;

    for (slot = 0; slot < NC_MEMBERS; slot++) {
        const nc_span span = head->member[slot];
        const uint8_t *const value = data + span.start;

        if (slot < KNOWN) {
            const nc_key key = {(const uint8_t *)NAMES[slot], strlen(NAMES[slot])};
            const nc_span again = nc_find_member(data, size, &key);

            REQUIRE(again.start == span.start && again.end == span.end);
        }
        if (span.start == 0) continue;
        REQUIRE(slot < KNOWN && span.start < span.end && span.end < size);
        if (*value == '"') {
            REQUIRE(span.end - span.start >= 2 && data[span.end - 1] == '"');
            check_text(value + 1, span.end - span.start - 2);
        } else if (*value == '{') {
            check_object(data, span);
        } else if (nc_is_digit(*value) || *value == '-') {
            check_text(value, span.end - span.start);
        } else {
            REQUIRE(*value == '[' || *value == 't' || *value == 'f' || *value == 'n');
        }
    }
    if (head->member[NC_ECHO].start) {
        REQUIRE(head->echo_key < head->member[NC_ECHO].start && data[head->echo_key] == '"');
    }
}

static void check_document(const uint8_t *data, size_t size)
{
    const nc_version best = nc_best_version();
    nc_head head, other;
    const int accepted = nc_scan_document(data, size, &head);
    int version;

    for (version = NC_PORTABLE; version <= (int)best; version++) {
        REQUIRE(nc_accept_document(data, size, &other, (nc_version)version) == accepted);
        REQUIRE(!accepted || same_heads(&head, &other));
        REQUIRE(nc_prove_document(data, size, &other, (nc_version)version) == accepted);
        REQUIRE(other.reason == head.reason);
        REQUIRE(accepted ? same_heads(&head, &other) : other.at == head.at);
    }
    if (accepted) {
        REQUIRE(head.reason == NC_ACCEPTED);
        check_members(data, size, &head);
    } else {
        check_refusal(data, size, &head);
    }
}

/* The bytes, without what means something in JSON, as the text of a string: their encoding alone decides. */
static void check_utf8(const uint8_t *data, size_t size)
{
    const nc_version best = nc_best_version();
    uint8_t *const document = malloc(size + 8);
    nc_head head;
    size_t at;
    int version;

    if (document == NULL) abort();
    memcpy(document, "{\"k\":\"", 6);
    for (at = 0; at < size; at++) document[6 + at] = data[at] < 0x80 ? 'a' : data[at];
    memcpy(document + 6 + size, "\"}", 2);
    for (version = NC_PORTABLE; version <= (int)best; version++) {
        REQUIRE(nc_accept_document(document, size + 8, &head, (nc_version)version) == plain_is_utf8(data, size));
    }
    free(document);
}

static void check_frames(const uint8_t *data, size_t size)
{
    uint8_t bytes[8] = {0}, head[10], *masked;
    uint64_t length, read = 0;
    size_t head_size, at, rest;

    memcpy(bytes, data, size < 8 ? size : 8);
    memcpy(&length, bytes, 8);
    length >>= (bytes[0] & 7) * 8;
    for (rest = 0; rest < 2; rest++) {
        const unsigned mask_bit = rest ? 0x80 : 0;

        head_size = nc_frame_head(head, bytes[1] & 15, length, mask_bit);
        REQUIRE(head_size == nc_frame_head_size(length));
        REQUIRE(head[0] == (0x80 | (bytes[1] & 15)) && (head[1] & 0x80) == mask_bit);
        REQUIRE((head[1] & 0x7F) == (head_size == 2 ? length : head_size == 4 ? 126 : 127));
        for (read = head_size == 2 ? length : 0, at = 2; at < head_size; at++) read = read << 8 | head[at];
        REQUIRE(read == length);
    }
    masked = malloc(size);
    if (masked == NULL && size) abort();
    nc_mask(masked, data, size, bytes);
    for (at = 0; at < size; at++) REQUIRE(masked[at] == (data[at] ^ bytes[at % 4]));
    free(masked);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    uint8_t *const data = exact_copy(input, size);

    check_document(data, size);
    check_utf8(data, size);
    check_frames(data, size);
    free(data);
    return 0;
}
