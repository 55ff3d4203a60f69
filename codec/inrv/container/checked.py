"""Arrays out of a chunk, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import FormatError

Arrays = dict[str, NDArray[Any]]


def take(arrays: Arrays, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """The array `name`, which must have that dtype and shape (None: any length). Raises FormatError otherwise."""
    found = arrays.get(name)
    if found is None:
        raise FormatError("S3", f"tensor {name!r} is missing (found: {', '.join(map(repr, sorted(arrays)[:12])) or 'none'})")
    fits = found.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, found.shape, strict=True))
    if found.dtype != dtype or not fits:
        want = tuple("any" if n is None else n for n in shape)
        raise FormatError("S3", f"tensor {name!r} is {found.dtype} {found.shape}, expected {np.dtype(dtype)} {want}")
    return found


def bytes_of_words(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Words of a range coder as the bytes uint8 (4 W,) that a chunk holds."""
    return words.astype("<u4").view(np.uint8)


def take_words(arrays: Arrays, name: str) -> NDArray[np.uint32]:
    """The words of a range coder in the array `name`. Raises FormatError."""
    found = take(arrays, name, np.uint8, (None,))
    if len(found) % 4:
        raise FormatError("S11", f"tensor {name!r} has {len(found)} bytes, which are not words of 4")
    words: NDArray[np.uint32] = found.view("<u4")
    return words
