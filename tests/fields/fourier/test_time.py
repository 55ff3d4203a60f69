"""One network for all frames of a group: coordinates x, y, z and time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, FormatError
from inrv.decoding.frames import open_frames
from inrv.fields.fourier.features import features_at, features_of_voxels, gradient_of_frequencies
from spec.reference import read
from testing.rebuild import take_apart

OPTIONS = EncodeOptions(
    field="fourier", epochs=80, exact_below=0, device="cpu", values_per_weight=4
)
GOLDEN = Path(__file__).resolve().parents[3] / "fixtures" / "golden" / "over_time.inrv"


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inrv.fields.fourier.decode.decoding_precision", lambda _: torch.float32)


def puff(moment: float) -> NDArray[np.float32]:
    """Fog that moves and grows thinner."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 14)] * 3, indexing="ij")
    fog = np.exp(-3 * ((x - 0.2 + 0.1 * moment) ** 2 + y**2 + z**2)) - 0.1
    return np.asarray(np.where(fog > 0, (1 - 0.1 * moment) * fog, 0), dtype=np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("time") / "run.inrv"
    with inrv.SequenceWriter(path, OPTIONS, fps=1) as writer:
        for number in (0, 1, 3):  # no frame has the time 2
            wind = np.stack([puff(number), -puff(number), np.ones_like(puff(0))], axis=3)
            writer.add(None, {"density": puff(number), "wind": wind}, number=number)
    return path


def test_one_output_of_the_network_serves_all_frames(path: Path) -> None:
    frames = inrv.load(path, "cpu").frames
    assert len(frames.groups) == 1
    field = frames[0].manifest.field
    assert field is not None and field.outputs == 9
    assert field.config["time"]["places"] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert field.config["time"]["columns"] == [0, 1, 2] * 3
    for number, frame in frames.items():
        box = frame["density"].box
        assert box is not None
        error = frame["density"].dense(((0, 0, 0), (13, 13, 13))) - puff(number)
        assert np.sqrt((error**2).mean()) < 0.05
    assert inrv.verify(path).samples.count == 64


def test_it_has_values_at_any_time(path: Path) -> None:
    frames = inrv.load(path, "cpu").frames
    whole = ((0, 0, 0), (13, 13, 13))
    exact = frames.at(3.0, "linear")
    assert exact.number == 3 and frames.at(-5, "linear").number == 0
    between = frames.at(2.0, "linear")
    assert isinstance(between, inrv.VolumeBetween) and between.share == 0.5
    assert list(between) == ["density", "wind"] and "frames 1 and 3" in repr(between)
    grid, ends = between["density"], [frames[number]["density"] for number in (1, 3)]
    mixed = (ends[0].dense(whole) + ends[1].dense(whole)) / 2
    found = grid.dense(whole)
    active = (puff(1) > 0) & (puff(3) > 0)
    rest = ~active
    assert np.allclose(found[rest], mixed[rest], atol=1e-6)
    own, plain = (np.abs(values - puff(2))[active].mean() for values in (found, mixed))
    assert own < 0.15 and own != plain  # the network's own values, not the mean of the frames
    points = np.argwhere(active)[::7]
    assert np.allclose(grid.sample(points), found[tuple(points.T)], atol=1e-5)
    assert np.allclose(
        grid.sample(points, interpolation="field"), found[tuple(points.T)], atol=1e-5
    )
    assert np.allclose(grid.voxels(points)[:, 0], found[tuple(points.T)], atol=1e-6)
    assert np.array_equal(grid.dense(whole, stride=2), found[::2, ::2, ::2])
    assert grid.sample([3.2, 5.1, 6.7]).shape == ()
    assert between["wind"].dense(whole).shape == (14, 14, 14, 3)
    assert between["wind"].sample(points).shape == (len(points), 3)


def test_a_lattice_is_mixed(tmp_path: Path) -> None:
    with inrv.SequenceWriter(
        tmp_path / "run.inrv", EncodeOptions(effort="instant"), fps=1
    ) as writer:
        for number in range(2):
            writer.add(None, {"density": puff(number), f"only {number}": puff(number)})
    frames = inrv.load(tmp_path / "run.inrv").frames
    between = frames.at(0.25, "linear")
    assert isinstance(between, inrv.VolumeBetween) and list(between) == ["density"]
    whole = ((-2, 0, 0), (15, 13, 13))
    mixed = 0.75 * frames[0]["density"].dense(whole) + 0.25 * frames[1]["density"].dense(whole)
    grid = between["density"]
    assert np.allclose(grid.dense(whole), mixed, atol=1e-6)
    assert np.allclose(grid.voxels([[3, 4, 5]])[0], mixed[5, 4, 5], atol=1e-6)
    assert np.allclose(grid.sample([3, 4, 5]), mixed[5, 4, 5], atol=1e-6)
    assert grid.name == "density" and grid.box is not None
    with pytest.raises(inrv.MissingGridError):
        between["only 1"]
    with pytest.raises(inrv.OptionError, match="not one of nearest, linear"):
        frames.at(0.25, "cubic")


def test_the_reference_reader_agrees(path: Path) -> None:
    data = GOLDEN.read_bytes()
    frames, theirs = open_frames(data, "cpu"), read.decode(data)
    for volume in frames.values():
        for own, number in zip(volume.grids, volume.manifest.grids_of(volume.place), strict=True):
            assert np.abs(own.values() - theirs[number].values[:, 0]).max() < 1e-2
    assert read.samples_difference(read.File(data)) < 1e-4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("columns", [0, 0, 2, 0, 2]),
        ("columns", [0, 0, 1, 0]),
        ("columns", [0, 9, 1, 0, 1]),
        ("places", [0, 1, 1, 2]),
        ("places", [0, -1, 1, 2, 2]),
        ("pace", 1e300),
        ("spare", 1),
    ],
)
def test_hostile_times_are_refused(key: str, value: Any) -> None:
    file = take_apart(GOLDEN.read_bytes())
    file.edit_manifest(f"field.config.time.{key}", value)
    with pytest.raises(FormatError, match=r"field\.config\.time"):
        inrv.load(file.to_bytes(), "cpu")


def test_a_network_without_time_has_no_fourth_column() -> None:
    file = take_apart(GOLDEN.read_bytes())
    file.edit_manifest("field.config.time", None)
    with pytest.raises(FormatError, match="F2"):
        inrv.load(file.to_bytes(), "cpu")[0].values()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_of_four_axes(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    voxels = torch.randint(-20, 60, (3000, 4), generator=generator, dtype=torch.int32)
    frequencies = torch.randn(33, 4, generator=generator) * 3
    origin, scale = torch.tensor([-20.0, -20, -20, 0]), torch.tensor([1 / 80] * 3 + [1 / 50])
    positions = (voxels.float() - origin) * scale
    found = features_of_voxels(voxels, origin, scale, frequencies, dtype)
    exact = features_at(positions.double(), frequencies.double(), torch.float64)
    assert (found.double() - exact).abs().max() < (1e-4 if dtype == torch.float32 else 5e-3)
    slopes = torch.randn(found.shape, generator=generator)
    got = gradient_of_frequencies(positions, features_at(positions, frequencies), slopes)
    learned = frequencies.clone().requires_grad_()
    (features_at(positions, learned) * slopes).sum().backward()
    assert learned.grad is not None and torch.allclose(got, learned.grad, rtol=1e-3, atol=1e-2)
