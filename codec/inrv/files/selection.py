"""Which of the grids that a file lists are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from inrv.errors import OptionError
from inrv.files.file_types import ListedGrid

Listed = TypeVar("Listed", bound=ListedGrid)


def chosen(path: str, grids: Sequence[Listed], wanted: Sequence[str | int]) -> tuple[Listed, ...]:
    """Give the grids of these names, addresses or positions, in that order, each once.

    path: of the file
    grids: those that it lists
    Raises OptionError where one is not there.
    """
    return tuple(dict.fromkeys(_choose(path, grids, key) for key in wanted))


def _choose(path: str, grids: Sequence[Listed], wanted: str | int) -> Listed:
    for grid in grids:
        if wanted in (grid.position, grid.address) or wanted == grid.name:
            return grid
    names = ", ".join(repr(grid.address) for grid in grids)
    raise OptionError(f"{path}: no grid {wanted!r}; it holds {names or 'none'}")
