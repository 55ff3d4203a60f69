"""The library and the second reader see the same volume in the same file."""

from __future__ import annotations

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
from inrv.grids import InactiveValues, sparse_grid
from tests import second_reader
from tests.container.examples import EXAMPLES, VECTORS

TOLERANCE = 1e-4  # the accuracy class of the specification
SPECIFICATION = Path(__file__).resolve().parent.parent / "format_spec.md"


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
        inactive=InactiveValues(torch.from_numpy(inactive), torch.linspace(-2, -1, len(inactive))[:, None]),
    )
    return SparseVolume((fog, vectors, odd, sparse_grid(torch.full((9, 8, 8), 3.25), "constant")))


@pytest.fixture(scope="module", params=[*EXAMPLES, "paper", "default"])
def data(request: pytest.FixtureRequest) -> bytes:
    """A file made by hand, or by the encoder with the paper's and with the default network."""
    if request.param in EXAMPLES:
        return container_bytes(*EXAMPLES[request.param]())
    options = EncodeOptions(epochs=30, ratio=8, exact_below=0, device="cpu")
    if request.param == "paper":
        grid = sparse_grid(torch.rand((8, 8, 8), generator=torch.Generator().manual_seed(0)))
        return inrv.encode_bytes(SparseVolume((grid,)), replace(options, preset="paper", epochs=1))[0]
    return inrv.encode_bytes(volume(), options)[0]


def test_both_readers_see_the_same_volume(data: bytes) -> None:
    theirs = second_reader.decode(data)
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
            assert np.abs(found - expected).max(initial=0) <= bound + 1e-7 * abs(component.maximum)


def test_both_readers_meet_the_accuracy_class(data: bytes) -> None:
    report = inrv.verify(data, device="cpu")
    assert report.tolerance == TOLERANCE
    assert report.largest_difference <= TOLERANCE and second_reader.reference_difference(data) <= TOLERANCE


def test_encoded_files_have_reference_samples_to_check() -> None:
    encoded, _ = inrv.encode_bytes(volume(), EncodeOptions(epochs=1, ratio=8, exact_below=0, device="cpu"))
    assert inrv.verify(encoded, device="cpu").samples > 0


def test_second_reader_decodes_the_vectors_as_the_specification_says() -> None:
    """Its table of voxel counts, hashes and first values, without the library."""
    row = re.compile(r"^\| `(\w+)`, (?:`(\w+)`|\(no name\)) \| (\d+) \| `([0-9a-f]{64})` \| (.*) \|$", re.MULTILINE)
    rows = row.findall(SPECIFICATION.read_text())
    assert len(rows) == 10
    for file, name, count, digest, first in rows:
        grids = second_reader.decode((VECTORS / f"{file}.inrv").read_bytes())
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
            second_reader.decode(damaged)
