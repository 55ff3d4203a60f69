"""What comes back exactly: few different values, frequent values, extremes, all on request."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import inrv
from inrv import Box, EncodeOptions, Grid, SparseVolume
from inrv.files.vdb import read_volume
from inrv.grids import sparse_grid
from inrv.metrics import compare_volumes
from testing.lattice import INSTANT, bits, frayed, instant, noise, smooth
from tests.fields.lattice.test_guarantee import KINDS

QUICK = EncodeOptions(epochs=20, values_per_weight=4, exact_below=0, device="cpu")


Floats = NDArray[np.float32]


def axes(edge: int) -> list[Floats]:
    return list(
        np.meshgrid(*[np.arange(edge, dtype=np.float32) - edge / 2 + 0.5] * 3, indexing="ij")
    )


def level_set_of_a_box() -> Floats:
    distance = np.abs(np.stack(axes(48))).max(axis=0) - 15
    return (distance.clip(-3, 3) * np.float32(0.05)).astype(np.float32)


def labels() -> Floats:
    random = np.random.default_rng(0)
    points, names = random.random((20, 3)) * 40 - 20, random.integers(1, 12, 20)
    at = np.stack(axes(40), axis=-1)[..., None, :]
    return names[np.square(at - points).sum(axis=-1).argmin(axis=-1)].astype(np.float32)


def mask() -> Floats:
    return (noise((24, 24, 24), 1) > 0.5).astype(np.float32) + 1


def plume(edge: int = 40) -> Floats:
    """Smoke in a dense box of exact zeros, as solvers write it."""
    x, y, z = axes(edge)
    smoke = (1 - np.hypot(x + z / 4, y) / (4 + z / 8)).clip(0, 1) * (
        0.4 + 0.6 * noise((edge, edge, edge), 2)
    )
    return np.where(smoke > 0.01, smoke, 0).astype(np.float32)


def dense(array: Floats, name: str = "density") -> Grid:
    """The grid in which every voxel of the array is active."""
    return sparse_grid(array, name, active=np.ones(array.shape[:3], dtype=np.bool_))


def values_of(data: bytes) -> Floats:
    return inrv.load(data, device="cpu")[0].values()


def bytes_of_values(report: inrv.EncodeReport) -> int:
    """The bytes of a file but for the manifest, which repeats the options in their own words."""
    return report.bytes_out - report.chunk_bytes["manifest"]


@pytest.mark.parametrize("made", [level_set_of_a_box, labels, mask])
@pytest.mark.parametrize("asked", [{}, {"max_error": "1%"}, {"max_error": "0.1%"}, {"psnr": 30.0}])
def test_few_different_values_are_stored_exactly_where_that_takes_no_more_bytes(
    made, asked
) -> None:  # type: ignore[no-untyped-def]
    original = SparseVolume((dense(made()),))
    data, report = inrv.encode_bytes(original, instant(**asked))
    _, exact = inrv.encode_bytes(original, instant(lossless=True))
    assert bytes_of_values(report) <= bytes_of_values(exact)
    assert not report.grids[0].lossless or np.array_equal(
        values_of(data), original.grids[0].values.reshape(-1)
    )
    assert report.grids[0].lossless or asked.get("psnr")


def test_a_few_distances_take_a_few_hundred_bytes() -> None:
    data, _ = inrv.encode_bytes(SparseVolume((dense(level_set_of_a_box()),)), instant())
    assert len(data) < 800 < labels().size / 40


@pytest.mark.parametrize("made", [level_set_of_a_box, labels, mask, plume])
def test_a_size_that_holds_every_value_gives_every_value(made) -> None:  # type: ignore[no-untyped-def]
    original = SparseVolume((dense(made()),))
    exact, _ = inrv.encode_bytes(original, instant(lossless=True))
    data, report = inrv.encode_bytes(original, instant(size=2 * len(exact)))
    assert report.grids[0].lossless and len(data) <= 2 * len(exact)
    assert np.array_equal(values_of(data), original.grids[0].values.reshape(-1))


@pytest.mark.parametrize("made", [plume, smooth])
def test_a_psnr_beyond_the_finest_step_is_exceeded(made) -> None:  # type: ignore[no-untyped-def]
    grid = dense(made())
    data, report = inrv.encode_bytes(SparseVolume((grid,)), instant(psnr=150.0))
    assert report.grids[0].psnr == math.inf and np.array_equal(
        values_of(data), grid.values.reshape(-1)
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(KINDS)),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.integers(0, 99),
    st.booleans(),
)
def test_without_loss_any_numbers_come_back_bit_for_bit(
    made: str, shape: tuple[int, int, int], seed: int, zero: bool
) -> None:
    grid = dense(KINDS[made](shape, seed))
    data, report = inrv.encode_bytes(
        SparseVolume((grid,)), instant(**({"max_error": 0} if zero else {"lossless": True}))
    )
    assert np.array_equal(bits(values_of(data)), bits(grid.values.reshape(-1)))
    assert report.grids[0].lossless and report.grids[0].max_error == 0


def test_without_loss_a_vdb_file_comes_back_value_by_value(tmp_path: Path) -> None:
    vectors = sparse_grid(np.stack([plume(), smooth(), -plume()], axis=3), "velocity")
    original = SparseVolume(
        (
            dense(plume()),
            replace(
                dense(smooth().astype(np.float16).astype(np.float32), "heat"), saved_as_half=True
            ),
            vectors,
        )
    )
    inrv.encode(original, tmp_path / "a.inrv", instant(lossless=True))
    inrv.load(tmp_path / "a.inrv", device="cpu").to_vdb(tmp_path / "a.vdb")
    for mine, theirs in zip(original.grids, read_volume(tmp_path / "a.vdb").grids, strict=True):
        assert np.array_equal(bits(mine.values), bits(theirs.values)) and mine.topology.equal(
            theirs.topology
        )


def test_signs_of_zero_and_denormals_come_back_without_loss() -> None:
    values = np.tile(np.array([0.0, -0.0, 2.0**-149, -(2.0**-149)], np.float32), 2000)
    values = np.random.default_rng(0).permutation(values).reshape(20, 20, 20)
    for array in (values, np.where(np.abs(values) > 0, np.float32(0), values)):
        grid = dense(array)
        assert np.array_equal(
            bits(values_of(inrv.encode_bytes(SparseVolume((grid,)), instant(lossless=True))[0])),
            bits(grid.values)[:, 0],
        )


@pytest.mark.parametrize("asked", [{}, {"psnr": 40.0}, {"psnr": 30.0}, {"max_error": "1%"}])
def test_empty_air_stays_empty_and_the_sum_is_kept(asked: dict[str, object]) -> None:
    grid = dense(plume())
    data, report = inrv.encode_bytes(SparseVolume((grid,)), instant(**asked))
    decoded, original = values_of(data), grid.values.reshape(-1)
    assert bool((decoded[original == 0] == 0).all())
    assert (
        abs(float(decoded.sum() / original.sum()) - 1) < 1e-3
        and abs(report.grids[0].drift or 0) < 1e-3
    )
    assert report.grids[0].frequent == (((0.0,), int((original == 0).sum())),)


def test_frequent_values_may_be_approximate() -> None:
    grid = dense(plume())
    data, report = inrv.encode_bytes(SparseVolume((grid,)), instant(frequent_values="approximate"))
    assert not report.grids[0].frequent and bool(
        (values_of(data)[grid.values.reshape(-1) == 0] != 0).any()
    )


def test_frequent_values_come_back_in_every_way_of_reading() -> None:
    array = np.maximum(plume(), (smooth() > 0.9).astype(np.float32))
    data, report = inrv.encode_bytes(SparseVolume((dense(array),)), instant())
    assert {value for value, _ in report.grids[0].frequent} == {(0.0,), (1.0,)}
    grid = inrv.load(data, device="cpu")["density"]
    box = Box((5, 6, 7), (30, 31, 32))
    inside = grid.dense(box)
    original = array[5:31, 6:32, 7:33]
    assert np.array_equal(inside == 0, original == 0) and bool((inside[original == 1] == 1).all())
    assert np.array_equal(inside, grid.dense(Box((0, 0, 0), (39, 39, 39)))[5:31, 6:32, 7:33])
    points = np.argwhere(original == 0)[::97] + box.lower
    assert not bool(grid.sample(points).any())


def test_a_vector_that_many_voxels_have_comes_back_exactly() -> None:
    wind = np.stack([plume(), np.where(plume() > 0, smooth(), np.float32(0)), -plume()], axis=3)
    data, report = inrv.encode_bytes(SparseVolume((dense(wind, "wind"),)), instant(psnr=40.0))
    still = (wind == 0).all(axis=3)
    decoded = inrv.load(data, device="cpu")["wind"].dense()
    assert not bool(decoded[still].any()) and report.grids[0].frequent == (
        ((0.0, 0.0, 0.0), int(still.sum())),
    )


def test_a_value_that_many_voxels_have_by_chance_is_coded_like_all_others() -> None:
    array = np.where(noise((32, 32, 32), 3) < 0.15, np.float32(0.4), smooth(32))
    _, report = inrv.encode_bytes(SparseVolume((dense(array),)), instant())
    assert not report.grids[0].frequent


def test_two_grids_are_predicted_from_one_another_over_frequent_values() -> None:
    first = dense(plume())
    second = dense(np.where(plume() > 0, plume() ** 2 * 300 + 1, np.float32(0)), "temperature")
    data, report = inrv.encode_bytes(SparseVolume((first, second)), instant(psnr=50.0))
    volume = inrv.load(data, device="cpu")
    assert (
        volume.manifest.field is not None
        and volume.manifest.field.config["channels"][1]["reference"] == 0
    )
    assert all(grid.psnr >= 50 for grid in report.grids)
    for original, decoded in zip((first, second), volume.to_sparse().grids, strict=True):
        assert bool((decoded.values[original.values == 0] == 0).all())
        apart = inrv.load(data, device="cpu")[original.name].dense(Box((8, 8, 8), (23, 23, 23)))
        assert np.array_equal(apart, decoded.dense(Box((8, 8, 8), (23, 23, 23)))[..., 0])


def test_a_fourier_field_gives_frequent_values_exactly_too() -> None:
    grid = dense(plume())
    data, _ = inrv.encode_bytes(SparseVolume((grid,)), QUICK)
    assert bool((values_of(data)[grid.values.reshape(-1) == 0] == 0).all())


def test_one_hot_voxel_leaves_the_others_their_quality() -> None:
    array = smooth()
    array[10, 11, 12] = 1e6
    data, report = inrv.encode_bytes(SparseVolume((dense(array),)), instant())
    decoded = inrv.load(data, device="cpu")["density"].dense()
    rest = array < 10
    assert decoded[10, 11, 12] == 1e6 and report.grids[0].exact == 1 and report.grids[0].peak < 2
    assert (
        -20
        * math.log10(
            float(np.sqrt(np.square((decoded - array)[rest]).mean())) / report.grids[0].peak
        )
        >= 44.9
    )


def test_a_bound_as_a_share_is_one_of_the_range_without_extremes() -> None:
    array = smooth()
    array[10, 11, 12] = -1e6
    data, _ = inrv.encode_bytes(SparseVolume((dense(array),)), instant(max_error="1%"))
    rest = array > -10
    span = float(array[rest].max() - array[rest].min())
    assert (
        float(np.abs((inrv.load(data, device="cpu")["density"].dense() - array)[rest]).max())
        <= 0.01 * span
    )


def test_a_long_tail_is_no_extreme() -> None:
    values = -np.log(1 - noise((30, 30, 30), 4))
    _, report = inrv.encode_bytes(SparseVolume((dense(values),)), instant())
    assert not report.grids[0].exact


@pytest.mark.parametrize("psnr", [25.0, 35.0, 45.0])
def test_the_sum_of_a_cloud_is_kept(psnr: float) -> None:
    original = SparseVolume(
        (sparse_grid(smooth()), sparse_grid(300 * smooth(shift=0.2) - 40, "temperature"))
    )
    _, report = inrv.encode_bytes(original, instant(psnr=psnr))
    assert all(abs(grid.drift or 0) < 1e-3 for grid in report.grids)


def test_a_comparison_tells_the_drift_and_the_frequent_values() -> None:
    grid = dense(plume())
    moved = grid.with_values(
        np.where(grid.values > 0.5, grid.values + np.float32(0.1), grid.values)
    )
    (found,) = compare_volumes(SparseVolume((grid,)), SparseVolume((moved,))).grids
    expected = float(
        (moved.values.astype(np.float64) - grid.values).sum() / grid.values.astype(np.float64).sum()
    )
    assert found.drift == pytest.approx(expected, rel=1e-6)
    zeros = int((grid.values == 0).sum())
    assert [(value.value, value.voxels, value.kept) for value in found.frequent] == [
        ((0.0,), zeros, zeros)
    ]
    hazy = grid.with_values(np.maximum(grid.values, np.float32(0.001)))
    assert (
        compare_volumes(SparseVolume((grid,)), SparseVolume((hazy,))).grids[0].frequent[0].kept == 0
    )


def test_grids_of_one_topology_have_one_after_decoding_by_a_threshold() -> None:
    active = frayed(smooth(24) > 0.04, smooth(24) > 0.01)
    first = sparse_grid(smooth(24), "density", active=active)
    second = sparse_grid(3 * smooth(24, shift=0.1) + 1, "temperature", active=active)
    data, report = inrv.encode_bytes(SparseVolume((first, second)), replace(INSTANT, size=1200))
    volume = inrv.load(data, device="cpu")
    assert [grid.misclassified is None for grid in report.grids] == [False, False]
    assert volume["density"].topology.equal(volume["temperature"].topology)
    assert np.isfinite(volume.to_sparse().grids[1].values).all()
    box = Box((0, 0, 0), (11, 23, 23))
    whole = volume.to_sparse().grids[1].dense(box)[..., 0]
    assert np.array_equal(inrv.load(data, device="cpu")["temperature"].dense(box), whole)


def test_a_probe_of_an_image_of_bytes_is_smaller_than_its_numbers() -> None:
    scan = np.rint(plume() * 255 + 3 * smooth()).clip(0, 255)
    data, _ = inrv.encode_bytes(SparseVolume((dense(scan),)), instant(lossless=True))
    assert len(data) < scan.size / 4


@pytest.mark.parametrize("share", [1e-3, 5e-3])
def test_a_few_hot_voxels_leave_the_others_their_quality(share: float) -> None:
    array = smooth()
    hot = noise(array.shape, 5) < share
    data, report = inrv.encode_bytes(
        SparseVolume((dense(np.where(hot, np.float32(1e5), array)),)), instant()
    )
    decoded = inrv.load(data, device="cpu")["density"].dense()
    assert report.grids[0].exact == int(hot.sum()) and bool((decoded[hot] == 1e5).all())
    assert float(np.sqrt(np.square((decoded - array)[~hot]).mean())) < 0.006 * report.grids[0].peak


def test_a_fourier_field_tells_its_psnr_over_all_active_voxels() -> None:
    grid = dense(np.where(plume() > 0, plume() + 1, np.float32(0)))
    data, report = inrv.encode_bytes(SparseVolume((grid,)), QUICK)
    errors = (values_of(data) - grid.values.reshape(-1)).astype(np.float64) / float(
        grid.values.max()
    )
    assert report.grids[0].psnr == pytest.approx(
        -10 * math.log10(float(np.square(errors).mean())), abs=0.05
    )


def test_a_value_without_weight_tells_nothing_between_voxels() -> None:
    array = smooth(12)
    array[5, 5, 5] = math.nan
    data, _ = inrv.encode_bytes(SparseVolume((dense(array),)), instant(nonfinite="keep"))
    grid = inrv.load(data, device="cpu")["density"]
    assert grid.sample([5.0, 5.0, 4.0]) == grid.dense(Box((5, 5, 4), (5, 5, 4))).item()
    assert math.isnan(float(grid.sample([5.0, 5.0, 4.5])))


def test_a_grid_without_a_field_is_not_asked_between_voxels() -> None:
    data, _ = inrv.encode_bytes(SparseVolume((dense(labels()),)), instant(lossless=True))
    with pytest.raises(inrv.OptionError, match="needs a fourier field"):
        inrv.load(data, device="cpu")["density"].sample(np.zeros((1, 3)), interpolation="field")
