"""VTK's image data in every form of its XML, made by hand."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.grids import Grid

SHAPE = (4, 5, 7)
DENSITY = np.random.default_rng(1).normal(50, 20, SHAPE).astype(np.float32)
WIND = np.random.default_rng(2).normal(0, 9, (*SHAPE, 3)).astype(np.float32)
HEAT = np.random.default_rng(3).integers(0, 200, (3, 4, 6)).astype(np.float32)
EXTENT = "2 5 -1 3 0 6"


def dense(grid: Grid) -> NDArray[np.float32]:
    assert grid.topology.box is not None
    found = grid.dense(grid.topology.box)
    return found if grid.components == 3 else found[..., 0]


def x_first(array: NDArray[Any], dtype: str) -> bytes:
    return array.transpose(2, 1, 0, *range(3, array.ndim)).astype(dtype).tobytes()


def block(plain: bytes, head: str, packed: bool) -> tuple[bytes, bytes]:
    """The lengths before an array, and its bytes, in blocks of 100 where they are packed."""
    if not packed:
        return struct.pack(head, len(plain)), plain
    parts = [zlib.compress(plain[start : start + 100]) for start in range(0, len(plain), 100)]
    numbers = (len(parts), 100, len(plain) % 100, *map(len, parts))
    return struct.pack(head[0] + head[1] * len(numbers), *numbers), b"".join(parts)


def vti(form: str, packed: bool, wide: bool, big: bool) -> bytes:
    """A file of two arrays at points and one in cells."""
    order = ">" if big else "<"
    head, appended, arrays = order + ("Q" if wide else "I"), b"", dict[str, list[str]]()
    for group, name, values in (
        ("PointData", "density", DENSITY),
        ("PointData", "wind", WIND),
        ("CellData", "heat", HEAT),
    ):
        size = values.shape[3] if values.ndim == 4 else 1
        tag = f'<DataArray type="Float32" Name="{name}" NumberOfComponents="{size}" '
        plain = x_first(values, order + "f4")
        lengths, body = block(plain, head, packed)
        text = base64.b64encode(lengths) + base64.b64encode(body)
        if not packed:
            text = base64.b64encode(lengths + body)
        if form == "ascii":
            words = " ".join(map(repr, np.frombuffer(plain, order + "f4").tolist()))
            tag += f'format="ascii">\n{words}\n</DataArray>'
        elif form == "binary":
            tag += f'format="binary">\n  {text.decode()}\n</DataArray>'
        else:
            tag += f'format="appended" offset="{len(appended)}"/>'
            appended += lengths + body if form == "raw" else text
        arrays.setdefault(group, []).append(tag)
    compressor = 'compressor="vtkZLibDataCompressor"' * packed
    whole = (
        f'<?xml version="1.0"?><VTKFile type="ImageData" version="1.0" {compressor} '
        f'byte_order="{"Big" if big else "Little"}Endian" header_type="UInt{64 if wide else 32}">'
        f'<ImageData WholeExtent="{EXTENT}" Origin="1 2 3" Spacing="0.5 0.25 2" '
        'Direction="0 -1 0 1 0 0 0 0 1"><FieldData><DataArray type="Float64" Name="TimeValue" '
        'NumberOfTuples="1" format="ascii">1.25</DataArray></FieldData>'
        f'<Piece Extent="{EXTENT}">'
        + "".join(f"<{group}>{''.join(own)}</{group}>" for group, own in arrays.items())
        + "</Piece></ImageData>"
    ).encode()
    if form in ("raw", "base64"):
        whole += f'<AppendedData encoding="{form}">\n _'.encode() + appended + b"\n</AppendedData>"
    return whole + b"</VTKFile>"
