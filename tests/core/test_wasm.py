"""The C core as WebAssembly decodes files to the values that Python has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import inrv
from fixtures.make_golden import FOLDER
from inrv import EncodeOptions, FormatError
from inrv.core.library import INSTRUCTION_SETS
from testing.core_files import CoreDecoder, CoreFile
from testing.wasm import Module, module

VARIANTS = ["plain", "simd128"]
# A channel of a reference, fitted networks; frequent and exact values; a palette; no field.
NAMES = ["lattice", "bounded", "frequent", "palette", "no_field"]


@pytest.fixture(params=VARIANTS)
def core(request: pytest.FixtureRequest) -> Module:
    return module(request.param)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_module_has_one_variant(variant: str) -> None:
    assert module(variant).call("inrv_instruction_sets") == INSTRUCTION_SETS[variant]


@pytest.mark.parametrize("name", NAMES)
def test_it_decodes_golden_files(core: Module, name: str) -> None:
    data = (FOLDER / f"{name}.inrv").read_bytes()
    volume, file = inrv.load(data), CoreFile(data)
    for number, blocks in enumerate(core.decoded(data)):
        grid = volume[file.grids[number].position]
        for corner, block in zip(CoreDecoder(file, number).corners, blocks, strict=True):
            dense = grid.dense((corner, corner + 127))
            assert block.tobytes() == dense.tobytes()


def test_it_decodes_levels() -> None:
    data = (FOLDER / "lattice.inrv").read_bytes()
    blocks = module("simd128").decoded(data, level=2)
    grid = inrv.load(data)["density"]
    assert blocks[0][0].tobytes() == grid.dense(((0,) * 3, (127,) * 3), stride=4).tobytes()


def test_its_errors_become_exceptions(core: Module) -> None:
    data = bytearray((FOLDER / "lattice.inrv").read_bytes())
    data[20] ^= 1
    with pytest.raises(FormatError, match="H4"):
        core.decoded(bytes(data))


def test_memory_is_free_again() -> None:
    core, data = module("simd128"), (FOLDER / "palette.inrv").read_bytes()
    first = core.decoded(data)
    pages = core.pages
    for _ in range(5):
        again = core.decoded(data)
    assert core.pages == pages
    assert all(np.array_equal(*pair) for pair in zip(first[0], again[0], strict=True))


def test_it_decodes_sequences(core: Module, tmp_path: Path) -> None:
    path, options = tmp_path / "run.inrv", EncodeOptions(effort="instant", exact_below=0)
    fog = np.linspace(0, 1, 16**3, dtype=np.float32).reshape(16, 16, 16)
    with inrv.SequenceWriter(path, options, fps=24, start=7, group=2) as writer:
        for moment in range(3):
            writer.add(None, {"density": fog + moment, "heat": fog * (moment + 1)})
    frames = core.decoded_frames(path.read_bytes())
    assert list(frames) == [7, 8, 9]
    for number, grids in frames.items():
        volume = inrv.load(path, frame=number)
        for grid, blocks in zip(volume.values(), grids, strict=True):
            assert blocks[0].tobytes() == grid.dense(((0,) * 3, (127,) * 3)).tobytes()


def test_a_volume_is_a_sequence_too() -> None:
    core, data = module("simd128"), (FOLDER / "no_field.inrv").read_bytes()
    ((number, grids),) = core.decoded_frames(data).items()
    assert number == 0
    for own, alone in zip(grids, core.decoded(data), strict=True):
        assert [block.tobytes() for block in own] == [block.tobytes() for block in alone]
