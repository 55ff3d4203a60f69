"""All that encoding and decoding know of a field, and the table of the fields there are.

A field codes the varying components of a volume's grids as numbered outputs. It is one folder that
holds a `FieldCodec`, and one line in FIELDS. docs/map.md tells how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inrv.container import Chunk, Container, FieldEntry, Part
from inrv.container.json_rules import Value
from inrv.errors import FormatError
from inrv.grids import Topology, denormalise
from inrv.storage import PreparedGrid, StoredGrids

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as TorchDevice

    from inrv.options import EncodeOptions

Floats = NDArray[Any]  # float32 or float64
PART_VALUES = 1 << 22  # brought from outputs to values at a time: float64 is wide


@dataclass(frozen=True)
class Progress:
    """Where encoding stands.

    share: of the work that is done, 0 to 1
    seconds: since it began
    seconds_left: about; infinity where that is not known yet
    """

    share: float
    seconds: float
    seconds_left: float

    @property
    def figures(self) -> str:
        """What a field tells of itself meanwhile, for people, as its loss; '' for nothing."""
        return ""


ProgressCallback = Callable[[Progress], None]


class Checkpoint(Protocol):
    """A file from which an encoding goes on that was broken off.

    Each field that resumes has its own.
    """

    def finish(self, write: Callable[[], object]) -> None:
        """Write what was encoded, and delete the checkpoint after that."""


@dataclass(frozen=True)
class Goal:
    """What is asked of the values, where `PreparedGrid.bounds` ask for no bound.

    psnr: dB over each grid's active leaf voxels, peak = its range; None: as the field thinks best
    most_bytes: that the field takes in the file, about, for fields that can aim at a size
    steps: quantiser steps to begin a search with, in values, by grid number and component
    """

    psnr: float | None = None
    most_bytes: int | None = None
    steps: dict[tuple[int, int], float] | None = None


@dataclass(frozen=True)
class Estimate:
    """What the values of a grid would take.

    bits: about
    steps: quantiser steps that reach the quality, in values, by component
    """

    bits: float
    steps: dict[int, float]


class EncodedField(Protocol):
    """The grids of a volume, coded by a field."""

    @property
    def grids(self) -> tuple[PreparedGrid, ...]:
        """The grids as they are stored, with the outliers that the field leaves."""

    @property
    def psnrs(self) -> tuple[float, ...]:
        """DB by output, over the active leaf voxels of its grid, peak = the range."""

    @property
    def errors(self) -> tuple[float | None, ...]:
        """The largest error of the active leaf voxels of each grid, None if not measured."""

    @property
    def drifts(self) -> tuple[float | None, ...]:
        """What the sum of each grid changes by, over its sum of magnitudes; None likewise."""

    @property
    def measured_voxels(self) -> int:
        """How many voxels these figures were measured on."""

    @property
    def seconds(self) -> float:
        """The seconds that encoding took."""

    @property
    def device(self) -> str:
        """Where it was encoded, for people."""

    def outputs(self, number: int, topology: Topology) -> Floats:
        """Give the normalised output `number` (N,) on the voxels that its grid is coded with."""

    def short_of(self, psnr: float) -> set[int]:
        """The numbers of the grids that miss so many dB, though no quantiser step is finer."""

    def rescaled(self, octaves: float) -> EncodedField:
        """Code the same volume in quantiser steps finer by so many octaves.

        They relate to the steps that were found first.

        Raises OptionError where the field has none.
        """

    def store(
        self, chunks: list[Chunk], exact_topology: bool, numbers: Sequence[int]
    ) -> dict[str, Any]:
        """Append the field's chunks and return its config.

        exact_topology: False where decoded values tell which voxels are active
        numbers: of the field's grids among those of the manifest, where a grid may stand repeatedly
        """

    def summary(self) -> dict[str, Any]:
        """Give what the report and the manifest's `encoding` tell of it.

        These are JSON values, the same for equal runs.
        """

    def description(self) -> list[tuple[str, str]]:
        """The same for people: labels and texts."""


class FieldEncoder(Protocol):
    """Codes the grids of one volume."""

    @property
    def options(self) -> EncodeOptions:
        """The options that it keeps, where this machine cannot keep all that were asked for."""

    def estimate(
        self,
        grid: PreparedGrid,
        goal: Goal,
        steps: dict[int, float],
        like: PreparedGrid | None = None,
    ) -> Estimate | None:
        """Estimate what the values of a grid would take.

        steps: quantiser steps by component to begin the search with
        like: another form of the grid, with which it is to be compared: the same parts of both
            are tried

        Returns None where that is known afterwards only.
        """

    def coding_order(self, frames: Sequence[Sequence[PreparedGrid]]) -> list[int]:
        """Which frames are coded first, so that others can be predicted from them: their places.

        frames: the grids of each, in the order of time
        """

    def encode(self, grids: Sequence[PreparedGrid], goal: Goal) -> EncodedField | None:
        """Code the grids; None where no component varies.

        Raises OptionError where the goal cannot be reached.
        """


class Outputs(Protocol):
    """The opened field of a file: values of its outputs at voxels."""

    @property
    def weights(self) -> int:
        """How many products one voxel takes, about."""

    @property
    def device(self) -> str:
        """Where outputs are computed."""

    @property
    def module(self) -> Any:
        """The torch.nn.Module of a field that is continuous, with gradients; else None."""

    def region_values(
        self, topology: Topology, leaves: slice, columns: Sequence[int], level: int = 0
    ) -> NDArray[np.float32]:
        """Values float32 (n, len(columns)) of the active leaf voxels of a region of 128^3.

        They lie within the range of their component. A field may give other values at a level than
        it gives the same voxels at level 0.

        topology: of a grid
        leaves: all its leaves in the region
        level: only voxels at multiples of 2^level are asked for
        """

    def unread(
        self, topology: Topology, leaves: slice, columns: Sequence[int], level: int = 0
    ) -> list[Part]:
        """What `region_values` will read of the file's BITS chunks. Raises FormatError."""

    def decode_ahead(
        self, topology: Topology, runs: Sequence[slice], columns: Sequence[int], level: int = 0
    ) -> None:
        """Decode what `region_values` will be asked for, if that pays off. Raises FormatError.

        runs: the leaves of each region
        """

    def values(
        self,
        topologies: Sequence[Callable[[], Topology]],
        columns: Sequence[Sequence[int]],
        clamp: bool = True,
    ) -> list[NDArray[np.float32]]:
        """Values float32 (voxels, len(columns[i])) of the active leaf voxels of several grids.

        topologies: give each grid's topology, whose masks may be decoded then: any thread may ask
        clamp: whether they are kept within the range of their component
        """


class OutputRange(NamedTuple):
    """What 0 and 1 stand for in an output that is normalised.

    minimum: value that 0 stands for
    maximum: value that 1 stands for
    grid: name of the grid that the output is of
    """

    minimum: float
    maximum: float
    grid: str


class NormalisedOutputs:
    """Outputs of a field that are normalised, as values; a field inherits from it.

    ranges: of each output
    """

    ranges: Sequence[OutputRange]

    def at(self, coordinates: NDArray[Any], columns: Sequence[int]) -> Floats:
        """Give normalised outputs (n, len(columns)) at active leaf voxels int32 (n, 3)."""
        raise NotImplementedError

    def active(
        self, topologies: Sequence[Topology], columns: Sequence[Sequence[int]]
    ) -> list[Floats]:
        """Normalised outputs (voxels, len(columns[i])) on the active leaf voxels of grids."""
        raise NotImplementedError

    def values_at(self, coordinates: NDArray[Any], columns: Sequence[int]) -> NDArray[np.float32]:
        """See `ContinuousOutputs`. Raises FormatError."""
        return self._denormalised(self.at(coordinates, columns), columns, clamp=True)

    def region_values(
        self, topology: Topology, leaves: slice, columns: Sequence[int], level: int = 0
    ) -> NDArray[np.float32]:
        """See `Outputs`. Raises FormatError."""
        coordinates = topology.coordinates(leaves.start, leaves.stop)
        multiples = (coordinates & ((1 << level) - 1) == 0).all(axis=1)
        return self.values_at(coordinates[multiples], columns)

    def unread(
        self, topology: Topology, leaves: slice, columns: Sequence[int], level: int = 0
    ) -> list[Part]:
        """Nothing: a network is read as a whole."""
        return []

    def decode_ahead(
        self, topology: Topology, runs: Sequence[slice], columns: Sequence[int], level: int = 0
    ) -> None:
        """Nothing: voxels do not wait for each other."""

    def values(
        self,
        topologies: Sequence[Callable[[], Topology]],
        columns: Sequence[Sequence[int]],
        clamp: bool = True,
    ) -> list[NDArray[np.float32]]:
        """See `Outputs`. Raises FormatError."""
        pairs = zip(self.active([own() for own in topologies], columns), columns, strict=True)
        return [self._denormalised(outputs, chosen, clamp) for outputs, chosen in pairs]

    def _denormalised(
        self, outputs: Floats, columns: Sequence[int], clamp: bool
    ) -> NDArray[np.float32]:
        values = np.empty(outputs.shape, dtype=np.float32)
        for first in range(0, len(outputs), PART_VALUES):
            part = slice(first, first + PART_VALUES)
            for place, column in enumerate(columns):
                own, (minimum, maximum, grid) = outputs[part, place], self.ranges[column]
                if clamp and not np.isfinite(own).all():
                    raise FormatError("F3", f"grid {grid!r}: an output of the field is not finite")
                values[part, place] = denormalise(own, minimum, maximum, clamp)
        return values


def output_ranges(container: Container) -> list[OutputRange]:
    """The range of each output of a file's field."""
    ranges = {
        part.output: OutputRange(part.minimum, part.maximum, grid.name)
        for grid in container.manifest.grids
        for part in grid.components
    }
    assert container.manifest.field is not None
    unused = OutputRange(0.0, 1.0, "")
    return [ranges.get(number, unused) for number in range(container.manifest.field.outputs)]


@runtime_checkable
class RegionTensors(Protocol):
    """The opened field of a file whose regions are decoded on a GPU, and can stay there.

    torch_device: which one
    """

    torch_device: TorchDevice

    def region_tensors(
        self, topology: Topology, runs: Sequence[slice], columns: Sequence[int], level: int = 0
    ) -> list[Tensor]:
        """Values float32 (n, len(columns)) of the active leaf voxels of regions, on the device.

        topology: of a grid
        runs: the leaves of each region
        level: as `Outputs.region_values` takes it

        Raises FormatError.
        """


@runtime_checkable
class FieldOverTime(Protocol):
    """The opened field of a group of frames that has values at times between them too."""

    def share_time(self, columns: Sequence[int], later: Sequence[int]) -> bool:
        """Whether outputs `later` are those of `columns`, in another frame."""

    def between(
        self,
        coordinates: NDArray[Any],
        columns: Sequence[int],
        later: Sequence[int],
        share: float,
    ) -> NDArray[np.float32]:
        """Values float32 (n, len(columns)) at coordinates (n, 3), between two frames.

        share: of the way in time from that of `columns` to that of `later`, 0 to 1
        """


class ContinuousOutputs(Outputs, Protocol):
    """The opened field of a file whose `module` is a network."""

    def at(self, coordinates: NDArray[Any], columns: Sequence[int]) -> Floats:
        """Give normalised outputs (n, len(columns)) at points float (n, 3)."""

    def values_at(self, coordinates: NDArray[Any], columns: Sequence[int]) -> NDArray[np.float32]:
        """Give values float32 (n, len(columns)) of active leaf voxels int32 (n, 3).

        They lie within the range of their component.
        """

    def differentiable(self, points: Any, columns: Sequence[int]) -> Any:
        """Normalised outputs (n, len(columns)) at points (n, 3), tensors with gradients."""


@dataclass(frozen=True)
class Samples:
    """How well stored samples are met.

    count: of samples, 0 where a file has none
    largest_difference: of any output, as a share of 1 + its size
    tolerance: that the file allows
    """

    count: int = 0
    largest_difference: float = 0.0
    tolerance: float = 1e-4


class FieldCodec(Protocol):
    """A kind of field.

    kind: its name in manifests and options
    finest_step: the finest quantiser step, as a share of the range; 0 where the field has no steps
    estimates: whether its encoder can tell what values would take before they are coded
    resumes: whether an encoding that is broken off can go on from a checkpoint
    """

    kind: str
    finest_step: float
    estimates: bool
    resumes: bool

    def can_bound(self, bound: float, minimum: float, maximum: float) -> bool:
        """Whether values between these can be coded so that none is off by more than `bound`."""

    def encoder(
        self,
        options: EncodeOptions,
        progress: ProgressCallback | None,
        checkpoint: Checkpoint | None,
    ) -> FieldEncoder:
        """What codes a volume. Raises OptionError for a device that is not there."""

    def check(self, config: Value, container: Container) -> None:
        """Raise FormatError where a manifest's config breaks a rule of this field.

        No torch is imported for it.
        """

    def open(self, container: Container, grids: StoredGrids, device: str | None) -> Outputs:
        """The field of a file. Raises FormatError, OptionError for a device that is not there."""

    def verify(self, container: Container) -> Samples:
        """Compare stored samples, without torch, on the CPU. Raises FormatError."""

    def describe(self, container: Container) -> dict[str, Any]:
        """What `info` tells beside the config: `text` for people, `weights` of the network."""


class NoOutputs:
    """The outputs of a file whose grids have no component that varies."""

    weights = 0
    device = "cpu"
    module = None

    def region_values(
        self, topology: Topology, leaves: slice, columns: Sequence[int], level: int = 0
    ) -> NDArray[np.float32]:
        """No output for every voxel."""
        return np.empty((topology.voxels_in(leaves, level), 0), dtype=np.float32)

    def unread(
        self, topology: Topology, leaves: slice, columns: Sequence[int], level: int = 0
    ) -> list[Part]:
        """Nothing."""
        return []

    def decode_ahead(
        self, topology: Topology, runs: Sequence[slice], columns: Sequence[int], level: int = 0
    ) -> None:
        """Nothing."""

    def values(
        self,
        topologies: Sequence[Callable[[], Topology]],
        columns: Sequence[Sequence[int]],
        clamp: bool = True,
    ) -> list[NDArray[np.float32]]:
        """No output for every voxel."""
        return [np.empty((own().leaf_voxel_count, 0), dtype=np.float32) for own in topologies]


# By kind, the module that holds the field's codec as CODEC; imported when it is first needed.
FIELDS = {"lattice": "inrv.fields.lattice.field", "fourier": "inrv.fields.fourier.field"}


def field_codec(kind: str) -> FieldCodec:
    """The codec of a kind of field. Raises FormatError for one that this inrv does not know."""
    if kind not in FIELDS:
        raise FormatError(
            "F1", f"field kind {kind!r} is not known to this inrv (known: {', '.join(FIELDS)})"
        )
    codec: FieldCodec = import_module(FIELDS[kind]).CODEC
    return codec


def check_field(entry: FieldEntry, container: Container) -> FieldCodec:
    """The codec of a file's field, its config checked. Raises FormatError."""
    codec = field_codec(entry.kind)
    codec.check(Value("manifest.field.config", entry.config), container)
    return codec
