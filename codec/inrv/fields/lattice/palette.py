"""The values of a lossless channel as whole numbers.

A value follows from how many different ones are smaller, and from the bits that tell equal ones
apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.constants import HIGHEST, STEP

MOST_ENTRIES = HIGHEST // STEP
# Times that each entry is used on the average: else it costs more than the bits that it saves.
REPEATED = 4

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Palette:
    """What the values of a channel begin with.

    entries: int32 (K,) ascending, the different values as whole numbers in their order, with their
        `low_bits` shifted out
    low_bits: bits of each value that no entry holds, 0 to 31
    """

    entries: Ints
    low_bits: int

    @staticmethod
    def of(values: Floats) -> Palette:
        """Makes the palette of values float32 (N,), none of them NaN.

        It has as few low bits as leave entries that are used often.
        """
        entries, low_bits = np.unique(in_order(values)), 0
        most = min(MOST_ENTRIES, max(2, len(values) // REPEATED))
        while len(entries) > most:
            entries, low_bits, most = np.unique(entries >> 1), low_bits + 1, MOST_ENTRIES
        return Palette(entries, low_bits)

    def places(self, values: Floats) -> Ints:
        """How many entries lie below each value float32 (...): int32 (...).

        For a value of the channel that is the place of its own entry.
        """
        found = np.searchsorted(self.entries, in_order(values) >> self.low_bits)
        return found.astype(np.int32)

    def units(self, values: Floats) -> Ints:
        """Values float32 (...) as int32 units of the channel.

        A value of no entry counts as one beside it, NaN as the lowest.
        """
        known = np.where(np.isnan(values), np.float32(-np.inf), values)
        return np.minimum(self.places(known) * np.int32(STEP), HIGHEST).astype(np.int32)

    def rest(self, values: Floats) -> Ints:
        """The low bits int32 (N,) of values float32 (N,)."""
        return in_order(values) & np.int32((1 << self.low_bits) - 1)

    def values(self, units: Ints, rest: Ints) -> Floats:
        """The values float32 (N,) of decoded units int32 (N,) and low bits int32 (N,)."""
        return from_order((self.entries[units // STEP] << self.low_bits) | rest)


def in_order(values: Floats) -> Ints:
    """The bits of values float32 as int32 that are in the values' order, -0.0 just below 0.0."""
    return _turned(np.ascontiguousarray(values).view(np.int32))


def from_order(ordered: Ints) -> Floats:
    """The values float32 of `in_order`."""
    return _turned(ordered).view(np.float32)


def _turned(bits: Ints) -> Ints:
    """Turns over all bits but the sign where it is set; doing it twice changes nothing."""
    return np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
