/* Which voxels are active, and the tiles: spec/topology.md. */
#ifndef INRV_TOPOLOGY_H
#define INRV_TOPOLOGY_H

#include "container.h"
#include "masks.h"

enum { CELLS = 4096, LEAF_VOXELS = 512, EDGES = 3, MOST_PREDICTED = 64 };
#define NO_REGION SIZE_MAX
#define OUTSIDE UINT64_MAX /* key of a region beyond all coordinates */

/* Coded masks of a set of leaves, region by region. */
typedef struct {
    const uint8_t *bytes; /* of all regions; NULL where they lie in a BITS chunk */
    uint32_t chunk;       /* number of that */
    uint64_t *starts;     /* [regions + 1] of their bytes */
    Tensor checksums;     /* of the regions, where they lie in a BITS chunk */
} CodedMasks;

/* A topology, with the masks of one region at a time. */
typedef struct topology {
    struct topology *next; /* of its owner */
    struct topology *root; /* that the masks are predicted from; NULL: from none */
    int predicted; /* how many topologies its masks are predicted from, one from the other */
    uint32_t chunk;
    Tensors tensors;
    size_t leaves, regions, tiles, most; /* most: leaves of a region */
    Keyed *keys;                         /* [regions] ascending; number: the first leaf */
    int32_t (*corners)[3];               /* [regions] in voxels */
    uint16_t *cells;                     /* [leaves] */
    Tensor kinds;
    CodedMasks coded;
    int32_t (*tile_corners)[3], *tile_edges; /* [tiles] */
    Tensor tile_active;
    Keyed *tiles_by_place[EDGES]; /* edges 8, 128, 4096: ascending; number: of the tile */
    size_t tile_counts[EDGES];
    size_t region;  /* whose masks these are; NO_REGION: none */
    uint8_t *masks; /* [most][64] */
} Topology;

/* What decoding topologies takes. */
typedef struct {
    const Container *container;
    Memory *memory;
    size_t left; /* leaves and tiles that are still allowed */
    Topology *first;
    void *work; /* of masks.c */
    Room part;  /* bytes that are read from a BITS chunk */
    Room reference;
} Topologies;

/* Opens the topology of a chunk, or finds it where it is open. */
int inrv_topology_open(Topologies *topologies, uint32_t chunk, Topology **found);
void inrv_topologies_free(Topologies *topologies);

/* The first leaf of a region, or the number of all leaves behind the last. */
static inline size_t first_leaf(const Topology *topology, size_t region) {
    return region < topology->regions ? topology->keys[region].number : topology->leaves;
}

/* The key of the region at a corner, OUTSIDE where no voxel can be. */
uint64_t inrv_region_key(const int32_t corner[3]);

/* The number of the region of a key, NO_REGION where it holds no leaf. */
size_t inrv_region_of(const Topology *topology, uint64_t key);

/* Decodes the masks of a region into topology->masks. */
int inrv_topology_masks(Topologies *topologies, Topology *topology, size_t region);

/* Prepares coded masks in a tensor: their lengths must add up to the bytes. */
int inrv_coded_masks(Memory *memory, const Tensor *lengths, const Tensor *bytes, CodedMasks *coded);

/* Decodes coded masks of some leaves.
   cells: [count]
   number: of the region in `coded` */
int inrv_decode_coded(Topologies *topologies, const CodedMasks *coded, size_t number,
                      const uint16_t *cells, const uint8_t *kinds, size_t count,
                      const uint8_t *reference, uint8_t *masks);

/* Calls for each tile that touches the region of a key: `visit` with the tile's number. */
typedef void inrv_visit(void *context, uint32_t tile);
void inrv_visit_tiles(const Topology *topology, uint64_t key, inrv_visit *visit, void *context);

static inline size_t count_bits(const uint8_t *masks, size_t leaves) {
    size_t count = 0;
    uint64_t word;
    for (size_t i = 0; i < leaves * 8; i++) {
        __builtin_memcpy(&word, masks + 8 * i, sizeof word);
        count += (size_t)__builtin_popcountll(word);
    }
    return count;
}

#endif
