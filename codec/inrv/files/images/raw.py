"""Raw numbers (.raw) with a header beside them: x.raw.json, or x.mhd, x.nhdr or x.dat."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from inrv.errors import ImageFileError, OptionError
from inrv.files.file_types import START_BYTES
from inrv.files.images.axes import AXES, image_in_order, values_in_file_order
from inrv.files.images.image import FLIPS, Image
from inrv.files.images.lazy import stored_numbers
from inrv.files.images.mhd import MhdFiles
from inrv.files.images.nhdr import NhdrFiles
from inrv.files.images.pairs import PairFiles, beside, with_ending
from inrv.support.inputs import FileInput, Input

KIND = "raw"
JSON = ".json"  # behind the name of the numbers
DAT = b"ObjectFileName:"  # with which such a header begins
DEFAULT = "tczyxv"  # the order of axes, of which those that an image has are taken
KEYS = (
    "shape", "dtype", "axes", "order", "endian", "skip", "spacing", "origin", "affine", "space",
    "slope", "intercept",
)  # fmt: skip
ORDERS, ENDIANS = ("C", "F"), ("little", "big")
FORMATS = {
    "UCHAR": "u1", "CHAR": "i1", "USHORT": "u2", "SHORT": "i2", "UINT": "u4", "INT": "i4",
    "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip
MOST_HEADER = 1 << 16  # bytes


class RawFiles(PairFiles):
    """Numbers and nothing else. What they are is told by the header that lies beside them."""

    title, extra, tells_axes = "a file of raw numbers", "", False

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins as one of the two headers does that have no type of theirs."""
        return start.startswith(DAT) or (
            start.lstrip().startswith(b"{") and b'"shape"' in start and b'"dtype"' in start
        )

    def opened(self, source: Input) -> Image:
        """Find the header, or the numbers of a header. The numbers are mapped."""
        start = source.part(0, START_BYTES)
        if start.startswith(DAT):
            return _of_dat(source, source.part(0, MOST_HEADER))
        if source.name.lower().endswith(JSON) or self.sniff(start):
            name = os.path.basename(source.name)
            numbers = name[: -len(JSON)] if name.lower().endswith(JSON) else ""
            return _of_json(source.part(0, MOST_HEADER), beside(source, numbers))
        return self._of_numbers(source)

    def _of_numbers(self, source: Input) -> Image:
        found = _headers_of(source)
        if len(found) > 1:
            names = ", ".join(os.path.basename(own) for own in found)
            raise ImageFileError(
                f"several headers stand beside it, {names}, and one may be older than the numbers: "
                "name the header itself, or remove the others"
            )
        for path in found:
            header = beside(source, os.path.basename(path))
            if path.endswith(JSON):
                return _of_json(header.part(0, MOST_HEADER), source)
            if os.fsencode(os.path.basename(source.name)) not in header.part(0, MOST_HEADER):
                raise ImageFileError(f"{header.name} beside it is the header of other ones")
            return HEADERS[os.path.splitext(path)[1]](header)
        raise ImageFileError(
            f"nothing tells what its numbers are: put a header beside it, as .raw{JSON} "
            "(docs/formats.md#raw-numbers), .mhd, .nhdr or .dat"
        )

    def pair_of(self, path: str) -> tuple[str, str]:
        """The paths of numbers and header."""
        return path, path + JSON

    def put_pair(self, image: Image, numbers: BinaryIO, name: str) -> tuple[bytes, Sequence[str]]:
        """Write the numbers, x first if no other order is told, and give the header."""
        found, axes = values_in_file_order(image, KIND, image.all_numbers(), DEFAULT)
        stored = np.asarray(found[...])
        little = stored.dtype.newbyteorder("<")
        numbers.write(np.ascontiguousarray(stored, little).data.cast("B"))
        told: dict[str, Any] = {"shape": stored.shape, "dtype": stored.dtype.name, AXES: axes}
        told |= {"order": "C", "endian": "little", "skip": 0}
        if image.is_upright:
            told["spacing"] = image.edges.tolist()
            told["origin"] = image.matrix[:3, 3].tolist()
        else:
            told["affine"] = image.matrix.tolist()
        if (image.slope, image.intercept) != (1.0, 0.0):
            told |= {"slope": image.slope, "intercept": image.intercept}
        if image.space:
            told["space"] = image.space
        entries = ",\n".join(f"  {json.dumps(key)}: {json.dumps(own)}" for key, own in told.items())
        return f"{{\n{entries}\n}}\n".encode(), []


def _of_json(text: bytes, numbers: Input) -> Image:
    """The image of a JSON header. Raises ImageFileError."""
    told = json.loads(text)
    if not isinstance(told, dict) or not set(told) <= set(KEYS):
        unknown = sorted(set(told) - set(KEYS)) if isinstance(told, dict) else []
        raise ImageFileError(f"its header has {unknown or 'no keys'}: known are {', '.join(KEYS)}")
    shape, axes = told.get("shape"), told.get(AXES)
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        raise ImageFileError(f"its header has the shape {shape}, which is no list of whole numbers")
    if axes is None:
        vectors = len(shape) > 3 and shape[-1] == 3
        axes = "tc"[: max(0, len(shape) - 3 - vectors)] + "zyx" + "v" * vectors
    kind = _dtype(told.get("dtype"), _one_of(told, "endian", ENDIANS))
    skip = told.get("skip", 0)
    if type(skip) is not int or skip < 0:
        raise ImageFileError(f"its header has skip {skip!r}, which is no count of bytes")
    order = _one_of(told, "order", ORDERS)
    stored = stored_numbers(numbers.view(), kind, shape if order == "C" else shape[::-1], skip)
    if numbers.size != skip + stored.nbytes:
        raise ImageFileError(
            f"it has {numbers.size:,} bytes where its header tells of {skip + stored.nbytes:,}"
        )
    try:
        ordered, are_vectors = image_in_order(stored if order == "C" else stored.T, axes)
    except OptionError as error:
        raise ImageFileError(f"its header: {error}") from error
    slope, intercept = _reals(told, "slope", (), 1.0), _reals(told, "intercept", (), 0.0)
    if not slope:
        raise ImageFileError("its header has the slope 0")
    return Image(
        ordered, _matrix(told), are_vectors, float(slope), float(intercept),
        _one_of(told, "space", ("", *FLIPS)), KIND, {AXES: axes},
    )  # fmt: skip


def _dtype(name: Any, endian: str) -> np.dtype[Any]:
    try:
        kind = np.dtype(name if isinstance(name, str) else "O")
    except TypeError:
        kind = np.dtype("O")
    if kind.kind not in "iufb":
        raise ImageFileError(f"its header has the dtype {name!r}, which is no type of real numbers")
    return kind.newbyteorder(">" if endian == "big" else "<")


def _one_of(told: Mapping[str, Any], name: str, known: Sequence[str]) -> str:
    """An entry that is one of a few words, the first of which is the default."""
    found = told.get(name, known[0])
    if found not in known:
        words = ", ".join(word for word in known if word)
        raise ImageFileError(f"its header has {name} {found!r}, not one of {words}")
    return str(found)


def _reals(told: Mapping[str, Any], name: str, shape: tuple[int, ...], default: Any) -> Any:
    """An entry of finite numbers, float64 in a shape."""
    try:
        found = np.array(told.get(name, default), dtype=np.float64)
    except (TypeError, ValueError):
        found = np.array([np.nan])
    if found.shape != shape or not np.isfinite(found).all():
        raise ImageFileError(f"its header has {name} {told[name]}, not numbers of shape {shape}")
    return found


def _matrix(told: Mapping[str, Any]) -> Any:
    matrix = _reals(told, "affine", (4, 4), np.eye(4))
    if "affine" not in told:
        matrix[:3, :3] = np.diag(_reals(told, "spacing", (3,), np.ones(3)))
        matrix[:3, 3] = _reals(told, "origin", (3,), np.zeros(3))
    return matrix


def _of_dat(source: Input, text: bytes) -> Image:
    """The image of a header as volume renderers have: lines of a key, a colon and a value."""
    lines = [line.partition(":") for line in text.decode("utf-8", "replace").splitlines()]
    told = {key.strip(): value.strip() for key, _, value in lines}
    sizes = [int(word) for word in told.get("Resolution", "").split()]
    spacing = [float(word) for word in told.get("SliceThickness", "1 1 1").split()]
    form = told.get("Format", "")
    if len(sizes) != 3 or len(spacing) != 3 or form not in FORMATS:
        raise ImageFileError(
            f"it has the resolution {sizes}, the slice thickness {spacing} and the format {form!r}"
        )
    numbers = beside(source, told["ObjectFileName"])
    stored = stored_numbers(numbers.view(), np.dtype("<" + FORMATS[form]), sizes[::-1], 0)
    if numbers.size != stored.nbytes:
        raise ImageFileError(f"{numbers.name} has {numbers.size:,} bytes, not {stored.nbytes:,}")
    ordered, _ = image_in_order(stored, "zyx")
    return Image(ordered, np.diag([*spacing, 1.0]), kind=KIND, header={AXES: "zyx"})


def _headers_of(source: Input) -> list[str]:
    """The paths of the headers beside a local file of numbers."""
    if not isinstance(source, FileInput):
        return []
    paths = [source.path + JSON, *(with_ending(source.path, ending) for ending in HEADERS)]
    return [path for path in paths if os.path.isfile(path)]


HEADERS: Mapping[str, Callable[[Input], Image]] = {
    ".mhd": MhdFiles().opened,
    ".nhdr": NhdrFiles().opened,
    ".dat": lambda source: _of_dat(source, source.part(0, MOST_HEADER)),
}
FILE_TYPE = RawFiles()
