"""A device for the kernels of a GPU: the GPU, or the CPU, on which Triton interprets them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from triton.runtime.interpreter import interpreter_builder

from inrv.decoding.frames import open_frames
from inrv.decoding.volume import Volume
from inrv.fields.lattice.gpu.outputs import open_on_gpu

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    # It looks for sums that overflow, which takes half of its time.
    interpreter_builder.options = replace(interpreter_builder.options, sanitize_overflow=False)


def opened_on_gpu(data: bytes, **how: Any) -> Volume:
    """The first frame of a lattice, whose regions are decoded by the kernels.

    how: further arguments of `inrv.load`
    """
    volume = next(iter(open_frames(data, "cpu", **how).values()))
    outputs = open_on_gpu(volume.container, volume.file.stored, DEVICE)
    vars(volume.file)["outputs"] = outputs  # in place of what the cached property would open
    return volume
