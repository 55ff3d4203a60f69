"""The rules of a fourier field's `config` in the manifest."""

from __future__ import annotations

from inrv.container import ACCURACY, Container, Value
from inrv.container.layout import NETWORK, SAMPLES

SIZES = {"frequencies": (1, 1 << 20), "layers": (0, 1 << 10), "neurons": (1, 1 << 20)}
KEYS = (*SIZES, "origin", "scale", "activation", "tensors", "samples", "tolerance")
ACTIVATIONS = ("relu", "silu")


def check(config: Value, container: Container) -> None:
    """Check the `config` of a file's fourier field.

    Sizes are bounded here, because a network is laid out from them before its tensors are read.

    config: `config` of the field in the manifest
    container: the file
    Raises FormatError naming the key, the value and the rule.
    """
    config.only(*KEYS, what="fourier field")
    for name, (least, most) in SIZES.items():
        config[name].count(most, str(most), least)
    config["origin"].numbers(3, single=True)
    config["scale"].number(single=True)
    config["activation"].choice(*ACTIVATIONS)
    tensors, samples = config["tensors"], config["samples"]
    container.check_reference(tensors.path, tensors.count(), NETWORK)
    if samples.value is not None:
        container.check_reference(samples.path, samples.count(), SAMPLES)
    tolerance = config["tolerance"].optional(Value.number)
    if tolerance is not None and not ACCURACY <= tolerance <= 1:
        raise config["tolerance"].fail("M7", f"must lie between {ACCURACY:g} and 1")
