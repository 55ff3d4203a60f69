"""Sequences on the command line."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
import inrv.metrics
from inrv import files

from .conftest import Run

INSTANT = ("--effort", "instant", "--exact-below", "0")


@pytest.fixture
def shots(run: Run) -> None:
    """Frames 8 to 11 and 13 of a fog that moves."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 20)] * 3, indexing="ij")
    for number in (8, 9, 10, 11, 13):
        fog = np.exp(-6 * (x**2 + y**2 + (z - 0.1 * number + 1) ** 2))
        grid = inrv.sparse_grid(np.where(fog > 0.1, fog, 0).astype(np.float32), "density")
        files.write(f"fog.{number:04}.vdb", inrv.SparseVolume((grid,)))


def made(run: Run, *more: str) -> None:
    result = run("encode", "fog.####.vdb", "-o", "fog.inrv", *INSTANT, "--group", "2", *more)
    assert result.exit_code == 0, result.stderr


@pytest.mark.usefixtures("shots")
def test_a_pattern_becomes_one_file_and_comes_back_with_its_numbers(run: Run) -> None:
    result = run("encode", "fog.####.vdb", "-o", "fog.inrv", *INSTANT, "--fps", "24")
    assert result.exit_code == 0, result.stderr
    assert "frames" in result.stdout and "PSNR" in result.stdout
    assert "missing" in result.stdout and "has no frame 0012" in result.stderr
    volume = inrv.load("fog.inrv")
    assert list(volume.frames) == [8, 9, 10, 11, 13] and volume.frames.times[0] == 8 / 24
    assert volume.frames.timeline.pattern == "fog.####.vdb"
    result = run("decode", "fog.inrv", "-o", "back/out.%03d.vdb", "--frames", "9-10")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert sorted(path.name for path in Path("back").iterdir()) == ["out.009.vdb", "out.010.vdb"]
    before, after = files.read("fog.0010.vdb"), files.read("back/out.010.vdb")
    assert before.grids[0].topology.equal(after.grids[0].topology)
    assert np.abs(before.grids[0].values - after.grids[0].values).max() < 0.05
    shutil.copy("fog.inrv", "back/shot.inrv")
    result = run("decode", "back/shot.inrv")
    assert result.exit_code == 0 and "shot.inrv has no frame 12" in result.stderr
    assert Path("back/shot.0013.vdb").exists()


@pytest.mark.usefixtures("shots")
def test_where_frames_go(run: Run) -> None:
    made(run)
    for arguments, code, message in [
        (["-o", "one.vdb"], 2, "there are 5 frames: give a pattern"),
        (["-o", "one.vdb", "--frames", "12"], 2, "no frame 12"),
        (["-o", "one.vdb", "--frames", "1-7"], 2, "has none of the frames 1-7: it holds 5 frames"),
        (["-o", "range/", "--frames", "13,6-9"], 0, "fog.inrv has no frames 6-7"),
        (["-o", "one.vdb", "--frames", "x"], 2, "not of the form 60-64"),
        (["-o", "one.vdb", "--frames", "11"], 0, ""),
        (["-o", "folder/", "--frames", "8,13"], 0, ""),
        (["-o", "folder", "--frames", "8,13"], 4, "exists already"),
        (["-o", "folder", "--frames", "8,9", "--shard", "1/2"], 0, ""),
    ]:
        result = run("decode", "fog.inrv", *arguments)
        assert result.exit_code == code, (arguments, result.stderr)
        assert message in result.stderr
    for folder in ("folder", "range"):
        assert sorted(path.name for path in Path(folder).iterdir()) == [
            "fog.0008.vdb",
            "fog.0009.vdb",
            "fog.0013.vdb",
        ]
    shutil.copy("fog.inrv", "other.inrv")
    result = run("decode", "fog.inrv", "other.inrv", "-o", "many")
    assert result.exit_code == 2 and "is a sequence: decode it alone" in result.stderr


@pytest.mark.usefixtures("shots")
def test_a_second_run_resumes(run: Run) -> None:
    made(run, "--frames", "8-9")
    size = Path("fog.inrv").stat().st_size
    first = Path("fog.inrv").read_bytes()[100:size]
    made(run)
    assert list(inrv.load("fog.inrv").frames) == [8, 9, 10, 11, 13]
    assert Path("fog.inrv").read_bytes()[100:size] == first
    size = Path("fog.inrv").stat().st_size
    result = run("encode", "fog.####.vdb", "-o", "fog.inrv", *INSTANT)
    assert result.exit_code == 0 and "has all of these frames already" in result.stderr
    assert Path("fog.inrv").stat().st_size == size
    made(run, "--frames", "8-9", "--force")
    assert list(inrv.load("fog.inrv").frames) == [8, 9]
    result = run("encode", "fog.0013.vdb", "-o", "fog.inrv", *INSTANT)  # one that came late
    assert result.exit_code == 0 and list(inrv.load("fog.inrv").frames) == [8, 9, 13]
    result = run("encode", "fog.####.vdb", "-o", "fog.inrv", *INSTANT, "--psnr", "30")
    assert result.exit_code == 4 and "encoded with other options" in result.stderr
    shutil.copy("fog.0008.vdb", "fog.0000.vdb")
    inrv.encode("fog.0008.vdb", "volume.inrv")
    result = run("encode", "fog.####.vdb", "-o", "volume.inrv", *INSTANT)
    assert result.exit_code == 4 and "exists already" in result.stderr


@pytest.mark.usefixtures("shots")
def test_shares_are_joined_to_the_same_frames(run: Run) -> None:
    made(run)
    for number in range(3):
        made(run, "--shard", f"{number}/3")
    result = run("seq", "join", "fog.shard-*.inrv", "-o", "joined.inrv")
    assert result.exit_code == 0, result.stderr
    assert "5 frames from 8 to 13 in 3 groups" in result.stdout
    whole, joined = inrv.load("fog.inrv").frames, inrv.load("joined.inrv").frames
    assert joined.timeline == whole.timeline and joined.groups == whole.groups
    for number in whole:
        assert np.array_equal(
            np.asarray(whole[number]["density"]), np.asarray(joined[number]["density"])
        )


@pytest.mark.usefixtures("shots")
def test_frames_are_cut_listed_and_appended_without_being_coded(run: Run) -> None:
    made(run, "--fps", "24")
    result = run("seq", "cut", "fog.inrv", "--frames", "9-10", "-o", "cut.inrv")
    assert result.exit_code == 0 and "2 frames from 9 to 10 in 2 groups" in result.stdout
    whole, cut = inrv.load("fog.inrv").frames, inrv.load("cut.inrv").frames
    result = run("seq", "cut", "fog.inrv", "--frames", "9", "-o", "one.inrv")
    assert "one.inrv: frame 9 in 1 group, " in result.stdout
    for number in (9, 10):
        ends = np.asarray(whole[number]["density"]), np.asarray(cut[number]["density"])
        assert np.array_equal(*ends)
    assert 11 not in cut and cut.timeline.start == 9
    told = json.loads(run("seq", "list", "fog.inrv", "--json").stdout)
    assert [row["number"] for row in told["frames"]] == [8, 9, 10, 11, 13]
    assert [group["frames"] for group in told["groups"]] == [[8, 9], [10, 11], [13]]
    assert told["missing"] == [12]
    text = run("seq", "list", "fog.inrv").stdout
    assert len(text.splitlines()) == 6 and "0.333333 s" in text
    assert run("encode", "fog.0008.vdb", "-o", "take.0012.inrv", *INSTANT).exit_code == 0
    result = run("seq", "append", "cut.inrv", "take.0012.inrv")
    assert result.exit_code == 0, result.stderr
    assert "has no frame 11" in result.stderr
    grown = inrv.load("cut.inrv").frames
    assert list(grown) == [9, 10, 12] and grown[12].time == 0.5
    assert grown[12]["density"].entry == inrv.load("take.0012.inrv")["density"].entry
    result = run("seq", "append", "cut.inrv", "fog.inrv")
    assert result.exit_code == 2 and "frame 9 stands twice" in result.stderr
    assert list(inrv.load("cut.inrv").frames) == [9, 10, 12]
    result = run("seq", "list", "take.0012.inrv")
    assert result.exit_code == 2 and "holds one volume" in result.stderr


@pytest.mark.usefixtures("shots")
def test_info_sample_compare_and_verify_take_a_frame(run: Run) -> None:
    made(run, "--fps", "24", "--loop", "repeat")
    result = run("info", "fog.inrv")
    assert "has 5 frames: this is frame 8" in result.stderr
    for text in (
        "5 frames from 8 to 13, in 3 groups",
        "24 frames a second",
        "repeat",
        "frame 8, at",
    ):
        assert text in result.stdout
    told = json.loads(run("info", "fog.inrv", "--time", "0.42", "--json").stdout)
    assert told["frame"]["number"] == 10 and told["sequence"]["rate"] == [24, 1]
    Path("points.csv").write_text("x,y,z\n10,10,9\n")
    values = [
        run("sample", "fog.inrv", "--points", "points.csv", "--frame", str(number)).stdout
        for number in (8, 10)
    ]
    assert values[0] != values[1]
    result = run("compare", "fog.0010.vdb", "fog.inrv", "--frame", "10", "--min-psnr", "40")
    assert result.exit_code == 0, result.stderr
    assert run("compare", "fog.0010.vdb", "fog.inrv", "--min-psnr", "40").exit_code == 1
    result = run("info", "fog.inrv", "--frame", "9", "--time", "1")
    assert result.exit_code == 2 and "give one of them" in result.stderr
    assert "valid" in run("verify", "fog.inrv", "--decode").stdout


@pytest.mark.usefixtures("shots")
def test_sequences_are_compared_frame_by_frame(run: Run) -> None:
    made(run, "--frames", "8-11")
    result = run("compare", "fog.####.vdb", "fog.inrv")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:5]] == [
        [str(number), "density"] for number in (8, 9, 10, 11)
    ]
    for text in ("fog.####.vdb, 5 frames, ", "fog.inrv, 4 frames, ", "missing   frame 13"):
        assert text in result.stdout
    told = json.loads(run("compare", ".", "fog.inrv", "--json").stdout)
    assert [frame["frame"] for frame in told["frames"]] == [8, 9, 10, 11]
    assert (told["missing_frames"], told["unexpected_frames"]) == ([13], [])
    assert told["decoded_bytes"] == Path("fog.inrv").stat().st_size
    psnrs = {frame["frame"]: frame["grids"][0]["metrics"]["psnr"] for frame in told["frames"]}
    worst = min(psnrs, key=lambda number: psnrs[number])
    assert told["worst"] == {"frame": worst, "grid": "density", "psnr": psnrs[worst]}
    assert told["grids"][0]["mean_psnr"] == pytest.approx(sum(psnrs.values()) / 4)
    assert f"worst     frame {worst}, density: PSNR {psnrs[worst]:.2f} dB" in result.stdout
    one = json.loads(run("compare", "fog.####.vdb", "fog.inrv", "--frame", worst, "--json").stdout)
    assert one["grids"][0]["metrics"]["psnr"] == psnrs[worst]
    assert run("decode", "fog.inrv", "-o", "back/").exit_code == 0
    for decoded in ("back/fog.####.vdb", "back"):
        again = json.loads(run("compare", "fog.####.vdb", decoded, "--json").stdout)
        assert again["worst"] == told["worst"]
    result = run("compare", "fog.inrv", "back")
    assert "exact in 4 frames" in result.stdout and "worst" not in result.stdout


@pytest.mark.usefixtures("shots")
def test_what_fails_in_a_comparison_of_sequences_is_told_with_its_frame(run: Run) -> None:
    made(run, "--frames", "8-11")
    assert run("compare", "fog.000#.vdb", "fog.inrv", "--min-psnr", "40").exit_code == 0
    result = run("compare", "fog.####.vdb", "fog.inrv", "--min-psnr", "40")
    assert result.exit_code == 1 and "DECODED has no frame 13" in result.stderr
    result = run("compare", "fog.inrv", "fog.####.vdb", "--min-psnr", "90")
    assert result.exit_code == 1 and "unexpected  frame 13" in result.stdout
    assert "frame 11: grid 'density': PSNR" in result.stderr and "DECODED has" not in result.stderr
    grid = files.read("fog.0010.vdb").grids[0]
    grid.values[5] = np.nan
    files.write("fog.0010.vdb", inrv.SparseVolume((grid,)))
    result = run("compare", "fog.####.vdb", "fog.inrv")
    assert result.exit_code == 3 and "frame 10: grid 'density': original and" in result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()[1:4]] == ["8", "9", "11"]
    assert run("seq", "cut", "fog.inrv", "--frames", "8", "-o", "cut.inrv").exit_code == 0
    result = run("compare", "fog.001#.vdb", "cut.inrv")
    assert result.exit_code == 1
    assert "fog.001#.vdb has frames 0-1,3 and cut.inrv has frame 8" in result.stderr
    for arguments, message in [
        (["fog.####.vdb", "fog.0009.vdb"], "fog.####.vdb stands for 5 files: choose one with"),
        (["fog.####.vdb", "fog.inrv", "--time", "1"], "stands for 5 files: choose one with"),
        (["fog.####.vdb", "fog.inrv", "--frame", "12"], "there is no file of frame 12"),
        (["fog.####.vdb", "fog.inrv", "--figure", "x.png"], "are for one frame: give --frame"),
    ]:
        result = run("compare", *arguments)
        assert result.exit_code == 2 and message in result.stderr


@pytest.mark.usefixtures("shots")
def test_a_comparison_of_sequences_holds_one_frame_at_a_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(run)
    held: list[weakref.ref[Any]] = []
    compare_volumes = inrv.metrics.compare_volumes

    def watch(*volumes: inrv.SparseVolume) -> inrv.metrics.VolumeComparison:
        assert not any(volume() for volume in held)
        held.extend(map(weakref.ref, volumes))
        return compare_volumes(*volumes)

    monkeypatch.setattr(inrv.metrics, "compare_volumes", watch)
    result = run("compare", "fog.####.vdb", "fog.inrv")
    assert result.exit_code == 0 and len(held) == 10, result.stderr


def test_info_tells_of_grids_over_the_frames_of_their_group(run: Run) -> None:
    random = np.random.default_rng(1)
    options = inrv.EncodeOptions(effort="instant", exact_below=0, psnr=40)
    with inrv.SequenceWriter("two.inrv", options) as writer:
        for number in range(3):
            values = random.random((8 + number, 8, 8), dtype=np.float32)
            grids = {"density": values, "wind": np.stack([values, -values, values], 3)}
            if number == 2:
                grids["wind"] = np.zeros_like(grids["wind"])
            writer.add(None, grids, number=number)
    text = run("info", "two.inrv").stdout
    lines = [line.split("  ") for line in text.splitlines()]
    for name, voxels in (("density", "512 to 640"), ("wind", "0 to 576")):
        (row,) = (line for line in lines if line[0] == name)
        cells = [cell.strip() for cell in row if cell]
        assert cells[1:3] == ["3", voxels] and cells[4].startswith("40."), row
        assert cells[4].endswith("exact in 1 frame") == (name == "wind")
    field = next(line for line in text.splitlines() if line.startswith("field"))
    assert "9 channels, steps as shares of the range: density 0.0" in field and len(field) < 250
    codes = next(line.split() for line in text.splitlines() if line.startswith("CODE"))
    told = json.loads(run("info", "two.inrv", "--json").stdout)
    stored = [chunk["stored"] for chunk in told["chunks"] if chunk["type"] == "CODE"]
    assert codes[2:4] == [str(len(stored)), f"{sum(stored):,}"]
    assert told["group"]["frames"] == [0, 1, 2] and told["group"]["cut_off"] == []
    density, wind = told["group"]["grids"]
    assert [frame["active_voxels"] for frame in density["frames"]] == [512, 576, 640]
    assert [len(frame["psnr"]) for frame in wind["frames"]] == [3, 3, 0]
    assert run("seq", "cut", "two.inrv", "--frames", "1", "-o", "cut.inrv").exit_code == 0
    text = run("info", "cut.inrv").stdout
    assert "holds     frame 1, in 1 group" in text
    assert "cut off   frames 0,2, whose bytes are still there" in text


@pytest.mark.usefixtures("shots")
def test_what_is_for_a_sequence_is_for_no_volume(run: Run) -> None:
    result = run("encode", "fog.0008.vdb", "-o", "fogs/", "--fps", "24")
    assert result.exit_code == 2 and "--fps is for a sequence" in result.stderr
    assert run("encode", "fog.0008.vdb", "-o", "fog.inrv", *INSTANT).exit_code == 0
    result = run("decode", "fog.inrv", "-o", "x.vdb", "--frames", "1")
    assert result.exit_code == 2 and "--frames is for a sequence" in result.stderr
    shutil.copy("fog.0008.vdb", "fog.00008.vdb")
    result = run("encode", "fog.00008.vdb", "fog.0008.vdb", "-o", "twice.inrv", *INSTANT)
    assert result.exit_code == 2 and "would both be frame 8" in result.stderr


@pytest.mark.usefixtures("shots")
def test_an_output_may_be_one_of_its_inputs(run: Run) -> None:
    made(run, "--frames", "8-11")
    before = {number: np.asarray(frame["density"]) for number, frame in frames_at("fog.inrv")}
    result = run("seq", "cut", "fog.inrv", "--frames", "10-11", "-o", "late.inrv")
    assert result.exit_code == 0, result.stderr
    result = run("seq", "cut", "fog.inrv", "--frames", "8-9", "-o", "fog.inrv", "--force")
    assert result.exit_code == 0, result.stderr
    result = run("seq", "join", "fog.inrv", "late.inrv", "-o", "late.inrv", "--force")
    assert result.exit_code == 0, result.stderr
    after = {number: np.asarray(frame["density"]) for number, frame in frames_at("late.inrv")}
    assert list(after) == [8, 9, 10, 11]
    assert all(np.array_equal(before[number], after[number]) for number in before)
    assert run("encode", "fog.0013.vdb", "-o", "late.inrv", *INSTANT).exit_code == 0
    assert list(inrv.load("late.inrv").frames) == [8, 9, 10, 11, 13]


def frames_at(path: str) -> Any:
    return inrv.load(path).frames.items()


@pytest.mark.usefixtures("shots")
def test_a_frame_that_cannot_be_read_is_left_out(run: Run) -> None:
    Path("fog.0010.vdb").write_bytes(b"no volume")
    result = run("encode", "fog.####.vdb", "-o", "fog.inrv", *INSTANT, "--group", "2", "--json")
    assert result.exit_code == 3 and "error: fog.0010.vdb: " in result.stderr
    told = json.loads(result.stdout)
    assert told["missing"] == [10, 12] and told["failed"][0]["input"] == "fog.0010.vdb"
    assert list(inrv.load("fog.inrv").frames) == [8, 9, 11, 13]


@pytest.mark.usefixtures("shots")
def test_what_cannot_be_done_with_a_sequence_is_told(run: Run) -> None:
    made(run, "--fps", "24")
    data = bytearray(Path("fog.inrv").read_bytes())
    data[400] ^= 1
    Path("damaged.inrv").write_bytes(data)
    Path("cut.inrv").write_bytes(data[:1000])
    made(run, "--fps", "48", "--force", "--frames", "13")
    shutil.copy("fog.inrv", "quick.inrv")
    made(run, "--fps", "24", "--force", "--frames", "8-11")
    for arguments, code, message in [
        (["decode", "fog.inrv", "--frames", "1-99999999"], 2, "more than 10,000,000 frames"),
        (["decode", "cut.inrv", "-o", "x.####.vdb"], 3, "in 1,000 bytes [Q3]"),
        (["seq", "cut", "damaged.inrv", "--frames", "8-9", "-o", "x.inrv"], 3, "[C"),
        (["seq", "join", "fog.inrv", "fog.inrv", "-o", "x.inrv"], 2, "frame 8 stands twice"),
        (["seq", "join", "fog.inrv", "quick.inrv", "-o", "x.inrv"], 2, "has the time 0.458333"),
        (["encode", "fog.####.vdb", "-o", "x.####.inrv", "--fps", "9"], 2, "--fps is for a"),
        (["encode", "fog.####.vdb", "-o", "fog.inrv", *INSTANT, "--loop", "repeat"], 2, "loop"),
    ]:
        result = run(*arguments)
        assert result.exit_code == code, (arguments, result.stderr)
        assert message in result.stderr
        assert not Path("x.inrv").exists()


@pytest.mark.usefixtures("shots")
def test_a_frame_in_front_of_all_others_tells_what_is_missing(run: Run) -> None:
    made(run, "--frames", "10-11", "--fps", "24")
    made(run, "--frames", "8")
    assert inrv.load("fog.inrv").frames.missing == [9]
