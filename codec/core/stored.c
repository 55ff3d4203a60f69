/* Values that are stored as they are: of tiles, of inactive voxels, and of separate ones. */
#include "stored.h"

#include <string.h>

enum { MOST_FREQUENT = 256 };

/* ---- Opening ---- */

static int open_inactive(Topologies *topologies, Stored *stored) {
    const Topology *topology = stored->topology;
    const uint64_t components = (uint64_t)stored->entry->grid.components;
    Memory *memory = topologies->memory;
    Tensor lengths, bytes;
    if (stored->entry->inactive == NO_NUMBER) return topology->tiles ? INRV_RULE('S', 7) : INRV_OK;
    TRY(inrv_tensors_read(topologies->container, memory, (uint32_t)stored->entry->inactive,
                          &stored->inactive));
    const Tensors *tensors = &stored->inactive;
    TRY(inrv_tensor(tensors, "tile_values", TENSOR_F32, topology->tiles, components,
                    &stored->tile_values));
    TRY(inrv_tensor(tensors, "inactive_values", TENSOR_F32, ANY, components,
                    &stored->inactive_values));
    TRY(inrv_tensor(tensors, "mask_lengths", TENSOR_I32, ANY, ONE_AXIS, &lengths));
    TRY(inrv_tensor(tensors, "mask_bytes", TENSOR_U8, ANY, ONE_AXIS, &bytes));
    if (!lengths.rows) return stored->inactive_values.rows ? INRV_RULE('S', 3) : INRV_OK;
    if (lengths.rows != topology->regions) return INRV_RULE('S', 3);
    TRY(inrv_coded_masks(memory, &lengths, &bytes, &stored->inactive_coded));
    stored->inactive_starts = inrv_take(memory, (uint64_t)topology->regions + 1, sizeof(uint64_t));
    return stored->inactive_starts ? INRV_OK : INRV_MEMORY;
}

static int open_exact(Topologies *topologies, const Stored *stored, int32_t chunk, Exact *exact) {
    const Topology *topology = stored->topology;
    if (chunk == NO_NUMBER) return INRV_OK;
    TRY(inrv_tensors_read(topologies->container, topologies->memory, (uint32_t)chunk,
                          &exact->tensors));
    TRY(inrv_tensor(&exact->tensors, "exact_masks", TENSOR_U8, topology->leaves, 64,
                    &exact->masks));
    TRY(inrv_tensor(&exact->tensors, "exact_values", TENSOR_F32, ANY,
                    (uint64_t)stored->entry->grid.components, &exact->values));
    exact->starts =
        inrv_take(topologies->memory, (uint64_t)topology->regions + 1, sizeof(uint64_t));
    if (!exact->starts) return INRV_MEMORY;
    for (size_t i = 0; i < topology->regions; i++) {
        const size_t first = first_leaf(topology, i), last = first_leaf(topology, i + 1);
        exact->starts[i + 1] =
            exact->starts[i] + count_bits(exact->masks.data + 64 * first, last - first);
    }
    return exact->starts[topology->regions] == exact->values.rows ? INRV_OK : INRV_RULE('S', 3);
}

static int open_frequent(Topologies *topologies, Stored *stored) {
    const Topology *topology = stored->topology;
    const Tensors *tensors = &stored->frequent;
    Tensor lengths, bytes;
    if (stored->entry->frequent == NO_NUMBER) return INRV_OK;
    TRY(inrv_tensors_read(topologies->container, topologies->memory,
                          (uint32_t)stored->entry->frequent, &stored->frequent));
    TRY(inrv_tensor(tensors, "values", TENSOR_F32, ANY, (uint64_t)stored->entry->grid.components,
                    &stored->frequent_values));
    TRY(inrv_tensor(tensors, "kinds", TENSOR_U8, ANY, topology->leaves, &stored->frequent_kinds));
    const size_t masks = stored->frequent_kinds.rows, values = stored->frequent_values.rows;
    TRY(inrv_tensor(tensors, "mask_lengths", TENSOR_I32, masks, topology->regions, &lengths));
    TRY(inrv_tensor(tensors, "mask_bytes", TENSOR_U8, ANY, ONE_AXIS, &bytes));
    if (values < 1 || values > MOST_FREQUENT || (values != masks && values != masks + 1))
        return INRV_RULE('S', 14);
    for (size_t i = 0; i < masks * topology->leaves; i++)
        if (stored->frequent_kinds.data[i] > INRV_EMPTY) return INRV_RULE('S', 14);
    const int error =
        inrv_coded_masks(topologies->memory, &lengths, &bytes, &stored->frequent_coded);
    return error == INRV_RULE('S', 11) ? INRV_RULE('S', 14) : error;
}

int inrv_stored_open(Topologies *topologies, const Entry *entry, Stored *stored) {
    stored->entry = entry;
    stored->region = NO_REGION;
    TRY(inrv_topology_open(topologies, (uint32_t)entry->topology, &stored->topology));
    TRY(open_inactive(topologies, stored));
    TRY(open_frequent(topologies, stored));
    TRY(open_exact(topologies, stored, entry->exact, &stored->exact));
    TRY(open_exact(topologies, stored, entry->outliers, &stored->outliers));
    stored->coded_starts =
        inrv_take(topologies->memory, (uint64_t)stored->topology->regions + 1, sizeof(uint64_t));
    return stored->coded_starts ? INRV_OK : INRV_MEMORY;
}

void inrv_stored_free(Memory *memory, Stored *stored) {
    inrv_tensors_free(memory, &stored->inactive);
    inrv_tensors_free(memory, &stored->frequent);
    inrv_tensors_free(memory, &stored->exact.tensors);
    inrv_tensors_free(memory, &stored->outliers.tensors);
    inrv_give(memory, stored->inactive_coded.starts);
    inrv_give(memory, stored->inactive_starts);
    inrv_give(memory, stored->frequent_coded.starts);
    inrv_give(memory, stored->exact.starts);
    inrv_give(memory, stored->outliers.starts);
    inrv_give(memory, stored->coded_starts);
    inrv_give(memory, stored->coded.items);
    inrv_give(memory, stored->other.items);
    inrv_give(memory, stored->source.items);
    inrv_give(memory, stored->outlier.items);
    inrv_give(memory, stored->left.items);
    inrv_give(memory, stored->mask.items);
}

/* ---- The values of a region ---- */

/* Whether bits are set in some masks that are not set in others. */
static int goes_beyond(const uint8_t *some, const uint8_t *all, size_t leaves) {
    uint8_t beyond = 0;
    for (size_t i = 0; i < 64 * leaves; i++) beyond |= some[i] & ~all[i];
    return beyond != 0;
}

static void remove_bits(uint8_t *from, const uint8_t *masks, size_t leaves) {
    for (size_t i = 0; i < 64 * leaves; i++) from[i] &= ~masks[i];
}

static int load_frequent(Topologies *topologies, Stored *stored) {
    const Topology *topology = stored->topology;
    const size_t masks = stored->frequent_kinds.rows, leaves = stored->leaves;
    int32_t *source = stored->source.items;
    uint8_t *left = inrv_room(topologies->memory, &stored->left, leaves, 64),
            *mask = inrv_room(topologies->memory, &stored->mask, leaves, 64);
    if (!left || !mask) return INRV_MEMORY;
    memcpy(left, stored->masks, 64 * leaves);
    for (size_t i = 0; i < stored->frequent_values.rows; i++) {
        if (i < masks) {
            const uint8_t *kinds = stored->frequent_kinds.data + i * topology->leaves;
            int error = inrv_decode_coded(topologies, &stored->frequent_coded,
                                          i * topology->regions + stored->region, stored->cells,
                                          kinds + stored->first, leaves, left, mask);
            if (error == INRV_RULE('S', 11)) error = INRV_RULE('S', 14);
            if (!error && goes_beyond(mask, left, leaves)) error = INRV_RULE('S', 14);
            if (error) return error;
        } else {
            memcpy(mask, left, 64 * leaves);
        }
        EACH_VOXEL(leaves, mask, stored->masks, row, source[row] = (int32_t)i);
        remove_bits(left, mask, leaves);
        remove_bits(stored->coded.items, mask, leaves);
    }
    return INRV_OK;
}

/* Notes which value of an EXAC chunk each voxel has. */
static int load_exact(const Stored *stored, const Exact *exact, int32_t first, int32_t *numbers,
                      size_t *count) {
    const uint8_t *masks = exact->masks.data + 64 * stored->first;
    uint64_t number = exact->starts[stored->region];
    if (goes_beyond(masks, stored->masks, stored->leaves)) return INRV_RULE('S', 10);
    *count = (size_t)(exact->starts[stored->region + 1] - number);
    if (exact->values.rows > INT32_MAX - MOST_FREQUENT) return INRV_RULE('L', 1);
    EACH_VOXEL(stored->leaves, masks, stored->masks, row, {
        if (numbers[row] >= 0) return INRV_RULE('S', 10);
        numbers[row] = first + (int32_t)number++;
    });
    return INRV_OK;
}

static int load_separate(Topologies *topologies, Stored *stored) {
    int32_t *source = inrv_room(topologies->memory, &stored->source, stored->voxels, 4);
    uint8_t *coded = inrv_room(topologies->memory, &stored->coded, stored->leaves, 64);
    size_t count;
    if (!source || !coded) return INRV_MEMORY;
    memcpy(coded, stored->masks, 64 * stored->leaves);
    memset(source, 255, 4 * stored->voxels);
    if (stored->entry->frequent != NO_NUMBER) TRY(load_frequent(topologies, stored));
    if (stored->entry->exact != NO_NUMBER) {
        TRY(load_exact(stored, &stored->exact, MOST_FREQUENT, source, &count));
        remove_bits(coded, stored->exact.masks.data + 64 * stored->first, stored->leaves);
    }
    stored->separate = stored->voxels - count_bits(coded, stored->leaves);
    return INRV_OK;
}

/* Decodes which inactive voxels of a region have a value. */
static int load_inactive(Topologies *topologies, Stored *stored, size_t region) {
    Topology *topology = stored->topology;
    const size_t first = first_leaf(topology, region),
                 leaves = first_leaf(topology, region + 1) - first;
    uint8_t *other = inrv_room(topologies->memory, &stored->other, leaves, 64), kinds[CELLS];
    if (!other) return INRV_MEMORY;
    memset(other, 0, 64 * leaves);
    if (!stored->inactive_coded.starts) return INRV_OK;
    TRY(inrv_topology_masks(topologies, topology, region));
    for (size_t i = 0; i < leaves; i++)
        kinds[i] = count_bits(topology->masks + 64 * i, 1) == LEAF_VOXELS ? INRV_EMPTY : INRV_MIXED;
    TRY(inrv_decode_coded(topologies, &stored->inactive_coded, region, topology->cells + first,
                          kinds, leaves, topology->masks, other));
    uint8_t both = 0;
    for (size_t i = 0; i < 64 * leaves; i++) both |= other[i] & topology->masks[i];
    return both ? INRV_RULE('S', 8) : INRV_OK;
}

static int check_placed(const Stored *stored) {
    const uint64_t end = stored->inactive_starts[stored->region + 1];
    return end > stored->inactive_values.rows ? INRV_RULE('S', 3) : INRV_OK;
}

/* The same, with where its values begin: after those of all regions before. */
static int load_placed_inactive(Topologies *topologies, Stored *stored) {
    if (!stored->inactive_coded.starts) return load_inactive(topologies, stored, stored->region);
    uint64_t *starts = stored->inactive_starts;
    for (size_t next = stored->inactive_known; next <= stored->region; next++) {
        const size_t leaves =
            first_leaf(stored->topology, next + 1) - first_leaf(stored->topology, next);
        TRY(load_inactive(topologies, stored, next));
        starts[next + 1] = starts[next] + count_bits(stored->other.items, leaves);
        stored->inactive_known = next + 1;
        if (next == stored->region) return check_placed(stored);
    }
    TRY(load_inactive(topologies, stored, stored->region));
    return check_placed(stored);
}

/* Loads the active voxels of a region, and which of them are separate. */
static int load_active(Topologies *topologies, Stored *stored, size_t region) {
    Topology *topology = stored->topology;
    TRY(inrv_topology_masks(topologies, topology, region));
    stored->region = region;
    stored->first = first_leaf(topology, region);
    stored->leaves = first_leaf(topology, region + 1) - stored->first;
    stored->cells = topology->cells + stored->first;
    stored->masks = topology->masks;
    stored->voxels = count_bits(stored->masks, stored->leaves);
    return load_separate(topologies, stored);
}

int inrv_stored_load(Topologies *topologies, Stored *stored, uint64_t key, uint64_t turn) {
    if (stored->turn == turn) return INRV_OK;
    stored->turn = 0;
    stored->region = inrv_region_of(stored->topology, key);
    stored->leaves = stored->voxels = stored->separate = 0;
    stored->has_outliers = 0;
    if (stored->region != NO_REGION) {
        TRY(load_placed_inactive(topologies, stored));
        TRY(load_active(topologies, stored, stored->region));
    }
    if (stored->region != NO_REGION && stored->entry->outliers != NO_NUMBER) {
        int32_t *outlier = inrv_room(topologies->memory, &stored->outlier, stored->voxels, 4);
        size_t count;
        if (!outlier) return INRV_MEMORY;
        memset(outlier, 255, 4 * stored->voxels);
        TRY(load_exact(stored, &stored->outliers, 0, outlier, &count));
        stored->has_outliers = count > 0;
    }
    stored->turn = turn;
    return INRV_OK;
}

int inrv_coded_before(Topologies *topologies, Stored *stored, uint64_t *before) {
    const size_t region = stored->region;
    int moved = 0;
    for (; stored->coded_known < region; stored->coded_known++, moved = 1) {
        const size_t next = stored->coded_known;
        TRY(load_active(topologies, stored, next));
        stored->coded_starts[next + 1] =
            stored->coded_starts[next] + stored->voxels - stored->separate;
    }
    if (moved) TRY(load_active(topologies, stored, region));
    *before = stored->coded_starts[region];
    return INRV_OK;
}

/* ---- Their values ---- */

static const uint8_t *row_of(const Stored *stored, const Tensor *values, size_t row) {
    return values->data + 4 * row * (size_t)stored->entry->grid.components;
}

const uint8_t *inrv_separate_value(const Stored *stored, int32_t source) {
    return source < MOST_FREQUENT
               ? row_of(stored, &stored->frequent_values, (size_t)source)
               : row_of(stored, &stored->exact.values, (size_t)(source - MOST_FREQUENT));
}

const uint8_t *inrv_outlier_value(const Stored *stored, int32_t number) {
    return row_of(stored, &stored->outliers.values, (size_t)number);
}

const uint8_t *inrv_inactive_value(const Stored *stored, size_t number) {
    return row_of(stored, &stored->inactive_values,
                  (size_t)stored->inactive_starts[stored->region] + number);
}

void inrv_pattern(uint16_t cell, int level, uint8_t pattern[64]) {
    static const uint8_t ALONG[] = {0xff, 0x55, 0x11, 1};
    const int within = level < 3 ? level : 3, stride = (1 << within) - 1;
    const int cells = (cell >> 8) | (cell >> 4 & 15) | (cell & 15);
    const int held = level <= 3 || !(cells & ((1 << (level - 3)) - 1));
    for (int row = 0; row < 64; row++)
        pattern[row] = held && !((row >> 3 | (row & 7)) & stride) ? ALONG[within] : 0;
}
