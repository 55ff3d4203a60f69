"""Compiles the kernels of a GPU: `python -m testing.compile_kernels [TARGET ...]`.

The GPU need not be there. A target is cuda:90, as for an H100, or hip:gfx90a, as for an MI250X.
What compiles is what the interpreter runs in the tests, which knows less of types.
"""

from __future__ import annotations

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from inrv.decoding import gpu_kernels
from inrv.fields.lattice.gpu import kernels
from inrv.fields.lattice.gpu import mask_kernels as mask_kernels

POINTERS = {
    "active": "i8", "has": "i8", "touched": "i8", "bits": "u8", "weights": "fp16", "blocks": "fp32",
    "constants": "fp32", "stream": "i16",
}  # fmt: skip
NUMBERS = (
    "number",
    "level",
    "pairs",
    "room",
    "segment",
    "fraction",
    "count",
    "first",
    "last",
    "components",
)
SHIFTS = ("shift_x", "shift_y", "shift_z")
PREDICTION = [
    (kernels.predict, {"ODD": odd, "REFERRING": referring, "BLOCK": 64})
    for odd, referring in ((1, False), (3, True))
]
OF_ONE_WARP = kernels.read_codes, mask_kernels.read_masks
KERNELS: list[tuple[Any, dict[str, Any]]] = [
    *PREDICTION,
    (kernels.read_codes, {}),
    (kernels.make_tables, {"ROWS": 16}),
    (kernels.fetch, {}),
    (kernels.restore, {"BLOCK": 64}),
    (mask_kernels.read_masks, {"PREDICTED": False}),
    (mask_kernels.read_masks, {"PREDICTED": True}),
    (gpu_kernels.look_up, {"NEAREST": False, "GRADIENTS": True, "BLOCK": 256}),
    (gpu_kernels.look_up, {"NEAREST": True, "GRADIENTS": False, "BLOCK": 256}),
    (gpu_kernels.fill_box, {"BLOCK": 256}),
]


def main(targets: list[str]) -> None:
    """Compile every kernel for every target."""
    for target in targets or ["cuda:90", "hip:gfx90a"]:
        backend, _, name = target.partition(":")
        own = (
            GPUTarget(backend, int(name), 32) if backend == "cuda" else GPUTarget(backend, name, 64)
        )
        for kernel, constants in KERNELS:
            compile_for(own, kernel, constants)
            print(target, kernel.__name__, constants, flush=True)


def compile_for(target: GPUTarget, kernel: Any, constants: dict[str, Any]) -> Any:
    """Compile a kernel."""
    of_floats = kernel.__module__ == gpu_kernels.__name__
    signature = {name: type_of(name, of_floats) for name in kernel.arg_names}
    signature |= dict.fromkeys(constants, "constexpr")
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    warps = {"num_warps": 1 if kernel in OF_ONE_WARP else 4}
    source = ASTSource(kernel, signature=signature, constexprs=places)
    return triton.compile(source, target=target, options=warps)


def type_of(name: str, of_floats: bool) -> str:
    """The type of an argument as Triton writes it."""
    if name in NUMBERS:
        return "i32"
    if name in SHIFTS:
        return "fp32"
    if of_floats and name in ("points", "values", "gradients"):
        return "*fp32"
    return "*" + POINTERS.get(name, "i32")


if __name__ == "__main__":
    main(sys.argv[1:])
