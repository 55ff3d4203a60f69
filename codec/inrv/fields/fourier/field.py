"""The field `fourier` as encoding and decoding see it. torch is imported only to encode and to decode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inrv.container import ACCURACY, Container, Value
from inrv.fields.fourier import config as rules
from inrv.fields.fourier.plain import plain_outputs
from inrv.fields.fourier.shape import check_tensors, network_weights
from inrv.fields.fourier.store import deviation, field_entry, restore_network, restore_samples
from inrv.fields.seam import Outputs, ProgressCallback, Samples
from inrv.options import EncodeOptions
from inrv.storage import StoredGrids

if TYPE_CHECKING:
    from inrv.fields.fourier.encode import FourierEncoder


class FourierCodec:
    """One network for all grids of a file; see `inrv.fields.seam.FieldCodec`."""

    kind = "fourier"
    finest_step = 0.0

    def can_bound(self, bound: float, minimum: float, maximum: float) -> bool:
        """A network bounds no error."""
        return False

    def encoder(
        self, options: EncodeOptions, progress: ProgressCallback | None, checkpoint: Any
    ) -> FourierEncoder:
        """What trains the network of a volume."""
        from inrv.fields.fourier.encode import FourierEncoder

        return FourierEncoder(options, progress, checkpoint)

    def check(self, config: Value, container: Container) -> None:
        """Check sizes, origin, activation, chunks and tolerance."""
        rules.check(config, container)

    def open(self, container: Container, grids: StoredGrids, device: str | None) -> Outputs:
        """The network, on the device."""
        from inrv.fields.fourier.decode import FourierOutputs

        return FourierOutputs.open(container, device)

    def verify(self, container: Container) -> Samples:
        """Check the network's tensors, and compute its outputs where samples are stored."""
        shape, tensors = restore_network(container)
        check_tensors(shape, tensors, container.limits.weights)
        samples = restore_samples(container)
        if samples is None:
            return Samples()
        coordinates, expected = samples
        difference = deviation(plain_outputs(shape, tensors, coordinates), expected)
        return Samples(len(coordinates), difference, ACCURACY)

    def describe(self, container: Container) -> dict[str, Any]:
        """Weights and shape of the network."""
        config = field_entry(container).config
        sizes = {name: config[name] for name in ("frequencies", "layers", "neurons")}
        weights = network_weights(*sizes.values(), field_entry(container).outputs)
        shape = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
        text = f"fourier, {weights:,} weights: {shape}, activation {config['activation']}"
        if config["tolerance"] is not None:
            text += f", tolerance {config['tolerance']:.2g}"
        return {"text": text, "weights": weights}


CODEC = FourierCodec()
