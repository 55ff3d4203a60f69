"""Coded masks as tensors, and back: the bytes of all regions and the length of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from inrv.container import Arrays, take
from inrv.entropy.masks import decode_masks, regions_of
from inrv.errors import FormatError


def pack_coded(name: str, parts: Sequence[bytes]) -> Arrays:
    """Return the tensors of coded masks.

    name: what their names begin with
    parts: the bytes of each region
    """
    lengths = np.array([len(part) for part in parts], dtype=np.int32)
    data = np.frombuffer(b"".join(parts), dtype=np.uint8)
    return {f"{name}_lengths": lengths, f"{name}_bytes": data}


def unpack_coded(
    name: str,
    arrays: Arrays,
    origins: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    reference: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return the masks uint8 (L, 64) in the tensors that `pack_coded` returned.

    name: what their names begin with
    arrays: that hold the tensors
    origins: int32 (L, 3) of the leaves, in key order
    kinds: uint8 (L,) of their masks
    reference: uint8 (L, 64) the masks from which these are predicted, if any

    Raises FormatError.
    """
    lengths = take(arrays, f"{name}_lengths", np.int32, (len(regions_of(origins)),))
    data = take(arrays, f"{name}_bytes", np.uint8, (None,)).tobytes()
    starts = starts_of(lengths, len(data))
    parts = [data[start:end] for start, end in pairwise(starts)]
    return decode_masks(origins, kinds, parts, reference)


def starts_of(lengths: NDArray[np.int32], size: int) -> list[int]:
    """Return where the bytes of each region begin, and the end.

    lengths: int32 (R,) of the regions
    size: bytes of all regions

    Raises FormatError where the lengths do not add up to it.
    """
    starts = list(accumulate(lengths.tolist(), initial=0))
    if (lengths < 0).any() or starts[-1] != size:
        found = f"coded masks have {size:,} bytes"
        raise FormatError("S11", f"{found}, their lengths say {starts[-1]:,}")
    return starts
