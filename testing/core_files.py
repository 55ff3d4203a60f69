"""The C core's reader of files, for tests: codec/core/inrv.h in Python's terms."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from inrv.core.library import LIBRARY, instruction_sets, raise_error

FLOAT, HALF, UNITS = range(3)
NO_UNITS = -(2**31)
DTYPES = {FLOAT: np.float32, HALF: np.float16, UNITS: np.int32}
EDGE = 128

Read = CFUNCTYPE(c_int, c_void_p, c_uint64, c_void_p, c_size_t)
Unzstd = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)


class Host(Structure):
    _fields_ = (("context", c_void_p), ("read", Read), ("unzstd", Unzstd))


class Limits(Structure):
    _fields_ = (
        ("chunks", c_uint32),
        ("manifest_bytes", c_uint32),
        ("grids", c_uint32),
        ("frames", c_uint32),
        ("leaves", c_uint32),
        ("chunk_bytes", c_uint64),
        ("exact_bytes", c_uint64),
        ("memory", c_uint64),
    )


class Component(Structure):
    _fields_ = (("minimum", c_double), ("maximum", c_double), ("scale", c_double))


class GridHeader(Structure):
    _fields_ = (
        ("name", c_char_p),
        ("name_size", c_size_t),
        ("type", c_char_p),
        ("components", c_int32),
        ("passthrough", c_int32),
        ("frame", c_int32),
        ("position", c_int32),
        ("grid_class", c_int32),
        ("whole_leaves", c_int32),
        ("background", c_float * 3),
        ("matrix", c_double * 16),
        ("active_voxels", c_uint64),
        ("leaf_voxels", c_uint64),
        ("has_box", c_int32),
        ("lower", c_int32 * 3),
        ("upper", c_int32 * 3),
        ("component", Component * 3),
    )


class FrameHeader(Structure):
    _fields_ = (
        ("has_number", c_int32),
        ("has_time", c_int32),
        ("number", c_double),
        ("time", c_double),
        ("group", c_int32),
    )


class TimelineHeader(Structure):
    _fields_ = (
        ("rate", c_int32 * 2),
        ("loop", c_int32),
        ("has_start", c_int32),
        ("start", c_double),
        ("increment", c_double),
        ("unit", c_char_p),
        ("pattern", c_char_p),
    )


class Tile(Structure):
    _fields_ = (
        ("corner", c_int32 * 3),
        ("edge", c_int32),
        ("active", c_int32),
        ("values", POINTER(c_float)),
    )


class Skeleton(Structure):
    _fields_ = (
        ("leaves", c_size_t),
        ("regions", c_size_t),
        ("tiles", c_size_t),
        ("corners", POINTER(c_int32)),
        ("tile", POINTER(Tile)),
    )


class Decoded(Structure):
    _fields_ = (
        ("leaves", c_size_t),
        ("voxels", c_size_t),
        ("inactive", c_size_t),
        ("cells", c_void_p),
        ("masks", c_void_p),
        ("values", c_void_p),
        ("inactive_masks", c_void_p),
        ("inactive_values", c_void_p),
    )


def unpack(frame: bytes, raw_size: int) -> bytes | None:
    """The content of a frame of zstd, as a host gives it; None where it is not one of this size."""
    with suppress(zstandard.ZstdError, MemoryError):
        decompressor = zstandard.ZstdDecompressor(dict_data=_dictionary())
        content: bytes = decompressor.decompress(frame, raw_size, allow_extra_data=False)
        return content if len(content) == raw_size else None
    return None


@cache
def _dictionary() -> zstandard.ZstdCompressionDict:
    size = c_size_t()
    core().inrv_dictionary.restype = c_void_p
    place = core().inrv_dictionary(byref(size))
    return zstandard.ZstdCompressionDict(ctypes.string_at(place, size.value))


@Unzstd
def _unzstd(context: Any, frame: int, size: int, raw: int, raw_size: int) -> int:
    content = unpack(ctypes.string_at(frame, size), raw_size)
    if content is None:
        return 1
    ctypes.memmove(raw, content, raw_size)
    return 0


@cache
def core() -> ctypes.CDLL:
    """The library, whose functions return their errors."""
    return ctypes.CDLL(str(LIBRARY))


def call(name: str, *arguments: Any) -> None:
    """Call a function that returns an error, which is raised."""
    raise_error(getattr(core(), name)(*arguments), name)


def array_at(place: int, dtype: Any, *shape: int) -> NDArray[Any]:
    """A copy of an array of the core's."""
    count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    data = ctypes.string_at(place, count) if count else b""
    return np.frombuffer(data, dtype=dtype).reshape(shape).copy()


@dataclass(frozen=True, eq=False)
class Region:
    """The leaves of a region, decoded.

    cells: uint16 (L,)
    masks: uint8 (L, 64) of the active voxels
    values: float32 (n, C) of these
    inactive_masks: uint8 (L, 64)
    inactive_values: float32 (m, C)
    """

    cells: NDArray[np.uint16]
    masks: NDArray[np.uint8]
    values: NDArray[np.float32]
    inactive_masks: NDArray[np.uint8]
    inactive_values: NDArray[np.float32]


class Opened:
    """Bytes that the core opens.

    data: the bytes
    reading: whether the core asks for parts of them, in place of having all in memory
    """

    def __init__(self, data: bytes, reading: bool = False, **limits: int) -> None:
        self.data, self.reading = data, reading
        self.reads: list[tuple[int, int]] = []
        self.limits = Limits()
        core().inrv_default_limits(byref(self.limits))
        for name, value in limits.items():
            setattr(self.limits, name, value)
        self._host = Host(None, Read(self._read), _unzstd)

    def _open(self, by_reading: str, in_memory: str, handle: c_void_p) -> None:
        """Open it by one of two functions."""
        host, limits, to = byref(self._host), byref(self.limits), byref(handle)
        if self.reading:
            call(by_reading, host, c_uint64(len(self.data)), limits, to)
        else:
            call(in_memory, self.data, c_size_t(len(self.data)), host, limits, to)

    def _held(self, header: Any) -> Any:
        """What a pointer of the core's names, whose strings stay as long as it."""
        found = header.contents
        found.owner = self
        return found

    def _read(self, context: Any, offset: int, to: int, size: int) -> int:
        part = self.data[offset : offset + size]
        self.reads.append((offset, size))
        ctypes.memmove(to, part, len(part))
        return int(len(part) < size)


class CoreFile(Opened):
    """A file that the core has opened."""

    def __init__(self, data: bytes, reading: bool = False, **limits: int) -> None:
        super().__init__(data, reading, **limits)
        self.file = c_void_p()
        self._open("inrv_open", "inrv_open_memory", self.file)

    def __del__(self) -> None:
        core().inrv_close(self.file)

    @property
    def grids(self) -> list[GridHeader]:
        """What the file says of its grids."""
        core().inrv_grid_at.restype = POINTER(GridHeader)
        count = core().inrv_grid_count(self.file)
        return [self._held(core().inrv_grid_at(self.file, number)) for number in range(count)]

    @property
    def frames(self) -> list[FrameHeader]:
        """What the file says of its frames."""
        core().inrv_frame_at.restype = POINTER(FrameHeader)
        count = core().inrv_frame_count(self.file)
        return [self._held(core().inrv_frame_at(self.file, place)) for place in range(count)]

    def frame_of(self, number: float) -> int:
        """The place of the frame that has a number."""
        return int(core().inrv_frame_of(self.file, c_double(number)))


class CoreSequence(Opened):
    """A sequence that the core has opened, or a file of one volume as one."""

    def __init__(self, data: bytes, reading: bool = False, **limits: int) -> None:
        super().__init__(data, reading, **limits)
        self.sequence = c_void_p()
        self._open("inrv_sequence_open", "inrv_sequence_open_memory", self.sequence)

    def __del__(self) -> None:
        core().inrv_sequence_close(self.sequence)

    @property
    def timeline(self) -> TimelineHeader:
        """How its frames lie in time."""
        core().inrv_sequence_timeline.restype = POINTER(TimelineHeader)
        found: TimelineHeader = self._held(core().inrv_sequence_timeline(self.sequence))
        return found

    @property
    def frames(self) -> list[FrameHeader]:
        """Its frames, in the order of their numbers."""
        core().inrv_sequence_frame_at.restype = POINTER(FrameHeader)
        count = core().inrv_sequence_frame_count(self.sequence)
        found = (core().inrv_sequence_frame_at(self.sequence, place) for place in range(count))
        return [self._held(header) for header in found]


class CoreGroup(CoreFile):
    """A group of a sequence.

    sequence: stays open as long
    """

    def __init__(self, sequence: CoreSequence, group: int) -> None:
        self.sequence, self.file = sequence, c_void_p()
        call("inrv_sequence_group", sequence.sequence, group, byref(self.file))


class CoreDecoder:
    """A decoder of a grid.

    file: stays open as long
    """

    def __init__(self, file: CoreFile, grid: int) -> None:
        self.file, self.decoder = file, c_void_p()
        self.components = file.grids[grid].components
        sets = instruction_sets()
        call("inrv_decoder_open", file.file, grid, sets, byref(self.decoder))

    def __del__(self) -> None:
        core().inrv_decoder_close(self.decoder)

    @property
    def skeleton(self) -> Skeleton:
        """What the grid consists of."""
        core().inrv_decoder_skeleton.restype = POINTER(Skeleton)
        found: Skeleton = core().inrv_decoder_skeleton(self.decoder).contents
        return found

    @property
    def corners(self) -> NDArray[np.int32]:
        """Corners int32 (R, 3) of the regions with leaves."""
        place = ctypes.cast(self.skeleton.corners, c_void_p).value or 0
        return array_at(place, np.int32, self.skeleton.regions, 3)

    def region(self, corner: Any, level: int = 0) -> Region:
        """Decode the leaves of a region."""
        found = Decoded()
        call("inrv_decode", self.decoder, (c_int32 * 3)(*corner), level, byref(found))
        leaves, components = found.leaves, self.components
        return Region(
            array_at(found.cells, np.uint16, leaves),
            array_at(found.masks, np.uint8, leaves, 64),
            array_at(found.values, np.float32, found.voxels, components),
            array_at(found.inactive_masks, np.uint8, leaves, 64),
            array_at(found.inactive_values, np.float32, found.inactive, components),
        )

    def block(
        self, corner: Any, level: int = 0, format: int = FLOAT
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Decode a region: values (E, E, E, C) and whether each voxel is active."""
        edge = EDGE >> level
        values = np.empty((edge, edge, edge, self.components), dtype=DTYPES[format])
        active = np.empty((edge, edge, edge), dtype=np.uint8)
        call(
            "inrv_decode_block", self.decoder, (c_int32 * 3)(*corner), level, format,
            values.ctypes.data_as(c_void_p), active.ctypes.data_as(c_void_p),
        )  # fmt: skip
        return values, active == 1

    def active(self, corner: Any, level: int = 0) -> NDArray[np.bool_]:
        """Which voxels (E, E, E) of a region are active; no value is decoded for it."""
        active = np.empty((EDGE >> level,) * 3, dtype=np.uint8)
        place = active.ctypes.data_as(c_void_p)
        call("inrv_decode_block", self.decoder, (c_int32 * 3)(*corner), level, FLOAT, None, place)
        return active == 1


class CorePoints:
    """Decoded regions that are kept for points.

    decoder: stays open as long
    """

    def __init__(self, decoder: CoreDecoder, kept: int = 1 << 28) -> None:
        self.decoder, self.points = decoder, c_void_p()
        call("inrv_points_new", decoder.decoder, c_size_t(kept), byref(self.points))

    def __del__(self) -> None:
        core().inrv_points_free(self.points)

    def __call__(self, points: Any, nearest: bool = False) -> NDArray[np.float32]:
        """Values float32 (n, C) at points of index space (n, 3)."""
        at = np.ascontiguousarray(points, dtype=np.float64)
        values = np.empty((len(at), self.decoder.components), dtype=np.float32)
        call(
            "inrv_values_at", self.points, int(nearest), at.ctypes.data_as(c_void_p),
            c_size_t(len(at)), values.ctypes.data_as(c_void_p),
        )  # fmt: skip
        return values
