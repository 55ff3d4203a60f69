"""The C core, found, loaded and declared. Only this room imports ctypes.

While a function of the core runs, other threads of Python run too.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from inrv.errors import FormatError, InrvError, OptionError

LIBRARY = Path(__file__).resolve().parent.parent / (
    "_core" + {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
)
# INRV_SET_... of inrv.h.
INSTRUCTION_SETS = {"plain": 1, "sse4": 2, "avx2": 4, "avx512": 8, "neon": 16, "simd128": 32}
_MEMORY, _USE, _NOT_SUPPORTED = 1, 2, 3


def reads(dtype: DTypeLike) -> Any:
    """The type of an argument that is an array, which the function reads."""
    return np.ctypeslib.ndpointer(dtype, flags="C_CONTIGUOUS")


def writes(dtype: DTypeLike) -> Any:
    """The type of an argument that is an array, which the function fills."""
    return np.ctypeslib.ndpointer(dtype, flags=("C_CONTIGUOUS", "WRITEABLE"))


_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_SEGMENT = (writes(np.uint8), _SIZE, _POINTER)  # bytes, their number, and what they are
# What functions take that return an error; `library` makes exceptions of their errors.
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "inrv_decode_region": (*[_POINTER] * 4, ctypes.c_int, writes(np.int32)),
    "inrv_prefilter": (_POINTER, reads(np.int32), reads(np.float32), writes(np.int32)),
    "inrv_encode_region": (*[_POINTER] * 4, writes(np.int32), _POINTER, *_SEGMENT),
    "inrv_features": (
        *(ctypes.c_uint, reads(np.uint32), _SIZE, ctypes.c_int, _SIZE),
        *(reads(np.float32), reads(np.float32), ctypes.c_int, _POINTER),
    ),
    "inrv_features_gradient": (
        *(ctypes.c_uint, reads(np.float32), _SIZE, ctypes.c_int, _SIZE, ctypes.c_int),
        *(_POINTER, _POINTER, writes(np.float32)),
    ),
    "inrv_decode_numbers": (
        *(_POINTER, reads(np.int32), _SIZE, reads(np.uintp), reads(np.uint8)),
        *(_POINTER, writes(np.int32)),
    ),
    "inrv_encode_numbers": (
        *(_POINTER, reads(np.int32), _SIZE, reads(np.uintp), reads(np.uint8), reads(np.int32)),
        *_SEGMENT,
    ),
    "inrv_vectors": (reads(np.uint16), _SIZE, ctypes.c_int, writes(np.int32)),
    "inrv_masks_decode": (
        *(reads(np.int8), _POINTER, _POINTER, _SIZE),
        *(_POINTER, writes(np.uint8)),
    ),
    "inrv_masks_encode": (reads(np.int8), _POINTER, reads(np.uint8), *[_POINTER] * 3),
}
# What the others take, behind what they return.
_INFALLIBLE: dict[str, tuple[Any, ...]] = {
    "inrv_version": (ctypes.c_char_p,),
    "inrv_instruction_sets": (ctypes.c_uint,),
    "inrv_work_new": (_POINTER, ctypes.c_uint),
    "inrv_work_free": (None, _POINTER),
    "inrv_work_bytes": (_SIZE, _POINTER),
    "inrv_codes_bound": (_SIZE, _SIZE),
    "inrv_to_values": (None, _POINTER, _POINTER, _SIZE, _POINTER, _SIZE),
    "inrv_index_keys": (None, reads(np.int64), _SIZE, writes(np.int32), ctypes.c_int),
    "inrv_fill_blocks": (
        *(None, reads(np.uint8), _SIZE, ctypes.c_int, reads(np.float32), _SIZE),
        *(reads(np.float32), writes(np.float32)),
    ),
    "inrv_put_values": (
        *(None, reads(np.uint8), reads(np.uint8), _SIZE, _SIZE),
        *(_POINTER, _SIZE, _POINTER),
    ),
    "inrv_sample": (
        *(_SIZE, _POINTER, _POINTER, reads(np.float64), _SIZE),
        *(writes(np.uint8), writes(np.float32), _POINTER),
    ),
    "inrv_copy_box": (
        *(None, _POINTER, reads(np.float32), ctypes.c_int, *[reads(np.int32)] * 3),
        writes(np.float32),
    ),
    "inrv_move": (
        *(None, _POINTER, reads(np.int32), _POINTER, ctypes.c_int32, reads(np.uint16), _SIZE),
        *(writes(np.int32), writes(np.int32)),
    ),
    "inrv_errors_by_unit": (
        *(None, reads(np.int32), reads(np.float64), ctypes.c_double, _SIZE),
        writes(np.float64),
    ),
    "inrv_offset_sums": (
        *(ctypes.c_double, reads(np.float64), _SIZE, ctypes.c_int32),
        *(ctypes.c_double, reads(np.float64), *[writes(np.float64)] * 3),
    ),
    "inrv_masks_work": (_SIZE, _SIZE),
    "inrv_masks_bound": (_SIZE, _SIZE),
}


def raise_error(error: int, function: str) -> None:
    """Raise the exception that an error number of the core stands for; nothing where it is 0.

    error: what the function returned, INRV_OK ... of inrv.h
    function: its name
    """
    if error == 0:
        return
    if error == _MEMORY:
        raise MemoryError(f"{function}: there is not enough memory")
    if error == _USE:
        raise ValueError(f"{function}: an argument is out of its range")
    if error == _NOT_SUPPORTED:
        raise FormatError("F1", f"{function}: values of such a field are not computed by the core")
    rule = f"{chr(error >> 8)}{error & 255}"
    raise FormatError(rule, f"the bytes break rule {rule} of the file format")


def _checked(error: int, function: Any, arguments: object) -> int:
    raise_error(error, function.__name__)
    return error


@cache
def library() -> ctypes.CDLL:
    """Load the core, once; its functions raise what they return."""
    return load(LIBRARY)


def load(path: Path) -> ctypes.CDLL:
    """Load a library that is the core, and declare its functions.

    path: the library
    """
    build = "in a checkout, `make core` or `python scripts/build_core.py` builds it; else install "
    build += "the package again"
    if not path.exists():
        raise InrvError(f"the C core is not at {path}: {build}")
    try:
        found = ctypes.CDLL(str(path))
        for name, (result, *arguments) in _INFALLIBLE.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
        for name, taken in _FUNCTIONS.items():
            function = getattr(found, name)
            function.argtypes, function.errcheck = taken, _checked
    except (OSError, AttributeError) as error:
        raise InrvError(
            f"the C core at {path} is not the one expected ({error}): {build}"
        ) from error
    return found


@cache
def instruction_sets() -> int:
    """Return what functions take as `sets`: all that run here, or the one that INRV_KERNEL names.

    Tests set the variable INRV_KERNEL to a key of INSTRUCTION_SETS.
    """
    here: int = library().inrv_instruction_sets()
    if not (name := os.environ.get("INRV_KERNEL")):
        return here
    chosen = INSTRUCTION_SETS.get(name, 0) & here
    if not chosen:
        known = ", ".join(key for key, bit in INSTRUCTION_SETS.items() if bit & here)
        raise OptionError(f"INRV_KERNEL is {name!r}, but the kernels that run here are {known}")
    return chosen
