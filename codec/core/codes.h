/* Codes as tokens, extra bits and signs: what the kernels that read and write them share. */

#ifndef INRV_CODES_H
#define INRV_CODES_H

#include "region.h"

/* Where a token leads from a state of a chain, by its lowest bit; the lowest bit of a state is the
   quantiser that a voxel finds there. */
static const uint8_t NEXT[STATES][2] = {{0, 2}, {5, 7}, {1, 3}, {6, 4},
                                        {2, 0}, {4, 6}, {3, 1}, {7, 5}};

static inline int32_t clipped(int64_t a, int32_t low, int32_t high) {
    return (int32_t)(a < low ? low : a > high ? high : a);
}

static inline int extra_bits(int token) { return 3 + (token - DIRECT) / 2; }

static inline int token_of(uint32_t magnitude) {
    if (magnitude < DIRECT) return (int)magnitude;
    int top = 31 - __builtin_clz(magnitude);
    return DIRECT + 2 * (top - 4) + (int)(magnitude >> (top - 1) & 1);
}

/* The sign that a code can only have, 1 or -1, because values end at 0 and `top`; 0: either.
   Magnitudes are below 2^19 and steps at most 2^9, so that all this stays below 2^30. */
static inline int only_sign(int32_t predicted, int32_t magnitude, int quantiser, int32_t step,
                            int32_t top) {
    int32_t reach = (2 * magnitude - 1 - quantiser) * step;
    return 2 * predicted < reach ? 1 : 2 * (top - predicted) < reach ? -1 : 0;
}

static inline void write_raw(Coder *coder, uint32_t bits, int count) {
    for (int i = 0; i < count; i++, coder->raw++)
        coder->raw_bytes[coder->raw >> 3] |= (uint8_t)((bits >> i & 1) << (coder->raw & 7));
}

/* Notes a code for the coder, which goes backwards, and writes its raw bits; returns its token.
   table: of all quantisers'
   number: of the voxel in its pass
   implied: whether the sign is not stored */
static inline int write_code(Coder *coder, int table, int32_t code, uint32_t number, int implied) {
    Table *own = &coder->table[table];
    uint32_t magnitude = (uint32_t)(code < 0 ? -code : code);
    int token = token_of(magnitude);
    Symbol *symbol = &coder->symbols[coder->count++];
    symbol->start = (uint16_t)(own->start[token] + (1 << 15));
    symbol->part = own->part[token];
    symbol->lane = (uint8_t)(number % MOST_LANES);
    own->seen[0][token]++;
    coder->found.share *= symbol->part * (1.0 / (1 << PROBABILITY_BITS));
    if (token >= DIRECT) write_raw(coder, magnitude, extra_bits(token));
    if (token && !implied) write_raw(coder, code < 0, 1);
    return token;
}

/* Chooses the codes of the voxels of a pass that wait, which a trellis couples, and writes them
   and their values: trellis_kernel.c.
   values: of the level */
void INRV_VARIANT_OF(inrv_choose_path)(Coder *coder, const inrv_aim *aim, int32_t step, int32_t top,
                                       int32_t *values);

#endif
