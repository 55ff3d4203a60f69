/* Values at points, from decoded regions that are kept. */
#include "inrv.h"

#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "sample.h"

enum { BATCH = 1024, CELL_BYTES = INRV_CELLS * sizeof(int32_t), LARGEST_TILE = 4096 };

struct inrv_points {
    inrv_decoder *decoder;
    const inrv_grid *grid;
    Memory memory;
    size_t most, kept; /* bytes of bricks */
    inrv_bricks bricks;
    int64_t *keys, *tile_keys; /* of regions, and of tiles of 4096^3 */
    int32_t *slots, *tile_slots, *tile_numbers;
    int32_t (*corners)[3]; /* of the regions */
    inrv_brick *brick;
    size_t regions, *bytes; /* of each brick */
    uint64_t *used, now;    /* when each region was asked for last */
    uint8_t *touched;
    float *constants;
};

/* ---- Beginning ---- */

static int64_t key_of(const int32_t corner[3], int shift) {
    return inrv_index_key(corner[0], corner[1], corner[2], shift);
}

static int make_index(Memory *memory, const int64_t *keys, size_t count, int32_t **slots,
                      inrv_index *index) {
    int bits = 1;
    while ((size_t)1 << bits < 2 * count) bits++;
    *slots = inrv_take(memory, (uint64_t)1 << bits, sizeof **slots);
    if (!*slots) return INRV_MEMORY;
    inrv_index_keys(keys, count, *slots, bits);
    *index = (inrv_index){keys, *slots, bits};
    return INRV_OK;
}

/* Lists the regions that hold a leaf or a tile up to their own size, each once. */
static int list_regions(inrv_points *points, const inrv_skeleton *skeleton) {
    const uint64_t most = (uint64_t)skeleton->regions + skeleton->tiles;
    Keyed *keys = inrv_take(&points->memory, 2 * most + 1, sizeof *keys);
    points->keys = inrv_take(&points->memory, most + 1, sizeof(int64_t));
    points->corners = inrv_take(&points->memory, most + 1, sizeof *points->corners);
    int error = keys && points->keys && points->corners ? INRV_OK : INRV_MEMORY;
    size_t count = 0;
    for (size_t i = 0; i < most && !error; i++) {
        const size_t tile = i - skeleton->regions;
        if (i >= skeleton->regions && skeleton->tile[tile].edge == LARGEST_TILE) continue;
        const int32_t *corner =
            i < skeleton->regions ? skeleton->corners[i] : skeleton->tile[tile].corner;
        keys[count++] = (Keyed){(uint64_t)key_of(corner, 7), (uint32_t)i};
    }
    inrv_sort(keys, keys + count, error ? 0 : count);
    for (size_t i = 0; i < count && !error; i++) {
        if (i && keys[i].key == keys[i - 1].key) continue;
        const size_t number = keys[i].number;
        const int32_t *corner = number < skeleton->regions
                                    ? skeleton->corners[number]
                                    : skeleton->tile[number - skeleton->regions].corner;
        for (int axis = 0; axis < 3; axis++)
            points->corners[points->regions][axis] = corner[axis] & -128;
        points->keys[points->regions++] = (int64_t)keys[i].key;
    }
    inrv_give(&points->memory, keys);
    return error ? error
                 : make_index(&points->memory, points->keys, points->regions, &points->slots,
                              &points->bricks.regions);
}

/* The background and the values of all tiles as constants, and the largest tiles by place. */
static int list_tiles(inrv_points *points, const inrv_skeleton *skeleton) {
    const size_t components = (size_t)points->grid->components;
    const uint64_t tiles = skeleton->tiles;
    size_t large = 0;
    points->constants = inrv_take(&points->memory, tiles + 1, components * sizeof(float));
    points->tile_keys = inrv_take(&points->memory, tiles + 1, sizeof(int64_t));
    points->tile_numbers = inrv_take(&points->memory, tiles + 1, sizeof(int32_t));
    if (!points->constants || !points->tile_keys || !points->tile_numbers) return INRV_MEMORY;
    memcpy(points->constants, points->grid->background, components * sizeof(float));
    for (size_t i = 0; i < tiles; i++) {
        const inrv_tile *tile = &skeleton->tile[i];
        memcpy(points->constants + (i + 1) * components, tile->values, components * sizeof(float));
        if (tile->edge != LARGEST_TILE) continue;
        points->tile_keys[large] = key_of(tile->corner, 12);
        points->tile_numbers[large++] = (int32_t)i + 1;
    }
    if (large) points->bricks.tile_values = points->tile_numbers;
    return make_index(&points->memory, points->tile_keys, large, &points->tile_slots,
                      &points->bricks.tiles);
}

static int begin(inrv_points *points) {
    const inrv_skeleton *skeleton = inrv_decoder_skeleton(points->decoder);
    TRY(list_regions(points, skeleton));
    TRY(list_tiles(points, skeleton));
    const uint64_t room = (uint64_t)points->regions + 1;
    points->brick = inrv_take(&points->memory, room, sizeof *points->brick);
    points->bytes = inrv_take(&points->memory, room, sizeof *points->bytes);
    points->used = inrv_take(&points->memory, room, sizeof *points->used);
    points->touched = inrv_take(&points->memory, room, 1);
    if (!points->brick || !points->bytes || !points->used || !points->touched) return INRV_MEMORY;
    points->bricks.components = points->grid->components;
    points->bricks.constants = points->constants;
    points->bricks.bricks = points->brick;
    return INRV_OK;
}

int inrv_points_new(inrv_decoder *decoder, size_t bytes, inrv_points **points) {
    *points = calloc(1, sizeof **points);
    if (!*points) return INRV_MEMORY;
    (*points)->decoder = decoder;
    (*points)->grid = inrv_decoder_grid(decoder);
    (*points)->memory.most = inrv_decoder_limit(decoder);
    (*points)->most = bytes;
    const int error = begin(*points);
    if (error) {
        inrv_points_free(*points);
        *points = NULL;
    }
    return error;
}

static void drop(inrv_points *points, size_t region) {
    inrv_brick *brick = &points->brick[region];
    inrv_give(&points->memory, (void *)(uintptr_t)brick->cells);
    inrv_give(&points->memory, (void *)(uintptr_t)brick->blocks);
    *brick = (inrv_brick){NULL, NULL};
    points->kept -= points->bytes[region];
    points->bytes[region] = 0;
}

void inrv_points_free(inrv_points *points) {
    if (!points) return;
    for (size_t i = 0; points->brick && points->bytes && i < points->regions; i++) drop(points, i);
    inrv_give(&points->memory, points->keys);
    inrv_give(&points->memory, points->tile_keys);
    inrv_give(&points->memory, points->slots);
    inrv_give(&points->memory, points->tile_slots);
    inrv_give(&points->memory, points->tile_numbers);
    inrv_give(&points->memory, points->corners);
    inrv_give(&points->memory, points->brick);
    inrv_give(&points->memory, points->bytes);
    inrv_give(&points->memory, points->used);
    inrv_give(&points->memory, points->touched);
    inrv_give(&points->memory, points->constants);
    free(points);
}

/* ---- Bricks ---- */

/* Notes the tiles in a region. */
typedef struct {
    const inrv_points *points;
    int32_t *cells;
} CellFiller;

static void fill_cells(void *context, uint32_t number) {
    const CellFiller *filler = context;
    const inrv_tile *tile = &inrv_decoder_skeleton(filler->points->decoder)->tile[number];
    const int32_t constant = ~((int32_t)number + 1);
    if (tile->edge > 8) {
        for (int i = 0; i < INRV_CELLS; i++) filler->cells[i] = constant;
        return;
    }
    const int32_t *corner = tile->corner;
    filler->cells[(corner[0] >> 3 & 15) << 8 | (corner[1] >> 3 & 15) << 4 | (corner[2] >> 3 & 15)] =
        constant;
}

static void fill_blocks(const inrv_decoded *decoded, const inrv_grid *grid, float *blocks) {
    const size_t components = (size_t)grid->components;
    const float *others = decoded->inactive_values;
    inrv_fill_blocks(decoded->masks, decoded->leaves, grid->components, decoded->values, components,
                     grid->background, blocks);
    for (size_t byte = 0; byte < 64 * decoded->leaves; byte++)
        for (unsigned bits = decoded->inactive_masks[byte]; bits; bits &= bits - 1) {
            const size_t voxel = 8 * byte + (size_t)__builtin_ctz(bits);
            memcpy(blocks + voxel * components, others, components * sizeof *blocks);
            others += components;
        }
}

static int load(inrv_points *points, size_t region) {
    inrv_decoded decoded;
    TRY(inrv_decode(points->decoder, points->corners[region], 0, &decoded));
    const size_t components = (size_t)points->grid->components;
    int32_t *cells = inrv_take(&points->memory, 1, CELL_BYTES);
    float *blocks = inrv_take(&points->memory, (uint64_t)decoded.leaves * INRV_LEAF_VOXELS,
                              components * sizeof(float));
    points->brick[region] = (inrv_brick){cells, blocks};
    points->bytes[region] =
        CELL_BYTES + decoded.leaves * INRV_LEAF_VOXELS * components * sizeof(float);
    points->kept += points->bytes[region];
    if (!cells || !blocks) {
        drop(points, region);
        return INRV_MEMORY;
    }
    for (int i = 0; i < INRV_CELLS; i++) cells[i] = ~0; /* the background */
    CellFiller filler = {points, cells};
    inrv_visit_tiles(inrv_decoder_topology(points->decoder),
                     inrv_region_key(points->corners[region]), fill_cells, &filler);
    for (size_t i = 0; i < decoded.leaves; i++) cells[decoded.cells[i]] = (int32_t)i;
    fill_blocks(&decoded, points->grid, blocks);
    return INRV_OK;
}

/* Drops the regions that were not asked for the longest, until so many bytes are left or none but
   those of this turn. */
static void make_room(inrv_points *points) {
    while (points->kept > points->most) {
        size_t oldest = points->regions;
        for (size_t i = 0; i < points->regions; i++)
            if (points->bytes[i] && points->used[i] < points->now &&
                (oldest == points->regions || points->used[i] < points->used[oldest]))
                oldest = i;
        if (oldest == points->regions) return;
        drop(points, oldest);
    }
}

/* Loads what was touched and is not there; `*full` tells whether there was no room for all. */
static int load_touched(inrv_points *points, int needed, int *full) {
    points->now++;
    for (size_t i = 0; i < points->regions; i++)
        if (points->touched[i]) points->used[i] = points->now;
    *full = 0;
    for (size_t i = 0; i < points->regions; i++) {
        if (!points->touched[i] || points->brick[i].cells) continue;
        if (points->kept >= points->most) make_room(points);
        if (points->kept >= points->most && !needed) {
            *full = 1;
            return INRV_OK;
        }
        TRY(load(points, i));
    }
    make_room(points);
    return INRV_OK;
}

static int sample(inrv_points *points, const inrv_lookup *lookup, const double *at, size_t count,
                  float *values) {
    for (size_t batch = count < BATCH ? count : BATCH; count;) {
        int full = 0;
        if (batch > count) batch = count;
        memset(points->touched, 0, points->regions);
        if (inrv_sample(&points->bricks, lookup, at, batch, points->touched, values, NULL)) {
            TRY(load_touched(points, batch == 1, &full));
            if (full) batch = batch > 1 ? batch / 2 : 1;
            continue;
        }
        at += 3 * batch;
        values += batch * (size_t)lookup->count;
        count -= batch;
    }
    return INRV_OK;
}

int inrv_values_at(inrv_points *points, int nearest, const double *at, size_t count,
                   float *values) {
    const int32_t components = points->grid->components;
    for (size_t i = 0; i < 3 * count; i++)
        if (at[i] - at[i] != 0) return INRV_USE;
    if (points->grid->grid_class != INRV_STAGGERED || components != 3) {
        const inrv_lookup lookup = {.nearest = nearest != 0, .count = components};
        return sample(points, &lookup, at, count, values);
    }
    /* Each component lies half a voxel below the centre along its own axis. */
    for (int axis = 0; axis < 3; axis++) {
        inrv_lookup lookup = {.nearest = nearest != 0, .first = axis, .count = 1};
        lookup.shift[axis] = 0.5;
        float column[BATCH];
        for (size_t first = 0; first < count; first += BATCH) {
            const size_t part = count - first < BATCH ? count - first : BATCH;
            TRY(sample(points, &lookup, at + 3 * first, part, column));
            for (size_t i = 0; i < part; i++) values[3 * (first + i) + (size_t)axis] = column[i];
        }
    }
    return INRV_OK;
}
