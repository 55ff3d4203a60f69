/* The masks of leaves: spec/masks.md says what is computed here, and in which order.

   Bits of a region lie in an array of bytes [x][z div 8][y]: bit z mod 8 of such a byte is a voxel.
   So a leaf's row of voxels along z is a byte, and four rows beside each other along y are a word
   of 32 bits. A *window* is such a word of four rows, of the voxels from z - 4 to z + 3. */

#include "masks.h"
#include "chances.h"
#include "squash.h"

#include <string.h>

#define CELLS 4096
#define VOXELS 512 /* of a leaf */
#define FRONTS 890 /* of a region: 7 * 127 + 1 */
#define INNER 50   /* fronts of a leaf: 7 * 7 + 1 */
#define BLOCK 64   /* voxels between two updates of the logits */
#define MOST_LANES 32
#define RATES 3
#define FIRST_SHIFT 7 /* of the slowest rate */
#define PADDING (2 * BLOCK)
#define PROBABILITY_BITS 15
#define ONE (1u << PROBABILITY_BITS)

/* The array of bits, with a margin of what windows reach. */
#define PITCH 136
#define PLANE (18 * PITCH)
#define BITS (131 * PLANE)
#define PLACE(x, row, y) (((x) + 2) * PLANE + ((row) + 1) * PITCH + (y) + 4)

/* Contexts, and where their logits begin. */
#define OWN 4
#define PREDICTED 2
#define CONTEXTS (OWN + PREDICTED)
static const int STARTS[CONTEXTS + 1] = {0, 8192, 16384, 32768, 40960, 49152, INRV_MASK_PRIOR};

#define LOGIT_SHIFT 6 /* from 4096ths to the 64ths of SQUASH */

/* Where a voxel of a leaf lies. */
typedef struct {
    int32_t own; /* its byte, from that of the leaf's first voxel */
    int32_t bit; /* z mod 8 */
} Place;

/* A mixed leaf. */
typedef struct {
    int32_t own;   /* the byte of its first voxel */
    int32_t front; /* of its first voxel */
} Leaf;

/* Voxels of a front that are coded at once. */
typedef struct {
    int count;
    int32_t own[BLOCK], bit[BLOCK];
    uint32_t here[BLOCK], beside[BLOCK], beyond[BLOCK]; /* windows at x, x - 1 and x - 2 */
    uint32_t there[BLOCK], before[BLOCK], after[BLOCK]; /* of the reference at x, x - 1, x + 1 */
    uint16_t context[CONTEXTS][BLOCK];                  /* numbers of logits */
    int32_t chance[BLOCK];                              /* of a set voxel, in 2^-15 */
    int32_t step[BLOCK];                                /* that the logits take */
} Block;

typedef struct {
    int contexts, shift, lanes;
    int32_t squash[2 * SQUASH_EDGE];
    int16_t logits[INRV_MASK_PRIOR];
    Place places[VOXELS];    /* by their front in the leaf */
    int32_t ends[INNER + 1]; /* where the places of each front begin, and the end */
    Leaf leaves[CELLS];      /* by front, then by cell */
    size_t mixed;
    uint8_t known[BITS];     /* voxels that are known to be set */
    uint8_t reference[BITS]; /* of the masks that these are predicted from */
    Block block;
    /* Of a decoder. */
    uint32_t state[MOST_LANES];
    const uint8_t *word, *end; /* the next word; where the bytes end */
    uint8_t tail[2 * PADDING]; /* the last words, and zeros behind them */
    int in_tail;
} Work;

/* A number for each rate, and one that is not used. */
typedef int16_t Rated __attribute__((vector_size(8)));
typedef int32_t RatedSum __attribute__((vector_size(16)));

/* What an encoder has more. It goes through the voxels once, with logits for each rate: the
   contexts are the same for all of them. */
typedef struct {
    uint8_t truth[BITS];
    uint32_t counts[FRONTS]; /* voxels of the fronts */
    Rated logits[INRV_MASK_PRIOR];
    uint16_t *symbols[RATES]; /* chances of set voxels; the highest bit: whether this one is */
    size_t count;
    Chances found[RATES]; /* of all voxels so far */
} Encoder;

static size_t round_up(size_t bytes) { return (bytes + 15) & ~(size_t)15; }

size_t inrv_masks_work(size_t mixed) {
    size_t encoder = round_up(sizeof(Encoder)) + 2 * RATES * VOXELS * mixed; /* and the symbols */
    return round_up(sizeof(Work)) + (mixed ? encoder : 0);
}

size_t inrv_masks_bound(size_t mixed) {
    /* A voxel takes PROBABILITY_BITS at most; a lane may hold half a state more. */
    return mixed ? 1 + 8 * MOST_LANES + (VOXELS * PROBABILITY_BITS / 8 + 1) * mixed : 0;
}

/* ---- The region ---- */

static int32_t first_byte(int cell) {
    return PLACE(8 * (cell >> 8), cell & 15, 8 * (cell >> 4 & 15));
}

static void put_mask(uint8_t *bits, int32_t own, const uint8_t *mask) {
    for (int x = 0; x < 8; x++) memcpy(bits + own + x * PLANE, mask + 8 * x, 8);
}

static void take_mask(const uint8_t *bits, int32_t own, uint8_t *mask) {
    for (int x = 0; x < 8; x++) memcpy(mask + 8 * x, bits + own + x * PLANE, 8);
}

static int front_of(int x, int y, int z) { return 4 * x + 2 * y + z; }

/* Sorts the places of a leaf by their fronts. */
static void sort_places(Work *work) {
    int next[INNER + 1] = {0};
    for (int i = 0; i < VOXELS; i++) next[front_of(i >> 6, i >> 3 & 7, i & 7) + 1]++;
    for (int i = 0; i < INNER; i++) next[i + 1] += next[i];
    memcpy(work->ends, next, sizeof next);
    for (int i = 0; i < VOXELS; i++) {
        int x = i >> 6, y = i >> 3 & 7, z = i & 7;
        work->places[next[front_of(x, y, z)]++] = (Place){x * PLANE + y, z};
    }
}

static int cell_front(int cell) { return front_of(cell >> 8, cell >> 4 & 15, cell & 15); }

/* Sorts the mixed leaves by the fronts of their first voxels. */
static void sort_leaves(Work *work, const inrv_mask_leaves *leaves) {
    int next[FRONTS / 8 + 1] = {0};
    for (size_t i = 0; i < leaves->count; i++)
        if (leaves->kinds[i] == INRV_MIXED) next[cell_front(leaves->cells[i]) + 1]++;
    for (int i = 0; i < FRONTS / 8; i++) next[i + 1] += next[i];
    work->mixed = (size_t)next[FRONTS / 8];
    for (size_t i = 0; i < leaves->count; i++) {
        int cell = leaves->cells[i], front = cell_front(cell);
        if (leaves->kinds[i] != INRV_MIXED) continue;
        work->leaves[next[front]++] = (Leaf){first_byte(cell), 8 * front};
    }
}

static int begin(Work *work, const inrv_mask_leaves *leaves) {
    if (leaves->count > CELLS) return INRV_USE;
    for (size_t i = 0; i < leaves->count; i++)
        if (leaves->cells[i] >= CELLS || (i && leaves->cells[i] <= leaves->cells[i - 1]) ||
            leaves->kinds[i] > INRV_EMPTY)
            return INRV_USE;
    work->contexts = leaves->reference ? CONTEXTS : OWN;
    inrv_fill_squash(work->squash);
    sort_places(work);
    sort_leaves(work, leaves);
    if (leaves->reference) {
        memset(work->reference, 0, sizeof work->reference);
        for (size_t i = 0; i < leaves->count; i++)
            put_mask(work->reference, first_byte(leaves->cells[i]),
                     leaves->reference + INRV_MASK_BYTES * i);
    }
    return INRV_OK;
}

/* Before the first voxel only those of full leaves are known. */
static void begin_known(Work *work, const inrv_mask_leaves *leaves) {
    uint8_t full[INRV_MASK_BYTES];
    memset(full, 255, sizeof full);
    memset(work->known, 0, sizeof work->known);
    for (size_t i = 0; i < leaves->count; i++)
        if (leaves->kinds[i] == INRV_FULL)
            put_mask(work->known, first_byte(leaves->cells[i]), full);
}

/* ---- Contexts ---- */

static inline uint32_t load4(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* The window whose first row begins in a byte, at the voxel of bit `shift` of it. */
static inline uint32_t window(const uint8_t *at, int shift, uint32_t keep) {
    uint32_t low = load4(at), high = load4(at + PITCH);
    return (low >> shift & keep) | (high << (8 - shift) & ~keep);
}

static void gather(const Work *work, Block *block) {
    for (int i = 0; i < block->count; i++) {
        int bit = block->bit[i], shift = (bit + 4) & 7;
        uint32_t keep = 0x01010101u * (0xffu >> shift);
        const uint8_t *at = work->known + block->own[i] - (bit < 4 ? PITCH : 0);
        block->here[i] = window(at - 3, shift, keep);
        block->beside[i] = window(at - PLANE - 1, shift, keep);
        block->beyond[i] = window(at - 2 * PLANE, shift, keep);
    }
}

static void gather_reference(const Work *work, Block *block) {
    for (int i = 0; i < block->count; i++) {
        int bit = block->bit[i], shift = (bit + 4) & 7;
        uint32_t keep = 0x01010101u * (0xffu >> shift);
        const uint8_t *at = work->reference + block->own[i] - (bit < 4 ? PITCH : 0);
        block->there[i] = window(at - 1, shift, keep);
        block->before[i] = window(at - PLANE - 1, shift, keep);
        block->after[i] = window(at + PLANE - 1, shift, keep);
    }
}

/* Bits of windows, named by their displacements, the least significant first. */

static inline uint32_t near_here(uint32_t w) { /* (0,-1,-1) (0,-1,0) (0,-1,1) (0,0,-1) */
    w = w >> 19 & 0x107;
    return (w | w >> 5) & 15;
}

static inline uint32_t near_beside(uint32_t w) { /* (-1,0,-1) (-1,0,0) (-1,0,1) (-1,1,0) (-1,1,1) */
    w = w >> 11 & 0x607;
    return (w | w >> 6) & 31;
}

static inline uint32_t nine_beside(uint32_t w) { /* (-1,y,z) for y and then z from -1 to 1 */
    w >>= 3;
    return (w & 7) | (w >> 5 & 0x38) | (w >> 10 & 0x1c0);
}

static void find_contexts(Block *block) {
    for (int i = 0; i < BLOCK; i++) {
        uint32_t here = block->here[i], beside = block->beside[i], beyond = block->beyond[i], a, b,
                 c;
        block->context[0][i] = (uint16_t)(near_here(here) | nine_beside(beside) << 4);
        a = here >> 12 & 0xc303;
        b = beside >> 12 & 0x307;
        block->context[1][i] =
            (uint16_t)(8192 + (((a | a >> 6 | a >> 10) & 63) | ((b | b >> 5) & 31) << 6 |
                               (beyond >> 4 & 3) << 11));
        a = here >> 13 & 0x4087;
        b = beside >> 12 & 0x800d;
        c = beyond >> 12 & 0x20303;
        block->context[2][i] =
            (uint16_t)(16384 + (((a | a >> 4 | a >> 10) & 31) | ((b | b >> 14) & 15) << 5 |
                                ((c | c >> 6 | c >> 13) & 31) << 9));
        a = here >> 4 & 0x783;
        c = beyond >> 3 & 0x70f;
        block->context[3][i] =
            (uint16_t)(32768 + (((c | c >> 4) & 127) | ((a | a >> 5) & 63) << 7));
    }
}

static void find_predicted(Block *block) {
    for (int i = 0; i < BLOCK; i++) {
        uint32_t there = block->there[i], before = block->before[i];
        uint32_t near = near_here(block->here[i]) | near_beside(block->beside[i]) << 4;
        uint32_t same = near_here(there << 16) | near_beside(before) << 4;
        uint32_t four =
            (there >> 12 & 3) | (there >> 20 & 1) << 2 | (block->after[i] >> 12 & 1) << 3;
        uint32_t three = (there >> 11 & 1) | (there >> 4 & 1) << 1 | (before >> 12 & 1) << 2;
        uint32_t six = (near >> 1 & 7) | (near >> 2 & 8) | (near >> 3 & 48);
        block->context[4][i] = (uint16_t)(40960 + (four | three << 4 | six << 7));
        block->context[5][i] = (uint16_t)(49152 + (four | (near ^ same) << 4));
    }
}

static void find_all_contexts(const Work *work, Block *block) {
    gather(work, block);
    find_contexts(block);
    if (work->contexts == OWN) return;
    gather_reference(work, block);
    find_predicted(block);
}

/* How likely each voxel of the block is set. */
static void expect(Work *work, Block *block) {
    const int16_t *logits = work->logits;
    find_all_contexts(work, block);
    for (int i = 0; i < block->count; i++) {
        int32_t sum = logits[block->context[0][i]] + logits[block->context[1][i]] +
                      logits[block->context[2][i]] + logits[block->context[3][i]];
        if (work->contexts > OWN)
            sum += logits[block->context[4][i]] + logits[block->context[5][i]];
        int32_t place = (sum >> LOGIT_SHIFT) + SQUASH_EDGE;
        place = place < 0 ? 0 : place >= 2 * SQUASH_EDGE ? 2 * SQUASH_EDGE - 1 : place;
        block->chance[i] = work->squash[place];
    }
}

/* The logits that were read move to what was found; `step` holds errors before. Sums wrap. */
static void learn(Work *work, Block *block) {
    int16_t *logits = work->logits;
    const int32_t half = 1 << (work->shift - 1);
    for (int i = 0; i < block->count; i++) block->step[i] = (block->step[i] + half) >> work->shift;
    for (int i = 0; i < block->count; i++) {
        int32_t step = block->step[i];
        for (int k = 0; k < OWN; k++) {
            int16_t *logit = logits + block->context[k][i];
            *logit = (int16_t)(*logit + step);
        }
        for (int k = OWN; k < work->contexts; k++) {
            int16_t *logit = logits + block->context[k][i];
            *logit = (int16_t)(*logit + step);
        }
    }
}

/* ---- Fronts ---- */

/* Takes a pass through the voxels of all mixed leaves; `code` fills step with the errors. */
#define FOR_EACH_BLOCK(work, code)                                                           \
    do {                                                                                     \
        Block *block = &(work)->block;                                                       \
        size_t low = 0, high = 0;                                                            \
        block->count = 0;                                                                    \
        for (int front = 0; front < FRONTS; front++) {                                       \
            while (low < (work)->mixed && (work)->leaves[low].front + INNER <= front) low++; \
            while (high < (work)->mixed && (work)->leaves[high].front <= front) high++;      \
            for (size_t leaf = low; leaf < high; leaf++) {                                   \
                int inner = front - (work)->leaves[leaf].front;                              \
                int32_t own = (work)->leaves[leaf].own;                                      \
                for (int i = (work)->ends[inner]; i < (work)->ends[inner + 1]; i++) {        \
                    block->own[block->count] = own + (work)->places[i].own;                  \
                    block->bit[block->count] = (work)->places[i].bit;                        \
                    if (++block->count < BLOCK) continue;                                    \
                    code;                                                                    \
                }                                                                            \
            }                                                                                \
            if (block->count) code;                                                          \
        }                                                                                    \
    } while (0)

/* ---- Decoding ---- */

static int open_bytes(Work *work, const uint8_t *bytes, size_t size) {
    if (size < 1 || (bytes[0] & 7) > 5 || bytes[0] >> 3 >= RATES) return INRV_RULE('S', 11);
    work->lanes = 1 << (bytes[0] & 7);
    work->shift = FIRST_SHIFT - (bytes[0] >> 3);
    size_t states = 4 * (size_t)work->lanes;
    if (size < 1 + states || (size - 1) % 2) return INRV_RULE('S', 11);
    memcpy(work->state, bytes + 1, states);
    for (int lane = 0; lane < work->lanes; lane++)
        if (work->state[lane] >> 16 == 0) return INRV_RULE('S', 11);
    work->word = bytes + 1 + states;
    work->end = bytes + size;
    work->in_tail = 0;
    return INRV_OK;
}

/* Makes sure that a block may be read, from zeros if need be. */
static void ready(Work *work) {
    size_t left = (size_t)(work->end - work->word);
    if (work->in_tail || left >= PADDING) return;
    memcpy(work->tail, work->word, left);
    memset(work->tail + left, 0, sizeof work->tail - left);
    work->word = work->tail;
    work->end = work->tail + left;
    work->in_tail = 1;
}

/* Reads the voxels of a block. */
static int read_block(Work *work) {
    Block *block = &work->block;
    ready(work);
    expect(work, block);
    const uint8_t *word = work->word;
    const unsigned lanes = (unsigned)work->lanes - 1;
    for (int i = 0; i < block->count; i++) {
        uint32_t state = work->state[(unsigned)i & lanes], chance = (uint32_t)block->chance[i];
        /* No branch: what a voxel is, is what is hard to predict. */
        const uint32_t rest = state & (ONE - 1), set = rest < chance, clear = set - 1;
        const uint32_t part = (chance ^ clear) - clear + (ONE & clear);
        state = part * (state >> PROBABILITY_BITS) + rest - (chance & clear);
        uint16_t next;
        memcpy(&next, word, sizeof next);
        const uint32_t more = state >> 16 == 0;
        state = state << (16 * more) | (next & (0 - more));
        word += 2 * more;
        work->state[(unsigned)i & lanes] = state;
        work->known[block->own[i]] |= (uint8_t)(set << block->bit[i]);
        block->step[i] = (int32_t)(set << PROBABILITY_BITS) - (int32_t)chance;
    }
    work->word = word;
    if (work->in_tail && word > work->end) return INRV_RULE('S', 11);
    learn(work, block);
    block->count = 0;
    return INRV_OK;
}

static int read_voxels(Work *work) {
    int error;
    FOR_EACH_BLOCK(work, {
        error = read_block(work);
        if (error) return error;
    });
    for (int lane = 0; lane < work->lanes; lane++)
        if (work->state[lane] != 1u << 16) return INRV_RULE('S', 11);
    return work->word == work->end ? INRV_OK : INRV_RULE('S', 11);
}

int inrv_masks_decode(const int8_t *prior, const inrv_mask_leaves *leaves, const uint8_t *bytes,
                      size_t size, void *memory, uint8_t *masks) {
    Work *work = memory;
    int error = begin(work, leaves);
    if (error) return error;
    begin_known(work, leaves);
    for (int i = 0; i < STARTS[work->contexts]; i++) work->logits[i] = (int16_t)(prior[i] * 256);
    if (work->mixed) {
        error = open_bytes(work, bytes, size);
        if (!error) error = read_voxels(work);
        if (error) return error;
    } else if (size) {
        return INRV_RULE('S', 11);
    }
    for (size_t i = 0; i < leaves->count; i++)
        take_mask(work->known, first_byte(leaves->cells[i]), masks + INRV_MASK_BYTES * i);
    return INRV_OK;
}

/* ---- Encoding ---- */

/* The chances of the block's voxels at each rate, and what the logits move by. */
static void write_voxel(Work *work, Encoder *encoder, int i, Rated *step) {
    Block *block = &work->block;
    RatedSum sum = {0};
    for (int k = 0; k < work->contexts; k++)
        sum += __builtin_convertvector(encoder->logits[block->context[k][i]], RatedSum);
    sum = (sum >> LOGIT_SHIFT) + SQUASH_EDGE;
    int32_t set = encoder->truth[block->own[i]] >> block->bit[i] & 1;
    work->known[block->own[i]] |= (uint8_t)(set << block->bit[i]);
    for (int rate = 0; rate < RATES; rate++) {
        int32_t place = sum[rate];
        place = place < 0 ? 0 : place >= 2 * SQUASH_EDGE ? 2 * SQUASH_EDGE - 1 : place;
        int32_t chance = work->squash[place], all = 1 << PROBABILITY_BITS;
        encoder->symbols[rate][encoder->count + (size_t)i] = (uint16_t)(set * all | chance);
        encoder->found[rate].share *=
            (set ? chance : all - chance) * (1.0 / (1 << PROBABILITY_BITS));
        int32_t missed = set * all - chance; /* times 2^rate: each rate is twice the one before */
        (*step)[rate] = (int16_t)((missed * (1 << rate) + (1 << (FIRST_SHIFT - 1))) >> FIRST_SHIFT);
    }
}

static void write_block(Work *work, Encoder *encoder, int front) {
    Block *block = &work->block;
    Rated step[BLOCK] = {{0}};
    find_all_contexts(work, block);
    for (int i = 0; i < block->count; i++) write_voxel(work, encoder, i, &step[i]);
    for (int rate = 0; rate < RATES; rate++) settle(&encoder->found[rate]);
    for (int i = 0; i < block->count; i++)
        for (int k = 0; k < work->contexts; k++) encoder->logits[block->context[k][i]] += step[i];
    encoder->counts[front] += (uint32_t)block->count;
    encoder->count += (size_t)block->count;
    block->count = 0;
}

static void write_voxels(Work *work, Encoder *encoder, const int8_t *prior) {
    memset(encoder->counts, 0, sizeof encoder->counts);
    for (int i = 0; i < STARTS[work->contexts]; i++) {
        int16_t logit = (int16_t)(prior[i] * 256);
        encoder->logits[i] = (Rated){logit, logit, logit, 0};
    }
    for (int rate = 0; rate < RATES; rate++) encoder->found[rate] = (Chances){1, 0};
    encoder->count = 0;
    FOR_EACH_BLOCK(work, write_block(work, encoder, front));
}

/* The rate that takes the fewest words; the slowest of several. */
static int best_rate(const Encoder *encoder) {
    int best = 0;
    for (int rate = 1; rate < RATES; rate++)
        if (words_of(&encoder->found[rate]) < words_of(&encoder->found[best])) best = rate;
    return best;
}

/* Codes all symbols backwards, from `end` to the front; returns where the words begin. */
static uint8_t *code_symbols(const Encoder *encoder, const uint16_t *symbols, int log_lanes,
                             uint32_t state[MOST_LANES], uint8_t *end) {
    const unsigned lanes = (1u << log_lanes) - 1;
    size_t place = encoder->count;
    for (unsigned lane = 0; lane <= lanes; lane++) state[lane] = 1u << 16;
    for (int front = FRONTS; front-- > 0;)
        for (uint32_t i = encoder->counts[front]; i-- > 0;) {
            uint32_t symbol = symbols[--place], chance = symbol & ((1 << PROBABILITY_BITS) - 1);
            uint32_t set = symbol >> PROBABILITY_BITS;
            uint32_t part = set ? chance : (1 << PROBABILITY_BITS) - chance, now = state[i & lanes];
            if (now >= part << 17) {
                uint16_t word = (uint16_t)now;
                end -= 2;
                memcpy(end, &word, sizeof word);
                now >>= 16;
            }
            state[i & lanes] = (now / part << PROBABILITY_BITS) + now % part + (set ? 0 : chance);
        }
    return end;
}

/* The most lanes that cost at most a 400th of a region's bytes, of which each takes two. */
static int lanes_for(size_t bytes) {
    int log = 0;
    while (log < 5 && ((size_t)2 << (log + 1)) * 400 <= bytes) log++;
    return log;
}

int inrv_masks_encode(const int8_t *prior, const inrv_mask_leaves *leaves, const uint8_t *masks,
                      void *memory, uint8_t *bytes, size_t *size) {
    Work *work = memory;
    int error = begin(work, leaves);
    *size = 0;
    if (error || !work->mixed) return error;
    uint8_t *rest = (uint8_t *)memory + round_up(sizeof(Work));
    Encoder *encoder = (Encoder *)(void *)rest;
    uint16_t *symbols = (uint16_t *)(void *)(rest + round_up(sizeof(Encoder)));
    for (int rate = 0; rate < RATES; rate++)
        encoder->symbols[rate] = symbols + VOXELS * work->mixed * (size_t)rate;
    for (size_t i = 0; i < leaves->count; i++)
        put_mask(encoder->truth, first_byte(leaves->cells[i]), masks + INRV_MASK_BYTES * i);
    uint8_t *end = bytes + inrv_masks_bound(work->mixed);
    uint32_t state[MOST_LANES];
    begin_known(work, leaves);
    write_voxels(work, encoder, prior);
    int best = best_rate(encoder), log_lanes = lanes_for(2 * words_of(&encoder->found[best]));
    uint8_t *words = code_symbols(encoder, encoder->symbols[best], log_lanes, state, end);
    size_t states = 4 * ((size_t)1 << log_lanes);
    bytes[0] = (uint8_t)(log_lanes | best << 3);
    memmove(bytes + 1 + states, words, (size_t)(end - words));
    memcpy(bytes + 1, state, states);
    *size = 1 + states + (size_t)(end - words);
    return INRV_OK;
}
