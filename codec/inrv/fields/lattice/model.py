"""The networks of a channel: the codec's defaults, and how a file's own differ from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from inrv.errors import FormatError
from inrv.fields.lattice.constants import INPUTS, LARGEST, LARGEST_BIAS, REFERENCE_INPUTS
from inrv.fields.lattice.network import Floats, IntegerNetwork
from inrv.fields.lattice.tokens import SAME, code_passes, decode_passes

DEFAULTS = Path(__file__).with_name("default.safetensors")
ALONE, REFERENCE, RESTORATION = "alone", "reference", "restoration"  # prefixes of tensors
WAVELET_FILTER, WAVELET_PRIOR_NAME = "wavelet.restoration", "wavelet.prior"
HIDDEN, RESTORATION_HIDDEN = (32, 32), (24, 16)
# Of a network: prediction and deviation; correction.
OUTPUTS, RESTORATION_OUTPUTS = 2, 1


@dataclass(frozen=True, eq=False)
class Model:
    """What predicts the codes of a channel.

    networks: by number of odd axes
    restoration: the filter, None where values are left as decoded
    prior: int64 (2, 64, tokens) counts with which each region's tables begin
    wavelet_prior: int8 (11252,) what the logits of each wavelet begin with
    """

    networks: dict[int, IntegerNetwork]
    restoration: IntegerNetwork | None
    prior: NDArray[np.int64]
    wavelet_prior: NDArray[np.int8]

    def tensors(self) -> Iterator[tuple[str, Floats]]:
        """Every tensor of every network, in the order in which they are stored."""
        networks = {str(odd): network for odd, network in self.networks.items()}
        if self.restoration is not None:
            networks[RESTORATION] = self.restoration
        for prefix, network in networks.items():
            for name in sorted(network.tensors):
                yield f"{prefix}.{name}", network.tensors[name]

    @property
    def reference(self) -> bool:
        """Whether the networks read a reference channel too."""
        return self.networks[1].tensors["first.weight"].shape[0] == INPUTS[1] + REFERENCE_INPUTS

    @property
    def weight_count(self) -> int:
        """Weights and biases of all networks."""
        return sum(tensor.size for _, tensor in self.tensors())


@lru_cache(maxsize=64)
def default_model(
    reference: bool, restoration: bool, number: int = 0, wavelet: bool = False
) -> Model:
    """Networks that come with the codec.

    reference: whether the channel has a reference channel
    restoration: whether decoded values are filtered
    number: of the set
    wavelet: whether regions are coded as wavelets, which have a filter of their own
    """
    stored = _stored()
    prefix = f"{number}.{REFERENCE if reference else ALONE}"
    networks = {odd: _part(stored, f"{prefix}.{odd}") for odd in INPUTS}
    own = WAVELET_FILTER if wavelet else f"{number}.{RESTORATION}"
    restored = _part(stored, own) if restoration else None
    return Model(networks, restored, stored["prior"].astype(np.int64), stored[WAVELET_PRIOR_NAME])


@lru_cache(maxsize=1)
def _stored() -> dict[str, NDArray[Any]]:
    return load_file(DEFAULTS)


@dataclass(frozen=True, eq=False)
class Differences:
    """What a model differs by from the default one, coded.

    tables: uint8 (T,) for each tensor, in the order of `Model.tensors`, the table of the coder
        under which its differences are coded; SAME where there are none
    codes: of the differences
    count: how many numbers differ, where it is known
    """

    tables: NDArray[np.uint8]
    codes: bytes
    count: int = 0

    @staticmethod
    def of(model: Model, default: Model) -> Differences:
        """Those of a model, whose numbers differ by less than 2^19."""
        pairs = zip(model.tensors(), default.tensors(), strict=True)
        found = [(own - begun).reshape(-1).astype(np.int32) for (_, own), (_, begun) in pairs]
        tables, codes = code_passes(default.prior, found)
        return Differences(tables, codes, int(sum(map(np.count_nonzero, found))))

    @property
    def size(self) -> int:
        """Bytes that are stored, about."""
        return len(self.tables) + len(self.codes)

    def applied(self, default: Model) -> Model:
        """The model that differs so from the default one. Raises FormatError."""
        names, begun = zip(*default.tensors(), strict=True)
        if (self.tables > SAME).any():
            raise FormatError("F7", f"a tensor of a channel's networks has a table beyond {SAME}")
        try:
            counts = [tensor.size for tensor in begun]
            passes = decode_passes(default.prior, self.tables, counts, self.codes)
        except FormatError as error:
            raise FormatError(error.id, "the codes of a channel's networks are damaged") from error
        found = dict(zip(names, begun, strict=True))
        for name, tensor, differences in zip(names, begun, passes, strict=True):
            found[name] = tensor + differences.reshape(tensor.shape).astype(np.float32)
            largest = LARGEST if name.endswith("weight") else LARGEST_BIAS
            if (np.abs(found[name]) > largest).any():
                raise FormatError(
                    "F7", f"tensor {name} of a lattice holds a number beyond +-{largest:g}"
                )
        return Model(
            {odd: _part(found, str(odd)) for odd in default.networks},
            None if default.restoration is None else _part(found, RESTORATION),
            default.prior,
            default.wavelet_prior,
        )


def _part(tensors: Mapping[str, NDArray[Any]], prefix: str) -> IntegerNetwork:
    """The network of the tensors whose names begin with `prefix`."""
    start = f"{prefix}."
    return IntegerNetwork(
        {
            name.removeprefix(start): tensor.astype(np.float32)
            for name, tensor in tensors.items()
            if name.startswith(start)
        }
    )
