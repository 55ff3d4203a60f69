"""Reads .inrv files of format 2 as the parts of the specification in spec/ say.

It shares no line with the library, and needs Python, NumPy and zstandard. Masks are decoded by
masks.py, a lattice by lattice.py; its default networks and the dictionary lie in spec/data/. It is
made to be read beside the text, not to be fast, and checks what keeps a reader honest, but not
every rule for hostile files. A ValueError begins with the id of the error that it refuses by.

`python -m spec.reference.read FILE`, or `python read.py FILE` in this folder, prints what is in a
file.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

try:
    from spec.reference import lattice, masks, motion
except ImportError:  # run from this folder
    import lattice  # type: ignore[no-redef]
    import masks  # type: ignore[no-redef]
    import motion  # type: ignore[no-redef]

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

CRITICAL, ANCILLARY = 1, 0
# What decoding a component depends on, beside its channel and its range.
DECODED_BY = (
    "value_type",
    "background",
    "topology",
    "inactive_values",
    "frequent_values",
    "exact_values",
)
CRITICAL_TYPES = "TOPO", "INAC", "EXAC", "FREQ", "CODE", "MOVE", "BITS", "NETW", "PASS"
CHUNK_TYPES = dict.fromkeys(CRITICAL_TYPES, CRITICAL) | {"SAMP": ANCILLARY}
HEADER = struct.Struct("<8sHHIQIIIIII")
HEADER_FIELDS = (
    "magic", "major", "minor", "chunks", "file_size", "manifest_compression", "manifest_stored",
    "manifest_raw", "manifest_checksum", "table_checksum", "header_checksum",
)  # fmt: skip
TABLE_ENTRY = struct.Struct("<4sBBHQQQII")
ENTRY_FIELDS = (
    "type", "flags", "compression", "zero", "offset", "stored", "raw", "checksum", "also_zero",
)  # fmt: skip


class File:
    """An open file: `header`, `table` (an entry each chunk) and `manifest`.

    Chunks are read when they are asked for.
    """

    def __init__(self, data: bytes) -> None:
        require(len(data) >= 12, "H1: shorter than magic and version")
        require(data[:8] == b"\x89INRV\r\n\x1a", "H2: magic differs")
        require(struct.unpack_from("<H", data, 8)[0] == 2, "H3: major version is not 2")
        require(len(data) >= 48, "H1: shorter than its header")
        header = dict(zip(HEADER_FIELDS, HEADER.unpack_from(data), strict=True))
        checksum = zlib.crc32(data[:44])
        require(checksum == header["header_checksum"], "H4: header checksum does not hold")
        require(header["file_size"] == len(data), "H5: file size differs")
        self.data, self.header, self.table = data, header, read_table(data, header)
        start = 48 + 40 * header["chunks"]
        about = {name: header[f"manifest_{name}"] for name in SIZES}
        self.manifest: dict[str, Any] = json.loads(unpacked(data, about | {"offset": start}))

    def payload(self, number: int, kind: str) -> bytes:
        require(self.type_of(number) == kind, f"M11: chunk {number} is not {kind}")
        return unpacked(self.data, self.table[number])

    def type_of(self, number: int) -> str | None:
        return self.table[number]["type"] if number < len(self.table) else None

    def part(self, number: int, offset: int, size: int, checksum: int) -> bytes:
        """A part of a BITS chunk."""
        require(self.type_of(number) == "BITS", f"M11: chunk {number} is not BITS")
        entry = self.table[number]
        require(offset >= 0 and 0 <= size <= entry["raw"] - offset, "S15: a part beyond the chunk")
        data = self.data[entry["offset"] + offset :][:size]
        require(zlib.crc32(data) == checksum, "S15: checksum of a part does not hold")
        return data

    def tensors(self, number: int, kind: str) -> Tensors:
        return tensors_of(self.payload(number, kind))


def read_table(data: bytes, header: Entry) -> list[Entry]:
    end = 48 + 40 * header["chunks"]
    table, end = data[48:end], end + header["manifest_stored"]
    require(end <= len(data), "H7: table and manifest end beyond the file")
    require(zlib.crc32(table) == header["table_checksum"], "T1: table checksum does not hold")
    entries = []
    for values in TABLE_ENTRY.iter_unpack(table):
        entry = dict(zip(ENTRY_FIELDS, values, strict=True))
        require(entry["type"].isalpha(), "T2: a type is not four letters")
        entry["type"], critical = entry["type"].decode("ascii"), entry["flags"] & 1
        if entry["type"] in CHUNK_TYPES:
            require(critical == CHUNK_TYPES[entry["type"]], "T3: wrong critical flag")
        require(entry["type"] in CHUNK_TYPES or not critical, f"T4: unknown type {entry['type']}")
        zero = entry["flags"] >> 1 | entry.pop("zero") | entry.pop("also_zero")
        require(zero == 0, "T5: reserved bits are set")
        entries.append(entry)
    for entry in sorted(entries, key=lambda entry: bool(entry["type"] == "BITS")):
        require(entry["offset"] == end, "T6: chunks do not touch")
        end += entry["stored"]
    require(end == len(data), "T7: bytes behind the last chunk")
    return entries


SIZES = "compression", "stored", "raw", "checksum"


def unpacked(data: bytes, about: Entry) -> bytes:
    """The raw bytes of the manifest or a chunk."""
    compression, stored, raw, checksum = (about[name] for name in SIZES)
    part = data[about["offset"] : about["offset"] + stored]
    require(compression in (0, 1), "C1: compression is not known")
    require(compression == 1 or stored == raw, "C3: stored and raw size differ")
    require(compression == 0 or stored < raw, "C4: compressed in vain")
    require(compression == 0 or about.get("type") != "BITS", "C8: a BITS chunk is compressed")
    require(zlib.crc32(part) == checksum, "C5: checksum does not hold")
    if compression == 0:
        return part
    frame = b"\x28\xb5\x2f\xfd" + part
    require(zstandard.frame_content_size(frame) == raw, "C7: content size is not the raw size")
    decompressor = zstandard.ZstdDecompressor(dict_data=dictionary())
    return decompressor.decompress(frame, allow_extra_data=False)


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
            flat = np.frombuffer(payload[begin:end], dtype=DTYPES[about["dtype"]])
            tensors[name] = flat.reshape(about["shape"])
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

    def active_tiles(self) -> tuple[Array, Array]:
        active = self.tile_active == 1
        return self.tile_origins[active].astype(np.int64), self.tile_edges[active].astype(np.int64)

    def active_voxels(self) -> int:
        return int(self.active.sum()) + int((self.active_tiles()[1] ** 3).sum())

    def box(self) -> list[list[int]] | None:
        """Lowest and highest corner of all active voxels, both included."""
        tiles, edges = self.active_tiles()
        found = np.concatenate([self.coordinates(), tiles, tiles + edges[:, None] - 1])
        return [found.min(axis=0).tolist(), found.max(axis=0).tolist()] if len(found) else None

    def active_at(self, origins: Array) -> Array:
        """Which voxels of leaves at origins (n, 3) are active here: bool (n, 512)."""
        own = dict(zip(map(tuple, self.leaf_origins.tolist()), self.active, strict=True))
        none = np.zeros(512, dtype=bool)
        found = np.array([own.get(tuple(origin), none) for origin in origins.tolist()])
        for low, edge in zip(*self.active_tiles(), strict=True):
            found[((origins >= low) & (origins < low + edge)).all(axis=1)] = True
        return found.reshape(-1, 512)


def bits(packed: Array) -> Array:
    """Masks bool (n, 8 m) of bytes uint8 (n, m)."""
    return np.unpackbits(packed, axis=1, bitorder="little") == 1


def regions_of(origins: Array) -> dict[tuple[int, ...], list[int]]:
    """The numbers of the leaves of each region, the regions in order."""
    found: dict[tuple[int, ...], list[int]] = {}
    for leaf, corner in enumerate((origins // 128).tolist()):
        found.setdefault(tuple(corner), []).append(leaf)
    return found


def decode_masks(
    origins: Array, kinds: list[int], parts: list[bytes], predicted: Array | None
) -> Array:
    """Masks bool (L, 512) of leaves from the bytes of each region."""
    found = np.zeros((len(origins), 512), dtype=bool)
    for leaves, part in zip(regions_of(origins).values(), parts, strict=True):
        cells = (origins[leaves] % 128 // 8) @ np.array([256, 16, 1])
        own = None if predicted is None else predicted[leaves]
        found[leaves] = masks.decode(cells.tolist(), [kinds[leaf] for leaf in leaves], part, own)
    return found


def parts_of(data: bytes, lengths: Array, rule: str) -> list[bytes]:
    """Bytes, cut into those of each region."""
    ends = np.cumsum(lengths.astype(np.int64))
    require(int(lengths.min(initial=0)) >= 0, f"{rule}: a length is negative")
    require(int(lengths.sum(dtype=np.int64)) == len(data), f"{rule}: lengths do not add up")
    return [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def coded(
    tensors: Tensors, name: str, origins: Array, kinds: list[int], predicted: Array | None
) -> Array:
    """Masks bool (L, 512) of two tensors; none is set where no region has bytes."""
    lengths, data = tensors[f"{name}_lengths"], tensors[f"{name}_bytes"].tobytes()
    require(len(lengths) == len(regions_of(origins)), "S3: lengths are not one a region")
    return decode_masks(origins, kinds, parts_of(data, lengths, "S11"), predicted)


def voxels(origins: Array, mask: Array) -> Array:
    """Coordinates int32 (n, 3) of the voxels that a mask bool (L, 512) sets, leaf by leaf."""
    leaf, i = np.nonzero(mask)
    return (origins[leaf] + np.stack([i >> 6, i >> 3 & 7, i & 7], axis=1)).astype(np.int32)


def in_order(coordinates: Array) -> Array:
    """The places (n,) of coordinates (n, 3) in the order of voxels: node, leaf, voxel."""
    return np.lexsort([coordinates[:, axis] // edge for edge in (1, 8, 128) for axis in (2, 1, 0)])


@lru_cache(maxsize=16)
def topology_of(file: File, number: int) -> Topology:
    tensors = file.tensors(number, "TOPO")
    node, i = np.nonzero(bits(tensors["block_masks"]))
    blocks = tensors["block_origins"][node] + 8 * np.stack([i >> 8, i >> 4 & 15, i & 15], axis=1)
    mixed = [masks.MIXED] * len(blocks)
    leaf_cells = coded(tensors, "leaf", blocks, mixed, None)
    tile_cells = np.zeros_like(leaf_cells)
    if len(tensors["tile_lengths"]):
        tile_cells = coded(tensors, "tile", blocks, mixed, leaf_cells)
    require(not (leaf_cells & tile_cells).any(), "S13: a cell is a leaf and a tile")
    require(bool((leaf_cells | tile_cells).any(axis=1).all()), "S13: a block is empty")
    leaves, tiles = (8 * voxels(blocks, cells) for cells in (leaf_cells, tile_cells))
    leaves, tiles = leaves[in_order(leaves)], tiles[in_order(tiles)]

    kinds = tensors["leaf_kinds"].tolist()
    require(len(kinds) == len(leaves), "S3: leaf_kinds has not one number a leaf")
    predicted = predicted_masks(file, number, tensors["predicted_from"].tolist(), leaves)
    edges = np.concatenate([tensors["tile_edges"], np.full(len(tiles), 8, dtype=np.int32)])
    tiles = np.concatenate([tensors["tile_origins"], tiles])
    active = decode_masks(leaves, kinds, leaf_parts(file, tensors), predicted)
    return Topology(leaves, active, tiles, edges, tensors["tile_active"])


def leaf_parts(file: File, tensors: Tensors) -> list[bytes]:
    """The bytes of the masks of each region, from a tensor or from a BITS chunk."""
    lengths, chunk = tensors["mask_lengths"], tensors["bits"].tolist()
    if not chunk:
        return parts_of(tensors["mask_bytes"].tobytes(), lengths, "S11")
    require(len(chunk) == 1 and chunk[0] >= 0, "S11: not the number of one chunk")
    starts = np.cumsum(lengths.astype(np.int64)) - lengths
    checksums = tensors["mask_checksums"].view("<u4")
    return [
        file.part(chunk[0], *(int(number) for number in part))
        for part in zip(starts, lengths, checksums, strict=True)
    ]


def predicted_masks(file: File, number: int, sources: list[int], leaves: Array) -> Array | None:
    if not sources:
        return None
    require(len(sources) == 1 and 0 <= sources[0] < number, "S12: not one chunk before this one")
    chain = [sources[0]]
    while len(further := file.tensors(chain[-1], "TOPO")["predicted_from"]):
        require(0 <= further[0] < chain[-1] and len(chain) < 64, "S12: a chain that is too long")
        chain.append(int(further[0]))
    return topology_of(file, sources[0]).active_at(leaves)


def inactive_values(file: File, entry: Entry, topology: Topology) -> tuple[Array, Array, Array]:
    """Values of tiles (T, C); of inactive voxels the mask bool (L, 512) and the values (I, C)."""
    none, no_values = np.zeros_like(topology.active), np.zeros((0, len(entry["components"])), "<f4")
    if entry["inactive_values"] is None:
        require(not len(topology.tile_edges), "S7: tiles without values")
        return no_values, none, no_values
    tensors = file.tensors(entry["inactive_values"], "INAC")
    kinds = [masks.EMPTY if row.all() else masks.MIXED for row in topology.active]
    inactive = none
    if len(tensors["mask_lengths"]):
        inactive = coded(tensors, "mask", topology.leaf_origins, kinds, topology.active)
    require(not (inactive & topology.active).any(), "S8: an inactive value at an active voxel")
    return tensors["tile_values"], inactive, tensors["inactive_values"]


@lru_cache(maxsize=16)
def frequent_values(file: File, number: int, topology: Topology) -> list[tuple[Array, Array]]:
    """A mask bool (L, 512) and a value (C) for each frequent value."""
    tensors = file.tensors(number, "FREQ")
    values, kinds, lengths = tensors["values"], tensors["kinds"], tensors["mask_lengths"]
    require(1 <= len(values) <= 256, "S14: number of frequent values")
    require(len(values) - len(kinds) in (0, 1), "S14: number of masks")
    parts = parts_of(tensors["mask_bytes"].tobytes(), lengths.reshape(-1), "S14")
    is_open, found = topology.active, []
    for own_kinds, own in zip(kinds.tolist(), lengths, strict=True):
        mine, parts = parts[: len(own)], parts[len(own) :]
        mask = decode_masks(topology.leaf_origins, own_kinds, mine, is_open)
        require(not (mask & ~is_open).any(), "S14: a voxel is not open")
        found.append(mask)
        is_open = is_open & ~mask
    return list(zip(found + [is_open] * (len(values) - len(kinds)), values, strict=True))


def separate_values(
    file: File, entry: Entry, topology: Topology, *keys: str
) -> tuple[Array, Array]:
    """Voxels with frequent values, or with one of the EXAC chunks of `keys`.

    Returns their mask bool (L, 512) and their values float32 (n, C), in order.
    """
    mask = np.zeros_like(topology.active)
    # As bits, so that NaN keep theirs.
    stored = np.zeros((*mask.shape, len(entry["components"])), dtype=np.uint32)
    if entry["frequent_values"] is not None:
        for own, value in frequent_values(file, entry["frequent_values"], topology):
            stored[own], mask = value.view(np.uint32), mask | own
    for key in keys:
        if entry[key] is not None:
            tensors = file.tensors(entry[key], "EXAC")
            own = bits(tensors["exact_masks"])
            require(not (own & ~topology.active).any(), "S10: an exact value is not active")
            require(key == "outliers" or not (own & mask).any(), "S10: a voxel has two values")
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
    high, low = (tensors[f"{name}.codes_{part}"].astype(np.int32) for part in ("high", "low"))
    return (256 * high + low).astype(np.float32) * step


def features(config: Entry, tensors: Tensors, coordinates: Array) -> Array:
    """Fourier features float32 (n, 2 frequencies)."""
    origin, scale = [*config["origin"]], [config["scale"]] * 3
    if config["time"] is not None:
        origin, scale = [*origin, 0.0], [*scale, config["time"]["pace"]]
    origin, scale = (np.array(own, dtype=np.float32) for own in (origin, scale))
    position = (coordinates.astype(np.float32) - origin) * scale
    frequencies = network_tensor(tensors, "multipliers")[:, None] * network_tensor(tensors, "B")
    angle = np.float32(2 * np.pi) * (position @ frequencies.T)
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


def fourier(config: Entry, tensors: Tensors, coordinates: Array) -> Array:
    """Outputs float32 (n, outputs) of the network at coordinates (n, 3), or (n, 4) with time."""
    hidden = features(config, tensors, coordinates)
    for layer in range(config["layers"] + 1):
        weight = network_tensor(tensors, f"layers.{layer}.weight")
        hidden = hidden @ weight.T + network_tensor(tensors, f"layers.{layer}.bias")
        if layer < config["layers"]:
            hidden = activation(config["activation"], hidden)
    return hidden


def activation(name: str, sums: Array) -> Array:
    with np.errstate(over="ignore"):  # where exp is infinite, silu is 0
        return np.maximum(sums, 0) if name == "relu" else sums / (1 + np.exp(-sums))


def fourier_outputs(file: File, coordinates: Array, output: int) -> Array:
    """An output of the field, float32 (n), at voxels (n, 3), at its place in time if it has one."""
    time = file.manifest["field"]["config"]["time"]
    if time is None:
        return network_outputs(file, coordinates)[:, output]
    places = np.full((len(coordinates), 1), time["places"][output], dtype=coordinates.dtype)
    found = network_outputs(file, np.concatenate([coordinates, places], axis=1))
    return found[:, time["columns"][output]]


def network_outputs(file: File, coordinates: Array) -> Array:
    config = file.manifest["field"]["config"]
    tensors = file.tensors(config["tensors"], "NETW")
    batches = np.array_split(coordinates, len(coordinates) // 16384 + 1)
    return np.concatenate([fourier(config, tensors, batch) for batch in batches])


def samples_difference(file: File) -> float:
    """The largest |output - reference| / (1 + |reference|) over the samples; 0 without any."""
    if kind_of(file) != "fourier" or file.manifest["field"]["config"]["samples"] is None:
        return 0.0
    samples = file.tensors(file.manifest["field"]["config"]["samples"], "SAMP")
    difference = np.abs(network_outputs(file, samples["coordinates"]) - samples["outputs"])
    return float((difference / (1 + np.abs(samples["outputs"]))).max(initial=0.0))


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
    require(len(places) > 0, "F4: an output belongs to no component")
    decoded_by = [
        (place, entry["components"][place], *(entry[key] for key in DECODED_BY))
        for entry, place in places
    ]
    require(
        all(own == decoded_by[0] for own in decoded_by),
        "F4: an output belongs to two components that differ",
    )
    (entry, place), tensors = places[0], file.tensors(config["codes"], "CODE")
    topology, component = topology_of(file, entry["topology"]), entry["components"][place]
    mask, values = separate_values(file, entry, topology, "exact_values")
    units = lattice.units_of(config, tensors, component["minimum"], component["maximum"])
    part, size = segments_of(file, config["bits"], tensors)
    return lattice.Channel(
        config,
        tensors,
        default_networks(),
        topology.leaf_origins,
        voxels(topology.leaf_origins, topology.active & ~mask),
        reference=reference_of(file, config, units, topology.leaf_origins),
        exterior=exterior_of(file, entry, place, units) if config["exterior"] else None,
        separate=(voxels(topology.leaf_origins, mask), units(values[:, place])),
        part=part,
        size=size,
    )


def reference_of(file: File, config: Entry, units: Any, leaves: Array) -> lattice.Exterior | None:
    """What gives the region that a channel is predicted from."""
    if config["reference"] is None:
        return None
    if config["motion"] is None:
        return channel_of(file, config["reference"]).as_reference
    moved = [moved_region(file, config["reference"], config["motion"], units, leaves)]
    if config["second_reference"] is not None:
        second = config["second_reference"], config["second_motion"]
        moved.append(moved_region(file, *second, units, leaves))

    def region(corner: lattice.Corner) -> Array:
        found = [move(corner) for move in moved]
        mean = found[0] if len(found) == 1 else (found[0] + found[1] + 1) >> 1
        absent = np.full_like(mean, lattice.ABSENT)
        for x, y, z in leaves[(leaves // 128 * 128 == corner).all(axis=1)] - corner:
            part = slice(x, x + 8), slice(y, y + 8), slice(z, z + 8)
            absent[part] = mean[part]
        return absent

    return region


def moved_region(
    file: File, number: int, chunk: int, units: Any, leaves: Array
) -> lattice.Exterior:
    """What gives a region of a channel, fetched along vectors, in units of another one."""
    tensors = file.tensors(chunk, "MOVE")
    grid, fraction = int(tensors["grid"][0]), int(tensors["fraction"][0])
    tables = tensors["tables"]
    sound = 0 <= grid < len(file.manifest["grids"]) and fraction <= 3 and (tables <= 64).all()
    require(bool(sound), "F9: a grid, a fraction or a table of motion is out of range")
    own = topology_of(file, file.manifest["grids"][grid]["topology"]).leaf_origins
    sizes, data = [len(own)] * 3, tensors["codes"].tobytes()
    passes = lattice.read_passes(default_networks()["prior"], tables, sizes, data)
    vectors = motion.vectors_of(own, np.stack(passes, axis=1))
    other = channel_of(file, number)
    entry, place = next(
        (entry, place)
        for entry in file.manifest["grids"]
        for place, component in enumerate(entry["components"])
        if component["output"] == number
    )
    topology = topology_of(file, entry["topology"])
    mask, values = separate_values(file, entry, topology, "exact_values")
    separate, around = voxels(topology.leaf_origins, mask), exterior_of(file, entry, place, units)

    def region(corner: lattice.Corner) -> Array:
        known = around(corner)
        coded = channel_values(file, entry["components"][place], other.voxels, clamp=True)
        for coordinates, found in ((separate, values[:, place]), (other.voxels, coded)):
            inside = (coordinates // 128 * 128 == corner).all(axis=1)
            known[tuple((coordinates[inside] - corner).T)] = units(found[inside])
        own_leaves = leaves[(leaves // 128 * 128 == corner).all(axis=1)]
        return motion.fetched(known, vectors, fraction, corner, own_leaves)

    return region


def segments_of(file: File, bits: int | None, tensors: Tensors) -> tuple[lattice.Part, int]:
    """What reads parts of the segments' bytes, and the number of these."""
    if bits is not None:
        require(file.type_of(bits) == "BITS", f"M11: chunk {bits} is not BITS")
        return partial(file.part, bits), file.table[bits]["raw"]
    data = tensors["bits"].tobytes()
    return lambda begin, size, _: data[begin : begin + size], len(data)


def exterior_of(file: File, entry: Entry, place: int, units: Any) -> lattice.Exterior:
    """What gives units (128, 128, 128) by region: right at inactive voxels, any at active ones."""
    topology = topology_of(file, entry["topology"])
    tile_values, mask, values = inactive_values(file, entry, topology)
    inactive = voxels(topology.leaf_origins, mask)

    def exterior(corner: lattice.Corner) -> Array:
        region = np.full((lattice.EDGE,) * 3, entry["background"][place], dtype=np.float32)
        first = np.clip(topology.tile_origins - np.array(corner), 0, lattice.EDGE)
        ends = topology.tile_origins + topology.tile_edges[:, None].astype(np.int64)
        last = np.clip(ends - np.array(corner), 0, lattice.EDGE)
        for low, high, value in zip(first, last, tile_values, strict=True):
            region[tuple(map(slice, low, high))] = value[place]
        inside = (inactive // lattice.EDGE * lattice.EDGE == corner).all(axis=1)
        region[tuple((inactive[inside] - corner).T)] = values[inside, place]
        found: Array = units(region)
        return found

    return exterior


# ---- The whole decode: format_spec.md ----


@dataclass
class DecodedGrid:
    """One grid: active leaf voxels in order, tiles, and inactive voxels off the background."""

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


def kind_of(file: File) -> str | None:
    return None if file.manifest["field"] is None else str(file.manifest["field"]["kind"])


def field_values(file: File, entry: Entry, coordinates: Array, clamp: bool) -> Array:
    """Values float32 (n, C) that the field gives at voxels (n, 3); NaN where a lattice has none."""
    columns, network = [], kind_of(file) == "fourier"
    for component in entry["components"]:
        low, high, output = component["minimum"], component["maximum"], component["output"]
        if output is None:
            values = np.full(len(coordinates), low)
        elif network:
            found = fourier_outputs(file, coordinates, output)
            values = low + (high - low) * found.astype(np.float64)
        else:
            require(kind_of(file) == "lattice", "F1: the kind of the field is not known")
            columns.append(channel_values(file, component, coordinates, clamp))
            continue
        clamped = np.minimum(np.maximum(values, low), high) if clamp else values
        columns.append(clamped.astype(np.float32))
    return np.stack(columns, axis=1)


def channel_values(file: File, component: Entry, coordinates: Array, clamp: bool) -> Array:
    """Values float32 (n) that a lattice gives a component at voxels (n, 3)."""
    channel = channel_of(file, component["output"])
    low, high, values = component["minimum"], component["maximum"], channel.outputs(coordinates)
    if not channel.config["lossless"]:
        values = low + (high - low) * values
        values = np.minimum(np.maximum(values, low), high) if clamp else values
    return values.astype(np.float32)


def decode_grid(file: File, entry: Entry) -> DecodedGrid:
    topology = topology_of(file, entry["topology"])
    coordinates = topology.coordinates()
    require(len(coordinates) == entry["leaf_voxels"], "S6: leaf_voxels differs")
    require(topology.active_voxels() == entry["active_voxels"], "S6: active_voxels differs")
    require(topology.box() == entry["box"], "S6: box differs")

    values = field_values(file, entry, coordinates, clamp=True)
    mask, separate = separate_values(file, entry, topology, "exact_values", "outliers")
    stored = mask[topology.active]
    values.view(np.uint32)[stored] = separate.view(np.uint32)
    tile_values, inactive_mask, inactive = inactive_values(file, entry, topology)
    places = voxels(topology.leaf_origins, inactive_mask)

    if entry["threshold"] is not None or entry["topology_of"] is not None:
        active, negative, leaves = whole_leaf_topology(file, entry, coordinates, stored)
        stays = np.array([tuple(leaf) in leaves for leaf in (places // 8).tolist()], dtype=bool)
        background = -np.array(entry["background"], dtype=np.float32)
        below = np.broadcast_to(background, (int(negative.sum()), len(background)))
        places = np.concatenate([places[stays], coordinates[negative]])
        inactive = np.concatenate([inactive[stays], below])[in_order(places)]
        places = places[in_order(places)]
        coordinates, values = coordinates[active], values[active]
    tiles = topology.tile_origins, topology.tile_edges, topology.tile_active
    return DecodedGrid(entry, coordinates, values, *tiles, tile_values, places, inactive)


def whole_leaf_topology(
    file: File, entry: Entry, coordinates: Array, stored: Array
) -> tuple[Array, Array, set[tuple[int, ...]]]:
    """Which voxels are active, and which hold minus the background: bool (n).

    The leaves that stay come last, as the coordinates of their cells.
    """
    none = np.zeros(len(coordinates), dtype=bool)
    if entry["topology_of"] is not None:
        named = file.manifest["grids"][entry["topology_of"]]
        alone = entry["threshold"] is None and named["threshold"] is not None
        require(alone and named["topology"] == entry["topology"], "M19: not such a grid")
        other = decode_grid(file, named)
        theirs = {tuple(voxel) for voxel in other.coordinates.tolist()}
        active = np.array([tuple(voxel) in theirs for voxel in coordinates.tolist()], dtype=bool)
        held = np.concatenate([other.coordinates, other.inactive_coordinates])
        return active, none, cells_of(held)
    rule, background = entry["threshold_rule"], np.array(entry["background"], dtype=np.float32)
    values = field_values(file, entry, coordinates, clamp=False)
    active = stored | (scores(rule, values, background) > np.float32(entry["threshold"]))
    negative = ~active & (values[:, 0] < 0) if rule == "within" else none
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


# ---- spec/sequence.md ----

SLOT = struct.Struct("<QIIII")
SLOT_FIELDS = "offset", "stored", "raw", "checksum", "slot_checksum"


def groups(data: bytes) -> tuple[Entry, list[tuple[list[Entry], bytes]]]:
    """The timeline of a sequence, and the frames and the container of each group."""
    require(len(data) >= 64, "Q1: shorter than the head of a sequence")
    require(data[:8] == b"\x89INRS\r\n\x1a", "H2: magic differs")
    require(struct.unpack_from("<H", data, 8)[0] == 2, "H3: major version is not 2")
    slots = []
    for start in (16, 40):
        slot = dict(zip(SLOT_FIELDS, SLOT.unpack_from(data, start), strict=True))
        if zlib.crc32(data[start : start + 20]) == slot["slot_checksum"]:
            slots.append(slot)
    require(len(slots) > 0, "Q2: the checksum of no slot holds")
    last = record(data, max(slots, key=lambda slot: int(slot["offset"])))
    records = [last]
    while records[-1]["before"] is not None:
        require(len(records) < 64, "Q4: too many records")
        records.append(record(data, records[-1]["before"]))
    found = []
    for group in [group for own in reversed(records) for group in own["groups"]]:
        held = data[group["offset"] : group["offset"] + group["size"]]
        there = [(frame["number"], frame["time"]) for frame in File(held).manifest["frames"]]
        for frame in group["frames"]:
            require((frame["number"], frame["time"]) in there, "Q8: a group lacks a frame")
        found.append((group["frames"], held))
    return last["timeline"], found


def record(data: bytes, place: Entry) -> Entry:
    """A record of the index."""
    inside = place["offset"] >= 64 and place["offset"] + place["stored"] <= len(data)
    require(inside, "Q3: a record does not lie in the file")
    compressed = int(place["raw"] > place["stored"])
    return dict(json.loads(unpacked(data, place | {"compression": compressed})))


def main(path: str) -> None:
    data = Path(path).read_bytes()
    if data[:8] == b"\x89INRS\r\n\x1a":
        for frames, held in groups(data)[1]:
            print(f"frames {[frame['number'] for frame in frames]}, {len(held)} bytes")
        return
    for grid in decode(data):
        name, kind = grid.entry["name"] or "(no name)", grid.entry["value_type"]
        print(f"{name}: {kind}, {grid.entry['active_voxels']} active voxels")
        print("  matrix", grid.entry["matrix"], "box", grid.entry["box"])
        if len(grid.values):
            print(
                "  values", grid.values.min(axis=0).tolist(), "to", grid.values.max(axis=0).tolist()
            )
    for entry, joined in passthrough(data):
        print(f"{entry['name']}: {entry['tree_type']}, passed through, {len(joined)} bytes")
    file = File(data)
    field = file.manifest["field"]
    if field and field["kind"] == "fourier" and field["config"]["samples"] is not None:
        print(f"samples differ by {samples_difference(file):.2g}")


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["FILE"])
