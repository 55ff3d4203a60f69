"""Video codecs over the slices of a box: SVT-AV1 and x265, by PyAV.

Values are scaled to the integers of 10 or 12 bits, and are grey. All slices along an axis are one
group of pictures. The bytes are those of the elementary stream, without a container and without
the marks that only say where a picture ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from benchmarks.peers.peer import (
    Array,
    Frame,
    Peer,
    Sample,
    Setting,
    from_integers,
    to_integers,
)

os.environ.setdefault("SVT_LOG", "1")  # errors alone; read when the library is loaded
import av
import av.logging

SMALLEST = 64  # pixels across, for both encoders
DELIMITER = b"\x12\x00"  # of AV1: a new picture begins
RATE = 25


class Video(Peer):
    """An encoder of PyAV at a constant rate factor, along each axis."""

    package = "av"
    slow = True
    encoder: str
    decoder: str
    formats: dict[int, str]
    ladder: tuple[float, ...]

    def __init__(self, preset: str) -> None:
        """Choose how long the encoder may take.

        preset: of the encoder
        """
        self.preset = preset
        av.codec.Codec(self.encoder, "w")  # raises where PyAV was built without it
        av.logging.set_level(av.logging.ERROR)

    def options(self) -> dict[str, str]:
        """Return the options of the encoder besides its rate."""
        raise NotImplementedError

    def settings(self, frame: Frame) -> list[Setting]:
        """Return every axis at every depth."""
        return [
            Setting(
                f"{bits} bits, axis {axis}, preset {self.preset}", self.ladder, False, (bits, axis)
            )
            for bits in self.formats
            for axis in range(3)
        ]

    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        """Code all slices along the axis."""
        bits, axis = setting.choice
        slices = np.moveaxis(to_integers(sample.dense, sample.frame, bits), axis, 0)
        return self.code(slices, bits, parameter)

    def code(self, pictures: Array, bits: int, parameter: float) -> bytes:
        """Code pictures as one stream.

        pictures: uint16 (N, height, width)
        """
        pictures = _padded(pictures)
        count, height, width = pictures.shape
        context = av.CodecContext.create(self.encoder, "w")
        context.width, context.height, context.pix_fmt = width, height, self.formats[bits]
        context.time_base, context.framerate = Fraction(1, RATE), Fraction(RATE)
        context.gop_size = count
        context.thread_count = 1
        context.options = {**self.options(), "crf": f"{parameter:g}", "preset": self.preset}
        packets = [
            bytes(packet)
            for picture in _frames(pictures, self.formats[bits], bits)
            for packet in context.encode(picture)
        ]
        return b"".join(packet.removeprefix(DELIMITER) for packet in packets)

    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        """Decode the stream, which holds all that the decoder needs."""
        bits, axis = setting.choice
        shape = np.moveaxis(np.empty(frame.box.shape, bool), axis, 0).shape
        return from_integers(np.moveaxis(self.pictures(data, shape), 0, axis), frame, bits)

    def pictures(self, data: bytes, shape: tuple[int, ...]) -> Array:
        """Decode a stream to its pictures.

        shape: count, height and width of the pictures
        """
        context = av.CodecContext.create(self.decoder, "r")
        context.thread_count = 1
        pictures = [
            picture
            for packet in [*self.packets(context, data), None]
            for picture in context.decode(packet)
        ]
        count, height, width = shape
        if len(pictures) != count:
            raise RuntimeError(f"{len(pictures)} pictures came back of {count}")
        return np.stack([_luma(picture)[:height, :width] for picture in pictures])

    def packets(self, context: av.CodecContext, data: bytes) -> list[av.Packet]:
        """Cut a stream into what the decoder takes at a time."""
        raise NotImplementedError


class SVTAV1(Video):
    """SVT-AV1, which has 10 bits and no grey: its chroma is flat."""

    name = "SVT-AV1"
    encoder = "libsvtav1"
    decoder = "libdav1d"
    formats = {10: "yuv420p10le"}  # noqa: RUF012
    ladder = tuple(range(63, 0, -1))

    def options(self) -> dict[str, str]:
        """Return one key frame, and no denoising of it, which costs PSNR."""
        return {"svtav1-params": "keyint=-1:lp=1:tune=1:enable-tf=0:scd=0:hierarchical-levels=4"}

    def packets(self, context: av.CodecContext, data: bytes) -> list[av.Packet]:
        """Give all at once: without delimiters the parser finds no pictures, and dav1d does."""
        return [av.Packet(data)]


class X265(Video):
    """x265, grey, with 10 or 12 bits."""

    name = "x265"
    encoder = "libx265"
    decoder = "hevc"
    formats = {10: "gray10le", 12: "gray12le"}  # noqa: RUF012
    ladder = tuple(range(51, -1, -1))

    def options(self) -> dict[str, str]:
        """Return one key frame, nothing for the eye alone, and no text about the encoder.

        Weighted prediction is off: it made slices larger, and other bytes in every run.
        """
        parameters = "keyint=-1:scenecut=0:info=0:weightp=0:weightb=0"
        alone = "pools=none:frame-threads=1:log-level=error"
        return {"x265-params": f"{parameters}:{alone}", "tune": "psnr"}

    def packets(self, context: av.CodecContext, data: bytes) -> list[av.Packet]:
        """Let the parser find the pictures."""
        return [*context.parse(data), *context.parse(b"")]


def _padded(pictures: Array) -> Array:
    """Repeat the last row and column up to an even size that the encoders take."""
    sizes = [max(SMALLEST, size + size % 2) - size for size in pictures.shape[1:]]
    return np.pad(pictures, [(0, 0), *((0, size) for size in sizes)], mode="edge")


def _frames(pictures: Array, layout: str, bits: int) -> Iterator[av.VideoFrame | None]:
    """Yield every picture, its chroma flat, and then the end."""
    for number, values in enumerate(pictures):
        frame = av.VideoFrame(values.shape[1], values.shape[0], layout)
        for plane in frame.planes:
            _plane(plane)[:] = 2 ** (bits - 1)
        _luma(frame)[:] = values
        frame.pts = number
        yield frame
    yield None


def _plane(plane: av.video.plane.VideoPlane) -> Array:
    """View a plane of 16-bit numbers, whose rows may have a tail."""
    rows = np.ndarray((plane.height, plane.line_size // 2), np.uint16, buffer=plane)
    return rows[:, : plane.width]


def _luma(frame: av.VideoFrame) -> Array:
    return _plane(frame.planes[0])
