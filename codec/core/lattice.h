/* The lattice: channels of values, coded region by region. The specification is spec/lattice.md.

   A region is a cube of 128^3 voxels; its 8^3 blocks are cells, numbered x << 8 | y << 4 | z. A
   leaf is a cell with a mask of 64 bytes: bit z of byte 8 x + y says whether voxel (x, y, z) is
   active. Values come in units, as int32, in the order of leaves and, within one, of its bits. */

#ifndef INRV_LATTICE_H
#define INRV_LATTICE_H

#include "inrv.h"

#define INRV_LEVELS 7              /* strides 2^6 to 2^0 */
#define INRV_SEGMENTS 4            /* of a region's codes: levels 6 to 3, 2, 1, 0 */
#define INRV_TABLES 64             /* of the entropy coder, for each quantiser */
#define INRV_QUANTISERS 2          /* of a trellis */
#define INRV_TOKENS 46             /* of a table */
#define INRV_SETS 6                /* of default networks */
#define INRV_LISTED 1024           /* magnitudes whose bits an encoder has listed */
#define INRV_WAVELET_PRIOR 11252   /* numbers that wavelets begin with */
#define INRV_WAVELET_TOP (1 << 15) /* largest value of a wavelet channel */
#define INRV_MOST_INPUTS 64        /* of a network */

/* A network of whole numbers, weights within +-127 and biases within +-2^20, row-major. */
typedef struct {
    int32_t inputs, first, second, outputs; /* widths of the layers */
    const int8_t *first_weight;             /* [inputs][first] */
    const int32_t *first_bias;              /* [first] */
    const int8_t *second_weight;            /* [first][second] */
    const int32_t *second_bias;             /* [second] */
    const int8_t *last_weight;              /* [second][outputs] */
    const int32_t *last_bias;               /* [outputs] */
    const int8_t *skip_weight;              /* [inputs][outputs] */
} inrv_network;

/* What is known of a channel before its codes. */
typedef struct {
    int32_t steps[INRV_LEVELS]; /* of the quantiser, in units, 32 to 512; number i for stride 2^i */
    int32_t top;                /* largest value, 1 to 2^23 */
    int32_t background;         /* of the grid, within +-2^23 */
    int32_t reference_top;      /* of the reference channel; 0 where there is none */
    int32_t lossless;           /* whether values are whole numbers of 128 units */
    int32_t exterior;           /* whether voxels that are not coded are known */
    int32_t trellis;            /* whether codes are of two quantisers in turn */
    int32_t wavelet;            /* whether regions are coded as wavelets */
    const inrv_network *prediction[3]; /* by number of odd axes, less 1 */
    const inrv_network *restoration;   /* NULL where decoded values stay */
    const int32_t *prior;              /* [2][64][46] counts, each at least 1 */
    const int8_t *wavelet_prior;       /* [INRV_WAVELET_PRIOR] */
} inrv_channel;

/* Some leaves of a region. */
typedef struct {
    size_t count;
    const uint16_t *cells; /* [count] ascending */
    const uint8_t *masks;  /* [count][64] */
} inrv_leaves;

/* What is known of a region before its codes. */
typedef struct {
    inrv_leaves leaves;
    inrv_leaves reference;           /* of the reference channel */
    const int32_t *reference_values; /* of their voxels */
    inrv_leaves exterior;            /* voxels that are not coded, cells in any order */
    const int32_t *exterior_values;  /* of these */
    int32_t around;                  /* value of all others that are not coded */
    int32_t mean;                    /* of the values, in 255ths of the channel's top */
    int32_t spread;                  /* log2 of their mean deviation */
} inrv_region;

/* The codes of a region. */
typedef struct {
    const uint8_t *bytes[INRV_SEGMENTS]; /* of levels 6 to 3, 2, 1 and 0 */
    size_t sizes[INRV_SEGMENTS];         /* of the segments */
    int32_t segments;                    /* 4, or 1: all levels are in the first */
    int32_t lanes;                       /* log2 of the coder's lanes, 0 to 5 */
} inrv_codes;

/* What an encoder aims at. */
typedef struct {
    const int32_t *targets; /* of the voxels: what codes are chosen for */
    const int32_t *values;  /* of the voxels: what they are; read for samples only */
    float rate_weight;      /* of a bit against a squared step; 0: the nearest code */
    /* [2][64][1024] of a magnitude and its sign under a table, of the last where it is larger */
    const float *bits;
} inrv_aim;

/* Contexts of some voxels, for the fitting of networks. Arrays have room for `capacity` voxels. */
typedef struct {
    uint64_t seed;
    uint32_t share[INRV_LEVELS]; /* of a level's voxels that is taken, in 2^-32; 2^32 - 1: all */
    size_t capacity, count;
    int8_t *inputs;     /* [capacity][64] of the network */
    int32_t *base;      /* what the prediction starts from; for the filter, the decoded value */
    int32_t *spread;    /* of the neighbours */
    int32_t *targets;   /* the voxel's own value */
    int32_t *predicted; /* of the voxel */
    uint8_t *table;     /* of its code */
    uint8_t *odd;       /* number of odd axes; 0: inputs of the restoration filter */
    uint8_t *level;     /* of the voxel */
    uint8_t *flat;      /* whether all neighbours are equal */
    uint32_t *tokens;   /* [2][64][46] how often each token came, added up */
    /* [INRV_WAVELET_PRIOR] of a wavelet, as its last bit leaves them: logits, in 2^-24, and shares,
       in 2^-30; or NULL */
    int32_t *logits;
    uint8_t *visits; /* of each, at most 255 */
} inrv_samples;

/* Memory for one region at a time; it grows to some 50 MB at most. One thread uses it at a time. */
typedef struct inrv_work inrv_work;
INRV_API inrv_work *inrv_work_new(
    unsigned sets); /* INRV_SET_... that may be used; NULL: no memory, or none runs here */
INRV_API void inrv_work_free(inrv_work *work);
/* The memory that it holds: as much as the largest region so far took. */
INRV_API size_t inrv_work_bytes(const inrv_work *work);

/* Decodes the values of a region's voxels at multiples of 2^level; those of level 0 are final.
   values: int32 [n], of these voxels */
INRV_API int inrv_decode_region(inrv_work *work, const inrv_channel *channel,
                                const inrv_region *region, const inrv_codes *codes, int level,
                                int32_t *values);

/* Encodes a region, which mean and spread have been chosen for.
   values: int32 [n], filled with the decoded values
   samples: filled with contexts; NULL: none are asked for
   bytes: filled with the segments, one behind the other
   codes: filled: sizes, segments and lanes, and where the segments lie in `bytes` */
INRV_API int inrv_encode_region(inrv_work *work, const inrv_channel *channel,
                                const inrv_region *region, const inrv_aim *aim, int32_t *values,
                                inrv_samples *samples, uint8_t *bytes, size_t capacity,
                                inrv_codes *codes);

/* ---- Motion ---- */

/* Vectors along which values are fetched from a region of a reference channel. */
typedef struct {
    size_t count;
    const uint16_t *cells; /* [count] ascending: those that have a vector */
    const int8_t *vectors; /* [count][3] in 2^-fraction voxels */
    int32_t fraction;      /* 0 to 3 */
} inrv_motion;

/* Turns the vectors of a region's cells into what they differ by from their predictions, in place,
   or back. restore: whether it is back vectors: int32 [count][3], those of the cells within +-127
 */
INRV_API int inrv_vectors(const uint16_t *cells, size_t count, int restore, int32_t *vectors);

/* Fetches the values of every voxel of some cells from a region.
   from: the region: its leaves, and the exterior and `around` for all other voxels
   values: of the leaves' voxels
   top: largest value of the channel that they are for, which limits all of them
   cells: [count] that are filled
   dense: int32 [128][128][128], all INRV_NO_UNITS before and after
   moved: int32 [count][512], filled */
INRV_API void inrv_move(const inrv_region *from, const int32_t *values, const inrv_motion *motion,
                        int32_t top, const uint16_t *cells, size_t count, int32_t *dense,
                        int32_t *moved);

/* Bytes that the codes of so many voxels take at most. */
INRV_API size_t inrv_codes_bound(size_t voxels);

/* Numbers that are coded as a region's codes are, in one segment: `passes` of them, with so many
   numbers each, all of them under one table. */
INRV_API int inrv_decode_numbers(inrv_work *work, const int32_t *prior, size_t passes,
                                 const size_t *counts, const uint8_t *tables,
                                 const inrv_codes *codes, int32_t *numbers);
INRV_API int inrv_encode_numbers(inrv_work *work, const int32_t *prior, size_t passes,
                                 const size_t *counts, const uint8_t *tables,
                                 const int32_t *numbers, uint8_t *bytes, size_t capacity,
                                 inrv_codes *codes);

/* What an encoder aims at where it will leave out the finer voxels: on coarse strides, smooth
   values. values: of the leaves' voxels, within +-2^23 limits: float [7] units by which a voxel of
   each level departs from its value at most targets: filled */
INRV_API int inrv_prefilter(const inrv_leaves *leaves, const int32_t *values, const float *limits,
                            int32_t *targets);

/* How a channel's units stand for values. */
typedef struct {
    double scale;            /* units in the range */
    double minimum, maximum; /* of the range */
    int32_t top;             /* largest unit */
    int32_t clamp;           /* whether values stay within the range */
    const double *offsets;   /* [17] in units, added between 0 and `top`; NULL: none */
} inrv_scaling;

/* Turns units into values, computed in double and rounded once.
   values: float32, `pitch` numbers apart */
INRV_API void inrv_to_values(const inrv_scaling *scaling, const int32_t *units, size_t count,
                             float *values, size_t pitch);

/* Adds up by how much some voxels miss, in units, for each number of units that voxels have.
   values: double, what the units stand for, over `scale`
   errors: double [...][4], by units: the second number rises by how many voxels have so many units,
           the third by the sum of what they miss, the fourth by that of its squares */
INRV_API void inrv_errors_by_unit(const int32_t *units, const double *values, double scale,
                                  size_t count, double *errors);

/* Adds up what the fit of offsets needs of such errors: hat functions at 17 knots between 0 and
   `top`, of which a number of units lies under two.
   errors: double [count][4]: units, and the other numbers as above
   highest: largest value that decoders give
   knots: double [17] offsets so far
   diagonal, beside: double [17] filled: sums of products of each hat with itself and the next
   wanted: double [17] filled: sums of each hat times what is missed with the offsets so far
   Returns the sum of squares of what is missed. */
INRV_API double inrv_offset_sums(const double *errors, size_t count, int32_t top, double highest,
                                 const double *knots, double *diagonal, double *beside,
                                 double *wanted);

#endif
