"""The parts of a .vdb file that frame the trees: metadata, transforms, and what is told of a grid.

Layout: OpenVDB's io/Archive.cc and io/GridDescriptor.cc, file versions 219 to 225.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from inrv.errors import VdbError
from inrv.grids import LINEAR_MAPS, Metadata, MetaValue, Transform
from inrv.support.streams import Readable, input_of

MAGIC = struct.pack("<q", 0x56444220)
OLDEST, NEWEST = 219, 225
FLAG_PER_FILE, FLAGS_PER_GRID = (
    220,
    222,
)  # file versions from which on compression is told per file, and per grid
HALF_SUFFIX = "_HalfFloat"
SEPARATOR = "\x1e"
_BOX_OF_DOUBLES = 221  # file version from which on the box of a frustum is of doubles
STATISTICS = frozenset(
    {
        "file_bbox_max",
        "file_bbox_min",
        "file_compression",
        "file_delayed_load",
        "file_mem_bytes",
        "file_voxel_count",
    }
)  # metadata that OpenVDB writes about the file, not about the volume
_FIRST_DOUBLES = {  # float64s of the translation that stand before a map's scale values
    "UniformScaleMap": 0,
    "ScaleMap": 0,
    "UniformScaleTranslateMap": 3,
    "ScaleTranslateMap": 3,
}
_SCALARS = {"bool": "<?", "int32": "<i", "int64": "<q", "float": "<f", "double": "<d"}
_ELEMENTS = {"i": "i", "s": "f", "d": "d"}


@dataclass(frozen=True)
class GridDescriptor:
    """A grid as the file lists it; byte positions from the start of the file.

    position: its place among the grids of the file
    unique_name: its name, and a suffix that tells equal names apart
    tree_type: as OpenVDB names it, without `_HalfFloat`
    half: whether the type ends with `_HalfFloat`
    parent: unique name of the grid whose tree this one shares, or ''
    start: where compression flags, metadata and transform begin
    blocks: where the values of the leaves begin
    end: one past the grid's last byte
    compression: flags of every grid, before file version 222; None where each grid has its own
    """

    position: int
    unique_name: str
    tree_type: str
    half: bool
    parent: str
    start: int
    blocks: int
    end: int
    compression: int | None = None

    @property
    def name(self) -> str:
        """The name without the suffix that tells equal names apart."""
        return self.unique_name.split(SEPARATOR)[0]

    @property
    def address(self) -> str:
        """The name by which OpenVDB finds it: 'density', or 'density[1]' among equal names."""
        name, _, index = self.unique_name.partition(SEPARATOR)
        return f"{name}[{index}]" if index else name


@dataclass(frozen=True)
class GridHeader:
    """What stands before a grid's tree.

    compression: the grid's compression flags
    metadata: by name
    map_type: OpenVDB's name of the transform's map
    map_data: the numbers of the map
    topology: the byte position at which the tree begins
    """

    compression: int
    metadata: Metadata
    map_type: str
    map_data: bytes
    topology: int


class NotCoded(Exception):
    """Why a grid is passed through and not coded: a few words for people."""


class ByteReader:
    """Reads a .vdb file piece by piece; every piece that is not there raises VdbError."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path, self.size = file, path, file.seek(0, os.SEEK_END)
        file.seek(0)

    def fail(self, reason: str) -> VdbError:
        """Make the error that names this file."""
        return VdbError(f"{self.path}: {reason}")

    def take(self, size: int) -> bytes:
        """Read the next `size` bytes.

        It asks whether they are there before it reads, so that a damaged length takes no memory.
        """
        at = self.file.tell()
        if at + size > self.size:
            raise self.fail(
                f"ends at byte {self.size:,}, but its header needs {size:,} bytes at {at:,}: "
                "truncated or damaged"
            )
        return self.file.read(size)

    def unpack(self, layout: str) -> tuple[int, ...]:
        """Read the next integers, as struct lays them out."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def number(self, layout: str) -> int:
        """Read the next integer."""
        return self.unpack(layout)[0]

    def text(self) -> str:
        """Read the next string; bytes that are not UTF-8 survive as surrogates."""
        return self.take(self.number("<I")).decode("utf-8", "surrogateescape")

    def metadata(self) -> Metadata:
        """Read the next metadata block."""
        entries = {}
        for _ in range(self.number("<I")):
            name, kind = self.text(), self.text()
            entries[name] = decode_metadata(kind, self.take(self.number("<I")))
        return entries


def read_grid_header(source: Readable, descriptor: GridDescriptor) -> GridHeader:
    """Read what stands before the grid's tree.

    Raises VdbError or, for a map whose size is not known, NotCoded.
    """
    held = input_of(source)
    with held.open() as file:
        reader = ByteReader(file, held.name)
        file.seek(descriptor.start)
        compression = (
            reader.number("<I") if descriptor.compression is None else descriptor.compression
        )
        metadata = reader.metadata()
        map_type = reader.text()
        if map_type not in LINEAR_MAPS:
            raise NotCoded(f"{map_type} transform")
        data = reader.take(8 * _doubles_of(map_type))
        return GridHeader(compression, metadata, map_type, data, file.tell())


def pass_transform(reader: ByteReader, version: int) -> None:
    """Pass over a transform of a file of that version.

    Raises VdbError or, for a map whose size is not known, NotCoded.
    """
    map_type = reader.text()
    while map_type == "NonlinearFrustumMap":  # a box, two doubles, and a second map
        reader.take((48 if version >= _BOX_OF_DOUBLES else 24) + 16)
        map_type = reader.text()
    if map_type not in LINEAR_MAPS:
        raise NotCoded(f"{map_type} transform")
    reader.take(8 * _doubles_of(map_type))


def _doubles_of(map_type: str) -> int:
    if map_type in _FIRST_DOUBLES:
        return 15 + _FIRST_DOUBLES[map_type]
    return 3 if map_type == "TranslationMap" else 16


def saved_as_half(metadata: Metadata) -> bool:
    """Tell whether the metadata say that the values are half floats.

    OpenVDB goes by that: it forgets the ending of the tree's type when it reads the metadata.
    """
    entry = metadata.get("is_saved_as_half_float")
    return entry is not None and bool(entry.value)


def decode_transform(map_type: str, data: bytes) -> Transform:
    """Make a transform of a map as the file stores it.

    Raises OptionError where it is not invertible.
    """
    doubles = struct.unpack(f"<{len(data) // 8}d", data)
    if map_type in ("AffineMap", "UnitaryMap"):
        return Transform(map_type, tuple(doubles[4 * row : 4 * row + 4] for row in range(4)))
    if map_type == "TranslationMap":
        scale, translation = (1.0, 1.0, 1.0), doubles
    elif _FIRST_DOUBLES[map_type]:
        translation, scale = doubles[:3], doubles[3:6]
    else:
        translation, scale = (0.0, 0.0, 0.0), doubles[:3]
    rows = [tuple(scale[r] if r == c else 0.0 for c in range(4)) for r in range(3)]
    return Transform(map_type, (*rows, (*translation, 1.0)))


def encode_transform(transform: Transform) -> bytes:
    """Give map type and data as a .vdb file stores them."""
    matrix, kind = transform.matrix, transform.map_type
    if kind in ("AffineMap", "UnitaryMap"):
        doubles = [value for row in matrix for value in row]
    elif kind == "TranslationMap":
        doubles = list(matrix[3][:3])
    else:
        scale = [matrix[axis][axis] for axis in range(3)]
        voxel_size = [abs(value) for value in scale]
        inverse = [1.0 / value for value in scale]
        doubles = (
            scale
            + voxel_size
            + inverse
            + [value * value for value in inverse]
            + [value / 2 for value in inverse]
        )
        doubles = (list(matrix[3][:3]) if _FIRST_DOUBLES[kind] else []) + doubles
    return pack_string(kind) + struct.pack(f"<{len(doubles)}d", *doubles)


def decode_metadata(kind: str, data: bytes) -> MetaValue:
    """Make a metadata value of its type's name and its bytes.

    Bytes that do not fit the type are kept as they are.
    """
    if kind == "string":
        return MetaValue(kind, data.decode("utf-8", "surrogateescape"))
    layout = _layout(kind)
    if layout is None or struct.calcsize(layout) != len(data):
        return MetaValue(kind, data)
    values = struct.unpack(layout, data)
    return MetaValue(kind, values[0] if kind in _SCALARS else values)


def encode_metadata(metadata: Metadata) -> bytes:
    """Give a metadata block as a .vdb file stores it, sorted by name as OpenVDB does."""
    parts = [struct.pack("<I", len(metadata))]
    for name in sorted(metadata):
        entry = metadata[name]
        try:
            parts += [pack_string(name), pack_string(entry.type), _sized(_metadata_bytes(entry))]
        except (struct.error, OverflowError, TypeError, UnicodeEncodeError) as error:
            raise VdbError(
                f"metadata {name!r} of type {entry.type!r} cannot hold {entry.value!r}: {error}"
            ) from error
    return b"".join(parts)


def _metadata_bytes(entry: MetaValue) -> bytes:
    layout = _layout(entry.type)
    if layout is not None and not isinstance(entry.value, bytes):
        return struct.pack(
            layout, *(entry.value if isinstance(entry.value, tuple) else (entry.value,))
        )
    data = entry.value
    if entry.type == "string" and isinstance(data, str):
        return data.encode("utf-8", "surrogateescape")
    # OpenVDB takes as many bytes as the type has, whatever the length says: bytes of another length
    # would shift all that follows.
    if not isinstance(data, bytes) or (layout is not None and len(data) != struct.calcsize(layout)):
        raise TypeError("neither a value of this type nor its bytes")
    return data


def _layout(kind: str) -> str | None:
    if kind in _SCALARS:
        return _SCALARS[kind]
    shape, element = kind[:-1], _ELEMENTS.get(kind[-1:])
    sizes = {"vec2": 2, "vec3": 3, "vec4": 4, "mat3": 9, "mat4": 16}
    return None if element is None or shape not in sizes else f"<{sizes[shape]}{element}"


def pack_string(text: str) -> bytes:
    """Give a string as a .vdb file stores it: length, then UTF-8."""
    try:
        return _sized(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise VdbError(f"{text!r} cannot be written as UTF-8: {error.reason}") from error


def _sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data
