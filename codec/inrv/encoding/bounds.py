"""What a bound on the error leaves to codes where rounding to float32 came before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError
from inrv.grids import Grid, Normalisation, Rounding
from inrv.options import EncodeOptions

HALF_UNIT = 2.0**-24  # of a number: rounding to float32 takes no more
FINEST_SHARE = 1 / (1 << 16)  # of the range, that no promise of quality goes below


def allowed_errors(
    grid: Grid, spans: NDArray[np.float64], options: EncodeOptions
) -> tuple[float, ...] | None:
    """The largest error that codes of each component may make, None where no bound is asked.

    spans: float64 (C,) ranges of the values, from which those of the source's numbers differ by no
        more than twice the rounding
    """
    rounding = np.array(grid.rounding_errors)
    bounds = options.error_bounds((spans - 2 * rounding).tolist())
    if not bounds:
        return None
    return tuple(bound - error for bound, error in zip(bounds, grid.rounding_errors, strict=True))


def check_rounding(
    grid: Grid, rounded: Rounding, usual: Normalisation, options: EncodeOptions, where: str
) -> None:
    """Check that rounding to float32 alone keeps what `options` promise of a grid.

    Raises OptionError, beginning with `where`.

    That is that all is lossless, its error bound, or without one, of the usual values, FINEST_SHARE
    of the range.

    rounded: how its values were rounded
    usual: the range of its values, the extremes left out
    """
    ends = zip(usual.minimum.tolist(), usual.maximum.tolist(), strict=True)
    for component, (error, whole, (low, high)) in enumerate(
        zip(rounded.errors, rounded.spans, ends, strict=True)
    ):
        # A large error may be that of an extreme alone: others are off by half a unit of the last
        # place at most.
        if (
            options.error_bound is None
            and not options.all_lossless
            and error < FINEST_SHARE * whole
        ):
            error = min(error, HALF_UNIT * max(abs(low), abs(high)))
        span = min(whole, high - low + 2 * error)
        most = _most_rounding(options, rounded, span)
        if error and most is not None and error >= most:
            axis = f" component {'xyz'[component]}" if grid.components > 1 else ""
            raise OptionError(
                f"{where}grid {grid.name!r}{axis}: {rounded.dtype} numbers, which range over "
                f"{span:.6g}, are off by {error:.4g} when they are rounded to float32, "
                f"{_promised(options, most)}: {_cure(grid, options, component, span, where)}"
            )


def _most_rounding(options: EncodeOptions, rounded: Rounding, span: float) -> float | None:
    """Give what rounding must stay below in a component, None where it has no such limit.

    One constant has no range to lose.
    """
    if options.all_lossless:
        return 0.0
    number, relative = options.error_bound or (FINEST_SHARE, True)
    if not relative:
        return number
    return None if span == 0 and not rounded.of_integers else number * span


def _promised(options: EncodeOptions, most: float) -> str:
    if options.all_lossless:
        return "and all is to come back as it was"
    if options.error_bound is None:
        return f"more than 1/65,536 of their range ({most:.4g})"
    return f"which leaves nothing of the bound `max_error={options.max_error!r}` ({most:.4g})"


def _cure(grid: Grid, options: EncodeOptions, component: int, span: float, where: str) -> str:
    if where:
        return (
            "take a larger `max_error`; `doubles='passthrough'` keeps one of a .vdb file as it is"
        )
    values = grid.values[:, component]
    lowest = float(values[np.isfinite(values)].min())
    if abs(lowest) > span:
        sign = "-" if lowest > 0 else "+"
        offset = f"array {sign} {abs(lowest):.0f}"
        return f"subtract an offset before, as {offset}, and undo that after decoding"
    if options.all_lossless:
        return "round the array yourself, as array.astype('float32'), if that is meant"
    return "ask for more, or code the array in parts that range over less"
