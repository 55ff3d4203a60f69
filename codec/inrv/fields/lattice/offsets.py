"""What is added to decoded values so that they have the sum of the original ones.

Codes are chosen where they are cheap, and that draws the values of a channel to one side. Its
offsets are those of least squares among all that are linear between KNOTS values, evenly from 0 to
its top. The hat functions at the knots add up to 1, so the errors that are left add up to 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    def of(
        decoded: NDArray[np.int32], targets: NDArray[np.float64], top: int, highest: float
    ) -> Offsets:
        """Fits the offsets.

        Decoders keep values within 0 and `highest`, which leaves a rest of the errors: it is fitted
        again, some times.

        decoded: int32 (n,) decoded values, in units
        targets: float64 (n,) what they stand for
        top: largest decoded value
        highest: largest value that decoders give
        """
        piece, share = _places(decoded, top)
        low, high = 1 - share, share

        def total(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(piece, weights, PIECES).astype(np.float64)

        products, first = RIDGE * np.eye(KNOTS), np.arange(PIECES)
        for weight, shift in ((low, 0), (high, 1)):
            products[first + shift, first + shift] += total(weight * weight)
        products[first, first + 1] = products[first + 1, first] = total(low * high)
        found, units = np.zeros(KNOTS), decoded.astype(np.float64)
        for _ in range(FITS):
            moved = units + low * found[piece] + high * found[piece + 1]
            missed = targets - moved.clip(0, highest)
            wanted = np.append(total(low * missed), 0.0) + np.append(0.0, total(high * missed))
            found += np.linalg.solve(products, wanted)
        knots = found.clip(-FARTHEST, FARTHEST).astype(np.float32)
        return Offsets(knots.astype(np.float16), top)

    def add(self, decoded: NDArray[np.int32]) -> NDArray[np.float64]:
        """Decoded values int32 (n,) with their offsets, float64 (n,), in units."""
        piece, share = _places(decoded, self.top)
        knots = self.knots.astype(np.float64)
        offsets = knots[piece] + share * (knots[piece + 1] - knots[piece])
        moved: NDArray[np.float64] = decoded.astype(np.float64) + offsets
        return moved


def _places(decoded: NDArray[np.int32], top: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The piece int64 (n,) in which each value lies, and how far along it, float64 (n,)."""
    along = decoded.astype(np.float64) * PIECES / top
    piece = np.minimum(np.floor(along), PIECES - 1)
    return piece.astype(np.int64), along - piece
