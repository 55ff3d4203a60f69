"""A device for the kernels of a GPU: the GPU, or the CPU, on which Triton interprets them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from triton.runtime import interpreter

from inrv.decoding.frames import open_frames
from inrv.decoding.volume import Volume
from inrv.fields.lattice.gpu.outputs import open_on_gpu

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hurry(interpreter: Any) -> None:
    """Spare Triton's interpreter most of the work that changes nothing."""
    builder, types = interpreter.interpreter_builder, dict[str, Any]()
    # It looks for sums that overflow, which takes half of its time.
    builder.options = replace(builder.options, sanitize_overflow=False)
    # It prepares Triton's language for each function that a kernel calls, though the kernel and
    # the function's first call have done so; and it makes a table of all types for each number.
    patch_language, called = interpreter._patch_lang, interpreter.InterpretedFunction.rewritten_fn
    type_of = interpreter._get_np_dtype

    def remembered(own: Any) -> Any:
        name = own.scalar.name
        if name not in types:
            types[name] = type_of(own)
        return types[name]

    interpreter._patch_lang = lambda own: None if own in called else patch_language(own)
    interpreter._get_np_dtype = remembered


if DEVICE.type == "cpu":
    hurry(interpreter)


def opened_on_gpu(data: bytes, **how: Any) -> Volume:
    """The first frame of a lattice, whose regions are decoded by the kernels.

    how: further arguments of `inrv.load`
    """
    volume = next(iter(open_frames(data, "cpu", **how).values()))
    outputs = open_on_gpu(volume.container, volume.file.stored, DEVICE)
    vars(volume.file)["outputs"] = outputs  # in place of what the cached property would open
    return volume
