"""Reading: later versions, unknown chunks, limits, laziness, and thousands of random damages."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from pathlib import Path

import pytest

import inrv
from inrv import FormatError
from inrv.container import Limits, read_container
from inrv.container.layout import HEADER_SIZE
from testing.examples import VECTORS
from testing.rebuild import Part, compressed, payload, take_apart

GOOD = (VECTORS / "fourier.inrv").read_bytes()


def contents(data: bytes) -> tuple[object, ...]:
    """All that a file says, in a form that compares: NaN in metadata is equal to itself."""
    container = read_container(data)
    payloads = [
        container.chunk(number) for number, entry in enumerate(container.entries) if entry.critical
    ]
    return container.version, container.manifest.to_json(), payloads


def test_a_later_minor_version_is_read() -> None:
    file = take_apart(GOOD)
    file.header["minor"] = 7
    file.edit_manifest("grids.0.colour", "of a later version")
    container = read_container(file.to_bytes())
    assert container.version == (2, 7)
    assert container.manifest.to_json() == read_container(GOOD).manifest.to_json()
    assert inrv.verify(file.to_bytes(), device="cpu").samples.count == 5


@pytest.mark.parametrize("packed", [False, True])
def test_an_unknown_ancillary_chunk_is_skipped(packed: bool) -> None:
    file = take_apart(GOOD)
    note = b"no safetensors at all" * 20
    if packed:
        file.chunks.append(Part(compressed(note), len(note), 1, b"NOTE", 0))
    else:
        file.add(b"NOTE", 0, note)
    data = file.to_bytes()
    container = read_container(data)
    assert [entry.type for entry in container.entries][-1] == "NOTE" and not container.entries[
        -1
    ].critical
    assert container.chunk(6) == note
    assert contents(data) == contents(GOOD)
    assert inrv.load(data, device="cpu")["density"].values().shape == (773,)


def test_the_table_says_where_everything_is() -> None:
    container = read_container(GOOD)
    parts = container.bytes_by_type()
    assert sum(parts.values()) == container.size == len(GOOD)
    assert [entry.type for entry in container.entries] == [
        "TOPO",
        "INAC",
        "INAC",
        "TOPO",
        "NETW",
        "SAMP",
    ]
    assert [entry.critical for entry in container.entries] == [True] * 5 + [False]
    for number, entry in enumerate(container.entries):
        assert len(container.chunk(number)) == entry.raw
        stored = GOOD[entry.offset : entry.offset + entry.stored]
        assert payload(Part(stored, entry.raw, entry.compression)) == container.chunk(number)


def test_chunks_are_read_when_asked_for(tmp_path: Path) -> None:
    """Damage in one chunk is nothing to those who read another."""
    container = read_container(GOOD)
    path = tmp_path / "damaged.inrv"
    data = bytearray(GOOD)
    data[container.entries[4].offset] ^= 1
    path.write_bytes(data)
    opened = read_container(path)
    assert (
        opened.chunk(0) == container.chunk(0)
        and opened.manifest.to_json() == container.manifest.to_json()
    )
    with pytest.raises(FormatError, match=r"damaged\.inrv: chunk 4 'NETW' has the checksum"):
        opened.chunk(4)
    path.unlink()
    with pytest.raises(FormatError, match=r"damaged\.inrv: "):
        opened.chunk(0)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            Limits(chunk_bytes=1000),
            "chunk 0 'TOPO' unpacks to 2,281 bytes, more than the limit of 1,000",
        ),
        (Limits(manifest_bytes=500), "the manifest unpacks to .* more than the limit of 500"),
        (Limits(chunks=5), "holds 6 chunks, more than the limit of 5"),
        (Limits(grids=2), "manifest.grids is .* at most 2 items"),
    ],
)
def test_limits_can_be_lowered(limits: Limits, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_container(GOOD, limits)


def test_limits_can_be_raised() -> None:
    file = take_apart(GOOD)
    file.chunks[5].raw = (1 << 32) + 1
    file.chunks[5].compression = 1
    container = read_container(file.to_bytes(), Limits(chunk_bytes=1 << 40))
    with pytest.raises(FormatError, match="expected 4,294,967,297"):
        container.chunk(5)


def test_a_bomb_takes_no_memory() -> None:
    """Frames that unpack to 1 GiB, or say so, are refused before memory is taken."""
    unit = compressed(bytes(1 << 20))
    huge = b"\xe0" + struct.pack("<Q", 1 << 50) + b"\x01\x00\x00"
    tracemalloc.start()
    for stored, raw in ((unit, 1 << 30), (huge, 1 << 31), (huge, 1 << 50), (unit, len(unit) + 1)):
        file = take_apart(GOOD)
        file.chunks[0].stored, file.chunks[0].raw = stored, raw
        with pytest.raises(FormatError, match=r"expected|limit"):
            read_container(file.to_bytes()).chunk(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_a_million_keys_take_seconds_not_hours() -> None:
    keys = b",".join(b'"%d":0' % number for number in range(1_000_000))
    file = take_apart(GOOD)
    file.set_manifest(b"{" + keys + b',"999999":0}')
    before = time.process_time()
    with pytest.raises(FormatError, match="the key '999999' twice"):
        read_container(file.to_bytes())
    assert time.process_time() - before < 20


def test_what_memory_cannot_hold_is_an_error() -> None:
    """A caller who raises the limit beyond his memory is told so."""
    huge = b"\xe0" + struct.pack("<Q", 1 << 50) + b"\x01\x00\x00"
    file = take_apart(GOOD)
    file.chunks[0].stored, file.chunks[0].raw = huge, 1 << 50
    container = read_container(file.to_bytes(), Limits(chunk_bytes=1 << 60))
    with pytest.raises(FormatError, match="more than there is memory for"):
        container.chunk(0)


def test_no_single_flipped_bit_goes_unseen() -> None:
    """Every byte of the file lies under a checksum, or is one."""
    for position in range(len(GOOD)):
        data = bytearray(GOOD)
        data[position] ^= 1 << (position % 8)
        with pytest.raises(FormatError):
            read_all(bytes(data))


def read_all(data: bytes) -> None:
    container = read_container(data)
    for number in range(len(container.entries)):
        container.chunk(number)


def test_no_truncation_goes_unseen() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(FormatError):
            read_container(GOOD[:length])


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Bytes changed, swapped, removed, doubled or inserted, one to three times."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        at, other = (generator.randrange(len(changed)) for _ in range(2))
        length = generator.randint(1, 8)
        match generator.randrange(5):
            case 0:
                changed[at] = generator.randrange(256)
            case 1:
                changed[at], changed[other] = changed[other], changed[at]
            case 2 if len(changed) > length:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[other : other + length]
            case _:
                changed[at : at + 4] = generator.choice(
                    [b"\xff" * 4, bytes(4), b"\x80\0\0\0", b"9999"]
                )
    return bytes(changed)


def test_random_damage_gives_an_error_or_the_same_contents() -> None:
    generator = random.Random(1)
    expected = contents(GOOD)
    start = HEADER_SIZE + 6 * 40 + read_container(GOOD).manifest_stored
    for _ in range(3000):
        data = mutated(GOOD[:start], generator) + GOOD[start:]
        try:
            found = contents(data)
        except FormatError:
            continue
        assert found == expected


def test_hostile_tables_and_manifests_with_right_checksums_give_errors_or_volumes() -> None:
    """The checksums of damaged parts are made right, so that the checks behind them are met."""
    generator = random.Random(2)
    accepted = refused = 0
    for _ in range(3000):
        file = take_apart(GOOD)
        if generator.random() < 0.7:
            file.set_manifest(mutated(payload(file.manifest), generator))
        else:
            part = generator.choice(file.chunks)
            name = generator.choice(
                ["raw", "compression", "flags", "offset", "spare", "reserved", "type"]
            )
            value = generator.choice([0, 1, 2, 255, part.raw])
            setattr(part, name, bytes([65 + value % 60] * 4) if name == "type" else value)
        if generator.random() < 0.3:
            name = generator.choice(["chunks", "size", "compression", "stored", "raw"])
            file.header[name] = generator.choice([0, 1, 2, 7, 500, 2**31, 2**32 - 1])
        try:
            read_all(file.to_bytes())
            accepted += 1
        except FormatError:
            refused += 1
        except struct.error as error:  # the test itself could not store the value
            assert "requires" in str(error) or "format" in str(error)
    assert refused > 1500 and accepted > 20


def test_hostile_payloads_with_right_checksums_give_errors_or_volumes() -> None:
    """Tensors of every chunk are damaged: the library makes a volume of it or a FormatError."""
    generator = random.Random(3)
    refused = 0
    for _ in range(600):
        file = take_apart(GOOD)
        part = generator.choice(file.chunks[:5])
        data = mutated(payload(part), generator)
        part.stored, part.raw, part.compression = data, len(data), 0
        try:
            for grid in inrv.load(file.to_bytes(), device="cpu").grids:
                assert grid.template.topology.leaf_voxel_count == grid.entry.leaf_voxels
        except FormatError:
            refused += 1
    assert 100 < refused < 600
