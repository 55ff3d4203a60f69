"""Files of versions that do not exist yet, made of `fourier.inrv`.

They are what a later release might write, and tests show how this one must take them.
`python -m testing.future` writes those of fixtures/golden/future/ that are missing.
"""

from __future__ import annotations

from collections.abc import Callable

from testing.examples import VECTORS
from testing.rebuild import File, Part, compressed, take_apart

FOLDER = VECTORS / "future"
NOTE = b"a chunk that no release knows yet. " * 8


def ancillary_chunk(file: File) -> bytes:
    """Return a file of version 2.0 with a chunk behind the others that may be skipped."""
    file.chunks.append(Part(compressed(NOTE), len(NOTE), 1, b"NOTE", 0))
    return file.to_bytes()


def critical_chunk(file: File) -> bytes:
    """Return a file of version 2.9 with a chunk that must be known."""
    file.header["minor"] = 9
    file.add(b"LATT", 1, NOTE)
    return file.to_bytes()


def higher_minor(file: File) -> bytes:
    """Return a file of version 2.7 with keys and a chunk that may be ignored."""
    file.header["minor"] = 7
    file.edit_manifest("colour_space", {"primaries": [0.64, 0.33]})
    file.edit_manifest("grids.0.unit", "kg/m3")
    file.add(b"NOTE", 0, NOTE)
    return file.to_bytes()


def field_kind(file: File) -> bytes:
    """Return a file of version 2.8 whose field is of another kind."""
    file.header["minor"] = 8
    file.edit_manifest("field", {"kind": "octree", "outputs": 3, "config": {"levels": 5}})
    return file.to_bytes()


def higher_major(file: File) -> bytes:
    """Return a file of version 3.0: nothing but magic and version stands where it stood."""
    data = file.to_bytes()
    return data[:8] + b"\3\0\0\0" + bytes(reversed(data[12:400]))


FUTURE: dict[str, Callable[[File], bytes]] = {
    "ancillary_chunk": ancillary_chunk,
    "critical_chunk": critical_chunk,
    "higher_minor": higher_minor,
    "field_kind": field_kind,
    "higher_major": higher_major,
}


def make(name: str) -> bytes:
    """Return the file of that name."""
    return FUTURE[name](take_apart((VECTORS / "fourier.inrv").read_bytes()))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in FUTURE:
        if not (FOLDER / f"{name}.inrv").exists():
            (FOLDER / f"{name}.inrv").write_bytes(make(name))
