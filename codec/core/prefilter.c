/* Targets for coarse strides where an encoder will leave out the finer voxels: smooth values.

   The low-pass filter is that of the wavelet 5/3 of Le Gall and Tabatabai (1988), (-1, 2, 6, 2, -1)
   / 8 along each axis and at each doubling of the stride. Decoders know nothing of it. */

#include <stdlib.h>
#include <string.h>

#include "lattice.h"

/* Values of a box, and 1 where there is one, else 0. */
typedef struct {
    size_t size[3];
    float *values, *there;
} Box;

static size_t places_of(const Box *box) { return box->size[0] * box->size[1] * box->size[2]; }

static int take_box(Box *box) {
    box->values = calloc(2 * places_of(box) + 1, sizeof(float));
    box->there = box->values ? box->values + places_of(box) : NULL;
    return box->values ? INRV_OK : INRV_MEMORY;
}

static size_t place_in(const Box *box, int x, int y, int z) {
    return ((size_t)x * box->size[1] + (size_t)y) * box->size[2] + (size_t)z;
}

/* Adds to the filtered values of a row what the sums of two rows beside it, less twice its own,
   weigh: nothing where one of the two is missing. */
static void bend(float *to, const float *own, const float *before, const float *behind,
                 ptrdiff_t there, float weight, size_t count) {
    for (size_t i = 0; i < count; i++)
        to[i] += (before[i] + behind[i] - 2 * own[i]) * before[i + (size_t)there] *
                 behind[i + (size_t)there] * weight;
}

/* Every second value along an axis, filtered. */
static int halve(const Box *from, int axis, Box *to) {
    memcpy(to->size, from->size, sizeof to->size);
    to->size[axis] = (from->size[axis] + 1) / 2;
    int error = take_box(to);
    if (error) return error;
    const size_t count = from->size[axis], half = to->size[axis];
    const ptrdiff_t there = from->there - from->values;
    size_t row = 1, rows = 1;
    for (int i = 0; i < axis; i++) rows *= from->size[i];
    for (int i = axis + 1; i < 3; i++) row *= from->size[i];
    for (size_t i = 0; i < rows * half; i++) {
        size_t at = i % half * 2;
        const float *own = from->values + (i / half * count + at) * row;
        float *values = to->values + i * row;
        memcpy(values, own, row * sizeof *own);
        memcpy(to->there + i * row, own + there, row * sizeof *own);
        if (at >= 1 && at + 1 < count) bend(values, own, own - row, own + row, there, 0.25f, row);
        if (at >= 2 && at + 2 < count)
            bend(values, own, own - 2 * row, own + 2 * row, there, -0.125f, row);
    }
    return INRV_OK;
}

static int halve_all(const Box *from, Box *to) {
    Box first = {{0}, NULL, NULL}, second = first;
    int error = halve(from, 0, &first);
    if (!error) error = halve(&first, 1, &second);
    if (!error) error = halve(&second, 2, to);
    free(first.values);
    free(second.values);
    return error;
}

static void corner_of(uint16_t cell, int corner[3]) {
    corner[0] = (cell >> 8) * 8;
    corner[1] = (cell >> 4 & 15) * 8;
    corner[2] = (cell & 15) * 8;
}

/* What a voxel is coded as: its value, moved towards the smooth one, the less the farther that is.
 */
static int32_t target_of(int32_t value, float smooth, float limit) {
    float departure = smooth - (float)value, share = departure / limit, kept = 1 - share * share;
    float target = (float)value + departure * (kept > 0 ? kept : 0);
    return (int32_t)(target < 0 ? target - 0.5f : target + 0.5f);
}

/* Calls for each voxel of some leaves, with its number and its place. */
#define FOR_EACH_VOXEL(leaves, number, x, y, z, code)                                    \
    do {                                                                                 \
        size_t number = 0;                                                               \
        for (size_t row = 0; row < 64 * (leaves)->count; row++) {                        \
            unsigned bits = (leaves)->masks[row];                                        \
            int corner[3];                                                               \
            corner_of((leaves)->cells[row / 64], corner);                                \
            for (; bits; bits &= bits - 1, number++) {                                   \
                int x = corner[0] + (int)(row % 64 / 8), y = corner[1] + (int)(row % 8), \
                    z = corner[2] + __builtin_ctz(bits);                                 \
                code;                                                                    \
            }                                                                            \
        }                                                                                \
    } while (0)

int inrv_prefilter(const inrv_leaves *leaves, const int32_t *values, const float *limits,
                   int32_t *targets) {
    Box boxes[INRV_LEVELS] = {{{0}, NULL, NULL}};
    for (size_t i = 0; i < leaves->count; i++) {
        int corner[3];
        corner_of(leaves->cells[i], corner);
        for (int axis = 0; axis < 3; axis++)
            if ((size_t)corner[axis] + 8 > boxes[0].size[axis])
                boxes[0].size[axis] = (size_t)corner[axis] + 8;
    }
    int error = take_box(&boxes[0]);
    if (!error)
        FOR_EACH_VOXEL(leaves, number, x, y, z, {
            size_t place = place_in(&boxes[0], x, y, z);
            boxes[0].values[place] = (float)values[number];
            boxes[0].there[place] = 1;
        });
    for (int level = 1; level < INRV_LEVELS && !error; level++)
        error = halve_all(&boxes[level - 1], &boxes[level]);
    if (!error)
        FOR_EACH_VOXEL(leaves, number, x, y, z, {
            targets[number] = values[number];
            if ((x | y | z) & 1) continue;
            int level = __builtin_ctz((unsigned)(x | y | z) | 1u << (INRV_LEVELS - 1));
            size_t place = place_in(&boxes[level], x >> level, y >> level, z >> level);
            targets[number] = target_of(values[number], boxes[level].values[place], limits[level]);
        });
    for (int level = 0; level < INRV_LEVELS; level++) free(boxes[level].values);
    return error;
}
