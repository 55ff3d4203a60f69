/* The encoder of a trellis: the codes of a pass as the cheapest path through the chains' states.

   All 16 chains go on together, a row of 16 voxels at a time: the lanes of a vector are chains. A
   cost is a float of at least 0, in squared steps, so that the bits of two costs compare as the
   costs do; the lowest two bits of a voxel's cost say which magnitude it is of. */

#include "codes.h"
#include "simd.h"

enum {
    CANDIDATES = 4, /* of a quantiser: the nearest magnitude, those beside it, and 0 */
    ZERO = 3,       /* number of the candidate 0; number i of the others is nearest + 1 - i */
    ROWS_APART = 64 /* after which costs are made small again */
};
#define NEVER 1e30f /* what cannot be costs this; a float has room for the sum of a region's */

typedef struct {
    const inrv_aim *aim;
    int32_t step, top;
    float halves; /* of a step in a unit */
} Search;

/* How states are reached: from where, and the lowest bit of the token, in two ways each. */
typedef struct {
    uint8_t from[STATES][2], by[STATES][2];
} Arrivals;

static Arrivals arrivals_of_states(void) {
    Arrivals found;
    int ways[STATES] = {0};
    for (int from = 0; from < STATES; from++)
        for (int odd = 0; odd < 2; odd++) {
            int to = NEXT[from][odd], way = ways[to]++;
            found.from[to][way] = (uint8_t)from;
            found.by[to][way] = (uint8_t)odd;
        }
    return found;
}

/* The magnitude whose value lies nearest to a distance, in half steps. */
static int32_t nearest_of(float distance, int quantiser) {
    return (int32_t)((distance + (float)quantiser) * 0.5f + 0.5f);
}

/* For LANES voxels of a row, the least cost of magnitudes with even and with odd tokens. */
INLINE void weigh(const Search *search, const Row *row, int first, int quantiser, V least[2]) {
    int32_t nearest_list[LANES];
    float rates[CANDIDATES][LANES];
    const V difference = load(row->difference + first), predicted = load(row->predicted + first);
    const F distance = to_float(magnitude(difference)) * search->halves;
    const V nearest = truncated((distance + (float)quantiser) * 0.5f + 0.5f);
    store(nearest_list, nearest);
    for (int i = 0; i < LANES; i++) {
        const int table = quantiser * INRV_TABLES + row->table[first + i];
        const float *bits = search->aim->bits + table * INRV_LISTED;
        const int32_t above = nearest_list[i] + 1;
        for (int j = 0; j < 3; j++) {
            const int32_t k = above - j < 0 ? 0 : above - j;
            rates[j][i] = bits[k < INRV_LISTED ? k : INRV_LISTED - 1];
        }
        rates[ZERO][i] = bits[0];
    }
    const V below = predicted + predicted, beyond = 2 * search->top - below;
    const M negative = is_above(all_of(0), difference);
    const V never = (V)all_of_f(NEVER);
    least[0] = least[1] = never;
    for (int j = 0; j < CANDIDATES; j++) {
        const V k = j == ZERO ? all_of(0) : nearest + 1 - j;
        const F missed = (distance - to_float(larger(2 * k - quantiser, all_of(0)))) * 0.5f;
        F rate = (F)load(rates[j]);
        M impossible = is_above(all_of(0), k);
        if (j != ZERO) {
            const V reach = (2 * k - 1 - quantiser) * search->step;
            const M up = is_above(reach, below), down = is_above(reach, beyond) & ~up;
            const M implied = (negative & down) | (~negative & up);
            impossible |= (negative & up) | (~negative & down);
            rate = rate - (F)where(implied, (V)all_of_f(1.0f));
        }
        V cost = (V)(missed * missed + search->aim->rate_weight * rate);
        cost = choose(impossible, never, cost & ~ZERO) + j;
        /* The lowest bit of a token: of large ones that of the second highest bit of `k`. */
        const V large = (V)to_float(k) >> 22;
        const M odd = is_not(choose(is_above(k, all_of(DIRECT - 1)), large, k) & 1, all_of(0));
        least[0] = smaller(least[0], choose(odd, never, cost));
        least[1] = smaller(least[1], choose(odd, cost, never));
    }
}

/* Goes forward through a row: what each state costs behind it, and by which way it is reached.
   present: the lanes that are of the pass */
INLINE void step_forward(const Search *search, const Arrivals *arrivals, Row *row, int present,
                         float cost[STATES][CHAINS]) {
    memset(row->ways, 0, sizeof row->ways);
    for (int first = 0; first < CHAINS; first += LANES) {
        V own[2][2], before[STATES], choices = all_of(0);
        for (int quantiser = 0; quantiser < 2; quantiser++) {
            weigh(search, row, first, quantiser, own[quantiser]);
            for (int odd = 0; odd < 2; odd++)
                choices |= (own[quantiser][odd] & ZERO) << (2 * (2 * quantiser + odd));
        }
        store(row->choices + first, choices);
        const M going = is_above(all_of(present - first), lane_numbers());
        for (int s = 0; s < STATES; s++) before[s] = load(cost[s] + first);
        for (int s = 0; s < STATES; s++) {
            const uint8_t *from = arrivals->from[s], *by = arrivals->by[s];
            const V one = (V)((F)before[from[0]] + (F)own[from[0] & 1][by[0]]);
            const V other = (V)((F)before[from[1]] + (F)own[from[1] & 1][by[1]]);
            row->ways[s] |= (uint16_t)(bits_of(is_above(one, other)) << first);
            store(cost[s] + first, choose(going, smaller(one, other), before[s]));
        }
    }
}

/* Takes from the costs of each chain's states the least of them, which all paths share. */
static void make_small(float cost[STATES][CHAINS]) {
    for (int c = 0; c < CHAINS; c++) {
        float least = cost[0][c];
        for (int s = 1; s < STATES; s++) least = cost[s][c] < least ? cost[s][c] : least;
        for (int s = 0; s < STATES; s++) cost[s][c] -= least;
    }
}

/* Goes backwards along the best path of each chain: codes take the place of the differences.
   state: of each chain, behind the row */
static void step_back(const Search *search, const Arrivals *arrivals, Row *row, int present,
                      uint8_t state[CHAINS]) {
    for (int c = 0; c < present; c++) {
        const int way = row->ways[state[c]] >> c & 1, odd = arrivals->by[state[c]][way];
        state[c] = arrivals->from[state[c]][way];
        const int quantiser = state[c] & 1;
        const int32_t difference = row->difference[c],
                      size = difference < 0 ? -difference : difference;
        const int choice = row->choices[c] >> (2 * (2 * quantiser + odd)) & ZERO;
        const int32_t nearest = nearest_of((float)size * search->halves, quantiser);
        const int32_t code = choice == ZERO ? 0 : nearest + 1 - choice;
        row->difference[c] = difference < 0 ? -code : code;
    }
}

static int present_in(size_t row, size_t count) {
    return count - row * CHAINS < CHAINS ? (int)(count - row * CHAINS) : CHAINS;
}

void INRV_VARIANT_OF(inrv_choose_path)(Coder *coder, const inrv_aim *aim, int32_t step, int32_t top,
                                       int32_t *values) {
    const Search search = {aim, step, top, 2.0f / (float)step};
    const Arrivals arrivals = arrivals_of_states();
    const size_t count = coder->waiting, rows = (count + CHAINS - 1) / CHAINS;
    float cost[STATES][CHAINS];
    uint8_t state[CHAINS] = {0};
    for (int s = 0; s < STATES; s++)
        for (int c = 0; c < CHAINS; c++) cost[s][c] = coder->chain[c] == s ? 0 : NEVER;
    for (size_t i = 0; i < rows; i++) {
        step_forward(&search, &arrivals, coder->rows + i, present_in(i, count), cost);
        if (i % ROWS_APART == ROWS_APART - 1) make_small(cost);
    }
    for (int c = 0; c < CHAINS; c++)
        for (int s = 1; s < STATES; s++)
            if (cost[s][c] < cost[state[c]][c]) state[c] = (uint8_t)s;
    for (size_t i = rows; i-- > 0;)
        step_back(&search, &arrivals, coder->rows + i, present_in(i, count), state);
    for (size_t i = 0; i < rows; i++) {
        const Row *row = coder->rows + i;
        for (int c = 0; c < present_in(i, count); c++) {
            const int quantiser = coder->chain[c] & 1;
            const int32_t code = row->difference[c], predicted = row->predicted[c];
            const int implied =
                only_sign(predicted, code < 0 ? -code : code, quantiser, step, top) != 0;
            const int token = write_code(coder, row->table[c] + quantiser * INRV_TABLES, code,
                                         (uint32_t)(i * CHAINS) + (uint32_t)c, implied);
            const int32_t less = code > 0 ? quantiser : code < 0 ? -quantiser : 0;
            values[row->place[c]] = clipped(predicted + ((2 * code - less) * step >> 1), 0, top);
            coder->chain[c] = NEXT[coder->chain[c]][token & 1];
        }
        settle(&coder->found);
    }
    coder->waiting = 0;
}
