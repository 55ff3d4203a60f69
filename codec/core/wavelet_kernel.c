/* Wavelets of a region: the transform, and the coder of its bands. spec/wavelet.md says what is
   computed here, and in which order. */

#include <stdlib.h>
#include <string.h>

#include "region.h"
#include "wavelet.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- Transform ---- */

enum {
    STRIP = 64,    /* numbers beside each other that are lifted together: they stay in the cache */
    FRACTION = 12, /* bits of the factors */
    LIFTS = 4
};

/* Of the 9/7 transform (Cohen, Daubechies, Feauveau), in the order of the way there. */
static const int32_t FACTORS[LIFTS] = {-6497, -217, 3616, 1817};

/* What a number is lifted by: all sums are modulo 2^32. */
INLINE int32_t lift_of(int32_t factor, int32_t a, int32_t b) {
    return (factor * (a + b) + (1 << (FRACTION - 1))) >> FRACTION;
}

/* Moves each number of a row by its neighbours. */
INLINE void lift_row(int32_t *row, const int32_t *a, const int32_t *b, int count, int32_t factor,
                     int back) {
    for (int i = 0; i < count; i++)
        row[i] += back ? -lift_of(factor, a[i], b[i]) : lift_of(factor, a[i], b[i]);
}

/* Lifts numbers at even places, `low`, and at odd ones, `high`, of which there are `lows` and
   `highs` rows: all of one parity in turn. Beyond the ends they are mirrored. */
INLINE void lift_rows(int32_t *low, int32_t *high, int lows, int highs, size_t pitch, int width,
                      int back) {
    for (int i = 0; i < LIFTS; i++) {
        const int turn = back ? LIFTS - 1 - i : i;
        if (turn & 1)
            for (int k = 0; k < lows; k++)
                lift_row(low + k * pitch, high + (k ? k - 1 : 0) * pitch,
                         high + (k < highs ? k : highs - 1) * pitch, width, FACTORS[turn], back);
        else
            for (int k = 0; k < highs; k++)
                lift_row(high + k * pitch, low + k * pitch,
                         low + (k + 1 < lows ? k + 1 : lows - 1) * pitch, width, FACTORS[turn],
                         back);
    }
}

/* The same along one line, whose numbers lie beside each other. */
INLINE void lift_line(int32_t *low, int32_t *high, int lows, int highs, int back) {
    for (int i = 0; i < LIFTS; i++) {
        const int turn = back ? LIFTS - 1 - i : i, same = lows == highs;
        const int32_t factor = FACTORS[turn];
        if (turn & 1) {
            lift_row(low, high, high, 1, factor, back);
            lift_row(low + 1, high, high + 1, highs - 1, factor, back);
            if (!same) lift_row(low + highs, high + highs - 1, high + highs - 1, 1, factor, back);
        } else {
            lift_row(high, low, low + 1, highs - same, factor, back);
            if (same) lift_row(high + highs - 1, low + lows - 1, low + lows - 1, 1, factor, back);
        }
    }
}

/* Numbers with one axis split: [outer][even ones, then odd ones][inner]. */
typedef struct {
    size_t outer;
    int length;
    size_t inner;
} Axis;

/* Joins the two halves of an axis, which are changed. */
static void join(const Axis *axis, int32_t *low, int32_t *high, int32_t *whole) {
    const int lows = (axis->length + 1) / 2, highs = axis->length / 2;
    const size_t inner = axis->inner;
    for (size_t i = 0; i < axis->outer; i++) {
        if (inner == 1) {
            if (highs) lift_line(low, high, lows, highs, 1);
            for (int k = 0; k < highs; k++) {
                whole[2 * k] = low[k];
                whole[2 * k + 1] = high[k];
            }
            if (lows > highs) whole[2 * highs] = low[highs];
        }
        for (size_t first = 0; inner > 1 && first < inner; first += STRIP) {
            const int width = inner - first < STRIP ? (int)(inner - first) : STRIP;
            if (highs) lift_rows(low + first, high + first, lows, highs, inner, width, 1);
            for (int k = 0; k < axis->length; k++)
                memcpy(whole + (size_t)k * inner + first,
                       (k & 1 ? high : low) + (size_t)(k / 2) * inner + first,
                       (size_t)width * sizeof *whole);
        }
        low += (size_t)lows * inner;
        high += (size_t)highs * inner;
        whole += (size_t)axis->length * inner;
    }
}

/* The way there. */
static void split(const Axis *axis, const int32_t *whole, int32_t *low, int32_t *high) {
    const int lows = (axis->length + 1) / 2, highs = axis->length / 2;
    const size_t inner = axis->inner;
    for (size_t i = 0; i < axis->outer; i++) {
        for (int k = 0; k < axis->length; k++)
            memcpy((k & 1 ? high : low) + (size_t)(k / 2) * inner, whole + (size_t)k * inner,
                   inner * sizeof *whole);
        if (highs && inner == 1) lift_line(low, high, lows, highs, 0);
        for (size_t first = 0; highs && inner > 1 && first < inner; first += STRIP) {
            const int width = inner - first < STRIP ? (int)(inner - first) : STRIP;
            lift_rows(low + first, high + first, lows, highs, inner, width, 0);
        }
        low += (size_t)lows * inner;
        high += (size_t)highs * inner;
        whole += (size_t)axis->length * inner;
    }
}

/* Splits the box into bands, scale by scale. */
static void split_all(Wavelet *wavelet) {
    for (int scale = 0; scale < SCALES; scale++) {
        int n[3];
        int32_t *to = wavelet->spare;
        size_on(wavelet, scale, n);
        const int x = (n[0] + 1) / 2, y = (n[1] + 1) / 2;
        const size_t plane = (size_t)n[1] * (size_t)n[2];
        split(&(Axis){1, n[0], plane}, wavelet->box, to, to + (size_t)x * plane);
        for (int half = 0; half < 2; half++) {
            const int along_x = half ? n[0] - x : x;
            int32_t *from = wavelet->spare + (half ? (size_t)x * plane : 0),
                    *quarter = wavelet->bands;
            const size_t upper = (size_t)(along_x * y) * (size_t)n[2];
            split(&(Axis){(size_t)along_x, n[1], (size_t)n[2]}, from, quarter, quarter + upper);
            for (int other = 0; other < 2; other++) {
                const int along_y = other ? n[1] - y : y, band = half << 2 | other << 1;
                split(&(Axis){(size_t)along_x * (size_t)along_y, n[2], 1},
                      quarter + (other ? upper : 0), wavelet->coefficients[scale][band],
                      wavelet->coefficients[scale][band | 1]);
            }
        }
        if (scale + 1 < SCALES) {
            size_on(wavelet, scale + 1, n);
            memcpy(wavelet->box, wavelet->coefficients[scale][0], volume_of(n) * sizeof(int32_t));
        }
    }
}

/* Joins the bands of a scale: the first lies in the box, which is filled, and the others in
   `bands`, one behind the other. */
static void join_scale(Wavelet *wavelet, int scale) {
    int n[3], size[3];
    size_on(wavelet, scale, n);
    const int x = (n[0] + 1) / 2, y = (n[1] + 1) / 2;
    int32_t *from = wavelet->bands, *to = wavelet->spare;
    for (int band = 0; band < BANDS; band += 2) {
        const Axis axis = {(size_t)(band & 4 ? n[0] - x : x) * (size_t)(band & 2 ? n[1] - y : y),
                           n[2], 1};
        int32_t *low = band ? from : wavelet->box;
        band_size(wavelet, scale, band, size);
        if (band) from += volume_of(size);
        join(&axis, low, from, to);
        band_size(wavelet, scale, band | 1, size);
        from += volume_of(size);
        to += axis.outer * (size_t)n[2];
    }
    from = wavelet->spare;
    to = wavelet->bands;
    for (int half = 0; half < 2; half++) {
        const size_t along_x = (size_t)(half ? n[0] - x : x), row = (size_t)n[2];
        join(&(Axis){along_x, n[1], row}, from, from + along_x * (size_t)y * row, to);
        from += along_x * (size_t)n[1] * row;
        to += along_x * (size_t)n[1] * row;
    }
    const size_t plane = (size_t)n[1] * (size_t)n[2];
    join(&(Axis){1, n[0], plane}, wavelet->bands, wavelet->bands + (size_t)x * plane, wavelet->box);
}

/* ---- Decisions ---- */

enum { HALF = 1 << (PROBABILITY_BITS - 1), LOGIT_SHIFT = 18 /* from 2^-24 to 64ths */ };

INLINE int place_of_logit(int32_t sum) {
    const int place = (sum >> LOGIT_SHIFT) + SQUASH_EDGE;
    return place < 0 ? 0 : place >= 2 * SQUASH_EDGE ? 2 * SQUASH_EDGE - 1 : place;
}

/* Takes a decision of a chance, in 2^-15, from the bits, or notes it for them. */
INLINE int decide(Wavelet *wavelet, int32_t chance, int wanted, int encodes) {
    if (encodes) {
        if (wavelet->count == wavelet->room) {
            const size_t room = wavelet->room ? 2 * wavelet->room : (size_t)1 << 16;
            uint16_t *more = realloc(wavelet->decisions, room * sizeof *more);
            if (!more) {
                wavelet->short_of_memory = 1;
                return wanted;
            }
            wavelet->decisions = more;
            wavelet->room = room;
        }
        wavelet->decisions[wavelet->count++] = (uint16_t)(chance | wanted << PROBABILITY_BITS);
        return wanted;
    }
    const uint32_t low = wavelet->state & ((1 << PROBABILITY_BITS) - 1);
    const int taken = low < (uint32_t)chance;
    const uint32_t part = taken ? (uint32_t)chance : (1u << PROBABILITY_BITS) - (uint32_t)chance;
    uint32_t state =
        part * (wavelet->state >> PROBABILITY_BITS) + low - (taken ? 0 : (uint32_t)chance);
    if (state < 1u << 16) {
        uint16_t word = 0;
        if (wavelet->word < wavelet->end)
            memcpy(&word, wavelet->word, 2);
        else
            wavelet->overrun = 1;
        wavelet->word += 2;
        state = state << 16 | word;
    }
    wavelet->state = state;
    return taken;
}

/* Numbers of logits, of the contexts of a decision. */
typedef struct {
    int number[CONTEXTS];
} Places;

INLINE int place_of_sum(const Wavelet *wavelet, const Places *places) {
    int32_t sum = 0;
    for (int i = 0; i < CONTEXTS; i++) sum += wavelet->learned[places->number[i]].logit;
    return place_of_logit(sum);
}

/* A decision that the sum of five logits tells of. */
INLINE int decide_mixed(Wavelet *wavelet, const Places *places, int wanted, int encodes) {
    const int32_t chance = wavelet->squash[place_of_sum(wavelet, places)];
    const int taken = decide(wavelet, chance, wanted, encodes);
    for (int i = 0; i < CONTEXTS; i++) {
        Learned *own = &wavelet->learned[places->number[i]];
        own->logit += ((taken << PROBABILITY_BITS) - chance) * wavelet->rates[own->visits];
        own->visits += own->visits < 255;
    }
    return taken;
}

INLINE int32_t chance_alone(const Wavelet *wavelet, int number) {
    const int32_t chance = wavelet->shares[number] >> (SHARE_BITS - PROBABILITY_BITS);
    return chance<1 ? 1 : chance>(1 << PROBABILITY_BITS) - 1 ? (1 << PROBABILITY_BITS) - 1 : chance;
}

/* A decision of which only its own cover so far tells. */
INLINE int decide_alone(Wavelet *wavelet, int number, int wanted, int encodes) {
    const int taken = decide(wavelet, chance_alone(wavelet, number), wanted, encodes);
    const int32_t missed = (taken << SHARE_BITS) - wavelet->shares[number];
    wavelet->shares[number] +=
        (int32_t)((int64_t)missed * wavelet->weights[wavelet->seen[number]] >> 16);
    wavelet->seen[number] += wavelet->seen[number] < MOST_SEEN;
    return taken;
}

/* ---- Contexts ---- */

enum { RANKS = 16, LARGEST_MAGNITUDE = 15 /* that contexts tell apart */ };

/* Where the logits of each context of a decision begin. */
static const int FIRSTS[CONTEXTS] = {0, 256, 512, 728, 1752};

INLINE int rank_of(const Wavelet *wavelet, int sum) {
    return wavelet->ranks[sum < 255 ? sum : 255];
}

/* A band while it is coded. */
typedef struct {
    int scale, band;
    int size[3], pitch[2]; /* of its magnitudes: of a plane, of a row */
    int cover_size[3];
    int depth; /* 0 on the finest scale, at most 3 */
    int highs; /* axes along which it is high */
    int32_t step;
} Band;

/* The magnitudes of a band from its first place on, within the margin. */
INLINE uint8_t *magnitudes_of(const Wavelet *wavelet, int scale, int band, int pitch[2]) {
    int size[3];
    size_on(wavelet, scale + 1, size);
    pitch[1] = size[2] + 2 * MARGIN;
    pitch[0] = pitch[1] * (size[1] + 2 * MARGIN);
    return wavelet->magnitudes[scale][band] + MARGIN * (pitch[0] + pitch[1] + 1);
}

INLINE int any_of(const uint8_t *row, int count) {
    uint8_t all = 0;
    for (int i = 0; i < count; i++) all |= row[i];
    return all;
}

/* What the same band of the coarser scale tells of a band, and the bands before it on its own. */
static void find_told(Wavelet *wavelet, const Band *band) {
    const int *size = band->size, coarser = band->scale + 1 < SCALES && band->band;
    int pitch[2] = {0, 0}, whole[3];
    const uint8_t *above =
        coarser ? magnitudes_of(wavelet, band->scale + 1, band->band, pitch) : NULL;
    size_on(wavelet, band->scale + 1, whole);
    uint8_t *told = wavelet->told;
    for (int x = 0; x < size[0]; x++)
        for (int y = 0; y < size[1]; y++) {
            const uint16_t *beside =
                wavelet->beside + ((size_t)x * (size_t)whole[1] + (size_t)y) * (size_t)whole[2];
            uint16_t any = 0;
            for (int z = 0; z < size[2]; z++) any |= beside[z];
            if (any)
                for (int z = 0; z < size[2]; z++)
                    told[z] = (uint8_t)(rank_of(wavelet, beside[z]) << 4);
            else
                memset(told, 0, (size_t)size[2]);
            told += size[2];
            if (!above) continue;
            const int along_x = x & 1 ? pitch[0] : -pitch[0],
                      along_y = y & 1 ? pitch[1] : -pitch[1];
            const uint8_t *row = above + (x / 2) * pitch[0] + (y / 2) * pitch[1];
            const int half = size[2] / 2 + 1;
            if (!(any_of(row - 1, half + 2) | any_of(row + along_x, half) |
                  any_of(row + along_y, half)))
                continue;
            for (int z = 0; z < size[2]; z++) {
                const uint8_t *at = row + z / 2;
                const int sum = 2 * at[0] + at[along_x] + at[along_y] + at[z & 1 ? 1 : -1];
                told[z - size[2]] |= wavelet->ranks[sum];
            }
        }
}

/* Adds a band's magnitudes, and those around each, to what is told of the bands behind it. */
static void add_beside(Wavelet *wavelet, const Band *band) {
    int pitch[2], whole[3];
    const uint8_t *from = magnitudes_of(wavelet, band->scale, band->band, pitch);
    size_on(wavelet, band->scale + 1, whole);
    for (int x = 0; x < band->size[0]; x++)
        for (int y = 0; y < band->size[1]; y++) {
            const uint8_t *at = from + x * pitch[0] + y * pitch[1];
            uint16_t *to =
                wavelet->beside + ((size_t)x * (size_t)whole[1] + (size_t)y) * (size_t)whole[2];
            if (!(any_of(at - 1, band->size[2] + 2) | any_of(at - pitch[1], band->size[2]) |
                  any_of(at + pitch[1], band->size[2]) | any_of(at - pitch[0], band->size[2]) |
                  any_of(at + pitch[0], band->size[2])))
                continue;
            for (int z = 0; z < band->size[2]; z++)
                to[z] = (uint16_t)(to[z] + 3 * at[z] + at[z - 1] + at[z + 1] + at[z - pitch[1]] +
                                   at[z + pitch[1]] + at[z - pitch[0]] + at[z + pitch[0]]);
        }
}

/* Sums up the magnitudes around each place of a row, of the rows before it. */
INLINE void find_around(uint16_t *around, const uint8_t *row, int count, const int pitch[2]) {
    const uint8_t *behind = row - pitch[0], *above = row - pitch[1];
    for (int z = 0; z < count; z++)
        around[z] = (uint16_t)(4 * (behind[z] + above[z]) +
                               2 * (behind[z - 1] + behind[z + 1] + behind[z - pitch[1]] +
                                    behind[z + pitch[1]] + above[z - 1] + above[z + 1]) +
                               behind[z - pitch[1] - 1] + behind[z - pitch[1] + 1] +
                               behind[z + pitch[1] - 1] + behind[z + pitch[1] + 1] +
                               row[z - 2 * pitch[0]] + row[z - 2 * pitch[1]]);
}

INLINE int least(int a, int b) { return a < b ? a : b; }

/* The contexts of a coefficient's first three decisions; of the first one here. */
INLINE void find_places(const Wavelet *wavelet, const Band *band, const uint8_t *at,
                        const int pitch[2], int sum, int told, int cover, Places *places) {
    const int x = at[-pitch[0]], y = at[-pitch[1]], z = at[-1];
    const int own = rank_of(wavelet, sum), above = told & 15, beside = told >> 4;
    places->number[0] = FIRSTS[0] + own * RANKS + above;
    places->number[1] = FIRSTS[1] + own * RANKS + beside;
    places->number[2] =
        FIRSTS[2] + (least(x, 2) * 9 + least(y, 2) * 3 + least(z, 2)) * BANDS + band->band;
    places->number[3] =
        FIRSTS[3] + ((least(own, 7) * 4 + band->depth) * BANDS + band->band) * 4 + cover;
    places->number[4] = FIRSTS[4] + (band->highs * RANKS + above) * RANKS + beside;
}

/* Those of the decision whether a magnitude is above `rung`, 3 or more, from those of the first. */
INLINE void find_ladder(const Wavelet *wavelet, const Band *band, int rung, int sum, int told,
                        Places *places) {
    const int up = least(rung - 3, 11);
    places->number[0] = FIRSTS[0] + up * RANKS + rank_of(wavelet, sum);
    places->number[1] = FIRSTS[1] + up * RANKS + (told >> 4);
    places->number[2] = FIRSTS[2] + up * RANKS + (told & 15);
    places->number[3] = FIRSTS[3] + (band->depth * BANDS + band->band) * 12 + up;
}

/* ---- Coefficients ---- */

enum { MOST_RUNGS = 15, MOST_EXPONENT = 19 };

/* A magnitude from 1 on: a ladder of decisions, then an exponent and its bits. */
INLINE int32_t code_magnitude(Wavelet *wavelet, const Band *band, const Places *first, int sum,
                              int told, int32_t wanted, int encodes) {
    Places places = *first;
    for (int rung = 1; rung < MOST_RUNGS; rung++) {
        const int decision = least(rung, DECISIONS - 1);
        Places own;
        if (decision == DECISIONS - 1) find_ladder(wavelet, band, rung, sum, told, &places);
        for (int i = 0; i < CONTEXTS; i++)
            own.number[i] = places.number[i] + decision * OF_DECISION;
        if (!decide_mixed(wavelet, &own, wanted > rung, encodes)) return rung;
    }
    int exponent = 0;
    int32_t rest = wanted - MOST_RUNGS + 1, found = 1;
    while (exponent < MOST_EXPONENT &&
           decide_alone(wavelet, 2 * QUIET_CONTEXTS + exponent,
                        encodes && rest >> (exponent + 1) != 0, encodes))
        exponent++;
    for (int i = exponent - 1; i >= 0; i--)
        found = found << 1 | decide(wavelet, HALF, rest >> i & 1, encodes);
    return found + MOST_RUNGS - 1;
}

/* What a decision takes, in bits. */
INLINE float bits_of(const Wavelet *wavelet, int place, int taken) {
    return wavelet->bits[taken ? place : 2 * SQUASH_EDGE - 1 - place];
}

static int32_t nearest(float size) { return size < 1 << 18 ? (int32_t)(size + 0.5f) : 1 << 18; }

/* The magnitude of a coefficient whose neighbours are all 0, where it is cheap enough.
   size: of the coefficient, in steps */
static int32_t choose_quiet(const Wavelet *wavelet, int number, float size) {
    const int32_t near = nearest(size);
    if (!near) return 0;
    const float miss = size - (float)near;
    const float chance = (float)chance_alone(wavelet, number);
    const float more = log2_of((1 << PROBABILITY_BITS) - chance) - log2_of(chance) + 2 +
                       2 * (float)(31 - __builtin_clz((unsigned)near));
    return size * size - miss * miss > wavelet->rate_weight * more ? near : 0;
}

/* The magnitude, of the nearest one, the one below and 0, that costs least. */
static int32_t choose_mixed(const Wavelet *wavelet, const Places *places, float size) {
    const int32_t near = nearest(size);
    if (!near) return 0;
    Places above = *places;
    for (int i = 0; i < CONTEXTS; i++) above.number[i] += OF_DECISION;
    const int place = place_of_sum(wavelet, places), further = place_of_sum(wavelet, &above);
    int32_t best = 0;
    float least_cost = size * size + wavelet->rate_weight * bits_of(wavelet, place, 0);
    for (int32_t tried = near > 1 ? near - 1 : 1; tried <= near; tried++) {
        const float miss = size - (float)tried;
        float bits = bits_of(wavelet, place, 1) + 1 + bits_of(wavelet, further, tried > 1);
        if (tried > 1) bits += 0.8f + 1.2f * (float)(tried - 2);
        const float cost = miss * miss + wavelet->rate_weight * bits;
        if (cost < least_cost) {
            least_cost = cost;
            best = tried;
        }
    }
    return best;
}

/* Whether a group of coefficients has only zeros around it: all that is known of them. */
INLINE int is_quiet(const uint16_t *around, const uint8_t *told, const uint8_t *row) {
    uint64_t all[3];
    memcpy(all, told, 8);
    memcpy(all + 1, around, 16);
    return !(all[0] | all[1] | all[2] | row[-1] | row[-2]);
}

/* The class of the covers of a group: as of one where all are alike, else 1. */
INLINE int cover_of_group(const uint8_t *covers) {
    uint64_t all;
    memcpy(&all, covers, 8);
    return all == 0x0101010101010101u * covers[0] ? covers[0] : 1;
}

/* What is chosen for a group: whether any of its coefficients is not 0. */
INLINE int choose_group(const Wavelet *wavelet, int number, const int32_t *exact, float step) {
    float largest = 0;
    for (int i = 0; i < GROUP; i++) {
        const float size = (float)(exact[i] < 0 ? -(int64_t)exact[i] : exact[i]) / step;
        largest = size > largest ? size : largest;
    }
    return choose_quiet(wavelet, number, largest) > 0;
}

INLINE void code_band(Wavelet *wavelet, const Band *band, int32_t *found, int encodes) {
    int pitch[2];
    uint8_t *magnitudes = magnitudes_of(wavelet, band->scale, band->band, pitch);
    const int32_t *exact = encodes ? wavelet->coefficients[band->scale][band->band] : NULL;
    const uint8_t *told = wavelet->told;
    const float step = (float)band->step;
    uint16_t *around = wavelet->around;
    for (int x = 0; x < band->size[0] && !wavelet->overrun; x++)
        for (int y = 0; y < band->size[1]; y++) {
            uint8_t *row = magnitudes + x * pitch[0] + y * pitch[1];
            const uint8_t *covers = wavelet->covers[band->scale] +
                                    (least(x, band->cover_size[0] - 1) * band->cover_size[1] +
                                     least(y, band->cover_size[1] - 1)) *
                                        band->cover_size[2];
            find_around(around, row, band->size[2], pitch);
            for (int z = 0; z < band->size[2]; z++, told++, found++) {
                if (z % GROUP == 0 && z + GROUP <= band->size[2] && band->band &&
                    is_quiet(around + z, told, row + z)) {
                    const int context =
                        (band->depth * 4 + cover_of_group(covers + z)) * 4 + band->highs;
                    const int any = encodes && choose_group(wavelet, context, exact, step);
                    if (!decide_alone(wavelet, QUIET_CONTEXTS + context, any, encodes)) {
                        memset(found, 0, GROUP * sizeof *found);
                        z += GROUP - 1;
                        told += GROUP - 1;
                        found += GROUP - 1;
                        if (encodes) exact += GROUP;
                        continue;
                    }
                }
                const int sum = around[z] + 4 * row[z - 1] + row[z - 2];
                const int cover = covers[z];
                const float size =
                    encodes ? (float)(*exact < 0 ? -(int64_t)*exact : *exact) / step : 0;
                const int negative = encodes && *exact++ < 0;
                int32_t wanted = 0;
                Places places;
                *found = 0;
                if (!(sum | *told) && band->band) {
                    const int number = (band->depth * 4 + cover) * 4 + band->highs;
                    if (encodes) wanted = choose_quiet(wavelet, number, size);
                    if (!decide_alone(wavelet, number, wanted > 0, encodes)) continue;
                    find_places(wavelet, band, row + z, pitch, sum, *told, cover, &places);
                } else {
                    find_places(wavelet, band, row + z, pitch, sum, *told, cover, &places);
                    if (encodes) wanted = choose_mixed(wavelet, &places, size);
                    if (!decide_mixed(wavelet, &places, wanted > 0, encodes)) continue;
                }
                const int sign = decide(wavelet, HALF, negative, encodes);
                const int32_t magnitude =
                    code_magnitude(wavelet, band, &places, sum, *told, wanted, encodes);
                row[z] = (uint8_t)least(magnitude, LARGEST_MAGNITUDE);
                *found = (sign ? -magnitude : magnitude) * band->step;
            }
        }
}

/* The order of the bands of a scale: those that are high along one axis first. */
static const uint8_t ORDER[BANDS] = {0, 1, 2, 4, 3, 5, 6, 7};

/* Steps of a scale's bands by how many axes they are high along, in 128ths of the step: the inverse
   of the norms of what a coefficient adds to the voxels; finer for the means of all. */
static const uint8_t STEPS[SCALES][4] = {
    {86, 111, 143, 183}, {53, 72, 99, 135}, {34, 45, 60, 79}, {22, 29, 38, 50}, {10, 19, 25, 32}};

INLINE void code_scales(Wavelet *wavelet, int encodes) {
    for (int scale = SCALES - 1; scale >= 0; scale--) {
        int whole[3];
        int32_t *places[BANDS] = {wavelet->box}, *next = wavelet->bands;
        size_on(wavelet, scale + 1, whole);
        const size_t margins = (size_t)(whole[0] + 2 * MARGIN) * (size_t)(whole[1] + 2 * MARGIN) *
                               (size_t)(whole[2] + 2 * MARGIN);
        for (int i = 0; i < BANDS; i++) memset(wavelet->magnitudes[scale][i], 0, margins);
        memset(wavelet->beside, 0, volume_of(whole) * sizeof *wavelet->beside);
        for (int i = 1, size[3]; i < BANDS; i++) {
            band_size(wavelet, scale, i, size);
            places[i] = next;
            next += volume_of(size);
        }
        for (int i = scale + 1 < SCALES; i < BANDS; i++) {
            Band band = {.scale = scale, .band = ORDER[i]};
            band_size(wavelet, scale, band.band, band.size);
            if (!volume_of(band.size)) continue;
            memcpy(band.cover_size, whole, sizeof whole);
            band.depth = least(scale, 3);
            band.highs = (band.band >> 2) + (band.band >> 1 & 1) + (band.band & 1);
            band.step = (STEPS[scale][band.highs] * wavelet->step + 64) >> 7;
            find_told(wavelet, &band);
            code_band(wavelet, &band, places[band.band], encodes);
            if (band.band) add_beside(wavelet, &band);
        }
        join_scale(wavelet, scale);
    }
}

/* ---- Boxes ---- */

static void decode(Wavelet *wavelet) { code_scales(wavelet, 0); }

static void encode(Wavelet *wavelet) {
    split_all(wavelet);
    code_scales(wavelet, 1);
}

extern const WaveletKernel INRV_VARIANT_OF(wavelet_kernel);
const WaveletKernel INRV_VARIANT_OF(wavelet_kernel) = {decode, encode};
