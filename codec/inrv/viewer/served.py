"""Volumes of other file types for the page: Python reads them, and the page asks for regions."""

from __future__ import annotations

import functools
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.decoding.grid import STRIDES
from inrv.fields.lattice.regions import REGION_EDGE
from inrv.grids import LEAF_EDGE, LEAF_VOXELS, Box, Grid, PassthroughGrid, SparseVolume

COARSEST = len(STRIDES) - 1  # level of detail
KEPT = 8  # regions, of which coarser levels and the finest one are asked for one after another
FRAME_BYTES = 2 << 30  # of frames that are kept, besides two


class ServedVolume:
    """Frames as the page takes them; see `GridInfo` in viewer/decoder/core.ts.

    A frame is read when it is first looked at.

    numbers: of the frames, ascending
    read: gives the grids of a frame, by its place among them
    """

    def __init__(self, numbers: Sequence[float | int], read: Callable[[int], SparseVolume]) -> None:
        self.numbers = tuple(numbers)
        self._read = read
        self._frames: OrderedDict[int, Future[SparseVolume]] = OrderedDict()
        self._lock = threading.Lock()
        self._region = functools.lru_cache(KEPT)(self._decoded)

    @classmethod
    def of(cls, volume: SparseVolume) -> ServedVolume:
        """One volume, as a single frame."""
        return cls((0,), lambda _: volume)

    def frame(self, place: int) -> SparseVolume:
        """Give the grids of a frame. Raises what reading it raises, and IndexError without one."""
        if place >= len(self.numbers):
            raise IndexError(f"there is no frame at place {place}")
        with self._lock:
            found = self._frames.pop(place, None)
            is_new = found is None
            found = found or Future()
            self._frames[place] = found  # the newest one stands last
            self._let_go()
        if is_new:
            try:
                found.set_result(self._read(place))
            except BaseException as error:
                with self._lock:
                    self._frames.pop(place, None)  # it may be there later
                found.set_exception(error)
        return found.result()

    def _let_go(self) -> None:
        """Let go of the oldest frames, where they take too much memory."""
        sizes = [
            _bytes(own.result()) if own.done() and not own.exception() else 0
            for own in self._frames.values()
        ]
        while len(sizes) > 2 and sum(sizes) > FRAME_BYTES:
            del sizes[0]
            self._frames.popitem(last=False)

    def grids(self, place: int) -> list[dict[str, Any]]:
        """List the grids of a frame, with the regions that hold leaves, and the tiles."""
        volume = self.frame(place)
        apart = {own.position: _unread(own) for own in volume.passthrough}
        free = (position for position in itertools.count() if position not in apart)
        read = (
            _listed(grid, number, position)
            for number, (grid, position) in enumerate(zip(volume.grids, free, strict=False))
        )
        return [*read, *apart.values()]

    def block(self, place: int, number: int, level: int, corner: tuple[int, int, int]) -> bytes:
        """Give the voxels of a region at multiples of 2^level: float32 values, then active ones.

        place: of the frame
        number: of the grid
        level: 0 to 6
        corner: of the region in index space, multiples of 128
        Raises IndexError where there is no such frame or grid, and what reading the frame raises.
        """
        values, active = self._region(place, number, corner)
        stride = (slice(None, None, 1 << level),) * 3
        return values[stride].tobytes() + active[stride].tobytes()

    def _decoded(
        self, place: int, number: int, corner: tuple[int, int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        grid = self.frame(place).grids[number]
        box = Box(corner, tuple(low + REGION_EDGE - 1 for low in corner))  # type: ignore[arg-type]
        topology, origins = grid.topology, box.leaf_origins()
        leaf, tile = topology.find_leaves(origins), topology.find_tiles(origins)
        masks = np.zeros((len(origins), LEAF_VOXELS), dtype=np.uint8)
        masks[tile >= 0] = topology.tile_active[tile[tile >= 0], None]
        masks[leaf >= 0] = topology.masks_of(leaf[leaf >= 0])
        leaves = masks.reshape(*(REGION_EDGE // LEAF_EDGE,) * 3, *(LEAF_EDGE,) * 3)
        active = leaves.transpose(0, 3, 1, 4, 2, 5).reshape(*(REGION_EDGE,) * 3)
        return grid.dense(box), active


def _bytes(volume: SparseVolume) -> int:
    return sum(grid.values.nbytes for grid in volume.grids)


def _unread(grid: PassthroughGrid) -> dict[str, Any]:
    """A grid that is named to the user, and not shown."""
    info = {
        "number": -1,
        "name": grid.name,
        "type": grid.tree_type,
        "components": 1,
        "passthrough": True,
        "frame": 0,
        "position": grid.position,
        "gridClass": "unknown",
        "wholeLeaves": False,
        "background": [0.0],
        "matrix": np.eye(4).reshape(-1).tolist(),
        "activeVoxels": 0,
        "leafVoxels": 0,
        "box": None,
        "ranges": [],
    }
    return {"info": info, "corners": [], "tiles": []}


def _listed(grid: Grid, number: int, position: int) -> dict[str, Any]:
    topology = grid.topology
    box = topology.box
    corners = np.unique(topology.leaf_origins // REGION_EDGE * REGION_EDGE, axis=0)
    known = np.concatenate([grid.values, grid.tile_values[topology.tile_active]])
    ranges = [_range(column) for column in known.T]
    info = {
        "number": number,
        "name": grid.name,
        "type": grid.value_type,
        "components": grid.components,
        "passthrough": False,
        "frame": 0,
        "position": position,
        "gridClass": grid.grid_class,
        "wholeLeaves": False,
        "background": grid.background.astype(float).tolist(),
        "matrix": grid.transform.array().reshape(-1).tolist(),
        "activeVoxels": topology.active_voxel_count,
        "leafVoxels": topology.leaf_voxel_count,
        "box": None if box is None else {"lower": list(box.lower), "upper": list(box.upper)},
        "ranges": ranges,
    }
    return {"info": info, "corners": corners.reshape(-1).tolist(), "tiles": _tiles(grid)}


def _range(values: NDArray[np.float32]) -> dict[str, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"minimum": 0.0, "maximum": 0.0}
    return {"minimum": float(finite.min()), "maximum": float(finite.max())}


def _tiles(grid: Grid) -> list[dict[str, Any]]:
    topology = grid.topology
    return [
        {"corner": corner, "edge": edge, "active": active, "values": values}
        for corner, edge, active, values in zip(
            topology.tile_origins.tolist(),
            topology.tile_edges.tolist(),
            topology.tile_active.tolist(),
            grid.tile_values.tolist(),
            strict=True,
        )
    ]
