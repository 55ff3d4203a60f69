"""The codec of the field `fourier`: all that encoding and decoding see of it.

torch is imported only to encode and to decode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inrv.container import ACCURACY, Container, Value
from inrv.fields.fourier import config as rules
from inrv.fields.fourier.plain import plain_outputs
from inrv.fields.fourier.shape import FourierConfig, check_tensors, network_weights
from inrv.fields.fourier.store import deviation, field_entry, restore_network, restore_samples
from inrv.fields.seam import Outputs, ProgressCallback, Samples
from inrv.options import EncodeOptions
from inrv.storage import StoredGrids
from inrv.support.extras import needed_for

if TYPE_CHECKING:
    from inrv.fields.fourier.encode import FourierEncoder


class FourierCodec:
    """Codes all grids of a file by one network; see `inrv.fields.seam.FieldCodec`."""

    kind = "fourier"
    finest_step = 0.0
    estimates = False
    resumes = True

    def can_bound(self, bound: float, minimum: float, maximum: float) -> bool:
        """Return False: a network bounds no error."""
        return False

    def encoder(
        self, options: EncodeOptions, progress: ProgressCallback | None, checkpoint: Any
    ) -> FourierEncoder:
        """Return what trains the network of a volume. Raises OptionError for an absent device."""
        with needed_for("the field 'fourier'", "train"):
            from inrv.fields.fourier.encode import FourierEncoder

        return FourierEncoder(options, progress, checkpoint)

    def check(self, config: Value, container: Container) -> None:
        """Check sizes, origin, activation, chunks and tolerance. Raises FormatError."""
        rules.check(config, container)

    def open(self, container: Container, grids: StoredGrids, device: str | None) -> Outputs:
        """Restore the network, on the device. Raises FormatError, OptionError."""
        with needed_for("the field 'fourier'", "train"):
            from inrv.fields.fourier.decode import FourierOutputs

        return FourierOutputs.open(container, device)

    def verify(self, container: Container) -> Samples:
        """Check the network's tensors, and its outputs at stored samples. Raises FormatError."""
        shape, tensors = restore_network(container)
        check_tensors(shape, tensors, container.limits.weights)
        samples = restore_samples(container)
        if samples is None:
            return Samples()
        coordinates, expected = samples
        difference = deviation(plain_outputs(shape, tensors, coordinates), expected)
        return Samples(len(coordinates), difference, ACCURACY)

    def describe(self, container: Container) -> dict[str, Any]:
        """Return the number of weights and a text on the network, for `info`."""
        entry = field_entry(container)
        config = entry.config
        sizes = {name: config[name] for name in ("frequencies", "layers", "neurons")}
        shape = FourierConfig.of_json(config, entry.outputs)
        weights = network_weights(**sizes, outputs=shape.outputs)
        named = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
        text = f"fourier, {weights:,} weights: {named}, activation {config['activation']}"
        if shape.time is not None:
            text += f", over {len(set(shape.time.places))} places in time"
        if config["tolerance"] is not None:
            text += f", tolerance {config['tolerance']:.2g}"
        return {"text": text, "weights": weights}


CODEC = FourierCodec()
