"""The rules of a lattice's `config` in the manifest."""

from __future__ import annotations

from typing import Any

from inrv.container import Container, GridEntry, Manifest, Value
from inrv.container.layout import BITS, CODES, MOTION
from inrv.core.lattice import LEVELS, WAVELET_TOP
from inrv.errors import FormatError
from inrv.fields.lattice.constants import HIGHEST, LARGEST_STEP, SETS, SMALLEST_STEP

KEYS = ("networks", "channels")
CHANNEL_KEYS = (
    "steps",
    "top",
    "background",
    "scale",
    "reference",
    "motion",
    "second_reference",
    "second_motion",
    "exterior",
    "restoration",
    "set",
    "fitted",
    "trellis",
    "wavelet",
    "offsets",
    "lossless",
    "codes",
    "bits",
)


def check(config: Value, container: Container) -> None:
    """Check the `config` of a file's lattice field.

    config: `config` of the field in the manifest
    container: the file
    Raises FormatError naming the key, the value and the rule.
    """
    config.only(*KEYS, what="lattice field")
    config["networks"].text()
    field = container.manifest.field
    outputs = 0 if field is None else field.outputs
    channels = config["channels"].exactly(outputs)
    for number, channel in enumerate(channels):
        _check_channel(channel, number)
        codes = channel["codes"]
        container.check_reference(codes.path, codes.count(), CODES)
        for key, kind in (("bits", BITS), ("motion", MOTION), ("second_motion", MOTION)):
            if channel[key].value is not None:
                container.check_reference(channel[key].path, channel[key].count(), kind)
    _check_ranges(container, [channel["lossless"].flag() for channel in channels])


def _check_channel(channel: Value, number: int) -> None:
    """Check the channel `number` but for what it refers to. Raises FormatError."""
    channel.only(*CHANNEL_KEYS, what="channel of a lattice")
    for step in channel["steps"].exactly(LEVELS):
        step.count(LARGEST_STEP, str(LARGEST_STEP), SMALLEST_STEP)
    channel["top"].count(HIGHEST, str(HIGHEST), 1)
    if abs(channel["background"].integer(32)) > HIGHEST:
        raise channel["background"].fail("M7", f"must lie within +-{HIGHEST}")
    if not 0 < channel["scale"].number() <= 2 * HIGHEST:
        raise channel["scale"].fail("M7", f"must be above 0 and at most {2 * HIGHEST}")
    for key in ("reference", "second_reference"):
        if channel[key].value is not None and channel[key].count() >= number:
            raise channel[key].fail("M7", "must be the number of an earlier channel")
    for key, needed in (("motion", "reference"), ("second_reference", "motion")):
        if channel[key].value is not None and channel[needed].value is None:
            raise channel[key].fail("M7", f"must be null where {needed} is")
    if (channel["second_motion"].value is None) != (channel["second_reference"].value is None):
        raise channel["second_motion"].fail(
            "M7", "must be null where second_reference is, and only there"
        )
    channel["set"].count(SETS - 1, str(SETS - 1))
    for key in ("exterior", "restoration", "fitted", "trellis", "wavelet", "offsets", "lossless"):
        channel[key].flag()
    for key in ("trellis", "wavelet", "offsets"):
        if channel["lossless"].flag() and channel[key].flag():
            raise channel[key].fail("M7", "must be false where the channel is lossless")
    if channel["wavelet"].flag():
        if channel["trellis"].flag():
            raise channel["trellis"].fail("M7", "must be false where the channel is a wavelet")
        if channel["reference"].value is not None:
            raise channel["reference"].fail("M7", "must be null where the channel is a wavelet")
        channel["top"].count(WAVELET_TOP, str(WAVELET_TOP), 1)


def _check_ranges(container: Container, lossless: list[bool]) -> None:
    """Check that a component has a range where the units of its channel relate to it.

    lossless: of each channel, whether its units do not relate to a range
    Raises FormatError.
    """
    for position, grid in enumerate(container.manifest.grids):
        for number, component in enumerate(grid.components):
            output = component.output
            if output is None or lossless[output] or component.maximum > component.minimum:
                continue
            place = f"manifest.grids[{position}].components[{number}]"
            rule = "its maximum must be above its minimum, to which the units of its channel relate"
            value = {"minimum": component.minimum, "maximum": component.maximum, "output": output}
            raise Value(place, value).fail("M9", rule)


def owners(manifest: Manifest) -> dict[int, tuple[int, int]]:
    """Return for each output the first grid that has it, and the number of the component.

    Raises FormatError where an output has no owner, or two that would decode it differently.
    """
    found: dict[int, tuple[int, int]] = {}
    for number, grid in enumerate(manifest.grids):
        for place, component in enumerate(grid.components):
            if component.output is None:
                continue
            first, same = found.setdefault(component.output, (number, place))
            if first != number or same != place:
                other = manifest.grids[first]
                if same != place or _decoded_by(grid, place) != _decoded_by(other, place):
                    raise FormatError(
                        "F4",
                        f"output {component.output} of a lattice is that of two components that "
                        "differ",
                    )
    field = manifest.field
    if field is None or found.keys() != set(range(field.outputs)):
        raise FormatError("F4", "each output of a lattice must belong to a component")
    return found


def _decoded_by(grid: GridEntry, component: int) -> tuple[Any, ...]:
    """Return all that the decoded values of a component depend on, beside its channel."""
    own = grid.components[component]
    return (
        grid.value_type,
        grid.topology,
        grid.background,
        grid.inactive_values,
        grid.frequent_values,
        grid.exact_values,
        own.minimum,
        own.maximum,
    )
