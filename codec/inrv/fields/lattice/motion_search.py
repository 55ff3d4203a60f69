"""Finds the vectors along which the values of another frame resemble those of this one.

Region by region, from coarse to fine: Gauss-Newton steps bring details (what a value departs from
the mean of its neighbours by) and, a little, values to where they resemble the other frame's. Each
vector is then drawn to those around it, the more the less its block tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.core.sample import fill_blocks
from inrv.fields.lattice.motion import MOST_FRACTION, Motion
from inrv.fields.lattice.regions import CELLS, REGION_EDGE, Regions
from inrv.grids import LEAF_EDGE, Topology, unpack_masks
from inrv.grids.blocks import CELL_BITS
from inrv.support.parallel import in_threads

HALVINGS = 2  # of a region, before the first step
STEPS = 3  # at each scale
VALUE_WEIGHT = 0.1  # of a difference of values against one of details
RIDGE = 0.02  # of the usual curvature: holds vectors of blocks that tell nothing
SMOOTHING = 0.05  # weight of the vectors around, over that of a block that tells what is usual
FARTHEST_STEP = 1.5  # voxels of a scale that a vector moves by in a step
FEWEST = 8  # voxels of a block that may tell its vector
LARGEST = 127  # of a stored component
MOST_LEFT = 0.6  # of the details, where frames are predicted from both sides
LEAP = 4  # frames, from one that is predicted from one side to the next
# Voxels, of most vectors, below which they are stored in 8ths and in quarters; others in halves.
SLOW, MIDDLING = 1.0, 1.5  # see docs/lab-notes.md#motion
MOST = 0.9  # of the vectors

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FrameValues:
    """The values of a channel in a frame, as motion is sought by.

    topology: of its voxels
    values: float32 (N,) by row
    background: of all other voxels
    """

    topology: Topology
    values: Floats
    background: float

    def region(self, regions: Regions, key: int) -> tuple[Floats, Mask]:
        """Values float32 and activity, bool, (128, 128, 128), of a region."""
        dense = np.full((REGION_EDGE,) * 3, self.background, dtype=np.float32)
        active = np.zeros((REGION_EDGE,) * 3, dtype=np.bool_)
        number = regions.number(key)
        if number < 0:
            return dense, active
        leaves = regions.leaves(number)
        own = self.values[regions.rows(number)][:, None]
        outside = np.array([self.background], dtype=np.float32)
        blocks = fill_blocks(leaves.masks, np.ascontiguousarray(own), outside)
        _put_cells(dense, leaves.cells, blocks.reshape(len(leaves.cells), -1))
        _put_cells(active, leaves.cells, unpack_masks(leaves.masks))
        return dense, active


def _put_cells(
    dense: NDArray[np.generic], cells: NDArray[np.uint16], blocks: NDArray[np.generic]
) -> None:
    """Write blocks (n, 512) into a region."""
    x, y, z = cells >> 8, cells >> 4 & 15, cells & 15
    shape = (CELLS, LEAF_EDGE) * 3
    view = dense.reshape(shape).transpose(0, 2, 4, 1, 3, 5)
    view[x, y, z] = blocks.reshape(-1, LEAF_EDGE, LEAF_EDGE, LEAF_EDGE)


def find_motion(grid: int, own: FrameValues, other: FrameValues) -> Motion:
    """The vectors of a channel's leaves: where values of another frame are fetched.

    grid: number of the grid that the channel is of
    own, other: the channel in this frame and in the other one
    """
    regions, others = Regions(own.topology), Regions(other.topology)

    def of_region(number: int) -> Floats:
        key = int(regions.keys[number])
        values, active = own.region(regions, key)
        before, there = other.region(others, key)
        field = _estimate(values, before, active, active | there)
        cells = own.topology.keys[regions.leaf_range(number)] & ((1 << CELL_BITS) - 1)
        vectors: Floats = field.reshape(3, -1)[:, cells].T
        return vectors

    found = in_threads(of_region, range(len(regions)))
    vectors = np.concatenate(found) if found else np.zeros((0, 3), dtype=np.float32)
    usual = float(np.quantile(np.abs(vectors).max(axis=1), MOST)) if len(vectors) else 0.0
    fraction = MOST_FRACTION - (usual >= SLOW) - (usual >= MIDDLING)
    stored = np.clip(np.rint(vectors * (1 << fraction)), -LARGEST, LARGEST).astype(np.int8)
    return Motion(grid, own.topology, stored, fraction)


def coding_order(frames: Sequence[FrameValues]) -> list[int]:
    """The order in which the frames of a group are coded best, those that others need first.

    Where motion explains most of a frame, as in slow smoke, a frame between two is predicted from
    both: every fourth is coded first. Else each frame is predicted from the one before.

    frames: one channel of each, in the order of time
    """
    if len(frames) < 3 or _left(frames[1], frames[0]) > MOST_LEFT:
        return list(range(len(frames)))
    order, last = [0], 0
    while last < len(frames) - 1:
        following = min(last + LEAP, len(frames) - 1)
        order += [following, *_inside(last, following)]
        last = following
    return order


def _inside(first: int, last: int) -> list[int]:
    """The frames between two, halving by halving."""
    if last - first < 2:
        return []
    middle = (first + last) // 2
    return [middle, *_inside(first, middle), *_inside(middle, last)]


def _left(own: FrameValues, other: FrameValues) -> float:
    """The share of the details of a frame that another one, fetched along motion, leaves."""
    regions, others = Regions(own.topology), Regions(other.topology)
    all_of_them = left = 0.0
    for number in range(len(regions)):
        key = int(regions.keys[number])
        values, active = own.region(regions, key)
        before, there = other.region(others, key)
        field = _estimate(values, before, active, active | there)
        points = np.argwhere(active)
        blocks = _between((points - (LEAF_EDGE - 1) / 2) / LEAF_EDGE, CELLS)
        moved = points + _at(field.reshape(3, -1), blocks).T
        (fetched,) = _at(_details(before).reshape(1, -1), _between(moved, REGION_EDGE))
        details = _details(values)[active]
        all_of_them += float(np.abs(details).sum())
        left += float(np.abs(details - fetched).sum())
    return left / all_of_them if all_of_them else 0.0


def _estimate(values: Floats, other: Floats, active: Mask, known: Mask) -> Floats:
    """Vectors float32 (3, 16, 16, 16) in voxels, of the blocks of 8^3 of a region.

    active: which voxels are to be predicted
    known: which voxels of either frame hold something
    """
    scales = [(values, other, active)]
    for _ in range(HALVINGS):
        coarse, before, mask = scales[-1]
        scales.append((_halved(coarse), _halved(before), _halved(mask.astype(np.float32)) > 0.3))
    blocks = REGION_EDGE // LEAF_EDGE >> HALVINGS
    vectors = np.zeros((3, blocks, blocks, blocks), dtype=np.float32)
    for place, (own, before, mask) in enumerate(reversed(scales)):
        if place:
            vectors = 2 * _doubled(vectors)
        vectors = _refined(own, before, mask, vectors)
    return vectors


def _halved(array: Floats) -> Floats:
    edge = len(array) // 2
    means: Floats = array.reshape(edge, 2, edge, 2, edge, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    return means


def _doubled(vectors: Floats) -> Floats:
    """Vectors (3, n, n, n) at twice as many blocks along each axis, between those there are."""
    for axis in (1, 2, 3):
        count = vectors.shape[axis]
        before = np.take(vectors, np.maximum(np.arange(count) - 1, 0), axis=axis)
        behind = np.take(vectors, np.minimum(np.arange(count) + 1, count - 1), axis=axis)
        pair = np.stack(
            [0.75 * vectors + 0.25 * before, 0.75 * vectors + 0.25 * behind], axis=axis + 1
        )
        shape = list(vectors.shape)
        shape[axis] *= 2
        vectors = pair.reshape(shape).astype(np.float32)
    return vectors


def _refined(own: Floats, other: Floats, mask: Mask, vectors: Floats) -> Floats:
    """Vectors after some Gauss-Newton steps at one scale.

    own, other: values of both frames (n, n, n)
    mask: of the voxels that are to be predicted
    vectors: (3, b, b, b), of blocks of 8^3
    """
    points = np.argwhere(mask)
    if len(points) < FEWEST:
        return vectors
    blocks = vectors.shape[1]
    block = np.ravel_multi_index(tuple((points // LEAF_EDGE).T), (blocks,) * 3)
    at_blocks = _between((points - (LEAF_EDGE - 1) / 2) / LEAF_EDGE, blocks)
    counts = np.bincount(block, minlength=blocks**3)
    features = [(_details(own), _details(other)), (VALUE_WEIGHT * own, VALUE_WEIGHT * other)]
    targets = [mine[tuple(points.T)] for mine, _ in features]
    volumes = [
        np.stack([theirs, *np.gradient(theirs)]).reshape(4, -1).astype(np.float32)
        for _, theirs in features
    ]
    for _ in range(STEPS):
        moved = points + _at(vectors.reshape(3, -1), at_blocks).T
        places = _between(moved, len(own))
        curvature = np.zeros((blocks**3, 3, 3))
        pull = np.zeros((blocks**3, 3))
        for target, volume in zip(targets, volumes, strict=True):
            fetched, *slopes = _at(volume, places)
            missed = target - fetched
            usual = 3 * float(np.median(np.abs(missed))) + 1e-12
            trust = 1 / (1 + np.abs(missed) / usual)  # an edge that is elsewhere counts less
            for i in range(3):
                pull[:, i] += np.bincount(block, trust * slopes[i] * missed, blocks**3)
                for j in range(i, 3):
                    found = np.bincount(block, trust * slopes[i] * slopes[j], blocks**3)
                    curvature[:, i, j] += found
                    if i != j:
                        curvature[:, j, i] += found
        told = np.trace(curvature, axis1=1, axis2=2)
        some = told[(told > 0) & (counts >= FEWEST)]
        if not len(some):
            return vectors
        typical = float(np.median(some)) / 3
        steady = curvature + (RIDGE * typical + 1e-12) * np.eye(3)
        step = np.linalg.solve(steady, pull[:, :, None])[:, :, 0]
        step = np.clip(step, -FARTHEST_STEP, FARTHEST_STEP).T.reshape(vectors.shape)
        weight = (told / (3 * typical)).reshape(vectors.shape[1:]).astype(np.float32)
        vectors = _smoothed((vectors + step).astype(np.float32), weight)
    return vectors


def _details(values: Floats) -> Floats:
    """What values depart from the mean of their six neighbours by."""
    padded = np.pad(values, 1, mode="edge")
    inner = slice(1, -1)
    around = padded[2:, inner, inner] + padded[:-2, inner, inner]
    around += padded[inner, 2:, inner] + padded[inner, :-2, inner]
    around += padded[inner, inner, 2:] + padded[inner, inner, :-2]
    details: Floats = values - around / np.float32(6)
    return details


def _between(points: NDArray[Any], edge: int) -> tuple[NDArray[np.int64], Floats]:
    """The eight places around points (n, 3) in a cube, flat, and their weights: both (8, n)."""
    inside = np.clip(points, 0, edge - 1)
    corner = np.minimum(inside.astype(np.int64), max(edge - 2, 0))
    share = (inside - corner).astype(np.float32)
    places, weights = [], []
    for x in (0, 1):
        for y in (0, 1):
            for z in (0, 1):
                at = np.minimum(corner + np.array([x, y, z]), edge - 1)
                places.append((at[:, 0] * edge + at[:, 1]) * edge + at[:, 2])
                own = [share[:, i] if far else 1 - share[:, i] for i, far in enumerate((x, y, z))]
                weights.append(own[0] * own[1] * own[2])
    return np.stack(places), np.stack(weights)


def _at(volumes: Floats, places: tuple[NDArray[np.int64], Floats]) -> Floats:
    """Volumes (k, m) between the places: (k, n)."""
    at, weights = places
    total = np.zeros((len(volumes), at.shape[1]), dtype=np.float32)
    for own, weight in zip(at, weights, strict=True):
        total += volumes[:, own] * weight
    return total


def _smoothed(vectors: Floats, weight: Floats) -> Floats:
    """Each vector drawn to the mean of those around it and its own, the more the less it weighs."""
    sums, weights = _around(vectors * weight), _around(weight[None])
    mean = sums / (weights + np.float32(1e-9))
    found: Floats = (weight * vectors + SMOOTHING * mean) / (weight + np.float32(SMOOTHING))
    return found


def _around(arrays: Floats) -> Floats:
    """Sums over each block and its six neighbours: (k, n, n, n)."""
    padded = np.pad(arrays, [(0, 0), (1, 1), (1, 1), (1, 1)])
    inner = slice(1, -1)
    total = arrays + padded[:, 2:, inner, inner] + padded[:, :-2, inner, inner]
    total += padded[:, inner, 2:, inner] + padded[:, inner, :-2, inner]
    total += padded[:, inner, inner, 2:] + padded[:, inner, inner, :-2]
    found: Floats = total
    return found
