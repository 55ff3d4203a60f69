/* A region as a wavelet: what lattice.c and the kernels share. The specification is
   spec/wavelet.md. */

#ifndef INRV_WAVELET_H
#define INRV_WAVELET_H

#include <stddef.h>
#include <stdint.h>

#include "lattice.h"
#include "squash.h"

enum {
    SCALES = 5,
    BANDS = 8,          /* of a scale, by the axes along which they are high: x << 2 | y << 1 | z */
    MARGIN = 2,         /* around the magnitudes of a band */
    DECISIONS = 4,      /* that contexts tell of: not 0, above 1, above 2, above what follows */
    CONTEXTS = 5,       /* of each */
    OF_DECISION = 2776, /* logits of the contexts of a decision */
    LOGITS = DECISIONS * OF_DECISION,
    GROUP = 8,                       /* coefficients beside each other */
    QUIET_CONTEXTS = 64,             /* of coefficients with nothing around them, and of groups */
    ALONE = 2 * QUIET_CONTEXTS + 20, /* and of the exponents of large magnitudes */
    SHARE_BITS = 30,
    FIRST_SEEN = 12, /* as often a prior counts as seen */
    MOST_SEEN = 1023
};
_Static_assert(INRV_WAVELET_PRIOR == LOGITS + ALONE, "a prior has all that is learned");

/* A logit, in 2^-24, and how often it was seen, at most 255 times. */
typedef struct {
    int32_t logit, visits;
} Learned;

/* A box of voxels on its way from values to bits, or back. Arrays have no pitch but that of their
   own axes. */
typedef struct {
    int size[3];
    int32_t step;                         /* in units */
    int32_t *box, *bands, *spare;         /* [size] */
    int32_t *coefficients[SCALES][BANDS]; /* encoding: before they are rounded */
    uint8_t *covers[SCALES];              /* how much of what a place covers is active */
    uint8_t *magnitudes[SCALES][BANDS]; /* with margins; those of every second scale share memory */
    uint8_t *told;                      /* of a band: what other bands tell */
    uint16_t *beside;                   /* of a scale: magnitudes of the bands before, summed up */
    uint16_t *around;                   /* of a row: magnitudes of the rows before, summed up */
    Learned *learned;                   /* [LOGITS] */
    int32_t rates[256];             /* by how much an error of 2^-15 moves a logit, by its visits */
    int32_t shares[ALONE];          /* of decisions that are taken, in 2^-30 */
    uint16_t seen[ALONE];           /* how often, at most MOST_SEEN */
    int32_t weights[MOST_SEEN + 1]; /* of what is new, by how often something was seen */
    int32_t squash[2 * SQUASH_EDGE];
    uint8_t ranks[256];
    /* decoding */
    uint32_t state;
    const uint8_t *word, *end;
    int overrun; /* whether words were missing */
    /* encoding */
    float rate_weight;
    float bits[2 * SQUASH_EDGE]; /* of a decision, by its logit */
    uint16_t *decisions;         /* chances, and which way they went, in the highest bit */
    size_t count, room;
    int short_of_memory;
} Wavelet;

/* The box of a region's leaves: its lowest corner, in voxels of the region, and its leaves. */
typedef struct {
    int lower[3];
    const inrv_leaves *leaves;
} Boxed;

/* How many numbers a scale splits along each axis: on scale 0 all voxels. */
static inline void size_on(const Wavelet *wavelet, int scale, int size[3]) {
    for (int axis = 0; axis < 3; axis++) {
        size[axis] = wavelet->size[axis];
        for (int i = 0; i < scale; i++) size[axis] = (size[axis] + 1) / 2;
    }
}

/* The size of a band of a scale. */
static inline void band_size(const Wavelet *wavelet, int scale, int band, int size[3]) {
    size_on(wavelet, scale, size);
    for (int axis = 0; axis < 3; axis++) size[axis] = (size[axis] + !(band >> (2 - axis) & 1)) / 2;
}

static inline size_t volume_of(const int size[3]) {
    return (size_t)size[0] * (size_t)size[1] * (size_t)size[2];
}

/* Gives a wavelet of a size its memory; NULL: none. Returns how many bytes that is. */
size_t inrv_wavelet_place(Wavelet *wavelet, uint8_t *memory, int encodes);

/* What is known before the bits.
   prior: int8 [INRV_WAVELET_PRIOR] where the logits begin, in 16ths, and those of shares, in 8ths
 */
void inrv_wavelet_begin(Wavelet *wavelet, const Boxed *boxed, const int8_t *prior);

/* Fills the box with the values of the leaves' voxels, and with `outside` elsewhere, less a centre.
 */
void inrv_wavelet_fill(Wavelet *wavelet, const Boxed *boxed, const int32_t *values, int32_t centre,
                       int32_t outside);

/* The values of the leaves' voxels at multiples of 2^level, between 0 and `top`. */
void inrv_wavelet_take(const Wavelet *wavelet, const Boxed *boxed, int level, int32_t centre,
                       int32_t top, int32_t *values);

/* Reads from some bytes from now on, and whether all of them were read. */
int inrv_wavelet_open(Wavelet *wavelet, const uint8_t *bytes, size_t size);
int inrv_wavelet_close(const Wavelet *wavelet);

/* Writes the decisions, backwards; returns how many bytes they take, more than `capacity` where
   there is no room for them. */
size_t inrv_wavelet_write(const Wavelet *wavelet, uint8_t *bytes, size_t capacity);

/* About log2(a), within a hundredth: all that an encoder needs to choose. */
static inline float log2_of(float a) {
    uint32_t bits;
    __builtin_memcpy(&bits, &a, 4);
    const int whole = (int)(bits >> 23) - 127;
    bits = (bits & 0x7fffff) | 127u << 23;
    __builtin_memcpy(&a, &bits, 4);
    return (float)whole + (2 - a / 3) * a - 5 / 3.0f;
}

/* Bits to the box, and the box to decisions and to what a decoder makes of them: one variant for
   each set of instructions, in wavelet_kernel.c. */
typedef struct {
    void (*decode)(Wavelet *wavelet);
    void (*encode)(Wavelet *wavelet);
} WaveletKernel;

#endif
