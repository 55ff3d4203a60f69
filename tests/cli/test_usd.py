"""`inrv usd`: layers, and the .vdb files that they show."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv import files

from .conftest import Run

LOSSLESS = inrv.EncodeOptions(lossless=True, effort="instant")


@pytest.fixture
def shot(run: Run) -> Path:
    """Frames 60, 61 and 63 of a fog, in a sequence at 24000/1001 frames a second."""
    x = np.linspace(-1, 1, 12, dtype=np.float32)
    fog = np.exp(-(x[:, None, None] ** 2) - x[:, None] ** 2 - x**2)
    with inrv.SequenceWriter("shot.inrv", LOSSLESS, fps="24000/1001", group=1) as writer:
        for number in (60, 61, 63):
            writer.add(None, {"density": fog * number}, number=number)
    return Path("shot.inrv")


def paths_in(layer: str) -> dict[str, str]:
    """The paths of a layer, by the time codes as they are written."""
    return dict(re.findall(r"^ +([\d.-]+): @(.*)@,$", Path(layer).read_text(), re.MULTILINE))


def test_a_sequence_becomes_a_layer_over_a_folder(run: Run, shot: Path) -> None:
    result = run("usd", shot, "-o", "scenes/fire.usda")
    assert result.exit_code == 0, result.stderr
    assert "1 field, 3 frames from 60 to 63, 3 decoded into scenes/fire_vdb" in result.stdout
    assert "shot.inrv has no frame 62: the frame before it is shown there" in result.stderr
    paths = paths_in("scenes/fire.usda")
    assert list(paths) == ["60", "61", "63"]
    assert all(path.startswith("./fire_vdb/shot.") for path in paths.values())
    frames = inrv.load(shot).frames
    for number, path in paths.items():
        found = files.read(Path("scenes") / path).grids[0]
        assert np.array_equal(found.values, frames[int(number)]["density"].to_grid().values)
    text = Path("scenes/fire.usda").read_text()
    assert f"timeCodesPerSecond = {24000 / 1001!r}" in text and 'def Volume "fire"' in text


def test_usd_itself_finds_the_files_of_a_layer(run: Run, shot: Path) -> None:
    usd = pytest.importorskip("pxr.Usd")
    assert run("usd", shot, "-o", "a b/fire.usda", "--cache", "the cache").exit_code == 0
    stage = usd.Stage.Open("a b/fire.usda")
    path = stage.GetPrimAtPath("/fire/density").GetAttribute("filePath")
    assert path.GetTimeSamples() == [60, 61, 63]
    resolved = [Path(path.Get(code).resolvedPath) for code in (60, 61, 62, 63)]
    assert all(own.is_file() for own in resolved) and resolved[1] == resolved[2]
    assert resolved[0].parent == Path("the cache").resolve()


def test_only_what_is_missing_is_decoded(run: Run, shot: Path) -> None:
    assert "1 decoded into" in run("usd", shot, "--frames", "61").stdout
    (held,) = Path("shot_vdb").iterdir()
    held.write_bytes(b"as it was")
    result = run("usd", shot, "--force", "--frames", "60-62")
    assert "2 frames from 60 to 61, 1 decoded into shot_vdb" in result.stdout
    assert held.read_bytes() == b"as it was"
    assert list(paths_in("shot.usda")) == ["60", "61"]


def test_frames_that_were_encoded_anew_are_decoded_anew(run: Run, shot: Path) -> None:
    run("usd", shot)
    before = paths_in("shot.usda")
    with inrv.SequenceWriter("other.inrv", LOSSLESS, fps="24000/1001") as writer:
        writer.add(None, {"density": np.ones((8, 8, 8), dtype=np.float32)}, number=61)
    assert run("seq", "cut", shot, "--frames", "60,63", "-o", "cut.inrv").exit_code == 0
    result = run("seq", "join", "cut.inrv", "other.inrv", "-o", shot, "--force")
    assert result.exit_code == 0, result.stderr
    assert "1 decoded into" in run("usd", shot, "--force").stdout
    after = paths_in("shot.usda")
    assert after["61"] != before["61"]
    assert (after["60"], after["63"]) == (before["60"], before["63"])


def test_a_volume_has_no_times(run: Run, fixtures: Path) -> None:
    result = run("usd", fixtures / "golden" / "lattice.inrv", "-o", "a.usda", "--up-axis", "Z")
    assert result.exit_code == 0, result.stderr
    text = Path("a.usda").read_text()
    assert 'upAxis = "Z"' in text and "timeSamples" not in text and "TimeCode" not in text
    assert re.search(r"asset filePath = @\./a_vdb/lattice\.[0-9a-f]{10}\.vdb@", text)


def test_mistakes(run: Run, shot: Path, fixtures: Path) -> None:
    volume = fixtures / "golden" / "lattice.inrv"
    Path("there.usda").write_text("")
    Path("file").write_text("")
    for arguments, code, message in [
        ((shot, "-o", "a.usdc"), 2, "must end with .usda"),
        ((shot, "-o", "there.usda"), 4, "exists already"),
        ((shot, "--frames", "99"), 2, "no frame 99"),
        ((volume, "-o", "a.usda", "--frames", "1"), 2, "--frames is for a sequence"),
        (("missing.inrv",), 3, "missing.inrv cannot be read"),
        ((fixtures / "torus.vdb", "-o", "a.usda"), 3, "encode it first"),
        (("-",), 2, "name it with -o"),
        ((shot, "-o", "b.usda", "--cache", "a@@@b"), 2, "cannot stand in a USD layer"),
        ((shot, "-o", "b.usda", "--cache", "file/below"), 4, "cannot be made"),
    ]:
        result = run("usd", *arguments)
        assert result.exit_code == code, (arguments, result.stderr)
        assert message in result.stderr and result.stderr.count("\n") == 1
    assert not Path("a.usda").exists() and not Path("b.usda").exists()
