"""Images in two files: numbers, and beside them a header that tells what they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO

from inrv.errors import ImageFileError, OptionError
from inrv.files.file_types import WriteOptions
from inrv.files.images.file_type import ImageFiles
from inrv.files.images.image import Image, image_of
from inrv.grids import SparseVolume
from inrv.support.extras import needed_for
from inrv.support.inputs import FileInput, Input


class PairFiles(ImageFiles):
    """Files that are written in pairs. Raises ImageFileError."""

    def pair_of(self, path: str) -> tuple[str, str]:
        """The paths of numbers and header for what is written to a path, which is one of them."""
        raise NotImplementedError

    def put_pair(self, image: Image, numbers: BinaryIO, name: str) -> tuple[bytes, Sequence[str]]:
        """Write the numbers of an image, and give its header.

        Gives a line for each thing that such files do not hold, too.

        name: of the file of numbers
        """
        raise NotImplementedError

    def write_pair(
        self, numbers: BinaryIO, name: str, volume: SparseVolume, options: WriteOptions
    ) -> tuple[bytes, Sequence[str]]:
        """Write the numbers of the image that the grids came from, and give its header."""
        image, lost = image_of(volume)
        with needed_for(self.title, self.extra):
            header, lines = self.put_pair(image, numbers, name)
        return header, [*lost, *lines]

    def put_file(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Raise OptionError: a file of blocks is written into one file."""
        raise OptionError(f"{self.title} is written with numbers in a file beside it: write .npy")

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        """Raise OptionError: two files have no place in one."""
        raise OptionError(f"{self.title} is written as two files: name a path for it")


def beside(source: Input, name: str) -> Input:
    """The file of a name in the folder of another one.

    Raises ImageFileError where the name leads elsewhere, or the other file lies in no folder.
    """
    name = name.removeprefix("./")
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise ImageFileError(
            f"its numbers lie in {name!r}: they are read from a file in the same folder alone"
        )
    if not isinstance(source, FileInput):
        raise ImageFileError(
            f"its numbers lie in another file, {name!r}, which is found beside a local file alone"
        )
    folder, shown = os.path.dirname(source.path), os.path.dirname(source.name)
    return FileInput(os.path.join(shown, name), os.path.join(folder, name))


def with_ending(path: str, ending: str) -> str:
    """A path with another ending."""
    return os.path.splitext(path)[0] + ending
