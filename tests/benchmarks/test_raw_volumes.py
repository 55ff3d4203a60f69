"""The loader of raw volumes, on small made-up files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import raw_volumes

X, Y, Z = np.mgrid[0:12, 0:20, 0:28]
VOLUME = 40 + 20 * (np.sin(X / 3) + np.cos(Y / 5) * Z / 28)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SDRBENCH-Miranda-12x20x28/velocityx.d64", "<f8"),
        ("velocityx_28x20x12_.d64", "<f8"),
        ("flow_28x20x12_float32.raw", "<f4"),
        ("Uf48_12x20x28.bin.f32", "<f4"),
        ("scan_28x20x12_uint8.raw", "<u1"),
        ("scan_28x20x12_int16.raw", "<i2"),
        ("einspline_3_4_20_28.pre.f32", "<f4"),
        ("vorticity.28_20_12", "<f4"),
        ("unknown_12x20x28.dat", "<u2"),
    ],
)
def test_dimensions_and_type_are_in_the_name(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    VOLUME.astype(kind).tofile(path)
    volume, how = raw_volumes.read(path, tmp_path)
    assert "12x20x28" in how
    assert np.array_equal(volume, VOLUME.astype(kind))


def test_a_number_alone_is_the_edge_of_a_cube(tmp_path: Path) -> None:
    cube = VOLUME[:12, :12, :12].astype("<f4")
    cube.tofile(tmp_path / "wmag12.float")
    assert np.array_equal(raw_volumes.read(tmp_path / "wmag12.float", tmp_path)[0], cube)


def test_a_file_beside_it_has_the_last_word(tmp_path: Path) -> None:
    path = tmp_path / "a_28x20x12.raw"
    VOLUME.astype(">f4").tofile(path)
    said = {"shape": [12, 20, 28], "dtype": ">f4"}
    (tmp_path / "a_28x20x12.raw.json").write_text(json.dumps(said))
    assert raw_volumes.find(tmp_path) == [path]
    assert np.allclose(raw_volumes.read(path, tmp_path)[0], VOLUME)


def test_a_name_without_dimensions_and_a_wrong_size_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "pressure.f32"
    VOLUME.astype("<f4").tofile(path)
    with pytest.raises(ValueError, match=r"no name says dimensions"):
        raw_volumes.read(path, tmp_path)
    path.with_suffix(".json").write_text('{"shape": [12, 20, 29], "dtype": "<f4"}')
    with pytest.raises(ValueError, match=r"26880 bytes are not"):
        raw_volumes.read(path, tmp_path)
