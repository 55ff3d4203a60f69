/* The arithmetic of the lattice over a region: contexts, networks, codes, restoration.

   This file is compiled once for each instruction set, with the vectors of simd.h; what comes out
   is the same integers everywhere. Headings are those of spec/lattice.md. */

#include "codes.h"
#include "simd.h"

#define UNROLLED _Pragma("GCC unroll 16")
#define ROLLED _Pragma("GCC unroll 1")
#define NOINLINE static __attribute__((noinline))
#define LIKELY(a) __builtin_expect(!!(a), 1)
#define UNLIKELY(a) __builtin_expect(!!(a), 0)

/* ---- Neighbours ---- */

enum { MOST_PAIRS = 18, SIBLINGS_A_TURN = 2, MOST_SIBLINGS = 4 };

/* Pairs by number of odd axes, as displacements along (first, second, third) axis. Where one or two
   axes are odd, the last of them lead to the parities with as many odd axes that come before: two
   pairs for each of these. */
typedef struct {
    int slots; /* all pairs: what the inputs have places for */
    int8_t ahead[MOST_PAIRS][3];
} Pattern;
#define CORNERS {1, 1, 1}, {1, 1, -1}, {1, -1, 1}, {1, -1, -1}
#define EDGES {0, 1, 1}, {0, 1, -1}, {1, 0, 1}, {1, 0, -1}, {1, 1, 0}, {1, -1, 0}
#define FACES {1, 0, 0}, {0, 1, 0}, {0, 0, 1}
#define SIBLINGS {1, 1, 0}, {1, -1, 0}, {1, 0, 1}, {1, 0, -1}
#define SLOTS(odd) ((odd) == 1 ? 14 : (odd) == 2 ? 18 : 16)
static const Pattern PATTERNS[4] = {
    {0, {{0}}},
    {SLOTS(1),
     {{1, 0, 0},
      {3, 0, 0},
      {1, 2, 0},
      {1, -2, 0},
      {1, 0, 2},
      {1, 0, -2},
      {1, 2, 2},
      {1, 2, -2},
      {1, -2, 2},
      {1, -2, -2},
      SIBLINGS}},
    {SLOTS(2),
     {{0, 1, 0},
      {0, 0, 1},
      {0, 3, 0},
      {0, 0, 3},
      {0, 1, 1},
      {0, 1, -1},
      CORNERS,
      {2, 1, 0},
      {2, -1, 0},
      {2, 0, 1},
      {2, 0, -1},
      SIBLINGS}},
    {SLOTS(3), {FACES, {3, 0, 0}, {0, 3, 0}, {0, 0, 3}, EDGES, CORNERS}}};
static const int8_t AROUND[13][3] = {FACES, EDGES, CORNERS};
enum { PAIRS_AROUND = 13 };

/* A parity is 4 x + 2 y + z of the coordinates' lowest bits. */
typedef struct {
    int odd, parity, first; /* odd axes; which; the axis that comes first in the pattern */
    int turn;               /* how many parities with as many odd axes come before */
} Parity;
static const Parity PARITIES[PASSES] = {{1, 4, 0, 0}, {1, 2, 1, 1}, {1, 1, 2, 2}, {2, 3, 0, 0},
                                        {2, 5, 1, 1}, {2, 6, 2, 2}, {3, 7, 0, 0}};

static void turn_pair(const int8_t *displacement, int first, int sign, int turned[3]) {
    int next = 1;
    for (int axis = 0; axis < 3; axis++)
        turned[axis] = sign * (axis == first ? displacement[0] : displacement[next++]);
}

/* Where a displacement leads: to an array of another parity, and there so many places on. */
typedef struct {
    int parity, x, y, z;
} Way;

static Way way_of(int parity, const int displacement[3]) {
    int moved[3];
    for (int axis = 0; axis < 3; axis++)
        moved[axis] = (parity >> (2 - axis) & 1) + displacement[axis];
    Way way = {(moved[0] & 1) << 2 | (moved[1] & 1) << 1 | (moved[2] & 1), moved[0] >> 1,
               moved[1] >> 1, moved[2] >> 1};
    return way;
}

static ptrdiff_t distance_of(const Level *level, int parity, const int displacement[3]) {
    Way way = way_of(parity, displacement);
    return (way.parity - parity) * level->size + way.x * level->plane + way.y * level->pitch +
           way.z;
}

/* A parity of a pass, and where its voxels' neighbours lie. */
typedef struct {
    const Task *task;
    const Level *level;
    int number, step, log_step;                      /* of the level */
    int odd, pairs;                                  /* of the parity */
    ptrdiff_t ahead[MOST_PAIRS], behind[MOST_PAIRS]; /* of the pairs, from a voxel's place */
    ptrdiff_t face_ahead[3], face_behind[3];
    Way faces[6]; /* ahead, then behind */
} Passing;

static void begin_parity(Passing *p, const Parity *parity) {
    const Pattern *pattern = &PATTERNS[p->odd];
    int turned[3];
    p->pairs = pattern->slots;
    if (p->odd < 3) p->pairs -= MOST_SIBLINGS - SIBLINGS_A_TURN * parity->turn;
    for (int i = 0; i < p->pairs; i++) {
        turn_pair(pattern->ahead[i], parity->first, 1, turned);
        p->ahead[i] = distance_of(p->level, parity->parity, turned);
        turn_pair(pattern->ahead[i], parity->first, -1, turned);
        p->behind[i] = distance_of(p->level, parity->parity, turned);
    }
    for (int i = 0; i < 3; i++) {
        turn_pair(AROUND[i], parity->first, 1, turned);
        p->faces[i] = way_of(parity->parity, turned);
        p->face_ahead[i] = distance_of(p->level, parity->parity, turned);
        turn_pair(AROUND[i], parity->first, -1, turned);
        p->faces[3 + i] = way_of(parity->parity, turned);
        p->face_behind[i] = distance_of(p->level, parity->parity, turned);
    }
}

/* ---- Numbers ---- */

NOINLINE V wide_quotient(V a, V b) {
    V result = a;
    for (int i = 0; i < LANES; i++) {
        int32_t q = a[i] / b[i];
        result[i] = q - (a[i] % b[i] < 0);
    }
    return result;
}

/* floor(a / b), b above 0. In float32 the quotient is exact enough where |a| < 2^22. */
INLINE V quotient(V a, V b, int wide) {
    if (UNLIKELY(wide)) return wide_quotient(a, b);
    return floored(to_float(a) / to_float(b));
}

INLINE V quotient_by(V a, int32_t b, int wide) {
    if (UNLIKELY(wide)) return wide_quotient(a, all_of(b));
    return floored((to_float(a) + 0.5f) * (1.0f / (float)b));
}

/* A spread's mantissa and shift; `active` are the lanes that matter. */
INLINE int scaled(V spread, unsigned active, V *mantissa, V *shift) {
    *mantissa = spread;
    *shift = all_of(0);
    if (LIKELY(!(bits_of(is_above(spread, all_of((1 << SPREAD_BITS) - 1))) & active))) return 0;
    *shift = larger(((V)to_float(spread) >> 23) - (127 + SPREAD_BITS - 1), all_of(0));
    *mantissa = spread >> *shift;
    return 1;
}

/* QUANT */
INLINE void quantised(const V *numbers, int count, V mantissa, V shift, int shifted, V *inputs) {
    V share = truncated(all_of_f(1 << 18) / to_float(larger(mantissa, all_of(1))));
    if (UNLIKELY(shifted))
        for (int i = 0; i < count; i++)
            inputs[i] = ((numbers[i] >> shift) * share + (1 << 13)) >> 14;
    else
        UNROLLED
    for (int i = 0; i < count; i++) inputs[i] = (numbers[i] * share + (1 << 13)) >> 14;
}

INLINE V sixteens(unsigned lanes) { return where(of_bits(lanes), all_of(ONE)); }

/* ---- Base and deviations ---- */

/* The base of LANES voxels. full: all neighbours are known */
INLINE V base_of(const int32_t *at, const ptrdiff_t *ahead, const ptrdiff_t *behind, int pairs,
                 int odd, V otherwise, unsigned active, int full, int wide, V *near, V *curves) {
    if (full) {
        V sum = all_of(0);
        for (int i = 0; i < odd; i++) {
            V one = load(at + ahead[i]) + load(at + behind[i]);
            V three = load(at + ahead[odd + i]) + load(at + behind[odd + i]);
            sum += one * 9 - three;
        }
        *near = all_of(2 * odd);
        *curves = all_of(odd);
        return odd == 1 ? sum >> 4 : odd == 2 ? sum >> 5 : quotient_by(sum >> 4, 3, wide);
    }
    V sum = all_of(0), total = all_of(0), count = all_of(0), lines = all_of(0), bent = all_of(0);
    const V none = all_of(MISSING);
    for (int i = 0; i < odd; i++) {
        V a = load(at + ahead[i]), b = load(at + behind[i]);
        V c = load(at + ahead[odd + i]), d = load(at + behind[odd + i]);
        M has_a = is_not(a, none), has_b = is_not(b, none), line = has_a & has_b;
        M curve = line & is_not(c, none) & is_not(d, none);
        V one = where(has_a, a) + where(has_b, b);
        total += one;
        count = plus_one(has_b, plus_one(has_a, count));
        lines = plus_one(line, lines);
        bent = plus_one(curve, bent);
        sum += where(line, one * 8 + where(curve, one - c - d));
    }
    *near = count;
    *curves = bent;
    V base = quotient(sum >> 4, larger(lines, all_of(1)), wide);
    if (!(bits_of(is_above(all_of(1), lines)) & active)) return base;
    V other = quotient(total, larger(count, all_of(1)), wide);
    if (bits_of(is_above(all_of(1), count)) & active) {
        V all = all_of(0), known = all_of(0);
        for (int i = 0; i < pairs; i++) {
            V a = load(at + ahead[i]), b = load(at + behind[i]);
            M has_a = is_not(a, none), has_b = is_not(b, none);
            all += where(has_a, a) + where(has_b, b);
            known = plus_one(has_b, plus_one(has_a, known));
        }
        V last = quotient(all, larger(known, all_of(1)), wide);
        last = choose(is_above(known, all_of(0)), last, otherwise);
        other = choose(is_above(count, all_of(0)), other, last);
    }
    return choose(is_above(lines, all_of(0)), base, other);
}

/* The base of those neighbours alone that lie between the ends of the range: where values stop at
   an end, as those of level sets and of fogs do, a line through them has a kink there. */
INLINE V inner_base_of(const int32_t *at, const Passing *p, int odd, V base, unsigned active,
                       int wide, V *near) {
    const V low = all_of(p->step), high = all_of(2 * p->task->channel->top - p->step);
    V sum = all_of(0), lines = all_of(0), side = all_of(0), sides = all_of(0), count = all_of(0);
    for (int i = 0; i < odd; i++) {
        V a = load(at + p->ahead[i]), b = load(at + p->behind[i]);
        V c = load(at + p->ahead[odd + i]), d = load(at + p->behind[odd + i]);
        M inner_a = is_above(a + a, low) & is_above(high, a + a);
        M inner_b = is_above(b + b, low) & is_above(high, b + b);
        M inner_c = is_above(c + c, low) & is_above(high, c + c);
        M inner_d = is_above(d + d, low) & is_above(high, d + d);
        M line = inner_a & inner_b, curve = line & inner_c & inner_d;
        V one = where(inner_a, a) + where(inner_b, b);
        sum += where(line, one * 8 + where(curve, one - c - d));
        lines = plus_one(line, lines);
        side += where(inner_a & inner_c, a * 24 - c * 8) + where(inner_b & inner_d, b * 24 - d * 8);
        sides = plus_one(inner_a & inner_c, plus_one(inner_b & inner_d, sides));
        count = plus_one(inner_a, plus_one(inner_b, count));
    }
    *near = count;
    V found = base;
    if (bits_of(is_above(all_of(1), lines)) & active)
        found = choose(is_above(sides, all_of(0)),
                       quotient(side >> 4, larger(sides, all_of(1)), wide), base);
    found = choose(is_above(lines, all_of(0)), quotient(sum >> 4, larger(lines, all_of(1)), wide),
                   found);
    return clip(found, 0, p->task->channel->top);
}

INLINE V deviation(const int32_t *at, V base) {
    V a = load(at);
    return where(is_not(a, all_of(MISSING)), a - base);
}

/* ---- Quantised inputs ---- */

/* What the pairs of LANES voxels say: their sums and differences, and how these add up. */
typedef struct {
    V sums[MOST_PAIRS], differences[MOST_PAIRS], bend, lean, known;
} Deviations;

/* full: all neighbours are known */
INLINE void add_pair(Deviations *d, int i, const int32_t *at, const Passing *p, V base, int full) {
    V a = load(at + p->ahead[i]), b = load(at + p->behind[i]);
    if (full) {
        d->sums[i] = a + b - (base + base);
        d->differences[i] = a - b;
    } else {
        M has_a = is_not(a, all_of(MISSING)), has_b = is_not(b, all_of(MISSING));
        a = where(has_a, a - base);
        b = where(has_b, b - base);
        d->sums[i] = a + b;
        d->differences[i] = a - b;
        d->known = plus_one(has_a | has_b, d->known);
    }
    d->bend += magnitude(d->sums[i]);
    d->lean += magnitude(d->differences[i]);
}

/* Appends the contexts of up to LANES voxels, one behind the other along z, to the block.
   at: the first voxel's value
   place: its place in the level's arrays
   active: which of them are coded
   face: for each face neighbour, of which of them it is active */
INLINE void append_contexts(Block *block, const Passing *p, const int32_t *at, int32_t place,
                            unsigned active, const unsigned face[6], int odd, int with_reference,
                            int full, int wide) {
    const inrv_channel *channel = p->task->channel;
    const int slots = SLOTS(odd), certain = odd < 3 ? slots - MOST_SIBLINGS : slots;
    V inputs[INRV_MOST_INPUTS + 4], near, curves, spread, slope, inner_near;
    V base = base_of(at, p->ahead, p->behind, p->pairs, odd, all_of(p->task->mean), active, full,
                     wide, &near, &curves);
    Deviations d = {.bend = all_of(0), .lean = all_of(0), .known = all_of(0)};
    UNROLLED
    for (int i = 0; i < certain; i++) add_pair(&d, i, at, p, base, full);
    UNROLLED
    for (int i = certain; i < slots; i += SIBLINGS_A_TURN) {
        d.sums[i] = d.differences[i] = d.sums[i + 1] = d.differences[i + 1] = all_of(0);
        if (i >= p->pairs) continue;
        add_pair(&d, i, at, p, base, full);
        add_pair(&d, i + 1, at, p, base, full);
    }
    if (full) {
        d.known = all_of(p->pairs);
        spread = odd == 3 ? d.bend >> 4 : quotient_by(d.bend, p->pairs, wide);
        slope = odd == 3 ? d.lean >> 4 : quotient_by(d.lean, p->pairs, wide);
    } else {
        V count = larger(d.known, all_of(1));
        spread = choose(is_above(d.known, all_of(0)), quotient(d.bend, count, wide),
                        all_of(2 * p->task->spread));
        slope = quotient(d.lean, count, wide);
    }
    spread = clip(spread, p->step >> 2, HIGHEST - 1);
    slope = clip(slope, p->step >> 2, HIGHEST - 1);
    V mantissa, shift, other_mantissa, other_shift;
    const int spread_shifted = scaled(spread, active, &mantissa, &shift);
    int shifted = spread_shifted;
    quantised(d.sums, slots, mantissa, shift, shifted, inputs);
    int other_shifted = scaled(slope, active, &other_mantissa, &other_shift);
    quantised(d.differences, slots, other_mantissa, other_shift, other_shifted, inputs + slots);
    V log_spread = log64(spread) - p->log_step;
    int n = 2 * slots;
    for (int i = 0; i < 6; i++) inputs[n++] = sixteens(face[i]);
    inputs[n++] = (log_spread + 8) >> 4;
    inputs[n++] = (log64(slope) - p->log_step + 8) >> 4;
    inputs[n++] = quotient_by(clip(base, 0, HIGHEST) << 5, channel->top, wide);
    inputs[n++] =
        quotient_by(clip(base - channel->background, -16 * p->step, 16 * p->step) << 2, p->step, 0);
    inputs[n++] = all_of(3 * p->number);
    if (odd == 3) { /* thirds, exact for so small numbers */
        inputs[n++] = (near * 8 * 171) >> 9;
        inputs[n++] = (curves * 16 * 171) >> 9;
    } else {
        inputs[n++] = near * (8 / odd);
        inputs[n++] = curves * (16 / odd);
    }
    V inner = inner_base_of(at, p, odd, base, active, wide, &inner_near) - base;
    inner = larger(smaller(inner, spread << 2), all_of(0) - (spread << 2)); /* QUANT's clip */
    quantised(&inner, 1, mantissa, shift, shifted, inputs + n);
    inputs[n + 1] = odd == 3 ? (inner_near * 8 * 171) >> 9 : inner_near * (8 / odd);
    n += 2;
    if (with_reference) {
        const int32_t *there = p->level->reference + (at - p->level->values);
        V own = load(there), unused, unused_too, deviations[4];
        M has = is_not(own, all_of(MISSING));
        V other = base_of(there, p->ahead, p->behind, 2 * odd, odd, where(has, own), active, 0,
                          wide, &unused, &unused_too);
        deviations[0] = where(has, (own - other) * 2);
        V sum = magnitude(deviations[0]);
        for (int i = 0; i < 3; i++) {
            deviations[1 + i] = deviation(there + p->face_ahead[i], other) +
                                deviation(there + p->face_behind[i], other);
            sum += magnitude(deviations[1 + i]);
        }
        V other_spread = clip(sum >> 2, p->step >> 2, HIGHEST - 1);
        V log_other = log64(other_spread) - p->log_step;
        shifted = scaled(other_spread, active, &other_mantissa, &other_shift);
        quantised(deviations, 4, other_mantissa, other_shift, shifted, inputs + n);
        inputs[n + 4] = where(has, all_of(ONE));
        inputs[n + 5] = (log_other + 8) >> 4;
        inputs[n + 6] = (log_other - log_spread + 4) >> 3;
        n += 7;
        V near[5] = {deviations[0], where(has, (own - base) * 2), deviations[1], deviations[2],
                     deviations[3]};
        for (int i = 0; i < 5; i++) /* QUANT's clip */
            near[i] = larger(smaller(near[i], spread << 2), all_of(0) - (spread << 2));
        quantised(near, 5, mantissa, shift, spread_shifted, inputs + n);
        V amiss = all_of(0);
        for (int i = 0; i < p->pairs; i++) {
            V theirs =
                deviation(there + p->ahead[i], other) + deviation(there + p->behind[i], other);
            amiss += magnitude(d.sums[i] - theirs);
        }
        amiss = clip(quotient(amiss, all_of(p->pairs), wide), p->step >> 2, HIGHEST - 1);
        inputs[n + 5] = (log64(amiss) - p->log_step - log_spread + 4) >> 3;
        n += 6;
    }
    while (n % 4) inputs[n++] = all_of(0);
    M still = is_above(d.known, all_of(0)) & ~is_not(d.bend | d.lean, all_of(0));
    V flat = where(still, all_of(1 << 30));
    Order order = order_of(active);
    int first = block->count;
    UNROLLED
    for (int g = 0; g < n / 4; g++) {
        const V *four = inputs + 4 * g;
        append(&block->inputs[g][first], order, inputs4(four[0], four[1], four[2], four[3]));
    }
    append(&block->base[first], order, base);
    append(&block->scale[first], order, mantissa | shift << 16 | flat);
    append(&block->log[first], order, log_spread);
    append(&block->place[first], order, lane_numbers() + place);
    block->count = first + __builtin_popcount(active);
}

/* ---- Networks ---- */

/* Products with inputs count twice where these are 16ths, as of the prediction; the restoration
   filter's are 32nds. Sums are of 2048ths, weights of 64ths. */
INLINE int counts_twice(int outputs) { return outputs == 2; }

#ifdef HAVE_DOT4

static uint32_t halves(int low, int high) {
    return (uint32_t)(uint16_t)low | (uint32_t)(uint16_t)high << 16;
}

/* Writes up to four weights of a column, zeros behind, as dot4 reads them. */
static void put_four(int32_t *to, const int8_t *from, ptrdiff_t pitch, int count) {
    int w[4] = {0};
    for (int i = 0; i < 4 && i < count; i++) w[i] = from[i * pitch];
    if (WEIGHT_WORDS == 2) {
        to[0] = (int32_t)halves(w[0], w[2]);
        to[WEIGHT_WORDS - 1] = (int32_t)halves(w[1], w[3]);
    } else {
        uint32_t bytes = 0;
        for (int i = 0; i < 4; i++) bytes |= (uint32_t)(uint8_t)w[i] << (8 * i);
        to[0] = (int32_t)bytes;
    }
}

static int32_t column_sum(const int8_t *from, ptrdiff_t pitch, int count) {
    int32_t sum = 0;
    for (int i = 0; i < count; i++) sum += from[i * pitch];
    return sum;
}

static void pack(Packed *to, const inrv_network *network) {
    int inputs = network->inputs, first = network->first, second = network->second;
    int outputs = network->outputs, groups = (inputs + 3) / 4;
    to->groups = groups;
    to->first = first;
    to->second = second;
    to->outputs = outputs;
    for (int j = 0; j < first + outputs; j++) {
        const int8_t *from =
            j < first ? network->first_weight + j : network->skip_weight + j - first;
        int pitch = j < first ? first : outputs;
        for (int g = 0; g < groups; g++)
            put_four(to->first_weight + (j * groups + g) * WEIGHT_WORDS, from + 4 * g * pitch,
                     pitch, inputs - 4 * g);
        int start = j < first ? (network->first_bias[j] + 32) >> counts_twice(outputs) : 0;
        to->first_start[j] =
            start - 64 * column_sum(from, pitch, inputs); /* inputs come 64 larger */
    }
    for (int j = 0; j < second; j++) {
        for (int g = 0; g < first / 4; g++)
            put_four(to->second_weight + (j * (first / 4) + g) * WEIGHT_WORDS,
                     network->second_weight + 4 * g * second + j, second, 4);
        to->second_start[j] = network->second_bias[j] + 32;
    }
    for (int j = 0; j < outputs; j++) {
        for (int g = 0; g < second / 4; g++)
            put_four(to->last_weight + (j * (second / 4) + g) * WEIGHT_WORDS,
                     network->last_weight + 4 * g * outputs + j, outputs, 4);
        to->last_bias[j] = network->last_bias[j];
    }
}

#if LANES == 16
#define VECTORS 4 /* of voxels that go through a layer together: as many as registers hold */
#else
#define VECTORS 2
#endif

/* COUNT sums for VECTORS vectors of voxels, over groups of four inputs. */
#define SUMS(COUNT, GROUPS, INPUTS, WEIGHTS, START)                                        \
    V sum[COUNT][VECTORS];                                                                 \
    UNROLLED                                                                               \
    for (int j = 0; j < COUNT; j++) UNROLLED                                               \
    for (int v = 0; v < VECTORS; v++) sum[j][v] = START;                                   \
    {                                                                                      \
        const int32_t *weight = WEIGHTS;                                                   \
        ROLLED                                                                             \
        for (int g = 0; g < GROUPS; g++, weight += WEIGHT_WORDS) UNROLLED                  \
        for (int v = 0; v < VECTORS; v++) UNROLLED                                         \
        for (int j = 0; j < COUNT; j++)                                                    \
            sum[j][v] = dot4(sum[j][v], INPUTS[g][v], weight + j * GROUPS * WEIGHT_WORDS); \
    }

INLINE void through(const Packed *n, Block *block, int at, int groups, int first, int second,
                    int outs) {
    const int once = !counts_twice(outs);
    V inputs[MOST_GROUPS][VECTORS], hidden[8][VECTORS], last[8][VECTORS], skip[2][VECTORS];
    ROLLED
    for (int g = 0; g < groups; g++) UNROLLED
    for (int v = 0; v < VECTORS; v++) inputs[g][v] = load(&block->inputs[g][at + v * LANES]);
    ROLLED
    for (int t = 0; t < first / 4; t++) {
        SUMS(4, groups, inputs, n->first_weight + 4 * t * groups * WEIGHT_WORDS,
             all_of(n->first_start[4 * t + j]))
        UNROLLED
        for (int v = 0; v < VECTORS; v++)
            hidden[t][v] = activations4(sum[0][v] >> once, sum[1][v] >> once, sum[2][v] >> once,
                                        sum[3][v] >> once);
    }
    ROLLED
    for (int t = 0; t < second / 4; t++) {
        SUMS(4, (first / 4), hidden, n->second_weight + 4 * t * (first / 4) * WEIGHT_WORDS,
             all_of(n->second_start[4 * t + j]))
        UNROLLED
        for (int v = 0; v < VECTORS; v++)
            last[t][v] =
                activations4(sum[0][v] >> 1, sum[1][v] >> 1, sum[2][v] >> 1, sum[3][v] >> 1);
    }
    if (outs == 2) {
        SUMS(2, groups, inputs, n->first_weight + first * groups * WEIGHT_WORDS,
             all_of(n->first_start[first + j]))
        for (int v = 0; v < VECTORS; v++) skip[0][v] = sum[0][v], skip[1][v] = sum[1][v];
    } else {
        SUMS(1, groups, inputs, n->first_weight + first * groups * WEIGHT_WORDS,
             all_of(n->first_start[first + j]))
        for (int v = 0; v < VECTORS; v++) skip[0][v] = sum[0][v];
    }
    if (outs == 2) {
        SUMS(2, (second / 4), last, n->last_weight, skip[j][v] * (2 - once) + n->last_bias[j])
        for (int v = 0; v < VECTORS; v++) {
            store(&block->outputs[0][at + v * LANES], sum[0][v]);
            store(&block->outputs[1][at + v * LANES], sum[1][v]);
        }
    } else {
        SUMS(1, (second / 4), last, n->last_weight, skip[j][v] * (2 - once) + n->last_bias[j])
        for (int v = 0; v < VECTORS; v++) store(&block->outputs[0][at + v * LANES], sum[0][v]);
    }
}

enum { TOGETHER = VECTORS * LANES }; /* voxels that `through` takes */

#else /* without dot4: four products of 16 bits are added before they are widened */

/* Rows of weights of 16 bits: the first layer's by input, all others by what they give. */
enum { MOST_ROW = 4 * MOST_GROUPS };

static void pack(Packed *to, const inrv_network *network) {
    const int inputs = network->inputs, first = network->first, second = network->second;
    const int outputs = network->outputs;
    int16_t *first_weight = (int16_t *)to->first_weight, *skip = first_weight + MOST_ROW * 32;
    int16_t *second_weight = (int16_t *)to->second_weight;
    int16_t *last_weight = (int16_t *)to->last_weight;
    memset(to, 0, sizeof *to);
    to->groups = (inputs + 3) / 4;
    to->first = first;
    to->second = second;
    to->outputs = outputs;
    for (int i = 0; i < inputs * first; i++) first_weight[i] = network->first_weight[i];
    for (int i = 0; i < inputs; i++)
        for (int j = 0; j < outputs; j++)
            skip[j * MOST_ROW + i] = network->skip_weight[i * outputs + j];
    for (int j = 0; j < first; j++)
        to->first_start[j] = (network->first_bias[j] + 32) >> counts_twice(outputs);
    for (int i = 0; i < first; i++)
        for (int j = 0; j < second; j++)
            second_weight[j * first + i] = network->second_weight[i * second + j];
    for (int j = 0; j < second; j++) to->second_start[j] = network->second_bias[j] + 32;
    for (int i = 0; i < second; i++)
        for (int j = 0; j < outputs; j++)
            last_weight[j * second + i] = network->last_weight[i * outputs + j];
    for (int j = 0; j < outputs; j++) to->last_bias[j] = network->last_bias[j];
}

INLINE int16_t activation(int32_t sum) { return (int16_t)(sum < 0 ? 0 : sum > 127 ? 127 : sum); }

INLINE int32_t product(const int16_t *a, const int16_t *b, int count) {
    int32_t sum = 0;
    for (int i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

INLINE void through(const Packed *n, Block *block, int at, int groups, int first, int second,
                    int outs) {
    const int16_t *first_weight = (const int16_t *)n->first_weight;
    const int16_t *skip = first_weight + MOST_ROW * 32;
    const int16_t *second_weight = (const int16_t *)n->second_weight;
    const int16_t *last_weight = (const int16_t *)n->last_weight;
    const int once = !counts_twice(outs);
    int32_t sums[32];
    int16_t inputs[MOST_ROW] = {0}, hidden[32], last[32], part[32];
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < 4; i++)
            inputs[4 * g + i] = (int16_t)(((uint32_t)block->inputs[g][at] >> (8 * i) & 255) - 64);
    for (int j = 0; j < first; j++) sums[j] = n->first_start[j];
    for (int i = 0; i < 4 * groups; i += 4) {
        const int16_t *w = first_weight + i * first;
        for (int j = 0; j < first; j++)
            part[j] =
                (int16_t)(inputs[i] * w[j] + inputs[i + 1] * w[first + j] +
                          inputs[i + 2] * w[2 * first + j] + inputs[i + 3] * w[3 * first + j]);
        for (int j = 0; j < first; j++) sums[j] += part[j];
    }
    for (int j = 0; j < first; j++) hidden[j] = activation(sums[j] >> (5 + once));
    /* Sums first, then all activations in vectors: a branch for each would often be mispredicted.
     */
    for (int j = 0; j < second; j++)
        sums[j] = n->second_start[j] + product(hidden, second_weight + j * first, first);
    for (int j = 0; j < second; j++) last[j] = activation(sums[j] >> 6);
    for (int o = 0; o < outs; o++)
        block->outputs[o][at] = n->last_bias[o] +
                                (2 - once) * product(inputs, skip + o * MOST_ROW, 4 * groups) +
                                product(last, last_weight + o * second, second);
}

enum { TOGETHER = 1 };

#endif

/* Fills the outputs of the block's first `count` voxels. */
NOINLINE void evaluate(const Packed *n, Block *block, int count) {
#define WIDTHS(GROUPS, FIRST, SECOND, OUTS)                    \
    case GROUPS:                                               \
        for (int i = 0; i < count; i += TOGETHER)              \
            through(n, block, i, GROUPS, FIRST, SECOND, OUTS); \
        break;
    if (n->outputs == 1) switch (n->groups) {
            WIDTHS(10, 24, 16, 1)
        }
    else
        switch (n->groups) {
            WIDTHS(11, 32, 32, 2)
            WIDTHS(12, 32, 32, 2)
            WIDTHS(13, 32, 32, 2)
            WIDTHS(14, 32, 32, 2)
            WIDTHS(15, 32, 32, 2)
            WIDTHS(16, 32, 32, 2)
        }
}

/* ---- Samples for fitting ---- */

static int taken(inrv_samples *samples, int level) {
    samples->seed = samples->seed * 6364136223846793005u + 1442695040888963407u;
    uint32_t drawn = (uint32_t)(samples->seed >> 32);
    return samples->count < samples->capacity &&
           (drawn < samples->share[level] || samples->share[level] == UINT32_MAX);
}

static void sample(inrv_samples *samples, const Block *block, int count, const int32_t *truth,
                   int inputs, int odd, int level) {
    for (int n = 0; n < count; n++) {
        if (!taken(samples, level)) continue;
        size_t to = samples->count++;
        int32_t scale = block->scale[n];
        for (int i = 0; i < inputs; i++)
            samples->inputs[to * INRV_MOST_INPUTS + (size_t)i] =
                (int8_t)(((uint32_t)block->inputs[i / 4][n] >> (8 * (i % 4)) & 255) - 64);
        samples->base[to] = block->base[n];
        samples->spread[to] = (scale & 0xffff) << (scale >> 16 & 31);
        samples->targets[to] = truth[block->place[n]];
        samples->predicted[to] = block->predicted[n];
        samples->table[to] = (uint8_t)block->table[n];
        samples->odd[to] = (uint8_t)odd;
        samples->level[to] = (uint8_t)level;
        samples->flat[to] = (uint8_t)(scale >> 30 & 1);
    }
}

/* ---- Codes ---- */

/* The token under whose part a slot lies. */
INLINE int token_at(const int16_t *start, int slot) {
    int16_t biased = (int16_t)(slot - (1 << 15));
#if defined(SIMD_AVX512) || defined(SIMD_AVX2)
    const __m256i wanted = _mm256_set1_epi16(biased);
    for (int first = 0; first < 32; first += 16) {
        unsigned above = (unsigned)_mm256_movemask_epi8(
            _mm256_cmpgt_epi16(_mm256_loadu_si256((const __m256i *)(start + 1 + first)), wanted));
        if (LIKELY(above)) return first + (__builtin_ctz(above) >> 1);
    }
    unsigned above = (unsigned)_mm256_movemask_epi8(
        _mm256_cmpgt_epi16(_mm256_loadu_si256((const __m256i *)(start + 33)), wanted));
    return above ? 32 + (__builtin_ctz(above) >> 1) : INRV_TOKENS - 1;
#elif defined(SIMD_SSE4)
    const __m128i wanted = _mm_set1_epi16(biased);
    for (int first = 0; first < 48; first += 8) {
        unsigned above = (unsigned)_mm_movemask_epi8(
            _mm_cmpgt_epi16(_mm_loadu_si128((const __m128i *)(start + 1 + first)), wanted));
        if (above) return first + (__builtin_ctz(above) >> 1);
    }
    return INRV_TOKENS - 1;
#else
    int token = 0;
    for (int half = 32; half; half >>= 1) token += start[token + half] <= biased ? half : 0;
    return token;
#endif
}

INLINE uint32_t read_token(Coder *coder, int table, uint32_t state, const uint8_t **word,
                           int32_t *token, int set) {
    Table *own = &coder->table[table];
    int slot = (int)(state & ((1 << PROBABILITY_BITS) - 1));
    int found = token_at(own->start, slot);
    state = own->part[found] * (state >> PROBABILITY_BITS) +
            (uint32_t)(slot - (own->start[found] + (1 << 15)));
    own->seen[set][found]++;
    *token = found;
    uint16_t next;
    memcpy(&next, *word, 2);
    int more = state < 1u << 16;
    *word += 2 * more;
    return more ? state << 16 | next : state;
}

/* The next raw bits, the first lowest: at least 57. */
INLINE uint64_t raw_bits(const Coder *coder) {
    uint64_t window;
    memcpy(&window, coder->raw_end - 8 - (coder->raw >> 3), 8);
    return __builtin_bswap64(window) >> (coder->raw & 7);
}

/* Puts the lowest bits of `bits` where `places` has ones. */
INLINE unsigned deposited(unsigned bits, unsigned places) {
#ifdef __BMI2__
    return _pdep_u32(bits, places);
#else
    unsigned result = 0;
    for (; places; places &= places - 1, bits >>= 1)
        if (bits & 1) result |= places & -places;
    return result;
#endif
}

/* What the reading of codes needs of a channel and a level. Without predictions, with a step and a
   top of 0, no sign is implied. */
typedef struct {
    int32_t step, top;
    int trellis;
} Rules;

/* The code of a token, whose extra bits and sign are read. */
static int32_t code_of(Coder *coder, int token, int32_t predicted, int quantiser,
                       const Rules *rules) {
    if (!token) return 0;
    uint64_t bits = raw_bits(coder);
    int32_t magnitude = token;
    int used = 0;
    if (token >= DIRECT) {
        used = extra_bits(token);
        magnitude = ((2 + token % 2) << used) + (int32_t)(bits & ((1u << used) - 1));
    }
    int sign = only_sign(predicted, magnitude, quantiser, rules->step, rules->top);
    if (!sign) sign = bits >> used++ & 1 ? -1 : 1;
    coder->raw += (uint64_t)used;
    return sign * magnitude;
}

/* Reads the codes of the block's first `count` voxels, and finds their quantisers; the first is
   number `first` of its pass, a multiple of BLOCK. */
NOINLINE int read_codes(Coder *coder, Block *block, int count, uint32_t first, const Rules *rules) {
    const uint8_t *word = coder->word;
    const uint32_t lanes = (uint32_t)coder->lanes - 1;
    uint32_t *state = coder->state;
    int32_t *codes = block->code;
    for (int i = 0; i < count; i++) {
        uint32_t lane = (first + (uint32_t)i) & lanes;
        int table = block->table[i];
        if (rules->trellis) {
            block->quantiser[i] = coder->chain[i % CHAINS] & 1;
            table += block->quantiser[i] * INRV_TABLES;
        }
        state[lane] = read_token(coder, table, state[lane], &word, codes + i, i & 1);
        if (rules->trellis) coder->chain[i % CHAINS] = NEXT[coder->chain[i % CHAINS]][codes[i] & 1];
    }
    coder->word = word;
    if (word > coder->last_word) return INRV_RULE('F', 6);
    for (int i = count; i % LANES; i++) codes[i] = 0;
    for (int i = 0; i < count; i += LANES) {
        V tokens = load(codes + i);
        V quantiser = rules->trellis ? load(block->quantiser + i) : all_of(0);
        if (UNLIKELY(bits_of(is_above(tokens, all_of(DIRECT - 1))))) {
            for (int k = 0; k < LANES; k++)
                codes[i + k] =
                    code_of(coder, codes[i + k], block->predicted[i + k], quantiser[k], rules);
            continue;
        }
        V reach = (2 * tokens - 1 - quantiser) * rules->step;
        V below = 2 * load(block->predicted + i), beyond = 2 * rules->top - below;
        unsigned any = bits_of(is_above(tokens, all_of(0))), up = bits_of(is_above(reach, below));
        unsigned down = bits_of(is_above(reach, beyond)) & ~up, either = any & ~(up | down);
        M negative = of_bits(deposited((unsigned)raw_bits(coder), either) | down);
        coder->raw += (unsigned)__builtin_popcount(either);
        store(codes + i, choose(negative, -tokens, tokens));
    }
    return coder->raw > coder->raw_most ? INRV_RULE('F', 6) : INRV_OK;
}

static int32_t floor_div(int32_t a, int32_t b) {
    int32_t q = a / b;
    return q - (a % b < 0);
}

/* Of the nearest code, the next nearer to 0, and 0, the one that costs least. */
INLINE int32_t chosen(int32_t difference, int table, int32_t step, const inrv_aim *aim) {
    int32_t beyond = difference + step / 2;
    if (beyond >= 0 && beyond < step) return 0; /* most are: a division takes long */
    int32_t nearest = floor_div(beyond, step);
    if (aim->rate_weight == 0) return nearest;
    int32_t choices[3] = {nearest, nearest - (nearest > 0 ? 1 : -1), 0}, best = nearest;
    const float *bits = aim->bits + table * INRV_LISTED;
    float exact = (float)difference / (float)step, least = 0;
    for (int i = 0; i < 3; i++) {
        int32_t magnitude = choices[i] < 0 ? -choices[i] : choices[i];
        float missed = exact - (float)choices[i];
        float cost = missed * missed +
                     aim->rate_weight * bits[magnitude < INRV_LISTED ? magnitude : INRV_LISTED - 1];
        if (i && cost >= least) continue;
        least = cost;
        best = choices[i];
    }
    return best;
}

NOINLINE void choose_codes(Coder *coder, Block *block, int count, uint32_t first,
                           const int32_t *targets, int32_t step, int32_t top, const inrv_aim *aim) {
    for (int i = 0; i < count; i++) {
        int32_t predicted = block->predicted[i];
        int32_t code = chosen(clipped(targets[block->place[i]], 0, top) - predicted,
                              block->table[i], step, aim);
        int implied = only_sign(predicted, code < 0 ? -code : code, 0, step, top) != 0;
        write_code(coder, block->table[i], code, first + (uint32_t)i, implied);
        block->code[i] = code;
    }
    settle(&coder->found);
}

/* Keeps the block's first `count` voxels until all of the pass are there: a trellis chooses their
   codes together. Only the last block of a pass has voxels for a part of a row. */
static void let_wait(Coder *coder, Block *block, int count, const int32_t *targets, int32_t top) {
    for (int i = 0; i < count; i += CHAINS) {
        Row *row = coder->rows + (coder->waiting + (size_t)i) / CHAINS;
        const int present = count - i < CHAINS ? count - i : CHAINS;
        memset(row, 0, sizeof *row);
        for (int c = 0; c < present; c++) {
            row->place[c] = block->place[i + c];
            row->table[c] = block->table[i + c];
            row->predicted[c] = block->predicted[i + c];
            row->difference[c] = clipped(targets[row->place[c]], 0, top) - row->predicted[c];
        }
    }
    coder->waiting += (size_t)count;
}

/* Turns the block's codes into values. */
INLINE void take_moves(Block *block, int count, const Rules *rules) {
    for (int i = 0; i < count; i += LANES) {
        V code = load(block->code + i), move = code * rules->step;
        if (rules->trellis) {
            V quantiser = load(block->quantiser + i);
            V less = choose(is_above(code, all_of(0)), quantiser,
                            where(is_above(all_of(0), code), -quantiser));
            move = (2 * code - less) * rules->step >> 1;
        }
        store(block->code + i, clip(load(block->predicted + i) + move, 0, rules->top));
    }
}

/* ---- Prediction ---- */

/* Predicts and codes the block's first `count` voxels, and writes their values. */
NOINLINE int finish_block(inrv_work *work, const Passing *p, int count, uint32_t first) {
    const inrv_channel *channel = p->task->channel;
    Block *block = &work->block;
    evaluate(&work->networks[p->odd], block, count);
    for (int i = 0; i < count; i += LANES) {
        V scale = load(block->scale + i), near = clip(load(block->outputs[0] + i), -8191, 8191);
        V octaves = clip(load(block->outputs[1] + i), -(1 << 20), 1 << 20) >> 5;
        V move = (((scale & 0xffff) * near + 1024) >> 11) << (scale >> 16 & 31);
        V predicted = load(block->base + i) + where(is_not(scale & 1 << 30, all_of(1 << 30)), move);
        if (channel->lossless) predicted = (predicted + STEP / 2) & -STEP;
        store(block->predicted + i, clip(predicted, 0, channel->top));
        V table = (load(block->log + i) + octaves + LOWEST_TABLE * LOG_ONE) >> 4;
        store(block->table + i, clip(table, 0, INRV_TABLES - 1));
    }
    if (p->task->samples)
        sample(p->task->samples, block, count, p->level->truth, 4 * work->networks[p->odd].groups,
               p->odd, p->number);
    const Rules rules = {p->step, channel->top, channel->trellis};
    if (p->task->aim && rules.trellis) {
        let_wait(&work->coder, block, count, p->level->targets, channel->top);
        return INRV_OK;
    }
    if (p->task->aim)
        choose_codes(&work->coder, block, count, first, p->level->targets, p->step, channel->top,
                     p->task->aim);
    else {
        int error = read_codes(&work->coder, block, count, first, &rules);
        if (UNLIKELY(error)) return error;
    }
    take_moves(block, count, &rules);
    for (int i = 0; i < count; i++) p->level->values[block->place[i]] = block->code[i];
    return INRV_OK;
}

/* Moves what lies behind the block's first BLOCK voxels to its front. */
static void shift_block(Block *block, int groups) {
    for (int g = 0; g < groups; g++) memcpy(block->inputs[g], block->inputs[g] + BLOCK, sizeof(V));
    memcpy(block->base, block->base + BLOCK, sizeof(V));
    memcpy(block->scale, block->scale + BLOCK, sizeof(V));
    memcpy(block->log, block->log + BLOCK, sizeof(V));
    memcpy(block->place, block->place + BLOCK, sizeof(V));
    block->count -= BLOCK;
}

/* ---- Traversal ---- */

/* Which of a row's places have all neighbours in the region: bits of a mask. */
static uint64_t inner_places(const Level *level) {
    int count = level->half[2];
    if (count < 4) return 0;
    uint64_t all = count == 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
    return all >> 3 << 1;
}

INLINE int pass_parity(inrv_work *work, Passing *p, const Parity *parity, uint32_t *number, int odd,
                       int with_reference) {
    const Level *level = p->level;
    Block *block = &work->block;
    const uint64_t inner = inner_places(level);
    const int wide = p->task->wide;
    for (int x = 0; x < level->half[0]; x++)
        for (int y = 0; y < level->half[1]; y++) {
            const uint64_t *row = level->masks + (x + 1) * level->mask_pitch + y + 1;
            uint64_t mask = row[parity->parity * level->mask_size];
            if (!mask) continue;
            uint64_t sides[6];
            for (int i = 0; i < 6; i++) {
                const Way *way = &p->faces[i];
                uint64_t side =
                    row[way->parity * level->mask_size + way->x * level->mask_pitch + way->y];
                sides[i] = way->z > 0 ? side >> 1 : way->z < 0 ? side << 1 : side;
            }
            int deep = p->task->channel->exterior && x >= 1 && x < level->half[0] - 2 && y >= 1 &&
                       y < level->half[1] - 2;
            ptrdiff_t start = parity->parity * level->size + (x + PAD_BEFORE) * level->plane +
                              (y + PAD_BEFORE) * level->pitch + PAD_Z;
            for (int z = 0; z < level->half[2]; z += LANES) {
                unsigned active = (unsigned)(mask >> z) & ALL_LANES, face[6];
                if (!active) continue;
                for (int i = 0; i < 6; i++) face[i] = (unsigned)(sides[i] >> z) & ALL_LANES;
                const int32_t *at = level->values + start + z;
                int32_t place = (int32_t)(start + z);
                if (deep && !((uint64_t)active << z & ~inner))
                    append_contexts(block, p, at, place, active, face, odd, with_reference, 1,
                                    wide);
                else
                    append_contexts(block, p, at, place, active, face, odd, with_reference, 0,
                                    wide);
                if (block->count < BLOCK) continue;
                int error = finish_block(work, p, BLOCK, *number);
                if (UNLIKELY(error)) return error;
                *number += BLOCK;
                shift_block(block, work->networks[odd].groups);
            }
        }
    return INRV_OK;
}

#define PARITY(NAME, ODD, REFERENCE)                                                         \
    NOINLINE int NAME(inrv_work *work, Passing *p, const Parity *parity, uint32_t *number) { \
        return pass_parity(work, p, parity, number, ODD, REFERENCE);                         \
    }
PARITY(one_odd, 1, 0)
PARITY(two_odd, 2, 0)
PARITY(three_odd, 3, 0)
PARITY(one_odd_referring, 1, 1)
PARITY(two_odd_referring, 2, 1)
PARITY(three_odd_referring, 3, 1)

static int32_t log_of(int32_t number) {
    int top = 31 - __builtin_clz((uint32_t)number);
    return LOG_ONE * top + (int32_t)(((int64_t)number << 6 >> top) - LOG_ONE);
}

/* Codes the voxels of a parity of a level; `number` is the level's. */
static int pass(inrv_work *work, const Task *task, int number, int parity_number) {
    typedef int Walk(inrv_work *, Passing *, const Parity *, uint32_t *);
    static Walk *const WALKS[2][3] = {{one_odd, two_odd, three_odd},
                                      {one_odd_referring, two_odd_referring, three_odd_referring}};
    const inrv_channel *channel = task->channel;
    const Parity *parity = &PARITIES[parity_number];
    Walk *walk = WALKS[channel->reference_top > 0][parity->odd - 1];
    const Level *level = &work->levels[number];
    int32_t step = channel->steps[number];
    Passing passing = {.task = task,
                       .level = level,
                       .number = number,
                       .odd = parity->odd,
                       .step = step,
                       .log_step = log_of(step)};
    uint32_t coded = 0;
    work->block.count = 0;
    begin_parity(&passing, parity);
    int error = walk(work, &passing, parity, &coded);
    if (!error && work->block.count) error = finish_block(work, &passing, work->block.count, coded);
    if (work->coder.waiting)
        INRV_VARIANT_OF(inrv_choose_path)(&work->coder, task->aim, step, channel->top,
                                          level->values);
    return error;
}

/* The region's corner voxel, predicted by the region's mean, its table by the spread. */
static int corner(inrv_work *work, const Task *task) {
    const Level *level = &work->levels[INRV_LEVELS - 1];
    const inrv_channel *channel = task->channel;
    Block *block = &work->block;
    int32_t step = channel->steps[INRV_LEVELS - 1], predicted = task->mean;
    if (channel->lossless) predicted = (predicted + STEP / 2) & -STEP;
    block->predicted[0] = clipped(predicted, 0, channel->top);
    block->table[0] = clipped((log_of(task->spread) - log_of(step) + LOWEST_TABLE * LOG_ONE) >> 4,
                              0, INRV_TABLES - 1);
    block->place[0] = (int32_t)(PAD_BEFORE * level->plane + PAD_BEFORE * level->pitch + PAD_Z);
    const Rules rules = {step, channel->top, channel->trellis};
    if (task->aim) {
        choose_codes(&work->coder, block, 1, 0, level->targets, step, channel->top, task->aim);
        int32_t magnitude = block->code[0] < 0 ? -block->code[0] : block->code[0];
        block->quantiser[0] = 0;
        work->coder.chain[0] = NEXT[0][token_of((uint32_t)magnitude) & 1];
    } else {
        int error = read_codes(&work->coder, block, 1, 0, &rules);
        if (error) return error;
    }
    take_moves(block, 1, &rules);
    level->values[block->place[0]] = block->code[0];
    return INRV_OK;
}

/* ---- Restoration ---- */

NOINLINE void finish_restoration(inrv_work *work, const Task *task, int count) {
    Block *block = &work->block;
    evaluate(&work->networks[0], block, count);
    if (task->samples)
        sample(task->samples, block, count, work->levels[0].truth, 4 * work->networks[0].groups, 0,
               0);
    for (int i = 0; i < count; i += LANES) {
        V move = clip((load(block->outputs[0] + i) + 8) >> 4, -STEP, STEP);
        store(block->code + i, clip(load(block->base + i) + move, 0, task->channel->top));
    }
    for (int i = 0; i < count; i++) work->restored[block->log[i]] = block->code[i];
}

/* place: of the first voxel in the level's arrays
   to: its place among restored values, which the block has where it has logarithms otherwise
   kind: number of odd coordinates */
INLINE void append_neighbourhoods(Block *block, const Task *task, const int32_t *at,
                                  int32_t *restored, int32_t place, int32_t to, unsigned active,
                                  const ptrdiff_t *ahead, const ptrdiff_t *behind, int kind,
                                  int full) {
    V inputs[40], own = load(at), twice = own + own, any = all_of(0);
    const V none = all_of(MISSING);
    UNROLLED
    for (int i = 0; i < PAIRS_AROUND; i++) {
        V a = load(at + ahead[i]), b = load(at + behind[i]);
        V sum = a + b - twice, difference = a - b;
        if (!full) {
            V one = where(is_not(a, none), a - own), other = where(is_not(b, none), b - own);
            sum = one + other;
            difference = one - other;
        }
        inputs[i] = sum >> 3;
        inputs[PAIRS_AROUND + i] = difference >> 3;
        any |= inputs[i] | inputs[PAIRS_AROUND + i];
    }
    store(restored + to, own);
    unsigned uneven = active & bits_of(is_not(any, all_of(0)));
    if (!uneven) return;
    int n = 2 * PAIRS_AROUND;
    for (int i = 0; i < 3; i++) {
        inputs[n + i] = full ? all_of(FILTER_ONE)
                             : where(is_not(load(at + ahead[i]), none), all_of(FILTER_ONE));
        inputs[n + 3 + i] = full ? all_of(FILTER_ONE)
                                 : where(is_not(load(at + behind[i]), none), all_of(FILTER_ONE));
    }
    for (int i = 0; i < 4; i++) inputs[n + 6 + i] = all_of((kind + 3) % 4 == i ? FILTER_ONE : 0);
    inputs[n + 10] = clip(own - task->channel->background, -16 * STEP, 16 * STEP) >> 4;
    for (int i = n + 11; i < 40; i++) inputs[i] = all_of(0);
    Order order = order_of(uneven);
    int first = block->count;
    UNROLLED
    for (int g = 0; g < 10; g++) {
        const V *four = inputs + 4 * g;
        append(&block->inputs[g][first], order, inputs4(four[0], four[1], four[2], four[3]));
    }
    append(&block->base[first], order, own);
    append(&block->place[first], order, lane_numbers() + place);
    append(&block->log[first], order, lane_numbers() + to);
    block->count = first + __builtin_popcount(uneven);
}

/* Restores a layer of cells of level 0. */
static void restore(inrv_work *work, const Task *task, const Level *layer) {
    const Level *level = &work->levels[0];
    Block *block = &work->block;
    const uint64_t inner = inner_places(level);
    ptrdiff_t ahead[8][PAIRS_AROUND], behind[8][PAIRS_AROUND];
    for (int parity = 0; parity < 8; parity++)
        for (int i = 0; i < PAIRS_AROUND; i++) {
            int turned[3];
            turn_pair(AROUND[i], 0, 1, turned);
            ahead[parity][i] = distance_of(level, parity, turned);
            turn_pair(AROUND[i], 0, -1, turned);
            behind[parity][i] = distance_of(level, parity, turned);
        }
    block->count = 0;
    memset(block->scale, 0, sizeof block->scale);
    const int start_x = (layer->lower[0] - level->lower[0]) / 2;
    for (int x = start_x; x < start_x + layer->half[0]; x++)
        for (int y = 0; y < level->half[1]; y++)
            for (int parity = 0; parity < 8; parity++) {
                uint64_t mask =
                    level->masks[parity * level->mask_size + (x + 1) * level->mask_pitch + y + 1];
                if (!mask) continue;
                int deep = task->channel->exterior && x >= 1 && x < level->half[0] - 2 && y >= 1 &&
                           y < level->half[1] - 2;
                const ptrdiff_t row = (y + PAD_BEFORE) * level->pitch + PAD_Z;
                const ptrdiff_t start =
                    parity * level->size + (x + PAD_BEFORE) * level->plane + row;
                const ptrdiff_t start_in_layer =
                    parity * layer->size + (x - start_x + PAD_BEFORE) * level->plane + row;
                int kind = __builtin_popcount((unsigned)parity);
                for (int z = 0; z < level->half[2]; z += LANES) {
                    unsigned active = (unsigned)(mask >> z) & ALL_LANES;
                    if (!active) continue;
                    const int32_t *at = level->values + start + z;
                    int32_t place = (int32_t)(start + z), to = (int32_t)(start_in_layer + z);
                    if (deep && !((uint64_t)active << z & ~inner))
                        append_neighbourhoods(block, task, at, work->restored, place, to, active,
                                              ahead[parity], behind[parity], kind, 1);
                    else
                        append_neighbourhoods(block, task, at, work->restored, place, to, active,
                                              ahead[parity], behind[parity], kind, 0);
                    if (block->count < BLOCK) continue;
                    finish_restoration(work, task, BLOCK);
                    shift_block(block, 10);
                }
            }
    if (block->count) finish_restoration(work, task, block->count);
}

/* Codes that are predicted elsewhere: the block's tables and codes are all that counts. */

static int read(inrv_work *work, int count, uint32_t first) {
    static const Rules plain = {0, 0, 0};
    return read_codes(&work->coder, &work->block, count, first, &plain);
}

static void write(inrv_work *work, int count, uint32_t first) {
    for (int i = 0; i < count; i++)
        write_code(&work->coder, work->block.table[i], work->block.code[i], first + (uint32_t)i, 0);
    settle(&work->coder.found);
}

extern const struct features_kernel INRV_VARIANT_OF(features_kernel);
extern const WaveletKernel INRV_VARIANT_OF(wavelet_kernel);
extern const struct inrv_kernel INRV_VARIANT_OF(inrv_kernel);
const struct inrv_kernel INRV_VARIANT_OF(inrv_kernel) = {pack,
                                                         corner,
                                                         pass,
                                                         read,
                                                         write,
                                                         restore,
                                                         &INRV_VARIANT_OF(features_kernel),
                                                         &INRV_VARIANT_OF(wavelet_kernel)};
