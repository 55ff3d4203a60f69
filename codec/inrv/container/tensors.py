"""Tensors inside a chunk: safetensors, through its own library."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from inrv.errors import FormatError


def pack_tensors(tensors: dict[str, NDArray[Any]]) -> bytes:
    """The bytes of a safetensors file that holds `tensors`; the same tensors give the same bytes."""
    return save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})


def unpack_tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file. Raises FormatError where it is not one."""
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"chunk is not valid safetensors: {error}") from error
