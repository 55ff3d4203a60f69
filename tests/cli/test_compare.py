"""`inrv compare`: figures, sizes, JSON, picture, exit codes."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import inrv
from inrv.files.vdb import read_volume, write_volume
from inrv.metrics import compare_volumes

from .conftest import Run, scene


def test_the_table_holds_the_librarys_figures(run: Run, library: Path) -> None:
    result = run("compare", library / "scene.vdb", library / "scene.inrv", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    volume = inrv.load(library / "scene.inrv", device="cpu")
    expected = compare_volumes(
        read_volume(library / "scene.vdb"), volume.to_sparse(), volume.field.weight_count
    )
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    for grid in expected.grids[:2]:
        assert (
            f"{grid.metrics.psnr:.2f}" in lines[grid.name]
            and f"{grid.metrics.ssim:.4f}" in lines[grid.name]
        )
        assert "equal" in lines[grid.name]
    assert "exact" in lines["flame"] and "empty" in lines["flame"]
    assert f"{expected.mean.psnr:.2f}" in lines["mean"]
    assert f"{expected.theoretical_compression:.2f} values" in lines["theoretical"]
    sizes = [(library / name).stat().st_size for name in ("scene.vdb", "scene.inrv")]
    assert (
        f"{sizes[1]:,} bytes" in lines["coded"]
        and f"{sizes[0] / sizes[1]:.2f} x smaller" in lines["coded"]
    )


def test_json_and_the_way_through_a_vdb(run: Run, library: Path) -> None:
    assert run("decode", library / "scene.inrv", "-o", "back.vdb").exit_code == 0
    direct = json.loads(
        run("compare", library / "scene.vdb", library / "scene.inrv", "--json").stdout
    )
    through = json.loads(
        run(
            "compare",
            library / "scene.vdb",
            "back.vdb",
            "--weights",
            library / "scene.inrv",
            "--json",
        ).stdout
    )
    assert through["decoded_bytes"] == Path("back.vdb").stat().st_size
    assert direct["mean"] == through["mean"] and direct["grids"] == through["grids"]
    for key in ("coded_bytes", "ratio", "theoretical_compression", "topology_equal"):
        assert direct[key] == through[key] and direct[key]
    density, velocity, flame = direct["grids"]
    assert (
        set(density["metrics"]) == {"psnr", "nrmse", "ssim", "score"}
        and 0 < density["largest_error"] < 1
    )
    assert (
        density["box"]["shape"][0] >= 10 and not density["exact"] and density["differences"] == []
    )
    assert velocity["value_type"] == "vec3s" and velocity["metrics"]["psnr"] > 15
    assert flame["exact"] and flame["metrics"]["psnr"] is None


def test_equal_files_without_weights(run: Run, library: Path) -> None:
    told = json.loads(
        run(
            "compare", library / "scene.vdb", library / "scene.vdb", "--json", "--min-psnr", "99"
        ).stdout
    )
    assert told["topology_equal"] and all(grid["exact"] for grid in told["grids"])
    assert told["ratio"] is None and told["theoretical_compression"] is None
    assert "exact" in run("compare", library / "scene.vdb", library / "scene.vdb").stdout


def test_min_psnr(run: Run, library: Path) -> None:
    files = (library / "scene.vdb", library / "scene.inrv")
    assert run("compare", *files, "--min-psnr", "10").exit_code == 0
    result = run("compare", *files, "--min-psnr", "95")
    assert result.exit_code == 1 and "PSNR dB" in result.stdout
    assert (
        "grid 'density': PSNR" in result.stderr
        and "is below 95 dB" in result.stderr
        and "flame" not in result.stderr
    )


def test_what_differs_is_told(run: Run, library: Path) -> None:
    volume = scene()
    other = replace(volume.grids[0], transform=inrv.Transform.from_voxel_size(3.0), metadata={})
    write_volume("other.vdb", inrv.SparseVolume((other, replace(volume.grids[1], name="wind")), {}))
    result = run("compare", library / "scene.vdb", "other.vdb")
    assert result.exit_code == 0
    for words in (
        "transform",
        "metadata 'author'",
        "missing     velocity, flame",
        "unexpected  wind",
    ):
        assert words in result.stdout
    assert run("compare", library / "scene.vdb", "other.vdb", "--min-psnr", "1").exit_code == 1
    write_volume("strange.vdb", inrv.SparseVolume((replace(volume.grids[1], name="wind"),), {}))
    strange = run("compare", library / "scene.vdb", "strange.vdb")
    assert strange.exit_code == 1 and "no grid in common" in strange.stderr


def test_the_figure_shows_something(run: Run, library: Path) -> None:
    files = (library / "scene.vdb", library / "scene.inrv")
    result = run("compare", *files, "--figure", "mid.png")
    assert result.exit_code == 0 and "figure: mid.png" in result.stdout, result.stderr
    image = matplotlib.image.imread("mid.png")[..., :3]
    assert image.shape[0] > 900 and image.shape[1] > 1200
    assert (
        np.allclose(image[0, 0], 1)
        and len(np.unique((image * 255).astype(np.uint8).reshape(-1, 3), axis=0)) > 300
    )
    columns = [
        image[:, start : start + image.shape[1] // 4]
        for start in (0, image.shape[1] // 3, 2 * image.shape[1] // 3)
    ]
    assert all((part < 0.5).mean() > 0.2 for part in columns), "each column holds a picture"
    refused = run("compare", *files, "--figure", "mid.png")
    assert refused.exit_code == 4 and "mid.png exists already" in refused.stderr
    assert run("compare", *files, "--figure", "mid.png", "--force", "--json").exit_code == 0
    assert run("compare", *files, "--figure", "mid.svg").exit_code == 0
    assert Path("mid.svg").read_text().lstrip().startswith("<?xml")


def test_some_grids_of_the_original(run: Run, library: Path) -> None:
    for original in (library / "scene.vdb", library / "scene.inrv"):
        told = json.loads(
            run(
                "compare",
                original,
                library / "scene.inrv",
                "--grid",
                "velocity",
                "--grid",
                "2",
                "--json",
            ).stdout
        )
        assert [grid["name"] for grid in told["grids"]] == ["velocity", "flame"] and told[
            "unexpected"
        ] == ["density"]


def test_a_grid_that_is_called_by_a_number_is_found_by_its_name(run: Run) -> None:
    volume = scene()
    write_volume(
        "n.vdb",
        inrv.SparseVolume(
            (volume.grids[0], replace(volume.grids[1], name="0"), volume.grids[2]), {}
        ),
    )
    assert (
        run(
            "encode",
            "n.vdb",
            "--effort",
            "instant",
            "--grid",
            "0",
            "--grid",
            "2",
            "-o",
            "some.inrv",
        ).exit_code
        == 0
    )
    assert list(inrv.load("some.inrv")) == ["0", "flame"]
    assert run("encode", "n.vdb", "--effort", "instant").exit_code == 0
    for original in ("n.vdb", "n.inrv"):
        told = json.loads(
            run("compare", original, "n.inrv", "--grid", "0", "--grid", "2", "--json").stdout
        )
        assert [grid["name"] for grid in told["grids"]] == ["0", "flame"]


def test_command_lines_that_make_no_sense(run: Run, library: Path) -> None:
    vdb, coded = library / "scene.vdb", library / "scene.inrv"
    assert run("compare", vdb, coded, "--figure", "mid.gif").exit_code == 2
    assert run("compare", vdb, coded, "--weights", vdb).exit_code == 2
    assert run("compare", vdb).exit_code == 2
    assert run("compare", vdb, "missing.vdb").exit_code == 3
    Path("noise.vdb").write_bytes(b"noise" * 99)
    assert run("compare", "noise.vdb", coded).exit_code == 3


def test_files_are_told_apart_by_what_they_hold(run: Run, library: Path) -> None:
    shutil.copy(library / "scene.inrv", "renamed.vdb")
    assert run("compare", "renamed.vdb", library / "scene.inrv", "--min-psnr", "99").exit_code == 0


def test_every_figure_is_told_without_scikit_image_and_scipy(
    run: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (library / "scene.vdb", library / "scene.inrv")
    whole = json.loads(run("compare", *files, "--json").stdout)
    for name in ("skimage", "skimage.metrics", "scipy", "scipy.ndimage"):
        monkeypatch.setitem(sys.modules, name, None)
    result = run("compare", *files, "--json", "--figure", "mid.png")
    assert result.exit_code == 0 and result.stderr == "" and Path("mid.png").exists()
    assert json.loads(result.stdout) == whole
    for grid in whole["grids"][:2]:
        assert 0 < grid["metrics"]["ssim"] < 1 and 0 < grid["metrics"]["score"] < 1


def test_nothing_is_missed_where_nothing_differs(run: Run) -> None:
    write_volume("one.vdb", scene().choose(["density"]))
    result = run("compare", "one.vdb", "one.vdb")
    assert result.exit_code == 0 and result.stderr == "" and "1.0000" in result.stdout


def test_a_figure_without_matplotlib_is_refused_before_anything_is_read(
    run: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("hours of work")

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(inrv, "load", fail)
    result = run("compare", library / "scene.vdb", library / "scene.inrv", "--figure", "mid.png")
    assert (
        result.exit_code == 5
        and "pip install 'inrv[figures]'" in result.stderr
        and not Path("mid.png").exists()
    )
