"""OME-Zarr images (.ome.zarr), written as version 0.5: an array for each level of detail.

Version 0.5 is that of Zarr's version 3; ome-zarr, ngff-zarr, napari and neuroglancer read it.
Images of the versions up to 0.5 are read as any Zarr store is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.files.images.image import LOSSY, Image
from inrv.files.images.lazy import Reordered
from inrv.files.images.zarr import KIND, SPACE, Stored, ZarrFiles, names_of_axes, write_array

VERSION = "0.5"
COARSEST = 256  # voxels along the longest axis of the last level
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
# What other names of axes are called here, in whose order the axes stand.
CALLED = {"time": "t", "channel": "c", "channels": "c", "band": "c"}
COLOURS = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


class OmeZarrFiles(ZarrFiles):
    """A folder with a group. A level has every second voxel of the one before it."""

    title, most = "an OME-Zarr image", 1

    def put_images(self, images: Sequence[Image], folder: str, compress: bool) -> list[str]:
        """Write the one image, a level after the other."""
        import zarr

        (image,) = images
        image, lost = _plain(image)
        stored = _in_order(image)
        group = zarr.create_group(folder, zarr_format=3)
        told = image.header_of(KIND).get("ome", {})
        datasets: list[dict[str, Any]] = []
        while True:
            path = str(len(datasets))
            datasets.append(_dataset(path, image, stored.names))
            write_array(os.path.join(folder, path), stored, compress, {})
            array = group[path]
            space = [size for size, name in _axes_of(stored) if name in SPACE]
            if max(space) <= COARSEST:
                break
            stored = Stored(EverySecond(array, stored.names), stored.names)
        group.attrs["ome"] = {
            "version": VERSION,
            "multiscales": [
                {
                    "name": image.name or "image",
                    "axes": [_axis(name, told.get("axes", [])) for name in stored.names],
                    "datasets": datasets,
                    "type": "every second voxel",
                    **({"metadata": {LOSSY: image.loss}} if image.loss else {}),
                }
            ],
            **_omero(told.get("channels", []), array, stored.names),
        }
        return lost


class EverySecond:
    """Every second voxel of an array, which is read when it is sliced.

    held: the array
    names: of its axes; the others are taken whole
    """

    def __init__(self, held: Any, names: Sequence[str]) -> None:
        self.held, self.dtype, self.ndim = held, np.dtype(held.dtype), held.ndim
        self.steps = tuple(2 if name in SPACE else 1 for name in names)
        self.shape = tuple(
            -(-size // step) for size, step in zip(held.shape, self.steps, strict=True)
        )

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part: a slice of step 1 for each axis."""
        wide = tuple(
            slice(own.start * step, own.stop * step)
            for own, step in zip(index, self.steps, strict=True)
        )
        thin = tuple(slice(None, None, step) for step in self.steps)
        return np.asarray(self.held[wide])[thin]


def _plain(image: Image) -> tuple[Image, list[str]]:
    """An image without what OME-Zarr has no place for, and a line for each such thing."""
    lost, numbers, shape = list[str](), image.numbers, image.numbers.shape
    if (image.slope, image.intercept) != (1.0, 0.0):
        numbers = image.plain().numbers
        lost.append("OME-Zarr has no slope: the values are written as float32")
    if image.vectors:
        lost.append("the components of vectors are written as channels")
    flat = len(shape) > (4 if image.vectors else 5)
    if flat:
        numbers = np.asarray(numbers[...]).reshape(*shape[:3], -1)
        lost.append("an image has an axis of time and one of channels: all parts are channels")
    if not image.is_upright:
        lost.append("of the transform, the size of a voxel and the origin alone are kept")
    if image.space:
        lost.append(f"an image does not say that its world space is {image.space}")
    return Image(
        numbers, image.matrix, image.vectors and not flat, kind=image.kind,
        header=image.header, name=image.name,
    ), lost  # fmt: skip


def _in_order(image: Image) -> Stored:
    """The numbers of an image with axes among t, c, z, y, x, in that order."""
    told = [CALLED.get(name.lower(), name.lower()) for name in names_of_axes(image)[3:]]
    free = [name for name in ("c", "t") if name not in told]
    parts = [name if name in ("t", "c") and told.count(name) == 1 else "" for name in told]
    names = [*SPACE, *(name or free.pop(0) for name in parts)]
    order = [names.index(name) for name in TYPES if name in names]
    return Stored(Reordered(image.numbers, order), tuple(names[axis] for axis in order))


def _axes_of(stored: Stored) -> list[tuple[int, str]]:
    return list(zip(stored.numbers.shape, stored.names, strict=True))


def _dataset(path: str, image: Image, names: Sequence[str]) -> dict[str, Any]:
    """What is told of a level. Its first voxel is that of the image.

    path: its number
    """
    step = 2 ** int(path)
    edges = dict(zip(SPACE, image.edges.tolist(), strict=True))
    origin = dict(zip(SPACE, image.matrix[:3, 3].tolist(), strict=True))
    scale = [edges[name] * step if name in SPACE else 1.0 for name in names]
    place = [origin.get(name, 0.0) for name in names]
    steps = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": place}]
    return {"path": path, "coordinateTransformations": steps}


def _axis(name: str, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is told of an axis: what the image's own store told of it."""
    held = next((dict(own) for own in told if str(own.get("name")).lower() == name), {})
    return {**held, "name": name, "type": TYPES[name]}


def _omero(channels: Sequence[str], coarse: Any, names: Sequence[str]) -> dict[str, Any]:
    """What is told of the channels of an image, where these have names.

    coarse: the array of its last level, whose values give the ranges that are shown
    """
    axis = names.index("c") if "c" in names else None
    if axis is None or len(channels) != coarse.shape[axis]:
        return {}
    found = []
    for number, label in enumerate(channels):
        at = tuple(number if own == axis else slice(None) for own in range(coarse.ndim))
        values = np.asarray(coarse[at], dtype=np.float64)
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        window = {"min": low, "max": high, "start": low, "end": high}
        colour = COLOURS[number % len(COLOURS)]
        found.append({"label": str(label), "color": colour, "window": window, "active": True})
    return {"omero": {"channels": found}}


FILE_TYPE = OmeZarrFiles()
