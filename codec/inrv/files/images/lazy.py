"""Numbers that are read when they are sliced, so that a file may hold more than memory does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inrv.errors import ImageFileError

Bytes = bytes | memoryview  # of a file: those of a path are mapped


class Numbers(Protocol):
    """An array, or what is sliced as one: `np.memmap`, `h5py.Dataset`, `zarr.Array`, `Reordered`.

    It is sliced by a tuple of whole numbers and of slices of step 1, or by `...`.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Its lengths along its axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers."""

    @property
    def ndim(self) -> int:
        """How many axes it has."""

    def __getitem__(self, index: Any, /) -> Any:
        """Read a part of it, as a NumPy array."""


class Reordered:
    """Numbers whose axes stand in another order, still unread.

    held: the numbers
    order: for each axis, which one of `held` it is; None: an axis of length 1 that `held` lacks.
        All axes of `held` are among them
    """

    def __init__(self, held: Numbers, order: Sequence[int | None]) -> None:
        self.held, self.order = held, tuple(order)
        self.shape = tuple(1 if axis is None else held.shape[axis] for axis in self.order)
        self.dtype, self.ndim = np.dtype(held.dtype), len(self.order)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a part: a slice of step 1 or a whole number for each axis; others as a whole."""
        asked = all_axes(index, self.ndim)
        of_held: list[Any] = [slice(None)] * self.held.ndim
        for axis, own in zip(self.order, asked, strict=True):
            if axis is not None:
                of_held[axis] = own if isinstance(own, slice) else slice(own, own + 1)
        found = np.asarray(self.held[tuple(of_held)])
        found = found.transpose([axis for axis in self.order if axis is not None])
        missing = [place for place, axis in enumerate(self.order) if axis is None]
        found = np.expand_dims(found, missing)
        kept: list[Any] = [slice(None) if isinstance(own, slice) else 0 for own in asked]
        for place in missing:
            kept[place] = asked[place]
        return np.asarray(found[tuple(kept)])


class Computed:
    """Numbers that a function makes of others when they are sliced.

    held: the others
    function: gives as many numbers
    dtype: of what it gives
    """

    def __init__(
        self, held: Numbers, function: Callable[[NDArray[Any]], NDArray[Any]], dtype: Any
    ) -> None:
        self.held, self.function = held, function
        self.shape, self.ndim, self.dtype = held.shape, held.ndim, np.dtype(dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Compute a part."""
        return self.function(np.asarray(self.held[index]))


def all_axes(index: Any, count: int) -> list[Any]:
    """Give an index as one for each of so many axes."""
    given = list(index) if isinstance(index, tuple) else [index]
    here = next((place for place, own in enumerate(given) if own is Ellipsis), len(given))
    before, behind = given[:here], given[here + 1 :]
    return [*before, *[slice(None)] * (count - len(before) - len(behind)), *behind]


def stored_numbers(
    data: Bytes, kind: np.dtype[Any], shape: Sequence[int], offset: int
) -> NDArray[Any]:
    """The numbers that lie in a file as they are, the last axis first, and are not copied.

    offset: of the first one
    Raises ImageFileError where the file has too few bytes.
    """
    whole = math.prod(shape) * kind.itemsize
    if min((*shape, offset + 1)) < 1:
        raise ImageFileError(f"it has numbers of shape {tuple(shape)} behind {offset} bytes")
    if len(data) < offset + whole:
        raise ImageFileError(f"it has {len(data):,} bytes where {offset + whole:,} belong")
    found = np.frombuffer(data, dtype=kind, count=math.prod(shape), offset=offset)
    return found.reshape(shape)
