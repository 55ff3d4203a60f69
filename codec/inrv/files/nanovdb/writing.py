"""From sparse grids to a .nvdb file, with what nodes tell of the voxels in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.errors import UnsupportedGridError, VdbError
from inrv.files.nanovdb import statistics
from inrv.files.nanovdb.layout import Skeleton, name_bytes, skeleton
from inrv.files.nanovdb.segments import (
    PLAIN,
    ZIP,
    checksum_of_head,
    description_of,
    header_of,
    write_grid,
)
from inrv.files.nanovdb.structs import HAS_BOX
from inrv.grids import Grid, Metadata, SparseVolume, unpack_masks

# Metadata of a grid that stand elsewhere in a NanoVDB grid, or are told anew of any file.
TOLD = frozenset({"name", "class", "vector_type", "is_saved_as_half_float"})
TOLD_OF_FILES = "file_"
_PART = 1 << 12  # leaves that are filled in at a time
_CODES = (1 << 16) - 1  # the largest code of 16 bits
_NAMED = 5  # keys of metadata that are told one by one


def write_stream(target: BinaryIO, volume: SparseVolume, half: bool, compress: bool) -> list[str]:
    """Write a volume as a .nvdb file, and give a line about each thing that such a file lacks.

    Each grid has a segment of its own and is the only one there, as nanovdb_convert writes it:
    PBRT and others read a grid by its name, and then look for the first grid of its segment in it.

    target: an empty file that can be read and sought in too
    half: whether values of float grids are to take 16 bits
    compress: whether each grid is to be zipped
    Raises UnsupportedGridError where there is no grid that can be written, and VdbError for a name
    that no file can hold.
    """
    if not volume.grids:
        others = [f"grid {passed.name!r} has {passed.reason}" for passed in volume.passthrough]
        raise UnsupportedGridError(
            "a NanoVDB file holds grids of float and vec3s values, and there is none: "
            + (", ".join(others) or "there is no grid at all")
        )
    codec, lost = ZIP if compress else PLAIN, list(_lost(volume))
    for grid in volume.grids:
        coded = half and _can_be_coded(grid)
        if half and not coded:
            lost.append(f"grid {grid.name!r} keeps 32 bits a value: {_why_not_coded(grid)}")
        _write_grid(target, grid, coded, codec)
    return lost


def _write_grid(target: BinaryIO, grid: Grid, half: bool, codec: int) -> None:
    """Write a segment of one grid."""
    name, laid = _name(grid), laid_out(grid, half)
    target.write(header_of(codec))
    described = target.tell()
    target.write(description_of(laid.grid, laid.tree, laid.root, name, 0, codec))
    packed = write_grid(target, laid.buffer, codec)
    target.seek(described)
    target.write(description_of(laid.grid, laid.tree, laid.root, name, packed, codec))
    target.seek(packed, os.SEEK_CUR)


def laid_out(grid: Grid, half: bool = False) -> Skeleton:
    """Lay out a grid with its values, with what its nodes tell of them, and with its checksum.

    half: whether the leaves hold 16 bits a value: only then values are rounded
    """
    laid = skeleton(grid, half)
    parts = [
        _fill_leaves(laid, grid, slice(first, first + _PART), half)
        for first in range(0, max(len(laid.leaves), 1), _PART)
    ]
    statistics.fill(laid, statistics.joined(parts))
    nodes = laid.uppers.nbytes + laid.lowers.nbytes + laid.leaves.nbytes
    laid.grid["checksum"] = checksum_of_head(laid.buffer, len(laid.buffer) - nodes)
    return laid


def _fill_leaves(laid: Skeleton, grid: Grid, part: slice, half: bool) -> statistics.Statistics:
    """Fill in some leaves, and give their statistics."""
    leaves, numbers = laid.leaves[part], laid.order[part]
    origins = grid.topology.leaf_origins[numbers]
    blocks = grid.blocks(origins)
    active = unpack_masks(grid.topology.leaf_masks[numbers])
    found = statistics.of_leaves(origins, blocks, active)
    filled = np.flatnonzero(found.counts)
    leaves["flags"] = 0
    leaves["extent"] = 0
    leaves["flags"][filled] = HAS_BOX
    leaves["box"][filled] = found.boxes[filled, 0]
    leaves["extent"][filled] = found.boxes[filled, 1] - found.boxes[filled, 0]
    if half:
        _fill_codes(leaves, blocks[..., 0], found)
        return found
    leaves["voxels"] = blocks
    with np.errstate(over="ignore", invalid="ignore"):
        leaves["minimum"][filled], leaves["maximum"][filled] = (
            found.lowest[filled],
            found.highest[filled],
        )
        leaves["average"], leaves["deviation"] = found.means, found.deviations
    return found


def _fill_codes(
    leaves: NDArray[np.void], values: NDArray[np.float32], found: statistics.Statistics
) -> None:
    """Fill in the codes of leaves, between the least and the largest value of each.

    values: float32 (n, 512), of inactive voxels too
    """
    minimum = values.min(axis=1)
    quantum = (values.max(axis=1) - minimum) / np.float32(_CODES)
    leaves["minimum"], leaves["quantum"] = minimum, quantum

    def codes(numbers: NDArray[np.float64]) -> NDArray[np.uint16]:
        steps = numbers / np.where(quantum > 0, quantum, np.inf).astype(np.float64)[:, None]
        found: NDArray[np.uint16] = np.clip(np.rint(steps), 0, _CODES).astype("<u2")
        return found

    least = minimum.astype(np.float64)[:, None]
    leaves["codes"] = codes(values - least).view(np.uint8)
    sizes = np.stack([found.least, found.largest, found.means], axis=1) - least
    of_active = codes(np.concatenate([sizes, found.deviations[:, None]], axis=1))
    leaves["statistics"] = np.where(found.counts[:, None] > 0, of_active, 0)


def _can_be_coded(grid: Grid) -> bool:
    """Tell whether leaves of the grid can hold 16 bits a value."""
    largest = np.finfo(np.float32).max / 2  # the distance of two values is a float32 too
    parts = grid.values, grid.inactive.values, grid.background
    return grid.components == 1 and all(bool((np.abs(part) <= largest).all()) for part in parts)


def _why_not_coded(grid: Grid) -> str:
    if grid.components > 1:
        return "NanoVDB has no vectors of 16 bits"
    return "some are not finite, or too large"


def _name(grid: Grid) -> bytes:
    """Give the name of a grid in the file. Raises VdbError where it cannot have it."""
    name = name_bytes(grid.name)
    if b"\0" in name:
        raise VdbError(f"grid {grid.name!r}: NanoVDB's names end at a NUL: give it another name")
    return name


def _lost(volume: SparseVolume) -> Iterator[str]:
    """Yield a line about each thing of a volume that a NanoVDB file does not hold."""
    for passed in volume.passthrough:
        yield f"grid {passed.name!r} is left out: {passed.reason}"
    yield from _lost_metadata("the file", volume.metadata)
    for grid in volume.grids:
        yield from _lost_metadata(f"grid {grid.name!r}", grid.metadata)
        if grid.saved_as_half:
            yield f"grid {grid.name!r} is no longer told to be saved as half floats"
        if grid.vector_type != "invariant":
            yield f"grid {grid.name!r} is no longer told to hold vectors of type {grid.vector_type}"


def _lost_metadata(owner: str, metadata: Metadata) -> Iterator[str]:
    keys = [key for key in metadata if key not in TOLD and not key.startswith(TOLD_OF_FILES)]
    if keys:
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        yield f"metadata of {owner} are left out: {', '.join(keys[:_NAMED])}{more}"
