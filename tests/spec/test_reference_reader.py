"""The library and the reference reader see the same volume in the same file."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, SparseVolume, Topology
from inrv.container import container_bytes
from inrv.errors import FormatError
from inrv.grids import LeafValues, PassthroughGrid, sparse_grid
from spec.reference import read
from testing.examples import EXAMPLES
from testing.rebuild import take_apart

ACCURACY = 1e-4  # the accuracy class of spec/fourier.md
OPTIONS = EncodeOptions(field="fourier", epochs=1, values_per_weight=8, exact_below=0, device="cpu")
Floats = NDArray[np.float32]


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library decodes in float32: what a file's tolerance allows is tested elsewhere."""
    monkeypatch.setattr("inrv.fields.fourier.decode.decoding_precision", lambda _: torch.float32)


def blob(shift: float) -> Floats:
    axes = [np.linspace(-1, 1, edge, dtype=np.float32) for edge in (20, 24, 17)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    values = np.exp(-3 * ((x - shift) ** 2 + y**2 + z**2)) * (1 + 0.2 * np.sin(9 * x + 4 * z))
    return np.where(values > 0.3, values, np.float32(0))


def volume() -> SparseVolume:
    """Fog; vectors with a constant component; the fog elsewhere, with tiles and inactive values."""
    fog = sparse_grid(blob(0.0), "density")
    constant = np.where(blob(0.1) > 0, np.float32(2.5), np.float32(0))
    vectors = sparse_grid(np.stack([blob(0.1), constant, -blob(-0.2)], axis=3), "velocity")
    moved = replace(
        fog.topology,
        leaf_origins=fog.topology.leaf_origins - np.int32(128),
        tile_origins=np.array([[64, 0, 0], [-8192, 0, 4096]], dtype=np.int32),
        tile_edges=np.array([8, 4096], dtype=np.int32),
        tile_active=np.array([True, False]),
    )
    inactive = np.flatnonzero(np.unpackbits(fog.topology.leaf_masks, bitorder="little") == 0)[::7]
    values = np.linspace(-2, -1, len(inactive), dtype=np.float32)[:, None]
    tile_values = np.array([[0.75], [-9.0]], dtype=np.float32)
    odd = replace(
        fog, topology=moved, tile_values=tile_values, inactive=LeafValues(inactive, values)
    )
    return SparseVolume(
        (fog, vectors, odd, sparse_grid(np.full((9, 8, 8), 3.25, dtype=np.float32), "constant"))
    )


def exact_volume() -> SparseVolume:
    """Fog with NaN, fog like it, a full block, a small grid, a passthrough grid."""
    fog = sparse_grid(blob(0.0), "density")
    origins, starts = fog.topology.leaf_origins - np.int32(8), fog.topology.starts.tolist()
    order = Topology.order_of(origins)
    moved = replace(
        fog.topology, leaf_origins=origins[order], leaf_masks=fog.topology.leaf_masks[order]
    )
    values = np.concatenate(
        [fog.values[starts[leaf] : starts[leaf + 1]] for leaf in order.tolist()]
    )
    values[[0, 77, 78], 0] = np.nan, np.inf, -np.inf
    block = np.zeros((24, 24, 24), dtype=np.float32)
    block[4:, 3:, 5:] = np.random.default_rng(5).random((20, 21, 19), dtype=np.float32) + 0.5
    small = sparse_grid(np.random.default_rng(6).random((3, 4, 5, 3), dtype=np.float32), "small")
    flags = PassthroughGrid(
        1, "flags", "Tree_int32_5_4_3", False, None, 9, bytes(range(77)), "int32 values"
    )
    grids = (
        replace(fog, topology=moved, values=values),
        sparse_grid(blob(0.02), "near"),
        sparse_grid(block, "block"),
        small,
    )
    return SparseVolume(grids, passthrough=(flags,))


@pytest.fixture(scope="module", params=[*EXAMPLES, "paper", "default", "exact", "lossless"])
def data(request: pytest.FixtureRequest) -> bytes:
    """A file made by hand, or by the encoder, with either field."""
    if request.param in EXAMPLES:
        return container_bytes(*EXAMPLES[request.param]())
    if request.param == "paper":
        grid = sparse_grid(np.random.default_rng(0).random((8, 8, 8), dtype=np.float32))
        return inrv.encode_bytes(SparseVolume((grid,)), replace(OPTIONS, preset="paper"))[0]
    if request.param == "exact":
        return inrv.encode_bytes(
            exact_volume(), replace(OPTIONS, exact_below=200, nonfinite="keep")
        )[0]
    if request.param == "lossless":
        options = EncodeOptions(lossless=True, effort="instant", nonfinite="keep", device="cpu")
        return inrv.encode_bytes(exact_volume(), options)[0]
    return inrv.encode_bytes(volume(), replace(OPTIONS, epochs=30))[0]


def test_both_readers_see_the_same_volume(data: bytes) -> None:
    theirs = read.decode(data)
    opened = inrv.load(data, device="cpu")
    ours = opened.to_sparse().grids
    assert len(theirs) == len(ours)
    for mine, other, entry in zip(ours, theirs, opened.manifest.grids, strict=True):
        topology = mine.topology
        assert np.array_equal(topology.coordinates(), other.coordinates)
        for name in ("tile_origins", "tile_edges", "tile_active"):
            assert np.array_equal(getattr(topology, name), getattr(other, name)), name
        assert np.array_equal(mine.tile_values, other.tile_values)
        assert np.array_equal(mine.inactive.values, other.inactive_values)
        assert np.array_equal(mine.lookup(other.inactive_coordinates), other.inactive_values)
        for column, component in enumerate(entry.components):
            found, expected = other.values[:, column], mine.values[:, column]
            bound = (component.maximum - component.minimum) * 2 * ACCURACY
            odd = ~np.isfinite(expected)
            assert found[odd].tobytes() == expected[odd].tobytes()
            assert np.abs(found[~odd] - expected[~odd]).max(initial=0) <= bound + 1e-7 * abs(
                component.maximum
            )
    assert [(entry["position"], joined) for entry, joined in read.passthrough(data)] == [
        (grid.position, grid.data) for grid in opened.to_sparse().passthrough
    ]


def test_the_exact_file_holds_what_it_should() -> None:
    """Predicted masks, exact values in a coded and in a small grid, full and mixed leaves."""
    data, _ = inrv.encode_bytes(exact_volume(), replace(OPTIONS, exact_below=200, nonfinite="keep"))
    file = read.File(data)
    topologies = [
        file.tensors(number, "TOPO")
        for number, entry in enumerate(file.table)
        if entry["type"] == "TOPO"
    ]
    assert any(len(tensors["predicted_from"]) for tensors in topologies)
    assert {int(kind) for tensors in topologies for kind in tensors["leaf_kinds"]} == {0, 1}
    grids = [read.decode_grid(file, file.manifest["grids"][number]) for number in (0, 3)]
    assert (~np.isfinite(grids[0].values)).sum() == 3
    assert grids[1].values.tobytes() == exact_volume().grids[3].values.tobytes()


def test_both_readers_see_the_same_threshold_topology() -> None:
    """But for voxels as near to the threshold as the accuracy class."""
    fog = SparseVolume((sparse_grid(blob(0.0), "density"),))
    data, _ = inrv.encode_bytes(fog, replace(OPTIONS, epochs=10, topology="threshold"))
    (theirs,) = read.decode(data)
    ours = {
        tuple(voxel) for voxel in inrv.load(data, device="cpu")["density"].coordinates().tolist()
    }
    found = {tuple(voxel) for voxel in theirs.coordinates.tolist()}
    assert len(found) > 500 and len(ours ^ found) < 5


def test_both_readers_meet_the_accuracy_class(data: bytes) -> None:
    inrv.verify(data, device="cpu", decode=True)
    assert read.samples_difference(read.File(data)) <= ACCURACY


def test_encoded_files_have_samples_to_check() -> None:
    data, _ = inrv.encode_bytes(volume(), OPTIONS)
    assert inrv.verify(data, device="cpu").samples.count > 0


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError, match=r"^[A-Z]\d+: ") as refused:
        read.decode(data)
    return str(refused.value).partition(":")[0]


GOOD = container_bytes(*EXAMPLES["fourier"]())


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\0",
        b"\x88" + GOOD[1:],
        GOOD[:8] + b"\1" + GOOD[9:],
        GOOD[:200] + b"\0" + GOOD[201:],
    ],
    ids=["empty", "shorter", "longer", "magic", "version", "table"],
)
def test_both_readers_refuse_by_the_same_error(damaged: bytes) -> None:
    with pytest.raises(FormatError) as refused:
        inrv.load(damaged, device="cpu")
    assert refused.value.id == refusal(damaged)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("grids.0.leaf_voxels", 5, "S6"),
        ("grids.0.box", [[0, 0, 0], [1, 1, 1]], "S6"),
        ("grids.0.topology", 1, "M11"),
        ("grids.0.inactive_values", None, "S7"),
    ],
)
def test_both_readers_refuse_the_same_manifests(key: str, value: object, expected: str) -> None:
    file = take_apart(GOOD)
    file.edit_manifest(key, value)
    with pytest.raises(FormatError) as refused:
        inrv.load(file.to_bytes(), device="cpu").to_sparse()
    assert refused.value.id == expected == refusal(file.to_bytes())


def test_the_reader_runs_in_its_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.inrv"
    path.write_bytes(GOOD)
    read.main(str(path))
    printed, folder = capsys.readouterr().out, Path(read.__file__).parent
    command = [sys.executable, "read.py", str(path)]
    found = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": ""}, check=True, capture_output=True, text=True
    )
    assert found.stdout == printed and printed.startswith("density: float, ")
