"""The search for a quality or a size, the same for every field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from inrv.encoding.exactness import Exactness
from inrv.encoding.job import EncodedFile, EncodeJob
from inrv.encoding.topology_choice import cheapest_forms
from inrv.errors import OptionError
from inrv.fields.seam import Goal
from inrv.options import DEFAULT_PSNR
from inrv.storage import PreparedGrid

GOOD_ENOUGH = 35.0  # dB: with a smaller file than that takes, masks may be better spent on values
LOWEST_CHOICE = 30.0  # dB at which topologies are chosen where the file is still too large
# DB from the quality at which topologies were chosen, after which others may serve better.
OTHER_CHOICE = 3.0
SEARCHES = 8
ENOUGH, AIM = 0.98, 0.99  # of the asked size
OCTAVES_A_DOUBLING = 1.7  # a first guess of how much finer steps make a file twice as large
COARSEST_TO_FINEST = 16.0  # octaves
AT_LOW_RATES = -2.0  # octaves, at least, towards coarser steps: bytes barely fall there


def encoded_to_quality(job: EncodeJob) -> EncodedFile:
    """Make the file of the quality that is asked.

    Grids are in exact form where that is smaller, or where no code reaches the quality.
    """
    psnr = job.options.psnr or DEFAULT_PSNR
    exactness = Exactness(job, Goal(psnr))
    made = _coded(job, exactness.where_smaller(), job.options.topology or "exact", psnr)
    missed = made.short_of(psnr) if job.options.error_bound is None else set()
    if not missed:
        return made
    return _coded(job, exactness.instead(job.grids, missed), "exact", psnr)


def encoded_within(job: EncodeJob, most: int) -> EncodedFile:
    """The best file of at most `most` bytes: an exact one where it is so small.

    Where values are not good, bytes for them are sought in frequent values and, unless the options
    forbid it, in masks. Raises OptionError where there is no file so small.
    """
    exactness = Exactness(job, Goal(DEFAULT_PSNR))
    if exactness.may_fit(most):
        exact = _coded(job, exactness.everywhere, "exact", DEFAULT_PSNR)
        if exact.contents.size <= most:
            return exact
    asked = job.options.topology
    first = _sized(job, job.grids, asked or "exact", DEFAULT_PSNR, most)
    found = [first]
    good = first.contents.size <= most and first.psnr >= GOOD_ENOUGH
    if exactness.known and not good:
        if asked == "exact" and any(len(grid.frequent.values) for grid in job.grids):
            bare = tuple(grid.without_frequent_values() for grid in job.grids)
            found.append(_sized(job, bare, "exact", DEFAULT_PSNR, most))
        if asked is None:
            found.append(_sized(job, job.grids, "threshold", DEFAULT_PSNR, most))
    if exactness.known and (asked == "threshold" or (asked is None and not good)):
        last = found[-1]
        too_large = last.contents.size > most
        if too_large or abs(last.psnr - DEFAULT_PSNR) > OTHER_CHOICE:
            psnr = min(last.psnr, LOWEST_CHOICE) if too_large else last.psnr
            found.append(_sized(job, job.grids, "threshold", psnr, most))
    return _best(job, found, most)


def _best(job: EncodeJob, found: Sequence[EncodedFile], most: int) -> EncodedFile:
    fitting = [file for file in found if file.contents.size <= most]
    if not fitting:
        least = min(file.contents.size for file in found)
        raise OptionError(
            f"the file needs at least about {least:,} bytes, more than the {most:,} that are asked "
            "for: ask for more"
            + (", or take `topology='threshold'`" if job.options.topology == "exact" else "")
        )
    return max(fitting, key=lambda file: file.psnr)


def _coded(
    job: EncodeJob, grids: tuple[PreparedGrid, ...], topology: str, psnr: float
) -> EncodedFile:
    """Make the file of a quality.

    Its topology is exact or, where `topology` is 'threshold' and it is cheaper, whole-leaf.
    """
    forms, steps = cheapest_forms(job, grids, psnr) if topology == "threshold" else (grids, None)
    return job.encoded(forms, Goal(psnr, job.room_for_field, steps))


def _sized(
    job: EncodeJob, grids: tuple[PreparedGrid, ...], topology: str, psnr: float, most: int
) -> EncodedFile:
    """Find the best file of at most `most` bytes, or else the smallest.

    Its topologies are chosen at `psnr` dB.
    """
    first = _coded(job, grids, topology, psnr)
    if first.field is None:
        return first
    found = {0.0: first}

    def bytes_at(finer: float) -> int:
        assert first.field is not None
        found[finer] = job.file_of(first.grids, first.field.rescaled(finer))
        return found[finer].contents.size

    finer, _ = search_size(first.contents.size, most, bytes_at)
    return found[finer]


def search_size(first: int, most: int, bytes_at: Callable[[float], int]) -> tuple[float, int]:
    """Find the finest steps whose file has at most `most` bytes.

    Returns them and the bytes; of the coarsest steps tried where no file is so small.

    first: bytes with steps as they are
    bytes_at: encodes with steps finer by so many octaves and tells the bytes
    """
    tried = [(0.0, first)]
    for _ in range(SEARCHES):
        fitting = [entry for entry in tried if entry[1] <= most]
        if fitting and max(fitting)[1] >= ENOUGH * most:
            break
        finer = _next_finer(tried, AIM * most)
        if any(abs(finer - other) < 1e-3 for other, _ in tried):
            break
        tried.append((finer, bytes_at(finer)))
    fitting = [entry for entry in tried if entry[1] <= most]
    return max(fitting) if fitting else min(tried)


def _next_finer(tried: Sequence[tuple[float, int]], wanted: float) -> float:
    """Guess how much finer the steps of a file of `wanted` bytes are.

    The guess lies on a line of log bytes through the attempts on both sides, or from the nearest.
    """
    below = max((entry for entry in tried if entry[1] <= wanted), default=None)
    above = min((entry for entry in tried if entry[1] > wanted), default=None)
    if below and above and above[0] > below[0]:
        share = math.log(wanted / below[1]) / math.log(above[1] / below[1])
        return below[0] + min(0.95, max(0.05, share)) * (above[0] - below[0])
    finer, size = below or above or tried[0]
    moved = OCTAVES_A_DOUBLING * math.log2(wanted / size)
    if below is None:
        moved = min(moved, AT_LOW_RATES)
    return min(COARSEST_TO_FINEST, max(-COARSEST_TO_FINEST, finer + moved))
