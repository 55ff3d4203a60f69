"""Regions of a lattice, decoded and coded by the core: codec/core/lattice.h in Python's terms."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_double,
    c_float,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
)
from ctypes import c_void_p as Address
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.core.library import instruction_sets, library

LEVELS = 7
REGION_EDGE = 128
LEAF_VOXELS = 512
NO_UNITS = -(1 << 31)  # INRV_NO_UNITS of inrv.h
SEGMENTS = 4  # of a region's codes: levels 6 to 3, 2, 1, 0
QUANTISERS, TABLES, TOKENS = 2, 64, 46
LISTED = 1 << 10  # magnitudes whose bits an encoder has listed
MOST_INPUTS = 64
WAVELET_PRIOR = 11252  # numbers that wavelets begin with
WAVELET_TOP = 1 << 15  # largest value, in units, of a wavelet channel
ALL = (1 << 32) - 1  # a share of 1

Ints = NDArray[np.int32]
Tensors = Mapping[str, NDArray[np.float32]]


class _Network(Structure):
    _fields_ = (
        ("inputs", c_int32),
        ("first", c_int32),
        ("second", c_int32),
        ("outputs", c_int32),
        ("first_weight", Address),
        ("first_bias", Address),
        ("second_weight", Address),
        ("second_bias", Address),
        ("last_weight", Address),
        ("last_bias", Address),
        ("skip_weight", Address),
    )


class _Channel(Structure):
    _fields_ = (
        ("steps", c_int32 * LEVELS),
        ("top", c_int32),
        ("background", c_int32),
        ("reference_top", c_int32),
        ("lossless", c_int32),
        ("exterior", c_int32),
        ("trellis", c_int32),
        ("wavelet", c_int32),
        ("prediction", POINTER(_Network) * 3),
        ("restoration", POINTER(_Network)),
        ("prior", Address),
        ("wavelet_prior", Address),
    )


class _Leaves(Structure):
    _fields_ = (("count", c_size_t), ("cells", Address), ("masks", Address))


class _Region(Structure):
    _fields_ = (
        ("leaves", _Leaves),
        ("reference", _Leaves),
        ("reference_values", Address),
        ("exterior", _Leaves),
        ("exterior_values", Address),
        ("around", c_int32),
        ("mean", c_int32),
        ("spread", c_int32),
    )


class _Codes(Structure):
    _fields_ = (
        ("bytes", Address * SEGMENTS),
        ("sizes", c_size_t * SEGMENTS),
        ("segments", c_int32),
        ("lanes", c_int32),
    )


class _Motion(Structure):
    _fields_ = (
        ("count", c_size_t),
        ("cells", Address),
        ("vectors", Address),
        ("fraction", c_int32),
    )


class _Aim(Structure):
    _fields_ = (
        ("targets", Address),
        ("values", Address),
        ("rate_weight", c_float),
        ("bits", Address),
    )


class _Samples(Structure):
    _fields_ = (
        ("seed", c_uint64),
        ("share", c_uint32 * LEVELS),
        ("capacity", c_size_t),
        ("count", c_size_t),
        ("inputs", Address),
        ("base", Address),
        ("spread", Address),
        ("targets", Address),
        ("predicted", Address),
        ("table", Address),
        ("odd", Address),
        ("level", Address),
        ("flat", Address),
        ("tokens", Address),
        ("logits", Address),
        ("visits", Address),
    )


class _Scaling(Structure):
    _fields_ = (
        ("scale", c_double),
        ("minimum", c_double),
        ("maximum", c_double),
        ("top", c_int32),
        ("clamp", c_int32),
        ("offsets", Address),
    )


KEPT_BYTES = 1 << 28  # of memory that waits for the next region


class _Work:
    """Memory of the core for one region at a time, used by one thread at a time."""

    def __init__(self) -> None:
        self.address = library().inrv_work_new(instruction_sets())
        if not self.address:
            raise MemoryError("there is not enough memory to decode a region")
        self.free = library().inrv_work_free

    def __del__(self) -> None:
        if getattr(self, "address", None):
            self.free(self.address)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        size: int = library().inrv_work_bytes(self.address)
        return size


# What no thread uses now: threads come and go, and memory that is new costs as much as decoding.
_idle: list[_Work] = []


@contextmanager
def _work() -> Iterator[Any]:
    """Gives the address of memory that nobody else uses meanwhile."""
    try:
        work = _idle.pop()
    except IndexError:
        work = _Work()
    try:
        yield work.address
    finally:
        if sum(other.nbytes for other in _idle.copy()) + work.nbytes <= KEPT_BYTES:
            _idle.append(work)


@dataclass(frozen=True, eq=False)
class Leaves:
    """Some leaves of a region.

    cells: uint16 (L,) ascending, x << 8 | y << 4 | z of each leaf's place in the region
    masks: uint8 (L, 64) of their active voxels
    """

    cells: NDArray[np.uint16]
    masks: NDArray[np.uint8]


def prefiltered(leaves: Leaves, values: Ints, limits: NDArray[np.float32]) -> Ints:
    """What an encoder aims at that will leave out finer voxels: smooth values on coarse strides.

    leaves: of a region
    values: int32 (n,) in units, of their voxels
    limits: float32 (7,) units by which a voxel of each level departs from its value at most

    Returns int32 (n,).
    """
    targets, own = np.empty_like(values), _leaves(leaves)
    library().inrv_prefilter(byref(own), values, limits, targets)
    return targets


@dataclass(frozen=True, eq=False)
class KnownVoxels:
    """The values of a region's voxels that are not coded, in units.

    leaves: cells with some that are listed; in any order, and a cell may come twice
    values: int32 (n,) of the voxels that are listed
    around: of all others
    """

    leaves: Leaves
    values: Ints
    around: int


@dataclass(frozen=True, eq=False)
class RegionMotion:
    """Vectors along which values are fetched from a region of a reference channel.

    cells: uint16 (n,) ascending, those that have a vector
    vectors: int8 (n, 3) in 2^-fraction voxels
    fraction: 0 to 3
    """

    cells: NDArray[np.uint16]
    vectors: NDArray[np.int8]
    fraction: int


def predicted_vectors(cells: NDArray[np.uint16], vectors: Ints, *, restore: bool) -> Ints:
    """What the vectors of a region's cells differ by from their predictions, or back.

    cells: uint16 (n,) ascending
    vectors: int32 (n, 3) within +-127; to restore them, what they differ by

    Raises FormatError (F9) where a restored one is larger.
    """
    found = np.array(vectors, dtype=np.int32, order="C")
    library().inrv_vectors(np.ascontiguousarray(cells), len(cells), int(restore), found)
    return found


@dataclass(frozen=True, eq=False)
class KnownRegion:
    """What is known of a region before its codes.

    leaves: of the voxels that are coded
    reference: leaves of the reference channel and the values int32 of their voxels in its units;
        None where there is none
    exterior: the voxels that are not coded; None where they tell nothing
    mean: of the values, in 255ths of the channel's top
    spread: log2 of their mean deviation in units
    """

    leaves: Leaves
    reference: tuple[Leaves, Ints] | None
    exterior: KnownVoxels | None
    mean: int
    spread: int


_own = threading.local()  # `dense`: where each thread lays a region out, empty between two calls


def moved_values(
    region: KnownRegion, values: Ints, motion: RegionMotion, top: int, cells: NDArray[np.uint16]
) -> Ints:
    """The values int32 (n, 512) of every voxel of some cells, fetched from a region along vectors.

    region: its coded voxels and its exterior
    values: int32 (m,) in units, of the coded voxels
    top: largest value of the channel that they are for, which limits all of them
    cells: uint16 (n,) ascending
    """
    known, vectors = np.ascontiguousarray(motion.cells), np.ascontiguousarray(motion.vectors)
    along = _Motion(len(known), known.ctypes.data, vectors.ctypes.data, motion.fraction)
    given, values = _given(region), np.ascontiguousarray(values)
    moved = np.empty((len(cells), LEAF_VOXELS), dtype=np.int32)
    if not hasattr(_own, "dense"):
        _own.dense = np.full(REGION_EDGE**3, NO_UNITS, dtype=np.int32)
    library().inrv_move(
        byref(given), values, byref(along), top, np.ascontiguousarray(cells), len(cells),
        _own.dense, moved,
    )  # fmt: skip
    return moved


@dataclass(frozen=True, eq=False)
class RegionCodes:
    """The codes of a region.

    lanes: log2 of the coder's lanes
    segments: one, or those of levels 6 to 3, of level 2, of level 1 and of level 0; the finest may
        lack where they are not decoded
    cut: whether there are four
    """

    lanes: int
    segments: tuple[bytes, ...]
    cut: bool

    @property
    def size(self) -> int:
        """Bytes of the segments."""
        return sum(map(len, self.segments))


@dataclass(frozen=True, eq=False)
class ContextSamples:
    """Contexts of some voxels, for the fitting of networks.

    inputs: int8 (n, 64) of the network, zeros behind
    base: int32 (n,) what the prediction starts from, in units; for the restoration filter the
        decoded value
    spread: int32 (n,) of the neighbours, in units
    targets: int32 (n,) the voxels' values, in units
    predicted: int32 (n,) predictions, in units; nothing for the restoration filter
    table: uint8 (n,) of the voxels' codes; nothing for the restoration filter
    odd: uint8 (n,) number of odd axes; 0: inputs of the restoration filter
    level: uint8 (n,) of the voxels
    flat: bool (n,) whether all neighbours are equal
    tokens: uint32 (2, 64, 46) how often each token came under each table of each quantiser
    logits: int32 (11252,) of a wavelet, in 2^-24, as its last bit left them
    visits: uint8 (11252,) how often each was seen, at most 255
    """

    inputs: NDArray[np.int8]
    base: Ints
    spread: Ints
    targets: Ints
    predicted: Ints
    table: NDArray[np.uint8]
    odd: NDArray[np.uint8]
    level: NDArray[np.uint8]
    flat: NDArray[np.bool_]
    tokens: NDArray[np.uint32]
    logits: Ints
    visits: NDArray[np.uint8]


class LatticeChannel:
    """A channel as the core knows it before its codes.

    steps: of the quantiser, in units, by level, the finest first
    top: largest value, in units
    background: of the grid, in units
    reference_top: largest value of the reference channel; 0 where there is none
    lossless: whether values are whole numbers of 128 units
    exterior: whether voxels that are not coded are known
    trellis: whether codes are of two quantisers in turn
    wavelet: whether regions are coded as wavelets
    prediction: whole numbers of the three networks, by name of the tensor
    restoration: those of the filter, None where there is none
    prior: int64 (2, 64, 46) counts with which the tables begin
    wavelet_prior: int8 (11252,) what the logits of wavelets begin with, in 16ths
    """

    def __init__(
        self,
        steps: Sequence[int],
        top: int,
        background: int,
        reference_top: int,
        lossless: bool,
        exterior: bool,
        trellis: bool,
        wavelet: bool,
        prediction: Sequence[Tensors],
        restoration: Tensors | None,
        prior: NDArray[Any],
        wavelet_prior: NDArray[np.int8],
    ) -> None:
        self.exterior = exterior
        self._kept: list[Any] = []
        own = self._own = _Channel()
        own.steps[:] = tuple(steps)
        own.top, own.background, own.reference_top = top, background, reference_top
        own.lossless, own.exterior = lossless, exterior
        own.trellis, own.wavelet = trellis, wavelet
        for place, tensors in enumerate(prediction):
            own.prediction[place] = ctypes.pointer(self._network(tensors))
        if restoration is not None:
            own.restoration = ctypes.pointer(self._network(restoration))
        own.prior = self._address(prior, np.int32)
        own.wavelet_prior = self._address(wavelet_prior, np.int8)

    def _address(self, array: NDArray[Any], dtype: Any) -> int:
        kept = np.ascontiguousarray(array, dtype=dtype)
        self._kept.append(kept)
        return kept.ctypes.data

    def _network(self, tensors: Tensors) -> _Network:
        inputs, first = tensors["first.weight"].shape
        second, outputs = tensors["last.weight"].shape
        names = ("first.weight", "first.bias", "second.weight", "second.bias", "last.weight",
                 "last.bias", "skip.weight")  # fmt: skip
        addresses = [
            self._address(tensors[name], np.int32 if name.endswith("bias") else np.int8)
            for name in names
        ]
        network = _Network(inputs, first, second, outputs, *addresses)
        self._kept.append(network)
        return network

    def decode(self, region: KnownRegion, codes: RegionCodes, count: int, level: int = 0) -> Ints:
        """Decode a region: values int32 (count,), in units, of its voxels at multiples of 2^level.

        Raises FormatError (F6) where the codes are damaged.
        """
        values = np.empty(count, dtype=np.int32)
        given = _Codes()
        given.segments, given.lanes = SEGMENTS if codes.cut else 1, codes.lanes
        _give(given, codes.segments)
        known = _given(region)
        with _work() as work:
            library().inrv_decode_region(
                work, byref(self._own), byref(known), byref(given), level, values
            )
        return values

    def encode(
        self,
        region: KnownRegion,
        targets: Ints,
        values: Ints,
        rate_weight: float,
        bits: NDArray[np.float32],
        shares: Sequence[float] | None = None,
        seed: int = 0,
    ) -> tuple[RegionCodes, Ints, ContextSamples | None]:
        """Encode a region.

        targets: int32 (n,) of its voxels, what codes are chosen for
        values: int32 (n,) of its voxels, what they are
        rate_weight: of a bit against a squared step; 0: the nearest code is chosen
        bits: float32 (2, 64, 1024) of a magnitude and its sign under each quantiser's tables
        shares: of the voxels of each level whose contexts are asked for; None: none are
        seed: draws them

        Returns the codes, the decoded values int32 (n,), and the contexts.
        """
        count = len(targets)
        decoded = np.empty(count, dtype=np.int32)
        buffer = np.empty(library().inrv_codes_bound(count), dtype=np.uint8)
        aim = _Aim(targets.ctypes.data, values.ctypes.data, rate_weight, bits.ctypes.data)
        samples = None if shares is None else _Sampling(shares, seed, 2 * count)
        known, found = _given(region), _Codes()
        with _work() as work:
            library().inrv_encode_region(
                work, byref(self._own), byref(known), byref(aim), decoded,
                None if samples is None else byref(samples.own), buffer, len(buffer), byref(found),
            )  # fmt: skip
        codes = _codes_of(found, buffer)
        return codes, decoded, None if samples is None else samples.found()


OF_ALL = ("tokens", "logits", "visits")  # what samples hold besides what each voxel has


class _Sampling:
    """Arrays that the core fills with contexts."""

    def __init__(self, shares: Sequence[float], seed: int, most: int) -> None:
        capacity = max(1, round(most * min(1.0, 1.1 * max(shares))) + 4096)
        self.arrays = ContextSamples(
            np.zeros((capacity, MOST_INPUTS), dtype=np.int8),
            np.empty(capacity, dtype=np.int32),
            np.empty(capacity, dtype=np.int32),
            np.empty(capacity, dtype=np.int32),
            np.empty(capacity, dtype=np.int32),
            np.empty(capacity, dtype=np.uint8),
            np.empty(capacity, dtype=np.uint8),
            np.empty(capacity, dtype=np.uint8),
            np.empty(capacity, dtype=np.bool_),
            np.zeros((QUANTISERS, TABLES, TOKENS), dtype=np.uint32),
            np.zeros(WAVELET_PRIOR, dtype=np.int32),
            np.zeros(WAVELET_PRIOR, dtype=np.uint8),
        )
        own = self.own = _Samples()
        own.seed, own.capacity, own.count = seed, capacity, 0
        own.share[:] = [min(ALL, round(share * (ALL + 1))) for share in shares]
        for name, array in vars(self.arrays).items():
            setattr(own, name, array.ctypes.data)

    def found(self) -> ContextSamples:
        """What was taken."""
        taken = {
            name: array if name in OF_ALL else array[: self.own.count].copy()
            for name, array in vars(self.arrays).items()
        }
        return ContextSamples(**taken)


def _given(region: KnownRegion) -> _Region:
    given = _Region()
    given.leaves = _leaves(region.leaves)
    if region.reference is not None:
        leaves, values = region.reference
        given.reference, given.reference_values = _leaves(leaves), values.ctypes.data
    if region.exterior is not None:
        given.exterior = _leaves(region.exterior.leaves)
        given.exterior_values = region.exterior.values.ctypes.data
        given.around = region.exterior.around
    given.mean, given.spread = region.mean, region.spread
    return given


def _leaves(leaves: Leaves) -> _Leaves:
    return _Leaves(len(leaves.cells), leaves.cells.ctypes.data, leaves.masks.ctypes.data)


def _give(codes: _Codes, segments: Sequence[bytes]) -> None:
    for place, segment in enumerate(segments):
        codes.bytes[place] = ctypes.cast(ctypes.c_char_p(segment), Address)
        codes.sizes[place] = len(segment)


def _codes_of(found: _Codes, buffer: NDArray[np.uint8]) -> RegionCodes:
    ends = np.cumsum([found.sizes[place] for place in range(found.segments)]).tolist()
    starts = [0, *ends[:-1]]
    segments = (buffer[start:end].tobytes() for start, end in zip(starts, ends, strict=True))
    return RegionCodes(found.lanes, tuple(segments), found.segments == SEGMENTS)


def encode_numbers(
    prior: NDArray[np.int64], tables: Sequence[int], passes: Sequence[Ints]
) -> bytes:
    """Code numbers, within +-2^19, as the codes of a region are: one segment.

    prior: int64 (2, 64, 46) counts with which the tables begin
    tables: of each pass
    passes: the numbers int32 of each pass
    """
    numbers = np.concatenate([np.zeros(0, dtype=np.int32), *passes]).astype(np.int32)
    buffer = np.empty(library().inrv_codes_bound(len(numbers)), dtype=np.uint8)
    found = _Codes()
    with _work() as work:
        library().inrv_encode_numbers(
            work, prior.astype(np.int32), len(passes), _counts(map(len, passes)),
            np.array(tables, dtype=np.uint8), numbers, buffer, len(buffer), byref(found),
        )  # fmt: skip
    return _codes_of(found, buffer).segments[0]


def decode_numbers(
    prior: NDArray[np.int64], tables: Sequence[int], counts: Sequence[int], segment: bytes
) -> list[Ints]:
    """The numbers of `encode_numbers`, int32 (counts[i],) each. Raises FormatError (F6)."""
    numbers = np.empty(sum(counts), dtype=np.int32)
    codes = _Codes()
    codes.segments = 1
    _give(codes, (segment,))
    with _work() as work:
        library().inrv_decode_numbers(
            work, prior.astype(np.int32), len(counts), _counts(counts),
            np.array(tables, dtype=np.uint8), byref(codes), numbers,
        )  # fmt: skip
    return np.split(numbers, np.cumsum(counts))[: len(counts)]


def _counts(counts: Any) -> NDArray[np.uintp]:
    return np.array(list(counts), dtype=np.uintp)


@dataclass(frozen=True, eq=False)
class Scaling:
    """How a channel's units stand for values.

    scale: units in the range
    minimum: of the range
    maximum: of the range
    top: largest unit
    offsets: float64 (17,) in units, added between 0 and `top`; None where there are none
    """

    scale: float
    minimum: float
    maximum: float
    top: int
    offsets: NDArray[np.float64] | None = None

    def values(self, units: Ints, values: NDArray[np.float32], clamp: bool = True) -> None:
        """Fill values float32 (n,) from units int32 (n,), computed in float64 and rounded once.

        values: may be a column of an array
        clamp: whether values stay within the range
        """
        offsets = None if self.offsets is None else self.offsets.ctypes.data
        own = _Scaling(self.scale, self.minimum, self.maximum, self.top, clamp, offsets)
        units = np.ascontiguousarray(units)
        library().inrv_to_values(
            byref(own), units.ctypes.data, len(units), values.ctypes.data, values.strides[0] // 4
        )


def errors_by_unit(
    units: Ints, values: NDArray[np.float64], scale: float, top: int
) -> NDArray[np.float64]:
    """By how much voxels that decode to the same units miss.

    units: int32 (n,) decoded values
    values: float64 (n,) what they stand for, over `scale`
    scale: units in the range
    top: largest decoded value

    Returns float64 (m, 4): units, how many voxels have them, the sum of what these miss, in units,
    and that of its squares.
    """
    if top > 4 * len(units):  # a table of all units would be larger than the voxels
        missed = values * scale - units
        return np.stack([units, np.ones(len(units)), missed, missed * missed], axis=1)
    errors = np.zeros((top + 1, 4), dtype=np.float64)
    library().inrv_errors_by_unit(units, values, scale, len(units), errors)
    errors[:, 0] = np.arange(top + 1)
    return errors[errors[:, 1] > 0]


def offset_sums(
    errors: NDArray[np.float64], top: int, highest: float, knots: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """What the fit of offsets needs of some voxels.

    errors: float64 (m, 4) of `errors_by_unit`
    top: largest decoded value
    highest: largest value that decoders give
    knots: float64 (17,) offsets so far

    Returns float64 (3, 17), of the hat function at each knot the sums of its products with itself,
    with the next, and with what is missed; and the sum of squares of what is missed, in units.
    """
    sums = np.empty((3, len(knots)), dtype=np.float64)
    squared: float = library().inrv_offset_sums(errors, len(errors), top, highest, knots, *sums)
    return sums, squared
