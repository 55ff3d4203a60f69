"""Small files with every part of the format in them, made by hand in NumPy.

They are test vectors of the specification. `python -m testing.examples` writes those of
fixtures/golden/ that are missing. Those that are there are never changed: they must decode for
ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import (
    Chunk,
    Component,
    FieldEntry,
    FrameEntry,
    GridEntry,
    Manifest,
    MetaEntry,
    PassthroughEntry,
    container_bytes,
    pack_tensors,
)
from inrv.entropy.masks import EMPTY, MIXED, encode_masks, kinds_of
from inrv.grids import Topology
from inrv.storage.coded_masks import pack_coded

VECTORS = Path(__file__).resolve().parents[1] / "fixtures" / "golden"
Arrays = dict[str, NDArray[Any]]
Origin = tuple[int, int, int]

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
    """Return whole numbers from 0 to modulus - 1 that look random and are the same everywhere."""
    count = int(np.prod(shape))
    numbers = (np.arange(count, dtype=np.int64) + 1) * factor % 1_000_003 % modulus
    return numbers.reshape(shape)


def bits_in(masks: NDArray[np.uint8]) -> int:
    """Return how many voxels some masks mark."""
    return int(np.unpackbits(masks).sum())


def coded_of(name: str, origins: Sequence[Origin], masks: NDArray[np.uint8], **more: Any) -> Arrays:
    """Return the two tensors of some masks; `more` is passed on to the encoder."""
    corners = np.array(origins, dtype=np.int32).reshape(-1, 3)
    return pack_coded(name, encode_masks(corners, masks, **more))


def key_order(origin: Origin) -> tuple[list[int], list[int]]:
    """Return what blocks are sorted by: the node of 128^3 that holds one, then its own place."""
    return [axis // 128 for axis in origin], [axis // 8 for axis in origin]


def blocks_of(cells: Sequence[Origin]) -> list[Origin]:
    """Return the origins, in cells, of the blocks of 8^3 cells that hold some cells."""
    blocks = {(x // 8 * 8, y // 8 * 8, z // 8 * 8) for x, y, z in cells}
    return sorted(blocks, key=key_order)


def cell_masks(blocks: Sequence[Origin], cells: Sequence[Origin]) -> NDArray[np.uint8]:
    """Return masks uint8 (B, 64) of the cells in each block."""
    marked = np.zeros((len(blocks), 512), dtype=np.uint8)
    for x, y, z in cells:
        block = blocks.index((x // 8 * 8, y // 8 * 8, z // 8 * 8))
        marked[block, x % 8 * 64 + y % 8 * 8 + z % 8] = 1
    return np.packbits(marked, axis=1, bitorder="little")


def coded_cells(
    name: str,
    blocks: Sequence[Origin],
    cells: NDArray[np.uint8],
    leaves: NDArray[np.uint8] | None = None,
) -> Arrays:
    """Return the tensors of masks of cells: of leaves, or of tiles beside these `leaves`."""
    kinds = np.full(len(blocks), MIXED, np.uint8)
    return coded_of(name, blocks, cells, reference=leaves, kinds=kinds)


def topology(
    leaves: Sequence[Origin],
    masks: NDArray[np.uint8],
    tiles: Sequence[tuple[int, int, int, int, int]] = (),
    cells: Sequence[tuple[int, int, int, int]] = (),
    root: int | None = None,
    **more: Any,
) -> Arrays:
    """Return the tensors of a TOPO chunk.

    leaves: origins in key order
    masks: uint8 (L, 64) active voxels of each
    tiles: those that are listed, as x, y, z, edge, active
    cells: tiles of 8^3 voxels in key order, coded as cells of blocks, as x, y, z, active
    root: number of the chunk that the masks are predicted from
    more: passed on to the encoder of masks
    """
    of_leaves = [(x // 8, y // 8, z // 8) for x, y, z in leaves]
    of_tiles = [(x // 8, y // 8, z // 8) for x, y, z, _ in cells]
    blocks = blocks_of([*of_leaves, *of_tiles])
    nodes = sorted({(x // 128 * 128, y // 128 * 128, z // 128 * 128) for x, y, z in blocks})
    children = np.zeros((len(nodes), 4096), dtype=np.uint8)
    for x, y, z in blocks:
        node = nodes.index((x // 128 * 128, y // 128 * 128, z // 128 * 128))
        children[node, x % 128 // 8 * 256 + y % 128 // 8 * 16 + z % 128 // 8] = 1
    leaf_cells, tile_cells = cell_masks(blocks, of_leaves), cell_masks(blocks, of_tiles)
    none = pack_coded("tile", [])
    return {
        "block_origins": np.array(nodes, dtype=np.int32).reshape(-1, 3),
        "block_masks": np.packbits(children, axis=1, bitorder="little"),
        **coded_cells("leaf", blocks, leaf_cells),
        **(coded_cells("tile", blocks, tile_cells, leaf_cells) if len(cells) else none),
        "tile_origins": np.array([tile[:3] for tile in tiles], dtype=np.int32).reshape(-1, 3),
        "tile_edges": np.array([tile[3] for tile in tiles], dtype=np.int32),
        "tile_active": np.array([tile[-1] for tile in [*tiles, *cells]], dtype=np.uint8),
        "leaf_kinds": kinds_of(masks),
        **coded_of("mask", leaves, masks, **more),
        "mask_checksums": np.zeros(0, dtype=np.int32),
        "bits": np.zeros(0, dtype=np.int32),
        "predicted_from": np.array([] if root is None else [root], dtype=np.int32),
    }


def keys_of(
    leaves: Sequence[Origin],
    masks: NDArray[np.uint8],
    tiles: Sequence[tuple[int, int, int, int, int]] = (),
    cells: Sequence[tuple[int, int, int, int]] = (),
) -> dict[str, Any]:
    """Return the keys of a grid that tell of its topology; arguments as of `topology`."""
    leaf, offset = np.unpackbits(masks, axis=1, bitorder="little").nonzero()
    local = np.stack([offset >> 6, (offset >> 3) & 7, offset & 7], axis=1)
    corners = np.array(leaves, dtype=np.int64).reshape(-1, 3)[leaf] + local
    active = [tile[:4] for tile in tiles if tile[4]] + [(*cell[:3], 8) for cell in cells if cell[3]]
    lowest = [tuple(corner) for corner in corners.tolist()] + [tile[:3] for tile in active]
    highest = [tuple(corner) for corner in corners.tolist()]
    highest += [(x + edge - 1, y + edge - 1, z + edge - 1) for x, y, z, edge in active]
    box = None
    if lowest:
        ends = zip(*lowest, strict=True), zip(*highest, strict=True)
        box = tuple(map(min, ends[0])), tuple(map(max, ends[1]))
    return {
        "active_voxels": len(leaf) + sum(tile[3] ** 3 for tile in active),
        "leaf_voxels": len(leaf),
        "box": box,
    }


def keys_of_topology(held: Topology) -> dict[str, Any]:
    """Return the keys of a grid that tell of a topology of the library."""
    return {
        "active_voxels": held.active_voxel_count,
        "leaf_voxels": held.leaf_voxel_count,
        "box": None if held.box is None else (held.box.lower, held.box.upper),
    }


def coded_inactive(
    leaves: Sequence[Origin], inactive: NDArray[np.uint8], active: NDArray[np.uint8]
) -> Arrays:
    """Return the tensors of masks of inactive voxels, beside the masks of active ones."""
    kinds = np.where((active == 255).all(axis=1), EMPTY, MIXED).astype(np.uint8)
    return coded_of("mask", leaves, inactive, reference=active, kinds=kinds)


def grid_entry(name: str, components: tuple[Component, ...], **changes: Any) -> GridEntry:
    """Return a grid entry with plain defaults; `changes` replaces any of them."""
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
        "box": None,
        "topology": 0,
        "inactive_values": None,
        "components": components,
        "frequent_values": None,
        "exact_values": None,
        "threshold": None,
        "threshold_rule": "above",
        "topology_of": None,
        "outliers": None,
    }
    return GridEntry(**(values | changes))


def manifest_of(
    grids: Sequence[GridEntry] = (),
    field: FieldEntry | None = None,
    passthrough: Sequence[PassthroughEntry] = (),
    metadata: dict[str, MetaEntry] | None = None,
    vdb_version: tuple[int, int, int] | None = None,
    encoding: dict[str, Any] | None = None,
) -> Manifest:
    """Return the manifest of a file of one volume."""
    frame = FrameEntry(None, None, len(grids), len(passthrough), metadata or {}, vdb_version)
    return Manifest("inrv", (frame,), tuple(grids), field, encoding or {}, tuple(passthrough))


def empty() -> tuple[Manifest, list[Chunk]]:
    """Return a file of no grid, no field and no chunk."""
    return manifest_of(), []


def one_leaf() -> tuple[Manifest, list[Chunk]]:
    """Return one grid of one leaf, whose two active voxels both hold 0.5; there is no field."""
    masks = np.zeros((1, 64), dtype=np.uint8)
    masks[0, [0, 63]] = 1, 128
    leaves = [(0, 0, 0)]
    tensors = topology(leaves, masks)
    grid = grid_entry("density", (Component(0.5, 0.5, None),), **keys_of(leaves, masks))
    return manifest_of([grid]), [Chunk("TOPO", pack_tensors(tensors))]


def field_tensors() -> Arrays:
    """Return a network with every way to store a tensor.

    It has 5 frequencies, 2 hidden layers of 6 neurons and 3 outputs.
    """
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
    "origin": [-128.0, -8.0, 0.0],
    "scale": 0.0078125,
    "activation": "relu",
    "time": None,
    "samples": None,
    "tolerance": None,
}


def field_entry(tensors: int, outputs: int = 3, **changes: Any) -> FieldEntry:
    """Return the entry of a fourier field; `changes` replaces keys of FIELD_CONFIG.

    tensors: number of the NETW chunk
    """
    return FieldEntry("fourier", outputs, FIELD_CONFIG | {"tensors": tensors} | changes)


def outputs_of(tensors: Arrays, coordinates: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the outputs float32 (n, 3) of `field_tensors` at voxels, computed in float64."""
    double = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    wide = 256.0 * double["layers.1.weight.codes_high"] + double["layers.1.weight.codes_low"]
    weights = [
        double["layers.0.weight.codes"] * double["layers.0.weight.step"][:, None],
        wide * double["layers.1.weight.step"][:, None],
        double["layers.2.weight"],
    ]
    position = (coordinates - np.array(FIELD_CONFIG["origin"])) * FIELD_CONFIG["scale"]
    phase = position @ (double["multipliers"][:, None] * double["B"]).T
    hidden = np.concatenate([np.cos(2 * np.pi * phase), np.sin(2 * np.pi * phase)], axis=1)
    for index, weight in enumerate(weights):
        hidden = hidden @ weight.T + double[f"layers.{index}.bias"]
        hidden = np.maximum(hidden, 0) if index < 2 else hidden
    return hidden.astype(np.float32)


FOURIER_LEAVES = [(-8, -8, 0), (-8, -8, 120), (0, 0, 8)]


def fourier() -> tuple[Manifest, list[Chunk]]:
    """Return three grids of a fourier field.

    Fog with tiles and inactive values; a vector grid with a constant component on the same
    topology; and a grid without a voxel.
    """
    masks = pattern((3, 64), 7919, 256).astype(np.uint8)
    inactive = np.zeros((3, 64), dtype=np.uint8)
    inactive[0, 1], inactive[2, 63] = ~masks[0, 1] & 0x3F, ~masks[2, 63] & 0xC0
    tiles = [(256, 0, 0, 8, 1), (-4096, 0, 0, 128, 0)]
    of_tiles = {
        "tile_values": np.array([[0.25], [-3.0]], dtype=np.float32),
        **coded_inactive(FOURIER_LEAVES, inactive, masks),
        "inactive_values": np.linspace(-2, -1, bits_in(inactive), dtype=np.float32)[:, None],
    }
    of_vector_tiles = {
        "tile_values": np.array([[1, 2, 3], [-0.0, 1e-40, 0]], dtype=np.float32),
        **pack_coded("mask", []),
        "inactive_values": np.empty((0, 3), dtype=np.float32),
    }
    voxels = [[-8, -8, 0], [-1, -1, 7], [0, 0, 8], [7, 7, 15], [-5, -4, 3]]
    coordinates = np.array(voxels, dtype=np.int32)
    outputs = outputs_of(field_tensors(), coordinates)
    chunks = [
        ("TOPO", topology(FOURIER_LEAVES, masks, tiles)),
        ("INAC", of_tiles),
        ("INAC", of_vector_tiles),
        ("TOPO", topology([], np.empty((0, 64), dtype=np.uint8))),
        ("NETW", field_tensors()),
        ("SAMP", {"coordinates": coordinates, "outputs": outputs}),
    ]
    on_leaves = keys_of(FOURIER_LEAVES, masks, tiles)
    affine = (0.1, 0.02, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 5.0, -3.0, 1.0, 1.0)
    turned = {"map_type": "AffineMap", "matrix": affine, "saved_as_half": True}
    fog = (Component(0.0, 3.0, 0),)
    velocity = (Component(-1.0, 1.0, 1), Component(2.5, 2.5, None), Component(0.1, 0.7, 2))
    nothing = (Component(0.0, 0.0, None),)
    grids = (
        grid_entry("density", fog, inactive_values=1, metadata=METADATA, **on_leaves),
        grid_entry("velocity", velocity, inactive_values=2, **turned, **on_leaves),
        grid_entry("flame", nothing, topology=3, background=(1.5,)),
    )
    creator = {"creator": MetaEntry("string", "tests")}
    field = field_entry(4, samples=5)
    manifest = manifest_of(grids, field, metadata=creator, encoding={"preset": "none"})
    return manifest, [Chunk(kind, pack_tensors(tensors)) for kind, tensors in chunks]


LEAVES = [(0, 0, 0), (0, 0, 8), (0, 0, 64), (0, 8, 8)]  # of `no_field`
BLOCKS = [(0, 0, 0), (0, 0, 8)]  # of `no_field`, in cells


def no_field_masks() -> NDArray[np.uint8]:
    """Return the masks of the leaves of `no_field`: one is full, and one is empty."""
    masks = pattern((4, 64), 7919, 256).astype(np.uint8)
    masks[1], masks[2] = 255, 0
    return masks


def no_field() -> tuple[Manifest, list[Chunk]]:
    """Return all that a file can hold beside a field and frequent values.

    Topologies, one predicted from the other; tiles that are listed and tiles that are cells; values
    of inactive voxels; exact values; all rules of thresholds; and passthrough grids.
    """
    masks = no_field_masks()
    others = masks.copy()
    others[0, ::7] ^= 0x18
    inactive = pattern((4, 64), 104_729, 256).astype(np.uint8) & ~masks
    exact = np.zeros((4, 64), dtype=np.uint8)
    exact[0, 3], exact[3, 60] = masks[0, 3], masks[3, 60]
    odd = np.array([0x7FC00001, 0xFF800000, 0x7F800001], dtype=np.uint32).view(np.float32)
    tiles, cells = [(4096, 0, 0, 4096, 0)], [(0, 0, 40, 1)]
    of_tiles = {
        "tile_values": np.array([[0.25], [-3.0]], dtype=np.float32),
        **coded_inactive(LEAVES, inactive, masks),
        "inactive_values": np.linspace(-2, -1, bits_in(inactive), dtype=np.float32)[:, None],
    }
    of_voxels = {"exact_masks": exact, "exact_values": np.resize(odd, (bits_in(exact), 1))}
    arrays = [
        ("TOPO", topology(LEAVES, masks, tiles, cells)),
        ("TOPO", topology(LEAVES, others, root=0, reference=masks)),
        ("INAC", of_tiles),
        ("EXAC", of_voxels),
    ]
    whole = {"topology": 1} | keys_of(LEAVES, others)
    vector = tuple(Component(value, value, None) for value in (3.0, -4.0, 0.5))
    below, half = (Component(-0.5, -0.5, None),), (Component(0.5, 0.5, None),)
    band = {"background": (1.0,)} | keys_of(LEAVES, masks, tiles, cells)
    within = {"threshold": 0.75, "threshold_rule": "within", "background": (1.0,)}
    away = {"threshold": 4.75, "threshold_rule": "away", "background": (0.0, 0.0, 0.5)}
    grids = (
        grid_entry("band", below, inactive_values=2, exact_values=3, **band),
        grid_entry("fog", half, threshold=0.25, **whole),
        grid_entry("inside", below, **within, **whole),
        grid_entry("velocity", vector, **away, **whole),
        grid_entry("smoke", half, topology_of=1, **whole),
    )
    flags, header = bytes(range(200)), b"header only"
    kind = "Tree_int32_5_4_3"
    passthrough = (
        PassthroughEntry(1, "flags", kind, False, None, 70, len(flags), (4, 5), "int32 values"),
        PassthroughEntry(2, "twin", kind, True, 1, 11, len(header), (6,), "shares a tree"),
    )
    parts = [Chunk("PASS", part) for part in (flags[:150], flags[150:], header)]
    chunks = [Chunk(kind, pack_tensors(tensors)) for kind, tensors in arrays]
    manifest = manifest_of(grids, None, passthrough, vdb_version=(224, 9, 1))
    return manifest, [*chunks, *parts]


EXAMPLES = {"empty": empty, "one_leaf": one_leaf, "fourier": fourier, "no_field": no_field}

if __name__ == "__main__":
    for name, make in EXAMPLES.items():
        path = VECTORS / f"{name}.inrv"
        if not path.exists():
            path.write_bytes(container_bytes(*make()))
