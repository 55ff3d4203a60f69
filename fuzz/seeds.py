"""Good files to start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fuzz.mutations import Seed, seed_of
from inrv.container import Chunk, Component, FieldEntry, Manifest, PassthroughEntry, container_bytes, pack_tensors
from inrv.grids import Topology
from inrv.storage.topology import store_topologies
from testing.examples import EXAMPLES, FIELD_CONFIG, field_tensors, grid_entry, topology, trees
from testing.vdb.referee import vdb_file
from testing.vdb.streamed import KINDS

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


def inrv_seeds() -> list[Seed]:
    """The golden files, and small ones made here; in a fixed order."""
    files = {path.stem: path.read_bytes() for path in sorted((FIXTURES / "golden").glob("*.inrv"))}
    built = {name: container_bytes(*make()) for name, make in EXAMPLES.items() if name not in files}
    made = {"bare": _bare(), "many": _many(), "silu": _silu(), "kept": _kept(), "passthrough": _passthrough(), "coded": _coded()}
    made["trees"] = container_bytes(*trees())
    return [seed_of(name, data) for name, data in (files | built | made).items()]


def vdb_seeds() -> list[tuple[str, bytes]]:
    """The smaller .vdb fixtures, and a file written to a stream."""
    files = [(path.stem, path.read_bytes()) for path in sorted(FIXTURES.glob("*.vdb")) if path.stat().st_size < 1 << 18]
    return [*files, ("stream", vdb_file(*KINDS.values(), offsets=False))]


def _bare() -> bytes:
    """One vec3s grid of two tiles, no leaf, no field."""
    tiles = topology({}, np.empty((0, 64), np.uint8), [(0, 0, 0, 8, 1), (4096, 0, 0, 4096, 0)])
    exact = {
        "tile_values": np.ones((2, 3), np.float32),
        "inactive_masks": np.empty((0, 64), np.uint8),
        "inactive_values": np.empty((0, 3), np.float32),
    }
    constant = (Component(1.0, 1.0, None),) * 3
    grid = grid_entry("v", constant, active_voxels=512, inactive_values=1)
    chunks = [Chunk("TOPO", pack_tensors(tiles)), Chunk("EXAC", pack_tensors(exact))]
    return container_bytes(Manifest("inrv", {}, (grid,), None, None, {}), chunks)


def _many() -> bytes:
    """Five grids that share one topology, one of its chunks referred to by none."""
    masks = np.full((2, 64), 255, np.uint8)
    shared = pack_tensors(topology({(0, 0, 0): [0, 1]}, masks, []))
    grid = grid_entry("g", (Component(-1.0, 2.0, 0),), active_voxels=1024, leaf_voxels=1024)
    grids = tuple(replace(grid, name=f"g{number % 3}") for number in range(5))
    chunks = [Chunk("TOPO", shared), Chunk("TOPO", shared), Chunk("FELD", pack_tensors(field_tensors()))]
    return container_bytes(Manifest("inrv", {}, grids, FieldEntry("fourier", FIELD_CONFIG, 2), None, {}), chunks)


def _silu() -> bytes:
    """A network without hidden layers, and one leaf."""
    masks = np.full((1, 64), 3, np.uint8)
    tensors = {
        "B": np.ones((2, 3), np.float16),
        "multipliers": np.ones(2, np.float32),
        "layers.0.weight": np.full((1, 4), 0.25, np.float32),
        "layers.0.bias": np.zeros(1, np.float16),
    }
    config = FIELD_CONFIG | {"frequencies": 2, "layers": 0, "neurons": 1, "outputs": 1, "activation": "silu"}
    grid = grid_entry("d", (Component(0.0, 1.0, 0),), active_voxels=128, leaf_voxels=128)
    chunks = [Chunk("TOPO", pack_tensors(topology({(0, 0, 0): [5]}, masks, []))), Chunk("FELD", pack_tensors(tensors))]
    return container_bytes(Manifest("inrv", {}, (grid,), FieldEntry("fourier", config, 1), None, {}), chunks)


def _kept() -> bytes:
    """A grid with kept values, and one whose topology is coarse; both with inactive values."""
    masks, marked = np.full((2, 64), 255, np.uint8), np.zeros((2, 64), np.uint8)
    masks[:, 0], marked[:, 1] = 15, 3
    inactive = np.zeros((2, 64), np.uint8)
    inactive[1, 0] = 128
    kept = {"exact_masks": marked, "exact_values": np.array([[np.nan], [np.inf], [-np.inf], [0.5]], np.float32)}
    exact = {
        "tile_values": np.empty((0, 1), np.float32),
        "inactive_masks": inactive,
        "inactive_values": np.ones((1, 1), np.float32),
    }
    payloads = [topology({(0, 0, 0): [0, 9]}, masks, []), field_tensors(), exact, kept]
    chunks = [
        Chunk(kind, pack_tensors(tensors)) for kind, tensors in zip(("TOPO", "FELD", "EXAC", "KEEP"), payloads, strict=True)
    ]
    grid = grid_entry("k", (Component(-1.0, 2.0, 0),), active_voxels=1016, leaf_voxels=1016, inactive_values=2, exact_values=3)
    coarse = replace(grid, name="t", threshold=0.25, components=(Component(-1.0, 2.0, 1),))
    return container_bytes(Manifest("inrv", {}, (grid, coarse), FieldEntry("fourier", FIELD_CONFIG, 1), None, {}), chunks)


def _passthrough() -> bytes:
    """Two carried grids, the second one sharing the tree of the first; and a coded one between them."""
    entry = PassthroughEntry(0, "points", "Tree_int32_5_4_3", False, None, 20, 100, (1, 2), "int32 values")
    other = PassthroughEntry(2, "twin", "Tree_int32_5_4_3", True, 0, 10, 10, (3,), "shares the tree of grid 0")
    masks = np.full((1, 64), 3, np.uint8)
    grid = grid_entry("d", (Component(0.5, 0.5, None),), active_voxels=128, leaf_voxels=128)
    chunks = [Chunk("TOPO", pack_tensors(topology({(0, 0, 0): [5]}, masks, [])))]
    chunks += [Chunk("GRID", bytes(range(60))), Chunk("GRID", bytes(40)), Chunk("GRID", b"0123456789")]
    return container_bytes(Manifest("inrv", {}, (grid,), None, None, {}, (entry, other), (224, 11, 0)), chunks)


def _coded() -> bytes:
    """Three topologies as the library stores them, each like the one before: fog, its border, its border and tiles."""
    axis = torch.arange(-20, 20)
    distance = torch.cartesian_prod(axis, axis, axis).float().norm(dim=1).reshape(40, 40, 40)
    topologies = [_ball(distance < 13), _ball((distance < 13) & (distance > 8)), _ball(distance < 3)]
    tiles = {"tile_origins": torch.tensor([[0, 0, 4096], [64, 0, 0]]), "tile_edges": torch.tensor([4096, 8])}
    typed = {name: values.to(torch.int32) for name, values in tiles.items()}
    topologies[2] = replace(topologies[2], tile_active=torch.tensor([False, True]), **typed)
    chunks: list[Chunk] = []
    numbers = store_topologies(topologies, chunks, trees=False)
    exact = {
        "tile_values": np.ones((2, 1), np.float32),
        "inactive_masks": np.zeros((topologies[2].leaf_count, 64), np.uint8),
        "inactive_values": np.empty((0, 1), np.float32),
    }
    chunks.append(Chunk("EXAC", pack_tensors(exact)))
    grids = []
    for number, held in zip(numbers, topologies, strict=True):
        counts = {"active_voxels": held.active_voxel_count, "leaf_voxels": held.leaf_voxel_count}
        tiled = len(chunks) - 1 if held.tile_count else None
        grids.append(grid_entry("g", (Component(0.5, 0.5, None),), topology=number, inactive_values=tiled, **counts))
    return container_bytes(Manifest("inrv", {}, tuple(grids), None, None, {}), chunks)


def _ball(active: torch.Tensor) -> Topology:
    """The topology of a dense mask, bool (8 n, 8 n, 8 n)."""
    edge = len(active) // 8
    blocks = active.reshape(edge, 8, edge, 8, edge, 8).permute(0, 2, 4, 1, 3, 5).reshape(-1, 512)
    origins = torch.cartesian_prod(*[torch.arange(edge) * 8] * 3)
    filled = blocks.any(dim=1)
    return Topology.from_leaves(origins[filled], blocks[filled])
