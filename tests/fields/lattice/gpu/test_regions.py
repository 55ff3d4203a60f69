"""Regions that are decoded by the kernels of a GPU: the same integers as those of the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton")

import inrv
from inrv import FormatError, SparseVolume
from inrv.fields.lattice.decode import LatticeOutputs
from inrv.fields.lattice.gpu import batch
from inrv.fields.lattice.gpu.batch import Batch
from inrv.fields.lattice.gpu.graphs import PassGraphs
from inrv.fields.lattice.gpu.outputs import GpuOutputs
from inrv.fields.lattice.gpu.regions import GpuRegions
from inrv.grids import sparse_grid
from testing.gpu import DEVICE, opened_on_gpu
from testing.lattice import Floats, instant, noise, smooth


def ripples(edge: int) -> Floats:
    return (smooth(edge) + np.float32(0.1) * noise((edge,) * 3, 3)).astype(np.float32)


def holed(edge: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return noise((edge,) * 3, 4) < 0.7


def alone() -> tuple[SparseVolume, dict[str, Any]]:
    """Offsets, restoration, exterior values, and a region with few bytes."""
    grid = sparse_grid(ripples(6), "density", active=holed(6), background=0.25)
    return SparseVolume((grid,)), {"psnr": 40.0}


def small() -> tuple[SparseVolume, dict[str, Any]]:
    """As few voxels as do where it is enough that a region is decoded."""
    grid = sparse_grid(ripples(4), "density", active=holed(4), background=0.25)
    return SparseVolume((grid,)), {"psnr": 40.0}


def vectors() -> tuple[SparseVolume, dict[str, Any]]:
    """Channels with reference channels, of which one has values that are set apart."""
    heat = ripples(6)
    wind = np.stack([heat * 2, heat[::-1], -heat], axis=3)
    heat[:, :2] = 0.5  # frequent
    grids = [sparse_grid(own, name) for own, name in ((heat, "heat"), (wind, "wind"))]
    return SparseVolume(tuple(grids)), {"max_error": "2%"}


def entries() -> tuple[SparseVolume, dict[str, Any]]:
    """A palette, and low bits."""
    grid = sparse_grid(100 + smooth(7), "pressure", active=holed(7))
    return SparseVolume((grid,)), {"lossless": True}


def rough() -> tuple[SparseVolume, dict[str, Any]]:
    """Four segments, several lanes, and large codes with extra bits."""
    values = noise((14,) * 3, 5)
    values[8, 8, :9] = 9.0
    return SparseVolume((sparse_grid(values, "noise"),)), {"psnr": 85.0}


MAKERS = {make.__name__: make for make in (alone, small, vectors, entries, rough)}


@cache
def encoded(name: str) -> bytes:
    volume, asked = MAKERS[name]()
    return inrv.encode_bytes(volume, instant(**asked))[0]


def outputs_of(data: bytes) -> tuple[LatticeOutputs, GpuOutputs]:
    theirs, ours = inrv.load(data, "cpu").outputs, opened_on_gpu(data).outputs
    assert isinstance(theirs, LatticeOutputs) and isinstance(ours, GpuOutputs)
    return theirs, ours


def channels_of(data: bytes) -> list[dict[str, Any]]:
    field = inrv.load(data, "cpu").manifest.field
    assert field is not None
    channels: list[dict[str, Any]] = field.config["channels"]
    return channels


def test_the_volumes_have_what_they_are_for() -> None:
    (one,) = channels_of(encoded("alone"))
    assert one["restoration"] and one["offsets"] and one["trellis"] and not one["exterior"]
    assert any(own["reference"] and own["exterior"] for own in channels_of(encoded("vectors")))
    assert all(own["lossless"] for own in channels_of(encoded("entries")))
    stored = outputs_of(encoded("rough"))[0].channel(0).stored.regions
    assert stored.segments.tolist() == [4] and stored.lanes[0] > 1


@pytest.mark.parametrize("name", ["alone", "vectors", "entries", "rough"])
def test_units_are_those_of_the_core(name: str) -> None:
    theirs, ours = outputs_of(encoded(name))
    channels = [theirs.channel(number) for number in range(len(channels_of(encoded(name))))]
    last = channels[-1:] if name == "vectors" else channels
    jobs = [(own, number, 0) for own in last for number in range(len(own.regions))]
    found = ours.regions.units(jobs)
    assert len(found) >= len(jobs)
    for place, units in found.items():
        expected = channels[place.channel].decoded_by_core(place.region)
        assert np.array_equal(units.cpu().numpy(), expected)


@pytest.mark.parametrize("level", [1, 2, 4])
def test_units_at_a_level_are_those_of_the_core(level: int) -> None:
    theirs, ours = outputs_of(encoded("rough"))
    channel = theirs.channel(0)
    ((_, units),) = ours.regions.units([(channel, 0, level)]).items()
    assert np.array_equal(units.cpu().numpy(), channel.decoded_by_core(0, level))


def test_grids_are_those_of_the_core() -> None:
    theirs, ours = inrv.load(encoded("small"), "cpu"), opened_on_gpu(encoded("small"))
    for one, other in zip(theirs.to_sparse().grids, ours.to_sparse().grids, strict=True):
        assert one.values.tobytes() == other.values.tobytes()
    assert theirs[0].level(1).values.tobytes() == ours[0].level(1).values.tobytes()


@dataclass
class Again:
    """In place of a graph: does the work itself, of which nothing is done when it is captured."""

    work: Callable[[], None]

    def replay(self) -> None:
        self.work()


def test_passes_as_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, taken = PassGraphs(Again), []
    take_passes = Batch.take_passes

    def counted(own: Batch) -> None:
        taken.append(len(own.items))
        take_passes(own)

    monkeypatch.setattr(batch, "GRAPHS", graphs)
    monkeypatch.setattr(Batch, "is_graphed", True)
    monkeypatch.setattr(Batch, "take_passes", counted)
    for edge in (4, 5, 4):
        grid = sparse_grid(np.float32(edge) * ripples(edge), "density")
        data = inrv.encode_bytes(SparseVolume((grid,)), instant(psnr=40.0))[0]
        theirs, ours = inrv.load(data, "cpu"), opened_on_gpu(data)
        assert ours[0].tensor().cpu().numpy().tobytes() == theirs[0].dense().tobytes()
    assert taken == [1, 0, 0]  # the first of its kind by itself


@pytest.mark.skipif(DEVICE.type == "cpu", reason="only a GPU has graphs")
def test_graphs_give_the_units_of_the_core() -> None:
    theirs, ours = outputs_of(encoded("alone"))
    for _ in range(4):
        ((_, units),) = ours.regions.units([(theirs.channel(0), 0, 0)]).items()
        assert np.array_equal(units.cpu().numpy(), theirs.channel(0).decoded_by_core(0))


@pytest.mark.parametrize("stride", [1, 2])
def test_boxes_are_lossless(stride: int) -> None:
    theirs, ours = inrv.load(encoded("entries"), "cpu"), opened_on_gpu(encoded("entries"))
    found = ours[0].tensor(stride=stride).cpu().numpy()
    assert found.tobytes() == theirs[0].dense(stride=stride).tobytes()


@pytest.mark.parametrize("at", [0, 12, -1])
def test_damage_is_found(at: int) -> None:
    theirs, _ = outputs_of(encoded("small"))
    channel = theirs.channel(0)
    bits = bytearray(channel.stored.regions.within)
    bits[at] ^= 0x5A
    channel.stored.regions.within = bytes(bits)
    with pytest.raises(FormatError, match=r"region at \(0, 0, 0\) are damaged.*F6"):
        channel.decoded_by_core(0)
    with pytest.raises(FormatError, match=r"region at \(0, 0, 0\) are damaged.*F6"):
        GpuRegions(DEVICE).units([(channel, 0, 0)])
