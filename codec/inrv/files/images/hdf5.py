"""HDF5 files (.h5, .hdf5, .hdf), by h5py: data sets of three axes or more."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.files.images.axes import (
    AXES,
    COMPONENTS,
    LETTERS,
    SPACE,
    image_in_order,
    values_in_file_order,
)
from inrv.files.images.hdf5_sets import (
    MAGIC,
    json_attributes,
    names_of_dimensions,
    numbers_of,
    open_file,
    packing,
    why_left_out,
)
from inrv.files.images.image import FLIPS, Image
from inrv.files.images.many import ManyImageFiles, named
from inrv.files.images.vtkhdf import GROUP, images_in
from inrv.support.inputs import Input

log = logging.getLogger("inrv")

KIND = "hdf5"
# What a dimension may be called, beside its letter.
WORDS = {"time": "t", "channel": "c", "component": "v"}
DEFAULT = "tczyxv"  # the order of axes, of which those that a data set has are taken
# Attributes that follow from the image. The first is a matrix from index space to world space; the
# next two are along x, y and z; then come what netCDF calls slope and intercept.
AFFINE, SPACING, ORIGIN, SLOPE, INTERCEPT = (
    "affine", "spacing", "origin", "scale_factor", "add_offset",
)  # fmt: skip
WORLD = "space"  # 'RAS', 'LPS' or 'LAS'
MADE = (AFFINE, SPACING, ORIGIN, SLOPE, INTERCEPT, WORLD)
ELEMENT_SIZE = "element_size_um"  # along z, y and x, as Fiji and ilastik have it


class Hdf5Files(ManyImageFiles):
    """A grid for each data set, named by its path. VTKHDF files are read too."""

    title, extra, halves, tells_axes = "an HDF5 file", "science", True, False

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins with HDF5's signature."""
        return start.startswith(MAGIC)

    def images(self, source: Input) -> Sequence[Image]:
        """Find the data sets of real numbers; they are read when they are sliced."""
        import h5py

        file = open_file(source)
        if GROUP in file:
            return named(images_in(file[GROUP]))
        found = list[Image]()

        def visit(name: str, entry: Any) -> None:
            if not isinstance(entry, h5py.Dataset) or not _is_volume(entry):
                return
            reason = why_left_out(entry)
            if reason is None:
                found.append(_image(name, entry))
            else:
                log.warning("%s: data set /%s is left out: %s", source.name, name, reason)

        file.visititems(visit)
        return found

    def put_all(
        self, images: Mapping[str, Image], output: BinaryIO, compress: bool
    ) -> Sequence[str]:
        """Write a data set for each image."""
        import h5py

        lost, taken = list[str](), set[str]()
        with h5py.File(output, "w") as file:
            for name, image in images.items():
                path = _path(name, taken)
                if path != name:
                    lost.append(f"grid {name!r} is written as {path!r}, which HDF5 can name so")
                taken.add(path)
                _put(file, path, image, compress)
        return lost


def _is_volume(data: Any) -> bool:
    shape = data.shape
    return (
        data.dtype.kind in "iufb" and shape is not None and 3 <= len(shape) <= 6 and 0 not in shape
    )


def _image(name: str, data: Any) -> Image:
    axes = _axes(data)
    numbers, vectors = image_in_order(data, axes)
    header: dict[str, Any] = {"name": name, AXES: axes}
    kept = json_attributes(data, MADE)
    if kept:
        header["attributes"] = kept
    space = data.attrs.get(WORLD)
    slope, intercept = numbers_of(data.attrs, SLOPE), numbers_of(data.attrs, INTERCEPT)
    return Image(
        numbers, _matrix(data.attrs), vectors, 1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
        space if isinstance(space, str) and space in FLIPS else "", KIND, header, name,
        path=f"/{name}",
    )  # fmt: skip


def _axes(data: Any) -> str:
    """The letters of axes, as the data set names its dimensions; else time, z, y, x, vectors."""
    letters = [WORDS.get(name.lower(), name.lower()) for name in names_of_dimensions(data)]
    known = all(letter and letter in LETTERS for letter in letters)
    if known and len(set(letters)) == len(letters) and set(SPACE) <= set(letters):
        return "".join(letters)
    vectors = bool(data.ndim > 3 and data.shape[-1] == 3)
    count = int(data.ndim) - 3 - vectors
    return "tc"[:count] + "zyx" + COMPONENTS * vectors


def _matrix(attributes: Any) -> NDArray[np.float64]:
    affine = numbers_of(attributes, AFFINE, 4, 4)
    if affine is not None:
        return affine
    matrix = np.eye(4)
    sizes = numbers_of(attributes, ELEMENT_SIZE, 3)
    spacing = numbers_of(attributes, SPACING, 3)
    edges = spacing if spacing is not None else None if sizes is None else sizes[::-1]
    if edges is not None and (edges > 0).all():
        matrix[:3, :3] = np.diag(edges)
    origin = numbers_of(attributes, ORIGIN, 3)
    if origin is not None:
        matrix[:3, 3] = origin
    return matrix


def _path(name: str, taken: set[str]) -> str:
    """The path of a data set, which is no group of another one and has no other one in it."""
    path = "/".join(part for part in name.replace("\0", "_").split("/") if part not in ("", "."))
    path = path or "image"
    groups = {other.rpartition("/")[0] for other in taken}
    inside = any(path.startswith(f"{other}/") for other in taken)
    around = any(f"{group}/".startswith(f"{path}/") for group in groups if group)
    if inside or around or path in taken:
        path = path.replace("/", ".")
        while path in taken or path in groups:
            path += "_"
    return path


def _put(file: Any, path: str, image: Image, compress: bool) -> None:
    found, axes = values_in_file_order(image, KIND, image.all_numbers(), DEFAULT)
    numbers = np.asarray(found[...])
    spatial = {
        axes.index(letter): numbers.shape[axes.index(letter)] for letter in SPACE if letter in axes
    }
    settings = packing(numbers.shape, axes.endswith(COMPONENTS), spatial) if compress else {}
    data = file.create_dataset(path, data=numbers, **settings)
    for dimension, letter in zip(data.dims, axes, strict=True):
        dimension.label = letter
    kept = image.header_of(KIND).get("attributes")
    for name, value in kept.items() if isinstance(kept, dict) else ():
        with suppress(TypeError, ValueError):  # of a header that we did not write
            data.attrs[name] = value
    data.attrs[AFFINE] = image.matrix
    if image.space:
        data.attrs[WORLD] = image.space
    if image.is_upright:
        data.attrs[SPACING], data.attrs[ORIGIN] = image.edges, image.matrix[:3, 3]
    if (image.slope, image.intercept) != (1.0, 0.0):
        data.attrs[SLOPE], data.attrs[INTERCEPT] = image.slope, image.intercept


FILE_TYPE = Hdf5Files()
