"""Files that are small and ask for much: limits hold before memory is taken or time is spent."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import inrv
from fuzz.runner import peak_bytes, reset_peak
from inrv import FormatError, Limits, OptionError, SelectionError
from inrv.container import (
    Chunk,
    Component,
    FieldEntry,
    container_bytes,
    pack_tensors,
    read_container,
    unpack_tensors,
)
from inrv.entropy.masks import EMPTY, MIXED, encode_masks
from inrv.fields.fourier.evaluation import batch_voxels
from inrv.fields.lattice.codec import ChannelParameters, Reference, Setting, region_encoder
from inrv.fields.lattice.model import default_model
from inrv.fields.lattice.regions import Regions
from inrv.grids import Topology
from inrv.storage.topology import store_topologies
from spec.reference import read as reference_reader
from testing.examples import (
    VECTORS,
    coded_inactive,
    field_entry,
    field_tensors,
    grid_entry,
    keys_of,
    keys_of_topology,
    manifest_of,
    topology,
)
from testing.rebuild import take_apart

GOOD = (VECTORS / "fourier.inrv").read_bytes()


def ordered(count: int) -> NDArray[np.int64]:
    """Origins of leaves in key order, 4096 a node."""
    origins = np.stack(np.unravel_index(np.arange(count) % 4096, (16, 16, 16)), axis=1) * 8
    origins[:, 0] += np.arange(count) // 4096 * 128 - 65536
    return origins


def leaves(count: int, mask: int = 255) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors of `count` leaves, every byte of their masks `mask`, and the keys of a grid."""
    held = Topology.from_leaves(ordered(count), np.full((count, 64), mask, np.uint8))
    chunks: list[Chunk] = []
    store_topologies([held], chunks)
    return unpack_tensors(chunks[0].data), keys_of_topology(held)


def network(
    frequencies: int, layers: int, neurons: int, outputs: int
) -> tuple[dict[str, Any], FieldEntry]:
    """Tensors of a network whose weights are all zero, and its field, whose chunk is number 1."""
    widths = [2 * frequencies, *[neurons] * layers, outputs]
    tensors: dict[str, Any] = {
        "B": np.zeros((frequencies, 3), np.float16),
        "multipliers": np.zeros(frequencies, np.float32),
    }
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        tensors[f"layers.{layer}.weight.codes"] = np.zeros((fan_out, fan_in), np.int8)
        tensors[f"layers.{layer}.weight.step"] = np.zeros(fan_out, np.float32)
        tensors[f"layers.{layer}.bias"] = np.zeros(fan_out, np.float16)
    sizes = {"frequencies": frequencies, "layers": layers, "neurons": neurons}
    return tensors, field_entry(1, outputs, **sizes)


def file_of(
    grids: Sequence[Any],
    chunks: Sequence[tuple[str, dict[str, Any]]],
    field: FieldEntry | None = None,
) -> bytes:
    """A file of these grids and chunks."""
    packed = [Chunk(kind, pack_tensors(tensors)) for kind, tensors in chunks]
    return container_bytes(manifest_of(grids, field), packed)


def coded(count: int, sizes: tuple[int, int, int, int], grids: int = 1) -> bytes:
    """Grids on `count` full leaves, coded by the last output of a network of these sizes."""
    tensors, field = network(*sizes)
    held, keys = leaves(count)
    grid = grid_entry("g", (Component(0.0, 1.0, sizes[3] - 1),), **keys)
    return file_of([grid] * grids, [("TOPO", held), ("NETW", tensors)], field)


def inactive(count: int, grids: int) -> bytes:
    """Grids on `count` leaves without an active voxel, with a value for each inactive one."""
    held, keys = leaves(count, 0)
    every, none = np.full((count, 64), 255, np.uint8), np.zeros((count, 64), np.uint8)
    values = {
        "tile_values": np.empty((0, 1), np.float32),
        **coded_inactive(ordered(count), every, none),
        "inactive_values": np.ones((count * 512, 1), np.float32),
    }
    grid = grid_entry("g", (Component(0, 0, None),), inactive_values=1, **keys)
    return file_of([grid] * grids, [("TOPO", held), ("INAC", values)])


def frequent(count: int, values: int, mixed: bool) -> bytes:
    """`count` full leaves whose voxels all have the last of so many frequent values.

    Masks of the others are mixed, or empty.
    """
    origins, kinds = ordered(count).astype(np.int32), MIXED if mixed else EMPTY
    none, every = np.zeros((count, 64), np.uint8), np.full((count, 64), 255, np.uint8)
    parts = encode_masks(origins, none, every, np.full(count, kinds, np.uint8))
    masks = {
        "values": np.zeros((values, 1), np.float32),
        "kinds": np.full((values - 1, count), kinds, np.uint8),
        "mask_lengths": np.int32([[len(part) for part in parts]] * (values - 1)).reshape(
            -1, len(parts)
        ),
        "mask_bytes": np.frombuffer(b"".join(parts) * (values - 1), np.uint8),
    }
    held, keys = leaves(count)
    grid = grid_entry("g", (Component(0, 0, None),), frequent_values=1, **keys)
    return file_of([grid], [("TOPO", held), ("FREQ", masks)])


def zeros_of(held: Topology, reference: bool) -> dict[str, Any]:
    """The regions of a lossless channel whose every value is its palette's first entry."""
    regions, parameters = Regions(held), ChannelParameters((128,) * 7, 128, 0, lossless=True)
    other = Reference(regions, lambda number: np.zeros(1 << 21, np.int32), 128)
    setting = Setting(regions, other if reference else None)
    model, values = default_model(reference, False), np.zeros(held.leaf_voxel_count)
    numbers = range(len(regions))
    found = list(map(region_encoder(setting, values, 128.0, parameters, model, 0.0), numbers))
    stored = [region.stored for region in found]
    sizes = [[*map(len, region.codes.segments), 0, 0, 0][:4] for region in stored]
    return {
        "means": np.uint8([region.mean for region in stored]),
        "spreads": np.uint8([region.spread for region in stored]),
        "lanes": np.uint8([region.codes.lanes for region in stored]),
        "segments": np.uint8([len(region.codes.segments) for region in stored]),
        "lengths": np.int32(sizes),
        "checksums": np.zeros((0, 4), np.int32),
        "bits": np.frombuffer(b"".join(region.codes.segments[0] for region in stored), np.uint8),
    }


def lossless(count: int, low_bits: int) -> bytes:
    """Two lossless channels of `count` full leaves, the second predicted from the first.

    Their codes take next to no bytes.
    """
    held, keys = leaves(count)
    topology = Topology.from_leaves(ordered(count), np.full((count, 64), 255, np.uint8))
    values = {
        "palette": np.array([-1, 1], np.int32),
        "low_bits": np.zeros((low_bits, count * 64), np.uint8),
    }
    codes = [zeros_of(topology, reference) | values for reference in (False, True)]
    channel: dict[str, Any] = {
        "steps": [128] * 7,
        "top": 128,
        "background": 0,
        "scale": 1.0,
        "reference": None,
        "motion": None,
        "second_reference": None,
        "second_motion": None,
        "exterior": False,
        "restoration": False,
        "set": 0,
        "fitted": False,
        "trellis": False,
        "wavelet": False,
        "offsets": False,
        "lossless": True,
        "codes": 1,
        "bits": None,
    }
    second = channel | {"reference": 0, "codes": 2}
    config = {"networks": "default-1", "channels": [channel, second]}
    grid = grid_entry("g", (Component(0, 1, 0),), **keys)
    grids = [grid, replace(grid, name="h", components=(Component(0, 1, 1),))]
    chunks = [("TOPO", held), ("CODE", codes[0]), ("CODE", codes[1])]
    return file_of(grids, chunks, FieldEntry("lattice", 2, config))


def decode_all(data: bytes, limits: Limits) -> int:
    return len(inrv.load(data, "cpu", limits).to_sparse().grids)


def verify(data: bytes, limits: Limits) -> int:
    return inrv.verify(data, "cpu", limits).chunks


def first_dense(data: bytes, limits: Limits) -> Any:
    return inrv.load(data, "cpu", limits).grids[0].dense()


Act = Callable[[bytes, Limits], Any]


@pytest.mark.parametrize(
    ("limits", "act", "message"),
    [
        (
            Limits(leaves=3),
            decode_all,
            "3 leaves and 2 tiles, .* exceed the limit of leaves .* by 2",
        ),
        (Limits(weights=148), verify, "field has 149 weights, more than the limit of 148"),
        (
            Limits(exact_bytes=621),
            verify,
            r"exact values take 622 bytes, more than the limit of 621",
        ),
        (
            Limits(values=3000),
            decode_all,
            "3,092 values are to be decoded, more than the limit of 3,000",
        ),
        (
            Limits(work=1 << 10),
            decode_all,
            r"1,546 voxels with 129 weights each .* 199,434 products, more than the limit of 1,024",
        ),
        (Limits(work=1 << 10), first_dense, r"773 voxels .* more than the limit of 1,024"),
    ],
)
def test_limits_can_be_lowered(limits: Limits, act: Act, message: str) -> None:
    with pytest.raises(FormatError, match=f"<bytes>.*{message}"):
        act(GOOD, limits)
    act(GOOD, Limits())


def test_a_box_beyond_the_limit_is_refused_before_it_is_filled() -> None:
    masks, ends = np.eye(2, 64, dtype=np.uint8), [(-8384512, -8384512, -8384512), (8384512, 0, 0)]
    grid = grid_entry("far", (Component(0.5, 0.5, None),), **keys_of(ends, masks))
    volume = inrv.load(file_of([grid], [("TOPO", topology(ends, masks))]), "cpu")
    with pytest.raises(
        SelectionError,
        match=r"grid 'far': a box of .* values, more than the limit of 2,147,483,648: fill",
    ):
        volume["far"].dense()
    assert volume["far"].to_grid().values.tolist() == [[0.5], [0.5]]


LEAST = Limits(
    manifest_bytes=1 << 18,
    chunks=8,
    chunk_bytes=1 << 20,
    exact_bytes=0,
    leaves=1 << 10,
    weights=1 << 12,
    values=1 << 18,
)
ALL_VOXELS = {"leaves": 1 << 13, "values": 1 << 22, "exact_bytes": 1 << 10, "chunk_bytes": 1 << 22}
# What is made, what is done, and what of LEAST must be raised for it.
HOSTILE: dict[str, tuple[Callable[[], bytes], Act, dict[str, int]]] = {
    "many frequencies": (
        lambda: coded(1, (1 << 17, 0, 1, 1)),
        decode_all,
        {"chunk_bytes": 1 << 21, "weights": 1 << 20},
    ),
    "many neurons": (
        lambda: coded(1, (1, 1, 1 << 18, 1)),
        decode_all,
        {"chunk_bytes": 1 << 22, "weights": 1 << 21},
    ),
    "many outputs": (
        lambda: coded(1, (1, 1, 1, 1 << 18)),
        verify,
        {"chunk_bytes": 1 << 22, "weights": 1 << 20},
    ),
    "a thousand layers": (lambda: coded(1, (1, 1024, 8, 1)), decode_all, {"weights": 1 << 18}),
    "many leaves": (
        lambda: coded(1 << 13, (1, 0, 1, 1)),
        decode_all,
        {"leaves": 1 << 13, "values": 1 << 22},
    ),
    "many grids, one topology": (
        lambda: coded(64, (1, 0, 1, 1), 512),
        decode_all,
        {"grids": 512, "values": 1 << 24, "manifest_bytes": 1 << 19},
    ),
    "many grids, one INAC chunk": (
        lambda: inactive(256, 64),
        decode_all,
        {"exact_bytes": 64 * 545_000},
    ),
    "one frequent value of all voxels": (
        lambda: frequent(1 << 13, 1, False),
        decode_all,
        ALL_VOXELS,
    ),
    "many frequent values": (
        lambda: frequent(1 << 12, 256, False),
        decode_all,
        ALL_VOXELS | {"exact_bytes": 1 << 22},
    ),
    "many masks of few bytes": (
        lambda: frequent(1 << 9, 64, True),
        decode_all,
        {"exact_bytes": 1 << 16},
    ),
    "lossless channels": (
        lambda: lossless(1 << 12, 24),
        decode_all,
        {"leaves": 1 << 12, "values": 1 << 22, "chunk_bytes": 1 << 23},
    ),
}


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK),
    reason="peak memory is measured through Linux's /proc",
)
@pytest.mark.parametrize("name", HOSTILE)
def test_memory_stays_below_what_the_limits_say(name: str) -> None:
    make, act, raised = HOSTILE[name]
    limits = replace(LEAST, **raised)
    decode_all(GOOD, Limits())
    data = make()
    before = reset_peak()
    start = time.process_time()
    act(data, limits)
    assert len(data) < 40_000 and time.process_time() - start < 30
    assert peak_bytes() - before < limits.memory


def test_a_wide_network_is_evaluated_on_few_voxels_at_a_time() -> None:
    field = inrv.load(coded(1, (1 << 17, 0, 1, 1)), "cpu").field
    assert (
        field is not None
        and batch_voxels(field, torch.device("cpu")) * field.floats_per_voxel * 4 <= 1 << 26
    )


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_outputs_that_are_not_finite_are_an_error_that_names_the_grid(value: float) -> None:
    tensors = field_tensors() | {"layers.2.weight": np.full((3, 6), value, np.float32)}
    held, keys = leaves(1)
    grid = grid_entry("density", (Component(0.0, 1.0, 0),), **keys)
    data = file_of([grid], [("TOPO", held), ("NETW", tensors)], field_entry(1))
    acts: list[Callable[[], Any]] = [
        lambda: inrv.verify(data, "cpu", decode=True),
        lambda: inrv.load(data, "cpu")["density"].values(),
        lambda: inrv.load(data, "cpu")["density"].dense(),
        lambda: inrv.load(data, "cpu")["density"].sample(np.array([[-65533.0, 3.0, 3.0]])),
    ]
    for act in acts:
        with pytest.raises(
            FormatError,
            match=r"^<bytes>: grid 'density': an output of the field is not finite",
        ):
            act()


@pytest.mark.parametrize("path", ["a\0b.inrv", "\ud800.inrv"])
def test_a_path_that_no_file_can_have(path: str) -> None:
    with pytest.raises(FormatError, match=r"cannot be (the path of a file|read)"):
        read_container(path)


def test_a_file_that_changes_while_it_is_open(tmp_path: Path) -> None:
    """Chunks are read when they are needed; by then the file may be another, shorter or gone."""
    path = tmp_path / "open.inrv"
    for other in (
        GOOD[:900],
        GOOD[:700] + bytes(len(GOOD) - 700),
        b"",
        (VECTORS / "velocity.inrv").read_bytes(),
    ):
        path.write_bytes(GOOD)
        volume = inrv.load(path, "cpu")
        path.write_bytes(other)
        with pytest.raises(FormatError, match=r"open\.inrv.*checksum"):
            [grid.to_grid() for grid in volume.grids]
    path.unlink()
    with pytest.raises(FormatError, match=r"open\.inrv"):
        _ = inrv.load(GOOD, "cpu").grids[0].template, volume.container.chunk(1)


def test_a_coarse_topology_need_not_be_full() -> None:
    """Whatever its masks: what decodes above the threshold is active.

    Leaves without an active voxel are gone with their values.
    """
    origins = [(0, 0, 0), (0, 0, 8)]
    masks, inactive = np.full((2, 64), 15, np.uint8), np.zeros((2, 64), np.uint8)
    inactive[:, 0] = 16
    values = {
        "tile_values": np.empty((0, 1), np.float32),
        **coded_inactive(origins, inactive, masks),
        "inactive_values": np.array([[1.0], [2.0]], np.float32),
    }
    exact_masks = np.zeros((2, 64), np.uint8)
    exact_masks[1, 0] = 1
    exact = {"exact_masks": exact_masks, "exact_values": np.array([[7.0]], np.float32)}
    stored = {"inactive_values": 1, "exact_values": 2, "threshold": 0.5} | keys_of(origins, masks)
    grid = grid_entry("t", (Component(0.5, 0.5, None),), **stored)
    chunks = [("TOPO", topology(origins, masks)), ("INAC", values), ("EXAC", exact)]
    data = file_of([grid], chunks)
    decoded = inrv.load(data, "cpu")["t"].to_grid()
    assert decoded.topology.leaf_origins.tolist() == [[0, 0, 8]] and decoded.values.tolist() == [
        [7.0]
    ]
    assert decoded.inactive.places.tolist() == [4] and decoded.inactive.values.tolist() == [[2.0]]
    (theirs,) = reference_reader.decode(data)
    assert theirs.inactive_coordinates.tolist() == [
        [0, 0, 12]
    ] and theirs.inactive_values.tolist() == [[2.0]]


def test_a_coarse_band_keeps_its_inactive_values_beside_new_ones() -> None:
    """By the rule 'within', a leaf with a voxel of minus the background stays.

    Both readers give its values in order.
    """
    origins = [(0, 0, 0), (0, 0, 8), (0, 0, 16)]
    masks, inactive = np.full((3, 64), 15, np.uint8), np.full((3, 64), 16, np.uint8)
    values = {
        "tile_values": np.empty((0, 1), np.float32),
        **coded_inactive(origins, inactive, masks),
        "inactive_values": np.linspace(1, 2, 192, dtype=np.float32)[:, None],
    }
    stored = {"inactive_values": 1, "background": (1.0,)} | keys_of(origins, masks)
    below = grid_entry("t", (Component(-0.5, -0.5, None),), threshold_rule="within", **stored)
    grids = [replace(below, threshold=0.75), replace(below, threshold=0.25)]
    data = file_of(grids, [("TOPO", topology(origins, masks)), ("INAC", values)])
    for ours, other, active in zip(
        inrv.load(data, "cpu").to_sparse().grids,
        reference_reader.decode(data),
        (0, 768),
        strict=True,
    ):
        assert len(ours.values) == len(other.values) == active and ours.topology.leaf_count == 3
        assert len(ours.inactive.places) == 192 + 768 - active
        assert np.array_equal(
            ours.topology.coordinates_of(ours.inactive.places), other.inactive_coordinates
        )
        assert ours.inactive.values.tobytes() == other.inactive_values.tobytes()


def test_exact_values_count_as_often_as_they_are_referred_to() -> None:
    data = inactive(4, 10)
    raw = read_container(data).entries[1].raw
    assert len(read_container(data, Limits(exact_bytes=10 * raw)).manifest.grids) == 10
    with pytest.raises(FormatError, match=f"exact values take {10 * raw:,} bytes"):
        read_container(data, Limits(exact_bytes=10 * raw - 1))
    file = take_apart(data)
    file.edit_manifest("grids.0.inactive_values", None)
    assert len(read_container(file.to_bytes(), Limits(exact_bytes=9 * raw)).manifest.grids) == 10


def test_the_header_of_a_payload_is_short() -> None:
    """A gigabyte of names would take many times its size when it is parsed."""
    names = b",".join(
        b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % number for number in range(25_000)
    )
    payload = (len(names) + 2).to_bytes(8, "little") + b"{" + names + b"}"
    with pytest.raises(FormatError, match=r"header of 1,\d+,\d+ bytes is longer than 1,048,576"):
        unpack_tensors(payload)


@pytest.mark.parametrize("value", [-1, 1.5, "5", None])
def test_limits_are_whole_numbers(value: Any) -> None:
    with pytest.raises(OptionError, match=r"the limit leaves=.* is not a whole number"):
        Limits(leaves=value)
    with pytest.raises(OptionError, match=r"limits is of type .*: give inrv\.Limits"):
        inrv.load(GOOD, limits=value)
