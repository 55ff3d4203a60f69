"""Lattices that a file describes wrongly: each is a FormatError, never anything else or a wait."""

from __future__ import annotations

import json
import zlib
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
from testing.lattice import instant, noise, smooth
from testing.rebuild import File, Part, payload, take_apart

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def data() -> bytes:
    """Two grids of 12^3, the second predicted from the first; their codes lie in CODE chunks."""
    first = smooth(12)
    volume = SparseVolume((sparse_grid(first, "density"), sparse_grid(9 * first**2, "temperature")))
    found, _ = inrv.encode_bytes(volume, instant(psnr=40.0))
    assert [channel["bits"] for channel in channels_of(found)] == [None, None]
    return found


@pytest.fixture(scope="module")
def large() -> bytes:
    """The same in two regions and with noise, so that codes lie in BITS chunks, in segments."""
    first = np.tile(smooth(16), (9, 1, 1))[:140] + np.float32(0.3) * noise((140, 16, 16), 3)
    second = 9 * first**2 + 4 * noise((140, 16, 16), 4)
    volume = SparseVolume((sparse_grid(first, "density"), sparse_grid(second, "temperature")))
    found, _ = inrv.encode_bytes(volume, instant(psnr=56.0))
    assert None not in [channel["bits"] for channel in channels_of(found)]
    file = take_apart(found)
    arrays = unpack_tensors(payload(file.chunks[code_number(file)]))
    assert arrays["segments"].tolist() == [4, 1] and arrays["checksums"].shape == (2, 4)
    return found


def channels_of(data: bytes) -> list[dict[str, Any]]:
    """The channels in the configuration of a file, the second predicted from the first."""
    manifest = inrv.load(data, device="cpu").manifest
    assert manifest.field is not None
    channels: list[dict[str, Any]] = manifest.field.config["channels"]
    assert [channel["reference"] for channel in channels] == [None, 0]
    return channels


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


def at(name: str, place: Any, value: Any) -> Callable[[Arrays], object]:
    """Puts another number at a place of a tensor."""
    return lambda arrays: arrays[name].__setitem__(place, value)


def more(name: str, place: Any, number: int) -> Callable[[Arrays], object]:
    """Adds to the number at a place of a tensor."""
    return lambda arrays: arrays[name].__setitem__(place, arrays[name][place] + number)


def bytes_more(arrays: Arrays) -> None:
    """Bytes that no code takes, told of rightly."""
    arrays["bits"] = longer(arrays["bits"], 5)
    arrays["lengths"][-1, 0] += 5


NAMES = ("means", "spreads", "lanes", "segments", "lengths", "checksums", "bits")
CODES: dict[str, Callable[[Arrays], object]] = {
    **{f"no {name}": (lambda a, name=name: a.pop(name)) for name in NAMES},
    **{
        f"{name} of another type": (
            lambda a, name=name: a.update({name: a[name].astype(np.int64)})
        )
        for name in NAMES
    },
    **{
        f"{name} in one more dimension": (lambda a, name=name: a.update({name: a[name][None]}))
        for name in NAMES
    },
    **{
        f"one of {name} too many": (
            lambda a, name=name: a.update({name: np.concatenate([a[name], a[name][:1]])})
        )
        for name in NAMES
        if name != "checksums"
    },
    **{
        f"one of {name} too few": (lambda a, name=name: a.update({name: a[name][:-1]}))
        for name in NAMES
        if name != "checksums"
    },
    "checksums of bytes in the chunk itself": lambda a: a.update(
        checksums=np.zeros((1, 4), np.int32)
    ),
    "lengths of three segments": lambda a: a.update(lengths=a["lengths"][:, :3].copy()),
    "a spread that no value has": at("spreads", 0, 23),
    "the largest spread": at("spreads", 0, 255),
    "lanes that no coder has": at("lanes", 0, 6),
    "the most lanes": at("lanes", 0, 255),
    "more lanes than were written": at("lanes", 0, 5),
    "no segment": at("segments", 0, 0),
    "two segments": at("segments", 0, 2),
    "segments that are not there": at("segments", 0, 4),
    "a length too large": more("lengths", (0, 0), 1),
    "a length too small": more("lengths", (0, 0), -1),
    "a negative length": at("lengths", (0, 0), -1),
    "a length of a segment that is not there": at("lengths", (0, 2), 1),
    "bytes left over": bytes_more,
}  # fmt: skip
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
    "bits in a chunk of another type": ("channels.0.bits", 0),
    "bits in no chunk": ("channels.0.bits", 99),
    "bits before the first chunk": ("channels.0.bits", -1),
    "bits that are text": ("channels.0.bits", "1"),
    "no key of bits": ("channels.0.bits", ...),
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


def both(one: Callable[[Arrays], object], two: Callable[[Arrays], object]) -> Any:
    return lambda arrays: (one(arrays), two(arrays))


APART: dict[str, Callable[[Arrays], object]] = {
    "bytes in the chunk itself too": lambda a: a.update(bits=np.zeros(3, np.uint8)),
    "a wrong checksum": more("checksums", (1, 0), 1),
    "a wrong checksum of a level": more("checksums", (0, 3), 1),
    "a checksum too few": lambda a: a.update(checksums=a["checksums"][:1]),
    "no checksum": lambda a: a.update(checksums=a["checksums"][:0]),
    "a byte that another segment has": both(
        more("lengths", (0, 0), 1), more("lengths", (0, 1), -1)
    ),
    "a byte that another region has": both(more("lengths", (0, 0), 1), more("lengths", (1, 0), -1)),
    "lengths whose sum is beyond 32 bits": both(
        at("lengths", (0, 0), 2**31 - 1), at("lengths", (0, 1), 2**31 - 1)
    ),
    "one segment in place of four": at("segments", 0, 1),
    "four segments in place of one": at("segments", 1, 4),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(APART))
@pytest.mark.parametrize("channel", [0, 1])
def test_wrong_parts_are_a_format_error(what: str, channel: int, large: bytes) -> None:
    read(with_codes(large, lambda arrays: None, channel))
    with pytest.raises(FormatError):
        read(with_codes(large, APART[what], channel))


def with_bytes(data: bytes, change: Callable[[bytearray], object], checksums: bool) -> bytes:
    """The file with other bytes in the first channel's BITS chunk.

    checksums: whether the checksums of its segments are made right
    """
    file = take_apart(data)
    number: int = channels_of(data)[0]["bits"]
    found = bytearray(payload(file.chunks[number]))
    change(found)
    file.chunks[number] = Part(bytes(found), len(found), 0, b"BITS", file.chunks[number].flags)

    def renew(arrays: Arrays) -> None:
        place = 0
        for segment in range(4):
            for region, length in enumerate(arrays["lengths"][:, segment].tolist()):
                own = bytes(found[place : place + length])
                arrays["checksums"].view(np.uint32)[region, segment] = zlib.crc32(own)
                place += length

    whole = file.to_bytes()
    return with_codes(whole, renew) if checksums else whole


@pytest.mark.parametrize("place", [0, 9000, -1])
def test_a_damaged_part_is_a_format_error_that_names_it(place: int, large: bytes) -> None:
    def flip(found: bytearray) -> None:
        found[place] ^= 4

    with pytest.raises(FormatError, match=r"<bytes>: .*part of .* bytes at .*\[S\d+\]"):
        read(with_bytes(large, flip, checksums=False))


@pytest.mark.parametrize("number", range(12))
def test_damaged_codes_under_right_checksums_name_their_region(number: int, large: bytes) -> None:
    """Or they give other values: what is coded under a state has no sum of its own."""
    generator = np.random.default_rng(number)

    def flip(found: bytearray) -> None:
        found[int(generator.integers(len(found)))] ^= 1 << int(generator.integers(8))

    try:
        read(with_bytes(large, flip, checksums=True))
    except FormatError as error:
        assert "the codes of the region at (" in str(error) and error.id == "F6"


@pytest.mark.parametrize("what", ["longer", "shorter", "empty"])
def test_a_bits_chunk_of_another_size_is_a_format_error(what: str, large: bytes) -> None:
    def change(found: bytearray) -> None:
        found[:] = {"longer": found + b"\0", "shorter": found[:-1], "empty": b""}[what]

    with pytest.raises(FormatError, match=r"lengths of segments .*\[F5\]"):
        read(with_bytes(large, change, checksums=False))


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
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    seed=st.integers(0, 1 << 30),
    channel=st.integers(0, 1),
    name=st.sampled_from(["bits", "means", "spreads", "lanes", "segments", "lengths"]),
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
        arrays["network_tables"] = (np.arange(28) * 9 % 65).astype(np.uint8)
        arrays["network_codes"] = (np.arange(200) * 37 % 251).astype(np.uint8)

    file = take_apart(with_codes(data, other))
    file.edit_manifest("field.config.channels.0.fitted", True)
    with pytest.raises(FormatError):
        read(file.to_bytes())
