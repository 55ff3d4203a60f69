"""What must not be lost on the way through an .inrv file: odd values, small grids, carried grids; and what a threshold loses."""

import math
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import inrv
from inrv import EncodeOptions, Grid, NonFiniteError, SparseVolume
from inrv.encoding.topology_choice import best_threshold
from inrv.grids import LeafValues, PassthroughGrid, sparse_grid

QUICK = EncodeOptions(epochs=3, values_per_weight=4, exact_below=0, device="cpu")
ODD_BITS = (0x7FC00001, 0xFFC12345, 0x7F800001, 0x7F800000, 0xFF800000)  # NaN, -NaN, a signalling NaN, both infinities


def cloud(shape: tuple[int, int, int] = (24, 20, 28)) -> torch.Tensor:
    """A smooth cloud with a hard edge."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    values = torch.exp(-3 * (x**2 + y**2 + z**2)) * (1 + 0.2 * torch.sin(9 * x + 4 * z))
    return torch.where(values > 0.3, values, torch.zeros(()))


def odd_values() -> torch.Tensor:
    return torch.tensor([struct.unpack("<i", struct.pack("<I", bits))[0] for bits in ODD_BITS], dtype=torch.int32).view(
        torch.float32
    )


def bits(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.int32)


def holed() -> Grid:
    """A cloud, five of whose active voxels are not finite."""
    grid = sparse_grid(cloud(), "density")
    values = grid.values.clone()
    values[[5, 70, 71, 400, len(values) - 1], 0] = odd_values()
    return grid.with_values(values)


def through(volume: SparseVolume, options: EncodeOptions) -> inrv.Volume:
    return inrv.load(inrv.encode_bytes(volume, options)[0], device="cpu")


def test_nonfinite_values_are_refused_with_count_and_place() -> None:
    grid = holed()
    with pytest.raises(NonFiniteError) as caught:
        inrv.encode_bytes(SparseVolume((grid,)), QUICK)
    first = tuple(grid.topology.coordinates()[5].tolist())
    assert "grid 0 'density': 5 active voxels" in str(caught.value) and f"nan at index {first}" in str(caught.value)
    assert "`nonfinite='keep'`" in str(caught.value)


def test_kept_values_come_back_bit_for_bit_in_every_way_of_reading() -> None:
    grid, options = holed(), replace(QUICK, nonfinite="keep")
    data, report = inrv.encode_bytes(SparseVolume((grid, sparse_grid(cloud(), "clean"))), options)
    assert [(found.what, found.count) for found in report.nonfinite] == [("active voxel", 5)]
    assert [told.exact for told in report.grids] == [5, 0]
    volume = inrv.load(data, device="cpu")
    decoded = volume["density"].to_grid()
    odd = ~grid.values.isfinite()
    assert torch.equal(bits(decoded.values[odd]), bits(odd_values()))
    assert bool(decoded.values[~odd].isfinite().all())
    assert float((decoded.values[~odd] - grid.values[~odd]).abs().max()) < 1.0
    coordinates = grid.topology.coordinates()[odd[:, 0]]
    assert torch.equal(bits(volume["density"].sample(coordinates.float(), interpolation="nearest")), bits(odd_values()))
    dense, box = volume["density"].dense(), grid.topology.box
    assert box is not None
    x, y, z = (coordinates.long() - torch.tensor(box.lower)).T
    assert torch.equal(bits(dense[x, y, z]), bits(odd_values()))
    assert bool(volume["clean"].to_grid().values.isfinite().all())


def test_nothing_but_nan_is_kept_too() -> None:
    grid = sparse_grid(cloud())
    nothing = grid.with_values(torch.full_like(grid.values, math.nan))
    decoded = through(SparseVolume((nothing,)), replace(QUICK, nonfinite="keep"))[0].to_grid()
    assert torch.equal(bits(decoded.values), bits(nothing.values))


def test_nonfinite_tiles_and_inactive_voxels_are_kept() -> None:
    grid = sparse_grid(cloud())
    place = int((grid.topology.leaf_masks[0] == 0).nonzero()[0, 0]) * 8
    topology = replace(
        grid.topology,
        tile_origins=torch.tensor([[64, 0, 0]], dtype=torch.int32),
        tile_edges=torch.tensor([8], dtype=torch.int32),
        tile_active=torch.tensor([True]),
    )
    odd = replace(
        grid,
        topology=topology,
        tile_values=odd_values()[1:2, None],
        inactive=LeafValues(torch.tensor([place]), odd_values()[2:3, None]),
    )
    with pytest.raises(NonFiniteError, match=r"1 tile with NaN .* at index \(64, 0, 0\); .*1 inactive voxel"):
        inrv.encode_bytes(SparseVolume((odd,)), QUICK)
    decoded = through(SparseVolume((odd,)), replace(QUICK, nonfinite="keep"))[0].to_grid()
    assert torch.equal(bits(decoded.tile_values), bits(odd.tile_values))
    assert torch.equal(bits(decoded.inactive.values), bits(odd.inactive.values))


def test_small_grids_are_exact_down_to_the_sign_of_zero() -> None:
    values = torch.randn((6, 7, 8, 3), generator=torch.Generator().manual_seed(1))
    values[0, 0, 0] = torch.tensor([-0.0, 1e-42, 3e38])
    vectors = sparse_grid(values, "v", active=torch.ones(6, 7, 8))
    flat = sparse_grid(torch.full((4, 4, 4), -0.0), "zero", background=1.0, active=torch.ones(4, 4, 4))
    data, report = inrv.encode_bytes(SparseVolume((vectors, flat)), EncodeOptions(device="cpu"))
    assert [grid.psnr for grid in report.grids] == [math.inf, math.inf] and report.weights == 0
    volume = inrv.load(data, device="cpu")
    for grid in (vectors, flat):
        assert torch.equal(bits(volume[grid.name].to_grid().values), bits(grid.values))


def test_a_small_grid_beside_a_large_one_is_exact() -> None:
    small = sparse_grid(torch.rand((9, 9, 9), generator=torch.Generator().manual_seed(2)), "small")
    volume = through(SparseVolume((small, sparse_grid(cloud(), "large"))), replace(QUICK, exact_below=800))
    assert torch.equal(volume["small"].values(), small.values[:, 0])
    assert volume["large"].columns == [0]


def test_a_threshold_stores_leaves_only_and_says_what_it_misjudges() -> None:
    grid = sparse_grid(cloud(), "density")
    velocity = sparse_grid(torch.stack([cloud()] * 3, dim=3), "velocity")
    volume = SparseVolume((grid, velocity))
    exact, _ = inrv.encode_bytes(volume, QUICK)
    data, report = inrv.encode_bytes(volume, replace(QUICK, topology="threshold", epochs=40))
    opened = inrv.load(data, device="cpu")
    decoded = opened["density"].to_grid()
    assert opened["density"].entry.threshold is not None and opened["velocity"].entry.threshold is None
    inside = grid.topology.active(decoded.topology.coordinates())
    misclassified = int((~inside).sum()) + grid.topology.leaf_voxel_count - int(inside.sum())
    assert report.grids[0].misclassified == misclassified < 0.05 * grid.topology.leaf_voxel_count
    assert report.grids[1].misclassified is None
    assert opened["density"].active_voxel_count == decoded.topology.active_voxel_count
    assert opened.manifest.encoding["misclassified_voxels"] == [misclassified, None]
    assert opened["velocity"].topology.equal(velocity.topology)
    assert inrv.load(exact, device="cpu")["density"].topology.equal(grid.topology)


def test_nan_stays_active_under_a_threshold() -> None:
    grid = holed()
    decoded = through(SparseVolume((grid,)), replace(QUICK, topology="threshold", nonfinite="keep"))[0].to_grid()
    coordinates = grid.topology.coordinates()[~grid.values.isfinite()[:, 0]]
    assert torch.equal(bits(decoded.lookup(coordinates)[:, 0]), bits(odd_values()))


def test_the_best_threshold_misjudges_least() -> None:
    values = torch.tensor([0.1, 0.2, 0.2, 0.5, 0.6, 0.9])
    active = torch.tensor([False, False, True, False, True, True])
    threshold, errors = best_threshold(values, active)
    assert errors == int(((values > threshold) != active).sum()) == 1
    assert best_threshold(values, torch.ones(6, dtype=torch.bool))[1] == 0
    assert best_threshold(values, torch.zeros(6, dtype=torch.bool))[1] == 0


def passthrough(position: int, name: str, data: bytes, parent: int | None = None) -> PassthroughGrid:
    return PassthroughGrid(position, name, "Tree_int32_5_4_3", False, parent, 4, data, "int32 values")


def test_carried_grids_keep_bytes_and_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inrv.storage.passthrough.PART_BYTES", 1000)
    data = bytes(range(256)) * 10
    grids = (passthrough(0, "flags", data), passthrough(2, "instance", b"header", parent=0))
    source = SparseVolume((sparse_grid(cloud(), "density"),), passthrough=grids, vdb_version=(223, 9, 1))
    encoded, report = inrv.encode_bytes(source, QUICK)
    assert [(told.position, told.bytes_in) for told in report.passthrough] == [(0, 2560), (2, 6)]
    volume = inrv.load(encoded, device="cpu")
    restored = volume.to_sparse()
    assert [vars(grid) for grid in restored.passthrough] == [vars(grid) for grid in grids]
    assert (restored.positions, restored.vdb_version) == ((1,), (223, 9, 1))
    assert volume[1] is volume["density"] and volume["density"].position == 1
    assert [len(entry.chunks) for entry in volume.passthrough] == [3, 1]
    with pytest.raises(inrv.UnsupportedGridError, match="'flags' is carried as it was"):
        volume["flags"]
    assert inrv.verify(encoded).chunks == len(volume.container.entries)


def test_choosing_carried_grids() -> None:
    grids = (passthrough(0, "flags", b"tree"), passthrough(2, "instance", b"header", parent=0))
    source = SparseVolume((sparse_grid(cloud(), "density"),), passthrough=grids)
    chosen = source.choose(["instance", "density", 0])
    assert [(grid.name, grid.position, grid.parent) for grid in chosen.passthrough] == [("instance", 0, 2), ("flags", 2, None)]
    assert chosen.positions == (1,)
    with pytest.raises(inrv.OptionError, match="shares the tree of grid 0"):
        source.choose(["instance"])


def test_a_file_of_carried_grids_only(tmp_path: Path) -> None:
    report = inrv.encode(SparseVolume((), passthrough=(passthrough(0, "flags", b"tree"),)), tmp_path / "x.inrv", QUICK)
    assert report.weights == 0 and report.grids == ()
    assert inrv.load(tmp_path / "x.inrv").to_sparse().passthrough[0].data == b"tree"
