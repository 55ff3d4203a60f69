"""Real volumes survive bit for bit, and OpenVDB sees in the copy what it saw before."""

from pathlib import Path
from typing import Any

import pytest

from inrv.files.vdb import list_grids, read_volume, write_volume
from testing.vdb.referee import as_stream, assert_same_bits, load_openvdb

FILES = [
    "affine_fog.vdb",
    "blender_gas.vdb",
    "burner.vdb",
    "icosahedron.vdb",
    "pig.vdb",
    "rainbow.vdb",
    "smoke.vdb",
    "wdas_cloud_sixteenth.vdb",
    "fire/fire_0060.vdb",
    "hostile/anisotropic_many_empty.vdb",
    "hostile/background_one.vdb",
    "hostile/constant_vector.vdb",
    "hostile/duplicate_names.vdb",
    "hostile/empty_file.vdb",
    "hostile/empty_grids.vdb",
    "hostile/has_nan.vdb",
    "hostile/tiles_and_two_transforms.vdb",
    "hostile/unnamed_grids.vdb",
]
PASSED = {  # position: why
    "hostile/double_grid.vdb": {0: "double values"},
    "hostile/int32_and_empty.vdb": {3: "int32 values"},
    "hostile/points_only.vdb": {0: "points"},
    "hostile/unregistered_codec.vdb": {1: "points"},
    "hostile/unregistered_map.vdb": {0: "Affine Map transform"},
}


@pytest.mark.parametrize("name", [*FILES, *PASSED])
def test_a_copy_is_equal(corpus: Path, tmp_path: Path, name: str) -> None:
    source, target = corpus / name, tmp_path / "copy.vdb"
    original = read_volume(source)
    write_volume(target, original)
    copy = read_volume(target)
    assert copy.metadata == original.metadata and copy.vdb_version == original.vdb_version
    for ours, theirs in zip(copy.grids, original.grids, strict=True):
        assert_same_bits(ours, theirs)
    assert {grid.position: grid.reason for grid in original.passthrough} == PASSED.get(name, {})
    data = source.read_bytes()
    for passthrough, ours in zip(original.passthrough, copy.passthrough, strict=True):
        listed = list_grids(source)[passthrough.position]
        assert vars(passthrough) == vars(ours)
        assert (
            passthrough.data == data[listed.start : listed.end]
            and passthrough.blocks == listed.blocks - listed.start
        )
    for key in ("unique_name", "tree_type", "half", "parent"):
        assert [getattr(g, key) for g in list_grids(target)] == [
            getattr(g, key) for g in list_grids(source)
        ], key


@pytest.mark.parametrize(
    "name", [name for name in [*FILES, *PASSED] if name != "hostile/unregistered_map.vdb"]
)
def test_where_grids_lie_is_found_where_the_file_does_not_say_it(
    corpus: Path, tmp_path: Path, name: str
) -> None:
    stream = tmp_path / "stream.vdb"
    stream.write_bytes(as_stream(corpus / name))
    assert list_grids(stream) == list_grids(corpus / name)


def seen_by_openvdb(path: Path, address: str) -> list[Any]:
    module = load_openvdb()
    try:
        grid = module.read(str(path), address)
    except Exception as error:
        return [str(error)]
    seen = [
        getattr(grid, key)
        for key in ("name", "creator", "gridClass", "vectorType", "saveFloatAsHalf", "background")
    ]
    seen += [
        grid.leafCount(),
        grid.activeVoxelCount(),
        grid.evalActiveVoxelBoundingBox(),
        grid.evalMinMax(),
    ]
    return [*seen, grid.transform.typeName, grid.transform.indexToWorld((3, -5, 7))]


@pytest.mark.parametrize("name", [name for name in [*FILES, *PASSED] if name != "burner.vdb"])
def test_openvdb_sees_the_same(corpus: Path, tmp_path: Path, name: str) -> None:
    write_volume(tmp_path / "copy.vdb", read_volume(corpus / name))
    for listed in list_grids(corpus / name):
        assert seen_by_openvdb(tmp_path / "copy.vdb", listed.address) == seen_by_openvdb(
            corpus / name, listed.address
        )
