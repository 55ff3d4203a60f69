"""NumPy's .npy files: arrays (X, Y, Z), (X, Y, Z, 3) of vectors, with further parts, or (X, Y)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

import numpy as np

from inrv.files.images.file_type import ImageFiles, check_length
from inrv.files.images.image import Image

KIND = "numpy"


class NumpyFiles(ImageFiles):
    """Arrays of any real type. Their axes are x, y, z, as those that `encode_array` takes."""

    title, extra, halves = "a NumPy array", "", True

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins with NumPy's magic number."""
        return start.startswith(b"\x93NUMPY")

    def image(self, data: bytes) -> Image:
        """Read the array; objects, which may run code, are refused."""
        file, layout = io.BytesIO(data), cast(Any, np.lib.format)
        older = layout.read_magic(file) == (1, 0)
        read_header = layout.read_array_header_1_0 if older else layout.read_array_header_2_0
        shape, _, kind = read_header(file)
        whole = file.tell() + math.prod(shape) * kind.itemsize
        check_length(len(data), whole)
        array = np.load(io.BytesIO(data), allow_pickle=False)
        header = {"axes": 2} if array.ndim == 2 else {}
        array = array[..., None] if header else array
        vectors = array.ndim == 4 and array.shape[3] == 3
        return Image(array, np.eye(4), vectors, kind=KIND, header=header)

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write the values, not the numbers that a slope and an intercept make values of."""
        values = image.plain_values()
        if image.header_of(KIND).get("axes") == 2 and values.shape[2:] == (1,):
            values = values[:, :, 0]
        np.save(output, values, allow_pickle=False)
        plain = np.array_equal(image.matrix, np.eye(4))
        return [] if plain else ["the transform is left out: such a file has none"]


FILE_TYPE = NumpyFiles()
