"""Which slices are drawn, and what is on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inrv.errors import InrvError
from inrv.grids import Box, Grid, SparseVolume, Transform, sparse_grid
from inrv.metrics import compare_volumes, draw_comparison
from inrv.metrics import figure as figure_module
from inrv.metrics.figure import Slice, busiest_plane, cut, value_range


def rod(name: str = "density", components: int = 1) -> Grid:
    """A rod along z, thickest at z = 20, longer than wide."""
    array = np.zeros((12, 10, 40))
    array[4:8, 4:6, 2:38] = 1
    array[1:11, 1:9, 20] = 2
    array[5, 2:8, 3:37] = 3
    whole = array if components == 1 else np.stack([array * 3, array * 4, array * 0], 3)
    return sparse_grid(whole, name)


def one_slice(original: Grid, decoded: Grid) -> Slice:
    comparison = compare_volumes(SparseVolume((original,)), SparseVolume((decoded,))).grids[0]
    return cut(original, decoded, comparison, busiest_plane([original]))


def test_the_busiest_plane_is_where_the_most_active_voxels_are() -> None:
    plane = busiest_plane([rod()])
    assert plane == Box((5, 1, 2), (5, 8, 37))
    array = np.zeros((30, 30, 30))
    array[14:17, 2:28, 2:28] = 1
    array[0] = array[-1] = 1  # busier, but not within the middle third
    assert busiest_plane([sparse_grid(array)]) == Box((14, 0, 0), (14, 29, 29))
    disc = np.zeros((30, 30, 30))
    disc[:, :, 11] = 1
    assert busiest_plane([sparse_grid(array), sparse_grid(disc)]).shape.index(1) == 2


def test_active_tiles_count() -> None:
    empty = sparse_grid(np.zeros((8, 8, 24)), active=np.ones((8, 8, 24)) > 2)
    topology = replace(
        empty.topology,
        tile_origins=np.array([[0, 0, 8], [0, 8, 16]], dtype=np.int32),
        tile_edges=np.array([8, 8], dtype=np.int32),
        tile_active=np.array([True, True]),
    )
    counts = figure_module._active_voxels_across(
        replace(empty, topology=topology), Box((0, 0, 8), (7, 15, 23)), 2
    )
    assert counts.tolist() == [64] * 16


def test_the_longer_side_is_upright_and_sizes_are_the_worlds() -> None:
    grid = replace(rod(), transform=Transform.from_voxel_size((1.0, 0.5, 0.25)))
    part = one_slice(grid, grid)
    assert part.across == "x" and part.index == 5
    assert part.original.shape == (36, 8) and part.size == (4.0, 9.0)
    flat = replace(rod(), transform=Transform.from_voxel_size((1.0, 2.0, 0.25)))
    assert one_slice(flat, flat).original.shape == (8, 36) and one_slice(flat, flat).size == (
        9.0,
        16.0,
    )


def test_images_have_the_proportions_of_the_world() -> None:
    for edges in ((1.0, 1.0, 1.0), (1.0, 1.0, 40.0), (1.0, 3.0, 0.5)):
        grid = replace(rod(), transform=Transform.from_voxel_size(edges))
        part = one_slice(grid, grid)
        axes = figure_module._canvas([part], "").axes[0]
        width, height = axes.get_position().size * axes.figure.get_size_inches()
        assert width / height == pytest.approx(part.size[0] / part.size[1])


def test_the_error_of_vectors_is_the_length_of_their_difference() -> None:
    grid = rod("velocity", 3)
    turned = grid.with_values(-grid.values)
    part = one_slice(grid, turned)
    assert np.allclose(part.original, part.decoded) and np.allclose(part.error, 2 * part.original)
    assert part.original.max() == 15


def test_colour_scales() -> None:
    fog = one_slice(rod(), rod())
    assert value_range(fog) == (0, 3) and not fog.signed
    level = replace(rod(), grid_class="level set", background=np.array([-5], dtype=np.float32))
    shown = one_slice(level, level)
    assert shown.signed and value_range(shown) == (-5, 5)
    one = np.zeros((9, 9, 9))
    one[4, 4] = np.arange(9) + 1.0
    one[4, 4, 4] = 1000
    assert value_range(one_slice(sparse_grid(one), sparse_grid(one)))[1] < 1000


def test_every_grid_that_varies_has_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Slice] = []
    drawn = figure_module._draw_row
    monkeypatch.setattr(
        figure_module,
        "_draw_row",
        lambda figure, part, place: (rows.append(part), drawn(figure, part, place)),
    )
    whole = sparse_grid(np.ones((16, 16, 16)), active=np.ones((16, 16, 16)) > 0)
    constant = replace(whole, background=np.ones(1, dtype=np.float32))
    empty = sparse_grid(np.zeros((8, 8, 8)), "empty")
    volume = SparseVolume((rod(), replace(constant, name="shadow"), rod("velocity", 3), empty))
    picture = draw_comparison(volume, volume, compare_volumes(volume, volume), "title")
    assert [part.name for part in rows] == ["density", "velocity"] and picture.startswith(
        b"\x89PNG"
    )
    assert (rows[0].across, rows[0].index) == (rows[1].across, rows[1].index)
    moved = replace(rod("elsewhere"), transform=Transform.from_voxel_size(2.0))
    other = SparseVolume((sparse_grid(np.random.default_rng(0).random((20, 16, 14))), moved))
    rows.clear()
    draw_comparison(other, other, compare_volumes(other, other))
    assert [part.across for part in rows] == ["z", "x"]


def test_nothing_to_draw_is_an_error() -> None:
    empty = SparseVolume((sparse_grid(np.zeros((8, 8, 8))),))
    with pytest.raises(InrvError, match="nothing to draw"):
        draw_comparison(empty, empty, compare_volumes(empty, empty))


@pytest.mark.filterwarnings("error")
def test_any_name_can_be_drawn() -> None:
    names = ["n" * 200, "煙の密度", r"$\frac$"]
    original = SparseVolume(tuple(rod(name) for name in names))
    decoded = SparseVolume(tuple(grid.with_values(grid.values * 0.9) for grid in original.grids))
    assert draw_comparison(
        original, decoded, compare_volumes(original, decoded), r"$\frac$.vdb"
    ).startswith(b"\x89PNG")
