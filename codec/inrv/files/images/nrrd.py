"""NRRD files (.nrrd), by pynrrd: numbers with a frame in world space, and fields of any name."""

from __future__ import annotations

import bz2
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.errors import ImageFileError
from inrv.files.buffers import gunzip
from inrv.files.images.file_type import ImageFiles, check_length, check_packed
from inrv.files.images.image import LOSSY, Image, as_type
from inrv.files.images.lazy import Bytes

KIND = "nrrd"
# Bytes of a number, by what its type's name has in it; of all others, as int and float, 4.
WIDTHS = {1: ("char", "8"), 2: ("short", "16"), 8: ("long", "64", "double")}
SPACES = {
    "left-posterior-superior": "LPS", "lps": "LPS", "right-anterior-superior": "RAS", "ras": "RAS",
    "left-anterior-superior": "LAS", "las": "LAS",
}  # fmt: skip
NAMES = {
    "LPS": "left-posterior-superior", "RAS": "right-anterior-superior",
    "LAS": "left-anterior-superior",
}  # fmt: skip
# Fields that follow from the numbers and the matrix, and those of axes, which change their order.
MADE = {
    "type", "dimension", "sizes", "encoding", "endian", "space", "space dimension",
    "space directions", "space origin", "kinds", "spacings", "centers", "centerings", "data file",
    "datafile", "units", "labels", "thicknesses", "axis mins", "axis maxs", "axismins", "axismaxs",
}  # fmt: skip
SKIPPED_LINES = ("line skip", "lineskip")
LACKING = {"bool": "uint8", "float16": "float32"}
VECTORS = (
    "vector", "covariant-vector", "normal", "3-vector", "3-gradient", "3-normal", "3-color",
    "rgb-color", "hsv-color", "xyz-color",
)  # fmt: skip
DOMAIN = ("domain", "space", "time")  # kinds of axes along which voxels lie


class NrrdFiles(ImageFiles):
    """Attached headers. An axis that is not of space has vectors, where it has three, or parts."""

    title = "an NRRD file"

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins with NRRD's magic number."""
        return start.startswith(b"NRRD")

    def image(self, data: Bytes) -> Image:
        """Read numbers, x first, and the frame of the axes of space."""
        import nrrd

        file = io.BytesIO(data)
        header: Any = nrrd.read_header(file)
        if {"data file", "datafile"} & set(header):
            raise ImageFileError("the numbers lie in another file: attach them, as by `unu save`")
        for name in SKIPPED_LINES:
            if int(header.get(name, 0)) > len(data):  # which takes long to find out
                raise ImageFileError(f"it skips {header[name]:,} lines and has {len(data):,} bytes")
        header["encoding"], plain = _unpacked(header, data[file.tell() :])
        numbers = nrrd.read_data(header, io.BytesIO(plain), index_order="F")
        spatial = _axes_of_space(header, numbers.ndim)
        others = [axis for axis in range(numbers.ndim) if axis not in spatial]
        numbers = numbers.transpose(*spatial, *others)
        kinds = [str(kind).lower() for kind in header.get("kinds", [])]
        told = len(kinds) == numbers.ndim and kinds[others[0]] if others else False
        is_vector = told in VECTORS if told else others == [0]
        vectors = len(others) == 1 and numbers.shape[3] == 3 and is_vector
        space = SPACES.get(str(header.get("space", "")).lower(), "")
        kept = {
            str(key): _plain(value) for key, value in header.items() if str(key).lower() not in MADE
        }
        if not space and "space" in header:
            kept["space"] = str(header["space"])
        return Image(numbers, _matrix(header, spatial), vectors, 1.0, 0.0, space, KIND, kept)

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write the values, axes of vectors first, those of parts last."""
        import nrrd

        image, lost = as_type(image, LACKING, self.title)
        values = image.plain_values()
        first = (values.ndim - 1,) if image.vectors else ()
        parts = tuple(range(3, values.ndim - len(first)))
        values = values.transpose(*first, 0, 1, 2, *parts)
        nothing = np.full(3, np.nan)
        directions = [nothing] * len(first) + list(image.matrix[:3, :3].T) + [nothing] * len(parts)
        header = dict(image.header_of(KIND)) | {
            "space directions": np.array(directions),
            "space origin": image.matrix[:3, 3],
            "kinds": ["vector"] * len(first) + ["domain"] * 3 + ["list"] * len(parts),
            "encoding": "gzip" if compress else "raw",
        }
        if image.loss:
            header[LOSSY] = image.loss
        if image.space:
            header["space"] = NAMES[image.space]
        elif "space" not in header:
            header["space dimension"] = 3
        nrrd.write(output, np.asfortranarray(values), header, index_order="F")
        return lost


def _unpacked(header: Mapping[str, Any], packed: Bytes) -> tuple[str, Bytes]:
    """The encoding and the bytes of numbers, raw where they were packed, as many as belong.

    Raises ImageFileError where there are fewer, or more were packed.
    """
    kind, encoding = str(header["type"]), str(header["encoding"])
    width = next((own for own, words in WIDTHS.items() if any(word in kind for word in words)), 4)
    whole = math.prod(int(size) for size in header["sizes"]) * width
    if encoding == "raw":
        check_length(len(packed), whole)
        return encoding, packed
    if encoding in ("gzip", "gz", "bzip2", "bz2"):
        check_packed(len(packed), whole)
    if encoding in ("gzip", "gz"):
        found = gunzip(packed, whole + 1)
    elif encoding in ("bzip2", "bz2"):
        found = bz2.BZ2Decompressor().decompress(packed, whole + 1)
    else:
        return encoding, packed
    if len(found) != whole:
        raise ImageFileError(f"it holds {len(found):,} bytes of numbers where {whole:,} belong")
    return "raw", found


def _axes_of_space(header: Mapping[str, Any], count: int) -> list[int]:
    """Which three axes are those of space."""
    directions = header.get("space directions")
    if directions is not None:
        found = [axis for axis in range(count) if _is_direction(directions[axis])]
    else:
        kinds = [str(kind).lower() for kind in header.get("kinds", ["domain"] * count)]
        found = [axis for axis, kind in enumerate(kinds) if kind in DOMAIN][:3]
    if len(found) != 3:
        raise ImageFileError(f"{len(found)} of its {count} axes are axes of space, not three")
    return found


def _is_direction(row: Any) -> bool:
    return row is not None and bool(np.isfinite(np.asarray(row, dtype=np.float64)).all())


def _matrix(header: Mapping[str, Any], spatial: Sequence[int]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    if "space directions" in header:
        rows = [header["space directions"][axis] for axis in spatial]
        matrix[:3, :3] = np.array(rows, dtype=np.float64).T
    elif "spacings" in header:
        edges = np.array(header["spacings"], dtype=np.float64)[list(spatial)]
        matrix[:3, :3] = np.diag(np.where(np.isfinite(edges), edges, 1.0))
    if "space origin" in header:
        matrix[:3, 3] = np.array(header["space origin"], dtype=np.float64)
    return matrix


def _plain(value: Any) -> Any:
    """A field as JSON has it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


FILE_TYPE = NrrdFiles()
