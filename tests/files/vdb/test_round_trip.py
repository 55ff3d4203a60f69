"""Grids to a .vdb file and back: nothing may differ."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrv import Grid, MetaValue, SparseVolume, Topology, Transform
from inrv.files.vdb import list_grids, read_volume, write_volume
from inrv.grids import LeafValues, pack_masks
from testing.vdb.referee import assert_same_bits, load_openvdb


def assert_same(found: Grid, expected: Grid) -> None:
    assert_same_bits(found, expected, but=["metadata"])


def round_trip(path: Path, *grids: Grid) -> tuple[Grid, ...]:
    write_volume(path, SparseVolume(grids))
    return read_volume(path).grids


def make_grid(
    seed: int, leaves: int, components: int = 1, density: float = 0.4, **changes: object
) -> Grid:
    """Random leaves near the origin, and a tile of each size far from them.

    A few inactive values are not the background.
    """
    random = np.random.default_rng(seed)
    origins = np.unique(random.integers(-20, 20, (leaves, 3)) * 8, axis=0).astype(np.int32)
    masks = random.random((len(origins), 512)) < density
    leaf_part = Topology.from_leaves(origins, masks)
    tiles = np.array([[1024, 0, 0], [1152, -128, 0], [4096, 8192, -4096]], dtype=np.int32)
    edges, active = np.array([8, 128, 4096], dtype=np.int32), np.array([True, False, True])
    topology = Topology(leaf_part.leaf_origins, leaf_part.leaf_masks, tiles, edges, active)

    def numbers(count: int) -> NDArray[np.float32]:
        return random.standard_normal((count, components), dtype=np.float32)

    ordered = masks[Topology.order_of(origins)].reshape(-1)
    places = np.flatnonzero(~ordered)[::97]
    return Grid(
        name="density",
        value_type="float" if components == 1 else "vec3s",
        background=np.full(components, 0.25, dtype=np.float32),
        topology=topology,
        values=numbers(topology.leaf_voxel_count),
        tile_values=numbers(3),
        inactive=LeafValues(places, numbers(len(places))),
        **changes,  # type: ignore[arg-type]
    )


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([1, 3]), st.floats(0, 1))
def test_random_grids(
    tmp_path: Path, seed: int, leaves: int, components: int, density: float
) -> None:
    grid = make_grid(seed, leaves, components, density)
    assert_same(round_trip(tmp_path / "random.vdb", grid)[0], grid)


def test_a_constant_leaf_stays_a_leaf_and_an_inactive_leaf_is_kept(tmp_path: Path) -> None:
    origins = np.array([[0, 0, 0], [8, 0, 0], [16, 0, 0]], dtype=np.int32)
    masks = np.repeat([[True], [False], [True]], 512, axis=1)
    grid = replace(
        make_grid(0, 1),
        topology=Topology.from_leaves(origins, masks),
        tile_values=np.empty((0, 1), dtype=np.float32),
    )
    grid = replace(
        grid,
        inactive=LeafValues.none(1),
        values=np.repeat([[0.25], [7]], 512, axis=0).astype(np.float32),
    )
    assert_same(round_trip(tmp_path / "leaves.vdb", grid)[0], grid)


maps = st.sampled_from(
    [
        "UniformScaleMap",
        "ScaleMap",
        "UniformScaleTranslateMap",
        "ScaleTranslateMap",
        "TranslationMap",
        "AffineMap",
    ]
)
scales = st.floats(1e-4, 1e4).filter(lambda v: v != 0)


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    maps,
    st.tuples(scales, scales, scales),
    st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    st.floats(-1, 1),
)
def test_every_map_is_exact_to_the_last_bit(
    tmp_path: Path, kind: str, scale: tuple[float, ...], shift: tuple[float, ...], shear: float
) -> None:
    if kind.startswith("Uniform"):
        scale = (scale[0],) * 3
    if kind == "TranslationMap":
        scale = (1.0, 1.0, 1.0)
    last = shift if "Transl" in kind or kind == "AffineMap" else (0.0, 0.0, 0.0)
    rows = [tuple(scale[r] if r == c else 0.0 for c in range(4)) for r in range(3)]
    if kind == "AffineMap":
        rows[0] = (scale[0], shear * scale[1], 0.0, 0.0)
    transform = Transform(kind, (*rows, (*last, 1.0)))
    grid = replace(make_grid(1, 1), transform=transform)
    path = tmp_path / "map.vdb"
    assert round_trip(path, grid)[0].transform == transform
    seen = load_openvdb().readAll(str(path))[0][0].transform
    expected = transform.index_to_world(np.array([[3.0, -5.0, 7.0]]))[0].tolist()
    assert seen.indexToWorld((3, -5, 7)) == pytest.approx(expected, rel=1e-12, abs=1e-9)
    assert seen.typeName == kind


METADATA = {
    "author": MetaValue("string", "ünïcode"),
    "blob": MetaValue("someones_type", b"\x00\x01\xff"),
    "closed": MetaValue("bool", True),
    "frame": MetaValue("int32", -7),
    "seed": MetaValue("int64", 1 << 40),
    "time": MetaValue("float", 0.10000000149011612),
    "scale": MetaValue("double", 0.1),
    "res": MetaValue("vec3i", (1, -2, 3)),
    "v2": MetaValue("vec2s", (0.5, 2.0)),
    "v3": MetaValue("vec3d", (0.1, 0.2, 0.3)),
    "v4": MetaValue("vec4s", (1.0, 2.0, 3.0, 4.0)),
    "matrix": MetaValue("mat4d", tuple(float(i) for i in range(16))),
    "not a number": MetaValue("float", math.inf),
}


def test_metadata_keeps_its_types(tmp_path: Path) -> None:
    path = tmp_path / "metadata.vdb"
    write_volume(
        path,
        SparseVolume((make_grid(2, 3, metadata=METADATA),), {"file": MetaValue("vec2i", (4, 5))}),
    )
    volume = read_volume(path)
    assert volume.metadata == {"file": MetaValue("vec2i", (4, 5))}
    found = {key: value for key, value in volume.grids[0].metadata.items() if key != "name"}
    assert found == METADATA


def halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.astype(np.float16).astype(np.float32)


def test_properties_reach_openvdb(tmp_path: Path) -> None:
    path = tmp_path / "properties.vdb"
    plain = make_grid(3, 2)
    vectors = replace(
        make_grid(4, 2, 3),
        name="velocity",
        grid_class="staggered",
        vector_type="contravariant relative",
    )
    half = replace(
        plain, name="half", grid_class="fog volume", saved_as_half=True, values=halved(plain.values)
    )
    half = replace(half, tile_values=halved(half.tile_values))
    half = replace(half, inactive=LeafValues(half.inactive.places, halved(half.inactive.values)))
    found = round_trip(path, vectors, half)
    assert_same(found[0], vectors)
    assert_same(found[1], half)
    seen = {grid.name: grid for grid in load_openvdb().readAll(str(path))[0]}
    assert (
        seen["velocity"].gridClass == "staggered"
        and seen["velocity"].vectorType == "contravariant relative"
    )
    assert seen["half"].saveFloatAsHalf and seen["half"].gridClass == "fog volume"
    assert seen["half"].leafCount() == half.topology.leaf_count
    assert seen["half"].activeVoxelCount() == half.topology.active_voxel_count


def test_repeated_and_missing_names_and_the_order_of_grids(tmp_path: Path) -> None:
    path = tmp_path / "names.vdb"
    names = ["z", "density", "", "density", "a", ""]
    grids = [replace(make_grid(seed, 2), name=name) for seed, name in enumerate(names)]
    for found, expected in zip(round_trip(path, *grids), grids, strict=True):
        assert_same(found, expected)
    assert [grid.address for grid in list_grids(path)] == [
        "z",
        "density[0]",
        "[0]",
        "density[1]",
        "a",
        "[1]",
    ]
    assert [grid.name for grid in read_volume(path, ["density[1]", 0]).grids] == ["density", "z"]
    assert_same(read_volume(path, ["density[1]"]).grids[0], grids[3])


def test_a_level_set_keeps_its_signs_inside_and_out(tmp_path: Path) -> None:
    module, path = load_openvdb(), tmp_path / "sphere.vdb"
    sphere = module.createLevelSetSphere(
        radius=20.0, center=(3.0, 0.0, -5.0), voxelSize=0.5, halfWidth=3.0
    )
    sphere.name = "sphere"
    module.write(str(path), grids=[sphere])
    grid = read_volume(path).grids[0]
    assert (grid.tile_values < 0).any() and (grid.inactive.values == -grid.background).all()
    again = tmp_path / "again.vdb"
    assert_same(round_trip(again, grid)[0], grid)
    seen = module.read(str(again), "sphere")
    accessor = seen.getConstAccessor()
    assert accessor.getValue((6, 0, -10)) == -1.5 and accessor.getValue((200, 0, 0)) == 1.5
    flooded = seen.deepCopy()
    flooded.signedFloodFill()
    assert (
        flooded.activeVoxelCount() == sphere.activeVoxelCount()
        and flooded.leafCount() == sphere.leafCount()
    )


def test_empty_volumes(tmp_path: Path) -> None:
    empty = replace(
        make_grid(0, 1),
        topology=Topology.empty(),
        values=np.empty((0, 1), dtype=np.float32),
        tile_values=np.empty((0, 1), dtype=np.float32),
        inactive=LeafValues.none(1),
    )
    assert_same(round_trip(tmp_path / "empty.vdb", empty)[0], empty)
    assert round_trip(tmp_path / "none.vdb") == ()


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.vdb", tmp_path / "b.vdb"
    for path in (first, second):
        write_volume(path, SparseVolume((make_grid(5, 6),)))
    assert first.read_bytes() == second.read_bytes()


def test_distant_grids_cost_no_memory_between_them(tmp_path: Path) -> None:
    origins = np.array([[-2_000_000, 0, 0], [3_000_000, 80, -1_000_000]], dtype=np.int32)
    topology = Topology.from_leaves(origins, pack_masks(np.ones((2, 512), dtype=bool)))
    grid = replace(
        make_grid(0, 1),
        topology=topology,
        values=np.random.default_rng(0).standard_normal((1024, 1), dtype=np.float32),
        tile_values=np.empty((0, 1), dtype=np.float32),
    )
    grid = replace(grid, inactive=LeafValues.none(1))
    write_volume(tmp_path / "far.vdb", SparseVolume((grid,)))
    assert (tmp_path / "far.vdb").stat().st_size < 1 << 20
    assert_same(read_volume(tmp_path / "far.vdb").grids[0], grid)
