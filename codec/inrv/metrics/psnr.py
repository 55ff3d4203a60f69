"""The one formula of the PSNR."""

from __future__ import annotations

import math


def psnr_of(mean_square: float) -> float:
    """PSNR in dB for peak 1."""
    return math.inf if mean_square <= 0 else -10 * math.log10(mean_square)
