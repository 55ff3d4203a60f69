"""Mid-slices of original, decoded and error, side by side."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import InrvError
from inrv.grids import Box, Grid, SparseVolume
from inrv.metrics.comparison import PART_VOXELS, GridComparison, VolumeComparison, pair_grids
from inrv.support.extras import needed_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

Array = NDArray[np.float32]

AXES = "xyz"
DPI = 160
# inches
PANEL_HEIGHT = 3.3
NARROWEST = 1.6  # of a column: what its title needs
LEFT, GAP, BAR, TICKS, ABOVE, TITLE, MARGIN = 0.62, 0.12, 0.11, 0.62, 0.36, 0.34, 0.12
LONGEST_NAME = 28  # letters beside a panel
INK = "#222222"
# Of the active voxels: the brightest ones, which may run into the top of the colour scale.
HIGHLIGHT_SHARE = 0.002


@dataclass(frozen=True, eq=False)
class Slice:
    """One grid across one axis, with the longer side upright.

    name: of the grid
    across: the axis that the slice is across
    index: where on that axis, in index space
    original: float32 (rows, columns) values, or magnitudes of vectors
    decoded: float32 (rows, columns) those of the decoded grid
    error: float32 (rows, columns) absolute difference, or length of the difference of vectors
    size: width and height in world units
    signed: whether the sign of a value means inside or outside
    comparison: of the two grids
    """

    name: str
    across: str
    index: int
    original: Array
    decoded: Array
    error: Array
    size: tuple[float, float]
    signed: bool
    comparison: GridComparison

    @property
    def plain(self) -> bool:
        """Whether both grids have one and the same value everywhere."""
        return not self.error.any() and bool(self.original.min() == self.original.max())


def draw_comparison(
    original: SparseVolume,
    decoded: SparseVolume,
    comparison: VolumeComparison,
    title: str = "",
    form: str = "png",
) -> bytes:
    """Draw a row a grid, with original, decoded and absolute error.

    original, decoded: the volumes
    comparison: of the two
    title: above the rows
    form: of the image: 'png', 'svg' or 'pdf'
    Gives the bytes of the image.

    The slice is the one with the most active voxels within the middle third of an axis, the same
    for all grids where their transforms are equal; of vectors the magnitude is shown. Empty and
    constant grids are left out. Raises InrvError where nothing is left, MissingPackageError where
    matplotlib is missing.
    """
    pairs, _, _ = pair_grids(original, decoded)
    together = zip(pairs, comparison.grids, strict=True)
    drawn = [
        (a, b, result)
        for (a, b), result in together
        if result.metrics and a.topology.active_voxel_count
    ]
    if len({a.transform for a, _, _ in drawn}) == 1:
        planes = [busiest_plane([a for a, _, _ in drawn])] * len(drawn)
    else:
        planes = [busiest_plane([a]) for a, _, _ in drawn]
    cuts = (cut(*parts, plane) for parts, plane in zip(drawn, planes, strict=True))
    slices = [part for part in cuts if not part.plain]
    if not slices:
        raise InrvError(
            "there is nothing to draw: "
            "no grid of the original has values that vary and a partner of its type"
        )
    figure = _canvas(slices, title)
    data = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that the font has not are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(data, format=form, dpi=DPI, facecolor="white")
    return data.getvalue()


def cut(original: Grid, decoded: Grid, comparison: GridComparison, plane: Box) -> Slice:
    """Cut both grids by `plane`, a box one voxel thick."""
    axis = plane.shape.index(1)
    right, up = (other for other in range(3) if other != axis)
    extent = [
        edge * count for edge, count in zip(original.transform.voxel_size, plane.shape, strict=True)
    ]
    turned = extent[right] > extent[up]
    size = (extent[up], extent[right]) if turned else (extent[right], extent[up])
    a, b = (grid.dense(plane).squeeze(axis) for grid in (original, decoded))
    single = original.components == 1
    images = [_magnitude(values) for values in (a, b, a - b)]
    if single:
        images[:2] = a[..., 0], b[..., 0]
    shown, decoded_shown, error = (image if turned else image.T for image in images)
    signed = single and original.grid_class == "level set"
    place = original.name, AXES[axis], plane.lower[axis]
    return Slice(*place, shown, decoded_shown, error, size, signed, comparison)


def _magnitude(values: Array) -> Array:
    """Give the magnitudes (X, Y) of scalars or vectors (X, Y, C)."""
    one = values.shape[2] == 1
    lengths: Array = np.abs(values[..., 0]) if one else np.linalg.norm(values, axis=2)
    return lengths


def busiest_plane(grids: Sequence[Grid]) -> Box:
    """Find the slice through the joint active box that has the most active voxels of all grids.

    It lies within the middle third of its axis.
    """
    boxes = [box for grid in grids if (box := grid.topology.box)]
    whole = functools.reduce(Box.union, boxes)
    best = (-1, 0, 0)
    for axis in range(3):
        counts = np.sum([_active_voxels_across(grid, whole, axis) for grid in grids], axis=0)
        third = len(counts) // 3
        middle = counts[third : len(counts) - third]
        # of equal slices the one nearest the centre
        order = np.abs(np.arange(len(middle)) - (len(middle) - 1) / 2).argsort(kind="stable")
        at = int(order[middle[order].argmax()])
        best = max(best, (int(middle[at]), -axis, whole.lower[axis] + third + at))
    lower, upper = list(whole.lower), list(whole.upper)
    lower[-best[1]] = upper[-best[1]] = best[2]
    return Box((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))


def _active_voxels_across(grid: Grid, box: Box, axis: int) -> NDArray[np.int64]:
    """Count the active voxels of each slice of `box` across `axis`: int64 (slices,)."""
    low, length = box.lower[axis], box.shape[axis]
    counts = np.zeros(length, dtype=np.int64)
    for first, last in grid.topology.chunks(PART_VOXELS):
        across = grid.topology.coordinates(first, last)[:, axis]
        counts += np.bincount(across - low, minlength=length)
    active = grid.topology.tile_active
    steps = np.zeros(length + 1, dtype=np.int64)
    edges = grid.topology.tile_edges[active].astype(np.int64)
    origins = grid.topology.tile_origins[active, axis] - low
    np.add.at(steps, origins, edges**2)
    np.add.at(steps, origins + edges, -(edges**2))
    counts += steps.cumsum()[:-1]
    return counts


def check_drawing() -> None:
    """Raise MissingPackageError where matplotlib, which draws figures, is not installed."""
    _drawing()


def _drawing() -> tuple[type[FigureCanvasAgg], type[Figure]]:
    with needed_for("a figure", "figures"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    return FigureCanvasAgg, Figure


def _canvas(slices: list[Slice], title: str) -> Figure:
    canvas, kind = _drawing()
    panels = [_panel(part) for part in slices]
    widest = max(NARROWEST, *(width for width, _ in panels))
    width = LEFT + 3 * widest + 3 * GAP + 2 * (BAR + TICKS)
    height = sum(ABOVE + tall for _, tall in panels) + TITLE * bool(title) + MARGIN
    figure = kind(figsize=(width, height))
    canvas(figure)
    top = height - TITLE * bool(title)
    if title:
        figure.text(
            LEFT / width, (top + 0.08) / height, title, fontsize=11, color=INK, parse_math=False
        )
    for part, (wide, tall) in zip(slices, panels, strict=True):
        top -= ABOVE + tall
        _draw_row(figure, part, (widest, wide, tall, top))
    return figure


def _panel(part: Slice) -> tuple[float, float]:
    """Give width and height in inches of the images of a row, in the world's proportions."""
    return PANEL_HEIGHT * part.size[0] / part.size[1], PANEL_HEIGHT


def _draw_row(figure: Figure, part: Slice, place: tuple[float, float, float, float]) -> None:
    """Draw three images and two colour bars.

    place: column width, image width, image height and bottom, in inches
    """
    column, wide, tall, bottom = place
    width, height = figure.get_size_inches()

    def add(left: float, across: float) -> Axes:
        axes = figure.add_axes((left / width, bottom / height, across / width, tall / height))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    second = LEFT + column + GAP
    third = second + column + GAP + BAR + TICKS
    original, decoded, error = (add(left, wide) for left in (LEFT, second, third))
    look: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    if len(part.original) > tall * DPI:  # more voxels than pixels: none may be skipped
        look["interpolation"] = "antialiased"
    low, high = value_range(part)
    values: dict[str, Any] = {
        "cmap": "RdBu_r" if part.signed else "inferno",
        "vmin": low,
        "vmax": high,
        **look,
    }
    original.imshow(part.original, **values)
    shown = decoded.imshow(part.decoded, **values)
    wrong = error.imshow(
        part.error, cmap="viridis", vmin=0, vmax=float(part.error.max()) or 1.0, **look
    )
    for image, left in ((shown, second), (wrong, third)):
        bar = figure.colorbar(image, cax=add(left + wide + 0.07, BAR))
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, length=2, color=INK, labelcolor=INK)
    metrics = part.comparison.metrics
    assert metrics is not None
    quality = "exact" if np.isinf(metrics.psnr) else f"PSNR {metrics.psnr:.1f} dB"
    for axes, label in (
        (original, "original"),
        (decoded, "decoded"),
        (error, f"|error|, {quality}"),
    ):
        axes.set_title(label, fontsize=9.5, color=INK, pad=5)
    magnitude = ", magnitude" * (part.comparison.value_type == "vec3s")
    name = (
        part.name
        if len(part.name) <= LONGEST_NAME
        else f"{part.name[: LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    )
    label = f"{name or 'unnamed'}{magnitude}\nslice {part.across} = {part.index}"
    original.set_ylabel(
        label, fontsize=9.5, color=INK, labelpad=6, linespacing=1.3, parse_math=False
    )


def value_range(part: Slice) -> tuple[float, float]:
    """Give the ends of the colour scale: the original's, without its few highest highlights."""
    low, high = float(part.original.min()), float(part.original.max())
    if part.signed:
        return -max(abs(low), abs(high)), max(abs(low), abs(high))
    lit = part.original[part.original > low]
    if len(lit):
        high = float(np.quantile(lit, 1 - HIGHLIGHT_SHARE))
    return low, high if high > low else low + 1.0
