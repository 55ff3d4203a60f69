/* A target: codes of a region that are damaged. Every variant of the kernels that runs here gives
 * the same values for them, or the same error.
 *
 * The data are a recipe of 8 bytes, from which a region is made and encoded, then what damages its
 * codes, 4 bytes each: what is done, where (u16), and a value. A recipe alone is decoded again.
 */
#include <stdlib.h>
#include <string.h>

#include "lattice.h"

enum { RECIPE = 8, EDGE = 128, MOST_VOXELS = 1200, MOST_LEAVES = 64, SETS = 6, INPUTS = 52 };
enum { EXTERIOR = 1, DENSE = 2, REFERENCE = 4, RESTORATION = 8, LOSSLESS = 16, RATE = 32 };

int lattice(const uint8_t *data, size_t size);

/* What a recipe makes; it stays for the next case, which mostly has the same. */
static struct {
    uint8_t recipe[RECIPE];
    int made;
    inrv_channel channel;
    inrv_region region;
    inrv_network networks[4];
    inrv_codes codes;
    size_t voxels;
    uint16_t cells[MOST_LEAVES];
    uint8_t masks[MOST_LEAVES][64];
    int32_t targets[512 * MOST_LEAVES], values[512 * MOST_LEAVES], reference[512 * MOST_LEAVES];
    int32_t exterior[EDGE * EDGE * EDGE], prior[INRV_TABLES * INRV_TOKENS], biases[4][4][32];
    int8_t weights[4][4][INPUTS * 32];
    float bits[INRV_TABLES * INRV_LISTED];
    uint8_t *bytes;
    inrv_work *works[SETS];
} scene;

static uint64_t state;

/* SplitMix64: a number below a limit. */
static int32_t chance(int32_t limit) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (int32_t)((z ^ z >> 31) % (uint64_t)limit);
}

static void make_network(int number, int inputs, int first, int second, int outputs) {
    for (int part = 0; part < 4; part++) {
        for (int i = 0; i < INPUTS * 32; i++)
            scene.weights[number][part][i] = (int8_t)(chance(255) - 127);
        for (int i = 0; i < 32; i++) scene.biases[number][part][i] = chance(1 << 15) - (1 << 14);
    }
    int8_t(*weights)[INPUTS * 32] = scene.weights[number];
    int32_t(*biases)[32] = scene.biases[number];
    scene.networks[number] =
        (inrv_network){inputs,    first,      second,    outputs,    weights[0], biases[0],
                       weights[1], biases[1], weights[2], biases[2], weights[3]};
}

static void make_channel(unsigned flags, int high) {
    static const int WIDTHS[3] = {33, 41, 45};
    inrv_channel *channel = &scene.channel;
    memset(channel, 0, sizeof *channel);
    for (int i = 0; i < INRV_LEVELS; i++) channel->steps[i] = 32 + chance(481);
    channel->top = 1 << high;
    if (flags & LOSSLESS && high >= 7) channel->lossless = 1;
    channel->background = chance(1 << 24) - (1 << 23);
    channel->reference_top = flags & REFERENCE ? 1 << chance(24) : 0;
    channel->exterior = flags & EXTERIOR;
    for (int i = 0; i < 3; i++) {
        make_network(i, WIDTHS[i] + (flags & REFERENCE ? 7 : 0), 32, 32, 2);
        channel->prediction[i] = &scene.networks[i];
    }
    make_network(3, 37, 24, 16, 1);
    if (flags & RESTORATION) channel->restoration = &scene.networks[3];
    for (int i = 0; i < INRV_TABLES * INRV_TOKENS; i++)
        scene.prior[i] = 1 + (chance(4096) >> (i % INRV_TOKENS) / 4);
    for (int i = 0; i < INRV_TABLES * INRV_LISTED; i++) scene.bits[i] = (float)chance(20);
    channel->prior = scene.prior;
}

/* Leaves that stand anywhere, or side by side. */
static void make_region(const uint8_t *recipe, unsigned flags) {
    inrv_region *region = &scene.region;
    int32_t top = scene.channel.top, step = recipe[0] & 1 ? 1 : 97;
    size_t leaves = recipe[0] / 4 % (MOST_LEAVES + 1);
    int32_t cell = chance(4096 - (int32_t)leaves * step > 0 ? 4096 - (int32_t)leaves * step : 1);
    memset(region, 0, sizeof *region);
    scene.voxels = 0;
    for (size_t i = 0; i < leaves && cell < 4096; i++, cell += step) {
        scene.cells[region->leaves.count++] = (uint16_t)cell;
        for (int row = 0; row < 64; row++) {
            unsigned mask = recipe[0] & 2 ? 255 : (unsigned)(chance(256) & chance(256));
            if (scene.voxels + 8 > MOST_VOXELS) mask = 0;
            scene.masks[i][row] = (uint8_t)mask;
            scene.voxels += (size_t)__builtin_popcount(mask);
        }
    }
    region->leaves.cells = scene.cells;
    region->leaves.masks = scene.masks[0];
    if (flags & REFERENCE) region->reference = region->leaves;
    region->reference_values = scene.reference;
    int32_t wave = chance(top + 1);
    for (size_t i = 0; i < scene.voxels; i++) {
        int64_t moved = wave + (int64_t)chance(top + 1) * (1 + (int32_t)i % 7) / 64;
        wave = (int32_t)(moved > top ? moved - top : moved);
        scene.targets[i] = wave;
        scene.reference[i] = chance(1 << 25) - (1 << 24);
    }
    if (flags & DENSE) {
        for (int i = 0; i < EDGE * EDGE * EDGE; i++) scene.exterior[i] = (int32_t)(i * 2654435769u);
        region->exterior = scene.exterior;
    }
    region->around = chance(1 << 30) - (1 << 29);
    region->mean = chance(256);
    region->spread = recipe[4] % 23;
}

static void make(const uint8_t *recipe) {
    if (scene.made && !memcmp(recipe, scene.recipe, RECIPE - 2)) return; /* the rest is for reading */
    for (int i = 0; i < SETS; i++)
        if (!scene.works[i]) scene.works[i] = inrv_work_new(1u << i);
    memcpy(scene.recipe, recipe, RECIPE);
    scene.made = 1;
    state = recipe[1];
    unsigned flags = recipe[2];
    make_channel(flags, recipe[3] % 24);
    make_region(recipe, flags);
    size_t capacity = inrv_codes_bound(scene.voxels);
    free(scene.bytes);
    scene.bytes = malloc(capacity);
    inrv_aim aim;
    memset(&aim, 0, sizeof aim);
    aim.targets = scene.targets;
    aim.rate_weight = flags & RATE ? 0.1f : 0;
    aim.bits = scene.bits;
    inrv_work *work = scene.works[recipe[5] % SETS] ? scene.works[recipe[5] % SETS] : scene.works[0];
    if (inrv_encode_region(work, &scene.channel, &scene.region, &aim, scene.values, NULL,
                           scene.bytes, capacity, &scene.codes))
        __builtin_trap();
}

/* Copies of the segments, which end where their memory ends, with the damage. */
static void damage(inrv_codes *codes, uint8_t *copies[INRV_SEGMENTS], const uint8_t *data,
                   size_t size) {
    for (int i = 0; i < INRV_SEGMENTS; i++) {
        size_t own = codes->sizes[i];
        uint8_t *copy = malloc(own + 1024);
        memset(copy, 0, own + 1024);
        if (own) memcpy(copy, codes->bytes[i], own);
        for (size_t at = 0; at + 4 <= size; at += 4) {
            size_t place = data[at + 1] | (size_t)data[at + 2] << 8;
            if (data[at] >> 6 != i % codes->segments) continue;
            switch (data[at] & 7) {
            case 0: /* cut */
                if (own) own = place % (own + 1);
                break;
            case 1: /* grow */
                if (own + data[at + 3] < codes->sizes[i] + 1024) own += data[at + 3];
                break;
            case 2:
                if (own) copy[place % own] ^= data[at + 3];
                break;
            default:
                if (own) copy[place % own] = data[at + 3];
            }
        }
        copies[i] = malloc(own ? own : 1);
        if (own) memcpy(copies[i], copy, own);
        free(copy);
        codes->bytes[i] = copies[i];
        codes->sizes[i] = own;
    }
}

int lattice(const uint8_t *data, size_t size) {
    if (size < RECIPE) return INRV_USE;
    make(data);
    const int level = data[6] % INRV_LEVELS;
    inrv_codes codes = scene.codes;
    uint8_t *copies[INRV_SEGMENTS];
    if (data[7] & 128) {
        codes.lanes = data[7] % 6;
        codes.segments = data[7] & 64 ? INRV_SEGMENTS : 1;
    }
    damage(&codes, copies, data + RECIPE, size - RECIPE);
    static int32_t first[512 * MOST_LEAVES], other[512 * MOST_LEAVES];
    int error = INRV_OK;
    for (int i = 0; i < SETS; i++) {
        if (!scene.works[i]) continue;
        int32_t *values = i ? other : first;
        memset(values, 0, sizeof first);
        int own = inrv_decode_region(scene.works[i], &scene.channel, &scene.region, &codes, level,
                                     values);
        if (i && (own != error || (!own && memcmp(first, other, sizeof first)))) __builtin_trap();
        error = own;
    }
    int whole = size == RECIPE && !level && !(data[7] & 128);
    if (whole && (error || memcmp(first, scene.values, scene.voxels * sizeof *first)))
        __builtin_trap();
    for (int i = 0; i < INRV_SEGMENTS; i++) free(copies[i]);
    return error;
}
