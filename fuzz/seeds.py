"""Good files to start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fuzz.mutations import Seed, seed_of
from inrv.container import CarriedEntry, Chunk, Component, FieldEntry, Manifest, container_bytes, pack_tensors
from tests.container.examples import EXAMPLES, FIELD_CONFIG, field_tensors, grid_entry, topology

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


def inrv_seeds() -> list[Seed]:
    """The golden files, and small ones made here; in a fixed order."""
    files = {path.stem: path.read_bytes() for path in sorted((FIXTURES / "golden").glob("*.inrv"))}
    built = {name: container_bytes(*make()) for name, make in EXAMPLES.items() if name not in files}
    made = {"bare": _bare(), "many": _many(), "silu": _silu(), "kept": _kept(), "carried": _carried()}
    return [seed_of(name, data) for name, data in (files | built | made).items()]


def vdb_seeds() -> list[tuple[str, bytes]]:
    """The smaller .vdb fixtures."""
    return [(path.stem, path.read_bytes()) for path in sorted(FIXTURES.glob("*.vdb")) if path.stat().st_size < 1 << 18]


def _bare() -> bytes:
    """One vec3s grid of two tiles, no leaf, no field."""
    tiles = topology({}, np.empty((0, 64), np.uint8), [(0, 0, 0, 8, 1), (4096, 0, 0, 4096, 0)])
    exact = {
        "tile_values": np.ones((2, 3), np.float32),
        "inactive_masks": np.empty((0, 64), np.uint8),
        "inactive_values": np.empty((0, 3), np.float32),
    }
    constant = (Component(1.0, 1.0, None),) * 3
    grid = grid_entry("v", constant, active_voxels=512, exact_values=1)
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
    kept = {"kept_masks": marked, "kept_values": np.array([[np.nan], [np.inf], [-np.inf], [0.5]], np.float32)}
    exact = {
        "tile_values": np.empty((0, 1), np.float32),
        "inactive_masks": inactive,
        "inactive_values": np.ones((1, 1), np.float32),
    }
    payloads = [topology({(0, 0, 0): [0, 9]}, masks, []), field_tensors(), exact, kept]
    chunks = [
        Chunk(kind, pack_tensors(tensors)) for kind, tensors in zip(("TOPO", "FELD", "EXAC", "KEEP"), payloads, strict=True)
    ]
    grid = grid_entry("k", (Component(-1.0, 2.0, 0),), active_voxels=1016, leaf_voxels=1016, exact_values=2, kept_values=3)
    coarse = replace(grid, name="t", threshold=0.25, components=(Component(-1.0, 2.0, 1),))
    return container_bytes(Manifest("inrv", {}, (grid, coarse), FieldEntry("fourier", FIELD_CONFIG, 1), None, {}), chunks)


def _carried() -> bytes:
    """Two carried grids, the second one sharing the tree of the first; and a coded one between them."""
    entry = CarriedEntry(0, "points", "Tree_int32_5_4_3", False, None, 20, 100, (1, 2), "int32 values")
    other = CarriedEntry(2, "twin", "Tree_int32_5_4_3", True, 0, 10, 10, (3,), "shares the tree of grid 0")
    masks = np.full((1, 64), 3, np.uint8)
    grid = grid_entry("d", (Component(0.5, 0.5, None),), active_voxels=128, leaf_voxels=128)
    chunks = [Chunk("TOPO", pack_tensors(topology({(0, 0, 0): [5]}, masks, [])))]
    chunks += [Chunk("GRID", bytes(range(60))), Chunk("GRID", bytes(40)), Chunk("GRID", b"0123456789")]
    return container_bytes(Manifest("inrv", {}, (grid,), None, None, {}, (entry, other), (224, 11, 0)), chunks)
