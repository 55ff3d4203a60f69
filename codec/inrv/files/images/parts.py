"""Images that are larger than memory: a grid of a file is read, or an image written, by boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError
from inrv.files.file_types import FileType, FolderType, check_axes_wanted, type_of, write_as
from inrv.files.images.file_type import ImageFiles
from inrv.files.images.image import Image, Listed
from inrv.files.images.zarr import ZarrFiles
from inrv.files.selection import chosen
from inrv.support.inputs import Input
from inrv.support.streams import Writable


class OpenPart:
    """The values of a grid of a file, which are read when they are sliced.

    source: the file
    listed: the grid, and what it is a part of
    """

    def __init__(self, source: Input, listed: Listed, kind: ImageFiles) -> None:
        self.source, self.listed, self._kind = source, listed, kind
        image = listed.image
        self.shape = (*map(int, image.numbers.shape[:3]), *[3] * image.vectors)
        self.ndim = len(self.shape)
        self.dtype = np.dtype(np.uint8 if image.numbers.dtype.kind == "b" else image.numbers.dtype)
        if (image.slope, image.intercept) != (1.0, 0.0):
            self.dtype = np.dtype(np.float64)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a box: a slice of step 1 for each axis. Raises ImageFileError."""
        with self._kind.told_of(self.source):
            return self.listed.image.part_values(self.listed.part, index[:3])


def open_part(
    source: Input, wanted: Sequence[str | int] | None, axes: str | None = None
) -> OpenPart:
    """Open the grid of a file, or the one that is wanted, without reading its values.

    wanted, axes: as of `inrv.files.read`
    Raises OptionError where there are several, and where the file is no image; ImageFileError.
    """
    kind = type_of(source)
    if not isinstance(kind, ImageFiles):
        raise OptionError(f"{source.name} is no dense image, of which blocks could be read")
    check_axes_wanted(source, kind, axes)
    found = kind.listed(source, axes)
    if wanted is not None:
        found = list(chosen(source.name, found, wanted))
    if len(found) != 1:
        names = ", ".join(repr(own.name) for own in found)
        raise OptionError(
            f"{source.name} holds {len(found)} grids, and a file of blocks has one: choose one of "
            f"{names} with `grids`"
        )
    return OpenPart(source, found[0], kind)


def write_image(
    target: Writable, image: Image, suffix: str | None = None, compress: bool = True
) -> Sequence[str]:
    """Write an image, whose numbers are read box by box where the file type allows that.

    Gives a line for people about each thing of the image that such a file does not hold.

    target, suffix, compress: as of `inrv.files.write`
    Raises OptionError where the file type has no images, and what `inrv.files.write` raises.
    """
    lost: list[str] = []

    def write_file(kind: FileType, file: BinaryIO) -> None:
        if not isinstance(kind, ImageFiles):
            raise OptionError("the output is no dense image: write .zarr, .npy, .nii, ...")
        lost.extend(kind.put_file(image, file, compress))

    def write_folder(kind: FolderType, folder: str) -> None:
        assert isinstance(kind, ZarrFiles)
        lost.extend(kind.put_images([image], folder, compress))

    write_as(target, suffix, write_file, write_folder)
    return lost
