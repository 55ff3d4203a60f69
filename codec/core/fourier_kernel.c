/* Fourier features, compiled once for each set of instructions: plain loops, which compilers turn
   into vectors. */

#include "fourier.h"

#include <string.h>

#include "kernel.h"

enum { MOST_FREQUENCIES = 4096 };

static uint16_t narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float widen(uint16_t stored) {
    uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void features(const uint32_t *places, size_t count, int axes, size_t k, const float *cosines,
                     const float *sines, int half, void *result) {
    float row[2 * MOST_FREQUENCIES];
    for (size_t n = 0; n < count; n++, places += axes) {
        const float *restrict cx = cosines + places[0] * k, *restrict sx = sines + places[0] * k;
        const float *restrict cy = cosines + places[1] * k, *restrict sy = sines + places[1] * k;
        const float *restrict cz = cosines + places[2] * k, *restrict sz = sines + places[2] * k;
        float *restrict to = half ? row : (float *)result + 2 * k * n;
        for (size_t j = 0; j < k; j++) {
            float cosine = cx[j] * cy[j] - sx[j] * sy[j], sine = sx[j] * cy[j] + cx[j] * sy[j];
            to[j] = cosine * cz[j] - sine * sz[j];
            to[k + j] = sine * cz[j] + cosine * sz[j];
        }
        if (axes == 4) {
            const float *restrict ct = cosines + places[3] * k, *restrict st =
                                                                    sines + places[3] * k;
            for (size_t j = 0; j < k; j++) {
                const float cosine = to[j], sine = to[k + j];
                to[j] = cosine * ct[j] - sine * st[j];
                to[k + j] = sine * ct[j] + cosine * st[j];
            }
        }
        if (!half) continue;
        uint16_t *restrict halves = (uint16_t *)result + 2 * k * n;
        for (size_t j = 0; j < 2 * k; j++) halves[j] = narrow(row[j]);
    }
}

static void gradient(const float *positions, size_t count, int axes, size_t k, int half,
                     const void *given, const void *slopes, float *result) {
    float row[2 * MOST_FREQUENCIES], by_row[2 * MOST_FREQUENCIES], sums[4][MOST_FREQUENCIES];
    memset(sums, 0, sizeof sums);
    for (size_t n = 0; n < count; n++, positions += axes) {
        const float *restrict own = (const float *)given + 2 * k * n;
        const float *restrict by = (const float *)slopes + 2 * k * n;
        if (half) {
            const uint16_t *a = (const uint16_t *)given + 2 * k * n;
            const uint16_t *b = (const uint16_t *)slopes + 2 * k * n;
            for (size_t j = 0; j < 2 * k; j++) row[j] = widen(a[j]);
            for (size_t j = 0; j < 2 * k; j++) by_row[j] = widen(b[j]);
            own = row;
            by = by_row;
        }
        const float x = positions[0], y = positions[1], z = positions[2];
        const float t = axes == 4 ? positions[3] : 0;
        for (size_t j = 0; j < k; j++) {
            float by_phase = own[j] * by[k + j] - own[k + j] * by[j];
            sums[0][j] += by_phase * x;
            sums[1][j] += by_phase * y;
            sums[2][j] += by_phase * z;
            sums[3][j] += by_phase * t;
        }
    }
    for (size_t j = 0; j < k; j++)
        for (int axis = 0; axis < axes; axis++) result[axes * j + axis] += sums[axis][j];
}

extern const struct features_kernel INRV_VARIANT_OF(features_kernel);
const struct features_kernel INRV_VARIANT_OF(features_kernel) = {MOST_FREQUENCIES, features,
                                                                 gradient};
