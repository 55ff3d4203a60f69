"""Pictures as a film: .gif and .webp by Pillow, .mp4 by PyAV."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from inrv.errors import OptionError
from inrv.support.extras import needed_for

SUFFIXES = (".mp4", ".gif", ".webp")
RATE = 24  # pictures a second
SHARE = 18  # constant rate factor of H.264: hardly any loss is seen


def check_movie(suffix: str) -> None:
    """Check, before pictures are drawn, that a film can be made of them.

    suffix: '.mp4', '.gif' or '.webp'
    Raises OptionError for another suffix, MissingPackageError.
    """
    if suffix not in SUFFIXES:
        raise OptionError(f"{suffix!r} is no film: known are {', '.join(SUFFIXES)}")
    with needed_for(f"{suffix} files", "view"):
        importlib.import_module("PIL.Image")
        if suffix == ".mp4":
            importlib.import_module("av")


def write_movie(output: BinaryIO, suffix: str, pictures: Iterable[bytes]) -> None:
    """Write a film of pictures.

    suffix: '.mp4', '.gif' or '.webp'
    pictures: PNG files of one size
    Raises what `check_movie` raises.
    """
    check_movie(suffix)
    images = _images(pictures)
    first = next(images)
    (_write_video if suffix == ".mp4" else _write_pages)(output, suffix, first, images)


def _images(pictures: Iterable[bytes]) -> Iterator[Any]:
    from PIL import Image

    for picture in pictures:
        yield Image.open(io.BytesIO(picture)).convert("RGB")


def _write_pages(output: BinaryIO, suffix: str, first: Any, images: Iterator[Any]) -> None:
    first.save(
        output,
        format=suffix[1:],
        save_all=True,
        append_images=images,
        duration=round(1000 / RATE),
        loop=0,
        quality=85,
    )


def _write_video(output: BinaryIO, suffix: str, first: Any, images: Iterator[Any]) -> None:
    library: Any = importlib.import_module("av")
    with library.open(output, "w", format=suffix[1:]) as film:
        stream: Any = film.add_stream("libx264", rate=RATE, options={"crf": str(SHARE)})
        # Players want an even number of pixels, with half the colours along each axis.
        stream.width, stream.height = (edge // 2 * 2 for edge in first.size)
        stream.pix_fmt = "yuv420p"
        for image in (first, *images):
            frame = library.VideoFrame.from_image(image.crop((0, 0, stream.width, stream.height)))
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
