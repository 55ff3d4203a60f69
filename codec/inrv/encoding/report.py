"""What became of a volume, in figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from inrv.container import Container
from inrv.encoding.preparation import NonFinite
from inrv.fields.fourier.fitting import FittedField
from inrv.fields.lattice.channels import CodedLattice, gain
from inrv.grids import Rounding, SparseVolume
from inrv.metrics.psnr import psnr_of
from inrv.storage import PreparedGrid


@dataclass(frozen=True)
class GridReport:
    """One coded grid.

    position   its place in the file
    psnr       dB over its active leaf voxels, peak = their range; inf where they are stored exactly
    peak       the range, of the component that has the widest one: without the voxels that are `kept`
    max_error  largest error of any of them against the source's numbers, in values as a .vdb file would hold them; None of a
               fourier field: not measured
    drift      the sum of these values less that of the original ones, over the sum of the original magnitudes; None likewise
    frequent   values that many voxels have, and how many: all of them get their value back exactly
    kept       other active voxels stored exactly, beside the field: those not finite or far from all others, or of a small grid
    lossless   whether every value comes back bit for bit
    misjudged  with a threshold for topology, voxels that decode active and were not, or the other way; else None
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
    """One grid carried as it was: its bytes in the source and in the .inrv file, and why."""

    position: int
    name: str
    tree_type: str
    bytes_in: int
    bytes_out: int
    reason: str


@dataclass(frozen=True)
class EncodeReport:
    """What went in, what came out, and how.

    bytes_in     size of the source file, None for grids in memory     bytes_out  size of the .inrv file
    chunk_bytes  stored bytes by chunk type, with 'header' and 'manifest'
    nonfinite    NaN and infinity found, and what became of them
    field        'lattice', 'fourier', or 'none' where nothing is left to code
    values       components of all active voxels together               weights    of the network
    precision    of the stored weights                                  probed     voxels the PSNRs were measured on
    """

    bytes_in: int | None
    bytes_out: int
    chunk_bytes: dict[str, int]
    grids: tuple[GridReport, ...]
    passthrough: tuple[PassthroughReport, ...]
    nonfinite: tuple[NonFinite, ...]
    field: str
    weights: int
    values: int
    precision: str
    probed: int
    epochs: float
    seconds: float
    device: str
    stopped_by: str


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that is known of an encoded volume; `coded`, `misjudged` as in `volume.grids`."""

    volume: SparseVolume
    coded: Sequence[PreparedGrid]
    nonfinite: tuple[NonFinite, ...]
    misclassified: Sequence[int | None]
    fitted: FittedField | CodedLattice | None


def report_of(outcome: Outcome, container: Container, bytes_in: int | None, device: torch.device) -> EncodeReport:
    """The report of a volume that was encoded into `container` on `device`, `bytes_in` the size of its source file."""
    return EncodeReport(
        bytes_in=bytes_in,
        bytes_out=container.size,
        chunk_bytes=container.bytes_by_type(),
        grids=_grid_reports(outcome),
        passthrough=_passthrough_reports(container),
        nonfinite=outcome.nonfinite,
        values=sum(grid.topology.active_voxel_count * grid.components for grid in outcome.volume.grids),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        **_training_report(outcome.fitted),
    )


def _training_report(fitted: FittedField | CodedLattice | None) -> dict[str, Any]:
    """What `EncodeReport` tells of the field and its training."""
    if isinstance(fitted, CodedLattice):
        return {
            "field": "lattice",
            "weights": sum(coding.model.weight_count for coding in fitted.codings if coding.fitted),
            "precision": "whole numbers",
            "probed": sum(item.coded.topology.leaf_voxel_count for item in fitted.items),
            "epochs": 0.0,
            "seconds": fitted.seconds,
            "stopped_by": "effort",
        }
    return {
        "field": "none" if fitted is None else "fourier",
        "weights": 0 if fitted is None else fitted.field.weight_count,
        "precision": "none" if fitted is None else fitted.stored.precision,
        "probed": 0 if fitted is None else len(fitted.probe),
        "epochs": 0.0 if fitted is None else fitted.training.epochs,
        "seconds": 0.0 if fitted is None else fitted.training.seconds,
        "stopped_by": "nothing to train" if fitted is None else fitted.training.stopped_by,
    }


def _grid_reports(outcome: Outcome) -> tuple[GridReport, ...]:
    volume, reports = outcome.volume, []
    left = iter(() if outcome.fitted is None else outcome.fitted.psnrs)
    fitted, unknown = outcome.fitted, (None,) * len(volume.grids)
    measured = (fitted.errors, fitted.drifts) if isinstance(fitted, CodedLattice) else (unknown, unknown)
    for position, grid, item, wrong, error, drift in zip(
        volume.positions, volume.grids, outcome.coded, outcome.misclassified, *measured, strict=True
    ):
        varying = item.normalisation.varying.nonzero()[:, 0].tolist()
        gains = [0.0 if isinstance(fitted, CodedLattice) else gain(item, grid, component) for component in varying]
        errors = [10 ** ((less - next(left)) / 10) for less in gains]
        psnr = psnr_of(sum(errors) / len(errors)) if errors else math.inf
        error = 0.0 if math.isinf(psnr) else error
        drift = 0.0 if math.isinf(psnr) else drift
        if grid.rounded is not None:
            psnr = _with_rounding(psnr, grid.rounded)
            error = None if error is None else error + grid.rounding
        report = GridReport(
            position=position,
            name=grid.name,
            active_voxels=grid.topology.active_voxel_count,
            psnr=psnr,
            peak=float(item.spans.max()),
            max_error=error,
            drift=drift,
            frequent=tuple(zip(map(tuple, item.frequent.values.tolist()), item.frequent.counts, strict=True)),
            exact=len(item.exact.places),
            lossless=math.isinf(psnr) and not grid.rounding,
            misclassified=wrong,
        )
        reports.append(report)
    return tuple(reports)


def _with_rounding(psnr: float, rounded: Rounding) -> float:
    """A PSNR against float32 values as one against the source's numbers, each as far off as the worst of its component."""
    shares = [error / span for error, span in zip(rounded.errors, rounded.spans, strict=True) if span]
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
