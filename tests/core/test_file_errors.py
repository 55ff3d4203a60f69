"""The C core refuses what the specification says, by the same ids as the library."""

from __future__ import annotations

import pytest

from inrv import FormatError
from testing.core_files import CoreDecoder, CoreFile
from tests.container.test_errors import CASES, Change, changed_by

# Conditions of which the core checks not every case, or none: of metadata, of passthrough grids, of
# fourier fields, and of whole files.
IN_PART = {"M6", "M7", "M8", "M11", "M14", "S1", "S10", "C5", "C6"}
NOT_CHECKED = {"M12", "M15", "M16", "M17", "S6"} | {"F2", "F3", "R1", "I1", "I2"}
NOT_CHECKED |= {"L3", "L4", "L5", "L6"}


def errors_of(data: bytes) -> set[str]:
    """The ids of what the core finds wrong with a file, its grids and their regions."""
    found = set()
    try:
        file = CoreFile(data)
    except FormatError as error:
        return {str(error.id)}
    for number, header in enumerate(file.grids):
        if header.passthrough:
            continue
        try:
            decoder = CoreDecoder(file, number)
            for corner in decoder.corners:
                decoder.region(corner)
        except FormatError as error:
            found.add(str(error.id))
    return found


@pytest.mark.parametrize(
    ("identity", "change"),
    [
        pytest.param(found, change, id=f"{found} {what}")
        for found, what, change, _ in CASES
        if what != "samples"  # of a SAMP chunk, which is for fourier fields
    ],
)
def test_it_is_refused_by_its_id(identity: str, change: Change) -> None:
    found = errors_of(changed_by(change))
    assert identity in found or identity in IN_PART | NOT_CHECKED


def test_every_condition_in_part_is_found_somewhere() -> None:
    changes = [change for found, _, change, _ in CASES if found in IN_PART]
    assert set().union(*(errors_of(changed_by(change)) for change in changes)) >= IN_PART
