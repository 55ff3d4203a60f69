"""VTK's image data (.vti): arrays of numbers at the points or in the cells of one box.

The layout is that of VTK's documentation of its XML formats. A file is XML, behind which arrays may
lie as bytes. An array is a header, which tells the lengths, and blocks of numbers, x first.
"""

from __future__ import annotations

import binascii
import math
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
from numcodecs import lz4
from numpy.typing import NDArray

from inrv.errors import ImageFileError
from inrv.files.buffers import unzip
from inrv.files.images.file_type import check_length
from inrv.files.images.image import Image, as_type
from inrv.files.images.many import ManyImageFiles, named
from inrv.files.images.vtk import (
    GROUPS,
    KIND,
    Extent,
    Frame,
    arrays_of,
    extent_of,
    matrix_of,
    place_of,
    shape_of,
    time_of,
)
from inrv.support.inputs import Input

TYPES = {
    "Int8": "i1", "UInt8": "u1", "Int16": "i2", "UInt16": "u2", "Int32": "i4", "UInt32": "u4",
    "Int64": "i8", "UInt64": "u8", "Float32": "f4", "Float64": "f8",
}  # fmt: skip
NAMES = {np.dtype(kind).name: name for name, kind in TYPES.items()}
LACKING = {"bool": "uint8", "float16": "float32"}
TIME = "TimeValue"  # the array that VTK's readers take a time from
APPENDED = re.compile(rb"<AppendedData\b[^>]*>\s*_")
BLOCK_BYTES = 1 << 20  # that are compressed together where we write
MOST_PACKED = 256  # LZ4 makes of a byte at most so many
LZMA_MEMORY = 1 << 28  # bytes that unpacking may take for its dictionary


class VtiFiles(ManyImageFiles):
    """ImageData. A value lies at a point of the box, or in the middle of a cell."""

    title, extra, shared = "a VTK file of image data", "", True

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins as XML of VTK does, of whatever data."""
        return b"<VTKFile" in start

    def images(self, source: Input) -> Sequence[Image]:
        """Read the XML. Arrays are unpacked when they are sliced."""
        with source.open() as file:
            return named(_images(_File.of(file.read())))

    def put_all(
        self, images: Mapping[str, Image], output: BinaryIO, compress: bool
    ) -> Sequence[str]:
        """Write the images that lie in the box of the first one; bytes are appended, raw."""
        lost = list[str]()
        frame = Frame.of(next(iter(images.values())))
        arrays = list[tuple[str, str, NDArray[Any]]]()
        for name, image in images.items():
            if not frame.fits(Frame.of(image)):
                lost.append(f"grid {name!r} is left out: it lies in another box than the first one")
                continue
            plain, lines = as_type(image, LACKING, self.title)
            lost += lines
            arrays += [(place_of(image), own, values) for own, values in arrays_of(plain, name)]
        _write(output, frame, arrays, time_of(images.values()), compress)
        return lost


# ---- Reading ----


class _NoDoctype(ElementTree.TreeBuilder):
    """Elements without a document type, whose entities could grow without end."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ImageFileError("its XML has a document type, which image data has no use for")


@dataclass(frozen=True)
class _File:
    """A file, read as XML.

    root: its first element
    appended: what lies behind the XML
    order: '<' or '>', of all bytes
    """

    root: ElementTree.Element
    appended: bytes
    order: str

    @staticmethod
    def of(data: bytes) -> _File:
        """Take a file apart. Raises ImageFileError, or ParseError where it is not XML."""
        found = APPENDED.search(data)
        text, behind = data, b""
        if found is not None:
            text = data[: found.end() - 1] + b"</AppendedData></VTKFile>"
            behind = data[found.end() :]
        parser = ElementTree.XMLParser(target=_NoDoctype())
        parser.feed(text)
        root = parser.close()
        kind = root.get("type", "")
        if root.tag != "VTKFile" or kind != "ImageData":
            raise ImageFileError(f"it holds {kind or root.tag!r}: only ImageData is read")
        return _File(root, behind, ">" if root.get("byte_order") == "BigEndian" else "<")

    @property
    def heads(self) -> np.dtype[Any]:
        """The type of the lengths that stand before numbers."""
        return np.dtype(self.order + TYPES[self.root.get("header_type", "UInt32")])

    @property
    def unpack(self) -> Callable[[bytes, int], bytes] | None:
        """What unpacks a block of numbers to so many bytes; None where they are plain."""
        name = self.root.get("compressor", "")
        if name and name not in UNPACKERS:
            raise ImageFileError(f"its numbers are packed by {name}: {', '.join(UNPACKERS)} go")
        return UNPACKERS[name] if name else None

    def numbers(self, array: ElementTree.Element, kind: np.dtype[Any], count: int) -> NDArray[Any]:
        """The numbers of an array, of which there must be `count`."""
        form, data, offset = array.get("format", "ascii"), b"", 0
        cut: _Cut = _base64
        inner = " ".join([array.text or "", *(child.tail or "" for child in array)])
        if form == "ascii":
            words = inner.split()
            check_length(len(words), count)
            return _of_words(words[:count], kind.newbyteorder("="))
        if form == "binary":
            data = "".join(inner.split()).encode("ascii")
        elif form == "appended":
            tag = self.root.find("AppendedData")
            is_raw = tag is not None and tag.get("encoding") == "raw"
            cut = _raw if is_raw else _base64
            data, offset = self.appended, _whole(array, "offset")
        else:
            raise ImageFileError(f"an array has the format {form!r}, which is unknown")
        plain = self._plain(cut, data, offset, count * kind.itemsize)
        return np.frombuffer(plain, dtype=kind)

    def _plain(self, cut: _Cut, data: bytes, offset: int, whole: int) -> bytes:
        """The bytes of an array, of which there must be `whole`.

        cut: gives bytes of `data`
        """
        unpack, width = self.unpack, self.heads.itemsize
        if unpack is None:
            head, _ = cut(data, offset, width)
            (length,) = np.frombuffer(head, dtype=self.heads).tolist()
            if length != whole:
                raise ImageFileError(f"an array has {length:,} bytes where {whole:,} belong")
            return cut(data, offset, width + whole)[0][width:]
        head, _ = cut(data, offset, 3 * width)
        blocks, size, last = np.frombuffer(head, dtype=self.heads).tolist()
        head, behind = cut(data, offset, (3 + blocks) * width)
        packed = np.frombuffer(head, dtype=self.heads)[3:].tolist()
        lengths = [size] * blocks
        if last and blocks:
            lengths[-1] = last
        if sum(lengths) != whole:
            raise ImageFileError(f"an array has {sum(lengths):,} bytes where {whole:,} belong")
        body, _ = cut(data, offset + behind, sum(packed))
        found, start = bytearray(), 0
        for taken, length in zip(packed, lengths, strict=True):
            found += unpack(body[start : start + taken], length)
            start += taken
        return bytes(found)


_Cut = Callable[[bytes, int, int], tuple[bytes, int]]


def _of_words(words: Sequence[str], kind: np.dtype[Any]) -> NDArray[Any]:
    """Numbers of their texts. Raises ImageFileError for whole ones that the type does not hold."""
    if kind.kind == "f":
        return np.array(words, dtype=kind)
    wide = np.array(words, dtype=np.uint64 if kind == np.uint64 else np.int64)
    limits = np.iinfo(kind)
    if not ((wide >= limits.min) & (wide <= limits.max)).all():
        raise ImageFileError(f"an array of {kind} has numbers from {wide.min()} to {wide.max()}")
    return wide.astype(kind)


def _raw(data: bytes, offset: int, length: int) -> tuple[bytes, int]:
    """Cut bytes out, and tell how many that takes. Raises ImageFileError where they are fewer."""
    check_length(len(data) - offset, length)
    return data[offset : offset + length], length


def _base64(text: bytes, offset: int, length: int) -> tuple[bytes, int]:
    """The same for bytes that are encoded together."""
    width = -(-length // 3) * 4
    check_length(len(text) - offset, width)
    return binascii.a2b_base64(text[offset : offset + width])[:length], width


def _unlz4(packed: bytes, size: int) -> bytes:
    if size > MOST_PACKED * len(packed):
        raise ImageFileError(f"a block of {len(packed):,} bytes cannot hold {size:,}")
    # The library expects the length before the block, in four bytes.
    return bytes(lz4.decompress(struct.pack("<I", size) + packed))


def _unlzma(packed: bytes, size: int) -> bytes:
    import lzma  # which not every build of Python has

    found = lzma.LZMADecompressor(memlimit=LZMA_MEMORY).decompress(packed, size)
    check_length(len(found), size)
    return found


def _unzip(packed: bytes, size: int) -> bytes:
    return unzip(memoryview(packed), size)


UNPACKERS = {
    "vtkZLibDataCompressor": _unzip,
    "vtkLZ4DataCompressor": _unlz4,
    "vtkLZMADataCompressor": _unlzma,
}


def _whole(element: ElementTree.Element, name: str) -> int:
    """An attribute that is a whole number, 0 or more. Raises ImageFileError."""
    text = element.get(name, "")
    if not text.isdecimal():
        raise ImageFileError(f"{element.tag} has {name} {text!r}, which is not a whole number")
    return int(text)


def _reals(element: ElementTree.Element, name: str, count: int, default: str) -> list[float]:
    """An attribute of so many real numbers. Raises ImageFileError."""
    found = [float(word) for word in element.get(name, default).split()]
    if len(found) != count:
        raise ImageFileError(f"{element.tag} has {name} of {len(found)} numbers, not {count}")
    return found


def _extent(element: ElementTree.Element, name: str) -> Extent:
    return extent_of(_reals(element, name, 6, ""), f"{element.tag} has {name}")


class _Array:
    """An array of a file, which is read when it is sliced for the first time.

    file: the file
    pieces: the extent of each piece, and the piece's part of the array
    extent: of the whole box
    place: 'point' or 'cell'
    """

    def __init__(
        self,
        file: _File,
        pieces: Sequence[tuple[Extent, ElementTree.Element]],
        extent: Extent,
        place: str,
    ) -> None:
        first = pieces[0][1]
        self.components = _whole(first, "NumberOfComponents") if _counts(first) else 1
        if self.components < 1:
            raise ImageFileError(f"array {first.get('Name')!r} has no component")
        self.kind = np.dtype(file.order + TYPES[first.get("type", "")])
        self.file, self.pieces, self.extent, self.place = file, pieces, extent, place
        self.shape = shape_of(extent, place) + (self.components,) * (self.components > 1)
        self.dtype, self.ndim = self.kind.newbyteorder("="), len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return np.asarray(self.array[index], dtype=self.dtype)

    @cached_property
    def array(self) -> NDArray[Any]:
        """The whole array: (X, Y, Z), or (X, Y, Z, C)."""
        if [extent for extent, _ in self.pieces] == [self.extent]:
            found = self._of_piece(*self.pieces[0])
        else:
            found = self._joined()
        return found if self.components > 1 else found[..., 0]

    def _joined(self) -> NDArray[Any]:
        held = sum(math.prod(shape_of(extent, self.place)) for extent, _ in self.pieces)
        whole = self.shape[:3]
        check_length(held, math.prod(whole))  # values here; it keeps memory to what the bytes are
        parts = [self._of_piece(extent, array) for extent, array in self.pieces]
        found = np.zeros((*whole, self.components), dtype=self.kind)
        is_there = np.zeros(whole, dtype=np.bool_)
        for (extent, _), part in zip(self.pieces, parts, strict=True):
            x, y, z = (
                slice(low - first, low - first + size)
                for low, first, size in zip(
                    extent[::2], self.extent[::2], part.shape[:3], strict=True
                )
            )
            found[x, y, z], is_there[x, y, z] = part, True
        if not is_there.all():
            raise ImageFileError("its pieces leave a part of the box without values")
        return found

    def _of_piece(self, extent: Extent, array: ElementTree.Element) -> NDArray[Any]:
        x, y, z = shape_of(extent, self.place)
        count = x * y * z * self.components
        numbers = self.file.numbers(array, self.kind, count)
        return numbers.reshape(z, y, x, self.components).transpose(2, 1, 0, 3)


def _counts(array: ElementTree.Element) -> bool:
    return array.get("NumberOfComponents") is not None


def _images(file: _File) -> Mapping[str, Image]:
    data = file.root.find("ImageData")
    if data is None:
        raise ImageFileError("it has no element ImageData")
    extent = _extent(data, "WholeExtent")
    origin, spacing = _reals(data, "Origin", 3, "0 0 0"), _reals(data, "Spacing", 3, "1 1 1")
    turn = _reals(data, "Direction", 9, "1 0 0 0 1 0 0 0 1")
    pieces = [(_extent(piece, "Extent"), piece) for piece in data.findall("Piece")]
    for inner, _ in pieces:
        within = all(low <= own for low, own in zip(extent[::2], inner[::2], strict=True))
        if not within or any(
            own > high for own, high in zip(inner[1::2], extent[1::2], strict=True)
        ):
            raise ImageFileError(f"a piece has the extent {inner}, outside of {extent}")
    told: dict[str, Any] = {"extent": list(extent), "origin": origin}
    for field in data.iterfind("FieldData/DataArray"):
        if field.get("Name") == TIME and field.get("type") in TYPES:
            kind = np.dtype(file.order + TYPES[field.get("type", "")])
            told["time"] = float(file.numbers(field, kind, 1)[0])
    found = dict[str, Image]()
    for place, group in GROUPS.items():
        matrix = matrix_of(extent, origin, spacing, turn, place)
        for name, own in _by_name(pieces, group).items():
            array = _Array(file, own, extent, place)
            header = told | {"name": name, "place": place}
            vectors = array.components == 3
            key = name if name not in found else f"{name}.{place}"
            found[key] = Image(array, matrix, vectors, kind=KIND, header=header)
    return found


def _by_name(
    pieces: Sequence[tuple[Extent, ElementTree.Element]], group: str
) -> dict[str, list[tuple[Extent, ElementTree.Element]]]:
    """The arrays of numbers of all pieces, by their names."""
    found: dict[str, list[tuple[Extent, ElementTree.Element]]] = {}
    for extent, piece in pieces:
        for place, array in enumerate(piece.iterfind(f"{group}/DataArray")):
            if array.get("type") in TYPES:
                found.setdefault(array.get("Name", f"array {place}"), []).append((extent, array))
    return found


# ---- Writing ----


def _write(
    output: BinaryIO,
    frame: Frame,
    arrays: Sequence[tuple[str, str, NDArray[Any]]],
    time: float | None,
    compress: bool,
) -> None:
    """Write a file: XML, and behind it the bytes of arrays.

    arrays: where the values lie, a name, and the values
    """
    root = ElementTree.Element(
        "VTKFile", type="ImageData", version="1.0", byte_order="LittleEndian"
    )
    root.set("header_type", "UInt64")
    if compress:
        root.set("compressor", "vtkZLibDataCompressor")
    extent = " ".join(map(str, frame.extent))
    data = ElementTree.SubElement(root, "ImageData", WholeExtent=extent)
    data.set("Origin", _text(frame.origin))
    data.set("Spacing", _text(frame.spacing))
    data.set("Direction", _text(frame.turn.reshape(-1)))
    if time is not None:
        field = ElementTree.SubElement(data, "FieldData")
        told = ElementTree.SubElement(field, "DataArray", type="Float64", Name=TIME, format="ascii")
        told.set("NumberOfTuples", "1")
        told.text = repr(time)
    piece = ElementTree.SubElement(data, "Piece", Extent=extent)
    groups = {place: ElementTree.SubElement(piece, tag) for place, tag in GROUPS.items()}
    packed, offset = list[bytes](), 0
    for place, name, values in arrays:
        components = values.shape[3] if values.ndim == 4 else 1
        array = ElementTree.SubElement(
            groups[place], "DataArray", type=NAMES[values.dtype.name], Name=_printable(name)
        )
        array.set("NumberOfComponents", str(components))
        array.set("format", "appended")
        array.set("offset", str(offset))
        packed.append(_packed(values, compress))
        offset += len(packed[-1])
    ElementTree.SubElement(root, "AppendedData", encoding="raw").text = "_"
    text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    before, mark, behind = text.rpartition(b"_</AppendedData>")
    output.write(before + b"_")
    for block in packed:
        output.write(block)
    output.write(b"\n" + mark[1:] + behind + b"\n")


def _text(numbers: NDArray[np.float64]) -> str:
    return " ".join(map(repr, numbers.tolist()))


def _printable(name: str) -> str:
    """A name without the characters that XML cannot hold."""
    return "".join(letter if letter.isprintable() else "_" for letter in name)


def _packed(values: NDArray[Any], compress: bool) -> bytes:
    """The lengths and the numbers of an array (X, Y, Z) or (X, Y, Z, C), x first."""
    order = (2, 1, 0, *range(3, values.ndim))
    plain = np.ascontiguousarray(values.transpose(order), values.dtype.newbyteorder("<")).tobytes()
    if not compress:
        return struct.pack("<Q", len(plain)) + plain
    starts = range(0, len(plain), BLOCK_BYTES)
    blocks = [zlib.compress(plain[start : start + BLOCK_BYTES]) for start in starts]
    last = len(plain) % BLOCK_BYTES
    head = (len(blocks), BLOCK_BYTES, last, *map(len, blocks))
    return struct.pack(f"<{len(head)}Q", *head) + b"".join(blocks)


FILE_TYPE = VtiFiles()
