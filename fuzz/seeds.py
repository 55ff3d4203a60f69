"""Good files to start from."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzz.mutations import Seed, seed_of
from inrv import files
from inrv.container import (
    Chunk,
    Component,
    FieldEntry,
    PassthroughEntry,
    container_bytes,
    pack_tensors,
)
from inrv.files.nanovdb.structs import READ
from inrv.grids import LEAF_VOXELS, Topology
from inrv.storage.coded_masks import pack_coded
from inrv.storage.topology import store_topologies
from testing.examples import (
    EXAMPLES,
    coded_inactive,
    field_entry,
    field_tensors,
    grid_entry,
    keys_of,
    keys_of_topology,
    manifest_of,
    topology,
)
from testing.nvdb import one_leaf, segment
from testing.vdb.referee import vdb_file
from testing.vdb.streamed import KINDS

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
LEAF = [(0, 0, 40)]


def inrv_seeds() -> list[Seed]:
    """Return the golden files and small ones made here, in a fixed order."""
    golden = sorted((FIXTURES / "golden").glob("*.inrv"))
    files = {path.stem: path.read_bytes() for path in golden}
    built = {name: container_bytes(*make()) for name, make in EXAMPLES.items() if name not in files}
    made = {
        "bare": _bare(),
        "many": _many(),
        "silu": _silu(),
        "exact_values": _exact(),
        "passthrough": _passthrough(),
        "predicted": _predicted(),
    }
    return [seed_of(name, data) for name, data in (files | built | made).items()]


def vdb_seeds() -> list[tuple[str, bytes]]:
    """Return the smaller .vdb fixtures, and a file written to a stream."""
    paths = [path for path in sorted(FIXTURES.glob("*.vdb")) if path.stat().st_size < 1 << 18]
    files = [(path.stem, path.read_bytes()) for path in paths]
    return [*files, ("stream", vdb_file(*KINDS.values(), offsets=False))]


def nvdb_seeds() -> list[tuple[str, bytes]]:
    """Return a leaf of every type of NanoVDB, plain and zipped, and fixtures as .nvdb files."""
    made = []
    for number, kind in READ.items():
        bits = {"bits": 4, "flags": 2 << 5} if kind.bits == 0 else {}
        values = np.arange(LEAF_VOXELS * kind.components).reshape(LEAF_VOXELS, -1) % 16
        raw = one_leaf(number, values, np.arange(LEAF_VOXELS) % 3 == 0, **bits)
        made += [(kind.name, raw), (f"{kind.name}_zip", segment(("leaf", raw), zipped=True))]
    for name in ("tiles", "empty"):
        for compress in (True, False):
            stream = io.BytesIO()
            volume = files.read(FIXTURES / f"{name}.vdb")
            files.write(stream, volume, ".nvdb", compress=compress)
            made.append((f"{name}_{compress}", stream.getvalue()))
    return made


def _file(
    grids: list[Any], chunks: list[tuple[str, dict[str, Any]]], field: FieldEntry | None = None
) -> bytes:
    """Return a file of these grids and chunks of tensors."""
    packed = [Chunk(kind, pack_tensors(tensors)) for kind, tensors in chunks]
    return container_bytes(manifest_of(grids, field), packed)


def _bare() -> bytes:
    """Return one vec3s grid of two tiles, without a leaf and a field."""
    tiles, none = [(0, 0, 0, 8, 1), (4096, 0, 0, 4096, 0)], np.empty((0, 64), np.uint8)
    values = {
        "tile_values": np.ones((2, 3), np.float32),
        **pack_coded("mask", []),
        "inactive_values": np.empty((0, 3), np.float32),
    }
    constant = (Component(1.0, 1.0, None),) * 3
    grid = grid_entry("v", constant, inactive_values=1, **keys_of([], none, tiles))
    return _file([grid], [("TOPO", topology([], none, tiles)), ("INAC", values)])


def _many() -> bytes:
    """Return five grids that share one topology, one of its chunks referred to by none."""
    leaves, masks = [(0, 0, 0), (0, 0, 8)], np.full((2, 64), 255, np.uint8)
    shared = topology(leaves, masks)
    grid = grid_entry("g", (Component(-1.0, 2.0, 0),), **keys_of(leaves, masks))
    grids = [replace(grid, name=f"g{number % 3}") for number in range(5)]
    chunks = [("TOPO", shared), ("TOPO", shared), ("NETW", field_tensors())]
    return _file(grids, chunks, field_entry(2))


def _silu() -> bytes:
    """Return one leaf, coded by a network without hidden layers."""
    masks = np.full((1, 64), 3, np.uint8)
    tensors = {
        "B": np.ones((2, 3), np.float16),
        "multipliers": np.ones(2, np.float32),
        "layers.0.weight": np.full((1, 4), 0.25, np.float32),
        "layers.0.bias": np.zeros(1, np.float16),
    }
    sizes: dict[str, Any] = {"frequencies": 2, "layers": 0, "neurons": 1, "activation": "silu"}
    grid = grid_entry("d", (Component(0.0, 1.0, 0),), **keys_of(LEAF, masks))
    chunks = [("TOPO", topology(LEAF, masks)), ("NETW", tensors)]
    return _file([grid], chunks, field_entry(1, 1, **sizes))


def _exact() -> bytes:
    """Return a grid with exact values, and one with a threshold; both with inactive values."""
    leaves = [(0, 0, 0), (0, 0, 72)]
    masks, marked = np.full((2, 64), 255, np.uint8), np.zeros((2, 64), np.uint8)
    masks[:, 0], marked[:, 1] = 15, 3
    inactive = np.zeros((2, 64), np.uint8)
    inactive[1, 0] = 128
    odd = np.array([[np.nan], [np.inf], [-np.inf], [0.5]], np.float32)
    exact = {"exact_masks": marked, "exact_values": odd}
    values = {
        "tile_values": np.empty((0, 1), np.float32),
        **coded_inactive(leaves, inactive, masks),
        "inactive_values": np.ones((1, 1), np.float32),
    }
    chunks = [("TOPO", topology(leaves, masks)), ("NETW", field_tensors())]
    chunks += [("INAC", values), ("EXAC", exact)]
    stored = {"inactive_values": 2, "exact_values": 3} | keys_of(leaves, masks)
    grid = grid_entry("k", (Component(-1.0, 2.0, 0),), **stored)
    whole = replace(grid, name="t", threshold=0.25, components=(Component(-1.0, 2.0, 1),))
    shared = replace(grid, name="s", topology_of=1, components=(Component(-1.0, 2.0, 2),))
    return _file([grid, whole, shared], chunks, field_entry(1))


def _passthrough() -> bytes:
    """Return two passthrough grids that share a tree, and a coded one between them."""
    kind = "Tree_int32_5_4_3"
    entry = PassthroughEntry(0, "points", kind, False, None, 20, 100, (1, 2), "int32 values")
    other = PassthroughEntry(2, "twin", kind, True, 0, 10, 10, (3,), "shares the tree of grid 0")
    masks = np.full((1, 64), 3, np.uint8)
    grid = grid_entry("d", (Component(0.5, 0.5, None),), **keys_of(LEAF, masks))
    chunks = [Chunk("TOPO", pack_tensors(topology(LEAF, masks)))]
    chunks += [Chunk("PASS", part) for part in (bytes(range(60)), bytes(40), b"0123456789")]
    manifest = manifest_of([grid], None, [entry, other], vdb_version=(224, 11, 0))
    return container_bytes(manifest, chunks)


def _predicted() -> bytes:
    """Return three topologies as the library stores them, each like the one before.

    They are fog, its border, and its border with tiles.
    """
    axes = np.indices((40, 40, 40)) - 20
    distance = np.sqrt((axes**2).sum(axis=0))
    shapes = [distance < 13, (distance < 13) & (distance > 8), distance < 3]
    topologies = [_of_dense(shape) for shape in shapes]
    topologies[2] = replace(
        topologies[2],
        tile_origins=np.array([[0, 0, 4096], [64, 0, 0]], np.int32),
        tile_edges=np.array([4096, 8], np.int32),
        tile_active=np.array([False, True]),
    )
    chunks: list[Chunk] = []
    numbers = store_topologies(topologies, chunks)
    values = {
        "tile_values": np.ones((2, 1), np.float32),
        **pack_coded("mask", []),
        "inactive_values": np.empty((0, 1), np.float32),
    }
    chunks.append(Chunk("INAC", pack_tensors(values)))
    grids = []
    for number, held in zip(numbers, topologies, strict=True):
        tiled = len(chunks) - 1 if held.tile_count else None
        keys = {"topology": number, "inactive_values": tiled} | keys_of_topology(held)
        grids.append(grid_entry("g", (Component(0.5, 0.5, None),), **keys))
    return container_bytes(manifest_of(grids), chunks)


def _of_dense(active: NDArray[np.bool_]) -> Topology:
    """Return the topology of a dense mask, bool (8 n, 8 n, 8 n)."""
    edge = len(active) // 8
    blocks = active.reshape(edge, 8, edge, 8, edge, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 512)
    origins = np.argwhere(np.ones((edge, edge, edge), np.bool_)) * 8
    filled = blocks.any(axis=1)
    return Topology.from_leaves(origins[filled], blocks[filled])
