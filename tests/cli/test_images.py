"""Dense images on the command line: their axes, and images in two files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .conftest import Run, density

QUICK = ("--effort", "instant", "--lossless", "-q")


@pytest.fixture
def array(run: Run) -> np.ndarray:
    """An array, which lies in the working directory as `a stack.npy`, z first."""
    found = density()
    np.save("a stack.npy", found)
    return found


def test_axes_are_told_and_come_back(run: Run, array: np.ndarray) -> None:
    assert run("encode", "a stack.npy", "--axes", "zyx", *QUICK).output == ""
    assert "17 x 16 x 19" not in run("info", "a stack.inrv").stdout
    assert run("decode", "a stack.inrv", "-o", "back.npy", "-q").output == ""
    assert np.array_equal(np.load("back.npy"), array)
    assert run("convert", "a stack.npy", "back.vti", "--axes", "zyx", "-q").output == ""
    for wrong in (("a stack.npy", "zy"), ("a stack.npy", "abc"), ("back.vti", "zyx")):
        result = run("convert", wrong[0], "x.npy", "--axes", wrong[1])
        assert result.exit_code == 2 and "axes" in result.stderr and not Path("x.npy").exists()
    result = run("convert", "a stack.inrv", "x.npy", "--axes", "zyx")
    assert result.exit_code == 2 and "leave out --axes" in result.stderr


def test_a_part_of_many_axes_is_chosen_by_name(run: Run, array: np.ndarray) -> None:
    numbers = np.zeros((2, 3, 4, 65, 66), np.uint8)
    numbers[1] = 1
    np.save("run.npy", numbers)
    asked = ("--axes", "tczyx", "--grid", "run.4")
    assert run("encode", "run.npy", *asked, *QUICK).output == ""
    assert run("decode", "run.inrv", "-o", "back.npy", "-q").output == ""
    assert np.array_equal(np.load("back.npy"), numbers[1, 1])
    assert run("convert", "run.npy", "part.raw", *asked, "-q").output == ""
    assert np.fromfile("part.raw", np.uint8).tolist() == [1] * 4 * 65 * 66


def test_neither_file_of_two_is_replaced_unless_told(run: Run, array: np.ndarray) -> None:
    assert run("convert", "a stack.npy", "a.raw", "--axes", "zyx", "-q").output == ""
    assert np.array_equal(np.fromfile("a.raw", np.float32).reshape(array.shape), array)
    before = Path("a.raw").read_bytes()
    for target, named in (("a.raw", "a.raw exists"), ("a.mhd", "a.raw exists already, and a.mhd")):
        result = run("convert", "a stack.npy", target)
        assert result.exit_code == 4 and named in result.stderr
    assert Path("a.raw").read_bytes() == before and not Path("a.mhd").exists()
    assert run("convert", "a.raw", "b.mhd", "-q").exit_code == 0
    assert run("convert", "a stack.npy", "b.mhd", "--force", "-q").exit_code == 0
    result = run("convert", "a stack.npy", "-", "--to", "raw")
    assert result.exit_code == 2 and "two files: name a path" in result.stderr


def test_in_a_folder_a_header_stands_for_its_numbers(run: Run, array: np.ndarray) -> None:
    Path("scans").mkdir()
    for name in ("a.mhd", "b.raw", "c.nhdr", "d.vti"):
        assert run("convert", "a stack.npy", f"scans/{name}", "-q").exit_code == 0
    assert len(list(Path("scans").iterdir())) == 7
    assert run("encode", "scans", "-o", "coded/", *QUICK).output == ""
    found = sorted(path.name for path in Path("coded").iterdir())
    assert found == ["a.inrv", "b.inrv", "c.inrv", "d.inrv"]


def test_numbers_that_float32_rounds_are_told_with_a_cure(run: Run) -> None:
    np.save("wide.npy", np.full((4, 4, 4), 1 / 3) * np.arange(4))
    result = run("encode", "wide.npy", "--lossless")
    assert result.exit_code == 2 and "take a larger --max-error" in result.stderr
    assert run("encode", "wide.npy", "--max-error", "1e-6", "-q").exit_code == 0
