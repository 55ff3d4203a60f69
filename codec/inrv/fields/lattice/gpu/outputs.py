"""The values of a lattice whose regions are decoded on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrv.container import Container
from inrv.fields.lattice.decode import Ints, LatticeOutputs, OpenChannel, Values, open_lattice
from inrv.fields.lattice.gpu.masks import decode_masks_on
from inrv.fields.lattice.gpu.regions import GpuRegions, Job, Place
from inrv.fields.lattice.gpu.values import values_of
from inrv.grids import Topology, unpack_masks
from inrv.storage import StoredGrids
from inrv.support.device import with_index


def open_on_gpu(container: Container, grids: StoredGrids, device: torch.device) -> GpuOutputs:
    """The outputs of a file's lattice; its masks are decoded on the device too."""
    device = with_index(device)
    grids.mask_decoder.decode = partial(decode_masks_on, device)
    found = open_lattice(container, grids, partial(GpuOutputs, device))
    assert isinstance(found, GpuOutputs)
    return found


class GpuOutputs(LatticeOutputs):
    """Decodes regions in batches on a GPU; what its callers get in arrays is then on the CPU.

    torch_device: where
    others: arguments of `LatticeOutputs`
    """

    def __init__(self, torch_device: torch.device, *others: Any) -> None:
        super().__init__(*others)
        self.torch_device = torch_device
        self.regions = GpuRegions(torch_device)
        self._ahead: dict[Place, Ints] = {}

    @property
    def device(self) -> str:
        """Where regions are decoded."""
        return str(self.torch_device)

    def decoded(self, channel: OpenChannel, number: int, level: int) -> Ints:
        """The units int32 (n,) of a region's voxels, as they were decoded ahead, or by the core."""
        found = self._ahead.pop(Place(channel.number, number, level), None)
        return channel.decoded_by_core(number, level) if found is None else found

    def decode_ahead(
        self, topology: Topology, runs: Sequence[slice], columns: Sequence[int], level: int = 0
    ) -> None:
        """See `Outputs`. Raises FormatError."""
        channels = [self.channel(column) for column in columns]
        jobs = [own.job(topology, leaves, level) for own in channels for leaves in runs]
        self._decode_ahead([job for job in jobs if job[1] >= 0])

    def _decode_ahead(self, jobs: Sequence[Job]) -> None:
        """Decode regions for whoever asks for them next; what nobody asked for before is dropped.

        Regions that these are predicted from stay on the device, where they are done with.
        """
        found = self.regions.units(jobs)
        places = [Place(channel.number, number, level) for channel, number, level in jobs]
        self._ahead = {place: found[place].cpu().numpy() for place in places}

    def values(
        self,
        topologies: Sequence[Callable[[], Topology]],
        columns: Sequence[Sequence[int]],
        clamp: bool = True,
    ) -> list[Values]:
        """See `Outputs`. Raises FormatError."""
        channels = [self.channel(column) for held in columns for column in held]
        self._decode_ahead(
            [(own, number, 0) for own in channels for number in range(len(own.regions))]
        )
        return super().values(topologies, columns, clamp)

    def region_tensors(
        self, topology: Topology, runs: Sequence[slice], columns: Sequence[int], level: int = 0
    ) -> list[Tensor]:
        """See `RegionTensors`. Raises FormatError."""
        channels = [self.channel(column) for column in columns]
        jobs = [[own.job(topology, leaves, level) for own in channels] for leaves in runs]
        units = self.regions.units(job for row in jobs for job in row if job[1] >= 0)
        found = []
        for leaves, row in zip(runs, jobs, strict=True):
            asked = unpack_masks(topology.masks_at_multiples(leaves, level))
            shape = int(np.count_nonzero(asked)), len(columns)
            values = torch.zeros(shape, dtype=torch.float32, device=self.torch_device)
            for place, (own, number, depth) in enumerate(row):
                if number >= 0:
                    decoded = units[Place(own.number, number, depth)]
                    coded = values_of(own, number, decoded, depth)
                    if topology is not own.regions.topology:
                        blocks = _blocks(own, number, coded, depth, topology, leaves)
                        coded = blocks[torch.from_numpy(asked).to(blocks.device)]
                    values[:, place] = coded
            found.append(values)
        return found


def _blocks(
    channel: OpenChannel,
    number: int,
    coded: Tensor,
    level: int,
    topology: Topology,
    leaves: slice,
) -> Tensor:
    """The voxels (L, 512) of the leaves of another topology, 0 where none is coded.

    coded: values (n,) of the coded voxels of a region at multiples of 2^level
    """
    own, held = channel.regions.topology, channel.regions.leaf_range(number)
    there = torch.from_numpy(unpack_masks(own.masks_at_multiples(held, level))).to(coded.device)
    blocks = coded.new_zeros(there.shape)
    blocks[there] = coded
    # Of a grid whose decoded values tell what is active, some leaves are gone; no leaf is new.
    some = (topology.keys[leaves][:, None] == own.keys[held]).argmax(axis=1)
    return blocks[torch.from_numpy(some).to(coded.device)]
