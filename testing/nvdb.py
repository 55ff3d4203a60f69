"""NanoVDB files made by hand, and read by hand: nothing here knows how the library does it."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.files.nanovdb.structs import GRID, READ, TREE, Types

LEAF, LOWER, UPPER = 3, 7, 12  # log2 of the edges of nodes
HEADER, DESCRIPTION = 16, 176  # bytes
NAME_SIZE_AT = 136  # in a description


def one_leaf(number: int, values: NDArray[Any], active: NDArray[np.bool_], **told: Any) -> bytes:
    """A grid as it lies in memory, of a single leaf at (-8, 0, 8), whose background is 0.

    number: of the type
    values: numbers (512, C), or codes (512,) for types of codes
    told: fields of the leaf
    """
    kind = READ[number]
    types = kind.types
    bits = told.pop("bits", kind.bits)
    codes = b""
    if bits is not None:
        rows = np.unpackbits(values.astype("<u2").view(np.uint8).reshape(-1, 2), axis=1,
                             bitorder="little")[:, :bits]  # fmt: skip
        codes = np.packbits(rows.reshape(-1), bitorder="little").tobytes()
    parts = [types.root, types.tile, types.upper, types.lower, types.leaf]
    starts = np.cumsum([GRID.itemsize + TREE.itemsize, *(part.itemsize for part in parts)]).tolist()
    buffer = np.zeros(starts[-1] + (len(codes) if kind.bits == 0 else 0), np.uint8)

    def at(part: np.dtype[np.void], place: int) -> NDArray[np.void]:
        return buffer[place : place + part.itemsize].view(part)

    grid, tree = at(GRID, 0), at(TREE, GRID.itemsize)
    root, tile, upper, lower, leaf = map(at, parts, starts[:-1])
    grid["magic"], grid["version"], grid["size"] = b"NanoVDB0", 32 << 21 | 4 << 10, len(buffer)
    grid["checksum"], grid["count"], grid["name"] = 2**64 - 1, 1, b"leaf"
    grid["mat_d"], grid["grid_class"], grid["grid_type"] = np.eye(3), 2, number
    tree["offsets"][:, 3] = starts[0] - GRID.itemsize
    root["size"], tile["key"] = 1, 0xFFFFF << 42  # the node at (-4096, 0, 0)
    tile["child"] = starts[2] - starts[0]
    for node, below, entry in ((upper, 3, 31 << 10), (lower, 4, 15 << 8 | 1)):
        node["children"][:, entry >> 3] = 1 << (entry & 7)
        node["table"]["child"][:, entry] = starts[below] - starts[below - 1]
    leaf["box"] = (-8, 0, 8)
    leaf["values"] = np.packbits(active, bitorder="little")
    for name, value in told.items():
        leaf[name] = value
    if kind.bits is None:
        leaf["voxels"] = values
    elif kind.bits:
        leaf["codes"] = np.frombuffer(codes, np.uint8)
    else:
        buffer[starts[-1] :] = np.frombuffer(codes, np.uint8)
    return buffer.tobytes()


def segment(*grids: tuple[str, bytes], zipped: bool = False, version: int = 4) -> bytes:
    """A segment of grids by name."""
    packed = [
        struct.pack("<Q", len(data := zlib.compress(grid))) + data if zipped else grid
        for _, grid in grids
    ]
    head = struct.pack("<8sIHH", b"NanoVDB0", 32 << 21 | version << 10, len(grids), int(zipped))
    for (name, grid), data in zip(grids, packed, strict=True):
        described = bytearray(DESCRIPTION)
        struct.pack_into("<QQ", described, 0, len(grid), len(data))
        struct.pack_into("<I", described, NAME_SIZE_AT, len(name) + 1)
        head += bytes(described) + name.encode() + b"\0"
    return head + b"".join(packed)


def grids_of(file: bytes) -> list[tuple[str, NDArray[np.uint8]]]:
    """Name and bytes in memory of the grids of a file: a reader that shares nothing with ours."""
    found, at = [], 0
    while at < len(file):
        magic, _, count, codec = struct.unpack_from("<8sIHH", file, at)
        assert magic == b"NanoVDB0" and codec in (0, 1)
        at += HEADER
        described = []
        for _ in range(count):
            size, packed = struct.unpack_from("<QQ", file, at)
            (length,) = struct.unpack_from("<I", file, at + NAME_SIZE_AT)
            name = file[at + DESCRIPTION : at + DESCRIPTION + length - 1].decode()
            described.append((name, size, packed))
            at += DESCRIPTION + length
        for name, size, packed in described:
            data = file[at : at + packed]
            if codec:
                assert struct.unpack_from("<Q", data)[0] == packed - 8
                data = zlib.decompress(data[8:])
            assert len(data) == size
            found.append((name, np.frombuffer(data, np.uint8)))
            at += packed
    return found


def look_up(buffer: NDArray[np.uint8], voxel: tuple[int, int, int], components: int) -> Any:
    """The value of a voxel, and whether it is active, by the rules of PNanoVDB.h."""

    def struct(kind: np.dtype[np.void], place: int) -> Any:
        return np.frombuffer(buffer, kind, 1, place)[0]

    types = Types(components)
    root_at = GRID.itemsize + int(struct(TREE, GRID.itemsize)["offsets"][3])
    root = struct(types.root, root_at)
    x, y, z = (np.uint32(number & 0xFFFFFFFF) for number in voxel)
    key = int(z >> UPPER) | int(y >> UPPER) << 21 | int(x >> UPPER) << 42
    place = root_at + types.root.itemsize
    tiles = np.frombuffer(buffer, types.tile, int(root["size"]), place)
    (number,) = np.flatnonzero(tiles["key"] == key) if (tiles["key"] == key).any() else (-1,)
    if number < 0:
        return root["background"], False
    tile = tiles[number]
    if not tile["child"]:
        return tile["value"], bool(tile["state"])
    at = root_at + int(tile["child"])
    for kind, bits, table_bits in ((types.upper, LOWER, 5), (types.lower, LEAF, 4)):
        node = struct(kind, at)
        own = [number >> bits & (1 << table_bits) - 1 for number in voxel]
        entry = own[0] << 2 * table_bits | own[1] << table_bits | own[2]
        if not node["children"][entry >> 3] >> (entry & 7) & 1:
            active = node["values"][entry >> 3] >> (entry & 7) & 1
            return node["table"][entry]["value"], bool(active)
        at += int(node["table"][entry]["child"])
    leaf = struct(types.leaf, at)
    entry = (voxel[0] & 7) << 6 | (voxel[1] & 7) << 3 | voxel[2] & 7
    assert all(number & ~7 == low & ~7 for number, low in zip(voxel, leaf["box"], strict=True))
    return leaf["voxels"][entry], bool(leaf["values"][entry >> 3] >> (entry & 7) & 1)
