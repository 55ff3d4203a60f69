/* What a file stores of a grid besides the codes of its field, region by region: spec/topology.md.
 */
#ifndef INRV_STORED_H
#define INRV_STORED_H

#include "manifest.h"
#include "topology.h"

/* Values of an EXAC chunk. */
typedef struct {
    Tensors tensors; /* without JSON where the grid has none */
    Tensor masks, values;
    uint64_t *starts; /* [regions + 1] of the values */
} Exact;

/* A grid. What follows `turn` is that of one region. */
typedef struct {
    const Entry *entry;
    Topology *topology;
    Tensors inactive, frequent;
    Tensor tile_values, inactive_values;
    CodedMasks inactive_coded; /* without starts where no inactive voxel has a value */
    uint64_t *inactive_starts; /* [regions + 1] of their values, as far as `inactive_known` */
    size_t inactive_known;
    Tensor frequent_values, frequent_kinds;
    CodedMasks frequent_coded;
    Exact exact, outliers;
    uint64_t *coded_starts; /* [regions + 1] of the voxels that the field codes */
    size_t coded_known;

    uint64_t turn; /* of the decoder, in which the region was loaded */
    size_t region, first, leaves, voxels, separate;
    const uint16_t *cells; /* [leaves] */
    const uint8_t *masks;  /* [leaves][64] active voxels */
    Room coded;            /* uint8 [leaves][64] those that the field codes */
    Room other;            /* uint8 [leaves][64] inactive voxels with a value */
    Room source;  /* int32 [voxels]: -1: coded; below 256: a frequent value; else an exact one */
    Room outlier; /* int32 [voxels]: -1: none; else the value that replaces it */
    int has_outliers;
    Room left, mask; /* while frequent values are decoded */
} Stored;

/* Opens a grid: its chunks are read, but for those of the field. */
int inrv_stored_open(Topologies *topologies, const Entry *entry, Stored *stored);
void inrv_stored_free(Memory *memory, Stored *stored);

/* Loads the region of a key, unless it was loaded in this turn. All regions of one turn have the
   same key. */
int inrv_stored_load(Topologies *topologies, Stored *stored, uint64_t key, uint64_t turn);

/* The number of coded voxels in all regions before the one that is loaded. */
int inrv_coded_before(Topologies *topologies, Stored *stored, uint64_t *before);

/* The values of what is not coded, [components] each, as bytes: all their bits count. */
const uint8_t *inrv_separate_value(const Stored *stored, int32_t source);
const uint8_t *inrv_outlier_value(const Stored *stored, int32_t number);
const uint8_t *inrv_inactive_value(const Stored *stored, size_t number); /* in the region */

/* The bits of a leaf at multiples of 2^level. */
void inrv_pattern(uint16_t cell, int level, uint8_t pattern[64]);

/* Goes through the voxels that are set in `some`, which are set in `all` too: `row` is the number
   of each among those. */
#define EACH_VOXEL(leaves, some, all, row, code)                                         \
    do {                                                                                 \
        size_t before_ = 0;                                                              \
        for (size_t byte_ = 0; byte_ < 64 * (leaves); byte_++) {                         \
            const unsigned all_ = (all)[byte_];                                          \
            for (unsigned some_ = (some)[byte_]; some_; some_ &= some_ - 1) {            \
                const size_t row =                                                       \
                    before_ + (size_t)__builtin_popcount(all_ & ((some_ & -some_) - 1)); \
                code;                                                                    \
            }                                                                            \
            before_ += (size_t)__builtin_popcount(all_);                                 \
        }                                                                                \
    } while (0)

#endif
