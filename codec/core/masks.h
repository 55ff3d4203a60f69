/* The masks of leaves, coded region by region. The specification is spec/masks.md.

   A region is a cube of 128^3 voxels; its 8^3 blocks are cells, numbered x << 8 | y << 4 | z. A
   leaf is a cell with a mask of 64 bytes: bit z of byte 8 x + y says whether voxel (x, y, z) is
   set. */

#ifndef INRV_MASKS_H
#define INRV_MASKS_H

#include "inrv.h"

#define INRV_MASK_BYTES 64      /* of a leaf */
#define INRV_MASK_PRIOR 57344   /* bytes of what the format ships */
enum { INRV_MIXED, INRV_FULL, INRV_EMPTY }; /* kinds of masks: coded, all set, none set */

/* Leaves of a region. */
typedef struct {
    size_t count;
    const uint16_t *cells;    /* [count] strictly ascending, below 4096 */
    const uint8_t *kinds;     /* [count] of the masks */
    const uint8_t *reference; /* [count][64] the masks that these are predicted from; or NULL */
} inrv_mask_leaves;

/* Bytes of memory, aligned as malloc's, that coding one region takes: at most 1 MB to decode one,
   and 5 MB to encode one. One thread uses it at a time; nothing is kept in it.
   mixed: leaves of the kind INRV_MIXED that are to be encoded; 0 to decode */
INRV_API size_t inrv_masks_work(size_t mixed);

/* Bytes that a region takes at most.
   mixed: its leaves of the kind INRV_MIXED */
INRV_API size_t inrv_masks_bound(size_t mixed);

/* Decodes the masks of a region. INRV_RULE('S', 11) where the bytes do not fit the leaves.
   prior: int8 [INRV_MASK_PRIOR]
   bytes: uint8 [size] of the region
   work: inrv_masks_work(0) bytes
   masks: uint8 [count][64], filled */
INRV_API int inrv_masks_decode(const int8_t *prior, const inrv_mask_leaves *leaves,
                               const uint8_t *bytes, size_t size, void *work, uint8_t *masks);

/* Encodes the masks of a region.
   prior: int8 [INRV_MASK_PRIOR]
   masks: uint8 [count][64]; those of the kinds INRV_FULL and INRV_EMPTY must be so
   work: inrv_masks_work(mixed) bytes
   bytes: uint8 [inrv_masks_bound(mixed)]
   size: filled with how many of them are used */
INRV_API int inrv_masks_encode(const int8_t *prior, const inrv_mask_leaves *leaves,
                               const uint8_t *masks, void *work, uint8_t *bytes, size_t *size);

#endif
