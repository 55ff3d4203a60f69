"""The fixed parts of an .inrv file: header, chunk table, limits. See format_spec.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = b"\x89INRV\r\n\x1a"
MAJOR, MINOR = 1, 4

# Magic and version stand in the same place in every major version, so that any reader can name the version it lacks.
VERSION = struct.Struct("<8sHH")
# magic, major, minor, chunk count, file size, manifest's compression, stored size, raw size, CRC-32 of manifest, of table
HEADER = struct.Struct("<8sHHIQIIIII")
HEADER_CRC = struct.Struct("<I")
HEADER_SIZE = HEADER.size + HEADER_CRC.size

# type, flags, compression, reserved, offset, stored size, raw size, CRC-32 of the stored bytes, reserved
ENTRY = struct.Struct("<4sBBHQQQII")
CRITICAL = 1
STORED, ZSTD, ZSTD_DICTIONARY = 0, 1, 2
COMPRESSION_MINOR = {STORED: 0, ZSTD: 0, ZSTD_DICTIONARY: 2}  # the minor version that each came with

# Every chunk type of this version: whether a reader must know it; and the minor version it came with.
CHUNK_FLAGS = {
    "TOPO": CRITICAL,
    "EXAC": CRITICAL,
    "FELD": CRITICAL,
    "REFS": 0,
    "MASK": CRITICAL,
    "KEEP": CRITICAL,
    "FREQ": CRITICAL,
    "GRID": CRITICAL,
    "CODE": CRITICAL,
    "INAC": CRITICAL,
    "TREE": CRITICAL,
}
FIRST_MINOR = {
    "TOPO": 0,
    "EXAC": 0,
    "FELD": 0,
    "REFS": 0,
    "MASK": 1,
    "KEEP": 1,
    "GRID": 1,
    "INAC": 2,
    "TREE": 2,
    "CODE": 4,
    "FREQ": 4,
}


@dataclass(frozen=True)
class Limits:
    """What a reader accepts before it allocates or computes; a caller who trusts the source may raise them.

    manifest_bytes  raw size of the manifest           chunks  entries of the chunk table
    chunk_bytes     raw size of one chunk              grids   coded and carried grids together
    exact_bytes     raw sizes of the chunks of exact values (EXAC, INAC, KEEP, FREQ, GRID), each as often as it is referred to
    leaves          8^3 leaves and tiles of all topologies
    weights         numbers of the network, frequencies included
    values          float32 values that one call decodes, or fills a box with
    work            active leaf voxels times weights of one call
    """

    manifest_bytes: int = 1 << 24
    chunks: int = 1 << 16
    chunk_bytes: int = 1 << 30
    grids: int = 4096
    exact_bytes: int = 1 << 33
    leaves: int = 1 << 22
    weights: int = 1 << 26
    values: int = 1 << 31
    work: int = 1 << 53

    @property
    def memory(self) -> int:
        """Bytes that opening a file and one call to decode it take at most, on the CPU, beside the file's own bytes."""
        payloads = 4 * self.chunk_bytes + 3 * self.exact_bytes
        decoding = 4096 * self.leaves + 20 * self.weights + 48 * self.values
        return 48 * self.manifest_bytes + payloads + decoding + (1 << 28)


DEFAULT_LIMITS = Limits()
