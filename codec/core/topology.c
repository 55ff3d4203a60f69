/* Topologies: a skeleton of leaves and tiles at once, and the masks of a region when they are
   asked for. */
#include "topology.h"

#include <string.h>

#include "data.h"

enum { NODE_BITS = 17, CELL_BITS = 12, REGION = 128, LARGEST_TILE = 4096 };
#define FARTHEST 8384512 /* coordinate of an origin */
static const int32_t EDGE_OF[EDGES] = {8, 128, LARGEST_TILE};

/* ---- Places ---- */

uint64_t inrv_region_key(const int32_t corner[3]) {
    uint64_t key = 0;
    for (int axis = 0; axis < 3; axis++) {
        const int32_t place = (corner[axis] >> 7) + (1 << (NODE_BITS - 1));
        if (place < 0 || place >> NODE_BITS) return OUTSIDE;
        key = key << NODE_BITS | (uint64_t)place;
    }
    return key;
}

/* The corner of the cube of an edge that a voxel lies in. */
static void corner_of(const int32_t voxel[3], int32_t edge, int32_t corner[3]) {
    for (int axis = 0; axis < 3; axis++) corner[axis] = voxel[axis] & -edge;
}

/* The key of a cube with an edge of 8, 128 or 4096: of its region, and of its cell there. */
static uint64_t key_of(const int32_t voxel[3], int32_t edge) {
    int32_t corner[3];
    corner_of(voxel, edge, corner);
    return inrv_region_key(corner) << CELL_BITS |
           (uint64_t)((corner[0] >> 3 & 15) << 8 | (corner[1] >> 3 & 15) << 4 |
                      (corner[2] >> 3 & 15));
}

static int32_t place_along(uint64_t key, int axis) {
    const int32_t place = (int32_t)(key >> NODE_BITS * (2 - axis) & ((1 << NODE_BITS) - 1));
    return (place - (1 << (NODE_BITS - 1))) * REGION;
}

/* The lowest voxel of a cell. */
static void voxel_of(uint64_t key, int32_t voxel[3]) {
    for (int axis = 0; axis < 3; axis++)
        voxel[axis] =
            place_along(key >> CELL_BITS, axis) + 8 * (int32_t)(key >> 4 * (2 - axis) & 15);
}

static int is_far(const int32_t corner[3]) {
    for (int axis = 0; axis < 3; axis++)
        if (corner[axis] < -FARTHEST || corner[axis] > FARTHEST) return 1;
    return 0;
}

size_t inrv_region_of(const Topology *topology, uint64_t key) {
    const size_t found = inrv_count_below(topology->keys, topology->regions, key);
    return found < topology->regions && topology->keys[found].key == key ? found : NO_REGION;
}

/* ---- Coded masks ---- */

/* Where the bytes of each region begin; the error where lengths do not add up. */
static int fill_starts(Memory *memory, const Tensor *lengths, uint64_t size, int error,
                       uint64_t **starts) {
    const size_t count = lengths->rows * lengths->columns;
    *starts = inrv_take(memory, (uint64_t)count + 1, sizeof **starts);
    if (!*starts) return INRV_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const int32_t length = tensor_int(lengths, i);
        if (length < 0) return error;
        (*starts)[i + 1] = (*starts)[i] + (uint32_t)length;
    }
    return (*starts)[count] == size ? INRV_OK : error;
}

int inrv_coded_masks(Memory *memory, const Tensor *lengths, const Tensor *bytes,
                     CodedMasks *coded) {
    coded->bytes = bytes->data;
    return fill_starts(memory, lengths, bytes->rows, INRV_RULE('S', 11), &coded->starts);
}

int inrv_decode_coded(Topologies *topologies, const CodedMasks *coded, size_t number,
                      const uint16_t *cells, const uint8_t *kinds, size_t count,
                      const uint8_t *reference, uint8_t *masks) {
    const Container *container = topologies->container;
    const uint64_t start = coded->starts[number], size = coded->starts[number + 1] - start;
    const inrv_mask_leaves leaves = {count, cells, kinds, reference};
    const uint8_t *bytes = coded->bytes ? coded->bytes + start : NULL;
    if (!bytes) {
        if (size > container->limits.chunk_bytes) return INRV_RULE('C', 2);
        uint8_t *part = inrv_room(topologies->memory, &topologies->part, size + 1, 1);
        if (!part) return INRV_MEMORY;
        TRY(inrv_part(container, coded->chunk, start, size,
                      (uint32_t)tensor_int(&coded->checksums, number), part));
        bytes = part;
    }
    if (!topologies->work) topologies->work = inrv_take(topologies->memory, inrv_masks_work(0), 1);
    if (!topologies->work) return INRV_MEMORY;
    return inrv_masks_decode((const int8_t *)inrv_data_prior, &leaves, bytes, (size_t)size,
                             topologies->work, masks);
}

/* ---- The skeleton ---- */

/* Blocks of cells, and which of the cells are leaves and tiles. */
typedef struct {
    Tensor origins, node_masks;
    size_t count;
    int32_t (*corners)[3];   /* [count] in cells */
    uint8_t *leaves, *tiles; /* [count][64] */
} Blocks;

static int check_nodes(const Tensor *origins) {
    uint64_t last = 0;
    for (size_t i = 0; i < origins->rows; i++) {
        int32_t corner[3];
        for (int axis = 0; axis < 3; axis++) corner[axis] = tensor_int(origins, 3 * i + axis);
        if ((corner[0] | corner[1] | corner[2]) & (REGION - 1) || is_far(corner))
            return INRV_RULE('S', 4);
        const uint64_t key = inrv_region_key(corner);
        if (i && key <= last) return INRV_RULE('S', 4);
        last = key;
    }
    return INRV_OK;
}

/* The masks of the blocks of one node.
   first: number of its first block */
static int decode_node(Topologies *topologies, Blocks *blocks, size_t node, size_t *first,
                       const CodedMasks *leaves, const CodedMasks *tiles) {
    static const uint8_t MIXED[CELLS];
    uint16_t cells[CELLS];
    size_t count = 0;
    int32_t origin[3];
    for (int axis = 0; axis < 3; axis++)
        origin[axis] = tensor_int(&blocks->origins, 3 * node + axis);
    for (int i = 0; i < CELLS; i++) {
        if (!(blocks->node_masks.data[node * (CELLS / 8) + i / 8] >> (i & 7) & 1)) continue;
        int32_t *corner = blocks->corners[*first + count];
        corner[0] = origin[0] + 8 * (i >> 8);
        corner[1] = origin[1] + 8 * (i >> 4 & 15);
        corner[2] = origin[2] + 8 * (i & 15);
        cells[count++] = (uint16_t)i;
    }
    if (!count) return INRV_RULE('S', 3);
    uint8_t *own = blocks->leaves + 64 * *first, *other = blocks->tiles + 64 * *first;
    TRY(inrv_decode_coded(topologies, leaves, node, cells, MIXED, count, NULL, own));
    if (tiles->starts)
        TRY(inrv_decode_coded(topologies, tiles, node, cells, MIXED, count, own, other));
    for (size_t i = 0; i < count; i++) {
        uint8_t any = 0, both = 0;
        for (size_t byte = 64 * i; byte < 64 * (i + 1); byte++) {
            any |= own[byte] | other[byte];
            both |= own[byte] & other[byte];
        }
        if (!any || both) return INRV_RULE('S', 13);
    }
    *first += count;
    return INRV_OK;
}

static int open_coded(Memory *memory, const Tensors *tensors, const char *lengths_name,
                      const char *bytes_name, uint64_t regions, CodedMasks *coded) {
    Tensor lengths, bytes;
    TRY(inrv_tensor(tensors, lengths_name, TENSOR_I32, regions, ONE_AXIS, &lengths));
    TRY(inrv_tensor(tensors, bytes_name, TENSOR_U8, ANY, ONE_AXIS, &bytes));
    return inrv_coded_masks(memory, &lengths, &bytes, coded);
}

static int decode_blocks(Topologies *topologies, const Tensors *tensors, Blocks *blocks,
                         CodedMasks *leaves, CodedMasks *tiles) {
    Memory *memory = topologies->memory;
    Tensor tile_lengths, tile_bytes;
    TRY(inrv_tensor(tensors, "block_origins", TENSOR_I32, ANY, 3, &blocks->origins));
    const uint64_t nodes = blocks->origins.rows;
    TRY(inrv_tensor(tensors, "block_masks", TENSOR_U8, nodes, CELLS / 8, &blocks->node_masks));
    TRY(check_nodes(&blocks->origins));
    blocks->count = count_bits(blocks->node_masks.data, 8 * blocks->origins.rows);
    if (blocks->count > topologies->left) return INRV_RULE('L', 2);
    TRY(open_coded(memory, tensors, "leaf_lengths", "leaf_bytes", nodes, leaves));
    TRY(inrv_tensor(tensors, "tile_lengths", TENSOR_I32, ANY, ONE_AXIS, &tile_lengths));
    TRY(inrv_tensor(tensors, "tile_bytes", TENSOR_U8, ANY, ONE_AXIS, &tile_bytes));
    if (tile_lengths.rows)
        TRY(open_coded(memory, tensors, "tile_lengths", "tile_bytes", nodes, tiles));
    blocks->corners = inrv_take(memory, (uint64_t)blocks->count + 1, sizeof *blocks->corners);
    blocks->leaves = inrv_take(memory, (uint64_t)blocks->count + 1, 64);
    blocks->tiles = inrv_take(memory, (uint64_t)blocks->count + 1, 64);
    if (!blocks->corners || !blocks->leaves || !blocks->tiles) return INRV_MEMORY;
    size_t first = 0;
    for (size_t node = 0; node < nodes; node++)
        TRY(decode_node(topologies, blocks, node, &first, leaves, tiles));
    return INRV_OK;
}

/* The keys of all cells that are set, in order.
   keys: [2 * count], of which the first half is filled */
static int list_cells(const Blocks *blocks, const uint8_t *masks, Keyed *keys, size_t count) {
    size_t used = 0;
    for (size_t block = 0; block < blocks->count; block++)
        for (int i = 0; i < LEAF_VOXELS; i++) {
            if (!(masks[64 * block + (size_t)i / 8] >> (i & 7) & 1)) continue;
            const int32_t *corner = blocks->corners[block];
            int32_t voxel[3] = {8 * (corner[0] + (i >> 6)), 8 * (corner[1] + (i >> 3 & 7)),
                                8 * (corner[2] + (i & 7))},
                    node[3];
            corner_of(voxel, REGION, node);
            if (is_far(node)) return INRV_RULE('S', 4);
            keys[used++].key = key_of(voxel, 8);
        }
    inrv_sort(keys, keys + count, count);
    return INRV_OK;
}

static int make_regions(Memory *memory, Topology *topology, const Keyed *keys) {
    size_t regions = 0;
    for (size_t i = 0; i < topology->leaves; i++)
        regions += !i || keys[i].key >> CELL_BITS != keys[i - 1].key >> CELL_BITS;
    topology->cells = inrv_take(memory, (uint64_t)topology->leaves + 1, sizeof(uint16_t));
    topology->keys = inrv_take(memory, (uint64_t)regions + 1, sizeof(Keyed));
    topology->corners = inrv_take(memory, (uint64_t)regions + 1, sizeof *topology->corners);
    if (!topology->cells || !topology->keys || !topology->corners) return INRV_MEMORY;
    for (size_t i = 0; i < topology->leaves; i++) {
        const uint64_t key = keys[i].key >> CELL_BITS;
        topology->cells[i] = keys[i].key & (CELLS - 1);
        if (topology->regions && topology->keys[topology->regions - 1].key == key) continue;
        for (int axis = 0; axis < 3; axis++)
            topology->corners[topology->regions][axis] = place_along(key, axis);
        topology->keys[topology->regions++] = (Keyed){key, (uint32_t)i};
    }
    for (size_t i = 0; i < topology->regions; i++) {
        const size_t count = first_leaf(topology, i + 1) - first_leaf(topology, i);
        if (count > topology->most) topology->most = count;
    }
    topology->masks = inrv_take(memory, (uint64_t)topology->most + 1, 64);
    return topology->masks ? INRV_OK : INRV_MEMORY;
}

/* ---- Tiles ---- */

/* Brings tiles of each edge into order by their places. */
static int index_tiles(Memory *memory, Topology *topology) {
    for (int edge = 0; edge < EDGES; edge++) {
        Keyed *keys = inrv_take(memory, 2 * (uint64_t)topology->tiles + 1, sizeof *keys);
        if (!keys) return INRV_MEMORY;
        size_t count = 0;
        topology->tiles_by_place[edge] = keys;
        for (size_t i = 0; i < topology->tiles; i++)
            if (topology->tile_edges[i] == EDGE_OF[edge])
                keys[count++] =
                    (Keyed){key_of(topology->tile_corners[i], EDGE_OF[edge]), (uint32_t)i};
        inrv_sort(keys, keys + count, count);
        topology->tile_counts[edge] = count;
        for (size_t i = 1; i < count; i++)
            if (keys[i].key == keys[i - 1].key) return INRV_RULE('S', 5);
    }
    return INRV_OK;
}

/* The tile of an edge that holds a voxel; UINT32_MAX where there is none. */
static uint32_t tile_at(const Topology *topology, int edge, const int32_t voxel[3]) {
    const Keyed *keys = topology->tiles_by_place[edge];
    const size_t count = topology->tile_counts[edge];
    if (!count) return UINT32_MAX;
    const uint64_t key = key_of(voxel, EDGE_OF[edge]);
    const size_t found = inrv_count_below(keys, count, key);
    return found < count && keys[found].key == key ? keys[found].number : UINT32_MAX;
}

/* Checks that no tile lies within another or over a leaf. */
static int check_disjoint(const Topology *topology, const Keyed *leaves) {
    if (!topology->tiles) return INRV_OK;
    for (size_t i = 0; i < topology->leaves; i++) {
        int32_t voxel[3];
        voxel_of(leaves[i].key, voxel);
        for (int edge = 0; edge < EDGES; edge++)
            if (tile_at(topology, edge, voxel) != UINT32_MAX) return INRV_RULE('S', 5);
    }
    for (size_t i = 0; i < topology->tiles; i++)
        for (int edge = 0; edge < EDGES; edge++)
            if (EDGE_OF[edge] > topology->tile_edges[i] &&
                tile_at(topology, edge, topology->tile_corners[i]) != UINT32_MAX)
                return INRV_RULE('S', 5);
    return INRV_OK;
}

static int make_tiles(Memory *memory, Topology *topology, const Tensor *listed, const Tensor *edges,
                      const Keyed *cells, size_t count) {
    topology->tiles = listed->rows + count;
    TRY(inrv_tensor(&topology->tensors, "tile_active", TENSOR_U8, topology->tiles, ONE_AXIS,
                    &topology->tile_active));
    topology->tile_corners =
        inrv_take(memory, (uint64_t)topology->tiles + 1, sizeof *topology->tile_corners);
    topology->tile_edges = inrv_take(memory, (uint64_t)topology->tiles + 1, sizeof(int32_t));
    if (!topology->tile_corners || !topology->tile_edges) return INRV_MEMORY;
    for (size_t i = 0; i < topology->tiles; i++) {
        int32_t *corner = topology->tile_corners[i];
        const int32_t edge = i < listed->rows ? tensor_int(edges, i) : 8;
        if (i < listed->rows)
            for (int axis = 0; axis < 3; axis++) corner[axis] = tensor_int(listed, 3 * i + axis);
        else
            voxel_of(cells[i - listed->rows].key, corner);
        if (edge != 8 && edge != 128 && edge != LARGEST_TILE) return INRV_RULE('S', 5);
        if ((corner[0] | corner[1] | corner[2]) & (edge - 1) || is_far(corner))
            return INRV_RULE('S', 5);
        if (topology->tile_active.data[i] > 1) return INRV_RULE('S', 5);
        topology->tile_edges[i] = edge;
    }
    return index_tiles(memory, topology);
}

void inrv_visit_tiles(const Topology *topology, uint64_t key, inrv_visit *visit, void *context) {
    const Keyed *cells = topology->tiles_by_place[0];
    const size_t count = topology->tile_counts[0];
    int32_t corner[3];
    if (key == OUTSIDE || !topology->tiles) return;
    voxel_of(key << CELL_BITS, corner);
    for (int edge = 1; edge < EDGES; edge++) {
        const uint32_t tile = tile_at(topology, edge, corner);
        if (tile != UINT32_MAX) visit(context, tile);
    }
    for (size_t i = inrv_count_below(cells, count, key << CELL_BITS);
         i < count && cells[i].key >> CELL_BITS == key; i++)
        visit(context, cells[i].number);
}

/* ---- Opening ---- */

static int make_skeleton(Topologies *topologies, Topology *topology, const Blocks *blocks,
                         Keyed **keys) {
    Memory *memory = topologies->memory;
    const Tensors *tensors = &topology->tensors;
    Tensor listed, edges;
    TRY(inrv_tensor(tensors, "tile_origins", TENSOR_I32, ANY, 3, &listed));
    TRY(inrv_tensor(tensors, "tile_edges", TENSOR_I32, listed.rows, ONE_AXIS, &edges));
    topology->leaves = count_bits(blocks->leaves, blocks->count);
    const size_t cells = count_bits(blocks->tiles, blocks->count);
    if (topology->leaves + listed.rows + cells > topologies->left) return INRV_RULE('L', 2);
    topologies->left -= topology->leaves + listed.rows + cells;
    *keys = inrv_take(memory, 2 * (uint64_t)(topology->leaves + cells) + 1, sizeof(Keyed));
    if (!*keys) return INRV_MEMORY;
    Keyed *tiles = *keys + 2 * topology->leaves;
    TRY(list_cells(blocks, blocks->leaves, *keys, topology->leaves));
    TRY(list_cells(blocks, blocks->tiles, tiles, cells));
    TRY(make_regions(memory, topology, *keys));
    TRY(make_tiles(memory, topology, &listed, &edges, tiles, cells));
    return check_disjoint(topology, *keys);
}

/* Where the masks of the leaves lie. */
static int open_masks(Topologies *topologies, Topology *topology) {
    const Container *container = topologies->container;
    const Tensors *tensors = &topology->tensors;
    CodedMasks *coded = &topology->coded;
    Tensor lengths, bytes, bits;
    TRY(inrv_tensor(tensors, "leaf_kinds", TENSOR_U8, topology->leaves, ONE_AXIS,
                    &topology->kinds));
    for (size_t i = 0; i < topology->leaves; i++)
        if (topology->kinds.data[i] > INRV_EMPTY) return INRV_RULE('S', 11);
    TRY(inrv_tensor(tensors, "mask_lengths", TENSOR_I32, topology->regions, ONE_AXIS, &lengths));
    TRY(inrv_tensor(tensors, "mask_bytes", TENSOR_U8, ANY, ONE_AXIS, &bytes));
    TRY(inrv_tensor(tensors, "bits", TENSOR_I32, ANY, ONE_AXIS, &bits));
    TRY(inrv_tensor(tensors, "mask_checksums", TENSOR_I32, bits.rows ? topology->regions : 0,
                    ONE_AXIS, &coded->checksums));
    if (!bits.rows) return inrv_coded_masks(topologies->memory, &lengths, &bytes, coded);
    const int32_t number = tensor_int(&bits, 0);
    if (bits.rows > 1 || number < 0 || (uint32_t)number >= container->count ||
        container->chunks[number].type != BITS)
        return INRV_RULE('S', 11);
    coded->chunk = (uint32_t)number;
    return fill_starts(topologies->memory, &lengths, container->chunks[number].raw,
                       INRV_RULE('S', 11), &coded->starts);
}

static int open_topology(Topologies *topologies, uint32_t chunk, int behind, Topology **found);

/* Opens the topology that the masks are predicted from, which may be predicted itself.
   behind: how many are predicted from this one, one from the other */
static int open_root(Topologies *topologies, Topology *topology, int behind) {
    const Container *container = topologies->container;
    Tensor from;
    TRY(inrv_tensor(&topology->tensors, "predicted_from", TENSOR_I32, ANY, ONE_AXIS, &from));
    if (!from.rows) return INRV_OK;
    const int32_t number = tensor_int(&from, 0);
    if (behind == MOST_PREDICTED || from.rows > 1 || number < 0 ||
        (uint32_t)number >= topology->chunk || container->chunks[number].type != TOPO)
        return INRV_RULE('S', 12);
    TRY(open_topology(topologies, (uint32_t)number, behind + 1, &topology->root));
    topology->predicted = topology->root->predicted + 1;
    return topology->predicted > MOST_PREDICTED ? INRV_RULE('S', 12) : INRV_OK;
}

static int fill_topology(Topologies *topologies, Topology *topology, int behind) {
    Memory *memory = topologies->memory;
    Blocks blocks = {.count = 0};
    CodedMasks leaves = {.bytes = NULL}, tiles = {.bytes = NULL};
    Keyed *keys = NULL;
    TRY(inrv_tensors_read(topologies->container, memory, topology->chunk, &topology->tensors));
    int error = decode_blocks(topologies, &topology->tensors, &blocks, &leaves, &tiles);
    if (!error) error = make_skeleton(topologies, topology, &blocks, &keys);
    inrv_give(memory, blocks.corners);
    inrv_give(memory, blocks.leaves);
    inrv_give(memory, blocks.tiles);
    inrv_give(memory, leaves.starts);
    inrv_give(memory, tiles.starts);
    inrv_give(memory, keys);
    if (!error) error = open_masks(topologies, topology);
    return error ? error : open_root(topologies, topology, behind);
}

static int open_topology(Topologies *topologies, uint32_t chunk, int behind, Topology **found) {
    for (*found = topologies->first; *found; *found = (*found)->next)
        if ((*found)->chunk == chunk) return INRV_OK;
    Topology *topology = inrv_take(topologies->memory, 1, sizeof *topology);
    if (!topology) return INRV_MEMORY;
    topology->chunk = chunk;
    topology->region = NO_REGION;
    topology->next = topologies->first;
    topologies->first = *found = topology;
    return fill_topology(topologies, topology, behind);
}

int inrv_topology_open(Topologies *topologies, uint32_t chunk, Topology **found) {
    return open_topology(topologies, chunk, 0, found);
}

void inrv_topologies_free(Topologies *topologies) {
    Memory *memory = topologies->memory;
    for (Topology *topology = topologies->first, *next; topology; topology = next) {
        next = topology->next;
        inrv_tensors_free(memory, &topology->tensors);
        inrv_give(memory, topology->keys);
        inrv_give(memory, topology->corners);
        inrv_give(memory, topology->cells);
        inrv_give(memory, topology->coded.starts);
        inrv_give(memory, topology->tile_corners);
        inrv_give(memory, topology->tile_edges);
        for (int edge = 0; edge < EDGES; edge++) inrv_give(memory, topology->tiles_by_place[edge]);
        inrv_give(memory, topology->masks);
        inrv_give(memory, topology);
    }
    topologies->first = NULL;
    inrv_give(memory, topologies->work);
    inrv_give(memory, topologies->part.items);
    inrv_give(memory, topologies->reference.items);
}

/* ---- The masks of a region ---- */

/* The masks that the root has at the leaves of a region: of its leaves, and full ones within its
   active tiles. */
static int find_reference(Topologies *topologies, Topology *topology, size_t region,
                          const uint8_t **reference) {
    Topology *root = topology->root;
    const size_t first = first_leaf(topology, region),
                 count = first_leaf(topology, region + 1) - first;
    const uint64_t key = topology->keys[region].key;
    const size_t there = inrv_region_of(root, key);
    *reference = NULL;
    if (there != NO_REGION) TRY(inrv_topology_masks(topologies, root, there));
    uint8_t *masks = inrv_room(topologies->memory, &topologies->reference, count, 64);
    if (!masks) return INRV_MEMORY;
    memset(masks, 0, 64 * count);
    size_t other = there == NO_REGION ? 0 : first_leaf(root, there);
    const size_t others = there == NO_REGION ? 0 : first_leaf(root, there + 1);
    const size_t begin = other;
    for (size_t i = 0; i < count; i++) {
        const uint16_t cell = topology->cells[first + i];
        while (other < others && root->cells[other] < cell) other++;
        if (other < others && root->cells[other] == cell) {
            memcpy(masks + 64 * i, root->masks + 64 * (other - begin), 64);
            continue;
        }
        int32_t voxel[3];
        voxel_of(key << CELL_BITS | cell, voxel);
        for (int edge = 0; edge < EDGES; edge++) {
            const uint32_t tile = tile_at(root, edge, voxel);
            if (tile != UINT32_MAX && root->tile_active.data[tile]) memset(masks + 64 * i, 255, 64);
        }
    }
    *reference = masks;
    return INRV_OK;
}

int inrv_topology_masks(Topologies *topologies, Topology *topology, size_t region) {
    if (topology->region == region) return INRV_OK;
    const size_t first = first_leaf(topology, region),
                 count = first_leaf(topology, region + 1) - first;
    const uint8_t *reference = NULL;
    topology->region = NO_REGION;
    if (topology->root) TRY(find_reference(topologies, topology, region, &reference));
    TRY(inrv_decode_coded(topologies, &topology->coded, region, topology->cells + first,
                          topology->kinds.data + first, count, reference, topology->masks));
    topology->region = region;
    return INRV_OK;
}
