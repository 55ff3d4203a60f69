"""The manifest: what a file says of itself, as checked JSON.

An entry is declared key by key: its name, its type in Python, and the rule that reads it. The rules
that join several keys follow below. What stands in the `config` of a field is the field's own: the
fields' rooms check it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Annotated, Any

from inrv.container.json_rules import (
    Value,
    choice,
    each,
    entry,
    nullable,
    numbers,
    parse_json,
    single,
)
from inrv.container.layout import DEFAULT_LIMITS, MOST_PARTS, NEWEST_VDB, OLDEST_VDB
from inrv.errors import FormatError

COMPONENTS = {"float": 1, "vec3s": 3}
THRESHOLD_RULES = ABOVE, AWAY, WITHIN = "above", "away", "within"
SCALAR_KINDS = {"bool": "?", "int32": "i", "int64": "q", "float": "f", "double": "d"}
VECTOR_SIZES = {"vec2": 2, "vec3": 3, "vec4": 4, "mat3": 9, "mat4": 16}
VECTOR_KINDS = {"i": "i", "s": "f", "d": "d"}
INTEGER_BITS = {"i": 32, "q": 64}
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class MetaEntry:
    """A typed metadata value.

    type: OpenVDB's name of the type
    value: bool, int, float, str, a flat list of these, or {"base64": ...} for raw bytes. Floats
        may be NaN and infinite here; in JSON they are {"float": "nan"}, "inf" or "-inf".
    """

    type: str
    value: Any


def metadata_entries(value: Value) -> dict[str, MetaEntry]:
    """Read an object of metadata entries by name."""
    entries = {}
    for name in value.mapping():
        item = value[name]
        item.keys("type", "value")
        kind = item["type"].text()
        entries[name] = MetaEntry(kind, _metadata_value(kind, item["value"].under("M12")))
    return entries


@dataclass(frozen=True)
class Component:
    """A component of a grid: value = minimum + (maximum - minimum) * y, y the field's output.

    minimum: least value of the voxels that the field codes
    maximum: greatest value of these voxels
    output: number of the field's output; None: the value is always `minimum`
    """

    minimum: Annotated[float, single]
    maximum: Annotated[float, single]
    output: Annotated[int | None, nullable(Value.count)]


Corner = tuple[int, int, int]  # of a box, int32


def _box(value: Value) -> tuple[Corner, Corner]:
    """Read the corners of a box."""
    corners = [[item.integer(32) for item in corner.exactly(3)] for corner in value.exactly(2)]
    (x, y, z), (right, top, back) = corners
    if right < x or top < y or back < z:
        raise value.fail("M7", "its highest corner must not lie below its lowest")
    return (x, y, z), (right, top, back)


@dataclass(frozen=True)
class GridEntry:
    """A coded grid.

    name: what the grid is called; names may be empty or stand twice
    value_type: a key of COMPONENTS
    background: a float32 value a component, of every voxel outside leaves and tiles
    grid_class: OpenVDB's name of the class, as "fog volume"
    vector_type: OpenVDB's name of how vectors transform
    saved_as_half: whether the .vdb file stored float16
    map_type: OpenVDB's name of the transform's class
    matrix: 4 x 4 numbers from index space to world space, row-major, row-vector convention
    metadata: metadata of the grid by name
    active_voxels: number of active voxels, those of active tiles included
    leaf_voxels: number of active voxels in leaves
    box: lowest and highest corner, both included, of the smallest box in index space that holds all
        active voxels of the stored topology; None where none is active
    topology: number of the TOPO chunk
    inactive_values: number of the INAC chunk: values of tiles and of inactive voxels
    components: one entry a component
    frequent_values: number of the FREQ chunk: values of many voxels, which the field does not code
    exact_values: number of the EXAC chunk: other values that the field does not code
    threshold: for a whole-leaf topology: voxels whose decoded value scores above it are active
    threshold_rule: how values score: see inrv.grids.thresholds
    topology_of: number of the grid with a threshold whose decoded topology this grid has too
    outliers: number of the EXAC chunk of values that replace decoded ones
    """

    name: Annotated[str, Value.text]
    value_type: Annotated[str, choice(*COMPONENTS)]
    background: Annotated[tuple[float, ...], each(single)]
    grid_class: Annotated[str, Value.text]
    vector_type: Annotated[str, Value.text]
    saved_as_half: Annotated[bool, Value.flag]
    map_type: Annotated[str, Value.text]
    matrix: Annotated[tuple[float, ...], numbers(16)]
    metadata: Annotated[dict[str, MetaEntry], metadata_entries]
    active_voxels: Annotated[int, Value.count]
    leaf_voxels: Annotated[int, Value.count]
    box: Annotated[tuple[Corner, Corner] | None, nullable(_box)]
    topology: Annotated[int, Value.count]
    inactive_values: Annotated[int | None, nullable(Value.count)]
    components: Annotated[tuple[Component, ...], each(entry(Component))]
    frequent_values: Annotated[int | None, nullable(Value.count)]
    exact_values: Annotated[int | None, nullable(Value.count)]
    threshold: Annotated[float | None, nullable(single)]
    threshold_rule: Annotated[str, choice(*THRESHOLD_RULES)]
    topology_of: Annotated[int | None, nullable(Value.count)]
    outliers: Annotated[int | None, nullable(Value.count)]


@dataclass(frozen=True)
class PassthroughEntry:
    """A passthrough grid: the file keeps the bytes that the .vdb file holds of it.

    position: its place among all grids of the file
    name: without the suffix that tells equal names apart
    tree_type: OpenVDB's name of the type of its tree, without `_HalfFloat`
    half: whether that suffix was there
    parent: position of the passthrough grid whose tree it shares, None where it has its own
    blocks: offset of its first value among its bytes
    bytes: number of its bytes
    chunks: numbers of the PASS chunks that hold the bytes, in order
    reason: why it is not coded, for people
    """

    position: Annotated[int, Value.count]
    name: Annotated[str, Value.text]
    tree_type: Annotated[str, Value.text]
    half: Annotated[bool, Value.flag]
    parent: Annotated[int | None, nullable(Value.count)]
    blocks: Annotated[int, Value.count]
    bytes: Annotated[int, Value.count]
    chunks: Annotated[tuple[int, ...], each(Value.count, MOST_PARTS)]
    reason: Annotated[str, Value.text]


def _outputs(value: Value) -> int:
    """Read the number of a field's outputs."""
    return value.count(least=1)


@dataclass(frozen=True)
class FieldEntry:
    """The field that codes values.

    kind: which field it is, as "lattice"
    outputs: number of its outputs
    config: what it is built from; the field's room reads and checks it
    """

    kind: Annotated[str, Value.text]
    outputs: Annotated[int, _outputs]
    config: Annotated[dict[str, Any], Value.mapping]


def _vdb_version(value: Value) -> tuple[int, int, int]:
    """Read the version of a .vdb file and of the library that wrote it."""
    file, major, minor = (item.count((1 << 32) - 1, "2^32 - 1") for item in value.exactly(3))
    if not OLDEST_VDB <= file <= NEWEST_VDB:
        raise value.fail("M17", f"its first number must be from {OLDEST_VDB} to {NEWEST_VDB}")
    return file, major, minor


def frame_number(value: Value) -> float | int:
    """Read the number of a frame, which is a float only where it has a fraction."""
    found = value.number()
    return int(found) if found.is_integer() else found


@dataclass(frozen=True)
class FrameEntry:
    """A moment: some coded grids, and some passthrough grids, of those of the file.

    number: of the frame, as file names and timelines have it; None for a volume without one
    time: of the frame, in the unit that its sequence states; None where it is not known
    grids: how many coded grids it has, behind those of the frame before
    passthrough: how many passthrough grids it has, behind those of the frame before
    metadata: metadata of the frame's .vdb file by name
    vdb_version: of the .vdb file it was made from: file version, library's major and minor
    """

    number: Annotated[float | int | None, nullable(frame_number)]
    time: Annotated[float | None, nullable(Value.number)]
    grids: Annotated[int, Value.count]
    passthrough: Annotated[int, Value.count]
    metadata: Annotated[dict[str, MetaEntry], metadata_entries]
    vdb_version: Annotated[tuple[int, int, int] | None, nullable(_vdb_version)]


def _frames(value: Value) -> tuple[FrameEntry, ...]:
    """Read the frames: no two have the same number, and their times are in the order of these."""
    frames = tuple(entry(FrameEntry)(item) for item in value.items())
    if not frames:
        raise value.fail("M20", "must have at least one frame")
    in_time = sorted(frames, key=lambda own: own.number or 0)
    if len(frames) > 1 and not ascend([own.number for own in in_time]):
        raise value.fail("M20", "its frames must each have a number of its own")
    times = [own.time for own in in_time]
    if any(time is not None for time in times) and not ascend(times):
        raise value.fail("M20", "the times of its frames must ascend with the numbers, or be null")
    return frames


def ascend(found: Sequence[float | None]) -> bool:
    """Tell whether all of these are numbers, each above the one before."""
    known = [number for number in found if number is not None]
    return len(known) == len(found) and all(a < b for a, b in pairwise(known))


@dataclass(frozen=True)
class Manifest:
    """Everything of a file that is not a chunk.

    generator: what wrote the file
    frames: the moments that it holds: one, but for a group of frames of a sequence
    grids: the coded grids, frame by frame, in the order of their .vdb file
    field: the field that codes their values, None where no component has an output
    encoding: how the file was made: free-form, for people
    passthrough: grids that are not coded, frame by frame; the coded ones of their frame take the
        places that these leave
    """

    generator: Annotated[str, Value.text]
    frames: Annotated[tuple[FrameEntry, ...], _frames]
    grids: Annotated[tuple[GridEntry, ...], each(entry(GridEntry))]
    field: Annotated[FieldEntry | None, nullable(entry(FieldEntry))]
    encoding: Annotated[dict[str, Any], Value.mapping]
    passthrough: Annotated[tuple[PassthroughEntry, ...], each(entry(PassthroughEntry))] = ()

    def grids_of(self, frame: int) -> range:
        """Return the numbers of the coded grids of a frame."""
        return _part([own.grids for own in self.frames], frame)

    def passthrough_of(self, frame: int) -> tuple[PassthroughEntry, ...]:
        """Return the passthrough grids of a frame."""
        found = _part([own.passthrough for own in self.frames], frame)
        return self.passthrough[found.start : found.stop]

    @property
    def positions(self) -> tuple[int, ...]:
        """The place of each coded grid among all grids of its frame."""
        found: list[int] = []
        for frame, own in enumerate(self.frames):
            taken = {item.position for item in self.passthrough_of(frame)}
            places = range(own.grids + own.passthrough)
            found += [place for place in places if place not in taken]
        return tuple(found)

    def to_json(self) -> bytes:
        """Return canonical JSON: keys sorted, no spaces, ASCII.

        Raises FormatError for a value that JSON cannot hold.
        """
        tree = asdict(self)
        for owner in (*tree["frames"], *tree["grids"]):
            for item in owner["metadata"].values():
                item["value"] = json_value(item["value"])
        try:
            text = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise FormatError("M7", f"manifest cannot be written as JSON: {error}") from error
        return text.encode("ascii")

    @staticmethod
    def from_json(data: bytes, most_grids: int = DEFAULT_LIMITS.grids) -> Manifest:
        """Return the manifest that JSON holds, checked.

        most_grids: the most coded grids and passthrough grids together, of all frames
        Raises FormatError naming the key, the value and the rule.
        """
        root = Value("manifest", parse_json(data, "manifest"))
        root.keys(*Manifest.__dataclass_fields__)
        coded = len(root["grids"].items(most_grids))
        root["passthrough"].items(most_grids - coded)
        manifest = entry(Manifest)(root)
        outputs = 0 if manifest.field is None else manifest.field.outputs
        for item, grid in zip(root["grids"].items(), manifest.grids, strict=True):
            _check_grid(item, grid, outputs)
            _check_shared_topology(item, grid, manifest.grids)
        _check_frames(root, manifest)
        return manifest


def _check_grid(value: Value, grid: GridEntry, outputs: int) -> None:
    """Check what joins keys of one grid."""
    count = COMPONENTS[grid.value_type]
    value["background"].exactly(count)
    for item, component in zip(value["components"].exactly(count), grid.components, strict=True):
        if component.maximum < component.minimum:
            raise item.fail("M9", "its maximum must not be below its minimum")
        if component.output is not None and component.output >= outputs:
            rule = f"must be below the number of the field's outputs, {outputs}"
            raise item["output"].fail("M10", rule)
    value["leaf_voxels"].under("M13").count(grid.active_voxels, "the grid's active_voxels")
    if grid.threshold is not None and count != 1 and grid.threshold_rule != AWAY:
        rule = f"must be null for a grid of {grid.value_type} where the rule is not {AWAY!r}"
        raise value["threshold"].fail("M18", rule)


def _check_shared_topology(value: Value, grid: GridEntry, grids: tuple[GridEntry, ...]) -> None:
    """Check that `topology_of` names a grid whose topology this one can share."""
    number = grid.topology_of
    if number is None:
        return
    other = grids[number] if number < len(grids) else None
    shared = other is not None and other.threshold is not None and other.topology == grid.topology
    if not shared or grid.threshold is not None:
        rule = (
            "must be the number of a grid that has a threshold and the same topology, "
            "and its own threshold must be null"
        )
        raise value["topology_of"].fail("M19", rule)


def _check_frames(root: Value, manifest: Manifest) -> None:
    """Check that the frames share out all grids, and how passthrough grids lie in theirs."""
    for key in ("grids", "passthrough"):
        held, count = getattr(manifest, key), sum(getattr(own, key) for own in manifest.frames)
        if count != len(held):
            rule = f"its frames have {count:,} {key} together, the manifest has {len(held):,}"
            raise root["frames"].fail("M20", rule)
    values = iter(root["passthrough"].items())
    for frame in range(len(manifest.frames)):
        passed = manifest.passthrough_of(frame)
        count = len(manifest.grids_of(frame)) + len(passed)
        _check_passthrough([next(values) for _ in passed], passed, count)


def _part(counts: Sequence[int], number: int) -> range:
    """Return the numbers of what lies in the part `number`, of parts that have so many each."""
    start = sum(counts[:number])
    return range(start, start + counts[number])


def _check_passthrough(
    values: list[Value], found: tuple[PassthroughEntry, ...], count: int
) -> None:
    """Check the places of passthrough grids of a frame, and of those whose trees they share.

    count: of all grids of the frame
    """
    places = {passed.position: passed for passed in found}
    for value, passed in zip(values, found, strict=True):
        if passed.position >= count or places[passed.position] is not passed:
            rule = f"must be a place of its own among the {count} grids of its frame"
            raise value["position"].fail("M15", rule)
        parent = passed.parent
        if parent is not None and (parent == passed.position or parent not in places):
            raise value["parent"].fail("M15", "must be the place of another passthrough grid")
        value["blocks"].count(passed.bytes, "its bytes")


def _metadata_value(kind: str, value: Value) -> Any:
    """Read raw bytes, which any type may have, or what the type asks for."""
    if isinstance(value.value, dict) and "base64" in value.value:
        return value.base64()
    if kind == "string":
        return value.text()
    if kind in SCALAR_KINDS:
        return _element(SCALAR_KINDS[kind], value)
    size, element = VECTOR_SIZES.get(kind[:-1]), VECTOR_KINDS.get(kind[-1:])
    if size is None or element is None:
        unknown = f"metadata type {kind!r}, which this version does not know"
        rule = f'must be {{"base64": ...}} for {unknown}'
        raise value.fail("M12", rule)
    return [_element(element, item) for item in value.exactly(size)]


def _element(kind: str, value: Value) -> bool | int | float:
    """Read a number of a kind: "?" bool, "i" int32, "q" int64, "f" float32 or "d" float64."""
    if kind == "?":
        return value.flag()
    if kind in INTEGER_BITS:
        return value.integer(INTEGER_BITS[kind])
    if isinstance(value.value, dict):
        value.keys("float")
        return NON_FINITE[value["float"].choice(*NON_FINITE)]
    return value.number(single=kind == "f")


def json_value(value: Any) -> Any:
    """Return a metadata value as JSON can hold it."""
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    return value
