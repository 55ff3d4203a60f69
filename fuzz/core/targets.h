/* Functions of the core that read what strangers wrote, and what feeds them with it. */
#ifndef INRV_FUZZ_TARGETS_H
#define INRV_FUZZ_TARGETS_H

#include <stddef.h>
#include <stdint.h>

/* Hand some bytes to a function of the core, and return its error.
 * data: uint8 (size), which begins with what the function takes besides bytes
 */
typedef int target_function(const uint8_t *data, size_t size);

struct target {
    const char *name;
    target_function *function;
};

extern const struct target TARGETS[];
extern const size_t TARGET_COUNT;

#endif
