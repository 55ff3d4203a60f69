"""What a scan of a patient says where it was coded with a loss, as DICOM wants it to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from inrv.files.images.image import LOSSY, LOSSY_BY, LOSSY_RATIO, SCANS, SOURCE, Source
from inrv.grids import Grid, MetaValue

METHOD = "inrv"


def bytes_of_scan(metadata: Mapping[str, MetaValue], components: int) -> tuple[Source, int] | None:
    """What a grid tells of the scan that it came from, and the bytes of its numbers there.

    None where it came from none that says that it was coded with a loss.

    metadata, components: of the grid
    """
    source = Source.told_in(metadata, components)
    if source is None or source.kind not in SCANS:
        return None
    return source, math.prod(source.shape[:3]) * np.dtype(source.dtype).itemsize


def returns(source: Source, bound: object) -> bool:
    """Tell whether all numbers of a scan come back where no value is off by more than a bound."""
    if not isinstance(bound, (int, float)):
        return False
    half = abs(source.slope) / 2 if np.dtype(source.dtype).kind in "iu" else 0.0
    return bound <= half


def marked(grid: Grid, ratio: float) -> Grid:
    """A grid of a scan whose metadata say that it was coded with a loss, and how much smaller."""
    found = bytes_of_scan(grid.metadata, grid.components)
    if found is None:
        return grid
    text = json.dumps(asdict(marked_source(found[0], ratio)), sort_keys=True)
    entry = replace(grid.metadata[SOURCE], value=text)
    return replace(grid, metadata={**grid.metadata, SOURCE: entry})


def marked_source(source: Source, ratio: float) -> Source:
    """The same of what the metadata tell."""
    header = dict(source.header)
    for name, own in ((LOSSY_RATIO, round(ratio, 2)), (LOSSY_BY, METHOD)):
        before = header.get(name, [])
        header[name] = [*(before if isinstance(before, list) else [before]), own]
    header[LOSSY] = "01"
    return replace(source, header=header)
