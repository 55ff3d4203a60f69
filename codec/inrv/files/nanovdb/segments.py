"""The segments of a .nvdb file: which grids it holds, where their bytes are, and how packed.

A file is a run of segments, each with a header, a description of each grid, and the grids; or a run
of grids as they lie in memory. Layout: io/IO.h of NanoVDB, versions 32.x.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.errors import VdbError
from inrv.files.buffers import unpack_blosc, unzip
from inrv.files.nanovdb.structs import (
    CHECKED_FROM,
    FILE_MAGIC,
    GRID,
    MAGIC,
    MAJOR,
    NO_CRC,
    RAW_MAGIC,
    TREE,
    VERSION,
)
from inrv.support.inputs import BytesInput, Input
from inrv.support.recognition import RECOGNISED_BY, refusal

HEADER = np.dtype([("magic", "S8"), ("version", "<u4"), ("count", "<u2"), ("codec", "<u2")])
DESCRIPTION = np.dtype(
    [
        ("size", "<u8"), ("packed", "<u8"), ("key", "<u8"), ("voxels", "<u8"),
        ("grid_type", "<u4"), ("grid_class", "<u4"), ("world_box", "<f8", (2, 3)),
        ("index_box", "<i4", (2, 3)), ("voxel_size", "<f8", 3), ("name_size", "<u4"),
        ("nodes", "<u4", 4), ("tiles", "<u4", 3), ("codec", "<u2"), ("padding", "<u2"),
        ("version", "<u4"),
    ]
)  # fmt: skip
PLAIN, ZIP, BLOSC = range(3)  # codecs
_LENGTH = struct.Struct("<Q")  # stands before every packed chunk
_CHUNK = 1 << 30  # bytes that BLOSC packs at a time
_MOST_RATIO = 1100  # that zlib or LZ4 reach, and a bit more
_LEAST_GRID = GRID.itemsize + TREE.itemsize
_PART = 1 << 22  # bytes that are packed at a time
_ZIP_LEVEL = 6


@dataclass(frozen=True)
class StoredGrid:
    """A grid as a file holds it.

    position: its place among the grids of the file
    name: the name in the file
    address: a name that no other grid of the file has: 'density', or 'density[1]'
    codec: PLAIN, ZIP or BLOSC
    size: of the grid in memory, in bytes
    start, end: byte positions in the file
    """

    position: int
    name: str
    address: str
    codec: int
    size: int
    start: int
    end: int


def list_grids(source: Input) -> tuple[StoredGrid, ...]:
    """List the grids of a file. Raises VdbError where it is none, or is damaged or truncated."""
    data = whole(source)
    start = bytes(data[:RECOGNISED_BY])
    if not start.startswith((MAGIC, RAW_MAGIC, FILE_MAGIC)):
        if start.startswith(MAGIC[:-1]):
            raise VdbError(f"{source.name}: is truncated, or a NanoVDB file of a later kind")
        raise VdbError(f"{source.name}: {refusal(start, 'a NanoVDB file')}")
    walk = _Walk(data, source.name)
    found = list(walk.raw_grids() if walk.is_raw() else walk.segments())
    counts, seen = Counter(grid[0] for grid in found), Counter[str]()
    grids = []
    for position, (name, codec, size, first, end) in enumerate(found):
        address = f"{name}[{seen[name]}]" if counts[name] > 1 else name
        seen[name] += 1
        grids.append(StoredGrid(position, name, address, codec, size, first, end))
    return tuple(grids)


def near(source: Input) -> Input:
    """Give a file that can be read at no cost, again and again: one that is distant is fetched."""
    return BytesInput(source.name, bytes(whole(source))) if source.distant else source


def whole(source: Input) -> memoryview:
    """Give all bytes of a file. Raises VdbError where it cannot be read."""
    try:
        return source.view() if source.size else memoryview(b"")
    except OSError as error:
        raise VdbError(f"{source.name} cannot be read: {error.strerror or error}") from error


class _Walk:
    """Goes through the bytes of a file, and asks whether they are there before it takes them."""

    def __init__(self, data: memoryview, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def fail(self, reason: str) -> VdbError:
        """Make the error that names this file."""
        return VdbError(f"{self.name}: {reason}")

    def take(self, size: int) -> int:
        """Give the position of the next `size` bytes, and pass over them."""
        if size > len(self.data) - self.at:
            raise self.fail(
                f"ends at byte {len(self.data):,}, but needs {size:,} bytes at {self.at:,}: "
                "truncated or damaged"
            )
        self.at += size
        return self.at - size

    def struct(self, kind: np.dtype[np.void]) -> NDArray[np.void]:
        """Read the next struct: (1,)."""
        return np.frombuffer(self.data, kind, 1, self.take(kind.itemsize))

    def is_raw(self) -> bool:
        """Tell whether the file begins with a grid. Raises VdbError for another version."""
        start = bytes(self.data[:_LEAST_GRID])
        if start.startswith(RAW_MAGIC):
            return True
        (version,) = struct.unpack_from("<I", start.ljust(12, b"\0"), 8)
        if version >> 21 == MAJOR:
            return False
        if len(start) == _LEAST_GRID and start.startswith(MAGIC):
            (grid,) = np.frombuffer(start, GRID, 1)
            if grid["version"] >> 21 == MAJOR and grid["size"] >= _LEAST_GRID:
                return True
        raise self.fail(
            f"is damaged, or not of version {MAJOR} of NanoVDB, which is read: make it anew"
        )

    def raw_grids(self) -> Iterator[tuple[str, int, int, int, int]]:
        """Give grids that lie one behind the other as in memory: see `segments`."""
        while self.at < len(self.data):
            first = self.at
            (grid,) = self.struct(GRID)
            size = int(grid["size"])
            if grid["magic"] not in (MAGIC, RAW_MAGIC) or size < _LEAST_GRID:
                raise self.fail(f"no grid begins at byte {first:,}: damaged")
            self.at = first
            self.take(size)
            yield _text(bytes(grid["name"])), PLAIN, size, first, self.at

    def segments(self) -> Iterator[tuple[str, int, int, int, int]]:
        """Give name, codec, size, start and end of each grid of all segments."""
        while self.at < len(self.data):
            (header,) = self.struct(HEADER)
            codec, version = int(header["codec"]), int(header["version"])
            known = header["magic"] in (MAGIC, FILE_MAGIC) and version >> 21 == MAJOR
            if not known or codec > BLOSC or not header["count"]:
                raise self.fail(f"no segment begins at byte {self.at - HEADER.itemsize:,}: damaged")
            described = [self._description() for _ in range(int(header["count"]))]
            for position, (name, size) in enumerate(described):
                first = self.at
                if size < _LEAST_GRID:
                    raise self.fail(f"grid {position} {name!r} claims {size:,} bytes: damaged")
                self._pass(codec, size)
                packed = self.at - first
                if codec != PLAIN and size > _MOST_RATIO * packed:
                    raise self.fail(
                        f"grid {position} {name!r} claims {size:,} bytes, packed to {packed:,}: "
                        "damaged"
                    )
                yield name, codec, size, first, self.at

    def _description(self) -> tuple[str, int]:
        """Read the name and the size of a grid in memory."""
        (found,) = self.struct(DESCRIPTION)
        start = self.take(int(found["name_size"]))
        return _text(bytes(self.data[start : self.at])), int(found["size"])

    def _pass(self, codec: int, size: int) -> None:
        """Pass over a grid of `size` bytes, which knows best itself how long it is when packed.

        Warp leaves out the lengths of the chunks when it tells how long they are together.
        """
        if codec == PLAIN:
            self.take(size)
            return
        for _ in range(1 if codec == ZIP else -(-size // _CHUNK)):
            (packed,) = _LENGTH.unpack_from(self.data, self.take(_LENGTH.size))
            self.take(packed)


def _text(name: bytes) -> str:
    return name.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def grid_bytes(source: Input, grid: StoredGrid) -> NDArray[np.uint8]:
    """Unpack a grid: uint8 (size,). Raises VdbError where its bytes are damaged."""
    data = whole(source)[grid.start : grid.end]
    try:
        if grid.codec == PLAIN:
            return np.frombuffer(data, np.uint8)
        if grid.codec == ZIP:
            return np.frombuffer(unzip(data[_LENGTH.size :], grid.size), np.uint8)
        return _unpacked(data, grid.size)
    except ValueError as error:
        raise VdbError(
            f"{source.name}: grid {grid.position} {grid.name!r}: {error}: the file is damaged"
        ) from error


def _unpacked(data: memoryview, size: int) -> NDArray[np.uint8]:
    """Unpack chunks of BLOSC. Raises ValueError."""
    whole = np.empty(size, dtype=np.uint8)
    at = 0
    for first in range(0, size, _CHUNK):
        (packed,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        unpack_blosc(data[at : at + packed], whole[first : first + _CHUNK])
        at += packed
    return whole


def write_grid(target: BinaryIO, buffer: NDArray[np.uint8], codec: int) -> int:
    """Write the bytes of a grid, plain or zipped, and give how many these are."""
    start = target.tell()
    if codec == PLAIN:
        target.write(buffer.data)
        return target.tell() - start
    packer = zlib.compressobj(_ZIP_LEVEL)
    target.write(bytes(_LENGTH.size))
    for first in range(0, len(buffer), _PART):
        target.write(packer.compress(buffer[first : first + _PART].data))
    target.write(packer.flush())
    end = target.tell()
    target.seek(start)
    target.write(_LENGTH.pack(end - start - _LENGTH.size))
    target.seek(end)
    return end - start


def header_of(codec: int) -> bytes:
    """Give the header of a segment of one grid."""
    header = np.zeros(1, HEADER)
    header["magic"], header["version"] = MAGIC, VERSION
    header["count"], header["codec"] = 1, codec
    return header.tobytes()


def description_of(
    grid: NDArray[np.void],
    tree: NDArray[np.void],
    root: NDArray[np.void],
    name: bytes,
    packed: int,
    codec: int,
) -> bytes:
    """Give the description of a grid and its name, as they stand in a segment.

    grid, tree, root: structs (1,) of the grid
    name: the whole name
    packed: bytes of the grid in the file
    """  # fmt: skip
    found = np.zeros(1, DESCRIPTION)
    for key in ("size", "grid_type", "grid_class", "world_box", "voxel_size", "version"):
        found[key] = grid[key]
    found["packed"], found["codec"], found["name_size"] = packed, codec, len(name) + 1
    found["key"], found["voxels"] = name_key(name), tree["voxels"]
    found["index_box"], found["tiles"] = root["box"], tree["tiles"]
    found["nodes"][:, :3], found["nodes"][:, 3] = tree["nodes"], 1
    return found.tobytes() + name + b"\0"


def name_key(name: bytes) -> int:
    """Give the number by which readers look for a name: `stringHash` of IO.h."""
    key = 0
    for byte in name:
        key = (key * 67 + byte + (key >> 56)) & (1 << 64) - 1
    return key


def checksum_of_head(buffer: NDArray[np.uint8], end: int) -> int:
    """Give the checksum of a grid that checks grid, tree and root alone, as is NanoVDB's default.

    Programs disagree on how a grid of version 32.6 or below is checked as a whole.

    end: where the root with its tiles ends
    """
    return zlib.crc32(buffer[CHECKED_FROM:end].data) | NO_CRC << 32
