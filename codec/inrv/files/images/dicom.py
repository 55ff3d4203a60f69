"""DICOM series (folders of files, .dcm), by pydicom: the slices of a scan, in their order in space.

Nothing that tells of a patient is kept, but the entries of KEPT alone, which tell of the values.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.errors import ImageFileError, InrvError, OptionError
from inrv.files.file_types import SUFFIXES, ListedGrid, ReadOptions, WriteOptions
from inrv.files.images.file_type import ImageFiles, check_length
from inrv.files.images.image import Image, Listed, grid_of, listed_in
from inrv.files.selection import chosen
from inrv.grids import SparseVolume
from inrv.support.inputs import BytesInput, FileInput, FolderInput, Input

KIND = "dicom"
MAGIC, MAGIC_AT = b"DICM", 128
LOOKED_AT = 16  # files of a folder, by which it is told
KEPT = (
    "Modality", "SeriesDescription", "RescaleType", "Units", "WindowCenter", "WindowWidth",
    "PhotometricInterpretation", "LossyImageCompression", "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)  # fmt: skip
READ = (
    *KEPT, "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
# The functional groups of a file of many frames, with what is read of each.
GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth"),
}
DEFLATED = b"1.2.840.10008.1.2.1.99"  # the syntax of files that zlib unpacks before all else
HEADER_BYTES = 1 << 16  # of a file, in which it tells its syntax
MOST_PACKED = 1000  # times that the numbers of a picture may be larger than its file
NEAR = 0.02  # of the distance of slices, that a slice may be off its place
SAME = 1e-4  # by which cosines of directions may differ


@dataclass(frozen=True, eq=False)
class Slice:
    """A picture of a series: a file, or a frame of one.

    file: that holds it
    frame: its number there
    told: what the file says of it, by the keywords of DICOM
    """

    file: Input
    frame: int
    told: Mapping[str, Any]

    def numbers(self, name: str, count: int) -> NDArray[np.float64]:
        """An entry of so many numbers. Raises ImageFileError."""
        try:
            found = np.array(self.told.get(name, ()), dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):
            found = np.empty(0)
        if len(found) != count or not np.isfinite(found).all():
            raise ImageFileError(f"{self.file.name} has no {name}: its place in space is not known")
        return found

    def number(self, name: str, otherwise: float) -> float:
        """An entry of one number."""
        value = self.told.get(name)
        return otherwise if value is None else float(value)

    @property
    def shape(self) -> tuple[int, int]:
        """Its columns and rows."""
        return int(self.told["Columns"]), int(self.told["Rows"])

    @property
    def rescaling(self) -> tuple[float, float]:
        """Slope and intercept of its numbers."""
        return self.number("RescaleSlope", 1.0), self.number("RescaleIntercept", 0.0)

    def stored(self) -> NDArray[Any]:
        """Its numbers as they are stored, (columns, rows). Raises ImageFileError."""
        from pydicom import pixels

        library: Any = pixels
        with self.file.open() as file:
            found = library.pixel_array(file, index=self.frame, raw=True)
        if found.T.shape != self.shape or found.dtype.newbyteorder("=") != self.dtype:
            raise ImageFileError(
                f"{self.file.name} holds {found.dtype} numbers of shape {found.T.shape}, and tells "
                f"of {self.dtype} of shape {self.shape}"
            )
        return np.asarray(found.T)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers."""
        bits = int(self.told["BitsAllocated"])
        if bits not in (8, 16, 32):
            raise ImageFileError(f"{self.file.name} has numbers of {bits} bits: 8, 16, 32 are read")
        return np.dtype(f"{'i' if self.told.get('PixelRepresentation') else 'u'}{bits // 8}")


class Slices:
    """The numbers of a series, of which a picture is read when it is sliced.

    pictures: of each part, by their place along z
    rescaled: whether slope and intercept of each are applied
    """

    def __init__(
        self, pictures: Sequence[Sequence[Slice]], dtype: np.dtype[Any], rescaled: bool
    ) -> None:
        self.pictures, self.dtype, self.rescaled = pictures, dtype, rescaled
        parts = (len(pictures),) if len(pictures) > 1 else ()
        self.shape = (*pictures[0][0].shape, len(pictures[0]), *parts)
        self.ndim = len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a part: see `Numbers`."""
        given: tuple[Any, ...] = (slice(None),) * 3 if index is Ellipsis else index
        x, y, z = given[0], given[1], given[2]
        parts = range(len(self.pictures))[given[3] if len(given) > 3 else slice(None)]
        own = [self._part(part, x, y, z) for part in ([parts] if isinstance(parts, int) else parts)]
        if self.ndim == 3 or isinstance(parts, int):
            return own[0]
        return np.stack(own, axis=-1)

    def _part(self, part: int, x: slice, y: slice, z: slice) -> NDArray[Any]:
        found = [self._values(picture)[x, y] for picture in self.pictures[part][z]]
        return np.stack(found, axis=2)

    def _values(self, picture: Slice) -> NDArray[Any]:
        numbers = picture.stored()
        if not self.rescaled:
            return numbers
        slope, intercept = picture.rescaling
        return np.asarray(numbers * np.float64(slope) + intercept).astype(self.dtype)


@dataclass(frozen=True, eq=False)
class Series:
    """The pictures of a series.

    name: of its grids
    pictures: in any order
    """

    name: str
    pictures: Sequence[Slice]

    @property
    def title(self) -> str:
        """What a user may want to know who chooses one."""
        first, count = self.pictures[0].told, len(self.pictures)
        number, modality = first.get("SeriesNumber"), first.get("Modality", "?")
        return f"{self.name!r} (series {number}, {modality}, {count} slices)"

    def image(self) -> Image:
        """Put its pictures in order. Raises ImageFileError where they are no volume."""
        first = self.pictures[0]
        for own in self.pictures:
            if own.shape != first.shape or own.dtype != first.dtype:
                raise ImageFileError(
                    f"{self.title}: {first.file.name} has {first.shape} numbers of {first.dtype}, "
                    f"and {own.file.name} {own.shape} of {own.dtype}"
                )
            _check_picture(own)
        pictures, matrix = _in_space(self.pictures, self.title)
        scales = {own.rescaling for own in self.pictures}
        slope, intercept = scales.pop()
        dtype, rescaled = first.dtype, bool(scales)
        if scales:
            dtype, slope, intercept = np.dtype(np.float32), 1.0, 0.0
        elif slope == 1 and intercept and intercept.is_integer():
            # Values that are whole numbers are kept as such: every file type can hold them.
            dtype, rescaled = self._wide_enough(intercept), True
            slope, intercept = 1.0, 0.0
        header = {name: _plain(first.told[name]) for name in KEPT if name in first.told}
        return Image(
            Slices(pictures, dtype, rescaled), matrix, False, slope, intercept, "LPS", KIND, header,
            self.name,
        )  # fmt: skip

    def _wide_enough(self, intercept: float) -> np.dtype[Any]:
        """The narrower type of whole numbers that holds all values: int16 or int32."""
        limits = np.iinfo(np.int16)
        for low, high in self._ends():
            if low + intercept < limits.min or high + intercept > limits.max:
                return np.dtype(np.int32)
        return np.dtype(np.int16)

    def _ends(self) -> Iterator[tuple[float, float]]:
        """The lowest and the highest number that there may be, or there is in each picture."""
        first = self.pictures[0]
        bits = int(first.told.get("BitsStored", first.told["BitsAllocated"]))
        if bits < 16:
            low = -(1 << (bits - 1)) if first.told.get("PixelRepresentation") else 0
            yield low, low + (1 << bits) - 1
            return
        for own in self.pictures:
            numbers = own.stored()
            yield float(numbers.min()), float(numbers.max())


class DicomFiles(ImageFiles):
    """The series of a folder, or the one that a file is of. World space is LPS."""

    title, extra = "a DICOM series", "medical"

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file has the magic word of DICOM."""
        return start[MAGIC_AT : MAGIC_AT + len(MAGIC)] == MAGIC

    def is_volume(self, folder: str) -> bool:
        """Tell whether a folder holds DICOM files, and none of another type that we read."""
        others = tuple(suffix for suffix in (*SUFFIXES, ".inrv") if suffix != ".dcm")
        names = [file.name for file in _files_in(folder)]
        if any(name.lower().endswith(others) for name in names):
            return False
        return any(_is_dicom(FileInput(name, name)) for name in names[:LOOKED_AT])

    def listed(self, source: Input, axes: str | None = None) -> list[Listed]:
        """List every part of every series, with its image; there are no axes to give."""
        with self.told_of(source):
            return listed_in([own.image() for own in _series_of(source)], source.name)

    def list_grids(self, source: Input) -> Sequence[ListedGrid]:
        """List every series; several parts of one are a grid each."""
        with self.told_of(source):
            found = _series_of(source)
            if len(found) == 1:
                return listed_in([found[0].image()], source.name)
            return [_Named(place, own.name) for place, own in enumerate(found)]

    def read(self, source: Input, options: ReadOptions) -> SparseVolume:
        """Read a series; where there are several, those that are chosen."""
        with self.told_of(source):
            found = _series_of(source)
            wanted = options.grids
            if len(found) > 1:
                if wanted is None:
                    titles = "; ".join(f"{place}: {own.title}" for place, own in enumerate(found))
                    raise OptionError(
                        f"{source.name} holds {len(found)} series: choose one by its name or "
                        f"number here, as with `grids`: {titles}"
                    )
                listed = [_Named(place, own.name) for place, own in enumerate(found)]
                found = [found[own.position] for own in chosen(source.name, listed, wanted)]
                wanted = None
            grids = listed_in([own.image() for own in found], source.name)
            if wanted is not None:
                grids = list(chosen(source.name, grids, wanted))
            return SparseVolume(
                tuple(grid_of(own, own.image.part_values(own.part)) for own in grids)
            )

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        """Raise OptionError: DICOM files are not written."""
        raise OptionError("DICOM files are read and not written")

    def write_folder(
        self, folder: str, volume: SparseVolume, options: WriteOptions
    ) -> Sequence[str]:
        """Raise OptionError: DICOM files are not written."""
        raise OptionError("DICOM files are read and not written")


@dataclass(frozen=True)
class _Named:
    """A series as a folder lists it."""

    position: int
    name: str

    @property
    def address(self) -> str:
        """Its name, which no other one has."""
        return self.name


# ---- Which files ----


def _files_in(folder: str) -> list[FileInput]:
    """The files of a folder that are not hidden, by their names."""
    try:
        with os.scandir(folder) as entries:
            paths = [own.path for own in entries if own.name[0] != "." and own.is_file()]
    except OSError:
        return []
    return [FileInput(path, path) for path in sorted(paths)]


def _is_dicom(file: Input) -> bool:
    try:
        return file.part(MAGIC_AT, len(MAGIC)) == MAGIC
    except OSError:
        return False


def _series_of(source: Input) -> list[Series]:
    """The series of a folder, or the one that a file is of, by their numbers.

    Raises ImageFileError where there is none.
    """
    own = None if isinstance(source, FolderInput) else _pictures_in(source)
    if own is not None and (len(own) != 1 or isinstance(source, BytesInput)):
        found = own
    else:
        folder = source.path if isinstance(source, FolderInput) else ""
        if isinstance(source, FileInput):
            folder = os.path.dirname(source.path)
        files = [file for file in _files_in(folder) if _is_dicom(file)]
        found = [picture for file in files for picture in _pictures_in(file)]
        if own:
            found = [each for each in found if _uid(each) == _uid(own[0])]
    if not found:
        raise ImageFileError("it holds no picture")
    by_uid: dict[str, list[Slice]] = defaultdict(list)
    for picture in found:
        by_uid[_uid(picture)].append(picture)
    ordered = sorted(by_uid.values(), key=lambda own: own[0].number("SeriesNumber", 0.0))
    names = [_name(own[0].told) for own in ordered]
    counts = Counter(names)
    return [
        Series(name if counts[name] == 1 else f"{name}.{place}", own)
        for place, (name, own) in enumerate(zip(names, ordered, strict=True))
    ]


def _uid(picture: Slice) -> str:
    return str(picture.told.get("SeriesInstanceUID", ""))


def _name(told: Mapping[str, Any]) -> str:
    described = " ".join(str(told.get("SeriesDescription", "")).split())
    return described or f"series {told.get('SeriesNumber', '')}".strip()


def _pictures_in(file: Input) -> list[Slice]:
    """The pictures of a file, of which the numbers are not read; none where it holds others.

    Raises ImageFileError.
    """
    import pydicom

    if DEFLATED in file.part(0, HEADER_BYTES):
        raise ImageFileError(f"{file.name} is deflated as a whole, and such files are not read")
    with file.open() as opened:
        held: Any = pydicom.dcmread(opened, stop_before_pixels=True, specific_tags=list(READ))
    if "Rows" not in held or "Columns" not in held:
        return []
    told = _entries(held, READ)
    count = int(told.get("NumberOfFrames") or 1)
    width = int(told.get("BitsAllocated", 0)) // 8
    size = int(told["Rows"]) * int(told["Columns"]) * count * width
    syntax = held.file_meta.get("TransferSyntaxUID")
    packed = syntax is not None and syntax.is_compressed
    try:
        check_length(file.size * (MOST_PACKED if packed else 1), size)
    except ImageFileError as error:
        raise ImageFileError(f"{file.name}: {error}") from error
    shared = list(held.get("SharedFunctionalGroupsSequence", []))[:1]
    frames = list(held.get("PerFrameFunctionalGroupsSequence", []))
    if len(frames) != count:
        frames = [None] * count
    return [
        Slice(file, number, told | _of_groups(shared) | _of_groups([own] if own else []))
        for number, own in enumerate(frames)
    ]


def _entries(held: Any, names: Sequence[str]) -> dict[str, Any]:
    return {
        name: held.get(name)
        for name in names
        if name in held and held.get(name) is not None and not name.endswith("GroupsSequence")
    }


def _of_groups(groups: Sequence[Any]) -> dict[str, Any]:
    """What functional groups tell of a frame."""
    found: dict[str, Any] = {}
    for group in groups:
        for sequence, names in GROUPS.items():
            for item in list(group.get(sequence, []))[:1]:
                found |= _entries(item, names)
    return found


def _check_picture(picture: Slice) -> None:
    """Raise ImageFileError where a picture is none of numbers."""
    kind = str(picture.told.get("PhotometricInterpretation", "MONOCHROME2"))
    if int(picture.told.get("SamplesPerPixel", 1)) != 1 or not kind.startswith("MONOCHROME"):
        raise ImageFileError(f"{picture.file.name} is a picture in colours ({kind}), of no numbers")


# ---- Where they lie ----


def _in_space(
    pictures: Sequence[Slice], title: str
) -> tuple[list[list[Slice]], NDArray[np.float64]]:
    """The pictures of each part by their place, and the matrix from index space to world space.

    Raises ImageFileError where they do not lie side by side at one distance.
    """
    first, matrix = pictures[0], np.eye(4)
    if len(pictures) == 1 and "ImagePositionPatient" not in first.told:
        if "PixelSpacing" in first.told:
            down, along = first.numbers("PixelSpacing", 2)
            matrix[0, 0], matrix[1, 1] = along, down
        return [[first]], matrix
    turn = first.numbers("ImageOrientationPatient", 6)
    down, along = first.numbers("PixelSpacing", 2)
    for own in pictures:
        if np.abs(own.numbers("ImageOrientationPatient", 6) - turn).max() > SAME:
            raise ImageFileError(f"{title}: its slices lie in several directions, as a localiser's")
        if not np.allclose(own.numbers("PixelSpacing", 2), (down, along), rtol=SAME):
            raise ImageFileError(f"{title}: its slices have pixels of several sizes")
    normal = np.cross(turn[:3], turn[3:])
    places = np.array([own.numbers("ImagePositionPatient", 3) for own in pictures])
    heights = places @ normal
    numbers = np.array([own.number("InstanceNumber", 0.0) for own in pictures])
    order = np.lexsort((numbers, heights.round(3)))
    heights, places = heights[order], places[order]
    starts = np.flatnonzero(np.diff(heights, prepend=-np.inf) > 1e-3)
    counts = np.diff([*starts.tolist(), len(order)])
    if len(set(counts.tolist())) != 1:
        most, least = heights[starts][[counts.argmax(), counts.argmin()]]
        raise ImageFileError(
            f"{title}: {counts.max()} of its slices lie at {most:g} mm, and {counts.min()} at "
            f"{least:g} mm, so that parts of a series are missing"
        )
    step = normal * (
        first.number("SpacingBetweenSlices", 0.0) or first.number("SliceThickness", 0.0) or 1.0
    )
    if len(starts) > 1:
        step = _even_step(heights[starts], places[starts], title)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = turn[:3] * along, turn[3:] * down, step
    matrix[:3, 3] = places[0]
    ordered = [pictures[place] for place in order]
    return [ordered[part :: int(counts[0])] for part in range(int(counts[0]))], matrix


def _even_step(
    heights: NDArray[np.float64], places: NDArray[np.float64], title: str
) -> NDArray[np.float64]:
    """From one slice to the next, in world space; of a tilted gantry it is not the normal.

    Raises ImageFileError where slices are missing or not evenly spaced.
    """
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    wide = np.flatnonzero(np.abs(gaps - usual) > NEAR * usual)
    if len(wide):
        at, gap = int(wide[0]), float(gaps[wide[0]])
        missing = round(gap / usual) - 1
        whole = missing > 0 and abs(gap / usual - missing - 1) < NEAR * (missing + 1)
        what = f"{missing} slices seem to be missing" if whole else "the slices are unevenly spaced"
        raise ImageFileError(
            f"{title}: {what}: those at {heights[at]:g} and {heights[at + 1]:g} mm are {gap:g} mm "
            f"apart, and most are {usual:g}"
        )
    step: NDArray[np.float64] = (places[-1] - places[0]) / (len(places) - 1)
    ideal = places[0] + np.arange(len(places))[:, None] * step
    if np.abs(places - ideal).max() > NEAR * usual * 5:
        raise ImageFileError(f"{title}: its slices do not lie along a line")
    return step


# ---- What is kept ----


def _plain(value: Any) -> Any:
    """An entry as JSON has it."""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return [_plain(own) for own in value]
    return float(value) if isinstance(value, (int, float)) else str(value)


FILE_TYPE = DicomFiles()


def are_of_one_series(first: Input, second: Input) -> bool:
    """Tell whether two files are pictures of one series, for all of which either of them stands."""
    try:
        with FILE_TYPE.told_of(first):
            (one,), (other,) = _pictures_in(first), _pictures_in(second)
    except InrvError:  # of files that hold no picture or several, or are damaged
        return False
    return _uid(one) == _uid(other)
