"""Real volumes survive reading and writing bit for bit, and OpenVDB sees in the copy what it saw in the original."""

from pathlib import Path

import pytest
import torch

from inrv.grids import Grid
from inrv.vdb import list_grids, load_bindings, read_volume, write_volume

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
    "hostile/tiles_and_two_transforms.vdb",
    "hostile/unnamed_grids.vdb",
]


def bits(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.int32)


def assert_equal_to_the_bit(copy: Grid, original: Grid) -> None:
    for name in ("name", "value_type", "transform", "grid_class", "vector_type", "saved_as_half", "metadata"):
        assert getattr(copy, name) == getattr(original, name), name
    assert copy.topology.equal(original.topology)
    tiles = copy.topology.find_tiles(original.topology.tile_origins)
    assert torch.equal(bits(copy.tile_values[tiles]), bits(original.tile_values))
    assert torch.equal(bits(copy.values), bits(original.values))
    assert torch.equal(bits(copy.background), bits(original.background))
    assert torch.equal(copy.inactive.places, original.inactive.places)
    assert torch.equal(bits(copy.inactive.values), bits(original.inactive.values))


@pytest.mark.parametrize("name", FILES)
def test_a_copy_is_equal(corpus: Path, tmp_path: Path, name: str) -> None:
    source, target = corpus / name, tmp_path / "copy.vdb"
    original = read_volume(source)
    write_volume(target, original)
    copy = read_volume(target)
    assert copy.metadata == original.metadata
    for ours, theirs in zip(copy.grids, original.grids, strict=True):
        assert_equal_to_the_bit(ours, theirs)
    assert [grid.unique_name for grid in list_grids(target)] == [grid.unique_name for grid in list_grids(source)]
    assert [grid.half for grid in list_grids(target)] == [grid.half for grid in list_grids(source)]


@pytest.mark.parametrize("name", [name for name in FILES if name != "burner.vdb"])
def test_openvdb_sees_the_same(corpus: Path, tmp_path: Path, name: str) -> None:
    write_volume(tmp_path / "copy.vdb", read_volume(corpus / name))
    module = load_bindings()
    for listed in list_grids(corpus / name):
        one, other = (module.read(str(path), listed.address) for path in (corpus / name, tmp_path / "copy.vdb"))
        for key in ("name", "creator", "gridClass", "vectorType", "saveFloatAsHalf", "background"):
            assert getattr(other, key) == getattr(one, key), key
        assert (other.leafCount(), other.activeVoxelCount()) == (one.leafCount(), one.activeVoxelCount())
        assert other.evalActiveVoxelBoundingBox() == one.evalActiveVoxelBoundingBox()
        assert other.evalMinMax() == one.evalMinMax()
        assert other.transform.typeName == one.transform.typeName
        assert other.transform.indexToWorld((3, -5, 7)) == one.transform.indexToWorld((3, -5, 7))
