/* Motion: what a region of a reference channel is, fetched along vectors. The headings are those of
   spec/lattice.md. */

#include <string.h>

#include "lattice.h"
#include "region.h"

enum { CELL = 8, CELL_BITS = 4, LARGEST_VECTOR = 127, SIXTEENTHS = 16, AROUND_CELL = 27 };

/* Cells along an axis follow by so much in the number of a cell. */
static const int STEPS[3] = {1 << 2 * CELL_BITS, 1 << CELL_BITS, 1};

/* The number of the cell that lies `steps` cells on along each axis, or -1 beyond the region. */
static int cell_at(int cell, const int steps[3]) {
    int found = cell;
    for (int axis = 0; axis < 3; axis++) {
        const int place = cell / STEPS[axis] % CELLS + steps[axis];
        if (place < 0 || place >= CELLS) return -1;
        found += steps[axis] * STEPS[axis];
    }
    return found;
}

/* ---- Vectors ---- */

static int32_t median(int32_t a, int32_t b, int32_t c) {
    if (a > b) {
        const int32_t larger = a;
        a = b;
        b = larger;
    }
    return c < a ? a : c > b ? b : c;
}

/* What a vector is predicted to be from those of the cells before it along the axes. */
static int32_t predicted(const int32_t *before, int count) {
    return count == 3   ? median(before[0], before[1], before[2])
           : count == 2 ? (before[0] + before[1]) >> 1
           : count == 1 ? before[0]
                        : 0;
}

int inrv_vectors(const uint16_t *cells, size_t count, int restore, int32_t *vectors) {
    static const int BEFORE[3][3] = {{-1, 0, 0}, {0, -1, 0}, {0, 0, -1}};
    int32_t known[CELLS * CELLS * CELLS][3];
    uint8_t there[CELLS * CELLS * CELLS] = {0};
    for (size_t i = 0; i < count; i++) {
        int others[3], number = 0;
        for (int axis = 0; axis < 3; axis++) {
            const int other = cell_at(cells[i], BEFORE[axis]);
            if (other >= 0 && there[other]) others[number++] = other;
        }
        for (int part = 0; part < 3; part++) {
            int32_t before[3], *vector = &vectors[3 * i + (size_t)part];
            for (int j = 0; j < number; j++) before[j] = known[others[j]][part];
            const int32_t guess = predicted(before, number);
            if (restore) *vector += guess;
            if (*vector < -LARGEST_VECTOR || *vector > LARGEST_VECTOR) return INRV_RULE('F', 9);
            known[cells[i]][part] = *vector;
            if (!restore) *vector -= guess;
        }
        there[cells[i]] = 1;
    }
    return INRV_OK;
}

/* ---- Fetching ---- */

static int32_t *dense_row(int32_t *dense, int cell, int row) {
    const int x = cell / STEPS[0] * CELL + row / CELL,
              y = cell / STEPS[1] % CELLS * CELL + row % CELL;
    return dense + (x * EDGE + y) * EDGE + cell % CELLS * CELL;
}

static int32_t limited(int32_t value, int32_t top) {
    const int32_t low = -(top >> 1), high = top + (top >> 1);
    return value < low ? low : value > high ? high : value;
}

static void spread(const inrv_leaves *leaves, const int32_t *values, int32_t top, int32_t *dense) {
    for (size_t i = 0; i < leaves->count; i++)
        for (int row = 0; row < 64; row++) {
            int32_t *to = dense_row(dense, leaves->cells[i], row);
            for (unsigned mask = leaves->masks[64 * i + (size_t)row]; mask; mask &= mask - 1)
                to[__builtin_ctz(mask)] = limited(*values++, top);
        }
}

/* Empties the cells of leaves: to empty a whole region would take longer than to fetch a few. */
static void clear(const inrv_leaves *leaves, int32_t *dense) {
    for (size_t i = 0; i < leaves->count; i++)
        for (int row = 0; row < 64; row++) {
            int32_t *to = dense_row(dense, leaves->cells[i], row);
            for (int z = 0; z < CELL; z++) to[z] = INRV_NO_UNITS;
        }
}

/* The vectors of a cell and of those around it, 3^3 of them: that of the cell itself in place of
   one that is not there, and zero where it has none itself. */
static void gather(const int8_t (*all)[3], const uint8_t *there, int cell,
                   int32_t found[AROUND_CELL][3]) {
    for (int i = 0; i < AROUND_CELL; i++) {
        const int steps[3] = {i / 9 - 1, i / 3 % 3 - 1, i % 3 - 1};
        const int other = cell_at(cell, steps);
        const int from = other >= 0 && there[other] ? other : cell;
        for (int part = 0; part < 3; part++) found[i][part] = there[from] ? all[from][part] : 0;
    }
}

/* Between the centres of two cells in a row, of three: which is the first, and 16ths of the second.
 */
static int first_of(int place) { return place < CELL / 2 ? 0 : 1; }
static int second_share(int place) { return place < CELL / 2 ? 9 + 2 * place : 2 * place - 7; }

static int32_t between(int32_t a, int32_t b, int share) {
    return a * (SIXTEENTHS - share) + b * share;
}

/* The vectors of the voxels of a cell, in 4096ths of those of cells. */
static void interpolate(int32_t around[AROUND_CELL][3], int part, int32_t field[512]) {
    int32_t along_z[9][CELL], along_y[3][CELL * CELL];
    for (int i = 0; i < 9; i++)
        for (int z = 0; z < CELL; z++) {
            const int first = 3 * i + first_of(z);
            along_z[i][z] = between(around[first][part], around[first + 1][part], second_share(z));
        }
    for (int i = 0; i < 3; i++)
        for (int y = 0; y < CELL; y++)
            for (int z = 0; z < CELL; z++) {
                const int first = 3 * i + first_of(y);
                along_y[i][y * CELL + z] =
                    between(along_z[first][z], along_z[first + 1][z], second_share(y));
            }
    for (int x = 0; x < CELL; x++)
        for (int i = 0; i < CELL * CELL; i++)
            field[x * CELL * CELL + i] =
                between(along_y[first_of(x)][i], along_y[first_of(x) + 1][i], second_share(x));
}

/* The value between the eight voxels around a place in 16ths of voxels.
   outside: of voxels that hold none */
static int32_t fetch(const int32_t *dense, int32_t outside, const int32_t place[3]) {
    int32_t corner[3];
    int64_t share[3];
    for (int axis = 0; axis < 3; axis++) {
        const int32_t most = (EDGE - 1) * SIXTEENTHS;
        const int32_t at = place[axis] < 0 ? 0 : place[axis] > most ? most : place[axis];
        corner[axis] = at / SIXTEENTHS < EDGE - 2 ? at / SIXTEENTHS : EDGE - 2;
        share[axis] = at - corner[axis] * SIXTEENTHS;
    }
    const int32_t *from = dense + (corner[0] * EDGE + corner[1]) * EDGE + corner[2];
    int64_t sums[2];
    for (int x = 0; x < 2; x++, from += EDGE * EDGE) {
        int32_t own[4] = {from[0], from[1], from[EDGE], from[EDGE + 1]};
        for (int i = 0; i < 4; i++) own[i] = own[i] == INRV_NO_UNITS ? outside : own[i];
        const int64_t near = own[0] * (SIXTEENTHS - share[2]) + own[1] * share[2];
        const int64_t far = own[2] * (SIXTEENTHS - share[2]) + own[3] * share[2];
        sums[x] = near * (SIXTEENTHS - share[1]) + far * share[1];
    }
    const int64_t sum = sums[0] * (SIXTEENTHS - share[0]) + sums[1] * share[0];
    return (int32_t)((sum + (1 << 11)) >> 12);
}

void inrv_move(const inrv_region *from, const int32_t *values, const inrv_motion *motion,
               int32_t top, const uint16_t *cells, size_t count, int32_t *dense, int32_t *moved) {
    int8_t vectors[CELLS * CELLS * CELLS][3];
    uint8_t there[CELLS * CELLS * CELLS] = {0};
    for (size_t i = 0; i < motion->count; i++) {
        memcpy(vectors[motion->cells[i]], motion->vectors + 3 * i, 3);
        there[motion->cells[i]] = 1;
    }
    const int32_t outside = limited(from->around, top);
    spread(&from->exterior, from->exterior_values, top, dense);
    spread(&from->leaves, values, top, dense);
    const int shift = motion->fraction + 8; /* from 4096ths to 16ths of a voxel */
    for (size_t i = 0; i < count; i++, moved += 512) {
        int32_t around[AROUND_CELL][3], field[3][512];
        gather((const int8_t (*)[3])vectors, there, cells[i], around);
        for (int part = 0; part < 3; part++) interpolate(around, part, field[part]);
        for (int voxel = 0; voxel < 512; voxel++) {
            const int at[3] = {voxel >> 6, voxel >> 3 & 7, voxel & 7};
            int32_t place[3];
            for (int axis = 0; axis < 3; axis++)
                place[axis] = (cells[i] / STEPS[axis] % CELLS * CELL + at[axis]) * SIXTEENTHS +
                              ((field[axis][voxel] + (1 << (shift - 1))) >> shift);
            moved[voxel] = fetch(dense, outside, place);
        }
    }
    clear(&from->exterior, dense);
    clear(&from->leaves, dense);
}
