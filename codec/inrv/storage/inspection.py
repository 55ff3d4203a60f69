"""What a file holds of a grid, told from its tensors without decoding a mask or a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inrv.container import Arrays, Container, GridEntry, take, unpack_tensors


@dataclass(frozen=True)
class GridFigures:
    """What is stored of a grid.

    leaves: of its topology, as it is stored
    active_tiles: likewise
    inactive_tiles: likewise
    frequent_values: each one number a component
    exact_values: other active voxels that are stored exactly, beside the field
    """

    leaves: int
    active_tiles: int
    inactive_tiles: int
    frequent_values: tuple[tuple[float, ...], ...]
    exact_values: int


def inspect_grid(container: Container, entry: GridEntry) -> GridFigures:
    """What is stored of a grid. Raises FormatError."""

    def tensors(number: int) -> Arrays:
        return unpack_tensors(container.chunk(number))

    topology, components = tensors(entry.topology), len(entry.components)
    tile_active = take(topology, "tile_active", np.uint8, (None,))
    frequent: tuple[tuple[float, ...], ...] = ()
    if entry.frequent_values is not None:
        values = take(tensors(entry.frequent_values), "values", np.float32, (None, components))
        frequent = tuple(map(tuple, values.tolist()))
    exact = 0
    if entry.exact_values is not None:
        exact = len(
            take(tensors(entry.exact_values), "exact_values", np.float32, (None, components))
        )
    return GridFigures(
        leaves=len(take(topology, "leaf_kinds", np.uint8, (None,))),
        active_tiles=int(np.count_nonzero(tile_active)),
        inactive_tiles=int(np.count_nonzero(tile_active == 0)),
        frequent_values=frequent,
        exact_values=exact,
    )
