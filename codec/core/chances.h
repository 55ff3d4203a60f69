/* The product of the chances of what an encoder has coded, which tells the bits that it takes. */

#ifndef INRV_CHANCES_H
#define INRV_CHANCES_H

#include <stdint.h>
#include <string.h>

/* share 2^exponent; the share is within 1 and 2 after `settle`. At most 64 factors, of 2^-15 at
   least, may come between two calls of it: a double holds no smaller product. */
typedef struct {
    double share;
    int64_t exponent;
} Chances;

static inline void settle(Chances *chances) {
    uint64_t bits;
    memcpy(&bits, &chances->share, sizeof bits);
    chances->exponent += (int64_t)(bits >> 52) - 1023;
    bits = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1023 << 52;
    memcpy(&chances->share, &bits, sizeof bits);
}

/* Words of 16 bits that one lane of a coder writes for what has these chances. */
static inline size_t words_of(const Chances *chances) {
    return (size_t)(-chances->exponent - (chances->share > 1)) / 16;
}

#endif
