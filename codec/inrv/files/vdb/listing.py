"""Which grids a .vdb file holds, and where their bytes lie.

The file says it or, where it was written to a stream, they lie one behind the other.

Layout: OpenVDB's io/Archive.cc, io/File.cc and io/GridDescriptor.cc, file versions 219 to 225.
"""

from __future__ import annotations

from dataclasses import dataclass

from inrv.errors import VdbError
from inrv.files.vdb.extents import MULTIPASS, POINTS, find_positions, known
from inrv.files.vdb.header import (
    FLAG_PER_FILE,
    FLAGS_PER_GRID,
    HALF_SUFFIX,
    MAGIC,
    NEWEST,
    OLDEST,
    ByteReader,
    GridDescriptor,
    NotCoded,
    pass_transform,
    saved_as_half,
)
from inrv.files.vdb.values import ZIP
from inrv.grids import Metadata
from inrv.support.inputs import Input
from inrv.support.recognition import RECOGNISED_BY, refusal
from inrv.support.streams import Readable, input_of

_UUID_LENGTH = 36
_POSITION_BYTES = 24


@dataclass(frozen=True)
class VdbHeader:
    """What a .vdb file says of itself.

    version: of the file type
    library: major and minor version of the OpenVDB that wrote the file
    metadata: of the file, by name
    grids: in the file's order
    """

    version: int
    library: tuple[int, int]
    metadata: Metadata
    grids: tuple[GridDescriptor, ...]


def read_header(source: Readable) -> VdbHeader:
    """Read the header of a .vdb file.

    Raises VdbError where the file is missing, not a .vdb file, or truncated, else as `input_of`.
    """
    held = input_of(source)
    try:
        with held.open() as file:
            return _read_header(ByteReader(file, held.name), held)
    except OSError as error:
        raise VdbError(f"{held.name} cannot be read: {error.strerror or error}") from error


def _read_header(reader: ByteReader, held: Input) -> VdbHeader:
    start = reader.file.read(RECOGNISED_BY)
    if not start.startswith(MAGIC):
        raise reader.fail(refusal(start, "a .vdb file"))
    reader.file.seek(len(MAGIC))
    version, major, minor = reader.unpack("<III")
    if not OLDEST <= version <= NEWEST:
        raise reader.fail(
            f"is of VDB file version {version}; versions {OLDEST} to {NEWEST} are read: "
            "save it anew with OpenVDB"
        )
    has_positions = reader.number("<B")
    compression = _file_compression(reader, version)
    reader.take(_UUID_LENGTH)
    metadata = reader.metadata()
    count = reader.number("<i")
    if count < 0:
        raise reader.fail(f"claims to hold {count} grids: the file is damaged")
    if has_positions:
        grids = tuple(_read_descriptor(reader, position, compression) for position in range(count))
    else:
        stream = _Stream(reader, held.view(), version, compression)
        grids = tuple(
            stream.descriptor(position, last=position == count - 1) for position in range(count)
        )
    return VdbHeader(version, (major, minor), metadata, grids)


def _file_compression(reader: ByteReader, version: int) -> int | None:
    """Read the compression flags of all grids of an old file; None where each has its own."""
    if version >= FLAGS_PER_GRID:
        return None
    return ZIP if version < FLAG_PER_FILE or reader.number("<B") else 0


def _read_descriptor(reader: ByteReader, position: int, compression: int | None) -> GridDescriptor:
    unique_name, tree_type, half, parent = _read_names(reader)
    start, blocks, end = reader.unpack("<qqq")
    if (
        parent
    ):  # a grid that shares another's tree has no blocks of its own, and no position of them
        blocks = end
    if not reader.file.tell() <= start < blocks <= end:
        raise reader.fail(
            f"grid {position} {unique_name!r} claims bytes {start} to {end}: the file is damaged"
        )
    reader.file.seek(end)
    return GridDescriptor(
        position, unique_name, tree_type, half, parent, start, blocks, end, compression
    )


def _read_names(reader: ByteReader) -> tuple[str, str, bool, str]:
    """Read the names that begin the description of a grid.

    Gives its unique name, the type of its tree, whether that says half, and the unique name of the
    grid whose tree it shares.
    """
    unique_name, tree_type, parent = reader.text(), reader.text(), reader.text()
    return unique_name, tree_type.removesuffix(HALF_SUFFIX), tree_type.endswith(HALF_SUFFIX), parent


class _Stream:
    """The grids of a file without positions.

    Each begins where the one before it ends, which its tree tells.
    """

    def __init__(
        self, reader: ByteReader, data: memoryview, version: int, compression: int | None
    ) -> None:
        self.reader, self.data, self.version, self.compression = reader, data, version, compression

    def descriptor(self, position: int, last: bool) -> GridDescriptor:
        """Find the next grid. The last one may be of any type: it ends with the file."""
        unique_name, tree_type, half, parent = _read_names(self.reader)
        self.reader.take(_POSITION_BYTES)
        start = self.reader.file.tell()
        try:
            blocks, end = self._positions(
                f"{self.reader.path}: grid {position} {unique_name!r}", tree_type, bool(parent)
            )
        except NotCoded as reason:
            if not last:
                raise self.reader.fail(
                    "was written to a stream, without the positions of its grids, "
                    f"and where grid {position} {unique_name!r} "
                    f"ends cannot be found ({reason}): save it anew as a file"
                ) from reason
            blocks = end = self.reader.size
        self.reader.file.seek(end)
        return GridDescriptor(
            position, unique_name, tree_type, half, parent, start, blocks, end, self.compression
        )

    def _positions(self, where: str, tree_type: str, shared: bool) -> tuple[int, int]:
        """Find where the buffers of the grid's leaves begin and where the grid ends.

        Raises NotCoded.
        """
        compression = self.reader.number("<I") if self.compression is None else self.compression
        metadata = self.reader.metadata()
        pass_transform(self.reader, self.version)
        at = self.reader.file.tell()
        if shared:
            return at, at
        if not known(tree_type) or (tree_type == POINTS and self.version < MULTIPASS):
            raise NotCoded(f"tree of type {tree_type}")
        old = self.version < FLAGS_PER_GRID
        blocks, end = find_positions(
            self.data[at:], where, tree_type, saved_as_half(metadata), compression, old
        )
        return at + blocks, at + end
