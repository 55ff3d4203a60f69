"""MetaImage headers (.mhd), with their numbers in a file beside them or behind them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from inrv.errors import ImageFileError
from inrv.files.images.file_type import check_length, check_packed
from inrv.files.images.image import Image, as_type, space_lines
from inrv.files.images.lazy import stored_numbers
from inrv.files.images.pairs import PairFiles, beside, with_ending
from inrv.support.inputs import BytesInput, Input

KIND = "metaimage"
LACKING = {"bool": "uint8", "float16": "float32"}
# Of several names for one type, we write the last one.
TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_LONG": "i4",
    "MET_ULONG": "u4", "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
NAMES = {np.dtype(kind).name: name for name, kind in TYPES.items()}
LAST = "ElementDataFile"  # the key that ends a header
# Keys that programs write for one thing, the first of which is the one that we write.
ORIGIN = ("Offset", "Position", "Origin")
TURN = ("TransformMatrix", "Rotation", "Orientation")
BIG_ENDIAN = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
MOST_HEADER = 1 << 16  # bytes


class MhdFiles(PairFiles):
    """Detached headers. World space is LPS, as ITK has it. The numbers are raw where we write."""

    title, extra = "a MetaImage header", ""

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins as MetaImage's headers do."""
        return start.startswith((b"ObjectType", b"NDims"))

    def opened(self, source: Input) -> Image:
        """Read the header. The numbers are mapped where they are not compressed."""
        header, end = header_of(source)
        name = header[LAST]
        if name.split()[:1] == ["LIST"] or "%" in name:
            raise ImageFileError("its numbers lie in several files: join them into one")
        if is_local(header):
            return image_of_header(header, source, end)
        return image_of_header(header, beside(source, name), 0)

    def pair_of(self, path: str) -> tuple[str, str]:
        """The paths of numbers and header."""
        return with_ending(path, ".raw"), path

    def put_pair(self, image: Image, numbers: BinaryIO, name: str) -> tuple[bytes, Sequence[str]]:
        """Write the values, x first, and give the header; parts are a fourth axis."""
        image, lost = as_type(image, LACKING, self.title)
        lost += space_lines(image, "LPS")
        values, matrix = image.plain_values(), image.matrix_in("LPS")
        vectors = (3,) * image.vectors
        values = values.reshape(*values.shape[:3], -1, *vectors)
        axes = 3 + (values.shape[3] > 1)
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        turn = np.eye(axes)
        turn[:3, :3] = (matrix[:3, :3] / spacing).T
        if not np.allclose(turn @ turn.T, np.eye(axes), atol=1e-6):
            lost.append("axes that are not at right angles: their lengths and the origin are kept")
            turn = np.eye(axes)
        more = [1.0] * (axes - 3)
        told = {
            "ObjectType": "Image",
            "NDims": axes,
            "BinaryData": True,
            BIG_ENDIAN[0]: False,
            "CompressedData": False,
            TURN[0]: _text(turn.reshape(-1)),
            ORIGIN[0]: _text([*matrix[:3, 3], *(0.0 for _ in more)]),
            "ElementSpacing": _text([*spacing, *more]),
            "DimSize": " ".join(map(str, values.shape[:axes])),
            "ElementNumberOfChannels": 3 if image.vectors else 1,
            "ElementType": NAMES[values.dtype.name],
            LAST: name,
        }
        order = (3, 2, 1, 0, *range(4, values.ndim))
        little = values.dtype.newbyteorder("<")
        numbers.write(np.ascontiguousarray(values.transpose(order), little).data.cast("B"))
        return "".join(f"{key} = {value}\n" for key, value in told.items()).encode(), lost


def _text(numbers: Any) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def header_of(source: Input) -> tuple[Mapping[str, str], int]:
    """The entries of a header, and the bytes that it takes. Raises ImageFileError."""
    start, found, place = source.part(0, MOST_HEADER), dict[str, str](), 0
    while LAST not in found:
        line, end, _ = start[place:].partition(b"\n")
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals or (not end and key.strip() != LAST):
            raise ImageFileError(f"its header has no {LAST}, which ends one")
        found[key.strip()] = value.strip()
        place += len(line) + len(end)
    return found, place


def is_local(header: Mapping[str, str]) -> bool:
    """Whether the numbers lie behind the header."""
    return header[LAST].upper() == "LOCAL"


def image_of_header(header: Mapping[str, str], source: Input, start: int) -> Image:
    """The image of a header, whose numbers lie in a file behind `start` bytes."""
    axes = int(header.get("NDims", "3"))
    shape = [int(word) for word in header.get("DimSize", "").split()]
    name = header.get("ElementType", "")
    channels = int(header.get("ElementNumberOfChannels", "1"))
    if len(shape) != axes or not 1 <= axes <= 6 or name not in TYPES or channels < 1:
        raise ImageFileError(
            f"it has the size {header.get('DimSize')!r} along {axes} axes, and {channels} numbers "
            f"of {name!r} a voxel"
        )
    if _is_true(header, ("BinaryData",), default=True) is False:
        raise ImageFileError("its numbers are a text: write them as binary ones")
    kind = np.dtype((">" if _is_true(header, BIG_ENDIAN) else "<") + TYPES[name])
    shape += [1] * (3 - axes)
    stored = [*reversed(shape), *([channels] if channels > 1 else [])]
    skip = int(header.get("HeaderSize", "0"))
    whole = math.prod(stored) * kind.itemsize
    if _is_true(header, ("CompressedData",)):
        source, start = BytesInput(source.name, _unpacked(source, start, whole)), 0
    elif skip == -1:  # the numbers end the file
        start = source.size - whole
    else:
        start += skip
    numbers = stored_numbers(source.view(), kind, stored, start)
    order = (*reversed(range(len(shape))), *range(len(shape), len(stored)))
    matrix, size = np.eye(4), min(3, axes)
    turn = _reals(header, TURN, axes * axes, np.eye(axes).reshape(-1).tolist())
    spacing = _reals(header, ("ElementSpacing", "ElementSize"), axes, [1.0] * axes)
    frame = np.reshape(turn, (axes, axes))[:size, :size].T
    matrix[:size, :size] = frame * np.array(spacing)[:size]
    matrix[:size, 3] = _reals(header, ORIGIN, axes, [0.0] * axes)[:size]
    return Image(numbers.transpose(order), matrix, channels == 3, space="LPS", kind=KIND)


def _unpacked(source: Input, start: int, whole: int) -> bytes:
    packed = source.part(start, source.size)
    check_packed(len(packed), whole)
    found = zlib.decompressobj().decompress(packed, whole + 1)
    if len(found) > whole:
        raise ImageFileError(f"it holds more than the {whole:,} bytes of numbers that belong")
    check_length(len(found), whole)
    return found


def _is_true(header: Mapping[str, str], names: Sequence[str], default: bool = False) -> bool:
    """Whether the first of these entries that is there is true."""
    found = next((header[name] for name in names if name in header), str(default))
    return found.lower() in ("true", "1", "yes", "y", "t")


def _reals(
    header: Mapping[str, str], names: Sequence[str], count: int, default: Sequence[float]
) -> Sequence[float]:
    """The numbers of the first of these entries that is there. Raises ImageFileError."""
    text = next((header[name] for name in names if name in header), None)
    if text is None:
        return default
    found = [float(word) for word in text.split()]
    if len(found) != count:
        raise ImageFileError(f"{names[0]} has {len(found)} numbers where {count} belong")
    return found


FILE_TYPE = MhdFiles()
