"""What a user may choose when encoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from inrv.errors import OptionError

EFFORTS = ("instant", "default", "thorough")
CHOICES = {
    "field": (None, "lattice", "fourier"),
    "preset": ("default", "paper"),
    "effort": EFFORTS,
    "topology": (None, "exact", "threshold"),
    "nonfinite": ("refuse", "keep", "inactive"),
    "frequent_values": ("exact", "approximate"),
    "doubles": ("passthrough", "float"),
}
WHOLE = ("size", "seed", "exact_below")
TARGETS = ("psnr", "max_error", "size", "ratio", "lossless")
LATTICE_ONLY = ("max_error", "effort", "lossless")
FOURIER_ONLY = ("preset", "selection", "dilation", "values_per_weight", "epochs", "max_time")
DEFAULT_PSNR = 45.0


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode.

    field        'lattice': a code for every voxel, any quality, a bound on every error; 'fourier': one network for the
                 volume, as in the paper; None: 'fourier' where an option that only it has is given, else 'lattice'

    At most one of these says how good or how small; with none of them a lattice has DEFAULT_PSNR:
    psnr         dB over each grid's active leaf voxels, peak = its range, a component at a time; fourier: training ends there
    max_error    of every voxel: an absolute number, or as '1%' of each component's range; 0 is lossless
    size         bytes of the whole file, at most
    ratio        bytes of the .vdb file (in memory: of the active values as float32) for each byte of the .inrv file, at least
    lossless     True: every value comes back bit for bit

    effort       of a lattice: 'instant' takes the networks that come with the codec, 'default' and 'thorough' fit them

    These are of the fourier field:
    preset       'default': network and schedule follow from the data; 'paper': Table 1 of Zurkova et al. 2025
    selection    voxels trained on: 'topology', active voxels as stored; 'avm', normalised value > 0, eq. (2)
    dilation     voxels added around the selection, eq. (3); math.inf trains on the whole box (BBX)
    values_per_weight  of the active voxels (preset 'default'); None: 14, or as `size` or `ratio` say
    epochs       passes over the selected voxels; None: 100; on a CPU no more than take about a minute on two
                 cores, but at least one; for a small volume as many as make 2000 steps
    max_time     seconds of training after which it ends; the result then depends on the machine's speed

    seed         of all that is drawn at random
    device       torch device to train on; None: the best there is
    grids        names or positions of the grids to encode; None: all
    exact_below  grids of at most so many active values are stored exactly: a network would cost more than they do
    topology     'exact': every active voxel as it was; 'threshold': where that is smaller, only the leaves of a grid are
                 stored, and its decoded values tell which voxels are active; None: exact, but with `size` or `ratio` a lattice
                 takes what serves the values
    frequent_values  values that many active voxels share (0 in empty air, 1 inside a shape): they come back 'exact', or are
                 'approximate' as all others, for the last bytes
    nonfinite    NaN and infinity in voxels and tiles: 'refuse' them, 'keep' them, bit for bit, in their places, or make
                 their voxels 'inactive', as where NaN says that a value is missing; these then have the background
    doubles      grids of double and vec3d: 'carry' them as they are, or code them rounded to 'float'
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

    def __post_init__(self) -> None:
        self._make_plain()
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(
                    f"{self._told(name)} is not one of {', '.join(filter(None, choices))}"
                )
        if self.lossless not in (True, False) or isinstance(self.lossless, str):
            raise OptionError(f"{self._told('lossless')} must be True or False")
        if self.exact_below < 0:
            raise OptionError(f"{self._told('exact_below')} must be a whole number of values >= 0")
        for name in ("psnr", "size", "ratio", "values_per_weight", "epochs", "max_time"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and value > 0 and math.isfinite(value)):
                raise OptionError(f"{self._told(name)} must be a positive number")
        self.error_bound  # noqa: B018 -- checks it
        self._check_together()

    def _make_plain(self) -> None:
        """Replace NumPy's scalars by Python's, whole floats by integers where an integer belongs, and lists by tuples."""
        for entry in fields(self):
            object.__setattr__(self, entry.name, _plain(getattr(self, entry.name)))
        for name in WHOLE:
            object.__setattr__(self, name, self._whole(name))
        if self.grids is not None:
            alone = isinstance(_plain(self.grids), (str, int))
            keys = [self.grids] if alone else list(self.grids)
            object.__setattr__(self, "grids", tuple(map(_plain, keys)))

    def _whole(self, name: str) -> int | None:
        value = getattr(self, name)
        if value is None:
            return None
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value != int(value):
            raise OptionError(f"{self._told(name)} must be a whole number")
        return int(value)

    def _check_together(self) -> None:
        asked = [name for name in TARGETS if self._given(name)]
        if len(asked) > 1:
            raise OptionError(
                f"{' and '.join(map(self._told, asked))} say each how good or small the file is to be: choose one"
            )
        other = LATTICE_ONLY if self.chosen_field == "fourier" else FOURIER_ONLY
        wrong = [name for name in other if self._given(name)]
        if wrong:
            raise OptionError(f"{self._told(wrong[0])} is not for the field {self.chosen_field!r}")
        network = [name for name in ("preset", "values_per_weight") if self._given(name)]
        sized = [name for name in ("size", "ratio") if getattr(self, name) is not None]
        if network and sized:
            raise OptionError(
                f"{self._told(sized[0])} and {self._told(network[0])} say each how large the network is to be: choose one"
            )
        promised = [name for name in ("max_error", "lossless") if self._given(name)]
        if promised and self.topology == "threshold":
            raise OptionError(
                f"{self._told(promised[0])} is a promise for every voxel: it needs `topology='exact'`"
            )

    def _told(self, name: str) -> str:
        """The option as messages name it."""
        return f"`{name}={getattr(self, name)!r}`"

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
    def all_lossless(self) -> bool:
        """Whether every value of every grid must come back bit for bit."""
        return self.lossless or (self.max_error is not None and self._bound[0] == 0)

    @property
    def sets_frequent_values_apart(self) -> bool:
        """Whether values that many voxels share are kept from the field: one that is to know more than voxels has them too."""
        everywhere = self.selection != "topology" or self.dilation > 0 or self.preset == "paper"
        return self.frequent_values == "exact" and not everywhere

    @property
    def error_bound(self) -> tuple[float, bool] | None:
        """`max_error` as a number above 0, and whether it is a share of each component's range. Raises OptionError."""
        return None if self.max_error is None or self._bound[0] == 0 else self._bound

    def error_bounds(self, spans: Sequence[float]) -> list[float]:
        """`max_error` as a number for each component, whose values have these `spans`; none where no bound is asked."""
        if self.error_bound is None:
            return []
        bound, relative = self.error_bound
        return [bound * span if relative else bound for span in spans]

    @property
    def _bound(self) -> tuple[float, bool]:
        text = str(self.max_error).strip()
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            number = math.nan
        if not (number >= 0 and math.isfinite(number)):
            raise OptionError(
                f"{self._told('max_error')} must be 0 or a positive number, or as '1%' of the range of values"
            )
        return (number / 100, True) if text.endswith("%") else (number, False)


def _plain(value: Any) -> Any:
    """Python's own number for one of NumPy or torch; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
