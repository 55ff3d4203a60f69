/* Values at points and in boxes: memory is waited for many points at a time. */
#include "sample.h"

#include <string.h>

#define HALF (1 << 23)      /* coordinates are within +-HALF */
#define FARTHEST 16777216.0 /* beyond it every voxel is background */
#define BATCH 32            /* points that are looked up before the first of them is computed */

/* Where a slot is looked for first: the upper bits of a product spread the keys. */
static size_t first_slot(int64_t key, int bits) {
    return (size_t)(((uint64_t)key * 0x9e3779b97f4a7c15u) >> (64 - bits));
}

void inrv_index_keys(const int64_t *keys, size_t count, int32_t *slots, int bits) {
    const size_t last = ((size_t)1 << bits) - 1;

    for (size_t i = 0; i <= last; i++) slots[i] = -1;
    for (size_t i = 0; i < count; i++) {
        size_t at = first_slot(keys[i], bits);
        while (slots[at] >= 0) at = (at + 1) & last;
        slots[at] = (int32_t)i;
    }
}

static int32_t find(const inrv_index *index, int64_t key) {
    const size_t last = ((size_t)1 << index->bits) - 1;
    size_t at = first_slot(key, index->bits);
    int32_t found;

    while ((found = index->slots[at]) >= 0 && index->keys[found] != key) at = (at + 1) & last;
    return found;
}

/* The values of a cell: voxel o has base[o * step + component]. */
typedef struct {
    const float *base; /* NULL: in a brick that is not there */
    int32_t step;      /* 0 where all voxels have the same */
} Cell;

/* The region that was looked up last. */
typedef struct {
    int64_t key;
    int32_t number;
} Last;

static Cell cell_at(const inrv_bricks *in, int32_t x, int32_t y, int32_t z, uint8_t *touched,
                    Last *last) {
    int32_t found = 0; /* the background */

    if (x > -HALF && x < HALF && y > -HALF && y < HALF && z > -HALF && z < HALF) {
        const int64_t key = inrv_index_key(x, y, z, 7);
        if (key != last->key) *last = (Last){key, find(&in->regions, key)};
        if (last->number >= 0) {
            const inrv_brick *brick = in->bricks + last->number;
            touched[last->number] = 1;
            if (!brick->cells) return (Cell){NULL, 0};
            const int32_t number =
                brick->cells[(x >> 3 & 15) << 8 | (y >> 3 & 15) << 4 | (z >> 3 & 15)];
            if (number >= 0) {
                const float *base = brick->blocks;
                return (Cell){base + (size_t)number * INRV_LEAF_VOXELS * in->components,
                              in->components};
            }
            found = ~number;
        } else if (in->tile_values) {
            const int32_t tile = find(&in->tiles, inrv_index_key(x, y, z, 12));
            if (tile >= 0) found = in->tile_values[tile];
        }
    }
    return (Cell){in->constants + (size_t)found * in->components, 0};
}

static int32_t offset_of(int32_t x, int32_t y, int32_t z) {
    return (x & 7) << 6 | (y & 7) << 3 | (z & 7);
}

/* The voxels around a point, and where between them it lies. */
typedef struct {
    const float *corners[8];
    double beyond[3];
    int there; /* whether all are */
} Place;

static void look_up(const inrv_bricks *in, const inrv_lookup *lookup, const double *point,
                    uint8_t *touched, Last *last, Place *place) {
    const double half = lookup->nearest ? 0.5 : 0.0;
    int32_t at[3];

    for (int axis = 0; axis < 3; axis++) {
        double p = point[axis];
        p = (p < -FARTHEST ? -FARTHEST : p > FARTHEST ? FARTHEST : p) + lookup->shift[axis];
        const double rounded = p + half;
        at[axis] = (int32_t)rounded;
        at[axis] -= rounded < at[axis]; /* the floor */
        place->beyond[axis] = p - at[axis];
    }
    const int32_t x = at[0], y = at[1], z = at[2];
    const int corners = lookup->nearest ? 1 : 8;
    if (corners == 1 || ((x & 7) < 7 && (y & 7) < 7 && (z & 7) < 7)) {
        const Cell cell = cell_at(in, x, y, z, touched, last);
        place->there = cell.base != NULL;
        if (!place->there) return;
        const float *own = cell.base + (ptrdiff_t)offset_of(x, y, z) * cell.step + lookup->first;
        for (int i = 0; i < corners; i++) {
            const int along = (i >> 2) << 6 | (i >> 1 & 1) << 3 | (i & 1);
            place->corners[i] = own + (ptrdiff_t)along * cell.step;
            if (!(i & 1)) __builtin_prefetch(place->corners[i]);
        }
        return;
    }
    place->there = 1;
    for (int i = 0; i < 8; i++) {
        const int32_t cx = x + (i >> 2), cy = y + (i >> 1 & 1), cz = z + (i & 1);
        const Cell cell = cell_at(in, cx, cy, cz, touched, last);
        if (!cell.base) {
            place->there = 0;
            continue;
        }
        place->corners[i] =
            cell.base + (ptrdiff_t)offset_of(cx, cy, cz) * cell.step + lookup->first;
        __builtin_prefetch(place->corners[i]);
    }
}

/* Sums in float64 in the order of the corners, rounded once. A voxel without weight tells nothing,
   NaN and infinity no more than others. -0.0 changes no sum, where 0.0 would change -0.0. */
static void interpolate(const Place *place, int components, float *values) {
    double weights[8];

    for (int i = 0; i < 8; i++) {
        const double *b = place->beyond;
        const double x = i >> 2 ? b[0] : 1 - b[0], y = i >> 1 & 1 ? b[1] : 1 - b[1];
        weights[i] = x * y * (i & 1 ? b[2] : 1 - b[2]);
    }
    for (int c = 0; c < components; c++) {
        double sum = -0.0;
        for (int i = 0; i < 8; i++) {
            const double value = place->corners[i][c];
            sum += weights[i] == 0 ? -0.0 : value * weights[i];
        }
        values[c] = (float)sum;
    }
}

/* The derivatives by x, y and z; where the interpolation has a kink, those of its upper side. */
static void derive(const Place *place, int components, double *gradients) {
    const double *b = place->beyond;

    for (int c = 0; c < components; c++) {
        double v[8];
        for (int i = 0; i < 8; i++) v[i] = place->corners[i][c];
        /* Edges along x, then y, then z, each interpolated in the other two axes. */
        for (int axis = 0; axis < 3; axis++) {
            const int step = 4 >> axis, low = axis == 2 ? 2 : 1, high = axis == 0 ? 2 : 4;
            const double s = b[axis == 2 ? 1 : 2], t = b[axis == 0 ? 1 : 0];
            const double lower = (v[step] - v[0]) * (1 - s) + (v[step + low] - v[low]) * s;
            const double upper =
                (v[step + high] - v[high]) * (1 - s) + (v[step + low + high] - v[low + high]) * s;
            gradients[3 * c + axis] = lower * (1 - t) + upper * t;
        }
    }
}

size_t inrv_sample(const inrv_bricks *in, const inrv_lookup *lookup, const double *points,
                   size_t count, uint8_t *touched, float *values, double *gradients) {
    const int components = lookup->count;
    size_t missing = 0;
    Last last = {-1, -1};
    Place places[BATCH];

    for (size_t first = 0; first < count; first += BATCH) {
        const int batch = (int)(count - first < BATCH ? count - first : BATCH);
        for (int i = 0; i < batch; i++)
            look_up(in, lookup, points + 3 * (first + i), touched, &last, places + i);
        for (int i = 0; i < batch; i++) {
            float *own = values + (first + i) * components;
            if (!places[i].there) {
                missing++;
                continue;
            }
            if (lookup->nearest) {
                memcpy(own, places[i].corners[0], components * sizeof *own);
                continue;
            }
            interpolate(places + i, components, own);
            if (gradients) derive(places + i, components, gradients + 3 * (first + i) * components);
        }
    }
    return missing;
}

void inrv_fill_blocks(const uint8_t *masks, size_t leaves, int components, const float *values,
                      size_t stride, const float *others, float *blocks) {
    for (size_t byte = 0; byte < leaves * (INRV_LEAF_VOXELS / 8); byte++) {
        const unsigned mask = masks[byte];
        if (components == 1 && stride == 1 && (mask == 0 || mask == 255)) { /* most rows */
            for (int bit = 0; bit < 8; bit++) blocks[bit] = mask ? values[bit] : *others;
            values += mask ? 8 : 0;
            blocks += 8;
            continue;
        }
        for (int bit = 0; bit < 8; bit++, blocks += components) {
            const int active = mask >> bit & 1;
            const float *from = active ? values : others;
            for (int c = 0; c < components; c++) blocks[c] = from[c];
            if (active) values += stride;
        }
    }
}

void inrv_put_values(const uint8_t *some, const uint8_t *all, size_t leaves, size_t components,
                     const void *values, size_t stride, void *result) {
    const char *from = values;
    char *to = result;
    for (size_t byte = 0; byte < leaves * (INRV_LEAF_VOXELS / 8); byte++)
        for (unsigned left = some[byte] | all[byte]; left; left &= left - 1) {
            const unsigned voxel = left & -left;
            if (some[byte] & voxel) {
                const size_t count = all[byte] & voxel ? components : 0;
                for (size_t c = 0; c < count; c++) memcpy(to + 4 * c, from + 4 * c, 4);
                from += 4 * components;
            }
            if (all[byte] & voxel) to += 4 * stride;
        }
}

void inrv_copy_box(const inrv_brick *brick, const float *constants, int components,
                   const int32_t *corner, const int32_t *lower, const int32_t *upper,
                   float *target) {
    int32_t low[3], high[3];

    for (int axis = 0; axis < 3; axis++) {
        low[axis] = lower[axis] > corner[axis] ? lower[axis] : corner[axis];
        high[axis] = upper[axis] < corner[axis] + 127 ? upper[axis] : corner[axis] + 127;
    }
    const size_t depth = (size_t)(upper[2] - lower[2] + 1) * components;
    const size_t plane = depth * (size_t)(upper[1] - lower[1] + 1);
    for (int32_t x = low[0]; x <= high[0]; x++)
        for (int32_t y = low[1]; y <= high[1]; y++) {
            float *row = target + (size_t)(x - lower[0]) * plane + (size_t)(y - lower[1]) * depth;
            const int32_t *cells = brick->cells + ((x >> 3 & 15) << 8 | (y >> 3 & 15) << 4);
            for (int32_t z = low[2], end; z <= high[2]; z = end) {
                end = (z | 7) < high[2] ? (z | 7) + 1 : high[2] + 1;
                float *to = row + (size_t)(z - lower[2]) * components;
                const int32_t number = cells[z >> 3 & 15];
                const size_t floats = (size_t)(end - z) * components;
                if (number >= 0) {
                    const size_t voxel = (size_t)number * INRV_LEAF_VOXELS + offset_of(x, y, z);
                    memcpy(to, brick->blocks + voxel * components, floats * sizeof *to);
                } else {
                    const float *constant = constants + (size_t)~number * components;
                    for (size_t i = 0; i < floats; i++) to[i] = constant[i % components];
                }
            }
        }
}
