"""Leaves that need no bits, and leaves that do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KINDS = MIXED, FULL, EMPTY = 0, 1, 2


def kinds_of(masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """MIXED, FULL or EMPTY for each packed leaf mask uint8 (L, 64): uint8 (L,)."""
    kinds = np.full(len(masks), MIXED, dtype=np.uint8)
    kinds[(masks == 255).all(axis=1)] = FULL
    kinds[(masks == 0).all(axis=1)] = EMPTY
    return kinds
