"""What Jupyter shows of volumes and grids: tables, and pictures where they cost little."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv.decoding import html
from inrv.decoding.html import png, projection

X = np.linspace(0, 3, 40, dtype=np.float32)
FOG = 1.5 + np.sin(X)[:, None, None] * np.cos(X[:20])[:, None] * np.sin(2 * X[:30])
INSTANT = inrv.EncodeOptions(effort="instant")


def pixels(data: bytes) -> np.ndarray:
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(io.BytesIO(data)))


def test_a_picture_is_a_png_that_others_read() -> None:
    picture = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert np.array_equal(pixels(png(picture)), picture)


def test_a_volume_is_a_table_with_pictures() -> None:
    wind = np.stack([FOG, 2 * FOG, FOG - 1], axis=-1)
    transform = inrv.Transform.from_voxel_size((0.5, 1, 2))
    grids = [inrv.sparse_grid(FOG, "<fog>", transform), inrv.sparse_grid(wind, "wind")]
    data, _ = inrv.encode_bytes(grids, INSTANT)
    volume = inrv.load(data)
    page = volume._repr_html_()
    assert "&lt;fog&gt;" in page and "<fog>" not in page
    assert "24,000" in page and "0.5 x 1 x 2" in page and volume["wind"].quality in page
    first, second = (base64.b64decode(found) for found in re.findall(r"base64,([^\"]+)", page))
    assert pixels(first).shape == pixels(second).shape == (20, 40)
    one = volume["wind"]._repr_html_()
    assert "wind" in one and "fog" not in one and one.count("<img") == 1


def test_a_picture_shows_what_is_farthest_from_the_background_along_z() -> None:
    array = np.full((20, 10, 30), 5.0, dtype=np.float32)
    array[3, 2, 7], array[4, 9, 29], array[19, 0, 0] = 1, 8, np.float32(4.5)
    data, _ = inrv.encode_bytes(
        inrv.sparse_grid(array, background=5.0, active=np.ones_like(array, dtype=bool)), INSTANT
    )
    found = projection(inrv.load(data)[0])
    assert found is not None and found.shape == (10, 20)
    assert found[9 - 2, 3] == 0 and found[0, 4] == 255  # y points upwards
    assert found[9, 19] == round(255 * 3.5 / 7) and found[5, 10] == round(255 * 4 / 7)


def test_no_picture_is_made_where_it_would_cost_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = inrv.encode_bytes({"fog": FOG}, INSTANT)
    grid = inrv.load(data)["fog"]
    monkeypatch.setattr(html, "MOST_VOXELS", 100)
    found = projection(grid)
    assert found is not None and found.size < 100  # of a coarser level
    monkeypatch.setattr(html, "MOST_CODED", FOG.size - 1)
    assert projection(grid) is None and "<img" not in grid._repr_html_()


def test_damaged_values_and_grids_without_voxels_have_no_picture() -> None:
    data, _ = inrv.encode_bytes({"fog": FOG, "none": np.zeros((3, 3, 3))}, INSTANT)
    page = inrv.load(data)._repr_html_()
    assert page.count("<img") == 1 and "none" in page
    broken = bytearray(data)
    broken[-20] ^= 1
    assert inrv.load(bytes(broken))._repr_html_().count("<tr>") == 3
