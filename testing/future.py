"""Files of versions that do not exist yet, from `fourier.inrv`: what a later release might write, and how this one must take it.

`python -m testing.future` writes those of fixtures/golden/future/ that are missing.
"""

from __future__ import annotations

from collections.abc import Callable

import zstandard

from testing.examples import VECTORS
from testing.rebuild import File, Part, take_apart

FOLDER = VECTORS / "future"
NOTE = b"a chunk that no release knows yet. " * 8


def ancillary_chunk(file: File) -> bytes:
    """A 1.0 file with a chunk behind the others that may be skipped."""
    file.chunks.append(Part(zstandard.compress(NOTE), len(NOTE), 1, b"NOTE", 0))
    return file.to_bytes()


def critical_chunk(file: File) -> bytes:
    """A 1.9 file with a chunk that must be known."""
    file.header["minor"] = 9
    file.add(b"LATT", 1, NOTE)
    return file.to_bytes()


def higher_minor(file: File) -> bytes:
    """A 1.7 file with more to say: keys and an ancillary chunk, all of which may be ignored."""
    file.header["minor"] = 7
    file.edit_manifest("colour_space", {"primaries": [0.64, 0.33]})
    file.edit_manifest("grids.0.unit", "kg/m3")
    file.add(b"NOTE", 0, NOTE)
    return file.to_bytes()


def field_type(file: File) -> bytes:
    """A 1.8 file whose field is of another type."""
    file.header["minor"] = 8
    file.edit_manifest("field.type", "octree")
    file.edit_manifest("field.config", {"outputs": 3, "levels": 5})
    return file.to_bytes()


def higher_major(file: File) -> bytes:
    """A 2.0 file: nothing but magic and version stands where it stood."""
    data = file.to_bytes()
    return data[:8] + b"\2\0\0\0" + bytes(reversed(data[12:400]))


FUTURE: dict[str, Callable[[File], bytes]] = {
    "ancillary_chunk": ancillary_chunk,
    "critical_chunk": critical_chunk,
    "higher_minor": higher_minor,
    "field_type": field_type,
    "higher_major": higher_major,
}


def make(name: str) -> bytes:
    """The file of that name."""
    return FUTURE[name](take_apart((VECTORS / "fourier.inrv").read_bytes()))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in FUTURE:
        if not (FOLDER / f"{name}.inrv").exists():
            (FOLDER / f"{name}.inrv").write_bytes(make(name))
