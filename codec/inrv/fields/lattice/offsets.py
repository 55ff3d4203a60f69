"""What is added to decoded values so that they have the sum of the original ones.

Codes are chosen where they are cheap, and that draws the values of a channel to one side. Its offsets are those of least
squares among all that are linear between KNOTS values, evenly from 0 to its top. The hat functions at the knots add up to 1, so
the errors that are left add up to 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.grids import in_double

PIECES = 16
KNOTS = PIECES + 1
FITS = 4
FARTHEST = 1 << 15  # units: a float16 holds twice as much
RIDGE = 1e-3  # voxels that speak for no offset at each knot: where no value lies, there is none


@dataclass(frozen=True, eq=False)
class Offsets:
    """Offsets float16 (KNOTS,), in units, at decoded values 0 to `top`, evenly."""

    knots: Tensor
    top: int

    @staticmethod
    def of(decoded: Tensor, targets: Tensor, top: int, highest: float) -> Offsets:
        """The offsets for decoded values int32 (n,), units, that stand for `targets` float64 (n,).

        Decoders keep values within 0 and `highest`, which leaves a rest of the errors: it is fitted again, some times.
        """
        piece, share = (part.cpu().numpy() for part in _places(decoded, top))
        low, high = 1 - share, share

        def total(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(piece, weights, PIECES).astype(np.float64)

        products, first = RIDGE * np.eye(KNOTS), np.arange(PIECES)
        for weight, shift in ((low, 0), (high, 1)):
            products[first + shift, first + shift] += total(weight * weight)
        products[first, first + 1] = products[first + 1, first] = total(low * high)
        found, exact, units = np.zeros(KNOTS), targets.cpu().numpy(), in_double(decoded).cpu().numpy()
        for _ in range(FITS):
            missed = exact - (units + low * found[piece] + high * found[piece + 1]).clip(0, highest)
            wanted = np.concatenate([total(low * missed), [0.0]]) + np.concatenate([[0.0], total(high * missed)])
            found += np.linalg.solve(products, wanted)
        return Offsets(torch.from_numpy(found.clip(-FARTHEST, FARTHEST)).to(torch.float16), top)

    def add(self, decoded: Tensor) -> Tensor:
        """Decoded values int32 (n,) with their offsets, float64 (n,), units."""
        piece, share = _places(decoded, self.top)
        knots = in_double(self.knots.to(decoded.device))
        return in_double(decoded) + (knots[piece] + share * (knots[piece + 1] - knots[piece]))


def _places(decoded: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The piece int64 (n,) in which each decoded value lies, and how far along it, float64 (n,)."""
    along = in_double(decoded) * PIECES / top
    piece = along.floor().clamp_max(PIECES - 1)
    return piece.long(), along - piece
