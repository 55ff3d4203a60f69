/* Header, chunk table, chunks and tensors: spec/container.md. */
#ifndef INRV_CONTAINER_H
#define INRV_CONTAINER_H

#include "json.h"

enum chunk_type { OTHER, TOPO, INAC, EXAC, FREQ, CODE, MOVE, BITS, NETW, SAMP, PASS };

/* A line of the chunk table. */
typedef struct {
    enum chunk_type type;
    int compressed;
    uint64_t offset, stored, raw;
    uint32_t checksum;
} Chunk;

/* An open file, without what its manifest says. */
typedef struct {
    inrv_host host;
    const uint8_t *bytes; /* of the file; NULL where the host reads it */
    uint64_t start;       /* where it begins among these, or among what the host reads */
    uint64_t size;
    inrv_limits limits;
    uint32_t crc[8][256]; /* of each byte, and of it with up to seven zeros behind */
    uint32_t count;
    Chunk *chunks;
} Container;

/* Begins with the bytes of a file, or with a host that reads them: INRV_USE without either.
   host, limits: as of inrv_open; NULL for none, and for inrv_default_limits */
int inrv_container_begin(Container *container, const void *bytes, uint64_t size,
                         const inrv_host *host, const inrv_limits *limits);

/* Reads bytes that lie within the file. */
int inrv_read_bytes(const Container *container, uint64_t offset, uint8_t *to, size_t size);

/* Whether bytes have a checksum. */
int inrv_has_sum(const Container *container, const uint8_t *at, size_t size, uint32_t sum);

/* Reads header, table and manifest.
   manifest: filled with its JSON, which is the caller's */
int inrv_container_open(Memory *memory, Container *container, uint8_t **manifest, size_t *size);

/* Reads what is stored as a chunk is, whose place and sizes were checked.
   raw: filled with its raw bytes, which are the caller's */
int inrv_chunk_read(const Container *container, Memory *memory, const Chunk *chunk, uint8_t **raw);

/* Reads a part of a BITS chunk, and checks it.
   to: `size` bytes */
int inrv_part(const Container *container, uint32_t number, uint64_t offset, uint64_t size,
              uint32_t checksum, uint8_t *to);

/* Types of tensors, and bytes of an item. */
enum tensor_type { TENSOR_I8, TENSOR_U8, TENSOR_I16, TENSOR_I32, TENSOR_F16, TENSOR_F32 };

/* The tensors of a chunk. */
typedef struct {
    uint8_t *payload; /* what is freed; NULL where it is not owned */
    const uint8_t *data;
    Json json;
} Tensors;

/* A tensor. Its items may have any place: TENSOR_INT reads them. */
typedef struct {
    const uint8_t *data;
    size_t rows, columns; /* columns: product of all but the first length */
} Tensor;

#define ANY UINT64_MAX
#define ONE_AXIS (UINT64_MAX - 1) /* in place of columns: the tensor has rows alone */

/* Reads a chunk of tensors. */
int inrv_tensors_read(const Container *container, Memory *memory, uint32_t number,
                      Tensors *tensors);

/* Opens tensors in memory that stays.
   payload: owned from now on where `owned` is set; it is freed with an error too */
int inrv_tensors_open(Memory *memory, const uint8_t *payload, size_t size, int owned,
                      Tensors *tensors);
void inrv_tensors_free(Memory *memory, Tensors *tensors);

/* A tensor of this type and these lengths, of which ANY is any: INRV_RULE('S', 3) without it. */
int inrv_tensor(const Tensors *tensors, const char *name, enum tensor_type type, uint64_t rows,
                uint64_t columns, Tensor *tensor);

/* The same where it has three axes; `columns` is the product of the last two lengths. */
int inrv_tensor_of_three_axes(const Tensors *tensors, const char *name, enum tensor_type type,
                              uint64_t rows, uint64_t columns, Tensor *tensor);

static inline uint16_t u16(const uint8_t *at) {
    uint16_t value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t u32(const uint8_t *at) {
    uint32_t value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t u64(const uint8_t *at) {
    uint64_t value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

static inline int32_t tensor_int(const Tensor *tensor, size_t item) {
    int32_t value;
    __builtin_memcpy(&value, tensor->data + 4 * item, sizeof value);
    return value;
}

#endif
