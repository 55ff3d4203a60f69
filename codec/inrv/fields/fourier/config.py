"""The rules of a fourier field's `config` in the manifest."""

from __future__ import annotations

from inrv.container import ACCURACY, Container, Value
from inrv.container.layout import NETWORK, SAMPLES

SIZES = {"frequencies": (1, 1 << 20), "layers": (0, 1 << 10), "neurons": (1, 1 << 20)}
KEYS = (*SIZES, "origin", "scale", "activation", "time", "tensors", "samples", "tolerance")
TIME_KEYS = ("pace", "places", "columns")
MOST_PLACE = 1 << 20  # in time
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
    if config["time"].value is not None:
        _check_time(config["time"], container)
    tensors, samples = config["tensors"], config["samples"]
    container.check_reference(tensors.path, tensors.count(), NETWORK)
    if samples.value is not None:
        container.check_reference(samples.path, samples.count(), SAMPLES)
    tolerance = config["tolerance"].optional(Value.number)
    if tolerance is not None and not ACCURACY <= tolerance <= 1:
        raise config["tolerance"].fail("M7", f"must lie between {ACCURACY:g} and 1")


def _check_time(time: Value, container: Container) -> None:
    """Check that each output has a place in time and a column. Raises FormatError."""
    time.only(*TIME_KEYS, what="time axis of a fourier field")
    time["pace"].number(single=True)
    field = container.manifest.field
    outputs = 0 if field is None else field.outputs
    for place in time["places"].exactly(outputs):
        place.count(MOST_PLACE, str(MOST_PLACE))
    columns = {
        column.count(outputs - 1, str(outputs - 1)) for column in time["columns"].exactly(outputs)
    }
    if columns != set(range(len(columns))):
        raise time["columns"].fail("M7", "must have every number from 0 to the highest")
