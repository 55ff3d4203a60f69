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

from inrv.core.lattice import decode_numbers, encode_numbers
from inrv.errors import FormatError
from inrv.fields.lattice.constants import INPUTS, LARGEST, LARGEST_BIAS, REFERENCE_INPUTS
from inrv.fields.lattice.network import Floats, IntegerNetwork

DEFAULTS = Path(__file__).with_name("default.safetensors")
ALONE, REFERENCE, RESTORATION = "alone", "reference", "restoration"  # prefixes of tensors
WAVELET_FILTER, WAVELET_PRIOR_NAME = "wavelet.restoration", "wavelet.prior"
WEIGHT_TABLE, BIAS_TABLE = 20, 40  # of the coder, where the differences of a tensor begin
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


def pack_differences(model: Model, default: Model) -> bytes:
    """What a model differs by from the default one, coded."""
    pairs = zip(model.tensors(), default.tensors(), strict=True)
    passes = [(tensor - begun).reshape(-1).astype(np.int32) for (_, tensor), (_, begun) in pairs]
    return encode_numbers(default.prior, _tables(default), passes)


def unpack_differences(default: Model, codes: bytes) -> Model:
    """The model that differs so from the default one. Raises FormatError."""
    counts = [begun.size for _, begun in default.tensors()]
    try:
        passes = decode_numbers(default.prior, _tables(default), counts, codes)
    except FormatError as error:
        raise FormatError(error.id, "the codes of a channel's networks are damaged") from error
    found: dict[str, Floats] = {}
    for (name, begun), differences in zip(default.tensors(), passes, strict=True):
        found[name] = begun + differences.reshape(begun.shape).astype(np.float32)
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


def _tables(model: Model) -> list[int]:
    """The table under which the differences of each tensor are coded."""
    names = (name for name, _ in model.tensors())
    return [WEIGHT_TABLE if name.endswith("weight") else BIAS_TABLE for name in names]
