"""From grids to an .inrv file."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrv.container import Chunk, FieldEntry, Manifest, container_bytes, pack_tensors, read_container, write_bytes
from inrv.decoding import evaluate
from inrv.device import choose_device
from inrv.errors import NonFiniteError, OptionError, OutputExistsError
from inrv.fitting import FittedField, fit_field
from inrv.grids import Grid, Normalisation, SparseVolume, Transform, sparse_grid
from inrv.options import EncodeOptions
from inrv.storage import store_grids, store_metadata
from inrv.training import Progress, psnr_of

Source = str | os.PathLike[str] | SparseVolume
Report = Callable[[Progress], None]

REFERENCE_SAMPLES = 64


@dataclass(frozen=True)
class GridReport:
    """One encoded grid: PSNR in dB over its active leaf voxels, peak = their range; inf where they are constant."""

    name: str
    active_voxels: int
    psnr: float


@dataclass(frozen=True)
class EncodeReport:
    """What went in, what came out, and how.

    bytes_in     size of the source file, None for grids in memory     bytes_out  size of the .inrv file
    chunk_bytes  stored bytes by chunk type, with 'header' and 'manifest'
    values       components of all active voxels together               weights    of the network
    precision    of the stored weights                                  probed     voxels the PSNRs were measured on
    """

    bytes_in: int | None
    bytes_out: int
    chunk_bytes: dict[str, int]
    grids: tuple[GridReport, ...]
    weights: int
    values: int
    precision: str
    probed: int
    epochs: float
    seconds: float
    device: str
    stopped_by: str


def encode(
    source: Source,
    output: str | os.PathLike[str],
    options: EncodeOptions = EncodeOptions(),
    *,
    overwrite: bool = False,
    progress: Report | None = None,
) -> EncodeReport:
    """Encode a .vdb file, or grids in memory, into the .inrv file `output`, written atomically.

    Raises OutputExistsError, VdbError, NonFiniteError, OptionError, SelectionError or FormatError; nothing is
    written then.
    """
    if Path(output).exists() and not overwrite:
        raise OutputExistsError(f"{os.fspath(output)} exists already; allow overwriting (--force) or choose another name")
    data, report = encode_bytes(source, options, progress=progress)
    write_bytes(output, data)
    return report


def encode_array(
    array: np.ndarray[Any, Any] | Tensor,
    output: str | os.PathLike[str],
    options: EncodeOptions = EncodeOptions(),
    *,
    name: str = "density",
    transform: Transform = Transform(),
    background: float | Sequence[float] = 0.0,
    active: np.ndarray[Any, Any] | Tensor | None = None,
    overwrite: bool = False,
    progress: Report | None = None,
) -> EncodeReport:
    """Encode a dense volume, (X, Y, Z) or (X, Y, Z, 3), whose voxel [0, 0, 0] is index-space (0, 0, 0).

    `active`, bool (X, Y, Z), says which voxels are active; by default those that differ from `background`.
    Raises OptionError for other shapes, and what `encode` raises.
    """
    grid = sparse_grid(torch.as_tensor(array), name, transform, background, None if active is None else torch.as_tensor(active))
    return encode(SparseVolume((grid,)), output, options, overwrite=overwrite, progress=progress)


def encode_bytes(
    source: Source, options: EncodeOptions = EncodeOptions(), *, progress: Report | None = None
) -> tuple[bytes, EncodeReport]:
    """Encode into memory: the bytes of the .inrv file and the report. Raises what `encode` raises."""
    volume, bytes_in = _read(source, options)
    check_finite(volume, "" if isinstance(source, SparseVolume) else f"{os.fspath(source)}: ")
    device = choose_device(options.device)
    normalisations = [Normalisation.fit(grid.values) for grid in volume.grids]
    fitted = fit_field(volume.grids, normalisations, options, device, progress)
    chunks: list[Chunk] = []
    entries = store_grids(volume.grids, normalisations, chunks)
    field, reference = (None, None) if fitted is None else _store_field(fitted, chunks)
    manifest = Manifest(
        generator=f"inrv {_version()}",
        metadata=store_metadata(volume.metadata),
        grids=entries,
        field=field,
        reference=reference,
        encoding=_provenance(options, fitted),
    )
    data = container_bytes(manifest, chunks)
    return data, _report(volume, normalisations, fitted, data, bytes_in, device)


def _read(source: Source, options: EncodeOptions) -> tuple[SparseVolume, int | None]:
    if isinstance(source, SparseVolume):
        if options.grids is None:
            return source, None
        chosen = tuple(_pick(source, wanted) for wanted in options.grids)
        return SparseVolume(chosen, source.metadata), None
    from inrv.vdb import read_volume

    return read_volume(source, options.grids), Path(source).stat().st_size


def _pick(volume: SparseVolume, wanted: str | int) -> Grid:
    for position, grid in enumerate(volume.grids):
        if wanted in (position, grid.name):
            return grid
    raise OptionError(f"no grid {wanted!r}; the volume holds {', '.join(repr(grid.name) for grid in volume.grids) or 'none'}")


def check_finite(volume: SparseVolume, where: str = "") -> None:
    """Raise NonFiniteError where a grid holds NaN or infinity, with the count and the first voxel, after `where`."""
    for position, grid in enumerate(volume.grids):
        name = f"{where}grid {position} {grid.name!r}"
        if not bool(grid.background.isfinite().all()):
            raise NonFiniteError(f"{name}: background {grid.background.tolist()} is not finite")
        for what, values in (("active voxel", grid.values), ("tile", grid.tile_values), ("inactive voxel", grid.inactive.values)):
            bad = (~values.isfinite()).any(dim=1).nonzero()[:, 0]
            if len(bad):
                place = f" at index {_voxel_coordinate(grid, int(bad[0]))}" if what == "active voxel" else ""
                raise NonFiniteError(
                    f"{name}: {len(bad):,} {what}(s) hold NaN or infinity, the first is "
                    f"{values[bad[0]].tolist()}{place}; replace them with finite values before encoding"
                )


def _voxel_coordinate(grid: Grid, row: int) -> tuple[int, ...]:
    leaf = int(torch.searchsorted(grid.topology.starts, row, right=True)) - 1
    coordinates = grid.topology.coordinates(leaf, leaf + 1)
    return tuple(coordinates[row - int(grid.topology.starts[leaf])].tolist())


def _store_field(fitted: FittedField, chunks: list[Chunk]) -> tuple[FieldEntry, int]:
    chunks.append(Chunk("FELD", pack_tensors({name: tensor.numpy() for name, tensor in fitted.stored.tensors.items()})))
    reference = fitted.probed[:REFERENCE_SAMPLES]
    with torch.no_grad():
        outputs = evaluate(fitted.field, reference)
    chunks.append(Chunk("REFS", pack_tensors({"coordinates": reference.numpy(), "outputs": outputs.numpy()})))
    return FieldEntry(fitted.field.kind, fitted.field.config(), len(chunks) - 2), len(chunks) - 1


def _provenance(options: EncodeOptions, fitted: FittedField | None) -> dict[str, Any]:
    """What `info` tells of the encoding; nothing that differs between two runs with the same input, seed and options."""
    chosen = {name: value for name, value in dataclasses.asdict(options).items() if value is not None and name != "device"}
    chosen["dilation"] = "inf" if math.isinf(options.dilation) else int(options.dilation)
    if "grids" in chosen:
        chosen["grids"] = list(chosen["grids"])
    if fitted is None:
        return {"options": chosen}
    return {
        "options": chosen,
        "precision": fitted.stored.precision,
        "precision_loss_db": {precision: round(loss, 3) for precision, loss in fitted.losses.items()},
        "epochs": fitted.training.epochs,
        "steps": fitted.training.steps,
        "psnr": [round(value, 3) for value in fitted.psnrs],
    }


def _report(
    volume: SparseVolume,
    normalisations: Sequence[Normalisation],
    fitted: FittedField | None,
    data: bytes,
    bytes_in: int | None,
    device: torch.device,
) -> EncodeReport:
    return EncodeReport(
        bytes_in=bytes_in,
        bytes_out=len(data),
        chunk_bytes=read_container(data).bytes_by_type(),
        grids=_grid_reports(volume, normalisations, () if fitted is None else fitted.psnrs),
        values=sum(grid.topology.active_voxel_count * grid.components for grid in volume.grids),
        weights=0 if fitted is None else fitted.field.weight_count,
        precision="none" if fitted is None else fitted.stored.precision,
        probed=0 if fitted is None else len(fitted.probed),
        epochs=0.0 if fitted is None else fitted.training.epochs,
        seconds=0.0 if fitted is None else fitted.training.seconds,
        device=_device_name(device),
        stopped_by="nothing to train" if fitted is None else fitted.training.stopped_by,
    )


def _grid_reports(
    volume: SparseVolume, normalisations: Sequence[Normalisation], psnrs: Sequence[float]
) -> tuple[GridReport, ...]:
    left, reports = iter(psnrs), []
    for grid, normalisation in zip(volume.grids, normalisations, strict=True):
        errors = [10 ** (-next(left) / 10) for _ in range(int(normalisation.varying.sum()))]
        psnr = psnr_of(sum(errors) / len(errors)) if errors else math.inf
        reports.append(GridReport(grid.name, grid.topology.active_voxel_count, psnr))
    return tuple(reports)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version() -> str:
    try:
        return version("inrv")
    except PackageNotFoundError:
        return "unknown"
