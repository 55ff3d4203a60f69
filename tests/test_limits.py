"""Files that are small and ask for much: every limit holds, before the memory is taken or the time is spent."""

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

import inrv
from fuzz.runner import peak_bytes, reset_peak
from inrv import FormatError, Limits, SelectionError
from inrv.container import Chunk, Component, FieldEntry, Manifest, container_bytes, pack_tensors, read_container, unpack_tensors
from inrv.entropy.masks import EMPTY, MIXED
from inrv.fields.fourier.evaluation import batch_voxels
from inrv.grids import Topology
from inrv.storage.topology import store_topologies
from spec.reference import read as reference_reader
from testing.examples import FIELD_CONFIG, VECTORS, field_tensors, grid_entry, topology
from testing.rebuild import take_apart

GOOD = (VECTORS / "fourier.inrv").read_bytes()


def leaves(count: int, mask: int = 255) -> dict[str, Any]:
    """A topology of `count` leaves, every byte of their masks `mask`."""
    nodes = {(128 * node - 65536, 0, 0): list(range(min(4096, count - 4096 * node))) for node in range(-(-count // 4096))}
    return topology(nodes, np.full((count, 64), mask, np.uint8), [])


def network(frequencies: int, layers: int, neurons: int, outputs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors of a network whose weights are all zero, and its configuration."""
    widths = [2 * frequencies, *[neurons] * layers, outputs]
    tensors = {"B": np.zeros((frequencies, 3), np.float16), "multipliers": np.zeros(frequencies, np.float32)}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        tensors[f"layers.{layer}.weight.codes"] = np.zeros((fan_out, fan_in), np.int8)
        tensors[f"layers.{layer}.weight.step"] = np.zeros(fan_out, np.float32)
        tensors[f"layers.{layer}.bias"] = np.zeros(fan_out, np.float16)
    sizes = {"frequencies": frequencies, "layers": layers, "neurons": neurons, "outputs": outputs}
    return tensors, FIELD_CONFIG | sizes


def file_of(grids: Sequence[Any], chunks: Sequence[tuple[str, dict[str, Any]]], field: FieldEntry | None = None) -> bytes:
    """A file of these grids and chunks."""
    return container_bytes(Manifest("t", {}, tuple(grids), field, None, {}), [Chunk(k, pack_tensors(t)) for k, t in chunks])


def coded(count: int, sizes: tuple[int, int, int, int], grids: int = 1) -> bytes:
    """Grids that share a topology of `count` full leaves, coded by the last output of a network of these sizes."""
    tensors, config = network(*sizes)
    grid = grid_entry("g", (Component(0.0, 1.0, sizes[3] - 1),), active_voxels=512 * count, leaf_voxels=512 * count)
    return file_of([grid] * grids, [("TOPO", leaves(count)), ("FELD", tensors)], FieldEntry("fourier", config, 1))


def exact(count: int, grids: int) -> bytes:
    """Grids that share `count` leaves without an active voxel, and a value for each inactive one."""
    values = {
        "tile_values": np.empty((0, 1), np.float32),
        "inactive_masks": np.full((count, 64), 255, np.uint8),
        "inactive_values": np.ones((count * 512, 1), np.float32),
    }
    return file_of(
        [grid_entry("g", (Component(0, 0, None),), inactive_values=1)] * grids, [("TOPO", leaves(count, 0)), ("EXAC", values)]
    )


def trees(count: int) -> bytes:
    """Full leaves as the cells of full blocks."""
    origins = torch.cartesian_prod(torch.arange(count // 256), torch.arange(16), torch.arange(16)) * 8
    held = Topology.from_leaves(origins, torch.ones((count, 512), dtype=torch.bool))
    chunks: list[Chunk] = []
    store_topologies([held], chunks, trees=True)
    grid = grid_entry("g", (Component(0, 0, None),), active_voxels=count * 512, leaf_voxels=count * 512)
    return container_bytes(Manifest("inrv", {}, (grid,), None, None, {}), chunks)


def frequent(count: int, values: int, mixed: bool) -> bytes:
    """`count` full leaves whose voxels all have the last of so many frequent values; masks of the others are mixed, or empty."""
    masks = {
        "values": np.zeros((values, 1), np.float32),
        "kinds": np.full((values - 1, count), MIXED if mixed else EMPTY, np.uint8),
        "word_counts": np.zeros(values - 1, np.int32),
        "coded_masks": np.zeros(0, np.uint8),
    }
    grid = grid_entry("g", (Component(0, 0, None),), active_voxels=512 * count, leaf_voxels=512 * count, frequent_values=1)
    return file_of([grid], [("TOPO", leaves(count)), ("FREQ", masks)])


def lossless(count: int, low_bits: int) -> bytes:
    """Two lossless channels of `count` full leaves, one given to the other, whose codes take no words at all."""
    regions = -(-count // 4096)
    codes = {
        "means": np.zeros(regions, np.uint8),
        "spreads": np.zeros(regions, np.uint8),
        "word_counts": np.zeros(regions, np.int32),
        "words": np.zeros(0, np.int32),
        "palette": np.array([-1, 1], np.int32),
        "low_bits": np.zeros((low_bits, count * 64), np.uint8),
    }
    channel = {"steps": [128] * 7, "top": 128, "background": 0, "scale": 1.0, "given": None, "codes": 1}
    channel |= {"surrounded": False, "smoothed": False, "fitted": False, "corrected": False, "lossless": True}
    config = {"outputs": 2, "networks": "default-1", "channels": [channel, channel | {"given": 0}]}
    grid = grid_entry("g", (Component(0, 1, 0),), active_voxels=512 * count, leaf_voxels=512 * count)
    grids = [grid, replace(grid, name="h", components=(Component(0, 1, 1),))]
    return file_of(grids, [("TOPO", leaves(count)), ("CODE", codes)], FieldEntry("lattice", config, None))


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
        (Limits(leaves=2), verify, "3 leaves and 2 tiles, .* exceed the limit of leaves and tiles by 3"),
        (Limits(weights=148), verify, "field has 149 weights, more than the limit of 148"),
        (Limits(exact_bytes=855), verify, r"exact values take [\d,]+ bytes, more than the limit of 855"),
        (Limits(values=3000), decode_all, "3,092 values are to be decoded, more than the limit of 3,000"),
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
    masks = np.eye(2, 64, dtype=np.uint8)
    ends = topology({(-8384512, -8384512, -8384512): [0], (8384512, 0, 0): [0]}, masks, [])
    grid = grid_entry("far", (Component(0.5, 0.5, None),), active_voxels=2, leaf_voxels=2)
    volume = inrv.load(file_of([grid], [("TOPO", ends)]), "cpu")
    with pytest.raises(
        SelectionError, match=r"grid 'far': a box of .* values, more than the limit of 2,147,483,648: fill a smaller"
    ):
        volume["far"].dense()
    assert volume["far"].to_grid().values.tolist() == [[0.5], [0.5]]


LEAST = Limits(
    manifest_bytes=1 << 18, chunks=8, chunk_bytes=1 << 20, exact_bytes=0, leaves=1 << 10, weights=1 << 12, values=1 << 18
)
ALL_VOXELS = {"leaves": 1 << 13, "values": 1 << 22, "exact_bytes": 1 << 10, "chunk_bytes": 1 << 22}
# What is made, what is done, and what of LEAST must be raised for it.
HOSTILE: dict[str, tuple[Callable[[], bytes], Act, dict[str, int]]] = {
    "many frequencies": (lambda: coded(1, (1 << 17, 0, 1, 1)), decode_all, {"chunk_bytes": 1 << 21, "weights": 1 << 20}),
    "many neurons": (lambda: coded(1, (1, 1, 1 << 18, 1)), decode_all, {"chunk_bytes": 1 << 22, "weights": 1 << 21}),
    "many outputs": (lambda: coded(1, (1, 1, 1, 1 << 18)), verify, {"chunk_bytes": 1 << 22, "weights": 1 << 20}),
    "a thousand layers": (lambda: coded(1, (1, 1024, 8, 1)), decode_all, {"weights": 1 << 18}),
    "many leaves": (lambda: coded(1 << 13, (1, 0, 1, 1)), decode_all, {"leaves": 1 << 13, "values": 1 << 22}),
    "many grids, one topology": (lambda: coded(64, (1, 0, 1, 1), 512), decode_all, {"grids": 512, "values": 1 << 24}),
    "many leaves in a tree": (lambda: trees(1 << 13), decode_all, {"leaves": 1 << 13, "values": 1 << 22}),
    "many grids, one EXAC chunk": (lambda: exact(256, 64), verify, {"exact_bytes": 64 * 545_000}),
    "one frequent value of all voxels": (lambda: frequent(1 << 13, 1, False), decode_all, ALL_VOXELS),
    "many frequent values": (lambda: frequent(1 << 12, 256, False), decode_all, ALL_VOXELS | {"exact_bytes": 1 << 22}),
    "many masks without words": (lambda: frequent(1 << 9, 64, True), decode_all, {"exact_bytes": 1 << 16}),
    "lossless channels": (
        lambda: lossless(1 << 12, 24),
        decode_all,
        {"leaves": 1 << 12, "values": 1 << 22, "chunk_bytes": 1 << 23},
    ),
}


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory is measured through Linux's /proc")
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
    assert field is not None and batch_voxels(field, torch.device("cpu")) * field.floats_per_voxel * 4 <= 1 << 26


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_outputs_that_are_not_finite_are_an_error_that_names_the_grid(value: float) -> None:
    tensors = field_tensors() | {"layers.2.weight": np.full((3, 6), value, np.float32)}
    masks = np.full((1, 64), 255, np.uint8)
    grid = grid_entry("density", (Component(0.0, 1.0, 0),), active_voxels=512, leaf_voxels=512)
    chunks = [("TOPO", topology({(0, 0, 0): [0]}, masks, [])), ("FELD", tensors)]
    data = file_of([grid], chunks, FieldEntry("fourier", FIELD_CONFIG, 1))
    acts: list[Callable[[], Any]] = [
        lambda: inrv.verify(data, "cpu"),
        lambda: inrv.load(data, "cpu")["density"].values(),
        lambda: inrv.load(data, "cpu")["density"].dense(),
        lambda: inrv.load(data, "cpu")["density"].sample(torch.full((1, 3), 3.0)),
    ]
    for act in acts:
        with pytest.raises(FormatError, match=r"^<bytes>: grid 'density': the field's output at a voxel is not finite"):
            act()


@pytest.mark.parametrize("path", ["a\0b.inrv", "\ud800.inrv"])
def test_a_path_that_no_file_can_have(path: str) -> None:
    with pytest.raises(FormatError, match=r"cannot be (the path of a file|read)"):
        read_container(path)


def test_a_file_that_changes_while_it_is_open(tmp_path: Path) -> None:
    """Chunks are read when they are needed; by then the file may be another one, shorter or gone."""
    path = tmp_path / "open.inrv"
    for other in (GOOD[:900], GOOD[:700] + bytes(len(GOOD) - 700), b"", (VECTORS / "velocity.inrv").read_bytes()):
        path.write_bytes(GOOD)
        volume = inrv.load(path, "cpu")
        path.write_bytes(other)
        with pytest.raises(FormatError, match=r"open\.inrv.*checksum"):
            [grid.to_grid() for grid in volume.grids]
    path.unlink()
    with pytest.raises(FormatError, match=r"open\.inrv"):
        _ = inrv.load(GOOD, "cpu").grids[0].template, volume.container.chunk(1)


def test_a_coarse_topology_need_not_be_full() -> None:
    """Whatever its masks: what decodes above the threshold is active, and leaves without any are gone with their values."""
    masks, inactive = np.full((2, 64), 15, np.uint8), np.zeros((2, 64), np.uint8)
    inactive[:, 0] = 16
    values = {
        "tile_values": np.empty((0, 1), np.float32),
        "inactive_masks": inactive,
        "inactive_values": np.array([[1.0], [2.0]], np.float32),
    }
    kept_masks = np.zeros((2, 64), np.uint8)
    kept_masks[1, 0] = 1
    kept = {"exact_masks": kept_masks, "exact_values": np.array([[7.0]], np.float32)}
    grid = grid_entry(
        "t", (Component(0.5, 0.5, None),), active_voxels=512, leaf_voxels=512, inactive_values=1, exact_values=2, threshold=0.5
    )
    chunks = [("TOPO", topology({(0, 0, 0): [0, 1]}, masks, [])), ("EXAC", values), ("KEEP", kept)]
    data = file_of([grid], chunks)
    decoded = inrv.load(data, "cpu")["t"].to_grid()
    assert decoded.topology.leaf_origins.tolist() == [[0, 0, 8]] and decoded.values.tolist() == [[7.0]]
    assert decoded.inactive.places.tolist() == [4] and decoded.inactive.values.tolist() == [[2.0]]
    (theirs,) = reference_reader.decode(data)
    assert theirs.inactive_coordinates.tolist() == [[0, 0, 12]] and theirs.inactive_values.tolist() == [[2.0]]


def test_a_coarse_band_keeps_its_inactive_values_beside_new_ones() -> None:
    """By the rule 'within', a leaf with a voxel of minus the background stays; both readers give its values in order."""
    masks, inactive = np.full((3, 64), 15, np.uint8), np.full((3, 64), 16, np.uint8)
    values = {
        "tile_values": np.empty((0, 1), np.float32),
        "inactive_masks": inactive,
        "inactive_values": np.linspace(1, 2, 192, dtype=np.float32)[:, None],
    }
    below = grid_entry(
        "t", (Component(-0.5, -0.5, None),), active_voxels=768, leaf_voxels=768, inactive_values=1, background=(1.0,)
    )
    data = file_of(
        [replace(below, threshold=0.75, threshold_rule="within"), replace(below, threshold=0.25, threshold_rule="within")],
        [("TOPO", topology({(0, 0, 0): [0, 1, 300]}, masks, [])), ("EXAC", values)],
    )
    for ours, other, active in zip(
        inrv.load(data, "cpu").to_sparse().grids, reference_reader.decode(data), (0, 768), strict=True
    ):
        assert len(ours.values) == len(other.values) == active and ours.topology.leaf_count == 3
        assert len(ours.inactive.places) == 192 + 768 - active
        assert np.array_equal(ours.topology.coordinates_of(ours.inactive.places).numpy(), other.inactive_coordinates)
        assert ours.inactive.values.numpy().tobytes() == other.inactive_values.tobytes()


def test_exact_values_count_as_often_as_they_are_referred_to() -> None:
    data = exact(4, 10)
    raw = read_container(data).entries[1].raw
    assert len(read_container(data, Limits(exact_bytes=10 * raw)).manifest.grids) == 10
    with pytest.raises(FormatError, match=f"exact values take {10 * raw:,} bytes"):
        read_container(data, Limits(exact_bytes=10 * raw - 1))
    file = take_apart(data)
    file.edit_manifest("grids.0.exact_values", None)
    assert len(read_container(file.to_bytes(), Limits(exact_bytes=9 * raw)).manifest.grids) == 10


def test_the_header_of_a_payload_is_short() -> None:
    """A gigabyte of names would take many times its size when it is parsed."""
    names = b",".join(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % number for number in range(25_000))
    payload = (len(names) + 2).to_bytes(8, "little") + b"{" + names + b"}"
    with pytest.raises(FormatError, match=r"header of 1,\d+,\d+ bytes is longer than 1,048,576"):
        unpack_tensors(payload)
