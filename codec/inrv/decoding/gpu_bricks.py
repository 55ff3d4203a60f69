"""The decoded regions of a grid in the memory of a GPU: points and boxes are looked up there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.decoding import gpu_kernels as kernels
from inrv.decoding.bricks import AXIS_BITS, TILE_BITS, Part
from inrv.decoding.values import check_work
from inrv.errors import OptionError
from inrv.fields.seam import RegionTensors
from inrv.grids import LEAF_VOXELS, NODE_EDGE, Box, LeafValues, offset_coordinates, unpack_masks
from inrv.grids.blocks import COORDINATE_LIMIT

if TYPE_CHECKING:
    from inrv.decoding.values import GridValues

BLOCK = 256  # points of a program
INTERPRETED_BLOCK = 1 << 16  # the same where Triton interprets
MOST_TABLE = 1 << 24  # regions of the box around all of them: 64 MB
REGION_BITS = NODE_EDGE.bit_length() - 1
LOWEST_REGION = -(COORDINATE_LIMIT >> REGION_BITS)
CELLS = kernels.CELLS.value

Look = Callable[[Tensor], None]  # looks up, and tells in a tensor whether a region was missing


def table_of(values: GridValues) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
    """Which region or constant each region of a box has, int32 (x, y, z), and its lowest region.

    A region has its number among the bricks of the grid, or ~number of the constant that fills it.
    None where the regions lie too far apart for a table.
    """
    bricks = values.bricks
    keys = bricks.keys[:, None] >> np.array([2 * AXIS_BITS, AXIS_BITS, 0])
    regions = (keys & ((1 << AXIS_BITS) - 1)) + LOWEST_REGION
    topology = bricks.template.topology
    wide = np.flatnonzero(topology.tile_edges == 1 << TILE_BITS)
    tiles = topology.tile_origins[wide].astype(np.int64) >> REGION_BITS
    edge = 1 << TILE_BITS - REGION_BITS
    lowest = np.concatenate([regions, tiles, np.zeros((0, 3), np.int64)])
    highest = np.concatenate([regions + 1, tiles + edge])
    if not len(lowest):
        return np.full((1, 1, 1), ~0, dtype=np.int32), np.zeros(3, dtype=np.int32)
    lower, shape = lowest.min(axis=0), highest.max(axis=0) - lowest.min(axis=0)
    if int(shape.prod()) > MOST_TABLE:
        return None
    table = np.full(shape, ~0, dtype=np.int32)
    for (x, y, z), tile in zip((tiles - lower).tolist(), wide.tolist(), strict=True):
        table[x : x + edge, y : y + edge, z : z + edge] = ~(1 + tile)
    table[tuple((regions - lower).T)] = np.arange(len(regions))
    return table, lower.astype(np.int32)


class GpuBricks:
    """Regions of 128^3 of one grid on a device, decoded in batches when they are asked for.

    They are kept up to a number of bytes; beyond it, a request begins anew with its own. Threads
    may share it; they wait for each other.

    values: of the grid
    table: of its regions, and the lowest one, as `table_of` gives them
    outputs: the field, open, which decodes on a device
    most_bytes: that are kept
    kept_type: float32, or float16, as which values are kept
    level: only voxels at multiples of 2^level are decoded
    """

    def __init__(
        self,
        values: GridValues,
        table: tuple[NDArray[np.int32], NDArray[np.int32]],
        outputs: RegionTensors,
        most_bytes: int,
        kept_type: torch.dtype = torch.float32,
        level: int = 0,
    ) -> None:
        self.values, self.outputs, self.device = values, outputs, outputs.torch_device
        self.most_bytes, self.kept_type, self.level = most_bytes, kept_type, level
        numbers, lower = self._table = table
        stride = 1 << level
        self._offsets = np.flatnonzero((offset_coordinates() % stride == 0).all(axis=1))
        self._lock = threading.Lock()
        self.components = values.bricks.components
        self._numbers, self._lower = self._here(numbers), self._here(lower)
        self._shape = self._here(np.array(numbers.shape, dtype=np.int32))
        self._constants = self._here(values.bricks.constants)
        regions = max(1, len(values.bricks.keys))
        self._touched = torch.zeros(regions, dtype=torch.int8, device=self.device)
        self._slots = torch.full((regions,), -1, dtype=torch.int32, device=self.device)
        self._forget()

    def _here(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _forget(self) -> None:
        """Keep no region."""
        self._slots.fill_(-1)
        self._cells = torch.zeros((1, CELLS), dtype=torch.int32, device=self.device)
        shape = 1, len(self._offsets), self.components
        self._blocks = torch.zeros(shape, dtype=self.kept_type, device=self.device)
        self._loaded = self._used = 0

    def sample(
        self, points: Tensor, nearest: bool, parts: Sequence[Part], gradient: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Values float32 (n, C) at points, and the derivatives (n, C, 3) where asked for.

        points: float32 or float64 (n, 3) in index space, on the device
        nearest, parts: as `Bricks.sample` takes them
        """
        points = points.contiguous()
        values = torch.empty(
            (len(points), self.components), dtype=torch.float32, device=self.device
        )
        gradients = points.new_empty((*values.shape, 3) if gradient else (1,))

        def look(missing: Tensor) -> None:
            for shift, own in parts:
                kernels.look_up[self._grid(len(points))](
                    points, values, gradients, missing, *self._arrays, len(points),
                    own.start, own.stop, self.components, *shift, nearest, gradient, self._block,
                )  # fmt: skip

        if len(points):
            self._load_for(look)
        return values, gradients if gradient else None

    def at_level(self, level: int) -> GpuBricks:
        """The same regions at a level of detail, of which nothing is kept yet."""
        return GpuBricks(
            self.values, self._table, self.outputs, self.most_bytes, torch.float32, level
        )

    def dense(self, box: Box) -> Tensor:
        """Values float32 (X, Y, Z, C) of the voxels of a box, in voxels of the level."""
        values = torch.empty((*box.shape, self.components), dtype=torch.float32, device=self.device)
        corner, size = (self._here(np.array(own, dtype=np.int32)) for own in (box.lower, box.shape))

        def look(missing: Tensor) -> None:
            kernels.fill_box[self._grid(box.volume)](
                values, missing, *self._arrays, corner, size, box.volume, self.components,
                self.level, self._block,
            )  # fmt: skip

        self._load_for(look)
        return values

    def all_blocks(self) -> Tensor:
        """The voxels float32 (L, n, C) of all leaves of the grid, in their order."""
        ends = self.values.outline.topology.region_ends.tolist()
        shape = 0, len(self._offsets), self.components
        nothing = torch.zeros(shape, dtype=torch.float32, device=self.device)
        runs = [slice(*run) for run in pairwise(ends)]
        return torch.cat([nothing, *(self._blocks_of(runs) if runs else [])])

    @property
    def _arrays(self) -> tuple[Tensor, ...]:
        """What both kernels look up."""
        return (
            self._numbers, self._slots, self._cells, self._blocks, self._constants, self._touched,
            self._lower, self._shape,
        )  # fmt: skip

    @property
    def _block(self) -> int:
        return INTERPRETED_BLOCK if self.device.type == "cpu" else BLOCK

    def _grid(self, count: int) -> tuple[int]:
        return (-(-count // self._block),)

    def _load_for(self, look: Look) -> None:
        """Look up, and load what was missing, until nothing is."""
        with self._lock:
            self._load_until_whole(look)

    def _load_until_whole(self, look: Look) -> None:
        begun = False
        while True:
            missing = torch.zeros(1, dtype=torch.int32, device=self.device)
            look(missing)
            if not missing.item():
                return
            numbers = self._touched.nonzero().flatten().tolist()
            self._touched.zero_()
            added = self.values.bricks.sizes(np.array(numbers)) * self.kept_type.itemsize // 4
            kept = self._blocks.nbytes + added
            if not begun and kept > self.most_bytes:
                self._forget()
            begun = True
            self._load(numbers)

    def _load(self, numbers: Sequence[int]) -> None:
        """Decode some regions."""
        bricks = self.values.bricks
        runs = [bricks.leaves_of(number) for number in numbers]
        found = self._blocks_of(runs)
        blocks, cells, first = [self._blocks[: self._used]], [], self._used
        for number, run, own in zip(numbers, runs, found, strict=True):
            listed = bricks.cells_of(number)
            cells.append(np.where(listed >= 0, listed + first, listed))
            first += run.stop - run.start
            blocks.append(self._as_kept(own))
        self._blocks, self._used = torch.cat(blocks), first
        here = self._here(np.stack(cells))
        self._cells = torch.cat([self._cells[: self._loaded], here])
        slots = torch.arange(self._loaded, self._loaded + len(numbers), dtype=torch.int32)
        self._slots[torch.tensor(numbers, dtype=torch.int64, device=self.device)] = slots.to(
            self.device
        )
        self._loaded += len(numbers)

    def _as_kept(self, blocks: Tensor) -> Tensor:
        """Blocks as they are kept. Raises OptionError where the type lacks the range."""
        kept = blocks.to(self.kept_type)
        if kept.dtype != blocks.dtype and bool((kept.isinf() & blocks.isfinite()).any()):
            raise OptionError(
                f"grid {self.values.entry.name!r} has values beyond those of float16: "
                "leave gpu_cache_dtype at 'float32'"
            )
        return kept

    def _blocks_of(self, runs: Sequence[slice]) -> list[Tensor]:
        """The voxels float32 (L, n, C) of the leaves of regions, all of the level.

        runs: the leaves of each
        """
        values, level, voxels = self.values, self.level, len(self._offsets)
        values.fetch(runs, level)
        template, parts = values.outline, values.entry.components
        topology, background = template.topology, self._here(template.background)
        with values.naming():
            leaves = np.concatenate([np.arange(run.start, run.stop) for run in runs])
            ends = np.cumsum([run.stop - run.start for run in runs])[:-1]
            masks = topology.masks_at_multiples(leaves, level)  # all are decoded together
            of_runs = [unpack_masks(own) for own in np.split(masks, ends)]
            counts = [int(np.count_nonzero(own)) for own in of_runs]
            check_work(values.container, values.outputs, sum(counts))
            varying = [part.output is not None for part in parts]
            coded = [torch.empty((0, 0), dtype=torch.float32, device=self.device)] * len(runs)
            if any(varying):
                coded = self.outputs.region_tensors(topology, runs, values.columns, level)
        minima = [part.minimum for part in parts]  # of a component that is constant, its value
        constants = torch.tensor(minima, dtype=torch.float32, device=self.device)
        found = []
        for run, active, count, own in zip(runs, of_runs, counts, coded, strict=True):
            known = constants.repeat(count, 1)
            if any(varying):
                known[:, varying] = own
            blocks = background.repeat(len(active), voxels, 1)
            blocks[self._here(active[:, self._offsets] if level else active)] = known
            for listed in (template.inactive.within(run), values.exact_within(run)):
                self._put(listed, blocks.view(-1, self.components))
            found.append(blocks)
        return found

    def _put(self, listed: LeafValues, result: Tensor) -> None:
        """Put values where they are among the voxels (L * n, C) of the leaves of a region."""
        places, own = listed.places, listed.values
        if self.level:
            leaves, offsets = np.divmod(places, LEAF_VOXELS)
            at = np.searchsorted(self._offsets, offsets).clip(max=len(self._offsets) - 1)
            asked = self._offsets[at] == offsets
            places, own = (leaves * len(self._offsets) + at)[asked], own[asked]
        result[self._here(places)] = self._here(own)


def sampled(bricks: GpuBricks, points: Tensor, nearest: bool, parts: Sequence[Part]) -> Tensor:
    """Values float32 (n, C) at points, which have gradients by them where these ask for any."""
    if not nearest and points.requires_grad and torch.is_grad_enabled():
        found: Tensor = _Sampled.apply(points, bricks, parts)  # type: ignore[no-untyped-call]
        return found
    return bricks.sample(points.detach(), nearest, parts)[0]


class _Sampled(torch.autograd.Function):
    """Values at points, differentiable once."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, bricks: GpuBricks, parts: Sequence[Part]) -> Tensor:
        values, gradients = bricks.sample(points.detach(), False, parts, gradient=True)
        ctx.save_for_backward(gradients)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        return (outputs[0][:, :, None].to(gradients) * gradients).sum(dim=1), None, None
