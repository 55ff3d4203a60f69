"""The library and the second reader see the same volume in the same file."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

import inrv
from inrv import EncodeOptions, SparseVolume, Topology
from inrv.container import container_bytes
from inrv.grids import LeafValues, PassthroughGrid, sparse_grid
from spec.reference import read as reference_reader
from testing.examples import EXAMPLES, VECTORS, trees

TOLERANCE = 1e-4  # the accuracy class of the specification
SPECIFICATION = Path(__file__).resolve().parents[2] / "format_spec.md"


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library on a device for which float32 is the fastest: what a file's tolerance allows is tested elsewhere."""
    monkeypatch.setattr("inrv.decoding.volume.decoding_precision", lambda _: torch.float32)


def blob(shift: float) -> torch.Tensor:
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in (20, 24, 17)], indexing="ij")
    values = torch.exp(-3 * ((x - shift) ** 2 + y**2 + z**2)) * (1 + 0.2 * torch.sin(9 * x + 4 * z))
    return torch.where(values > 0.3, values, torch.zeros(()))


def volume() -> SparseVolume:
    """Fog; vectors with a constant component; the fog moved to negative coordinates, with tiles and inactive values."""
    fog = sparse_grid(blob(0.0), "density")
    vectors = sparse_grid(torch.stack([blob(0.1), torch.where(blob(0.1) > 0, 2.5, 0.0), -blob(-0.2)], dim=3), "velocity")
    leaves = fog.topology
    moved = Topology(
        leaves.leaf_origins - 128,
        leaves.leaf_masks,
        torch.tensor([[64, 0, 0], [-8192, 0, 4096]], dtype=torch.int32),
        torch.tensor([8, 4096], dtype=torch.int32),
        torch.tensor([True, False]),
    )
    inactive = (np.unpackbits(leaves.leaf_masks.numpy(), bitorder="little") == 0).nonzero()[0][::7]
    odd = replace(
        fog,
        topology=moved,
        tile_values=torch.tensor([[0.75], [-9.0]]),
        inactive=LeafValues(torch.from_numpy(inactive), torch.linspace(-2, -1, len(inactive))[:, None]),
    )
    return SparseVolume((fog, vectors, odd, sparse_grid(torch.full((9, 8, 8), 3.25), "constant")))


def lossless_volume() -> SparseVolume:
    """Fog with holes of NaN across the borders of 128^3 nodes, fog like it, a full block, a small grid, carried grids."""
    fog = sparse_grid(blob(0.0), "density")
    origins, starts = fog.topology.leaf_origins - 8, fog.topology.starts.tolist()
    order = Topology.order_of(origins)
    moved = replace(fog.topology, leaf_origins=origins[order], leaf_masks=fog.topology.leaf_masks[order])
    values = torch.cat([fog.values[starts[leaf] : starts[leaf + 1]] for leaf in order.tolist()])
    values[[0, 77, 78]] = torch.tensor([[math.nan], [math.inf], [-math.inf]])
    block = torch.zeros(24, 24, 24)
    block[4:, 3:, 5:] = torch.rand((20, 21, 19), generator=torch.Generator().manual_seed(5)) + 0.5
    small = sparse_grid(torch.rand((3, 4, 5, 3), generator=torch.Generator().manual_seed(6)), "small")
    flags = PassthroughGrid(1, "flags", "Tree_int32_5_4_3", False, None, 9, bytes(range(77)), "int32 values")
    grids = (replace(fog, topology=moved, values=values), sparse_grid(blob(0.02), "near"), sparse_grid(block, "block"), small)
    return SparseVolume(grids, passthrough=(flags,))


@pytest.fixture(scope="module", params=[*EXAMPLES, "trees", "paper", "default", "kept"])
def data(request: pytest.FixtureRequest) -> bytes:
    """A file made by hand, or by the encoder with the paper's and with the default network."""
    if request.param in EXAMPLES:
        return container_bytes(*EXAMPLES[request.param]())
    if request.param == "trees":
        return container_bytes(*trees())
    options = EncodeOptions(epochs=30, values_per_weight=8, exact_below=0, device="cpu")
    if request.param == "paper":
        grid = sparse_grid(torch.rand((8, 8, 8), generator=torch.Generator().manual_seed(0)))
        return inrv.encode_bytes(SparseVolume((grid,)), replace(options, preset="paper", epochs=1))[0]
    if request.param == "kept":
        return inrv.encode_bytes(lossless_volume(), replace(options, epochs=1, exact_below=200, nonfinite="keep"))[0]
    return inrv.encode_bytes(volume(), options)[0]


def test_both_readers_see_the_same_volume(data: bytes) -> None:
    theirs = reference_reader.decode(data)
    opened = inrv.load(data, device="cpu")
    ours = opened.to_sparse().grids
    assert len(theirs) == len(ours)
    for mine, other, entry in zip(ours, theirs, opened.manifest.grids, strict=True):
        topology = mine.topology
        assert np.array_equal(topology.coordinates().numpy(), other.coordinates)
        for name in ("tile_origins", "tile_edges", "tile_active"):
            assert np.array_equal(getattr(topology, name).numpy(), getattr(other, name)), name
        assert np.array_equal(mine.tile_values.numpy(), other.tile_values)
        assert np.array_equal(mine.inactive.values.numpy(), other.inactive_values)
        assert np.array_equal(mine.lookup(torch.from_numpy(other.inactive_coordinates)).numpy(), other.inactive_values)
        for column, component in enumerate(entry.components):
            found, expected = other.values[:, column], mine.values[:, column].numpy()
            bound = (component.maximum - component.minimum) * 2 * TOLERANCE
            odd = ~np.isfinite(expected)
            assert found[odd].tobytes() == expected[odd].tobytes()
            assert np.abs(found[~odd] - expected[~odd]).max(initial=0) <= bound + 1e-7 * abs(component.maximum)
    assert [(entry["position"], joined) for entry, joined in reference_reader.passthrough(data)] == [
        (grid.position, grid.data) for grid in opened.to_sparse().passthrough
    ]


def test_the_kept_file_holds_what_it_should() -> None:
    """Predicted masks, kept values in a coded and in a small grid, full and mixed leaves, several nodes."""
    options = EncodeOptions(epochs=1, values_per_weight=8, exact_below=200, nonfinite="keep", device="cpu")
    data, _ = inrv.encode_bytes(lossless_volume(), options)
    manifest, chunks = reference_reader.open_file(data)
    masks = [reference_reader.tensors_of(payload) for kind, payload in chunks if kind == "MASK" and payload]
    assert any(len(mask["predicted_from"]) for mask in masks) and any(len(mask["node_origins"]) > 1 for mask in masks)
    assert {int(kind) for mask in masks for kind in mask["leaf_kinds"]} == {0, 1}
    kept = [reference_reader.decode_grid(manifest, chunks, manifest["grids"][number]) for number in (0, 3)]
    assert (~np.isfinite(kept[0].values)).sum() == 3
    assert kept[1].values.tobytes() == lossless_volume().grids[3].values.numpy().tobytes()


def test_both_readers_see_the_same_threshold_topology() -> None:
    """But for voxels as near to the threshold as the accuracy class."""
    data, _ = inrv.encode_bytes(
        SparseVolume((sparse_grid(blob(0.0), "density"),)),
        EncodeOptions(epochs=10, values_per_weight=8, exact_below=0, topology="threshold", device="cpu"),
    )
    (theirs,) = reference_reader.decode(data)
    ours = {tuple(voxel) for voxel in inrv.load(data, device="cpu")["density"].coordinates().tolist()}
    found = {tuple(voxel) for voxel in theirs.coordinates.tolist()}
    assert len(found) > 500 and len(ours ^ found) < 5


def test_both_readers_meet_the_accuracy_class(data: bytes) -> None:
    report = inrv.verify(data, device="cpu")
    assert report.tolerance == TOLERANCE and report.largest_difference <= TOLERANCE
    assert reference_reader.reference_difference(data) <= TOLERANCE


def test_encoded_files_have_reference_samples_to_check() -> None:
    encoded, _ = inrv.encode_bytes(volume(), EncodeOptions(epochs=1, values_per_weight=8, exact_below=0, device="cpu"))
    assert inrv.verify(encoded, device="cpu").samples > 0


def test_second_reader_decodes_the_vectors_as_the_specification_says() -> None:
    """Its table of voxel counts, hashes and first values, without the library."""
    row = re.compile(r"^\| `(\w+)`, (?:`(\w+)`|\(no name\)) \| (\d+) \| `([0-9a-f]{64})` \| (.*) \|$", re.MULTILINE)
    rows = row.findall(SPECIFICATION.read_text())
    assert {file for file, *_ in rows} == {path.stem for path in VECTORS.glob("*.inrv")} - {"empty"}
    for file, name, count, digest, first in rows:
        grids = reference_reader.decode((VECTORS / f"{file}.inrv").read_bytes())
        (grid,) = [grid for grid in grids if grid.entry["name"] == name]
        assert len(grid.coordinates) == int(count)
        assert sha256(grid.coordinates.astype("<i4").tobytes()).hexdigest() == digest
        expected = np.array([float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", first)])
        span = sum(component["maximum"] - component["minimum"] for component in grid.entry["components"])
        assert np.abs(grid.values.reshape(-1)[: len(expected)] - expected).max(initial=0) <= 2 * TOLERANCE * span + 1e-6


def test_second_reader_refuses_what_the_specification_says() -> None:
    good = (VECTORS / "one_leaf.inrv").read_bytes()
    for damaged in (b"", good[:-1], good + b"\0", b"\x88" + good[1:], good[:200] + b"\0" + good[201:]):
        with pytest.raises(ValueError, match=r"."):
            reference_reader.decode(damaged)
