"""Encode as little as possible, decode, read back: all but active values must be as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv.files.vdb import read_volume, write_volume
from inrv.grids import Grid

# The smallest network and a few steps: these tests ask what is exact, not how good the values are.
QUICK = inrv.EncodeOptions(values_per_weight=1e9, epochs=0.01, exact_below=0, device="cpu")


def round_trip(
    source: Path, folder: Path, options: inrv.EncodeOptions = QUICK
) -> tuple[inrv.SparseVolume, inrv.SparseVolume]:
    """The volume of `source` and what a reader finds in the .vdb decoded from its .inrv."""
    inrv.encode(source, folder / "quick.inrv", options)
    decoded = inrv.load(folder / "quick.inrv", device="cpu").to_sparse()
    write_volume(folder / "decoded.vdb", decoded)
    read_back = read_volume(folder / "decoded.vdb")
    check_passthrough(decoded, read_back)
    for stored, again in zip(decoded.grids, read_back.grids, strict=True):
        expected = (
            stored.values.astype(np.float16).astype(np.float32)
            if stored.saved_as_half
            else stored.values
        )
        same = np.array_equal(expected.view(np.int32), again.values.view(np.int32))
        assert same, f"{stored.name}: values changed on their way through the .vdb"
    if not decoded.passthrough:
        check_with_openvdb(source, folder / "decoded.vdb")
    return read_volume(source), read_back


def check_with_openvdb(source: Path, decoded: Path) -> None:
    """OpenVDB itself finds the same names, metadata, counts, boxes and transforms in both files."""
    openvdb = pytest.importorskip("pyopenvdb", reason="OpenVDB's own bindings are the referee here")
    before, after = (openvdb.readAllGridMetadata(str(path)) for path in (source, decoded))
    assert len(after) == len(before)
    for one, other in zip(before, after, strict=True):
        # How the file was compressed and what it takes in memory is the writer's affair.
        skipped = ("file_compression", "file_mem_bytes", "file_delayed_load")
        one_kept, other_kept = (
            {k: v for k, v in grid.metadata.items() if k not in skipped} for grid in (one, other)
        )
        assert other_kept == one_kept
        for corner in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
            assert other.transform.indexToWorld(corner) == one.transform.indexToWorld(corner)


def check_volume(original: inrv.SparseVolume, decoded: inrv.SparseVolume) -> None:
    """Everything but the values of active leaf voxels is equal; those lie within their range."""
    assert decoded.metadata == original.metadata
    assert decoded.vdb_version == original.vdb_version or not original.passthrough
    check_passthrough(original, decoded)
    assert [grid.name for grid in decoded.grids] == [grid.name for grid in original.grids]
    for before, after in zip(original.grids, decoded.grids, strict=True):
        check_header(before, after)
        check_topology(before, after)
        check_values(before, after)


def check_passthrough(before: inrv.SparseVolume, after: inrv.SparseVolume) -> None:
    """The same grids are passed through, byte for byte, in the same places."""
    assert after.positions == before.positions
    assert [vars(grid) for grid in after.passthrough] == [vars(grid) for grid in before.passthrough]


def check_header(before: Grid, after: Grid) -> None:
    """Types, class, transform and metadata are equal."""
    for name in (
        "value_type",
        "grid_class",
        "vector_type",
        "saved_as_half",
        "metadata",
        "transform",
    ):
        assert getattr(after, name) == getattr(before, name), f"{before.name}: {name}"
    assert np.array_equal(after.background, before.background), f"{before.name}: background"


def check_topology(before: Grid, after: Grid) -> None:
    """Leaves, masks and tiles are equal bit for bit, tile values and inactive values too."""
    assert after.topology.equal(before.topology), f"{before.name}: topology"
    tiles = after.topology.find_tiles(before.topology.tile_origins)
    assert bool((tiles >= 0).all())
    assert np.array_equal(after.tile_values[tiles], before.tile_values), (
        f"{before.name}: tile values"
    )
    assert np.array_equal(after.inactive.places, before.inactive.places), (
        f"{before.name}: inactive voxels"
    )
    assert np.array_equal(after.inactive.values, before.inactive.values), (
        f"{before.name}: inactive values"
    )


def check_values(before: Grid, after: Grid) -> None:
    """Decoded values lie within the range of the original's, component by component."""
    assert after.values.shape == before.values.shape
    if len(before.values):
        odd = ~np.isfinite(before.values)
        assert np.array_equal(
            after.values[odd].view(np.int32), before.values[odd].view(np.int32)
        ), f"{before.name}: not finite"
        known, found = before.values[~odd.any(axis=1)], after.values[~odd.any(axis=1)]
        assert bool((found >= known.min(axis=0)).all()), f"{before.name}: below the minimum"
        assert bool((found <= known.max(axis=0)).all()), f"{before.name}: above the maximum"
