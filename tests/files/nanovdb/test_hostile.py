"""Damaged and hostile .nvdb files: an error of one line that names the file, or sound grids."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from inrv import VdbError, files
from inrv.errors import InrvError
from inrv.files.nanovdb.structs import GRID, LEAF_VOXELS, READ, TREE
from inrv.support.inputs import BytesInput
from testing.nvdb import HEADER, NAME_SIZE_AT, one_leaf, segment

ACTIVE = np.ones(LEAF_VOXELS, bool)
LEAF = one_leaf(1, np.arange(512.0)[:, None], ACTIVE)
TYPES = READ[1].types
ROOT_AT = GRID.itemsize + TREE.itemsize
TILE_AT = ROOT_AT + TYPES.root.itemsize
UPPER_AT = TILE_AT + TYPES.tile.itemsize
LOWER_AT = UPPER_AT + TYPES.upper.itemsize
MATRIX_AT = 384


def tried(data: bytes) -> str:
    """The error that reading gives, one line that names the file; '' where it is read."""
    try:
        volume = files.read(BytesInput("bad.nvdb", data))
    except InrvError as error:
        text = str(error)
        assert text.startswith("bad.nvdb: ") and "\n" not in text
        return text
    for grid in volume.grids:
        topology = grid.topology
        assert len(grid.values) == topology.leaf_voxel_count
        assert len(grid.tile_values) == topology.tile_count
        grid.blocks(topology.leaf_origins[:4])
    return ""


def changed(at: int, layout: str, *values: float, data: bytes = LEAF) -> bytes:
    copy = bytearray(data)
    struct.pack_into(layout, copy, at, *values)
    return bytes(copy)


def small_files(fixtures: Path) -> list[bytes]:
    found = [segment(("leaf", LEAF), ("leaf", LEAF), zipped=True), LEAF]
    stream = io.BytesIO()
    files.write(stream, files.read(fixtures / "velocity.vdb"), ".nvdb")
    found.append(stream.getvalue())
    return found


def test_the_start_is_sound() -> None:
    assert tried(LEAF) == tried(segment(("leaf", LEAF))) == ""


def test_truncated_files_are_refused(fixtures: Path) -> None:
    draws = np.random.default_rng(3)
    for data in small_files(fixtures):
        ends = {*range(1, 260, 7), *draws.integers(260, len(data), 60).tolist(), len(data) - 1}
        for end in sorted(ends):
            if end < len(data):
                assert tried(data[:end]), end


def test_flipped_bytes_are_refused_or_give_sound_grids(fixtures: Path) -> None:
    draws, refused = np.random.default_rng(4), 0
    for data in small_files(fixtures):
        for _ in range(150):
            copy = bytearray(data)
            for place in draws.integers(0, min(len(data), 4000), draws.integers(1, 4)):
                copy[place] ^= 1 << int(draws.integers(8))
            refused += bool(tried(bytes(copy)))
    assert refused > 150


def test_flipped_heads_nodes_and_leaves_without_a_checksum() -> None:
    draws, refused = np.random.default_rng(5), 0
    places = [
        (0, ROOT_AT),
        (ROOT_AT, UPPER_AT),
        (UPPER_AT, UPPER_AT + 8256),
        (LOWER_AT, LOWER_AT + 1088),
    ]
    for first, last in places:
        for _ in range(120):
            copy = bytearray(LEAF)
            for place in draws.integers(first, last, 2):
                if place not in range(8, 16):  # a checksum would refuse every change
                    copy[place] = int(draws.integers(256))
            refused += bool(tried(bytes(copy)))
    assert refused > 60


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"not one", "starts with"),
        (b"NanoVDB", "is truncated"),
        (b"NanoVDB7" + LEAF[8:], "of a later kind"),
        (changed(16, "<I", 31 << 21), "not of version 32 of NanoVDB"),
        (changed(24 + 8, "<Q", 1 << 62), "truncated or damaged"),
        (changed(32, "<Q", 12), "is damaged, or not of version 32"),
        (changed(GRID.itemsize + 24, "<q", -(1 << 63)), "names a node that is not in it"),
        (changed(GRID.itemsize + 24, "<q", (1 << 63) - 1), "names a node that is not in it"),
        (changed(ROOT_AT + 24, "<I", 0xFFFFFFFF), "claims 4,294,967,295 root tiles"),
        (changed(TILE_AT + 8, "<q", 1 << 40), "names a node that is not in it"),
        (changed(TILE_AT + 8, "<q", -4000), "names a node that is not in it"),
        (changed(TILE_AT, "<Q", 1 << 63), "root tiles that do not lie side by side"),
        (changed(TILE_AT, "<Q", 2048 << 42), "beyond +-8384512"),
        (changed(ROOT_AT + 28, "<f", float("nan")), "background is [nan]"),
        (changed(MATRIX_AT, "<d", float("inf")), "not finite and invertible"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(data: bytes, told: str) -> None:
    assert told in tried(data)


def test_nodes_that_are_named_twice_are_refused() -> None:
    """Else a few bytes could stand for any number of leaves."""
    table, entry = LOWER_AT + 1088, 15 << 8 | 1
    (distance,) = struct.unpack_from("<q", LEAF, table + 8 * entry)
    for second in (distance, distance - 32):
        twice = changed(table, "<q", second)
        twice = changed(LOWER_AT + 32 + 512, "<B", 1, data=twice)  # the mask of children
        assert "names a node twice, or nodes that overlap" in tried(twice)


def test_a_file_that_claims_much_takes_no_memory() -> None:
    for zipped in (False, True):
        data = segment(("leaf", LEAF), zipped=zipped)
        tracemalloc.start()
        assert "damaged" in tried(changed(HEADER, "<Q", 1 << 44, data=data))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_sizes_that_do_not_fit_are_refused() -> None:
    data = segment(("leaf", LEAF), zipped=True)
    for wrong in (len(LEAF) - 1, len(LEAF) + 1):
        error = tried(changed(HEADER, "<Q", wrong, data=data))
        assert "a ZIP buffer does not hold" in error and "grid 0 'leaf'" in error
    assert "claims 5 bytes" in tried(changed(HEADER, "<Q", 5, data=data))
    assert "needs 4,294,967,295 bytes" in tried(
        changed(HEADER + NAME_SIZE_AT, "<I", 0xFFFFFFFF, data=data)
    )
    assert "no segment begins at byte 0" in tried(changed(14, "<H", 7, data=data))


def test_a_leaf_that_ends_behind_the_grid_is_refused() -> None:
    codes = np.zeros(512, np.uint16)
    data = one_leaf(16, codes, ACTIVE, bits=1, flags=4 << 5)  # tells 16 bits, and has one
    assert "ends within a leaf" in tried(data)
    assert "numbers have 32 bits" in tried(one_leaf(16, codes, ACTIVE, bits=16, flags=5 << 5))


def test_an_unreadable_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(VdbError, match=r"gone\.nvdb cannot be read: No such file"):
        files.read(tmp_path / "gone.nvdb")
