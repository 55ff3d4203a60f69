"""`inrv encode` and `inrv decode`: outputs, patterns, refusals, reports."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv.files.vdb import read_volume

from .conftest import Run

QUICK = ("--exact-below", "0", "--epochs", "1", "--device", "cpu")


def frames(library: Path, *names: str) -> None:
    for name in names:
        shutil.copy(library / "scene.vdb", name)


def test_the_output_lies_beside_the_input_and_the_summary_counts_its_bytes(
    run: Run, library: Path
) -> None:
    frames(library, "scene.vdb")
    result = run("encode", "scene.vdb", *QUICK)
    assert result.exit_code == 0, result.stderr
    written = Path("scene.inrv").stat().st_size
    assert f"{written:,} bytes" in result.stdout and "scene.vdb -> scene.inrv" in result.stdout
    for word in (
        "x smaller",
        "bits per active voxel",
        "weights",
        "topology",
        "PSNR",
        "active leaf voxels",
        "epochs",
        "cpu",
    ):
        assert word in result.stdout
    assert result.stdout.count("\n") < 24
    assert list(inrv.load("scene.inrv")) == ["density", "velocity", "flame"]


def test_a_decoded_file_holds_the_same_grids(run: Run, library: Path) -> None:
    result = run("decode", library / "scene.inrv", "-o", "back.vdb", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert (
        "3 grids" in result.stdout and f"{Path('back.vdb').stat().st_size:,} bytes" in result.stdout
    )
    original, decoded = read_volume(library / "scene.vdb"), read_volume("back.vdb")
    for before, after in zip(original.grids, decoded.grids, strict=True):
        assert (after.name, after.transform) == (before.name, before.transform)
        assert after.topology.equal(before.topology)


def test_existing_outputs_are_kept_unless_forced(run: Run, library: Path) -> None:
    for arguments in (
        ("encode", library / "scene.vdb", *QUICK),
        ("decode", library / "scene.inrv"),
    ):
        Path("kept").write_bytes(b"precious")
        refused = run(*arguments, "-o", "kept")
        assert (
            refused.exit_code == 4
            and "kept exists already" in refused.stderr
            and "--force" in refused.stderr
        )
        assert Path("kept").read_bytes() == b"precious"
        assert run(*arguments, "-o", "kept", "--force").exit_code == 0
        assert Path("kept").read_bytes() != b"precious"


def test_a_dash_writes_the_file_to_stdout(run: Run, library: Path) -> None:
    encoded = run("encode", library / "scene.vdb", "-o", "-", *QUICK)
    assert encoded.exit_code == 0 and "bits per active voxel" in encoded.stderr
    assert len(inrv.load(encoded.stdout_bytes).grids) == 3
    decoded = run("decode", library / "scene.inrv", "-o", "-")
    Path("piped.vdb").write_bytes(decoded.stdout_bytes)
    assert [grid.name for grid in read_volume("piped.vdb").grids] == [
        "density",
        "velocity",
        "flame",
    ]


def test_a_pattern_takes_the_frames_with_as_many_digits(run: Run, library: Path) -> None:
    frames(
        library, "fire.0002.vdb", "fire.0010.vdb", "fire.10.vdb", "fire.0001x.vdb", "fire.00100.vdb"
    )
    result = run("encode", "fire.####.vdb", "-o", "out/fire.###.inrv", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert sorted(os.listdir("out")) == ["fire.002.inrv", "fire.010.inrv"]
    assert run("decode", "out/fire.###.inrv", "-q").stdout == ""
    assert sorted(os.listdir("out")) == [
        "fire.002.inrv",
        "fire.002.vdb",
        "fire.010.inrv",
        "fire.010.vdb",
    ]


def test_many_inputs_go_into_a_folder(run: Run, library: Path) -> None:
    frames(library, "a.vdb", "b.vdb")
    assert run("encode", "a.vdb", "b.vdb", "-o", "coded", *QUICK).exit_code == 0
    assert sorted(os.listdir("coded")) == ["a.inrv", "b.inrv"]
    assert run("decode", "coded/a.inrv", "-o", "decoded/").exit_code == 0
    assert os.listdir("decoded") == ["a.vdb"]


def test_one_bad_file_does_not_keep_the_others_from_being_encoded(run: Run, library: Path) -> None:
    frames(library, "a.vdb", "c.vdb")
    Path("b.vdb").write_bytes(b"no volume")
    result = run("encode", "a.vdb", "b.vdb", "missing.vdb", "c.vdb", "--json", *QUICK)
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert [entry["input"] for entry in told["files"]] == ["a.vdb", "c.vdb"]
    assert [entry["input"] for entry in told["failed"]] == ["b.vdb", "missing.vdb"]
    assert result.stderr.count("inrv: error:") == 2 == len(result.stderr.splitlines())
    assert Path("a.inrv").exists() and Path("c.inrv").exists() and not Path("b.inrv").exists()


def test_errors_name_the_file(run: Run, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise inrv.NonFiniteError("grid 0 'density': 1 active voxel holds NaN")

    monkeypatch.setattr("inrv.encoding.api.encoded", fail)
    frames(library, "nan.vdb")
    result = run("encode", "nan.vdb")
    assert result.exit_code == 3 and result.stderr.startswith(
        "inrv: error: nan.vdb: grid 0 'density'"
    )


def test_the_json_report_adds_up(run: Run, library: Path) -> None:
    result = run("encode", library / "scene.vdb", "-o", "scene.inrv", "--json", *QUICK)
    (entry,) = json.loads(result.stdout)["files"]
    assert (
        entry["bytes_out"]
        == Path("scene.inrv").stat().st_size
        == sum(entry["chunk_bytes"].values())
    )
    assert entry["ratio"] == entry["bytes_in"] / entry["bytes_out"]
    assert [grid["name"] for grid in entry["grids"]] == ["density", "velocity", "flame"]
    voxels = sum(grid["active_voxels"] for grid in entry["grids"])
    assert entry["bits_per_active_voxel"] == pytest.approx(8 * entry["bytes_out"] / voxels)
    assert entry["grids"][2]["psnr"] is None and entry["grids"][0]["psnr"] > 5


def test_options_reach_the_encoder(run: Run, library: Path) -> None:
    options = (
        "--grid",
        "velocity",
        "--grid",
        "0",
        "--selection",
        "avm",
        "--dilation",
        "inf",
        "--seed",
        "5",
        "--values-per-weight",
        "20",
    )
    assert run("encode", library / "scene.vdb", "-o", "s.inrv", *options, *QUICK).exit_code == 0
    volume = inrv.load("s.inrv")
    assert sorted(volume) == ["density", "velocity"]
    told = volume.manifest.encoding["options"]
    assert (
        told["selection"],
        told["dilation"],
        told["seed"],
        told["values_per_weight"],
        told["epochs"],
    ) == (
        "avm",
        "inf",
        5,
        20,
        1,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("encode",), "Missing argument"),
        (("encode", "a.vdb", "--dilation", "-1"), "neither a whole number of voxels nor 'inf'"),
        (("encode", "a.vdb", "--ratio", "0"), "ratio"),
        (("encode", "a.vdb", "--preset", "best"), "best"),
        (("encode", "a.vdb", "b.vdb", "-o", "-"), "one input"),
        (("encode", "a.vdb", "-o", "-", "--json"), "stdout"),
        (("encode", "a.vdb", "x/a.vdb", "-o", "out"), "both be written to"),
        (("encode", "a.vdb", "b.vdb", "-o", "a.vdb"), "is a file"),
        (("encode", "a.vdb", "-o", "./a.vdb", "--force"), "over itself"),
        (("encode", "a.vdb", "-o", "f.##.inrv"), "no frame number"),
        (("encode", "a#.b#.vdb"), "more than one run of #"),
        (("encode", "a.vdb", "--device", "abacus"), "abacus"),
        (("encode", "a.vdb", "--dilation", "x"), "neither a whole number of voxels nor 'inf'"),
        (("encode", "a.vdb", "--dilation", "²"), "neither a whole number of voxels nor 'inf'"),
        (("encode", "a.vdb", "--seed", "-1"), "--seed -1 must be"),
        (("encode", "a.vdb", "--psnr", "1e300"), "take --lossless"),
        (("encode", "a.vdb", "--ratio", "1e300"), "bytes"),
        (("encode", "a.vdb", "--epochs", "1", "--device", "meta"), "meta"),
        (("encode", "a.vdb", "--shard", f"0/{'9' * 5000}"), "from 0 to N - 1"),
        (("encode", "a.vdb", "-o", f"%0{'9' * 5000}d.inrv"), "more digits"),
        (("decode", "a.inrv", "--limit", f"leaves={'9' * 5000}"), "is not NAME=N"),
        (("compare", "a.vdb", "a.vdb", "--min-psnr", "nan"), "number of dB"),
        (("encode", "a.vdb", "--size", "9" * 30), "must be at most 9223372036854775807"),
        (("encode", "a.vdb", "-o", "https://u:p@h/a.inrv"), "output https://h/a.inrv is a URL"),
        (("encode", "a.vdb", "-o", "s3://h/####.inrv"), "output s3://h/####.inrv is a URL"),
        (("decode", "a.inrv", "-o", "s3://h/a.vdb"), "output s3://h/a.vdb is a URL"),
        (("compare", "a.vdb", "a.vdb", "--figure", "s3://h/a.png"), "s3://h/a.png is a URL"),
        (("sample", "a.vdb", "--points", "a.vdb", "-o", "s3://h/a.csv"), "s3://h/a.csv is a URL"),
        (("encode", "a.vdb", "--nope"), "--nope"),
        (("encode", "a.vdb", "--grid", "speed"), "speed"),
        (("encode", "a.vdb", "--grid", "9" * 5000), "no grid '999"),
    ],
)
def test_command_lines_that_make_no_sense(
    run: Run, library: Path, arguments: tuple[str, ...], words: str
) -> None:
    frames(library, "a.vdb")
    result = run(*arguments)
    assert result.exit_code in ((2, 3) if "speed" in arguments else (2,)) and words in result.stderr
    assert result.stderr.startswith("inrv: error: ") and len(result.stderr.splitlines()) == 1
    assert os.listdir() == ["a.vdb"]


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_inputs_that_cannot_be_read(run: Run, command: str) -> None:
    Path("folder").mkdir()
    Path("noise.bin").write_bytes(os.urandom(999))
    for name in ("missing", "folder", "noise.bin", "none.####.vdb"):
        result = run(command, name, "-o", "out")
        assert (
            result.exit_code == 3 and name in result.stderr and len(result.stderr.splitlines()) == 1
        )


def test_outputs_that_cannot_be_written(run: Run, library: Path) -> None:
    Path("file").touch()
    Path("folder").mkdir()
    result = run("encode", library / "scene.vdb", "-o", "file/x.inrv", *QUICK)
    assert result.exit_code == 4 and "file/x.inrv cannot be written" in result.stderr
    result = run("decode", library / "scene.inrv", "-o", "file/x.vdb")
    assert result.exit_code == 4 and "file/x.vdb cannot be written" in result.stderr
    Path("folder/scene.vdb").mkdir()
    assert run("decode", library / "scene.inrv", "-o", "folder", "--force").exit_code == 4


def test_an_interrupted_encode_leaves_nothing(
    run: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("inrv.encoding.api.encoded", interrupt)
    result = run("encode", library / "scene.vdb", "-o", "scene.inrv")
    assert result.exit_code == 130 and result.stderr == "inrv: interrupted\n"
    assert os.listdir() == []


def test_missing_values_can_be_made_inactive(run: Run) -> None:
    from inrv.files.vdb import write_volume

    array = np.random.default_rng(0).random((9, 9, 9)).astype(np.float32)
    array[:2] = np.nan
    write_volume("holes.vdb", inrv.SparseVolume((inrv.sparse_grid(array, "sea"),)))
    refused = run("encode", "holes.vdb")
    assert refused.exit_code == 3 and "--nonfinite inactive" in refused.stderr
    result = run("encode", "holes.vdb", "--nonfinite", "inactive")
    assert result.exit_code == 0 and "162 active voxels with NaN or infinity" in result.stdout
    assert "made inactive" in result.stdout and "567 active voxels" in result.stdout
