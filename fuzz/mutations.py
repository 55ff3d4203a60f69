"""Cases: hostile .inrv files, each made from a seed file and two numbers alone."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from fuzz.payloads import (
    build_tensors,
    change_arrays,
    change_bytes,
    change_frame,
    parse_tensors,
    store,
)
from fuzz.trees import HostileTree
from inrv.container import Container, Limits
from inrv.errors import InrvError
from inrv.grids import Topology
from inrv.storage.topology import StoredTopologies
from testing.rebuild import File, Part, payload, take_apart

TYPES = (
    b"TOPO",
    b"INAC",
    b"EXAC",
    b"FREQ",
    b"CODE",
    b"BITS",
    b"NETW",
    b"SAMP",
    b"PASS",
    b"NOTE",
    b"topo",
    b"REF5",
    b"\xe9\xe9\xe9\xe9",
    b"\0\0\0\0",
)
SIZES = (
    0,
    1,
    2,
    7,
    48,
    255,
    500,
    4096,
    1 << 16,
    (1 << 16) + 1,
    1 << 24,
    (1 << 24) + 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
)
WIDE = (*SIZES, 1 << 32, (1 << 32) + 1, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
FIELDS = (
    "major",
    "minor",
    "chunks",
    "size",
    "compression",
    "stored",
    "raw",
    "manifest_crc",
    "table_crc",
)


@dataclass(frozen=True)
class Seed:
    """A good file, taken apart once. `manifest` is its JSON, `payloads` the raw chunks."""

    name: str
    data: bytes
    file: File
    manifest: bytes
    payloads: tuple[bytes, ...]


def seed_of(name: str, data: bytes) -> Seed:
    """The file `data`, ready to be mutated."""
    file = take_apart(data)
    return Seed(
        name, data, file, payload(file.manifest), tuple(payload(part) for part in file.chunks)
    )


def head_case(seed: Seed, random: Random) -> bytes:
    """Header, table and manifest mutated; checksums mostly right."""
    draft = Draft(seed, random)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        draft.do(HEAD_CHANGES)
    return draft.to_bytes()


def decode_case(seed: Seed, random: Random) -> bytes:
    """Payloads above all; counts in the manifest mostly follow what the topology now holds."""
    draft = Draft(seed, random)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        draft.do(DECODE_CHANGES)
    if random.random() < 0.8:
        draft.recount()
    return draft.to_bytes()


class Draft:
    """A seed's file while it is changed."""

    def __init__(self, seed: Seed, random: Random) -> None:
        self.seed, self.random = seed, random
        self.file = File(
            copy(seed.file.manifest),
            [copy(part) for part in seed.file.chunks],
            dict(seed.file.header),
        )
        self.raw: list[bytes | None] = list(seed.payloads)  # None: no longer known
        self._tree: HostileTree | None = None
        self._text: bytes | None = None

    def do(self, changes: tuple[Callable[[Draft], None], ...]) -> None:
        """One change, the first ones of the list more often."""
        changes[int(self.random.random() ** 1.5 * len(changes))](self)

    @property
    def tree(self) -> HostileTree:
        """The manifest, to be changed."""
        if self._tree is None:
            self._tree = HostileTree(json.loads(self.seed.manifest))
        return self._tree

    def to_bytes(self) -> bytes:
        """The file. Now and then its last bytes are changed without repair."""
        self._write_manifest()
        _wrap(self.file)
        data = self.file.to_bytes()
        return change_bytes(data, self.random) if self.random.random() < 0.03 else data

    def _write_manifest(self) -> None:
        text = self._text
        if text is None and self._tree is not None:
            text = self._tree.to_bytes(self.random)
        if text is not None:
            store(self.file.manifest, text, self.random)

    def change_manifest(self) -> None:
        """A value of the manifest."""
        self.tree.change(self.random)

    def point_elsewhere(self) -> None:
        """Another chunk number."""
        if grids := self._grids():
            key = self.random.choice(
                (
                    "topology",
                    "inactive_values",
                    "frequent_values",
                    "exact_values",
                    "outliers",
                    "topology_of",
                )
            )
            self.random.choice(grids)[key] = self.random.choice(
                (None, *range(len(self.file.chunks) + 1))
            )

    def change_text(self) -> None:
        """Bytes of the manifest's JSON."""
        text = self._tree.to_bytes(self.random) if self._tree else self.seed.manifest
        self._text = change_bytes(text, self.random)

    def change_header(self) -> None:
        """A field of the header."""
        name = self.random.choice(FIELDS)
        self.file.header[name] = self.random.choice(WIDE if name == "size" else SIZES)

    def change_entry(self) -> None:
        """A field of the chunk table."""
        part = self._part()
        match self.random.randrange(8):
            case 0:
                part.raw = self.random.choice((part.raw + 1, part.raw - 1, *WIDE))
            case 1:
                part.compression = self.random.choice((0, 1, 1, 1, 2, 3, 255))
            case 2:
                part.flags = self.random.choice((0, 1, 2, 3, 128, 255))
            case 3:
                part.offset = self.random.choice((len(self.seed.data) - len(part.stored), *WIDE))
            case 4:
                part.spare = self.random.choice((1, 255, 65535))
            case 5:
                part.reserved = self.random.choice((1, 1 << 31))
            case _:
                part.type = self.random.choice(TYPES)

    def move_chunks(self) -> None:
        """Chunks swapped, repeated, removed or added."""
        chunks, raw, random = self.file.chunks, self.raw, self.random
        part = self._part()
        at = chunks.index(part)
        match random.randrange(5):
            case 0:
                other = random.randrange(len(chunks))
                chunks[at], chunks[other] = chunks[other], chunks[at]
                raw[at], raw[other] = raw[other], raw[at]
            case 1:
                del chunks[at], raw[at]
            case 2:
                count = random.choice((1, 1, 3, 200))
                chunks[at:at] = [copy(part) for _ in range(count)]
                raw[at:at] = [raw[at]] * count
            case 3:
                chunks.append(Part(b"note", 4, 0, random.choice(TYPES), random.choice((0, 0, 1))))
                raw.append(b"note")
            case _:
                self.file.tail = random.choice((b"\0", b"tail", part.stored[:100]))

    def change_frame(self) -> None:
        """The compression of a chunk or of the manifest."""
        if self.random.random() < 0.5 and self._tree is None:
            change_frame(self.file.manifest, self.random)
            return
        part = self._part()
        change_frame(part, self.random)
        self.raw[self.file.chunks.index(part)] = None

    def change_tensors(self) -> None:
        """Tensors of a chunk; the bytes of one that holds none."""
        at = self._known()
        arrays = None if at is None else parse_tensors(self.raw[at] or b"")
        if at is None or arrays is None:
            self.change_payload()
            return
        for _ in range(self.random.choice((1, 1, 2, 3))):
            change_arrays(arrays, self.random)
        self._store(at, build_tensors(arrays))

    def change_tensor_header(self) -> None:
        """The JSON of a safetensors file."""
        at = self._known()
        arrays = None if at is None else parse_tensors(self.raw[at] or b"")
        if at is not None and arrays is not None:
            self._store(at, build_tensors(arrays, self.random))

    def change_payload(self) -> None:
        """Bytes of a payload."""
        at = self._known()
        if at is not None:
            self._store(at, change_bytes(self.raw[at] or b"", self.random))

    def recount(self) -> None:
        """Set what each grid says of its topology, where that can be told."""
        for grid in self._grids():
            number = grid.get("topology")
            if (
                isinstance(number, int)
                and 0 <= number < len(self.raw)
                and self.raw[number] is not None
            ):
                found = self._topology(number)
                if found is not None:
                    grid["leaf_voxels"] = found.leaf_voxel_count
                    grid["active_voxels"] = found.active_voxel_count
                    box = found.box
                    grid["box"] = None if box is None else [list(box.lower), list(box.upper)]

    def _topology(self, number: int) -> Topology | None:
        """Return what the library decodes of a TOPO chunk, where it does."""
        try:
            found = StoredTopologies(cast(Container, _Drafted(self)))[number]
            found.leaf_masks  # noqa: B018  (they are decoded when they are asked for)
            return found
        except InrvError:
            return None

    def _grids(self) -> list[dict[str, Any]]:
        root = self.tree.root["root"]
        grids = root.get("grids") if isinstance(root, dict) else None
        return [grid for grid in grids if isinstance(grid, dict)] if isinstance(grids, list) else []

    def _store(self, at: int, data: bytes) -> None:
        self.raw[at] = data
        store(self.file.chunks[at], data, self.random)

    def _known(self) -> int | None:
        known = [number for number, data in enumerate(self.raw) if data is not None]
        return self.random.choice(known) if known else None

    def _part(self) -> Part:
        if not self.file.chunks:
            self.file.chunks.append(Part(b"note", 4, 0, b"NOTE", 0))
            self.raw.append(b"note")
        return self.random.choice(self.file.chunks)


class _Drafted:
    """A draft as the container it is going to be, as far as topologies are read from it."""

    def __init__(self, draft: Draft) -> None:
        self.entries = [
            SimpleNamespace(type=part.type.decode("latin-1")) for part in draft.file.chunks
        ]
        self.payloads = draft.raw
        self.limits = Limits(leaves=1 << 10)

    def chunk(self, number: int) -> bytes:
        """The payload of a chunk."""
        return self.payloads[number] or b""


def _wrap(file: File) -> None:
    """Numbers to the widths of their fields."""
    for part in file.chunks:
        part.raw %= 1 << 64
        if part.offset is not None:
            part.offset %= 1 << 64
    file.manifest.raw %= 1 << 32
    for name, bits in (
        ("major", 16),
        ("minor", 16),
        ("raw", 32),
        ("stored", 32),
        ("chunks", 32),
        ("compression", 32),
    ):
        if name in file.header:
            file.header[name] %= 1 << bits


def raw_case(seed: Seed, random: Random) -> bytes:
    """Bytes of the file, nothing repaired but, now and then, the header's checksum."""
    data = bytearray(change_bytes(seed.data, random))
    if random.random() < 0.3 and len(data) >= 48:
        data[44:48] = zlib.crc32(data[:44]).to_bytes(4, "little")
    return bytes(data)


HEAD_CHANGES = (
    Draft.change_manifest,
    Draft.change_manifest,
    Draft.point_elsewhere,
    Draft.change_entry,
    Draft.change_text,
    Draft.change_header,
    Draft.move_chunks,
    Draft.change_frame,
)
DECODE_CHANGES = (
    Draft.change_tensors,
    Draft.change_tensors,
    Draft.change_payload,
    Draft.change_tensor_header,
    Draft.change_manifest,
    Draft.point_elsewhere,
    Draft.move_chunks,
    Draft.change_frame,
)
