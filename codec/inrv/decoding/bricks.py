"""Bricks: decoded regions, every voxel of them, kept where points and boxes are looked up."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.core.sample import ADDRESSES, CELLS, Brick, KeyIndex, Sampler, fill_blocks
from inrv.grids import (
    LEAF_VOXELS,
    NODE_EDGE,
    Box,
    Grid,
    byte_counts,
    leaf_keys,
    unpack_masks,
)
from inrv.grids.blocks import CELL_BITS, COORDINATE_LIMIT
from inrv.support.forks import renew_in_children
from inrv.support.parallel import in_threads

CACHE_BYTES = 1 << 29  # of bricks that a volume keeps, unless its user says otherwise
CACHE_DTYPES = "float32", "float16"  # as which a GPU may keep values
PART_POINTS = 1 << 15  # looked up by one thread at a time
TILE_EDGE, TILE_BITS, AXIS_BITS = 4096, 12, 17  # of the tiles that hold many regions
LEAF_BYTES = 4 * LEAF_VOXELS  # of a component of a block

Floats = NDArray[np.float32]
Part = tuple[tuple[float, float, float], slice]  # a shift of points, and the components there


class BrickCache:
    """Keeps bricks of the grids of a volume; those that were not used for longest go first.

    Threads may share it, and a process that is forked may go on with it. A brick that several
    threads ask for is decoded once.

    most_bytes: that bricks may take, beside those in use
    gpu_dtype: 'float32' or 'float16', as which a GPU keeps values
    """

    def __init__(self, most_bytes: int = CACHE_BYTES, gpu_dtype: str = "float32") -> None:
        self.most_bytes, self.gpu_dtype = most_bytes, gpu_dtype
        self.bytes = 0
        self._order: OrderedDict[tuple[int, int], tuple[Bricks, Brick]] = OrderedDict()
        renew_in_children(self)

    def new_locks(self) -> None:
        """Begin with locks that no thread holds."""
        self._lock = threading.Lock()
        self._decoding: dict[tuple[int, int], threading.Event] = {}

    def get(self, bricks: Bricks, number: int) -> Brick:
        """A brick of a grid, decoded where it is not kept."""
        key = id(bricks), number
        while True:
            with self._lock:
                if key in self._order:
                    self._order.move_to_end(key)
                    return self._order[key][1]
                others = self._decoding.get(key)
                if others is None:
                    mine = self._decoding[key] = threading.Event()
                    break
            others.wait()
        try:
            brick = bricks.decode(number)
            with self._lock:
                self._keep(key, bricks, brick)
        finally:
            with self._lock:
                self._decoding.pop(key, None)
            mine.set()
        return brick

    def _keep(self, key: tuple[int, int], bricks: Bricks, brick: Brick) -> None:
        if brick.nbytes > self.most_bytes:
            return
        self._order[key] = bricks, brick
        bricks.held[key[1]] = brick
        bricks.addresses[key[1]] = brick.addresses
        self.bytes += brick.nbytes
        while self.bytes > self.most_bytes:
            (_, number), (owner, old) = self._order.popitem(last=False)
            owner.addresses[number] = 0, 0
            del owner.held[number]
            self.bytes -= old.nbytes

    def kept(self, bricks: Bricks) -> tuple[NDArray[Any], list[Brick]]:
        """The addresses (R,) of a grid's bricks that are kept, and what keeps them alive."""
        with self._lock:
            return bricks.addresses.copy(), list(bricks.held.values())

    def used(self, bricks: Bricks, numbers: Sequence[int]) -> None:
        """Note that bricks of a grid were used."""
        with self._lock:
            for number in numbers:
                if (id(bricks), number) in self._order:
                    self._order.move_to_end((id(bricks), number))


class Bricks:
    """The bricks of one grid, one for each region of 128^3 that has leaves or smaller tiles.

    template: the grid, but for the values of its active leaf voxels
    values_of: gives the masks uint8 (L, 64) of the leaves of a region, and the values float32
        (n, C) of their active voxels
    read_leaves: has the file read what some regions are decoded from, which have these leaves
    cache: where bricks are kept
    held: those that are, by number of the region
    addresses: ADDRESSES (R,) of these
    """

    def __init__(
        self,
        template: Grid,
        values_of: Callable[[slice], tuple[NDArray[np.uint8], Floats]],
        read_leaves: Callable[[Sequence[slice]], None],
        cache: BrickCache,
    ) -> None:
        self.template, self.values_of, self.read_leaves = template, values_of, read_leaves
        self.cache = cache
        topology = template.topology
        nodes, tile_keys = topology.keys >> CELL_BITS, leaf_keys(topology.tile_origins)
        wide = topology.tile_edges == TILE_EDGE
        self._tile_nodes = np.where(wide, -1, tile_keys >> CELL_BITS)
        self._tile_cells = tile_keys & (CELLS - 1)
        self.keys = np.unique(np.concatenate([nodes, self._tile_nodes[~wide]]))
        self._leaves = np.searchsorted(nodes, self.keys), np.searchsorted(nodes, self.keys, "right")
        self._by_node = self._tile_nodes.argsort(kind="stable")
        self.constants = np.concatenate([template.background[None], template.tile_values])
        tiles = np.flatnonzero(wide)
        x, y, z = (topology.tile_origins[tiles].astype(np.int64) + COORDINATE_LIMIT).T >> TILE_BITS
        places = KeyIndex(x << 2 * AXIS_BITS | y << AXIS_BITS | z)
        self._sampler = Sampler(
            self.constants, KeyIndex(self.keys), places, (tiles + 1).astype(np.int32)
        )
        self.held: dict[int, Brick] = {}
        self.addresses = np.zeros(len(self.keys), dtype=ADDRESSES)

    @property
    def components(self) -> int:
        """Values a voxel."""
        return self.template.components

    def sizes(self, numbers: NDArray[Any]) -> int:
        """Bytes that some bricks take."""
        leaves = int((self._leaves[1][numbers] - self._leaves[0][numbers]).sum())
        return 4 * CELLS * len(numbers) + LEAF_BYTES * self.components * leaves

    def decode(self, number: int) -> Brick:
        """The brick of a region. Raises FormatError."""
        leaves, template = self.leaves_of(number), self.template
        masks, values = self.values_of(leaves)
        blocks = fill_blocks(masks, values, template.background)
        inactive = template.inactive.within(leaves)
        blocks.reshape(-1, self.components)[inactive.places] = inactive.values
        return Brick(self.cells_of(number), blocks)

    def cells_of(self, number: int) -> NDArray[np.int32]:
        """What each cell of a region has: see `Brick`."""
        topology, leaves = self.template.topology, self.leaves_of(number)
        cells = np.empty(CELLS, dtype=np.int32)
        ends = (
            np.searchsorted(self._tile_nodes, self.keys[number], side, sorter=self._by_node)
            for side in ("left", "right")
        )
        tiles = self._by_node[slice(*map(int, ends))]
        whole = topology.tile_edges[tiles] == NODE_EDGE
        cells[:] = ~(1 + tiles[whole][0]) if whole.any() else ~0
        cells[self._tile_cells[tiles[~whole]]] = ~(1 + tiles[~whole])
        cells[topology.keys[leaves] & (CELLS - 1)] = np.arange(leaves.stop - leaves.start)
        return cells

    def leaves_of(self, number: int) -> slice:
        """The leaves of a region."""
        return slice(*(int(ends[number]) for ends in self._leaves))

    def numbers_of(self, leaves: NDArray[np.int64]) -> list[int]:
        """The regions, ascending, that hold some leaves."""
        nodes = self.template.topology.keys[leaves] >> CELL_BITS
        found: list[int] = np.searchsorted(self.keys, np.unique(nodes)).tolist()
        return found

    def read_ahead(self, numbers: Sequence[int]) -> None:
        """Have the file read what those of some bricks are decoded from that are not kept."""
        self.read_leaves([self.leaves_of(each) for each in numbers if each not in self.held])

    def get(self, numbers: Sequence[int]) -> list[Brick]:
        """Some bricks, of which those that are not kept are decoded."""
        self.read_ahead(numbers)
        return in_threads(lambda number: self.cache.get(self, number), numbers)

    def sample(
        self,
        points: NDArray[np.float64],
        nearest: bool,
        parts: Sequence[Part],
        gradient: bool = False,
    ) -> tuple[Floats, NDArray[np.float64] | None]:
        """Values float32 (n, C) at points, and the derivatives float64 (n, C, 3) where asked for.

        points: float64 (n, 3) in index space
        nearest: whether the nearest voxel is taken, instead of the trilinear interpolation
        parts: shifts, and the components that are looked up there, which are all of them together
        """
        points = np.ascontiguousarray(points)
        values = np.empty((len(points), self.components), dtype=np.float32)
        gradients = np.empty((*values.shape, 3)) if gradient else None
        for shift, own in parts:
            found = _Request(self, points, shift, nearest, own, gradient)
            found.fill()
            if len(parts) == 1:
                return found.values, found.gradients
            values[:, own] = found.values
            if gradients is not None:
                gradients[:, own] = found.gradients
        return values, gradients

    def look_up(self, addresses: NDArray[Any], *request: Any) -> int:
        """`Sampler.sample` in bricks with these addresses."""
        return self._sampler.sample(addresses, *request)

    def dense(self, box: Box) -> Floats:
        """Values float32 (X, Y, Z, C) of every voxel of a box; only its regions are decoded."""
        result = np.empty((*box.shape, self.components), dtype=np.float32)
        ranges = (
            range(low // NODE_EDGE * NODE_EDGE, high + 1, NODE_EDGE)
            for low, high in zip(box.lower, box.upper, strict=True)
        )
        corners = np.array(list(product(*ranges)), dtype=np.int64)
        keys = leaf_keys(corners) >> CELL_BITS
        at = np.searchsorted(self.keys, keys).clip(max=max(0, len(self.keys) - 1))
        here = self.keys[at] == keys if len(self.keys) else np.zeros(len(keys), dtype=np.bool_)
        here &= ((corners >= -COORDINATE_LIMIT) & (corners < COORDINATE_LIMIT)).all(axis=1)
        tiles = self.template.topology.find_tiles(corners)
        for corner, tile in zip(corners[~here].tolist(), tiles[~here].tolist(), strict=True):
            within = tuple(
                slice(max(0, start - low), start + NODE_EDGE - low)
                for start, low in zip(corner, box.lower, strict=True)
            )
            result[within] = self.constants[1 + tile]

        def copy(place: int) -> None:
            brick = self.cache.get(self, int(at[place]))
            brick.copy(self.constants, corners[place].tolist(), box.lower, box.upper, result)

        self.read_ahead(at[here].tolist())
        in_threads(copy, np.flatnonzero(here).tolist())
        return result

    def leaf_values(self, leaves: NDArray[np.int64]) -> Floats:
        """Values float32 (n, C) of the active voxels of some leaves.

        leaves: int64 (l,) ascending numbers
        """
        topology = self.template.topology
        nodes = topology.keys[leaves] >> CELL_BITS
        firsts = np.flatnonzero(np.diff(nodes, prepend=-1)).tolist()
        masks = topology.masks_at(leaves)
        ends = np.concatenate([[0], byte_counts(masks).sum(axis=1, dtype=np.int64).cumsum()])
        result = np.empty((int(ends[-1]), self.components), dtype=np.float32)

        def copy(run: tuple[int, int]) -> None:
            first, last = run
            number = int(np.searchsorted(self.keys, nodes[first]))
            brick, start = self.cache.get(self, number), int(self._leaves[0][number])
            own, active = leaves[first:last], unpack_masks(masks[first:last])
            result[ends[first] : ends[last]] = brick.blocks[own - start][active]

        in_threads(copy, list(pairwise([*firsts, len(leaves)])))
        return result


class _Request:
    """Values at points, some components of them; see `Bricks.sample`."""

    def __init__(
        self,
        bricks: Bricks,
        points: NDArray[np.float64],
        shift: Sequence[float],
        nearest: bool,
        components: slice,
        gradient: bool,
    ) -> None:
        self.bricks, self.points = bricks, points
        self.how = shift, nearest, components
        count = components.stop - components.start
        self.values = np.empty((len(points), count), dtype=np.float32)
        self.gradients = np.empty((len(points), count, 3)) if gradient else None

    def fill(self) -> None:
        """Decode the bricks that are missing, and look the points up."""
        cache, parts = self.bricks.cache, range(0, len(self.points), PART_POINTS)
        addresses, held = cache.kept(self.bricks)
        touched, unfinished = self._run(addresses, parts)
        if unfinished:
            wanted = np.flatnonzero(touched)
            if self.bricks.sizes(wanted) > cache.most_bytes and len(wanted) > 8:
                self._fill_by_region()
                return
            lacking = wanted[addresses["cells"][wanted] == 0].tolist()
            held += self._load(addresses, lacking)
            self._run(addresses, unfinished)
        cache.used(self.bricks, np.flatnonzero(touched).tolist())

    def _load(self, addresses: NDArray[Any], numbers: Sequence[int]) -> list[Brick]:
        found = self.bricks.get(numbers)
        for number, brick in zip(numbers, found, strict=True):
            addresses[number] = brick.addresses
        return found

    def _run(
        self, addresses: NDArray[Any], parts: Sequence[int]
    ) -> tuple[NDArray[np.uint8], list[int]]:
        """Look parts of the points up; tell which regions were asked for, and which parts lack any.

        parts: their first points
        """

        def run(first: int) -> tuple[NDArray[np.uint8], int]:
            part = slice(first, first + PART_POINTS)
            touched = np.zeros(len(addresses), dtype=np.uint8)
            gradients = None if self.gradients is None else self.gradients[part]
            missing = self.bricks.look_up(
                addresses, self.points[part], *self.how, touched, self.values[part], gradients
            )
            return touched, missing

        found = in_threads(run, parts)
        touched = np.zeros(len(addresses), dtype=np.uint8)
        for own, _ in found:
            touched |= own
        lacking = [part for part, (_, missing) in zip(parts, found, strict=True) if missing]
        return touched, lacking

    def _fill_by_region(self) -> None:
        """Do the same where the cache does not hold all bricks: the points of a region together."""
        shift, nearest, components = self.how
        nodes = np.floor(self.points + shift).astype(np.int64) // NODE_EDGE
        order = np.lexsort(nodes.T[::-1])
        firsts = np.flatnonzero(np.diff(nodes[order], axis=0, prepend=nodes[order[:1]] - 1).any(1))

        def fill(members: NDArray[np.int64]) -> None:
            own = _Request(
                self.bricks, self.points[members], shift, nearest, components,
                self.gradients is not None,
            )  # fmt: skip
            own.fill()
            self.values[members] = own.values
            if self.gradients is not None:
                self.gradients[members] = own.gradients

        in_threads(fill, np.split(order, firsts[1:]))
