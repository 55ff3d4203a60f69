"""Tensors inside a chunk: safetensors, through its own library."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from inrv.container.json_rules import parse_json
from inrv.errors import FormatError

HEADER_BYTES = 1 << 20  # of JSON: a thousand layers, each in parts, take half of it
DTYPES = ("int8", "uint8", "int32", "float16", "float32")


def pack_tensors(tensors: dict[str, NDArray[Any]]) -> bytes:
    """The bytes of a safetensors file that holds `tensors`; the same tensors give the same bytes.

    Raises FormatError for a dtype that the format does not have (see DTYPES).
    """
    _check_dtypes(tensors)
    return save({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)})


def unpack_tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file. Raises FormatError where it is not one, or holds a dtype not in DTYPES."""
    if (header := int.from_bytes(data[:8], "little")) > HEADER_BYTES:
        raise FormatError("S1", f"chunk is not valid safetensors: its header of {header:,} bytes is longer than {HEADER_BYTES:,}")
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, ImportError, MemoryError) as error:
        raise FormatError("S1", f"chunk is not valid safetensors: {error}") from error
    # The library lets the last of two equal names win; another reader might take the first.
    try:
        parse_json(data[8 : 8 + header], "safetensors header")
    except FormatError as error:
        raise FormatError("S1", error.message) from error
    _check_dtypes(tensors)
    return tensors


def _check_dtypes(tensors: dict[str, NDArray[Any]]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype.name not in DTYPES:
            raise FormatError("S2", f"tensor {name!r} is of dtype {tensor.dtype.name}; the format has {', '.join(DTYPES)}")
