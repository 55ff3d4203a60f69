"""Buffers of numbers in other people's files, compressed by BLOSC or zlib."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from numcodecs import blosc
from numpy.typing import NDArray

_GZIP = 31  # of zlib: a stream with the header of gzip
_PIECE = 1 << 12  # packed bytes of which nothing but the checksum is wanted, at a time
# Behind versions, flags and size of a value: bytes unpacked, of a block, packed.
_BLOSC_HEADER = struct.Struct("<4xIII")


def unpack_blosc(packed: memoryview, out: NDArray[Any]) -> None:
    """Decompress BLOSC.

    packed: tells its codec and its filters itself
    out: takes the values
    Raises ValueError where they do not fill it exactly.
    """
    size, _, length = _BLOSC_HEADER.unpack_from(packed) if len(packed) >= 16 else (-1, 0, 0)
    if size != out.nbytes or length > len(packed):
        raise ValueError(
            f"a BLOSC buffer of {length:,} bytes for {size:,} stands where "
            f"{len(packed):,} for {out.nbytes:,} should"
        )
    try:
        blosc.decompress(packed[:length], out)
    except RuntimeError as error:
        raise ValueError(f"a BLOSC buffer is damaged: {error}") from error


def unzip(packed: memoryview, size: int) -> bytes:
    """Decompress ZIP to `size` bytes. Raises ValueError where they are fewer or more."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError(f"a ZIP buffer is damaged: {error}") from error
    if len(data) != size:
        raise ValueError(f"a ZIP buffer does not hold the {size:,} bytes it should")
    return data


def gunzip(packed: bytes | memoryview, most: int) -> bytes:
    """Decompress the first bytes of streams of gzip, at most `most`. Raises zlib.error."""
    found, left = bytearray(), packed
    while left and len(found) < most:
        stream = zlib.decompressobj(_GZIP)
        found += stream.decompress(left, most - len(found))
        left = stream.unused_data
    return bytes(found)


def gunzip_checked(packed: bytes | memoryview, most: int) -> bytes:
    """Decompress the first bytes as `gunzip` does, and compare the checksums of their streams.

    Raises zlib.error, also where a stream that holds some of these bytes has no end.
    """
    found, left = bytearray(), packed
    while left and len(found) < most:
        stream = zlib.decompressobj(_GZIP)
        found += stream.decompress(left, most - len(found))
        rest = memoryview(stream.unconsumed_tail)
        for start in range(0, len(rest), _PIECE):
            if stream.eof:
                break
            stream.decompress(rest[start : start + _PIECE])
        if not stream.eof:
            raise zlib.error("its gzip stream has no end: the file was cut off")
        left = stream.unused_data
    return bytes(found)
