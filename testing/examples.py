"""Small files with every part of the format in them, made by hand in NumPy; the test vectors of format_spec.md.

`python -m testing.examples` writes those of fixtures/golden/ that are missing. Those that are there are never changed:
they must decode for ever.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import (
    Chunk,
    Component,
    FieldEntry,
    GridEntry,
    Manifest,
    MetaEntry,
    PassthroughEntry,
    container_bytes,
    pack_tensors,
)
from inrv.entropy.masks import EMPTY, MIXED, encode_masks, kinds_of

VECTORS = Path(__file__).resolve().parents[1] / "fixtures" / "golden"
Arrays = dict[str, NDArray[Any]]

IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
METADATA = {
    "flag": MetaEntry("bool", True),
    "frame": MetaEntry("int32", -7),
    "large": MetaEntry("int64", -(1 << 63)),
    "exposure": MetaEntry("float", 0.5),
    "nothing": MetaEntry("double", math.nan),
    "bounds": MetaEntry("vec3d", [-math.inf, 0.1, math.inf]),
    "size": MetaEntry("vec3i", [1, -2, 3]),
    "rotation": MetaEntry("mat3s", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
    "creator": MetaEntry("string", "caf\u00e9, and a byte that is not UTF-8: \udce9"),
    "opaque": MetaEntry("studio_blob", {"base64": "AAECAw=="}),
}


def pattern(shape: tuple[int, ...], factor: int, modulus: int) -> NDArray[np.int64]:
    """Whole numbers from 0 to modulus - 1 that look random and are the same everywhere."""
    count = int(np.prod(shape))
    return ((np.arange(count, dtype=np.int64) + 1) * factor % 1_000_003 % modulus).reshape(shape)


def topology(nodes: dict[tuple[int, int, int], list[int]], masks: NDArray[np.uint8], tiles: list[tuple[Any, ...]]) -> Arrays:
    """TOPO tensors: children by node origin (in order), a mask a leaf, tiles as (x, y, z, edge, active)."""
    node_masks = np.zeros((len(nodes), 4096), dtype=np.uint8)
    for row, children in enumerate(nodes.values()):
        node_masks[row, children] = 1
    return {
        "node_origins": np.array(list(nodes), dtype=np.int32).reshape(-1, 3),
        "node_masks": np.packbits(node_masks, axis=1, bitorder="little"),
        "leaf_masks": masks,
        "tile_origins": np.array([tile[:3] for tile in tiles], dtype=np.int32).reshape(-1, 3),
        "tile_edges": np.array([tile[3] for tile in tiles], dtype=np.int32),
        "tile_active": np.array([tile[4] for tile in tiles], dtype=np.uint8),
    }


def grid_entry(name: str, components: tuple[Component, ...], **changes: Any) -> GridEntry:
    """A grid entry with plain defaults; `changes` replaces any of them."""
    values: dict[str, Any] = {
        "name": name,
        "value_type": "float" if len(components) == 1 else "vec3s",
        "background": (0.0,) * len(components),
        "grid_class": "fog volume",
        "vector_type": "invariant",
        "saved_as_half": False,
        "map_type": "UniformScaleMap",
        "matrix": IDENTITY,
        "metadata": {},
        "active_voxels": 0,
        "leaf_voxels": 0,
        "topology": 0,
        "inactive_values": None,
        "components": components,
    }
    return GridEntry(**(values | changes))


def empty() -> tuple[Manifest, list[Chunk]]:
    """No grid, no field, no chunk."""
    return Manifest("inrv", {}, (), None, None, {}), []


def one_leaf() -> tuple[Manifest, list[Chunk]]:
    """One grid of one leaf, two active voxels that both hold 0.5: no field. The hexdump of the specification."""
    masks = np.zeros((1, 64), dtype=np.uint8)
    masks[0, [0, 63]] = 1, 128
    tensors = topology({(0, 0, 0): [0]}, masks, [])
    grid = grid_entry("density", (Component(0.5, 0.5, None),), active_voxels=2, leaf_voxels=2)
    return Manifest("inrv", {}, (grid,), None, None, {}), [Chunk("TOPO", pack_tensors(tensors))]


def field_tensors() -> Arrays:
    """A network of 5 frequencies, 2 hidden layers of 6 neurons, 3 outputs, with every way to store a tensor."""
    codes = pattern((6, 10), 7919, 255) - 127
    wide = pattern((6, 6), 104_729, 4095) - 2047
    high = wide >> 8
    return {
        "B": ((pattern((5, 3), 7919, 401) - 200) / 64).astype(np.float16),
        "multipliers": np.array([0.5, 1.0, 1.5, 2.25, 4.0], dtype=np.float32),
        "layers.0.weight.codes": codes.astype(np.int8),
        "layers.0.weight.step": (0.004 + 0.001 * np.arange(6)).astype(np.float32),
        "layers.0.bias": ((pattern((6,), 31, 101) - 50) / 128).astype(np.float16),
        "layers.1.weight.codes_high": high.astype(np.int8),
        "layers.1.weight.codes_low": (wide - 256 * high).astype(np.uint8),
        "layers.1.weight.step": (0.0003 + 0.0001 * np.arange(6)).astype(np.float32),
        "layers.1.bias": ((pattern((6,), 37, 101) - 50) / 256).astype(np.float16),
        "layers.2.weight": ((pattern((3, 6), 41, 101) - 50) / 100).astype(np.float32),
        "layers.2.bias": np.array([0.4, 0.5, 0.6], dtype=np.float32),
    }


FIELD_CONFIG = {
    "frequencies": 5,
    "layers": 2,
    "neurons": 6,
    "outputs": 3,
    "origin": [-128.0, -8.0, 0.0],
    "scale": 0.0078125,
    "activation": "relu",
}


def outputs_of(tensors: Arrays, coordinates: NDArray[np.int32]) -> NDArray[np.float32]:
    """The field's outputs float32 (n, 3), computed in float64."""
    first = tensors["layers.0.weight.codes"] * tensors["layers.0.weight.step"].astype(np.float64)[:, None]
    wide = 256.0 * tensors["layers.1.weight.codes_high"] + tensors["layers.1.weight.codes_low"]
    weights = [first, wide * tensors["layers.1.weight.step"].astype(np.float64)[:, None], tensors["layers.2.weight"]]
    position = (coordinates - np.array(FIELD_CONFIG["origin"])) * FIELD_CONFIG["scale"]
    phase = position @ (tensors["multipliers"].astype(np.float64)[:, None] * tensors["B"].astype(np.float64)).T
    hidden = np.concatenate([np.cos(2 * np.pi * phase), np.sin(2 * np.pi * phase)], axis=1)
    for index, weight in enumerate(weights):
        hidden = hidden @ weight.astype(np.float64).T + tensors[f"layers.{index}.bias"].astype(np.float64)
        hidden = np.maximum(hidden, 0) if index < 2 else hidden
    return hidden.astype(np.float32)


def fourier() -> tuple[Manifest, list[Chunk]]:
    """Fog with tiles and inactive values, a vector grid with a constant component on the same topology, an empty grid."""
    masks = pattern((3, 64), 7919, 256).astype(np.uint8)
    inactive = np.zeros((3, 64), dtype=np.uint8)
    inactive[0, 1], inactive[2, 63] = ~masks[0, 1] & 0x3F, ~masks[2, 63] & 0xC0
    count = int(np.unpackbits(inactive).sum())
    tiles = [(256, 0, 0, 8, 1), (-4096, 0, 0, 128, 0)]
    leaves = topology({(-128, -128, 0): [0xFF0, 0xFFF], (0, 0, 0): [0x001]}, masks, tiles)
    none = topology({}, np.empty((0, 64), dtype=np.uint8), [])
    exact = {
        "tile_values": np.array([[0.25], [-3.0]], dtype=np.float32),
        "inactive_masks": inactive,
        "inactive_values": np.linspace(-2, -1, count, dtype=np.float32)[:, None],
    }
    vector_exact = {
        "tile_values": np.array([[1, 2, 3], [-0.0, 1e-40, 0]], dtype=np.float32),
        "inactive_masks": np.zeros((3, 64), dtype=np.uint8),
        "inactive_values": np.empty((0, 3), dtype=np.float32),
    }
    coordinates = np.array([[-128, -8, 0], [-121, -1, 7], [0, 0, 8], [7, 7, 15], [-125, -4, 3]], dtype=np.int32)
    reference = {"coordinates": coordinates, "outputs": outputs_of(field_tensors(), coordinates)}
    arrays = [("TOPO", leaves), ("EXAC", exact), ("EXAC", vector_exact), ("TOPO", none), ("FELD", field_tensors())]
    voxels = int(np.unpackbits(masks).sum())
    affine = (0.1, 0.02, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 5.0, -3.0, 1.0, 1.0)
    of_leaves = {"active_voxels": voxels + 512, "leaf_voxels": voxels, "topology": 0}
    velocity = (Component(-1.0, 1.0, 1), Component(2.5, 2.5, None), Component(0.1, 0.7, 2))
    grids = (
        grid_entry("density", (Component(0.0, 3.0, 0),), inactive_values=1, metadata=METADATA, **of_leaves),
        grid_entry("velocity", velocity, inactive_values=2, map_type="AffineMap", matrix=affine, saved_as_half=True, **of_leaves),
        grid_entry("flame", (Component(0.0, 0.0, None),), topology=3, background=(1.5,)),
    )
    manifest = Manifest(
        "inrv", {"creator": MetaEntry("string", "tests")}, grids, FieldEntry("fourier", FIELD_CONFIG, 4), 5, {"preset": "none"}
    )
    return manifest, [Chunk(kind, pack_tensors(tensors)) for kind, tensors in [*arrays, ("REFS", reference)]]


def coded_topology(
    nodes: dict[tuple[int, int, int], list[int]], masks: NDArray[np.uint8], root: int | None, **more: Any
) -> Arrays:
    """MASK tensors of leaves without tiles; `more` is passed on to the encoder."""
    arrays = topology(nodes, masks, [])
    del arrays["leaf_masks"]
    origins = [
        (np.array(origin) + 8 * np.array([child >> 8, child >> 4 & 15, child & 15])).tolist()
        for origin, children in nodes.items()
        for child in children
    ]
    words = encode_masks(np.array(origins, dtype=np.int32), masks, **more)
    return arrays | {
        "leaf_kinds": kinds_of(masks),
        "coded_masks": words.astype("<u4").view(np.uint8),
        "predicted_from": np.array([] if root is None else [root], dtype=np.int32),
    }


def lossless() -> tuple[Manifest, list[Chunk]]:
    """All that version 1.1 adds: coded topology, one predicted from the other, kept values, a threshold, carried grids."""
    nodes = {(-128, -128, 0): [0xFF0, 0xFFF], (0, 0, 0): [0x001, 0x002]}
    masks = pattern((4, 64), 7919, 256).astype(np.uint8)
    masks[1], masks[2] = 255, 0
    others = masks.copy()
    others[0, ::7] ^= 0x18
    kept = np.zeros((4, 64), dtype=np.uint8)
    kept[0, 3], kept[3, 60] = masks[0, 3], masks[3, 60]
    count = int(np.unpackbits(kept).sum())
    values = np.array([0x7FC00001, 0xFF800000, 0x7F800001], dtype=np.uint32).view(np.float32)
    arrays = [
        ("MASK", coded_topology(nodes, masks, None)),
        ("MASK", coded_topology(nodes, others, 0, reference=masks)),
        ("KEEP", {"exact_masks": kept, "exact_values": np.resize(values, (count, 1))}),
    ]
    voxels = [int(np.unpackbits(each).sum()) for each in (masks, others)]
    grids = (
        grid_entry("density", (Component(0.5, 0.5, None),), active_voxels=voxels[0], leaf_voxels=voxels[0], exact_values=2),
        grid_entry(
            "fog", (Component(0.5, 0.5, None),), active_voxels=voxels[1], leaf_voxels=voxels[1], topology=1, threshold=0.25
        ),
    )
    flags, instance = bytes(range(200)), b"header only"
    passthrough = (
        PassthroughEntry(1, "flags", "Tree_int32_5_4_3", False, None, 70, len(flags), (3, 4), "int32 values"),
        PassthroughEntry(2, "same flags", "Tree_int32_5_4_3", True, 1, 11, len(instance), (5,), "shares the tree of grid 1"),
    )
    manifest = Manifest("inrv", {}, grids, None, None, {}, passthrough, (224, 9, 1))
    chunks = [Chunk(kind, pack_tensors(tensors)) for kind, tensors in arrays]
    return manifest, [*chunks, Chunk("GRID", flags[:150]), Chunk("GRID", flags[150:]), Chunk("GRID", instance)]


BLOCKS = np.array([[0, 0, 0], [0, 0, 8]], dtype=np.int32)  # of `trees`, in cells
LEAVES = np.array([[0, 0, 0], [0, 0, 8], [0, 0, 64], [0, 8, 8]], dtype=np.int32)  # of its cells


def words_of(origins: NDArray[np.int32], masks: NDArray[np.uint8], **more: Any) -> NDArray[np.uint8]:
    """The bytes of the words of some masks; `more` is passed on to the encoder."""
    return encode_masks(origins, masks, **more).astype("<u4").view(np.uint8)


def cell_words(cells: NDArray[np.uint8], leaves: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Words of masks of the two blocks: of leaves, or of tiles beside those."""
    return words_of(BLOCKS, cells, reference=leaves, kinds=np.full(2, MIXED, dtype=np.uint8))


def inactive_words(inactive: NDArray[np.uint8], active: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Words of masks of inactive voxels of the four leaves."""
    kinds = np.where((active == 255).all(axis=1), EMPTY, MIXED).astype(np.uint8)
    return words_of(LEAVES, inactive, reference=active, kinds=kinds)


def tree(masks: NDArray[np.uint8], tiles: bool, root: int | None, **more: Any) -> Arrays:
    """TREE tensors of four leaves, in two blocks, and two tiles, one of them a cell; `more` is passed on to the encoder."""
    cells = np.zeros((2, 2, 64), dtype=np.uint8)
    cells[0, 0, :2], cells[0, 1, 0] = (0b11, 0b10), 1
    cells[1, 1, 0] = 0b100000
    return {
        "block_origins": np.zeros((1, 3), dtype=np.int32),
        "block_masks": np.packbits(np.arange(4096) < 2, bitorder="little")[None],
        "leaf_words": cell_words(cells[0]),
        "tile_words": cell_words(cells[1], cells[0]) if tiles else np.zeros(0, dtype=np.uint8),
        "tile_origins": np.array([[4096, 0, 0]] * tiles, dtype=np.int32).reshape(-1, 3),
        "tile_edges": np.array([4096] * tiles, dtype=np.int32),
        "tile_active": np.array([0, 1] * tiles, dtype=np.uint8),
        "leaf_kinds": kinds_of(masks),
        "coded_masks": words_of(LEAVES, masks, **more),
        "predicted_from": np.array([] if root is None else [root], dtype=np.int32),
    }


TREE_MASKS = np.where(np.arange(4)[:, None] == 1, 255, pattern((4, 64), 7919, 256)).astype(np.uint8)


def trees() -> tuple[Manifest, list[Chunk]]:
    """What version 1.2 adds but for a lattice: trees, one predicted from the other, coded inactive masks, rules of thresholds."""
    masks, others = TREE_MASKS, TREE_MASKS.copy()
    others[0, ::7] ^= 0x18
    inactive = pattern((4, 64), 104_729, 256).astype(np.uint8) & ~masks
    exact = {
        "tile_values": np.array([[0.25], [-3.0]], dtype=np.float32),
        "coded_masks": inactive_words(inactive, masks),
        "inactive_values": np.linspace(-2, -1, int(np.unpackbits(inactive).sum()), dtype=np.float32)[:, None],
    }
    arrays = [("TREE", tree(masks, True, None)), ("TREE", tree(others, False, 0, reference=masks)), ("INAC", exact)]
    counts = [int(np.unpackbits(each).sum()) for each in (masks, others)]
    coarse = {"topology": 1, "active_voxels": counts[1], "leaf_voxels": counts[1]}
    vector = tuple(Component(value, value, None) for value in (3.0, -4.0, 0.5))
    below = (Component(-0.5, -0.5, None),)
    grids = (
        grid_entry("band", below, active_voxels=counts[0] + 512, leaf_voxels=counts[0], inactive_values=2, background=(1.0,)),
        grid_entry("inside", below, threshold=0.75, threshold_rule="within", background=(1.0,), **coarse),
        grid_entry("velocity", vector, threshold=4.75, threshold_rule="away", background=(0.0, 0.0, 0.5), **coarse),
    )
    chunks = [Chunk(kind, pack_tensors(tensors)) for kind, tensors in arrays]
    return Manifest("inrv", {}, grids, None, None, {}), chunks


EXAMPLES = {"empty": empty, "one_leaf": one_leaf, "fourier": fourier, "lossless": lossless}

if __name__ == "__main__":
    for name, make in EXAMPLES.items():
        path = VECTORS / f"{name}.inrv"
        if not path.exists():
            path.write_bytes(container_bytes(*make()))
