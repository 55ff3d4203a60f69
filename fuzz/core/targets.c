/* The targets: a function each, and a line each in TARGETS. fuzz/native.py has their seeds. */
#include "targets.h"

#include "inrv.h"

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

const struct target TARGETS[] = {
    {"dot", dot},
};
const size_t TARGET_COUNT = sizeof TARGETS / sizeof TARGETS[0];
