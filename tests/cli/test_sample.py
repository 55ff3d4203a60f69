"""`inrv sample`: points in, values out, errors with their line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

import inrv

from .conftest import Run

POINTS = np.array([[8.0, 7.5, 9.25], [3.0, 8.0, 9.0], [-50.0, 0.0, 0.0], [10.125, 9.0, 4.0]])
AS_CSV = "x,y,z\n" + "\n".join(",".join(map(repr, row)) for row in POINTS.tolist()) + "\n"


def expected(library: Path, name: str, **how: str) -> np.ndarray:  # type: ignore[type-arg]
    with torch.no_grad():  # as the command: without gradients features come from tables, an ulp or two away
        values = inrv.load(library / "scene.inrv", device="cpu")[name].sample(torch.from_numpy(POINTS), **how)
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
    options = ("--space", space, "--interpolation", interpolation, "--grid", "density", "--device", "cpu")
    result = run("sample", library / "scene.inrv", "--points", "-", *options, stdin=AS_CSV)
    header, rows = rows_of(result.stdout)
    assert header == ["x", "y", "z", "density"]
    wanted = expected(library, "density", space=space, interpolation=interpolation)
    np.testing.assert_allclose(rows[:, 3], wanted, rtol=1e-5, atol=1e-6)


def test_npy_to_npy(run: Run, library: Path) -> None:
    np.save("points.npy", POINTS.astype(np.float32))
    arguments = ("sample", library / "scene.inrv", "--points", "points.npy", "-o", "values.npy", "--grid", "1")
    assert run(*arguments).exit_code == 0
    values = np.load("values.npy")
    assert values.shape == (4, 6) and values.dtype == np.float64
    np.testing.assert_allclose(values[:, 3:], expected(library, "velocity"), rtol=1e-6)
    assert run(*arguments).exit_code == 4 and run(*arguments, "--force").exit_code == 0


@pytest.mark.parametrize(
    "text",
    ["8,7.5,9.25\n", "X, Y ,Z\n8,7.5,9.25\n", "id,z,y,x\n7,9.25,7.5,8\n", "\n8,7.5,9.25\n\n", "\ufeffx,y,z\r\n8,7.5,9.25\r\n"],
)
def test_ways_to_write_csv(run: Run, library: Path, text: str) -> None:
    Path("points.csv").write_text(text, encoding="utf-8")
    result = run("sample", library / "scene.inrv", "--points", "points.csv", "--grid", "density")
    assert rows_of(result.stdout)[1][0, :3].tolist() == [8, 7.5, 9.25], result.stderr


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
    for name, words in (("flat", "shape (6,)"), ("nan", "row 1"), ("objects", "not a valid NPY"), ("noise", "not a valid NPY")):
        result = run("sample", file, "--points", f"{name}.npy")
        assert result.exit_code == 3 and words in result.stderr
    assert run("sample", file, "--points", "missing.csv").exit_code == 3
    assert run("sample", "missing.inrv", "--points", "-", stdin=AS_CSV).exit_code == 3
    assert run("sample", file, "--points", "-", "--grid", "speed", stdin=AS_CSV).exit_code == 2


def test_staggered_velocities_are_sampled_on_their_faces_and_named(run: Run) -> None:
    wind = np.arange(6 * 6 * 6 * 3, dtype=np.float32).reshape(6, 6, 6, 3)
    inrv.encode([inrv.sparse_grid(wind, "vel", grid_class="staggered")], "wind.inrv", inrv.EncodeOptions(device="cpu"))
    Path("points.csv").write_text("x,y,z\n2.5,3,3\n")
    result = run("sample", "wind.inrv", "--points", "points.csv", "--device", "cpu")
    _, rows = rows_of(result.stdout)
    assert rows[0, 3] == wind[3, 3, 3, 0] and rows[0, 4] == wind[2:4, 3:5, 3, 1].mean()
    assert "vel is staggered: its components are sampled on the faces of voxels" in result.stderr
