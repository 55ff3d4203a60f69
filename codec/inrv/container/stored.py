"""Parts of a file as they are stored: compressed or not, and checked before they are unpacked."""

from __future__ import annotations

import zlib

import zstandard

from inrv.container import dictionary
from inrv.container.layout import COMPRESSIONS, STORED, ZSTD
from inrv.errors import FormatError

ZSTD_LEVEL = 19


def compress(data: bytes) -> tuple[int, bytes]:
    """Return how `data` takes fewest bytes in a file, and these bytes."""
    packed = dictionary.compress(data, ZSTD_LEVEL)
    return (ZSTD, packed) if len(packed) < len(data) else (STORED, data)


def check_limit(what: object, raw: int, limit: int) -> None:
    """Check, before a byte of a part is read, that it is not too large."""
    if raw > limit:
        message = f"{what} unpacks to {raw:,} bytes, more than the limit of {limit:,}"
        raise FormatError("C2", message)


def check_sizes(what: str, compression: int, stored: int, raw: int) -> None:
    """Check, before a byte of a part is read, its compression and that its sizes fit it."""
    if compression not in COMPRESSIONS:
        known = "known are 0 (none) and 1 (zstd with dictionary 1)"
        raise FormatError("C1", f"{what} has compression {compression}; {known}")
    if compression == STORED and stored != raw:
        sizes = f"its stored size is {stored:,} and its raw size {raw:,}"
        raise FormatError("C3", f"{what} is not compressed, yet {sizes}")
    if compression != STORED and stored >= raw:
        sizes = f"its stored size {stored:,} is not below its raw size {raw:,}"
        raise FormatError("C4", f"{what} is compressed, yet {sizes}")


def check_crc(id: str, what: object, data: bytes, expected: int) -> None:
    """Check the CRC-32 of bytes. Raises FormatError, by the condition `id`."""
    compare_crcs(id, what, zlib.crc32(data), expected)


def compare_crcs(id: str, what: object, found: int, expected: int) -> None:
    """Check a CRC-32 that was computed piece by piece. Raises FormatError."""
    if found != expected:
        found_and_expected = f"the checksum {found:08x}, expected {expected:08x}"
        raise FormatError(id, f"{what} has {found_and_expected}: the file is damaged")


def unpack(what: str, stored: bytes, compression: int, raw: int, checksum: int) -> bytes:
    """Return the `raw` bytes that stored ones stand for. Raises FormatError."""
    check_crc("C5", what, stored, checksum)
    if compression == STORED:
        return stored
    try:
        # The frame's own size comes first: no more is allocated than the table admits.
        if (size := dictionary.content_size(stored)) != raw:
            found = f"a zstd frame of {size:,} bytes (-1: not said), expected {raw:,}"
            raise FormatError("C7", f"{what} holds {found}")
        return dictionary.decompress(stored, raw)
    except zstandard.ZstdError as error:
        raise FormatError("C6", f"{what} is not one valid zstd frame: {error}") from error
    except MemoryError as error:
        message = f"{what} unpacks to {raw:,} bytes, more than there is memory for"
        raise FormatError("L6", message) from error
