"""The constants of an .inrv file, and the limits of what a reader accepts.

format_spec.md explains everything here. A number of the container stands in this file alone.
"""

from __future__ import annotations

import numbers
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from inrv.errors import OptionError

MAGIC = b"\x89INRV\r\n\x1a"
SEQUENCE_MAGIC = b"\x89INRS\r\n\x1a"  # of a file of groups, each of which is a container
MAJOR, MINOR = 2, 0

# Magic and version stand in the same place in every major version, so that any reader can name the
# version it lacks.
VERSION = struct.Struct("<8sHH")
# Magic, major, minor, number of chunks, size of the file; of the manifest: compression, stored
# size, raw size, CRC-32 of the stored bytes; CRC-32 of the chunk table.
HEADER = struct.Struct("<8sHHIQIIIII")
HEADER_CRC = struct.Struct("<I")
HEADER_SIZE = HEADER.size + HEADER_CRC.size

# Type, flags, compression, reserved, offset, stored size, raw size, CRC-32 of the stored bytes,
# reserved.
ENTRY = struct.Struct("<4sBBHQQQII")
CRITICAL = 1  # the flag of a chunk that a reader must know

STORED, ZSTD = 0, 1  # compressions: none; one zstd frame without its magic number, by dictionary 1
COMPRESSIONS = (STORED, ZSTD)

TOPOLOGY = "TOPO"
INACTIVE = "INAC"
EXACT = "EXAC"
FREQUENT = "FREQ"
CODES = "CODE"
MOTION = "MOVE"
BITS = "BITS"  # raw bytes, read part by part
NETWORK = "NETW"
SAMPLES = "SAMP"
PASSTHROUGH = "PASS"

# The flags of every chunk type of this version.
CHUNK_FLAGS = {
    TOPOLOGY: CRITICAL,
    INACTIVE: CRITICAL,
    EXACT: CRITICAL,
    FREQUENT: CRITICAL,
    CODES: CRITICAL,
    MOTION: CRITICAL,
    BITS: CRITICAL,
    NETWORK: CRITICAL,
    SAMPLES: 0,
    PASSTHROUGH: CRITICAL,
}


class Typed(Protocol):
    """Anything that has the type of a chunk."""

    @property
    def type(self) -> str:
        """Four letters."""


AnyChunk = TypeVar("AnyChunk", bound=Typed)


def in_file_order(chunks: Sequence[AnyChunk]) -> list[tuple[int, AnyChunk]]:
    """Return numbers and chunks in the order in which they lie in a file: BITS chunks come last.

    What a reader needs first then lies at the head of the file.
    """
    return sorted(enumerate(chunks), key=lambda numbered: numbered[1].type == BITS)


# The keys of a grid that hold the number of a chunk, and the type of that chunk.
GRID_CHUNKS = {
    "topology": TOPOLOGY,
    "inactive_values": INACTIVE,
    "frequent_values": FREQUENT,
    "exact_values": EXACT,
    "outliers": EXACT,
}

MOST_PARTS = 1 << 16  # PASS chunks of one grid
OLDEST_VDB, NEWEST_VDB = 222, 225  # versions of the .vdb files that a manifest may name
ACCURACY = 1e-4  # how far a decoder may be from the reference: the accuracy class


@dataclass(frozen=True)
class Limits:
    """What a reader accepts before it allocates or computes; a caller may raise it for a file.

    Raises OptionError where a limit is not a whole number >= 0.

    manifest_bytes: raw size of the manifest
    chunks: entries of the chunk table
    chunk_bytes: raw size of one chunk; of a BITS chunk, of one part
    grids: coded grids and passthrough grids together
    frames: of a sequence
    exact_bytes: raw sizes of INAC, EXAC, FREQ and PASS chunks, each once for every reference
    leaves: leaves of 8^3 voxels and tiles of all topologies
    weights: numbers of a network, its frequencies included
    values: float32 values that one call decodes, or fills a box with
    work: active leaf voxels times weights of one call
    """

    manifest_bytes: int = 1 << 24
    chunks: int = 1 << 16
    chunk_bytes: int = 1 << 30
    grids: int = 4096
    frames: int = 1 << 20
    exact_bytes: int = 1 << 33
    leaves: int = 1 << 22
    weights: int = 1 << 26
    values: int = 1 << 31
    work: int = 1 << 53

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, numbers.Integral) or value < 0:
                raise OptionError(f"the limit {name}={value!r} is not a whole number >= 0")

    @property
    def memory(self) -> int:
        """Bytes of memory, on the CPU and beside the file's own bytes, that a file takes at most.

        It is opened and decoded by one call.
        """
        payloads = 4 * self.chunk_bytes + 3 * self.exact_bytes
        decoding = 4096 * self.leaves + 20 * self.weights + 48 * self.values
        return 48 * self.manifest_bytes + payloads + decoding + (1 << 28)


DEFAULT_LIMITS = Limits()
