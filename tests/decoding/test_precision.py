"""Matrices are multiplied in less than float32 only where a file allows it, and its samples agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import inrv
from inrv.container import Chunk, Manifest, container_bytes, pack_tensors, read_container, unpack_tensors
from inrv.decoding import volume as opened
from inrv.grids import sparse_grid


@pytest.fixture(scope="module")
def file() -> bytes:
    """A fire that a small network does not resolve, so that bfloat16 is good enough."""
    values = torch.rand(24, 24, 24, generator=torch.Generator().manual_seed(0)) + 0.1
    grid = sparse_grid(values, "density")
    options = inrv.EncodeOptions(field="fourier", epochs=2, values_per_weight=8, device="cpu")
    return inrv.encode_bytes(inrv.SparseVolume((grid,)), options)[0]


@pytest.fixture(autouse=True)
def fast_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine on which bfloat16 is the faster one."""
    monkeypatch.setattr(opened, "decoding_precision", lambda _: torch.bfloat16)


def precision_of(data: bytes) -> torch.dtype:
    outputs = inrv.load(data, device="cpu").outputs
    assert isinstance(outputs, opened.FieldOutputs)
    return outputs.precision


def changed(data: bytes, tolerance: float | None, move: float = 0.0) -> bytes:
    """The file with another tolerance and reference samples that lie off by `move`."""
    container = read_container(data)
    chunks = [Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)]
    manifest: Manifest = container.manifest
    assert manifest.field is not None and manifest.reference is not None
    samples = unpack_tensors(chunks[manifest.reference].data)
    moved = {name: array + move if name == "outputs" else array for name, array in samples.items()}
    chunks[manifest.reference] = Chunk("REFS", pack_tensors({n: a.astype(samples[n].dtype) for n, a in moved.items()}))
    return container_bytes(replace(manifest, field=replace(manifest.field, tolerance=tolerance)), chunks)


def test_a_file_that_allows_it_is_decoded_in_less_and_stays_within(file: bytes) -> None:
    field = inrv.load(file, device="cpu").manifest.field
    assert field is not None and field.tolerance is not None and precision_of(file) == torch.bfloat16
    lower = inrv.load(file, device="cpu")["density"].values()
    exact = inrv.load(changed(file, None), device="cpu")["density"].values()
    assert 0 < (lower - exact).abs().max() <= 2 * field.tolerance
    assert inrv.verify(file, device="cpu").tolerance == field.tolerance


def test_a_file_that_does_not_is_decoded_in_float32(file: bytes) -> None:
    assert precision_of(changed(file, None)) == torch.float32
    assert inrv.verify(changed(file, None), device="cpu").tolerance == 1e-4


def test_samples_that_disagree_keep_it_at_float32(file: bytes) -> None:
    assert precision_of(changed(file, 1e-4)) == torch.float32
    assert precision_of(changed(file, 0.01, move=0.5)) == torch.float32


def test_a_threshold_for_topology_leaves_no_room() -> None:
    values = torch.rand(24, 24, 24, generator=torch.Generator().manual_seed(0)) + 0.1
    grid = sparse_grid(torch.where(values > 0.5, values, torch.zeros(())), "density")
    options = inrv.EncodeOptions(field="fourier", epochs=2, values_per_weight=8, topology="threshold", device="cpu")
    data, _ = inrv.encode_bytes(inrv.SparseVolume((grid,)), options)
    entry = inrv.load(data, device="cpu").manifest
    assert entry.grids[0].threshold is not None and entry.field is not None and entry.field.tolerance is None
