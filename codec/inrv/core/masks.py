"""Masks of a region, decoded and coded by the core: codec/core/masks.h in Python's terms."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_size_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.core.library import library

MASK_BYTES = 64
PRIOR_BYTES = 57344
MIXED = 0  # the kind of a mask that is coded


class _Leaves(ctypes.Structure):
    _fields_ = (
        ("count", c_size_t),
        ("cells", c_void_p),
        ("kinds", c_void_p),
        ("reference", c_void_p),
    )


@dataclass(frozen=True, eq=False)
class MaskLeaves:
    """Leaves of a region, and what is known of their masks.

    cells: uint16 (L,) ascending, x << 8 | y << 4 | z of each leaf's place in the region
    kinds: uint8 (L,) of the masks
    reference: uint8 (L, 64) the masks that these are predicted from, None where there are none
    """

    cells: NDArray[np.uint16]
    kinds: NDArray[np.uint8]
    reference: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        count = len(self.cells)
        if self.kinds.shape != (count,) or self.kinds.dtype != np.uint8:
            raise ValueError(f"masks: kinds are {self.kinds.dtype} {self.kinds.shape}")
        mask = self.reference
        if mask is not None and (mask.shape != (count, MASK_BYTES) or mask.dtype != np.uint8):
            raise ValueError(f"masks: a reference of {mask.dtype} {mask.shape}")

    @property
    def mixed(self) -> int:
        """How many of the masks are coded."""
        return int(np.count_nonzero(self.kinds == MIXED))


def decode_region_masks(
    prior: NDArray[np.int8], leaves: MaskLeaves, data: bytes
) -> NDArray[np.uint8]:
    """Return the masks uint8 (L, 64) of the leaves of a region.

    prior: int8 (PRIOR_BYTES,)
    leaves: what is known of them
    data: what `encode_region_masks` returned

    Raises FormatError where these bytes are not those of the leaves.
    """
    masks = np.empty((len(leaves.cells), MASK_BYTES), dtype=np.uint8)
    coded = np.frombuffer(data, dtype=np.uint8)
    work = np.empty(library().inrv_masks_work(0), dtype=np.uint8)
    own, _arrays = _known(leaves)
    library().inrv_masks_decode(
        _checked(prior), byref(own), coded.ctypes.data, len(coded), work.ctypes.data, masks
    )
    return masks


def encode_region_masks(
    prior: NDArray[np.int8], leaves: MaskLeaves, masks: NDArray[np.uint8]
) -> bytes:
    """Return the bytes of the masks of the leaves of a region.

    prior: int8 (PRIOR_BYTES,)
    leaves: what is known of them
    masks: uint8 (L, 64)
    """
    if masks.shape != (len(leaves.cells), MASK_BYTES):
        raise ValueError(f"masks: {masks.shape} are not the masks of {len(leaves.cells)} leaves")
    data = np.empty(library().inrv_masks_bound(leaves.mixed), dtype=np.uint8)
    work = np.empty(library().inrv_masks_work(leaves.mixed), dtype=np.uint8)
    size = c_size_t()
    own, _arrays = _known(leaves)
    library().inrv_masks_encode(
        *(_checked(prior), byref(own), np.ascontiguousarray(masks)),
        *(work.ctypes.data, data.ctypes.data, byref(size)),
    )
    return data[: size.value].tobytes()


def _known(leaves: MaskLeaves) -> tuple[_Leaves, list[Any]]:
    """The leaves as the core takes them, and the arrays that must live as long."""
    arrays = [np.ascontiguousarray(leaves.cells, dtype=np.uint16)]
    arrays += [np.ascontiguousarray(leaves.kinds)]
    if leaves.reference is not None:
        arrays += [np.ascontiguousarray(leaves.reference)]
    return _Leaves(len(leaves.cells), *(array.ctypes.data for array in arrays)), arrays


def _checked(prior: NDArray[np.int8]) -> NDArray[np.int8]:
    if prior.shape != (PRIOR_BYTES,):
        raise ValueError(f"masks: a prior of {prior.shape}")
    return prior
