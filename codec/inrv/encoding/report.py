"""What became of a volume, in figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from inrv.container import Container
from inrv.encoding.job import EncodedFile, EncodeJob, grids_of
from inrv.encoding.preparation import NonFinite
from inrv.grids import Rounding
from inrv.metrics.psnr import psnr_of


@dataclass(frozen=True)
class GridReport:
    """One coded grid.

    position: its place in the file
    name: '' where it has none
    active_voxels: those of tiles included
    psnr: dB over its active leaf voxels, peak = their range; inf where they are stored exactly
    peak: the range, of the component that has the widest one, without the voxels that are `exact`
    max_error: largest error of any active leaf voxel against the source's numbers, in values as a
        .vdb file would hold them; None where the field does not measure it
    drift: the sum of these values less that of the original ones, over the sum of the original
        magnitudes; None likewise
    frequent: values that many voxels have, and how many: all of them get their value back exactly
    exact: other active voxels stored exactly, beside the field: not finite, extremes, or of a small
        grid
    lossless: whether every value comes back bit for bit
    misclassified: with a threshold for topology, voxels that decode active and were not, or the
        other way; else None
    """

    position: int
    name: str
    active_voxels: int
    psnr: float
    peak: float
    max_error: float | None
    drift: float | None
    frequent: tuple[tuple[tuple[float, ...], int], ...]
    exact: int
    lossless: bool
    misclassified: int | None


@dataclass(frozen=True)
class PassthroughReport:
    """One grid that is stored as it was.

    position: its place in the file
    name: '' where it has none
    tree_type: OpenVDB's name of the type of its tree
    bytes_in: of it in the source
    bytes_out: of it in the .inrv file
    reason: why it is not coded
    """

    position: int
    name: str
    tree_type: str
    bytes_in: int
    bytes_out: int
    reason: str


@dataclass(frozen=True)
class EncodeReport:
    """What went in, what came out, and how.

    bytes_in: size of the source files, None where grids came from memory
    bytes_out: size of the .inrv file
    chunk_bytes: stored bytes by chunk type, with 'header' and 'manifest'
    grids: the coded grids
    passthrough: the grids that are stored as they were
    nonfinite: NaN and infinity found, and what became of them
    values: components of all active voxels together
    field: the kind of field that codes the values; None where nothing is left to code
    measured_voxels: voxels the PSNRs were measured on
    seconds: that the field took
    device: where it was computed, None without a field
    summary: what the field tells of itself: JSON values
    description: the same for people: labels and texts
    """

    bytes_in: int | None
    bytes_out: int
    chunk_bytes: dict[str, int]
    grids: tuple[GridReport, ...]
    passthrough: tuple[PassthroughReport, ...]
    nonfinite: tuple[NonFinite, ...]
    values: int
    field: str | None
    measured_voxels: int
    seconds: float
    device: str | None
    summary: dict[str, Any]
    description: tuple[tuple[str, str], ...]


def report_of(job: EncodeJob, file: EncodedFile, container: Container) -> EncodeReport:
    """Report on a job that became `file`.

    container: the file, open
    """
    field = file.field
    sizes = [frame.bytes_in for frame in file.frames if frame.bytes_in is not None]
    return EncodeReport(
        bytes_in=sum(sizes) if len(sizes) == len(file.frames) else None,
        bytes_out=container.size,
        chunk_bytes=container.bytes_by_type(),
        grids=tuple(_grid_reports(file)),
        passthrough=_passthrough_reports(container),
        nonfinite=job.nonfinite,
        values=sum(
            grid.topology.active_voxel_count * grid.components for grid in grids_of(file.frames)
        ),
        field=None if field is None else job.kind,
        measured_voxels=0 if field is None else field.measured_voxels,
        seconds=0.0 if field is None else field.seconds,
        device=None if field is None else field.device,
        summary={} if field is None else field.summary(),
        description=() if field is None else tuple(field.description()),
    )


def _grid_reports(file: EncodedFile) -> Iterator[GridReport]:
    field, unknown = file.field, (None,) * len(file.grids)
    errors, drifts = (unknown, unknown) if field is None else (field.errors, field.drifts)
    psnrs = _psnrs(file)
    positions = [place for frame in file.frames for place in frame.volume.positions]
    rows = zip(positions, grids_of(file.frames), file.stored_as, strict=True)
    for position, grid, number in rows:
        prepared, psnr = file.grids[number], psnrs[number]
        error, drift = errors[number], drifts[number]
        if math.isinf(psnr):
            error = drift = 0.0
        elif error is None and prepared.source is not None:  # the field codes none of it
            error = float(np.abs(prepared.changes).max())
        if grid.rounded is not None:
            psnr = _with_rounding(psnr, grid.rounded)
            error = None if error is None else error + grid.rounding
        frequent = prepared.frequent
        yield GridReport(
            position=position,
            name=grid.name,
            active_voxels=grid.topology.active_voxel_count,
            psnr=psnr,
            peak=float(np.max(prepared.spans)),
            max_error=error,
            drift=drift,
            frequent=tuple(zip(map(tuple, frequent.values.tolist()), frequent.counts, strict=True)),
            exact=len(prepared.exact.places),
            lossless=math.isinf(psnr) and not grid.rounding,
            misclassified=file.misclassified[number],
        )


def _psnrs(file: EncodedFile) -> list[float]:
    """Return the PSNR of each stored grid over its components, dB."""
    outputs = iter(() if file.field is None else file.field.psnrs)
    found = []
    for grid in file.grids:
        varying = int(grid.normalisation.varying.sum())
        reached = [next(outputs) for _ in range(varying)]
        if grid.source is not None:  # what does not vary was rounded too
            reached = [grid.psnr_of_changes(number) for number in range(grid.grid.components)]
        squared = [10 ** (-psnr / 10) for psnr in reached]
        found.append(psnr_of(sum(squared) / len(squared)) if squared else math.inf)
    return found


def _with_rounding(psnr: float, rounded: Rounding) -> float:
    """Turn a PSNR against float32 values into one against the source's numbers.

    Each number counts as being as far off as the worst of its component.
    """
    shares = [
        error / span for error, span in zip(rounded.errors, rounded.spans, strict=True) if span
    ]
    return psnr_of(10 ** (-psnr / 10) + sum(share**2 for share in shares) / max(1, len(shares)))


def _passthrough_reports(container: Container) -> tuple[PassthroughReport, ...]:
    return tuple(
        PassthroughReport(
            position=entry.position,
            name=entry.name,
            tree_type=entry.tree_type,
            bytes_in=entry.bytes,
            bytes_out=sum(container.entries[number].stored for number in entry.chunks),
            reason=entry.reason,
        )
        for entry in container.manifest.passthrough
    )
