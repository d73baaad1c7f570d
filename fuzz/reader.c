/* The reader of frames, cut anywhere, against a slow one that looks at one byte at a time. The input:
 * which role and which version, the size of the pieces, and what comes in. */
#include "harness.h"
#include "_reader.h"

enum { LIMIT = 700, FRAGMENTS = 6, TRACE = 1 << 16 };

/* What became of the input, as bytes. */
typedef struct {
    uint8_t *data;
    size_t size;
} trace;

static void note(trace *out, unsigned what, const uint8_t *data, size_t size)
{
    REQUIRE(out->size + size + 4 <= TRACE);
    out->data[out->size++] = (uint8_t)what;
    out->data[out->size++] = (uint8_t)(size >> 8);
    out->data[out->size++] = (uint8_t)size;
    if (size) memcpy(out->data + out->size, data, size);
    out->size += size;
}

/* ---- the slow one ---- */

/* How many more bytes a character wants after its first one; -1: it is no first one. */
static int wanted_after(uint8_t byte)
{
    if (byte < 0x80) return 0;
    if (byte >= 0xC2 && byte <= 0xDF) return 1;
    if (byte >= 0xE0 && byte <= 0xEF) return 2;
    return byte >= 0xF0 && byte <= 0xF4 ? 3 : -1;
}

typedef struct {
    int left, first;
    uint8_t lead;
} character;

static int goes_on(character *state, uint8_t byte)
{
    if (state->left == 0) {
        state->left = wanted_after(byte);
        state->lead = byte;
        state->first = 1;
        return state->left >= 0;
    }
    if (byte < 0x80 || byte > 0xBF) return 0;
    if (state->first) {
        if (state->lead == 0xE0 && byte < 0xA0) return 0;
        if (state->lead == 0xED && byte > 0x9F) return 0;
        if (state->lead == 0xF0 && byte < 0x90) return 0;
        if (state->lead == 0xF4 && byte > 0x8F) return 0;
    }
    state->first = 0;
    state->left--;
    return 1;
}

static int is_text(const uint8_t *data, size_t size)
{
    character state = {0, 0, 0};
    size_t at;

    for (at = 0; at < size; at++) {
        if (!goes_on(&state, data[at])) return 0;
    }
    return state.left == 0;
}

static int is_allowed(unsigned code)
{
    static const unsigned fixed[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014};
    size_t at;

    for (at = 0; at < sizeof fixed / sizeof *fixed; at++) {
        if (fixed[at] == code) return 1;
    }
    return code / 1000 == 3 || code / 1000 == 4;
}

static nc_read_fault judge_close(const uint8_t *data, size_t size)
{
    if (size == 1) return NC_CLOSE_TOO_SHORT;
    if (size && !is_allowed(data[0] * 256u + data[1])) return NC_CLOSE_CODE;
    return size && !is_text(data + 2, size - 2) ? NC_CLOSE_NOT_UTF8 : NC_NO_FAULT;
}

static nc_read_fault read_slowly(trace *out, const uint8_t *data, size_t size, int masked, int keep)
{
    static uint8_t message[LIMIT], control[125];
    size_t at = 0, filled = 0, announced = 0, frames = 0;
    unsigned within = 0;
    character state = {0, 0, 0};

    for (;;) {
        const uint8_t *const head = data + at;
        const size_t left = size - at;
        size_t width = 0, place, plain = 0;
        uint64_t length;
        unsigned opcode;

        if (left < 2) return NC_NO_FAULT;
        opcode = head[0] % 16;
        if (!(opcode <= 2 || (opcode >= 8 && opcode <= 10))) return NC_RESERVED_OPCODE;
        if (masked && head[1] < 128) return NC_NOT_MASKED;
        if (!masked && head[1] >= 128) return NC_MASKED;
        if (head[0] / 16 % 8) return NC_RESERVED_BITS;
        length = head[1] % 128;
        if (opcode >= 8 && head[0] < 128) return NC_CONTROL_FRAGMENTED;
        if (opcode >= 8 && length > 125) return NC_CONTROL_TOO_LONG;
        if (opcode == 0 && !within) return NC_NOTHING_TO_CONTINUE;
        if ((opcode == 1 || opcode == 2) && within) return NC_NOT_CONTINUED;
        if (length > 125) {
            width = length == 126 ? 2 : 8;
            if (left < 2 + width) return NC_NO_FAULT;
            for (length = 0, place = 0; place < width; place++) length = length * 256 + head[2 + place];
        }
        if (opcode < 8) {
            if (!within) announced = frames = 0;
            if (length > LIMIT || announced + length > LIMIT) return NC_TOO_LONG_MESSAGE;
            if (frames == FRAGMENTS) return NC_TOO_MANY_FRAGMENTS;
        }
        if (left < 2 + width + 4 * (size_t)masked) return NC_NO_FAULT;
        at += 2 + width + 4 * (size_t)masked;
        if (opcode < 8) {
            if (!within) {
                within = opcode;
                filled = 0;
            }
            announced += (size_t)length;
            frames++;
        }
        for (place = 0; place < length; place++) {
            uint8_t byte;

            if (at == size) return NC_NO_FAULT;
            byte = masked ? data[at] ^ head[2 + width + place % 4] : data[at];
            at++;
            if (opcode >= 8) {
                control[plain++] = byte;
            } else {
                if (within == 1 && !goes_on(&state, byte)) return NC_NOT_UTF8;
                message[filled++] = byte;
            }
        }
        if (opcode >= 8) {
            const nc_read_fault fault = opcode == 8 ? judge_close(control, plain) : NC_NO_FAULT;

            if (fault != NC_NO_FAULT) return fault;
            note(out, opcode, control, plain);
            if (opcode == 8) return NC_NO_FAULT;
        } else if (head[0] >= 128) {
            if (within == 1 && state.left) return NC_NOT_UTF8;
            note(out, within, message, within == 1 || keep ? filled : 0);
            within = 0;
        }
    }
}

/* ---- the one under test ---- */

static void make_room(nc_reader *reader, size_t step)
{
    const uint64_t most = step % 3 == 0 ? reader->left : 1 + (reader->left - 1) % (step + 1);
    uint8_t *const text = malloc((size_t)(reader->filled + most));

    REQUIRE(text != NULL);
    if (reader->filled) memcpy(text, reader->text, (size_t)reader->filled);
    free(reader->text);
    reader->text = text;
    reader->room = reader->filled + most;
}

static nc_read_fault read_in_pieces(trace *out, nc_reader *reader, const uint8_t *data, size_t size, size_t step)
{
    size_t start;

    for (start = 0; start < size; start += step) {
        const size_t part = size - start < step ? size - start : step;
        uint8_t *const piece = exact_copy(data + start, part);
        const uint8_t *at = piece;
        nc_read_result result;

        while ((result = nc_read(reader, &at, piece + part)) != NC_READ_ALL) {
            REQUIRE(at >= piece && at <= piece + part);
            if (result == NC_READ_ROOM) {
                REQUIRE(reader->left > 0);
                make_room(reader, step);
            } else if (result == NC_READ_MESSAGE) {
                note(out, reader->message, reader->text, (size_t)reader->filled);
                reader->message = 0;
                reader->room = reader->filled = 0;
                free(reader->text);
                reader->text = NULL;
            } else if (result == NC_READ_CONTROL) {
                note(out, reader->opcode, reader->control, reader->control_size);
                if (reader->opcode == NC_CLOSE) break;
            } else {
                REQUIRE(result == NC_READ_FAULT && reader->fault != NC_NO_FAULT);
                break;
            }
        }
        REQUIRE(result != NC_READ_ALL || at == piece + part);
        free(piece);
        if (result != NC_READ_ALL) break;
    }
    return reader->fault;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static uint8_t expected_space[TRACE], found_space[TRACE];
    trace expected = {expected_space, 0}, found = {found_space, 0};
    nc_reader reader;
    nc_read_fault fault;

    if (size < 2) return 0;
    memset(&reader, 0, sizeof reader);
    reader.limit = LIMIT;
    reader.most_fragments = FRAGMENTS;
    reader.masked = input[0] & 1;
    reader.keep_binary = input[0] >> 1 & 1;
    reader.simd = (input[0] >> 2) % 3;
#if defined(NC_HAVE_AVX2)
    if (!__builtin_cpu_supports("avx2") && reader.simd == 2) reader.simd = 1;
#endif
    fault = read_slowly(&expected, input + 2, size - 2, reader.masked, reader.keep_binary);
    REQUIRE(read_in_pieces(&found, &reader, input + 2, size - 2, input[1] ? input[1] : size) == fault);
    REQUIRE(found.size == expected.size && memcmp(found.data, expected.data, found.size) == 0);
    free(reader.text);
    return 0;
}
