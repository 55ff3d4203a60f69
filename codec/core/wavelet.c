/* What a wavelet needs before its bands are coded, and what it leaves. */

#include "wavelet.h"

#include <string.h>

#include "region.h"

/* ---- Memory ---- */

static void *take(uint8_t *memory, size_t *used, size_t bytes) {
    void *found = memory ? memory + *used : NULL;
    *used += (bytes + 63) / 64 * 64;
    return found;
}

size_t inrv_wavelet_place(Wavelet *wavelet, uint8_t *memory, int encodes) {
    size_t used = 0;
    const size_t numbers = volume_of(wavelet->size) * sizeof(int32_t);
    wavelet->box = take(memory, &used, numbers);
    wavelet->bands = take(memory, &used, numbers);
    wavelet->spare = take(memory, &used, numbers);
    for (int scale = 0; scale < SCALES; scale++) {
        int size[3], own[3];
        size_on(wavelet, scale + 1, size);
        if (!scale) {
            wavelet->told = take(memory, &used, volume_of(size));
            wavelet->beside = take(memory, &used, volume_of(size) * sizeof(uint16_t));
            wavelet->around = take(memory, &used, (size_t)size[2] * sizeof(uint16_t));
        }
        wavelet->covers[scale] = take(memory, &used, volume_of(size));
        for (int axis = 0; axis < 3; axis++) size[axis] += 2 * MARGIN;
        for (int band = 0; band < BANDS; band++) {
            wavelet->magnitudes[scale][band] = scale < 2 ? take(memory, &used, volume_of(size))
                                                         : wavelet->magnitudes[scale & 1][band];
            if (!encodes) continue;
            band_size(wavelet, scale, band, own);
            wavelet->coefficients[scale][band] =
                take(memory, &used, volume_of(own) * sizeof(int32_t));
        }
    }
    wavelet->learned = take(memory, &used, LOGITS * sizeof(Learned));
    return used;
}

/* ---- Leaves ---- */

/* A leaf's lowest corner in the box. */
static void corner_of(const Boxed *boxed, size_t leaf, int corner[3]) {
    const int cell = boxed->leaves->cells[leaf];
    const int at[3] = {cell >> 8, cell >> 4 & 15, cell & 15};
    for (int axis = 0; axis < 3; axis++) corner[axis] = 8 * at[axis] - boxed->lower[axis];
}

/* The row of the box that begins with the first voxel of a leaf's row. */
static int32_t *row_of(const Wavelet *wavelet, const int corner[3], int row) {
    const size_t x = (size_t)(corner[0] + (row >> 3)), y = (size_t)(corner[1] + (row & 7));
    return wavelet->box + (x * (size_t)wavelet->size[1] + y) * (size_t)wavelet->size[2] + corner[2];
}

/* How many of the voxels that each place of a scale covers are active: 0 none, 1 less than a third,
   2 more, 3 all but a few. */
static void find_covers(Wavelet *wavelet, const Boxed *boxed) {
    int size[3], below[3];
    size_on(wavelet, 1, size);
    memset(wavelet->covers[0], 0, volume_of(size));
    for (size_t leaf = 0; leaf < boxed->leaves->count; leaf++) {
        const uint8_t *masks = boxed->leaves->masks + 64 * leaf;
        int corner[3];
        corner_of(boxed, leaf, corner);
        for (int row = 0; row < 64; row++) {
            uint8_t *to = wavelet->covers[0] +
                          ((size_t)((corner[0] + (row >> 3)) / 2) * (size_t)size[1] +
                           (size_t)((corner[1] + (row & 7)) / 2)) *
                              (size_t)size[2] +
                          corner[2] / 2;
            for (int pair = 0; pair < 4; pair++) {
                const int both = masks[row] >> (2 * pair) & 3;
                to[pair] = (uint8_t)(to[pair] + 31 * ((both & 1) + (both >> 1)));
            }
        }
    }
    for (int scale = 1; scale < SCALES; scale++) {
        const uint8_t *from = wavelet->covers[scale - 1];
        uint8_t *to = wavelet->covers[scale];
        size_on(wavelet, scale, below);
        size_on(wavelet, scale + 1, size);
        for (int x = 0; x < size[0]; x++)
            for (int y = 0; y < size[1]; y++)
                for (int z = 0; z < size[2]; z++) {
                    int sum = 0;
                    for (int child = 0; child < 8; child++) {
                        const int at[3] = {2 * x + (child >> 2), 2 * y + (child >> 1 & 1),
                                           2 * z + (child & 1)};
                        if (at[0] < below[0] && at[1] < below[1] && at[2] < below[2])
                            sum += from[((size_t)at[0] * (size_t)below[1] + (size_t)at[1]) *
                                            (size_t)below[2] +
                                        (size_t)at[2]];
                    }
                    *to++ = (uint8_t)(sum >> 3);
                }
    }
    for (int scale = 0; scale < SCALES; scale++) {
        size_on(wavelet, scale + 1, size);
        for (size_t i = 0; i < volume_of(size); i++) {
            const int cover = wavelet->covers[scale][i];
            wavelet->covers[scale][i] = (uint8_t)(cover == 0    ? 0
                                                  : cover < 83  ? 1
                                                  : cover < 243 ? 2
                                                                : 3);
        }
    }
}

void inrv_wavelet_begin(Wavelet *wavelet, const Boxed *boxed, const int8_t *prior) {
    static const uint8_t RANK_FROM[15] = {1, 2, 3, 4, 5, 7, 9, 12, 16, 22, 30, 42, 60, 90, 140};
    for (int sum = 0, rank = 0; sum < 256; sum++) {
        rank += rank < 15 && sum == RANK_FROM[rank];
        wavelet->ranks[sum] = (uint8_t)rank;
    }
    inrv_fill_squash(wavelet->squash);
    for (int i = 0; i < 2 * SQUASH_EDGE; i++)
        wavelet->bits[i] = PROBABILITY_BITS - log2_of((float)wavelet->squash[i]);
    for (int i = 0; i < LOGITS; i++)
        wavelet->learned[i] = (Learned){(int32_t)prior[i] * (1 << 20), 0};
    for (int i = 0; i < 256; i++) wavelet->rates[i] = 10 + 256 / (i + 10);
    for (int i = 0; i < ALONE; i++) {
        const int place = 8 * prior[LOGITS + i] + SQUASH_EDGE;
        const int within = place < 0 ? 0 : place >= 2 * SQUASH_EDGE ? 2 * SQUASH_EDGE - 1 : place;
        wavelet->shares[i] = wavelet->squash[within] << (SHARE_BITS - PROBABILITY_BITS);
        wavelet->seen[i] = FIRST_SEEN;
    }
    for (int i = 0; i <= MOST_SEEN; i++) wavelet->weights[i] = (1 << 17) / (2 * i + 3);
    wavelet->overrun = 0;
    wavelet->count = 0;
    wavelet->short_of_memory = 0;
    find_covers(wavelet, boxed);
}

void inrv_wavelet_fill(Wavelet *wavelet, const Boxed *boxed, const int32_t *values, int32_t centre,
                       int32_t outside) {
    const size_t count = volume_of(wavelet->size);
    for (size_t i = 0; i < count; i++) wavelet->box[i] = outside - centre;
    for (size_t leaf = 0; leaf < boxed->leaves->count; leaf++) {
        const uint8_t *masks = boxed->leaves->masks + 64 * leaf;
        int corner[3];
        corner_of(boxed, leaf, corner);
        for (int row = 0; row < 64; row++) {
            int32_t *to = row_of(wavelet, corner, row);
            for (unsigned left = masks[row]; left; left &= left - 1)
                to[__builtin_ctz(left)] = *values++ - centre;
        }
    }
}

void inrv_wavelet_take(const Wavelet *wavelet, const Boxed *boxed, int level, int32_t centre,
                       int32_t top, int32_t *values) {
    const int stride = 1 << level, within = stride < 8 ? stride : 8;
    const unsigned every = level == 0 ? 0xff : level == 1 ? 0x55 : level == 2 ? 0x11 : 1;
    for (size_t leaf = 0; leaf < boxed->leaves->count; leaf++) {
        const uint8_t *masks = boxed->leaves->masks + 64 * leaf;
        int corner[3];
        corner_of(boxed, leaf, corner);
        if (((corner[0] + boxed->lower[0]) | (corner[1] + boxed->lower[1]) |
             (corner[2] + boxed->lower[2])) &
            (stride - 1))
            continue;
        for (int row = 0; row < 64; row++) {
            if (((row >> 3) | (row & 7)) & (within - 1)) continue;
            const int32_t *from = row_of(wavelet, corner, row);
            if ((masks[row] & every) == 0xff) {
                for (int i = 0; i < 8; i++) {
                    const int32_t value = from[i] + centre;
                    values[i] = value < 0 ? 0 : value > top ? top : value;
                }
                values += 8;
                continue;
            }
            for (unsigned left = masks[row] & every; left; left &= left - 1) {
                const int32_t value = from[__builtin_ctz(left)] + centre;
                *values++ = value < 0 ? 0 : value > top ? top : value;
            }
        }
    }
}

/* ---- Bytes ---- */

int inrv_wavelet_open(Wavelet *wavelet, const uint8_t *bytes, size_t size) {
    if (size < 4 || size & 1) return INRV_RULE('F', 6);
    memcpy(&wavelet->state, bytes, 4);
    wavelet->word = bytes + 4;
    wavelet->end = bytes + size;
    return wavelet->state < 1u << 16 ? INRV_RULE('F', 6) : INRV_OK;
}

int inrv_wavelet_close(const Wavelet *wavelet) {
    const int whole = wavelet->word == wavelet->end && wavelet->state == 1u << 16;
    return whole ? INRV_OK : INRV_RULE('F', 6);
}

size_t inrv_wavelet_write(const Wavelet *wavelet, uint8_t *bytes, size_t capacity) {
    uint32_t state = 1u << 16;
    size_t words = 0;
    /* Words grow from the end of the room, as the last decision comes first. */
    const size_t most = capacity < 4 ? 0 : (capacity - 4) / 2;
    uint8_t *end = bytes + 4 + 2 * most;
    for (size_t i = wavelet->count; i-- > 0;) {
        const uint32_t all = 1u << PROBABILITY_BITS,
                       taken = wavelet->decisions[i] >> PROBABILITY_BITS;
        const uint32_t chance = wavelet->decisions[i] & (all - 1);
        const uint32_t part = taken ? chance : all - chance;
        if (state >= part << 17) {
            const uint16_t word = (uint16_t)state;
            if (++words <= most) memcpy(end - 2 * words, &word, 2);
            state >>= 16;
        }
        state = (state / part << PROBABILITY_BITS) + state % part + (taken ? 0 : chance);
    }
    if (words <= most && capacity >= 4) {
        memmove(bytes + 4, end - 2 * words, 2 * words);
        memcpy(bytes, &state, 4);
    }
    return 2 * words + 4;
}
