"""What the file types of images share: an image is read as a whole, and one is written."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from inrv.errors import ImageFileError, InrvError
from inrv.files.file_types import ListedGrid, ReadOptions, WriteOptions
from inrv.files.images.axes import in_order
from inrv.files.images.image import Image, Listed, image_of, listed_in, volume_of
from inrv.files.images.lazy import Bytes
from inrv.grids import SparseVolume
from inrv.support.extras import needed_for
from inrv.support.inputs import Input

# What unpacking may take whatever a file holds, and for each packed byte, as zlib's best case is.
# Both bound what a header claims of numbers that are not there.
FREE_BYTES, MOST_PACKED = 1 << 28, 1032


class ImageFiles:
    """Files that hold one dense image. Raises ImageFileError.

    title: of the file type, as messages name it
    extra: of the installation, that brings the library which reads such files; '' where none is
    halves: whether such files hold numbers of 16 bits, with a fraction
    tells_axes: whether such files say which of their axes are x, y and z
    mapped: whether `image` leaves numbers in the bytes of the file, which then need not be read
    """

    title = ""
    extra = "images"
    halves = False
    tells_axes = True
    mapped = False

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file that begins with these bytes, up to 512, is of this type."""
        raise NotImplementedError

    def image(self, data: Bytes) -> Image:
        """Read the image of a file. Any error of a library may come out."""
        raise NotImplementedError

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write an image, and give a line for each thing that such a file does not hold."""
        raise NotImplementedError

    def opened(self, source: Input) -> Image:
        """Open the image of a file. Its numbers may be read from there when they are sliced.

        Any error of a library may come out.
        """
        if self.mapped and source.size:
            return self.image(source.view())
        with source.open() as file:
            return self.image(file.read())

    def images(self, source: Input) -> Sequence[Image]:
        """Open the images of a file that may hold several, each with a name of its own."""
        return [self.opened(source)]

    def in_order(self, image: Image, axes: str | None) -> Image:
        """Give an image whose axes are what a caller says, if anything; see `ReadOptions`."""
        return in_order(image, axes)

    def list_grids(self, source: Input) -> Sequence[ListedGrid]:
        """List a grid for each part of an image."""
        return self.listed(source)

    def listed(self, source: Input, axes: str | None = None) -> list[Listed]:
        """The same, with the images, of which no numbers are read; axes: see `ReadOptions`."""
        with self.told_of(source):
            images = [self.in_order(image, axes) for image in self.images(source)]
            return listed_in(images, source.name)

    def read(self, source: Input, options: ReadOptions) -> SparseVolume:
        """Read a grid for each part of an image; all of its voxels are active.

        Numbers that float32 does not hold are rounded, and `encode` counts what that costs.
        """
        with self.told_of(source):
            images = [self.in_order(image, options.axes) for image in self.images(source)]
            return volume_of(images, source.name, options.grids)

    @contextmanager
    def told_of(self, source: Input) -> Iterator[None]:
        """Tell of any error that it is one of this file, in one line."""
        try:
            with (
                needed_for(f"{source.name}: {self.title}", self.extra),
                warnings.catch_warnings(),  # of a library, about what is refused or mended
            ):
                warnings.simplefilter("ignore")
                yield
        except ImageFileError as error:
            raise ImageFileError(f"{source.name}: {error}") from error
        except InrvError:
            raise
        except Exception as error:  # a library meets damaged bytes with errors of any kind
            what = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, KeyError):
                what = f"{what} is missing in it"
            raise ImageFileError(f"{source.name} cannot be read as {self.title}: {what}") from error

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        """Write the image that the grids came from, in its own type, or the first grid's box."""
        image, lost = image_of(volume)
        if options.half and self.halves and image.numbers.dtype == np.float32:
            image = replace(image, numbers=image.all_numbers().astype(np.float16))
        return [*lost, *self.put_file(image, output, options.compress)]

    def put_file(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write an image to a file; see `put`."""
        held = io.BytesIO()
        with needed_for(self.title, self.extra):
            lost = self.put(image, held, compress)
        output.write(held.getbuffer())
        return lost


def check_length(found: int, whole: int) -> None:
    """Raise ImageFileError where a file has fewer bytes than its header tells."""
    if found < whole:
        raise ImageFileError(f"it has {found:,} bytes where {whole:,} belong")


def check_packed(packed: int, whole: int) -> None:
    """Raise ImageFileError where so few packed bytes cannot be as many as a header tells."""
    if whole > max(FREE_BYTES, MOST_PACKED * packed):
        raise ImageFileError(f"it has {packed:,} packed bytes where {whole:,} unpacked ones belong")
