/* Header, chunk table, chunks and tensors. Every number is compared with what is there before it
   is used, and every size with its limit before memory is taken. */
#include "container.h"

#include <string.h>

#include "data.h"

enum { HEADER = 48, ENTRY = 40, MAGIC_BYTES = 4, MOST_TENSOR_JSON = 1 << 20 };

const void *inrv_dictionary(size_t *size) {
    *size = inrv_data_dictionary_size;
    return inrv_data_dictionary;
}

/* ---- Checksums ---- */

static void fill_crc(uint32_t crc[8][256]) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t rest = byte;
        for (int i = 0; i < 8; i++) rest = rest >> 1 ^ (rest & 1 ? 0xedb88320u : 0);
        crc[0][byte] = rest;
    }
    for (int i = 1; i < 8; i++)
        for (int byte = 0; byte < 256; byte++)
            crc[i][byte] = crc[i - 1][byte] >> 8 ^ crc[0][crc[i - 1][byte] & 255];
}

static uint32_t crc_of(const Container *container, const uint8_t *at, size_t size) {
    const uint32_t (*crc)[256] = container->crc;
    uint32_t rest = ~0u;
    for (; size >= 8; at += 8, size -= 8) {
        const uint32_t low = u32(at) ^ rest, high = u32(at + 4);
        rest = crc[7][low & 255] ^ crc[6][low >> 8 & 255] ^ crc[5][low >> 16 & 255] ^
               crc[4][low >> 24] ^ crc[3][high & 255] ^ crc[2][high >> 8 & 255] ^
               crc[1][high >> 16 & 255] ^ crc[0][high >> 24];
    }
    for (; size; at++, size--) rest = rest >> 8 ^ crc[0][(rest ^ *at) & 255];
    return ~rest;
}

/* A fuzzer's bytes have the checksum always, or it would see nothing else. */
int inrv_has_sum(const Container *container, const uint8_t *at, size_t size, uint32_t sum) {
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    sum = crc_of(container, at, size);
#endif
    return crc_of(container, at, size) == sum;
}

/* ---- Bytes of the file ---- */

int inrv_read_bytes(const Container *container, uint64_t offset, uint8_t *to, size_t size) {
    if (!size) return INRV_OK;
    offset += container->start;
    if (!container->bytes)
        return container->host.read(container->host.context, offset, to, size) ? INRV_RULE('I', 1)
                                                                               : INRV_OK;
    memcpy(to, container->bytes + offset, size);
    return INRV_OK;
}

/* The content size that a frame of zstd states, behind its magic number. */
static int content_size(const uint8_t *frame, size_t size, uint64_t *content) {
    static const uint8_t DICTIONARY[4] = {0, 1, 2, 4}, CONTENT[4] = {0, 2, 4, 8};
    if (!size) return INRV_RULE('C', 6);
    const int single = frame[0] >> 5 & 1, kind = frame[0] >> 6;
    const size_t at = 1 + !single + DICTIONARY[frame[0] & 3];
    const size_t bytes = kind ? CONTENT[kind] : (size_t)single;
    if (!bytes) return INRV_RULE('C', 7);
    if (size < at + bytes) return INRV_RULE('C', 6);
    *content = 0;
    memcpy(content, frame + at, bytes);
    if (kind == 1) *content += 256;
    return INRV_OK;
}

/* Makes the raw bytes of stored ones, which have `MAGIC_BYTES` of room before them. */
static int unpack(const Container *container, Memory *memory, uint8_t *frame, const Chunk *chunk,
                  uint8_t **raw) {
    static const uint8_t MAGIC[MAGIC_BYTES] = {0x28, 0xb5, 0x2f, 0xfd};
    uint8_t *stored = frame + MAGIC_BYTES;
    uint64_t content;
    if (!inrv_has_sum(container, stored, (size_t)chunk->stored, chunk->checksum))
        return INRV_RULE('C', 5);
    if (!chunk->compressed) {
        *raw = inrv_take(memory, chunk->raw + 1, 1);
        if (!*raw) return INRV_MEMORY;
        memcpy(*raw, stored, (size_t)chunk->raw);
        return INRV_OK;
    }
    TRY(content_size(stored, (size_t)chunk->stored, &content));
    if (content != chunk->raw) return INRV_RULE('C', 7);
    if (!container->host.unzstd) return INRV_USE;
    *raw = inrv_take(memory, chunk->raw + 1, 1);
    if (!*raw) return INRV_MEMORY;
    memcpy(frame, MAGIC, sizeof MAGIC);
    if (!container->host.unzstd(container->host.context, frame, (size_t)chunk->stored + MAGIC_BYTES,
                                *raw, (size_t)chunk->raw))
        return INRV_OK;
    inrv_give(memory, *raw);
    *raw = NULL;
    return INRV_RULE('C', 6);
}

/* ---- Opening ---- */

int inrv_container_begin(Container *container, const void *bytes, uint64_t size,
                         const inrv_host *host, const inrv_limits *limits) {
    memset(container, 0, sizeof *container);
    container->bytes = bytes;
    container->size = size;
    if (host) container->host = *host;
    if (limits)
        container->limits = *limits;
    else
        inrv_default_limits(&container->limits);
    fill_crc(container->crc);
    return bytes || container->host.read ? INRV_OK : INRV_USE;
}

static int check_sizes(uint32_t compression, uint64_t stored, uint64_t raw) {
    if (compression > 1) return INRV_RULE('C', 1);
    if (!compression && stored != raw) return INRV_RULE('C', 3);
    return compression && stored >= raw ? INRV_RULE('C', 4) : INRV_OK;
}

static int is_letter(uint8_t c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }

static int type_of(const uint8_t *entry, enum chunk_type *type) {
    static const char NAMES[][5] = {"TOPO", "INAC", "EXAC", "FREQ", "CODE",
                                    "MOVE", "BITS", "NETW", "SAMP", "PASS"};
    *type = OTHER;
    for (int i = 0; i < 4; i++)
        if (!is_letter(entry[i])) return INRV_RULE('T', 2);
    for (int i = 0; i < 10; i++)
        if (!memcmp(entry, NAMES[i], 4)) *type = (enum chunk_type)(i + 1);
    const int critical = entry[4] & 1;
    if (*type != OTHER && critical != (*type != SAMP)) return INRV_RULE('T', 3);
    return *type == OTHER && critical ? INRV_RULE('T', 4) : INRV_OK;
}

static int read_entry(const Container *container, const uint8_t *entry, Chunk *chunk) {
    TRY(type_of(entry, &chunk->type));
    if (entry[4] > 1 || u16(entry + 6) || u32(entry + 36)) return INRV_RULE('T', 5);
    const uint32_t compression = entry[5];
    chunk->compressed = compression == 1;
    chunk->offset = u64(entry + 8);
    chunk->stored = u64(entry + 16);
    chunk->raw = u64(entry + 24);
    chunk->checksum = u32(entry + 32);
    if (chunk->type != BITS && chunk->raw > container->limits.chunk_bytes) return INRV_RULE('C', 2);
    TRY(check_sizes(compression, chunk->stored, chunk->raw));
    return chunk->type == BITS && compression ? INRV_RULE('C', 8) : INRV_OK;
}

/* Checks that the chunks fill the file, those of BITS behind all others. */
static int check_places(const Container *container, uint64_t at) {
    for (int bits = 0; bits < 2; bits++)
        for (uint32_t i = 0; i < container->count; i++) {
            const Chunk *chunk = &container->chunks[i];
            if ((chunk->type == BITS) != bits) continue;
            if (chunk->offset != at || chunk->stored > container->size - at)
                return INRV_RULE('T', 6);
            at += chunk->stored;
        }
    return at == container->size ? INRV_OK : INRV_RULE('T', 7);
}

static int read_header(const Container *container, uint8_t header[HEADER]) {
    static const uint8_t MAGIC[8] = {0x89, 'I', 'N', 'R', 'V', '\r', '\n', 0x1a};
    const size_t size = container->size < HEADER ? (size_t)container->size : HEADER;
    TRY(inrv_read_bytes(container, 0, header, size));
    if (!size) return INRV_RULE('H', 1);
    if (size < sizeof MAGIC || memcmp(header, MAGIC, sizeof MAGIC)) return INRV_RULE('H', 2);
    if (size < 12) return INRV_RULE('H', 1);
    if (u16(header + 8) != 2) return INRV_RULE('H', 3);
    if (size < HEADER) return INRV_RULE('H', 1);
    if (!inrv_has_sum(container, header, 44, u32(header + 44))) return INRV_RULE('H', 4);
    if (u64(header + 16) != container->size) return INRV_RULE('H', 5);
    return u32(header + 12) > container->limits.chunks ? INRV_RULE('H', 6) : INRV_OK;
}

/* What lies behind the header, in one read.
   head: the table, then the manifest */
static int open_head(Memory *memory, Container *container, const uint8_t *header, uint8_t *head,
                     const Chunk *about, uint8_t **manifest) {
    const size_t table = (size_t)container->count * ENTRY;
    if (!inrv_has_sum(container, head, table, u32(header + 40))) return INRV_RULE('T', 1);
    for (uint32_t i = 0; i < container->count; i++)
        TRY(read_entry(container, head + (size_t)i * ENTRY, &container->chunks[i]));
    TRY(check_places(container, HEADER + table + about->stored));
    /* The table is read: its last bytes make room for the magic number of zstd. */
    return unpack(container, memory, head + table - MAGIC_BYTES, about, manifest);
}

int inrv_container_open(Memory *memory, Container *container, uint8_t **manifest, size_t *size) {
    uint8_t header[HEADER];
    TRY(read_header(container, header));
    const uint32_t compression = u32(header + 24);
    const Chunk about = {.compressed = compression == 1,
                         .stored = u32(header + 28),
                         .raw = u32(header + 32),
                         .checksum = u32(header + 36)};
    container->count = u32(header + 12);
    const uint64_t head = (uint64_t)container->count * ENTRY + about.stored;
    if (head > container->size - HEADER) return INRV_RULE('H', 7);
    if (about.raw > container->limits.manifest_bytes) return INRV_RULE('C', 2);
    TRY(check_sizes(compression, about.stored, about.raw));
    container->chunks = inrv_take(memory, container->count + 1, sizeof(Chunk));
    uint8_t *bytes = inrv_take(memory, head + MAGIC_BYTES, 1);
    int error = container->chunks && bytes ? INRV_OK : INRV_MEMORY;
    if (!error) error = inrv_read_bytes(container, HEADER, bytes + MAGIC_BYTES, (size_t)head);
    if (!error) error = open_head(memory, container, header, bytes + MAGIC_BYTES, &about, manifest);
    inrv_give(memory, bytes);
    *size = (size_t)about.raw;
    return error;
}

/* ---- Chunks ---- */

int inrv_part(const Container *container, uint32_t number, uint64_t offset, uint64_t size,
              uint32_t checksum, uint8_t *to) {
    const Chunk *chunk = &container->chunks[number];
    if (offset > chunk->raw || size > chunk->raw - offset) return INRV_RULE('S', 15);
    TRY(inrv_read_bytes(container, chunk->offset + offset, to, (size_t)size));
    return inrv_has_sum(container, to, (size_t)size, checksum) ? INRV_OK : INRV_RULE('S', 15);
}

int inrv_chunk_read(const Container *container, Memory *memory, const Chunk *chunk, uint8_t **raw) {
    uint8_t *frame = inrv_take(memory, chunk->stored + MAGIC_BYTES, 1);
    if (!frame) return INRV_MEMORY;
    int error =
        inrv_read_bytes(container, chunk->offset, frame + MAGIC_BYTES, (size_t)chunk->stored);
    if (!error) error = unpack(container, memory, frame, chunk, raw);
    inrv_give(memory, frame);
    return error;
}

/* ---- Tensors ---- */

static const char DTYPES[][4] = {"I8", "U8", "I16", "I32", "F16", "F32"};
static const uint8_t ITEM[] = {1, 1, 2, 4, 2, 4};

#define NO_TENSORS INRV_RULE('S', 1)

/* What the JSON says of a tensor. */
typedef struct {
    enum tensor_type type;
    uint32_t axes;
    uint64_t rows, columns, begin, end;
} About;

static int read_about(const Json *json, uint32_t node, About *about) {
    const JsonNode *nodes = json->nodes;
    const uint32_t dtype = inrv_json_member(json, node, "dtype"),
                   shape = inrv_json_member(json, node, "shape"),
                   ends = inrv_json_member(json, node, "data_offsets");
    if (dtype == JSON_NONE || shape == JSON_NONE || ends == JSON_NONE) return NO_TENSORS;
    if (nodes[dtype].kind != JSON_STRING || nodes[shape].kind != JSON_LIST ||
        nodes[ends].kind != JSON_LIST || nodes[ends].size != 2)
        return NO_TENSORS;
    int type = 0;
    while (type < (int)sizeof ITEM && !inrv_json_is(json, dtype, DTYPES[type])) type++;
    if (type == (int)sizeof ITEM) return INRV_RULE('S', 2);
    about->type = (enum tensor_type)type;
    about->axes = nodes[shape].size;
    about->rows = about->columns = 1;
    int64_t whole, begin, end;
    for (uint32_t i = shape + 1; i < nodes[shape].behind; i++) {
        if (!inrv_json_whole(json, i, &whole) || whole < 0) return NO_TENSORS;
        uint64_t *product = i == shape + 1 ? &about->rows : &about->columns;
        if (__builtin_mul_overflow(*product, (uint64_t)whole, product)) return NO_TENSORS;
    }
    if (!inrv_json_whole(json, ends + 1, &begin) || !inrv_json_whole(json, ends + 2, &end))
        return NO_TENSORS;
    uint64_t bytes;
    if (begin < 0 || end < begin || __builtin_mul_overflow(about->rows, about->columns, &bytes) ||
        __builtin_mul_overflow(bytes, (uint64_t)ITEM[type], &bytes) ||
        bytes != (uint64_t)(end - begin))
        return NO_TENSORS;
    about->begin = (uint64_t)begin;
    about->end = (uint64_t)end;
    return INRV_OK;
}

/* Checks every tensor, and that they cover the data without holes and overlaps.
   strange: whether they are a stranger's, who has no int16 */
static int check_tensors(Memory *memory, const Json *json, uint64_t size, int strange) {
    const JsonNode *nodes = json->nodes;
    const uint32_t count = nodes[0].size;
    About about;
    if (nodes[0].kind != JSON_OBJECT) return NO_TENSORS;
    Keyed *places = inrv_take(memory, 2 * (uint64_t)count + 1, sizeof *places);
    if (!places) return INRV_MEMORY;
    size_t used = 0;
    int error = INRV_OK;
    for (uint32_t key = 1; key < nodes[0].behind && !error; key = nodes[key + 1].behind) {
        if (inrv_json_is(json, key, "__metadata__")) continue;
        error = read_about(json, key + 1, &about);
        if (!error && strange && about.type == TENSOR_I16) error = INRV_RULE('S', 2);
        if (!error && about.begin < about.end) places[used++] = (Keyed){about.begin, key + 1};
    }
    inrv_sort(places, places + used, error ? 0 : used);
    uint64_t at = 0;
    for (size_t i = 0; i < used && !error; i++) {
        error = read_about(json, places[i].number, &about);
        if (about.begin != at) error = NO_TENSORS;
        at = about.end;
    }
    inrv_give(memory, places);
    return error ? error : at == size ? INRV_OK : NO_TENSORS;
}

int inrv_tensors_open(Memory *memory, const uint8_t *payload, size_t size, int owned,
                      Tensors *tensors) {
    memset(tensors, 0, sizeof *tensors);
    tensors->payload = owned ? (uint8_t *)(uintptr_t)payload : NULL;
    int error = NO_TENSORS;
    const uint64_t length = size < 8 ? UINT64_MAX : u64(payload);
    if (length <= MOST_TENSOR_JSON && length <= size - 8) {
        error = inrv_json_parse(memory, payload + 8, (size_t)length, &tensors->json);
        if (error > INRV_MEMORY) error = NO_TENSORS; /* whatever rule of JSON it breaks */
        if (!error) error = check_tensors(memory, &tensors->json, size - 8 - length, owned);
        tensors->data = payload + 8 + length;
    }
    if (error) inrv_tensors_free(memory, tensors);
    return error;
}

void inrv_tensors_free(Memory *memory, Tensors *tensors) {
    inrv_give(memory, tensors->json.nodes);
    inrv_give(memory, tensors->payload);
    memset(tensors, 0, sizeof *tensors);
}

int inrv_tensors_read(const Container *container, Memory *memory, uint32_t number,
                      Tensors *tensors) {
    uint8_t *raw = NULL;
    const Chunk *chunk = &container->chunks[number];
    TRY(inrv_chunk_read(container, memory, chunk, &raw));
    return inrv_tensors_open(memory, raw, (size_t)chunk->raw, 1, tensors);
}

static int find_tensor(const Tensors *tensors, const char *name, enum tensor_type type,
                       uint32_t axes, uint64_t rows, uint64_t columns, Tensor *tensor) {
    About about;
    const uint32_t node = inrv_json_member(&tensors->json, 0, name);
    if (node == JSON_NONE) return INRV_RULE('S', 3);
    TRY(read_about(&tensors->json, node, &about));
    const int fits = about.type == type && about.axes == axes &&
                     (rows == ANY || about.rows == rows) &&
                     (axes == 1 || columns == ANY || about.columns == columns);
    if (!fits) return INRV_RULE('S', 3);
    *tensor = (Tensor){tensors->data + about.begin, (size_t)about.rows, (size_t)about.columns};
    return INRV_OK;
}

int inrv_tensor(const Tensors *tensors, const char *name, enum tensor_type type, uint64_t rows,
                uint64_t columns, Tensor *tensor) {
    const uint32_t axes = columns == ONE_AXIS ? 1 : 2;
    return find_tensor(tensors, name, type, axes, rows, columns, tensor);
}

int inrv_tensor_of_three_axes(const Tensors *tensors, const char *name, enum tensor_type type,
                              uint64_t rows, uint64_t columns, Tensor *tensor) {
    return find_tensor(tensors, name, type, 3, rows, columns, tensor);
}
