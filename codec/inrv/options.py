"""What a user may choose when encoding: the options, their choices and their defaults.

The choices of an option stand in CHOICES, and the defaults are those of `EncodeOptions`
(`EncodeOptions.effort == "default"`): the command line reads both from here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from inrv.errors import OptionError

EFFORTS = ("instant", "default", "thorough")
# What an option may be, where it is one of a few words; None: it follows from the other options.
CHOICES: dict[str, tuple[str | None, ...]] = {
    "field": (None, "lattice", "fourier"),
    "effort": EFFORTS,
    "preset": ("default", "paper"),
    "selection": ("topology", "avm"),
    "topology": (None, "exact", "threshold"),
    "frequent_values": ("exact", "approximate"),
    "nonfinite": ("refuse", "keep", "inactive"),
    "doubles": ("passthrough", "float"),
}
WHOLE = ("size", "seed", "exact_below")
POSITIVE = ("psnr", "size", "ratio", "values_per_weight", "epochs", "max_time")
TARGETS = ("psnr", "max_error", "size", "ratio", "lossless")  # at most one of these is chosen
LATTICE_ONLY = ("max_error", "effort", "lossless")
FOURIER_ONLY = ("preset", "selection", "dilation", "values_per_weight", "epochs", "max_time")
FOREIGN = {"lattice": FOURIER_ONLY, "fourier": LATTICE_ONLY}  # options that a field does not have
DEFAULT_PSNR = 45.0  # dB, of a lattice where nothing is asked
# How many frames of a sequence a field codes together; see docs/lab-notes.md#sequences
GROUPS = {"lattice": 8, "fourier": 64}
HIGHEST_WHOLE = 2**63 - 1  # torch takes no larger seed
HIGHEST_PSNR = 1000.0  # dB; float64 holds the largest errors and the smallest ones below it
DEFAULT_VALUES_PER_WEIGHT = 14.0  # the compression of Zurkova et al. 2025, Table 1


@dataclass(frozen=True)
class EncodeOptions:
    """Says how to encode a volume.

    At most one of `psnr`, `max_error`, `size`, `ratio` and `lossless` says how good or how small
    the file is to be. Where none does, a lattice reaches DEFAULT_PSNR.

    field: 'lattice' codes every voxel, at any quality; 'fourier' trains one network for the volume,
        as the paper does; None: 'fourier' where an option of that field alone is chosen
    psnr: dB over the active leaf voxels of each grid and component, where the peak is the range;
        training of a fourier field ends when it is reached
    max_error: largest error of any voxel: a number, or a share of each component's range such as
        '1%'; 0 is lossless
    size: bytes that the whole file has at most
    ratio: how many times smaller than the .vdb file the .inrv file is at least; a volume in memory
        counts as its active values in float32
    lossless: whether every value comes back bit for bit
    effort: how long a lattice fits its networks to the volume: 'instant' fits what is linear in
        them, 'default' tries more of the networks that come with the codec and fits all weights of
        large channels, 'thorough' does so longer
    preset: network and training of a fourier field: 'default' lets them follow from the volume,
        'paper' takes Table 1 of Zurkova et al. 2025
    selection: voxels that a fourier field is trained on: 'topology' takes the active voxels, 'avm'
        those whose normalised value is > 0, eq. (2)
    dilation: voxels by which the selection grows, eq. (3); math.inf takes the whole box (BBX)
    values_per_weight: active values for each weight of a fourier field's network; None:
        DEFAULT_VALUES_PER_WEIGHT, or what `size` or `ratio` leave room for
    epochs: passes of training over the selected voxels; None: 100, fewer where a CPU would need
        more than about a minute, more where a small volume would get under 2000 steps
    max_time: seconds after which training ends; the result then depends on the machine's speed
    seed: number from which everything random follows
    device: name of the torch device that computes; None: the best there is
    grids: names or positions of the grids to encode; None: all
    exact_below: a grid of at most so many active values is stored exactly, without a network
    topology: 'exact' stores which voxels are active; 'threshold' stores only which leaves are,
        where that is smaller, and lets the decoded values say which voxels are; None: 'exact', but
        a lattice with `size` or `ratio` takes what serves the values best
    frequent_values: a value that many active voxels share, such as 0 in empty air, comes back
        'exact', or 'approximate' like all others, which saves a few bytes
    nonfinite: NaN and infinity are an error ('refuse'), come back bit for bit ('keep'), or make
        their voxels inactive, with the background as value ('inactive')
    doubles: grids of double and vec3d are stored as they are ('passthrough'), or coded after
        rounding to float32 ('float')
    axes: of an array whose file does not tell them, a letter for each: x, y and z, t of moments, c
        of channels, v of the components of vectors, as 'zyx'; None: the order that the type of the
        file has

    Raises OptionError where an option, or two of them together, make no sense.
    """

    field: str | None = None
    psnr: float | None = None
    max_error: float | str | None = None
    size: int | None = None
    ratio: float | None = None
    lossless: bool = False
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
    frequent_values: str = "exact"
    nonfinite: str = "refuse"
    doubles: str = "passthrough"
    axes: str | None = None

    def __post_init__(self) -> None:
        self._make_plain()
        for name, choices in CHOICES.items():
            chosen = getattr(self, name)
            if not isinstance(chosen, (str, type(None))) or chosen not in choices:
                raise OptionError(
                    f"{self._named(name)} is not one of {', '.join(filter(None, choices))}"
                )
        if not isinstance(self.lossless, bool):
            raise OptionError(f"{self._named('lossless')} must be True or False")
        for name in ("exact_below", "seed", "dilation"):
            if getattr(self, name) < 0:
                raise OptionError(f"{self._named(name)} must be a whole number >= 0")
        for name in POSITIVE:
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value <= sys.float_info.max):
                raise OptionError(f"{self._named(name)} must be a positive number below 1.8e308")
        if self.psnr is not None and self.psnr > HIGHEST_PSNR:
            raise OptionError(
                f"{self._named('psnr')} is more than {HIGHEST_PSNR:g} dB: take `lossless=True`"
            )
        if self.max_error is not None:
            self._parse_max_error()
        self._check_together()

    def _make_plain(self) -> None:
        """Replace NumPy's scalars by Python's, whole floats by integers, and lists by tuples."""
        for entry in fields(self):
            object.__setattr__(self, entry.name, _plain(getattr(self, entry.name)))
        for name in WHOLE:
            object.__setattr__(self, name, self._whole(name))
        if self.dilation != math.inf:
            object.__setattr__(self, "dilation", self._whole("dilation"))
        if self.grids is not None:
            given: Any = self.grids
            several = isinstance(given, Iterable) and not isinstance(given, str)
            keys = tuple(map(_plain, given if several else [given]))
            if not keys:
                raise OptionError("`grids` is empty: name a grid, or leave it out for all grids")
            if not all(isinstance(key, (str, int)) for key in keys):
                raise OptionError(f"{self._named('grids')} must be names or positions of grids")
            object.__setattr__(self, "grids", keys)

    def _whole(self, name: str) -> int | None:
        """Return an option that must be a whole number as an integer. Raises OptionError."""
        value = getattr(self, name)
        if value is None and getattr(EncodeOptions, name) is None:
            return None
        if not isinstance(value, (int, float)) or not abs(value) < math.inf or value != int(value):
            raise OptionError(f"{self._named(name)} must be a whole number")
        if value > HIGHEST_WHOLE:
            raise OptionError(f"{self._named(name)} must be at most {HIGHEST_WHOLE}")
        return int(value)

    def _check_together(self) -> None:
        """Raise OptionError where two options contradict each other, or the field has no such."""
        asked = [name for name in TARGETS if self._chosen(name)]
        if len(asked) > 1:
            raise OptionError(
                f"{' and '.join(map(self._named, asked))} "
                "say each how good or small the file is to be: choose one"
            )
        foreign = FOREIGN.get(self.chosen_field, ())
        wrong = [name for name in foreign if self._chosen(name)]
        if wrong:
            raise OptionError(f"{self._named(wrong[0])} is not for the field {self.chosen_field!r}")
        network = [name for name in ("preset", "values_per_weight") if self._chosen(name)]
        sized = [name for name in ("size", "ratio") if getattr(self, name) is not None]
        if network and sized:
            raise OptionError(
                f"{self._named(sized[0])} and {self._named(network[0])} "
                "say each how large the network is to be: choose one"
            )
        promised = [name for name in ("max_error", "lossless") if self._chosen(name)]
        if promised and self.topology == "threshold":
            raise OptionError(
                f"{self._named(promised[0])} is a promise for every voxel: "
                "it needs `topology='exact'`"
            )

    def _named(self, name: str) -> str:
        """Return an option as messages name it."""
        return f"`{name}={getattr(self, name)!r}`"

    def _chosen(self, name: str) -> bool:
        """Return whether an option differs from its default."""
        default = next(entry.default for entry in fields(self) if entry.name == name)
        return bool(getattr(self, name) != default)

    @property
    def chosen_field(self) -> str:
        """The field: 'lattice' or 'fourier'."""
        if self.field is not None:
            return self.field
        return "fourier" if any(self._chosen(name) for name in FOURIER_ONLY) else "lattice"

    @property
    def frames_together(self) -> int:
        """How many frames of a sequence a group has at most, where nothing else is asked."""
        return GROUPS[self.chosen_field]

    @property
    def all_lossless(self) -> bool:
        """Whether every value of every grid must come back bit for bit."""
        return self.lossless or (self.max_error is not None and self._parse_max_error()[0] == 0)

    @property
    def sets_frequent_values_apart(self) -> bool:
        """Whether values that many voxels share are taken out of what the field codes.

        They are not where the field is to know more than the active voxels: it then learns them.
        """
        everywhere = self.selection != "topology" or self.dilation > 0 or self.preset == "paper"
        return self.frequent_values == "exact" and not everywhere

    @property
    def error_bound(self) -> tuple[float, bool] | None:
        """`max_error` as a number, and whether it is a share of each component's range.

        None where no bound above 0 is asked.
        """
        if self.max_error is None:
            return None
        bound, relative = self._parse_max_error()
        return None if bound == 0 else (bound, relative)

    def error_bounds(self, spans: Sequence[float]) -> list[float]:
        """Return the largest error that each component may have.

        spans: range of the values of each component

        The list is empty where no bound is asked.
        """
        if self.error_bound is None:
            return []
        bound, relative = self.error_bound
        return [bound * span if relative else bound for span in spans]

    def _parse_max_error(self) -> tuple[float, bool]:
        """Return `max_error` as a number, and whether it is a share. Raises OptionError."""
        text = str(self.max_error).strip()
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            number = math.nan
        if not (number >= 0 and math.isfinite(number)):
            raise OptionError(
                f"{self._named('max_error')} must be 0 or a positive number, "
                "or as '1%' of the range of values"
            )
        return (number / 100, True) if text.endswith("%") else (number, False)


def _plain(value: Any) -> Any:
    """Return Python's own number for one of NumPy or torch, and anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
