/* Files, decoders, and the values of a region. */
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "decode.h"

enum { EDGE = 128, LEVELS = 7 };
/* What values are asked for: besides the formats of inrv.h, which voxels are active and no more. */
#define ACTIVE_ALONE (-1)

/* ---- Files ---- */

void inrv_default_limits(inrv_limits *limits) {
    *limits = (inrv_limits){.chunks = 1 << 16,
                            .manifest_bytes = 1 << 24,
                            .grids = 1 << 12,
                            .frames = 1 << 20,
                            .leaves = 1 << 22,
                            .chunk_bytes = 1 << 30,
                            .exact_bytes = (uint64_t)1 << 33,
                            .memory = sizeof(void *) > 4 ? (uint64_t)1 << 32 : 1 << 30};
}

static int open_file(inrv_file *file) {
    uint8_t *manifest = NULL;
    size_t size;
    int error = inrv_container_open(&file->memory, &file->container, &manifest, &size);
    if (!error) error = inrv_manifest_read(file, manifest, size);
    inrv_give(&file->memory, manifest);
    return error;
}

int inrv_file_open(const Container *container, inrv_file **file) {
    *file = calloc(1, sizeof **file);
    if (!*file) return INRV_MEMORY;
    (*file)->container = *container;
    (*file)->memory = inrv_memory_of(&container->limits);
    const int error = open_file(*file);
    if (error) {
        inrv_close(*file);
        *file = NULL;
    }
    return error;
}

static int open_any(const void *bytes, const inrv_host *host, uint64_t size,
                    const inrv_limits *limits, inrv_file **file) {
    Container container;
    *file = NULL;
    TRY(inrv_container_begin(&container, bytes, size, host, limits));
    return inrv_file_open(&container, file);
}

int inrv_open(const inrv_host *host, uint64_t size, const inrv_limits *limits, inrv_file **file) {
    return open_any(NULL, host, size, limits, file);
}

int inrv_open_memory(const void *bytes, size_t size, const inrv_host *host,
                     const inrv_limits *limits, inrv_file **file) {
    return open_any(bytes, host, size, limits, file);
}

void inrv_close(inrv_file *file) {
    if (!file || file->kept) return;
    for (int32_t i = 0; file->grids && i < file->count; i++) {
        inrv_grid *grid = &file->grids[i].grid;
        inrv_give(&file->memory, (void *)(uintptr_t)grid->name);
        if (grid->passthrough) inrv_give(&file->memory, (void *)(uintptr_t)grid->type);
    }
    inrv_give(&file->memory, file->grids);
    inrv_give(&file->memory, file->frames);
    inrv_give(&file->memory, file->channels);
    inrv_give(&file->memory, file->container.chunks);
    free(file);
}

int32_t inrv_frame_count(const inrv_file *file) { return file->frame_count; }

const inrv_frame *inrv_frame_at(const inrv_file *file, int32_t place) {
    return place < 0 || place >= file->frame_count ? NULL : &file->frames[place];
}

int32_t inrv_frame_of(const inrv_file *file, double number) {
    for (int32_t place = 0; place < file->frame_count; place++)
        if (file->frames[place].number == number) return place;
    return -1;
}

int32_t inrv_grid_count(const inrv_file *file) { return file->count; }

const inrv_grid *inrv_grid_at(const inrv_file *file, int32_t number) {
    return number < 0 || number >= file->count ? NULL : &file->grids[number].grid;
}

/* Cofactors of the matrix's first three rows and columns; returns their determinant. */
static double cofactors_of(const double *m, double c[9]) {
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            const int a = (i + 1) % 3, b = (i + 2) % 3, d = (j + 1) % 3, e = (j + 2) % 3;
            c[3 * i + j] = m[4 * a + d] * m[4 * b + e] - m[4 * a + e] * m[4 * b + d];
        }
    return m[0] * c[0] + m[1] * c[1] + m[2] * c[2];
}

int inrv_world_to_index(const inrv_grid *grid, const double *world, double *index) {
    double cofactors[9];
    const double determinant = cofactors_of(grid->matrix, cofactors);
    if (!(determinant - determinant == 0) || determinant == 0) return INRV_RULE('S', 9);
    double from[3];
    for (int axis = 0; axis < 3; axis++) from[axis] = world[axis] - grid->matrix[12 + axis];
    for (int i = 0; i < 3; i++)
        index[i] = (from[0] * cofactors[3 * i] + from[1] * cofactors[3 * i + 1] +
                    from[2] * cofactors[3 * i + 2]) /
                   determinant;
    return INRV_OK;
}

/* ---- Decoders ---- */

/* A grid, with what a region of it is decoded into. */
typedef struct {
    Stored stored;
    Room thinned;          /* uint8 [leaves][64] active voxels at multiples of 2^level */
    Room values;           /* float32 [voxels][components] of these; or int32 units */
    Room scores;           /* float32 [voxels][components] the same, not clamped */
    Room active, negative; /* uint8 [leaves][64] as a threshold has them */
    Room cells, masks, inactive_masks, inactive_values; /* of what is given */
} Values;

struct inrv_decoder {
    const inrv_file *file;
    Memory memory;
    Topologies topologies;
    Lattice lattice;
    unsigned sets;
    int32_t number;     /* of the grid */
    Values **grids;     /* [coded grids] that are open; else NULL */
    Channel **channels; /* [outputs] likewise */
    inrv_skeleton skeleton;
    inrv_tile *tiles;
    float *tile_values;
    uint64_t turn;
    Room converted; /* float32 [coded voxels] of one channel */
    Room dense;     /* float32 of a block that is rounded to float16 */
};

static int open_grid(inrv_decoder *decoder, int32_t number, Values **found) {
    *found = decoder->grids[number];
    if (*found) return INRV_OK;
    Values *values = inrv_take(&decoder->memory, 1, sizeof *values);
    if (!values) return INRV_MEMORY;
    const int error =
        inrv_stored_open(&decoder->topologies, &decoder->file->grids[number], &values->stored);
    if (error) {
        inrv_stored_free(&decoder->memory, &values->stored);
        inrv_give(&decoder->memory, values);
        return error;
    }
    decoder->grids[number] = *found = values;
    return INRV_OK;
}

static int open_one_channel(inrv_decoder *decoder, int32_t output) {
    const ChannelEntry *entry = &decoder->file->channels[output];
    Values *values;
    if (decoder->channels[output]) return INRV_OK;
    TRY(open_grid(decoder, entry->grid, &values));
    Channel *channel = inrv_take(&decoder->memory, 1, sizeof *channel);
    if (!channel) return INRV_MEMORY;
    const int error = inrv_channel_open(&decoder->lattice, entry, &values->stored, channel);
    if (error) {
        inrv_channel_free(&decoder->memory, channel);
        inrv_give(&decoder->memory, channel);
        return error;
    }
    decoder->channels[output] = channel;
    return INRV_OK;
}

static void close_channel(inrv_decoder *decoder, int32_t output) {
    inrv_channel_free(&decoder->memory, decoder->channels[output]);
    inrv_give(&decoder->memory, decoder->channels[output]);
    decoder->channels[output] = NULL;
}

/* Lets a channel know those that it is predicted from, which are open, and the motion to them. */
static int open_references(inrv_decoder *decoder, const ChannelEntry *entry, Channel *channel) {
    const int32_t references[2] = {entry->reference, entry->second_reference};
    const int32_t motions[2] = {entry->motion, entry->second_motion};
    for (int i = 0; i < 2; i++) {
        if (references[i] != NO_NUMBER) channel->references[i] = decoder->channels[references[i]];
        TRY(inrv_motion_open(&decoder->lattice, motions[i], &channel->motions[i]));
    }
    return INRV_OK;
}

/* Opens those of some channels that are needed, and those that these are predicted from, which come
   before them.
   needed: a byte a channel, up to the last that is needed */
static int open_needed(inrv_decoder *decoder, uint8_t *needed, int32_t last) {
    const ChannelEntry *entries = decoder->file->channels;
    for (int32_t i = last; i >= 0; i--) {
        if (!needed[i]) continue;
        if (entries[i].reference != NO_NUMBER) needed[entries[i].reference] = 1;
        if (entries[i].second_reference != NO_NUMBER) needed[entries[i].second_reference] = 1;
    }
    for (int32_t i = 0; i <= last; i++) {
        if (!needed[i] || decoder->channels[i]) continue;
        TRY(open_one_channel(decoder, i));
        const int error = open_references(decoder, &entries[i], decoder->channels[i]);
        if (!error) continue;
        /* Half open it would be taken for open by the next call. */
        close_channel(decoder, i);
        return error;
    }
    return INRV_OK;
}

static int open_channel(inrv_decoder *decoder, int32_t output, Channel **found) {
    if (decoder->file->field_error) return decoder->file->field_error;
    TRY(inrv_lattice_open(&decoder->lattice, decoder->sets));
    uint8_t *needed = inrv_take(&decoder->memory, (uint64_t)output + 1, 1);
    if (!needed) return INRV_MEMORY;
    needed[output] = 1;
    const int error = open_needed(decoder, needed, output);
    inrv_give(&decoder->memory, needed);
    *found = decoder->channels[output];
    return error;
}

static int list_tiles(inrv_decoder *decoder, const Stored *stored) {
    const Topology *topology = stored->topology;
    const size_t components = (size_t)stored->entry->grid.components;
    decoder->tiles = inrv_take(&decoder->memory, (uint64_t)topology->tiles + 1, sizeof(inrv_tile));
    decoder->tile_values =
        inrv_take(&decoder->memory, (uint64_t)topology->tiles + 1, components * sizeof(float));
    if (!decoder->tiles || !decoder->tile_values) return INRV_MEMORY;
    for (size_t i = 0; i < topology->tiles; i++) {
        inrv_tile *tile = &decoder->tiles[i];
        memcpy(tile->corner, topology->tile_corners[i], sizeof tile->corner);
        tile->edge = topology->tile_edges[i];
        tile->active = topology->tile_active.data[i];
        tile->values = decoder->tile_values + components * i;
    }
    if (topology->tiles)
        memcpy(decoder->tile_values, stored->tile_values.data, 4 * components * topology->tiles);
    decoder->skeleton = (inrv_skeleton){topology->leaves, topology->regions, topology->tiles,
                                        (const int32_t (*)[3])topology->corners, decoder->tiles};
    return INRV_OK;
}

static int check_transform(const Entry *entry) {
    const double *matrix = entry->grid.matrix;
    double cofactors[9];
    const double determinant = cofactors_of(matrix, cofactors);
    const int affine = matrix[3] == 0 && matrix[7] == 0 && matrix[11] == 0 && matrix[15] == 1;
    return entry->sound_map && affine && determinant != 0 ? INRV_OK : INRV_RULE('S', 9);
}

static int open_decoder(inrv_decoder *decoder) {
    const inrv_file *file = decoder->file;
    Values *values;
    decoder->grids = inrv_take(&decoder->memory, (uint64_t)file->coded, sizeof(Values *));
    decoder->channels = inrv_take(&decoder->memory, file->channels ? (uint64_t)file->outputs : 0,
                                  sizeof(Channel *));
    if (!decoder->grids || !decoder->channels) return INRV_MEMORY;
    TRY(check_transform(&file->grids[decoder->number]));
    TRY(open_grid(decoder, decoder->number, &values));
    return list_tiles(decoder, &values->stored);
}

int inrv_decoder_open(const inrv_file *file, int32_t grid, unsigned sets, inrv_decoder **decoder) {
    *decoder = NULL;
    if (grid < 0 || grid >= file->coded) return INRV_USE;
    inrv_decoder *own = calloc(1, sizeof *own);
    if (!own) return INRV_MEMORY;
    own->file = file;
    own->number = grid;
    own->sets = sets;
    own->memory = inrv_memory_of(&file->container.limits);
    own->topologies = (Topologies){.container = &file->container,
                                   .memory = &own->memory,
                                   .left = file->container.limits.leaves};
    own->lattice = (Lattice){.file = file, .memory = &own->memory, .topologies = &own->topologies};
    const int error = open_decoder(own);
    if (error)
        inrv_decoder_close(own);
    else
        *decoder = own;
    return error;
}

static void free_values(Memory *memory, Values *values) {
    inrv_stored_free(memory, &values->stored);
    inrv_give(memory, values->thinned.items);
    inrv_give(memory, values->values.items);
    inrv_give(memory, values->scores.items);
    inrv_give(memory, values->active.items);
    inrv_give(memory, values->negative.items);
    inrv_give(memory, values->cells.items);
    inrv_give(memory, values->masks.items);
    inrv_give(memory, values->inactive_masks.items);
    inrv_give(memory, values->inactive_values.items);
    inrv_give(memory, values);
}

void inrv_decoder_close(inrv_decoder *decoder) {
    if (!decoder) return;
    Memory *memory = &decoder->memory;
    for (int32_t i = 0; decoder->grids && i < decoder->file->coded; i++)
        if (decoder->grids[i]) free_values(memory, decoder->grids[i]);
    for (int32_t i = 0; decoder->channels && decoder->file->channels && i < decoder->file->outputs;
         i++) {
        if (decoder->channels[i]) close_channel(decoder, i);
    }
    inrv_topologies_free(&decoder->topologies);
    inrv_lattice_free(&decoder->lattice);
    inrv_give(memory, decoder->grids);
    inrv_give(memory, decoder->channels);
    inrv_give(memory, decoder->tiles);
    inrv_give(memory, decoder->tile_values);
    inrv_give(memory, decoder->converted.items);
    inrv_give(memory, decoder->dense.items);
    free(decoder);
}

const inrv_skeleton *inrv_decoder_skeleton(const inrv_decoder *decoder) {
    return &decoder->skeleton;
}

const inrv_grid *inrv_decoder_grid(const inrv_decoder *decoder) {
    return &decoder->file->grids[decoder->number].grid;
}

const Topology *inrv_decoder_topology(const inrv_decoder *decoder) {
    return decoder->grids[decoder->number]->stored.topology;
}

size_t inrv_decoder_limit(const inrv_decoder *decoder) { return decoder->memory.most; }

/* ---- The values of active voxels ---- */

static int thin(Memory *memory, Values *values, int level) {
    const Stored *stored = &values->stored;
    uint8_t *thinned = inrv_room(memory, &values->thinned, stored->leaves, 64), pattern[64];
    if (!thinned) return INRV_MEMORY;
    for (size_t i = 0; i < stored->leaves; i++) {
        inrv_pattern(stored->cells[i], level, pattern);
        for (size_t byte = 0; byte < 64; byte++)
            thinned[64 * i + byte] = stored->masks[64 * i + byte] & pattern[byte];
    }
    return INRV_OK;
}

/* Fills one component of the voxels in `thinned`.
   to: [voxels][components] */
static int fill_component(inrv_decoder *decoder, Values *values, int component, uint64_t key,
                          int level, int format, int clamp, float *to) {
    const Stored *stored = &values->stored;
    const inrv_grid *grid = &stored->entry->grid;
    const int32_t output = stored->entry->outputs[component], *source = stored->source.items;
    const size_t components = (size_t)grid->components;
    const uint8_t *thinned = values->thinned.items;
    const int32_t none = INRV_NO_UNITS;
    float constant = (float)grid->component[component].minimum;
    const float *next = NULL;
    to += component;
    if (format == INRV_UNITS) memcpy(&constant, &none, sizeof constant);
    if (output != NO_NUMBER) {
        Channel *channel;
        TRY(open_channel(decoder, output, &channel));
        TRY(inrv_channel_units(&decoder->lattice, channel, key, level, decoder->turn));
        const size_t pitch = stored->separate ? 1 : components;
        float *found = stored->separate ? inrv_room(&decoder->memory, &decoder->converted,
                                                    channel->count + 1, sizeof *found)
                                        : to;
        if (!found) return INRV_MEMORY;
        if (format == INRV_UNITS)
            inrv_channel_copy(channel, found, pitch);
        else
            TRY(inrv_channel_values(&decoder->lattice, channel, clamp, found, pitch));
        if (!stored->separate) return INRV_OK;
        next = found;
        source = stored->source.items;
    }
    /* As bytes: units that are no floats are copied too. */
    EACH_VOXEL(stored->leaves, thinned, stored->masks, row, {
        memcpy(to, next && source[row] < 0 ? next++ : &constant, sizeof *to);
        to += components;
    });
    return INRV_OK;
}

/* Puts values that are stored as they are in the place of the field's. */
static void put_stored(Values *values) {
    const Stored *stored = &values->stored;
    const size_t bytes = 4 * (size_t)stored->entry->grid.components;
    const int32_t *source = stored->source.items, *outlier = stored->outlier.items;
    uint8_t *to = values->values.items;
    const uint8_t *thinned = values->thinned.items;
    if (!stored->separate && !stored->has_outliers) return;
    EACH_VOXEL(stored->leaves, thinned, stored->masks, row, {
        if (source[row] >= 0) memcpy(to, inrv_separate_value(stored, source[row]), bytes);
        if (stored->has_outliers && outlier[row] >= 0)
            memcpy(to, inrv_outlier_value(stored, outlier[row]), bytes);
        to += bytes;
    });
}

static int decode_active(inrv_decoder *decoder, Values *values, uint64_t key, int level,
                         int format) {
    const Stored *stored = &values->stored;
    const int components = stored->entry->grid.components;
    TRY(thin(&decoder->memory, values, level));
    const size_t voxels = count_bits(values->thinned.items, stored->leaves);
    const size_t bytes = 4 * (size_t)components;
    float *to = inrv_room(&decoder->memory, &values->values, voxels + 1, bytes), *scores = NULL;
    if (!to) return INRV_MEMORY;
    if (stored->entry->has_threshold) {
        scores = inrv_room(&decoder->memory, &values->scores, voxels + 1, bytes);
        if (!scores) return INRV_MEMORY;
    }
    for (int i = 0; i < components; i++) {
        if (format != ACTIVE_ALONE)
            TRY(fill_component(decoder, values, i, key, level, format, 1, to));
        if (scores) TRY(fill_component(decoder, values, i, key, level, INRV_FLOAT, 0, scores));
    }
    if (format == INRV_FLOAT) put_stored(values);
    return INRV_OK;
}

/* ---- Thresholds ---- */

static float magnitude(float value) { return value < 0 ? -value : value; }

static float score_of(const Entry *entry, const float *value) {
    const float *background = entry->grid.background;
    if (entry->rule == ABOVE) return value[0];
    if (entry->rule == WITHIN) return magnitude(background[0]) - magnitude(value[0]);
    float total = 0;
    for (int i = 0; i < entry->grid.components; i++) {
        const float apart = value[i] - background[i], squared = apart * apart;
        total = i ? total + squared : squared;
    }
    return __builtin_sqrtf(total);
}

/* Finds which voxels of a whole-leaf topology are active, and which hold minus the background. */
static void apply_threshold(Values *values, uint8_t *active, uint8_t *negative) {
    const Stored *stored = &values->stored;
    const Entry *entry = stored->entry;
    const float *score = values->scores.items;
    const int32_t *source = stored->source.items, *outlier = stored->outlier.items;
    for (size_t byte = 0; byte < 64 * stored->leaves; byte++)
        for (unsigned bits = stored->masks[byte]; bits; bits &= bits - 1) {
            const uint8_t bit = (uint8_t)(bits & -bits);
            const int kept = *source++ >= 0 || (stored->has_outliers && *outlier++ >= 0);
            if (kept || score_of(entry, score) > entry->threshold)
                active[byte] |= bit;
            else if (entry->rule == WITHIN && score[0] < 0)
                negative[byte] |= bit;
            score += entry->grid.components;
        }
}

static int decode_grid(inrv_decoder *decoder, int32_t number, uint64_t key, int level, int format,
                       inrv_decoded *decoded);

/* Takes over the active voxels of the grid that `topology_of` names. */
static int take_over(inrv_decoder *decoder, Values *values, uint64_t key, uint8_t *active,
                     uint8_t *held) {
    const Stored *stored = &values->stored;
    inrv_decoded other;
    TRY(decode_grid(decoder, stored->entry->topology_of, key, 0, ACTIVE_ALONE, &other));
    for (size_t i = 0, next = 0; i < stored->leaves && next < other.leaves; i++) {
        if (other.cells[next] != stored->cells[i]) continue;
        memcpy(active + 64 * i, other.masks + 64 * next++, 64);
        held[i] = 1;
    }
    return INRV_OK;
}

/* Finds the active voxels of a whole-leaf topology, and the leaves that stay. */
static int settle(inrv_decoder *decoder, Values *values, uint64_t key, uint8_t held[CELLS]) {
    const Stored *stored = &values->stored;
    uint8_t *active = inrv_room(&decoder->memory, &values->active, stored->leaves, 64),
            *negative = inrv_room(&decoder->memory, &values->negative, stored->leaves, 64);
    if (!active || !negative) return INRV_MEMORY;
    memset(active, 0, 64 * stored->leaves);
    memset(negative, 0, 64 * stored->leaves);
    memset(held, 0, CELLS);
    if (stored->entry->topology_of != NO_NUMBER)
        return take_over(decoder, values, key, active, held);
    apply_threshold(values, active, negative);
    for (size_t i = 0; i < 64 * stored->leaves; i++) held[i / 64] |= (active[i] | negative[i]) != 0;
    return INRV_OK;
}

/* ---- What is given ---- */

/* Gathers the leaves that stay, with their voxels at multiples of 2^level.
   active: a part of the voxels that have values, which are those of `thinned` */
static int gather(inrv_decoder *decoder, Values *values, const uint8_t *active,
                  const uint8_t *negative, const uint8_t *held, int level, int format,
                  inrv_decoded *decoded) {
    const Stored *stored = &values->stored;
    const size_t components = (size_t)stored->entry->grid.components, leaves = stored->leaves;
    Memory *memory = &decoder->memory;
    const uint8_t *thinned = values->thinned.items, *other = stored->other.items;
    size_t inactive = leaves ? count_bits(other, leaves) : 0;
    if (negative) inactive += count_bits(negative, leaves);
    uint16_t *cells = inrv_room(memory, &values->cells, leaves, sizeof *cells);
    uint8_t *masks = inrv_room(memory, &values->masks, leaves, 64),
            *inactive_masks = inrv_room(memory, &values->inactive_masks, leaves, 64);
    uint8_t *inactive_values =
        inrv_room(memory, &values->inactive_values, inactive + 1, 4 * components);
    if (!cells || !masks || !inactive_masks || !inactive_values) return INRV_MEMORY;
    /* In place: what is left out makes room. */
    uint8_t *to = values->values.items, *from = to;
    float below[3];
    for (size_t i = 0; i < components; i++) below[i] = -stored->entry->grid.background[i];
    *decoded = (inrv_decoded){0,
                              0,
                              0,
                              cells,
                              masks,
                              values->values.items,
                              inactive_masks,
                              (const float *)(const void *)inactive_values};
    for (size_t leaf = 0, number = 0; leaf < leaves; leaf++) {
        const int stays = !held || held[leaf];
        uint8_t pattern[64];
        inrv_pattern(stored->cells[leaf], level, pattern);
        for (size_t i = 0; i < 64; i++) {
            const size_t byte = 64 * leaf + i, at = 64 * decoded->leaves + i;
            const unsigned wanted = stays ? pattern[i] : 0,
                           below_zero = negative ? negative[byte] : 0;
            const unsigned own = active[byte] & wanted,
                           others = (other[byte] | below_zero) & wanted;
            if (own == thinned[byte] && to == from && format != ACTIVE_ALONE)
                to = from += 4 * components * (size_t)__builtin_popcount(own);
            else
                for (unsigned bits = thinned[byte]; bits;
                     bits &= bits - 1, from += 4 * components) {
                    if (!(own & bits & -bits) || format == ACTIVE_ALONE) continue;
                    memmove(to, from, 4 * components);
                    to += 4 * components;
                }
            for (unsigned bits = other[byte] | below_zero; bits; bits &= bits - 1) {
                const unsigned bit = bits & -bits;
                const uint8_t *value = (const uint8_t *)below;
                if (other[byte] & bit) value = inrv_inactive_value(stored, number++);
                if (!(others & bit)) continue;
                memcpy(inactive_values, value, 4 * components);
                inactive_values += 4 * components;
                decoded->inactive++;
            }
            if (!stays) continue;
            masks[at] = (uint8_t)own;
            inactive_masks[at] = (uint8_t)others;
            decoded->voxels += (size_t)__builtin_popcount(own);
        }
        if (stays) cells[decoded->leaves++] = stored->cells[leaf];
    }
    return INRV_OK;
}

static int decode_grid(inrv_decoder *decoder, int32_t number, uint64_t key, int level, int format,
                       inrv_decoded *decoded) {
    Values *values;
    uint8_t held[CELLS];
    TRY(open_grid(decoder, number, &values));
    Stored *stored = &values->stored;
    TRY(inrv_stored_load(&decoder->topologies, stored, key, decoder->turn));
    const int whole = stored->entry->grid.whole_leaves;
    /* Values of the finest level tell which voxels of whole leaves are active. */
    if (stored->region != NO_REGION)
        TRY(decode_active(decoder, values, key, whole ? 0 : level, format));
    if (stored->region == NO_REGION || !whole)
        return gather(decoder, values, values->thinned.items, NULL, NULL, level, format, decoded);
    TRY(settle(decoder, values, key, held));
    return gather(decoder, values, values->active.items, values->negative.items, held, level,
                  format, decoded);
}

static int decode(inrv_decoder *decoder, const int32_t *corner, int level, int format,
                  inrv_decoded *decoded) {
    memset(decoded, 0, sizeof *decoded);
    if ((corner[0] | corner[1] | corner[2]) & (EDGE - 1) || level < 0 || level >= LEVELS)
        return INRV_USE;
    decoder->turn++;
    return decode_grid(decoder, decoder->number, inrv_region_key(corner), level, format, decoded);
}

int inrv_decode(inrv_decoder *decoder, const int32_t *corner, int level, inrv_decoded *decoded) {
    return decode(decoder, corner, level, INRV_FLOAT, decoded);
}

/* ---- Blocks ---- */

/* A block that is filled. Values are copied as bytes, so that all their bits stay. */
typedef struct {
    const inrv_decoder *decoder;
    int32_t corner[3];
    int level, edge; /* voxels along each axis */
    size_t bytes;    /* of a voxel */
    uint8_t *values; /* or NULL */
    uint8_t *active; /* or NULL */
    int units;       /* whether values are units: only coded voxels have some */
} Block;

static void put_voxel(const Block *block, size_t at, const void *value, int active) {
    if (block->values) memcpy(block->values + block->bytes * at, value, block->bytes);
    if (block->active) block->active[at] = (uint8_t)active;
}

static void put_tile(void *context, uint32_t number) {
    const Block *block = context;
    const inrv_tile *tile = &block->decoder->tiles[number];
    const int32_t none[3] = {INRV_NO_UNITS, INRV_NO_UNITS, INRV_NO_UNITS};
    int first[3], last[3];
    for (int axis = 0; axis < 3; axis++) {
        /* Multiples of the stride, counted from the block's corner. */
        const int32_t low = tile->corner[axis] - block->corner[axis], high = low + tile->edge;
        const int32_t stride = 1 << block->level;
        first[axis] = low < 0 ? 0 : (low + stride - 1) >> block->level;
        last[axis] = high > EDGE ? block->edge : (high + stride - 1) >> block->level;
    }
    for (int x = first[0]; x < last[0]; x++)
        for (int y = first[1]; y < last[1]; y++)
            for (int z = first[2]; z < last[2]; z++)
                put_voxel(block, (size_t)((x * block->edge + y) * block->edge + z),
                          block->units ? (const void *)none : tile->values, tile->active);
}

static void put_leaves(const Block *block, const inrv_decoded *decoded) {
    const uint8_t *value = (const uint8_t *)decoded->values,
                  *other = (const uint8_t *)decoded->inactive_values;
    for (size_t byte = 0; byte < 64 * decoded->leaves; byte++) {
        const int cell = decoded->cells[byte / 64], x = (cell >> 8) * 8 + (int)(byte / 8 % 8),
                  y = (cell >> 4 & 15) * 8 + (int)(byte % 8), z = (cell & 15) * 8;
        const size_t row =
            (size_t)(((x >> block->level) * block->edge + (y >> block->level)) * block->edge);
        for (unsigned bits = decoded->masks[byte]; bits; bits &= bits - 1) {
            put_voxel(block, row + (size_t)((z + __builtin_ctz(bits)) >> block->level), value, 1);
            value += block->values ? block->bytes : 0;
        }
        for (unsigned bits = decoded->inactive_masks[byte]; bits; bits &= bits - 1) {
            const size_t at = row + (size_t)((z + __builtin_ctz(bits)) >> block->level);
            if (!block->units) put_voxel(block, at, other, 0);
            other += 4 * (size_t)inrv_decoder_grid(block->decoder)->components;
        }
    }
}

static uint16_t to_half(uint32_t bits) {
    const uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) { /* NaN, with the upper bits of its payload */
        const uint32_t payload = rest >> 13 & 0x3ff;
        return (uint16_t)(sign | 0x7c00 | (payload ? payload : 1));
    }
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* rounded to infinity */
    if (rest < 0x33000000) return (uint16_t)sign;             /* rounded to zero */
    uint32_t mantissa = rest, drop = 13;
    if (rest < 0x38800000) { /* a subnormal float16 */
        mantissa = (rest & 0x7fffff) | 0x800000;
        drop = 126 - (rest >> 23);
    } else {
        mantissa -= 112u << 23;
    }
    const uint32_t half = 1u << (drop - 1), left = mantissa & (2 * half - 1);
    mantissa >>= drop;
    return (uint16_t)(sign | (mantissa + (left > half || (left == half && (mantissa & 1)))));
}

int inrv_decode_block(inrv_decoder *decoder, const int32_t *corner, int level, int format,
                      void *values, uint8_t *active) {
    const inrv_grid *grid = inrv_decoder_grid(decoder);
    const size_t components = (size_t)grid->components;
    const int32_t none[3] = {INRV_NO_UNITS, INRV_NO_UNITS, INRV_NO_UNITS};
    inrv_decoded decoded;
    if (format < INRV_FLOAT || format > INRV_UNITS) return INRV_USE;
    const int asked = !values ? ACTIVE_ALONE : format == INRV_UNITS ? INRV_UNITS : INRV_FLOAT;
    TRY(decode(decoder, corner, level, asked, &decoded));
    const size_t edge = (size_t)EDGE >> level, count = edge * edge * edge;
    Block block = {decoder,        {corner[0], corner[1], corner[2]},
                   level,          (int)edge,
                   4 * components, values,
                   active,         format == INRV_UNITS};
    if (values && format == INRV_HALF) {
        block.values = inrv_room(&decoder->memory, &decoder->dense, count, block.bytes);
        if (!block.values) return INRV_MEMORY;
    }
    for (size_t i = 0; i < count; i++)
        put_voxel(&block, i, block.units ? (const void *)none : grid->background, 0);
    inrv_visit_tiles(inrv_decoder_topology(decoder), inrv_region_key(corner), put_tile, &block);
    put_leaves(&block, &decoded);
    if (!values || format != INRV_HALF) return INRV_OK;
    for (size_t i = 0; i < count * components; i++) {
        uint32_t bits;
        memcpy(&bits, block.values + 4 * i, sizeof bits);
        const uint16_t half = to_half(bits);
        memcpy((uint8_t *)values + 2 * i, &half, sizeof half);
    }
    return INRV_OK;
}
