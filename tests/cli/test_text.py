"""Tables for every name that a grid may have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

import inrv
from inrv.files.vdb import write_volume
from inrv_cli.text import WIDEST, drift, grid_keys, labelled, table

from .conftest import Run, scene

NAMES = ["density", "煙の密度", "e\u0301clair", "n" * 200, "x" * WIDEST, "風" * 30]


def test_columns_stand_under_one_another_for_every_name() -> None:
    told = table(
        ("grid", "voxels", "PSNR"), [(name, f"{n:,}", "45.00") for n, name in enumerate(NAMES)]
    )
    ends = {cell_len(line) for line in told.splitlines() if line.endswith(("45.00", "PSNR"))}
    assert ends == {WIDEST + len("  voxels  45.00")}
    assert all(name in told for name in NAMES)
    assert [line for line in told.splitlines() if "45.00" not in line and "PSNR" not in line] == [
        "n" * 200,
        "風" * 30,
    ]


def test_a_long_note_pushes_nothing_aside() -> None:
    told = table(
        ("grid", "PSNR", "notes"), [("a", "1", "n" * 200), ("b", "22", "none")], notes=True
    )
    assert told.splitlines() == [
        "grid  PSNR  notes",
        f"a        1  {'n' * 200}",
        "b       22  none",
    ]


def test_labels_leave_their_texts_in_one_column() -> None:
    told = labelled([(name, "text") for name in NAMES], indent=2).splitlines()
    texts = [line for line in told if line.endswith("text")]
    assert len(texts) == len(NAMES) and {cell_len(line) for line in texts} == {2 + WIDEST + 2 + 4}
    assert [line.strip() for line in told if not line.endswith("text")] == ["n" * 200, "風" * 30]
    assert labelled([]) == ""


@pytest.mark.parametrize("name", ["n" * 200, "風" * 30, "two\nlines", "\x1b[31mred"])
def test_commands_show_the_whole_name(run: Run, name: str) -> None:
    volume = scene()
    grids = (volume.grids[0], replace(volume.grids[0], name=name))
    write_volume("a.vdb", inrv.SparseVolume(grids, {}))
    shown = name.encode("unicode_escape").decode() if "\n" in name or "\x1b" in name else name
    encoded = run("encode", "a.vdb", "--effort", "instant")
    for told in (encoded, run("info", "a.inrv"), run("compare", "a.vdb", "a.inrv")):
        assert told.exit_code == 0 and shown in told.stdout and "\x1b" not in told.stdout
    rows = [
        line
        for line in told.stdout.splitlines()
        if " x " in line and "DIFFERS" not in line and "equal" in line
    ]
    assert len({cell_len(line) for line in rows}) == 1, "the figures stand under one another"


def test_a_name_comes_before_a_position() -> None:
    assert grid_keys(["1", "density", "0", "²"], ["density", "1"]) == ["1", "density", 0, "²"]


def test_a_sum_that_hardly_drifts_has_no_minus() -> None:
    assert [drift(value) for value in (-1e-7, 0.0012, -0.0345, None)] == [
        "+0.00%",
        "+0.12%",
        "-3.45%",
        "-",
    ]
