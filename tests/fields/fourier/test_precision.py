"""Matrices are multiplied in less than float32 where a file allows it and its samples agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import inrv
from inrv.container import (
    ACCURACY,
    Chunk,
    container_bytes,
    pack_tensors,
    read_container,
    unpack_tensors,
)
from inrv.fields.fourier import decode
from inrv.grids import sparse_grid


@pytest.fixture(scope="module")
def file() -> bytes:
    """A fire that a small network does not resolve, so that bfloat16 is good enough."""
    grid = sparse_grid(noise(), "density")
    options = inrv.EncodeOptions(field="fourier", epochs=2, values_per_weight=8, device="cpu")
    return inrv.encode_bytes(inrv.SparseVolume((grid,)), options)[0]


def noise() -> np.ndarray:
    return np.random.default_rng(0).random((24, 24, 24), dtype=np.float32) + np.float32(0.1)


@pytest.fixture(autouse=True)
def fast_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine on which bfloat16 is the faster one."""
    monkeypatch.setattr(decode, "decoding_precision", lambda _: torch.bfloat16)


def config_of(data: bytes) -> dict[str, Any]:
    field = inrv.load(data, device="cpu").manifest.field
    assert field is not None and field.kind == "fourier"
    return field.config


def precision_of(data: bytes) -> torch.dtype:
    outputs = inrv.load(data, device="cpu").outputs
    assert isinstance(outputs, decode.FourierOutputs)
    return outputs.precision


def changed(data: bytes, tolerance: float | None, move: float = 0.0) -> bytes:
    """The file with another tolerance, and stored samples that lie off by `move`."""
    container = read_container(data)
    chunks = [
        Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)
    ]
    manifest = container.manifest
    assert manifest.field is not None
    number = manifest.field.config["samples"]
    samples = unpack_tensors(chunks[number].data)
    moved = {
        name: array + np.float32(move) if name == "outputs" else array
        for name, array in samples.items()
    }
    chunks[number] = Chunk("SAMP", pack_tensors(moved))
    field = replace(manifest.field, config=manifest.field.config | {"tolerance": tolerance})
    return container_bytes(replace(manifest, field=field), chunks)


def test_a_file_that_allows_it_is_decoded_in_less_and_stays_within(file: bytes) -> None:
    tolerance = config_of(file)["tolerance"]
    assert tolerance is not None and precision_of(file) == torch.bfloat16
    lower = inrv.load(file, device="cpu")["density"].values()
    exact = inrv.load(changed(file, None), device="cpu")["density"].values()
    assert 0 < np.abs(lower - exact).max() <= 2 * tolerance


def test_a_file_that_does_not_is_decoded_in_float32(file: bytes) -> None:
    assert precision_of(changed(file, None)) == torch.float32


def test_samples_that_disagree_keep_it_at_float32(file: bytes) -> None:
    assert precision_of(changed(file, 1e-4)) == torch.float32
    assert precision_of(changed(file, 0.01, move=0.5)) == torch.float32


def test_verify_computes_in_float32_and_holds_it_to_the_accuracy_of_that(file: bytes) -> None:
    for data in (file, changed(file, None), changed(file, 1.0)):
        samples = inrv.verify(data, device="cpu").samples
        assert (
            samples.count == 64
            and samples.largest_difference <= samples.tolerance == ACCURACY == 1e-4
        )
    for move in (1e-3, 0.5, np.nan):
        with pytest.raises(inrv.FormatError, match="samples differ") as raised:
            inrv.verify(changed(file, 1.0, move), device="cpu")
        assert raised.value.id == "R1"


def test_a_threshold_for_topology_leaves_no_room() -> None:
    grid = sparse_grid(np.where(noise() > 0.5, noise(), np.float32(0)), "density")
    options = inrv.EncodeOptions(
        field="fourier", epochs=2, values_per_weight=8, topology="threshold", device="cpu"
    )
    data, _ = inrv.encode_bytes(inrv.SparseVolume((grid,)), options)
    assert inrv.load(data, device="cpu").manifest.grids[0].threshold is not None
    assert config_of(data)["tolerance"] is None
