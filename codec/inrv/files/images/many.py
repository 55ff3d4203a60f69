"""What the file types share that hold several images, each with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from inrv.errors import ImageFileError
from inrv.files.file_types import ListedGrid, ReadOptions, WriteOptions
from inrv.files.images.axes import in_order
from inrv.files.images.file_type import ImageFiles
from inrv.files.images.image import (
    Image,
    Listed,
    check_image,
    grid_of,
    images_of,
    names_of,
)
from inrv.files.selection import chosen
from inrv.grids import SparseVolume
from inrv.support.extras import needed_for
from inrv.support.inputs import Input


@dataclass(frozen=True)
class ListedPart:
    """A part of an image, as a file lists it.

    position: its place among all parts of the file
    name, address: of the grid; the address is one that no other grid has
    image: which image it is a part of
    part: which part of that
    """

    position: int
    name: str
    address: str
    image: str
    part: int


class ManyImageFiles(ImageFiles):
    """Files that hold images by name, as arrays or data sets. Raises ImageFileError.

    shared: whether all images of a file lie in one box
    """

    shared = False

    def images(self, source: Input) -> Mapping[str, Image]:
        """Open the images of a file; `ImageFiles.opened` tells the rest."""
        raise NotImplementedError

    def put_all(
        self, images: Mapping[str, Image], output: BinaryIO, compress: bool
    ) -> Sequence[str]:
        """Write images, and give a line for each thing that such a file does not hold."""
        raise NotImplementedError

    def address_of(self, name: str) -> str:
        """The address of the grid of this name, which no other one has."""
        return name

    def opened(self, source: Input) -> Image:
        """Open the image of a file that holds one."""
        images = self.images(source)
        if len(images) != 1:
            raise ImageFileError(f"it holds {len(images)} images, and one is wanted")
        return next(iter(images.values()))

    def list_grids(self, source: Input) -> Sequence[ListedGrid]:
        """List a grid for each part of each image."""
        with self._told_of(source):
            return self._listed(self.images(source))

    def read(self, source: Input, options: ReadOptions) -> SparseVolume:
        """Read a grid for each part of each image; all of its voxels are active."""
        with self._told_of(source):
            images = {
                name: in_order(image, options.axes) for name, image in self.images(source).items()
            }
            listed = self._listed(images)
            if options.grids is not None:
                listed = list(chosen(source.name, listed, options.grids))
            grids = []
            for one in listed:
                image = images[one.image]
                values = image.part_values(one.part)
                grids.append(grid_of(image, Listed(one.part, one.name), values))
            return SparseVolume(tuple(grids))

    def _listed(self, images: Mapping[str, Image]) -> list[ListedPart]:
        found = list[ListedPart]()
        for image_name, image in images.items():
            check_image(image)
            for part, name in enumerate(names_of(image, image_name)):
                address = self.address_of(name)
                found.append(ListedPart(len(found), name, address, image_name, part))
        return found

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        """Write every image that grids came from, in its own type, and all other grids' boxes."""
        images, lost = images_of(volume, self.shared)
        if options.half and self.halves:
            images = {
                name: replace(image, numbers=image.all_numbers().astype(np.float16))
                if image.numbers.dtype == np.float32
                else image
                for name, image in images.items()
            }
        with needed_for(self.title, self.extra):
            return [*lost, *self.put_all(images, output, options.compress)]
