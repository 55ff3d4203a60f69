"""A device for the kernels of a GPU: the GPU, or the CPU where Triton interprets them.

It is imported before the modules of the kernels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"
    from triton.runtime.interpreter import interpreter_builder

    # The interpreter looks for sums that overflow, which takes half of its time: tests ask for it.
    interpreter_builder.options = replace(interpreter_builder.options, sanitize_overflow=False)

from inrv.decoding.frames import open_frames  # noqa: E402
from inrv.decoding.volume import Volume  # noqa: E402
from inrv.fields.lattice.decode import open_lattice  # noqa: E402
from inrv.fields.lattice.gpu.outputs import GpuOutputs  # noqa: E402


def opened_on_gpu(data: bytes) -> Volume:
    """The first frame of a lattice, whose regions are decoded by the kernels."""
    volume = next(iter(open_frames(data, "cpu").values()))
    make: Callable[..., GpuOutputs] = partial(GpuOutputs, DEVICE)
    outputs = open_lattice(volume.container, volume.file.stored, make)
    vars(volume.file)["outputs"] = outputs  # in place of what the cached property would open
    return volume
