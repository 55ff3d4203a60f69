"""VTKHDF files (.vtkhdf), by h5py: VTK's image data in HDF5, of several moments too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.errors import ImageFileError
from inrv.files.images.hdf5_sets import MAGIC, numbers_of, open_file, packing, why_left_out
from inrv.files.images.image import MOST_PARTS, Image, as_type
from inrv.files.images.lazy import Numbers, Reordered
from inrv.files.images.many import ManyImageFiles, named
from inrv.files.images.vtk import (
    GROUPS,
    KIND,
    TIMES,
    Frame,
    arrays_of,
    extent_of,
    matrix_of,
    place_of,
    shape_of,
)
from inrv.support.inputs import Input

GROUP, STEPS, TIME = "VTKHDF", "Steps", "TimeValue"
LACKING = {"bool": "uint8", "float16": "float32"}
OTHERS = {
    "OverlappingAMR": "its boxes of several levels are no one image: resample them, as by "
    "ParaView's filter 'Resample To Image'"
}


class VtkHdfFiles(ManyImageFiles):
    """ImageData. A moment is a part of an array."""

    title, extra, shared = "a VTKHDF file", "science", True

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins with HDF5's signature."""
        return start.startswith(MAGIC)

    def images(self, source: Input) -> Sequence[Image]:
        """Find the arrays; they are read when they are sliced."""
        file = open_file(source)
        if GROUP not in file:
            raise ImageFileError(
                f"it has no group {GROUP}: call it .h5, and its data sets are read"
            )
        return named(images_in(file[GROUP]))

    def put_all(
        self, images: Mapping[str, Image], output: BinaryIO, compress: bool
    ) -> Sequence[str]:
        """Write the images that lie in the box of the first one, and have its moments or none."""
        import h5py

        first = next(iter(images.values()))
        frame, lost = Frame.of(first), list[str]()
        times = next((found for found in map(_times_of, images.values()) if found), [])
        with h5py.File(output, "w") as file:
            group = _group(file, frame, times)
            for name, image in images.items():
                own = _times_of(image)
                if not frame.fits(Frame.of(image)) or own not in ([], times):
                    lost.append(
                        f"grid {name!r} is left out: it has another box than the first one, or "
                        "other moments"
                    )
                    continue
                plain, lines = as_type(image, LACKING, self.title)
                lost += lines
                _put(group, name, plain, bool(own), len(times), compress)
        return lost


# ---- Reading ----


def images_in(group: Any) -> Mapping[str, Image]:
    """The images of the group VTKHDF. Raises ImageFileError."""
    kind = group.attrs.get("Type", b"")
    kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
    if kind != "ImageData":
        more = OTHERS.get(kind, "only ImageData is read")
        raise ImageFileError(f"it holds {kind or 'data of no type'}: {more}")
    extent = extent_of(_of(group, "WholeExtent", 6, None), "its WholeExtent is")
    origin, spacing = _of(group, "Origin", 3, [0, 0, 0]), _of(group, "Spacing", 3, [1, 1, 1])
    turn = _of(group, "Direction", 9, np.eye(3).reshape(-1))
    told: dict[str, Any] = {"extent": list(extent), "origin": origin}
    times = _steps(group)
    if times is not None:
        told[TIMES] = times
    elif f"FieldData/{TIME}" in group and group[f"FieldData/{TIME}"].shape == (1,):
        told["time"] = float(group[f"FieldData/{TIME}"][0])
    found = dict[str, Image]()
    for place, part in GROUPS.items():
        matrix = matrix_of(extent, origin, spacing, turn, place)
        for name, data in group.get(part, {}).items():
            if getattr(data, "dtype", np.dtype("O")).kind not in "iufb":
                continue
            reason = why_left_out(data)
            if reason is not None:
                raise ImageFileError(f"array {name!r} cannot be read: {reason}")
            numbers = _numbers(group, part, name, shape_of(extent, place), times)
            key = name if name not in found else f"{name}.{place}"
            header = {**told, "name": name, "place": place}
            vectors = numbers.ndim > 3 and numbers.shape[-1] == 3 and data.ndim - bool(times) > 3
            found[key] = Image(numbers, matrix, vectors, kind=KIND, header=header)
    return found


def _of(group: Any, name: str, count: int, default: Any) -> list[float]:
    """An attribute of so many numbers. Raises ImageFileError where it is none."""
    found = numbers_of({name: group.attrs.get(name, default)}, name, count)
    if found is None:
        raise ImageFileError(f"its {name} is not one of {count} numbers")
    return [float(number) for number in found]


def _steps(group: Any) -> list[float] | None:
    """The times of its moments; None where it has none."""
    if STEPS not in group:
        return None
    values = group[STEPS].get("Values")
    if values is None or values.ndim != 1 or not 0 < len(values) <= MOST_PARTS:
        raise ImageFileError(f"its {STEPS} have no values, or more than {MOST_PARTS:,}")
    return [float(value) for value in values[...]]


def _numbers(
    group: Any, part: str, name: str, shape: tuple[int, int, int], times: list[float] | None
) -> Numbers:
    """The numbers of an array, x first, then moments, then components."""
    data = group[part][name]
    moments = int(times is not None)
    if data.ndim not in (3 + moments, 4 + moments) or data.shape[moments:][:3] != shape[::-1]:
        raise ImageFileError(
            f"array {name!r} has the shape {data.shape}, and the box {shape[::-1]} values"
        )
    more = tuple(range(3, data.ndim - moments))
    if times is None:
        return Reordered(data, (2, 1, 0, *more))
    offsets = group.get(f"{STEPS}/{part}Offsets/{name}")
    places = list(range(len(times))) if offsets is None else [int(own) for own in offsets[...].flat]
    if len(places) != len(times) or not all(0 <= own < data.shape[0] for own in places):
        raise ImageFileError(f"array {name!r} has not the moments that its {STEPS} tell of")
    return Reordered(_Moments(data, places), (3, 2, 1, 0, *(own + 1 for own in more)))


class _Moments:
    """An array of which each moment lies at some place along the first axis.

    data: the data set
    places: of the moments
    """

    def __init__(self, data: Any, places: Sequence[int]) -> None:
        self.data, self.places = data, places
        self.shape, self.dtype = (len(places), *data.shape[1:]), data.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        first, *others = index
        return np.stack([self.data[(place, *others)] for place in self.places[first]])


# ---- Writing ----


def _times_of(image: Image) -> list[float]:
    """The times of an image's moments, as the file that it came from told."""
    told = image.header_of(KIND).get(TIMES)
    known = isinstance(told, list) and image.part_shape and len(told) == image.part_shape[0]
    return [float(time) for time in told] if known and told else []


def _group(file: Any, frame: Frame, times: Sequence[float]) -> Any:
    group = file.create_group(GROUP)
    group.attrs["Version"] = np.array([2, 0] if times else [1, 0], dtype=np.int64)
    group.attrs["Type"] = np.bytes_("ImageData")  # of a fixed length, as VTK's reader wants it
    group.attrs["WholeExtent"] = np.array(frame.extent, dtype=np.int64)
    group.attrs["Origin"], group.attrs["Spacing"] = frame.origin, frame.spacing
    group.attrs["Direction"] = frame.turn.reshape(-1)
    for part in GROUPS.values():
        group.create_group(part)
    if times:
        steps = group.create_group(STEPS)
        steps.attrs["NSteps"] = np.int64(len(times))
        steps.create_dataset("Values", data=np.array(times, dtype=np.float64))
    return group


def _put(
    group: Any, name: str, image: Image, in_moments: bool, moments: int, compress: bool
) -> None:
    """Write an image: its moments and components together where they were, else a part each.

    in_moments: whether the first axis of its parts is one of moments
    moments: how many the file has
    """
    part = GROUPS[place_of(image)]
    together = str(image.header_of(KIND).get("name", name)), image.plain_values()
    for own, array in [together] if in_moments else arrays_of(image, name):
        first = (3,) * in_moments
        more = tuple(range(3 + in_moments, array.ndim))
        ordered = array.transpose(*first, 2, 1, 0, *more)
        if moments and not in_moments:
            ordered = ordered[None]
        begin = int(moments > 0)
        spatial = {begin + axis: ordered.shape[begin + axis] for axis in range(3)}
        settings = packing(ordered.shape, bool(more), spatial) if compress else {}
        path = own.replace("/", ".").replace("\0", "_") or "image"
        group[part].create_dataset(path, data=ordered, **settings)
        if moments:
            places = np.arange(moments) if in_moments else np.zeros(moments, dtype=np.int64)
            group.require_group(f"{STEPS}/{part}Offsets").create_dataset(path, data=places)


FILE_TYPE = VtkHdfFiles()
