"""What people have, as NumPy arrays and Python's own numbers.

They have arrays of any library, data sets of files, lists and scalars.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError
from inrv.support.extras import needed_for

if TYPE_CHECKING:
    from torch import Tensor

REAL = "biuf"  # kinds of bool, int, unsigned int and float
CURES = {
    "c": "code its real and imaginary part, or its magnitude, as grids of their own",
    "O": "turn it into numbers first, as array.astype(float)",
    "V": "pass one of its fields, or stack them along a last axis",
}
PLAIN = (bool, int, float, str)
# What the conversions of other libraries raise.
_CONVERSION = (TypeError, ValueError, RuntimeError, BufferError, AttributeError, OSError)


def as_array(values: Any, what: str) -> NDArray[Any]:
    """Turn values into an array of real numbers, without a copy where that will do.

    values: anything NumPy takes, torch tensors of any device and layout, what has `__array__`,
        `__array_interface__`, `__cuda_array_interface__` or DLPack, data sets of files (h5py,
        zarr), and sequences of these
    what: what to call them in an error
    Gives a `numpy.ma.MaskedArray` where values are masked.

    Raises OptionError for complex numbers, objects, text, ragged sequences and whatever else is no
    array of numbers.
    """
    try:
        found = _converted(values)
    except _CONVERSION as error:
        raise OptionError(
            f"{what}, a {type(values).__name__}, cannot be read as an array: {error}"
        ) from error
    kind = found.dtype.kind
    if kind == "V" and found.dtype.names is None and np.can_cast(found.dtype, np.float32):
        return found.astype(np.float32)  # bfloat16 and its like of ml_dtypes
    if kind not in REAL:
        whole = [number for number in found.flat if isinstance(number, int)] if kind == "O" else []
        if (largest := max(whole, key=abs, default=0)).bit_length() >= 64:
            raise OptionError(f"{what} holds {largest}: whole numbers have at most 64 bits here")
        cure = CURES.get(kind, "pass real numbers")
        raise OptionError(
            f"{what} holds {found.dtype} (in a {type(values).__name__}), not real numbers: {cure}"
        )
    return found


def _converted(values: Any) -> NDArray[Any]:
    if is_tensor(values):
        return _of_tensor(values)
    if isinstance(values, (list, tuple)) and not all(
        isinstance(value, (*PLAIN, list, tuple)) for value in values
    ):
        parts = [_converted(value) for value in values]
        return (
            np.ma.stack(parts)
            if any(isinstance(part, np.ma.MaskedArray) for part in parts)
            else np.stack(parts)
        )
    if isinstance(values, np.ma.MaskedArray):
        return values
    if hasattr(values, "__array__") or hasattr(values, "__array_interface__"):
        return _of_array_protocol(values)
    if hasattr(values, "__dlpack__"):
        return _of_dlpack(values)
    if hasattr(values, "__cuda_array_interface__"):
        return _of_gpu(values)
    if all(
        hasattr(values, name) for name in ("shape", "dtype", "__getitem__")
    ):  # a data set that is read by slicing
        return _converted(values[...])
    return np.asarray(values)


def is_tensor(value: Any) -> bool:
    """Tell whether a value is a tensor of torch, which is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _of_tensor(tensor: Tensor) -> NDArray[Any]:
    """Give a tensor's values; half floats that NumPy does not know become float32."""
    import torch  # whoever has a tensor has imported it

    plain = tensor.detach()
    plain = plain if plain.layout == torch.strided else plain.to_dense()
    plain = plain.cpu().resolve_conj().resolve_neg()
    known = (torch.float16, torch.float32, torch.float64)
    return np.asarray(
        (plain.float() if plain.is_floating_point() and plain.dtype not in known else plain).numpy()
    )


def _of_dlpack(values: Any) -> NDArray[Any]:
    """Give what DLPack hands over: NumPy takes that itself but for GPUs and rare dtypes."""
    try:
        return np.from_dlpack(values)
    except _CONVERSION:
        with needed_for("an array on a GPU", "train"):
            from torch.utils.dlpack import from_dlpack

        return _of_tensor(from_dlpack(values))


def _of_gpu(values: Any) -> NDArray[Any]:
    """Give the values of an array in the memory of a GPU."""
    with needed_for("an array on a GPU", "train"):
        import torch

    return _of_tensor(torch.as_tensor(values))


def _of_array_protocol(values: Any) -> NDArray[Any]:
    """Give what NumPy makes of values, with the mask if they have one.

    By DLPack where they refuse, as arrays on GPUs do.
    """
    try:
        found = np.asanyarray(values)
    except TypeError:
        if not hasattr(values, "__dlpack__"):
            raise
        return _of_dlpack(values)
    return found if isinstance(found, np.ma.MaskedArray) else np.asarray(found)


def as_triple(values: Any, what: str) -> tuple[int, int, int]:
    """Turn values into three whole numbers, as of the corner of a box.

    Raises OptionError for other numbers, and for more or fewer of them.
    """
    found = np.ma.getdata(as_array(values, what))
    if found.shape != (3,) or not np.isfinite(found).all() or (found != np.trunc(found)).any():
        raise OptionError(f"{what} {found.tolist()} is not three whole numbers")
    x, y, z = (int(value) for value in found)
    return x, y, z


def plain(value: Any) -> Any:
    """Turn a scalar of NumPy, or an array or tensor of one number, into Python's own.

    Anything else stays as it is.
    """
    if (isinstance(value, (np.generic, np.ndarray)) or is_tensor(value)) and np.ndim(value) == 0:
        return value.item()
    return value
