"""One volume on its way into a file, and the file that came of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from inrv.container import AssembledFile, Chunk, FieldEntry, Manifest, assemble
from inrv.encoding.preparation import NonFinite
from inrv.encoding.thresholds import with_thresholds
from inrv.fields.seam import EncodedField, FieldEncoder, Goal
from inrv.grids import SparseVolume
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid, store_grids, store_metadata, store_passthrough
from inrv.support.release import release


@dataclass(frozen=True, eq=False)
class EncodedFile:
    """A file and what it holds.

    volume: what was encoded
    grids: as they are stored, in the order of `volume.grids`
    misclassified: by grid, voxels that a threshold for topology takes wrongly; None where there is
        no threshold
    field: the coded values; None where no component varies
    contents: the .inrv file
    """

    volume: SparseVolume
    grids: tuple[PreparedGrid, ...]
    misclassified: tuple[int | None, ...]
    field: EncodedField | None
    contents: AssembledFile

    @property
    def psnr(self) -> float:
        """Mean over the field's outputs, dB; infinite where nothing is coded."""
        finite = (
            [] if self.field is None else [psnr for psnr in self.field.psnrs if math.isfinite(psnr)]
        )
        return statistics.fmean(finite) if finite else math.inf

    def short_of(self, psnr: float) -> set[int]:
        """The numbers of the grids that miss so many dB, though no quantiser step is finer."""
        return set() if self.field is None else self.field.short_of(psnr)


@dataclass(frozen=True, eq=False)
class EncodeJob:
    """A prepared volume, what is asked of it, and the field's encoder.

    volume: the grids as they are to come back
    grids: the same, prepared: what is stored exactly is set apart
    nonfinite: what was not finite in them
    kind: of the field
    most_bytes: that the file may take; None: it has no such limit
    """

    volume: SparseVolume
    grids: tuple[PreparedGrid, ...]
    nonfinite: tuple[NonFinite, ...]
    options: EncodeOptions
    kind: str
    encoder: FieldEncoder
    most_bytes: int | None

    def encoded(self, grids: Sequence[PreparedGrid], goal: Goal) -> EncodedFile:
        """The file of `grids`, forms of this volume's, coded so that they reach the goal."""
        return self.file_of(grids, self.encoder.encode(grids, goal))

    def file_of(self, grids: Sequence[PreparedGrid], field: EncodedField | None) -> EncodedFile:
        """Make the file of `grids` with these coded values.

        Whole-leaf grids get the thresholds that serve the values best.
        """
        if field is None:
            stored: tuple[PreparedGrid, ...] = tuple(grids)
            misclassified: tuple[int | None, ...] = (None,) * len(grids)
        else:
            stored, misclassified = with_thresholds(field.grids, self.volume.grids, field.outputs)
        contents = self._assembled(stored, field, misclassified)
        return EncodedFile(self.volume, stored, misclassified, field, contents)

    @cached_property
    def room_for_field(self) -> int | None:
        """The bytes that a limit of the file leaves to the field; None without one."""
        if self.most_bytes is None:
            return None
        return self.most_bytes - self._assembled(self.grids, None, ()).size

    def _assembled(
        self,
        grids: Sequence[PreparedGrid],
        field: EncodedField | None,
        misclassified: Sequence[int | None],
    ) -> AssembledFile:
        chunks: list[Chunk] = []
        entries = store_grids(grids, chunks)
        passthrough = store_passthrough(self.volume.passthrough, chunks)
        outputs = sum(int(grid.normalisation.varying.sum()) for grid in grids)
        config: dict[str, Any] = {}  # without a field, the rest of the file is measured
        if field is not None:
            config = field.store(chunks, all(grid.threshold is None for grid in grids))
        entry = FieldEntry(self.kind, outputs, config) if outputs else None
        manifest = Manifest(
            generator=f"inrv {release()}",
            metadata=store_metadata(self.volume.metadata),
            grids=entries,
            field=entry,
            encoding=self._provenance(field, misclassified),
            passthrough=passthrough,
            vdb_version=self.volume.vdb_version,
        )
        return assemble(manifest, chunks)

    def _provenance(
        self, field: EncodedField | None, misclassified: Sequence[int | None]
    ) -> dict[str, Any]:
        """Say how the file was made, for `info`.

        Nothing in it differs between two runs with the same input, seed and options.
        """
        usual, kept = EncodeOptions(), self.options if field is None else self.encoder.options
        chosen = {
            name: value
            for name, value in asdict(kept).items()
            if value != getattr(usual, name) and name != "device"
        }
        if math.isinf(kept.dilation):
            chosen["dilation"] = "inf"
        if "grids" in chosen:
            chosen["grids"] = list(chosen["grids"])
        result: dict[str, Any] = {"options": chosen}
        if any(count is not None for count in misclassified):
            result["misclassified_voxels"] = list(misclassified)
        if field is not None:
            result["psnr"] = [
                round(value, 3) if math.isfinite(value) else None for value in field.psnrs
            ]
            result |= field.summary()
        return result
