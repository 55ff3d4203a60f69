"""Figures on sparse grids against the same figures worked out on dense arrays."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from inrv.errors import NonFiniteError
from inrv.grids import (
    Box,
    Grid,
    LeafValues,
    MetaValue,
    PassthroughGrid,
    SparseVolume,
    Topology,
    Transform,
    sparse_grid,
    unpack_masks,
)
from inrv.metrics import compare_volumes, score, ssim_within
from inrv.metrics import quality as quality_module

Floats = NDArray[np.float32]
Tiles = list[tuple[tuple[int, int, int], int, bool, float]]


def noise(shape: tuple[int, ...], seed: int) -> Floats:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def fog(shape: tuple[int, int, int], seed: int = 0) -> Floats:
    """Smooth values with holes, so that some windows are wholly outside."""
    axes = np.meshgrid(*[np.linspace(0, 3, n, dtype=np.float32) for n in shape], indexing="ij")
    values = np.sin(2 * axes[0]) * np.cos(3 * axes[1]) + 0.3 * np.sin(5 * axes[2])
    values += 0.1 * noise(shape, seed)
    return np.where(values > 0.2, values, np.float32(0))


def shifted(grid: Grid, offset: tuple[int, int, int]) -> Grid:
    """The grid moved by whole leaves."""
    origins = grid.topology.leaf_origins + np.array(offset, dtype=np.int32)
    order = Topology.order_of(origins)
    assert np.array_equal(order, np.arange(len(order))), (
        "offsets of whole 128^3 nodes keep the order of leaves"
    )
    return replace(grid, topology=replace(grid.topology, leaf_origins=origins))


def compare(original: Grid, decoded: Grid, weights: int | None = None):  # type: ignore[no-untyped-def]
    return compare_volumes(SparseVolume((original,)), SparseVolume((decoded,)), weights)


def dense_pair(original: Grid, decoded: Grid) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Both grids on the original's active box, normalised by its range there, float64."""
    box = original.topology.box
    assert box is not None
    a, b = (grid.dense(box)[..., 0].astype(np.float64) for grid in (original, decoded))
    low, high = a.min(), a.max()
    return (a - low) / (high - low), (b - low) / (high - low)


def expect_figures(original: Grid, decoded: Grid) -> None:
    """The comparison's figures are those of scikit-image on the dense box."""
    found = compare(original, decoded).grids[0]
    a, b = dense_pair(original, decoded)
    assert found.metrics.psnr == pytest.approx(
        peak_signal_noise_ratio(a, b, data_range=1), abs=1e-9
    )
    assert found.metrics.nrmse == pytest.approx(
        normalized_root_mse(a, b, normalization="euclidean"), abs=1e-10
    )
    assert found.metrics.ssim == pytest.approx(
        structural_similarity(a, b, win_size=7, data_range=1.0), abs=1e-10
    )


@pytest.mark.parametrize("edge", [16, 20, 64])
@pytest.mark.parametrize("background", [0.0, 0.7])
def test_figures_are_those_of_the_dense_box(
    edge: int, background: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality_module, "BRICK_EDGE", edge)
    array = fog((37, 29, 43))
    array[:4] = array[:, :5] = 0
    original = sparse_grid(array, background=background, active=array > 0)
    error = 0.1 * noise((len(original.values), 1), 1)
    error[noise((len(original.values), 1), 2) <= 0.5] = 0
    expect_figures(original, original.with_values(original.values + error))


def test_an_error_in_one_voxel_counts_in_every_window_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quality_module, "BRICK_EDGE", 16)
    array = np.maximum(fog((40, 40, 40)), 0.01)
    for place in ((0, 0, 0), (39, 39, 39), (15, 16, 17), (18, 13, 31), (20, 20, 20)):
        other = array.copy()
        other[place] += 0.5
        expect_figures(sparse_grid(array), sparse_grid(other))


def test_decoded_voxels_where_the_original_has_none() -> None:
    array = fog((30, 24, 26))
    original, decoded = sparse_grid(array), sparse_grid(array + 0.05 * noise(array.shape, 4))
    expect_figures(original, decoded)
    found = compare(original, decoded).grids[0]
    assert not found.topology_equal and found.differences == ()


def test_different_backgrounds_are_errors_everywhere_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quality_module, "BRICK_EDGE", 16)
    array = fog((30, 24, 40))
    array[10:28, 3:20, 3:38] = 0
    original = sparse_grid(array)
    decoded = replace(original, background=np.array([0.25], dtype=np.float32))
    expect_figures(original, decoded)
    assert compare(original, decoded).grids[0].differences == ("background",)


def with_tiles(grid: Grid, tiles: Tiles) -> Grid:
    """The grid with tiles (origin, edge, active, value) added where it has no leaves."""
    topology = replace(
        grid.topology,
        tile_origins=np.array([tile[0] for tile in tiles], dtype=np.int32).reshape(-1, 3),
        tile_edges=np.array([tile[1] for tile in tiles], dtype=np.int32),
        tile_active=np.array([tile[2] for tile in tiles], dtype=bool),
    )
    values = np.array([tile[3] for tile in tiles], dtype=np.float32).reshape(-1, 1)
    return replace(grid, topology=topology, tile_values=values)


def test_tiles_count_with_all_their_voxels() -> None:
    original = with_tiles(
        sparse_grid(fog((24, 16, 16))), [((24, 0, 0), 8, True, 0.5), ((32, 8, 8), 8, False, 0.9)]
    )
    decoded = with_tiles(original, [((24, 0, 0), 8, True, 0.4), ((32, 8, 8), 8, True, 0.9)])
    expect_figures(original, decoded)
    assert not compare(original, decoded).grids[0].topology_equal


def test_a_wide_tile_against_leaves_and_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_module, "BRICK_EDGE", 32)
    original = with_tiles(sparse_grid(fog((16, 16, 16))), [((0, 0, 128), 128, True, 0.5)])
    original = replace(
        original, topology=replace(original.topology, tile_edges=np.array([128], dtype=np.int32))
    )
    decoded = with_tiles(
        shifted(sparse_grid(fog((16, 16, 16)) + 0.1), (0, 0, 128)),
        [((64, 64, 192), 8, True, 0.7), ((0, 128, 128), 128, True, 0.2)],
    )
    box = Box((0, 0, 0), (99, 99, 150))
    figures, largest = quality_module.measure(original, decoded, box)
    a, b = (grid.dense(box)[..., 0].astype(np.float64) for grid in (original, decoded))
    low, span = a.min(), a.max() - a.min()
    a, b = (a - low) / span, (b - low) / span
    assert figures.psnr == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-9)
    assert figures.nrmse == pytest.approx(normalized_root_mse(a, b), abs=1e-10)
    assert figures.ssim == pytest.approx(
        structural_similarity(a, b, win_size=7, data_range=1.0), abs=1e-10
    )
    assert largest == pytest.approx(np.abs(a - b).max() * span)


def test_a_tile_of_4096_divided_by_one_leaf() -> None:
    empty = sparse_grid(np.zeros((8, 8, 8)), active=np.zeros((8, 8, 8), dtype=bool))
    original = with_tiles(empty, [((0, 0, 0), 4096, True, 2.0)])
    decoded = shifted(sparse_grid(np.ones((8, 8, 8))), (128 * 5, 128 * 5, 128 * 5))
    sums = quality_module.differences(original, decoded, Box((0, 0, 0), (4095, 4095, 4095)))
    total = 4096.0**3
    assert sums.squared_error.item() == pytest.approx(
        (512 * 0.25 + (total - 512)) / total, rel=1e-12
    )
    assert sums.largest.item() == 2.0


def test_the_cost_follows_the_active_voxels_not_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        calls.append(a.size)
        return float(structural_similarity(a, b, win_size=7, data_range=1.0))

    monkeypatch.setattr(quality_module, "structural_similarity", counted)
    near, far = (
        sparse_grid(fog((16, 16, 16))),
        shifted(sparse_grid(fog((16, 16, 16), 5)), (3968, 3968, 3968)),
    )
    topology = Topology.from_leaves(
        np.concatenate([near.topology.leaf_origins, far.topology.leaf_origins]),
        np.concatenate([near.topology.leaf_masks, far.topology.leaf_masks]),
    )
    original = replace(near, topology=topology, values=np.concatenate([near.values, far.values]))
    found = compare(original, original.with_values(original.values * 0.9)).grids[0]
    assert found.box.volume > 3900**3
    assert found.metrics.psnr > 90 and 1 - 1e-6 < found.metrics.ssim < 1
    assert sum(calls) < 16 * 70**3


def test_a_vector_grid_averages_its_components_each_by_its_own_range() -> None:
    parts = [
        fog((20, 20, 20)) + 1,
        100 * noise((20, 20, 20), 1),
        np.full((20, 20, 20), 3, dtype=np.float32),
    ]
    original = sparse_grid(np.stack(parts, 3), active=np.ones((20, 20, 20), dtype=bool))
    other = np.stack(
        [parts[0] + 0.02 * noise((20, 20, 20), 2), parts[1] + 4 * noise((20, 20, 20), 3), parts[2]],
        3,
    )
    found = compare(original, sparse_grid(other, active=np.ones((20, 20, 20), dtype=bool))).grids[0]
    squares, ssims = [], []
    for component in range(2):
        a, b = parts[component].astype(np.float64), other[..., component].astype(np.float64)
        a, b = (a - a.min()) / np.ptp(a), (b - a.min()) / np.ptp(a)
        squares.append(((a - b) ** 2).mean())
        ssims.append(structural_similarity(a, b, win_size=7, data_range=1.0))
    assert found.metrics.psnr == pytest.approx(-10 * math.log10(sum(squares) / 2), abs=1e-6)
    assert found.metrics.ssim == pytest.approx(sum(ssims) / 2, abs=1e-9)
    assert found.largest_error == pytest.approx(
        float(np.abs(other - np.stack(parts, 3)).max()), rel=1e-6
    )


def test_equal_grids_are_exact() -> None:
    original = sparse_grid(fog((20, 20, 20)))
    result = compare(original, original, weights=100)
    assert result.grids[0].metrics == result.mean
    assert (result.mean.psnr, result.mean.nrmse, result.mean.ssim, result.mean.score) == (
        math.inf,
        0,
        1,
        1,
    )
    assert (
        result.grids[0].largest_error == 0
        and result.topology_equal
        and result.grids[0].differences == ()
    )


@pytest.mark.parametrize("constant", [0.0, -4.0])
def test_a_constant_grid_is_measured_by_its_magnitude(constant: float) -> None:
    whole = np.ones((8, 8, 8), dtype=bool)
    original = sparse_grid(np.full((8, 8, 8), constant), active=whole, background=constant)
    assert compare(original, original).mean.psnr == math.inf
    found = compare(original, original.with_values(original.values + 0.4)).mean
    assert found.psnr == pytest.approx(20 if constant else -20 * math.log10(0.4), abs=1e-5)
    assert found.nrmse == (pytest.approx(0.1, abs=1e-6) if constant else math.inf)
    assert 0 <= found.score <= 1


def test_empty_grids_are_exact_and_have_no_ssim() -> None:
    nothing = np.empty((0, 1), dtype=np.float32)
    empty = Grid(
        "flame",
        "float",
        np.array([1.5], dtype=np.float32),
        Topology.empty(),
        nothing,
        nothing,
        LeafValues.none(1),
    )
    found = compare(empty, empty).grids[0]
    assert found.metrics.psnr == math.inf and found.metrics.ssim is None and found.topology_equal
    filled = replace(sparse_grid(fog((9, 9, 9))), name="flame")
    found = compare(empty, filled).grids[0]
    assert found.box == filled.topology.box and found.metrics.psnr < 5


def test_a_box_narrower_than_the_window_has_no_ssim() -> None:
    original = sparse_grid(np.maximum(fog((20, 6, 20)), 0.1))
    found = compare(original, original.with_values(original.values * 0.9)).mean
    assert found.ssim is None and found.score is None and 20 < found.psnr < 40


def test_the_score_of_the_papers_table() -> None:
    rows = [
        (15.47, 0.748, 0.536, 0.37),
        (29.11, 0.120, 0.917, 0.80),
        (32.01, 0.085, 0.940, 0.84),
        (32.60, 0.081, 0.948, 0.85),
    ]
    for psnr, nrmse, ssim, expected in rows:
        assert round(score(psnr, nrmse, ssim), 2) == expected  # type: ignore[arg-type]
    assert score(math.inf, 0, 1) == 1 == score(96, 0, 1)
    assert score(-10, 3, -0.5) == 0


def test_the_mean_is_over_the_grids_that_differ() -> None:
    first, second = sparse_grid(fog((16, 16, 16)), "a"), sparse_grid(fog((16, 16, 16), 3), "b")
    exact = sparse_grid(fog((16, 16, 16), 4), "c")
    small = sparse_grid(np.maximum(fog((16, 5, 16)), 0.1), "d")
    decoded = [
        grid.with_values(grid.values * factor)
        for grid, factor in ((first, 0.9), (second, 0.8), (small, 0.7))
    ]
    result = compare_volumes(
        SparseVolume((first, second, exact, small)), SparseVolume((*decoded, exact)), weights=1000
    )
    metrics = [grid.metrics for grid in result.grids]
    assert result.mean.psnr == pytest.approx(
        (metrics[0].psnr + metrics[1].psnr + metrics[3].psnr) / 3
    )
    assert result.mean.ssim == pytest.approx((metrics[0].ssim + metrics[1].ssim) / 2)
    assert result.values == sum(grid.box.volume for grid in result.grids)
    assert result.theoretical_compression == result.values / 1000


def test_the_papers_theoretical_compression() -> None:
    corners = np.zeros((239, 239, 387), dtype=bool)
    corners[0, 0, 0] = corners[-1, -1, -1] = True
    grid = sparse_grid(corners, active=corners)
    volume = SparseVolume((grid, replace(grid, name="temperature")))
    assert (
        round(compare_volumes(volume, volume, weights=3_150_850).theoretical_compression, 1) == 14.0
    )


def test_grids_are_paired_by_name_and_occurrence() -> None:
    low, high, other = (
        sparse_grid(np.full((8, 8, 8), v), name) for v, name in ((1.0, "d"), (2.0, "d"), (3.0, "t"))
    )
    result = compare_volumes(SparseVolume((low, other, high)), SparseVolume((other, low, high)))
    assert [grid.name for grid in result.grids] == ["d", "t", "d"] and result.mean.psnr == math.inf
    result = compare_volumes(
        SparseVolume((low, other, high)), SparseVolume((replace(high, name="x"), low))
    )
    assert (result.missing, result.unexpected) == (("t", "d"), ("x",)) and not result.topology_equal
    strangers = compare_volumes(SparseVolume((low,)), SparseVolume((other,)), weights=10)
    assert (
        math.isnan(strangers.mean.psnr)
        and strangers.mean.score is None
        and strangers.theoretical_compression is None
    )


def test_what_differs_is_named() -> None:
    original = replace(
        sparse_grid(np.maximum(fog((8, 8, 8)), 0.1)),
        metadata={"a": MetaValue("int32", 1), "b": MetaValue("string", "x")},
    )
    decoded = replace(
        original,
        transform=Transform.from_voxel_size(0.5),
        grid_class="level set",
        saved_as_half=True,
        metadata={"a": MetaValue("int64", 1)},
    )
    first, second = (
        SparseVolume((original,), {"f": MetaValue("string", "1")}),
        SparseVolume((decoded,)),
    )
    result = compare_volumes(first, second)
    assert result.grids[0].differences == (
        "transform",
        "grid_class",
        "saved_as_half",
        "metadata 'a'",
        "metadata 'b'",
    )
    assert result.differences == ("metadata 'f'",) and result.mean.psnr == math.inf


def test_tiles_and_inactive_values_are_named() -> None:
    values = fog((16, 16, 16))
    original = with_tiles(
        sparse_grid(values), [((32, 0, 0), 8, True, 0.5), ((64, 0, 0), 8, False, 0.2)]
    )
    reordered = with_tiles(original, [((64, 0, 0), 8, False, 0.2), ((32, 0, 0), 8, True, 0.5)])
    assert compare(original, reordered).grids[0].differences == ()
    other_value = with_tiles(original, [((32, 0, 0), 8, True, 0.4), ((64, 0, 0), 8, False, 0.2)])
    found = compare(original, other_value).grids[0]
    assert found.topology_equal and found.differences == ("tiles",)
    assert compare(original, with_tiles(original, [])).grids[0].differences == ("tiles",)
    off = np.flatnonzero(~unpack_masks(original.topology.leaf_masks))[:1]
    inside = replace(original, inactive=LeafValues(off, np.array([[-1]], dtype=np.float32)))
    assert compare(original, inside).grids[0].differences == ("inactive values",)


def test_a_difference_told_by_a_field_is_not_told_again_as_metadata() -> None:
    original = replace(
        sparse_grid(np.maximum(fog((8, 8, 8)), 0.1)),
        metadata={"class": MetaValue("string", "fog volume")},
    )
    other = replace(
        original, grid_class="level set", metadata={"class": MetaValue("string", "level set")}
    )
    assert compare(original, other).grids[0].differences == ("grid_class",)


def test_other_value_types_have_no_figures() -> None:
    whole = np.ones((8, 8, 8), dtype=bool)
    found = compare(
        sparse_grid(np.ones((8, 8, 8)), active=whole),
        sparse_grid(np.ones((8, 8, 8, 3)), active=whole),
    ).grids[0]
    assert (
        found.metrics is None and found.largest_error is None and "value_type" in found.differences
    )


def test_nan_is_refused_not_called_equal() -> None:
    original = sparse_grid(np.maximum(fog((8, 8, 8)), 0.1))
    broken = original.with_values(np.full_like(original.values, math.nan))
    with pytest.raises(NonFiniteError, match=r"grid 'density': .* same NaN and infinity"):
        compare(original, broken)


def test_nan_that_both_hold_is_left_out() -> None:
    values = np.maximum(fog((8, 8, 8)), 0.1)
    one, other = sparse_grid(values), sparse_grid(values + 0.01, background=0.01)
    holed = [grid.with_values(grid.values.copy()) for grid in (one, other)]
    for grid in holed:
        grid.values[[3, 70]] = [[math.nan], [-math.inf]]
    found, whole = (
        compare_volumes(SparseVolume((a,)), SparseVolume((b,))).grids[0]
        for a, b in (holed, (one, other))
    )
    assert found.largest_error == pytest.approx(0.01, rel=1e-4)
    assert found.metrics is not None and whole.metrics is not None
    assert found.metrics.psnr == pytest.approx(whole.metrics.psnr, abs=0.2)


def test_nan_does_not_count_as_exact() -> None:
    """Every voxel that is a number is off by the same, however many others there are."""
    values = np.maximum(fog((16, 16, 16)), 0.1)
    one, other = sparse_grid(values), sparse_grid(values + 0.01, background=0.01)
    holed = [grid.with_values(grid.values.copy()) for grid in (one, other)]
    middle = np.argsort(one.values[:, 0])[1 : len(one.values) // 2]  # neither end of the range
    for grid in holed:
        grid.values[middle] = math.nan
    found, whole = (
        compare_volumes(SparseVolume((a,)), SparseVolume((b,))).grids[0].metrics
        for a, b in (holed, (one, other))
    )
    assert found is not None and whole is not None
    assert found.psnr == pytest.approx(whole.psnr, abs=1e-3)
    assert found.nrmse < whole.nrmse  # the lower ones are missing in the sum of squares
    assert found.ssim is not None and found.ssim > 0.9
    nothing = one.with_values(np.full_like(one.values, math.nan))
    volume = SparseVolume((nothing,))
    assert compare_volumes(volume, volume).mean.psnr == math.inf


def test_passthrough_grids_are_compared_byte_by_byte() -> None:
    flags = PassthroughGrid(
        0, "flags", "Tree_int32_5_4_3", False, None, 4, b"bytes", "int32 values"
    )
    original = SparseVolume((sparse_grid(fog((8, 8, 8))),), passthrough=(flags,))
    assert compare_volumes(original, original).topology_equal
    changed = compare_volumes(
        original, replace(original, passthrough=(replace(flags, data=b"other"),))
    )
    assert not changed.topology_equal and [grid.equal for grid in changed.passthrough] == [False]
    assert compare_volumes(original, replace(original, passthrough=())).missing == ("flags",)


def test_nothing_but_numpy_is_needed() -> None:
    code = """
import sys
import numpy as np
from inrv.grids import SparseVolume, sparse_grid
from inrv.metrics import compare_volumes
grid = sparse_grid(np.random.default_rng(0).random((9, 9, 9)))
other = grid.with_values(grid.values * np.float32(0.5))
volumes = [SparseVolume((each,)) for each in (grid, other)]
assert compare_volumes(*volumes).grids[0].metrics.ssim < 1
print({"torch", "scipy", "skimage", "matplotlib"} & sys.modules.keys())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_ssim_of_a_part_of_the_grid() -> None:
    array = fog((24, 24, 24)) + 0.1
    original = sparse_grid(array)
    decoded = original.with_values(original.values + 0.1 * noise(original.values.shape, 9))
    box = Box((2, 5, 3), (19, 17, 22))
    a, b = (grid.dense(box)[..., 0].astype(np.float64) for grid in (original, decoded))
    low, span = a.min(), np.ptp(a)
    expected = structural_similarity((a - low) / span, (b - low) / span, win_size=7, data_range=1.0)
    assert ssim_within(original, decoded, box) == pytest.approx(expected, abs=1e-10)
