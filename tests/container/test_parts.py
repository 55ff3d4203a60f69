"""Chunks of raw bytes, which are read part by part."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv import FormatError
from inrv.container import Chunk, Limits, container_bytes, pack_tensors, read_container
from spec.reference import read as reference_reader
from testing.examples import empty
from testing.rebuild import take_apart

NOISE = np.random.default_rng(1).integers(0, 256, 5000, dtype=np.uint8).tobytes()
FIRST, SECOND = bytes(3000) + NOISE, NOISE[:1234]  # the first could be compressed
INDEX = pack_tensors({"sizes": np.arange(9, dtype=np.int32)})
DATA = container_bytes(
    empty()[0], [Chunk("BITS", FIRST), Chunk("CODE", INDEX), Chunk("BITS", SECOND)]
)


def test_they_lie_behind_all_others_and_keep_their_numbers() -> None:
    entries = read_container(DATA).entries
    assert [entry.type for entry in entries] == ["BITS", "CODE", "BITS"]
    assert [entry.compression for entry in entries if entry.type == "BITS"] == [0, 0]
    assert DATA.endswith(FIRST + SECOND)
    assert entries[1].offset < entries[0].offset < entries[2].offset
    assert take_apart(DATA).to_bytes() == DATA
    assert [read_container(DATA).chunk(number) for number in (0, 1, 2)] == [FIRST, INDEX, SECOND]
    assert inrv.verify(DATA, "cpu").chunks == 3


@pytest.mark.parametrize(("number", "data"), [(0, FIRST), (2, SECOND)])
def test_any_part_can_be_read(number: int, data: bytes) -> None:
    container, reference = read_container(DATA), reference_reader.File(DATA)
    for offset, size in [(0, len(data)), (0, 0), (len(data), 0), (17, 500), (len(data) - 1, 1)]:
        part = data[offset : offset + size]
        about = offset, size, zlib.crc32(part)
        assert container.part(number, *about) == reference.part(number, *about) == part


@pytest.mark.parametrize(
    ("number", "offset", "size"), [(0, 0, 8001), (0, 8001, 0), (0, -1, 2), (0, 5, -1), (1, 0, 8)]
)
def test_a_part_that_does_not_lie_in_such_a_chunk_is_refused(
    number: int, offset: int, size: int
) -> None:
    message = (
        rf"^<bytes>: the part of {size:,} bytes at .* BITS chunk {number} does not lie .*\[S15\]$"
    )
    with pytest.raises(FormatError, match=message):
        read_container(DATA).part(number, offset, size, 0)


def test_a_damaged_part_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "bits.inrv"
    damaged = bytearray(DATA)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    container = read_container(path)
    assert container.part(2, 0, 1000, zlib.crc32(SECOND[:1000])) == SECOND[:1000]
    message = r"bits\.inrv: the part of 234 bytes at 1,000 of the BITS chunk 2 has the checksum"
    with pytest.raises(FormatError, match=rf"{message} .* damaged \[S15\]$"):
        container.part(2, 1000, 234, zlib.crc32(SECOND[1000:]))
    with pytest.raises(FormatError, match=r"chunk 2 'BITS' has the checksum .*\[C5\]$"):
        inrv.verify(path, "cpu")
    path.write_bytes(container_bytes(empty()[0], [Chunk("BITS", NOISE)]))
    with pytest.raises(FormatError, match=r"was replaced since it was opened.*\[I2\]$"):
        container.part(0, 0, 4000, zlib.crc32(FIRST[:4000]))
    path.unlink()
    with pytest.raises(FormatError, match=r"can no longer be read.*\[I1\]$"):
        container.part(0, 0, 10, 0)


def test_the_limit_of_chunks_holds_for_parts() -> None:
    """The chunk itself may be larger than memory, and is checked all the same."""
    limits = Limits(chunk_bytes=2000)
    container = read_container(DATA, limits)
    assert container.part(0, 0, 2000, zlib.crc32(FIRST[:2000])) == FIRST[:2000]
    for read in (lambda: container.part(0, 0, 2001, 0), lambda: container.chunk(0)):
        with pytest.raises(FormatError, match=r"more than the limit of 2,000 \[C2\]$"):
            read()
    assert inrv.verify(DATA, "cpu", limits).chunks == 3
