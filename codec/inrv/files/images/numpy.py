"""NumPy's .npy files: arrays (X, Y, Z), (X, Y, Z, 3) of vectors, with further parts, or (X, Y)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import product
from typing import Any, BinaryIO, cast

import numpy as np

from inrv.errors import ImageFileError
from inrv.files.images.axes import ARRAYS, AXES, LETTERS, values_in_file_order
from inrv.files.images.file_type import ImageFiles
from inrv.files.images.image import Image
from inrv.files.images.lazy import Bytes, stored_numbers

MOST_HEADER = 1 << 16  # bytes
EDGE = 128  # voxels along x and y of what is in memory while a file is written
FLAT = "xy"  # the axes of an array of two


class NumpyFiles(ImageFiles):
    """Arrays of any real type. Their axes are x, y, z, as those that `encode_array` takes."""

    title, extra, halves, tells_axes, mapped = "a NumPy array", "", True, False, True

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins with NumPy's magic number."""
        return start.startswith(b"\x93NUMPY")

    def image(self, data: Bytes) -> Image:
        """Read the array; objects, which may run code, are refused."""
        file, layout = io.BytesIO(data[:MOST_HEADER]), cast(Any, np.lib.format)
        older = layout.read_magic(file) == (1, 0)
        read_header = layout.read_array_header_1_0 if older else layout.read_array_header_2_0
        shape, by_columns, kind = read_header(file)
        if kind.hasobject:
            raise ImageFileError("it holds objects of Python, which are not numbers")
        stored = stored_numbers(data, kind, shape[::-1] if by_columns else shape, file.tell())
        array = stored.transpose() if by_columns else stored
        header = {AXES: FLAT} if array.ndim == 2 else {}
        array = array[..., None] if header else array
        vectors = array.ndim == 4 and array.shape[3] == 3
        return Image(array, np.eye(4), vectors, kind=ARRAYS, header=header)

    def put_file(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write an image to a file, without a copy of it in memory."""
        return self.put(image, output, compress)

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write the values, not the numbers that a slope and an intercept make values of.

        Their axes are in the order that those of the array had. They are written in parts, so that
        an array may be larger than memory.
        """
        numbers, layout = image.plain().numbers, cast(Any, np.lib.format)
        if AXES in image.header_of(ARRAYS):
            numbers, _ = values_in_file_order(image, ARRAYS, numbers, LETTERS)
        dtype = np.dtype(numbers.dtype)
        described = layout.dtype_to_descr(dtype)
        header = {"descr": described, "fortran_order": False, "shape": tuple(numbers.shape)}
        layout.write_array_header_1_0(output, header)
        begin, row = output.tell(), math.prod(numbers.shape[2:]) * dtype.itemsize
        across, down = numbers.shape[:2]
        for x, y in product(range(0, across, EDGE), range(0, down, EDGE)):
            found = np.asarray(numbers[x : x + EDGE, y : y + EDGE, ...])
            for place, own in enumerate(found, start=x):
                output.seek(begin + (place * down + y) * row)
                output.write(np.ascontiguousarray(own).data)
        plain = np.array_equal(image.matrix, np.eye(4))
        return [] if plain else ["the transform is left out: such a file has none"]


FILE_TYPE = NumpyFiles()
