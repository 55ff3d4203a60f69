"""NIfTI files (.nii), by nibabel: scans with their orientation, of several moments too."""

from __future__ import annotations

import base64
import gzip
import io
import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

import numpy as np

from inrv.errors import ImageFileError
from inrv.files.buffers import gunzip, gunzip_checked
from inrv.files.images.file_type import ImageFiles, check_packed
from inrv.files.images.image import Image, as_type, space_lines
from inrv.files.images.lazy import Bytes, stored_numbers

KIND = "nifti"
ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
HEADER_BYTES = 348, 540  # of the versions 1 and 2, as the first integer of a file tells
FIRST = {size.to_bytes(4, order) for size in HEADER_BYTES for order in ORDERS}
LACKING = {"bool": "uint8", "float16": "float32"}
UNITS = "mm"
RGB = ("R", "G", "B")  # the fields of a colour


class NiftiFiles(ImageFiles):
    """NIfTI-1 and NIfTI-2 in one file. A series is a grid a moment, vectors are vec3s grids.

    packed: whether files are compressed by gzip
    """

    title, mapped = "a NIfTI file", True

    def __init__(self, packed: bool = False) -> None:
        self.packed = packed

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins with a header of NIfTI, compressed or not as these are."""
        if self.packed:
            try:
                return gunzip(start, 4) in FIRST
            except zlib.error:
                return False
        return start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0"

    def image(self, data: Bytes) -> Image:
        """Read numbers as they are stored, and what makes values of them."""
        import nibabel

        library: Any = nibabel
        packed = data[:2] == b"\x1f\x8b"
        start = gunzip(data, HEADER_BYTES[1]) if packed else data[: HEADER_BYTES[1]]
        second = HEADER_BYTES[1] in [int.from_bytes(start[:4], order) for order in ORDERS]
        header = (library.Nifti2Header if second else library.Nifti1Header).from_fileobj(
            io.BytesIO(start), check=False
        )
        numbers_begin = int(header["vox_offset"]) if math.isfinite(header["vox_offset"]) else 0
        count = math.prod(int(size) for size in header.get_data_shape())
        whole = numbers_begin + count * header.get_data_dtype().itemsize
        if packed:
            check_packed(len(data), whole)
        plain = gunzip_checked(data, whole) if packed else data
        head = bytes(plain[:numbers_begin])
        with _nothing_logged():
            found = (library.Nifti2Image if second else library.Nifti1Image).from_bytes(head)
        shape, kind = found.header.get_data_shape(), found.header.get_data_dtype()
        numbers = stored_numbers(plain, kind, shape[::-1], numbers_begin).transpose()
        colours = kind.names
        if colours not in (None, RGB):
            raise ImageFileError(
                f"it holds colours of {len(colours)} numbers, {''.join(colours)}: save the image "
                "as RGB24"
            )
        if colours:
            numbers = np.stack([numbers[name] for name in RGB], axis=-1)
        while numbers.ndim < 3 + bool(colours):
            numbers = np.expand_dims(numbers, numbers.ndim - bool(colours))
        vectors = bool(colours) or (numbers.ndim == 5 and numbers.shape[4] == 3)
        if not colours and vectors and numbers.shape[3] == 1:
            numbers = numbers[:, :, :, 0]
        kept: dict[str, Any] = {"block": base64.b64encode(found.header.binaryblock).decode("ascii")}
        if found.header.endianness == ">":
            kept["order"] = ">"
        extensions = [
            [int(own.get_code()), base64.b64encode(own.get_content_bytes()).decode("ascii")]
            if hasattr(own, "get_content_bytes")
            else [int(own.get_code()), base64.b64encode(bytes(own.content)).decode("ascii")]
            for own in found.header.extensions
        ]
        if extensions:
            kept["extensions"] = extensions
        slope, intercept = float(found.dataobj.slope), float(found.dataobj.inter)
        return Image(numbers, found.affine, vectors, slope, intercept, "RAS", KIND, kept)

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write the header that the image came with, or a new one in millimetres."""
        import nibabel

        library: Any = nibabel
        image, lost = as_type(image, LACKING, self.title)
        lost += space_lines(image, "RAS")
        held = image.header_of(KIND)
        numbers = image.all_numbers()
        header = library.Nifti1Header()
        block = base64.b64decode(held.get("block", ""))
        if block:
            kind = library.Nifti2Header if len(block) == HEADER_BYTES[1] else library.Nifti1Header
            header = kind(block, held.get("order", "<"), check=False)
        else:
            header.set_xyzt_units(UNITS)
            if image.vectors:
                header.set_intent("vector")
        if image.vectors and header.get_data_dtype().names == RGB and numbers.dtype == np.uint8:
            colours = header.get_data_dtype().newbyteorder("=")
            numbers = np.ascontiguousarray(numbers).view(colours)[..., 0]
        elif image.vectors:
            between = (1,) * (numbers.ndim == 4)
            numbers = numbers.reshape(*numbers.shape[:3], *between, *numbers.shape[3:])
        axes = int(header["dim"][0])
        if block and set(numbers.shape[axes:]) == {1}:
            numbers = numbers.reshape(numbers.shape[:axes])
        if image.loss:
            header["descrip"] = image.loss[:79]
        for code, content in held.get("extensions", []):
            made = library.nifti1.Nifti1Extension(int(code), base64.b64decode(content))
            header.extensions.append(made)
        header.set_data_dtype(numbers.dtype)
        second = isinstance(header, library.Nifti2Header) or max(numbers.shape) > 32767
        matrix = image.matrix_in("RAS")
        known = bool(block) and np.allclose(header.get_best_affine(), matrix, rtol=1e-6, atol=1e-6)
        own = (library.Nifti2Image if second else library.Nifti1Image)(
            numbers, None if known else matrix, header
        )
        own.header.set_slope_inter(image.slope, image.intercept)
        data = own.to_bytes()
        output.write(gzip.compress(data, mtime=0) if self.packed else data)
        return lost


@contextmanager
def _nothing_logged() -> Iterator[None]:
    """Keep what nibabel says of headers that it mends from stderr."""
    logger = logging.getLogger("nibabel.global")

    def never(_: logging.LogRecord) -> bool:
        return False

    logger.addFilter(never)
    try:
        yield
    finally:
        logger.removeFilter(never)


FILE_TYPE = NiftiFiles()
