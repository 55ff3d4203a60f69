"""NRRD headers (.nhdr) with their numbers in a file beside them, by pynrrd."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from typing import BinaryIO

from inrv.errors import ImageFileError
from inrv.files.images.image import Image
from inrv.files.images.nrrd import NrrdFiles
from inrv.files.images.pairs import PairFiles, beside, with_ending
from inrv.support.inputs import Input

BLANK = re.compile(rb"\r?\n\r?\n")  # what ends a header
DATA_FILE = re.compile(rb"^data ?file:[ \t]*(.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE)
MOST_HEADER = 1 << 20  # bytes


class NhdrFiles(PairFiles, NrrdFiles):
    """Detached headers. The numbers are raw where we write."""

    title = "an NRRD header"

    def opened(self, source: Input) -> Image:
        """Read header and numbers, as if these were attached."""
        head = BLANK.split(source.part(0, MOST_HEADER), maxsplit=1)[0]
        named = DATA_FILE.search(head)
        if named is None:
            return super().opened(source)
        name = os.fsdecode(named[1])
        if "%" in name or name.split()[:1] == ["LIST"]:
            raise ImageFileError("its numbers lie in several files: join them, as by `unu save`")
        with beside(source, name).open() as file:
            numbers = file.read()
        alone = (head[: named.start()] + head[named.end() + 1 :]).rstrip(b"\r\n")
        return self.image(alone + b"\n\n" + numbers)

    def pair_of(self, path: str) -> tuple[str, str]:
        """The paths of numbers and header."""
        return with_ending(path, ".raw"), path

    def put_pair(self, image: Image, numbers: BinaryIO, name: str) -> tuple[bytes, Sequence[str]]:
        """Write the numbers, and give the header."""
        whole = io.BytesIO()
        lost = self.put(image, whole, compress=False)
        head, _, plain = whole.getvalue().partition(b"\n\n")
        numbers.write(plain)
        return head + b"\ndata file: " + os.fsencode(name) + b"\n", lost


FILE_TYPE = NhdrFiles()
