"""Passthrough grids as PASS chunks and manifest entries, and back.

An entry says all that the grid says but for its bytes, and where these are.
"""

from __future__ import annotations

from collections.abc import Sequence

from inrv.container import Chunk, Container, PassthroughEntry
from inrv.container.layout import PASSTHROUGH
from inrv.grids import PassthroughGrid

# Of a grid in one chunk, so that no grid outgrows a reader's limit for chunks.
PART_BYTES = 64 << 20


def store_passthrough(
    grids: Sequence[PassthroughGrid], chunks: list[Chunk]
) -> tuple[PassthroughEntry, ...]:
    """Append the bytes of every grid to `chunks` and return the manifest entries.

    Equal bytes, as of a grid that stays the same from frame to frame, are stored once.
    """
    known: dict[bytes, tuple[int, ...]] = {}
    return tuple(_store(grid, chunks, known) for grid in grids)


def _store(
    grid: PassthroughGrid, chunks: list[Chunk], known: dict[bytes, tuple[int, ...]]
) -> PassthroughEntry:
    described = dict(vars(grid))
    data = described.pop("data")
    if data not in known:
        first = len(chunks)
        for start in range(0, len(data), PART_BYTES):
            chunks.append(Chunk(PASSTHROUGH, data[start : start + PART_BYTES]))
        known[data] = tuple(range(first, len(chunks)))
    return PassthroughEntry(**described, bytes=len(data), chunks=known[data])


def restore_passthrough(container: Container, entry: PassthroughEntry) -> PassthroughGrid:
    """Return the grid of a manifest entry. Raises FormatError."""
    described = {name: value for name, value in vars(entry).items() if name != "bytes"}
    data = b"".join(container.chunk(number) for number in described.pop("chunks"))
    return PassthroughGrid(**described, data=data)
