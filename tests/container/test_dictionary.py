"""Compression: zstd with the dictionary that comes with the codec, and which frames are refused."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import zstandard

from inrv import FormatError
from inrv.container import Chunk, container_bytes, pack_tensors, read_container
from inrv.container.dictionary import DICTIONARY, FRAME_MAGIC, compress
from inrv.container.layout import STORED, ZSTD
from spec.reference import read as reference_reader
from testing import specification
from testing.examples import one_leaf
from testing.rebuild import Part, take_apart

LARGE = 1 << 20
TENSORS = {
    "lengths": np.array([[12, 0, 0, 0]], np.int32),
    "bits": np.arange(3, dtype=np.int32).view(np.uint8),
    "means": np.zeros(1, np.uint8),
}
CODE = pack_tensors(TENSORS | {"spreads": np.zeros(1, np.uint8)})


def with_codes(*payloads: bytes) -> bytes:
    """The file of one leaf with such CODE chunks behind its own."""
    manifest, chunks = one_leaf()
    return container_bytes(manifest, [*chunks, *(Chunk("CODE", payload) for payload in payloads)])


def hostile(stored: bytes, raw: int) -> bytes:
    """A file whose CODE chunk holds this."""
    file = take_apart(with_codes(CODE))
    file.chunks[1] = Part(stored, raw, ZSTD, b"CODE", 1)
    return file.to_bytes()


def test_the_dictionary_is_that_of_the_specification() -> None:
    data = DICTIONARY.read_bytes()
    assert data == (specification.ROOT / "spec" / "data" / "dictionary-1.bin").read_bytes()
    text = specification.text()
    assert f"{len(data):,} bytes" in text and sha256(data).hexdigest() in text
    assert data[:4] == b"\x37\xa4\x30\xec"


def test_it_is_used_wherever_it_makes_a_part_smaller() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 300, dtype=np.uint8).tobytes()
    data = with_codes(CODE, noise, bytes(LARGE))
    container = read_container(data)
    assert container.version == (2, 0) and data[24] == ZSTD
    assert [entry.compression for entry in container.entries] == [ZSTD, ZSTD, STORED, ZSTD]
    assert [container.chunk(number) for number in (1, 2, 3)] == [CODE, noise, bytes(LARGE)]
    assert container.manifest == one_leaf()[0]
    plain = zstandard.ZstdCompressor(level=19).compress(one_leaf()[0].to_json())
    assert 3 * container.manifest_stored < len(plain)
    assert container.entries[1].stored < 60


def test_large_parts_take_no_more_than_plain_zstd_would() -> None:
    """Frames made without the dictionary are decoded with it, whatever they hold."""
    generator = np.random.default_rng(2)
    for share in (0.01, 0.1, 0.5):
        masks = (generator.random(LARGE) < share).astype(np.uint8).tobytes()
        plain = zstandard.ZstdCompressor(level=19).compress(masks)
        container = read_container(with_codes(masks))
        assert container.entries[1].stored <= len(plain) and container.chunk(1) == masks


def test_frames_are_as_short_as_they_can_be() -> None:
    """No magic number, dictionary number or checksum; the size of the content is there."""
    frame = FRAME_MAGIC + compress(CODE, 19)
    parameters = zstandard.get_frame_parameters(frame)
    assert (parameters.content_size, parameters.dict_id, parameters.has_checksum) == (
        len(CODE),
        0,
        False,
    )
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor().decompress(frame)


def test_the_reference_reader_reads_it() -> None:
    data = with_codes(CODE)
    file = reference_reader.File(data)
    assert file.manifest["grids"][0]["name"] == "density" and file.payload(1, "CODE") == CODE


@pytest.mark.parametrize(
    ("stored", "raw", "message"),
    [
        (FRAME_MAGIC + compress(CODE, 19), len(CODE), "zstd frame"),  # with its magic number
        (
            zstandard.ZstdCompressor().compress(CODE),
            len(CODE),
            "zstd frame",
        ),  # without the dictionary
        (compress(CODE, 19)[:-1], len(CODE), "not one valid zstd frame"),
        (compress(CODE, 19) + b"\0", len(CODE), "not one valid zstd frame"),
        (compress(CODE, 19), len(CODE) - 1, "zstd frame of"),
        (compress(CODE, 19), len(CODE) + 1, "zstd frame of"),
        (b"", 1, "not one valid zstd frame"),
        (b"\x01\x01", 99, "not one valid zstd frame"),
        (
            b"\x21\x07\x63" + compress(CODE, 19)[2:],
            99,
            "not one valid zstd frame",
        ),  # with the number of another dictionary
    ],
)
def test_damaged_frames_are_refused(stored: bytes, raw: int, message: str) -> None:
    with pytest.raises(FormatError, match=rf"chunk 1 'CODE' .*{message}"):
        read_container(hostile(stored, raw)).chunk(1)


def test_every_changed_byte_is_refused_or_of_the_right_size() -> None:
    good = compress(CODE, 19)
    for at in range(len(good)):
        for bit in range(8):
            changed = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
            try:
                assert len(read_container(hostile(changed, len(CODE))).chunk(1)) == len(CODE)
            except FormatError as error:
                assert "zstd frame" in str(error)


def test_a_bomb_takes_no_memory() -> None:
    """Frames that unpack to 1 GiB, or say so, or ask for such a window, are refused at once."""
    unit = compress(bytes(1 << 20), 19)
    huge = b"\xe0" + (1 << 50).to_bytes(8, "little") + b"\x01\x00\x00"
    window = b"\x00\xa8\x01\x00\x00"
    wide = b"\xc0\xa8" + (1 << 20).to_bytes(8, "little") + b"\x01\x00\x00"
    tracemalloc.start()
    for stored, raw in (
        (unit, 1 << 30),
        (huge, 1 << 30),
        (huge, 1 << 50),
        (unit, len(unit) + 1),
        (window, 1 << 20),
        (wide, 1 << 20),
    ):
        with pytest.raises(FormatError, match=r"expected|limit|not one valid"):
            read_container(hostile(stored, raw)).chunk(1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_a_manifest_with_the_dictionary_is_written_again_as_it_was() -> None:
    data = with_codes(CODE)
    container = read_container(data)
    chunks = [
        Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)
    ]
    assert container_bytes(container.manifest, chunks) == data
    assert container_bytes(replace(container.manifest, generator="other"), chunks) != data
