/* The targets: a function each, and a line each in TARGETS. fuzz/native.py has their seeds. */
#include "targets.h"

#include <stdlib.h>
#include <string.h>

#include "inrv.h"
#include "masks.h"

#define MOST_LEAVES 16

/* The first half times the second one, in every variant that runs here. */
static int dot(const uint8_t *data, size_t size) {
    const int8_t *a = (const int8_t *)data;
    int32_t first = 0, sum;
    int error = inrv_dot(INRV_SET_PLAIN, a, a + size / 2, size / 2, &first);
    for (unsigned set = 1; set && !error; set <<= 1) {
        if (!(set & inrv_instruction_sets())) continue;
        error = inrv_dot(set, a, a + size / 2, size / 2, &sum);
        if (sum != first) __builtin_trap();
    }
    return error;
}

/* Masks of a region: how many leaves, whether they have a reference, how far their cells lie from
 * each other, their kinds, and the coded bytes. The prior is 0. What is decoded comes back when it
 * is coded again. */
static int masks(const uint8_t *data, size_t size) {
    static const int8_t prior[INRV_MASK_PRIOR];
    size_t head = 3 + MOST_LEAVES, mixed = 0;
    if (size < head) return INRV_USE;
    uint8_t kinds[MOST_LEAVES], found[MOST_LEAVES][INRV_MASK_BYTES],
        again[MOST_LEAVES][INRV_MASK_BYTES], reference[MOST_LEAVES][INRV_MASK_BYTES];
    uint16_t cells[MOST_LEAVES];
    inrv_mask_leaves leaves = {data[0] % (MOST_LEAVES + 1), cells, kinds, NULL};
    if (data[1] & 1) leaves.reference = reference[0];
    for (size_t i = 0; i < leaves.count; i++) {
        cells[i] = (uint16_t)(i * (data[2] + 1));
        kinds[i] = data[3 + i] & 3;
        mixed += kinds[i] == INRV_MIXED;
        memset(reference[i], data[3 + i], INRV_MASK_BYTES);
    }
    void *work = malloc(inrv_masks_work(mixed)), *least = malloc(inrv_masks_work(0));
    uint8_t *bytes = malloc(inrv_masks_bound(mixed) + 1);
    if (!work || !least || !bytes) abort();
    int error = inrv_masks_decode(prior, &leaves, data + head, size - head, least, found[0]);
    if (!error) {
        size_t used;
        if (inrv_masks_encode(prior, &leaves, found[0], work, bytes, &used) ||
            used > inrv_masks_bound(mixed) ||
            inrv_masks_decode(prior, &leaves, bytes, used, least, again[0]) ||
            memcmp(found, again, leaves.count * INRV_MASK_BYTES))
            __builtin_trap();
    }
    free(work);
    free(least);
    free(bytes);
    return error;
}

const struct target TARGETS[] = {
    {"dot", dot},
    {"masks", masks},
};
const size_t TARGET_COUNT = sizeof TARGETS / sizeof TARGETS[0];
