"""A third field is one file and a line in FIELDS: everything above the seam works with it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import inrv
from inrv import Box, EncodeOptions, FormatError, OptionError, SparseVolume
from inrv.container import Chunk, container_bytes, read_container
from inrv.fields import seam
from inrv.files.vdb import read_volume, write_volume
from inrv.grids import denormalise, sparse_grid
from inrv_cli.main import cli
from testing.lattice import frayed, noise, smooth

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def third_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line in the table, and the name among the words of the option."""
    monkeypatch.setitem(seam.FIELDS, "means", "testing.leaf_means")
    monkeypatch.setitem(inrv.options.CHOICES, "field", (None, "lattice", "fourier", "means"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words, stdin=None: CliRunner().invoke(
        cli, [str(word) for word in words], input=stdin, prog_name="inrv"
    )


def asked(**options: Any) -> EncodeOptions:
    return EncodeOptions(field="means", exact_below=0, device="cpu", **({"psnr": 5.0} | options))


def volume() -> SparseVolume:
    """Fog, a wind with a component that does not vary, and a grid without a varying value."""
    fog = np.where(smooth(30) > 0.1, smooth(30), np.float32(0))
    wind = np.stack([smooth(30), np.full((30,) * 3, 2.5, np.float32), -fog], axis=3)
    grids = sparse_grid(fog, "density"), sparse_grid(wind, "wind"), sparse_grid(fog * 0 + 1, "one")
    return SparseVolume(grids)


def expected(grid: inrv.Grid) -> np.ndarray:
    """The mean of each leaf, at its voxels (N, C)."""
    leaves = np.repeat(np.arange(grid.topology.leaf_count), grid.topology.counts)
    sums = np.stack(
        [np.bincount(leaves, column.astype(np.float64)) for column in grid.values.T], axis=1
    )
    return (sums / np.bincount(leaves)[:, None])[leaves]


def test_it_encodes_and_decodes(tmp_path: Path) -> None:
    told: list[inrv.Progress] = []
    report = inrv.encode(volume(), tmp_path / "a.inrv", asked(), progress=told.append)
    opened = inrv.load(tmp_path / "a.inrv", device="cpu")
    assert (
        opened.manifest.field is not None and opened.manifest.field.kind == "means" == report.field
    )
    assert opened.manifest.field.outputs == 3
    for original, grid in zip(volume().grids, opened.grids, strict=True):
        decoded = grid.to_grid()
        assert decoded.topology.equal(original.topology)
        np.testing.assert_allclose(decoded.values, expected(original), atol=1e-5)
    assert np.array_equal(opened["wind"].values()[:, 1], volume().grids[1].values[:, 1])
    assert told == [inrv.Progress(1.0, told[0].seconds, 0.0)] and told[0].figures == ""
    assert inrv.encode_bytes(volume(), asked())[0] == (tmp_path / "a.inrv").read_bytes()


def test_every_way_of_reading_gives_the_same() -> None:
    grid = inrv.load(inrv.encode_bytes(volume(), asked())[0], device="cpu")["density"]
    whole, box = grid.dense(Box((0, 0, 0), (29, 29, 29))), Box((3, 4, 5), (20, 11, 29))
    inside = whole[3:21, 4:12, 5:30]
    assert np.array_equal(grid.dense(box), inside) and np.array_equal(
        grid[3:21, 4:12, 5:30], inside
    )
    assert torch.equal(grid.tensor(box), torch.from_numpy(inside))
    points = np.random.default_rng(0).integers(0, 30, (200, 3))
    for kind in (np.asarray, torch.from_numpy):
        for interpolation in ("trilinear", "nearest"):
            found = np.asarray(grid.sample(kind(points), interpolation=interpolation))
            assert np.array_equal(found, whole[tuple(points.T)])
    with pytest.raises(OptionError, match="interpolation='field'"):
        grid.sample(points, interpolation="field")


def test_the_report_tells_what_the_field_tells() -> None:
    data, report = inrv.encode_bytes(volume(), asked())
    leaves = [grid.topology.leaf_count for grid in volume().grids]
    assert report.summary == {"means": leaves[0] + 2 * leaves[1]}
    assert report.description == (("means", f"{report.summary['means']:,} means of leaves"),)
    assert report.device == "cpu" and report.measured_voxels > 0
    assert read_container(data).manifest.encoding["means"] == report.summary["means"]
    for original, told in zip(volume().grids[:2], report.grids, strict=False):
        errors = (expected(original) - original.values)[:, np.ptp(original.values, axis=0) > 0]
        spans = np.ptp(original.values, axis=0)
        mean = np.square(errors / spans[spans > 0]).mean()
        assert told.psnr == pytest.approx(-10 * math.log10(mean), abs=0.01)
        assert told.max_error is None and told.drift is None and not told.lossless
    assert report.grids[2].lossless


def test_a_quality_that_it_misses_is_reached_by_exact_values() -> None:
    data, report = inrv.encode_bytes(volume(), asked(psnr=90.0))
    assert all(grid.lossless for grid in report.grids) and report.field is None
    for original, grid in zip(volume().grids, inrv.load(data, device="cpu").grids, strict=True):
        assert np.array_equal(grid.to_grid().values, original.values)


@pytest.mark.parametrize("goal", [{"max_error": "1%"}, {"max_error": 0}, {"lossless": True}])
def test_a_bound_that_it_cannot_keep_is_kept_by_exact_values(goal: dict[str, Any]) -> None:
    data, report = inrv.encode_bytes(volume(), asked(psnr=None, **goal))
    assert all(grid.max_error == 0 for grid in report.grids)
    decoded = inrv.load(data, device="cpu").to_sparse()
    for original, found in zip(volume().grids, decoded.grids, strict=True):
        assert np.array_equal(found.values, original.values)


def test_what_is_set_apart_comes_back_exactly() -> None:
    values = smooth(30)
    values[:10] = np.where(noise((10, 30, 30), 1) < 0.8, np.float32(0), values[:10])
    values[20, 3, 4], values[20, 3, 5] = np.nan, 1e6
    grid = sparse_grid(values, "d", active=np.ones((30,) * 3))
    data, report = inrv.encode_bytes([grid], asked(nonfinite="keep"))
    decoded = inrv.load(data, device="cpu")["d"].dense()
    assert report.grids[0].exact == 2 and report.grids[0].frequent and report.field == "means"
    assert np.isnan(decoded[20, 3, 4]) and decoded[20, 3, 5] == 1e6
    assert (decoded[values == 0] == 0).all() and np.abs(
        decoded[20, 3, 6:] - values[20, 3, 6:]
    ).max() < 1


def test_topology_by_a_threshold_works_with_it() -> None:
    active = frayed(smooth(32) > 0.3, smooth(32) > 0.2)
    grid = sparse_grid(smooth(32) * active, "d", active=active)
    data, report = inrv.encode_bytes([grid], asked(topology="threshold"))
    opened = inrv.load(data, device="cpu")["d"]
    assert (opened.entry.threshold is None) == (report.grids[0].misclassified is None)
    wrong = (opened.dense(Box((0, 0, 0), (31, 31, 31))) > 0) != active
    assert report.grids[0].misclassified in (None, int(wrong.sum()))


def test_a_size_that_it_cannot_aim_at_is_an_error_in_its_words() -> None:
    with pytest.raises(OptionError, match="means of leaves take the bytes"):
        inrv.encode_bytes(volume(), asked(psnr=None, size=1000))


def test_the_command_line_reads_its_files(run: Run) -> None:
    inrv.encode(volume(), "a.inrv", asked())
    write_volume("a.vdb", volume())
    found = json.loads(run("info", "a.inrv", "--json").stdout)
    assert found["field"]["kind"] == "means" and found["field"]["outputs"] == 3
    assert found["field"]["config"] == {"means": found["chunks"][-1]["number"]}
    assert "means of leaves, 3 outputs" in run("info", "a.inrv").stdout
    assert run("verify", "a.inrv").stdout.startswith("a.inrv: valid, ")
    count = f"{volume().active_voxel_count:,} active voxels decoded"
    assert count in run("verify", "--decode", "a.inrv").stdout
    assert run("decode", "a.inrv", "-o", "back.vdb").exit_code == 0
    for original, decoded in zip(volume().grids, read_volume("back.vdb").grids, strict=True):
        np.testing.assert_allclose(decoded.values, expected(original), atol=1e-5)
    compared = run("compare", "a.vdb", "a.inrv", "--min-psnr", "5")
    assert compared.exit_code == 0, compared.output
    sampled = run("sample", "a.inrv", "--points", "-", stdin="x,y,z\n15,15,15\n")
    assert sampled.exit_code == 0 and sampled.stdout.startswith("x,y,z,density,wind.x")


def test_its_own_rules_are_checked_when_a_file_is_opened() -> None:
    container = read_container(inrv.encode_bytes(volume(), asked())[0])
    chunks = [
        Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)
    ]
    field = container.manifest.field
    assert field is not None
    for config, words in (
        ({"means": 0}, "a TOPO chunk"),
        ({"means": 99}, "beyond the chunk table"),
        ({}, "means"),
        (field.config | {"colour": 1}, "colour"),
    ):
        data = container_bytes(
            replace(container.manifest, field=replace(field, config=config)), chunks
        )
        for act in (inrv.load, inrv.verify):
            with pytest.raises(FormatError, match=words):
                act(data)


def test_a_reader_without_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = inrv.encode_bytes(volume(), asked())
    monkeypatch.delitem(seam.FIELDS, "means")
    for act in (inrv.load, inrv.verify):
        with pytest.raises(FormatError, match="field kind 'means' is not known") as raised:
            act(data)
        assert raised.value.id == "F1"


def test_values_are_normalised_outputs() -> None:
    data, _ = inrv.encode_bytes(volume(), asked())
    opened = inrv.load(data, device="cpu")
    (part,) = opened["density"].entry.components
    topology = opened["density"].topology
    (outputs,) = opened.outputs.active([topology], [[part.output]])
    assert ((outputs >= 0) & (outputs <= 1)).all()
    values = denormalise(outputs[:, 0], part.minimum, part.maximum)
    assert np.array_equal(values, opened["density"].values())
