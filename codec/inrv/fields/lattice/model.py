"""The networks of a channel: the default ones that come with the codec, and how a file's own differ from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from inrv.errors import FormatError
from inrv.fields.lattice.constants import LARGEST
from inrv.fields.lattice.context import input_count
from inrv.fields.lattice.entropy import RegionReader, RegionWriter
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.order import PATTERNS

DEFAULTS = Path(__file__).with_name("default.safetensors")
DEFAULT_NAME = "default-1"  # a later set of defaults takes another name, and this one stays
SMOOTHING = "smoothing"
WEIGHT_TABLE, BIAS_TABLE = 20, 40  # of the coder's tables, where the differences of a tensor begin
LARGEST_BIAS = float(1 << 20)
HIDDEN, SMOOTHING_HIDDEN = (32, 32), (24, 16)
OUTPUTS, SMOOTHING_OUTPUTS = 2, 1  # a network's: prediction and deviation; correction


@dataclass(frozen=True, eq=False)
class Model:
    """What predicts the codes of a channel.

    networks   by number of odd axes          smoothing  None where values are left as decoded
    prior      int64 (64, tokens)  counts with which each region's tables begin
    """

    networks: dict[int, IntegerNetwork]
    smoothing: IntegerNetwork | None
    prior: NDArray[np.int64]

    def to(self, device: torch.device | str) -> Model:
        """The same model on another device."""
        networks = {odd: network.to(device) for odd, network in self.networks.items()}
        return Model(networks, None if self.smoothing is None else self.smoothing.to(device), self.prior)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of every network, in the order in which they are stored."""
        networks = {str(odd): network for odd, network in self.networks.items()}
        if self.smoothing is not None:
            networks[SMOOTHING] = self.smoothing
        for prefix, network in networks.items():
            for name in sorted(network.tensors):
                yield f"{prefix}.{name}", network.tensors[name]

    @property
    def given(self) -> bool:
        """Whether the networks read a given channel too."""
        return self.networks[1].tensors["first.weight"].shape[0] == input_count(1, True)

    @property
    def weight_count(self) -> int:
        """Weights and biases of all networks."""
        return sum(tensor.numel() for _, tensor in self.tensors())


@lru_cache(maxsize=4)
def default_model(given: bool, smoothing: bool) -> Model:
    """The networks that come with the codec, for channels with or without a given one."""
    stored = load_file(DEFAULTS)
    prefix = "given" if given else "alone"

    def network(name: str) -> IntegerNetwork:
        start = f"{name}."
        return IntegerNetwork({key[len(start) :]: tensor.float() for key, tensor in stored.items() if key.startswith(start)})

    networks = {odd: network(f"{prefix}.{odd}") for odd in PATTERNS}
    return Model(networks, network(SMOOTHING) if smoothing else None, stored["prior"].numpy().astype(np.int64))


def pack_differences(model: Model, default: Model) -> NDArray[np.uint32]:
    """What a model differs by from the default one: words, as of a region whose codes are the differences."""
    writer = RegionWriter(default.prior)
    for (name, tensor), (_, reference) in zip(model.tensors(), default.tensors(), strict=True):
        codes = (tensor - reference).reshape(-1).to(torch.int32).cpu().numpy()
        writer.step(_tables(name, len(codes)), codes)
    return writer.words()


def unpack_differences(default: Model, words: NDArray[np.uint32]) -> Model:
    """The model that differs so from the default one. Raises FormatError."""
    reader = RegionReader(default.prior, words)
    found: dict[str, Tensor] = {}
    for name, reference in default.tensors():
        codes = reader.step(_tables(name, reference.numel()))
        found[name] = reference + torch.from_numpy(codes).reshape(reference.shape)
        largest = LARGEST if name.endswith("weight") else LARGEST_BIAS
        if bool((found[name].abs() > largest).any()):
            raise FormatError("F7", f"tensor {name} of a lattice holds a number beyond +-{largest:g}")
    reader.check_end()
    return Model(
        {odd: _part(found, str(odd)) for odd in default.networks},
        None if default.smoothing is None else _part(found, SMOOTHING),
        default.prior,
    )


def _part(tensors: dict[str, Tensor], prefix: str) -> IntegerNetwork:
    start = f"{prefix}."
    return IntegerNetwork({name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)})


def _tables(name: str, count: int) -> NDArray[np.int32]:
    return np.full(count, WEIGHT_TABLE if name.endswith("weight") else BIAS_TABLE, dtype=np.int32)
