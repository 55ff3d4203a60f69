"""`inrv convert`, and .nvdb files where .vdb files go."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv import files
from inrv.grids import sparse_grid
from testing.vdb.referee import HandTree, vdb_file

from .conftest import Run, scene


@pytest.fixture
def here(run: Run, fixtures: Path) -> Path:
    """The working directory, with torus.vdb and torus.inrv."""
    shutil.copy(fixtures / "torus.vdb", "torus.vdb")
    inrv.encode("torus.vdb", "torus.inrv", inrv.EncodeOptions(effort="instant", lossless=True))
    return Path.cwd()


def test_there_and_back_again_is_the_same(run: Run, here: Path) -> None:
    result = run("convert", "torus.vdb", "torus.nvdb")
    assert result.exit_code == 0 and result.stdout.startswith("torus.vdb -> torus.nvdb\n")
    assert "1 grid read, 76,736 active voxels" in result.stdout
    assert "inrv: torus.nvdb: metadata of grid 'torus' are left out: creator" in result.stderr
    assert run("convert", "torus.nvdb", "back.vdb", "-q").output == ""
    (mine,), (theirs,) = files.read("torus.vdb").grids, files.read("back.vdb").grids
    assert mine.same_voxels(theirs) and mine.transform == theirs.transform


def test_inrv_files_are_decoded_and_encoded(run: Run, here: Path) -> None:
    assert run("convert", "torus.inrv", "a.nvdb").exit_code == 0
    assert run("decode", "torus.inrv", "-o", "b.nvdb", "-q").output == ""
    assert Path("a.nvdb").read_bytes() == Path("b.nvdb").read_bytes()
    assert run("encode", "a.nvdb", "--lossless", "-q").exit_code == 0
    (found,) = inrv.load("a.inrv").to_sparse().grids
    assert found.same_voxels(files.read("torus.vdb").grids[0])
    assert run("convert", "a.nvdb", "a.inrv").exit_code == 2


def test_folders_patterns_and_types_by_name(run: Run, here: Path) -> None:
    for number in (7, 8):
        shutil.copy("torus.vdb", f"fire.{number:04}.vdb")
    assert run("convert", "fire.####.vdb", "out.@@@.nvdb", "-q").exit_code == 0
    assert sorted(path.name for path in here.glob("out.*")) == ["out.007.nvdb", "out.008.nvdb"]
    assert run("convert", "fire.*.vdb", "folder/", "--to", "nvdb").exit_code == 0
    assert len(list((here / "folder").iterdir())) == 2
    assert run("encode", "folder", "-o", "coded/", "--effort", "instant", "-q").exit_code == 0
    assert len(list((here / "coded").glob("*.inrv"))) == 2
    result = run("convert", "torus.vdb", "-", "--to", ".nvdb")
    assert result.exit_code == 0 and result.stdout_bytes.startswith(b"NanoVDB0")
    assert "inrv: stdout: metadata of grid 'torus' are left out: creator" in result.stderr
    assert run("convert", "torus.vdb", "out.007.nvdb").exit_code == 4
    assert run("convert", "torus.vdb", "out.007.nvdb", "--force").exit_code == 0


def test_half_and_uncompressed(run: Run, here: Path) -> None:
    sizes = []
    for name, options in (("a", []), ("b", ["--half"]), ("c", ["--uncompressed"])):
        assert run("decode", "torus.inrv", "-o", f"{name}.nvdb", *options).exit_code == 0
        assert run("convert", "torus.vdb", f"{name}{name}.nvdb", *options).exit_code == 0
        sizes.append(Path(f"{name}.nvdb").stat().st_size)
        assert Path(f"{name}.nvdb").read_bytes() == Path(f"{name}{name}.nvdb").read_bytes()
    assert sizes[1] < sizes[0] < sizes[2]


def test_what_is_lost_is_told_and_what_cannot_be_done_leaves_nothing(run: Run) -> None:
    data = vdb_file(HandTree("i").grid("ids"), HandTree("d").grid("wide"))
    Path("other.vdb").write_bytes(data)
    result = run("convert", "other.vdb", "none.nvdb")
    assert result.exit_code == 4 and "grid 'wide' has double values" in result.stderr
    result = run("convert", "other.vdb", "none.nvdb", "--doubles", "float")
    assert result.exit_code == 0, result.stderr
    assert "inrv: none.nvdb: grid 'ids' is left out: int32 values" in result.stderr
    assert [grid.name for grid in files.read("none.nvdb").grids] == ["wide"]
    result = run("convert", "other.vdb", "same.vdb")
    assert result.exit_code == 0 and "left out" not in result.stderr
    assert "2 grids read" in result.stdout
    Path("cut.nvdb").write_bytes(Path("none.nvdb").read_bytes()[:-9])
    result = run("convert", "cut.nvdb", "other.vdb", "new.vdb")
    assert result.exit_code == 2 and "there are 2 inputs" in result.stderr
    assert run("convert", "cut.nvdb", "new.vdb").exit_code == 3
    assert not Path("new.vdb").exists()
    result = run("convert", "cut.nvdb", "other.vdb", "many/", "--to", "vdb")
    assert result.exit_code == 3 and "inrv: error: cut.nvdb: ends at byte" in result.stderr
    assert [path.name for path in Path("many").iterdir()] == ["other.vdb"]


def test_passthrough_grids_of_an_inrv_file_are_told_too(run: Run) -> None:
    data = vdb_file(HandTree("i").grid("ids"), HandTree("f").grid("fog"))
    Path("mixed.inrv").write_bytes(inrv.encode_bytes(data, inrv.EncodeOptions(effort="instant"))[0])
    result = run("decode", "mixed.inrv", "-o", "out.nvdb")
    assert result.exit_code == 0
    assert "out.nvdb: grid 'ids' is left out" in result.stderr
    assert "passed through" not in result.stdout


def test_some_grids_alone(run: Run) -> None:
    files.write("scene.vdb", scene())
    assert run("convert", "scene.vdb", "two.nvdb", "--grid", "flame", "--grid", "0").exit_code == 0
    assert [grid.name for grid in files.read("two.nvdb").grids] == ["flame", "density"]
    result = run("convert", "scene.vdb", "no.nvdb", "--grid", "nobody")
    assert result.exit_code == 2 and "no grid 'nobody'" in result.stderr


def test_outputs_of_no_known_type_are_mistakes(run: Run, here: Path) -> None:
    for arguments, told in (
        (["out.abc"], "give --to; known are .vdb, .nvdb"),
        (["out/"], "out/ does not tell the type of the outputs: give --to"),
        (["out.inrv"], "`inrv encode` makes .inrv files"),
        (["out/", "--to", ".abc"], "--to .abc is of no known file type"),
        (["torus.inrv", "out.nvdb"], "there are 2 inputs: OUT is a pattern"),
        (["torus.vdb", "--force"], "would be written over itself"),
    ):
        result = run("convert", "torus.vdb", *arguments)
        assert result.exit_code == 2 and told in result.stderr, result.stderr


def test_a_sequence_is_for_decode(run: Run) -> None:
    smoke = sparse_grid(np.random.default_rng(0).random((9, 9, 9)), "smoke")
    with inrv.SequenceWriter("run.inrv", inrv.EncodeOptions(effort="instant"), fps=24) as writer:
        for number in range(2):
            writer.add(number / 24, [smoke])
    result = run("convert", "run.inrv", "run.nvdb")
    assert result.exit_code == 2 and "is a sequence: `inrv decode` writes" in result.stderr
    assert run("decode", "run.inrv", "-o", "run.####.nvdb").exit_code == 0
    assert files.read("run.0001.nvdb").grids[0].topology.equal(smoke.topology)
