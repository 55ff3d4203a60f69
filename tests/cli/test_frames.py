"""Which files an input stands for, in which order, what is said of others, and outputs' names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from inrv_cli.failure import Failure
from inrv_cli.files import find_inputs, job_list, share
from inrv_cli.frames import FramePattern, expand

from .conftest import Run

PATTERNS = ["fx.####.vdb", "fx.@@@@.vdb", "fx.%04d.vdb", "fx.$F4.vdb"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def files(*inputs: str) -> list[str]:
    return [str(path) for path, _ in expand(inputs, (".vdb",)).files]


def outputs(inputs: Sequence[str], output: str | None) -> list[str]:
    return [
        job.output
        for job in job_list(inputs, find_inputs(inputs, output, (".vdb",)), output, ".inrv")[0]
    ]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_frames_beyond_the_padding_negative_ones_and_subframes_are_frames_in_their_order(
    folder: Path, pattern: str
) -> None:
    ordered = [
        "-0010",
        "-002",
        "-001.5",
        "-001",
        "0000",
        "0001",
        "0001.25",
        "0001.5",
        "0002",
        "9999",
        "10000",
        "123456",
    ]
    touch(
        *(f"fx.{number}.vdb" for number in ordered),
        "fx.vdb",
        "fx..vdb",
        "fx.0001.inrv",
        "fy.0001.vdb",
        "fx.0001.vdb.gz",
    )
    found = expand([pattern], (".vdb",))
    assert found.files == [(Path(f"fx.{number}.vdb"), number) for number in ordered]
    assert found.remarks == [f"{pattern} has 9 frames from -10 to 123456: 123,458 are missing"]


@pytest.mark.parametrize(
    ("pattern", "taken", "left_out"),
    [
        ("fx.####.vdb", ["0007", "12345"], ["007", "7", "00007", "-7", "0.5"]),
        ("fx.#.vdb", ["7", "10", "-3", "0", "2.5"], ["007", "00", "-03"]),
        ("fx.%d.vdb", ["7", "10", "-3"], ["07"]),
        ("fx.$F.vdb", ["7", "10"], ["07"]),
        ("fx.@.vdb", ["7", "10"], ["07"]),
        ("fx_###_v2.vdb", ["007", "1000"], ["7", "0007"]),
        ("####.vdb", ["0007", "-007"], ["7"]),
        ("render@2x.##.vdb", ["07"], ["007"]),
        ("[fx] (1)+.####.vdb", ["0007"], ["7"]),
    ],
)
def test_files_whose_numbers_are_padded_otherwise_are_left_out_and_named(
    folder: Path, pattern: str, taken: list[str], left_out: list[str]
) -> None:
    parsed = FramePattern.parse(pattern)
    assert parsed is not None
    touch(*(f"{parsed.before}{number}{parsed.after}" for number in [*taken, *left_out]))
    found = expand([pattern], (".vdb",))
    assert sorted(number or "" for _, number in found.files) == sorted(taken)
    remark = found.remarks[0]
    assert (
        remark.startswith(f"{pattern} leaves out {parsed.before}")
        and f"have {parsed.width} digits" in remark
    )
    assert (f"and {len(left_out) - 3} more" in remark) == (len(left_out) > 3)


def test_missing_frames_are_named(folder: Path) -> None:
    touch(*(f"fx.{number:04d}.vdb" for number in (-3, 1, 3, 5, 7)), "fx.0003.5.vdb")
    assert expand(["fx.####.vdb"], (".vdb",)).remarks == [
        "fx.####.vdb has no frames -002-0000,0002-0006x2"
    ]
    touch("fx.20260101.vdb")
    assert expand(["fx.####.vdb"], (".vdb",)).remarks == [
        "fx.####.vdb has 6 frames from -3 to 20260101: 20,260,099 are missing"
    ]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_that_nothing_matches_names_what_looks_like_its_frames(
    folder: Path, pattern: str
) -> None:
    with pytest.raises(Failure, match=r"no file matches fx\.[^:]*vdb$"):
        expand([pattern], (".vdb",))
    touch("fx.1.vdb", "fx.2.vdb")
    with pytest.raises(
        Failure, match=r"no file matches fx\..*leaves out fx\.1\.vdb, fx\.2\.vdb: .*4 digits"
    ):
        expand([pattern], (".vdb",))


def test_a_glob_stands_for_every_file_of_the_kind_in_the_order_of_its_numbers(folder: Path) -> None:
    touch(
        "a/fx-10.vdb",
        "a/fx-9.vdb",
        "a/fx.-1.vdb",
        "a/fx.-20.vdb",
        "a/fx.3.VDB",
        "a/fx.2.inrv",
        "b/fx.1.vdb",
        "a/._fx.1.vdb",
    )
    assert files("*/*") == [
        "a/fx-9.vdb",
        "a/fx-10.vdb",
        "a/fx.-20.vdb",
        "a/fx.-1.vdb",
        "a/fx.3.VDB",
        "b/fx.1.vdb",
    ]
    assert files("a/fx-?.vdb") == ["a/fx-9.vdb"] and files("[b]/**") == ["b/fx.1.vdb"]
    with pytest.raises(Failure, match=r"no \.vdb file matches c/\*"):
        files("c/*")


def test_a_folder_stands_for_every_file_of_the_kind_in_it(folder: Path) -> None:
    touch(
        "cache/fx.10.vdb",
        "cache/fx.9.vdb",
        "cache/notes.txt",
        "cache/deeper/fx.1.vdb",
        "cache/.fx.8.vdb",
    )
    Path("cache/folder.vdb").mkdir()
    assert files("cache") == files("cache/") == ["cache/fx.9.vdb", "cache/fx.10.vdb"]
    with pytest.raises(Failure, match=r"^cache/folder\.vdb holds no \.vdb file$"):
        files("cache/folder.vdb")


def test_gaps_are_named_in_folders_and_globs_where_the_numbers_look_like_frames(
    folder: Path,
) -> None:
    touch(
        *(f"cache/fx.{number:04d}.vdb" for number in (1, 2, 3, 5)),
        "cache/cloud_01.vdb",
        "cache/cloud_17.vdb",
        "cache/pig.vdb",
    )
    touch(*(f"cache/{number}.vdb" for number in (8, 9, 11)))
    for text in ("cache", "cache/*"):
        assert expand([text], (".vdb",)).remarks == [
            "cache/#.vdb has no frame 10",
            "cache/fx.####.vdb has no frame 0004",
        ]


def test_names_that_exist_are_themselves(folder: Path) -> None:
    touch("fx.####.vdb", "fx.0001.vdb", "$F4.vdb", "a*.vdb", "ab.vdb", "me@home.vdb")
    for name in ("fx.####.vdb", "$F4.vdb", "a*.vdb", "me@home.vdb", "missing.vdb", "you@home.vdb"):
        assert files(name) == [name]


@pytest.mark.parametrize("name", ["a#.b#.vdb", "a#.%d.vdb", "$F_%04d", "@@_@.vdb"])
def test_a_pattern_has_one_place_for_a_number(folder: Path, name: str) -> None:
    with pytest.raises(click.UsageError, match="more than one run of #"):
        files(name)


def test_outputs_keep_the_number_as_it_is_written(folder: Path) -> None:
    numbers = ["-002", "0001", "0001.25", "10000"]
    touch(*(f"fx.{number}.vdb" for number in numbers))
    assert outputs(["fx.$F4.vdb"], None) == [f"fx.{number}.inrv" for number in numbers]
    assert outputs(["fx.*.vdb"], "out/") == [f"out/fx.{number}.inrv" for number in numbers]
    for pattern in ("y_####.inrv", "y_%04d.inrv", "y_$F4.inrv", "y_@@@@.inrv"):
        assert outputs(["fx.####.vdb"], f"out/{pattern}") == [
            f"out/y_{number}.inrv" for number in numbers
        ]
    assert outputs(["fx.####.vdb"], "#.inrv") == ["-2.inrv", "1.inrv", "1.25.inrv", "10000.inrv"]
    assert outputs(["fx.####.vdb"], "%06d.inrv") == [
        "-00002.inrv",
        "000001.inrv",
        "000001.25.inrv",
        "010000.inrv",
    ]
    touch("-003.vdb", "take-004.vdb", "v2.0005.vdb")
    assert outputs(["./-003.vdb", "take-004.vdb", "v2.0005.vdb"], "####.inrv") == [
        "-003.inrv",
        "0004.inrv",
        "0005.inrv",
    ]


def test_a_number_that_may_be_a_subframe_is_not_guessed(folder: Path) -> None:
    touch("fx.0001.25.vdb")
    with pytest.raises(
        click.UsageError, match=r"fx\.0001\.25\.vdb may be frame 25 or a subframe: .*####"
    ):
        outputs(["*.vdb"], "####.inrv")
    assert outputs(["*.vdb"], "out/") == ["out/fx.0001.25.inrv"]


def test_the_outputs_of_a_folder_go_into_a_folder_even_of_one_file(folder: Path) -> None:
    touch("cache/fx.1.vdb")
    assert outputs(["cache"], "out") == ["out/fx.1.inrv"] and outputs(
        ["cache/fx.1.vdb"], "out"
    ) == ["out"]


@pytest.mark.parametrize("text", [*PATTERNS, "fx.*.vdb", "."])
def test_shares_of_any_pattern_make_up_the_whole(folder: Path, text: str) -> None:
    touch(*(f"fx.{number:04d}.vdb" for number in range(9998, 10003)), "fx.-001.vdb")
    jobs, _ = job_list([text], find_inputs([text], "out", (".vdb",)), "out", ".inrv")
    parts = [share(jobs, (number, 4), False)[0] for number in range(4)]
    assert sorted(job.output for part in parts for job in part) == sorted(
        job.output for job in jobs
    )
    assert [len(part) for part in parts] == [2, 2, 1, 1] and jobs[0].output == "out/fx.-001.inrv"


def test_what_is_left_out_and_missing_is_told_on_stderr_unless_quiet(
    run: Run, library: Path
) -> None:
    for name in ("fx.0001.inrv", "fx.0003.inrv", "fx.7.inrv"):
        shutil.copy(library / "scene.inrv", name)
    result = run("decode", "fx.$F4.inrv", "-o", "out/$F4.vdb")
    assert result.exit_code == 0 and sorted(os.listdir("out")) == ["0001.vdb", "0003.vdb"]
    assert result.stderr.splitlines() == [
        "inrv: fx.$F4.inrv leaves out fx.7.inrv: its numbers have 4 digits, "
        "or more without a zero in front",
        "inrv: fx.$F4.inrv has no frame 0002",
    ]
    assert run("decode", "fx.$F4.inrv", "-o", "out/$F4.vdb", "--force", "-q").stderr == ""
    result = run("verify", "fx.####.inrv")
    assert result.stdout.count("valid") == 2 and result.stderr.count("inrv: fx.####.inrv") == 2
