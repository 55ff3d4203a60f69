"""The manifest: what a file says of itself, as checked JSON."""

from __future__ import annotations

import json
import math
import reprlib
from dataclasses import asdict, dataclass
from typing import Any

from inrv.container.json_rules import Value, parse_json
from inrv.errors import FormatError

COMPONENTS = {"float": 1, "vec3s": 3}
SCALAR_KINDS = {"bool": "?", "int32": "i", "int64": "q", "float": "f", "double": "d"}
VECTOR_SIZES = {"vec2": 2, "vec3": 3, "vec4": 4, "mat3": 9, "mat4": 16}
VECTOR_KINDS = {"i": "i", "s": "f", "d": "d"}
INTEGER_BITS = {"i": 32, "q": 64}
FOURIER_RANGES = {"frequencies": (1, 1 << 20), "layers": (0, 1 << 10), "neurons": (1, 1 << 20)}
ACTIVATIONS = ("relu", "silu")
LATTICE_CHANNEL = {
    "steps",
    "top",
    "background",
    "scale",
    "given",
    "surrounded",
    "smoothed",
    "fitted",
    "corrected",
    "lossless",
    "codes",
}
LATTICE_STEPS, LATTICE_STEP_RANGE, LATTICE_HIGHEST = 7, (32, 512), 1 << 23
NEWER_IN_ROOT = ("passthrough", "vdb_version")
NEWER_IN_GRIDS = ("frequent_values", "exact_values", "threshold", "threshold_rule", "topology_of", "outliers")
NEWER_IN_FIELD = ("tolerance",)
THRESHOLD_RULES = ABOVE, AWAY, WITHIN = "above", "away", "within"
OLDEST_VDB = 222
ACCURACY = 1e-4  # how far a decoder may be from the reference, absolutely and as a share: the accuracy class
MOST_PARTS = 1 << 16
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class MetaEntry:
    """A typed metadata value: OpenVDB's type name and bool, int, float, str, a flat list, or {"base64": ...} for raw bytes.

    Floats may be NaN and infinite here; in JSON they then stand as {"float": "nan"}, "inf" or "-inf".
    """

    type: str
    value: Any


@dataclass(frozen=True)
class Component:
    """value = minimum + (maximum - minimum) * y, y the field's output `output`; output None: always `minimum`."""

    minimum: float
    maximum: float
    output: int | None


@dataclass(frozen=True)
class GridEntry:
    """One coded grid; `matrix` is 4 x 4, row-major, row-vector convention.

    topology, exact_values   chunk numbers
    frequent_values          chunk number: values that many voxels have, which the field does not code
    kept_values              chunk number: other values that the field does not code
    threshold                where the topology is coarse: voxels whose decoded value scores above it are active
    threshold_rule           how values score: see inrv.grids.thresholds
    topology_of              number of the grid with a threshold whose active voxels, as decoded, are this coarse one's too
    corrected_values         chunk number: values that are coded too, and stand in place of what is decoded
    """

    name: str
    value_type: str
    background: tuple[float, ...]
    grid_class: str
    vector_type: str
    saved_as_half: bool
    map_type: str
    matrix: tuple[float, ...]
    metadata: dict[str, MetaEntry]
    active_voxels: int
    leaf_voxels: int
    topology: int
    inactive_values: int | None
    components: tuple[Component, ...]
    frequent_values: int | None = None
    exact_values: int | None = None
    threshold: float | None = None
    threshold_rule: str = ABOVE
    topology_of: int | None = None
    outliers: int | None = None


@dataclass(frozen=True)
class PassthroughEntry:
    """A grid kept as the bytes of its .vdb file, which the `GRID` chunks numbered `chunks` hold, joined.

    position   its place among all grids of the file          parent  place of the carried grid whose tree it shares
    tree_type  as OpenVDB names it, without `_HalfFloat`      blocks  offset of the first block in the bytes
    reason     why it is carried, for people
    """

    position: int
    name: str
    tree_type: str
    half: bool
    parent: int | None
    blocks: int
    bytes: int
    chunks: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class FieldEntry:
    """The field: its type, what it is built from (`outputs` among it), and the chunk that holds its tensors.

    A lattice has a chunk a channel, which its configuration names, and `tensors` None. `tolerance` says how far from the
    reference a decoder may be; None: as far as the accuracy class says.
    """

    type: str
    config: dict[str, Any]
    tensors: int | None
    tolerance: float | None = None

    def relates_to_range(self, output: int) -> bool:
        """Whether an output is a channel whose units relate to the range of its component."""
        return self.type == "lattice" and not self.config["channels"][output]["lossless"]


@dataclass(frozen=True)
class Manifest:
    """Everything of a file that is not a chunk. `encoding` is free-form: how the file was made.

    carried      by position; the coded `grids` take the other places among the grids of the file, in order
    vdb_version  file version and library version, major and minor, of the .vdb file it was made from
    """

    generator: str
    metadata: dict[str, MetaEntry]
    grids: tuple[GridEntry, ...]
    field: FieldEntry | None
    reference: int | None
    encoding: dict[str, Any]
    passthrough: tuple[PassthroughEntry, ...] = ()
    vdb_version: tuple[int, int, int] | None = None

    @property
    def minor(self) -> int:
        """The lowest minor version whose readers understand every key."""
        return 4 if any(grid.topology_of is not None for grid in self.grids) else 0

    @property
    def positions(self) -> tuple[int, ...]:
        """The place of each coded grid among all grids of the file."""
        taken = {entry.position for entry in self.passthrough}
        return tuple(place for place in range(len(self.grids) + len(self.passthrough)) if place not in taken)

    def to_json(self) -> bytes:
        """Canonical JSON: keys sorted, no spaces, ASCII. Raises FormatError for a value that JSON cannot hold."""
        tree = asdict(self)
        for owner in (tree, *tree["grids"]):
            for entry in owner["metadata"].values():
                entry["value"] = _json_value(entry["value"])
        fields = [(tree["field"], NEWER_IN_FIELD)] if tree["field"] else []
        for owner, newer in ((tree, NEWER_IN_ROOT), *fields, *((grid, NEWER_IN_GRIDS) for grid in tree["grids"])):
            for key in newer:
                if owner[key] in (None, (), ABOVE):  # so that what version 1.0 can say is said as version 1.0 says it
                    del owner[key]
        try:
            return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise FormatError("M7", f"manifest cannot be written as JSON: {error}") from error

    @staticmethod
    def from_json(data: bytes, most_grids: int = 4096) -> Manifest:
        """Parse and check. Raises FormatError naming the key, the value and the rule."""
        root = Value("manifest", parse_json(data, "manifest"))
        root.keys("generator", "metadata", "grids", "field", "reference", "encoding")
        field = root["field"].optional(_field)
        grids = tuple(_grid(grid, field) for grid in root["grids"].items(most_grids))
        _check_shared_topologies(root["grids"], grids, most_grids)
        return Manifest(
            generator=root["generator"].text(),
            metadata=_metadata(root["metadata"].under("M12")),
            grids=grids,
            field=field,
            reference=root["reference"].optional(Value.count),
            encoding=root["encoding"].mapping(),
            passthrough=_all_passthrough(root.get("passthrough", []), len(grids), most_grids),
            vdb_version=root.get("vdb_version", None).optional(_vdb_version),
        )


def _grid(value: Value, field: FieldEntry | None) -> GridEntry:
    value.keys(*(key for key in GridEntry.__dataclass_fields__ if key not in NEWER_IN_GRIDS))
    kind = value["value_type"].choice(*COMPONENTS)
    active = value["active_voxels"].count()
    return GridEntry(
        name=value["name"].text(),
        value_type=kind,
        background=value["background"].numbers(COMPONENTS[kind], single=True),
        grid_class=value["grid_class"].text(),
        vector_type=value["vector_type"].text(),
        saved_as_half=value["saved_as_half"].flag(),
        map_type=value["map_type"].text(),
        matrix=value["matrix"].numbers(16),
        metadata=_metadata(value["metadata"].under("M12")),
        active_voxels=active,
        leaf_voxels=value["leaf_voxels"].under("M13").count(active, "the grid's active_voxels"),
        topology=value["topology"].count(),
        inactive_values=value["inactive_values"].optional(Value.count),
        components=tuple(_component(item, field) for item in value["components"].exactly(COMPONENTS[kind])),
        frequent_values=value.get("frequent_values", None).optional(Value.count),
        exact_values=value.get("exact_values", None).optional(Value.count),
        threshold=value.get("threshold", None).optional(lambda threshold: threshold.number(single=True)),
        threshold_rule=_rule(value, kind),
        topology_of=value.get("topology_of", None).optional(Value.count),
        outliers=value.get("outliers", None).optional(Value.count),
    )


def _check_shared_topologies(value: Value, grids: tuple[GridEntry, ...], most: int) -> None:
    for item, grid in zip(value.items(most), grids, strict=True):
        number = grid.topology_of
        if number is None:
            continue
        other = grids[number] if number < len(grids) else None
        if other is None or other.threshold is None or other.topology != grid.topology or grid.threshold is not None:
            raise item["topology_of"].fail(
                "M19",
                "must be the number of a grid that has a threshold and the same topology, and its own threshold must be null",
            )


def _rule(value: Value, kind: str) -> str:
    rule = value.get("threshold_rule", ABOVE).choice(*THRESHOLD_RULES)
    if rule != AWAY and COMPONENTS[kind] != 1 and value.get("threshold", None).value is not None:
        raise value["threshold"].fail(
            "M18", f"must be null for a grid of {kind}: only the rule {AWAY!r} has a threshold for vectors"
        )
    return rule


def _all_passthrough(value: Value, coded: int, most: int) -> tuple[PassthroughEntry, ...]:
    entries = tuple(_passthrough(item) for item in value.items(most - coded))
    places = {entry.position: entry for entry in entries}
    for item, entry in zip(value.items(most), entries, strict=True):
        if entry.position >= coded + len(entries) or places[entry.position] is not entry:
            raise item["position"].fail("M15", f"must be a place of its own among the file's {coded + len(entries)} grids")
        if entry.parent is not None and (entry.parent == entry.position or entry.parent not in places):
            raise item["parent"].fail("M15", "must be the place of another carried grid")
    return entries


def _passthrough(value: Value) -> PassthroughEntry:
    value.keys(*PassthroughEntry.__dataclass_fields__)
    size = value["bytes"].count()
    return PassthroughEntry(
        position=value["position"].count(),
        name=value["name"].text(),
        tree_type=value["tree_type"].text(),
        half=value["half"].flag(),
        parent=value["parent"].optional(Value.count),
        blocks=value["blocks"].count(size, "its bytes"),
        bytes=size,
        chunks=tuple(item.count() for item in value["chunks"].items(MOST_PARTS)),
        reason=value["reason"].text(),
    )


def _vdb_version(value: Value) -> tuple[int, int, int]:
    file, major, minor = (item.count((1 << 32) - 1, "2^32 - 1") for item in value.exactly(3))
    if file < OLDEST_VDB:
        raise value.fail("M17", f"its first number must be at least {OLDEST_VDB}")
    return file, major, minor


def _component(value: Value, field: FieldEntry | None) -> Component:
    value.keys("minimum", "maximum", "output")
    minimum, maximum = value["minimum"].number(single=True), value["maximum"].number(single=True)
    if maximum < minimum:
        raise value.fail("M9", "its maximum must not be below its minimum")
    output, outputs = value["output"].optional(Value.count), 0 if field is None else field.config["outputs"]
    if output is not None and output >= outputs:
        raise value["output"].fail("M10", f"must be below the number of the field's outputs, {outputs}")
    if minimum == maximum and output is not None and field is not None and field.relates_to_range(output):
        raise value.fail("M9", "its maximum must be above its minimum, to which the units of its channel relate")
    return Component(minimum, maximum, output)


def _field(value: Value) -> FieldEntry:
    value.keys("type", "config", "tensors")
    kind, config = value["type"].text(), value["config"]
    config.keys("outputs")
    config["outputs"].count(least=1)
    if kind == "lattice":
        _check_lattice(config)
        value["tensors"].nothing()
        return FieldEntry(kind, config.mapping(), None)
    if kind == "fourier":
        _check_fourier(config)
    for key in config.mapping():
        config[key].plain()
    return FieldEntry(kind, config.mapping(), value["tensors"].count(), value.get("tolerance", None).optional(_tolerance))


def _tolerance(value: Value) -> float:
    number = value.number()
    if not ACCURACY <= number <= 1:
        raise value.fail("M7", f"must lie between {ACCURACY:g} and 1")
    return number


def _check_lattice(config: Value) -> None:
    _only(config, {"outputs", "networks", "channels"}, "lattice field")
    config["networks"].text()
    for number, channel in enumerate(config["channels"].exactly(config["outputs"].count(least=1))):
        _only(channel, LATTICE_CHANNEL, "channel of a lattice")
        least, most = LATTICE_STEP_RANGE
        for step in channel["steps"].exactly(LATTICE_STEPS):
            step.count(most, str(most), least)
        channel["top"].count(LATTICE_HIGHEST, str(LATTICE_HIGHEST), 1)
        if abs(channel["background"].integer(32)) > LATTICE_HIGHEST:
            raise channel["background"].fail("M7", f"must lie within +-{LATTICE_HIGHEST}")
        if not 0 < channel["scale"].number() <= 2 * LATTICE_HIGHEST:
            raise channel["scale"].fail("M7", f"must be above 0 and at most {2 * LATTICE_HIGHEST}")
        if channel["given"].value is not None and channel["given"].count() >= number:
            raise channel["given"].fail("M7", "must be the number of an earlier channel")
        channel["surrounded"].flag()
        channel["smoothed"].flag()
        channel["fitted"].flag()
        if channel["lossless"].flag() and channel["corrected"].flag():
            raise channel["corrected"].fail("M7", "must be false where the channel is lossless")
        channel["corrected"].flag()
        channel["codes"].count()


def _only(value: Value, names: set[str], what: str) -> None:
    value.keys(*sorted(names))
    unknown = sorted(set(value.mapping()) - names)
    if unknown:
        raise FormatError("M14", f"{value.path} has the key {reprlib.repr(unknown[0])}, which a {what} does not have")


def _check_fourier(config: Value) -> None:
    """Sizes are bounded here, because a network is laid out from them before its tensors are looked at."""
    names = {*FOURIER_RANGES, "outputs", "origin", "scale", "activation"}
    _only(config, names, "fourier field")
    for name, (least, most) in FOURIER_RANGES.items():
        config[name].count(most, str(most), least)
    config["origin"].numbers(3, single=True)
    config["scale"].number(single=True)
    config["activation"].choice(*ACTIVATIONS)


def _metadata(value: Value) -> dict[str, MetaEntry]:
    entries = {}
    for name in value.mapping():
        entry = value[name]
        entry.keys("type", "value")
        kind = entry["type"].text()
        entries[name] = MetaEntry(kind, _metadata_value(kind, entry["value"]))
    return entries


def _metadata_value(kind: str, value: Value) -> Any:
    """Raw bytes for any type; else what the type asks for."""
    if isinstance(value.value, dict) and "base64" in value.value:
        return value.base64()
    if kind == "string":
        return value.text()
    if kind in SCALAR_KINDS:
        return _number(SCALAR_KINDS[kind], value)
    size, element = VECTOR_SIZES.get(kind[:-1]), VECTOR_KINDS.get(kind[-1:])
    if size is None or element is None:
        raise value.fail("M12", f'must be {{"base64": ...}} for metadata type {kind!r}, which this version does not know')
    return [_number(element, item) for item in value.exactly(size)]


def _number(kind: str, value: Value) -> bool | int | float:
    if kind == "?":
        return value.flag()
    if kind in INTEGER_BITS:
        return value.integer(INTEGER_BITS[kind])
    if isinstance(value.value, dict):
        value.keys("float")
        return NON_FINITE[value["float"].choice(*NON_FINITE)]
    return value.number(single=kind == "f")


def _json_value(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    return value
