"""The seam between volumes and other people's files, and the table of the file types."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import BinaryIO, Protocol, cast

from inrv.errors import InrvError, OptionError, OutputError
from inrv.grids import SparseVolume
from inrv.support.atomic import atomic_folder, write_pieces, write_whole
from inrv.support.inputs import FolderInput, Input
from inrv.support.streams import PATH, Readable, Writable, input_of
from inrv.support.undisturbed import undisturbed

# By the ending of a file's name, the module whose FILE_TYPE reads and writes such files. It is
# imported when it is first used. The first one is taken where nothing tells the file type.
MODULES = {
    ".vdb": "inrv.files.vdb.file_type",
    ".nvdb": "inrv.files.nanovdb.file_type",
    ".nii": "inrv.files.images.nifti",
    ".nii.gz": "inrv.files.images.nifti_gz",
    ".nrrd": "inrv.files.images.nrrd",
    ".mha": "inrv.files.images.metaimage",
    ".mrc": "inrv.files.images.mrc",
    ".tif": "inrv.files.images.tiff",
    ".tiff": "inrv.files.images.tiff",
    ".npy": "inrv.files.images.numpy",
    ".vol": "inrv.files.images.mitsuba",
    ".vti": "inrv.files.images.vti",
    ".h5": "inrv.files.images.hdf5",
    ".hdf5": "inrv.files.images.hdf5",
    ".hdf": "inrv.files.images.hdf5",
    ".vtkhdf": "inrv.files.images.vtkhdf",
    ".mhd": "inrv.files.images.mhd",
    ".nhdr": "inrv.files.images.nhdr",
    ".raw": "inrv.files.images.raw",
    ".zarr": "inrv.files.images.zarr",
    ".ome.zarr": "inrv.files.images.ome_zarr",
    ".dcm": "inrv.files.images.dicom",
}
SUFFIXES = tuple(MODULES)
# Suffixes of the types that are written as two files: each FILE_TYPE is a PairType.
PAIRS = (".mhd", ".nhdr", ".raw")
# Suffixes of the types whose volumes are folders, or may be: each FILE_TYPE is a FolderType.
FOLDERS = (".zarr", ".ome.zarr", ".dcm")
READ_ONLY = (".dcm",)  # suffixes of types that are not written
WRITTEN = tuple(suffix for suffix in SUFFIXES if suffix not in READ_ONLY)
START_BYTES = 512  # of a file, by which it is recognised


class ListedGrid(Protocol):
    """A grid as a file lists it."""

    @property
    def position(self) -> int:
        """Its place among all grids of the file."""

    @property
    def name(self) -> str:
        """Its name, which others may have too."""

    @property
    def address(self) -> str:
        """A name that no other grid of the file has."""


@dataclass(frozen=True)
class ReadOptions:
    """What a caller wants of a file.

    grids: names, addresses or positions of the grids to read, in that order; None for all
    doubles: 'passthrough': keep grids of float64 as the bytes they are, or 'float': round them
    axes: of an array whose file does not tell them, a letter for each: x, y and z, t of moments, c
        of channels, v of the components of vectors, as 'zyx'; None for the order of the file type
    """

    grids: Sequence[str | int] | None = None
    doubles: str = "passthrough"
    axes: str | None = None


@dataclass(frozen=True)
class WriteOptions:
    """What a caller wants of a file that is written.

    half: store values in 16 bits where the file type has such: that rounds them
    compress: compress the file where the file type leaves the choice
    """

    half: bool = False
    compress: bool = True


class FileType(Protocol):
    """One type of files. A file type may raise VdbError, or an InrvError of its own."""

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file that begins with these bytes, up to 512, is of this type."""

    def list_grids(self, source: Input) -> Sequence[ListedGrid]:
        """List the grids of a file without reading their values."""

    def read(self, source: Input, options: ReadOptions) -> SparseVolume:
        """Read the grids of a file. Raises OptionError where a chosen grid is not there."""

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        """Write a volume to an empty file that can be read and sought in too.

        Gives a line for people about each thing of the volume that such a file does not hold.
        """


class ArrayType(FileType, Protocol):
    """A type of files that do not tell which of their axes are x, y and z."""

    tells_axes: bool

    def listed(self, source: Input, axes: str | None = None) -> Sequence[ListedGrid]:
        """List the grids of a file; axes: see `ReadOptions`."""


class PairType(FileType, Protocol):
    """A type of files that are written in pairs: numbers, and a header beside them."""

    def pair_of(self, path: str) -> tuple[str, str]:
        """Give the paths of numbers and header for what is written to a path, one of the two."""

    def write_pair(
        self, numbers: BinaryIO, name: str, volume: SparseVolume, options: WriteOptions
    ) -> tuple[bytes, Sequence[str]]:
        """Write numbers to an empty file of this name, and give their header; see `write`."""


def written_paths(path: str, suffix: str | None = None) -> tuple[str, ...]:
    """Give the paths of the files that `write` makes for a path: two for the types of PAIRS."""
    ending = _suffix_of(path) if suffix is None else suffix
    return cast(PairType, file_type(ending)).pair_of(path) if ending in PAIRS else (path,)


def is_beside_header(path: str) -> bool:
    """Tell whether a file holds the numbers of a header beside it, which stands for both."""
    stem, ending = os.path.splitext(path)
    headers = (own for own in PAIRS if own != ending.lower())
    return ending.lower() == ".raw" and any(os.path.isfile(stem + own) for own in headers)


class FolderType(FileType, Protocol):
    """A type whose volumes are folders, or may be. Its methods take a FolderInput too."""

    def is_volume(self, folder: str) -> bool:
        """Tell whether a folder is a volume of this type, by the names in it or a few bytes."""

    def write_folder(
        self, folder: str, volume: SparseVolume, options: WriteOptions
    ) -> Sequence[str]:
        """Write a volume into an empty folder; see `write`."""


def is_volume(folder: str | os.PathLike[str]) -> bool:
    """Tell whether a folder is itself a volume, as a Zarr store is; others hold files."""
    return _of_folder(os.fspath(folder)) is not None


def is_written_as_folder(name: str) -> bool:
    """Tell whether an output of this name or suffix is a folder."""
    suffix = _suffix_of(name)
    return suffix in FOLDERS and suffix not in READ_ONLY


def file_type(of: str | bytes) -> FileType:
    """Give the file type of a suffix or a file's name, or of a file's first bytes.

    Raises OptionError where there is none.
    """
    found = _of_name(of) if isinstance(of, str) else _of_bytes(of)
    if found is None:
        what = repr(of if isinstance(of, str) else of[:8])
        raise OptionError(f"{what} is of no known file type; known are {', '.join(SUFFIXES)}")
    return found


def list_grids(source: Readable, *, axes: str | None = None) -> Sequence[ListedGrid]:
    """List the grids of a file, of any type.

    source: a path, bytes or a binary file object; the path of a folder that is a volume
    axes: see `ReadOptions`
    """
    file = input_of(source)
    kind = type_of(file)
    check_axes_wanted(file, kind, axes)
    return kind.list_grids(file) if axes is None else cast(ArrayType, kind).listed(file, axes)


@undisturbed()
def read(
    source: Readable,
    grids: Sequence[str | int] | None = None,
    *,
    doubles: str = "passthrough",
    axes: str | None = None,
) -> SparseVolume:
    """Read the grids of a file of any type.

    source: a path, bytes or a binary file object; the path of a folder that is a volume
    grids, doubles, axes: see `ReadOptions`
    Raises OptionError where a chosen grid is not there, and what the file type raises.
    """
    file = input_of(source)
    kind = type_of(file)
    check_axes_wanted(file, kind, axes)
    return kind.read(file, ReadOptions(grids, doubles, axes))


def check_axes_wanted(file: Input, kind: FileType, axes: str | None) -> None:
    """Raise OptionError where axes are given for a file whose type tells them."""
    if axes is not None and getattr(kind, "tells_axes", True):
        raise OptionError(f"{file.name} tells its axes itself: leave out `axes`")


@undisturbed()
def write(
    target: Writable,
    volume: SparseVolume,
    suffix: str | None = None,
    *,
    half: bool = False,
    compress: bool = True,
) -> Sequence[str]:
    """Write a volume to a file, of the type that its name tells.

    Gives a line for people about each thing of the volume that such a file does not hold.

    target: a path, where at any moment the old file stands or the whole new one, or a binary file
        object. A folder that is written replaces one of its type alone. Of the types in PAIRS a
        file of numbers and a header are written, the header last
    suffix: of the file type; by default that of the path, or the first of the table
    half, compress: see `WriteOptions`
    Raises OutputError where no file can be written at the path, and what the file type raises. What
    a file object raises is passed on.
    """
    name = os.fspath(target) if isinstance(target, PATH) else ""
    ending = _suffix_of(name) if suffix is None else suffix
    asked, lost = WriteOptions(half, compress), list[str]()
    if name and ending in PAIRS:
        with _told_of(name):
            return _write_pair(cast(PairType, file_type(ending)), name, volume, asked)
    if suffix is None and not ending and os.path.splitext(name)[1]:
        lost.append(f"no type of files that is known ends so: it is written as {SUFFIXES[0]}")
    write_as(
        target,
        suffix,
        lambda kind, file: lost.extend(kind.write(file, volume, asked)),
        lambda kind, folder: lost.extend(kind.write_folder(folder, volume, asked)),
    )
    return lost


def _write_pair(
    kind: PairType, path: str, volume: SparseVolume, options: WriteOptions
) -> Sequence[str]:
    """Write numbers, and then their header: where that is there, both are whole."""
    numbers, header = kind.pair_of(path)
    made: list[tuple[bytes, Sequence[str]]] = []

    def write_numbers(file: BinaryIO) -> None:
        made.append(kind.write_pair(file, os.path.basename(numbers), volume, options))

    write_whole(numbers, write_numbers)
    ((text, lost),) = made
    write_pieces(header, [text])
    return lost


def write_as(
    target: Writable,
    suffix: str | None,
    write_file: Callable[[FileType, BinaryIO], None],
    write_folder: Callable[[FolderType, str], None],
) -> None:
    """Write a file or a folder of the type that its name tells, whole or not at all.

    target, suffix: as `write` takes them
    write_file: writes to an empty file that can be read and sought in too
    write_folder: writes into an empty folder
    Raises what `write` raises.
    """
    name = os.fspath(target) if isinstance(target, PATH) else ""
    ending = _suffix_of(name) or SUFFIXES[0] if suffix is None else suffix
    if ending in READ_ONLY:
        raise OptionError(
            f"{name or ending}: such files are read and not written; written are "
            f"{', '.join(WRITTEN)}"
        )
    kind = file_type(ending)

    def write_named(file: BinaryIO) -> None:
        with _told_of(name):
            write_file(kind, file)

    if not is_written_as_folder(ending):
        write_whole(target, write_named)
    elif not isinstance(target, PATH):
        raise OptionError(f"a volume of the type {ending} is a folder: name a path")
    else:
        folder_type = cast(FolderType, kind)
        with atomic_folder(target, folder_type.is_volume) as folder, _told_of(name):
            write_folder(folder_type, str(folder))


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Name the file in what its type raises."""
    try:
        yield
    except OutputError:  # which names it
        raise
    except InrvError as error:
        raise type(error)(f"{name}: {error}" if name else str(error)) from error


def type_of(file: Input) -> FileType:
    """Give the type of a file by its first bytes, that of its name first; else by its name."""
    if isinstance(file, FolderInput):
        return _of_folder(file.path) or _of_name(file.name) or _first()
    try:
        start = file.part(0, START_BYTES)
    except OSError:  # the file type tells what is wrong when it opens the file
        start = b""
    named = _of_name(file.name)
    if named is not None and named.sniff(start):
        return named
    return _of_bytes(start) or named or _first()


def _of_name(name: str) -> FileType | None:
    suffix = _suffix_of(name)
    return _load(MODULES[suffix]) if suffix else None


def _suffix_of(name: str) -> str:
    """The longest suffix of the table that a name ends with; '' for none."""
    fitting = [suffix for suffix in MODULES if name.lower().rstrip("/").endswith(suffix)]
    return max(fitting, key=len, default="")


def _of_folder(folder: str) -> FileType | None:
    """The type of a folder that is a volume; None of others."""
    kinds = (cast(FolderType, _load(MODULES[suffix])) for suffix in FOLDERS)
    return next((kind for kind in kinds if kind.is_volume(folder)), None)


def _of_bytes(start: bytes) -> FileType | None:
    """The first file type of the table that recognises the bytes."""
    kinds = (_load(module) for module in dict.fromkeys(MODULES.values()))
    return next((kind for kind in kinds if kind.sniff(start)), None)


def _first() -> FileType:
    return _load(next(iter(MODULES.values())))


def _load(module: str) -> FileType:
    found: FileType = import_module(module).FILE_TYPE
    return found
