"""The values of a lossless channel as whole numbers: how many smaller ones there are, and the bits that tell equal ones apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.fields.lattice.constants import HIGHEST, STEP

MOST_ENTRIES = HIGHEST // STEP
REPEATED = 4  # times that each entry is used on the average: else it costs more than the bits that it saves


@dataclass(frozen=True, eq=False)
class Palette:
    """What the values of a channel begin with.

    entries   int32 (K,)  ascending: the different values in their order as whole numbers, `low_bits` shifted out
    low_bits  of each value that no entry tells, 0 to 31
    """

    entries: Tensor
    low_bits: int

    @staticmethod
    def of(values: Tensor) -> Palette:
        """The palette of values float32 (N,), none of them NaN: with as few low bits as leave entries that are used often."""
        entries, low_bits = torch.unique(in_order(values)), 0
        most = min(MOST_ENTRIES, max(2, len(values) // REPEATED))
        while len(entries) > most:
            entries, low_bits, most = torch.unique_consecutive(entries >> 1), low_bits + 1, MOST_ENTRIES
        return Palette(entries, low_bits)

    def to(self, device: torch.device | str) -> Palette:
        """The same palette on another device."""
        return Palette(self.entries.to(device), self.low_bits)

    def places(self, values: Tensor) -> Tensor:
        """How many entries lie below each value float32 (...), as int32: of a value of the channel the place of its own."""
        found = torch.searchsorted(self.entries, in_order(values) >> self.low_bits)
        return found.to(torch.int32)

    def units(self, values: Tensor) -> Tensor:
        """Values float32 (...) as int32 units of the channel, those of no entry as one beside them; NaN as the lowest."""
        return (self.places(values.masked_fill(values.isnan(), -torch.inf)) * STEP).clamp_max(HIGHEST)

    def rest(self, values: Tensor) -> Tensor:
        """The low bits int32 (N,) of values float32 (N,)."""
        return in_order(values) & ((1 << self.low_bits) - 1)

    def values(self, units: Tensor, rest: Tensor) -> Tensor:
        """The values float32 (N,) of decoded units int32 (N,) and low bits int32 (N,)."""
        return from_order((self.entries[(units // STEP).long()] << self.low_bits) | rest)


def in_order(values: Tensor) -> Tensor:
    """The bits of values float32 as int32 that are in the values' order, -0.0 just below 0.0."""
    return _turned(values.contiguous().view(torch.int32))


def from_order(ordered: Tensor) -> Tensor:
    """The values float32 of `in_order`."""
    return _turned(ordered).view(torch.float32)


def _turned(bits: Tensor) -> Tensor:
    """All bits but the sign are turned over where it is set: the same the other way."""
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
