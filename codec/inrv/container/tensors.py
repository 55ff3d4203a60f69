"""Tensors inside a chunk: safetensors, through its own library, and checked arrays of them."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from inrv.container.json_rules import parse_json
from inrv.errors import FormatError

HEADER_BYTES = 1 << 20  # of JSON: a thousand layers, each in parts, take half of it
DTYPES = {"I8": "int8", "U8": "uint8", "I32": "int32", "F16": "float16", "F32": "float32"}
MOST_NAMED = 12  # tensors that a message names
METADATA = "__metadata__"  # a key of a safetensors header that is no tensor

Arrays = dict[str, NDArray[Any]]


def pack_tensors(tensors: Arrays) -> bytes:
    """Return the bytes of a safetensors file; the same tensors give the same bytes.

    tensors: arrays by name, of the dtypes in DTYPES
    Raises FormatError for another dtype.
    """
    for name, tensor in tensors.items():
        if tensor.dtype.name not in DTYPES.values():
            raise _foreign(name, tensor.dtype.name)
    return save({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)})


def unpack_tensors(data: bytes) -> Arrays:
    """Return the tensors of a safetensors file by name.

    Raises FormatError where it is none, or holds a dtype that is not in DTYPES.
    """
    if (header := int.from_bytes(data[:8], "little")) > HEADER_BYTES:
        found = f"its header of {header:,} bytes is longer than {HEADER_BYTES:,}"
        raise FormatError("S1", f"chunk is not valid safetensors: {found}")
    try:
        # The library lets the last of two equal names win; another reader might take the first.
        about = parse_json(data[8 : 8 + header], "its header")
    except FormatError as error:
        message = f"chunk is not valid safetensors: {error.message}"
        raise FormatError("S1", message) from error
    _check_dtypes(about)
    try:
        return load(data)
    except (
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ImportError,
        MemoryError,
    ) as error:
        raise FormatError("S1", f"chunk is not valid safetensors: {error}") from error


def _check_dtypes(about: Any) -> None:
    """Check the dtypes that the header of a safetensors file names; all else is the library's."""
    for name, tensor in about.items() if isinstance(about, dict) else ():
        dtype = tensor.get("dtype") if isinstance(tensor, dict) else None
        if isinstance(dtype, str) and name != METADATA and dtype not in DTYPES:
            raise _foreign(name, dtype)


def _foreign(name: str, dtype: str) -> FormatError:
    """Return the error of a tensor whose dtype the format does not have."""
    known, shown = ", ".join(DTYPES.values()), reprlib.repr(name)
    dtype = dtype if dtype.isalnum() and len(dtype) < 12 else ascii(dtype[:12])
    return FormatError("S2", f"tensor {shown} is of dtype {dtype}; the format has {known}")


def take(
    arrays: Arrays, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """Return the array `name`.

    dtype: the dtype that it must have
    shape: the shape that it must have, None for any length
    Raises FormatError where it is missing or another.
    """
    found = arrays.get(name)
    if found is None:
        names = ", ".join(map(repr, sorted(arrays)[:MOST_NAMED])) or "none"
        raise FormatError("S3", f"tensor {name!r} is missing (found: {names})")
    fits = found.ndim == len(shape)
    fits = fits and all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))
    if found.dtype != dtype or not fits:
        expected = f"{np.dtype(dtype)} {tuple('any' if n is None else n for n in shape)}"
        message = f"tensor {name!r} is {found.dtype} {found.shape}, expected {expected}"
        raise FormatError("S3", message)
    return found
