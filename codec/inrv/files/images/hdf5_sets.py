"""Data sets of HDF5 files, by h5py: which ones are read, and what their attributes tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.files.images.file_type import FREE_BYTES, MOST_PACKED
from inrv.support.inputs import FileInput, Input

MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_ATTRIBUTE = 1024  # numbers of an attribute that is kept
CHUNK = 64  # voxels along an axis that are packed together where we write
# Attributes that link data sets, which h5py and netCDF make anew.
LINKS = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "_Netcdf4Dimid",
         "_Netcdf4Coordinates", "_NCProperties")  # fmt: skip


def open_file(source: Input) -> Any:
    """Open a file for reading; it stays open as long as a data set of it is kept."""
    import h5py

    if isinstance(source, FileInput):
        return h5py.File(source.path, "r", locking=False)
    return h5py.File(source.open(), "r")


def why_left_out(data: Any) -> str | None:
    """Why a data set of numbers is not read; None where it is."""
    if data.is_virtual or data.external is not None:
        return "its numbers lie in other files"
    of_chunk = math.prod(data.chunks) * data.dtype.itemsize if data.chunks else 0
    claimed, stored = max(data.nbytes, of_chunk), int(data.id.get_storage_size())
    if claimed > max(FREE_BYTES, MOST_PACKED * stored):
        return f"it claims {claimed:,} bytes of numbers, and {stored:,} are stored"
    return None


def packing(shape: tuple[int, ...], vectors: bool, spatial: Mapping[int, int]) -> dict[str, Any]:
    """What h5py is told to pack a data set in chunks.

    shape: of the data set
    vectors: whether its last axis has components
    spatial: its axes of space, each with its length
    """
    chunks = tuple(
        min(CHUNK, spatial[axis])
        if axis in spatial
        else size if vectors and axis == len(shape) - 1 else 1
        for axis, size in enumerate(shape)
    )  # fmt: skip
    return {"chunks": chunks, "compression": "gzip", "shuffle": True}


def names_of_dimensions(data: Any) -> list[str]:
    """What a data set calls its dimensions, by labels or else by their scales; '' where nothing.

    The attributes are read as such, because HDF5's own functions for them end the process where
    they are damaged.
    """
    labels = data.attrs.get("DIMENSION_LABELS", [])
    names = [own if isinstance(own, str) else "" for own in np.reshape(labels, -1).tolist()]
    names = names if len(names) == data.ndim else [""] * data.ndim
    scales = data.attrs.get("DIMENSION_LIST", [])
    if not any(names) and len(scales) == data.ndim:
        paths = [str(data.file[own[0]].name) if len(own) else "" for own in scales]
        names = [path.rpartition("/")[2] for path in paths]
    return names


def json_attributes(data: Any, without: tuple[str, ...]) -> dict[str, Any]:
    """The attributes of a data set that JSON holds, less some, and those that link data sets."""
    found = dict[str, Any]()
    for name in data.attrs:
        if name in LINKS or name in without:
            continue
        try:
            value = np.asarray(data.attrs[name])
        except (OSError, TypeError, ValueError):  # of a type that h5py has no array for
            continue
        if value.size > MOST_ATTRIBUTE:
            continue
        plain = _plain(value)
        if plain is not None:
            found[str(name)] = plain
    return found


def _plain(value: NDArray[Any]) -> Any:
    """Numbers and texts as JSON has them; None for anything else."""
    if value.dtype.kind in "iufbU":
        return value.tolist()
    if value.dtype.kind == "S":
        return np.char.decode(value, "utf-8", "replace").tolist()
    texts = value.reshape(-1).tolist()
    if value.dtype.kind == "O" and all(isinstance(text, str) for text in texts):
        return value.tolist()
    return None


def numbers_of(attributes: Any, name: str, *shape: int) -> NDArray[np.float64] | None:
    """An attribute of finite numbers in this shape; None where there is none."""
    found = attributes.get(name)
    if found is None:
        return None
    array = np.asarray(found)
    if array.shape != shape or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        return None
    return array.astype(np.float64)
