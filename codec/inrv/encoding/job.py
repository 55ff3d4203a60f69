"""One volume on its way into a file, and the file that came of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from inrv.container import (
    AssembledFile,
    Chunk,
    FieldEntry,
    FrameEntry,
    GridEntry,
    Manifest,
    assemble,
)
from inrv.encoding.preparation import NonFinite
from inrv.encoding.thresholds import with_thresholds
from inrv.fields.seam import EncodedField, FieldEncoder, Goal
from inrv.grids import Grid, SparseVolume
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid, described, store_grids, store_metadata, store_passthrough
from inrv.support.release import release


@dataclass(frozen=True, eq=False)
class Frame:
    """A moment on its way into a file.

    volume: its grids, as they are to come back
    number: of the frame; None for a volume that is no frame of a sequence
    time: of the frame, in the unit of its sequence; None where it is not known
    name: of the file that it comes from, for messages; '' for none
    bytes_in: size of that file; None for grids in memory
    """

    volume: SparseVolume
    number: float | int | None = None
    time: float | None = None
    name: str = ""
    bytes_in: int | None = None


@dataclass(frozen=True, eq=False)
class EncodedFile:
    """A file and what it holds.

    frames: what was encoded
    stored_as: for each grid of all frames, which one of `grids` it is
    grids: as they are stored, each different one once
    misclassified: by grid, voxels that a threshold for topology takes wrongly; None where there is
        no threshold
    field: the coded values; None where no component varies
    contents: the .inrv file
    """

    frames: tuple[Frame, ...]
    stored_as: tuple[int, ...]
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
    """The frames of a file, prepared, what is asked of them, and the field's encoder.

    frames: what is to come back
    stored_as: for each grid of all frames, which one of `grids` it is
    grids: each different one once, prepared: what is stored exactly is set apart
    nonfinite: what was not finite in them
    kind: of the field
    most_bytes: that the file may take; None: it has no such limit
    """

    frames: tuple[Frame, ...]
    stored_as: tuple[int, ...]
    grids: tuple[PreparedGrid, ...]
    nonfinite: tuple[NonFinite, ...]
    options: EncodeOptions
    kind: str
    encoder: FieldEncoder
    most_bytes: int | None

    @cached_property
    def sources(self) -> tuple[Grid, ...]:
        """The grids as they are to come back, each different one once."""
        held = grids_of(self.frames)
        return tuple(held[self.stored_as.index(number)] for number in range(len(self.grids)))

    def encoded(self, grids: Sequence[PreparedGrid], goal: Goal) -> EncodedFile:
        """The file of `grids`, forms of these frames' grids, coded so that they reach the goal."""
        return self.file_of(grids, self.encoder.encode(grids, goal))

    def file_of(self, grids: Sequence[PreparedGrid], field: EncodedField | None) -> EncodedFile:
        """Make the file of `grids` with these coded values.

        Whole-leaf grids get the thresholds that serve the values best.
        """
        if field is None:
            stored: tuple[PreparedGrid, ...] = tuple(grids)
            misclassified: tuple[int | None, ...] = (None,) * len(grids)
        else:
            stored, misclassified = with_thresholds(field.grids, self.sources, field.outputs)
        contents = self._assembled(stored, field, misclassified)
        return EncodedFile(self.frames, self.stored_as, stored, misclassified, field, contents)

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
        entries = self._entries(store_grids(grids, chunks))
        passthrough = store_passthrough(
            [grid for frame in self.frames for grid in frame.volume.passthrough], chunks
        )
        outputs = sum(int(grid.normalisation.varying.sum()) for grid in grids)
        config: dict[str, Any] = {}  # without a field, the rest of the file is measured
        if field is not None:
            exact = all(grid.threshold is None for grid in grids)
            config = field.store(chunks, exact, self._first_of(len(grids)))
        entry = FieldEntry(self.kind, outputs, config) if outputs else None
        manifest = Manifest(
            generator=f"inrv {release()}",
            frames=tuple(map(_entry_of, self.frames)),
            grids=entries,
            field=entry,
            encoding=self._provenance(field, misclassified),
            passthrough=passthrough,
        )
        return assemble(manifest, chunks)

    def _first_of(self, count: int) -> list[int]:
        """Of each of so many different grids, the first among those of all frames."""
        return [self.stored_as.index(number) for number in range(count)]

    def _entries(self, stored: Sequence[GridEntry]) -> tuple[GridEntry, ...]:
        """Give each grid of the frames what is stored of it, under its own name and transform."""
        first = self._first_of(len(stored))
        return tuple(
            replace(
                stored[number],
                **described(grid),
                topology_of=None if (other := stored[number].topology_of) is None else first[other],
            )
            for number, grid in zip(self.stored_as, grids_of(self.frames), strict=True)
        )

    def _provenance(
        self, field: EncodedField | None, misclassified: Sequence[int | None]
    ) -> dict[str, Any]:
        """Say how the file was made, for `info`.

        Nothing in it differs between two runs with the same input, seed and options.
        """
        kept = self.options if field is None else self.encoder.options
        result: dict[str, Any] = {"options": chosen_options(kept)}
        if any(count is not None for count in misclassified):
            result["misclassified_voxels"] = [misclassified[number] for number in self.stored_as]
        if field is not None:
            result["psnr"] = [
                round(value, 3) if math.isfinite(value) else None for value in field.psnrs
            ]
            result |= field.summary()
        return result


def grids_of(frames: Sequence[Frame]) -> list[Grid]:
    """Return the grids of all frames, in their order."""
    return [grid for frame in frames for grid in frame.volume.grids]


def _entry_of(frame: Frame) -> FrameEntry:
    volume = frame.volume
    return FrameEntry(
        number=frame.number,
        time=frame.time,
        grids=len(volume.grids),
        passthrough=len(volume.passthrough),
        metadata=store_metadata(volume.metadata),
        vdb_version=volume.vdb_version,
    )


def chosen_options(options: EncodeOptions) -> dict[str, Any]:
    """Return the options that differ from the default, as a manifest tells of them."""
    usual = EncodeOptions()
    chosen = {
        name: value
        for name, value in asdict(options).items()
        if value != getattr(usual, name) and name != "device"
    }
    if math.isinf(options.dilation):
        chosen["dilation"] = "inf"
    if "grids" in chosen:
        chosen["grids"] = list(chosen["grids"])
    return chosen
