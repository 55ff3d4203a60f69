"""What a GPU does to decode the masks of leaves, in Triton: the same bits as the core.

`gpu.py` has the arrays, and spec/masks.md states what is computed. The voxels of a region lie in
*words* of 32 bits: word s of a row along z, from 0 to 7, has the voxels from 16 s - 8 to 16 s + 23,
of which the inner 16 are its own. So all that a context needs of a row lies in one word. The word
of (x, y, z) is number FIRST + x PLANE + (z >> 4) ROW + y of the region; around the region lie words
in which no voxel that contexts look at is ever set. Where the environment variable
TRITON_INTERPRET is 1 when this module is imported, Triton runs the kernel on the CPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

ROW = tl.constexpr(132)  # words: 128 and a margin of what contexts reach
PLANE = tl.constexpr(9 * ROW.value)  # 8 rows, and one that takes the overlap of its neighbours
FIRST = tl.constexpr(2 * PLANE.value + 3)
WORDS = tl.constexpr(131 * PLANE.value + ROW.value)  # of a region
LOGITS = tl.constexpr(57344)
EDGE = tl.constexpr(666)  # of SQUASH
BLOCK = tl.constexpr(64)  # voxels between two updates of the logits
LANES = tl.constexpr(32)

# Columns of `about`, what is known of a region: int32 (regions, 8).
LOG_LANES = tl.constexpr(0)
SHIFT = tl.constexpr(1)  # by which errors are divided when logits learn
STREAM = tl.constexpr(2)  # where its 16-bit words begin in `stream`
STREAM_END = tl.constexpr(3)
BLOCKS = tl.constexpr(4)  # number of its first block
BLOCKS_END = tl.constexpr(5)
ABOUT = tl.constexpr(8)


@triton.jit
def read_masks(
    words, predicted, places, begins, about, states, stream, logits, squash, faults,
    PREDICTED: tl.constexpr,
):  # fmt: skip
    """Read the voxels of mixed leaves, one program of one warp a region.

    words: int32 (regions, WORDS) the voxels of full leaves, to which those that are read are added
    predicted: int32 (regions, WORDS) the masks that these are predicted from, where PREDICTED
    places: int32 (n + BLOCK,) of all voxels in coding order: word << 4 | z mod 16; some after them
    begins: int32 (blocks + 2,) where each block begins among the places; twice where the last ends
    about: int32 (regions, ABOUT)
    states: int32 (regions, LANES) of the lanes, the bits of a u32
    stream: int16 words of all regions, the bits of a u16
    logits: int32 (regions, LOGITS), of which the low 16 bits count
    squash: int32 (2 EDGE,) SQUASH
    faults: int32 (regions,) filled: 1 where the bytes are damaged
    """
    region = tl.program_id(0).to(tl.int64)
    words += region * WORDS + FIRST
    predicted += region * WORDS + FIRST
    logits += region * LOGITS
    about += region * ABOUT
    lanes = 1 << tl.load(about + LOG_LANES)
    shift = tl.load(about + SHIFT)
    half = 1 << (shift - 1)
    cursor, stream_end = tl.load(about + STREAM), tl.load(about + STREAM_END)
    column = tl.arange(0, BLOCK)
    lane = column & (lanes - 1)
    # Voxel i of a block has the state of its lane, i mod N.
    state = tl.load(states + region * LANES + lane).to(tl.uint32, bitcast=True)

    # What a block needs of these arrays is loaded while the one before is read.
    first, last = tl.load(about + BLOCKS), tl.load(about + BLOCKS_END)
    begin, end = tl.load(begins + first), tl.load(begins + first + 1)
    place = tl.load(places + begin + column)
    for block in range(first, last):
        here = column < end - begin
        at = cursor + column
        ready = tl.load(stream + at, at < stream_end, 0).to(tl.int32) & 0xFFFF

        # A window has the voxels of a row from z - 2 on, that one in its lowest bit. h0 to h3 are
        # the rows at x and y to y - 3; b_ to b2 those at x - 1 and y - 1 to y + 2; c0 to c3 those
        # at x - 2 and y to y + 3.
        inner = place & 15
        by = inner + 6
        own = words + (place >> 4)
        own_word = tl.load(own)
        side = own + tl.where(inner < 8, -ROW, ROW)  # the other word that has the voxel
        side_word = tl.load(side)
        h0 = own_word >> by
        h1 = tl.load(own - 1) >> by
        h2 = tl.load(own - 2) >> by
        h3 = tl.load(own - 3) >> by
        b_ = tl.load(own - PLANE - 1) >> by
        b0 = tl.load(own - PLANE) >> by
        b1 = tl.load(own - PLANE + 1) >> by
        b2 = tl.load(own - PLANE + 2) >> by
        c0 = tl.load(own - 2 * PLANE) >> by
        c1 = tl.load(own - 2 * PLANE + 1) >> by
        c2 = tl.load(own - 2 * PLANE + 2) >> by
        c3 = tl.load(own - 2 * PLANE + 3) >> by

        near = h1 >> 1 & 7 | (h0 >> 1 & 1) << 3
        context = near | (b_ >> 1 & 7) << 4 | (b0 >> 1 & 7) << 7 | (b1 >> 1 & 7) << 10
        logit_0 = logits + context
        context = h2 >> 2 & 3 | (h1 >> 2 & 3) << 2 | (h0 & 3) << 4 | (b0 >> 2 & 7) << 6
        context |= (b1 >> 2 & 3) << 9 | (c0 >> 2 & 3) << 11
        logit_1 = logits + 8192 + context
        context = h2 >> 3 & 7 | (h1 >> 2 & 1) << 3 | (h0 >> 1 & 1) << 4 | (b0 >> 2 & 1) << 5
        context |= (b2 >> 1 & 1) << 6 | (b0 >> 4 & 3) << 7 | (c1 >> 2 & 3) << 9
        context |= (c2 >> 2 & 3) << 11 | (c3 >> 3 & 1) << 13
        logit_2 = logits + 16384 + context
        context = c0 >> 1 & 15 | (c1 >> 1 & 7) << 4 | (h3 >> 2 & 3) << 7 | (h2 >> 1 & 15) << 9
        logit_3 = logits + 32768 + context
        total = (tl.load(logit_0) << 16) >> 16
        total += (tl.load(logit_1) << 16) >> 16
        total += (tl.load(logit_2) << 16) >> 16
        total += (tl.load(logit_3) << 16) >> 16
        if PREDICTED:
            # The same windows of `predicted`: p_ to p1 at x and y - 1 to y + 1; q0 and q1 at x - 1
            # and y to y + 1; r0 at x + 1 and y.
            there = predicted + (place >> 4)
            p_ = tl.load(there - 1) >> by
            p0 = tl.load(there) >> by
            p1 = tl.load(there + 1) >> by
            q0 = tl.load(there - PLANE) >> by
            q1 = tl.load(there - PLANE + 1) >> by
            r0 = tl.load(there + PLANE) >> by
            ahead = p0 >> 2 & 3 | (p1 >> 2 & 1) << 2 | (r0 >> 2 & 1) << 3
            behind = p0 >> 1 & 1 | (p_ >> 2 & 1) << 1 | (q0 >> 2 & 1) << 2
            six = h1 >> 2 & 3 | (h0 >> 1 & 1) << 2 | (b0 >> 2 & 1) << 3 | (b1 >> 2 & 3) << 4
            logit_4 = logits + 40960 + (ahead | behind << 4 | six << 7)
            near |= (b0 >> 1 & 7) << 4 | (b1 >> 2 & 3) << 7
            near ^= p_ >> 1 & 7 | (p0 >> 1 & 1) << 3 | (q0 >> 1 & 7) << 4 | (q1 >> 2 & 3) << 7
            logit_5 = logits + 49152 + (ahead | near << 4)
            total += (tl.load(logit_4) << 16) >> 16
            total += (tl.load(logit_5) << 16) >> 16
        prob = tl.load(squash + EDGE + tl.minimum(tl.maximum(total >> 6, -EDGE), EDGE - 1))

        # The loads for the next block do not wait for the bits of this one.
        count = end - begin
        begin = end
        end = tl.load(begins + block + 2)
        place = tl.load(places + begin + column)

        # Each round takes a bit from every lane. No voxel takes more than one word.
        bit = column < 0
        taken = 0
        for row in range(0, count, lanes):
            now = here & (column >= row) & (column < row + lanes)
            slot = (state & 0x7FFF).to(tl.int32)
            found = slot < prob
            part = tl.where(found, prob, 32768 - prob).to(tl.uint32)
            x = part * (state >> 15) + (slot - tl.where(found, 0, prob)).to(tl.uint32)
            needy = (now & (x < 65536)).to(tl.int32)
            rank = (taken + tl.cumsum(needy, 0) - needy) & (BLOCK - 1)
            x = tl.where(needy > 0, x << 16 | tl.gather(ready, rank, 0).to(tl.uint32), x)
            taken += tl.sum(needy, 0)
            bit = tl.where(now, found, bit)
            state = tl.gather(tl.where(now, x, state), row + lane, 0)
        cursor += taken

        # Voxels of one front lie in different rows: no two of them write to the same word.
        tl.store(own, own_word | 1 << (inner + 8), bit)
        tl.store(side, side_word | 1 << ((inner + 24) & 31), bit)
        step = (tl.where(bit, 32768, 0) - prob + half) >> shift
        tl.atomic_add(logit_0, step, here, sem="relaxed", scope="cta")
        tl.atomic_add(logit_1, step, here, sem="relaxed", scope="cta")
        tl.atomic_add(logit_2, step, here, sem="relaxed", scope="cta")
        tl.atomic_add(logit_3, step, here, sem="relaxed", scope="cta")
        if PREDICTED:
            tl.atomic_add(logit_4, step, here, sem="relaxed", scope="cta")
            tl.atomic_add(logit_5, step, here, sem="relaxed", scope="cta")
        tl.debug_barrier()  # what this block has written is what the next one reads

    amiss = tl.max((state != 65536).to(tl.int32), 0) | (cursor != stream_end).to(tl.int32)
    tl.store(faults + region, amiss)
