"""A dense image as a file holds it, and the grids that stand for it.

Each three-dimensional part of an image, as a moment of a series, is a grid of which every voxel is
active. What the file says of its numbers stands in the grid's metadata under SOURCE, so that the
numbers come back in their own type: as integers where they were integers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import ImageFileError
from inrv.files.images.lazy import Computed, Numbers
from inrv.files.selection import chosen
from inrv.grids import Box, Grid, MetaValue, SparseVolume, Transform, sparse_grid

SOURCE = "image_source"  # the entry of a grid's metadata
SCANS = ("dicom",)  # kinds of files of patients, whose images say that they were coded with a loss
# The keywords of DICOM's 0028,2110, 0028,2112 and 0028,2114.
LOSSY, LOSSY_RATIO, LOSSY_BY = (
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
MOST_PARTS = 4096  # of an image
FLIPS = {
    "RAS": (1, 1, 1),
    "LPS": (-1, -1, 1),
    "LAS": (-1, 1, 1),
}  # signs of world axes, towards RAS
WHOLE = (slice(None),) * 3  # of an image: its box
SUFFIXES = (
    ".gz",
    ".nii",
    ".ome",
    ".raw",
    ".tif",
    ".tiff",
    ".zarr",
)  # left out of names, beside the last one


@dataclass(frozen=True, eq=False)
class Image:
    """A dense image.

    numbers: (X, Y, Z, *parts), or (X, Y, Z, *parts, 3) where it has vectors, of the file's type; an
        array, or what reads the file when it is sliced
    matrix: float64 (4, 4) from index space to world space: the matrix times [i j k 1], a column
    vectors: whether the last axis has the components of vectors
    slope, intercept: a value is slope * number + intercept
    space: 'RAS', 'LPS' or 'LAS', in which direction the axes of world space point in a patient; ''
        where that means nothing
    kind: of the file, as 'nifti'
    header: what else the file says, as JSON values; a file of this kind gets it back
    name: of its grids; '' where that is the name of the file
    path: of it in its file, as '/fields/density'; '' where it has none
    labels: names of its parts; () where they have numbers
    """

    numbers: Numbers
    matrix: NDArray[np.float64]
    vectors: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    space: str = ""
    kind: str = ""
    header: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    labels: tuple[str, ...] = ()
    path: str = ""

    @property
    def is_upright(self) -> bool:
        """Whether the axes of index space lie along those of world space, in their direction."""
        turn = self.matrix[:3, :3]
        return bool(np.array_equal(turn, np.diag(np.diag(turn))) and (np.diag(turn) > 0).all())

    @property
    def edges(self) -> NDArray[np.float64]:
        """The edges of a voxel in world units: float64 (3,)."""
        turn = self.matrix[:3, :3]
        found: NDArray[np.float64] = (
            np.diag(turn) if self.is_upright else np.linalg.norm(turn, axis=0)
        )
        return found

    @property
    def part_shape(self) -> tuple[int, ...]:
        """The axes of its parts: () where it has one."""
        shape = self.numbers.shape[3:]
        return shape[:-1] if self.vectors else shape

    @property
    def loss(self) -> str:
        """What a file says of a scan that was coded with a loss; '' of other images."""
        if self.kind not in SCANS or self.header.get(LOSSY) != "01":
            return ""
        ratios = self.header.get(LOSSY_RATIO, [])
        shown = [f"{own}:1" for own in (ratios if isinstance(ratios, list) else [ratios])]
        return f"lossy image compression {', '.join(shown)}".strip()

    def header_of(self, kind: str) -> Mapping[str, Any]:
        """What a file of this kind said; nothing where it was of another kind."""
        return self.header if kind == self.kind else {}

    def matrix_in(self, space: str) -> NDArray[np.float64]:
        """The matrix into another world space."""
        if not self.space or not space:
            return self.matrix
        signs = np.multiply(FLIPS[self.space], FLIPS[space])
        return np.diag([*signs.tolist(), 1.0]) @ self.matrix

    def values(self) -> NDArray[Any]:
        """What the numbers stand for: these themselves, or float64."""
        return self._values_of(self.all_numbers())

    def plain(self) -> Image:
        """The image for files that have no slope: its numbers are its values, float32 or as are."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return self
        values = Computed(
            self.numbers, lambda own: self._values_of(own).astype(np.float32), np.float32
        )
        return replace(self, numbers=values, slope=1.0, intercept=0.0)

    def plain_values(self) -> NDArray[Any]:
        """The numbers of `plain` in memory."""
        return self.plain().all_numbers()

    def all_numbers(self) -> NDArray[Any]:
        """Its numbers in memory."""
        return np.asarray(self.numbers[...])

    def part_values(self, part: int, box: Sequence[slice] = WHOLE) -> NDArray[Any]:
        """What the numbers of a part stand for, of which no other ones are read.

        Gives these themselves, uint8 of bool, or float64: (X, Y, Z) or (X, Y, Z, 3).

        box: slices of step 1 along x, y and z
        """
        place = tuple(map(int, np.unravel_index(part, self.part_shape))) if self.part_shape else ()
        index = (*box, *place, slice(None)) if self.vectors else (*box, *place)
        values = self._values_of(np.asarray(self.numbers[index]))
        return values.astype(np.uint8) if values.dtype.kind == "b" else values

    def _values_of(self, numbers: NDArray[Any]) -> NDArray[Any]:
        if (self.slope, self.intercept) == (1.0, 0.0):
            return numbers
        return np.asarray(numbers * np.float64(self.slope) + self.intercept)


def name_of(path: str) -> str:
    """The name of a file's grid: that of the file without its suffixes."""
    path = Path(path).name if not path.startswith("<") else "image"
    stem = Path(path).stem
    while Path(stem).suffix.lower() in SUFFIXES:
        stem = Path(stem).stem
    return stem or "image"


def names_of(image: Image, name: str) -> list[str]:
    """The names of the grids of an image: its labels, or its name, with numbers of several parts.

    name: of the file, where the image has none
    """
    count, name = math.prod(image.part_shape), image.name or name
    if len(set(image.labels)) == count > 1 and all(image.labels):
        return [f"{image.name}.{label}" if image.name else label for label in image.labels]
    digits = len(str(count - 1))
    return [name] if count == 1 else [f"{name}.{part:0{digits}}" for part in range(count)]


def volume_of(
    images: Sequence[Image], path: str, wanted: Sequence[str | int] | None
) -> SparseVolume:
    """The grids of images, or those whose names or positions are wanted.

    One part of an image is in memory at a time, beside the grids.

    path: of the file
    Raises ImageFileError for what no grid can hold, and OptionError.
    """
    listed = listed_in(images, path)
    if wanted is not None:
        listed = list(chosen(path, listed, wanted))
    return SparseVolume(tuple(grid_of(one, one.image.part_values(one.part)) for one in listed))


def listed_in(images: Sequence[Image], path: str) -> list[Listed]:
    """The grids that the images of a file are.

    path: of the file
    Raises ImageFileError for what no grid can hold.
    """
    if not images:
        raise ImageFileError(
            "it holds no image: no array of real numbers along three axes at least is read there"
        )
    for image in images:
        check_image(image)
    count = sum(math.prod(image.part_shape) for image in images)
    if count > MOST_PARTS:
        raise ImageFileError(
            f"the image has {count:,} parts of three axes, more than {MOST_PARTS:,}"
        )
    parts = [
        (name, image, part)
        for image in images
        for part, name in enumerate(names_of(image, name_of(path)))
    ]
    return [Listed(position, *each) for position, each in enumerate(parts)]


def check_image(image: Image) -> None:
    """Raise ImageFileError for what no grid can hold."""
    numbers = image.numbers
    if numbers.dtype.kind not in "iufb" or numbers.ndim < 3 or 0 in numbers.shape:
        raise ImageFileError(
            f"an image of {numbers.dtype} numbers of shape {numbers.shape} is not one of real "
            "numbers along three axes at least"
        )
    if image.slope == 0 or not (math.isfinite(image.slope) and math.isfinite(image.intercept)):
        raise ImageFileError(
            f"{image.name or 'the image'} has the slope {image.slope:g} and the intercept "
            f"{image.intercept:g}, which make no values of its numbers"
        )


def grid_of(one: Listed, values: NDArray[Any], origin: Sequence[int] = (0, 0, 0)) -> Grid:
    """The grid of a part of an image, or of a box of that.

    values: of the part, as `Image.part_values` gives them
    origin: the first voxel of the box
    Raises ImageFileError where the matrix cannot be undone.
    """
    return sparse_grid(
        values,
        one.name,
        transform_of(one.image),
        active=np.ones(values.shape[:3], dtype=np.bool_),
        grid_class="unknown",
        metadata={SOURCE: source_text(one.image, one.part)},
        origin=origin,
    )


def source_text(image: Image, part: int) -> str:
    """What the metadata of a grid says of the image that it is a part of."""
    return json.dumps(asdict(Source.of(image, part)), sort_keys=True)


@dataclass(frozen=True, eq=False)
class Listed:
    """A grid as a file lists it.

    image, part: what it is the grid of
    """

    position: int
    name: str
    image: Image
    part: int

    @property
    def address(self) -> str:
        """Its path, or else its name, which no other one has."""
        return self.image.path + self.name[len(self.image.name) :] if self.image.path else self.name


def transform_of(image: Image) -> Transform:
    """The transform of an image. Raises ImageFileError where its matrix cannot be undone."""
    kind = "AffineMap"
    if image.is_upright:
        uniform = len(set(image.edges.tolist())) == 1
        kind = "UniformScaleTranslateMap" if uniform else "ScaleTranslateMap"
    try:
        return Transform(kind, image.matrix.T)  # type: ignore[arg-type]
    except ValueError as error:
        raise ImageFileError(str(error)) from error


@dataclass(frozen=True)
class Source:
    """What the metadata of a grid says of the image that it came from.

    kind, vectors, slope, intercept, space, header: as of `Image`
    dtype: name of the type of its numbers
    shape: of its numbers
    part: which of its parts the grid is
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]
    part: int
    vectors: bool
    slope: float
    intercept: float
    space: str
    header: Mapping[str, Any]

    @staticmethod
    def of(image: Image, part: int) -> Source:
        """What is to be told of a part of an image."""
        return Source(
            image.kind, np.dtype(image.numbers.dtype).newbyteorder("=").name,
            tuple(map(int, image.numbers.shape)), part,
            image.vectors, image.slope, image.intercept, image.space, image.header,
        )  # fmt: skip

    @staticmethod
    def told_by(grid: Grid) -> Source | None:
        """What a grid tells; None where it tells nothing that an image could be made of."""
        return Source.told_in(grid.metadata, grid.components)

    @staticmethod
    def told_in(metadata: Mapping[str, MetaValue], components: int) -> Source | None:
        """The same of a grid's metadata and the number of its components."""
        entry = metadata.get(SOURCE)
        if entry is None or not isinstance(entry.value, str):
            return None
        try:
            told = json.loads(entry.value)
            found = Source(
                str(told["kind"]), np.dtype(told["dtype"]).name, tuple(map(int, told["shape"])),
                int(told["part"]), bool(told["vectors"]), float(told["slope"]),
                float(told["intercept"]), str(told["space"]), dict(told["header"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        return found if found.fits(components) else None

    @property
    def parts(self) -> int:
        """How many parts the image has."""
        return math.prod(self.shape[3 : len(self.shape) - self.vectors])

    def fits(self, components: int) -> bool:
        """Whether it may be what a grid of so many components came from."""
        numbers = math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope != 0
        axes = len(self.shape) >= 3 + self.vectors and min(self.shape) > 0
        return (
            numbers
            and axes
            and np.dtype(self.dtype).kind in "iufb"
            and 0 <= self.part < self.parts <= MOST_PARTS
            and self.space in ("", *FLIPS)
            and self.vectors == (components == 3)
        )

    def image(self, numbers: Numbers, transform: Transform) -> Image:
        """The image that it tells of, with other numbers of as many axes."""
        return Image(
            numbers, transform.array().T, self.vectors, self.slope, self.intercept, self.space,
            self.kind, self.header,
        )  # fmt: skip

    def lazy_numbers(self, values: Numbers) -> Numbers:
        """The same of values that are decoded when they are sliced."""
        return Computed(values, self.numbers, self.dtype)

    def numbers(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Values as the numbers of the image: whole ones are rounded, within their type's range."""
        dtype = np.dtype(self.dtype)
        wide = values.astype(np.float64)
        if (self.slope, self.intercept) != (1.0, 0.0):
            wide = (wide - self.intercept) / self.slope
        if dtype.kind == "f":
            return np.asarray(wide, dtype=dtype)
        if dtype.kind == "b":
            return np.asarray(wide >= 0.5)
        limits = np.iinfo(dtype)
        # float64 may not hold the highest number of a type of 64 bits.
        highest = np.nextafter(float(limits.max) + 1, 0) if dtype.itemsize == 8 else limits.max
        return np.asarray(np.rint(wide).clip(limits.min, highest), dtype=dtype)


# ---- Grids to images ----


def image_of(volume: SparseVolume) -> tuple[Image, list[str]]:
    """The image that the grids of a volume stand for, and a line for each thing that it lacks.

    That is the one they came from, in its own type, or else the first grid in its active box.
    Raises ImageFileError.
    """
    (image,), lost = images_of(volume, 1)
    return image, lost


def images_of(
    volume: SparseVolume, most: int = MOST_PARTS, shared: bool = False
) -> tuple[list[Image], list[str]]:
    """The images that the grids of a volume stand for, up to `most`, with their names.

    Gives a line for each thing that they lack too. Raises ImageFileError.

    shared: whether grids that came from no image, and have one transform, get one box
    """
    if not volume.grids:
        raise ImageFileError("there is no grid of float or vec3s, of which an image could be made")
    left, images, lost = list(volume.grids), list[Image](), list[str]()
    while left and len(images) < most:
        image, parts, lines = _first_image(left, volume.grids if shared else left[:1])
        images.append(image)
        lost += lines
        left = [grid for grid in left if not any(grid is own for own in parts)]
    names = [grid.name for grid in left] + [grid.name for grid in volume.passthrough]
    why = "an image holds one" if most == 1 else "no image holds its values"
    return images, [f"grid {name!r} is left out: {why}" for name in names] + lost


def _first_image(
    grids: Sequence[Grid], beside: Sequence[Grid]
) -> tuple[Image, list[Grid], list[str]]:
    """The image that the first of some grids is a part of, its parts, and what it lacks.

    beside: the grids whose box it shares where they have its transform and came from no image
    """
    first = grids[0]
    source = Source.told_by(first)
    parts = [first] if source is None else _parts(grids, source)
    lost = []
    others = sorted(set(first.metadata) - {SOURCE})
    if others:
        lost.append(f"grid {first.name!r}: no image holds its metadata: {', '.join(others)}")
    lost += [
        f"grid {grid.name!r}: numbers of {grid.rounded.dtype} were rounded to float32, by up to "
        f"{max(grid.rounded.errors):.4g}"
        for grid in parts
        if grid.rounded is not None and grid.rounded.of_integers
    ]
    if source is None:
        return _of_any(first, beside), parts, lost
    x, y, z = source.shape[:3]
    box = Box((0, 0, 0), (x - 1, y - 1, z - 1))
    beyond = [grid.name for grid in parts if not _is_within(grid, box)]
    if beyond:
        raise ImageFileError(
            f"grid {beyond[0]!r} has voxels outside of the {x} x {y} x {z} of the image that its "
            f"metadata {SOURCE!r} tells of: remove that, and its own box is written"
        )
    values = [grid.dense(box) for grid in parts]
    if source.dtype == "float16" and not all(map(_are_halves, values)):
        lost.append("numbers of float16 are written as float32: decoded ones lie between them")
        source = replace(source, dtype="float32")
    found = [source.numbers(own) for own in values]
    stacked = np.stack(found if source.vectors else [own[..., 0] for own in found], axis=3)
    inner = source.shape[3:] if len(parts) == source.parts else stacked.shape[3:]
    image = source.image(stacked.reshape(x, y, z, *inner), first.transform)
    if image.loss:
        lost.append(f"grid {first.name!r} was coded with a loss: {image.loss}")
    return replace(image, name=_name_of_image(first, len(parts))), parts, lost


def _name_of_image(first: Grid, parts: int) -> str:
    """The name of its first part, without the number of one of several."""
    before, _, number = first.name.rpartition(".")
    return before if parts > 1 and before and number.isdigit() else first.name


def _are_halves(values: NDArray[np.float32]) -> bool:
    """Whether float16 holds all values, NaN among them."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16).astype(np.float32)
    return np.array_equal(halves, values, equal_nan=True)


def _of_any(grid: Grid, beside: Sequence[Grid]) -> Image:
    """A grid in the active box of all that lie beside it, where the image's first voxel is."""
    box = grid.topology.box
    if box is None:
        raise ImageFileError(f"grid {grid.name!r} has no active voxel, so that no box holds it")
    for other in beside:
        own = other.topology.box
        same = np.array_equal(other.transform.array(), grid.transform.array())
        if same and own is not None and Source.told_by(other) is None:
            box = box.union(own)
    values = grid.dense(box)
    matrix = grid.transform.array().T.copy()
    matrix[:3, 3] += matrix[:3, :3] @ np.array(box.lower, dtype=np.float64)
    vectors = grid.components == 3
    return Image(values if vectors else values[..., 0], matrix, vectors, name=grid.name)


def _is_within(grid: Grid, box: Box) -> bool:
    own = grid.topology.box
    return own is None or (
        all(low >= 0 for low in own.lower)
        and all(one <= most for one, most in zip(own.upper, box.upper, strict=True))
    )


def _parts(grids: Sequence[Grid], source: Source) -> list[Grid]:
    """The grids that are parts of the image that the first one came from, in their order."""
    held: dict[int, Grid] = {}
    for grid in grids:
        own = Source.told_by(grid)
        if own is not None and replace(own, part=source.part) == source:
            held.setdefault(own.part, grid)
    return [held[part] for part in sorted(held)]


def space_lines(image: Image, space: str) -> list[str]:
    """A line where an image does not say how its world space lies, and a file says that."""
    if image.space or not image.kind:
        return []
    return [f"it is not known how world space lies in a patient: it is taken as {space}"]


def as_type(image: Image, allowed: Mapping[str, str], what: str) -> tuple[Image, list[str]]:
    """An image whose numbers are of a type that a file has, and a line where that is another one.

    allowed: by the name of a type that a file lacks, the one that takes its place
    """
    name = image.numbers.dtype.name
    if name not in allowed:
        return image, []
    line = f"{what} has no numbers of {name}: they are written as {allowed[name]}"
    return replace(image, numbers=image.all_numbers().astype(allowed[name])), [line]
