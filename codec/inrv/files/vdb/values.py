"""Values as bits: what a tree holds, half floats, and the buffers of values in a .vdb file.

Values are kept as unsigned integers of their bits from the file to the grid, so that NaN, -0.0 and
every payload survive. Layout: OpenVDB's io/Compression.cc.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from inrv.files.buffers import unzip

Bits = NDArray[Any]  # uint8, uint16, uint32 or uint64
ZIP, ACTIVE_MASK, BLOSC = 1, 2, 4  # a grid's compression flags
_BLOSC_LEVEL = 9


@dataclass(frozen=True)
class ValueType:
    """What a voxel holds.

    components: numbers of a voxel
    width: bytes of a number
    real: whether the numbers are real: only then a grid saved as half floats rounds them
    """

    components: int
    width: int = 4
    real: bool = True

    @property
    def double(self) -> bool:
        """Whether the numbers are float64."""
        return self.real and self.width == 8

    @property
    def bits(self) -> np.dtype[Any]:
        """The unsigned integer that holds a number's bits."""
        return np.dtype(f"<u{self.width}")

    @property
    def sign(self) -> int:
        """The bit that negates a real number."""
        return 1 << (8 * self.width - 1)

    @property
    def size(self) -> int:
        """Bytes of a voxel's value."""
        return self.components * self.bits.itemsize


def unzip_buffer(packed: memoryview, out: Bits) -> None:
    """Decompress ZIP into all of `out`. Raises ValueError where it does not fill it exactly."""
    data = unzip(packed, out.nbytes)
    out[...] = np.frombuffer(data, dtype=out.dtype).reshape(out.shape)


def pack_buffer(values: Bits) -> bytes:
    """Pack values as OpenVDB does with BLOSC; the size goes before.

    They are one block, its bytes shuffled by fours and compressed by LZ4.
    """
    shuffled = values.reshape(-1).view(
        "V4" if values.nbytes % 4 == 0 else "V2"
    )  # an odd number of half floats: by twos
    packed = blosc.compress(shuffled, b"lz4", _BLOSC_LEVEL, blosc.SHUFFLE, values.nbytes)
    return struct.pack("<q", len(packed)) + bytes(packed)


@lru_cache(maxsize=1)
def _half_table() -> NDArray[np.uint32]:
    """Give the bits of the float32 that equals each half float.

    They are computed by integers, so that no processor quiets a NaN.
    """
    half = np.arange(1 << 16, dtype=np.uint32)
    exponent, fraction = half >> 10 & 31, half & 1023
    normal = (exponent + 112 << 23) | fraction << 13
    table = np.where(exponent == 31, 0x7F800000 | fraction << 13, normal)
    small = (fraction.astype(np.float32) * np.float32(2.0**-24)).view(np.uint32)
    table = np.where(exponent == 0, small, table) | (half & 0x8000) << 16
    return np.asarray(table, dtype=np.uint32)


def widen(halves: Bits, double: bool = False) -> Bits:
    """Give the bits of the float32, or float64, that equal half floats uint16 of any shape."""
    single: NDArray[np.uint32] = _half_table()[halves]
    if not double:
        return single
    with np.errstate(invalid="ignore"):
        return np.asarray(single.view(np.float32), dtype=np.float64).view(np.uint64)


def narrow(bits: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Round the bits of float32 to half floats, to nearest even as OpenVDB does.

    A NaN keeps its sign and its leading bits.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        halves: NDArray[np.uint16] = bits.view(np.float32).astype(np.float16).view(np.uint16)
    nan = (bits & 0x7FFFFFFF) > 0x7F800000
    fraction = np.maximum(bits >> 13 & 1023, 1)
    halves[nan] = (bits >> 16 & 0x8000 | 0x7C00 | fraction)[nan]
    return halves
