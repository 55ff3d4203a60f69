"""The codec as a library user meets it: grids in, an .inrv file, grids and values out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import inrv
from inrv import Box, EncodeOptions, Grid, MetaValue, SparseVolume, Topology, Transform
from inrv.fields.fourier.training import TrainingProgress
from inrv.grids import LeafValues, sparse_grid
from testing.vdb.referee import PROPERTIES

QUICK = EncodeOptions(epochs=150, values_per_weight=4, exact_below=0, device="cpu")


def blob(shape: tuple[int, int, int] = (24, 20, 28), shift: float = 0.0) -> np.ndarray:
    """A smooth cloud with a hard edge."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij")
    values = np.exp(-3 * ((x - shift) ** 2 + y**2 + z**2)) * (1 + 0.2 * np.sin(9 * x + 4 * z))
    return np.where(values > 0.3, values, 0).astype(np.float32)


def scene() -> SparseVolume:
    """Fog, vectors with a constant component, a grid with tiles and inactive values, no voxel."""
    transform = Transform(
        "AffineMap", ((0.1, 0.02, 0, 0), (0, 0.2, 0, 0), (0, 0, 0.1, 0), (5, -3, 1, 1))
    )
    fog = sparse_grid(blob(), "density", transform)
    velocity = np.stack(
        [blob(), np.where(blob() > 0, np.float32(2.5), np.float32(0)), -blob(shift=0.2)], axis=3
    )
    vectors = sparse_grid(velocity, "velocity", active=blob() > 0)
    tiled = Topology(
        fog.topology.leaf_origins,
        fog.topology.leaf_masks,
        np.array([[64, 0, 0], [128, 0, 0]], dtype=np.int32),
        np.array([8, 128], dtype=np.int32),
        np.array([True, False]),
    )
    inactive_place = int(
        np.flatnonzero(np.unpackbits(fog.topology.leaf_masks[0], bitorder="little") == 0)[0]
    )
    odd = replace(
        fog,
        name="density",
        topology=tiled,
        tile_values=np.array([[0.75], [-9.0]], dtype=np.float32),
        inactive=LeafValues(np.array([inactive_place]), np.array([[-7.0]], dtype=np.float32)),
        metadata={
            "note": MetaValue("string", "second"),
            "frame": MetaValue("int32", 7),
            "v": MetaValue("vec3s", (0.5, 1.0, 2.0)),
        },
        saved_as_half=True,
        grid_class="level set",
        background=np.zeros(1, dtype=np.float32),
    )
    none = np.empty((0, 1), dtype=np.float32)
    background = np.full(1, 1.5, dtype=np.float32)
    empty = Grid("flame", "float", background, Topology.empty(), none, none, LeafValues.none(1))
    return SparseVolume((fog, vectors, odd, empty), {"creator": MetaValue("string", "tests")})


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, inrv.EncodeReport]:
    path = tmp_path_factory.mktemp("codec") / "scene.inrv"
    return path, inrv.encode(scene(), path, QUICK)


def test_everything_but_the_coded_values_comes_back_exactly(
    encoded: tuple[Path, inrv.EncodeReport],
) -> None:
    decoded = inrv.load(encoded[0], device="cpu").to_sparse()
    assert decoded.metadata == scene().metadata
    for original, found in zip(scene().grids, decoded.grids, strict=True):
        for name in PROPERTIES:
            assert getattr(found, name) == getattr(original, name), name
        assert found.topology.equal(original.topology)
        for name in ("background", "tile_values"):
            assert np.array_equal(getattr(found, name), getattr(original, name)), name
        assert np.array_equal(found.inactive.places, original.inactive.places)
        assert np.array_equal(found.inactive.values, original.inactive.values)


def test_values_are_close_stay_in_range_and_constants_are_exact(
    encoded: tuple[Path, inrv.EncodeReport],
) -> None:
    decoded = inrv.load(encoded[0], device="cpu").to_sparse()
    for original, found, told in zip(scene().grids, decoded.grids, encoded[1].grids, strict=True):
        if not len(original.values):
            continue
        low, high = original.values.min(axis=0), original.values.max(axis=0)
        assert bool(((found.values >= low) & (found.values <= high)).all())
        span = np.maximum(high - low, 1e-9)
        error = (((found.values - original.values) / span) ** 2).mean(axis=0)
        errors = error[high > low].astype(np.float64)
        assert -10 * math.log10(float(errors.mean())) == pytest.approx(told.psnr, abs=0.02)
        assert told.psnr > 25
    assert np.array_equal(decoded.grids[1].values[:, 1], scene().grids[1].values[:, 1])


def test_the_report_counts_every_byte(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    path, report = encoded
    assert path.stat().st_size == report.bytes_out == sum(report.chunk_bytes.values())
    assert report.bytes_in is None and report.field == "fourier"
    assert (
        report.summary["weights"] > 0
        and report.summary["precision"] in report.summary["precision_loss_db"]
    )
    assert report.summary["epochs"] == 150 and report.summary["steps"] > 150 and report.seconds > 0
    assert [label for label, _ in report.description] == ["network", "training"]
    assert report.measured_voxels > 0 and report.device == "cpu"
    assert report.values == sum(g.topology.active_voxel_count * g.components for g in scene().grids)


def test_the_same_input_gives_the_same_bytes(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    data, _ = inrv.encode_bytes(scene(), QUICK)
    assert data == encoded[0].read_bytes()
    other, _ = inrv.encode_bytes(scene(), replace(QUICK, seed=1))
    assert other != data


def test_dense_sample_and_values_agree(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    volume = inrv.load(encoded[0], device="cpu")
    for grid in volume.grids[:3]:
        whole = grid.to_grid()
        box = Box((-2, 3, 5), (70, 12, 20))
        dense = grid.dense(box)
        expected = whole.dense(box)
        np.testing.assert_allclose(dense.reshape(expected.shape), expected, atol=1e-5, rtol=1e-5)
        sides = [np.arange(low, high + 1) for low, high in zip(box.lower, box.upper, strict=True)]
        points = np.stack(np.meshgrid(*sides, indexing="ij"), axis=3).reshape(-1, 3)
        at = np.random.default_rng(0).permutation(len(points))[:3000]
        wanted = dense.reshape(len(points), *dense.shape[3:])[at]
        for interpolation in ("trilinear", "nearest"):
            sampled = grid.sample(points[at].astype(np.float32), interpolation=interpolation)
            np.testing.assert_allclose(sampled, wanted, atol=1e-5, rtol=1e-5)
        assert np.array_equal(grid.tensor(box).numpy(), dense)


def test_outside_the_topology_is_the_background_exactly(
    encoded: tuple[Path, inrv.EncodeReport],
) -> None:
    grid = inrv.load(encoded[0], device="cpu")["density"]
    points = np.stack(np.meshgrid(*[np.arange(-4, 32)] * 3, indexing="ij"), axis=3).reshape(-1, 3)
    inactive = points[~grid.topology.active(points)]
    assert len(inactive) > 1000
    for kind in (np.float32, torch.from_numpy):
        assert not grid.sample(kind(inactive)).any()
    assert (inrv.load(encoded[0])["flame"].sample(np.random.rand(5, 3)) == 1.5).all()


def test_world_space_follows_the_transform(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    grid = inrv.load(encoded[0], device="cpu")["density"]
    index = np.random.default_rng(0).random((200, 3)) * 20
    world = grid.transform.index_to_world(index)
    expected = grid.sample(index)
    np.testing.assert_allclose(grid.sample(world, space="world"), expected, atol=1e-5, rtol=1e-5)
    found = grid.sample(torch.from_numpy(world), space="world")
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5, rtol=1e-5)


def test_the_continuous_field_is_differentiable_in_points_and_weights(
    encoded: tuple[Path, inrv.EncodeReport],
) -> None:
    volume = inrv.load(encoded[0], device="cpu")
    points = (torch.rand(64, 3) * 10 + 6).requires_grad_()
    for interpolation in ("field", "trilinear"):
        volume.field.zero_grad()
        values = volume["density"].sample(points, interpolation=interpolation)
        (gradient,) = torch.autograd.grad(values.sum(), points, retain_graph=True)
        values.sum().backward()
        assert gradient.abs().sum() > 0
        assert all(p.grad is not None for p in volume.field.parameters())


def test_tensors_give_the_values_of_arrays(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    volume = inrv.load(encoded[0], device="cpu")
    points = np.random.default_rng(1).random((300, 3)) * 30 - 2
    for grid in volume.grids[:3]:
        for interpolation in ("trilinear", "nearest", "field"):
            of_array = grid.sample(points, interpolation=interpolation)
            for enabled in (True, False):
                with torch.set_grad_enabled(enabled):
                    of_tensor = grid.sample(torch.from_numpy(points), interpolation=interpolation)
                assert isinstance(of_array, np.ndarray) and of_tensor.dtype == torch.float32
                np.testing.assert_allclose(
                    of_tensor.detach().numpy(), of_array, atol=1e-5, rtol=1e-5
                )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.float64])
def test_points_may_be_tensors_of_any_real_type(
    dtype: torch.dtype, encoded: tuple[Path, inrv.EncodeReport]
) -> None:
    grid = inrv.load(encoded[0], device="cpu")["density"]
    with torch.no_grad():
        found = grid.sample(torch.tensor([[8, 9, 10], [12, 9, 14]], dtype=dtype))
    assert np.array_equal(found.numpy(), grid.sample([[8, 9, 10], [12, 9, 14]]))


def test_points_may_lie_anywhere_but_must_be_numbers(
    encoded: tuple[Path, inrv.EncodeReport],
) -> None:
    grid = inrv.load(encoded[0], device="cpu")["density"]
    far = [[1e30, 0, 0], [-1e7, 5, 5], [0, 0, -(2.0**40)]]
    for kind in (np.array, torch.tensor):
        assert grid.sample(kind(far)).tolist() == [0.0, 0.0, 0.0]
        with pytest.raises(inrv.OptionError, match="point 1 is"):
            grid.sample(kind([[0.0, 0, 0], [math.nan, 0, 0]]))
        with pytest.raises(inrv.OptionError, match=r"\(5, 2\)"):
            grid.sample(kind([[0.0, 0.0]] * 5))


def test_grids_are_found_by_name_and_position(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    volume = inrv.load(encoded[0])
    assert [grid.name for grid in volume.grids] == ["density", "velocity", "density", "flame"]
    assert (
        volume["density"] is volume[0] and volume[2] is volume.grids[2] and len(volume.grids) == 4
    )
    with pytest.raises(inrv.OptionError, match="'velocity'"):
        volume["nothing"]


def test_verify_accepts_the_file_and_refuses_other_weights(
    encoded: tuple[Path, inrv.EncodeReport],
) -> None:
    report = inrv.verify(encoded[0], device="cpu")
    assert (
        report.samples.count == 64 and report.samples.largest_difference <= report.samples.tolerance
    )
    assert report.voxels == 0 and report.chunks == len(inrv.load(encoded[0]).container.entries)
    whole = inrv.verify(encoded[0], device="cpu", decode=True)
    assert whole.voxels == scene().active_voxel_count and whole.samples == report.samples
    data = bytearray(encoded[0].read_bytes())
    data[len(data) // 2] ^= 0x10
    with pytest.raises(inrv.FormatError):
        inrv.verify(bytes(data))


def test_an_array_without_any_vdb(tmp_path: Path) -> None:
    array = blob((16, 16, 16))
    path = tmp_path / "array.inrv"
    inrv.encode_array(
        array, path, QUICK, name="smoke", transform=Transform.from_voxel_size(0.25, (1, 2, 3))
    )
    grid = inrv.load(path)["smoke"]
    decoded = grid.dense(Box((0, 0, 0), (15, 15, 15)))
    assert decoded.shape == array.shape and not decoded[array == 0].any()
    assert np.sqrt(((decoded - array) ** 2).mean()) < 0.05
    assert grid.transform.voxel_size == (0.25, 0.25, 0.25)


def test_only_the_grids_asked_for() -> None:
    data, _ = inrv.encode_bytes(scene(), replace(QUICK, epochs=1, grids=("velocity", 3)))
    assert list(inrv.load(data)) == ["velocity", "flame"]
    with pytest.raises(inrv.OptionError, match="'speed'"):
        inrv.encode_bytes(scene(), replace(QUICK, grids=("speed",)))


def test_nothing_to_train_needs_no_field() -> None:
    constant = sparse_grid(np.full((8, 8, 8), 3.25, dtype=np.float32))
    data, report = inrv.encode_bytes(SparseVolume((constant,)), QUICK)
    volume = inrv.load(data)
    assert volume.field is None and volume.codec is None and volume.manifest.field is None
    assert (
        report.field is None
        and report.device is None
        and report.summary == {}
        and report.description == ()
    )
    assert report.measured_voxels == 0 and report.seconds == 0
    assert (volume[0].dense() == 3.25).all() and (
        volume[0].sample(np.random.rand(4, 3) * 6) == 3.25
    ).all()
    assert (volume[0].sample(torch.rand(4, 3) * 6) == 3.25).all()
    assert inrv.verify(data).samples.count == 0
    assert inrv.verify(data, decode=True).voxels == 512


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_values_are_named(value: float) -> None:
    array = blob((16, 16, 16))
    array[8, 7, 9] = value
    with pytest.raises(inrv.NonFiniteError, match=r"'density'.*1 active voxel.*\(8, 7, 9\)"):
        inrv.encode_bytes(SparseVolume((sparse_grid(array),)), QUICK)


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.inrv"
    path.write_bytes(b"precious")
    with pytest.raises(inrv.OutputExistsError, match=r"kept\.inrv"):
        inrv.encode_array(blob((8, 8, 8)), path, QUICK)
    assert path.read_bytes() == b"precious"
    inrv.encode_array(blob((16, 16, 16)), path, replace(QUICK, epochs=1), overwrite=True)
    assert inrv.load(path)[0].active_voxel_count > 0


def test_an_interrupted_encode_leaves_no_file(tmp_path: Path) -> None:
    seen: list[inrv.Progress] = []

    def interrupt(progress: inrv.Progress) -> None:
        seen.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inrv.encode_array(
            blob(), tmp_path / "broken.inrv", replace(QUICK, epochs=10_000), progress=interrupt
        )
    assert list(tmp_path.iterdir()) == []
    (told,) = seen
    assert (
        isinstance(told, TrainingProgress)
        and 0 < told.share < 1
        and told.step >= 1
        and told.psnr > 0
    )
    assert (
        told.seconds > 0
        and told.seconds_left > 0
        and f"step {told.step}/{told.steps:,}  loss" in told.figures
    )


@pytest.mark.parametrize(
    "change",
    [{"preset": "best"}, {"ratio": 0}, {"epochs": -1}, {"selection": "all"}, {"device": "abacus"}],
)
def test_senseless_options_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(inrv.OptionError, match=str(next(iter(change.values())))):
        inrv.encode_bytes(
            SparseVolume((sparse_grid(blob((8, 8, 8))),)),
            EncodeOptions(**{"exact_below": 0, **change}),
        )  # type: ignore[arg-type]


@pytest.mark.parametrize("topology", [None, "threshold"])
def test_a_fourier_field_keeps_to_the_size_and_uses_it(topology: str | None) -> None:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 40, dtype=np.float32)] * 3, indexing="ij")
    values = np.exp(-3 * (x**2 + y**2 + z**2)) * (1 + 0.3 * np.sin(9 * x + 4 * z))
    volume = SparseVolume((sparse_grid(np.where(values > 0.1, values, np.float32(0)), "density"),))
    psnrs = []
    for most in (5_000, 12_000):
        options = EncodeOptions(
            field="fourier", size=most, epochs=20, device="cpu", topology=topology
        )
        data, report = inrv.encode_bytes(volume, options)
        assert 0.8 * most < len(data) == report.bytes_out <= most
        psnrs.append(report.grids[0].psnr)
    assert psnrs[1] > psnrs[0]


def test_a_size_too_small_for_a_fourier_field_is_an_error() -> None:
    volume = SparseVolume(
        (
            sparse_grid(
                np.random.default_rng(0).random((20, 20, 20), dtype=np.float32) + np.float32(0.1),
                "density",
            ),
        )
    )
    with pytest.raises(inrv.OptionError, match="left for a network"):
        inrv.encode_bytes(volume, EncodeOptions(field="fourier", size=1500, device="cpu"))
