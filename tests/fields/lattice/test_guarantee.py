"""No voxel misses the bound that was asked for: in memory, and in the .vdb file that is written."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import inrv
from inrv import Grid, SparseVolume
from inrv.files.vdb import read_volume
from inrv.grids import sparse_grid
from testing.lattice import bits, instant, noise, placed, smooth

LARGEST = 3e38
SMALLEST = 2.0**-149
Floats = NDArray[np.float32]
Case = tuple[str, tuple[int, int, int], int]


def checkerboard(shape: tuple[int, int, int], seed: int) -> Floats:
    del seed
    return (np.indices(shape).sum(axis=0) % 2).astype(np.float32)


def spike(shape: tuple[int, int, int], seed: int) -> Floats:
    values = np.zeros(shape, dtype=np.float32)
    values.reshape(-1)[seed % values.size] = 1000.0
    return values


def constant_plus_one(shape: tuple[int, int, int], seed: int) -> Floats:
    values = np.full(shape, 16777216.0, dtype=np.float32)
    values.reshape(-1)[seed % values.size] += 2.0
    return values


def ramp(shape: tuple[int, int, int], seed: int) -> Floats:
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape) * (1 + seed % 7) - 50


def wide(shape: tuple[int, int, int], seed: int) -> Floats:
    """Magnitudes from 1e-30 to 1e30, of both signs."""
    exponents = noise(shape, seed) * 60 - 30
    signs = np.where(noise(shape, seed + 1) < 0.5, -1.0, 1.0)
    return (signs * 10.0 ** exponents.astype(np.float64)).astype(np.float32)


def denormal(shape: tuple[int, int, int], seed: int) -> Floats:
    return (np.random.default_rng(seed).integers(-50, 50, shape) * SMALLEST).astype(np.float32)


def near_largest(shape: tuple[int, int, int], seed: int) -> Floats:
    return (noise(shape, seed) * 2 - 1) * np.float32(LARGEST)


def signed_zeros(shape: tuple[int, int, int], seed: int) -> Floats:
    values = noise(shape, seed)
    return np.where(values < 0.4, np.float32(-0.0), np.where(values < 0.6, np.float32(0), values))


def offset(shape: tuple[int, int, int], seed: int) -> Floats:
    return np.float32(1e6) + np.float32(1e-2) * (noise(shape, seed) * 16)


def halves(shape: tuple[int, int, int], seed: int) -> Floats:
    return (noise(shape, seed) * 100 - 30).astype(np.float16).astype(np.float32)


def largest_halves(shape: tuple[int, int, int], seed: int) -> Floats:
    high = 65504.0 - 32 * np.floor(noise(shape, seed + 1) * 8)
    return np.where(noise(shape, seed) < 0.5, np.float32(-65504.0), high).astype(np.float32)


KINDS = {
    kind.__name__: kind
    for kind in (
        noise, checkerboard, spike, constant_plus_one, ramp, wide, denormal, near_largest,
        signed_zeros, offset, halves, largest_halves,
    )
}  # fmt: skip
BOUNDS = st.one_of(
    st.sampled_from(["1%", "0.1%", "10%", "0.001%", "200%"]),
    st.floats(-5, 2).map(lambda log: f"{10**log:.6g}%"),
    st.floats(-46, 40).map(lambda log: float(f"{10**log:.6g}")),
    st.floats(-4, 2).map(lambda log: float(f"{10**log:.6g}")),
)
SHAPES = st.tuples(*[st.integers(1, 11)] * 3)


def bounds_of(grid: Grid, max_error: float | str) -> NDArray[np.float64]:
    """The bound float64 (C,) of each component, from what is finite."""
    if not isinstance(max_error, str):
        return np.full(grid.components, max_error, dtype=np.float64)
    finite = grid.values[np.isfinite(grid.values).all(axis=1)].astype(np.float64)
    share = float(max_error.removesuffix("%")) / 100
    return np.asarray(share * (finite.max(axis=0) - finite.min(axis=0)))


def largest_error(original: Grid, found: Floats, max_error: float | str, where: str) -> float:
    """The largest error of values (N, C).

    None may miss the bound, and what is not finite must be the same.
    """
    odd = ~np.isfinite(original.values).all(axis=1)
    assert np.array_equal(bits(found[odd]), bits(original.values[odd])), where
    errors = np.abs(found[~odd].astype(np.float64) - original.values[~odd])
    if not len(errors):
        return 0.0
    assert (errors <= bounds_of(original, max_error)).all(), (
        f"{where}: {errors.max(axis=0)} beyond {max_error}"
    )
    return float(errors.max())


def check(volume: SparseVolume, max_error: float | str, **asked: object) -> inrv.EncodeReport:
    """Encode with a bound, and hold what is decoded against it and against the report.

    That is done in memory and with the .vdb file.
    """
    data, report = inrv.encode_bytes(volume, instant(max_error=max_error, **asked))
    opened = inrv.load(data, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decoded.vdb"
        opened.to_vdb(path)
        written = read_volume(path).grids
    for original, grid, saved, told in zip(
        volume.grids, opened.grids, written, report.grids, strict=True
    ):
        assert (
            saved.topology.equal(original.topology)
            and saved.saved_as_half == original.saved_as_half
        )
        in_memory = grid.values().reshape(original.values.shape)
        error = max(
            largest_error(original, in_memory, max_error, "in memory"),
            largest_error(original, saved.values, max_error, "in the .vdb file"),
        )
        assert told.max_error is not None and error == pytest.approx(
            told.max_error, rel=1e-9, abs=0
        ), "the report"
    return report


@settings(
    max_examples=36,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    shape=SHAPES,
    seed=st.integers(0, 1000),
    max_error=BOUNDS,
    half=st.booleans(),
)
@example(kind="near_largest", shape=(6, 7, 8), seed=3, max_error="0.01%", half=False)
@example(kind="denormal", shape=(6, 7, 8), seed=3, max_error="1%", half=False)
@example(kind="denormal", shape=(6, 7, 8), seed=3, max_error=1e-44, half=False)
@example(kind="offset", shape=(8, 8, 8), seed=3, max_error=1e-2, half=False)
@example(kind="offset", shape=(8, 8, 8), seed=3, max_error="40%", half=False)
@example(kind="constant_plus_one", shape=(9, 9, 9), seed=77, max_error="1%", half=False)
@example(kind="wide", shape=(9, 9, 9), seed=5, max_error="0.002%", half=False)
@example(kind="halves", shape=(9, 9, 9), seed=5, max_error=0.02, half=True)
@example(kind="largest_halves", shape=(9, 9, 9), seed=5, max_error="1%", half=True)
@example(kind="noise", shape=(5, 5, 5), seed=0, max_error="0.0016%", half=False)
@example(kind="noise", shape=(5, 5, 5), seed=0, max_error=1e30, half=False)
def test_no_voxel_misses_the_bound(
    kind: str, shape: tuple[int, int, int], seed: int, max_error: float | str, half: bool
) -> None:
    values = KINDS[kind](shape, seed)
    if half:
        values = values.clip(-65504, 65504).astype(np.float16).astype(np.float32)
    grid = sparse_grid(
        values, active=noise(shape, seed + 9) < 0.9, background=float(values.reshape(-1)[0])
    )
    if grid.topology.leaf_voxel_count:
        check(SparseVolume((replace(grid, saved_as_half=half),)), max_error)


@pytest.mark.parametrize("max_error", [1e-3, "0.3%"])
def test_a_bound_holds_for_isolated_voxels_far_apart(max_error: float | str) -> None:
    coordinates = np.array(
        [
            [-1, -1, -1],
            [0, 0, 0],
            [127, 127, 127],
            [-129, 5, -300],
            [100000, -70000, 3],
            [-2000, 128, 64],
        ]
    )
    values = np.array([[1.0], [-2.0], [0.5], [1e3], [-7.25], [3e-5]])
    check(SparseVolume((placed(coordinates, values),)), max_error)


@pytest.mark.parametrize("max_error", [1e-2, "0.5%"])
def test_a_bound_holds_for_every_component_of_vectors(max_error: float | str) -> None:
    shape = (9, 8, 10)
    flat = np.full(shape, -4.0, dtype=np.float32)
    vectors = np.stack([noise(shape, 1), flat, 1e4 * noise(shape, 2) - 5e3], axis=3)
    check(
        SparseVolume((sparse_grid(vectors, "velocity", active=noise(shape, 3) < 0.8),)), max_error
    )


@pytest.mark.parametrize("max_error", ["1%", 0.05])
def test_a_bound_holds_for_a_grid_that_is_predicted_from_another(max_error: float | str) -> None:
    first = smooth(16) + np.float32(0.1) * noise((16, 16, 16), 4)
    second = np.where(first > 0.3, 40 * first**2 - 3, np.float32(0))
    volume = SparseVolume((sparse_grid(first, "density"), sparse_grid(second, "temperature")))
    data, _ = inrv.encode_bytes(volume, instant(max_error=max_error))
    manifest = inrv.load(data, device="cpu").manifest
    assert manifest.field is not None and manifest.field.config["channels"][1]["reference"] == 0
    check(volume, max_error)


@pytest.mark.parametrize("max_error", ["1%", 0.05])
def test_a_bound_holds_beside_values_that_are_not_finite(max_error: float | str) -> None:
    grid = sparse_grid(noise((12, 11, 10), 6))
    values = grid.values.copy()
    values[::37] = math.nan
    values[5], values[500] = math.inf, -math.inf
    report = check(SparseVolume((grid.with_values(values),)), max_error, nonfinite="keep")
    assert report.grids[0].exact == int((~np.isfinite(values)).sum())


def test_a_bound_finer_than_any_code_keeps_every_value() -> None:
    report = check(SparseVolume((sparse_grid(noise((9, 9, 9), 6)),)), 1e-12)
    assert report.grids[0].exact == 9**3 and report.grids[0].max_error == 0


def test_a_bound_wider_than_any_value_is_a_bound_still() -> None:
    check(SparseVolume((sparse_grid(noise((6, 6, 6), 6)),)), 1e300)


def test_a_coarser_bound_takes_fewer_bytes() -> None:
    volume = SparseVolume((sparse_grid(smooth(24)),))
    sizes = [
        len(inrv.encode_bytes(volume, instant(max_error=bound))[0])
        for bound in ("0.1%", "1%", "5%")
    ]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 2 * sizes[2]


@pytest.mark.parametrize("name", ["fire/fire_0060.vdb", "wdas_cloud_sixteenth.vdb"])
def test_a_bound_holds_for_real_volumes(name: str, corpus: Path) -> None:
    path = corpus / name
    if not path.is_file():
        pytest.skip(f"{path.name} is not in the corpus")
    check(read_volume(path), "1%")
