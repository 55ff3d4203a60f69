"""What the file types share that are written with several images, each with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import BinaryIO

import numpy as np

from inrv.files.file_types import WriteOptions
from inrv.files.images.file_type import ImageFiles
from inrv.files.images.image import Image, images_of
from inrv.grids import SparseVolume
from inrv.support.extras import needed_for


class ManyImageFiles(ImageFiles):
    """Files that hold images by name, as arrays or data sets. Raises ImageFileError.

    shared: whether all images of a file lie in one box
    """

    shared = False

    def put_all(
        self, images: Mapping[str, Image], output: BinaryIO, compress: bool
    ) -> Sequence[str]:
        """Write images, and give a line for each thing that such a file does not hold."""
        raise NotImplementedError

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        """Write every image that grids came from, in its own type, and all other grids' boxes."""
        images, lost = images_of(volume, shared=self.shared)
        if options.half and self.halves:
            images = [
                replace(image, numbers=image.all_numbers().astype(np.float16))
                if image.numbers.dtype == np.float32
                else image
                for image in images
            ]
        named, lines = _by_name(images)
        with needed_for(self.title, self.extra):
            return [*lost, *lines, *self.put_all(named, output, options.compress)]

    def put_file(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write one image to a file."""
        with needed_for(self.title, self.extra):
            return self.put_all({image.name or "image": image}, output, compress)


def _by_name(images: Sequence[Image]) -> tuple[dict[str, Image], list[str]]:
    """Images by names that no other one has, and a line for each that was called otherwise."""
    found, lost = dict[str, Image](), list[str]()
    for image in images:
        name = image.name
        if name in found:
            name = next(f"{name}.{more}" for more in count(2) if f"{name}.{more}" not in found)
            lost.append(f"grid {image.name!r} is written as {name!r}: the name is taken")
        found[name] = image
    return found, lost


def named(images: Mapping[str, Image]) -> list[Image]:
    """Images with their names."""
    return [replace(image, name=name) for name, image in images.items()]
