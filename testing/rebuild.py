"""Files that are wrong in one place and right in all others: every checksum holds again."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

MAJOR = 2
HEADER = struct.Struct("<8sHHIQIIIIII")
ENTRY = struct.Struct("<4sBBHQQQII")
HEAD = struct.Struct("<8sHHI")  # of a sequence, before its slots
SLOT = struct.Struct("<QIII")
SLOTS = HEAD.size, HEAD.size + SLOT.size + 4
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
CONTAINER = Path(__file__).resolve().parents[1] / "codec" / "inrv" / "container"
DICTIONARY = zstandard.ZstdCompressionDict((CONTAINER / "dictionary-1.bin").read_bytes())


def compressed(data: bytes, level: int = 1, **parameters: Any) -> bytes:
    """Return `data` as a file holds it with compression 1."""
    compressor = zstandard.ZstdCompressor(level=level, dict_data=DICTIONARY, **parameters)
    return compressor.compress(data).removeprefix(FRAME_MAGIC)


@dataclass
class Part:
    """Bytes as they are stored, and what the file says of them.

    stored: bytes in the file
    raw: stated size of the payload
    compression: stated compression
    type: four letters of a chunk
    flags: of a chunk
    offset: stated place, None for the right one
    spare: the first reserved number of a table's entry
    reserved: the second
    """

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
    """A file in parts.

    manifest: the manifest
    chunks: the chunks
    header: fields of the header by name, which replace the right ones
    tail: bytes behind the last chunk
    """

    manifest: Part
    chunks: list[Part]
    header: dict[str, Any] = field(default_factory=dict)
    tail: bytes = b""

    def set_manifest(self, raw: bytes) -> None:
        """Set another manifest, stored without compression."""
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
        """Return the file, all its checksums right."""
        offset = HEADER.size + ENTRY.size * len(self.chunks) + len(self.manifest.stored)
        entries = [b""] * len(self.chunks)
        in_file_order = sorted(enumerate(self.chunks), key=lambda item: item[1].type == b"BITS")
        for number, part in in_file_order:
            at = offset if part.offset is None else part.offset
            sizes = (at, len(part.stored), part.raw, zlib.crc32(part.stored), part.reserved)
            about = part.type, part.flags, part.compression, part.spare
            entries[number] = ENTRY.pack(*about, *sizes)
            offset += len(part.stored)
        table = b"".join(entries)
        values: dict[str, Any] = {
            "magic": b"\x89INRV\r\n\x1a",
            "major": MAJOR,
            "minor": 0,
            "chunks": len(self.chunks),
            "size": offset + len(self.tail),
            "compression": self.manifest.compression,
            "stored": len(self.manifest.stored),
            "raw": self.manifest.raw,
            "manifest_crc": zlib.crc32(self.manifest.stored),
            "table_crc": zlib.crc32(table),
        } | self.header
        head = HEADER.pack(*values.values(), 0)[:-4]
        stored = b"".join(part.stored for _, part in in_file_order)
        check = struct.pack("<I", zlib.crc32(head))
        return head + check + table + self.manifest.stored + stored + self.tail


def take_apart(data: bytes) -> File:
    """Return a valid file in parts; `take_apart(data).to_bytes() == data`."""
    _, _, _, count, _, compression, stored, raw, _, _, _ = HEADER.unpack_from(data)
    start = HEADER.size + ENTRY.size * count
    chunks = []
    for number in range(count):
        entry = ENTRY.unpack_from(data, HEADER.size + ENTRY.size * number)
        kind, flags, how, _, offset, size, whole, _, _ = entry
        chunks.append(Part(data[offset : offset + size], whole, how, kind, flags))
    return File(Part(data[start : start + stored], raw, compression), chunks)


def payload(part: Part) -> bytes:
    """Return the raw bytes of a part."""
    if not part.compression:
        return part.stored
    decompressor = zstandard.ZstdDecompressor(dict_data=DICTIONARY)
    return decompressor.decompress(FRAME_MAGIC + part.stored)


def uncompressed(data: bytes) -> bytes:
    """Return a valid file with every part of it stored as it is."""
    file = take_apart(data)
    for part in (file.manifest, *file.chunks):
        part.stored, part.compression = payload(part), 0
    return file.to_bytes()


def take_sequence_apart(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return the last record of the index of a valid sequence, and the groups that it has."""
    offset, stored, raw, _ = max(SLOT.unpack_from(data, start) for start in SLOTS)
    index = Part(data[offset : offset + stored], raw, int(stored < raw))
    tree = json.loads(payload(index))
    places = [(group["offset"], group["size"]) for group in tree["groups"]]
    return tree, [data[offset : offset + size] for offset, size in places]


def joined(index: Part, groups: Iterable[bytes]) -> bytes:
    """Return a sequence of an index and of groups, which lie before it, one behind the other."""
    held = b"".join(groups)
    offset = SLOTS[1] + SLOT.size + 4 + len(held)
    slot = SLOT.pack(offset, len(index.stored), index.raw, zlib.crc32(index.stored))
    slot += struct.pack("<I", zlib.crc32(slot))
    return HEAD.pack(b"\x89INRS\r\n\x1a", MAJOR, 0, 0) + 2 * slot + held + index.stored


def set_places(tree: dict[str, Any], groups: Iterable[bytes]) -> None:
    """Let an index have groups where `joined` puts them."""
    offset = SLOTS[1] + SLOT.size + 4
    for entry, held in zip(tree["groups"], groups, strict=True):
        entry["offset"], entry["size"] = offset, len(held)
        offset += len(held)


def uncompressed_sequence(data: bytes) -> bytes:
    """Return a valid sequence with an index of one record, with every part stored as it is."""
    tree, groups = take_sequence_apart(data)
    groups = [uncompressed(group) for group in groups]
    set_places(tree, groups)
    raw = json.dumps(tree).encode()
    return joined(Part(raw, len(raw)), groups)


def tensor_file(header: Any, data: bytes = b"") -> bytes:
    """Return a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
