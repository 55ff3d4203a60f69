"""Carried grids as GRID chunks and manifest entries, and back."""

from __future__ import annotations

from collections.abc import Sequence

from inrv.container import Chunk, Container, PassthroughEntry
from inrv.grids import PassthroughGrid

PART_BYTES = 64 << 20  # of a carried grid in one chunk, so that no grid outgrows a reader's limit for chunks


def store_passthrough(grids: Sequence[PassthroughGrid], chunks: list[Chunk]) -> tuple[PassthroughEntry, ...]:
    """Append the bytes of every carried grid to `chunks` and return the manifest entries."""
    entries = []
    for grid in grids:
        first = len(chunks)
        chunks += [Chunk("GRID", grid.data[start : start + PART_BYTES]) for start in range(0, len(grid.data), PART_BYTES)]
        entries.append(
            PassthroughEntry(
                position=grid.position,
                name=grid.name,
                tree_type=grid.tree_type,
                half=grid.half,
                parent=grid.parent,
                blocks=grid.blocks,
                bytes=len(grid.data),
                chunks=tuple(range(first, len(chunks))),
                reason=grid.reason,
            )
        )
    return tuple(entries)


def restore_passthrough(container: Container, entry: PassthroughEntry) -> PassthroughGrid:
    """The carried grid of a manifest entry. Raises FormatError."""
    return PassthroughGrid(
        position=entry.position,
        name=entry.name,
        tree_type=entry.tree_type,
        half=entry.half,
        parent=entry.parent,
        blocks=entry.blocks,
        data=b"".join(container.chunk(number) for number in entry.chunks),
        reason=entry.reason,
    )
