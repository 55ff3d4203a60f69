"""A second reader of .inrv files, written from format_spec.md alone: it shares no line with the library.

Needs struct, json, zlib, zstandard and numpy; coded masks are decoded by spec/reference/masks.py, a lattice by
spec/reference/lattice.py, written likewise.
`python -m spec.reference.read FILE` prints what is in a file. Section numbers are those of the specification. It is
written to be read, not to be fast, and raises ValueError for what it refuses.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from spec.reference import lattice
from spec.reference import masks as mask_decoder

Tensors = dict[str, np.ndarray]
DTYPES = {"I8": "<i1", "U8": "<u1", "I16": "<i2", "I32": "<i4", "F16": "<f2", "F32": "<f4"}
CRITICAL = b"TOPO", b"MASK", b"TREE", b"EXAC", b"INAC", b"KEEP", b"FREQ", b"FELD", b"CODE", b"GRID"
KNOWN = {b"REFS": 0} | dict.fromkeys(CRITICAL, 1)
Chunks = tuple[tuple[str, bytes | None], ...]
CODEC = Path(__file__).resolve().parents[2] / "codec" / "inrv"
DEFAULT_NETWORKS = CODEC / "fields" / "lattice" / "default.safetensors"
DICTIONARY = CODEC / "container" / "dictionary-1.bin"


@dataclass
class DecodedGrid:
    """One grid: active leaf voxels in order, tiles, and inactive voxels that are not the background."""

    entry: dict[str, Any]
    coordinates: np.ndarray  # int32 (N, 3)
    values: np.ndarray  # float32 (N, C)
    tile_origins: np.ndarray  # int32 (T, 3)
    tile_edges: np.ndarray  # int32 (T,)
    tile_active: np.ndarray  # uint8 (T,)
    tile_values: np.ndarray  # float32 (T, C)
    inactive_coordinates: np.ndarray  # int32 (M, 3)
    inactive_values: np.ndarray  # float32 (M, C)


def require(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(rule)


# Sections 3 to 5: header, chunk table, stored and raw bytes


def raw_bytes(data: bytes, offset: int, stored: int, raw: int, compression: int, checksum: int) -> bytes:
    (minor,) = struct.unpack_from("<H", data, 10)
    part = data[offset : offset + stored]
    require(len(part) == stored and zlib.crc32(part) == checksum, "checksum does not hold")
    if compression == 0:
        require(stored == raw, "stored and raw size differ")
        return part
    require(compression in ((1, 2) if minor >= 2 else (1,)) and stored < raw, "compression is not known or useless")
    dictionary = None
    if compression == 2:
        part, dictionary = b"\x28\xb5\x2f\xfd" + part, zstandard.ZstdCompressionDict(DICTIONARY.read_bytes())
    require(zstandard.frame_content_size(part) == raw, "content size is not the raw size")
    return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(part, allow_extra_data=False)


def open_file(data: bytes) -> tuple[dict[str, Any], Chunks]:
    """Manifest, and type and payload of every chunk; None for ancillary chunks of unknown type."""
    require(data[:8] == b"\x89INRV\r\n\x1a", "magic differs")
    require(len(data) >= 48 and struct.unpack_from("<H", data, 8)[0] == 1, "major version is not 1")
    _, count, size, compression, stored, raw, manifest_crc, table_crc, header_crc = struct.unpack_from("<HIQIIIIII", data, 10)
    require(zlib.crc32(data[:44]) == header_crc, "header checksum does not hold")
    require(size == len(data), "file size differs")
    end = 48 + 40 * count
    require(zlib.crc32(data[48:end]) == table_crc, "table checksum does not hold")
    manifest = json.loads(raw_bytes(data, end, stored, raw, compression, manifest_crc))
    end += stored
    chunks: list[tuple[str, bytes | None]] = []
    for number in range(count):
        kind, flags, compression, spare, offset, stored, raw, checksum, reserved = struct.unpack_from(
            "<4sBBHQQQII", data, 48 + 40 * number
        )
        require(kind in KNOWN or flags == 0, f"critical chunk {kind!r} is not known")
        require(flags == KNOWN.get(kind, 0) and spare == 0 and reserved == 0, "flags or reserved bytes")
        require(offset == end, "chunks do not touch")
        payload = raw_bytes(data, offset, stored, raw, compression, checksum) if kind in KNOWN else None
        chunks.append((kind.decode("ascii"), payload))
        end += stored
    require(end == size, "bytes behind the last chunk")
    return manifest, tuple(chunks)


# Section 7: tensors


def tensors_of(payload: bytes) -> Tensors:
    (length,) = struct.unpack_from("<Q", payload)
    header = json.loads(payload[8 : 8 + length])
    tensors = {}
    for name, about in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + at for at in about["data_offsets"])
            tensors[name] = np.frombuffer(payload[begin:end], dtype=DTYPES[about["dtype"]]).reshape(about["shape"])
    return tensors


def field_tensor(tensors: Tensors, name: str) -> np.ndarray:
    """One tensor of the field, float32, from whichever way it is stored in."""
    if name in tensors:
        return tensors[name].astype(np.float32)
    step = tensors[f"{name}.step"][:, None]
    if f"{name}.codes" in tensors:
        return tensors[f"{name}.codes"].astype(np.float32) * step
    high, low = tensors[f"{name}.codes_high"].astype(np.int32), tensors[f"{name}.codes_low"].astype(np.int32)
    return (256 * high + low).astype(np.float32) * step


# Section 8: topology


def bits(masks: np.ndarray) -> np.ndarray:
    """(rows, bytes) to (rows, 8 * bytes), bit i at column i."""
    return np.unpackbits(masks, axis=1, bitorder="little")


def leaf_origins(topology: Tensors) -> np.ndarray:
    if "leaf_origins" in topology:
        return topology["leaf_origins"]
    node, i = np.nonzero(bits(topology["node_masks"]))
    return topology["node_origins"][node] + 8 * np.stack([i >> 8, (i >> 4) & 15, i & 15], axis=1).astype(np.int32)


@lru_cache(maxsize=16)  # coded ones take long
def leaf_masks(chunks: Chunks, number: int) -> np.ndarray:
    """Masks uint8 (L, 64) of a TOPO, MASK or TREE chunk."""
    topology = topology_of(chunks, number)
    if "leaf_masks" in topology:
        return topology["leaf_masks"]
    origins = [tuple(map(int, origin)) for origin in leaf_origins(topology)]
    words = topology["coded_masks"].view("<u4").tolist()
    roots = topology["predicted_from"].tolist()
    require(len(roots) < 2 and all(root < number for root in roots), "predicted from a chunk that does not stand before")
    inside = None if not roots else active_in(chunks, roots[0])
    return masks_of(mask_decoder.decode(origins, topology["leaf_kinds"].tolist(), words, inside), origins)


def masks_of(found: set[mask_decoder.Voxel], origins: list[mask_decoder.Voxel]) -> np.ndarray:
    """Masks uint8 (L, 64) of the leaves at `origins`, of a set of their voxels."""
    rows = np.zeros((len(origins), 512), dtype=np.uint8)
    for leaf, (x, y, z) in enumerate(origins):
        rows[leaf] = [(x + (i >> 6), y + (i >> 3 & 7), z + (i & 7)) in found for i in range(512)]
    return np.packbits(rows, axis=1, bitorder="little")


def active_in(chunks: Chunks, number: int) -> Callable[[tuple[int, int, int]], int]:
    """Whether a voxel is active in a topology, in a leaf or an active tile."""
    topology = topology_of(chunks, number)
    require(len(topology.get("predicted_from", ())) == 0, "predicted from a chunk that is itself predicted")
    coordinates = {tuple(map(int, voxel)) for voxel in voxels(leaf_origins(topology), leaf_masks(chunks, number))}
    tiles = zip(topology["tile_origins"].tolist(), topology["tile_edges"].tolist(), topology["tile_active"].tolist(), strict=True)
    solid = [(origin, edge) for origin, edge, active in tiles if active]

    def active(voxel: tuple[int, int, int]) -> int:
        in_tile = any(all(low <= at < low + edge for at, low in zip(voxel, origin, strict=True)) for origin, edge in solid)
        return int(voxel in coordinates or in_tile)

    return active


@lru_cache(maxsize=16)
def topology_of(chunks: Chunks, number: int) -> Tensors:
    """Tensors of a TOPO, MASK or TREE chunk, with the `leaf_origins` and all tiles of a TREE."""
    kind, payload = chunks[number]
    require(kind in ("TOPO", "MASK", "TREE") and payload is not None, f"chunk {number} is no topology")
    assert payload is not None
    tensors = tensors_of(payload)
    return tensors if kind != "TREE" else tensors | cells_of(tensors)


def cells_of(tree: Tensors) -> Tensors:
    """Leaves and tiles of a TREE."""
    blocks = leaf_origins({"node_origins": tree["block_origins"], "node_masks": tree["block_masks"]})
    origins = [tuple(map(int, origin)) for origin in blocks]
    leaves = mask_decoder.decode(origins, [0] * len(origins), tree["leaf_words"].view("<u4").tolist())
    words = tree["tile_words"].view("<u4").tolist()
    tiles = mask_decoder.decode(origins, [0] * len(origins), words, lambda cell: int(cell in leaves)) if words else set()
    require(not leaves & tiles, "a cell is a leaf and a tile")
    held = {tuple(at - at % 8 for at in cell) for cell in leaves | tiles}
    require(held == set(origins), "a block is empty")
    small = in_key_order(tiles)
    edges = np.concatenate([tree["tile_edges"], np.full(len(small), 8, dtype=np.int32)])
    return {
        "leaf_origins": in_key_order(leaves),
        "tile_origins": np.concatenate([tree["tile_origins"], small]),
        "tile_edges": edges,
    }


def in_key_order(cells: set[tuple[int, int, int]]) -> np.ndarray:
    """Origins int32 (n, 3) in voxels of cells: node by node, then by x, y, z."""
    ordered = sorted(cells, key=lambda cell: ([at // 16 for at in cell], cell))
    return np.array(ordered, dtype=np.int32).reshape(-1, 3) * 8


def in_voxel_order(coordinates: np.ndarray) -> np.ndarray:
    """The order int64 (N,) of voxels (N, 3): by node, by leaf, by place in the leaf."""
    keys = [coordinates[:, axis] // edge for edge in (128, 8, 1) for axis in range(3)]
    return np.lexsort(keys[::-1])


def voxels(origins: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Coordinates int32 (N, 3) of the set bits, leaf by leaf."""
    leaf, i = np.nonzero(bits(masks))
    return origins[leaf] + np.stack([i >> 6, (i >> 3) & 7, i & 7], axis=1).astype(np.int32)


# Section 9: the field


def fourier(config: dict[str, Any], tensors: Tensors, coordinates: np.ndarray) -> np.ndarray:
    """Outputs float32 (N, outputs)."""
    position = (coordinates.astype(np.float32) - np.array(config["origin"], dtype=np.float32)) * np.float32(config["scale"])
    frequencies = field_tensor(tensors, "multipliers")[:, None] * field_tensor(tensors, "B")
    turns = np.float32(2 * np.pi) * (position @ frequencies.T)
    hidden = np.concatenate([np.cos(turns), np.sin(turns)], axis=1)
    for index in range(config["layers"] + 1):
        hidden = hidden @ field_tensor(tensors, f"layers.{index}.weight").T + field_tensor(tensors, f"layers.{index}.bias")
        if index < config["layers"]:
            with np.errstate(over="ignore"):  # exp may be infinite, silu is 0 then
                hidden = np.maximum(hidden, 0) if config["activation"] == "relu" else hidden / (1 + np.exp(-hidden))
    return hidden


def lattice_channel(manifest: dict[str, Any], chunks: Chunks, number: int) -> lattice.Channel:
    """Channel `number` of the file's lattice, with the ones it is given."""
    field = manifest["field"]["config"]
    require(field["networks"] == "default-1", "the default networks are not known")
    config = field["channels"][number]
    require(not (config["corrected"] and config["lossless"]), "a lossless channel has offsets")
    (entry,) = [e for e in manifest["grids"] for component in e["components"] if component["output"] == number]
    (place,) = [place for place, component in enumerate(entry["components"]) if component["output"] == number]
    origins = leaf_origins(topology_of(chunks, entry["topology"]))
    masks, values = stored_apart(chunks, entry, "exact_values")
    tensors, defaults = tensors_of(payload_of(chunks, config["codes"], "CODE")), tensors_of(DEFAULT_NETWORKS.read_bytes())
    units = lattice.units_of(config, tensors, entry["components"][place]["minimum"], entry["components"][place]["maximum"])
    return lattice.Channel(
        config,
        tensors,
        defaults,
        origins,
        voxels(origins, leaf_masks(chunks, entry["topology"]) & ~masks),
        given=None if config["given"] is None else lattice_channel(manifest, chunks, config["given"]),
        around=inactive_units(chunks, entry, place, units) if config["surrounded"] else None,
        apart=(voxels(origins, masks), units(values[:, place])),
    )


def inactive_units(
    chunks: Chunks, entry: dict[str, Any], place: int, units: Callable[[np.ndarray], np.ndarray]
) -> Callable[[lattice.Corner], np.ndarray]:
    """What gives component `place` of a region's inactive voxels in units; active leaf voxels are background."""
    topology = topology_of(chunks, entry["topology"])
    exact = exact_tensors(chunks, entry, topology)
    inactive = voxels(leaf_origins(topology), exact["inactive_masks"])

    def around(corner: lattice.Corner) -> np.ndarray:
        values = np.full((lattice.EDGE,) * 3, entry["background"][place], dtype=np.float32)
        for origin, edge, value in zip(topology["tile_origins"], topology["tile_edges"], exact["tile_values"], strict=True):
            first = np.clip(origin.astype(np.int64) - corner, 0, lattice.EDGE)
            last = np.clip(origin.astype(np.int64) + edge - corner, 0, lattice.EDGE)
            values[tuple(slice(*ends) for ends in zip(first, last, strict=True))] = value[place]
        inside = (inactive // lattice.EDGE * lattice.EDGE == corner).all(axis=1)
        values[tuple((inactive[inside] - corner).T)] = exact["inactive_values"][inside, place]
        return units(values)

    return around


def exact_tensors(chunks: Chunks, entry: dict[str, Any], topology: Tensors) -> Tensors:
    """Values of tiles and inactive voxels."""
    number = entry["inactive_values"]
    if number is not None and chunks[number][0] == "INAC":
        return inactive_tensors(tensors_of(payload_of(chunks, number, "INAC")), topology, leaf_masks(chunks, entry["topology"]))
    if number is not None:
        return tensors_of(payload_of(chunks, number, "EXAC"))
    require(len(topology["tile_edges"]) == 0, "tiles without an EXAC chunk")
    return {
        "tile_values": np.empty((0, len(entry["components"])), dtype=np.float32),
        "inactive_masks": np.zeros((len(leaf_origins(topology)), 64), dtype=np.uint8),
        "inactive_values": np.empty((0, len(entry["components"])), dtype=np.float32),
    }


def inactive_tensors(tensors: Tensors, topology: Tensors, masks: np.ndarray) -> Tensors:
    """Those of an INAC chunk with `inactive_masks` uint8 (L, 64)."""
    origins = [tuple(map(int, origin)) for origin in leaf_origins(topology)]
    kinds = [2 if (mask == 255).all() else 0 for mask in masks]
    active = {tuple(map(int, voxel)) for voxel in voxels(leaf_origins(topology), masks)}
    words = tensors["coded_masks"].view("<u4").tolist()
    inactive = mask_decoder.decode(origins, kinds, words, lambda voxel: int(voxel in active))
    require(not inactive & active, "an inactive voxel is active")
    return tensors | {"inactive_masks": masks_of(inactive, origins)}


@lru_cache(maxsize=16)
def frequent_values(chunks: Chunks, topology: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks uint8 (K, L, 64) and values float32 (K, C) of a FREQ chunk."""
    tensors = tensors_of(payload_of(chunks, number, "FREQ"))
    values, kinds, counts = (tensors[name] for name in ("values", "kinds", "word_counts"))
    require(1 <= len(values) <= 256 and len(values) - len(kinds) in (0, 1), "frequent values have too many masks or too few")
    require(not (counts < 0).any() and 4 * counts.sum() == len(tensors["coded_masks"]), "word_counts do not add up")
    require(not (kinds > 2).any(), "a kind is not known")
    open_masks = leaf_masks(chunks, topology).copy()
    origins = leaf_origins(topology_of(chunks, topology))
    leaves = [tuple(map(int, origin)) for origin in origins]
    words, masks = tensors["coded_masks"].view("<u4").tolist(), []
    for own, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        still_open = {tuple(map(int, voxel)) for voxel in voxels(origins, open_masks)}
        found = mask_decoder.decode(leaves, own, words[:count], still_open.__contains__)
        require(found <= still_open, "a voxel with a frequent value is not open")
        masks.append(masks_of(found, leaves))
        open_masks &= ~masks[-1]
        words = words[count:]
    return np.array(masks + [open_masks] * (len(values) - len(kinds))), values


def stored_apart(chunks: Chunks, entry: dict[str, Any], *keys: str) -> tuple[np.ndarray, np.ndarray]:
    """Masks uint8 (L, 64) of the voxels with frequent values and those of the KEEP chunks of `keys`, and their values (n, C)."""
    active, values = leaf_masks(chunks, entry["topology"]), np.empty((0, len(entry["components"])), dtype=np.float32)
    parts = [(np.zeros_like(active), values)]
    if entry.get("frequent_values") is not None:
        masks, frequent = frequent_values(chunks, entry["topology"], entry["frequent_values"])
        parts += [(mask, np.repeat(value[None], bits(mask).sum(), axis=0)) for mask, value in zip(masks, frequent, strict=True)]
    for key in keys:
        if entry.get(key) is not None:
            tensors = tensors_of(payload_of(chunks, entry[key], "KEEP"))
            before = np.bitwise_or.reduce([mask for mask, _ in parts])
            require(key == "outliers" or not (tensors["exact_masks"] & before).any(), "a voxel has two values")
            parts.append((tensors["exact_masks"], tensors["exact_values"]))
    joined = np.bitwise_or.reduce([mask for mask, _ in parts])
    require(not (joined & ~active).any(), "a kept voxel is not active")
    found = np.zeros((joined.size * 8, values.shape[1]), dtype=np.float32)
    for mask, own in parts:
        found.view(np.uint32)[bits(mask).reshape(-1) == 1] = np.ascontiguousarray(own).view(np.uint32)
    return joined, found[bits(joined).reshape(-1) == 1]


def outputs(manifest: dict[str, Any], chunks: Chunks, coordinates: np.ndarray, columns: list[int] | None = None) -> np.ndarray:
    """Outputs of the file's field float32 (N, outputs), in batches; of a lattice float64, NaN in other than the `columns`."""
    field = manifest["field"]
    if field["type"] == "lattice":
        found = np.full((len(coordinates), field["config"]["outputs"]), np.nan)
        for column in range(field["config"]["outputs"]) if columns is None else columns:
            found[:, column] = lattice_channel(manifest, chunks, column).outputs(coordinates)
        return found
    require(field["type"] == "fourier", "field type is not known")
    tensors = tensors_of(payload_of(chunks, field["tensors"], "FELD"))
    batches = np.array_split(coordinates, len(coordinates) // 16384 + 1)
    return np.concatenate([fourier(field["config"], tensors, batch) for batch in batches])


# Section 10: decoding


def payload_of(chunks: Chunks, number: int, kind: str) -> bytes:
    found, payload = chunks[number]
    require(found == kind and payload is not None, f"chunk {number} is not {kind}")
    assert payload is not None
    return payload


def component_values(
    manifest: dict[str, Any], component: dict[str, Any], found: np.ndarray, count: int, clamp: bool = True
) -> np.ndarray:
    low, high, output = component["minimum"], component["maximum"], component["output"]
    if output is None:
        return np.full(count, low, dtype=np.float32)
    if manifest["field"]["type"] == "lattice" and manifest["field"]["config"]["channels"][output]["lossless"]:
        return found[:, output].astype(np.float32)
    value = low + (high - low) * found[:, output].astype(np.float64)
    return (np.minimum(np.maximum(value, low), high) if clamp else value).astype(np.float32)


def decode_grid(manifest: dict[str, Any], chunks: Chunks, entry: dict[str, Any]) -> DecodedGrid:
    topology = topology_of(chunks, entry["topology"])
    origins, masks = leaf_origins(topology), leaf_masks(chunks, entry["topology"])
    coordinates = voxels(origins, masks)
    require(len(coordinates) == entry["leaf_voxels"], "leaf_voxels differs")
    edges = topology["tile_edges"].astype(np.int64)
    tiled = int((edges**3)[topology["tile_active"] == 1].sum())
    require(len(coordinates) + tiled == entry["active_voxels"], "active_voxels differs")

    components = entry["components"]
    coded = [component["output"] for component in components if component["output"] is not None]
    found = outputs(manifest, chunks, coordinates, coded) if coded else np.empty((len(coordinates), 0), dtype=np.float32)
    values = np.stack([component_values(manifest, component, found, len(coordinates)) for component in components], axis=1)
    apart, stored = stored_apart(chunks, entry, "exact_values", "outliers")
    kept = bits(apart)[bits(masks) == 1] == 1
    values.view(np.uint32)[kept] = stored.view(np.uint32)
    exact = exact_tensors(chunks, entry, topology)
    inactive, inactive_values = voxels(origins, exact["inactive_masks"]), exact["inactive_values"]
    if entry.get("topology_of") is not None:
        named = decode_grid(manifest, chunks, manifest["grids"][entry["topology_of"]])
        require(named.entry.get("threshold") is not None, "a grid has the topology of one without a threshold")
        require(entry.get("threshold") is None and named.entry["topology"] == entry["topology"], "topologies differ")
        theirs = {tuple(voxel) for voxel in named.coordinates.tolist()}
        stay = {tuple(leaf) for leaf in (np.concatenate([named.coordinates, named.inactive_coordinates]) // 8).tolist()}
        active = np.array([tuple(voxel) in theirs for voxel in coordinates.tolist()], dtype=bool)
        left = np.array([tuple(leaf) in stay for leaf in (inactive // 8).tolist()], dtype=bool)
        inactive, inactive_values = inactive[left], inactive_values[left]
        coordinates, values = coordinates[active], values[active]
    if entry.get("threshold") is not None:
        free = [component_values(manifest, component, found, len(coordinates), False) for component in components]
        background = np.array(entry["background"], dtype=np.float32)
        score = scores(entry.get("threshold_rule", "above"), np.stack(free, axis=1), background)
        above = kept | (score > np.float32(entry["threshold"]))
        inside = ~above & (free[0] < 0) & (entry.get("threshold_rule") == "within")
        stay = {tuple(leaf) for leaf in (coordinates[above | inside] // 8).tolist()}
        left = np.array([tuple(leaf) in stay for leaf in (inactive // 8).tolist()], dtype=bool)
        inactive = np.concatenate([inactive[left], coordinates[inside]])
        inactive_values = np.concatenate([inactive_values[left], np.tile(-background, (int(inside.sum()), 1))])
        order = in_voxel_order(inactive)
        inactive, inactive_values = inactive[order], inactive_values[order]
        coordinates, values = coordinates[above], values[above]

    return DecodedGrid(
        entry=entry,
        coordinates=coordinates,
        values=values,
        tile_origins=topology["tile_origins"],
        tile_edges=topology["tile_edges"],
        tile_active=topology["tile_active"],
        tile_values=exact["tile_values"],
        inactive_coordinates=inactive,
        inactive_values=inactive_values,
    )


def scores(rule: str, values: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Scores float32 (N,) of float32 values (N, C)."""
    if rule == "above":
        return values[:, 0]
    if rule == "within":
        return np.abs(background[0]) - np.abs(values[:, 0])
    require(rule == "away", "the rule is not known")
    total = np.zeros(len(values), dtype=np.float32)
    for squared in ((values - background) ** 2).T:
        total = total + squared
    return np.sqrt(total)


def passthrough(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """The entry and the bytes of every carried grid."""
    manifest, chunks = open_file(data)
    found = []
    for entry in manifest.get("passthrough", []):
        joined = b"".join(payload_of(chunks, number, "GRID") for number in entry["chunks"])
        require(len(joined) == entry["bytes"], "bytes differs")
        found.append((entry, joined))
    return found


def decode(data: bytes) -> list[DecodedGrid]:
    """Every grid of the file whose bytes are `data`."""
    manifest, chunks = open_file(data)
    return [decode_grid(manifest, chunks, entry) for entry in manifest["grids"]]


def reference_difference(data: bytes) -> float:
    """Section 11: the largest |y - r| / (1 + |r|) over the reference samples, 0 where there are none."""
    manifest, chunks = open_file(data)
    if manifest["reference"] is None:
        return 0.0
    samples = tensors_of(payload_of(chunks, manifest["reference"], "REFS"))
    expected = samples["outputs"]
    differences = np.abs(outputs(manifest, chunks, samples["coordinates"]) - expected) / (1 + np.abs(expected))
    return float(differences.max(initial=0.0))


if __name__ == "__main__":
    contents = Path(sys.argv[1]).read_bytes()
    for grid in decode(contents):
        about = grid.entry
        print(f"{about['name'] or '(unnamed)'}: {about['value_type']}, {about['active_voxels']} active voxels")
        if len(grid.values):
            print(f"  values {grid.values.min(axis=0).tolist()} to {grid.values.max(axis=0).tolist()}")
    print(f"reference samples differ by {reference_difference(contents):.2g}")
