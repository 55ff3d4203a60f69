"""What is added to decoded values so that they have the sum of the original ones.

Codes are chosen where they are cheap, and that draws the values of a channel to one side. Its
offsets are those of least squares among all that are linear between KNOTS values, evenly from 0 to
its top. The hat functions at the knots add up to 1, so the errors that are left add up to 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import offset_sums

PIECES = 16  # measured: docs/lab-notes.md#offsets
KNOTS = PIECES + 1
FITS = 4  # measured: docs/lab-notes.md#offsets
FARTHEST = 1 << 15  # units: a float16 holds twice as much
RIDGE = 1e-3  # voxels that ask for no offset at each knot: where no value lies, there is none


@dataclass(frozen=True, eq=False)
class Offsets:
    """Offsets of the values of a channel.

    knots: float16 (KNOTS,) offsets, in units, of decoded values 0 to `top`, evenly
    top: largest decoded value, in units
    """

    knots: NDArray[np.float16]
    top: int

    @staticmethod
    def of(errors: NDArray[np.float64], scale: float, top: int) -> tuple[Offsets, float]:
        """Fits the offsets, and gives the sum of squares, in units, of what is missed with them.

        Decoders keep values within 0 and `scale`, which leaves a rest of the errors: it is fitted
        again, some times.

        errors: float64 (m, 4) of the voxels, as `errors_by_unit` gives them
        scale: units in the range
        top: largest decoded value
        """
        found = np.zeros(KNOTS)
        for _ in range(FITS):
            sums, _ = offset_sums(errors, top, scale, found)
            own, beside = np.diag(RIDGE + sums[0]), np.diag(sums[1, :-1], 1)
            found = found + np.linalg.solve(own + beside + beside.T, sums[2])
        knots = found.clip(-FARTHEST, FARTHEST).astype(np.float32).astype(np.float16)
        return Offsets(knots, top), offset_sums(errors, top, scale, knots.astype(np.float64))[1]

    def add(self, decoded: NDArray[np.int32]) -> NDArray[np.float64]:
        """Decoded values int32 (n,) with their offsets, float64 (n,), in units."""
        along = decoded.astype(np.float64) * PIECES / self.top
        piece = np.minimum(np.floor(along), PIECES - 1).astype(np.int64)
        knots = self.knots.astype(np.float64)
        offsets = knots[piece] + (along - piece) * (knots[piece + 1] - knots[piece])
        moved: NDArray[np.float64] = decoded.astype(np.float64) + offsets
        return moved
