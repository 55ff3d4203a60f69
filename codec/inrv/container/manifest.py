"""The manifest: what a file says of itself, as checked JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from inrv.errors import FormatError

COMPONENTS = {"float": 1, "vec3s": 3}
DEEPEST = 32


@dataclass(frozen=True)
class MetaEntry:
    """A typed metadata value: OpenVDB's type name and JSON; raw bytes as {"base64": ...}, NaN as {"float": "nan"}."""

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
    """One grid. `topology` and `exact_values` are chunk numbers; `matrix` is 4 x 4, row-major, row-vector convention."""

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
    exact_values: int | None
    components: tuple[Component, ...]


@dataclass(frozen=True)
class FieldEntry:
    """The field: its type, what it is built from, and the chunk that holds its tensors."""

    type: str
    config: dict[str, Any]
    tensors: int


@dataclass(frozen=True)
class Manifest:
    """Everything of a file that is not a chunk. `encoding` is free-form: how the file was made."""

    generator: str
    metadata: dict[str, MetaEntry]
    grids: tuple[GridEntry, ...]
    field: FieldEntry | None
    reference: int | None
    encoding: dict[str, Any]

    def to_json(self) -> bytes:
        """Canonical JSON: keys sorted, no spaces, UTF-8."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    @staticmethod
    def from_json(data: bytes, most_grids: int = 4096) -> Manifest:
        """Parse and check. Raises FormatError naming the key, the value and the rule."""
        root = _Value("manifest", _parse(data))
        root.keys("generator", "metadata", "grids", "field", "reference", "encoding")
        grids = root["grids"].items_of(most_grids)
        return Manifest(
            generator=root["generator"].text(),
            metadata=_metadata(root["metadata"]),
            grids=tuple(_grid(grid) for grid in grids),
            field=root["field"].optional(_field),
            reference=root["reference"].optional(_Value.count),
            encoding=root["encoding"].mapping(),
        )


def _parse(data: bytes) -> Any:
    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"manifest is not valid JSON: {error}") from error
    if _depth(parsed) > DEEPEST:
        raise FormatError(f"manifest is nested deeper than {DEEPEST} levels")
    return parsed


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object holds a key twice")
    return result


def _no_constants(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [child for v in level if isinstance(v, (dict, list)) for child in (v.values() if isinstance(v, dict) else v)]
    return deepest


class _Value:
    """A JSON value and the path to it, for messages that name both."""

    def __init__(self, path: str, value: Any) -> None:
        self.path, self.value = path, value

    def fail(self, rule: str) -> FormatError:
        shown = repr(self.value)
        return FormatError(f"{self.path} is {shown if len(shown) < 80 else shown[:77] + '...'}: {rule}")

    def keys(self, *names: str) -> None:
        missing = sorted(set(names) - set(self.mapping()))
        if missing:
            raise FormatError(f"{self.path} lacks the key {missing[0]!r}")

    def __getitem__(self, key: str) -> _Value:
        return _Value(f"{self.path}.{key}", self.value[key])

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.fail("must be an object")
        return self.value

    def items_of(self, most: int) -> list[_Value]:
        if not isinstance(self.value, list) or len(self.value) > most:
            raise self.fail(f"must be a list of at most {most} items")
        return [_Value(f"{self.path}[{i}]", v) for i, v in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fail("must be a string")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.fail("must be true or false")
        return self.value

    def count(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not 0 <= self.value < 1 << 63:
            raise self.fail("must be a whole number from 0 to 2^63 - 1")
        return self.value

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self.fail("must be a number")
        try:
            number = float(self.value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.fail("must be a finite number")
        return number

    def numbers(self, length: int) -> tuple[float, ...]:
        numbers = tuple(item.number() for item in self.items_of(length))
        if len(numbers) != length:
            raise self.fail(f"must hold {length} numbers")
        return numbers

    def optional(self, read: Callable[[_Value], Any]) -> Any:
        return None if self.value is None else read(self)


def _metadata(value: _Value) -> dict[str, MetaEntry]:
    entries = {}
    for name in value.mapping():
        entry = value[name]
        entry.keys("type", "value")
        entries[name] = MetaEntry(entry["type"].text(), entry["value"].value)
    return entries


def _grid(value: _Value) -> GridEntry:
    value.keys(*GridEntry.__dataclass_fields__)
    kind = value["value_type"].text()
    if kind not in COMPONENTS:
        raise value["value_type"].fail(f"must be one of {', '.join(COMPONENTS)}")
    components = value["components"].items_of(3)
    if len(components) != COMPONENTS[kind]:
        raise value["components"].fail(f"must hold {COMPONENTS[kind]} components for value type {kind}")
    return GridEntry(
        name=value["name"].text(),
        value_type=kind,
        background=value["background"].numbers(COMPONENTS[kind]),
        grid_class=value["grid_class"].text(),
        vector_type=value["vector_type"].text(),
        saved_as_half=value["saved_as_half"].flag(),
        map_type=value["map_type"].text(),
        matrix=value["matrix"].numbers(16),
        metadata=_metadata(value["metadata"]),
        active_voxels=value["active_voxels"].count(),
        leaf_voxels=value["leaf_voxels"].count(),
        topology=value["topology"].count(),
        exact_values=value["exact_values"].optional(_Value.count),
        components=tuple(_component(component) for component in components),
    )


def _component(value: _Value) -> Component:
    value.keys("minimum", "maximum", "output")
    component = Component(value["minimum"].number(), value["maximum"].number(), value["output"].optional(_Value.count))
    if component.maximum < component.minimum:
        raise value.fail("its maximum is below its minimum")
    return component


def _field(value: _Value) -> FieldEntry:
    value.keys("type", "config", "tensors")
    return FieldEntry(value["type"].text(), value["config"].mapping(), value["tensors"].count())
