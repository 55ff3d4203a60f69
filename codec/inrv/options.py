"""What a user may choose when encoding, and what follows from the data where he does not."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.fields import FourierConfig, network_weights
from inrv.grids import Box
from inrv.lattice import EFFORTS
from inrv.training import Rounding, TrainingPlan

CHOICES = {
    "field": (None, "lattice", "fourier"),
    "preset": ("default", "paper"),
    "effort": tuple(EFFORTS),
    "topology": (None, "exact", "threshold"),
    "nonfinite": ("refuse", "keep"),
    "doubles": ("carry", "float"),
}
TARGETS = ("psnr", "max_error", "size", "ratio")
LATTICE_ONLY = ("max_error", "effort")
FOURIER_ONLY = ("preset", "selection", "dilation", "values_per_weight", "epochs", "max_time")
DEFAULT_PSNR = 45.0
VALUES_PER_WEIGHT = 14.0
CPU_BUDGET = 1e13  # floating-point operations of training: about a minute on two cores with AMX
MOST_EPOCHS = 100
NEURONS = (*range(16, 64, 8), *range(64, 4097, 16))
SHAPES = tuple((neurons, max(4, neurons // 64), neurons) for neurons in NEURONS)  # k, m, n of the default networks
BITS = 6.0  # a weight, where the size of a file is given
LARGEST_BATCH = (8192, 32768)  # voxels, on CPUs and others: more steps teach more, until they cost more
FEWEST_STEPS = 2000


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode.

    field        'lattice': a code for every voxel, any quality, a bound on every error; 'fourier': one network for the
                 volume, as in the paper; None: 'fourier' where an option that only it has is given, else 'lattice'

    At most one of these says how good or how small; with none of them a lattice has DEFAULT_PSNR:
    psnr         dB over each grid's active leaf voxels, peak = its range, a component at a time; fourier: training ends there
    max_error    of every voxel: an absolute number, or as '1%' of each component's range
    size         bytes of the whole file, at most
    ratio        bytes of the .vdb file (in memory: of the active values as float32) for each byte of the .inrv file, at least

    effort       of a lattice: 'instant' takes the networks that come with the codec, 'default' and 'thorough' fit them

    These are of the fourier field:
    preset       'default': network and schedule follow from the data; 'paper': Table 1 of Zurkova et al. 2025
    selection    voxels trained on: 'topology', active voxels as stored; 'avm', normalised value > 0, eq. (2)
    dilation     voxels added around the selection, eq. (3); math.inf trains on the whole box (BBX)
    values_per_weight  of the active voxels (preset 'default'); None: VALUES_PER_WEIGHT
    epochs       passes over the selected voxels; None: 100, on a CPU no more than fit CPU_BUDGET but at least one, and
                 for a small volume as many as make FEWEST_STEPS
    max_time     seconds of training after which it ends; the result then depends on the machine's speed

    seed         of all that is drawn at random
    device       torch device to train on; None: the best there is
    grids        names or positions of the grids to encode; None: all
    exact_below  grids of at most so many active values are stored exactly: a network would cost more than they do
    topology     'exact': every active voxel as it was; 'threshold': where that is smaller, only the leaves of a grid are
                 stored, and its decoded values tell which voxels are active; None: exact, but with `size` or `ratio` as
                 serves the values
    nonfinite    NaN and infinity in voxels and tiles: 'refuse' them, or 'keep' them, bit for bit, in their places
    doubles      grids of double and vec3d: 'carry' them as they are, or code them rounded to 'float'
    """

    field: str | None = None
    psnr: float | None = None
    max_error: float | str | None = None
    size: int | None = None
    ratio: float | None = None
    effort: str = "default"
    preset: str = "default"
    selection: str = "topology"
    dilation: float = 0
    values_per_weight: float | None = None
    epochs: float | None = None
    max_time: float | None = None
    seed: int = 0
    device: str | None = None
    grids: tuple[str | int, ...] | None = None
    exact_below: int = 4096
    topology: str | None = None
    nonfinite: str = "refuse"
    doubles: str = "carry"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} {getattr(self, name)!r} is not one of {', '.join(filter(None, choices))}")
        if self.exact_below < 0:
            raise OptionError(f"exact-below {self.exact_below} must be a whole number of values >= 0")
        for name in ("psnr", "size", "ratio", "values_per_weight", "epochs", "max_time"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise OptionError(f"{_shown(name)} {value} must be a positive number")
        self.error_bound  # noqa: B018 -- checks it
        self._check_together()

    def _check_together(self) -> None:
        asked = [name for name in TARGETS if getattr(self, name) is not None]
        if len(asked) > 1:
            raise OptionError(f"{' and '.join(map(_shown, asked))} say each how good or small the file is to be: choose one")
        other = LATTICE_ONLY if self.chosen_field == "fourier" else FOURIER_ONLY
        wrong = [name for name in other if self._given(name)]
        if wrong:
            raise OptionError(f"{_shown(wrong[0])} is not for the field {self.chosen_field!r}")
        if self.max_error is not None and self.topology == "threshold":
            raise OptionError("max-error is a promise for every voxel: it needs topology 'exact'")

    def _given(self, name: str) -> bool:
        default = next(entry.default for entry in fields(self) if entry.name == name)
        return bool(getattr(self, name) != default)

    @property
    def chosen_field(self) -> str:
        """The field: 'lattice' or 'fourier'."""
        if self.field is not None:
            return self.field
        return "fourier" if any(self._given(name) for name in FOURIER_ONLY) else "lattice"

    @property
    def error_bound(self) -> tuple[float, bool] | None:
        """`max_error` as a number, and whether it is a share of each component's range. Raises OptionError."""
        if self.max_error is None:
            return None
        text = str(self.max_error).strip()
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            number = math.nan
        if not (number > 0 and math.isfinite(number)):
            raise OptionError(f"max-error {self.max_error!r} must be a positive number, or as '1%' of the range of values")
        return (number / 100, True) if text.endswith("%") else (number, False)


def _shown(name: str) -> str:
    return name.replace("_", "-")


def network_for(
    options: EncodeOptions, values: int, outputs: int, box: Box, most_bytes: int | None
) -> tuple[FourierConfig, Rounding | None]:
    """The network for `values` active values in `outputs` components within `box`, and how its weights are rounded.

    With `most_bytes` it is one of so many bytes. Raises OptionError where there is none so small.
    """
    x, y, z = map(float, box.lower)
    scale = 1.0 / max(box.shape)
    if options.preset == "paper":
        return FourierConfig(1280, 8, 512, outputs, (x, y, z), scale, "relu"), None
    if most_bytes is None:
        shape, rounding = proportions(values / (options.values_per_weight or VALUES_PER_WEIGHT), outputs), Rounding()
    else:
        shape, rounding = within_bytes(most_bytes, outputs)
    return FourierConfig(*shape, outputs, (x, y, z), scale, "silu"), rounding


def proportions(weights: float, outputs: int) -> tuple[int, int, int]:
    """k, m, n of the network with the most neurons within `weights`: k = n, and at least 4 layers and 16 neurons."""
    found = [shape for shape in SHAPES if network_weights(*shape, outputs) <= weights]
    return found[-1] if found else SHAPES[0]


def within_bytes(most: int, outputs: int) -> tuple[tuple[int, int, int], Rounding]:
    """The largest network whose weights have BITS each when all of it takes `most` bytes, and the rounding that does it."""
    for shape in reversed(SHAPES):
        if _bytes_of(shape, outputs) <= most:
            return shape, Rounding(bytes=most)
    smallest = _bytes_of(SHAPES[0], outputs)
    raise OptionError(f"{max(most, 0):,} bytes are left for a network, and the smallest takes about {smallest:,}: ask for more")


def _bytes_of(shape: tuple[int, int, int], outputs: int) -> int:
    """About what a network takes with BITS a weight, with B, multipliers, biases and the last layer as they are."""
    frequencies, layers, neurons = shape
    whole = 10 * frequencies + 4 * (layers * neurons + (neurons + 1) * outputs)
    return whole + math.ceil(BITS / 8 * (2 * frequencies * neurons + (layers - 1) * neurons**2)) + 300


def multipliers_for(options: EncodeOptions, config: FourierConfig) -> Tensor:
    """Initial Gauss multipliers (k,): Table 1's 2.5, or bands from 2 cycles a box edge up to a quarter of the voxels'."""
    if options.preset == "paper":
        return torch.full((config.frequencies,), 2.5)
    highest = min(30.0, max(4.0, 0.25 / config.scale))
    return torch.logspace(math.log10(2.0), math.log10(highest), config.frequencies)


def plan_for(
    options: EncodeOptions, config: FourierConfig, rounding: Rounding | None, voxels: int, device: torch.device
) -> TrainingPlan:
    """How long and how fast to train. The paper's "batch size 24" is read as 24 x 1024 voxels."""
    if options.preset == "paper":
        epochs = options.epochs or float(MOST_EPOCHS)
        return TrainingPlan(epochs, 24 * 1024, 3e-4, options.max_time, options.psnr, options.seed)
    batch = min(LARGEST_BATCH[device.type != "cpu"], max(256, voxels // 64))
    epochs = options.epochs or default_epochs(config, voxels, batch, device)
    larger = (batch / 8192) ** 0.25  # batches bear higher rates
    return TrainingPlan(
        epochs,
        batch,
        5e-3 * larger,
        options.max_time,
        options.psnr,
        options.seed,
        optimiser="muon",
        muon_rate=0.05 * larger,
        rounding=rounding,
    )


def default_epochs(config: FourierConfig, voxels: int, batch: int, device: torch.device) -> float:
    """The paper's 100; fewer where a CPU would need more than CPU_BUDGET, more where that is under FEWEST_STEPS.

    Forward and backward together are 6 floating-point operations a weight and voxel.
    """
    weights = network_weights(config.frequencies, config.layers, config.neurons, config.outputs)
    affordable = MOST_EPOCHS if device.type != "cpu" else max(1, math.floor(CPU_BUDGET / (6 * weights * voxels)))
    if affordable < MOST_EPOCHS:
        return affordable
    return max(MOST_EPOCHS, math.ceil(FEWEST_STEPS * batch / voxels))
