"""MetaImage files (.mha), written by SimpleITK: scans with their frame in world space."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from inrv.errors import ImageFileError
from inrv.files.images.file_type import ImageFiles
from inrv.files.images.image import LOSSY, Image, as_type, space_lines
from inrv.files.images.mhd import LACKING, LAST, header_of, image_of_header, is_local
from inrv.support.inputs import Input

NAME = "image.mha"  # of a file in a folder of its own: SimpleITK writes files alone


class MetaImageFiles(ImageFiles):
    """Attached headers. World space is LPS, as ITK has it."""

    title, extra = "a MetaImage file", "medical"

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins as MetaImage's headers do."""
        return start.startswith((b"ObjectType", b"NDims"))

    def opened(self, source: Input) -> Image:
        """Read the header. The numbers are mapped where they are not compressed.

        SimpleITK would read numbers from any other file that the header names, and would give
        random ones where packed bytes are damaged.
        """
        header, end = header_of(source)
        if not is_local(header):
            raise ImageFileError(
                f"its numbers lie in another file, {header[LAST]!r}: name it .mhd, as such headers "
                "are"
            )
        return image_of_header(header, source, end)

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write the values; parts are a fourth axis."""
        import SimpleITK

        library: Any = SimpleITK
        image, lost = as_type(image, LACKING, self.title)
        lost += space_lines(image, "LPS")
        values = image.plain_values()
        shape = values.shape[:3]
        values = values.reshape(*shape, -1, *values.shape[values.ndim - image.vectors :])
        matrix = image.matrix_in("LPS")
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        direction, origin, edges = np.eye(4), [*matrix[:3, 3].tolist(), 0.0], [*spacing, 1.0]
        direction[:3, :3] = matrix[:3, :3] / spacing
        if values.shape[3] == 1:
            values = values[:, :, :, 0]
            direction, origin, edges = direction[:3, :3], origin[:3], edges[:3]
        axes = len(edges)
        ordered = values.transpose(*reversed(range(axes)), *range(axes, values.ndim))
        made = library.GetImageFromArray(np.ascontiguousarray(ordered), isVector=image.vectors)
        if not np.allclose(direction.T @ direction, np.eye(axes), atol=1e-6):
            lost.append("axes that are not at right angles: their lengths and the origin are kept")
            direction = np.eye(axes)
        made.SetDirection(direction.reshape(-1).tolist())
        made.SetSpacing([float(edge) for edge in edges])
        made.SetOrigin([float(own) for own in origin])
        if image.loss:
            made.SetMetaData(LOSSY, image.loss)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / NAME
            library.WriteImage(made, str(path), useCompression=compress)
            output.write(path.read_bytes())
        return lost


FILE_TYPE = MetaImageFiles()
