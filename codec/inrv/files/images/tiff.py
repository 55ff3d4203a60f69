"""Stacks of pictures in a TIFF file (.tif, .tiff), by tifffile, as microscopes and ImageJ have."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from inrv.errors import ImageFileError
from inrv.files.images.file_type import ImageFiles
from inrv.files.images.image import Image
from inrv.files.images.lazy import Bytes

KIND = "tiff"
SPACE = "XYZ"
IMAGEJ = ("uint8", "uint16", "float32")  # which ImageJ reads, uncompressed
PAGES = "ZIQ"  # axes of tifffile that may stand for z, in that order


class TiffFiles(ImageFiles):
    """The first series of a file: pages are z, rows y, columns x; times and channels are parts."""

    title, halves = "a TIFF file", True

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins as TIFF or BigTIFF does."""
        return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    def image(self, data: Bytes) -> Image:
        """Read numbers, and of ImageJ's files the size of a voxel."""
        import tifffile

        with _no_errors_logged(), tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            numbers, axes = np.asarray(series.asarray()), str(series.axes)
            told: Mapping[str, Any] = file.imagej_metadata or {}
            first: Any = file.pages[0]
            tags = first.tags
            edges = [_edge(tags, name) if told else 1.0 for name in ("XResolution", "YResolution")]
        if "Z" not in axes:
            page = next((axis for axis in PAGES if axis in axes), "C" if "C" in axes else "T")
            axes = axes.replace(page, "Z", 1)
        if "Z" not in axes:
            numbers, axes = numbers[None], "Z" + axes
        lacks = [axis for axis in SPACE if axis not in axes]
        if lacks:
            raise ImageFileError(f"its axes {axes!r} lack {lacks[0]}")
        others = [axis for axis in range(len(axes)) if axes[axis] not in SPACE]
        numbers = numbers.transpose(*(axes.index(axis) for axis in SPACE), *others)
        vectors = [axes[axis] for axis in others] == ["S"] and numbers.shape[3] == 3
        depth = float(told.get("spacing", 1.0))
        matrix = np.diag([*edges, depth if depth > 0 else 1.0, 1.0])
        header = {"axes": "".join(axes[axis] for axis in others), "unit": str(told.get("unit", ""))}
        return Image(numbers, matrix, vectors, kind=KIND, header=header)

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write a page for each z of each part; the axes are named."""
        import tifffile

        values, held = image.plain_values(), image.header_of(KIND)
        names = str(held.get("axes", ""))
        if len(names) != values.ndim - 3:
            names = "TCQPR"[: values.ndim - 3 - image.vectors] + "S" * image.vectors
        parts = [3 + number for number, name in enumerate(names) if name != "S"]
        samples = [3 + number for number, name in enumerate(names) if name == "S"]
        values = values.transpose(*parts, 2, 1, 0, *samples)
        axes = "".join(names[axis - 3] for axis in parts) + "ZYX" + "S" * len(samples)
        edges = image.edges
        unit = str(held.get("unit", ""))
        imagej = values.dtype.name in IMAGEJ and not parts + samples
        # ImageJ reads these names; other programs read them as a description.
        tifffile.imwrite(
            output,
            np.ascontiguousarray(values),
            metadata={"axes": axes, "spacing": float(edges[2]), "unit": unit},
            imagej=imagej,
            resolution=(1 / float(edges[0]), 1 / float(edges[1])),
            compression="zlib" if compress and not imagej else None,
            photometric="rgb" if samples else "minisblack",
        )
        lost = []
        if not image.is_upright or image.matrix[:3, 3].any():
            lost.append("of the transform, the size of a voxel alone is kept")
        if not imagej and not np.array_equal(edges, np.ones(3)):
            lost.append(
                "the size of a voxel is left out: ImageJ's files alone have it, of one part of "
                f"{', '.join(IMAGEJ)}"
            )
        return lost


@contextmanager
def _no_errors_logged() -> Iterator[None]:
    """Raise what tifffile logs as an error: it goes on with what is left of a damaged file."""
    logged = list[str]()

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())

    logger, handler = logging.getLogger("tifffile"), Kept(logging.ERROR)
    propagates = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
    if logged:
        raise ImageFileError(f"it is damaged: {logged[0]}")


def _edge(tags: Any, name: str) -> float:
    """The edge of a voxel: resolutions are voxels a unit."""
    if name not in tags:
        return 1.0
    above, below = tags[name].value
    return below / above if above and below else 1.0


FILE_TYPE = TiffFiles()
