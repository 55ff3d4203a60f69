"""The codec as a library user meets it: grids in, an .inrv file, grids and values out."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import inrv
from inrv import Box, EncodeOptions, Grid, MetaValue, SparseVolume, Topology, Transform
from inrv.grids import LeafValues, sparse_grid

QUICK = EncodeOptions(epochs=150, values_per_weight=4, exact_below=0, device="cpu")


def blob(shape: tuple[int, int, int] = (24, 20, 28), shift: float = 0.0) -> torch.Tensor:
    """A smooth cloud with a hard edge."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    values = torch.exp(-3 * ((x - shift) ** 2 + y**2 + z**2)) * (1 + 0.2 * torch.sin(9 * x + 4 * z))
    return torch.where(values > 0.3, values, torch.zeros(()))


def scene() -> SparseVolume:
    """Fog, a vector grid with a constant component, a grid with tiles and off-background values, an empty one."""
    transform = Transform("AffineMap", ((0.1, 0.02, 0, 0), (0, 0.2, 0, 0), (0, 0, 0.1, 0), (5, -3, 1, 1)))
    fog = sparse_grid(blob(), "density", transform)
    velocity = torch.stack([blob(), torch.where(blob() > 0, 2.5, 0.0), -blob(shift=0.2)], dim=3)
    vectors = sparse_grid(velocity, "velocity", active=blob() > 0)
    tiled = Topology(
        fog.topology.leaf_origins,
        fog.topology.leaf_masks,
        torch.tensor([[64, 0, 0], [128, 0, 0]], dtype=torch.int32),
        torch.tensor([8, 128], dtype=torch.int32),
        torch.tensor([True, False]),
    )
    inactive_place = int(
        (~torch.from_numpy(np.unpackbits(fog.topology.leaf_masks[0].numpy(), bitorder="little")).bool()).nonzero()[0]
    )
    odd = replace(
        fog,
        name="density",
        topology=tiled,
        tile_values=torch.tensor([[0.75], [-9.0]]),
        inactive=LeafValues(torch.tensor([inactive_place]), torch.tensor([[-7.0]])),
        metadata={
            "note": MetaValue("string", "second"),
            "frame": MetaValue("int32", 7),
            "v": MetaValue("vec3s", (0.5, 1.0, 2.0)),
        },
        saved_as_half=True,
        grid_class="level set",
        background=torch.tensor([0.0]),
    )
    empty = Grid(
        "flame", "float", torch.tensor([1.5]), Topology.empty(), torch.empty(0, 1), torch.empty(0, 1), LeafValues.none(1)
    )
    return SparseVolume((fog, vectors, odd, empty), {"creator": MetaValue("string", "tests")})


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, inrv.EncodeReport]:
    path = tmp_path_factory.mktemp("codec") / "scene.inrv"
    return path, inrv.encode(scene(), path, QUICK)


def test_everything_but_the_coded_values_comes_back_exactly(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    decoded = inrv.load(encoded[0], device="cpu").to_sparse()
    assert decoded.metadata == scene().metadata
    for original, found in zip(scene().grids, decoded.grids, strict=True):
        for name in ("name", "value_type", "transform", "grid_class", "vector_type", "saved_as_half", "metadata"):
            assert getattr(found, name) == getattr(original, name), name
        assert found.topology.equal(original.topology)
        for name in ("background", "tile_values"):
            assert torch.equal(getattr(found, name), getattr(original, name)), name
        assert torch.equal(found.inactive.places, original.inactive.places)
        assert torch.equal(found.inactive.values, original.inactive.values)


def test_values_are_close_stay_in_range_and_constants_are_exact(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    decoded = inrv.load(encoded[0], device="cpu").to_sparse()
    for original, found, told in zip(scene().grids, decoded.grids, encoded[1].grids, strict=True):
        if not len(original.values):
            continue
        low, high = original.values.amin(0), original.values.amax(0)
        assert bool(((found.values >= low) & (found.values <= high)).all())
        span = (high - low).clamp_min(1e-9)
        error = ((found.values - original.values) / span).square().mean(0)
        errors = error[high > low].double()
        assert -10 * math.log10(float(errors.mean())) == pytest.approx(told.psnr, abs=0.02)
        assert told.psnr > 25
    assert torch.equal(decoded.grids[1].values[:, 1], scene().grids[1].values[:, 1])


def test_the_report_counts_every_byte(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    path, report = encoded
    assert path.stat().st_size == report.bytes_out == sum(report.chunk_bytes.values())
    assert report.bytes_in is None and report.weights > 0 and report.precision != "none"
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
        torch.testing.assert_close(dense.reshape(expected.shape), expected, atol=1e-5, rtol=1e-5)
        points = torch.cartesian_prod(*[torch.arange(low, high + 1) for low, high in zip(box.lower, box.upper, strict=True)])
        at = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:3000]
        for interpolation in ("trilinear", "nearest"):
            sampled = grid.sample(points[at].float(), interpolation=interpolation)
            torch.testing.assert_close(sampled, dense.flatten(0, 2)[at], atol=1e-5, rtol=1e-5)


def test_outside_the_topology_is_the_background_exactly(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    grid = inrv.load(encoded[0], device="cpu")["density"]
    points = torch.cartesian_prod(*[torch.arange(-4, 32)] * 3)
    inactive = points[~grid.topology.active(points)]
    assert len(inactive) > 1000
    assert not grid.sample(inactive.float()).any()
    assert (inrv.load(encoded[0])["flame"].sample(torch.rand(5, 3)) == 1.5).all()


def test_world_space_follows_the_transform(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    grid = inrv.load(encoded[0], device="cpu")["density"]
    index = torch.rand(200, 3, dtype=torch.float64) * 20
    world = grid.transform.index_to_world(index)
    torch.testing.assert_close(grid.sample(world, space="world"), grid.sample(index), atol=1e-5, rtol=1e-5)


def test_the_continuous_field_is_differentiable_in_points_and_weights(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    volume = inrv.load(encoded[0], device="cpu")
    points = (torch.rand(64, 3) * 10 + 6).requires_grad_()
    for interpolation in ("field", "trilinear"):
        volume.field.zero_grad()
        values = volume["density"].sample(points, interpolation=interpolation)
        (gradient,) = torch.autograd.grad(values.sum(), points, retain_graph=True)
        values.sum().backward()
        assert gradient.abs().sum() > 0
        assert all(p.grad is not None for p in volume.field.parameters())


def test_points_may_lie_anywhere_but_must_be_numbers(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    grid = inrv.load(encoded[0], device="cpu")["density"]
    far = torch.tensor([[1e30, 0, 0], [-1e7, 5, 5], [0, 0, -(2.0**40)]])
    assert grid.sample(far).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(inrv.OptionError, match="point 1 is"):
        grid.sample(torch.tensor([[0.0, 0, 0], [math.nan, 0, 0]]))
    with pytest.raises(inrv.OptionError, match=r"\(5, 2\)"):
        grid.sample(torch.zeros(5, 2))


def test_grids_are_found_by_name_and_position(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    volume = inrv.load(encoded[0])
    assert [grid.name for grid in volume.grids] == ["density", "velocity", "density", "flame"]
    assert volume["density"] is volume[0] and volume[2] is volume.grids[2] and len(volume.grids) == 4
    with pytest.raises(inrv.OptionError, match="'velocity'"):
        volume["nothing"]


def test_verify_accepts_the_file_and_refuses_other_weights(encoded: tuple[Path, inrv.EncodeReport]) -> None:
    report = inrv.verify(encoded[0], device="cpu")
    assert report.samples == 64 and report.largest_difference <= report.tolerance
    data = bytearray(encoded[0].read_bytes())
    data[len(data) // 2] ^= 0x10
    with pytest.raises(inrv.FormatError):
        inrv.verify(bytes(data))


def test_an_array_without_any_vdb(tmp_path: Path) -> None:
    array = blob((16, 16, 16)).numpy()
    path = tmp_path / "array.inrv"
    inrv.encode_array(array, path, QUICK, name="smoke", transform=Transform.from_voxel_size(0.25, (1, 2, 3)))
    grid = inrv.load(path)["smoke"]
    decoded = grid.dense(Box((0, 0, 0), (15, 15, 15)))
    assert decoded.shape == array.shape and not decoded[torch.from_numpy(array == 0)].any()
    assert (decoded - torch.from_numpy(array)).square().mean().sqrt() < 0.05
    assert grid.transform.voxel_size == (0.25, 0.25, 0.25)


def test_only_the_grids_asked_for() -> None:
    data, _ = inrv.encode_bytes(scene(), replace(QUICK, epochs=1, grids=("velocity", 3)))
    assert list(inrv.load(data)) == ["velocity", "flame"]
    with pytest.raises(inrv.OptionError, match="'speed'"):
        inrv.encode_bytes(scene(), replace(QUICK, grids=("speed",)))


def test_nothing_to_train_needs_no_field() -> None:
    constant = sparse_grid(torch.full((8, 8, 8), 3.25))
    data, report = inrv.encode_bytes(SparseVolume((constant,)), QUICK)
    volume = inrv.load(data)
    assert volume.field is None and report.weights == 0 and report.stopped_by == "nothing to train"
    assert (volume[0].dense() == 3.25).all() and volume[0].sample(torch.rand(4, 3) * 6).eq(3.25).all()
    assert inrv.verify(data).samples == 0


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
    def interrupt(_: inrv.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inrv.encode_array(blob(), tmp_path / "broken.inrv", replace(QUICK, epochs=10_000), progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"preset": "best"}, {"ratio": 0}, {"epochs": -1}, {"selection": "all"}, {"device": "abacus"}])
def test_senseless_options_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(inrv.OptionError, match=str(next(iter(change.values())))):
        inrv.encode_bytes(SparseVolume((sparse_grid(blob((8, 8, 8))),)), EncodeOptions(**{"exact_below": 0, **change}))  # type: ignore[arg-type]


@pytest.mark.parametrize("topology", [None, "threshold"])
def test_a_fourier_field_keeps_to_the_size_and_uses_it(topology: str | None) -> None:
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, 40)] * 3, indexing="ij")
    values = torch.exp(-3 * (x**2 + y**2 + z**2)) * (1 + 0.3 * torch.sin(9 * x + 4 * z))
    volume = SparseVolume((sparse_grid(torch.where(values > 0.1, values, torch.zeros(())), "density"),))
    psnrs = []
    for most in (5_000, 12_000):
        options = EncodeOptions(field="fourier", size=most, epochs=20, device="cpu", topology=topology)
        data, report = inrv.encode_bytes(volume, options)
        assert 0.8 * most < len(data) == report.bytes_out <= most
        psnrs.append(report.grids[0].psnr)
    assert psnrs[1] > psnrs[0]


def test_a_size_too_small_for_a_fourier_field_is_an_error() -> None:
    volume = SparseVolume((sparse_grid(torch.rand(20, 20, 20) + 0.1, "density"),))
    with pytest.raises(inrv.OptionError, match="left for a network"):
        inrv.encode_bytes(volume, EncodeOptions(field="fourier", size=1500, device="cpu"))
