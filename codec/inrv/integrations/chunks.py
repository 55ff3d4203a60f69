"""Chunks of arrays as .inrv files in memory: what the codecs of zarr and numcodecs share.

The last three axes of a chunk are the axes of grids, and there is a grid for each place along the
axes before them, as along time. Voxels that have the fill value of the array are inactive.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.decoding.frames import load
from inrv.decoding.volume import Volume
from inrv.encoding.api import encode_bytes
from inrv.errors import OptionError, SelectionError
from inrv.grids import Grid, sparse_grid
from inrv.options import EncodeOptions
from inrv.support.forks import renew_in_children
from inrv.support.streams import Readable

QUALITIES = ("max_error", "psnr", "lossless")  # a configuration has one of these
CONFIGURED = (*QUALITIES, "effort")
FIXED: dict[str, Any] = {"nonfinite": "keep", "exact_below": 0}  # chunks are many, and often small
DTYPES = (
    "float32",
    "float64",
    "bool",
    *(f"{kind}{8 << n}" for kind in ("int", "uint") for n in range(4)),
)
MOST_GRIDS = 256  # that a chunk has along its leading axes
# What a chunk's first grid says of the array: its dtype, its order in memory, its shape.
LAYOUT, LAYOUT_RULE = "array", re.compile(r"([<>|][bfiu][1248]) ([CF]) (\d+(?:,\d+){2,31})")
MISSING = "missing"  # of a grid whose background stands for NaN
ROUNDED = 0.499  # an error below a half is gone when values are rounded to whole numbers
TRIES, FINER = 3, 0.1  # encodings that reach for a PSNR after rounding; dB beyond what was short


def options_of(configuration: Mapping[str, Any], codec: str) -> EncodeOptions:
    """Read the configuration of a codec: one of QUALITIES, and `effort`, as `EncodeOptions` has it.

    configuration: by name; None stands for what is not asked
    codec: what messages call the codec
    Raises OptionError.
    """
    unknown = sorted(set(configuration) - set(CONFIGURED))
    if unknown:
        raise OptionError(f"{codec}: `{unknown[0]}` is not one of {', '.join(CONFIGURED)}")
    asked = {name: value for name, value in configuration.items() if value is not None}
    try:
        options = EncodeOptions(**{"effort": "instant", **asked, **FIXED})
    except OptionError as error:
        raise OptionError(f"{codec}: {error}") from error
    if not any(getattr(options, name) not in (None, False) for name in QUALITIES):
        raise OptionError(
            f"{codec}: say how good values are to come back: `max_error=0.01`, `max_error='1%'`, "
            "`psnr=45` or `lossless=True`"
        )
    return options


def configuration_of(options: EncodeOptions) -> dict[str, Any]:
    """Give the configuration that `options_of` reads as these options."""
    defaults = {entry.name: entry.default for entry in fields(EncodeOptions)}
    asked = {name: getattr(options, name) for name in QUALITIES}
    return {name: value for name, value in asked.items() if value != defaults[name]} | {
        "effort": options.effort
    }


def check_array(shape: tuple[int, ...], dtype: np.dtype[Any], codec: str) -> None:
    """Raise OptionError, which begins with `codec`, where chunks of that kind cannot be coded."""
    if dtype.name not in DTYPES:
        raise OptionError(
            f"{codec}: chunks hold {dtype}: convert the array to one of {', '.join(DTYPES)}"
        )
    if len(shape) < 3 or 0 in shape:
        raise OptionError(
            f"{codec}: chunks of shape {shape} have no three axes of space: give chunks of three "
            "axes or more, the last three those of space"
        )
    if math.prod(shape[:-3]) > MOST_GRIDS:
        raise OptionError(
            f"{codec}: chunks of shape {shape} have {math.prod(shape[:-3]):,} volumes, more than "
            f"{MOST_GRIDS}: make them smaller along the axes before the last three"
        )


class _Turns:
    """Encoders take turns: each uses all cores, and holds settings that all of a process share."""

    def __init__(self) -> None:
        renew_in_children(self)

    def new_locks(self) -> None:
        """Begin with a lock that no thread holds."""
        self.lock = threading.Lock()


_turns = _Turns()


def encode_chunk(
    array: NDArray[Any], options: EncodeOptions, fill: Any = 0, codec: str = "inrv"
) -> bytes:
    """Encode a chunk of an array as an .inrv file.

    array: (..., X, Y, Z) of one of DTYPES, in any byte order
    options: as `options_of` reads them. Whole numbers are rounded when they are decoded, and keep
        the bound, or the PSNR, after that
    fill: the value of the array where nothing was written; its voxels come back exactly
    codec: what messages call the codec
    Raises OptionError for other arrays, and for numbers that float32 cannot hold as asked.
    """
    check_array(array.shape, array.dtype, codec)
    order = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
    layout = f"{array.dtype.str} {order} {','.join(map(str, array.shape))}"
    plain = array.astype(array.dtype.newbyteorder("="), copy=False)
    if plain.dtype.kind == "b":
        plain = plain.view(np.uint8)
    planes = plain.reshape(-1, *array.shape[-3:])
    grids = [
        _grid_of(plane, fill, options, layout if not number else None)
        for number, plane in enumerate(planes)
    ]
    with _turns.lock:
        try:
            if plain.dtype.kind == "f" or options.all_lossless:
                return encode_bytes(grids, options)[0]
            return _encode_whole_numbers(grids, planes, options)
        except OptionError as error:
            raise OptionError(f"{codec}: {error}") from error


def _grid_of(plane: NDArray[Any], fill: Any, options: EncodeOptions, layout: str | None) -> Grid:
    """Make a grid of one volume of a chunk; NaN, or else the fill value, becomes its background."""
    told = {} if layout is None else {LAYOUT: layout}
    missing = _missing(plane, options.all_lossless)
    if missing.any():
        sentinel = _beyond(plane)
        values = np.where(missing, sentinel, plane)
        return sparse_grid(
            values, "", background=sentinel, active=~missing, metadata=told | {MISSING: "NaN"}
        )
    background = np.asarray(fill, dtype=plane.dtype)
    if not _single_holds(background):
        return sparse_grid(plane, "", active=np.ones(plane.shape, dtype=np.bool_), metadata=told)
    active = plane != background
    if plane.dtype.kind == "f" and options.all_lossless:
        active |= np.signbit(plane) != np.signbit(background)  # 0.0 and -0.0 are equal
    return sparse_grid(plane, "", background=background, active=active, metadata=told)


def _single_holds(number: NDArray[Any]) -> bool:
    """Tell whether float32 holds a number as it is."""
    with np.errstate(over="ignore"):
        single = float(number.astype(np.float32))
    return math.isfinite(single) and single == number.item()


def _missing(plane: NDArray[Any], bit_for_bit: bool) -> NDArray[np.bool_]:
    """Tell which values are the NaN that a background stands for: any, or that of NumPy alone."""
    if plane.dtype.kind != "f":
        return np.zeros(plane.shape, dtype=np.bool_)
    if not bit_for_bit:
        return np.asarray(np.isnan(plane))
    whole = np.dtype(f"u{plane.itemsize}")
    canonical = np.array(np.nan, plane.dtype).view(whole)
    found: NDArray[np.bool_] = np.asarray(plane.view(whole) == canonical)
    return found


def _beyond(plane: NDArray[Any]) -> float:
    """Give a number that no decoded value has: all stay within the range of the finite ones."""
    finite = plane[np.isfinite(plane)]
    if not len(finite):
        return 0.0
    with np.errstate(over="ignore"):
        low, high = np.float32(finite.min()), np.float32(finite.max())
        above = float(np.nextafter(high, np.float32(math.inf)))
        below = float(np.nextafter(low, np.float32(-math.inf)))
    return above if math.isfinite(above) else below


def _encode_whole_numbers(grids: list[Grid], planes: NDArray[Any], options: EncodeOptions) -> bytes:
    """Encode whole numbers, so that what is promised holds after they are rounded again."""
    if options.max_error is not None:
        spans = map(_span, grids)
        bounds = [options.error_bounds([span])[0] for span in spans if span] or [0.0]
        return encode_bytes(grids, replace(options, max_error=math.floor(min(bounds)) + ROUNDED))[0]
    assert options.psnr is not None
    asked = options.psnr
    for _ in range(TRIES):
        data = encode_bytes(grids, replace(options, psnr=asked))[0]
        short = max(
            _short_of(options.psnr, plane, decoded.dense(_whole(plane)), grid)
            for plane, decoded, grid in zip(planes, load(data).grids, grids, strict=True)
        )
        if short <= 0:
            return data
        asked = min(asked + short + FINER, 1000.0)
    return encode_bytes(grids, replace(options, psnr=None, max_error=ROUNDED))[0]


def _span(grid: Grid) -> float:
    """Give the range of the whole numbers that are active."""
    values = grid.values
    return float(values.max()) - float(values.min()) if len(values) else 0.0


def _short_of(psnr: float, plane: NDArray[Any], values: NDArray[np.float32], grid: Grid) -> float:
    """Give the dB that decoded values lack once they are rounded; 0 or less: none."""
    active, span = len(grid.values), _span(grid)
    decoded = _decoded_plane(values, plane.dtype).astype(np.float64)
    error = float(np.square(decoded - plane.astype(np.float64)).sum())
    if not error or not active or not span:
        return 0.0
    return psnr - 10 * math.log10(span**2 * active / error)


def _whole(plane: NDArray[Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give the box of a whole volume, both corners included."""
    return (0, 0, 0), tuple(size - 1 for size in plane.shape[-3:])


def _decoded_plane(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Bring decoded values to the dtype of the array: whole numbers are rounded."""
    if dtype.kind == "f":
        return np.asarray(values, dtype=dtype)
    if dtype.kind == "b":
        return np.asarray(np.rint(values) != 0)
    limits, wide = np.iinfo(dtype), np.rint(values.astype(np.float64))
    top = float(limits.max)  # of 64 bits it is one more, which no integer may be made of
    inside = wide.clip(limits.min, np.nextafter(top, 0) if top > limits.max else top)
    whole: NDArray[Any] = inside.astype(dtype)
    whole[wide >= top] = limits.max
    return whole


@dataclass(frozen=True)
class Chunk:
    """A chunk, open.

    volume: its grids
    dtype: of the array, in its byte order
    order: of the array in memory: 'C' or 'F'
    shape: of the array
    """

    volume: Volume
    dtype: np.dtype[Any]
    order: str
    shape: tuple[int, ...]

    @staticmethod
    def open(source: Readable, codec: str = "inrv") -> Chunk:
        """Open the bytes of a chunk.

        codec: what messages call the codec
        Raises FormatError where they are no .inrv file, OptionError where it is no chunk.
        """
        volume = load(source)
        grids = volume.grids
        told = grids[0].entry.metadata.get(LAYOUT) if grids else None
        found = LAYOUT_RULE.fullmatch(str(told.value)) if told is not None else None
        if found is None:
            raise OptionError(
                f"{codec}: {volume.container.name} is an .inrv file, but no chunk of an array: "
                "inrv.load opens it"
            )
        shape = tuple(map(int, found[3].split(",")))
        dtype = np.dtype(found[1])
        check_array(shape, dtype, codec)
        scalar = all(grid.entry.value_type == "float" for grid in grids)
        if len(grids) != math.prod(shape[:-3]) or not scalar:
            raise OptionError(
                f"{codec}: {volume.container.name} has {len(grids)} grids, and says that it is a "
                f"chunk of shape {shape}: it is damaged"
            )
        return Chunk(volume, dtype, found[2], shape)

    def values(self, box: tuple[range, ...] | None = None) -> NDArray[Any]:
        """Decode a box of the chunk: only the regions of 128^3 that it touches.

        box: the places along each axis, without a step and within the chunk; None: all of them
        Raises FormatError.
        """
        ranges = box or tuple(map(range, self.shape))
        corners = (
            tuple(places[0] for places in ranges[-3:]),
            tuple(places[-1] for places in ranges[-3:]),
        )
        asked, most = math.prod(map(len, ranges)), self.volume.container.limits.values
        if asked > most:
            raise SelectionError(
                f"{self.volume.container.name}: {asked:,} values of a chunk of shape {self.shape} "
                f"are more than the limit of {most:,}: read a part of it"
            )
        numbers = np.arange(len(self.volume.grids)).reshape(self.shape[:-3])
        chosen = numbers[tuple(slice(places.start, places.stop) for places in ranges[:-3])]
        result = np.empty((chosen.size, *map(len, ranges[-3:])), dtype=self.dtype)
        for plane, number in zip(result, chosen.reshape(-1).tolist(), strict=True):
            grid = self.volume.grids[number]
            values = grid.dense(corners)
            if MISSING in grid.entry.metadata:
                values[values == np.float32(grid.entry.background[0])] = np.nan
            plane[...] = _decoded_plane(values, self.dtype.newbyteorder("="))
        return result.reshape(tuple(map(len, ranges)))
