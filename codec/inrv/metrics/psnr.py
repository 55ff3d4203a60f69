"""The one formula of the PSNR."""

from __future__ import annotations

import math


def psnr_of(mean_square: float) -> float:
    """Give the PSNR in dB of a mean square error, for a peak of 1; infinity where it is 0."""
    return math.inf if mean_square <= 0 else -10 * math.log10(mean_square)
