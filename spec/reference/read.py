"""Reads .inrv files of format 2 as the parts of the specification in spec/ say. Shares no line with the library.

Needs Python, NumPy and zstandard; masks are decoded by masks.py, a lattice by lattice.py, its default networks and the
dictionary lie in spec/data/. Made to be read beside the text, not to be fast: it checks what keeps a reader honest, but
not every rule for hostile files. Raises ValueError that begins with the id of the error (spec/errors.md) it refuses by.

`python -m spec.reference.read FILE`, or `python read.py FILE` in this folder, prints what is in a file.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

try:
    from spec.reference import lattice, masks
except ImportError:  # run from this folder
    import lattice  # type: ignore[no-redef]
    import masks  # type: ignore[no-redef]

Array = np.ndarray
Tensors = dict[str, Array]
Entry = dict[str, Any]

DATA = Path(__file__).resolve().parents[1] / "data"
DICTIONARY = DATA / "dictionary-1.bin"
DEFAULT_NETWORKS = DATA / "default-1.safetensors"


def require(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(rule)


# ---- spec/container.md ----

CHUNK_TYPES = {"TOPO": 1, "INAC": 1, "EXAC": 1, "FREQ": 1, "CODE": 1, "NETW": 1, "SAMP": 0, "PASS": 1}
HEADER = struct.Struct("<8sHHIQIIIIII")
TABLE_ENTRY = struct.Struct("<4sBBHQQQII")


class File:
    """An open file: `header`, `table` (an entry each chunk) and `manifest`; chunks are read when they are asked for."""

    def __init__(self, data: bytes) -> None:
        require(len(data) >= 12, "H1: shorter than magic and version")
        require(data[:8] == b"\x89INRV\r\n\x1a", "H2: magic differs")
        require(struct.unpack_from("<H", data, 8)[0] == 2, "H3: major version is not 2")
        require(len(data) >= 48, "H1: shorter than its header")
        names = ("magic", "major", "minor", "chunks", "file_size", "manifest_compression", "manifest_stored")
        names += ("manifest_raw", "manifest_checksum", "table_checksum", "header_checksum")
        self.data, self.header = data, dict(zip(names, HEADER.unpack_from(data), strict=True))
        require(zlib.crc32(data[:44]) == self.header["header_checksum"], "H4: header checksum does not hold")
        require(self.header["file_size"] == len(data), "H5: file size differs")
        self.table = self.read_table()
        stored, raw, compression = (self.header[f"manifest_{name}"] for name in ("stored", "raw", "compression"))
        start = 48 + 40 * self.header["chunks"]
        json_text = self.unpacked(start, stored, raw, compression, self.header["manifest_checksum"])
        self.manifest: dict[str, Any] = json.loads(json_text)

    def read_table(self) -> list[Entry]:
        first, end = 48, 48 + 40 * self.header["chunks"]
        require(end + self.header["manifest_stored"] <= len(self.data), "H7: table and manifest end beyond the file")
        require(zlib.crc32(self.data[first:end]) == self.header["table_checksum"], "T1: table checksum does not hold")
        names = ("type", "flags", "compression", "reserved_1", "offset", "stored", "raw", "checksum", "reserved_2")
        table = [dict(zip(names, values, strict=True)) for values in TABLE_ENTRY.iter_unpack(self.data[first:end])]
        end += self.header["manifest_stored"]
        for entry in table:
            require(entry["type"].isalpha(), "T2: a type is not four letters")
            entry["type"] = entry["type"].decode("ascii")
            known = entry["type"] in CHUNK_TYPES
            require(not known or entry["flags"] & 1 == CHUNK_TYPES[entry["type"]], "T3: wrong critical flag")
            require(known or entry["flags"] & 1 == 0, f"T4: critical chunk {entry['type']} is not known")
            require(entry["flags"] < 2 and not entry["reserved_1"] | entry["reserved_2"], "T5: reserved bits are set")
            require(entry["offset"] == end, "T6: chunks do not touch")
            end += entry["stored"]
        require(end == len(self.data), "T7: bytes behind the last chunk")
        return table

    def unpacked(self, offset: int, stored: int, raw: int, compression: int, checksum: int) -> bytes:
        part = self.data[offset : offset + stored]
        require(compression in (0, 1), "C1: compression is not known")
        require(compression == 1 or stored == raw, "C3: stored and raw size differ")
        require(compression == 0 or stored < raw, "C4: compressed in vain")
        require(zlib.crc32(part) == checksum, "C5: checksum does not hold")
        if compression == 0:
            return part
        frame = b"\x28\xb5\x2f\xfd" + part
        require(zstandard.frame_content_size(frame) == raw, "C7: content size is not the raw size")
        return zstandard.ZstdDecompressor(dict_data=dictionary()).decompress(frame, allow_extra_data=False)

    def payload(self, number: int, kind: str) -> bytes:
        require(number < len(self.table) and self.table[number]["type"] == kind, f"M11: chunk {number} is not {kind}")
        entry = self.table[number]
        return self.unpacked(*(entry[name] for name in ("offset", "stored", "raw", "compression", "checksum")))

    def tensors(self, number: int, kind: str) -> Tensors:
        return tensors_of(self.payload(number, kind))


@cache
def dictionary() -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(DICTIONARY.read_bytes())


DTYPES = {"I8": "<i1", "U8": "<u1", "I16": "<i2", "I32": "<i4", "F16": "<f2", "F32": "<f4"}


def tensors_of(payload: bytes) -> Tensors:
    (length,) = struct.unpack_from("<Q", payload)
    tensors = {}
    for name, about in json.loads(payload[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + at for at in about["data_offsets"])
            tensors[name] = np.frombuffer(payload[begin:end], dtype=DTYPES[about["dtype"]]).reshape(about["shape"])
    return tensors


# ---- spec/topology.md ----


@dataclass(eq=False)
class Topology:
    leaf_origins: Array  # int32 (L, 3)
    active: Array  # bool (L, 512)
    tile_origins: Array  # int32 (T, 3)
    tile_edges: Array  # int32 (T)
    tile_active: Array  # uint8 (T)

    def coordinates(self) -> Array:
        """Of the active leaf voxels, in order: int32 (n, 3)."""
        return voxels(self.leaf_origins, self.active)

    def active_at(self, origins: Array) -> Array:
        """Which voxels of leaves at origins (n, 3) are active here, in leaves or tiles: bool (n, 512)."""
        own = {tuple(origin): row for origin, row in zip(self.leaf_origins.tolist(), self.active, strict=True)}
        masks = np.array([own.get(tuple(origin), np.zeros(512, dtype=bool)) for origin in origins.tolist()])
        for low, edge in zip(self.tile_origins[self.tile_active == 1], self.tile_edges[self.tile_active == 1], strict=True):
            masks[((origins >= low) & (origins < low + edge)).all(axis=1)] = True
        return masks.reshape(-1, 512)


def bits(packed: Array) -> Array:
    """Masks bool (n, 8 m) of bytes uint8 (n, m)."""
    return np.unpackbits(packed, axis=1, bitorder="little") == 1


def words(tensor: Array) -> list[int]:
    require(len(tensor) % 4 == 0, "S11: bytes that are no words")
    found: list[int] = tensor.view("<u4").tolist()
    return found


def voxels(origins: Array, mask: Array) -> Array:
    """Coordinates int32 (n, 3) of the voxels that a mask bool (L, 512) sets, leaf by leaf."""
    leaf, i = np.nonzero(mask)
    return (origins[leaf] + np.stack([i >> 6, i >> 3 & 7, i & 7], axis=1)).astype(np.int32)


def in_order(coordinates: Array) -> Array:
    """The places (n,) of coordinates (n, 3) in the order of voxels: by node, by leaf, by place in the leaf."""
    return np.lexsort([coordinates[:, axis] // edge for edge in (1, 8, 128) for axis in (2, 1, 0)])


@lru_cache(maxsize=16)
def topology_of(file: File, number: int) -> Topology:
    tensors = file.tensors(number, "TOPO")
    node, i = np.nonzero(bits(tensors["block_masks"]))
    blocks = tensors["block_origins"][node] + 8 * np.stack([i >> 8, i >> 4 & 15, i & 15], axis=1)
    mixed, leaf_cells = [masks.MIXED] * len(blocks), np.zeros((len(blocks), 512), dtype=bool)
    leaf_cells = masks.decode(blocks, mixed, words(tensors["leaf_words"]))
    tile_cells, tile_words = np.zeros_like(leaf_cells), words(tensors["tile_words"])
    if tile_words:
        tile_cells = masks.decode(blocks, mixed, tile_words, leaf_cells)
    require(not (leaf_cells & tile_cells).any(), "S13: a cell is a leaf and a tile")
    require(bool((leaf_cells | tile_cells).any(axis=1).all()), "S13: a block is empty")
    leaves, tiles = (8 * voxels(blocks, cells) for cells in (leaf_cells, tile_cells))
    leaves, tiles = leaves[in_order(leaves)], tiles[in_order(tiles)]

    kinds = tensors["leaf_kinds"].tolist()
    require(len(kinds) == len(leaves), "S3: leaf_kinds has not one number a leaf")
    return Topology(
        leaves,
        masks.decode(leaves, kinds, words(tensors["coded_masks"]), predicted_masks(file, number, tensors, leaves)),
        np.concatenate([tensors["tile_origins"], tiles]),
        np.concatenate([tensors["tile_edges"], np.full(len(tiles), 8, dtype=np.int32)]),
        tensors["tile_active"],
    )


def predicted_masks(file: File, number: int, tensors: Tensors, leaves: Array) -> Array | None:
    if not len(tensors["predicted_from"]):
        return None
    require(len(tensors["predicted_from"]) == 1, "S12: predicted from several chunks")
    source = int(tensors["predicted_from"][0])
    require(0 <= source < number, "S12: predicted from a chunk that does not stand before")
    require(not len(file.tensors(source, "TOPO")["predicted_from"]), "S12: predicted from a predicted chunk")
    return topology_of(file, source).active_at(leaves)


def inactive_values(file: File, entry: Entry, topology: Topology) -> tuple[Array, Array, Array]:
    """Values of tiles (T, C), the mask bool (L, 512) of the inactive values, and these values (I, C)."""
    components, none = len(entry["components"]), np.zeros_like(topology.active)
    if entry["inactive_values"] is None:
        require(not len(topology.tile_edges), "S7: tiles without values")
        return np.zeros((0, components), dtype=np.float32), none, np.zeros((0, components), dtype=np.float32)
    tensors = file.tensors(entry["inactive_values"], "INAC")
    kinds = [masks.EMPTY if row.all() else masks.MIXED for row in topology.active]
    coded = words(tensors["coded_masks"])
    inactive = masks.decode(topology.leaf_origins, kinds, coded, topology.active) if coded else none
    require(not (inactive & topology.active).any(), "S8: a voxel is active and has an inactive value")
    return tensors["tile_values"], inactive, tensors["inactive_values"]


def frequent_values(file: File, number: int, topology: Topology) -> list[tuple[Array, Array]]:
    """A mask bool (L, 512) and a value (C) for each frequent value."""
    tensors = file.tensors(number, "FREQ")
    values, kinds, counts = tensors["values"], tensors["kinds"], tensors["word_counts"]
    require(1 <= len(values) <= 256 and len(values) - len(kinds) in (0, 1), "S14: number of frequent values")
    still_open, coded, found = topology.active, words(tensors["coded_masks"]), []
    require(bool((counts >= 0).all()) and int(counts.sum()) == len(coded), "S14: word_counts do not add up")
    for kinds_of_mask, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        mask = masks.decode(topology.leaf_origins, kinds_of_mask, coded[:count], still_open)
        require(not (mask & ~still_open).any(), "S14: a voxel is not open")
        found.append(mask)
        still_open, coded = still_open & ~mask, coded[count:]
    return list(zip(found + [still_open] * (len(values) - len(kinds)), values, strict=True))


def separate_values(file: File, entry: Entry, topology: Topology, *keys: str) -> tuple[Array, Array]:
    """Voxels with frequent values and with those of the EXAC chunks of `keys`: mask bool (L, 512), values (n, C) in order."""
    mask = np.zeros_like(topology.active)
    stored = np.zeros((*mask.shape, len(entry["components"])), dtype=np.uint32)  # bits of float32, so that NaN keep them
    if entry["frequent_values"] is not None:
        for own, value in frequent_values(file, entry["frequent_values"], topology):
            stored[own], mask = value.view(np.uint32), mask | own
    for key in keys:
        if entry[key] is not None:
            tensors = file.tensors(entry[key], "EXAC")
            own = bits(tensors["exact_masks"])
            require(not (own & ~topology.active).any(), "S10: an exact value is not active")
            require(key == "outliers" or not (own & mask).any(), "S10: a voxel has an exact and a frequent value")
            stored[own], mask = tensors["exact_values"].view(np.uint32), mask | own
    return mask, stored[mask].view(np.float32)


# ---- spec/fourier.md ----


def network_tensor(tensors: Tensors, name: str) -> Array:
    """A tensor of the network, float32, from whichever way it is stored in."""
    if name in tensors:
        return tensors[name].astype(np.float32)
    step = tensors[f"{name}.step"][:, None]
    if f"{name}.codes" in tensors:
        return tensors[f"{name}.codes"].astype(np.float32) * step
    high, low = tensors[f"{name}.codes_high"].astype(np.int32), tensors[f"{name}.codes_low"].astype(np.int32)
    return (256 * high + low).astype(np.float32) * step


def features(config: Entry, tensors: Tensors, coordinates: Array) -> Array:
    """Fourier features float32 (n, 2 frequencies)."""
    position = (coordinates.astype(np.float32) - np.array(config["origin"], dtype=np.float32)) * np.float32(config["scale"])
    frequencies = network_tensor(tensors, "multipliers")[:, None] * network_tensor(tensors, "B")
    angle = np.float32(2 * np.pi) * (position @ frequencies.T)
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


def fourier(config: Entry, tensors: Tensors, coordinates: Array) -> Array:
    """Outputs float32 (n, outputs)."""
    hidden = features(config, tensors, coordinates)
    for layer in range(config["layers"] + 1):
        weight, bias = (network_tensor(tensors, f"layers.{layer}.{part}") for part in ("weight", "bias"))
        hidden = hidden @ weight.T + bias
        if layer < config["layers"]:
            with np.errstate(over="ignore"):  # where exp is infinite, silu is 0
                hidden = np.maximum(hidden, 0) if config["activation"] == "relu" else hidden / (1 + np.exp(-hidden))
    return hidden


def fourier_outputs(file: File, coordinates: Array) -> Array:
    config = file.manifest["field"]["config"]
    tensors = file.tensors(config["tensors"], "NETW")
    batches = np.array_split(coordinates, len(coordinates) // 16384 + 1)
    return np.concatenate([fourier(config, tensors, batch) for batch in batches])


def samples_difference(file: File) -> float:
    """The largest |y - reference| / (1 + |reference|) over the samples, 0 where there are none."""
    field = file.manifest["field"]
    if field is None or field["kind"] != "fourier" or field["config"]["samples"] is None:
        return 0.0
    samples = file.tensors(field["config"]["samples"], "SAMP")
    expected = samples["outputs"]
    differences = np.abs(fourier_outputs(file, samples["coordinates"]) - expected) / (1 + np.abs(expected))
    return float(differences.max(initial=0.0))


# ---- spec/lattice.md ----


@cache
def default_networks() -> Tensors:
    return tensors_of(DEFAULT_NETWORKS.read_bytes())


@lru_cache(maxsize=16)
def channel_of(file: File, number: int) -> lattice.Channel:
    """Channel `number` of a lattice, with its reference channel."""
    field = file.manifest["field"]["config"]
    require(field["networks"] == "default-1", "F1: the default networks are not known")
    config = field["channels"][number]
    places = [
        (entry, place)
        for entry in file.manifest["grids"]
        for place, component in enumerate(entry["components"])
        if component["output"] == number
    ]
    require(len(places) == 1, "F4: an output does not belong to exactly one component")
    (entry, place), tensors = places[0], file.tensors(config["codes"], "CODE")
    topology, component = topology_of(file, entry["topology"]), entry["components"][place]
    mask, values = separate_values(file, entry, topology, "exact_values")
    units = lattice.units_of(config, tensors, component["minimum"], component["maximum"])
    return lattice.Channel(
        config,
        tensors,
        default_networks(),
        topology.leaf_origins,
        voxels(topology.leaf_origins, topology.active & ~mask),
        reference=None if config["reference"] is None else channel_of(file, config["reference"]),
        exterior=exterior_of(file, entry, place, units) if config["exterior"] else None,
        separate=(voxels(topology.leaf_origins, mask), units(values[:, place])),
    )


def exterior_of(file: File, entry: Entry, place: int, units: Any) -> lattice.Exterior:
    """The function that gives, by region, the units of inactive voxels; active leaf voxels have the background's."""
    topology = topology_of(file, entry["topology"])
    tile_values, mask, values = inactive_values(file, entry, topology)
    inactive = voxels(topology.leaf_origins, mask)

    def exterior(corner: lattice.Corner) -> Array:
        region = np.full((lattice.EDGE,) * 3, entry["background"][place], dtype=np.float32)
        for origin, edge, value in zip(topology.tile_origins.astype(np.int64), topology.tile_edges, tile_values, strict=True):
            first, last = (np.clip(end - corner, 0, lattice.EDGE) for end in (origin, origin + edge))
            region[tuple(slice(*ends) for ends in zip(first, last, strict=True))] = value[place]
        inside = (inactive // lattice.EDGE * lattice.EDGE == corner).all(axis=1)
        region[tuple((inactive[inside] - corner).T)] = values[inside, place]
        found: Array = units(region)
        return found

    return exterior


# ---- The whole decode: format_spec.md ----


@dataclass
class DecodedGrid:
    """One grid: active leaf voxels in order, tiles, and inactive voxels that do not hold the background."""

    entry: Entry
    coordinates: Array  # int32 (n, 3)
    values: Array  # float32 (n, C)
    tile_origins: Array  # int32 (T, 3)
    tile_edges: Array  # int32 (T)
    tile_active: Array  # uint8 (T)
    tile_values: Array  # float32 (T, C)
    inactive_coordinates: Array  # int32 (I, 3)
    inactive_values: Array  # float32 (I, C)


def decode(data: bytes) -> list[DecodedGrid]:
    """Every grid of the file whose bytes are `data`."""
    file = File(data)
    return [decode_grid(file, entry) for entry in file.manifest["grids"]]


def field_values(file: File, entry: Entry, coordinates: Array, clamp: bool) -> Array:
    """Values float32 (n, C) that the field gives at voxels (n, 3); NaN where a lattice has no code."""
    field, columns = file.manifest["field"], []
    found = fourier_outputs(file, coordinates) if field is not None and field["kind"] == "fourier" else None
    for component in entry["components"]:
        low, high, output = component["minimum"], component["maximum"], component["output"]
        if output is None:
            columns.append(np.full(len(coordinates), low, dtype=np.float32))
            continue
        require(field is not None and field["kind"] in ("fourier", "lattice"), "F1: field is not known")
        outputs = channel_of(file, output).outputs(coordinates) if found is None else found[:, output].astype(np.float64)
        if field["kind"] == "lattice" and field["config"]["channels"][output]["lossless"]:
            columns.append(outputs.astype(np.float32))
            continue
        value = low + (high - low) * outputs
        columns.append((np.minimum(np.maximum(value, low), high) if clamp else value).astype(np.float32))
    return np.stack(columns, axis=1)


def decode_grid(file: File, entry: Entry) -> DecodedGrid:
    topology = topology_of(file, entry["topology"])
    coordinates = topology.coordinates()
    tiled = int((topology.tile_edges.astype(np.int64) ** 3)[topology.tile_active == 1].sum())
    require(len(coordinates) == entry["leaf_voxels"], "S6: leaf_voxels differs")
    require(len(coordinates) + tiled == entry["active_voxels"], "S6: active_voxels differs")

    values = field_values(file, entry, coordinates, clamp=True)
    mask, separate = separate_values(file, entry, topology, "exact_values", "outliers")
    stored = mask[topology.active]
    values.view(np.uint32)[stored] = separate.view(np.uint32)
    tile_values, inactive_mask, inactive = inactive_values(file, entry, topology)
    places = voxels(topology.leaf_origins, inactive_mask)

    if entry["threshold"] is not None or entry["topology_of"] is not None:
        active, negative, leaves = whole_leaf_topology(file, entry, coordinates, stored)
        stays = np.array([tuple(leaf) in leaves for leaf in (places // 8).tolist()], dtype=bool)
        background = np.tile(-np.array(entry["background"], dtype=np.float32), (int(negative.sum()), 1))
        places = np.concatenate([places[stays], coordinates[negative]])
        inactive = np.concatenate([inactive[stays], background])[in_order(places)]
        places = places[in_order(places)]
        coordinates, values = coordinates[active], values[active]
    tiles = topology.tile_origins, topology.tile_edges, topology.tile_active
    return DecodedGrid(entry, coordinates, values, *tiles, tile_values, places, inactive)


def whole_leaf_topology(
    file: File, entry: Entry, coordinates: Array, stored: Array
) -> tuple[Array, Array, set[tuple[int, ...]]]:
    """Which of the voxels are active, and which hold minus the background: bool (n); and the leaves that stay, in cells."""
    none = np.zeros(len(coordinates), dtype=bool)
    if entry["topology_of"] is not None:
        named = file.manifest["grids"][entry["topology_of"]]
        same = entry["threshold"] is None and named["threshold"] is not None and named["topology"] == entry["topology"]
        require(same, "M19: topology_of is not the number of a grid with a threshold and the same topology")
        other = decode_grid(file, named)
        theirs = {tuple(voxel) for voxel in other.coordinates.tolist()}
        active = np.array([tuple(voxel) in theirs for voxel in coordinates.tolist()], dtype=bool)
        return active, none, cells_of(np.concatenate([other.coordinates, other.inactive_coordinates]))
    values, background = field_values(file, entry, coordinates, clamp=False), np.array(entry["background"], dtype=np.float32)
    active = stored | (scores(entry["threshold_rule"], values, background) > np.float32(entry["threshold"]))
    negative = ~active & (values[:, 0] < 0) if entry["threshold_rule"] == "within" else none
    return active, negative, cells_of(coordinates[active | negative])


def cells_of(coordinates: Array) -> set[tuple[int, ...]]:
    return {tuple(cell) for cell in (coordinates // 8).tolist()}


def scores(rule: str, values: Array, background: Array) -> Array:
    """Scores float32 (n) of values float32 (n, C)."""
    if rule == "above":
        return values[:, 0]
    if rule == "within":
        return np.abs(background[0]) - np.abs(values[:, 0])
    require(rule == "away", "M7: the rule is not known")
    total = np.zeros(len(values), dtype=np.float32)
    for squared in ((values - background) ** 2).T:
        total = total + squared
    return np.sqrt(total)


def passthrough(data: bytes) -> list[tuple[Entry, bytes]]:
    """The entry and the bytes of every passthrough grid."""
    file, found = File(data), []
    for entry in file.manifest["passthrough"]:
        joined = b"".join(file.payload(number, "PASS") for number in entry["chunks"])
        require(len(joined) == entry["bytes"], "M16: bytes differs")
        found.append((entry, joined))
    return found


def main(path: str) -> None:
    data = Path(path).read_bytes()
    for grid in decode(data):
        print(f"{grid.entry['name'] or '(unnamed)'}: {grid.entry['value_type']}, {grid.entry['active_voxels']} active voxels")
        if len(grid.values):
            print(f"  values {grid.values.min(axis=0).tolist()} to {grid.values.max(axis=0).tolist()}")
    for entry, joined in passthrough(data):
        print(f"{entry['name']}: {entry['tree_type']}, passed through, {len(joined)} bytes")
    print(f"samples differ by {samples_difference(File(data)):.2g}")


if __name__ == "__main__":
    main(sys.argv[1])
