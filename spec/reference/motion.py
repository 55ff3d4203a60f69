"""Regions that are fetched along vectors: spec/lattice.md, under the heading Motion."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
Corner = tuple[int, int, int]
EDGE, CELL = 128, 8
AXES = np.eye(3, dtype=np.int64)


def vectors_of(leaves: Array, differences: Array) -> dict[Corner, Array]:
    """The vector (3,) of each leaf, by its origin, from what it differs by from its prediction."""
    found: dict[Corner, Array] = {}
    for origin, difference in zip(leaves.astype(np.int64), differences, strict=True):
        before = [
            found[tuple(other)]
            for other in (origin - CELL * axis for axis in AXES)
            if tuple(other) in found and (other // EDGE == origin // EDGE).all()
        ]
        predicted = np.zeros(3, dtype=np.int64)
        if len(before) == 3:
            predicted = np.sort(before, axis=0)[1]
        elif before:
            predicted = sum(before) // len(before)
        vector = predicted + difference
        if (np.abs(vector) > 127).any():
            raise ValueError("F9: a vector is out of range")
        found[tuple(origin)] = vector
    return found


def fetched(
    known: Array, vectors: dict[Corner, Array], fraction: int, corner: Corner, leaves: Array
) -> Array:
    """Values (128, 128, 128) of the voxels of leaves (n, 3), fetched from a region; 0 elsewhere.

    known: (128, 128, 128) of every voxel of the region at `corner`
    """
    found = np.zeros_like(known)
    places = np.stack(np.meshgrid(*[np.arange(CELL)] * 3, indexing="ij"), axis=-1)
    for leaf in leaves.astype(np.int64):
        field = interpolated(leaf, vectors, places)
        shift = fraction + 8
        at = 16 * (leaf - np.array(corner) + places) + ((field + (1 << (shift - 1))) >> shift)
        x, y, z = leaf - np.array(corner)
        found[x : x + CELL, y : y + CELL, z : z + CELL] = between(known, at)
    return found


def interpolated(leaf: Array, vectors: dict[Corner, Array], places: Array) -> Array:
    """4096ths of vectors (8, 8, 8, 3) of a leaf's voxels: between the centres of leaves."""
    own = vectors.get(tuple(leaf), np.zeros(3, dtype=np.int64))
    around = np.empty((3, 3, 3, 3), dtype=np.int64)  # vectors of the leaf and of those around it
    for step in np.ndindex(3, 3, 3):
        other = leaf + CELL * (np.array(step) - 1)
        inside = (other // EDGE == leaf // EDGE).all()
        around[step] = vectors.get(tuple(other), own) if inside else own
    total = np.zeros_like(places)
    lower = np.where(places < 4, 0, 1)  # of two leaves along each axis
    share = np.where(places < 4, 9 + 2 * places, 2 * places - 7)  # of the upper one
    for step in np.ndindex(2, 2, 2):
        weight = np.where(np.array(step) == 1, share, 16 - share).prod(axis=-1, keepdims=True)
        total += weight * around[tuple(np.moveaxis(lower + step, -1, 0))]
    return total


def between(known: Array, at: Array) -> Array:
    """Values between voxels, at places (..., 3) in 16ths of voxels."""
    at = np.clip(at, 0, 16 * (EDGE - 1))
    lower = np.minimum(at // 16, EDGE - 2)
    share = at - 16 * lower
    total = np.zeros(at.shape[:-1], dtype=np.int64)
    for step in np.ndindex(2, 2, 2):
        weight = np.where(np.array(step) == 1, share, 16 - share).prod(axis=-1)
        total += weight * known[tuple(np.moveaxis(lower + step, -1, 0))]
    return (total + 2**11) >> 12
