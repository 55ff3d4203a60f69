"""Files of later versions are read, or refused, as section 14 of format_spec.md says."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

import inrv
from inrv import FormatError
from inrv.container import read_container
from spec.reference import read as reference_reader
from testing.examples import VECTORS
from testing.future import FOLDER, FUTURE, make

SPECIFICATION = Path(__file__).resolve().parents[2] / "format_spec.md"
PRESENT = (VECTORS / "fourier.inrv").read_bytes()


def stored(name: str) -> bytes:
    return (FOLDER / f"{name}.inrv").read_bytes()


@pytest.mark.parametrize("name", FUTURE)
def test_the_files_are_as_they_were_made_and_in_the_specification(name: str) -> None:
    assert stored(name) == make(name)
    assert f"| `{name}.inrv` |" in (text := SPECIFICATION.read_text()) and sha256(stored(name)).hexdigest() in text


@pytest.mark.parametrize(("name", "version"), [("ancillary_chunk", (1, 0)), ("higher_minor", (1, 7))])
def test_what_may_be_ignored_is_ignored(name: str, version: tuple[int, int]) -> None:
    volume, before = inrv.load(stored(name), device="cpu"), inrv.load(PRESENT, device="cpu")
    assert volume.container.version == version
    assert volume.manifest == before.manifest
    for grid, same in zip(volume.grids, before.grids, strict=True):
        assert grid.topology.equal(same.topology) and bool((grid.values() == same.values()).all())
    assert inrv.verify(stored(name), device="cpu").samples == 5
    theirs = reference_reader.decode(stored(name))
    assert [len(grid.values) for grid in theirs] == [len(grid.coordinates()) for grid in volume.grids]


def test_a_critical_chunk_of_a_later_version_is_refused() -> None:
    with pytest.raises(FormatError, match=r"'LATT' is critical.*newer release"):
        read_container(stored("critical_chunk"))
    with pytest.raises(ValueError, match="LATT"):
        reference_reader.decode(stored("critical_chunk"))


def test_a_field_of_a_later_version_is_refused() -> None:
    with pytest.raises(FormatError, match="field type 'octree' is not known"):
        inrv.load(stored("field_type"), device="cpu")
    assert [grid.name for grid in read_container(stored("field_type")).manifest.grids] == ["density", "velocity", "flame"]


def test_a_later_major_version_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match=r"version 2\.0; this inrv reads 1\.x: .* reads 2\.x"):
        read_container(stored("higher_major"))
    with pytest.raises(ValueError, match="major version"):
        reference_reader.decode(stored("higher_major"))
