"""USD layers over volumes; USD's own library is the referee where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv.scenes.usd import Field, LayerFrame, extent_of, fields_of, identifiers, layer_text

BOX = (0.0, 0.0, 0.0), (1.0, 2.0, 3.0)
DENSITY = Field("density", 0, "float", "fogVolume", None)
HEAT = Field("heat", 0, "float", "unknown", None)


def frame(
    number: float | None, *fields: Field, asset: str = "./a.vdb", extent: Any = BOX
) -> LayerFrame:
    return LayerFrame(number, asset, fields, extent)


def opened(text: str, folder: Path) -> Any:
    """The stage of a layer, which USD reads and finds nothing wrong with."""
    usd = pytest.importorskip("pxr.Usd")
    validation = pytest.importorskip("pxr.UsdValidation")
    path = folder / "layer.usda"
    path.write_bytes(text.encode())
    stage = usd.Stage.Open(str(path))
    registry = validation.ValidationRegistry()
    context = validation.ValidationContext(registry.GetOrLoadAllValidators())
    found = [error.GetErrorAsString() for error in context.Validate(stage)]
    # The .vdb files are not there: tests/cli/test_usd.py has some.
    assert [error for error in found if "UnresolvableDependency" not in error] == []
    return stage


def tokens_of(prim: Any) -> dict[str, Any]:
    names = ("fieldName", "fieldClass", "fieldDataType", "fieldIndex", "vectorDataRoleHint")
    held = {name: prim.GetAttribute(name) for name in names}
    return {name: own.Get() for name, own in held.items() if own.HasAuthoredValue()}


def test_a_volume_is_a_prim_with_its_fields(tmp_path: Path) -> None:
    wind = Field("wind", 0, "float3", "staggered", "Vector")
    stage = opened(layer_text("fire", [frame(None, DENSITY, wind)]), tmp_path)
    prim = stage.GetDefaultPrim()
    assert (prim.GetTypeName(), prim.GetName()) == ("Volume", "fire")
    volume = pytest.importorskip("pxr.UsdVol").Volume(prim)
    assert {name: str(path) for name, path in volume.GetFieldPaths().items()} == {
        "density": "/fire/density",
        "wind": "/fire/wind",
    }
    assert tokens_of(stage.GetPrimAtPath("/fire/wind")) == {
        "fieldName": "wind",
        "fieldClass": "staggered",
        "fieldDataType": "float3",
        "vectorDataRoleHint": "Vector",
    }
    path = stage.GetPrimAtPath("/fire/density").GetAttribute("filePath")
    assert path.Get().path == "./a.vdb" and path.GetNumTimeSamples() == 0
    assert [tuple(corner) for corner in prim.GetAttribute("extent").Get()] == list(BOX)
    assert not stage.HasAuthoredTimeCodeRange()


def test_frames_are_time_codes_and_grids_come_and_go(tmp_path: Path) -> None:
    frames = [
        frame(-2, DENSITY, asset="./a.-002.vdb"),
        frame(8.5, DENSITY, HEAT, asset="./a.0008.5.vdb", extent=((-9.0,) * 3, (9.0,) * 3)),
        frame(10, HEAT, asset="./a.0010.vdb"),
    ]
    stage = opened(layer_text("fire", frames, (24000, 1001), "Z"), tmp_path)
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (-2, 10)
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == 24000 / 1001
    assert stage.GetMetadata("upAxis") == "Z"
    density = stage.GetPrimAtPath("/fire/density").GetAttribute("filePath")
    heat = stage.GetPrimAtPath("/fire/heat").GetAttribute("filePath")
    assert density.GetTimeSamples() == [-2, 8.5, 10]
    assert density.Get(-2).path == "./a.-002.vdb" and density.Get(9).path == "./a.0008.5.vdb"
    assert density.Get(10) is None and heat.Get(-2) is None
    assert heat.Get(10).path == "./a.0010.vdb"
    extent = stage.GetDefaultPrim().GetAttribute("extent")
    assert extent.GetTimeSamples() == [-2, 8.5, 10] and tuple(extent.Get(8.5)[0]) == (-9,) * 3


HOSTILE = ["2 fast", "", 'a"b\\c', "a\nb\x01", "ü", "a b", "a_b", "field:x", "}", "def", "x" * 300]


def test_grids_may_be_called_anything(tmp_path: Path) -> None:
    fields = [Field(name, 0, "float", None, None) for name in HOSTILE]
    stage = opened(layer_text("1 {", [frame(None, *fields)]), tmp_path)
    prims = stage.GetDefaultPrim().GetChildren()
    assert stage.GetDefaultPrim().GetName() == "_1__"
    assert [prim.GetAttribute("fieldName").Get() for prim in prims] == HOSTILE
    assert len({prim.GetName() for prim in prims}) == len(HOSTILE)
    indexed = [prim for prim in prims if prim.GetAttribute("fieldIndex").HasAuthoredValue()]
    assert [prim.GetAttribute("fieldName").Get() for prim in indexed] == [""]


def test_equal_names_are_told_apart_by_their_index(tmp_path: Path) -> None:
    second = Field("density", 1, "float", "fogVolume", None)
    stage = opened(layer_text("a", [frame(None, DENSITY, second, HEAT)]), tmp_path)
    indices = {
        prim.GetName(): prim.GetAttribute("fieldIndex").Get()
        for prim in stage.GetDefaultPrim().GetChildren()
    }
    assert indices == {"density": 0, "density_1": 1, "heat": None}


def test_identifiers() -> None:
    assert identifiers(["a", "a", "a_1", "", "9", "ä-b"]) == [
        "a",
        "a_1",
        "a_1_1",
        "grid",
        "_9",
        "__b",
    ]


def test_paths_with_an_at_sign_are_quoted_thrice_and_others_refused(tmp_path: Path) -> None:
    stage = opened(layer_text("a", [frame(None, DENSITY, asset="./me@home/a.vdb")]), tmp_path)
    path = stage.GetPrimAtPath("/a/density").GetAttribute("filePath").Get().path
    assert path == "./me@home/a.vdb"
    for asset in ("./a\n.vdb", "./@@@/a.vdb", "./a@"):
        with pytest.raises(inrv.OptionError, match="cannot stand in a USD layer"):
            layer_text("a", [frame(None, DENSITY, asset=asset)])


def test_what_no_layer_can_show_is_refused() -> None:
    with pytest.raises(inrv.OptionError, match="needs a frame"):
        layer_text("a", [])
    with pytest.raises(inrv.OptionError, match="up_axis='X'"):
        layer_text("a", [frame(None, DENSITY)], up_axis="X")


def test_the_extent_is_left_out_where_it_is_not_known() -> None:
    assert "extent" not in layer_text("a", [frame(1, DENSITY), frame(2, DENSITY, extent=None)])


def test_fields_and_extents_are_those_of_the_file(fixtures: Path) -> None:
    golden = fixtures / "golden"
    (velocity,), _ = fields_of(inrv.load(golden / "velocity.inrv"))
    assert (velocity.data_type, velocity.grid_class) == ("float3", "staggered")
    exact = inrv.load(golden / "exact.inrv")
    fields, left_out = fields_of(exact)
    passed = [(field.name, field.index) for field in fields if field.data_type == "int"]
    assert passed == [("flags", 0), ("flags", 1)] and left_out == []
    assert extent_of(exact) is None  # the boxes of these two are not known
    assert extent_of(inrv.load(golden / "no_voxels.inrv")) == ((0.0,) * 3, (0.0,) * 3)


def test_the_extent_holds_every_voxel_of_a_turned_grid(fixtures: Path) -> None:
    volume = inrv.load(
        inrv.encode_bytes(fixtures / "torus.vdb", inrv.EncodeOptions(effort="instant"))[0]
    )
    (grid,) = volume.values()
    extent = extent_of(volume)
    assert extent is not None
    lower, upper = np.array(extent)
    points = grid.transform.index_to_world(grid.coordinates().astype(np.float64))
    assert (points > lower).all() and (points < upper).all()
    assert grid.box is not None
    widest = np.array(grid.box.shape) @ np.abs(grid.transform.array()[:3, :3])
    np.testing.assert_allclose(upper - lower, widest, rtol=1e-12)


def test_extents_are_rounded_outwards(tmp_path: Path) -> None:
    third, tenth = 1 / 3, 0.1
    box = (third, -tenth, -third), (third, tenth, 1e30)
    text = layer_text("a", [frame(None, DENSITY, extent=box)])
    stage = opened(text, tmp_path)
    lower, upper = stage.GetDefaultPrim().GetAttribute("extent").Get()
    for found, wanted in zip(lower, box[0], strict=True):
        assert np.nextafter(np.float32(wanted), np.float32(-9)) <= found <= wanted
    for found, wanted in zip(upper, box[1], strict=True):
        assert wanted <= found <= np.nextafter(np.float32(wanted), np.float32(np.inf))
