"""Files of later versions, and of drafts, are read or refused as the specification says."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

import inrv
from inrv import FormatError
from inrv.container import read_container
from inrv.container.layout import NEWEST_VDB
from inrv.files.vdb.header import NEWEST
from spec.reference import read as reference_reader
from testing import specification
from testing.examples import VECTORS
from testing.future import FOLDER, FUTURE, make

PRESENT = (VECTORS / "fourier.inrv").read_bytes()


def stored(name: str) -> bytes:
    return (FOLDER / f"{name}.inrv").read_bytes()


@pytest.mark.parametrize("name", FUTURE)
def test_the_files_are_as_they_were_made_and_in_the_specification(name: str) -> None:
    data = stored(name)
    assert data == make(name)
    assert specification.vectors()[f"{name}.inrv"] == (len(data), sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("name", "version"), [("ancillary_chunk", (2, 0)), ("higher_minor", (2, 7))]
)
def test_what_may_be_ignored_is_ignored(name: str, version: tuple[int, int]) -> None:
    volume, before = inrv.load(stored(name), device="cpu"), inrv.load(PRESENT, device="cpu")
    assert volume.container.version == version
    assert volume.manifest.to_json() == before.manifest.to_json()
    for grid, same in zip(volume.grids, before.grids, strict=True):
        assert grid.topology.equal(same.topology)
        assert np.array_equal(grid.values(), same.values())
    assert inrv.verify(stored(name), device="cpu").samples.count == 5
    theirs = reference_reader.decode(stored(name))
    counts = [len(grid.coordinates()) for grid in volume.grids]
    assert [len(grid.values) for grid in theirs] == counts


def test_a_critical_chunk_of_a_later_version_is_refused() -> None:
    with pytest.raises(FormatError, match=r"'LATT' is critical.*newer release.*\[T4\]"):
        read_container(stored("critical_chunk"))
    with pytest.raises(ValueError, match="LATT"):
        reference_reader.decode(stored("critical_chunk"))


def test_a_field_of_a_later_version_is_refused() -> None:
    with pytest.raises(FormatError, match=r"field kind 'octree' is not known.*\[F1\]"):
        inrv.load(stored("field_kind"), device="cpu")
    grids = read_container(stored("field_kind")).manifest.grids
    assert [grid.name for grid in grids] == ["density", "velocity", "flame"]


def test_a_later_major_version_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match=r"version 3\.0; this inrv reads 2\.x: .* reads 3\.x"):
        read_container(stored("higher_major"))
    with pytest.raises(ValueError, match="major version"):
        reference_reader.decode(stored("higher_major"))


@pytest.mark.parametrize("minor", [0, 4])
def test_a_draft_of_the_format_is_refused_by_name(minor: int) -> None:
    draft = PRESENT[:8] + bytes([1, 0, minor, 0]) + PRESENT[12:]
    message = rf"version 1\.{minor}; this inrv reads 2\.x: no release .* encode .* anew \[H3\]$"
    with pytest.raises(FormatError, match=message) as caught:
        read_container(draft)
    assert str(caught.value).count("\n") == 0


def test_the_newest_vdb_version_of_a_manifest_is_the_newest_that_is_written() -> None:
    assert NEWEST_VDB == NEWEST
