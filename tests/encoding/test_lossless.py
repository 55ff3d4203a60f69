"""What an .inrv file must not lose: odd values, small grids, passthrough grids.

And what a threshold loses.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import inrv
from inrv import EncodeOptions, Grid, NonFiniteError, SparseVolume
from inrv.encoding.thresholds import best_threshold
from inrv.grids import LeafValues, PassthroughGrid, sparse_grid
from testing.lattice import bits

QUICK = EncodeOptions(epochs=3, values_per_weight=4, exact_below=0, device="cpu")
ODD_BITS = (
    0x7FC00001,
    0xFFC12345,
    0x7F800001,
    0x7F800000,
    0xFF800000,
)  # NaN, -NaN, a signalling NaN, both infinities


def cloud(shape: tuple[int, int, int] = (24, 20, 28)) -> np.ndarray:
    """A smooth cloud with a hard edge."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij")
    values = np.exp(-3 * (x**2 + y**2 + z**2)) * (1 + 0.2 * np.sin(9 * x + 4 * z))
    return np.where(values > 0.3, values, 0).astype(np.float32)


def odd_values() -> np.ndarray:
    return np.array(ODD_BITS, dtype=np.uint32).view(np.float32)


def holed() -> Grid:
    """A cloud, five of whose active voxels are not finite."""
    grid = sparse_grid(cloud(), "density")
    values = grid.values.copy()
    values[[5, 70, 71, 400, len(values) - 1], 0] = odd_values()
    return grid.with_values(values)


def through(volume: SparseVolume, options: EncodeOptions) -> inrv.Volume:
    return inrv.load(inrv.encode_bytes(volume, options)[0], device="cpu")


def test_nonfinite_values_are_refused_with_count_and_place() -> None:
    grid = holed()
    with pytest.raises(NonFiniteError) as caught:
        inrv.encode_bytes(SparseVolume((grid,)), QUICK)
    first = tuple(grid.topology.coordinates()[5].tolist())
    assert "grid 0 'density': 5 active voxels" in str(
        caught.value
    ) and f"nan at index {first}" in str(caught.value)
    assert "`nonfinite='keep'`" in str(caught.value)


def test_exact_values_come_back_bit_for_bit_in_every_way_of_reading() -> None:
    grid, options = holed(), replace(QUICK, nonfinite="keep")
    data, report = inrv.encode_bytes(SparseVolume((grid, sparse_grid(cloud(), "clean"))), options)
    assert [(found.what, found.count) for found in report.nonfinite] == [("active voxel", 5)]
    assert [told.exact for told in report.grids] == [5, 0]
    volume = inrv.load(data, device="cpu")
    decoded = volume["density"].to_grid()
    odd = ~np.isfinite(grid.values)
    assert np.array_equal(bits(decoded.values[odd]), bits(odd_values()))
    assert bool(np.isfinite(decoded.values[~odd]).all())
    assert float(np.abs(decoded.values[~odd] - grid.values[~odd]).max()) < 1.0
    coordinates = grid.topology.coordinates()[odd[:, 0]]
    for points in (coordinates, torch.from_numpy(coordinates)):
        with torch.no_grad():
            found = np.asarray(volume["density"].sample(points, interpolation="nearest"))
        assert np.array_equal(bits(found), bits(odd_values()))
    dense, box = volume["density"].dense(), grid.topology.box
    assert box is not None
    x, y, z = (coordinates - box.lower).T
    assert np.array_equal(bits(dense[x, y, z]), bits(odd_values()))
    assert bool(np.isfinite(volume["clean"].to_grid().values).all())


def test_nan_does_not_count_as_exact_in_the_psnr() -> None:
    grid = sparse_grid(cloud(), "density")
    values = grid.values.copy()
    values[np.argsort(values[:, 0])[1 : len(values) // 2]] = math.nan
    holed, options = grid.with_values(values), replace(QUICK, nonfinite="keep")
    data, report = inrv.encode_bytes(SparseVolume((holed,)), options)
    known = np.isfinite(values)
    decoded = inrv.load(data, device="cpu")["density"].to_grid().values[known]
    wide = values[known].astype(np.float64)
    error = np.square((decoded - wide) / np.ptp(wide)).mean()
    assert report.grids[0].psnr == pytest.approx(-10 * math.log10(error), abs=0.01)


def test_nothing_but_nan_is_kept_too() -> None:
    grid = sparse_grid(cloud())
    nothing = grid.with_values(np.full_like(grid.values, math.nan))
    decoded = through(SparseVolume((nothing,)), replace(QUICK, nonfinite="keep"))[0].to_grid()
    assert np.array_equal(bits(decoded.values), bits(nothing.values))


def test_nonfinite_tiles_and_inactive_voxels_are_kept() -> None:
    grid = sparse_grid(cloud())
    place = int(np.flatnonzero(grid.topology.leaf_masks[0] == 0)[0]) * 8
    topology = replace(
        grid.topology,
        tile_origins=np.array([[64, 0, 0]], dtype=np.int32),
        tile_edges=np.array([8], dtype=np.int32),
        tile_active=np.array([True]),
    )
    odd = replace(
        grid,
        topology=topology,
        tile_values=odd_values()[1:2, None],
        inactive=LeafValues(np.array([place]), odd_values()[2:3, None]),
    )
    with pytest.raises(
        NonFiniteError, match=r"1 tile with NaN .* at index \(64, 0, 0\); .*1 inactive voxel"
    ):
        inrv.encode_bytes(SparseVolume((odd,)), QUICK)
    decoded = through(SparseVolume((odd,)), replace(QUICK, nonfinite="keep"))[0].to_grid()
    assert np.array_equal(bits(decoded.tile_values), bits(odd.tile_values))
    assert np.array_equal(bits(decoded.inactive.values), bits(odd.inactive.values))


def test_small_grids_are_exact_down_to_the_sign_of_zero() -> None:
    values = np.random.default_rng(1).standard_normal((6, 7, 8, 3), dtype=np.float32)
    values[0, 0, 0] = [-0.0, 1e-42, 3e38]
    vectors = sparse_grid(values, "v", active=np.ones((6, 7, 8)))
    flat = sparse_grid(
        np.full((4, 4, 4), -0.0, np.float32), "zero", background=1.0, active=np.ones((4, 4, 4))
    )
    data, report = inrv.encode_bytes(SparseVolume((vectors, flat)), EncodeOptions(device="cpu"))
    assert [grid.psnr for grid in report.grids] == [math.inf, math.inf] and report.field is None
    volume = inrv.load(data, device="cpu")
    for grid in (vectors, flat):
        assert np.array_equal(bits(volume[grid.name].to_grid().values), bits(grid.values))


def test_a_small_grid_beside_a_large_one_is_exact() -> None:
    small = sparse_grid(np.random.default_rng(2).random((9, 9, 9), dtype=np.float32), "small")
    volume = through(
        SparseVolume((small, sparse_grid(cloud(), "large"))), replace(QUICK, exact_below=800)
    )
    assert np.array_equal(volume["small"].values(), small.values[:, 0])
    assert [part.output for part in volume["large"].entry.components] == [0]
    assert [part.output for part in volume["small"].entry.components] == [None]


def test_a_threshold_stores_leaves_only_and_says_what_it_misclassifies() -> None:
    grid = sparse_grid(cloud(), "density")
    velocity = sparse_grid(np.stack([cloud()] * 3, axis=3), "velocity")
    volume = SparseVolume((grid, velocity))
    exact, _ = inrv.encode_bytes(volume, QUICK)
    data, report = inrv.encode_bytes(volume, replace(QUICK, topology="threshold", epochs=40))
    opened = inrv.load(data, device="cpu")
    decoded = opened["density"].to_grid()
    assert (
        opened["density"].entry.threshold is not None and opened["velocity"].entry.threshold is None
    )
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
    decoded = through(
        SparseVolume((grid,)), replace(QUICK, topology="threshold", nonfinite="keep")
    )[0].to_grid()
    coordinates = grid.topology.coordinates()[~np.isfinite(grid.values[:, 0])]
    assert np.array_equal(bits(decoded.lookup(coordinates)[:, 0]), bits(odd_values()))


def test_the_best_threshold_misclassifies_least() -> None:
    values = np.array([0.1, 0.2, 0.2, 0.5, 0.6, 0.9], np.float32)
    active = np.array([False, False, True, False, True, True])
    threshold, errors = best_threshold(values, active)
    assert errors == int(((values > threshold) != active).sum()) == 1
    assert best_threshold(values, np.ones(6, dtype=np.bool_))[1] == 0
    assert best_threshold(values, np.zeros(6, dtype=np.bool_))[1] == 0


def passthrough(
    position: int, name: str, data: bytes, parent: int | None = None
) -> PassthroughGrid:
    return PassthroughGrid(
        position, name, "Tree_int32_5_4_3", False, parent, 4, data, "int32 values"
    )


def test_passthrough_grids_keep_bytes_and_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inrv.storage.passthrough.PART_BYTES", 1000)
    data = bytes(range(256)) * 10
    grids = (passthrough(0, "flags", data), passthrough(2, "instance", b"header", parent=0))
    source = SparseVolume(
        (sparse_grid(cloud(), "density"),), passthrough=grids, vdb_version=(223, 9, 1)
    )
    encoded, report = inrv.encode_bytes(source, QUICK)
    assert [(told.position, told.bytes_in) for told in report.passthrough] == [(0, 2560), (2, 6)]
    volume = inrv.load(encoded, device="cpu")
    restored = volume.to_sparse()
    assert [vars(grid) for grid in restored.passthrough] == [vars(grid) for grid in grids]
    assert (restored.positions, restored.vdb_version) == ((1,), (223, 9, 1))
    assert volume[1] is volume["density"] and volume["density"].position == 1
    assert [len(entry.chunks) for entry in volume.passthrough] == [3, 1]
    with pytest.raises(inrv.UnsupportedGridError, match="'flags' is passed through"):
        volume["flags"]
    assert (
        inrv.verify(encoded).chunks
        == inrv.verify(encoded, decode=True).chunks
        == len(volume.container.entries)
    )


def test_choosing_passthrough_grids() -> None:
    grids = (passthrough(0, "flags", b"tree"), passthrough(2, "instance", b"header", parent=0))
    source = SparseVolume((sparse_grid(cloud(), "density"),), passthrough=grids)
    chosen = source.choose(["instance", "density", 0])
    assert [(grid.name, grid.position, grid.parent) for grid in chosen.passthrough] == [
        ("instance", 0, 2),
        ("flags", 2, None),
    ]
    assert chosen.positions == (1,)
    with pytest.raises(inrv.OptionError, match="shares the tree of grid 0"):
        source.choose(["instance"])


def test_a_file_of_passthrough_grids_only(tmp_path: Path) -> None:
    report = inrv.encode(
        SparseVolume((), passthrough=(passthrough(0, "flags", b"tree"),)),
        tmp_path / "x.inrv",
        QUICK,
    )
    assert report.field is None and report.grids == ()
    assert inrv.load(tmp_path / "x.inrv").to_sparse().passthrough[0].data == b"tree"
