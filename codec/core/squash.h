/* The logistic function, as the coders of masks and of wavelets have it. */

#ifndef INRV_SQUASH_H
#define INRV_SQUASH_H

#include <stdint.h>

#define SQUASH_EDGE 666 /* 64ths, beyond which it is all but 0 or 1 */

/* Fills a table of the chances, in 2^-15, of logits from -666 to 665, in 64ths. */
void inrv_fill_squash(int32_t table[2 * SQUASH_EDGE]);

#endif
