"""The tiny files of spec/vectors: one for each level of readers, and nothing in them compressed.

They are written from the specification alone.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

from spec.reference import lattice, masks
from spec.reference.read import (
    CHUNK_TYPES,
    DTYPES,
    HEADER,
    TABLE_ENTRY,
    Array,
    Tensors,
    default_networks,
    fourier,
)

Chunks = list[tuple[str, bytes]]
Box = list[list[int]]
IDENTITY = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]


# A writer


def file_of(manifest: dict[str, Any], chunks: Chunks) -> bytes:
    """The bytes of a file; nothing in it is compressed."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    offset, table = 48 + 40 * len(chunks) + len(text), b""
    for kind, payload in chunks:
        sizes = offset, len(payload), len(payload), zlib.crc32(payload)
        table += TABLE_ENTRY.pack(kind.encode(), CHUNK_TYPES[kind], 0, 0, *sizes, 0)
        offset += len(payload)
    about_manifest = 0, len(text), len(text), zlib.crc32(text)
    magic = b"\x89INRV\r\n\x1a"
    header = HEADER.pack(magic, 2, 0, len(chunks), offset, *about_manifest, zlib.crc32(table), 0)[
        :44
    ]
    return (
        header
        + struct.pack("<I", zlib.crc32(header))
        + table
        + text
        + b"".join(payload for _, payload in chunks)
    )


def payload_of(tensors: Tensors) -> bytes:
    """A safetensors file."""
    names = {np.dtype(code): name for name, code in DTYPES.items()}
    about, data = {}, b""
    for name in sorted(tensors):
        tensor = tensors[name]
        end = len(data) + tensor.nbytes
        about[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), end],
        }
        data += tensor.tobytes()
    text = json.dumps(about, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def manifest_of(grids: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    frame = {"number": None, "time": None, "metadata": {}, "vdb_version": None}
    frame |= {key: changes.pop(key) for key in frame if key in changes}
    frame |= {"grids": len(grids), "passthrough": len(changes.get("passthrough", []))}
    plain = {"generator": "spec", "frames": [frame], "grids": grids, "field": None, "encoding": {}}
    return plain | {"passthrough": []} | changes


def grid_of(
    leaf_voxels: int, active_voxels: int, box: Box, component: dict[str, Any], **changes: Any
) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": "density",
        "value_type": "float",
        "background": [0.0],
        "grid_class": "fog volume",
    }
    plain |= {
        "vector_type": "invariant",
        "saved_as_half": False,
        "map_type": "UniformScaleMap",
        "matrix": IDENTITY,
    }
    plain |= {
        "metadata": {},
        "active_voxels": active_voxels,
        "leaf_voxels": leaf_voxels,
        "box": box,
        "topology": 0,
    }
    plain |= {
        "inactive_values": None,
        "components": [component],
        "frequent_values": None,
        "exact_values": None,
    }
    plain |= {"threshold": None, "threshold_rule": "above", "topology_of": None, "outliers": None}
    return plain | changes


def coded(
    name: str, origins: Array, kinds: list[int], mask: Array | None, predicted: Array | None = None
) -> Tensors:
    """The tensors of masks of one region, or of none where there is no mask."""
    parts: list[bytes] = []
    if mask is not None:
        cells = (origins % 128 // 8) @ np.array([256, 16, 1])
        parts = [masks.encode(cells.tolist(), kinds, mask, predicted, log_lanes=0)]
    lengths = np.array([len(part) for part in parts], dtype="<i4")
    return {
        f"{name}_lengths": lengths,
        f"{name}_bytes": np.frombuffer(b"".join(parts), dtype=np.uint8),
    }


def triples(*rows: tuple[int, int, int]) -> Array:
    return np.array(rows, dtype="<i4").reshape(-1, 3)


def mask_of(rows: list[list[tuple[int, int, int]]]) -> Array:
    """Masks bool (rows, 512) of the voxels of each leaf, counted from its corner."""
    mask = np.zeros((len(rows), 512), dtype=bool)
    for leaf, voxels in enumerate(rows):
        mask[leaf, [64 * x + 8 * y + z for x, y, z in voxels]] = True
    return mask


# The files


def level_0() -> bytes:
    """No coded grid: metadata, and a grid that is passed through in two chunks."""
    entry = {
        "position": 0,
        "name": "flags",
        "tree_type": "Tree_int32_5_4_3",
        "half": False,
        "parent": None,
    }
    entry |= {"blocks": 2, "bytes": 5, "chunks": [0, 1], "reason": "int32 values"}
    metadata = {
        "frame": {"type": "int32", "value": -7},
        "exposure": {"type": "float", "value": {"float": "nan"}},
    }
    manifest = manifest_of([], metadata=metadata, passthrough=[entry], vdb_version=[224, 10, 0])
    return file_of(manifest, [("PASS", b"abc"), ("PASS", b"de")])


LEAVES = triples((0, 0, 0), (0, 0, 8))
ACTIVE = mask_of([[(0, 0, 0), (0, 0, 1), (7, 7, 7)], []]) | np.array([[False], [True]])


def topology_tensors(
    leaf_cells: Array, tile_cells: Array | None, active: Array, leaves: Array, **listed: Array
) -> Tensors:
    """TOPO tensors of leaves, and tiles, that lie in the block at the origin."""
    block, mixed = triples((0, 0, 0)), [masks.MIXED]
    kinds = [
        masks.FULL if row.all() else masks.MIXED if row.any() else masks.EMPTY for row in active
    ]
    return {
        "block_origins": block,
        "block_masks": np.packbits(np.arange(4096) < 1, bitorder="little")[None],
        **coded("leaf", block, mixed, leaf_cells),
        **coded("tile", block, mixed, tile_cells, leaf_cells),
        "tile_origins": listed.get("origins", triples()),
        "tile_edges": listed.get("edges", np.zeros(0, dtype="<i4")),
        "tile_active": listed.get("flags", np.zeros(0, dtype=np.uint8)),
        "leaf_kinds": np.array(kinds, dtype=np.uint8),
        **coded("mask", leaves, kinds, active),
        "mask_checksums": np.zeros(0, dtype="<i4"),
        "bits": np.zeros(0, dtype="<i4"),
        "predicted_from": np.zeros(0, dtype="<i4"),
    }


def level_1() -> bytes:
    """A mixed and a full leaf, an active and an inactive tile, and stored values of every kind."""
    cells, tile = mask_of([[(0, 0, 0), (0, 0, 1)]]), mask_of([[(0, 1, 0)]])
    edges, flags = np.array([4096], dtype="<i4"), np.array([0, 1], dtype=np.uint8)
    topology = topology_tensors(
        cells, tile, ACTIVE, LEAVES, origins=triples((4096, 0, 0)), edges=edges, flags=flags
    )
    inactive = mask_of([[(1, 1, 1), (7, 7, 6)], []])
    kinds = [masks.MIXED, masks.EMPTY]
    values = {
        "tile_values": np.array([[-3.0], [0.75]], dtype="<f4"),
        **coded("mask", LEAVES, kinds, inactive, ACTIVE),
        "inactive_values": np.array([[-1.0], [-2.0]], dtype="<f4"),
    }
    frequent = {
        "values": np.array([[0.25]], dtype="<f4"),
        "kinds": np.array([[masks.EMPTY, masks.FULL]], dtype=np.uint8),
        "mask_lengths": np.zeros((1, 1), dtype="<i4"),
        "mask_bytes": np.zeros(0, dtype=np.uint8),
    }
    exact = {
        "exact_masks": np.packbits(mask_of([[(7, 7, 7)], []]), axis=1, bitorder="little"),
        "exact_values": np.array([[2.0]], dtype="<f4"),
    }
    component = {"minimum": 0.5, "maximum": 0.5, "output": None}
    grid = grid_of(
        515,
        515 + 512,
        [[0, 0, 0], [7, 15, 15]],
        component,
        inactive_values=1,
        frequent_values=2,
        exact_values=3,
    )
    parts = [("TOPO", topology), ("INAC", values), ("FREQ", frequent), ("EXAC", exact)]
    return file_of(manifest_of([grid]), [(kind, payload_of(tensors)) for kind, tensors in parts])


def level_2() -> bytes:
    """One leaf of three active voxels, and a network with one hidden layer of three neurons."""
    network = {
        "B": np.array([[1.0, 0.0, 0.5], [0.0, -2.0, 1.0]], dtype="<f2"),
        "multipliers": np.array([1.0, 0.25], dtype="<f4"),
        "layers.0.weight.codes": np.array(
            [[100, -50, 25, 0], [10, 20, -30, 40], [-1, 2, -3, 4]], dtype=np.int8
        ),
        "layers.0.weight.step": np.array([0.01, 0.02, 0.1], dtype="<f4"),
        "layers.0.bias": np.array([0.5, -0.25, 0.125], dtype="<f2"),
        "layers.1.weight": np.array([[0.5, -0.5, 1.0]], dtype="<f4"),
        "layers.1.bias": np.array([0.25], dtype="<f4"),
    }
    config = {
        "frequencies": 2,
        "layers": 1,
        "neurons": 3,
        "origin": [4.0, 4.0, 4.0],
        "scale": 0.125,
        "activation": "silu",
        "time": None,
    }
    config |= {"tensors": 1, "samples": 2, "tolerance": None}
    coordinates = triples((0, 0, 0), (0, 0, 1), (7, 7, 7))
    samples = {
        "coordinates": coordinates,
        "outputs": fourier(config, network, coordinates).astype("<f4"),
    }
    topology = topology_tensors(mask_of([[(0, 0, 0)]]), None, ACTIVE[:1], LEAVES[:1])
    grid = grid_of(3, 3, [[0, 0, 0], [7, 7, 7]], {"minimum": -1.0, "maximum": 1.0, "output": 0})
    manifest = manifest_of([grid], field={"kind": "fourier", "outputs": 1, "config": config})
    return file_of(
        manifest,
        [
            (kind, payload_of(part))
            for kind, part in [("TOPO", topology), ("NETW", network), ("SAMP", samples)]
        ],
    )


def level_3() -> bytes:
    """One full leaf, and a channel in two lanes and four segments, whose codes are a pattern."""
    config: dict[str, Any] = {"steps": [32, 32, 32, 32, 46, 77, 128], "top": 2000, "scale": 2000.0}
    config |= {"background": 0, "reference": None, "exterior": True, "restoration": True}
    config |= {"motion": None, "second_reference": None, "second_motion": None}
    config |= {"set": 1, "fitted": False, "trellis": True, "wavelet": False}
    config |= {"offsets": False, "lossless": False}
    config |= {"codes": 1, "bits": None}
    pattern = np.array([5, 0, -1, 1, 0, 0, 2, -3, 0, 20, 0])
    writer = lattice.Writer(lambda tables: np.resize(pattern, len(tables)))
    networks = lattice.networks_of(config, {}, default_networks())
    active, known = np.zeros((2, lattice.EDGE, lattice.EDGE, lattice.EDGE), dtype=np.int64)
    active[:8, :8, :8] = 1
    header, empty = (64, 8), [b""] * 4
    lattice.Region(config, networks, writer, empty, header, active, None, known).decode()
    segments = writer.segments(default_networks()["prior"], 2)
    codes = {
        "means": np.array([header[0]], dtype=np.uint8),
        "spreads": np.array([header[1]], dtype=np.uint8),
        "lanes": np.array([1], dtype=np.uint8),
        "segments": np.array([4], dtype=np.uint8),
        "lengths": np.array([[len(segment) for segment in segments]], dtype="<i4"),
        "checksums": np.zeros((0, 4), dtype="<i4"),
        "bits": np.frombuffer(b"".join(segments), dtype=np.uint8),
    }
    full = np.ones((1, 512), dtype=bool)
    topology = topology_tensors(mask_of([[(0, 0, 0)]]), None, full, LEAVES[:1])
    component = {"minimum": 0.0, "maximum": 1.0, "output": 0}
    grid = grid_of(512, 512, [[0, 0, 0], [7, 7, 7]], component)
    about = {"networks": "default-1", "channels": [config]}
    manifest = manifest_of([grid], field={"kind": "lattice", "outputs": 1, "config": about})
    return file_of(
        manifest, [(kind, payload_of(part)) for kind, part in [("TOPO", topology), ("CODE", codes)]]
    )


FILES = {"level-0": level_0, "level-1": level_1, "level-2": level_2, "level-3": level_3}
