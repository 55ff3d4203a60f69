/* Values of decoded regions, kept so that points and boxes can be looked up in them.

   A brick holds every voxel of a region, a cube of 128^3: active ones, inactive ones and tiles. Its
   4096 cells are numbered as in lattice.h. Coordinates are whole numbers of index space; those that
   are not within +-2^23 have the background. */

#ifndef INRV_SAMPLE_H
#define INRV_SAMPLE_H

#include "inrv.h"

#define INRV_CELLS 4096
#define INRV_LEAF_VOXELS 512

/* A region's values. */
typedef struct {
    const int32_t *cells; /* [4096] number of the cell's block, or ~number of a constant */
    const float *blocks;  /* [blocks][512][components] */
} inrv_brick;

/* Whole numbers that are found by a key. */
typedef struct {
    const int64_t *keys;  /* [count], all different */
    const int32_t *slots; /* [2^bits] numbers of keys, -1 where there is none: inrv_index_keys */
    int32_t bits;
} inrv_index;

/* The bricks of a grid. */
typedef struct {
    int32_t components;
    const float *constants;     /* [constants][components]; number 0 is the background */
    inrv_index regions;         /* by x >> 7, y >> 7, z >> 7: three times 17 bits, plus 2^16 each */
    const inrv_brick *bricks;   /* [regions]; cells NULL where a brick is not there */
    inrv_index tiles;           /* tiles of 4096^3: by x >> 12, ..., in 17 bits, plus 2^11 each */
    const int32_t *tile_values; /* [tiles] numbers of constants */
} inrv_bricks;

/* How points are looked up. */
typedef struct {
    double shift[3];      /* added to every point */
    int32_t nearest;      /* whether the nearest voxel is taken, instead of the 8 around a point */
    int32_t first, count; /* the components that are asked for */
} inrv_lookup;

/* The key of the cube of 2^shift voxels that a voxel lies in; coordinates are within +-2^23.
   shift: 7 or 12 */
static inline int64_t inrv_index_key(int32_t x, int32_t y, int32_t z, int shift) {
    const int32_t half = 1 << 23;

    return (int64_t)((x + half) >> shift) << 34 | (int64_t)((y + half) >> shift) << 17 |
           ((z + half) >> shift);
}

/* Fill slots so that keys are found.
 * keys: [count], all different
 * slots: [2^bits], at least twice as many as keys
 */
INRV_API void inrv_index_keys(const int64_t *keys, size_t count, int32_t *slots, int bits);

/* Put active voxels into blocks, and a value into all others.
 * masks: [leaves][64] of the active voxels
 * values: of the active voxels, each `stride` floats behind the one before
 * others: [components]
 * blocks: [leaves][512][components] is filled
 */
INRV_API void inrv_fill_blocks(const uint8_t *masks, size_t leaves, int components,
                               const float *values, size_t stride, const float *others,
                               float *blocks);

/* Put values of some voxels in their places among those of all.
 * some: [leaves][64] of the voxels that the values are of
 * all: [leaves][64] of the voxels that have a place
 * values: [some][components], numbers of four bytes
 * result: of all voxels, each `stride` numbers behind the one before
 */
INRV_API void inrv_put_values(const uint8_t *some, const uint8_t *all, size_t leaves,
                              size_t components, const void *values, size_t stride, void *result);

/* Interpolate at points; return how many of them need a brick that is not there.
 * points: [count][3] in index space
 * touched: [regions], 1 is written for each region in which a voxel was asked for
 * values: [count][lookup->count]; not written at points that need what is not there
 * gradients: [count][lookup->count][3] derivatives of the trilinear interpolation; or NULL
 */
INRV_API size_t inrv_sample(const inrv_bricks *bricks, const inrv_lookup *lookup,
                            const double *points, size_t count, uint8_t *touched, float *values,
                            double *gradients);

/* Copy the voxels of a box, both corners included, that lie in one region.
 * cells: as of a brick
 * target: [x][y][z][components] of the box
 * corner: lowest of the region
 */
INRV_API void inrv_copy_box(const inrv_brick *brick, const float *constants, int components,
                            const int32_t *corner, const int32_t *lower, const int32_t *upper,
                            float *target);

#endif
