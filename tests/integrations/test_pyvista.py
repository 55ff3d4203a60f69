"""PyVista reads and writes .inrv files: images that lie where the grids do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv

pyvista = pytest.importorskip("pyvista")

from inrv.pyvista import image_of, read  # noqa: E402

X = np.linspace(0, 3, 40, dtype=np.float32)
FOG = 1.5 + np.sin(X)[:, None, None] * np.cos(X[:20])[:, None] * np.sin(2 * X[:30])
INSTANT = inrv.EncodeOptions(effort="instant")
PLACED = inrv.Transform.from_voxel_size((0.5, 1, 2), (10, 20, 30))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scalar grid and a vector grid."""
    path = tmp_path_factory.mktemp("pyvista") / "fog.inrv"
    active = np.zeros(FOG.shape, dtype=bool)
    active[8:, 5:] = True
    wind = np.stack([FOG, 2 * FOG, FOG - 1], axis=-1)[:9, :9, :9]
    grids = [
        inrv.sparse_grid(FOG, "fog", PLACED, background=0.25, active=active),
        inrv.sparse_grid(wind, "wind", PLACED, grid_class="staggered", vector_type="covariant"),
    ]
    inrv.encode(grids, path, INSTANT)
    return path


def at(image: Any, point: Any) -> Any:
    """The value of the point of an image that lies at a place."""
    number = image.find_closest_point(point)
    assert np.allclose(image.points[number], point, atol=1e-5)
    return image.active_scalars[number]


def test_a_block_a_grid_lies_where_the_grid_does(file: Path) -> None:
    blocks, volume = pyvista.read(str(file)), inrv.load(file)
    assert blocks.keys() == ["fog", "wind"]
    fog = blocks["fog"]
    assert fog.dimensions == (32, 15, 30) and fog.extent == (8, 39, 5, 19, 0, 29)
    assert at(fog, (14, 25, 30)) == volume["fog"][8, 5, 0]
    assert at(fog, (20, 30, 40)) == volume["fog"][20, 10, 5]
    assert at(blocks["wind"], (12, 25, 36)).tolist() == volume["wind"][4, 5, 3].tolist()


def test_levels_boxes_and_grids_can_be_asked_for(file: Path) -> None:
    (fog,) = pyvista.read(str(file), level=2, grids=["fog"])
    grid = inrv.load(file)["fog"]
    assert fog.spacing == (2, 4, 8) and at(fog, (14, 28, 38)) == grid.level(2).lookup(
        np.array([[2, 2, 1]])
    )
    (box,) = read(file, grids=["fog"], box=((9, 6, 1), (12, 9, 4)))
    assert box.extent == (9, 12, 6, 9, 1, 4)
    with pytest.raises(inrv.OptionError, match="level 9"):
        read(file, level=9)


def test_the_accessor_reads_on_from_the_file(file: Path) -> None:
    coarse = pyvista.read(str(file), level=3)["fog"]
    fine = coarse.inrv.crop(((9, 6, 1), (12, 9, 4)))
    grid = inrv.load(file)["fog"]
    assert np.array_equal(fine["fog"], grid[9:13, 6:10, 1:5].ravel(order="F"))
    assert coarse.inrv.level(0).n_points == np.prod(grid.box.shape)
    assert coarse.inrv.grid.name == "fog"
    with pytest.raises(inrv.OptionError, match=r"not read from an \.inrv file"):
        pyvista.Sphere().inrv.crop(((0, 0, 0), (1, 1, 1)))


TURNED = np.array([[0.0, 2, 0], [-1, 0, 0], [0, 0, 3]])
SHEARED = np.array([[1.0, 0, 0], [0.5, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize("linear", [TURNED, np.diag([1.0, -2, 1]), SHEARED])
def test_turned_mirrored_and_sheared_grids_lie_right(tmp_path: Path, linear: NDArray[Any]) -> None:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[3, :3] = linear, (5, 6, 7)
    grid = inrv.sparse_grid(FOG, "a", inrv.Transform("AffineMap", matrix))
    inrv.encode(grid, tmp_path / "a.inrv", INSTANT)
    image, opened = read(tmp_path / "a.inrv")[0], inrv.load(tmp_path / "a.inrv")[0]
    for place in ((1, 2, 3), (30, 0, 7)):
        (world,) = opened.transform.index_to_world(np.array([place], dtype=float))
        assert at(image, world) == opened[place]
    if linear is SHEARED:
        assert isinstance(image, pyvista.StructuredGrid)
        with pytest.raises(inrv.OptionError, match="StructuredGrid is no ImageData"):
            image.save(tmp_path / "b.inrv")
        return
    image.save(tmp_path / "b.inrv", lossless=True)
    back = inrv.load(tmp_path / "b.inrv")[0]
    assert np.allclose(back.transform.array(), matrix) and np.array_equal(
        back.dense(), opened.dense()
    )


def test_images_are_written_with_options_and_keep_what_the_file_told(
    file: Path, tmp_path: Path
) -> None:
    pyvista.read(str(file)).save(str(tmp_path / "back.inrv"), max_error=0.01, effort="instant")
    first, back = inrv.load(file), inrv.load(tmp_path / "back.inrv")
    assert list(back) == ["fog", "wind"] and back["fog"].entry.background == (0.25,)
    assert back["wind"].staggered and back["wind"].entry.vector_type == "covariant"
    assert np.abs(back["fog"].dense() - first["fog"].dense()).max() <= 0.01
    assert np.allclose(back["fog"].transform.array()[3], [14, 25, 30, 1])
    image = image_of(first["fog"])
    with pytest.raises(inrv.OptionError, match=r"no option of .* is called quality"):
        image.save(str(tmp_path / "c.inrv"), quality=3)
    image.clear_point_data()
    with pytest.raises(inrv.OptionError, match="no point data"):
        image.save(str(tmp_path / "c.inrv"))
    with pytest.raises(inrv.OptionError, match="PolyData is no ImageData"):
        pyvista.Sphere().save(str(tmp_path / "c.inrv"))
