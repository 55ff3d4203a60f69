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

from inrv.container import (
    Chunk,
    Container,
    FieldEntry,
    Manifest,
    container_bytes,
    pack_tensors,
    read_container,
    write_bytes,
)
from inrv.decoding import decode_active, evaluate
from inrv.device import choose_device
from inrv.errors import OutputExistsError
from inrv.fitting import FittedField, fit_field
from inrv.grids import Grid, SparseVolume, Transform, denormalise, sparse_grid
from inrv.grids.topology import unpack_masks
from inrv.options import EncodeOptions
from inrv.preparation import NonFinite, best_threshold, prepare
from inrv.storage import CodedGrid, store_carried, store_grids, store_metadata
from inrv.training import Checkpoint, Progress, psnr_of

Source = str | os.PathLike[str] | SparseVolume
Report = Callable[[Progress], None]

REFERENCE_SAMPLES = 64


@dataclass(frozen=True)
class GridReport:
    """One coded grid.

    position   its place in the file
    psnr       dB over its active leaf voxels, peak = their range; inf where they are stored exactly
    kept       active voxels stored exactly, beside the field: those not finite, or all of a small grid
    misjudged  with a threshold for topology, voxels that decode active and were not, or the other way; else None
    """

    position: int
    name: str
    active_voxels: int
    psnr: float
    kept: int
    misjudged: int | None


@dataclass(frozen=True)
class CarriedReport:
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
    nonfinite    NaN and infinity found, and kept
    values       components of all active voxels together               weights    of the network
    precision    of the stored weights                                  probed     voxels the PSNRs were measured on
    """

    bytes_in: int | None
    bytes_out: int
    chunk_bytes: dict[str, int]
    grids: tuple[GridReport, ...]
    carried: tuple[CarriedReport, ...]
    nonfinite: tuple[NonFinite, ...]
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
    checkpoint: Checkpoint | None = None,
) -> EncodeReport:
    """Encode a .vdb file, or grids in memory, into the .inrv file `output`, written atomically.

    A run that is broken off resumes from its `checkpoint`, as Checkpoint.beside(output), when it is called again with
    the same source and options, and ends in the same bytes; the checkpoint is deleted after success. Raises
    OutputExistsError, OutputError, VdbError, NonFiniteError, OptionError, SelectionError or FormatError; nothing is
    written then.
    """
    if Path(output).exists() and not overwrite:
        raise OutputExistsError(f"{os.fspath(output)} exists already; allow overwriting (--force) or choose another name")
    data, report = encode_bytes(source, options, progress=progress, checkpoint=checkpoint)
    if checkpoint is None:
        write_bytes(output, data)
    else:
        checkpoint.finish(lambda: write_bytes(output, data))
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
    checkpoint: Checkpoint | None = None,
) -> EncodeReport:
    """Encode a dense volume, (X, Y, Z) or (X, Y, Z, 3), whose voxel [0, 0, 0] is index-space (0, 0, 0).

    `active`, bool (X, Y, Z), says which voxels are active; by default those that differ from `background`.
    Raises OptionError for other shapes, and what `encode` raises.
    """
    grid = sparse_grid(torch.as_tensor(array), name, transform, background, None if active is None else torch.as_tensor(active))
    return encode(SparseVolume((grid,)), output, options, overwrite=overwrite, progress=progress, checkpoint=checkpoint)


def encode_bytes(
    source: Source,
    options: EncodeOptions = EncodeOptions(),
    *,
    progress: Report | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[bytes, EncodeReport]:
    """Encode into memory: the bytes of the .inrv file and the report. Raises what `encode` raises.

    The caller writes them with `checkpoint.finish`, which deletes the checkpoint after that.
    """
    volume, bytes_in = _read(source, options)
    coded, nonfinite = prepare(volume, options, "" if isinstance(source, SparseVolume) else f"{os.fspath(source)}: ")
    device = choose_device(options.device)
    fitted = fit_field(
        [item.grid for item in coded], [item.normalisation for item in coded], options, device, progress, checkpoint
    )
    coded, misjudged = _with_thresholds(coded, volume.grids, fitted)
    chunks: list[Chunk] = []
    entries = store_grids(coded, chunks)
    carried = store_carried(volume.carried, chunks)
    field, reference = (None, None) if fitted is None else _store_field(fitted, chunks)
    manifest = Manifest(
        generator=f"inrv {_version()}",
        metadata=store_metadata(volume.metadata),
        grids=entries,
        field=field,
        reference=reference,
        encoding=_provenance(options, fitted, misjudged),
        carried=carried,
        vdb_version=volume.vdb_version,
    )
    container = read_container(data := container_bytes(manifest, chunks))
    report = EncodeReport(
        bytes_in=bytes_in,
        bytes_out=len(data),
        chunk_bytes=container.bytes_by_type(),
        grids=_grid_reports(volume, coded, misjudged, () if fitted is None else fitted.psnrs),
        carried=_carried_reports(container),
        nonfinite=nonfinite,
        **_training_report(volume, fitted, device),
    )
    return data, report


def _read(source: Source, options: EncodeOptions) -> tuple[SparseVolume, int | None]:
    if isinstance(source, SparseVolume):
        if options.grids is None:
            return source, None
        return source.choose(options.grids), None
    from inrv.vdb import read_volume

    return read_volume(source, options.grids, doubles=options.doubles), Path(source).stat().st_size


def _with_thresholds(
    coded: Sequence[CodedGrid], originals: Sequence[Grid], fitted: FittedField | None
) -> tuple[tuple[CodedGrid, ...], tuple[int | None, ...]]:
    """The grids, coarse ones with the threshold that is best for the decoded values, and the voxels each takes wrongly."""
    result, misjudged, output = [], list[int | None](), 0
    for item, original in zip(coded, originals, strict=True):
        outputs = int(item.normalisation.varying.sum())
        if item.grid.topology is original.topology or fitted is None:
            result.append(item)
            misjudged.append(None)
        else:
            topology = item.grid.topology
            (decoded,) = decode_active(fitted.field, [topology], [[output]])
            low, high = item.normalisation.minimum.item(), item.normalisation.maximum.item()
            active = unpack_masks(original.topology.leaf_masks).reshape(-1)
            threshold, errors = best_threshold(denormalise(decoded[:, 0], low, high, clamp=False), active)
            result.append(dataclasses.replace(item, threshold=threshold))
            misjudged.append(errors)
        output += outputs
    return tuple(result), tuple(misjudged)


def _store_field(fitted: FittedField, chunks: list[Chunk]) -> tuple[FieldEntry, int]:
    chunks.append(Chunk("FELD", pack_tensors({name: tensor.numpy() for name, tensor in fitted.stored.tensors.items()})))
    reference = fitted.probed[:REFERENCE_SAMPLES]
    with torch.no_grad():
        outputs = evaluate(fitted.field, reference)
    chunks.append(Chunk("REFS", pack_tensors({"coordinates": reference.numpy(), "outputs": outputs.numpy()})))
    return FieldEntry(fitted.field.kind, fitted.field.config(), len(chunks) - 2), len(chunks) - 1


def _provenance(options: EncodeOptions, fitted: FittedField | None, misjudged: Sequence[int | None]) -> dict[str, Any]:
    """What `info` tells of the encoding; nothing that differs between two runs with the same input, seed and options."""
    chosen = {name: value for name, value in dataclasses.asdict(options).items() if value is not None and name != "device"}
    chosen["dilation"] = "inf" if math.isinf(options.dilation) else int(options.dilation)
    if "grids" in chosen:
        chosen["grids"] = list(chosen["grids"])
    told: dict[str, Any] = {"options": chosen}
    if any(count is not None for count in misjudged):
        told["misjudged_voxels"] = list(misjudged)
    if fitted is None:
        return told
    return told | {
        "precision": fitted.stored.precision,
        "precision_loss_db": {precision: round(loss, 3) for precision, loss in fitted.losses.items()},
        "epochs": fitted.training.epochs,
        "steps": fitted.training.steps,
        "psnr": [round(value, 3) for value in fitted.psnrs],
    }


def _training_report(volume: SparseVolume, fitted: FittedField | None, device: torch.device) -> dict[str, Any]:
    """What `EncodeReport` tells of the field and its training."""
    return {
        "values": sum(grid.topology.active_voxel_count * grid.components for grid in volume.grids),
        "weights": 0 if fitted is None else fitted.field.weight_count,
        "precision": "none" if fitted is None else fitted.stored.precision,
        "probed": 0 if fitted is None else len(fitted.probed),
        "epochs": 0.0 if fitted is None else fitted.training.epochs,
        "seconds": 0.0 if fitted is None else fitted.training.seconds,
        "device": _device_name(device),
        "stopped_by": "nothing to train" if fitted is None else fitted.training.stopped_by,
    }


def _grid_reports(
    volume: SparseVolume, coded: Sequence[CodedGrid], misjudged: Sequence[int | None], psnrs: Sequence[float]
) -> tuple[GridReport, ...]:
    left, reports = iter(psnrs), []
    for position, grid, item, wrong in zip(volume.positions, volume.grids, coded, misjudged, strict=True):
        errors = [10 ** (-next(left) / 10) for _ in range(int(item.normalisation.varying.sum()))]
        psnr = psnr_of(sum(errors) / len(errors)) if errors else math.inf
        kept = len(item.kept.places)
        reports.append(GridReport(position, grid.name, grid.topology.active_voxel_count, psnr, kept, wrong))
    return tuple(reports)


def _carried_reports(container: Container) -> tuple[CarriedReport, ...]:
    return tuple(
        CarriedReport(
            position=entry.position,
            name=entry.name,
            tree_type=entry.tree_type,
            bytes_in=entry.bytes,
            bytes_out=sum(container.entries[number].stored for number in entry.chunks),
            reason=entry.reason,
        )
        for entry in container.manifest.carried
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version() -> str:
    try:
        return version("inrv")
    except PackageNotFoundError:
        return "unknown"
