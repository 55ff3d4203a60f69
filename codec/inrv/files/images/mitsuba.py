"""Mitsuba's .vol files, version 3 of the `gridvolume` plug-in: float32 voxels in a box.

The layout is that of the documentation of Mitsuba 3: 'VOL', a version, five integers, a box, and
numbers of which the channel changes first, then x, y and z.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from inrv.errors import ImageFileError
from inrv.files.images.file_type import ImageFiles
from inrv.files.images.image import Image
from inrv.files.images.lazy import Bytes

MAGIC, VERSION, FLOAT32 = b"VOL", 3, 1
HEAD = struct.Struct("<3sB5i6f")


class MitsubaFiles(ImageFiles):
    """One part of one or three channels. The box is that of the outer faces of its voxels."""

    title, extra = "a Mitsuba volume", ""

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins with the magic word and the version."""
        return start[:4] == MAGIC + bytes([VERSION])

    def image(self, data: Bytes) -> Image:
        """Read float32 voxels, and where their box puts them."""
        magic, version, kind, x, y, z, channels, *box = HEAD.unpack_from(data)
        if (magic, version, kind) != (MAGIC, VERSION, FLOAT32):
            raise ImageFileError(f"its numbers have the encoding {kind}: only float32 (1) is read")
        if min(x, y, z) < 1 or channels not in (1, 3):
            raise ImageFileError(f"it has {x} x {y} x {z} voxels of {channels} channels")
        count = x * y * z * channels
        if len(data) != HEAD.size + 4 * count:
            raise ImageFileError(
                f"it has {len(data):,} bytes where {HEAD.size + 4 * count:,} belong"
            )
        numbers = np.frombuffer(data, dtype="<f4", offset=HEAD.size).reshape(z, y, x, channels)
        values = numbers.transpose(2, 1, 0, 3)
        lower, upper = np.array(box[:3]), np.array(box[3:])
        edges = (upper - lower) / (x, y, z)
        matrix = np.diag([*edges, 1.0])
        matrix[:3, 3] = lower + edges / 2
        vectors = channels == 3
        return Image(values if vectors else values[..., 0], matrix, vectors, kind="mitsuba")

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write one part as float32."""
        values, lost = image.values().astype(np.float32), list[str]()
        parts = values.reshape(*values.shape[:3], -1, 3 if image.vectors else 1)
        if parts.shape[3] > 1:
            lost.append("a Mitsuba volume has one part: the first one is written")
        matrix, shape = image.matrix, np.array(values.shape[:3])
        edges = image.edges
        if not image.is_upright:
            lost.append("the box is that of the grid before it is turned: give to_world as well")
        lower = matrix[:3, 3] - edges / 2
        box = [*lower.tolist(), *(lower + edges * shape).tolist()]
        channels = parts.shape[4]
        output.write(HEAD.pack(MAGIC, VERSION, FLOAT32, *shape.tolist(), channels, *box))
        output.write(np.ascontiguousarray(parts[:, :, :, 0].transpose(2, 1, 0, 3), "<f4").tobytes())
        return lost


FILE_TYPE = MitsubaFiles()
