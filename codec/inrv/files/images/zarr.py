"""Zarr stores (.zarr), by zarr: arrays of the versions 2 and 3, groups of them, OME-Zarr images.

Axes are told by their names. Where an array has other names or none, its last three axes are z, y
and x, and those before them are parts.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.errors import ImageFileError, OptionError
from inrv.files.file_types import WriteOptions
from inrv.files.images.axes import COMPONENTS, check_axes
from inrv.files.images.file_type import ImageFiles
from inrv.files.images.image import FLIPS, LOSSY, MOST_PARTS, Image, images_of
from inrv.files.images.lazy import Numbers, Reordered
from inrv.grids import SparseVolume
from inrv.support.extras import needed_for
from inrv.support.inputs import FolderInput, Input

log = logging.getLogger("inrv")

KIND = "zarr"
MARKS = ("zarr.json", ".zarray", ".zgroup")  # one of which every array and group has
SPACE = ("x", "y", "z")
NOT_SPACE = {"t", "time", "c", "channel", "channels", "band", "s", "sample", "vector"}
VECTOR = "vector"  # the name of the axis of components
PARTS_OF_KINDS = {"nifti": "t", "metaimage": "t"}  # the axis of parts of other file types
CHUNK_EDGE = 128  # voxels of what is written
BLOCK_EDGE = 256  # of what is held in memory while an array is written
MOST_CHUNK_BYTES = 1 << 31
# An array of more bytes than FREE_BYTES may not be so many times larger than what is stored of it.
FREE_BYTES, MOST_RATIO = 1 << 28, 10_000
MOST_ATTRIBUTE_BYTES = 1 << 16
MOST_ARRAYS = 4096  # of a group
AFFINE, WORLD = "affine", "space"  # our attributes: float64 (4, 4), and what `Image.space` is
SLOPE, INTERCEPT = "scale_factor", "add_offset"  # of the CF conventions, which xarray follows


class ZarrFiles(ImageFiles):
    """A folder with an array, or a group of them."""

    title, extra, halves, tells_axes = "a Zarr store", "zarr", True, False
    most = MOST_PARTS  # images that are written

    def sniff(self, start: bytes) -> bool:
        """Give False: a store is a folder."""
        return False

    def is_volume(self, folder: str) -> bool:
        """Tell whether a folder has the metadata of an array or a group."""
        return any(os.path.isfile(os.path.join(folder, mark)) for mark in MARKS)

    def images(self, source: Input) -> Sequence[Image]:
        """Open every image below the store's root."""
        if not isinstance(source, FolderInput):
            raise ImageFileError("it is a file, and a Zarr store is a folder")
        import zarr

        return list(_images_in(zarr.open(source.path, mode="r"), ""))

    def in_order(self, image: Image, axes: str | None) -> Image:
        """Give an array without names of axes in the order that letters tell."""
        if axes is None:
            return image
        if "axes" in image.header:
            raise OptionError("the store tells its axes itself: leave out `axes`")
        order = _axes(("",) * image.numbers.ndim, vectors=False)
        held = Reordered(image.numbers, [order.index(axis) for axis in range(len(order))])
        check_axes(axes, held.ndim)
        names = [VECTOR if letter == COMPONENTS else letter for letter in axes]
        vectors = _has_vectors(names, held.shape)
        numbers, header = Reordered(held, _axes(names, vectors)), {**image.header, "axes": names}
        return replace(image, numbers=numbers, vectors=vectors, header=header)

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        """Raise ImageFileError: a store is a folder."""
        raise ImageFileError("a Zarr store is a folder: name a path")

    def write_folder(
        self, folder: str, volume: SparseVolume, options: WriteOptions
    ) -> Sequence[str]:
        """Write the images that the grids came from, in their own types, or the grids' boxes."""
        images, lost = images_of(volume, self.most)
        if options.half:
            images = [_halved(image) for image in images]
        with needed_for(self.title, self.extra):
            lost += self.put_images(images, folder, options.compress)
        return lost

    def put_images(self, images: Sequence[Image], folder: str, compress: bool) -> list[str]:
        """Write images, block by block, and give a line for each thing that is left out.

        One image is an array, several are the arrays of a group, by their names.
        """
        import zarr

        if len(images) == 1:
            _put(images[0], folder, compress)
            return []
        zarr.create_group(folder, zarr_format=3)
        for image, name in zip(images, _member_names(images), strict=True):
            _put(image, os.path.join(folder, name), compress)
        return []


def _halved(image: Image) -> Image:
    if image.numbers.dtype != np.float32:
        return image
    return replace(image, numbers=image.all_numbers().astype(np.float16))


def _member_names(images: Sequence[Image]) -> list[str]:
    """A name for each array of a group, which no other one has."""
    found: list[str] = []
    for image in images:
        name = image.name.replace("/", ".").lstrip(".") or "array"
        more = (f"{name}.{number}" for number in count(1))
        found.append(name if name not in found else next(own for own in more if own not in found))
    return found


def _put(image: Image, path: str, compress: bool) -> None:
    """Write an image as an array, with what its own file said of it."""
    attributes = dict(image.header_of(KIND).get("attributes", {}))
    if not np.array_equal(image.matrix, np.eye(4)):
        attributes[AFFINE] = image.matrix.tolist()
    if image.space:
        attributes[WORLD] = image.space
    if (image.slope, image.intercept) != (1.0, 0.0):
        attributes |= {SLOPE: image.slope, INTERCEPT: image.intercept}
    if image.loss:
        attributes[LOSSY] = image.loss
    names = names_of_axes(image)
    back = _own_order(image, names)
    stored = Stored(Reordered(image.numbers, back), tuple(names[axis] for axis in back))
    write_array(path, stored, compress, attributes)


@dataclass(frozen=True)
class Stored:
    """The numbers of an image in the order in which an array stores them.

    numbers: of the array
    names: of its axes, '' where one has none
    """

    numbers: Numbers
    names: tuple[str, ...]

    @property
    def block_edges(self) -> tuple[int, ...]:
        """The lengths of what is in memory at a time: blocks of space, and one part."""
        return self._edges(BLOCK_EDGE)

    @property
    def chunks(self) -> tuple[int, ...]:
        """The lengths of the chunks."""
        return self._edges(CHUNK_EDGE)

    def _edges(self, edge: int) -> tuple[int, ...]:
        space = set(_space_of(self.names))
        return tuple(
            size if name == VECTOR else min(size, edge) if axis in space else 1
            for axis, (size, name) in enumerate(zip(self.numbers.shape, self.names, strict=True))
        )

    @property
    def blocks(self) -> Iterator[tuple[slice, ...]]:
        """The blocks, in the order of C."""
        sizes = list(zip(self.numbers.shape, self.block_edges, strict=True))
        for corner in product(*(range(0, size, edge) for size, edge in sizes)):
            yield tuple(
                slice(start, min(start + edge, size))
                for start, (size, edge) in zip(corner, sizes, strict=True)
            )


def names_of_axes(image: Image) -> list[str]:
    """The names of an image's axes, as its store called them or x, y and z; parts may have ''."""
    held = _held_names(image)
    if held is not None:
        return [held[axis] if axis is not None else "z" for axis in _axes(held, image.vectors)]
    parts = PARTS_OF_KINDS.get(image.kind, "") if len(image.part_shape) == 1 else ""
    return [
        *SPACE,
        *([parts] if parts else [""] * len(image.part_shape)),
        *[VECTOR] * image.vectors,
    ]


def _own_order(image: Image, names: Sequence[str]) -> list[int]:
    """Which axis of an image is each one of its array: in its store's order, or parts, z, y, x."""
    held = _held_names(image)
    if held is not None:
        order = _axes(held, image.vectors)
        lacking = [place for place, axis in enumerate(order) if axis is None]
        return lacking + [order.index(axis) for axis in range(len(held))]
    parts = range(3, 3 + len(image.part_shape))
    return [*parts, 2, 1, 0, *range(parts.stop, len(names))]


def _held_names(image: Image) -> list[str] | None:
    """What its store called the axes of an image; None where it did not, or they are not all."""
    held = list(map(str, image.header_of(KIND).get("axes", ())))
    try:
        fits = len(_axes(held, image.vectors)) == image.numbers.ndim
    except ImageFileError:
        return None
    return held if fits and image.vectors == (held[-1].lower() == VECTOR) else None


def write_array(path: str, stored: Stored, compress: bool, attributes: Mapping[str, Any]) -> None:
    """Write an array of the version 3, block by block.

    path: of its folder
    attributes: JSON values
    """
    import zarr

    array = zarr.create_array(
        path,
        shape=stored.numbers.shape,
        dtype=np.dtype(stored.numbers.dtype).newbyteorder("="),
        chunks=stored.chunks,
        compressors="auto" if compress else None,
        dimension_names=[name or None for name in stored.names],
        attributes=dict(attributes),
    )
    for block in stored.blocks:
        array[block] = stored.numbers[block]


# ---- What a store holds ----


def _images_in(node: Any, path: str) -> Iterator[Image]:
    """The images of an array or a group.

    path: from the root of the store; '' is the root
    """
    import zarr

    if isinstance(node, zarr.Array):
        yield _image_of_array(node, path)
        return
    told = _multiscales(node.attrs)
    if told is not None:
        yield _image_of_multiscales(node, told, path)
        return
    members = sorted(node.members())
    arrays = {name: own for name, own in members if isinstance(own, zarr.Array)}
    if len(arrays) > MOST_ARRAYS:
        raise ImageFileError(f"group {path or '/'} has more than {MOST_ARRAYS:,} arrays")
    whole = {name: own for name, own in arrays.items() if _is_image(own)}
    for name, own in whole.items():
        # The name of the store is that of a grid where nothing else could be meant.
        alone = len(whole) == 1 and not path
        yield _image_of_array(own, "" if alone else _joined(path, name), arrays, name)
    for name, own in members:
        if isinstance(own, zarr.Group):
            yield from _images_in(own, _joined(path, name))
    if not path and not members:
        raise ImageFileError("its group holds no array")


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _is_image(array: Any) -> bool:
    return array.ndim >= 3 and array.dtype.kind in "iufb" and 0 not in array.shape


def _image_of_array(
    array: Any, name: str, beside: Mapping[str, Any] | None = None, member: str = ""
) -> Image:
    """The image of an array.

    name: of its grids
    beside: the arrays of its group, of which some may hold the coordinates of axes
    member: its own name there
    """
    attributes = _attributes(array)
    names = _names_of(array)
    vectors = _has_vectors(names, array.shape)
    order = _axes(names, vectors)
    matrix = _affine(attributes.get(AFFINE))
    if matrix is not None:
        del attributes[AFFINE]
    if matrix is None:
        space = [names[axis] if axis is not None else "" for axis in order[:3]]
        sizes = [array.shape[axis] if axis is not None else 1 for axis in order[:3]]
        matrix = _of_coordinates(space, sizes, beside or {})
    world = attributes.get(WORLD)
    world = attributes.pop(WORLD) if isinstance(world, str) and world in FLIPS else ""
    slope, intercept = attributes.pop(SLOPE, 1.0), attributes.pop(INTERCEPT, 0.0)
    header: dict[str, Any] = {"axes": list(names)} if any(names) else {}
    if attributes:
        header["attributes"] = attributes
    if member:
        header["array"] = member
    return Image(
        Reordered(_checked(array), order), matrix, vectors, float(slope), float(intercept),
        world, KIND, header, name,
    )  # fmt: skip


def _image_of_multiscales(group: Any, told: Mapping[str, Any], path: str) -> Image:
    """The finest level of an OME-Zarr image, of the versions up to 0.5."""
    dataset = told["datasets"][0]
    array = group[str(dataset["path"])]
    axes = [
        dict(axis) if isinstance(axis, Mapping) else {"name": str(axis)}
        for axis in told.get("axes", [{"name": name} for name in "tczyx"[-array.ndim :]])
    ]
    names = tuple(str(axis["name"]).lower() for axis in axes)
    if len(names) != array.ndim:
        raise ImageFileError(f"it tells of {len(names)} axes, and its array has {array.ndim}")
    order = _axes(names, vectors=False)
    edges, origin = np.ones(array.ndim), np.zeros(array.ndim)
    for own in (dataset, told):
        for step in own.get("coordinateTransformations", []):
            edges, origin = _transformed(step, edges, origin)
    matrix = np.eye(4)
    for place, axis in enumerate(order[:3]):
        if axis is not None:
            matrix[place, place], matrix[place, 3] = edges[axis], origin[axis]
    header: dict[str, Any] = {"axes": list(names), "ome": {"axes": axes}}
    channels = _channels(group, array, names)
    if channels:
        header["ome"]["channels"] = list(channels)
    parts = {names[axis]: array.shape[axis] for axis in order[3:] if axis is not None}
    return Image(
        Reordered(_checked(array), order), matrix, kind=KIND, header=header, name=path,
        labels=_labels(channels, parts),
    )  # fmt: skip


def _has_vectors(names: Sequence[str], shape: Sequence[int]) -> bool:
    return bool(names) and names[-1].lower() == VECTOR and shape[-1] == 3


def _multiscales(attributes: Any) -> Mapping[str, Any] | None:
    """The first image of OME's metadata; None where there is none."""
    inner = attributes.get("ome", {})
    held = (inner if isinstance(inner, Mapping) else {}).get("multiscales")
    held = attributes.get("multiscales") if held is None else held
    found = held[0] if isinstance(held, list) and held else None
    return found if isinstance(found, Mapping) and found.get("datasets") else None


def _transformed(
    step: Mapping[str, Any], edges: NDArray[np.float64], origin: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Apply a step of OME's transforms behind those before it."""
    kind = step.get("type")
    if kind == "scale" and "scale" in step:
        factors = _along_axes(step["scale"], len(edges))
        return edges * factors, origin * factors
    if kind == "translation" and "translation" in step:
        return edges, origin + _along_axes(step["translation"], len(edges))
    if kind == "identity":
        return edges, origin
    raise ImageFileError(
        f"its transform of the type {kind!r} is not read: scale and translation are, as numbers"
    )


def _along_axes(told: Any, count: int) -> NDArray[np.float64]:
    """A number for each axis. Raises ImageFileError."""
    try:
        found = np.array(told, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (count,):
        raise ImageFileError(f"its transform has {told}, not a number for each of {count} axes")
    return found


def _channels(group: Any, array: Any, names: Sequence[str]) -> tuple[str, ...]:
    """What OME's metadata call the channels; () where they do not name them all."""
    inner = group.attrs.get("ome", {})
    told = inner.get("omero") if isinstance(inner, Mapping) else None
    told = group.attrs.get("omero", {}) if told is None else told
    channels = told.get("channels", []) if isinstance(told, Mapping) else []
    found = tuple(str(own.get("label", "")) for own in channels if isinstance(own, Mapping))
    many = array.shape[names.index("c")] if "c" in names else 0
    return found if len(found) == many and all(found) else ()


def _labels(channels: Sequence[str], parts: Mapping[str, int]) -> tuple[str, ...]:
    """Names of the parts of an image, by the channel and the numbers along further axes.

    parts: by the name of an axis, its length
    """
    if not channels:
        return ()
    found = []
    for place in product(*map(range, parts.values())):
        at = dict(zip(parts, place, strict=True))
        numbers = [
            f".{at[name]:0{len(str(size - 1))}}"
            for name, size in parts.items()
            if name != "c" and size > 1
        ]
        found.append(channels[at["c"]] + "".join(numbers))
    return tuple(found)


def _names_of(array: Any) -> tuple[str, ...]:
    """The names of an array's axes, of which some may be ''."""
    told: Any = getattr(array.metadata, "dimension_names", None)
    told = array.attrs.get("_ARRAY_DIMENSIONS") if told is None else told
    if not isinstance(told, (list, tuple)) or len(told) != array.ndim:
        told = [None] * int(array.ndim)
    return tuple("" if own is None else str(own) for own in told)


def _axes(names: Sequence[str], vectors: bool) -> list[int | None]:
    """Which axes of an array are x, y, z, and those of parts and of vectors behind them.

    names: of its axes, of which some may be ''
    vectors: whether the last one is that of components
    Raises ImageFileError where fewer than two are axes of space.
    """
    x, y, z = _space_of(names[:-1] if vectors else names)
    space = [x, y, z]
    return [*space, *(axis for axis in range(len(names)) if axis not in space)]


def _space_of(names: Sequence[str]) -> tuple[int, int, int | None]:
    """Which axes are x, y and z: those of these names, or else the last three; None for no z.

    Raises ImageFileError where fewer than two are axes of space.
    """
    lowered = [name.lower() for name in names]
    if {"x", "y"} <= set(lowered) and len(set(lowered)) == len(lowered):
        return (
            lowered.index("x"),
            lowered.index("y"),
            (lowered.index("z") if "z" in lowered else None),
        )
    free = [axis for axis, name in enumerate(lowered) if name not in NOT_SPACE]
    if len(free) < 2:
        raise ImageFileError(f"of its {len(names)} axes, fewer than two are axes of space")
    return free[-1], free[-2], free[-3] if len(free) > 2 else None


def _affine(told: Any) -> NDArray[np.float64] | None:
    """The matrix of our own attribute; None where it is none."""
    try:
        matrix = np.array(told, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return matrix if matrix.shape == (4, 4) else None


def _of_coordinates(
    names: Sequence[str], sizes: Sequence[int], beside: Mapping[str, Any]
) -> NDArray[np.float64]:
    """The matrix that evenly spaced coordinates give, as xarray stores them: an array an axis.

    names, sizes: of the axes of space
    """
    matrix = np.eye(4)
    for place, (name, size) in enumerate(zip(names, sizes, strict=True)):
        held = beside.get(name)
        if held is None or held.ndim != 1 or held.dtype.kind not in "iuf" or held.shape[0] < 2:
            continue
        along = np.asarray(_checked(held)[...], dtype=np.float64)
        steps = np.diff(along)
        even = np.isfinite(along).all() and np.allclose(steps, steps[0], rtol=1e-4, atol=0)
        if even and steps[0] != 0 and len(along) == size:
            matrix[place, place] = (along[-1] - along[0]) / len(steps)
            matrix[place, 3] = along[0]
        else:
            log.warning(
                "the coordinates %s are not evenly spaced, one for each voxel: numbers of voxels "
                "stand for them",
                held.path or name,
            )
    return matrix


def _attributes(array: Any) -> dict[str, Any]:
    """The attributes of an array, without those of its axes.

    Where they are too many to be kept, they are those alone that tell of the values.
    """
    found = {str(key): value for key, value in array.attrs.items() if key != "_ARRAY_DIMENSIONS"}
    if len(json.dumps(found)) <= MOST_ATTRIBUTE_BYTES:
        return found
    return {key: found[key] for key in (AFFINE, WORLD, SLOPE, INTERCEPT) if key in found}


def _checked(array: Any) -> Any:
    """An array that may be read: it runs no code and takes no memory that nothing is stored for.

    Raises ImageFileError.
    """
    told = array.metadata.to_dict()
    steps = [*(told.get("filters") or ()), told.get("compressor"), *(told.get("codecs") or ())]
    if any("pickle" in str(step) for step in steps):
        raise ImageFileError("its numbers are pickled, which may run code: they are not read")
    size = int(math.prod(array.shape)) * array.dtype.itemsize
    chunk = int(math.prod(array.shards or array.chunks)) * array.dtype.itemsize
    if chunk > MOST_CHUNK_BYTES:
        raise ImageFileError(f"it has chunks of {chunk:,} bytes, more than {MOST_CHUNK_BYTES:,}")
    if size > FREE_BYTES:
        stored = array.nbytes_stored()
        if size > stored * MOST_RATIO:
            raise ImageFileError(
                f"an array of {size:,} bytes stands where {stored:,} bytes are stored, more than "
                f"{MOST_RATIO:,} times less"
            )
    return array


FILE_TYPE = ZarrFiles()
