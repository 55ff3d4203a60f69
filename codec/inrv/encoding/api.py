"""From grids to an .inrv file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inrv.container import Chunk, FieldEntry, Manifest, container_bytes, pack_tensors, read_container, write_bytes
from inrv.decoding.volume import Volume, VolumeGrid
from inrv.encoding.preparation import NonFinite, deactivated, prepare
from inrv.encoding.report import EncodeReport, Outcome, report_of
from inrv.encoding.sources import Source, given_as
from inrv.encoding.topology_choice import coarsened, rule_of, with_thresholds
from inrv.errors import OptionError, OutputExistsError
from inrv.fields.fourier.evaluation import decode_active, evaluate
from inrv.fields.fourier.fitting import FittedField, fit_field
from inrv.fields.fourier.network import FourierConfig
from inrv.fields.fourier.training import Checkpoint, Processes, Progress
from inrv.fields.lattice import DEFAULT_NAME
from inrv.fields.lattice.channels import CodedLattice
from inrv.fields.lattice.sizing import LatticeFile
from inrv.fields.lattice.store import store_channel
from inrv.grids import SparseVolume, Topology, Transform, sparse_grid
from inrv.grids.thresholds import ABOVE
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid, store_grids, store_metadata, store_passthrough
from inrv.support.device import choose_device
from inrv.support.parallel import workers
from inrv.support.release import release
from inrv.support.streams import PATH, Input, Writable, check_writable
from inrv.support.undisturbed import undisturbed

Report = Callable[[Progress], None]

REFERENCE_SAMPLES = 64
BESIDE_WEIGHTS = 750  # bytes of the coordinates of reference samples, and of what `info` tells of training
COARSER = 1.03  # times wider steps, while a file is too large


def encode(
    source: Source,
    output: Writable,
    options: EncodeOptions = EncodeOptions(),
    *,
    overwrite: bool = False,
    progress: Report | None = None,
    checkpoint: Checkpoint | None = None,
) -> EncodeReport:
    """Encode a .vdb file, or grids in memory, into an .inrv file.

    source  a .vdb file: its path, its bytes, or a binary file object, which is read to its end from where it stands; an array
            for each name, as {"density": array}; grids, as `sparse_grid` makes them of arrays, each with a transform and a
            class; a `SparseVolume`; or an open `Volume` or grids of it
    output  a path, where the file appears when it is whole, or a binary file object

    A run that is broken off resumes from its `checkpoint`, as Checkpoint.beside(output), when it is called again with
    the same source and options, and ends in the same bytes; the checkpoint is deleted after success. Raises
    OutputExistsError, OutputError, VdbError, NonFiniteError, OptionError, SelectionError or FormatError; nothing is
    written then. Processes that `inrv.training.joined` has brought together train one fourier field, and rank 0 writes.
    """
    check_writable(output)
    if isinstance(output, PATH) and Path(output).exists() and not overwrite:
        raise OutputExistsError(f"{os.fspath(output)} exists already: `overwrite=True` replaces it")
    data, report = encode_bytes(source, options, progress=progress, checkpoint=checkpoint)
    if not Processes.current().ready_to_write():
        return report
    if checkpoint is None:
        write_bytes(output, data)
    else:
        checkpoint.finish(lambda: write_bytes(output, data))
    return report


@undisturbed()
def encode_array(
    array: Any,
    output: Writable,
    options: EncodeOptions = EncodeOptions(),
    *,
    name: str = "density",
    transform: Transform = Transform(),
    background: Any = 0.0,
    active: Any = None,
    overwrite: bool = False,
    progress: Report | None = None,
    checkpoint: Checkpoint | None = None,
) -> EncodeReport:
    """Encode a dense volume, (X, Y, Z) or (X, Y, Z, 3), whose voxel [0, 0, 0] is index-space (0, 0, 0).

    array       real numbers in anything that turns into a NumPy array: of NumPy, torch, CuPy, JAX, h5py, zarr, lists, ...
    background  of the voxels that are not active
    active      bool (X, Y, Z): which voxels are active. By default those that are not masked, or, of an array without a mask,
                those that differ from `background`. Masked voxels are inactive, whatever lies beneath.
    Raises OptionError for other shapes and for numbers that float32 cannot hold as the options ask, and what `encode` raises.
    """
    if isinstance(array, (Volume, VolumeGrid)):
        raise OptionError(f"a {type(array).__name__} has places and transforms of its own, as no array has: give it to encode()")
    grid = sparse_grid(array, name, transform, background, active)
    return encode(grid, output, options, overwrite=overwrite, progress=progress, checkpoint=checkpoint)


@undisturbed()
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
    given = given_as(source)
    volume, bytes_in = _read(given, options)
    volume, gone = deactivated(volume) if options.nonfinite == "inactive" else (volume, ())
    coded, kept = prepare(volume, options, f"{given.name}: " if isinstance(given, Input) else "")
    nonfinite = gone + kept
    device = choose_device(options.device)
    most = _most_bytes(options, volume, bytes_in)
    alone = Processes.current().count == 1
    with workers() if alone and device.type == "cpu" else nullcontext():
        if options.chosen_field == "fourier":
            outcome, data = _fourier(volume, coded, nonfinite, options, most, device, progress, checkpoint)
        elif alone:
            lattice = LatticeFile(volume, coded, nonfinite, options, device, lambda outcome: _file(outcome, options), progress)
            best = lattice.coded() if most is None else lattice.within(most)
            outcome, data = best.outcome, best.data
        else:
            raise OptionError(
                "a lattice is coded by one process: share out the files over the processes, or take `field='fourier'`"
            )
    return data, report_of(outcome, read_container(data), bytes_in, device)


def _fourier(
    volume: SparseVolume, coded: Sequence[PreparedGrid], nonfinite: tuple[NonFinite, ...], options: EncodeOptions,
    most: int | None, device: torch.device, progress: Report | None, checkpoint: Checkpoint | None,
) -> tuple[Outcome, bytes]:  # fmt: skip
    """What a fourier field makes of a volume, and the file, of at most `most` bytes."""
    if options.topology == "threshold":
        rules = [rule_of(item.coded) for item in coded]
        coded = [coarsened(item, ABOVE) if rule == ABOVE else item for item, rule in zip(coded, rules, strict=True)]
    bare = Outcome(volume, tuple(coded), nonfinite, tuple(None for _ in coded), None)
    left = None if most is None else most - _bytes_beside_weights(bare, options)
    fitted = fit_field(
        [item.coded for item in coded], [item.normalisation for item in coded], options, device, progress, checkpoint, left
    )
    if fitted is None:
        return bare, _file(bare, options)
    while True:
        outcome = _with_topology(bare, fitted)
        data = _file(outcome, options)
        if most is None or len(data) <= most:
            return outcome, data
        if not fitted.training.rounded:
            raise OptionError(f"training ended before the weights were rounded: the file takes {len(data):,} bytes, not {most:,}")
        fitted = fitted.coarser(COARSER)


def _with_topology(bare: Outcome, fitted: FittedField) -> Outcome:
    """The outcome, where a threshold stands for topology with that of the field's values."""

    def decoded(topology: Topology, output: int) -> Tensor:
        return decode_active(fitted.field, [topology], [[output]])[0][:, 0]

    items, misclassified = with_thresholds(bare.coded, bare.volume.grids, decoded)
    return Outcome(bare.volume, items, bare.nonfinite, misclassified, fitted)


def _most_bytes(options: EncodeOptions, volume: SparseVolume, bytes_in: int | None) -> int | None:
    if options.ratio is None:
        return options.size
    before = bytes_in or sum(4 * grid.values.numel() for grid in volume.grids)
    return int(before / options.ratio)


def _file(outcome: Outcome, options: EncodeOptions) -> bytes:
    """The bytes of the .inrv file."""
    fitted = outcome.fitted
    return _assembled(outcome, options, lambda chunks: (None, None) if fitted is None else _store_field(outcome, fitted, chunks))


def _bytes_beside_weights(bare: Outcome, options: EncodeOptions) -> int:
    """The bytes of a fourier field's file without its weights, about."""
    outputs = sum(int(item.normalisation.varying.sum()) for item in bare.coded)
    if not outputs:
        return 0
    config = asdict(FourierConfig(1, 1, 1, outputs, (0.0, 0.0, 0.0), 1.0)) | {"origin": [0.0, 0.0, 0.0]}

    def store_nothing(chunks: list[Chunk]) -> tuple[FieldEntry, None]:
        chunks.append(Chunk("FELD", b""))
        return FieldEntry("fourier", config, len(chunks) - 1), None

    return len(_assembled(bare, options, store_nothing)) + BESIDE_WEIGHTS + REFERENCE_SAMPLES * 4 * outputs


def _assembled(
    outcome: Outcome, options: EncodeOptions, store: Callable[[list[Chunk]], tuple[FieldEntry | None, int | None]]
) -> bytes:
    """The bytes of a file whose field `store` adds."""
    chunks: list[Chunk] = []
    entries = store_grids(outcome.coded, chunks, isinstance(outcome.fitted, CodedLattice))
    passthrough = store_passthrough(outcome.volume.passthrough, chunks)
    field, reference = store(chunks)
    manifest = Manifest(
        generator=f"inrv {release()}",
        metadata=store_metadata(outcome.volume.metadata),
        grids=entries,
        field=field,
        reference=reference,
        encoding=_provenance(options, outcome.fitted, outcome.misclassified),
        passthrough=passthrough,
        vdb_version=outcome.volume.vdb_version,
    )
    return container_bytes(manifest, chunks)


def _read(given: SparseVolume | Input, options: EncodeOptions) -> tuple[SparseVolume, int | None]:
    if isinstance(given, SparseVolume):
        if options.grids is None:
            return given, None
        return given.choose(options.grids), None
    from inrv.files.vdb import read_volume

    return read_volume(given, options.grids, doubles=options.doubles), given.size


def _store_field(outcome: Outcome, fitted: FittedField | CodedLattice, chunks: list[Chunk]) -> tuple[FieldEntry, int | None]:
    """The field's entry and the number of the chunk with reference samples, if it has any."""
    if isinstance(fitted, CodedLattice):
        coded = zip(fitted.codings, fitted.given, fitted.lossless, strict=True)
        channels = [store_channel(*channel, chunks) for channel in coded]
        config = {"outputs": len(channels), "networks": DEFAULT_NAME, "channels": channels}
        return FieldEntry("lattice", config, None), None
    chunks.append(Chunk("FELD", pack_tensors({name: tensor.numpy() for name, tensor in fitted.stored.tensors.items()})))
    reference = fitted.probe.coordinates[:REFERENCE_SAMPLES].cpu()
    with torch.no_grad():
        outputs = evaluate(fitted.field, reference)
    # Near a threshold a small difference makes a voxel active or not: no more of it than float32 has.
    tolerance = fitted.tolerance if all(item.threshold is None for item in outcome.coded) else None
    chunks.append(Chunk("REFS", pack_tensors({"coordinates": reference.numpy(), "outputs": outputs.numpy()})))
    return FieldEntry(fitted.field.kind, fitted.field.config(), len(chunks) - 2, tolerance), len(chunks) - 1


def _provenance(
    options: EncodeOptions, fitted: FittedField | CodedLattice | None, misclassified: Sequence[int | None]
) -> dict[str, Any]:
    """What `info` tells of the encoding; nothing that differs between two runs with the same input, seed and options."""
    usual = asdict(EncodeOptions())
    chosen = {name: value for name, value in asdict(options).items() if value != usual[name] and name != "device"}
    if math.isinf(options.dilation):
        chosen["dilation"] = "inf"
    if "grids" in chosen:
        chosen["grids"] = list(chosen["grids"])
    told: dict[str, Any] = {"options": chosen}
    if any(count is not None for count in misclassified):
        told["misclassified_voxels"] = list(misclassified)
    if fitted is None:
        return told
    if isinstance(fitted, CodedLattice):
        return told | {"psnr": [round(value, 3) if math.isfinite(value) else None for value in fitted.psnrs]}
    return told | {
        "precision": fitted.stored.precision,
        "precision_loss_db": {precision: round(loss, 3) for precision, loss in fitted.losses.items()},
        "epochs": fitted.training.epochs,
        "steps": fitted.training.steps,
        "psnr": [round(value, 3) for value in fitted.psnrs],
    }
