"""Regions of an open lattice, decoded on a GPU in batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.core.lattice import KnownRegion, Leaves, RegionCodes
from inrv.fields.lattice.codec import Setting, check_spread, damaged
from inrv.fields.lattice.gpu.batch import REGION_BYTES, Batch, Item
from inrv.fields.lattice.gpu.motion import moved_reference
from inrv.grids import unpack_masks
from inrv.support.parallel import in_threads

if TYPE_CHECKING:
    from inrv.fields.lattice.decode import OpenChannel

SHARE_OF_MEMORY = 0.5  # of what is free on the device, for one batch
MOST_REGIONS = 512  # of a batch
INTERPRETED_REGIONS = 8  # the same where Triton interprets


Job = tuple["OpenChannel", int, int]  # a channel, the number of a region, a level


class Place(NamedTuple):
    """A region of a channel, down to a level of detail."""

    channel: int
    region: int
    level: int


class GpuRegions:
    """Decodes regions of a lattice on a device.

    device: of torch; Triton's interpreter works on the CPU
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def units(self, wanted: Iterable[Job]) -> dict[Place, Tensor]:
        """The values int32 (n,), in units, of regions' voxels, in the order of the format.

        wanted: channels, numbers of their regions, and levels: voxels at multiples of 2^level
        Raises FormatError.

        The regions that these are predicted from come too. A region that is a wavelet is decoded on
        the CPU.
        """
        found: dict[Place, Tensor] = {}
        jobs = self._with_references(wanted)
        for depth in sorted({_depth(channel) for channel, _, _ in jobs}):
            own = [job for job in jobs if _depth(job[0]) == depth]
            there = [job for job in own if not _is_decoded_here(job[0])]
            decoded = in_threads(lambda job: job[0].decoded_by_core(*job[1:]), there)
            for (channel, number, level), units in zip(there, decoded, strict=True):
                found[Place(channel.number, number, level)] = self._here(units)
            for level in sorted({level for _, _, level in own}):
                here = [job for job in own if job[2] == level and _is_decoded_here(job[0])]
                for first in range(0, len(here), most := self._most_regions()):
                    self._decode(here[first : first + most], level, found)
        return found

    def _with_references(self, wanted: Iterable[Job]) -> list[Job]:
        """What is wanted, once each, and all that it is predicted from here."""
        jobs: dict[Place, Job] = {}
        waiting = list(wanted)
        while waiting:
            channel, number, level = job = waiting.pop()
            place = Place(channel.number, number, level)
            if place in jobs:
                continue
            jobs[place] = job
            for other in _references(channel):
                there = other.regions.number(int(channel.regions.keys[number]))
                if there >= 0:
                    waiting.append((other, there, 0))
        return list(jobs.values())

    def _most_regions(self) -> int:
        if self.device.type == "cpu":
            return INTERPRETED_REGIONS
        free, _ = torch.cuda.mem_get_info(self.device)
        return max(1, min(MOST_REGIONS, int(SHARE_OF_MEMORY * free) // REGION_BYTES))

    def _decode(
        self,
        jobs: Sequence[Job],
        level: int,
        found: dict[Place, Tensor],
    ) -> None:
        """Decode a batch of regions, whose references were found, and add them to these."""
        before = in_threads(lambda job: _before(*job), jobs)
        items = [
            self._item(channel, number, *own, found)
            for (channel, number, _), own in zip(jobs, before, strict=True)
        ]
        batch = Batch(items, level, self.device)
        values = batch.decode()
        for faulty in batch.faults():
            channel, number, _ = jobs[faulty]
            raise damaged(channel.regions.corner(number), "F6")
        sizes = [channel.regions.voxels(number, level) for channel, number, _ in jobs]
        for (channel, number, _), units in zip(jobs, values.split(sizes), strict=True):
            found[Place(channel.number, number, level)] = units

    def _item(
        self,
        channel: OpenChannel,
        number: int,
        region: KnownRegion,
        codes: RegionCodes,
        found: dict[Place, Tensor],
    ) -> Item:
        other = channel.references[0]
        parameters, model = channel.stored.channel, channel.stored.model
        if other is None:
            top, reference = 0, None
        elif channel.stored.motion is None:
            top = other.stored.channel.top
            reference = self._reference(channel, number, other, found)
        else:
            top = parameters.top

            def units_of(own: OpenChannel, region: int) -> Tensor:
                return found[Place(own.number, region, 0)]

            reference = moved_reference(channel, number, units_of, self.device)
        return Item(parameters, model, region, codes, top, reference)

    def _reference(
        self, channel: OpenChannel, number: int, other: OpenChannel, found: dict[Place, Tensor]
    ) -> tuple[Leaves, Tensor]:
        """The leaves of a region of another channel's grid, and the units of all their voxels."""
        key = int(channel.regions.keys[number])
        there, coded = other.grid.number(key), other.regions.number(key)
        leaves = other.grid.leaves(there)
        if there < 0:
            return leaves, torch.zeros(0, dtype=torch.int32, device=self.device)
        units = found[Place(other.number, coded, 0)]
        if other.grid is other.regions:
            return leaves, units
        values = self._here(other.exterior.exact_units[other.grid.rows(there)])
        masks = other.regions.leaves(coded).masks
        values[self._here(unpack_masks(masks)[unpack_masks(leaves.masks)])] = units
        return leaves, values

    def _here(self, array: NDArray[np.int32] | NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _before(channel: OpenChannel, number: int, level: int) -> tuple[KnownRegion, RegionCodes]:
    """What is known of a region before its codes, but for its reference channel, and the codes."""
    stored = check_spread(channel.stored.regions(number, level))
    exterior = channel.exterior if channel.stored.knows_exterior else None
    setting = Setting(channel.regions, None, exterior)
    return setting.region(number, stored.mean, stored.spread), stored.codes


def _is_decoded_here(channel: OpenChannel) -> bool:
    return not channel.stored.channel.wavelet


def _references(channel: OpenChannel) -> list[OpenChannel]:
    """The channels whose regions are on the device before those of this one."""
    if not _is_decoded_here(channel):
        return []
    return [other for other in channel.references if other is not None]


def _depth(channel: OpenChannel) -> int:
    """How many channels in turn are decoded before this one."""
    return max((1 + _depth(other) for other in _references(channel)), default=0)
