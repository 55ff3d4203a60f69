/* How a region lies in memory while it is coded, shared by lattice.c and the kernels.

   Each level of a region (its voxels at multiples of 2^level) is held as eight arrays, one a
   parity of the coordinates: so the neighbours of a parity's voxels along z lie in a row, at one
   distance for all of them, and a vector of voxels reads them without an index. */

#ifndef INRV_REGION_H
#define INRV_REGION_H

#include "chances.h"
#include "kernel.h"
#include "wavelet.h"

enum {
    EDGE = 128,
    CELLS = EDGE / 8,
    STEP = 128,               /* units of a step of the finest level */
    MISSING = -(1 << 30),     /* not known: outside of the region, or not active and no exterior */
    EXACT_IN_FLOAT = 1 << 15, /* quotients of values up to here may be computed in float32 */
    HIGHEST = 1 << 23,
    SPREAD_BITS = 12,
    SPAN = 4,
    LOG_ONE = 64,
    LOWEST_TABLE = 5,
    ONE = 16,        /* stands for 1 in inputs of the prediction */
    FILTER_ONE = 32, /* the same of the restoration filter */
    LEARNED = 32,
    PROBABILITY_BITS = 15,
    DIRECT = 16, /* magnitudes that are tokens themselves */
    MOST_LANES = 32,
    PASSES = 7,                            /* of a level: one a parity */
    MOST_IN_PASS = EDGE * EDGE * EDGE / 8, /* voxels */
    CHAINS = 16,                           /* of a trellis */
    STATES = 8,                            /* of a chain */
    ALL_TABLES = INRV_QUANTISERS * INRV_TABLES,
    PAD_BEFORE = 1,
    PAD_AFTER = 2,
    PAD_Z = 4,  /* rows and voxels around an array of a parity */
    BLOCK = 64, /* voxels that pass network, coder and restoration together */
    ROOM = BLOCK + 16,
    MOST_GROUPS = (INRV_MOST_INPUTS + 3) / 4,
    MOST_WIDTH = 32 + 2,
    PADDING = 256 /* bytes on both sides of a segment, so that a block need not ask where it ends */
};

/* One level of a region. Coordinates are in strides, from the region's corner. */
typedef struct lattice_level {
    int lower[3], upper[3];          /* even: first place, and the place behind the last */
    int half[3];                     /* places along each axis of one parity */
    ptrdiff_t pitch, plane, size;    /* of the array of a parity: row, plane, all */
    ptrdiff_t mask_pitch, mask_size; /* of `masks`, which has a row more on all sides */
    int32_t *values, *reference, *targets, *truth; /* [8][size] */
    uint64_t *masks; /* [8][mask_size] of the coded voxels, a bit a voxel */
} Level;

/* A network as a kernel reads it. */
typedef struct packed_network {
    int groups, first, second, outputs;
    int32_t first_weight[36 * MOST_GROUPS * 2]; /* the skip's behind */
    int32_t first_start[MOST_WIDTH];            /* what sums begin with */
    int32_t second_weight[32 * 16], second_start[32];
    int32_t last_weight[2 * 16], last_bias[2];
} Packed;

/* Voxels on their way through network, coder and restoration. */
typedef struct {
    int32_t inputs[MOST_GROUPS][ROOM]; /* four bytes each: inputs + 64 */
    int32_t base[ROOM], scale[ROOM], log[ROOM], place[ROOM];
    int32_t outputs[2][BLOCK], predicted[BLOCK], table[BLOCK], code[ROOM], quantiser[ROOM];
    int count;
} Block;

/* The tables of the entropy coder. */
typedef struct {
    int16_t start[64]; /* of each token, less 2^15; beyond the last, the largest number */
    uint16_t part[64];
    uint32_t seen[2][48]; /* since the last pass; two sets, so that neighbours do not wait */
} Table;

/* What is coded of a voxel, for the encoder, which goes backwards. */
typedef struct {
    uint16_t start, part;
    uint8_t lane; /* number in its pass, mod 32 */
} Symbol;

/* Voxels of a pass whose codes a trellis has not chosen yet, one of each chain. */
typedef struct {
    int32_t place[CHAINS], predicted[CHAINS], table[CHAINS];
    int32_t difference[CHAINS]; /* of what is aimed at and the prediction; in the end the code */
    int32_t choices[CHAINS];    /* by quantiser and lowest bit of the token: the best magnitude */
    uint16_t ways[STATES];      /* a bit a chain: which of two ways to a state is cheaper */
} Row;

typedef struct {
    Table table[ALL_TABLES] __attribute__((aligned(64)));
    int32_t counts[ALL_TABLES][48];
    uint8_t changed[ALL_TABLES]; /* whether a table's parts are to be computed anew */
    uint8_t chain[CHAINS];       /* the state of each chain of the trellis */
    uint32_t state[MOST_LANES];
    int lanes;
    /* decoding: the words of the segment and, from its end, its raw bits */
    const uint8_t *word, *last_word, *raw_end;
    uint64_t raw, raw_most;
    /* encoding */
    Symbol *symbols;
    size_t count;
    Row *rows;
    size_t waiting; /* voxels in them */
    Chances found;  /* of the symbols */
    uint8_t *raw_bytes;
} Coder;

struct inrv_work {
    const struct inrv_kernel *kernel;
    Level levels[INRV_LEVELS];
    Block block;
    Coder coder;
    Wavelet wavelet;
    Packed networks[4]; /* the restoration filter's first */
    uint64_t active[EDGE * EDGE * 2];
    void *allocated, *memory; /* as malloc gave them: of this struct, and of the arrays */
    size_t size;
    int32_t *restored; /* [8][size] of a layer of cells */
    uint8_t *segment;
};

/* The task of a kernel. */
typedef struct lattice_task {
    const inrv_channel *channel;
    const inrv_region *region;
    const inrv_aim *aim; /* NULL: decode */
    inrv_samples *samples;
    int level;            /* the finest that is coded */
    int wide;             /* whether quotients need more than float32 */
    int32_t mean, spread; /* in units */
} Task;

#endif
