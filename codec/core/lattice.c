/* Regions of a lattice: what a kernel needs before it traverses one, and what it leaves. */

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "kernel.h"
#include "region.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the core reads numbers as the file has them: on a little-endian machine"
#endif

/* ---- Memory ---- */

/* The first place at or behind an address at which vectors may lie. */
static void *aligned(void *address) { return (void *)(((uintptr_t)address + 63) & ~(uintptr_t)63); }

inrv_work *inrv_work_new(unsigned sets) {
    const struct inrv_kernel *kernel = inrv_kernel(sets);
    void *allocated = kernel ? malloc(sizeof(inrv_work) + 63) : NULL;
    if (!allocated) return NULL;
    inrv_work *work = aligned(allocated);
    memset(work, 0, sizeof *work);
    work->kernel = kernel;
    work->allocated = allocated;
    return work;
}

void inrv_work_free(inrv_work *work) {
    if (!work) return;
    free(work->memory);
    free(work->wavelet.decisions);
    free(work->allocated);
}

size_t inrv_work_bytes(const inrv_work *work) { return sizeof *work + work->size; }

/* Takes parts of the memory one behind the other; without memory it only adds up their sizes. */
typedef struct {
    uint8_t *memory;
    size_t used;
} Parts;

static void *part_of(Parts *parts, size_t bytes) {
    void *found = parts->memory ? parts->memory + parts->used : NULL;
    parts->used += (bytes + 63) / 64 * 64;
    return found;
}

#define HUGE_PAGE ((size_t)1 << 21)

/* Memory that is freed with free(). The tens of megabytes of a region cost thousands of page faults
   before the first voxel is decoded, unless they lie in huge pages. */
static void *allocate(size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (bytes >= 2 * HUGE_PAGE) {
        const size_t whole = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        void *found = aligned_alloc(HUGE_PAGE, whole);
        if (found) madvise(found, whole, MADV_HUGEPAGE); /* where it fails, small pages do */
        return found;
    }
#endif
    return malloc(bytes);
}

/* Sees to it that the work's memory is as large as the parts that were added up. */
static int reserve(inrv_work *work, Parts *parts) {
    if (parts->used > work->size) {
        free(work->memory);
        work->size = 0;
        work->memory = allocate(parts->used + 63);
        if (!work->memory) return INRV_MEMORY;
        work->size = parts->used;
    }
    parts->memory = aligned(work->memory);
    parts->used = 0;
    return INRV_OK;
}

/* ---- Where a region lies in memory ---- */

/* The part of a region, in voxels, in which its leaves lie; both ends are multiples of 8. */
typedef struct {
    int lower[3], upper[3];
} Window;

static void cell_corner(uint16_t cell, int corner[3]) {
    corner[0] = (cell >> 8) * 8;
    corner[1] = (cell >> 4 & 15) * 8;
    corner[2] = (cell & 15) * 8;
}

static Window window_of(const inrv_leaves *leaves) {
    Window window = {{EDGE, EDGE, EDGE}, {0, 0, 0}};
    for (size_t i = 0; i < leaves->count; i++) {
        int corner[3];
        cell_corner(leaves->cells[i], corner);
        for (int axis = 0; axis < 3; axis++) {
            if (corner[axis] < window.lower[axis]) window.lower[axis] = corner[axis];
            if (corner[axis] + 8 > window.upper[axis]) window.upper[axis] = corner[axis] + 8;
        }
    }
    if (!leaves->count) memset(&window, 0, sizeof window);
    return window;
}

static int larger_of(int a, int b) { return a > b ? a : b; }
static int smaller_of(int a, int b) { return a < b ? a : b; }

/* A level holds what a neighbour may be read from: three strides around the window. */
static void shape_level(Level *level, const Window *window, int number) {
    for (int axis = 0; axis < 3; axis++) {
        int first = window->lower[axis] >> number,
            behind = (window->upper[axis] + (1 << number) - 1) >> number;
        level->lower[axis] = larger_of(0, first - 4) / 2 * 2;
        level->upper[axis] = smaller_of(EDGE >> number, behind + 5) / 2 * 2;
        level->half[axis] = (level->upper[axis] - level->lower[axis]) / 2;
    }
    level->pitch = (level->half[2] + 15) / 16 * 16 + 2 * PAD_Z;
    level->plane = level->pitch * (level->half[1] + PAD_BEFORE + PAD_AFTER);
    level->size = level->plane * (level->half[0] + PAD_BEFORE + PAD_AFTER);
    level->mask_pitch = level->half[1] + 2;
    level->mask_size = level->mask_pitch * (level->half[0] + 2);
}

static size_t voxels_of(const inrv_leaves *leaves) {
    size_t count = 0;
    for (size_t i = 0; i < leaves->count; i++)
        for (int word = 0; word < 8; word++) {
            uint64_t bits;
            memcpy(&bits, leaves->masks + 64 * i + 8 * word, 8);
            count += (size_t)__builtin_popcountll(bits);
        }
    return count;
}

/* A layer of cells in a region: voxels of level 0 from an x on, along it a cell. */
static Level layer_of(const Level *level, int x) {
    Level layer = *level;
    layer.lower[0] = x;
    layer.upper[0] = x + 8;
    layer.half[0] = 4;
    layer.size = layer.plane * (layer.half[0] + PAD_BEFORE + PAD_AFTER);
    return layer;
}

static int restores(const Task *task) { return task->channel->restoration && !task->level; }

static void take_parts(inrv_work *work, Parts *parts, const Task *task, size_t voxels,
                       size_t segment) {
    /* Of a wavelet only the restoration filter sees a level. */
    const int behind = !task->channel->wavelet ? INRV_LEVELS : restores(task);
    for (int number = task->level; number < behind; number++) {
        Level *level = &work->levels[number];
        size_t values = ((size_t)level->size * 8 + 64) * sizeof(int32_t);
        level->values = part_of(parts, values);
        level->reference = task->channel->reference_top ? part_of(parts, values) : NULL;
        level->targets = task->aim ? part_of(parts, values) : NULL;
        level->truth = task->samples ? part_of(parts, values) : NULL;
        level->masks = part_of(parts, (size_t)level->mask_size * 8 * sizeof(uint64_t));
    }
    if (restores(task)) {
        const Level layer = layer_of(&work->levels[0], 0);
        work->restored = part_of(parts, ((size_t)layer.size * 8 + 64) * sizeof(int32_t));
    }
    if (task->channel->wavelet) {
        const size_t bytes = inrv_wavelet_place(&work->wavelet, NULL, task->aim != NULL);
        inrv_wavelet_place(&work->wavelet, part_of(parts, bytes), task->aim != NULL);
    } else if (task->aim) {
        work->coder.symbols = part_of(parts, voxels * sizeof(Symbol));
        if (task->channel->trellis) {
            size_t most = voxels < MOST_IN_PASS ? voxels : MOST_IN_PASS;
            work->coder.rows = part_of(parts, (most + CHAINS - 1) / CHAINS * sizeof(Row));
        }
        work->coder.raw_bytes = part_of(parts, inrv_codes_bound(voxels));
    } else
        work->segment = part_of(parts, segment + 2 * PADDING);
}

static int make_room(inrv_work *work, const Task *task, size_t voxels, size_t segment) {
    Window window = window_of(&task->region->leaves);
    for (int number = 0; number < INRV_LEVELS; number++)
        shape_level(&work->levels[number], &window, number);
    for (int axis = 0; axis < 3; axis++)
        work->wavelet.size[axis] = window.upper[axis] - window.lower[axis];
    Parts parts = {NULL, 0};
    take_parts(work, &parts, task, voxels, segment);
    int error = reserve(work, &parts);
    if (!error) take_parts(work, &parts, task, voxels, segment);
    return error;
}

/* The row of a level's array that holds (x, y, z), z even or odd, and on. Coordinates are in
   strides, from the region's corner. */
static ptrdiff_t place_of(const Level *level, int x, int y, int z) {
    x -= level->lower[0];
    y -= level->lower[1];
    z -= level->lower[2];
    int parity = (x & 1) << 2 | (y & 1) << 1 | (z & 1);
    return parity * level->size + (x / 2 + PAD_BEFORE) * level->plane +
           (y / 2 + PAD_BEFORE) * level->pitch + z / 2 + PAD_Z;
}

/* ---- Leaves to levels and back ---- */

/* Where the values of each row of a leaf begin, among those of the leaf. A popcount of each row
   would be a call where the compiler may not assume the instruction. */
static void find_rows(const uint8_t masks[64], int starts[64]) {
    const uint64_t ones = 0x0101010101010101u;
    int before = 0;
    for (int slab = 0; slab < 8; slab++) {
        uint64_t counts;
        memcpy(&counts, masks + 8 * slab, 8);
        counts -= counts >> 1 & 0x55 * ones;
        counts = (counts & 0x33 * ones) + (counts >> 2 & 0x33 * ones);
        counts = (counts + (counts >> 4)) & 0x0f * ones;
        const uint64_t ends = counts * ones;
        for (int row = 0; row < 8; row++)
            starts[8 * slab + row] = before + (int)((ends << 8) >> (8 * row) & 255);
        before += (int)(ends >> 56);
    }
}

static int32_t limited(int32_t value, int32_t top) {
    int32_t low = -(top >> 1), high = top + (top >> 1);
    return value < low ? low : value > high ? high : value;
}

/* Writes the values of leaves' voxels into the arrays of all levels that hold them, within what is
   half a range beyond 0 and `top`.
   arrays: for each level the eight arrays; NULL for one that is left out */
static void spread_values(const inrv_work *work, const inrv_leaves *leaves, const int32_t *values,
                          int32_t *const arrays[INRV_LEVELS], int32_t top) {
    static const uint8_t EVERY[INRV_LEVELS] = {0xff, 0x55, 0x11, 1, 1, 1, 1};
    for (size_t leaf = 0; leaf < leaves->count; leaf++) {
        const uint8_t *masks = leaves->masks + 64 * leaf;
        int corner[3], starts[64];
        cell_corner(leaves->cells[leaf], corner);
        find_rows(masks, starts);
        for (int number = 0; number < INRV_LEVELS; number++) {
            const Level *level = &work->levels[number];
            int stride = 1 << number, within = smaller_of(stride, 8);
            if (!arrays[number] || (corner[0] | corner[1] | corner[2]) & (stride - 1)) continue;
            const int z = corner[2] >> number;
            for (int row = 0; row < 64; row++) {
                const unsigned wanted = masks[row] & EVERY[number];
                if (!wanted || ((row >> 3) | (row & 7)) & (within - 1)) continue;
                int x = (corner[0] + (row >> 3)) >> number, y = (corner[1] + (row & 7)) >> number;
                if (x < level->lower[0] || x >= level->upper[0] || y < level->lower[1] ||
                    y >= level->upper[1])
                    continue;
                int32_t *even = arrays[number] + place_of(level, x, y, z & ~1);
                const int32_t *value = values + starts[row];
                for (unsigned left = masks[row]; left; left &= left - 1, value++) {
                    const int bit = __builtin_ctz(left), at = (z & 1) + (bit >> number);
                    if (!(wanted >> bit & 1) || z + (bit >> number) < level->lower[2] ||
                        z + (bit >> number) >= level->upper[2])
                        continue;
                    even[(at & 1) * level->size + (at >> 1)] = limited(*value, top);
                }
            }
        }
        values += starts[63] + __builtin_popcount(masks[63]);
    }
}

/* Gathers the values of leaves' voxels at multiples of 2^number from arrays of that level, or of a
   layer of it. Returns where the next ones go. */
static int32_t *gather_values(const Level *level, const inrv_leaves *leaves, int number,
                              const int32_t *arrays, int32_t *values) {
    const int stride = 1 << number, within = smaller_of(stride, 8);
    const unsigned every = number == 0 ? 0xff : number == 1 ? 0x55 : number == 2 ? 0x11 : 1;
    for (size_t leaf = 0; leaf < leaves->count; leaf++) {
        const uint8_t *masks = leaves->masks + 64 * leaf;
        int corner[3];
        cell_corner(leaves->cells[leaf], corner);
        if ((corner[0] | corner[1] | corner[2]) & (stride - 1)) continue;
        for (int row = 0; row < 64; row++) {
            unsigned wanted = masks[row] & every;
            if (!wanted || ((row >> 3) | (row & 7)) & (within - 1)) continue;
            int x = (corner[0] + (row >> 3)) >> number, y = (corner[1] + (row & 7)) >> number;
            int z = corner[2] >> number;
            const int32_t *even = arrays + place_of(level, x, y, z & ~1), *odd = even + level->size;
            if (wanted == 0xff) {
                for (int i = 0; i < 4; i++) {
                    values[2 * i] = even[i];
                    values[2 * i + 1] = odd[i];
                }
                values += 8;
                continue;
            }
            for (; wanted; wanted &= wanted - 1) {
                int at = (z & 1) + (__builtin_ctz(wanted) >> number);
                *values++ = (at & 1 ? odd : even)[at >> 1];
            }
        }
    }
    return values;
}

/* The bits of every second place. */
static uint64_t halved(uint64_t bits) {
    bits &= 0x5555555555555555u;
    bits = (bits | bits >> 1) & 0x3333333333333333u;
    bits = (bits | bits >> 2) & 0x0f0f0f0f0f0f0f0fu;
    bits = (bits | bits >> 4) & 0x00ff00ff00ff00ffu;
    bits = (bits | bits >> 8) & 0x0000ffff0000ffffu;
    return (bits | bits >> 16) & 0xffffffffu;
}

/* Notes the active voxels of each row of the region along z, a bit a voxel. */
static void mark_active(inrv_work *work, const inrv_leaves *leaves) {
    uint8_t *active = (uint8_t *)work->active;
    memset(active, 0, sizeof work->active);
    for (size_t leaf = 0; leaf < leaves->count; leaf++) {
        int corner[3];
        cell_corner(leaves->cells[leaf], corner);
        for (int row = 0; row < 64; row++)
            active[((corner[0] + (row >> 3)) * EDGE + corner[1] + (row & 7)) * CELLS +
                   corner[2] / 8] = leaves->masks[64 * leaf + (size_t)row];
    }
}

/* A level's masks, from those of the region. */
static void begin_masks(const inrv_work *work, Level *level, int number) {
    memset(level->masks, 0, (size_t)level->mask_size * 8 * sizeof(uint64_t));
    for (int x = 0; x < 2 * level->half[0]; x++)
        for (int y = 0; y < 2 * level->half[1]; y++) {
            const uint64_t *row =
                work->active +
                (((level->lower[0] + x) << number) * EDGE + ((level->lower[1] + y) << number)) * 2;
            uint64_t low = row[0], high = row[1];
            if (!(low | high)) continue;
            for (int i = 0; i < number; i++) {
                low = halved(low) | halved(high) << 32;
                high = 0;
            }
            uint64_t *mask = level->masks + ((x & 1) << 2 | (y & 1) << 1) * level->mask_size +
                             (x / 2 + 1) * level->mask_pitch + y / 2 + 1;
            mask[0] = (halved(low) | halved(high) << 32) >> (level->lower[2] / 2);
            mask[level->mask_size] =
                (halved(low >> 1) | halved(high >> 1) << 32) >> (level->lower[2] / 2);
        }
}

/* The voxels of a level of which nothing is known, and `around` in those of its window. */
static void begin_values(const Level *level, int32_t *values, int32_t around) {
    const ptrdiff_t behind = level->pitch - PAD_Z - level->half[2];
    for (int parity = 0; parity < 8; parity++)
        for (int x = -PAD_BEFORE; x < level->half[0] + PAD_AFTER; x++)
            for (int y = -PAD_BEFORE; y < level->half[1] + PAD_AFTER; y++) {
                const int inside = x >= 0 && x < level->half[0] && y >= 0 && y < level->half[1];
                const int32_t within = inside ? around : MISSING;
                for (int z = 0; z < PAD_Z; z++) *values++ = MISSING;
                for (int z = 0; z < level->half[2]; z++) *values++ = within;
                for (ptrdiff_t z = 0; z < behind; z++) *values++ = MISSING;
            }
    for (int i = 0; i < 64; i++) *values++ = MISSING;
}

/* What is known of a level before its voxels besides the exterior: the next coarser level. */
static void begin_level(inrv_work *work, int number) {
    Level *level = &work->levels[number];
    begin_masks(work, level, number);
    if (number + 1 == INRV_LEVELS) return;
    const Level *coarse = &work->levels[number + 1];
    for (int x = 0; x < level->half[0]; x++)
        for (int y = 0; y < level->half[1]; y++) {
            const int at[3] = {level->lower[0] / 2 + x, level->lower[1] / 2 + y,
                               level->lower[2] / 2};
            int32_t *row = level->values + place_of(level, 2 * at[0], 2 * at[1], 2 * at[2]);
            const int32_t *even = coarse->values + place_of(coarse, at[0], at[1], at[2]);
            const int32_t *odd = coarse->values + place_of(coarse, at[0], at[1], at[2] + 1);
            for (int z = 0; z < level->half[2]; z++) row[z] = (z & 1 ? odd : even)[z / 2];
        }
}

/* Makes values known to a restoration filter, and what else it is to know. */
static void begin_restoration(inrv_work *work, const Task *task, const int32_t *values) {
    const inrv_region *region = task->region;
    const inrv_channel *channel = task->channel;
    Level *level = &work->levels[0];
    int32_t *arrays[INRV_LEVELS] = {level->values};
    mark_active(work, &region->leaves);
    begin_masks(work, level, 0);
    begin_values(level, level->values,
                 channel->exterior ? limited(region->around, channel->top) : MISSING);
    if (channel->exterior)
        spread_values(work, &region->exterior, region->exterior_values, arrays, channel->top);
    spread_values(work, &region->leaves, values, arrays, channel->top);
    if (!task->samples) return;
    arrays[0] = level->truth;
    spread_values(work, &region->leaves, task->aim->values, arrays, 2 * HIGHEST);
}

static void begin_levels(inrv_work *work, const Task *task) {
    const inrv_region *region = task->region;
    const inrv_channel *channel = task->channel;
    int32_t *values[INRV_LEVELS] = {0}, *references[INRV_LEVELS] = {0};
    int32_t *targets[INRV_LEVELS] = {0}, *truth[INRV_LEVELS] = {0};
    const int32_t around = channel->exterior ? limited(region->around, channel->top) : MISSING;
    mark_active(work, &region->leaves);
    for (int number = task->level; number < INRV_LEVELS; number++) {
        const Level *level = &work->levels[number];
        values[number] = level->values;
        references[number] = level->reference;
        targets[number] = level->targets;
        truth[number] = level->truth;
        begin_values(level, level->values, around);
        if (level->reference) begin_values(level, level->reference, MISSING);
    }
    if (channel->exterior)
        spread_values(work, &region->exterior, region->exterior_values, values, channel->top);
    if (channel->reference_top)
        spread_values(work, &region->reference, region->reference_values, references,
                      channel->reference_top);
    if (task->aim) /* near the range, so that no code is beyond the last token */
        spread_values(work, &region->leaves, task->aim->targets, targets, channel->top);
    if (task->samples) spread_values(work, &region->leaves, task->aim->values, truth, 2 * HIGHEST);
}

/* ---- Tables ---- */

static void begin_tables(Coder *coder, const int32_t *prior) {
    memset(coder->table, 0, sizeof coder->table);
    for (int table = 0; table < ALL_TABLES; table++) {
        memcpy(coder->counts[table], prior + table * INRV_TOKENS, INRV_TOKENS * sizeof(int32_t));
        coder->counts[table][46] = coder->counts[table][47] = 0;
    }
    memset(coder->changed, 1, sizeof coder->changed);
    memset(coder->chain, 0, sizeof coder->chain);
}

/* The parts of every table whose counts have changed. */
static void build_tables(Coder *coder) {
    const double total = (1 << PROBABILITY_BITS) - INRV_TOKENS;
    for (int number = 0; number < ALL_TABLES; number++) {
        if (!coder->changed[number]) continue;
        const int32_t *counts = coder->counts[number];
        Table *table = &coder->table[number];
        int64_t sum = 0;
        for (int i = 0; i < INRV_TOKENS; i++) sum += counts[i];
        int32_t parts[48], rest = 1 << PROBABILITY_BITS, at;
        /* Numbers below 2^53, so that the quotient of doubles is below the next whole number. */
        for (int i = 0; i < 48; i++) parts[i] = 1 + (int32_t)(counts[i] * total / (double)sum);
        for (int i = 1; i < INRV_TOKENS; i++) rest -= parts[i];
        parts[0] = at = rest;
        table->start[0] = INT16_MIN;
        table->part[0] = (uint16_t)rest;
        for (int i = 1; i < INRV_TOKENS; i++) {
            table->start[i] = (int16_t)(at - (1 << 15));
            table->part[i] = (uint16_t)parts[i];
            at += parts[i];
        }
        for (int i = INRV_TOKENS; i < 64; i++) table->start[i] = INT16_MAX;
    }
    memset(coder->changed, 0, sizeof coder->changed);
}

static void learn(Coder *coder) {
    for (int number = 0; number < ALL_TABLES; number++) {
        Table *table = &coder->table[number];
        uint32_t any = 0;
        for (int i = 0; i < 48; i++) any |= table->seen[0][i] | table->seen[1][i];
        if (!any) continue;
        for (int i = 0; i < 48; i++)
            coder->counts[number][i] += LEARNED * (int32_t)(table->seen[0][i] + table->seen[1][i]);
        memset(table->seen, 0, sizeof table->seen);
        coder->changed[number] = 1;
    }
}

/* ---- Segments ---- */

/* The segment that holds the codes of a level. */
static int segment_of(int level, int segments) {
    return segments == 1 || level > 2 ? 0 : 3 - level;
}

/* Reads from a segment from now on. It is copied, with zeros around it: a block of voxels is read
   before it is asked whether that was too much. */
static void open_segment(inrv_work *work, const inrv_codes *codes, int number) {
    Coder *coder = &work->coder;
    size_t size = codes->sizes[number];
    uint8_t *bytes = work->segment + PADDING;
    memset(work->segment, 0, PADDING);
    if (size) memcpy(bytes, codes->bytes[number], size);
    memset(bytes + size, 0, PADDING);
    coder->word = bytes;
    coder->last_word = coder->raw_end = bytes + size;
    coder->raw = 0;
    coder->raw_most = 8 * (uint64_t)size;
}

/* Words and raw bits must meet where a segment ends. */
static int close_segment(const Coder *coder) {
    uint64_t left = (uint64_t)(coder->raw_end - coder->word);
    return left == (coder->raw + 7) / 8 ? INRV_OK : INRV_RULE('F', 6);
}

static int open_codes(inrv_work *work, const inrv_codes *codes) {
    Coder *coder = &work->coder;
    coder->lanes = 1 << codes->lanes;
    open_segment(work, codes, 0);
    size_t states = 4 * (size_t)coder->lanes;
    if (codes->sizes[0] < states) return INRV_RULE('F', 6);
    memcpy(coder->state, coder->word, states);
    coder->word += states;
    for (int lane = 0; lane < coder->lanes; lane++)
        if (coder->state[lane] < 1u << 16) return INRV_RULE('F', 6);
    return INRV_OK;
}

/* After the last voxel every lane must be where the encoder began. */
static int close_codes(const Coder *coder) {
    for (int lane = 0; lane < coder->lanes; lane++)
        if (coder->state[lane] != 1u << 16) return INRV_RULE('F', 6);
    return INRV_OK;
}

/* ---- Traversal ---- */

static int check_network(const inrv_network *network, int inputs, int first, int second,
                         int outputs) {
    return network && network->inputs == inputs && network->first == first &&
           network->second == second && network->outputs == outputs;
}

/* Whether the caller's numbers are what the arithmetic has room for. */
static int check(const inrv_channel *channel, const inrv_region *region) {
    static const int INPUTS[3] = {43, 51, 47};
    int sound = channel->top >= 1 && channel->top <= HIGHEST && channel->reference_top >= 0 &&
                channel->reference_top <= HIGHEST;
    sound = sound && channel->background >= -HIGHEST && channel->background <= HIGHEST;
    for (int i = 0; i < INRV_LEVELS; i++)
        sound = sound && channel->steps[i] >= 32 && channel->steps[i] <= 512;
    for (int i = 0; i < 3; i++)
        sound = sound && check_network(channel->prediction[i],
                                       INPUTS[i] + (channel->reference_top ? 13 : 0), 32, 32, 2);
    sound = sound && (!channel->wavelet ||
                      (channel->wavelet_prior && channel->top <= INRV_WAVELET_TOP &&
                       !channel->lossless && !channel->trellis && !channel->reference_top));
    sound = sound && (!channel->restoration || check_network(channel->restoration, 37, 24, 16, 1));
    sound = sound && region->mean >= 0 && region->mean <= 255 && region->spread >= 0 &&
            region->spread <= 22;
    for (size_t i = 0; i < region->leaves.count; i++)
        sound = sound && region->leaves.cells[i] < CELLS * CELLS * CELLS &&
                (!i || region->leaves.cells[i] > region->leaves.cells[i - 1]);
    for (size_t i = 0; i < region->reference.count; i++)
        sound = sound && region->reference.cells[i] < CELLS * CELLS * CELLS;
    for (size_t i = 0; i < region->exterior.count; i++)
        sound = sound && region->exterior.cells[i] < CELLS * CELLS * CELLS;
    return sound ? INRV_OK : INRV_USE;
}

static Task task_of(const inrv_channel *channel, const inrv_region *region) {
    Task task = {.channel = channel, .region = region};
    task.wide = channel->top > EXACT_IN_FLOAT || channel->reference_top > EXACT_IN_FLOAT;
    task.mean = (int32_t)((int64_t)region->mean * channel->top / 255);
    task.spread = 1 << region->spread;
    return task;
}

/* What the traversal of an encoder notes at the end of each segment. */
typedef struct {
    size_t symbols[INRV_SEGMENTS];
    uint64_t raw[INRV_SEGMENTS];
} Cuts;

/* Goes through a region from coarse to fine; the codes are read, or chosen and noted. */
static int traverse(inrv_work *work, const Task *task, const inrv_codes *codes, Cuts *cuts) {
    const struct inrv_kernel *kernel = work->kernel;
    const inrv_channel *channel = task->channel;
    Coder *coder = &work->coder;
    for (int i = 0; i < 3; i++) kernel->pack(&work->networks[1 + i], channel->prediction[i]);
    begin_levels(work, task);
    begin_tables(coder, channel->prior);
    for (int number = INRV_LEVELS - 1; number >= task->level; number--) {
        const Level *level = &work->levels[number];
        int error = INRV_OK, segment = segment_of(number, INRV_SEGMENTS);
        begin_level(work, number);
        if (!task->aim && codes->segments > 1 && segment &&
            segment_of(number + 1, codes->segments) != segment) {
            error = close_segment(coder);
            if (error) return error;
            open_segment(work, codes, segment);
        }
        if (number == INRV_LEVELS - 1 && level->masks[level->mask_pitch + 1] & 1) {
            build_tables(coder);
            error = kernel->corner(work, task);
            if (error) return error;
            learn(coder);
        }
        for (int parity = 0; parity < PASSES; parity++) {
            build_tables(coder);
            error = kernel->pass(work, task, number, parity);
            if (error) return error;
            learn(coder);
        }
        if (cuts) {
            cuts->symbols[segment] = coder->count;
            cuts->raw[segment] = coder->raw;
        }
    }
    return INRV_OK;
}

/* Restored values are gathered layer by layer: so much of them stays in the cache. */
static void give_values(inrv_work *work, const Task *task, int32_t *values) {
    const Level *level = &work->levels[task->level];
    const inrv_leaves *leaves = &task->region->leaves;
    if (!restores(task)) {
        gather_values(level, leaves, task->level, level->values, values);
        return;
    }
    work->kernel->pack(&work->networks[0], task->channel->restoration);
    for (size_t first = 0, end; first < leaves->count; first = end) {
        const int cell_x = leaves->cells[first] >> 8;
        for (end = first; end < leaves->count && leaves->cells[end] >> 8 == cell_x; end++) continue;
        const Level layer = layer_of(level, 8 * cell_x);
        const inrv_leaves own = {end - first, leaves->cells + first, leaves->masks + 64 * first};
        work->kernel->restore(work, task, &layer);
        values = gather_values(&layer, &own, 0, work->restored, values);
    }
}

/* ---- Wavelets ---- */

static Boxed boxed_of(const Task *task) {
    Boxed boxed = {.leaves = &task->region->leaves};
    memcpy(boxed.lower, window_of(boxed.leaves).lower, sizeof boxed.lower);
    return boxed;
}

static void begin_wavelet(inrv_work *work, const Task *task, const Boxed *boxed) {
    work->wavelet.step = task->channel->steps[0];
    inrv_wavelet_begin(&work->wavelet, boxed, task->channel->wavelet_prior);
}

static void give_wavelet(inrv_work *work, const Task *task, const Boxed *boxed, int32_t *values) {
    inrv_wavelet_take(&work->wavelet, boxed, task->level, task->mean, task->channel->top, values);
    if (!restores(task)) return;
    begin_restoration(work, task, values);
    give_values(work, task, values);
}

static int decode_wavelet(inrv_work *work, const Task *task, const inrv_codes *codes,
                          int32_t *values) {
    const Boxed boxed = boxed_of(task);
    int error = codes->segments == 1 && codes->lanes == 0 ? INRV_OK : INRV_RULE('F', 6);
    if (!error) error = make_room(work, task, 0, 0);
    if (!error) error = inrv_wavelet_open(&work->wavelet, codes->bytes[0], codes->sizes[0]);
    if (error) return error;
    begin_wavelet(work, task, &boxed);
    work->kernel->wavelet->decode(&work->wavelet);
    error = inrv_wavelet_close(&work->wavelet);
    if (!error) give_wavelet(work, task, &boxed, values);
    return error;
}

static int encode_wavelet(inrv_work *work, const Task *task, int32_t *values, uint8_t *bytes,
                          size_t capacity, inrv_codes *codes) {
    Wavelet *wavelet = &work->wavelet;
    const Boxed boxed = boxed_of(task);
    int error = make_room(work, task, 0, 0);
    if (error) return error;
    begin_wavelet(work, task, &boxed);
    wavelet->rate_weight = task->aim->rate_weight;
    inrv_wavelet_fill(wavelet, &boxed, task->aim->targets, task->mean,
                      limited(task->channel->background, task->channel->top));
    work->kernel->wavelet->encode(wavelet);
    if (wavelet->short_of_memory) return INRV_MEMORY;
    memset(codes, 0, sizeof *codes);
    codes->segments = 1;
    codes->bytes[0] = bytes;
    codes->sizes[0] = inrv_wavelet_write(wavelet, bytes, capacity);
    if (codes->sizes[0] > capacity) return INRV_USE;
    inrv_samples *samples = task->samples;
    if (samples && samples->logits) {
        for (int i = 0; i < LOGITS; i++) {
            samples->logits[i] = wavelet->learned[i].logit;
            samples->visits[i] = (uint8_t)wavelet->learned[i].visits;
        }
        for (int i = 0; i < ALONE; i++) {
            samples->logits[LOGITS + i] = wavelet->shares[i];
            samples->visits[LOGITS + i] = (uint8_t)smaller_of(wavelet->seen[i] - FIRST_SEEN, 255);
        }
    }
    give_wavelet(work, task, &boxed, values);
    return INRV_OK;
}

int inrv_decode_region(inrv_work *work, const inrv_channel *channel, const inrv_region *region,
                       const inrv_codes *codes, int level, int32_t *values) {
    if (check(channel, region) || level < 0 || level >= INRV_LEVELS || codes->lanes < 0 ||
        codes->lanes > 5 || (codes->segments != 1 && codes->segments != INRV_SEGMENTS))
        return INRV_USE;
    Task task = task_of(channel, region);
    task.level = level;
    if (channel->wavelet) return decode_wavelet(work, &task, codes, values);
    size_t largest = 0;
    for (int i = 0; i < codes->segments; i++)
        if (codes->sizes[i] > largest) largest = codes->sizes[i];
    int error = make_room(work, &task, 0, largest);
    if (!error) error = open_codes(work, codes);
    if (!error) error = traverse(work, &task, codes, NULL);
    /* A level's prefix of an only segment ends anywhere. */
    int whole = !level || (codes->segments > 1 && segment_of(level - 1, INRV_SEGMENTS) !=
                                                      segment_of(level, INRV_SEGMENTS));
    if (!error && whole) error = close_segment(&work->coder);
    if (!error && !level) error = close_codes(&work->coder);
    if (!error) give_values(work, &task, values);
    return error;
}

/* ---- Encoding ---- */

size_t inrv_codes_bound(size_t voxels) {
    /* A symbol of one part in 2^15 takes 15 bits, its sign and extra bits 19; and the states. */
    return 5 * voxels + 4 * MOST_LANES + 256;
}

enum { CUT_FROM = 4096 }; /* bytes of a region whose levels are worth parts of their own */

static void begin_coding(Coder *coder, size_t voxels) {
    coder->count = 0;
    coder->raw = 0;
    coder->waiting = 0;
    coder->found = (Chances){1, 0};
    memset(coder->raw_bytes, 0, inrv_codes_bound(voxels));
}

/* The most lanes that cost at most a 400th of a region's bytes, of which each takes two; four are
   as fast as any number on a CPU, and small regions have one or two. */
static int lanes_for(size_t bytes) {
    int log = bytes >= 1024 ? 2 : bytes >= 512 ? 1 : 0;
    while (log < 5 && ((size_t)2 << (log + 1)) * 400 <= bytes) log++;
    return log;
}

/* Codes all symbols backwards; the words lie in `words`, the last first. words_at: their number
   when the symbols before each cut are still to come */
static size_t code_symbols(Coder *coder, const Cuts *cuts, uint16_t *words,
                           size_t words_at[INRV_SEGMENTS]) {
    size_t count = 0;
    uint32_t mask = (uint32_t)coder->lanes - 1;
    for (int lane = 0; lane < coder->lanes; lane++) coder->state[lane] = 1u << 16;
    int segment = INRV_SEGMENTS - 1;
    for (size_t i = coder->count; i-- > 0;) {
        while (segment > 0 && i < cuts->symbols[segment - 1]) words_at[segment--] = count;
        const Symbol *symbol = &coder->symbols[i];
        uint32_t state = coder->state[symbol->lane & mask];
        if (state >= (uint32_t)symbol->part << 17) {
            words[count++] = (uint16_t)state;
            state >>= 16;
        }
        coder->state[symbol->lane & mask] =
            (state / symbol->part << PROBABILITY_BITS) + state % symbol->part + symbol->start;
    }
    while (segment >= 0) words_at[segment--] = count;
    return count;
}

/* Writes the segments: states before all, words in the order of reading, raw bits from the end. */
static int write_segments(const Coder *coder, const Cuts *cuts, const uint16_t *words,
                          const size_t words_at[INRV_SEGMENTS], uint8_t *bytes, size_t capacity,
                          inrv_codes *codes) {
    size_t used = 0;
    for (int i = 0; i < codes->segments; i++) {
        int last = codes->segments == 1 ? INRV_SEGMENTS - 1 : i;
        size_t from = words_at[i],
               to = last + 1 < INRV_SEGMENTS ? words_at[last + 1] : 0; /* words, backwards */
        uint64_t raw = i ? cuts->raw[i - 1] : 0, raw_end = cuts->raw[last];
        size_t states = i ? 0 : 4 * (size_t)coder->lanes,
               raw_bytes = (size_t)(raw_end - raw + 7) / 8;
        size_t size = states + 2 * (from - to) + raw_bytes;
        if (size > capacity - used) return INRV_USE;
        uint8_t *at = bytes + used;
        memcpy(at, coder->state, states);
        at += states;
        for (size_t word = from; word-- > to; at += 2) memcpy(at, words + word, 2);
        memset(at, 0, raw_bytes);
        for (uint64_t bit = raw; bit < raw_end; bit++) {
            uint64_t place = bit - raw;
            at[raw_bytes - 1 - (place >> 3)] |=
                (uint8_t)((coder->raw_bytes[bit >> 3] >> (bit & 7) & 1) << (place & 7));
        }
        codes->bytes[i] = bytes + used;
        codes->sizes[i] = size;
        used += size;
    }
    return INRV_OK;
}

/* Adds up how often each token came. */
static void add_tokens(const Coder *coder, const int32_t *prior, uint32_t *tokens) {
    for (int table = 0; table < ALL_TABLES; table++)
        for (int i = 0; i < INRV_TOKENS; i++)
            *tokens++ += (uint32_t)(coder->counts[table][i] - *prior++) / LEARNED;
}

int inrv_encode_region(inrv_work *work, const inrv_channel *channel, const inrv_region *region,
                       const inrv_aim *aim, int32_t *values, inrv_samples *samples, uint8_t *bytes,
                       size_t capacity, inrv_codes *codes) {
    if (check(channel, region)) return INRV_USE;
    Task task = task_of(channel, region);
    task.aim = aim;
    task.samples = samples;
    if (channel->wavelet) return encode_wavelet(work, &task, values, bytes, capacity, codes);
    Coder *coder = &work->coder;
    Cuts cuts = {{0}, {0}};
    size_t voxels = voxels_of(&region->leaves), words_at[INRV_SEGMENTS];
    int error = make_room(work, &task, voxels, 0);
    if (error) return error;
    begin_coding(coder, voxels);
    error = traverse(work, &task, NULL, &cuts);
    if (error) return error;
    if (samples) add_tokens(coder, channel->prior, samples->tokens);
    give_values(work, &task, values);
    /* The values are given: the levels' memory is free for the words. */
    uint16_t *words = (uint16_t *)work->levels[0].values;
    memset(codes, 0, sizeof *codes);
    size_t size = 2 * words_of(&coder->found) + (size_t)(coder->raw / 8);
    codes->lanes = lanes_for(size);
    codes->segments = size >= CUT_FROM ? INRV_SEGMENTS : 1;
    coder->lanes = 1 << codes->lanes;
    code_symbols(coder, &cuts, words, words_at);
    return write_segments(coder, &cuts, words, words_at, bytes, capacity, codes);
}

/* ---- Numbers ---- */

/* Codes the numbers of one pass; they are read where `numbers` is NULL. */
static int pass_numbers(inrv_work *work, size_t count, int table, const int32_t *numbers,
                        int32_t *found) {
    Block *block = &work->block;
    build_tables(&work->coder);
    for (size_t first = 0; first < count; first += BLOCK) {
        int part = (int)(count - first < BLOCK ? count - first : BLOCK), error = INRV_OK;
        for (int i = 0; i < part; i++) {
            block->table[i] = table;
            block->predicted[i] = 0;
        }
        if (numbers) {
            memcpy(block->code, numbers + first, (size_t)part * sizeof *numbers);
            work->kernel->write(work, part, (uint32_t)first);
        } else {
            error = work->kernel->read(work, part, (uint32_t)first);
            memcpy(found + first, block->code, (size_t)part * sizeof *found);
        }
        if (error) return error;
    }
    learn(&work->coder);
    return INRV_OK;
}

int inrv_decode_numbers(inrv_work *work, const int32_t *prior, size_t passes, const size_t *counts,
                        const uint8_t *tables, const inrv_codes *codes, int32_t *numbers) {
    Parts parts = {NULL, 0};
    if (codes->segments != 1 || codes->lanes < 0 || codes->lanes > 5) return INRV_USE;
    part_of(&parts, codes->sizes[0] + 2 * PADDING);
    int error = reserve(work, &parts);
    if (error) return error;
    work->segment = part_of(&parts, codes->sizes[0] + 2 * PADDING);
    begin_tables(&work->coder, prior);
    error = open_codes(work, codes);
    for (size_t i = 0; i < passes && !error; i++) {
        if (tables[i] >= INRV_TABLES) return INRV_USE;
        error = pass_numbers(work, counts[i], tables[i], NULL, numbers);
        numbers += counts[i];
    }
    if (!error) error = close_segment(&work->coder);
    return error ? error : close_codes(&work->coder);
}

int inrv_encode_numbers(inrv_work *work, const int32_t *prior, size_t passes, const size_t *counts,
                        const uint8_t *tables, const int32_t *numbers, uint8_t *bytes,
                        size_t capacity, inrv_codes *codes) {
    Coder *coder = &work->coder;
    size_t total = 0, words_at[INRV_SEGMENTS];
    uint16_t *words = NULL;
    for (size_t i = 0; i < passes; i++) total += counts[i];
    for (size_t i = 0; i < total; i++)
        if (numbers[i] <= -(1 << 19) || numbers[i] >= 1 << 19) return INRV_USE;
    Parts parts = {NULL, 0};
    for (int twice = 0; twice < 2; twice++) {
        coder->symbols = part_of(&parts, total * sizeof(Symbol));
        coder->raw_bytes = part_of(&parts, inrv_codes_bound(total));
        words = part_of(&parts, total * sizeof *words);
        int error = twice ? INRV_OK : reserve(work, &parts);
        if (error) return error;
    }
    begin_coding(coder, total);
    begin_tables(coder, prior);
    for (size_t i = 0; i < passes; i++) {
        if (tables[i] >= INRV_TABLES) return INRV_USE;
        pass_numbers(work, counts[i], tables[i], numbers, NULL);
        numbers += counts[i];
    }
    Cuts cuts;
    for (int i = 0; i < INRV_SEGMENTS; i++) {
        cuts.symbols[i] = coder->count;
        cuts.raw[i] = coder->raw;
    }
    memset(codes, 0, sizeof *codes);
    codes->segments = coder->lanes = 1;
    code_symbols(coder, &cuts, words, words_at);
    return write_segments(coder, &cuts, words, words_at, bytes, capacity, codes);
}

/* ---- Values ---- */

static float value_of(const inrv_scaling *scaling, int32_t units) {
    double value = units;
    if (scaling->offsets) {
        double place = value * 16 / scaling->top;
        int piece = (int)place < 15 ? (int)place : 15;
        const double *knot = scaling->offsets + piece;
        value += knot[0] + (place - piece) * (knot[1] - knot[0]);
    }
    value = scaling->minimum + (scaling->maximum - scaling->minimum) * (value / scaling->scale);
    if (scaling->clamp) {
        value = value < scaling->minimum ? scaling->minimum : value;
        value = value > scaling->maximum ? scaling->maximum : value;
    }
    return (float)value;
}

/* Units whose values are listed before they are looked up, where there are more voxels than that:
   two quotients of doubles take longer than a look into the cache. */
enum { LISTED_UNITS = 1 << 13 };

void inrv_to_values(const inrv_scaling *scaling, const int32_t *units, size_t count, float *values,
                    size_t pitch) {
    float list[LISTED_UNITS];
    const int32_t listed = scaling->top < LISTED_UNITS ? scaling->top + 1 : 0;
    if (count < (size_t)listed || listed <= 0) {
        for (size_t i = 0; i < count; i++) values[i * pitch] = value_of(scaling, units[i]);
        return;
    }
    for (int32_t i = 0; i < listed; i++) list[i] = value_of(scaling, i);
    for (size_t i = 0; i < count; i++)
        values[i * pitch] =
            (uint32_t)units[i] < (uint32_t)listed ? list[units[i]] : value_of(scaling, units[i]);
}

void inrv_errors_by_unit(const int32_t *units, const double *values, double scale, size_t count,
                         double *errors) {
    for (size_t i = 0; i < count; i++) {
        double missed = values[i] * scale - units[i], *own = errors + 4 * (size_t)units[i];
        own[1] += 1;
        own[2] += missed;
        own[3] += missed * missed;
    }
}

double inrv_offset_sums(const double *errors, size_t count, int32_t top, double highest,
                        const double *knots, double *diagonal, double *beside, double *wanted) {
    /* By piece between two knots: products of the lower hat, of the upper, of both; and errors. */
    double sums[16][5], squared = 0;
    memset(sums, 0, sizeof sums);
    for (size_t i = 0; i < count; i++, errors += 4) {
        double units = errors[0], voxels = errors[1], place = units * 16 / top;
        int piece = (int)place < 15 ? (int)place : 15;
        double high = place - piece, low = 1 - high, *own = sums[piece];
        double value = units + knots[piece] + high * (knots[piece + 1] - knots[piece]);
        value = value < 0 ? 0 : value > highest ? highest : value;
        double moved = value - units, missed = errors[2] - voxels * moved;
        own[0] += voxels * low * low;
        own[1] += voxels * high * high;
        own[2] += voxels * low * high;
        own[3] += low * missed;
        own[4] += high * missed;
        squared += errors[3] - moved * (errors[2] + missed);
    }
    for (int i = 0; i < 17; i++) {
        const double *above = i < 16 ? sums[i] : NULL, *below = i ? sums[i - 1] : NULL;
        diagonal[i] = (above ? above[0] : 0) + (below ? below[1] : 0);
        beside[i] = above ? above[2] : 0;
        wanted[i] = (above ? above[3] : 0) + (below ? below[4] : 0);
    }
    return squared;
}
