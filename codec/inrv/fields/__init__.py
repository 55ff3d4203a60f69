"""Fields: the networks that stand for a volume, each a torch.nn.Module behind one small interface."""

from typing import Any

from torch import Tensor

from inrv.errors import FormatError
from inrv.fields.field import Field
from inrv.fields.fourier import FourierConfig, FourierField, network_weights
from inrv.fields.quantisation import PRECISIONS, StoredTensors, dequantise, on_steps, quantise

__all__ = [
    "PRECISIONS",
    "Field",
    "FourierConfig",
    "FourierField",
    "StoredTensors",
    "dequantise",
    "network_weights",
    "on_steps",
    "quantise",
    "restore_field",
]


def restore_field(kind: str, config: dict[str, Any], stored: dict[str, Tensor], most_weights: int | None = None) -> Field:
    """The field of kind `kind` from its configuration and stored tensors.

    Raises FormatError for an unknown kind, more than `most_weights` numbers, and tensors that are not those of the field.
    """
    if kind != FourierField.kind:
        raise FormatError(f"field type {kind!r} is not known to this reader (known: {FourierField.kind!r})")
    return FourierField.restore(config, stored, most_weights)
