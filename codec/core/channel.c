/* Channels: their networks, segments and units, and what units stand for. */
#include "channel.h"

#include <string.h>

#include "data.h"

enum {
    EDGE = 128,
    REGION_VOXELS = EDGE * EDGE * EDGE,
    HIGHEST = 1 << 23,
    ENTRY_UNITS = 128, /* units of an entry of a palette */
    TENSORS = 7,       /* of a network */
    KNOTS = 17,
    MOST_SPREAD = 22,
    MOST_LANES = 5,
    MOST_FRACTION = 3,
    MOST_LOW_BITS = 31,
    SAME = INRV_TABLES, /* in place of a table, where a tensor is that of the default networks */
    LARGEST_WEIGHT = 127,
    LARGEST_BIAS = 1 << 20,
    COUNTS = INRV_QUANTISERS * INRV_TABLES * INRV_TOKENS,
    MOST_NUMBERS = 1 << 14 /* of four networks */
};

/* ---- Networks ---- */

static const char *const NAMES[TENSORS] = {"first.bias",  "first.weight", "last.bias",
                                           "last.weight", "second.bias",  "second.weight",
                                           "skip.weight"};
static const uint8_t IS_WEIGHT[TENSORS] = {0, 1, 0, 1, 0, 1, 1};

int inrv_lattice_open(Lattice *lattice, unsigned sets) {
    Tensor prior, wavelet;
    if (lattice->prior) return INRV_OK;
    if (!lattice->work) lattice->work = inrv_work_new(sets);
    if (!lattice->work) return INRV_MEMORY;
    if (!lattice->defaults.data)
        TRY(inrv_tensors_open(lattice->memory, inrv_data_networks, inrv_data_networks_size, 0,
                              &lattice->defaults));
    TRY(inrv_tensor_of_three_axes(&lattice->defaults, "prior", TENSOR_I16, INRV_QUANTISERS,
                                  INRV_TABLES * INRV_TOKENS, &prior));
    TRY(inrv_tensor(&lattice->defaults, "wavelet.prior", TENSOR_I8, INRV_WAVELET_PRIOR, ONE_AXIS,
                    &wavelet));
    lattice->wavelet_prior = (const int8_t *)wavelet.data;
    lattice->prior = inrv_take(lattice->memory, COUNTS, sizeof(int32_t));
    if (!lattice->prior) return INRV_MEMORY;
    for (size_t i = 0; i < COUNTS; i++) {
        int16_t count;
        memcpy(&count, prior.data + 2 * i, sizeof count);
        lattice->prior[i] = count;
    }
    return INRV_OK;
}

void inrv_lattice_free(Lattice *lattice) {
    inrv_work_free(lattice->work);
    inrv_tensors_free(lattice->memory, &lattice->defaults);
    inrv_give(lattice->memory, lattice->prior);
    inrv_give(lattice->memory, lattice->exterior.items);
    inrv_give(lattice->memory, lattice->exterior_masks.items);
    inrv_give(lattice->memory, lattice->exterior_cells.items);
    for (int i = 0; i < INRV_SEGMENTS; i++) inrv_give(lattice->memory, lattice->segments[i].items);
    Room *rooms[] = {&lattice->dense, &lattice->floats,       &lattice->own_units,
                     &lattice->moved, &lattice->second_moved, &lattice->masks};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        inrv_give(lattice->memory, rooms[i]->items);
    for (Motion *motion = lattice->motions, *next; motion; motion = next) {
        next = motion->next;
        inrv_give(lattice->memory, motion->vectors);
        inrv_give(lattice->memory, motion);
    }
}

static void shape_network(inrv_network *network, int number, int reference) {
    static const int32_t INPUTS[4] = {43, 51, 47, 37};
    const int restoration = number == 3;
    network->inputs = INPUTS[number] + (reference && !restoration ? 13 : 0);
    network->first = restoration ? 24 : 32;
    network->second = restoration ? 16 : 32;
    network->outputs = restoration ? 1 : 2;
}

static size_t tensor_size(const inrv_network *network, int tensor) {
    const size_t inputs = (size_t)network->inputs, first = (size_t)network->first,
                 second = (size_t)network->second, outputs = (size_t)network->outputs;
    const size_t sizes[TENSORS] = {first,  inputs * first, outputs,         second * outputs,
                                   second, first * second, inputs * outputs};
    return sizes[tensor];
}

_Static_assert(INRV_SETS <= 10, "the number of a set is one digit");

/* The name of a default tensor: "0.alone.1.first.bias", "0.restoration.first.bias",
   "wavelet.restoration.first.bias". */
static void name_tensor(char name[48], const ChannelEntry *entry, int network, int tensor) {
    static const char *const PREFIXES[] = {"alone.", "reference.", "restoration."};
    const char *prefix = PREFIXES[network == 3 ? 2 : entry->reference != NO_NUMBER];
    size_t at = 2;
    name[0] = (char)('0' + entry->set);
    name[1] = '.';
    if (network == 3 && entry->wavelet) {
        memcpy(name, "wavelet.", 8);
        at = 8;
    }
    memcpy(name + at, prefix, strlen(prefix));
    at += strlen(prefix);
    if (network < 3) {
        name[at++] = (char)('1' + network);
        name[at++] = '.';
    }
    memcpy(name + at, NAMES[tensor], strlen(NAMES[tensor]) + 1);
}

/* The numbers of the default networks, tensor by tensor; `counts` tells how many each has. */
static int default_numbers(const Lattice *lattice, const Channel *channel, int networks,
                           int32_t *numbers, size_t *counts) {
    for (int i = 0; i < networks * TENSORS; i++) {
        const int network = i / TENSORS, tensor = i % TENSORS, weight = IS_WEIGHT[tensor];
        char name[48];
        Tensor found;
        counts[i] = tensor_size(&channel->networks[network], tensor);
        name_tensor(name, channel->entry, network, tensor);
        const uint64_t rows = weight && tensor == 1   ? (uint64_t)channel->networks[network].inputs
                              : weight && tensor == 6 ? (uint64_t)channel->networks[network].inputs
                              : weight && tensor == 5 ? (uint64_t)channel->networks[network].first
                              : weight                ? (uint64_t)channel->networks[network].second
                                                      : counts[i];
        TRY(inrv_tensor(&lattice->defaults, name, weight ? TENSOR_I8 : TENSOR_I16, rows,
                        weight ? counts[i] / rows : ONE_AXIS, &found));
        for (size_t k = 0; k < counts[i]; k++) {
            int16_t bias;
            if (!weight) memcpy(&bias, found.data + 2 * k, sizeof bias);
            *numbers++ = weight ? (int8_t)found.data[k] : bias;
        }
    }
    return INRV_OK;
}

/* Adds what fitted networks differ by, in the tensors that differ. */
static int add_differences(Lattice *lattice, const Channel *channel, int tensors,
                           const size_t *counts, int32_t *numbers, int32_t *spare) {
    uint8_t differing[4 * TENSORS];
    size_t coded[4 * TENSORS], passes = 0;
    Tensor tables, codes;
    TRY(inrv_tensor(&channel->tensors, "network_tables", TENSOR_U8, (uint64_t)tensors, ONE_AXIS,
                    &tables));
    TRY(inrv_tensor(&channel->tensors, "network_codes", TENSOR_U8, ANY, ONE_AXIS, &codes));
    for (int i = 0; i < tensors; i++) {
        if (tables.data[i] > SAME) return INRV_RULE('F', 7);
        if (tables.data[i] == SAME) continue;
        differing[passes] = tables.data[i];
        coded[passes++] = counts[i];
    }
    const inrv_codes given = {.bytes = {codes.data}, .sizes = {codes.rows}, .segments = 1};
    TRY(inrv_decode_numbers(lattice->work, lattice->prior, passes, coded, differing, &given,
                            spare));
    for (int i = 0; i < tensors; i++) {
        const int32_t most = IS_WEIGHT[i % TENSORS] ? LARGEST_WEIGHT : LARGEST_BIAS;
        if (tables.data[i] == SAME) {
            numbers += counts[i];
            continue;
        }
        for (size_t k = 0; k < counts[i]; k++, numbers++) {
            *numbers += *spare++;
            if (*numbers < -most || *numbers > most) return INRV_RULE('F', 7);
        }
    }
    return INRV_OK;
}

/* Hands the numbers to the networks. */
static void give_numbers(Channel *channel, int networks, const size_t *counts,
                         const int32_t *numbers) {
    int8_t *weight = channel->weights;
    int32_t *bias = channel->biases;
    for (int i = 0; i < networks; i++) {
        inrv_network *network = &channel->networks[i];
        const int32_t **biases[TENSORS] = {&network->first_bias,
                                           NULL,
                                           &network->last_bias,
                                           NULL,
                                           &network->second_bias,
                                           NULL,
                                           NULL};
        const int8_t **weights[TENSORS] = {NULL,
                                           &network->first_weight,
                                           NULL,
                                           &network->last_weight,
                                           NULL,
                                           &network->second_weight,
                                           &network->skip_weight};
        for (int tensor = 0; tensor < TENSORS; tensor++) {
            if (IS_WEIGHT[tensor])
                *weights[tensor] = weight;
            else
                *biases[tensor] = bias;
            for (size_t k = counts[i * TENSORS + tensor]; k--; numbers++) {
                if (IS_WEIGHT[tensor])
                    *weight++ = (int8_t)*numbers;
                else
                    *bias++ = *numbers;
            }
        }
    }
}

static int open_networks(Lattice *lattice, Channel *channel) {
    const ChannelEntry *entry = channel->entry;
    const int networks = entry->restoration ? 4 : 3;
    size_t counts[4 * TENSORS];
    for (int i = 0; i < networks; i++)
        shape_network(&channel->networks[i], i, entry->reference != NO_NUMBER);
    int32_t *numbers = inrv_take(lattice->memory, 2 * MOST_NUMBERS, sizeof *numbers);
    channel->weights = inrv_take(lattice->memory, MOST_NUMBERS, 1);
    channel->biases = inrv_take(lattice->memory, MOST_NUMBERS, sizeof(int32_t));
    int error = numbers && channel->weights && channel->biases ? INRV_OK : INRV_MEMORY;
    if (!error) error = default_numbers(lattice, channel, networks, numbers, counts);
    if (!error && entry->fitted)
        error = add_differences(lattice, channel, networks * TENSORS, counts, numbers,
                                numbers + MOST_NUMBERS);
    if (!error) give_numbers(channel, networks, counts, numbers);
    inrv_give(lattice->memory, numbers);
    return error;
}

/* ---- Motion ---- */

/* Fills the vectors of a motion from what they differ by from their predictions. */
static int restore_vectors(Motion *motion, const Tensor *tables, const int32_t *numbers,
                           int32_t *vectors) {
    const Topology *topology = motion->topology;
    for (size_t axis = 0; axis < 3; axis++)
        for (size_t i = 0; i < topology->leaves; i++)
            vectors[3 * i + axis] = tables->data[axis] == SAME ? 0 : *numbers++;
    for (size_t region = 0; region < topology->regions; region++) {
        const size_t first = first_leaf(topology, region),
                     count = first_leaf(topology, region + 1) - first;
        TRY(inrv_vectors(topology->cells + first, count, 1, vectors + 3 * first));
    }
    for (size_t i = 0; i < 3 * topology->leaves; i++) motion->vectors[i] = (int8_t)vectors[i];
    return INRV_OK;
}

static int fill_motion(Lattice *lattice, const Tensors *tensors, Motion *motion) {
    Tensor grid, fraction, tables, codes;
    TRY(inrv_tensor(tensors, "grid", TENSOR_I32, 1, ONE_AXIS, &grid));
    TRY(inrv_tensor(tensors, "fraction", TENSOR_U8, 1, ONE_AXIS, &fraction));
    TRY(inrv_tensor(tensors, "tables", TENSOR_U8, 3, ONE_AXIS, &tables));
    TRY(inrv_tensor(tensors, "codes", TENSOR_U8, ANY, ONE_AXIS, &codes));
    const int32_t number = tensor_int(&grid, 0);
    motion->fraction = fraction.data[0];
    if (number < 0 || number >= lattice->file->coded || motion->fraction > MOST_FRACTION)
        return INRV_RULE('F', 9);
    Topology *topology;
    TRY(inrv_topology_open(lattice->topologies, (uint32_t)lattice->file->grids[number].topology,
                           &topology));
    motion->topology = topology;
    uint8_t differing[3];
    size_t counts[3], passes = 0;
    for (int axis = 0; axis < 3; axis++) {
        if (tables.data[axis] > SAME) return INRV_RULE('F', 9);
        if (tables.data[axis] == SAME) continue;
        differing[passes] = tables.data[axis];
        counts[passes++] = topology->leaves;
    }
    motion->vectors = inrv_take(lattice->memory, 3 * (uint64_t)topology->leaves + 1, 1);
    int32_t *numbers =
        inrv_take(lattice->memory, 6 * (uint64_t)topology->leaves + 1, sizeof *numbers);
    const inrv_codes given = {.bytes = {codes.data}, .sizes = {codes.rows}, .segments = 1};
    int error = motion->vectors && numbers ? INRV_OK : INRV_MEMORY;
    if (!error)
        error = inrv_decode_numbers(lattice->work, lattice->prior, passes, counts, differing,
                                    &given, numbers);
    if (!error) error = restore_vectors(motion, &tables, numbers, numbers + 3 * topology->leaves);
    inrv_give(lattice->memory, numbers);
    return error;
}

int inrv_motion_open(Lattice *lattice, int32_t chunk, Motion **found) {
    *found = NULL;
    if (chunk == NO_NUMBER) return INRV_OK;
    for (*found = lattice->motions; *found; *found = (*found)->next)
        if ((*found)->chunk == (uint32_t)chunk) return INRV_OK;
    Tensors tensors;
    Motion *motion = inrv_take(lattice->memory, 1, sizeof *motion);
    if (!motion) return INRV_MEMORY;
    motion->chunk = (uint32_t)chunk;
    int error =
        inrv_tensors_read(&lattice->file->container, lattice->memory, motion->chunk, &tensors);
    if (!error) {
        error = fill_motion(lattice, &tensors, motion);
        inrv_tensors_free(lattice->memory, &tensors);
    }
    if (error) {
        inrv_give(lattice->memory, motion->vectors);
        inrv_give(lattice->memory, motion);
        return error;
    }
    motion->next = lattice->motions;
    lattice->motions = *found = motion;
    return INRV_OK;
}

/* ---- Opening ---- */

/* Where each segment begins: segments 0 of all regions come first. */
static int open_segments(Lattice *lattice, Channel *channel) {
    const Container *container = &lattice->file->container;
    const Tensors *tensors = &channel->tensors;
    const size_t regions = channel->stored->topology->regions;
    const int apart = channel->entry->bits != NO_NUMBER;
    uint64_t size = 0;
    TRY(inrv_tensor(tensors, "means", TENSOR_U8, regions, ONE_AXIS, &channel->means));
    TRY(inrv_tensor(tensors, "spreads", TENSOR_U8, regions, ONE_AXIS, &channel->spreads));
    TRY(inrv_tensor(tensors, "lanes", TENSOR_U8, regions, ONE_AXIS, &channel->lanes));
    TRY(inrv_tensor(tensors, "segments", TENSOR_U8, regions, ONE_AXIS, &channel->segments));
    TRY(inrv_tensor(tensors, "lengths", TENSOR_I32, regions, INRV_SEGMENTS, &channel->lengths));
    TRY(inrv_tensor(tensors, "checksums", TENSOR_I32, apart ? regions : 0, INRV_SEGMENTS,
                    &channel->checksums));
    TRY(inrv_tensor(tensors, "bits", TENSOR_U8, apart ? 0 : ANY, ONE_AXIS, &channel->bits));
    channel->starts =
        inrv_take(lattice->memory, (uint64_t)regions * INRV_SEGMENTS + 1, sizeof(uint64_t));
    if (!channel->starts) return INRV_MEMORY;
    for (size_t segment = 0; segment < INRV_SEGMENTS; segment++)
        for (size_t i = 0; i < regions; i++) {
            const int32_t length = tensor_int(&channel->lengths, i * INRV_SEGMENTS + segment);
            const uint8_t segments = channel->segments.data[i];
            if ((segments != 1 && segments != INRV_SEGMENTS) || length < 0 ||
                (segment >= segments && length) || channel->lanes.data[i] > MOST_LANES)
                return INRV_RULE('F', 5);
            channel->starts[i * INRV_SEGMENTS + segment] = size;
            size += (uint32_t)length;
        }
    const uint64_t held =
        apart ? container->chunks[channel->entry->bits].raw : (uint64_t)channel->bits.rows;
    return size == held ? INRV_OK : INRV_RULE('F', 5);
}

static double half_to_double(uint16_t half) {
    const int exponent = half >> 10 & 31, mantissa = half & 1023;
    double value = exponent ? mantissa + 1024 : mantissa;
    for (int i = exponent ? exponent : 1; i < 25; i++) value /= 2;
    for (int i = 25; i < exponent; i++) value *= 2;
    return half >> 15 ? -value : value;
}

static int open_offsets(Channel *channel) {
    Tensor offsets;
    TRY(inrv_tensor(&channel->tensors, "offsets", TENSOR_F16, KNOTS, ONE_AXIS, &offsets));
    for (int i = 0; i < KNOTS; i++) {
        uint16_t half;
        memcpy(&half, offsets.data + 2 * i, sizeof half);
        if ((half >> 10 & 31) == 31) return INRV_RULE('F', 8);
        channel->knots[i] = half_to_double(half);
    }
    return INRV_OK;
}

static int open_palette(Lattice *lattice, Channel *channel) {
    const Stored *stored = channel->stored;
    Tensor rises;
    TRY(inrv_tensor(&channel->tensors, "palette", TENSOR_I32, ANY, ONE_AXIS, &rises));
    TRY(inrv_tensor(&channel->tensors, "low_bits", TENSOR_U8, ANY, ANY, &channel->low_bits));
    if (rises.rows != (uint64_t)channel->entry->top / ENTRY_UNITS + 1 ||
        channel->entry->top % ENTRY_UNITS || channel->low_bits.rows > MOST_LOW_BITS)
        return INRV_RULE('F', 8);
    const int64_t most = (int64_t)1 << (MOST_LOW_BITS - (int)channel->low_bits.rows);
    channel->palette = inrv_take(lattice->memory, rises.rows, sizeof(int32_t));
    if (!channel->palette) return INRV_MEMORY;
    int64_t entry = 0;
    for (size_t i = 0; i < rises.rows; i++) {
        const int32_t rise = tensor_int(&rises, i);
        entry = i ? entry + (uint32_t)rise : rise;
        if ((i && !rise) || entry < -most || entry >= most) return INRV_RULE('F', 8);
        channel->palette[i] = (int32_t)entry;
    }
    /* Its voxels are counted as regions are decoded. */
    const uint64_t voxels = stored->entry->grid.leaf_voxels;
    return channel->low_bits.columns <= voxels / 8 + 1 ? INRV_OK : INRV_RULE('S', 3);
}

int inrv_channel_open(Lattice *lattice, const ChannelEntry *entry, Stored *stored,
                      Channel *channel) {
    channel->entry = entry;
    channel->stored = stored;
    TRY(inrv_tensors_read(&lattice->file->container, lattice->memory, (uint32_t)entry->codes,
                          &channel->tensors));
    TRY(open_networks(lattice, channel));
    TRY(open_segments(lattice, channel));
    if (entry->offsets) TRY(open_offsets(channel));
    if (entry->lossless) TRY(open_palette(lattice, channel));
    inrv_channel *parameters = &channel->parameters;
    memcpy(parameters->steps, entry->steps, sizeof parameters->steps);
    parameters->top = entry->top;
    parameters->background = entry->background;
    if (entry->motion != NO_NUMBER)
        parameters->reference_top = entry->top;
    else if (entry->reference != NO_NUMBER)
        parameters->reference_top = lattice->file->channels[entry->reference].top;
    parameters->lossless = entry->lossless;
    parameters->trellis = entry->trellis;
    parameters->wavelet = entry->wavelet;
    parameters->exterior = entry->exterior;
    for (int i = 0; i < 3; i++) parameters->prediction[i] = &channel->networks[i];
    parameters->restoration = entry->restoration ? &channel->networks[3] : NULL;
    parameters->prior = lattice->prior;
    parameters->wavelet_prior = lattice->wavelet_prior;
    return INRV_OK;
}

void inrv_channel_free(Memory *memory, Channel *channel) {
    inrv_tensors_free(memory, &channel->tensors);
    inrv_give(memory, channel->weights);
    inrv_give(memory, channel->biases);
    inrv_give(memory, channel->starts);
    inrv_give(memory, channel->palette);
    inrv_give(memory, channel->units.items);
    inrv_give(memory, channel->known.items);
}

/* ---- Values to units ---- */

/* Whole numbers in the order of float32 values, from their bits and back. */
static int32_t in_order(int32_t bits) { return bits < 0 ? bits ^ INT32_MAX : bits; }

static int32_t linear_units(const Channel *channel, float value) {
    const Entry *grid = channel->stored->entry;
    const double minimum = grid->grid.component[channel->entry->component].minimum,
                 maximum = grid->grid.component[channel->entry->component].maximum;
    double units = ((double)value - minimum) / (maximum - minimum) * channel->entry->scale;
    if (units != units) return 0;
    units = units < -HIGHEST ? -HIGHEST : units > HIGHEST ? HIGHEST : units;
    /* The sum has no bits for halves: it is rounded to the nearest, halves to the even one. */
    const double large = 6755399441055744.0;
    return (int32_t)(units + large - large);
}

static int32_t palette_units(const Channel *channel, float value) {
    int32_t bits, low = 0, high = channel->entry->top / ENTRY_UNITS + 1;
    if (value != value) value = -__builtin_inff();
    memcpy(&bits, &value, sizeof bits);
    const int32_t wanted = in_order(bits) >> channel->low_bits.rows;
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (channel->palette[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low * ENTRY_UNITS < HIGHEST ? low * ENTRY_UNITS : HIGHEST;
}

static int32_t units_of(const Channel *channel, float value) {
    return channel->entry->lossless ? palette_units(channel, value) : linear_units(channel, value);
}

/* A channel's value among those of all components of its grid, in units of another channel. */
static int32_t units_among(const Channel *units, const Channel *of, const uint8_t *values) {
    float value;
    memcpy(&value, values + 4 * of->entry->component, sizeof value);
    return units_of(units, value);
}

/* ---- Exterior ---- */

/* A list of the voxels of a region that are not coded, by cell. */
typedef struct {
    const Channel *units, *of; /* in whose units values are listed, and of which channel */
    uint16_t *cells;
    uint8_t (*masks)[64];
    int32_t *values;
    size_t count, voxels;
    inrv_region *region;
} Listing;

static void count_tile(void *context, uint32_t tile) {
    (void)tile;
    ++*(size_t *)context;
}

static void list_tile(void *context, uint32_t tile) {
    Listing *listing = context;
    const Stored *stored = listing->of->stored;
    const Topology *topology = stored->topology;
    const size_t components = (size_t)stored->entry->grid.components;
    const int32_t units =
        units_among(listing->units, listing->of, stored->tile_values.data + 4 * tile * components);
    if (topology->tile_edges[tile] >= EDGE) {
        listing->region->around = units;
        return;
    }
    const int32_t *corner = topology->tile_corners[tile];
    listing->cells[listing->count] =
        (uint16_t)((corner[0] & 127) / 8 << 8 | (corner[1] & 127) / 8 << 4 | (corner[2] & 127) / 8);
    memset(listing->masks[listing->count++], 255, 64);
    for (int i = 0; i < LEAF_VOXELS; i++) listing->values[listing->voxels++] = units;
}

/* Lists the voxels of leaves that are not coded and have a value of their own. */
static void list_leaves(Listing *listing) {
    const Stored *stored = listing->of->stored;
    const uint8_t *coded = stored->coded.items, *other = stored->other.items;
    const int32_t *source = stored->source.items;
    size_t row = 0, number = 0;
    for (size_t leaf = 0; leaf < stored->leaves; leaf++) {
        uint8_t *listed = listing->masks[listing->count], any = 0;
        for (size_t i = 0; i < 64; i++) {
            const size_t byte = 64 * leaf + i;
            listed[i] = (uint8_t)((stored->masks[byte] & ~coded[byte]) | other[byte]);
            any |= listed[i];
            for (int bit = 0; bit < 8; bit++) {
                int32_t *to = &listing->values[listing->voxels];
                if (stored->masks[byte] >> bit & 1) {
                    if (listed[i] >> bit & 1)
                        *to = units_among(listing->units, listing->of,
                                          inrv_separate_value(stored, source[row]));
                    row++;
                } else if (listed[i] >> bit & 1) {
                    *to = units_among(listing->units, listing->of,
                                      inrv_inactive_value(stored, number++));
                }
                listing->voxels += listed[i] >> bit & 1;
            }
        }
        listing->cells[listing->count] = stored->cells[leaf];
        listing->count += any != 0;
    }
}

/* Lists the exterior of a channel in a region, in units of another channel or its own. */
static int make_exterior(Lattice *lattice, const Channel *units, const Channel *of, uint64_t key,
                         inrv_region *region) {
    const Stored *stored = of->stored;
    uint8_t background[3 * sizeof(float)];
    memcpy(background, stored->entry->grid.background, sizeof background);
    region->around = units_among(units, of, background);
    if (!stored->separate && !stored->topology->tiles && !stored->inactive_values.rows)
        return INRV_OK;
    size_t most = stored->leaves;
    inrv_visit_tiles(stored->topology, key, count_tile, &most);
    Listing listing = {.units = units, .of = of, .region = region};
    listing.values = inrv_room(lattice->memory, &lattice->exterior, most * LEAF_VOXELS, 4);
    listing.masks = inrv_room(lattice->memory, &lattice->exterior_masks, most, 64);
    listing.cells = inrv_room(lattice->memory, &lattice->exterior_cells, most, 2);
    if (!listing.values || !listing.masks || !listing.cells) return INRV_MEMORY;
    inrv_visit_tiles(stored->topology, key, list_tile, &listing);
    list_leaves(&listing);
    region->exterior = (inrv_leaves){listing.count, listing.cells, listing.masks[0]};
    region->exterior_values = listing.values;
    return INRV_OK;
}

/* ---- Units ---- */

/* The units of all voxels of a region of the grid, separate ones among them. */
static int find_known(Lattice *lattice, Channel *channel, const int32_t **known) {
    const Stored *stored = channel->stored;
    *known = channel->units.items;
    if (!stored->separate) return INRV_OK;
    const int32_t *source = stored->source.items, *units = channel->units.items;
    int32_t *all = inrv_room(lattice->memory, &channel->known, stored->voxels, 4);
    if (!all) return INRV_MEMORY;
    for (size_t row = 0; row < stored->voxels; row++)
        all[row] = source[row] < 0
                       ? *units++
                       : units_among(channel, channel, inrv_separate_value(stored, source[row]));
    *known = all;
    return INRV_OK;
}

/* The values of a region of a reference channel, fetched along vectors for every voxel of the
   leaves of the channel that it is for, in its units. */
static int move_reference(Lattice *lattice, const Channel *channel, int number, uint64_t key,
                          Room *room, int32_t **moved) {
    Channel *other = channel->references[number];
    const Motion *motion = channel->motions[number];
    const Stored *stored = channel->stored, *from = other->stored;
    const size_t region = inrv_region_of(motion->topology, key);
    const size_t first = region == NO_REGION ? 0 : first_leaf(motion->topology, region);
    inrv_motion along = {.fraction = motion->fraction};
    inrv_region known = {.around = 0};
    if (region != NO_REGION) {
        along.count = first_leaf(motion->topology, region + 1) - first;
        along.cells = motion->topology->cells + first;
        along.vectors = motion->vectors + 3 * first;
    }
    const size_t count = from->region == NO_REGION ? 0 : other->count;
    float *floats = inrv_room(lattice->memory, &lattice->floats, count + 1, 4);
    int32_t *units = inrv_room(lattice->memory, &lattice->own_units, count + 1, 4);
    const int new = !lattice->dense.items;
    int32_t *dense = inrv_room(lattice->memory, &lattice->dense, REGION_VOXELS, 4);
    *moved = inrv_room(lattice->memory, room, stored->leaves * LEAF_VOXELS + 1, 4);
    if (!floats || !units || !dense || !*moved) return INRV_MEMORY;
    for (int i = 0; new && i < REGION_VOXELS; i++) dense[i] = INRV_NO_UNITS;
    if (count) TRY(inrv_channel_values(lattice, other, 1, floats, 1));
    for (size_t i = 0; i < count; i++) units[i] = units_of(channel, floats[i]);
    TRY(make_exterior(lattice, channel, other, key, &known));
    if (count) known.leaves = (inrv_leaves){from->leaves, from->cells, from->coded.items};
    inrv_move(&known, units, &along, channel->entry->top, stored->cells, stored->leaves, dense,
              *moved);
    return INRV_OK;
}

/* What a region is predicted from, of one reference channel or two. */
static int find_moved(Lattice *lattice, Channel *channel, uint64_t key, inrv_region *region) {
    const size_t leaves = channel->stored->leaves;
    int32_t *moved, *second;
    uint8_t *masks = inrv_room(lattice->memory, &lattice->masks, leaves, 64);
    if (!masks) return INRV_MEMORY;
    memset(masks, 255, 64 * leaves);
    TRY(move_reference(lattice, channel, 0, key, &lattice->moved, &moved));
    if (channel->references[1]) {
        TRY(move_reference(lattice, channel, 1, key, &lattice->second_moved, &second));
        for (size_t i = 0; i < leaves * LEAF_VOXELS; i++)
            moved[i] = (moved[i] + second[i] + 1) >> 1;
    }
    region->reference = (inrv_leaves){leaves, channel->stored->cells, masks};
    region->reference_values = moved;
    return INRV_OK;
}

/* Reads the segments that a level needs. */
static int read_codes(Lattice *lattice, const Channel *channel, int level, inrv_codes *codes) {
    const size_t region = channel->stored->region;
    codes->lanes = channel->lanes.data[region];
    codes->segments = channel->segments.data[region];
    const int needed = codes->segments == 1 || level > 2 ? 1 : INRV_SEGMENTS - level;
    for (int i = 0; i < needed; i++) {
        const size_t place = region * INRV_SEGMENTS + (size_t)i;
        const size_t size = (size_t)tensor_int(&channel->lengths, place);
        codes->sizes[i] = size;
        codes->bytes[i] = channel->bits.data + channel->starts[place];
        if (channel->entry->bits == NO_NUMBER) continue;
        if (size > lattice->file->container.limits.chunk_bytes) return INRV_RULE('C', 2);
        uint8_t *segment = inrv_room(lattice->memory, &lattice->segments[i], size + 1, 1);
        if (!segment) return INRV_MEMORY;
        TRY(inrv_part(&lattice->file->container, (uint32_t)channel->entry->bits,
                      channel->starts[place], size,
                      (uint32_t)tensor_int(&channel->checksums, place), segment));
        codes->bytes[i] = segment;
    }
    return INRV_OK;
}

static size_t count_at(const Stored *stored, int level) {
    const uint8_t *coded = stored->coded.items;
    uint8_t pattern[64];
    size_t count = 0;
    for (size_t i = 0; i < stored->leaves; i++) {
        inrv_pattern(stored->cells[i], level, pattern);
        for (int byte = 0; byte < 64; byte++) pattern[byte] &= coded[64 * i + (size_t)byte];
        count += count_bits(pattern, 1);
    }
    return count;
}

/* Decodes a channel whose reference is decoded. */
static int decode_units(Lattice *lattice, Channel *channel, uint64_t key, int level,
                        uint64_t turn) {
    Stored *stored = channel->stored;
    inrv_region region = {.around = 0};
    inrv_codes codes = {.segments = 1};
    TRY(inrv_stored_load(lattice->topologies, stored, key, turn));
    channel->count = 0;
    if (stored->region != NO_REGION) {
        region.leaves = (inrv_leaves){stored->leaves, stored->cells, stored->coded.items};
        region.mean = channel->means.data[stored->region];
        region.spread = channel->spreads.data[stored->region];
        if (region.spread > MOST_SPREAD) return INRV_RULE('F', 5);
        if (channel->motions[0]) TRY(find_moved(lattice, channel, key, &region));
        if (channel->entry->exterior) TRY(make_exterior(lattice, channel, channel, key, &region));
        Channel *other = channel->references[0];
        if (other && !channel->motions[0] && other->stored->region != NO_REGION) {
            region.reference =
                (inrv_leaves){other->stored->leaves, other->stored->cells, other->stored->masks};
            TRY(find_known(lattice, other, &region.reference_values));
        }
        TRY(read_codes(lattice, channel, level, &codes));
        const size_t count = count_at(stored, level);
        int32_t *units = inrv_room(lattice->memory, &channel->units, count + 1, 4);
        if (!units) return INRV_MEMORY;
        TRY(inrv_decode_region(lattice->work, &channel->parameters, &region, &codes, level, units));
        channel->count = count;
    }
    channel->turn = turn;
    channel->level = level;
    return INRV_OK;
}

static int is_decoded(const Channel *channel, int level, uint64_t turn) {
    return channel->turn == turn && channel->level == level;
}

int inrv_channel_units(Lattice *lattice, Channel *channel, uint64_t key, int level, uint64_t turn) {
    if (is_decoded(channel, level, turn)) return INRV_OK;
    /* A chain of references may be long: it is gone back along without recursion. */
    channel->referring = NULL;
    for (Channel *next = channel; next;) {
        Channel *missing = NULL;
        for (int i = 0; i < 2; i++)
            if (next->references[i] && !is_decoded(next->references[i], 0, turn))
                missing = next->references[i];
        if (missing) {
            missing->referring = next;
            next = missing;
        } else {
            TRY(decode_units(lattice, next, key, next == channel ? level : 0, turn));
            next = next->referring;
        }
    }
    return INRV_OK;
}

/* ---- Units to values ---- */

static float palette_value(const Channel *channel, int32_t units, uint64_t number) {
    uint32_t order = (uint32_t)channel->palette[units / ENTRY_UNITS] << channel->low_bits.rows;
    for (size_t row = 0; row < channel->low_bits.rows; row++) {
        const uint8_t *bits = channel->low_bits.data + row * channel->low_bits.columns;
        order |= (uint32_t)(bits[number / 8] >> (number & 7) & 1) << row;
    }
    const int32_t bits = in_order((int32_t)order);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int palette_values(Lattice *lattice, Channel *channel, float *values, size_t pitch) {
    Stored *stored = channel->stored;
    const int32_t *units = channel->units.items;
    uint64_t before = 0;
    if (channel->low_bits.rows) TRY(inrv_coded_before(lattice->topologies, stored, &before));
    const uint64_t end = before + stored->voxels - stored->separate;
    if (channel->low_bits.rows && end > 8 * (uint64_t)channel->low_bits.columns)
        return INRV_RULE('S', 3);
    const uint8_t *coded = stored->coded.items;
    for (size_t i = 0, next = 0; i < stored->leaves; i++) {
        uint8_t some[64];
        const uint8_t *all = coded + 64 * i;
        inrv_pattern(stored->cells[i], channel->level, some);
        for (int byte = 0; byte < 64; byte++) some[byte] &= all[byte];
        EACH_VOXEL(1, some, all, row,
                   values[next * pitch] = palette_value(channel, units[next], before + row);
                   next++);
        before += count_bits(all, 1);
    }
    return INRV_OK;
}

int inrv_channel_values(Lattice *lattice, Channel *channel, int clamp, float *values,
                        size_t pitch) {
    const ChannelEntry *entry = channel->entry;
    if (!channel->count) return INRV_OK;
    if (entry->lossless) return palette_values(lattice, channel, values, pitch);
    const inrv_grid *grid = &channel->stored->entry->grid;
    const inrv_scaling scaling = {.scale = entry->scale,
                                  .minimum = grid->component[entry->component].minimum,
                                  .maximum = grid->component[entry->component].maximum,
                                  .top = entry->top,
                                  .clamp = clamp,
                                  .offsets = entry->offsets ? channel->knots : NULL};
    inrv_to_values(&scaling, channel->units.items, channel->count, values, pitch);
    return INRV_OK;
}

void inrv_channel_copy(const Channel *channel, float *places, size_t pitch) {
    const int32_t *units = channel->units.items;
    for (size_t i = 0; i < channel->count; i++, places += pitch)
        memcpy(places, units + i, sizeof *units);
}
