"""The reader of napari: its manifest, and the layers that it gives; without a window."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv.integrations import napari as ours

X = np.linspace(0, 3, 150, dtype=np.float32)
FOG = 1.5 + np.sin(X)[:, None, None] * np.cos(X[:40])[:, None] * np.sin(2 * X[:40])
INSTANT = inrv.EncodeOptions(effort="instant")
MANIFEST = Path(ours.__file__).with_name("napari.yaml")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scalar grid, and a vector grid that is turned."""
    path = tmp_path_factory.mktemp("napari") / "fog.inrv"
    active = np.zeros(FOG.shape, dtype=bool)
    active[8:, 5:] = True
    turned = np.diag([1.0, 2.0, 3.0, 1.0])
    turned[:2, :2] = [[0.6, 0.8], [-0.8, 0.6]]
    turned[3, :3] = 7, 8, 9
    wind = np.stack([FOG, 2 * FOG, FOG - 1], axis=-1)[:9, :9, :9]
    grids = [
        inrv.sparse_grid(
            FOG, "fog", inrv.Transform.from_voxel_size((0.5, 1, 2), (10, 20, 30)), active=active
        ),
        inrv.sparse_grid(wind, "wind", inrv.Transform("AffineMap", turned)),
    ]
    inrv.encode(grids, path, INSTANT)
    return path


def test_levels_are_halves_of_each_other_and_lie_where_the_grid_does(file: Path) -> None:
    (levels, shown, kind), *wind = ours.read(str(file))
    assert kind == "image" and [level.shape for level in levels] == [
        (144, 36, 40),
        (72, 18, 20),
        (36, 9, 10),
    ]
    fog = inrv.load(file)["fog"]
    assert shown["name"] == "fog fog" and shown["multiscale"]
    voxel = levels[0][12, 7, 5]
    place = np.array(shown["translate"]) + np.array(shown["scale"]) * (12, 7, 5)
    assert voxel == fog.sample(place, space="world") != 0
    assert np.array_equal(np.asarray(levels[2]), fog.dense(((8, 4, 0), (151, 39, 39)), stride=4))
    assert (
        shown["contrast_limits"][0] == 0
        and shown["contrast_limits"][1] >= np.asarray(levels[0]).max()
    )
    assert [layer[1]["name"] for layer in wind] == ["fog wind.x", "fog wind.y", "fog wind.z"]


def test_turned_grids_have_an_affine(file: Path) -> None:
    levels, shown, _ = ours.read(str(file))[2]
    wind = inrv.load(file)["wind"]
    place = (shown["affine"] @ [3, 4, 5, 1])[:3]
    assert levels[0][3, 4, 5] == wind[3, 4, 5][1]
    assert np.allclose(place, wind.transform.index_to_world(np.array([[3.0, 4, 5]])))


def test_a_sequence_has_time_first_and_exact_grids_no_contrast(tmp_path: Path) -> None:
    with inrv.SequenceWriter(tmp_path / "run.inrv", INSTANT) as writer:
        for number in range(3):
            writer.add(None, {"a": FOG[:20, :20, :20] + number, "mask": np.ones((5, 5, 5))})
    (levels, shown, _), (masks, plain, _) = ours.read([str(tmp_path / "run.inrv")])
    assert levels[0].shape == (3, 20, 20, 20) and masks[0].shape == (3, 5, 5, 5)
    assert shown["scale"] == [1, 1, 1, 1] and shown["translate"] == [0, 0, 0, 0]
    assert np.abs(levels[0][2, :, 3] - FOG[:20, 3, :20] - 2).max() < 0.1
    assert "contrast_limits" in shown and "contrast_limits" not in plain


def test_only_inrv_files_are_read(tmp_path: Path) -> None:
    assert ours.get_reader("a.tif") is None and ours.get_reader(["a.inrv", "b.tif"]) is None
    (tmp_path / "junk.inrv").write_bytes(b"junk")
    reader = ours.get_reader(str(tmp_path / "junk.inrv"))
    assert reader is not None
    with pytest.raises(inrv.FormatError, match=r"junk\.inrv"):
        reader(str(tmp_path / "junk.inrv"))


def _manager() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydantic, about npe2
        npe2 = pytest.importorskip("npe2")
    manager = npe2.PluginManager()
    manager.register(npe2.PluginManifest.from_file(MANIFEST))
    manager.activate("inrv")
    return manager


def test_npe2_accepts_the_manifest_and_reads_with_it(file: Path) -> None:
    manager = _manager()
    from npe2 import io_utils

    (found,) = manager.iter_compatible_readers([str(file)])
    assert found.command == "inrv.read"
    layers = io_utils._read([str(file)], plugin_name="inrv", stack=False, _pm=manager)
    assert [layer[2] for layer in layers] == ["image"] * 4
    assert not list(manager.iter_compatible_readers(["a.tif"]))


def test_napari_shows_the_layers(file: Path) -> None:
    components = pytest.importorskip("napari.components")
    viewer = components.ViewerModel()
    for levels, shown, _ in ours.read(str(file)):
        viewer.add_image(levels, **shown)
    layer = viewer.layers[0]
    assert tuple(layer.data_to_world((0, 0, 0))) == (14, 24, 30)
    viewer.dims.set_current_step(0, 5)
    viewer.dims.ndisplay = 3
