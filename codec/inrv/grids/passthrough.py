"""Grids that are passed through as the bytes they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from inrv.errors import OptionError


@dataclass(frozen=True, eq=False)
class PassthroughGrid:
    """A grid of a .vdb file that is not coded: the bytes that the file holds of it.

    position: its place among all grids of the file
    name: without the suffix that tells equal names apart
    tree_type: as OpenVDB names it, without `_HalfFloat`, which `half` stands for
    half: whether the file says that the grid is saved as half floats
    parent: position of the passthrough grid whose tree it shares, None where it has its own
    blocks: offset in `data` at which the values begin
    data: compression flags, metadata, transform and tree
    reason: why it is not coded, for people
    """

    position: int
    name: str
    tree_type: str
    half: bool
    parent: int | None
    blocks: int
    data: bytes
    reason: str

    def __repr__(self) -> str:
        size = f"{len(self.data):,} bytes"
        return f"<inrv.PassthroughGrid {self.name!r}: {self.tree_type}, {size} ({self.reason})>"

    def moved(self, places: Mapping[int, int]) -> PassthroughGrid:
        """Give the grid at another position.

        places: the new position of each old one
        Raises OptionError where the parent is not among them.
        """
        if self.parent is not None and self.parent not in places:
            raise OptionError(
                f"grid {self.position} {self.name!r} shares the tree of grid {self.parent}: "
                "choose that one too"
            )
        parent = None if self.parent is None else places[self.parent]
        return replace(self, position=places[self.position], parent=parent)
