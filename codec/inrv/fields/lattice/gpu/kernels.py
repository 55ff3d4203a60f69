"""What a GPU does with the voxels of a pass, in Triton: the same integers as the core.

Every kernel works on all regions of a batch; `batch.py` has the arrays and the order of the calls.
Sections have the headings of spec/lattice.md. A region's voxels lie in an array of 128^3 numbers,
x first: the place of a voxel is x << 14 | y << 7 | z. Where the environment variable
TRITON_INTERPRET is 1 when this module is imported, Triton runs the kernels on the CPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

VOXELS = tl.constexpr(1 << 21)  # of a region
EDGE = tl.constexpr(128)
MISSING = tl.constexpr(-(1 << 30))  # a value that is not known
PASSES = tl.constexpr(50)  # the corner voxel, and 7 a level
IN_PASS = tl.constexpr(1 << 18)  # voxels, at most
PAIRS = tl.constexpr(32)  # room for those of a voxel
HIGHEST = tl.constexpr(1 << 23)
TOKENS = tl.constexpr(46)
TOKEN_ROOM = tl.constexpr(64)  # of a table
TABLES = tl.constexpr(64)  # of a quantiser
LANES = tl.constexpr(32)
CHAINS = tl.constexpr(16)

# Columns of `about`, what is known of a region before its codes: int32 (regions, 32).
STEPS = tl.constexpr(0)  # seven of them
TOP = tl.constexpr(7)
BACKGROUND = tl.constexpr(8)
MEAN = tl.constexpr(9)  # in units
SPREAD = tl.constexpr(10)  # in units
LOSSLESS = tl.constexpr(11)
TRELLIS = tl.constexpr(12)
LOG_LANES = tl.constexpr(13)
SEGMENTS = tl.constexpr(14)  # how many
NETWORK = tl.constexpr(15)  # number of its networks in the batch
SEGMENT_BEGINS = tl.constexpr(16)  # four of them, in `bits`
SEGMENT_SIZES = tl.constexpr(20)  # four of them
ABOUT = tl.constexpr(32)

# Columns of `cursor`, where a region's coder stands: int32 (regions, 8).
WORD = tl.constexpr(0)  # in `bits`
RAW = tl.constexpr(1)  # raw bits that were read of the segment
FAULT = tl.constexpr(2)  # 1 where its codes are damaged
BEGIN = tl.constexpr(3)  # of the segment, in `bits`
SIZE = tl.constexpr(4)  # of it
CURSOR = tl.constexpr(8)

# Rows of a prediction network's first layer and skip, by what comes in; and of the filter.
OF_SUMS = tl.constexpr(0)
OF_DIFFERENCES = tl.constexpr(32)
OF_FACES = tl.constexpr(64)
OF_NUMBERS = tl.constexpr(80)
OF_REFERENCE = tl.constexpr(96)
INPUT_ROOM = tl.constexpr(112)
WIDTH = tl.constexpr(32)  # room of a layer
OUTPUT_ROOM = tl.constexpr(16)
# Where the parts of a network lie: float16 weights, and int32 biases.
SKIP = tl.constexpr(INPUT_ROOM.value * WIDTH.value)
SECOND = tl.constexpr(SKIP.value + INPUT_ROOM.value * OUTPUT_ROOM.value)
LAST = tl.constexpr(SECOND.value + WIDTH.value * WIDTH.value)
WEIGHTS = tl.constexpr(LAST.value + WIDTH.value * OUTPUT_ROOM.value)
BIASES = tl.constexpr(2 * WIDTH.value + OUTPUT_ROOM.value)


# ---- Numbers ----


@triton.jit
def _floor_div(a, b):
    """The quotient of a and b, which is above 0, rounded down; `//` rounds towards 0."""
    found = a // b
    return found - ((a - found * b) < 0).to(tl.int32)


@triton.jit
def _exponent(a):
    """The place of the highest bit of a, from 1 to 2^24 - 1, which a float32 holds exactly."""
    return (a.to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127


@triton.jit
def _log(a):
    """LOG of the specification, of a number from 1 to 2^24 - 1."""
    exponent = _exponent(a)
    return 64 * exponent + ((a << 6) >> exponent) - 64


@triton.jit
def _clip(a, low, high):
    return tl.minimum(tl.maximum(a, low), high)


@triton.jit
def _quantised(numbers, spread):
    """QUANT of numbers with a spread that fits them.

    Beyond four spreads they are clipped first: the result is clipped there anyway, and the product
    stays within 32 bits.
    """
    shift = tl.maximum(_exponent(spread) - 11, 0)
    share = (1 << 18) // (spread >> shift)
    near = _clip(numbers, -(spread << 2), spread << 2)
    return _clip(((near >> shift) * share + (1 << 13)) >> 14, -63, 63)


# ---- Neighbours ----


@triton.jit
def _neighbours(array, x, y, z, ways, columns, stride, wanted, nothing):
    """Entries (n, k) of a region's array at displacements from voxels, `nothing` where none is.

    x, y, z: int32 (n, 1)
    ways: displacements int32 (k, 3), in strides
    columns: int32 (1, k), which of them
    wanted: bool (n, k)
    """
    ahead_x = x + stride * tl.load(ways + 3 * columns)
    ahead_y = y + stride * tl.load(ways + 3 * columns + 1)
    ahead_z = z + stride * tl.load(ways + 3 * columns + 2)
    inside = wanted & (((ahead_x | ahead_y | ahead_z) & -EDGE) == 0)
    return tl.load(array + (ahead_x << 14 | ahead_y << 7 | ahead_z), inside, nothing)


@triton.jit
def _both_sides(array, x, y, z, ways, columns, stride, wanted):
    """Values (n, k) ahead of voxels, and behind them."""
    ahead = _neighbours(array, x, y, z, ways, columns, stride, wanted, MISSING)
    return ahead, _neighbours(array, x, y, z, ways, columns, -stride, wanted, MISSING)


# ---- Base and deviations ----


@triton.jit
def _deviations(ahead, behind, base):
    """What the pairs (n, k) deviate by from bases (n, 1): on each side, 0 where it is not known."""
    first = tl.where(ahead != MISSING, ahead - base, 0)
    return first, tl.where(behind != MISSING, behind - base, 0)


@triton.jit
def _total(ahead, behind):
    return tl.where(ahead != MISSING, ahead, 0) + tl.where(behind != MISSING, behind, 0)


@triton.jit
def _known(ahead, behind):
    return (ahead != MISSING).to(tl.int32) + (behind != MISSING).to(tl.int32)


@triton.jit
def _lines(whole, curved, near, far):
    """Quotient of the lines through near pairs, their sum and their number; 0 and 0 for none.

    whole, curved: bool (n, 4): whether both of a near pair count, and both of the far one too
    near, far: int32 (n, 4) sums of pairs
    """
    line = tl.where(whole, 8 * near + tl.where(whole & curved, near - far, 0), 0)
    count = tl.sum(whole.to(tl.int32), 1)
    return _floor_div(tl.sum(line, 1), 16 * tl.maximum(count, 1)), count


@triton.jit
def _base(near_ahead, near_behind, far_ahead, far_behind, all_total, all_known, otherwise):
    """The base (n,) of pairs; the known near neighbours, and the curved near pairs.

    all_total, all_known: (n,) of all pairs: the sum of the known ones, and their number
    """
    near, known = _total(near_ahead, near_behind), _known(near_ahead, near_behind)
    whole, curved = known == 2, _known(far_ahead, far_behind) == 2
    line, lines = _lines(whole, curved, near, _total(far_ahead, far_behind))
    count = tl.sum(known, 1)
    beside = _floor_div(tl.sum(near, 1), tl.maximum(count, 1))
    around = _floor_div(all_total, tl.maximum(all_known, 1))
    rest = tl.where(count > 0, beside, tl.where(all_known > 0, around, otherwise))
    return tl.where(lines > 0, line, rest), count, tl.sum((whole & curved).to(tl.int32), 1)


@triton.jit
def _is_inner(values, step, top):
    return (values != MISSING) & (2 * values > step) & (2 * (top - values) > step)


@triton.jit
def _inner_base(near_ahead, near_behind, far_ahead, far_behind, base, step, top):
    """The inner base (n,), and how many near neighbours are inner."""
    a, b = _is_inner(near_ahead, step, top), _is_inner(near_behind, step, top)
    c, d = _is_inner(far_ahead, step, top), _is_inner(far_behind, step, top)
    near = tl.where(a, near_ahead, 0) + tl.where(b, near_behind, 0)
    far = tl.where(c, far_ahead, 0) + tl.where(d, far_behind, 0)
    line, lines = _lines(a & b, c & d, near, far)
    side = tl.where(a & c, 24 * near_ahead - 8 * far_ahead, 0)
    side += tl.where(b & d, 24 * near_behind - 8 * far_behind, 0)
    sides = tl.sum((a & c).to(tl.int32) + (b & d).to(tl.int32), 1)
    straight = _floor_div(tl.sum(side, 1), 16 * tl.maximum(sides, 1))
    found = tl.where(lines > 0, line, tl.where(sides > 0, straight, base))
    return _clip(found, 0, top), tl.sum(a.to(tl.int32) + b.to(tl.int32), 1)


# ---- Networks ----


@triton.jit
def _put(numbers, place: tl.constexpr, column, value):
    """Numbers (n, k) with a value (n,) in a column."""
    return tl.where(column == place, value[:, None], numbers)


@triton.jit
def _products(inputs, weights, first: tl.constexpr, width: tl.constexpr, columns: tl.constexpr):
    """Inputs (n, w) times the rows of a layer from `first` on."""
    rows, outputs = tl.arange(0, width), tl.arange(0, columns)
    layer = tl.load(weights + (first + rows[:, None]) * columns + outputs[None, :])
    return tl.dot(inputs.to(tl.float16), layer)


@triton.jit
def _activation(sums, bias):
    """The activation ACT of sums (n, w), which are whole numbers in float32, exact below 2^24."""
    return _clip((sums.to(tl.int32) + bias + 32) >> 6, 0, 127)


@triton.jit
def _outputs(hidden, skip, weights, biases):
    """The outputs (n, 16), from the sums of the first layer and of the skip."""
    column = tl.arange(0, WIDTH)[None, :]
    hidden = _activation(hidden, tl.load(biases + column))
    hidden = _products(hidden, weights + SECOND, 0, WIDTH, WIDTH)
    hidden = _activation(hidden, tl.load(biases + WIDTH + column))
    found = _products(hidden, weights + LAST, 0, WIDTH, OUTPUT_ROOM) + skip
    output = tl.arange(0, OUTPUT_ROOM)[None, :]
    return found.to(tl.int32) + tl.load(biases + 2 * WIDTH + output)


@triton.jit
def _column(numbers, place: tl.constexpr):
    """A column (n,) of numbers (n, 16)."""
    wanted = tl.arange(0, OUTPUT_ROOM)[None, :] == place
    return tl.sum(tl.where(wanted, numbers, 0), 1)


# ---- Prediction ----


@triton.jit(do_not_specialize=["number", "level", "pairs"])
def predict(
    values, active, reference, places, starts, about, ways, faces, weights, biases, predictions,
    number, level, pairs, room,
    ODD: tl.constexpr, REFERRING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Predict the voxels of a pass: table << 24 | predicted.

    values, reference: int32 (regions, VOXELS) in units, MISSING where none is known
    active: int8 (regions, VOXELS) 1 where the channel has a voxel
    places: int32 (regions, room) of the active voxels, in the order of the traversal
    starts: int32 (regions, PASSES + 1) where the voxels of each pass begin among these
    about: int32 (regions, ABOUT)
    ways: int32 (PAIRS, 3) displacements of the pass's pairs, in strides
    faces: int32 (16, 3) those of FACES along its axes, then their negatives
    weights: float16 (networks, 3, WEIGHTS), twice as large where inputs are 16ths
    biases: int32 (networks, 3, BIASES)
    predictions: int32 (regions, IN_PASS), filled
    number, level: of the pass
    pairs: how many its voxels have
    """
    region = tl.program_id(0).to(tl.int64)
    values += region * VOXELS
    active += region * VOXELS
    reference += region * VOXELS
    places += region * room
    about += region * ABOUT
    predictions += region * IN_PASS
    first = tl.load(starts + region * (PASSES + 1) + number)
    end = tl.load(starts + region * (PASSES + 1) + number + 1)
    network = tl.load(about + NETWORK) * 3 + ODD - 1
    weights += network * WEIGHTS
    biases += network * BIASES
    step = tl.load(about + STEPS + level)
    top = tl.load(about + TOP)
    background = tl.load(about + BACKGROUND)
    mean = tl.load(about + MEAN)
    wide_spread = 2 * tl.load(about + SPREAD)
    lossless = tl.load(about + LOSSLESS)
    log_step = _log(step)
    stride = 1 << level

    pair = tl.arange(0, PAIRS)[None, :]
    near = tl.arange(0, 4)[None, :]
    face = tl.arange(0, 16)[None, :]
    begun = first + tl.program_id(1) * BLOCK
    for begin in range(begun, end, tl.num_programs(1) * BLOCK):
        row = begin + tl.arange(0, BLOCK)
        here = row < end
        place = tl.load(places + row, here, 0)
        x, y, z = (place >> 14)[:, None], (place >> 7 & 127)[:, None], (place & 127)[:, None]
        some = here[:, None]

        ahead, behind = _both_sides(values, x, y, z, ways, pair, stride, some & (pair < pairs))
        wanted = some & (near < ODD)
        near_ahead, near_behind = _both_sides(values, x, y, z, ways, near, stride, wanted)
        far = tl.minimum(near + ODD, 2 * ODD - 1)
        far_ahead, far_behind = _both_sides(values, x, y, z, ways, far, stride, wanted)
        total = tl.sum(_total(ahead, behind), 1)
        known = tl.sum(_known(ahead, behind), 1)
        base, near_known, curves = _base(
            near_ahead, near_behind, far_ahead, far_behind, total, known, mean
        )
        inner, near_inner = _inner_base(
            near_ahead, near_behind, far_ahead, far_behind, base, step, top
        )

        one, other = _deviations(ahead, behind, base[:, None])
        sums, differences = one + other, one - other
        bend, lean = tl.sum(tl.abs(sums), 1), tl.sum(tl.abs(differences), 1)
        counted = tl.sum((_known(ahead, behind) > 0).to(tl.int32), 1)
        least = step >> 2
        spread = tl.where(counted > 0, bend // tl.maximum(counted, 1), wide_spread)
        spread = _clip(spread, least, HIGHEST - 1)
        slope = _clip(lean // tl.maximum(counted, 1), least, HIGHEST - 1)
        log_spread = _log(spread) - log_step
        log_slope = _log(slope) - log_step
        height = _clip(base - background, -16 * step, 16 * step)

        numbers = tl.zeros((BLOCK, 16), tl.int32)
        numbers = _put(numbers, 0, face, (log_spread + 8) >> 4)
        numbers = _put(numbers, 1, face, (log_slope + 8) >> 4)
        numbers = _put(numbers, 2, face, (32 * _clip(base, 0, HIGHEST)) // top)
        numbers = _put(numbers, 3, face, _floor_div(4 * height, step))
        numbers = _put(numbers, 4, face, 3 * level + tl.zeros((BLOCK,), tl.int32))
        numbers = _put(numbers, 5, face, (16 * near_known) // (2 * ODD))
        numbers = _put(numbers, 6, face, (16 * curves) // ODD)
        numbers = _put(numbers, 7, face, _quantised(inner - base, spread))
        numbers = _put(numbers, 8, face, (16 * near_inner) // (2 * ODD))
        numbers = _clip(numbers, -63, 63)
        there = _neighbours(active, x, y, z, faces, face, stride, some & (face < 6), 0)
        there = 16 * there.to(tl.int32)
        sum_inputs = _quantised(sums, spread[:, None])
        difference_inputs = _quantised(differences, slope[:, None])
        hidden = _products(sum_inputs, weights, OF_SUMS, PAIRS, WIDTH)
        hidden += _products(difference_inputs, weights, OF_DIFFERENCES, PAIRS, WIDTH)
        hidden += _products(there, weights, OF_FACES, 16, WIDTH)
        hidden += _products(numbers, weights, OF_NUMBERS, 16, WIDTH)
        skip = _products(sum_inputs, weights + SKIP, OF_SUMS, PAIRS, OUTPUT_ROOM)
        skip += _products(difference_inputs, weights + SKIP, OF_DIFFERENCES, PAIRS, OUTPUT_ROOM)
        skip += _products(there, weights + SKIP, OF_FACES, 16, OUTPUT_ROOM)
        skip += _products(numbers, weights + SKIP, OF_NUMBERS, 16, OUTPUT_ROOM)

        if REFERRING:
            own = tl.load(reference + place, here, MISSING)
            has = own != MISSING
            near_ahead, near_behind = _both_sides(reference, x, y, z, ways, near, stride, wanted)
            far_ahead, far_behind = _both_sides(reference, x, y, z, ways, far, stride, wanted)
            total = _total(near_ahead, near_behind) + _total(far_ahead, far_behind)
            known = _known(near_ahead, near_behind) + _known(far_ahead, far_behind)
            there_base, _, _ = _base(
                near_ahead, near_behind, far_ahead, far_behind,
                tl.sum(total, 1), tl.sum(known, 1), tl.where(has, own, 0),
            )  # fmt: skip
            one, other = _both_sides(reference, x, y, z, faces, face, stride, some & (face < 3))
            one, other = _deviations(one, other, there_base[:, None])
            around = one + other
            apart = tl.where(has, 2 * (own - there_base), 0)
            spread_there = (tl.abs(apart) + tl.sum(tl.abs(around), 1)) >> 2
            spread_there = _clip(spread_there, least, HIGHEST - 1)
            log_there = _log(spread_there) - log_step
            one, other = _both_sides(reference, x, y, z, ways, pair, stride, some & (pair < pairs))
            one, other = _deviations(one, other, there_base[:, None])
            amiss = tl.sum(tl.abs(sums - one - other), 1) // pairs
            log_amiss = _log(_clip(amiss, least, HIGHEST - 1)) - log_step
            # Columns: 0 to 2 and 8 to 10 the sums around, as two spreads quantise them.
            shifted = (face >= 8) & (face < 11)
            moved, moved_back = _both_sides(
                reference, x, y, z, faces, face & 7, stride, some & shifted
            )
            moved, moved_back = _deviations(moved, moved_back, there_base[:, None])
            numbers = tl.where(
                shifted,
                _quantised(moved + moved_back, spread[:, None]),
                _quantised(around, spread_there[:, None]),
            )
            numbers = _put(numbers, 3, face, _quantised(apart, spread_there))
            numbers = _put(numbers, 4, face, 16 * has.to(tl.int32))
            numbers = _put(numbers, 5, face, (log_there + 8) >> 4)
            numbers = _put(numbers, 6, face, (log_there - log_spread + 4) >> 3)
            numbers = _put(numbers, 7, face, _quantised(apart, spread))
            beyond = tl.where(has, 2 * (own - base), 0)
            numbers = _put(numbers, 11, face, _quantised(beyond, spread))
            numbers = _put(numbers, 12, face, (log_amiss - log_spread + 4) >> 3)
            numbers = _clip(numbers, -63, 63)
            hidden += _products(numbers, weights, OF_REFERENCE, 16, WIDTH)
            skip += _products(numbers, weights + SKIP, OF_REFERENCE, 16, OUTPUT_ROOM)

        out = _outputs(hidden, skip, weights, biases)
        still = (counted > 0) & (bend + lean == 0)
        shift = tl.maximum(_exponent(spread) - 11, 0)
        move = (spread >> shift) * _clip(_column(out, 0), -8191, 8191)
        move = tl.where(still, 0, ((move + 1024) >> 11) << shift)
        predicted = base + move
        predicted = tl.where(lossless > 0, ((predicted + 64) >> 7) * 128, predicted)
        log = log_spread + (_clip(_column(out, 1), -(1 << 20), 1 << 20) >> 5)
        table = _clip((log + 320) >> 4, 0, TABLES - 1)
        tl.store(predictions + row - first, table << 24 | _clip(predicted, 0, top), here)


# ---- Segments, coder, trellis, codes ----


@triton.jit(do_not_specialize=["number", "level", "segment"])
def read_codes(
    values, places, starts, about, predictions, tables, counts, bits, states, chains, cursor,
    turns, number, level, segment, room,
):  # fmt: skip
    """Read the codes of a pass, one program a region, and write the voxels' values.

    tables: int32 (regions, 2, TABLES, TOKEN_ROOM) starts of the tokens; 2^15 behind the last
    counts: int32 (regions, 2, TABLES, TOKEN_ROOM) of the tokens: 32 is added for each
    bits: uint8 segments of all regions
    states: int32 (regions, LANES) of the lanes, the bits of a u32
    chains: int32 (regions, LANES) states of the trellis's chains, twice
    cursor: int32 (regions, CURSOR)
    turns: int32 (LANES,) where an even token leads from each state, and an odd one
    number, level: of the pass
    segment: number of the segment that begins before it, or -1
    """
    region = tl.program_id(0).to(tl.int64)
    values += region * VOXELS
    places += region * room
    about += region * ABOUT
    predictions += region * IN_PASS
    tables += region * (2 * TABLES * TOKEN_ROOM)
    counts += region * (2 * TABLES * TOKEN_ROOM)
    cursor += region * CURSOR
    first = tl.load(starts + region * (PASSES + 1) + number)
    count = tl.load(starts + region * (PASSES + 1) + number + 1) - first
    step = tl.load(about + STEPS + level)
    top = tl.load(about + TOP)
    trellis = tl.load(about + TRELLIS)
    lanes = 1 << tl.load(about + LOG_LANES)
    column = tl.arange(0, LANES)
    state = tl.load(states + region * LANES + column).to(tl.uint32, bitcast=True)
    chain = tl.load(chains + region * LANES + column)
    turn = tl.load(turns + column)
    word, raw = tl.load(cursor + WORD), tl.load(cursor + RAW)
    fault = tl.load(cursor + FAULT)
    begin, size = tl.load(cursor + BEGIN), tl.load(cursor + SIZE)

    if (segment == 0) | ((segment > 0) & (tl.load(about + SEGMENTS) > 1)):
        unmet = (word - begin + ((raw + 7) >> 3)) != size
        fault |= ((segment > 0) & unmet).to(tl.int32)
        begin = tl.load(about + SEGMENT_BEGINS + segment)
        size = tl.load(about + SEGMENT_SIZES + segment)
        word, raw = begin, begin * 0
        if segment == 0:
            own = column < lanes
            at = begin + 4 * column
            there = own & (4 * column + 4 <= size)
            at = bits + at
            low = tl.load(at, there, 0).to(tl.int32) | tl.load(at + 1, there, 0).to(tl.int32) << 8
            high = tl.load(at + 2, there, 0).to(tl.int32)
            high |= tl.load(at + 3, there, 0).to(tl.int32) << 8
            state = (high << 16 | low).to(tl.uint32, bitcast=True)
            fault |= tl.max((own & (high == 0)).to(tl.int32), 0)
            word += 4 * lanes

    width = tl.where(trellis > 0, tl.minimum(lanes, CHAINS), lanes)  # voxels at once
    end = begin + size
    for row in range(0, count, width):
        index = row + column
        here = (column < width) & (index < count)
        prediction = tl.load(predictions + index, here, 0)
        place = tl.load(places + first + index, here, 0)
        predicted = prediction & 0xFFFFFF
        lane = index & (lanes - 1)
        x = tl.gather(state, lane, 0)
        stood = tl.gather(chain, index & (CHAINS - 1), 0)
        quantiser = tl.where(trellis > 0, stood & 1, 0)
        table = (quantiser * TABLES + (prediction >> 24)) * TOKEN_ROOM
        slot = (x & 0x7FFF).to(tl.int32)
        token = tl.zeros((LANES,), tl.int32)
        for power in tl.static_range(6):
            further = token + (32 >> power)
            token = tl.where(tl.load(tables + table + further) <= slot, further, token)
        start = tl.load(tables + table + token)
        part = tl.load(tables + table + token + 1) - start
        tl.atomic_add(counts + table + token, 32, here)

        x = part.to(tl.uint32) * (x >> 15) + (slot - start).to(tl.uint32)
        needy = (here & (x < 65536)).to(tl.int32)
        at = word + 2 * (tl.cumsum(needy, 0) - needy)
        there = (needy > 0) & (at + 2 <= end)
        found = tl.load(bits + at, there, 0).to(tl.int32)
        found |= tl.load(bits + at + 1, there, 0).to(tl.int32) << 8
        x = tl.where(needy > 0, x << 16 | found.to(tl.uint32), x)
        word += 2 * tl.sum(needy, 0)

        # Each lane has the state that its voxel of this row leaves; each chain likewise.
        back = (column - row) & (lanes - 1)
        passed = (column < lanes) & (back < width) & (row + back < count)
        state = tl.where(passed, tl.gather(x, back, 0), state)
        moved = tl.gather(turn, 2 * stood + (token & 1), 0)
        back = (column - row) & (CHAINS - 1)
        passed = (back < width) & (row + back < count)
        chain = tl.where(passed, tl.gather(moved, back, 0), chain)

        # A sign may be implied by the magnitude, which lies behind the raw bits of earlier voxels:
        # each round is right for one more token that has extra bits.
        large = token >= 16
        extra = tl.where(large, 3 + ((token - 16) >> 1), 0)
        signs = (token > 0).to(tl.int32)
        magnitude = token
        implied = signs * 0
        offset = signs * 0
        content = signs * 0
        for _ in range(tl.sum((large & here).to(tl.int32), 0) + 1):
            reach = (2 * magnitude - 1 - quantiser) * step
            below, above = 2 * predicted < reach, 2 * (top - predicted) < reach
            implied = tl.where(token > 0, tl.where(below, 1, tl.where(above, -1, 0)), 0)
            taken = tl.where(here, extra + tl.where(implied == 0, signs, 0), 0)
            offset = raw + tl.cumsum(taken, 0) - taken
            at = end - 1 - (offset >> 3)
            shift = offset & 7
            content = tl.load(bits + at, here & (at >= begin), 0).to(tl.int32)
            content |= tl.load(bits + at - 1, here & (at > begin), 0).to(tl.int32) << 8
            content |= tl.load(bits + at - 2, here & (at > begin + 1), 0).to(tl.int32) << 16
            content >>= shift
            last = tl.load(bits + at - 3, here & (at > begin + 2), 0).to(tl.int32)
            content |= last << (24 - shift)
            tail = content & ((1 << extra) - 1)
            magnitude = tl.where(large, ((2 + (token & 1)) << extra) + tail, token)
        reach = (2 * magnitude - 1 - quantiser) * step
        below, above = 2 * predicted < reach, 2 * (top - predicted) < reach
        implied = tl.where(token > 0, tl.where(below, 1, tl.where(above, -1, 0)), 0)
        raw += tl.sum(tl.where(here, extra + tl.where(implied == 0, signs, 0), 0), 0)
        read = 1 - 2 * (content >> extra & 1)
        sign = tl.where(token > 0, tl.where(implied == 0, read, implied), 0)
        move = (sign * (2 * magnitude - quantiser) * step) >> 1
        tl.store(values + place, tl.minimum(tl.maximum(predicted + move, 0), top), here)

    tl.store(states + region * LANES + column, state.to(tl.int32, bitcast=True))
    tl.store(chains + region * LANES + column, chain)
    tl.store(cursor + WORD, word)
    tl.store(cursor + RAW, raw)
    tl.store(cursor + FAULT, fault)
    tl.store(cursor + BEGIN, begin)
    tl.store(cursor + SIZE, size)


# ---- Tables ----


@triton.jit
def make_tables(counts, tables, ROWS: tl.constexpr):
    """Make starts of tokens of counts, ROWS tables a program; see `read_codes`."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    token = tl.arange(0, TOKEN_ROOM)[None, :]
    at = row.to(tl.int64) * TOKEN_ROOM + token
    count = tl.load(counts + at, token < TOKENS, 0).to(tl.int64)
    total = tl.sum(count, 1)[:, None]
    part = 1 + ((count * (32768 - TOKENS)) // total).to(tl.int32)
    part = tl.where((token > 0) & (token < TOKENS), part, 0)
    least = 32768 - tl.sum(part, 1)[:, None]
    start = tl.where(token > 0, least, 0) + tl.cumsum(part, 1) - part
    tl.store(tables + at, start)


# ---- Motion ----


@triton.jit
def _share(place, step: tl.constexpr):
    """What a leaf counts for a voxel at a place of its leaf: the first of two, or the second."""
    second = tl.where(place < 4, 9 + 2 * place, 2 * place - 7)
    return second if step else 16 - second


@triton.jit
def fetch(there, vectors, has, cells, moved, fraction):
    """Fetch the voxels of a leaf along vectors, one program a leaf.

    there: int32 (VOXELS,) every voxel of the region that is fetched from, in units
    vectors: int32 (4096, 3) of the cells, in 2^-fraction voxels; 0 where one has none
    has: int8 (4096,) 1 for the cells that have one
    cells: int32 (n,) of the leaves
    moved: int32 (n, 512), filled
    """
    cell = tl.load(cells + tl.program_id(0))
    voxel = tl.arange(0, 512)
    x, y, z = voxel >> 6, voxel >> 3 & 7, voxel & 7
    of_cell_x, of_cell_y, of_cell_z = cell >> 8, cell >> 4 & 15, cell & 15
    lower_x = of_cell_x - (x < 4).to(tl.int32)
    lower_y = of_cell_y - (y < 4).to(tl.int32)
    lower_z = of_cell_z - (z < 4).to(tl.int32)
    field_x = tl.zeros((512,), tl.int32)
    field_y = tl.zeros((512,), tl.int32)
    field_z = tl.zeros((512,), tl.int32)
    for corner in tl.static_range(8):
        at_x, at_y = lower_x + (corner >> 2), lower_y + (corner >> 1 & 1)
        at_z = lower_z + (corner & 1)
        weight = _share(x, corner >> 2) * _share(y, corner >> 1 & 1) * _share(z, corner & 1)
        inside = ((at_x | at_y | at_z) & -16) == 0
        other = at_x << 8 | at_y << 4 | at_z
        known = tl.load(has + other, inside, 0).to(tl.int32) > 0
        # A leaf that has none counts with that of the voxel's own leaf.
        other = vectors + 3 * tl.where(known, other, cell)
        field_x += weight * tl.load(other)
        field_y += weight * tl.load(other + 1)
        field_z += weight * tl.load(other + 2)
    shift = fraction + 8
    half = 1 << (shift - 1)
    x = _clip(16 * (8 * of_cell_x + x) + ((field_x + half) >> shift), 0, 16 * (EDGE - 1))
    y = _clip(16 * (8 * of_cell_y + y) + ((field_y + half) >> shift), 0, 16 * (EDGE - 1))
    z = _clip(16 * (8 * of_cell_z + z) + ((field_z + half) >> shift), 0, 16 * (EDGE - 1))
    corner_x, corner_y = tl.minimum(x >> 4, EDGE - 2), tl.minimum(y >> 4, EDGE - 2)
    corner_z = tl.minimum(z >> 4, EDGE - 2)
    x, y, z = x - 16 * corner_x, y - 16 * corner_y, z - 16 * corner_z
    place = corner_x << 14 | corner_y << 7 | corner_z
    total = tl.zeros((512,), tl.int64)
    for corner in tl.static_range(8):
        weight = (x if corner & 4 else 16 - x) * (y if corner & 2 else 16 - y)
        weight *= z if corner & 1 else 16 - z
        step = (corner >> 2) << 14 | (corner >> 1 & 1) << 7 | (corner & 1)
        total += weight.to(tl.int64) * tl.load(there + place + step).to(tl.int64)
    found = ((total + (1 << 11)) >> 12).to(tl.int32)
    tl.store(moved + tl.program_id(0) * 512 + voxel, found)


# ---- Restoration ----


@triton.jit
def restore(
    values, places, starts, about, ways, weights, biases, restored, room, BLOCK: tl.constexpr
):
    """Restore all voxels of level 0.

    ways: int32 (16, 3) displacements of FACES, EDGES, CORNERS
    weights, biases: float16 (networks, WEIGHTS), int32 (networks, BIASES) of the filters
    restored: int32 (regions, VOXELS), filled at the voxels
    """
    region = tl.program_id(0).to(tl.int64)
    values += region * VOXELS
    restored += region * VOXELS
    places += region * room
    about += region * ABOUT
    end = tl.load(starts + region * (PASSES + 1) + PASSES)
    weights += tl.load(about + NETWORK) * WEIGHTS
    biases += tl.load(about + NETWORK) * BIASES
    top = tl.load(about + TOP)
    background = tl.load(about + BACKGROUND)
    pair = tl.arange(0, 16)[None, :]
    for begin in range(tl.program_id(1) * BLOCK, end, tl.num_programs(1) * BLOCK):
        row = begin + tl.arange(0, BLOCK)
        here = row < end
        place = tl.load(places + row, here, 0)
        x, y, z = (place >> 14)[:, None], (place >> 7 & 127)[:, None], (place & 127)[:, None]
        own = tl.load(values + place, here, 0)
        ahead, behind = _both_sides(values, x, y, z, ways, pair, 1, here[:, None] & (pair < 13))
        one, other = _deviations(ahead, behind, own[:, None])
        sums, differences = (one + other) >> 3, (one - other) >> 3
        uneven = tl.sum(tl.abs(sums) + tl.abs(differences), 1) > 0
        # Columns: 0 to 2 whether faces ahead are known, 3 to 5 behind, 6 to 9 the kind, 10 height.
        side = tl.where(pair < 3, pair, pair - 3)
        known_ahead = _neighbours(
            values, x, y, z, ways, side, 1, here[:, None] & (pair < 3), MISSING
        )
        known_behind = _neighbours(
            values, x, y, z, ways, side, -1, here[:, None] & (pair >= 3) & (pair < 6), MISSING
        )
        numbers = 32 * _known(known_ahead, known_behind)
        kind = ((x & 1) + (y & 1) + (z & 1) + 3) % 4
        numbers = tl.where(pair == 6 + kind, 32, numbers)
        numbers = _put(numbers, 10, pair, _clip(own - background, -2048, 2048) >> 4)
        numbers = _clip(numbers, -63, 63)
        sums, differences = _clip(sums, -63, 63), _clip(differences, -63, 63)
        hidden = _products(sums, weights, OF_SUMS, 16, WIDTH)
        hidden += _products(differences, weights, OF_DIFFERENCES, 16, WIDTH)
        hidden += _products(numbers, weights, OF_NUMBERS, 16, WIDTH)
        skip = _products(sums, weights + SKIP, OF_SUMS, 16, OUTPUT_ROOM)
        skip += _products(differences, weights + SKIP, OF_DIFFERENCES, 16, OUTPUT_ROOM)
        skip += _products(numbers, weights + SKIP, OF_NUMBERS, 16, OUTPUT_ROOM)
        out = _outputs(hidden, skip, weights, biases)
        move = _clip((_column(out, 0) + 8) >> 4, -128, 128)
        found = tl.where(uneven, _clip(own + move, 0, top), own)
        tl.store(restored + place, found, here)
