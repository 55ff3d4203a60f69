"""Volumes and grids as Jupyter shows them: a table, and small pictures where they cost little."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from inrv.container import Container, PassthroughEntry
from inrv.decoding.grid import STRIDES, VolumeGrid
from inrv.errors import InrvError
from inrv.grids import Box

MOST_VOXELS = 1 << 18  # that a picture is made of: what is decoded for it, and the box it fills
MOST_CODED = 1 << 22  # voxels of all frames that a level of detail may have to be decoded from
MOST_PICTURES = 4  # of a volume
HEADINGS = ("", "grid", "type", "class", "active voxels", "box", "voxel size", "quality")
LONGEST = 128  # pixels that a picture is shown wide or high


def page(
    container: Container,
    grids: Mapping[str, VolumeGrid],
    passthrough: Sequence[PassthroughEntry] = (),
) -> str:
    """Give the HTML of a table of grids.

    grids: by key; the first ones have a picture, where it costs little
    passthrough: the grids that are stored as they were
    """
    rows = [
        _row(key, grid, number < MOST_PICTURES) for number, (key, grid) in enumerate(grids.items())
    ]
    rows += [
        _cells("td", ["", escape(entry.name), escape(entry.tree_type), "", "", "", "", "as stored"])
        for entry in passthrough
    ]
    head = f"<b>{escape(container.name)}</b>, {container.size:,} bytes"
    body = "".join(f"<tr>{row}</tr>" for row in [_cells("th", HEADINGS), *rows])
    return f"<div>{head}<table>{body}</table></div>"


def _row(key: str, grid: VolumeGrid, with_picture: bool) -> str:
    entry, size = grid.entry, grid.transform.voxel_size
    box = "none" if entry.box is None else " to ".join(map(str, entry.box))
    picture = _picture(grid) if with_picture else None
    texts = [
        key,
        entry.value_type,
        entry.grid_class,
        f"{entry.active_voxels:,}",
        box,
        " x ".join(f"{edge:.6g}" for edge in size),
        grid.quality,
    ]
    return _cells("td", ["" if picture is None else picture, *map(escape, texts)])


def _cells(kind: str, contents: Sequence[str]) -> str:
    return "".join(f"<{kind}>{content}</{kind}>" for content in contents)


def _picture(grid: VolumeGrid) -> str | None:
    """Give an <img> of a grid; None where it would cost much, or where its values are damaged."""
    try:
        found = projection(grid)
    except InrvError:
        return None
    if found is None:
        return None
    height, width = found.shape
    shown = LONGEST / max(height, width)
    data = base64.b64encode(png(found)).decode("ascii")
    return (
        f'<img src="data:image/png;base64,{data}" width="{max(1, round(width * shown))}" '
        f'height="{max(1, round(height * shown))}" style="image-rendering: pixelated" '
        'alt="the grid along z"/>'
    )


def projection(grid: VolumeGrid) -> NDArray[np.uint8] | None:
    """Give the values of a grid that are farthest from its background, seen along its z axis.

    They are uint8 (Y, X), the least value black and the largest white, y upwards, of a level of
    detail that takes at most MOST_VOXELS voxels. None where no level is so small, where all voxels
    would have to be decoded for any level, and where the file lies at a URL.
    """
    entry, container = grid.entry, grid.volume.container
    whole = not grid.topology_is_stored or grid.values_of_grid.continuous
    coded = entry.leaf_voxels * len(container.manifest.frames)
    if entry.box is None or container.file.distant or whole or coded > MOST_CODED:
        return None
    box = Box(*entry.box)
    for stride in STRIDES:
        thinned = box.multiples(stride)
        if thinned is None:
            return None
        if thinned.volume * len(entry.components) <= MOST_VOXELS:
            return _seen(grid.dense(box, stride), grid.entry.background)
    return None


def _seen(values: NDArray[np.float32], background: Sequence[float]) -> NDArray[np.uint8]:
    """Project values (X, Y, Z) or (X, Y, Z, 3) along z."""
    away = values.reshape(*values.shape[:3], -1).astype(np.float64) - background
    away = away[..., 0] if away.shape[3] == 1 else np.sqrt(np.square(away).sum(axis=3))
    away = np.where(np.isfinite(away), away, 0)
    place = np.abs(away).argmax(axis=2)
    seen = np.take_along_axis(away, place[..., None], axis=2)[..., 0]
    low, high = float(seen.min()), float(seen.max())
    shares = (seen - low) / ((high - low) or 1.0)
    picture: NDArray[np.uint8] = (255 * shares).round().astype(np.uint8)
    return np.ascontiguousarray(picture.T[::-1])


def png(picture: NDArray[np.uint8]) -> bytes:
    """Give a grey picture uint8 (height, width) as a PNG file."""
    height, width = picture.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), picture], axis=1)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
