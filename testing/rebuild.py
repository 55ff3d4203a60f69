"""Files that are wrong in one place and right in all others: every checksum is made to hold again."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import zstandard

from spec.reference.read import DICTIONARY as DICTIONARY_FILE

HEADER = struct.Struct("<8sHHIQIIIIII")
ENTRY = struct.Struct("<4sBBHQQQII")
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
DICTIONARY = zstandard.ZstdCompressionDict(DICTIONARY_FILE.read_bytes())


@dataclass
class Part:
    """Bytes as they are stored, and what the file says of them."""

    stored: bytes
    raw: int
    compression: int = 0
    type: bytes = b""
    flags: int = 1
    offset: int | None = None
    spare: int = 0
    reserved: int = 0


@dataclass
class File:
    """A file in parts. `header` replaces fields of the header, by name, after everything else is computed."""

    manifest: Part
    chunks: list[Part]
    header: dict[str, Any] = field(default_factory=dict)
    tail: bytes = b""
    minor: int = 0

    def set_manifest(self, raw: bytes) -> None:
        """Another manifest, stored without compression."""
        self.manifest = Part(raw, len(raw))

    def edit_manifest(self, path: str, value: Any) -> None:
        """Replace the value at 'grids.0.name', say; `...` removes the key."""
        tree = json.loads(payload(self.manifest))
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
        place = tree
        for key in parents:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        self.set_manifest(json.dumps(tree).encode())

    def add(self, kind: bytes, flags: int, data: bytes) -> None:
        """Append a chunk, stored without compression."""
        self.chunks.append(Part(data, len(data), 0, kind, flags))

    def to_bytes(self) -> bytes:
        """The file, all its checksums right."""
        offset = HEADER.size + ENTRY.size * len(self.chunks) + len(self.manifest.stored)
        table = b""
        for part in self.chunks:
            at = offset if part.offset is None else part.offset
            sizes = (at, len(part.stored), part.raw, zlib.crc32(part.stored), part.reserved)
            table += ENTRY.pack(part.type, part.flags, part.compression, part.spare, *sizes)
            offset += len(part.stored)
        values: dict[str, Any] = {
            "magic": b"\x89INRV\r\n\x1a",
            "major": 1,
            "minor": self.minor,
            "chunks": len(self.chunks),
            "size": offset + len(self.tail),
            "compression": self.manifest.compression,
            "stored": len(self.manifest.stored),
            "raw": self.manifest.raw,
            "manifest_crc": zlib.crc32(self.manifest.stored),
            "table_crc": zlib.crc32(table),
        } | self.header
        head = HEADER.pack(*values.values(), 0)[:-4]
        stored = b"".join(part.stored for part in self.chunks)
        return head + struct.pack("<I", zlib.crc32(head)) + table + self.manifest.stored + stored + self.tail


def take_apart(data: bytes) -> File:
    """A valid file in parts; `take_apart(data).to_bytes() == data`."""
    _, _, minor, count, _, compression, stored, raw, _, _, _ = HEADER.unpack_from(data)
    start = HEADER.size + ENTRY.size * count
    chunks = []
    for number in range(count):
        kind, flags, how, _, offset, size, whole, _, _ = ENTRY.unpack_from(data, HEADER.size + ENTRY.size * number)
        chunks.append(Part(data[offset : offset + size], whole, how, kind, flags))
    return File(Part(data[start : start + stored], raw, compression), chunks, minor=minor)


def payload(part: Part) -> bytes:
    """The raw bytes of a part."""
    if part.compression == 2:
        return zstandard.ZstdDecompressor(dict_data=DICTIONARY).decompress(FRAME_MAGIC + part.stored)
    return zstandard.ZstdDecompressor().decompress(part.stored) if part.compression else part.stored


def tensor_file(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
