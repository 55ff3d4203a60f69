"""`inrv sample`: points in, values out, errors with their line."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import inrv
from inrv import SparseVolume

from .conftest import Run, scene

QUICK = inrv.EncodeOptions(effort="instant", exact_below=0, device="cpu")
POINTS = np.array([[8.0, 7.5, 9.25], [3.0, 8.0, 9.0], [-50.0, 0.0, 0.0], [10.125, 9.0, 4.0]])
AS_CSV = "x,y,z\n" + "\n".join(",".join(map(repr, row)) for row in POINTS.tolist()) + "\n"


def expected(library: Path, name: str, **how: str) -> np.ndarray:  # type: ignore[type-arg]
    with (
        torch.no_grad()
    ):  # as the command: without gradients features come from tables, an ulp or two away
        values = inrv.load(library / "scene.inrv", device="cpu")[name].sample(
            torch.from_numpy(POINTS), **how
        )
    return values.numpy()


def rows_of(text: str) -> tuple[list[str], np.ndarray]:  # type: ignore[type-arg]
    header, *rows = csv.reader(io.StringIO(text))
    return header, np.array(rows, dtype=float)


def test_csv_to_csv_is_what_the_library_says(run: Run, library: Path) -> None:
    Path("points.csv").write_text(AS_CSV)
    result = run("sample", library / "scene.inrv", "--points", "points.csv", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    header, rows = rows_of(result.stdout)
    assert header == ["x", "y", "z", "density", "velocity.x", "velocity.y", "velocity.z", "flame"]
    assert np.array_equal(rows[:, :3], POINTS)
    np.testing.assert_allclose(rows[:, 3], expected(library, "density"), rtol=1e-6)
    np.testing.assert_allclose(rows[:, 4:7], expected(library, "velocity"), rtol=1e-6)
    assert rows[0, 3] > 0.5 and not rows[2, 3:].any() and not rows[:, 7].any()


@pytest.mark.parametrize("space", ["index", "world"])
@pytest.mark.parametrize("interpolation", ["trilinear", "nearest", "field"])
def test_space_and_interpolation(run: Run, library: Path, space: str, interpolation: str) -> None:
    options = (
        "--space",
        space,
        "--interpolation",
        interpolation,
        "--grid",
        "density",
        "--device",
        "cpu",
    )
    result = run("sample", library / "scene.inrv", "--points", "-", *options, stdin=AS_CSV)
    header, rows = rows_of(result.stdout)
    assert header == ["x", "y", "z", "density"]
    wanted = expected(library, "density", space=space, interpolation=interpolation)
    np.testing.assert_allclose(rows[:, 3], wanted, rtol=1e-5, atol=1e-6)


def test_npy_to_npy(run: Run, library: Path) -> None:
    np.save("points.npy", POINTS.astype(np.float32))
    arguments = (
        "sample",
        library / "scene.inrv",
        "--points",
        "points.npy",
        "-o",
        "values.npy",
        "--grid",
        "1",
    )
    assert run(*arguments).exit_code == 0
    values = np.load("values.npy")
    assert values.shape == (4, 6) and values.dtype == np.float64
    np.testing.assert_allclose(values[:, 3:], expected(library, "velocity"), rtol=1e-6)
    assert run(*arguments).exit_code == 4 and run(*arguments, "--force").exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        "8,7.5,9.25\n",
        "8;7.5;9.25\n",
        "8\t7.5\t9.25\n",
        "X, Y ,Z\n8,7.5,9.25\n",
        "id,z,y,x\n7,9.25,7.5,8\n",
        "\n8,7.5,9.25\n\n",
        "x,y,z\r\n8,7.5,9.25\r\n",
        "id;x;y;z\r\n1;8;7.5;9.25\r\n",
        'name\tz\ty\tx\n"a, b; c"\t9.25\t7.5\t8\n',
        '"density","Points:0","Points:1","Points:2"\n0.5,8,7.5,9.25\n',
        '"Point ID","x","Points_0","Points_1","Points_2","Points_Magnitude"\n'
        "0,-1,8,7.5,9.25,14.3\n",
        "P.x,P.y,P.z,Cd.x\n8,7.5,9.25,1\n",
        "ptnum\tP[0]\tP[1]\tP[2]\n0\t8\t7.5\t9.25\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ways_to_write_csv(run: Run, library: Path, text: str, encoding: str) -> None:
    Path("points.csv").write_bytes(text.encode(encoding))
    result = run("sample", library / "scene.inrv", "--points", "points.csv", "--grid", "density")
    assert rows_of(result.stdout)[1][0, :3].tolist() == [8, 7.5, 9.25], result.stderr


def test_names_of_grids_are_columns_of_their_own(run: Run) -> None:
    """ParaView takes a table whose columns have different, printable names."""
    names = ["x", "a,b", "density", "density", "line\nbreak", ""]
    inrv.encode(
        SparseVolume(tuple(replace(scene().grids[0], name=name) for name in names)),
        "names.inrv",
        QUICK,
    )
    result = run("sample", "names.inrv", "--points", "-", stdin=AS_CSV)
    header, rows = rows_of(result.stdout)
    assert header == ["x", "y", "z", "x[1]", "a,b", "density", "density[1]", "line\\nbreak", "[0]"]
    assert rows.shape == (4, 9) and result.stdout.count("\n") == 5


def test_a_grid_that_is_called_by_a_number(run: Run) -> None:
    fog, double = scene().grids[0], scene().grids[0].with_values(2 * scene().grids[0].values)
    inrv.encode(
        SparseVolume((replace(fog, name="fog"), replace(double, name="0"))), "numbers.inrv", QUICK
    )

    def sampled(grid: str) -> tuple[str, float]:
        header, rows = rows_of(
            run(
                "sample", "numbers.inrv", "--points", "-", "--grid", grid, stdin="8,7.5,9.25\n"
            ).stdout
        )
        return header[3], rows[0, 3]

    assert sampled("0") == sampled("1") and sampled("0")[0] == "0" and sampled("fog")[0] == "fog"
    assert sampled("0")[1] == pytest.approx(2 * sampled("fog")[1], rel=0.1)


def test_the_output_can_be_sampled_again(run: Run, library: Path) -> None:
    first = run("sample", library / "scene.inrv", "--points", "-", stdin=AS_CSV).stdout
    assert run("sample", library / "scene.inrv", "--points", "-", stdin=first).stdout == first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,y,z\n1,2,3\n1,two,3\n", "line 3: 'two' is not a finite number"),
        ("1,2,3\n4,5\n", "line 2: 2 columns; expected at least 3"),
        ("1,2,3,4\n", "line 1: 4 columns; expected three"),
        ("x,y,z\n\n1,nan,3\n", "line 3: 'nan' is not a finite number"),
        ("x,y,w\n1,2,3\n", "line 1: the header has no column z"),
        ("one,two,three\n", "line 1: 'one,two,three' is neither a point nor a header"),
        ("Points:0,Points:1\n1,2\n", "line 1: the header has no column points:2"),
        ("1,5;2,5;3,5\n", "line 1: '1,5,2,5,3,5' is neither a point"),
    ],
)
def test_bad_rows_are_named_by_line(run: Run, library: Path, text: str, words: str) -> None:
    Path("points.csv").write_text(text)
    result = run("sample", library / "scene.inrv", "--points", "points.csv")
    assert result.exit_code == 3 and f"points.csv {words}" in result.stderr and result.stdout == ""


def test_other_bad_inputs(run: Run, library: Path) -> None:
    file = library / "scene.inrv"
    np.save("flat.npy", np.zeros(6))
    np.save("nan.npy", np.array([[0, 0, 0], [0, np.nan, 0]]))
    np.save("objects.npy", np.array([[None] * 3], dtype=object), allow_pickle=True)
    Path("noise.npy").write_bytes(b"noise")
    for name, words in (
        ("flat", "shape (6,)"),
        ("nan", "row 1"),
        ("objects", "not a valid NPY"),
        ("noise", "not a valid NPY"),
    ):
        result = run("sample", file, "--points", f"{name}.npy")
        assert result.exit_code == 3 and words in result.stderr
    assert run("sample", file, "--points", "missing.csv").exit_code == 3
    assert run("sample", "missing.inrv", "--points", "-", stdin=AS_CSV).exit_code == 3
    assert run("sample", file, "--points", "-", "--grid", "speed", stdin=AS_CSV).exit_code == 2


def test_files_that_are_not_points_are_refused_by_one_line(run: Run, library: Path) -> None:
    points, archive = io.BytesIO(), io.BytesIO()
    np.save(points, POINTS)
    np.savez(archive, points=POINTS)
    header = points.getvalue()[:128]
    files = {
        "archive.npy": archive.getvalue(),
        "archive.npz": archive.getvalue(),
        "brackets.npy": header[:10] + b"(" * 118,
        "large.npy": header.replace(b"(4, 3), }           ", b"(999999999999, 3), }"),
        "long.csv": b"1," + b"2" * 200_000 + b",3\n",
        "nul.csv": b"1,2,3\n4,\0005,6\n",
        "noise.csv": bytes(range(256)) * 9,
    }
    for name, data in files.items():
        Path(name).write_bytes(data)
        result = run("sample", library / "scene.inrv", "--points", name)
        assert result.exit_code == 3 and result.stderr.startswith(f"inrv: error: {name}")
        assert len(result.stderr.splitlines()) == 1 and len(result.stderr) < 400


def test_no_points_have_no_values(run: Run, library: Path) -> None:
    arguments = ("sample", library / "scene.inrv", "--points", "-", "--grid", "density")
    for text in ("", "x,y,z\n"):
        result = run(*arguments, stdin=text)
        assert result.exit_code == 0 and result.stdout == "x,y,z,density\n"


def test_staggered_velocities_are_sampled_on_their_faces_and_named(run: Run) -> None:
    wind = np.arange(6 * 6 * 6 * 3, dtype=np.float32).reshape(6, 6, 6, 3)
    inrv.encode(
        [inrv.sparse_grid(wind, "vel", grid_class="staggered")],
        "wind.inrv",
        inrv.EncodeOptions(device="cpu"),
    )
    Path("points.csv").write_text("x,y,z\n2.5,3,3\n")
    result = run("sample", "wind.inrv", "--points", "points.csv", "--device", "cpu")
    _, rows = rows_of(result.stdout)
    assert rows[0, 3] == wind[3, 3, 3, 0] and rows[0, 4] == wind[2:4, 3:5, 3, 1].mean()
    assert "vel is staggered: its components are sampled on the faces of voxels" in result.stderr
