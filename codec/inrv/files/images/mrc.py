"""MRC files (.mrc), by mrcfile: maps of electron microscopy."""

from __future__ import annotations

import base64
import io
import struct
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from inrv.errors import ImageFileError
from inrv.files.images.file_type import ImageFiles, check_length
from inrv.files.images.image import Image, as_type
from inrv.files.images.lazy import Bytes, stored_numbers

KIND = "mrc"
HEADER_BYTES, BIG_ENDIAN = 1024, 0x11
# Fields of a header, of columns, rows and sections: the axis along which each lies, and its start.
AXES, STARTS = ("mapc", "mapr", "maps"), ("nxstart", "nystart", "nzstart")
# What a map has no numbers of, and what takes its place: a wider type, which holds all of them.
LACKING = {
    "bool": "int8", "uint8": "uint16", "int32": "float32", "uint32": "float32", "int64": "float32",
    "uint64": "float32", "float64": "float32",
}  # fmt: skip


class MrcFiles(ImageFiles):
    """Maps of one part. World space is in ångström, along the axes of the map."""

    title, halves, mapped = "an MRC file", True, True

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file has the magic word of MRC."""
        return start[208:212] in (b"MAP ", b"MAP\0")

    def image(self, data: Bytes) -> Image:
        """Read numbers, which lie z first in the file, voxel sizes and the origin."""
        from mrcfile.mrcinterpreter import MrcInterpreter
        from mrcfile.utils import data_dtype_from_header, data_shape_from_header

        order = ">" if data[212] == BIG_ENDIAN else "<"
        x, y, z = struct.unpack_from(f"{order}3i", data)
        (more,) = struct.unpack_from(f"{order}i", data, 92)
        if min(x, y, z, more + 1) < 1:
            raise ImageFileError(f"it has {x} x {y} x {z} voxels behind {more} bytes")
        start = HEADER_BYTES + more
        check_length(len(data), start)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            head = io.BytesIO(data[:start])
            with MrcInterpreter(head, permissive=False, header_only=True) as found:
                kind, shape = (
                    data_dtype_from_header(found.header),
                    data_shape_from_header(found.header),
                )
                edges = [float(found.voxel_size[axis]) for axis in "xyz"]
                origin = [float(found.header.origin[axis]) for axis in "xyz"]
                order_of_axes = _places(found.header)
                block = base64.b64encode(bytes(found.header.tobytes())).decode("ascii")
        numbers = stored_numbers(data, kind, shape, start).transpose()
        if len(data) != start + numbers.nbytes:
            raise ImageFileError(f"it has {len(data):,} bytes, {start + numbers.nbytes:,} belong")
        while numbers.ndim < 3:
            numbers = numbers[..., None]
        numbers = numbers.transpose(*order_of_axes, *range(3, numbers.ndim))
        matrix = np.diag([*(edge if edge > 0 else 1.0 for edge in edges), 1.0])
        matrix[:3, 3] = origin
        header = {"block": block, "edges": edges}
        return Image(numbers, matrix, kind=KIND, header=header)

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write one part, its labels and start as the map had them."""
        from mrcfile.mrcinterpreter import MrcInterpreter

        plain = replace(image, numbers=image.plain_values(), slope=1.0, intercept=0.0)
        image, lost = as_type(plain, LACKING, self.title)
        values = image.all_numbers()
        if values.ndim > 3:
            lost.append("a map has one part of scalars: the first one is written")
            values = values.reshape(*values.shape[:3], -1)[..., 0]
        if not image.is_upright:
            lost.append("of the transform, the size of a voxel and the origin alone are kept")
        held = image.header_of(KIND)
        file = io.BytesIO()
        made: Any = MrcInterpreter()
        made._iostream, made._read_only = file, False
        made._create_default_attributes()
        made.set_data(np.ascontiguousarray(values.transpose()))
        if held.get("block"):
            old = np.frombuffer(base64.b64decode(held["block"]), dtype=made.header.dtype)[0]
            for name in ("ispg", "nlabl", "label"):
                made.header[name] = old[name]
            for name, place in zip(STARTS, _places(old), strict=True):
                made.header[name] = old[STARTS[place]]
        if min(held.get("edges", [1.0])) > 0:
            made.voxel_size = tuple(image.edges.tolist())
        for axis, own in zip("xyz", image.matrix[:3, 3], strict=True):
            made.header.origin[axis] = own
        made.update_header_stats()
        made.flush()
        output.write(file.getvalue())
        return lost


def _places(header: Any) -> list[int]:
    """Which of columns, rows and sections lie along x, y and z. Raises ImageFileError."""
    told = [int(header[name]) for name in AXES]
    if not any(told):  # of files that are older than these fields
        return [0, 1, 2]
    if sorted(told) != [1, 2, 3]:
        raise ImageFileError(f"its columns, rows and sections lie along {told}, not 1, 2 and 3")
    return [told.index(axis) for axis in (1, 2, 3)]


FILE_TYPE = MrcFiles()
