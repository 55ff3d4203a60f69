"""Mid-slices of original, decoded and error, side by side."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from inrv.errors import InrvError
from inrv.grids import Box, Grid, SparseVolume
from inrv.metrics.comparison import GridComparison, VolumeComparison, pair_grids

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[np.float32]]

AXES = "xyz"
PANEL_HEIGHT = 3.3  # inches
NARROWEST, WIDEST = 1.4, 4.2
INK = "#222222"
HIGHLIGHT_SHARE = 0.002  # brightest share of the active voxels that may run into the top of the colour scale


@dataclass(frozen=True, eq=False)
class Slice:
    """One grid across one axis: values (rows, columns) with the longer side of the world upright.

    across, index  the axis the slice is across, and where on it, in index space
    size           width and height in world units
    """

    name: str
    across: str
    index: int
    original: Array
    decoded: Array
    size: tuple[float, float]
    signed: bool
    comparison: GridComparison


def draw_comparison(
    original: SparseVolume, decoded: SparseVolume, comparison: VolumeComparison, title: str = "", form: str = "png"
) -> bytes:
    """An image of kind `form` ('png', 'svg', 'pdf'): a row a grid, with original, decoded and absolute error.

    The slice is the one with the most active voxels within the middle third of an axis, the same for all grids where
    their transforms are equal; of vectors the magnitude is shown. Grids without an active voxel are left out. Raises
    InrvError where nothing is left, or matplotlib is missing.
    """
    pairs, _, _ = pair_grids(original, decoded)
    together = zip(pairs, comparison.grids, strict=True)
    drawn = [(a, b, result) for (a, b), result in together if result.metrics and a.topology.active_voxel_count]
    if not drawn:
        raise InrvError("there is nothing to draw: no grid has an active voxel in the original and a partner of its type")
    if len({a.transform for a, _, _ in drawn}) == 1:
        planes = [busiest_plane([a for a, _, _ in drawn])] * len(drawn)
    else:
        planes = [busiest_plane([a]) for a, _, _ in drawn]
    slices = [cut(*parts, plane) for parts, plane in zip(drawn, planes, strict=True)]
    figure = _canvas(slices, title)
    data = io.BytesIO()
    figure.savefig(data, format=form, dpi=160, facecolor="white")
    return data.getvalue()


def cut(original: Grid, decoded: Grid, comparison: GridComparison, plane: Box) -> Slice:
    """Both grids on `plane`, a box one voxel thick."""
    axis = plane.shape.index(1)
    right, up = (other for other in range(3) if other != axis)
    extent = [edge * count for edge, count in zip(original.transform.voxel_size, plane.shape, strict=True)]
    turned = extent[right] > extent[up]
    size = (extent[up], extent[right]) if turned else (extent[right], extent[up])
    images = []
    for grid in (original, decoded):
        values = grid.dense(plane).select(axis, 0)
        image = values[..., 0] if grid.components == 1 else values.norm(dim=2)
        images.append((image if turned else image.T).numpy())
    signed = original.components == 1 and original.grid_class == "level set"
    return Slice(original.name, AXES[axis], plane.lower[axis], images[0], images[1], size, signed, comparison)


def busiest_plane(grids: Sequence[Grid]) -> Box:
    """The slice through the joint active box with the most active voxels of all grids, within the middle third of its axis."""
    boxes = [box for grid in grids if (box := grid.topology.box)]
    whole = functools.reduce(Box.union, boxes)
    best = (-1, 0, 0)
    for axis in range(3):
        counts = sum(_active_voxels_across(grid, whole, axis) for grid in grids)
        assert isinstance(counts, Tensor)
        third = len(counts) // 3
        middle = counts[third : len(counts) - third]
        # of equal slices the one nearest the centre
        order = (torch.arange(len(middle)) - (len(middle) - 1) / 2).abs().argsort(stable=True)
        at = int(order[middle[order].argmax()])
        best = max(best, (int(middle[at]), -axis, whole.lower[axis] + third + at))
    lower, upper = list(whole.lower), list(whole.upper)
    lower[-best[1]] = upper[-best[1]] = best[2]
    return Box((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))


def _active_voxels_across(grid: Grid, box: Box, axis: int) -> Tensor:
    """Active voxels of each slice of `box` across `axis`, int64 (slices,)."""
    low, length = box.lower[axis], box.shape[axis]
    counts = torch.zeros(length, dtype=torch.int64)
    for first, last in grid.topology.chunks(1 << 21):
        counts += torch.bincount(grid.topology.coordinates(first, last)[:, axis].long() - low, minlength=length)
    active = grid.topology.tile_active
    steps = torch.zeros(length + 1, dtype=torch.int64)
    edges, origins = grid.topology.tile_edges[active].long(), grid.topology.tile_origins[active, axis].long() - low
    steps.index_add_(0, origins, edges**2)
    steps.index_add_(0, origins + edges, -(edges**2))
    return counts + steps.cumsum(0)[:-1]


def _canvas(slices: list[Slice], title: str) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InrvError(f"figures need matplotlib ({error}): pip install 'inrv[figures]'") from error
    widths = [min(WIDEST, max(NARROWEST, PANEL_HEIGHT * part.size[0] / part.size[1])) for part in slices]
    heights = [min(PANEL_HEIGHT, width * part.size[1] / part.size[0]) for part, width in zip(slices, widths, strict=True)]
    panel = max(widths)
    figure = Figure(figsize=(3 * panel + 2.6, sum(heights) + 0.62 * len(slices) + 0.45 * bool(title)), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=11, color=INK)
    axes = figure.subplots(len(slices), 3, squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, part in zip(axes, slices, strict=True):
        _draw_row(figure, list(row), part)
    return figure


def _draw_row(figure: Figure, axes: list[Axes], part: Slice) -> None:
    error = np.abs(part.decoded - part.original)
    low, high = value_range(part)
    aspect = (part.size[1] / part.original.shape[0]) / (part.size[0] / part.original.shape[1])
    look: dict[str, Any] = {"origin": "lower", "aspect": aspect, "interpolation": "nearest"}
    colours = "RdBu_r" if part.signed else "inferno"
    axes[0].imshow(part.original, cmap=colours, vmin=low, vmax=high, **look)
    shown = axes[1].imshow(part.decoded, cmap=colours, vmin=low, vmax=high, **look)
    wrong = axes[2].imshow(error, cmap="viridis", vmin=0, vmax=float(error.max()) or 1.0, **look)
    metrics = part.comparison.metrics
    assert metrics is not None
    quality = "exact" if np.isinf(metrics.psnr) else f"PSNR {metrics.psnr:.1f} dB"
    magnitude = ", magnitude" * (part.comparison.value_type == "vec3s")
    labels = (f"{part.name or 'unnamed'}{magnitude}\nslice {part.across} = {part.index}", "decoded", f"|error|, {quality}")
    for axis, label in zip(axes, ("original", *labels[1:]), strict=True):
        axis.set(xticks=[], yticks=[])
        axis.set_title(label, fontsize=9.5, color=INK, pad=5)
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel(labels[0], fontsize=9.5, color=INK, labelpad=8)
    for image, of in ((shown, axes[:2]), (wrong, axes[2:])):
        bar = figure.colorbar(image, ax=of, fraction=0.05, pad=0.02, aspect=24)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, length=2, color=INK, labelcolor=INK)


def value_range(part: Slice) -> tuple[float, float]:
    """Lowest and highest value of the colour scale: the original's, without its few highest highlights."""
    low, high = float(part.original.min()), float(part.original.max())
    if part.signed:
        return -max(abs(low), abs(high)), max(abs(low), abs(high))
    lit = part.original[part.original > low]
    if len(lit):
        high = float(np.quantile(lit, 1 - HIGHLIGHT_SHARE))
    return low, high if high > low else low + 1.0
