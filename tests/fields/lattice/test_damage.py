"""Lattices that a file describes wrongly: each is a FormatError, never anything else or a wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import inrv
from inrv import SparseVolume
from inrv.container import pack_tensors, unpack_tensors
from inrv.errors import FormatError
from inrv.grids import sparse_grid
from testing.lattice import instant, smooth
from testing.rebuild import File, Part, payload, take_apart

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def data() -> bytes:
    """Two grids of 12^3, the second predicted from the first."""
    first = smooth(12)
    volume = SparseVolume((sparse_grid(first, "density"), sparse_grid(9 * first**2, "temperature")))
    found, _ = inrv.encode_bytes(volume, instant(psnr=40.0))
    manifest = inrv.load(found, device="cpu").manifest
    assert manifest.field is not None and manifest.field.config["channels"][1]["reference"] == 0
    return found


def read(data: bytes) -> None:
    for grid in inrv.load(data, device="cpu").grids:
        assert np.isfinite(grid.values()).all()


def code_number(file: File, channel: int = 0) -> int:
    number: int = json.loads(payload(file.manifest))["field"]["config"]["channels"][channel][
        "codes"
    ]
    return number


def with_codes(data: bytes, change: Callable[[Arrays], object], channel: int = 0) -> bytes:
    """The file with other arrays in a channel's CODE chunk."""
    file = take_apart(data)
    number = code_number(file, channel)
    part = file.chunks[number]
    assert part.type == b"CODE"
    arrays = {name: array.copy() for name, array in unpack_tensors(payload(part)).items()}
    change(arrays)
    raw = pack_tensors(arrays)
    file.chunks[number] = Part(raw, len(raw), 0, part.type, part.flags)
    return file.to_bytes()


def with_config(data: bytes, path: str, value: Any) -> bytes:
    file = take_apart(data)
    file.edit_manifest(f"field.config.{path}", value)
    return file.to_bytes()


def longer(array: NDArray[Any], more: int = 1) -> NDArray[Any]:
    return np.concatenate([array, np.full(more, 77, dtype=array.dtype)])


def count_more(arrays: Arrays) -> None:
    """Words that no code takes, told of rightly."""
    arrays["words"] = longer(arrays["words"], 5)
    arrays["word_counts"][-1] += 5


CODES: dict[str, Callable[[Arrays], object]] = {
    "no means": lambda a: a.pop("means"),
    "no words": lambda a: a.pop("words"),
    "no counts": lambda a: a.pop("word_counts"),
    "a mean too many": lambda a: a.update(means=longer(a["means"])),
    "no mean at all": lambda a: a.update(means=a["means"][:0]),
    "a spread too many": lambda a: a.update(spreads=longer(a["spreads"])),
    "a spread that no value has": lambda a: a["spreads"].__setitem__(0, 23),
    "the largest spread": lambda a: a["spreads"].__setitem__(0, 255),
    "a count too many": lambda a: a.update(word_counts=longer(a["word_counts"])),
    "a count too large": lambda a: a["word_counts"].__setitem__(0, a["word_counts"][0] + 1),
    "a count too small": lambda a: a["word_counts"].__setitem__(0, a["word_counts"][0] - 1),
    "a negative count": lambda a: a["word_counts"].__setitem__(0, -1),
    "words left over": count_more,
    "a word too many": lambda a: a.update(words=longer(a["words"])),
    "words of another type": lambda a: a.update(words=a["words"].astype(np.int64)),
    "words in two dimensions": lambda a: a.update(words=a["words"][None]),
    "means of another type": lambda a: a.update(means=a["means"].astype(np.int32)),
}
CONFIGS: dict[str, tuple[str, Any]] = {
    "a reference to itself": ("channels.0.reference", 0),
    "a reference to a later one": ("channels.0.reference", 1),
    "a reference to none": ("channels.1.reference", 9),
    "a negative reference": ("channels.1.reference", -1),
    "a reference to half a one": ("channels.1.reference", 0.5),
    "a step too small": ("channels.0.steps.3", 31),
    "a step too large": ("channels.0.steps.0", 513),
    "a step of zero": ("channels.0.steps.0", 0),
    "a step and a half": ("channels.0.steps.0", 128.5),
    "six steps": ("channels.0.steps", [128] * 6),
    "eight steps": ("channels.0.steps", [128] * 8),
    "no top": ("channels.0.top", 0),
    "a top too high": ("channels.0.top", (1 << 23) + 1),
    "a background too high": ("channels.0.background", (1 << 23) + 1),
    "a background too low": ("channels.0.background", -(1 << 23) - 1),
    "a scale of zero": ("channels.0.scale", 0.0),
    "a negative scale": ("channels.0.scale", -1.0),
    "a scale that is text": ("channels.0.scale", "large"),
    "networks unknown": ("networks", "default-999"),
    "networks a number": ("networks", 1),
    "fitted without networks": ("channels.0.fitted", True),
    "restoration a number": ("channels.0.restoration", 1),
    "a channel too few": ("channels", []),
    "outputs too many": ("outputs", 3),
    "no outputs": ("outputs", 0),
    "codes in another chunk": ("channels.0.codes", 0),
    "codes in no chunk": ("channels.0.codes", 99),
    "codes before the first chunk": ("channels.0.codes", -1),
    "an unknown key": ("channels.0.extra", 1),
    "a key missing": ("channels.0.top", ...),
}


def test_the_file_is_right_before_it_is_damaged(data: bytes) -> None:
    read(data)
    assert with_codes(data, lambda arrays: None) != b""
    read(with_codes(data, lambda arrays: None))


@pytest.mark.parametrize("what", sorted(CODES))
@pytest.mark.parametrize("channel", [0, 1])
def test_wrong_codes_are_a_format_error(what: str, channel: int, data: bytes) -> None:
    with pytest.raises(FormatError):
        read(with_codes(data, CODES[what], channel))


@pytest.mark.parametrize("what", sorted(CONFIGS))
def test_a_wrong_configuration_is_a_format_error(what: str, data: bytes) -> None:
    with pytest.raises(FormatError):
        read(with_config(data, *CONFIGS[what]))


@pytest.mark.parametrize("path", ["grids.1.components.0.output", "grids.0.components.0.output"])
@pytest.mark.parametrize("output", [0, 1, 7, None])
def test_each_output_belongs_to_one_component(path: str, output: int | None, data: bytes) -> None:
    file = take_apart(data)
    file.edit_manifest(path, output)
    grid = int(path.split(".")[1])
    if output == grid:
        read(file.to_bytes())
        return
    with pytest.raises(FormatError):
        read(file.to_bytes())


@pytest.mark.parametrize(
    "path", ["grids.0.components.0.minimum", "grids.0.components.0.maximum", "grids.0.leaf_voxels"]
)
def test_a_grid_that_does_not_fit_its_codes_ends_in_a_format_error_or_other_values(
    path: str, data: bytes
) -> None:
    file = take_apart(data)
    file.edit_manifest(path, 0)
    try:
        read(file.to_bytes())
    except FormatError as error:
        assert str(error)


@settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    seed=st.integers(0, 1 << 30),
    channel=st.integers(0, 1),
    name=st.sampled_from(["words", "means", "spreads"]),
)
def test_flipped_bits_are_a_format_error_or_other_finite_values(
    data: bytes, seed: int, channel: int, name: str
) -> None:
    generator = np.random.default_rng(seed)

    def flip(arrays: Arrays) -> None:
        raw = arrays[name].view(np.uint8).reshape(-1)
        raw[generator.integers(len(raw))] ^= np.uint8(1 << int(generator.integers(8)))

    try:
        read(with_codes(data, flip, channel))
    except FormatError as error:
        assert str(error)


def test_networks_that_are_damaged_are_a_format_error(data: bytes) -> None:
    def other(arrays: Arrays) -> None:
        arrays["network_words"] = np.arange(50, dtype=np.int32) * 123456789

    file = take_apart(with_codes(data, other))
    file.edit_manifest("field.config.channels.0.fitted", True)
    with pytest.raises(FormatError):
        read(file.to_bytes())
