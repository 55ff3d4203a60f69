"""Image codecs over the slices of a box: JPEG XL and JPEG 2000, by imagecodecs.

Values are scaled to 16 bits, and are grey. Each slice along an axis is a picture of its own, and
all share one quality. What all pictures begin with counts once.
"""

from __future__ import annotations

import imagecodecs
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

BITS = 16
LENGTH = np.dtype("<u4")  # of a slice, before all slices
DISTANCES = tuple(25 * 2 ** (-rung / 4) for rung in range(45))  # of JPEG XL; 25 is the largest
LEVELS = tuple(rung / 2 for rung in range(30, 220))  # of JPEG 2000: PSNR of a slice, dB


class Slices(Peer):
    """A codec of pictures, along each axis."""

    package = "imagecodecs"
    slow = True
    ladder: tuple[float, ...]

    def settings(self, frame: Frame) -> list[Setting]:
        """Return every axis."""
        return [Setting(f"axis {axis}", self.ladder, False, axis) for axis in range(3)]

    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        """Code every slice; store lengths, then the common beginning, then the rest of each."""
        pictures = np.moveaxis(to_integers(sample.dense, sample.frame, BITS), setting.choice, 0)
        coded = [self.picture(np.ascontiguousarray(picture), parameter) for picture in pictures]
        shared = _beginning(coded)
        lengths = [len(shared), *(len(entry) - len(shared) for entry in coded)]
        rest = b"".join(entry[len(shared) :] for entry in coded)
        return np.array(lengths, LENGTH).tobytes() + shared + rest

    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        """Decode every slice."""
        count = frame.box.shape[setting.choice]
        start = LENGTH.itemsize * (count + 1)
        first, *lengths = np.frombuffer(data[:start], LENGTH).tolist()
        shared, place, pictures = data[start : start + first], start + first, []
        for length in lengths:
            pictures.append(self.values(shared + data[place : place + length]))
            place += length
        return from_integers(np.moveaxis(np.stack(pictures), 0, setting.choice), frame, BITS)

    def picture(self, values: Array, parameter: float) -> bytes:
        """Code one slice."""
        raise NotImplementedError

    def values(self, data: bytes) -> Array:
        """Decode one slice."""
        raise NotImplementedError


def _beginning(coded: list[bytes]) -> bytes:
    """Return what all begin with."""
    first, last = min(coded), max(coded)
    pairs = zip(first, last, strict=False)
    size = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))
    return first[:size]


class JPEGXL(Slices):
    """JPEG XL at a distance and effort 9."""

    name = "JPEG XL"
    ladder = DISTANCES

    def picture(self, values: Array, parameter: float) -> bytes:
        """Code one slice at a distance."""
        return imagecodecs.jpegxl_encode(
            values, distance=parameter, effort=9, usecontainer=False, numthreads=1
        )

    def values(self, data: bytes) -> Array:
        """Decode one slice."""
        return imagecodecs.jpegxl_decode(data, numthreads=1)


class JPEG2000(Slices):
    """JPEG 2000 with the 9/7 wavelet, at a PSNR of each slice."""

    name = "JPEG 2000"
    ladder = LEVELS

    def picture(self, values: Array, parameter: float) -> bytes:
        """Code one slice at a PSNR, where the peak is that of 16 bits."""
        return imagecodecs.jpeg2k_encode(
            values, level=parameter, codecformat="j2k", reversible=False, numthreads=1
        )

    def values(self, data: bytes) -> Array:
        """Decode one slice."""
        return imagecodecs.jpeg2k_decode(data, numthreads=1)
