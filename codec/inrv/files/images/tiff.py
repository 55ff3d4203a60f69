"""Stacks of pictures in a TIFF file (.tif, .tiff), by tifffile, as microscopes and ImageJ have."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrv.errors import ImageFileError
from inrv.files.images.file_type import ImageFiles, check_length
from inrv.files.images.image import Image, name_of
from inrv.support.inputs import Input

KIND = "tiff"
SPACE = "XYZ"
PAGES = "ZIQCT"  # axes of tifffile that may stand for z, in that order
IMAGEJ = ("uint8", "uint16", "float32")  # which ImageJ reads, uncompressed
IMAGEJ_SAMPLES = ("uint8",)  # the same for colours
IMAGEJ_BYTES = (1 << 32) - (1 << 25)  # beyond which tifffile writes a BigTIFF
OME = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
NAMED = ("T", "C")  # axes of parts that ImageJ and OME have a name for
PACKED = 2048  # bytes that one byte of a file may stand for
# Units of OME, in metres.
METRES = {"µm": 1e-6, "pm": 1e-12, "Å": 1e-10, "nm": 1e-9, "mm": 1e-3, "cm": 1e-2, "m": 1.0}
MICROMETRE = ("um", "micron", "microns", "\\u00B5m")  # as ImageJ has it
NO_UNIT = "reference frame"  # of OME


class TiffFiles(ImageFiles):
    """Pages are z, rows y, columns x; times, channels and series are parts."""

    title, halves = "a TIFF file", True

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins as TIFF or BigTIFF does."""
        return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    def images(self, source: Input) -> Sequence[Image]:
        """Read every series: the first one has the name of the file."""
        with source.open() as file:
            found = series_of(file.read())
        name = name_of(source.name)
        return [
            replace(image, name=f"{name}.series{number}") if number else image
            for number, image in enumerate(found)
        ]

    def put(self, image: Image, output: BinaryIO, compress: bool) -> Sequence[str]:
        """Write pages as ImageJ or OME-TIFF have them, where these have such numbers and axes."""
        import tifffile

        values, axes = _ordered(image)
        held, kind = image.header_of(KIND), values.dtype.name
        samples = values.shape[-1] if "S" in axes else 1
        edges, unit = image.edges.tolist(), str(held.get("unit", "")) or "mm" * bool(image.space)
        sized = bool(unit) or edges != [1.0] * 3
        named = set(axes) <= set("TZCYXS")
        imagej = (
            named
            and not held.get("ome")
            and kind in (IMAGEJ if samples == 1 else IMAGEJ_SAMPLES)
            and samples in (1, 3, 4)
            and values.nbytes < IMAGEJ_BYTES
        )
        ome = named and not imagej and kind in OME and (sized or bool(held.get("ome")))
        metadata: dict[str, Any] = {"axes": axes}
        if imagej:
            metadata |= {"spacing": edges[2], "unit": _unit_of_imagej(unit)}
        for axis, edge in zip(SPACE, edges, strict=True):
            if ome:
                metadata[f"PhysicalSize{axis}"] = edge
                metadata[f"PhysicalSize{axis}Unit"] = _unit_of_ome(unit)
        # ImageJ reads these names; other programs read them as a description.
        tifffile.imwrite(
            output,
            np.ascontiguousarray(values),
            metadata=metadata,
            imagej=imagej,
            ome=ome,
            resolution=(1 / edges[0], 1 / edges[1]),
            compression="zlib" if compress and not imagej else None,
            photometric="rgb" if samples in (3, 4) else "minisblack",
        )
        lost = []
        if not image.is_upright or image.matrix[:3, 3].any():
            lost.append("of the transform, the size of a voxel alone is kept")
        if sized and not imagej and not ome:
            lost.append(
                "the size of a voxel is left out: neither ImageJ nor OME-TIFF has numbers of "
                f"{kind} along the axes {axes}"
            )
        return lost


def _ordered(image: Image) -> tuple[NDArray[Any], str]:
    """The values of an image with their axes in the order of ImageJ, and the names of these."""
    values, held = image.plain_values(), image.header_of(KIND)
    names, pages = str(held.get("axes", "")), str(held.get("pages", "Z"))
    count = values.ndim - 3
    known = not names or (names.isascii() and names.isalpha() and names.isupper())
    if not known or len(names) != count or len(set(SPACE + names)) != 3 + count:
        names = "TCQPR"[: count - image.vectors] + "S" * image.vectors
    flat = not pages and values.shape[2] == 1
    if not flat and (pages not in NAMED or pages in names):
        pages = "Z"
    if flat:
        values = values[:, :, 0]
    found = "XY" + pages + names
    ahead = "" if set(names) <= {*NAMED, "S"} else names.replace("S", "")
    axes = "".join(sorted(found, key=(ahead + "TZCYXS").index))
    return values.transpose([found.index(axis) for axis in axes]), axes


def series_of(data: bytes) -> list[Image]:
    """The series of a file, each an image with the size of a voxel where ImageJ or OME tell it."""
    import tifffile

    with _no_errors_logged(), tifffile.TiffFile(io.BytesIO(data)) as file:
        told: Any = tifffile.xml2dict(file.ome_metadata)["OME"] if file.ome_metadata else {}
        images = told.get("Image", [])
        images = images if isinstance(images, list) else [images]
        found = []
        for number, series in enumerate(file.series):
            _check_pages(series, len(data))
            if series.kind == "ome" and number < len(images):
                edges, unit = _size_by_ome(images[number].get("Pixels", {}))
            elif series.kind == "imagej":
                edges, unit = _size_by_imagej(series.keyframe.tags, file.imagej_metadata or {})
            else:
                edges, unit = [1.0] * 3, ""
            header: dict[str, Any] = {"unit": unit}
            header |= {"ome": True} if series.kind == "ome" else {}
            header |= {"series": number} if number else {}
            found.append(_image(np.asarray(series.asarray()), str(series.axes), edges, header))
    if not found:
        raise ImageFileError("it holds no image")
    return found


def _image(
    numbers: NDArray[Any], axes: str, edges: Sequence[float], header: Mapping[str, Any]
) -> Image:
    """The image of numbers along axes as tifffile names them.

    header: what else the file says of them
    """
    pages = next((axis for axis in PAGES if axis in axes), "")
    if not pages:
        numbers, axes = numbers[None], "Z" + axes
    axes = axes[::-1].replace(pages or "Z", "Z", 1)[::-1]  # the innermost of several
    lacks = [axis for axis in SPACE if axis not in axes]
    if lacks:
        raise ImageFileError(f"its axes {axes!r} lack {lacks[0]}")
    others = [axis for axis in range(len(axes)) if axes[axis] not in SPACE]
    numbers = numbers.transpose(*(axes.index(axis) for axis in SPACE), *others)
    vectors = [axes[axis] for axis in others] == ["S"] and numbers.shape[3] == 3
    own = {"axes": "".join(axes[axis] for axis in others), **header}
    if pages != "Z":
        own["pages"] = pages
    return Image(numbers, np.diag([*edges, 1.0]), vectors, kind=KIND, header=own)


def _check_pages(series: Any, size: int) -> None:
    """Raise ImageFileError where a file of a size cannot hold a series, or does not."""
    plain = series.dataoffset is not None and series.keyframe.compression == 1
    check_length(size * (1 if plain else PACKED), series.size * series.dtype.itemsize)
    missing = 0 if series.dataoffset is not None else sum(page is None for page in series)
    if missing:
        raise ImageFileError(
            f"{missing:,} pages of {series.name!r} are missing, or lie in other files: put all of "
            "them into one"
        )


def _size_by_imagej(tags: Any, told: Mapping[str, Any]) -> tuple[list[float], str]:
    """The edges of a voxel and their unit in a file of ImageJ."""
    edges = [_edge(tags, name) for name in ("XResolution", "YResolution")]
    depth = float(told.get("spacing", 1.0))
    return [*edges, depth if depth > 0 else 1.0], str(told.get("unit", ""))


def _edge(tags: Any, name: str) -> float:
    """The edge of a voxel: resolutions are voxels a unit."""
    if name not in tags:
        return 1.0
    above, below = tags[name].value
    return below / above if above and below else 1.0


def _size_by_ome(pixels: Mapping[str, Any]) -> tuple[list[float], str]:
    """The edges of a voxel and their unit, that of x, in the pixels of an OME-TIFF file.

    Raises ImageFileError where the units of two edges have no common measure.
    """
    sizes = {axis: pixels.get(f"PhysicalSize{axis}") for axis in SPACE}
    units = [str(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in SPACE if sizes[axis]]
    if not units:
        return [1.0] * 3, ""
    if len(set(units)) > 1 and not set(units) <= set(METRES):
        raise ImageFileError(f"the edges of a voxel are in units that do not compare: {units}")
    edges, unit = [], units[0]
    for axis in SPACE:
        own = str(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        edge = float(sizes[axis] or 1.0)
        edges.append(edge if own == unit or not sizes[axis] else edge * METRES[own] / METRES[unit])
    return [edge if edge > 0 else 1.0 for edge in edges], "" if unit == NO_UNIT else unit


def _unit_of_imagej(unit: str) -> str:
    """A unit as ImageJ writes it, in ASCII."""
    plain = (letter if letter.isascii() else f"\\u{ord(letter):04X}" for letter in unit)
    return "".join(plain) if unit.isprintable() else ""


def _unit_of_ome(unit: str) -> str:
    """The name that OME has for a unit."""
    unit = "µm" if unit in MICROMETRE else unit
    return unit if unit in METRES else NO_UNIT


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


FILE_TYPE = TiffFiles()
