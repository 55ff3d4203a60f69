"""OpenVDB itself, as a second opinion on what we read and write; .vdb files made by hand."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inrv import Grid, MetaValue
from inrv.files.vdb import list_grids
from inrv.files.vdb.header import MAGIC, encode_metadata, encode_transform, pack_string
from inrv.grids import Metadata, Transform
from testing.lattice import bits

HAS_POSITIONS = 20  # where a file says whether it knows where its grids lie
# What every file gives back as it was, beside voxels and their values.
PROPERTIES = (
    "name",
    "value_type",
    "transform",
    "grid_class",
    "vector_type",
    "saved_as_half",
    "metadata",
)


def load_openvdb() -> Any:
    """The module `openvdb` or `pyopenvdb`; the test is skipped where there is none."""
    if find_spec("openvdb") is not None:
        return pytest.importorskip("openvdb")
    if int(np.__version__.split(".")[0]) >= 2:
        pytest.skip("pyopenvdb is built for NumPy 1 and would crash with 2")
    return pytest.importorskip(
        "pyopenvdb", reason="OpenVDB's Python bindings, the referee, are not installed"
    )


def assert_same_bits(found: Grid, expected: Grid, but: Sequence[str] = ()) -> None:
    """Equal in every property but those named, and in the bits of every voxel."""
    for name in PROPERTIES:
        assert name in but or getattr(found, name) == getattr(expected, name), name
    assert found.topology.equal(expected.topology)
    tiles = found.topology.find_tiles(expected.topology.tile_origins)
    assert np.array_equal(bits(found.tile_values[tiles]), bits(expected.tile_values))
    assert np.array_equal(bits(found.background), bits(expected.background))
    assert np.array_equal(bits(found.values), bits(expected.values))
    assert np.array_equal(found.inactive.places, expected.inactive.places)
    assert np.array_equal(bits(found.inactive.values), bits(expected.inactive.values))


@dataclass
class HandTree:
    """A tree of one leaf and two tiles.

    The leaf lies at (0, 0, 0), an inactive tile of 128^3 at (0, 0, 128), an active one of 4096^3 at
    (4096, 0, 0).

    number: struct's letter of a number
    half: whether 'e' takes its place in buffers
    compression: 1 ZIP, 2 active values alone
    leaf: values of the active voxels, by offset
    inactive: values of inactive voxels off the background, by offset, stored by `kind`
    old: whether the file version is below 222
    """

    number: str = "f"
    components: int = 1
    half: bool = False
    compression: int = 0
    background: float = 0.5
    leaf: dict[int, float] = field(default_factory=lambda: {1: 9.0})
    inactive: dict[int, float] = field(default_factory=dict)
    kind: int = 6
    tile: float = 2.0
    old: bool = False

    def value(self, value: float) -> bytes:
        return np.full(self.components, value).astype(f"<{self.number}").tobytes()

    def buffer(self, values: np.ndarray) -> bytes:
        data = np.repeat(
            values.astype("<e" if self.half else f"<{self.number}"), self.components
        ).tobytes()
        if not self.compression & 1 or (self.half and not data):
            return data
        packed = zlib.compress(data)
        return (
            struct.pack("<q", len(packed)) + packed
            if len(packed) < len(data)
            else struct.pack("<q", -len(data)) + data
        )

    def section(
        self, slots: int, active: dict[int, float], inactive: dict[int, float], kind: int
    ) -> bytes:
        values, on = np.full(slots, self.background), np.zeros(slots, dtype=bool)
        for slot, value in (inactive | active).items():
            values[slot] = value
        on[list(active)] = True
        low = list(dict.fromkeys(inactive.values()))
        listed = b"".join(self.value(value) for value in low[: {2: 1, 4: 1, 5: 2}.get(kind, 0)])
        second = ~on & (values == (low[1] if kind == 5 else self.background))
        selection = np.packbits(second, bitorder="little").tobytes() if kind in (3, 4, 5) else b""
        whole = kind == 6 or not self.compression & 2
        return bytes([kind]) + listed + selection + self.buffer(values if whole else values[on])

    def topology(self) -> bytes:
        root = struct.pack("<i", 1) + self.value(self.background) + struct.pack("<II", 1, 1)
        root += (
            struct.pack("<iii", 4096, 0, 0) + self.value(3.0) + b"\1" + struct.pack("<iii", 0, 0, 0)
        )
        upper = mask([0], 1 << 15) + mask([], 1 << 15) + self.node_values(1 << 15, {1: self.tile})
        lower = mask([0], 1 << 12) + mask([], 1 << 12) + self.node_values(1 << 12, {})
        return root + upper + lower + mask(self.leaf, 512)

    def node_values(self, slots: int, inactive: dict[int, float]) -> bytes:
        """Of a node whose first slot is a child."""
        if not self.old:
            return self.section(slots, {}, inactive, 6)
        return self.section(
            slots - 1, {}, {slot - 1: value for slot, value in inactive.items()}, 6
        )[1:]

    def buffers(self) -> bytes:
        if self.old:
            values = self.section(512, self.leaf, self.inactive, 6)[1:]
            return (
                mask(self.leaf, 512)
                + struct.pack("<iiib", 0, 0, 0, 2)
                + values
                + self.buffer(np.zeros(512))
            )
        return mask(self.leaf, 512) + self.section(512, self.leaf, self.inactive, self.kind)

    def grid(self, name: str = "density", **changes: Any) -> HandGrid:
        kind = {"f": "float", "d": "double", "i": "int32", "q": "int64"}[self.number]
        kind = (
            {"float": "vec3s", "double": "vec3d", "int32": "vec3i"}[kind]
            if self.components == 3
            else kind
        )
        tree_type = f"Tree_{kind}_5_4_3" + "_HalfFloat" * self.half
        note = {
            "note": MetaValue("string", "by hand"),
            "is_saved_as_half_float": MetaValue("bool", self.half),
        }
        return HandGrid(
            name,
            tree_type,
            self.topology(),
            self.buffers(),
            compression=self.compression,
            metadata=note,
            **changes,
        )


@dataclass
class HandGrid:
    """A grid of a file made by hand; `frame` is what stands before the tree."""

    unique_name: str
    tree_type: str
    topology: bytes = b""
    buffers: bytes = b""
    parent: str = ""
    compression: int = 0
    metadata: Metadata = field(default_factory=dict)
    transform: bytes = encode_transform(Transform.from_voxel_size(0.5, (1.0, 2.0, 3.0)))

    @property
    def frame(self) -> bytes:
        return struct.pack("<I", self.compression) + self.old_frame

    @property
    def old_frame(self) -> bytes:
        """Before file version 222, where compression is told per file."""
        return encode_metadata(self.metadata) + self.transform


def vdb_file(*grids: HandGrid, version: int = 224, offsets: bool = True) -> bytes:
    """A .vdb file by hand."""
    compression = bytes([grids[0].compression]) if version in (220, 221) else b""
    data = (
        MAGIC
        + struct.pack("<IIIB", version, 10, 0, offsets)
        + compression
        + b"00000000-0000-0000-0000-000000000000"
    )
    data += encode_metadata({}) + struct.pack("<i", len(grids))
    for grid in grids:
        data += (
            pack_string(grid.unique_name) + pack_string(grid.tree_type) + pack_string(grid.parent)
        )
        start, frame = len(data) + 24, grid.frame if version >= 222 else grid.old_frame
        blocks = start + len(frame) + len(grid.topology)
        positions = (start, 0 if grid.parent else blocks, blocks + len(grid.buffers))
        data += (
            struct.pack("<qqq", *positions if offsets else (0, 0, 0))
            + frame
            + grid.topology
            + grid.buffers
        )
    return data


def as_stream(path: Path, positions: bytes = bytes(24)) -> bytes:
    """A .vdb file as OpenVDB writes it to a stream.

    It does not say where its grids lie: `positions` stand there.
    """
    data = bytearray(path.read_bytes())
    for grid in list_grids(path):
        data[grid.start - 24 : grid.start] = positions
    data[HAS_POSITIONS] = 0
    return bytes(data)


def mask(slots: Any, size: int) -> bytes:
    """The bits of `slots`, of `size`."""
    chosen = np.zeros(size, dtype=bool)
    chosen[list(slots)] = True
    return np.packbits(chosen, bitorder="little").tobytes()
